//! What the simulated providers have in common: faults, and how Microsoft's APIs filter and refuse.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use event::Time;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Faults to inject. Counts are used up by requests that would change something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Every answer waits this long.
    pub latency_ms: u64,
    /// The next so many changes are carried out, but their answer is lost on the way.
    pub lost_replies: u32,
    /// The next so many changes end in 500, half of them (every second) carried out nevertheless.
    pub server_errors: u32,
    /// The next so many changes end in 429.
    pub too_many_requests: u32,
    /// `Retry-After` of these, in seconds.
    pub retry_after_s: u32,
    /// The next so many machine actions end as `Failed`.
    pub failing_actions: u32,
}

/// What faults make of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is carried out, and answered.
    Done,
    /// It is carried out, and answered with 500.
    DoneUnsaid,
    /// It is carried out, and the answer is lost.
    Lost,
}

impl Faults {
    /// The fate of the next change; an error is the answer to one that is not carried out.
    pub(crate) fn next(&mut self) -> Result<Fate, Response> {
        if self.too_many_requests > 0 {
            self.too_many_requests -= 1;
            return Err(too_many(self.retry_after_s));
        }
        if self.server_errors > 0 {
            self.server_errors -= 1;
            return match self.server_errors % 2 {
                0 => Err(failure("injected, not done")),
                _ => Ok(Fate::DoneUnsaid),
            };
        }
        if self.lost_replies > 0 {
            self.lost_replies -= 1;
            return Ok(Fate::Lost);
        }
        Ok(Fate::Done)
    }
}

impl Fate {
    /// The answer to a change that was carried out, or a connection that breaks in the middle of it.
    pub(crate) fn answer(self, answer: Response) -> Response {
        match self {
            Fate::Done => answer,
            Fate::DoneUnsaid => failure("injected, but done"),
            Fate::Lost => {
                let broken = futures::stream::once(async {
                    Err::<Bytes, _>(io::Error::other("injected: reply lost"))
                });
                (StatusCode::CREATED, Body::from_stream(broken)).into_response()
            }
        }
    }
}

/// A server on a free port of 127.0.0.1; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    pub(crate) async fn serve(app: Router) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Running { address, task: tokio::spawn(async move { axum::serve(listener, app).await }) })
    }

    pub(crate) fn of(address: SocketAddr, task: JoinHandle<io::Result<()>>) -> Self {
        Running { address, task }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A lock that is held for in-memory steps alone, never over an await.
pub(crate) fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held would be a bug of ours; the state is plain data and still whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a request carries user and password.
pub(crate) fn signed_in(headers: &HeaderMap, user: &str, password: &str) -> Result<(), Response> {
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if given == Some(&*format!("Basic {}", BASE64.encode(format!("{user}:{password}")))) {
        return Ok(());
    }
    Err(refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "user not authenticated"))
}

/// Whether a request carries the token.
pub(crate) fn authorised(headers: &HeaderMap, token: &str) -> Result<(), Response> {
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if given == Some(&*format!("Bearer {token}")) {
        return Ok(());
    }
    Err(refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "invalid or expired authorization header"))
}

/// The quoted text between `prefix` and `suffix`, lower case; a doubled quote stands for one.
pub(crate) fn literal(filter: &str, prefix: &str, suffix: &str) -> Option<String> {
    let quoted = filter.trim().strip_prefix(prefix)?.strip_suffix(suffix)?.trim();
    let text = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
    Some(text.replace("''", "'").to_lowercase())
}

pub(crate) fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({"error": {"code": code, "message": message, "target": "simulated"}})))
        .into_response()
}

pub(crate) fn unknown(what: &str, id: &str) -> Response {
    refusal(StatusCode::NOT_FOUND, "ResourceNotFound", &format!("{what} {id} was not found"))
}

pub(crate) fn bad_filter(filter: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, "ODataError", &format!("cannot read $filter {filter:?}"))
}

pub(crate) fn failure(message: &str) -> Response {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
}

pub(crate) fn too_many(retry_after_s: u32) -> Response {
    let body = refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "slow down");
    ([(header::RETRY_AFTER, retry_after_s.to_string())], body).into_response()
}

pub(crate) fn now() -> Time {
    Time(micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_the_vendor_writes_them() {
        assert_eq!(literal("computerDnsName eq 'WS-01'", "computerDnsName eq ", ""), Some("ws-01".into()));
        assert_eq!(
            literal("startswith(computerDnsName,'ws')", "startswith(computerDnsName,", ")"),
            Some("ws".into())
        );
        assert_eq!(literal("computerDnsName eq ws", "computerDnsName eq ", ""), None);
    }

    #[test]
    fn faults_are_used_up_one_after_the_other() {
        let mut faults =
            Faults { too_many_requests: 1, server_errors: 2, lost_replies: 1, ..Faults::default() };
        assert_eq!(faults.next().unwrap_err().status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(faults.next().unwrap(), Fate::DoneUnsaid);
        assert_eq!(faults.next().unwrap_err().status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!((faults.next().unwrap(), faults.next().unwrap()), (Fate::Lost, Fate::Done));
    }
}
