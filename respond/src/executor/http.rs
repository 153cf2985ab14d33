//! The executor for machine actions as Microsoft Defender for Endpoint shapes them: isolate and release.
//!
//! The API takes no idempotency key, so the action's id goes first in the comment, and a probe looks for it in
//! the machine's actions: an answer that was lost is found again instead of the request being repeated. A
//! machine has no isolation field either; its state is that of its last finished isolate or unisolate.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Capability, Executor};
use crate::command::bounded;
use crate::error::RespondError;
use crate::verb::Verb;
use crate::work::{ExecuteError, MARKER, Probe, Progress, Request, UnderWay, marker};

/// Longer answers are no answers of this API (a page of 10,000 machine actions has about 8 MB; ours are of one
/// machine).
const BODY_BYTES_MAX: usize = 4 << 20;

/// Where and how to reach the API.
#[derive(Clone)]
pub struct HttpExecutorConfig {
    /// Base address, such as `https://api.security.microsoft.com`.
    pub base_url: String,
    /// Bearer token. Never shown.
    pub token: String,
    /// Limit on connecting.
    pub connect_timeout: Duration,
    /// Limit on one request, its answer included.
    pub request_timeout: Duration,
}

impl HttpExecutorConfig {
    /// The usual limits: 5 s to connect, 15 s an answer.
    pub fn new(base_url: impl Into<String>, token: impl Into<String>) -> Self {
        HttpExecutorConfig {
            base_url: base_url.into(),
            token: token.into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(15),
        }
    }
}

impl fmt::Debug for HttpExecutorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpExecutorConfig")
            .field("base_url", &self.base_url)
            .field("token", &"(redacted)")
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .finish()
    }
}

/// Isolates and releases devices over HTTP.
pub struct HttpExecutor {
    client: reqwest::Client,
    base: Url,
    token: String,
}

impl fmt::Debug for HttpExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpExecutor")
            .field("base", &self.base.as_str())
            .field("token", &"(redacted)")
            .finish()
    }
}

#[derive(Deserialize)]
struct Page<T> {
    value: Vec<T>,
}

#[derive(Deserialize)]
struct Machine {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MachineAction {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    requestor_comment: Option<String>,
    #[serde(default)]
    creation_date_time_utc: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    code: String,
    #[serde(default)]
    message: String,
}

impl HttpExecutor {
    /// An executor for one API.
    ///
    /// # Errors
    /// [`RespondError::BadInput`] for an address that is none, or a token that cannot stand in a header.
    pub fn new(config: HttpExecutorConfig) -> Result<Self, RespondError> {
        let bad = |text: String| RespondError::BadInput(text);
        let base: Url = config.base_url.parse().map_err(|e| bad(format!("EDR address: {e}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(bad(format!("EDR address {base}: expected http:// or https://")));
        }
        if config.token.is_empty() || !config.token.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(bad("EDR token is empty or has characters that no token has".to_owned()));
        }
        let client = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            // A redirect would carry the token elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| bad(format!("EDR client: {}", text_of(&e))))?;
        Ok(HttpExecutor { client, base, token: config.token })
    }

    fn url(&self, path: &[&str], filter: Option<&str>) -> Result<Url, ExecuteError> {
        let mut url = self.base.clone();
        let no_base = |()| ExecuteError::Terminal("EDR address takes no path".to_owned());
        url.path_segments_mut().map_err(no_base)?.pop_if_empty().push("api").extend(path);
        if let Some(filter) = filter {
            url.query_pairs_mut().append_pair("$filter", filter);
        }
        Ok(url)
    }

    async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Response, reqwest::Error> {
        let request = self.client.request(method, url).bearer_auth(&self.token);
        match body {
            Some(body) => request.json(body).send().await,
            None => request.send().await,
        }
    }

    /// A read: whatever goes wrong, nothing has changed.
    async fn get<T: for<'de> Deserialize<'de>>(&self, url: Url) -> Result<Option<T>, ExecuteError> {
        let answer = self.send(Method::GET, url, None).await.map_err(|e| retryable(text_of(&e), None))?;
        let status = answer.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let after_s = retry_after(&answer);
        let body = body_of(answer).await.map_err(|e| retryable(e, None))?;
        if status.is_success() {
            return parse(&body).map(Some).map_err(|e| retryable(e, None));
        }
        let why = refusal(status, &body);
        let transient = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        Err(if transient { retryable(why, after_s) } else { ExecuteError::Terminal(why) })
    }

    /// A change: once it was sent, only a clear answer says what became of it.
    async fn post<T: for<'de> Deserialize<'de>>(&self, url: Url, body: &Value) -> Result<T, ExecuteError> {
        let answer = self.send(Method::POST, url, Some(body)).await.map_err(|e| match e.is_connect() {
            true => retryable(text_of(&e), None),
            false => ExecuteError::OutcomeUnknown(text_of(&e)),
        })?;
        let status = answer.status();
        let after_s = retry_after(&answer);
        let body = body_of(answer).await.map_err(ExecuteError::OutcomeUnknown)?;
        if status.is_success() {
            return parse(&body).map_err(ExecuteError::OutcomeUnknown);
        }
        let why = refusal(status, &body);
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => retryable(why, after_s),
            // Not even a 500 says that nothing was done.
            status if status.is_server_error() => ExecuteError::OutcomeUnknown(why),
            StatusCode::BAD_REQUEST if is_duplicate(&body) => ExecuteError::OutcomeUnknown(why),
            _ => ExecuteError::Terminal(why),
        })
    }

