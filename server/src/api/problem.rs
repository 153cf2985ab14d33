//! Errors as RFC 9457 problem documents. Internal detail goes to the log, not to the client.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::InputError;

/// The media type of a problem document.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";
/// Bytes of a message of the framework that a client gets to read.
const DETAIL_BYTES_MAX: usize = 4_096;

/// What went wrong, for programs and people.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Stable kind, relative to the API: `about:blank` where the status says it all.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Short name of the status.
    pub(crate) title: String,
    /// HTTP status.
    pub(crate) status: u16,
    /// What happened here, and what to do.
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("no {what} {id:?}"))
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// A defect or a broken disk: logged in full, told in brief.
    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!("request failed: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error; the server's log has the cause")
    }
}

impl From<InputError> for Problem {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Refused(why) => Problem::conflict(why),
            InputError::Forbidden(why) => Problem::new(StatusCode::FORBIDDEN, why),
            InputError::Unknown(what) => Problem::new(StatusCode::NOT_FOUND, what),
            InputError::Changed(_) => Problem::new(StatusCode::PRECONDITION_FAILED, error.to_string()),
            InputError::Stopped => Problem::unavailable(error.to_string()),
            InputError::Failed(_) => Problem::internal(&error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let problem_json = HeaderValue::from_static(PROBLEM_JSON);
        response.headers_mut().insert(header::CONTENT_TYPE, problem_json);
        response
    }
}

/// Middleware: what the framework refuses on its own (parameters and bodies it cannot read, methods, limits, time) is
/// told as a problem too.
pub(super) async fn of_framework(response: Response) -> Response {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    if !failed || response.headers().get(header::CONTENT_TYPE).is_some_and(|v| v == PROBLEM_JSON) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let detail = match axum::body::to_bytes(body, DETAIL_BYTES_MAX).await {
        Ok(text) if !text.is_empty() => String::from_utf8_lossy(&text).into_owned(),
        _ => detail_of(status).to_owned(),
    };
    let mut problem = Problem::new(status, detail).into_response();
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    // Such as `Allow` of 405.
    problem.headers_mut().extend(parts.headers);
    problem
}

/// A refusal of a body for its size says what the limit is.
pub(super) fn of_large_body(response: Response, bytes_max: usize, remedy: &str) -> Response {
    if response.status() != StatusCode::PAYLOAD_TOO_LARGE {
        return response;
    }
    let detail = format!("the body has more than {bytes_max} bytes, which is the limit: {remedy}");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response()
}

/// What a status means where the framework has no words for it.
fn detail_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => "the path has no such method; the header Allow names those it has",
        StatusCode::REQUEST_TIMEOUT => "the request took too long: ask for less at once",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            "the body has a Content-Encoding that is not read here: send it as gzip, or as it is"
        }
        _ => "the request was refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn detail(response: Response) -> String {
        let body = axum::body::to_bytes(response.into_body(), DETAIL_BYTES_MAX).await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        problem["detail"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_told_the_limit() {
        let refused = || (StatusCode::PAYLOAD_TOO_LARGE, "length limit exceeded").into_response();
        let told = detail(of_large_body(refused(), 4_096, "raise api.ingest_body_bytes_max")).await;
        assert!(told.contains("4096 bytes") && told.contains("raise api.ingest_body_bytes_max"), "{told}");
        let other = of_large_body(StatusCode::NO_CONTENT.into_response(), 4_096, "");
        assert_eq!(other.status(), StatusCode::NO_CONTENT);
    }

    #[tokio::test]
    async fn what_the_framework_refuses_without_words_is_told() {
        let refused = of_framework(StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response()).await;
        assert_eq!(refused.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        assert!(detail(refused).await.contains("gzip"));
    }
}
