//! Who may call. With a token configured every call needs it; without one only loopback is served, and only
//! under a loopback name, so that a web page cannot reach the API through DNS rebinding.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::problem::Problem;

/// The bearer token of the API, if one is configured.
#[derive(Clone)]
pub(crate) struct Auth {
    token: Option<Arc<str>>,
}

impl Auth {
    pub(crate) fn new(token: Option<String>) -> Self {
        Self { token: token.map(Into::into) }
    }

    fn allows(&self, request: &Request) -> Result<(), Problem> {
        match &self.token {
            Some(token) => has_token(request, token).then_some(()).ok_or_else(unauthorized),
            None => names_loopback(request).then_some(()).ok_or_else(foreign_host),
        }
    }
}

/// Middleware: refuses what [`Auth`] does not allow.
pub(crate) async fn require(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    // Liveness probes carry no credentials and learn nothing.
    if matches!(request.uri().path(), "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    match auth.allows(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn has_token(request: &Request, token: &str) -> bool {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let given = given.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default();
    bool::from(given.as_bytes().ct_eq(token.as_bytes()))
}

fn names_loopback(request: &Request) -> bool {
    let host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let origin = request.headers().get(header::ORIGIN).and_then(|v| v.to_str().ok());
    let same_origin = origin.is_none_or(|o| o.split("//").nth(1) == Some(host));
    matches!(name, "127.0.0.1" | "localhost" | "::1") && same_origin
}

fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "a bearer token is required: Authorization: Bearer <token>")
}

fn foreign_host() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "without a token the API answers only under a loopback name, from the same origin",
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let builder = headers.iter().fold(Request::builder(), |b, (k, v)| b.header(*k, *v));
        builder.body(Body::empty()).unwrap()
    }

    #[test]
    fn a_configured_token_is_required() {
        let auth = Auth::new(Some("s3cret".into()));
        assert!(auth.allows(&request(&[("authorization", "Bearer s3cret")])).is_ok());
        for headers in [
            &[("authorization", "Bearer s3cre")][..],
            &[("authorization", "s3cret")],
            &[("host", "localhost")],
        ] {
            assert_eq!(auth.allows(&request(headers)).unwrap_err().status, 401);
        }
    }

    #[test]
    fn without_a_token_only_loopback_names_are_served() {
        let auth = Auth::new(None);
        for host in ["127.0.0.1:8080", "localhost", "[::1]:9"] {
            assert!(auth.allows(&request(&[("host", host)])).is_ok(), "{host}");
        }
        assert_eq!(auth.allows(&request(&[("host", "evil.example")])).unwrap_err().status, 403);
        let cross = [("host", "localhost:8080"), ("origin", "https://evil.example")];
        assert_eq!(auth.allows(&request(&cross)).unwrap_err().status, 403);
    }
}
