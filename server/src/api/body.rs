//! The JSON body of a request, or a problem in words.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A body of JSON. What cannot be read is refused with its place.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::from_request(request, state).await {
            Ok(Json(value)) => Ok(Body(value)),
            Err(rejection) => Err(refused(&rejection)),
        }
    }
}

fn refused(rejection: &JsonRejection) -> Problem {
    // `what the framework was doing: place: what is wrong`.
    let text = rejection.body_text();
    let wrong = text.split_once(": ").map_or(text.as_str(), |(_, wrong)| wrong);
    let detail = match rejection {
        JsonRejection::JsonDataError(_) => format!("the body does not fit: {wrong}"),
        JsonRejection::JsonSyntaxError(_) => format!("the body is no JSON: {wrong}"),
        JsonRejection::MissingJsonContentType(_) => {
            "the body must be JSON: send it with Content-Type: application/json".to_owned()
        }
        _ => text,
    };
    Problem::new(rejection.status(), detail)
}

#[cfg(test)]
mod tests {
    use axum::body::Body as Bytes;

    use super::super::incidents::IncidentPatch;
    use super::*;

    async fn problem(json: &str, media: Option<&str>) -> Problem {
        let request = Request::builder().method("PATCH").uri("/");
        let request = media.iter().fold(request, |r, media| r.header("content-type", *media));
        let request = request.body(Bytes::from(json.to_owned())).unwrap();
        Body::<IncidentPatch>::from_request(request, &()).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_without_words_of_the_framework() {
        let json = Some("application/json");
        let unknown = problem(r#"{"asignee": "anna"}"#, json).await;
        assert_eq!(unknown.status, 422);
        assert!(unknown.detail.starts_with("the body does not fit: asignee: unknown field"), "{unknown:?}");
        let broken = problem("{", json).await;
        assert!(broken.status == 400 && broken.detail.starts_with("the body is no JSON: EOF"), "{broken:?}");
        let untyped = problem("{}", None).await;
        assert!(untyped.status == 415 && untyped.detail.contains("application/json"), "{untyped:?}");
    }
}