    /// The one machine that the target's identifiers name.
    async fn machine(&self, request: &Request) -> Result<String, ExecuteError> {
        let names = || request.target.identifiers.iter().map(|e| &*e.value).filter(|v| is_plain(v));
        for id in names().filter(|v| is_machine_id(v)) {
            if let Some(machine) = self.get::<Machine>(self.url(&["machines", id], None)?).await? {
                return Ok(machine.id);
            }
        }
        let named = names().filter(|v| !is_machine_id(v));
        let full = named.clone().map(|name| format!("computerDnsName eq '{name}'"));
        let short = named.filter(|n| !n.contains('.')).map(|n| format!("startswith(computerDnsName,'{n}.')"));
        for filter in full.chain(short) {
            let page: Option<Page<Machine>> = self.get(self.url(&["machines"], Some(&filter))?).await?;
            match page.map(|p| p.value).unwrap_or_default().as_slice() {
                [] => {}
                [machine] => return Ok(machine.id.clone()),
                several => {
                    let text = format!("{} machines match {filter}: not acting on any", several.len());
                    return Err(ExecuteError::Terminal(text));
                }
            }
        }
        Err(ExecuteError::Terminal(format!("no machine is known as {}", request.target.entity.value)))
    }

    async fn machine_actions(&self, machine: &str) -> Result<Vec<MachineAction>, ExecuteError> {
        let filter = format!("machineId eq '{machine}'");
        let page: Option<Page<MachineAction>> =
            self.get(self.url(&["machineactions"], Some(&filter))?).await?;
        let mut actions = page.map(|p| p.value).unwrap_or_default();
        actions.retain(|a| a.kind == "Isolate" || a.kind == "Unisolate");
        actions.sort_by(|a, b| a.creation_date_time_utc.cmp(&b.creation_date_time_utc));
        Ok(actions)
    }
}

#[async_trait]
impl Executor for HttpExecutor {
    fn capability(&self) -> Capability {
        Capability { provider: "defender".to_owned(), verbs: Verb::ALL.to_vec(), cancellable: true }
    }

    async fn probe(&self, request: &Request) -> Result<Probe, ExecuteError> {
        let machine = self.machine(request).await?;
        let actions = self.machine_actions(&machine).await?;
        Ok(observe(&machine, &actions, request))
    }

    async fn execute(&self, request: &Request) -> Result<String, ExecuteError> {
        // Resolved again: between probe and dispatch a name may have come to mean two machines.
        let machine = self.machine(request).await?;
        let (path, body) = match request.verb {
            Verb::HostIsolate => {
                ("isolate", json!({"Comment": request.comment, "IsolationType": isolation(request)}))
            }
            Verb::HostRelease => ("unisolate", json!({"Comment": request.comment})),
        };
        let action: MachineAction = self.post(self.url(&["machines", &machine, path], None)?, &body).await?;
        Ok(action.id)
    }

