//! The HTTP client of executors: what an answer, or none, says about what was done.

use std::fmt;
use std::time::Duration;

use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::command::bounded;
use crate::error::RespondError;
use crate::work::ExecuteError;

/// Longer answers are no answers of such an API (a page of 10,000 machine actions has about 8 MB; ours are of one
/// machine).
const BODY_BYTES_MAX: usize = 4 << 20;

/// Where and how to reach an API.
#[derive(Clone)]
pub struct ApiConfig {
    /// Base address, such as `https://api.security.microsoft.com`.
    pub base_url: String,
    /// Whether the address is itself the secret, as that of a chat's incoming webhook is: then it is never shown either,
    /// and there may be no token.
    pub address_is_secret: bool,
    /// Whose password the token is: then it goes out as `Basic` instead of `Bearer`.
    pub user: Option<String>,
    /// Bearer token, or the user's password. Never shown.
    pub token: String,
    /// Limit on connecting.
    pub connect_timeout: Duration,
    /// Limit on one request, its answer included.
    pub request_timeout: Duration,
}

impl ApiConfig {
    /// The usual limits: 5 s to connect, 15 s an answer.
    pub fn new(base_url: impl Into<String>, token: impl Into<String>) -> Self {
        ApiConfig {
            base_url: base_url.into(),
            address_is_secret: false,
            user: None,
            token: token.into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(15),
        }
    }

    /// The same for an address that is itself the secret.
    pub fn at_secret_address(base_url: impl Into<String>) -> Self {
        ApiConfig { address_is_secret: true, ..ApiConfig::new(base_url, "") }
    }
}

const REDACTED: &str = "(redacted)";

/// An address, where it may be shown.
fn shown(address: &str, is_secret: bool) -> &str {
    if is_secret { REDACTED } else { address }
}

impl fmt::Debug for ApiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiConfig")
            .field("base_url", &shown(&self.base_url, self.address_is_secret))
            .field("user", &self.user)
            .field("token", &REDACTED)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .finish()
    }
}

/// Sends requests to one API.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    address_is_secret: bool,
    user: Option<String>,
    token: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = shown(self.base.as_str(), self.address_is_secret);
        f.debug_struct("Client").field("base", &base).field("token", &REDACTED).finish()
    }
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

impl Client {
    /// # Errors
    /// [`RespondError::BadInput`] for an address that is none, or a user or token that cannot stand in a header.
    pub(super) fn new(config: ApiConfig) -> Result<Self, RespondError> {
        let bad = |text: String| RespondError::BadInput(text);
        let base: Url = config.base_url.parse().map_err(|e| bad(format!("address of the API: {e}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            let base = shown(base.as_str(), config.address_is_secret);
            return Err(bad(format!("address of the API {base}: expected http:// or https://")));
        }
        let is_missing = config.token.is_empty() && !config.address_is_secret;
        if is_missing || !config.token.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(bad("token of the API is empty or has characters that no token has".to_owned()));
        }
        let is_name = |user: &String| !user.is_empty() && !user.chars().any(|c| c.is_control() || c == ':');
        if !config.user.as_ref().is_none_or(is_name) {
            return Err(bad("user of the API is empty or has characters that no user has".to_owned()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            // A redirect would carry the token elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| bad(format!("client of the API: {}", text_of(&e))))?;
        let ApiConfig { address_is_secret, user, token, .. } = config;
        Ok(Client { http, base, address_is_secret, user, token })
    }

    /// The address itself.
    pub(super) fn base(&self) -> Url {
        self.base.clone()
    }

    /// The address of path segments below the base.
    pub(super) fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, ExecuteError> {
        let mut url = self.base.clone();
        let no_base = |()| ExecuteError::Terminal("the address of the API takes no path".to_owned());
        url.path_segments_mut().map_err(no_base)?.pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// The address of a path with its query, every value in it encoded.
    pub(super) fn at(&self, path: &str) -> Result<Url, ExecuteError> {
        let text = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let url: Url =
            text.parse().map_err(|e| ExecuteError::Terminal(format!("address of a request: {e}")))?;
        let is_below = url.origin() == self.base.origin()
            && url.as_str().starts_with(self.base.as_str())
            && self.base.query().is_none();
        let elsewhere = || ExecuteError::Terminal(format!("{} is no path of the API", bounded(path)));
        is_below.then_some(url).ok_or_else(elsewhere)
    }

    async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Response, reqwest::Error> {
        let request = self.http.request(method, url);
        let request = match &self.user {
            Some(user) => request.basic_auth(user, Some(&self.token)),
            None if self.token.is_empty() => request,
            None => request.bearer_auth(&self.token),
        };
        match body {
            Some(body) => request.json(body).send().await,
            None => request.send().await,
        }
    }

    /// A read: whatever goes wrong, nothing has changed. `None` is what is not there.
    pub(super) async fn read<T: for<'de> Deserialize<'de>>(
        &self,
        url: Url,
    ) -> Result<Option<T>, ExecuteError> {
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

    /// A change: once it was sent, only a clear answer says what became of it. An answer without a body is `null`.
    pub(super) async fn change(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<Value, ExecuteError> {
        let body = self.change_unread(method, url, body).await?;
        match body.is_empty() {
            true => Ok(Value::Null),
            false => parse(&body).map_err(ExecuteError::OutcomeUnknown),
        }
    }

    /// A change of whose answer the status alone says what became of it.
    pub(super) async fn change_unread(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<Vec<u8>, ExecuteError> {
        let answer = self.send(method, url, body).await.map_err(|e| match e.is_connect() {
            true => retryable(text_of(&e), None),
            false => ExecuteError::OutcomeUnknown(text_of(&e)),
        })?;
        let status = answer.status();
        let after_s = retry_after(&answer);
        let body = body_of(answer).await.map_err(ExecuteError::OutcomeUnknown)?;
        if status.is_success() {
            return Ok(body);
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
}

pub(super) fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| format!("unreadable answer: {e}"))
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
        (_, true) => "cannot connect to the provider",
        (true, false) => "the provider did not answer in time",
        (false, false) => "the connection to the provider broke",
    };
    bounded(&format!("{what}: {cause}"))
}
