//! What an answer of a provider, or none, says.

use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::command::bounded;
use crate::work::ExecuteError;

/// Longer answers are no answers of such an API (a page of 10,000 machine actions has about 8 MB; ours are of one
/// machine).
const BODY_BYTES_MAX: usize = 4 << 20;

/// An error as the vendors write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Refusal {
    /// Microsoft.
    One { error: Reason },
    /// CrowdStrike.
    Several { errors: Vec<Reason> },
    /// Okta.
    Bare(Reason),
}

/// Why something was refused.
#[derive(Deserialize)]
struct Reason {
    /// A word; a number only repeats the status.
    #[serde(alias = "errorCode")]
    code: Value,
    #[serde(default, alias = "errorSummary")]
    message: String,
}

impl Reason {
    /// The first reason that an answer gives.
    fn of(answer: &Value) -> Option<Self> {
        match Refusal::deserialize(answer).ok()? {
            Refusal::One { error } | Refusal::Bare(error) => Some(error),
            Refusal::Several { errors } => errors.into_iter().next(),
        }
    }

    fn in_body(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().and_then(|answer| Reason::of(&answer))
    }

    fn says(&self) -> String {
        match self.code.as_str() {
            Some(code) => format!("{code}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

/// What an answer says that something was refused.
pub(super) fn reason(answer: &Value) -> String {
    Reason::of(answer).map_or_else(|| "no readable reason".to_owned(), |reason| bounded(&reason.says()))
}

/// The status, and what the body says of it.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> String {
    match Reason::in_body(body) {
        Some(reason) => bounded(&format!("{} {}", status.as_u16(), reason.says())),
        None => format!("{} without a readable reason", status.as_u16()),
    }
}

/// Whether a refusal says that it is so already, or is being done.
pub(super) fn is_duplicate(status: StatusCode, body: &[u8]) -> bool {
    let says_so = |reason: Reason| {
        reason.code == "ActiveRequestAlreadyExists" || reason.message.to_lowercase().contains("already")
    };
    status == StatusCode::CONFLICT
        || status == StatusCode::BAD_REQUEST && Reason::in_body(body).is_some_and(says_so)
}

/// Whether the same request may be answered otherwise later.
pub(super) fn is_transient(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

pub(super) fn retryable(message: String, after_s: Option<u32>) -> ExecuteError {
    ExecuteError::Retryable { message, after_s }
}

/// In how many seconds the provider wants to hear from us again, at `now_s` of the epoch: `Retry-After` has seconds
/// (RFC 9110), the headers of CrowdStrike and Okta have the moment, which Okta names with every answer.
pub(super) fn wait_s(status: StatusCode, headers: &HeaderMap, now_s: u64) -> Option<u32> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let of_moment = |name: &&str| Some(number(name)?.saturating_sub(now_s));
    let moments: &[&str] = match status {
        StatusCode::TOO_MANY_REQUESTS => &["x-ratelimit-retryafter", "x-rate-limit-reset"],
        _ => &[],
    };
    let wait = number("retry-after").or_else(|| moments.iter().find_map(of_moment))?;
    u32::try_from(wait).ok()
}

/// The body, where it is not too long.
pub(super) async fn body_of(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| text_of(&e))? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(format!("answer has over {BODY_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(super) fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| format!("unreadable answer: {e}"))
}

/// An HTTP error with its innermost cause; the address is left out, secrets never stand in it.
pub(super) fn text_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let what = match (error.is_timeout(), error.is_connect()) {
        (_, true) => "cannot connect to the provider",
        (true, false) => "the provider did not answer in time",
        (false, false) => "the connection to the provider broke",
    };
    bounded(&format!("{what}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

    #[test]
    fn every_vendor_says_when_to_come_again() {
        let wait = |status, headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            wait_s(status, &headers.collect(), 1_700_000_000)
        };
        assert_eq!(wait(TOO_MANY, &[("retry-after", "7")]), Some(7));
        assert_eq!(wait(TOO_MANY, &[("x-ratelimit-retryafter", "1700000030")]), Some(30));
        assert_eq!(wait(TOO_MANY, &[("x-rate-limit-reset", "1700000059")]), Some(59));
        assert_eq!(wait(TOO_MANY, &[("x-rate-limit-reset", "1600000000")]), Some(0), "a moment that is over");
        assert_eq!(wait(TOO_MANY, &[("retry-after", "7"), ("x-rate-limit-reset", "1700000059")]), Some(7));
        assert_eq!(wait(StatusCode::BAD_GATEWAY, &[("x-rate-limit-reset", "1700000059")]), None);
        assert_eq!(wait(StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "3")]), Some(3));
        for nonsense in ["-1", "soon", "99999999999999999999", "9999999999999"] {
            assert_eq!(wait(TOO_MANY, &[("x-ratelimit-retryafter", nonsense)]), None, "{nonsense}");
        }
    }

    #[test]
    fn every_vendor_says_why() {
        let says = |body: &str| refusal(StatusCode::FORBIDDEN, body.as_bytes());
        assert_eq!(says(r#"{"error": {"code": "Forbidden", "message": "no"}}"#), "403 Forbidden: no");
        assert_eq!(
            says(r#"{"meta": {}, "errors": [{"code": 403, "message": "access denied"}]}"#),
            "403 access denied"
        );
        assert_eq!(
            says(r#"{"errorCode": "E0000006", "errorSummary": "no right"}"#),
            "403 E0000006: no right"
        );
        for unreadable in ["", "{}", r#"{"errors": []}"#, r#"{"errors": null}"#, "[[["] {
            assert_eq!(says(unreadable), "403 without a readable reason", "{unreadable}");
        }
    }

    #[test]
    fn what_is_so_already_is_told_from_what_is_wrong() {
        let duplicate = |status, message: &str| {
            is_duplicate(
                status,
                format!(r#"{{"error": {{"code": "x", "message": "{message}"}}}}"#).as_bytes(),
            )
        };
        assert!(duplicate(StatusCode::BAD_REQUEST, "Already in progress"));
        assert!(!duplicate(StatusCode::BAD_REQUEST, "no such field"));
        assert!(!duplicate(StatusCode::FORBIDDEN, "already forbidden"));
        assert!(duplicate(StatusCode::CONFLICT, "busy"));
    }
}