    async fn poll(&self, _request: &Request, provider_ref: &str) -> Result<Progress, ExecuteError> {
        let action: Option<MachineAction> =
            self.get(self.url(&["machineactions", provider_ref], None)?).await?;
        let action =
            action.ok_or_else(|| ExecuteError::Terminal(format!("no machine action {provider_ref}")))?;
        Ok(match action.status.as_str() {
            "Pending" => Progress::Pending,
            "InProgress" => Progress::Running,
            "Succeeded" => Progress::Done,
            "Cancelled" | "Canceled" => Progress::Cancelled,
            other => Progress::Failed(format!("machine action ended as {}", bounded(other))),
        })
    }

    async fn cancel(&self, request: &Request, provider_ref: &str) -> Result<bool, ExecuteError> {
        let body = json!({"Comment": format!("{} cancelled", marker(&request.action))});
        let sent: Result<MachineAction, _> =
            self.post(self.url(&["machineactions", provider_ref, "cancel"], None)?, &body).await;
        match sent {
            Ok(action) => Ok(action.status.starts_with("Cancel")),
            // Refused, so it has ended: the next poll says how.
            Err(ExecuteError::Terminal(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What a machine's actions, oldest first, say about its isolation.
fn observe(machine: &str, actions: &[MachineAction], request: &Request) -> Probe {
    let ours = marker(&request.action);
    let comment = |a: &MachineAction| a.requestor_comment.clone().unwrap_or_default();
    // The marker ends where the id ends: `c-1` is not `c-12`.
    let is_ours = |a: &MachineAction| comment(a).split_whitespace().next() == Some(&*ours);
    let open = actions.iter().rev().find(|a| matches!(a.status.as_str(), "Pending" | "InProgress"));
    let last = actions.iter().rev().find(|a| a.status == "Succeeded");
    let holds = last.is_some_and(|a| a.kind == "Isolate");
    let state = if holds { "isolated" } else { "not isolated" };
    let by = last.map_or_else(|| "no machine action".to_owned(), |a| format!("machine action {}", a.id));
    Probe {
        holds,
        by_us: holds && last.is_some_and(|a| comment(a).starts_with(MARKER)),
        under_way: open.map(|a| UnderWay { provider_ref: a.id.clone(), ours: is_ours(a) }),
        evidence: bounded(&format!("machine {machine} is {state} ({by})")),
    }
}

fn isolation(request: &Request) -> &'static str {
    match request.args.get("isolation_type").map(String::as_str) {
        Some("selective") => "Selective",
        _ => "Full",
    }
}

/// Device ids of the API are 40 hexadecimal digits.
fn is_machine_id(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|c| c.is_ascii_hexdigit())
}

/// Names come from telemetry; only what a host name may hold goes into a filter.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

fn is_duplicate(body: &[u8]) -> bool {
    let error = serde_json::from_slice::<ErrorBody>(body).map(|b| b.error);
    error
        .is_ok_and(|e| e.code == "ActiveRequestAlreadyExists" || e.message.to_lowercase().contains("already"))
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { error }) => bounded(&format!("{} {}: {}", status.as_u16(), error.code, error.message)),
        Err(_) => format!("{} without a readable reason", status.as_u16()),
    }
}

fn retryable(message: String, after_s: Option<u32>) -> ExecuteError {
    ExecuteError::Retryable { message, after_s }
}

fn retry_after(answer: &Response) -> Option<u32> {
    answer.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()
}

fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| format!("unreadable answer: {e}"))
}

async fn body_of(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| text_of(&e))? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(format!("answer has over {BODY_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An HTTP error with its innermost cause; the address is left out, the token never stands in it.
fn text_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let what = match (error.is_timeout(), error.is_connect()) {
        (_, true) => "cannot connect to the EDR",
        (true, false) => "the EDR did not answer in time",
        (false, false) => "the connection to the EDR broke",
    };
    bounded(&format!("{what}: {cause}"))
}
