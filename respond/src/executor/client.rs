//! The HTTP client of executors: what an answer, or none, says about what was done.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use super::answer::{body_of, is_duplicate, is_transient, parse, refusal, retryable, text_of, wait_s};
use super::authorization::{Authorization, Credential, now_s};
use crate::command::bounded;
use crate::error::RespondError;
use crate::work::ExecuteError;

/// Where and how to reach an API.
#[derive(Clone)]
pub struct ApiConfig {
    /// Base address, such as `https://api.security.microsoft.com`.
    pub base_url: String,
    /// Whether the address is itself the secret, as that of a chat's incoming webhook is: then it is never shown either,
    /// and there may be no credential.
    pub address_is_secret: bool,
    /// What the provider knows us by.
    pub credential: Credential,
    /// Scheme under which a token that stays goes out; where there is none, that of the connector file, or `Bearer`.
    pub scheme: Option<String>,
    /// Limit on connecting.
    pub connect_timeout: Duration,
    /// Limit on one request, its answer included.
    pub request_timeout: Duration,
}

impl ApiConfig {
    /// The usual limits: 5 s to connect, 15 s an answer.
    pub fn new(base_url: impl Into<String>, credential: impl Into<Credential>) -> Self {
        ApiConfig {
            base_url: base_url.into(),
            address_is_secret: false,
            credential: credential.into(),
            scheme: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(15),
        }
    }

    /// The same for an address that is itself the secret.
    pub fn at_secret_address(base_url: impl Into<String>) -> Self {
        ApiConfig { address_is_secret: true, ..ApiConfig::new(base_url, Credential::Nothing) }
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
            .field("credential", &self.credential)
            .field("scheme", &self.scheme)
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
    authorization: Authorization,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = shown(self.base.as_str(), self.address_is_secret);
        f.debug_struct("Client").field("base", &base).finish_non_exhaustive()
    }
}

/// An address of the web; `what` names it in the error.
pub(super) fn address(text: &str, what: &str) -> Result<Url, RespondError> {
    let bad = |problem: String| RespondError::BadInput(format!("{what}{problem}"));
    let url: Url = text.parse().map_err(|e| bad(format!(": {e}")))?;
    let is_address = matches!(url.scheme(), "http" | "https") && !url.cannot_be_a_base();
    is_address.then_some(url).ok_or_else(|| bad(" must begin with http:// or https://".to_owned()))
}

impl Client {
    /// # Errors
    /// [`RespondError::BadInput`] for an address that is none, or a credential that cannot be used.
    pub(super) fn new(config: ApiConfig) -> Result<Self, RespondError> {
        let what = "address of the API";
        let base = address(&config.base_url, what).map_err(|error| match config.address_is_secret {
            true => RespondError::BadInput(format!("{what}: expected http:// or https://")),
            false => error,
        })?;
        if matches!(config.credential, Credential::Nothing) && !config.address_is_secret {
            return Err(RespondError::BadInput("the API needs a token".to_owned()));
        }
        let authorization = Authorization::new(config.credential, config.scheme.as_deref())?;
        let http = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            // A redirect would carry the token, or the secret that fetches one, elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| RespondError::BadInput(format!("client of the API: {}", text_of(&e))))?;
        Ok(Client { http, base, address_is_secret: config.address_is_secret, authorization })
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

    /// Sends a request, and once more with a fresh token where the first was refused. The outer error says that
    /// nothing was sent, or nothing that was not refused.
    async fn send(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<Result<Response, reqwest::Error>, ExecuteError> {
        let header = self.authorization.header(&self.http).await?;
        let answer = self.send_as(header.as_ref(), method, url, body).await;
        let is_refused = answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED);
        if !is_refused || !self.authorization.forget(header.as_ref()).await {
            return Ok(answer);
        }
        let header = self.authorization.header(&self.http).await?;
        Ok(self.send_as(header.as_ref(), method, url, body).await)
    }

    async fn send_as(
        &self,
        authorization: Option<&HeaderValue>,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<Response, reqwest::Error> {
        let request = self.http.request(method.clone(), url.clone());
        let request = match authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
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
        let answer = self.send(&Method::GET, &url, None).await?.map_err(|e| retryable(text_of(&e), None))?;
        let status = answer.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let after_s = wait_s(status, answer.headers(), now_s());
        let body = body_of(answer).await.map_err(|e| retryable(e, None))?;
        if status.is_success() {
            return parse(&body).map(Some).map_err(|e| retryable(e, None));
        }
        let why = refusal(status, &body);
        Err(if is_transient(status) { retryable(why, after_s) } else { ExecuteError::Terminal(why) })
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
        let answer = self.send(&method, &url, body).await?.map_err(|e| match e.is_connect() {
            true => retryable(text_of(&e), None),
            false => ExecuteError::OutcomeUnknown(text_of(&e)),
        })?;
        let status = answer.status();
        let after_s = wait_s(status, answer.headers(), now_s());
        let body = body_of(answer).await.map_err(ExecuteError::OutcomeUnknown)?;
        if status.is_success() {
            return Ok(body);
        }
        let why = refusal(status, &body);
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => retryable(why, after_s),
            // Not even a 500 says that nothing was done.
            status if status.is_server_error() => ExecuteError::OutcomeUnknown(why),
            status if is_duplicate(status, &body) => ExecuteError::OutcomeUnknown(why),
            _ => ExecuteError::Terminal(why),
        })
    }
}
