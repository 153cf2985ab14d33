//! Who may call, and what. With a token configured every call needs one; without any only loopback is served, and only
//! under a loopback name, so that a web page cannot reach the API through DNS rebinding.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::config::Role;

/// Somebody who may call.
#[derive(Clone)]
pub(crate) struct User {
    /// Nobody in particular where there is none: whoever calls says who it is.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) role: Role,
    pub(crate) token: Arc<str>,
}

/// Those who may call; without any, whoever is on this machine.
#[derive(Clone)]
pub(crate) struct Auth {
    users: Arc<[User]>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller(Option<Arc<str>>);

impl Caller {
    /// Under which name what is said is recorded: a user's own, else what the request says.
    pub(crate) fn name<'a>(&'a self, said: Option<&'a str>) -> Result<&'a str, Problem> {
        match (&self.0, said) {
            (Some(name), Some(said)) if said != name.as_ref() => {
                let text = format!("the token is {name}'s, who cannot speak for {said:?}");
                Err(Problem::new(StatusCode::FORBIDDEN, text))
            }
            (Some(name), _) => Ok(name),
            (None, said) => Ok(said.unwrap_or("api")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(unauthorized)
    }
}

impl Auth {
    pub(crate) fn new(users: Vec<User>) -> Self {
        Self { users: users.into() }
    }

    fn allows(&self, request: &Request) -> Result<Caller, Problem> {
        if self.users.is_empty() {
            return names_loopback(request).then_some(Caller(None)).ok_or_else(foreign_host);
        }
        let given = token(request.headers());
        // All are compared, so that the time taken says nothing of the others.
        let found = self.users.iter().fold(None, |found, user| {
            let is_same = bool::from(given.as_bytes().ct_eq(user.token.as_bytes()));
            if is_same { Some(user) } else { found }
        });
        let user = found.ok_or_else(unauthorized)?;
        let deed = Deed::of(request.method(), request.uri().path());
        if !user.role.may(deed) {
            let text = format!("the role {} may not do that", user.role.as_str());
            return Err(Problem::new(StatusCode::FORBIDDEN, text));
        }
        Ok(Caller(user.name.clone()))
    }
}

/// Middleware: refuses what [`Auth`] does not allow.
pub(crate) async fn require(State(auth): State<Auth>, mut request: Request, next: Next) -> Response {
    // Liveness probes carry no credentials and learn nothing.
    if matches!(request.uri().path(), "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    match auth.allows(&request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn token(headers: &HeaderMap) -> &str {
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    given.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default()
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

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Asks.
    Read,
    /// Changes incidents.
    Edit,
    /// Decides on actions.
    Decide,
    /// Brings records.
    Send,
    /// Does the work of playbooks.
    Lease,
    /// Runs the server.
    Administer,
}

impl Deed {
    fn of(method: &Method, path: &str) -> Self {
        let below =
            |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|p| p.starts_with('/'));
        match *method {
            Method::GET | Method::HEAD => Deed::Read,
            _ if path == "/api/v1/hunt" => Deed::Read,
            _ if below("/api/v1/ingest") => Deed::Send,
            _ if below("/api/v1/leases") => Deed::Lease,
            _ if ["/api/v1/actions", "/api/v1/response", "/api/v1/connectors"].into_iter().any(below)
                || path.ends_with("/rollback") =>
            {
                Deed::Decide
            }
            _ if below("/api/v1/incidents") || below("/api/v1/inputs") || below("/api/v1/suggestions") => {
                Deed::Edit
            }
            _ => Deed::Administer,
        }
    }
}

impl Role {
    const fn may(self, deed: Deed) -> bool {
        match self {
            Role::Viewer => matches!(deed, Deed::Read),
            Role::Analyst => matches!(deed, Deed::Read | Deed::Edit),
            Role::Responder => matches!(deed, Deed::Read | Deed::Edit | Deed::Decide),
            Role::Sender => matches!(deed, Deed::Send),
            Role::Playbook => matches!(deed, Deed::Read | Deed::Lease),
            Role::Admin => true,
        }
    }
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

    fn user(name: Option<&str>, role: Role, token: &str) -> User {
        User { name: name.map(Into::into), role, token: token.into() }
    }

    #[test]
    fn a_configured_token_is_required() {
        let auth = Auth::new(vec![user(None, Role::Admin, "s3cret")]);
        assert!(auth.allows(&request(&[("authorization", "Bearer s3cret")])).is_ok());
        for headers in [
            &[("authorization", "Bearer s3cre")][..],
            &[("authorization", "Bearer ")],
            &[("authorization", "s3cret")],
            &[("host", "localhost")],
        ] {
            assert_eq!(auth.allows(&request(headers)).unwrap_err().status, 401);
        }
    }

    #[test]
    fn without_a_token_only_loopback_names_are_served() {
        let auth = Auth::new(Vec::new());
        for host in ["127.0.0.1:8080", "localhost", "[::1]:9"] {
            assert!(auth.allows(&request(&[("host", host)])).is_ok(), "{host}");
        }
        assert_eq!(auth.allows(&request(&[("host", "evil.example")])).unwrap_err().status, 403);
        let cross = [("host", "localhost:8080"), ("origin", "https://evil.example")];
        assert_eq!(auth.allows(&request(&cross)).unwrap_err().status, 403);
    }

    #[test]
    fn each_role_does_its_own_and_speaks_for_itself() {
        let roles = [Role::Viewer, Role::Analyst, Role::Responder, Role::Sender, Role::Playbook, Role::Admin];
        let auth = Auth::new(roles.map(|role| user(Some(role.as_str()), role, role.as_str())).into());
        let may = |method: Method, path: &str| {
            let allowed = roles.iter().filter(|role| {
                let token = format!("Bearer {}", role.as_str());
                let request = Request::builder().method(method.clone()).uri(path);
                let request = request.header("authorization", token).body(Body::empty()).unwrap();
                auth.allows(&request).is_ok()
            });
            allowed.map(|role| role.as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(may(Method::GET, "/api/v1/incidents"), "viewer analyst responder playbook admin");
        assert_eq!(may(Method::POST, "/api/v1/hunt"), "viewer analyst responder playbook admin");
        assert_eq!(may(Method::PATCH, "/api/v1/incidents/i-1"), "analyst responder admin");
        assert_eq!(may(Method::POST, "/api/v1/suggestions/s-1/accept"), "analyst responder admin");
        assert_eq!(may(Method::POST, "/api/v1/inputs/a-1/undo"), "analyst responder admin");
        assert_eq!(may(Method::POST, "/api/v1/incidents/i-1/rollback"), "responder admin");
        assert_eq!(may(Method::POST, "/api/v1/actions/bulk"), "responder admin");
        assert_eq!(may(Method::POST, "/api/v1/response/resume"), "responder admin");
        assert_eq!(may(Method::POST, "/api/v1/connectors/okta/pause"), "responder admin");
        assert_eq!(may(Method::POST, "/api/v1/ingest/auto"), "sender admin");
        assert_eq!(may(Method::POST, "/api/v1/leases/c-1/report"), "playbook admin");
        assert_eq!(may(Method::POST, "/api/v1/deliveries/x/replay"), "admin");
        assert_eq!(may(Method::POST, "/api/v1/what_comes_later"), "admin");

        let kim = Caller(Some("kim".into()));
        assert_eq!(kim.name(None).unwrap(), "kim");
        assert_eq!(kim.name(Some("kim")).unwrap(), "kim");
        assert_eq!(kim.name(Some("sam")).unwrap_err().status, 403);
        assert_eq!(Caller(None).name(Some("sam")).unwrap(), "sam");
        assert_eq!(Caller(None).name(None).unwrap(), "api");
    }
}
