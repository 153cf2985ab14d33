//! What the simulated providers have in common: a server, a state file, faults; and how Microsoft's APIs filter and refuse.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use event::Time;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running server; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Starts it in the present runtime; port 0 takes a free one.
    pub(crate) async fn start(listen: SocketAddr, app: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Server { address, task })
    }

    /// A task that serves at this address.
    pub(crate) fn of(address: SocketAddr, task: JoinHandle<io::Result<()>>) -> Self {
        Server { address, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs until the server fails.
    pub(crate) async fn wait(mut self) -> io::Result<()> {
        (&mut self.task).await.map_err(io::Error::other)?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a state file, or begins anew where there is none.
pub(crate) fn load<T: Default + DeserializeOwned>(path: Option<&Path>) -> io::Result<T> {
    let Some(path) = path.filter(|p| p.exists()) else { return Ok(T::default()) };
    serde_json::from_slice(&fs::read(path)?).map_err(|e| {
        let text = format!("{}: {e}; remove it to begin anew", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Replaces a state file as a whole, so that a kill leaves the old or the new one.
pub(crate) fn save(path: Option<&Path>, state: &impl Serialize) -> io::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let fresh = path.with_extension("new");
    fs::write(&fresh, serde_json::to_vec(state)?)?;
    fs::rename(&fresh, path)
}

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
    /// After how many seconds these ask to be tried again.
    pub retry_after_s: u32,
    /// The next so many machine actions end as `Failed`.
    pub failing_actions: u32,
    /// The next so many changes are answered with success and an error beside it, and are not carried out.
    pub hidden_errors: u32,
}

/// How a vendor refuses.
pub(crate) trait Dialect {
    /// 500.
    fn failure(message: &str) -> Response;
    /// 429.
    fn too_many(retry_after_s: u32) -> Response;
}

/// Microsoft's way.
#[derive(Debug)]
pub(crate) struct Microsoft;

impl Dialect for Microsoft {
    fn failure(message: &str) -> Response {
        failure(message)
    }

    fn too_many(retry_after_s: u32) -> Response {
        too_many(retry_after_s)
    }
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
    pub(crate) fn next<D: Dialect>(&mut self) -> Result<Fate, Response> {
        if self.too_many_requests > 0 {
            self.too_many_requests -= 1;
            return Err(D::too_many(self.retry_after_s));
        }
        if self.server_errors > 0 {
            self.server_errors -= 1;
            return match self.server_errors % 2 {
                0 => Err(D::failure("injected, not done")),
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
    pub(crate) fn answer<D: Dialect>(self, answer: Response) -> Response {
        match self {
            Fate::Done => answer,
            Fate::DoneUnsaid => D::failure("injected, but done"),
            Fate::Lost => {
                let broken = futures::stream::once(async {
                    Err::<Bytes, _>(io::Error::other("injected: reply lost"))
                });
                (StatusCode::CREATED, Body::from_stream(broken)).into_response()
            }
        }
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
        assert_eq!(faults.next::<Microsoft>().unwrap_err().status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(faults.next::<Microsoft>().unwrap(), Fate::DoneUnsaid);
        assert_eq!(faults.next::<Microsoft>().unwrap_err().status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(faults.next::<Microsoft>().unwrap(), Fate::Lost);
        assert_eq!(faults.next::<Microsoft>().unwrap(), Fate::Done);
    }
}
