//! How a provider knows us: a token that stays, or tokens that are fetched for client credentials (RFC 6749, section
//! 4.4) and kept in memory until they are to be renewed. Nothing here is shown or stored.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::answer::{body_of, is_transient, retryable, text_of, wait_s};
use super::assertion::Signer;
use crate::error::RespondError;
use crate::work::ExecuteError;

/// The scheme of a token where nobody names one (RFC 6750).
const BEARER: &str = "Bearer";

/// A token of unknown life is renewed after this; those that live shorter are found out by their 401.
const LIFE_DEFAULT_S: u64 = 300;

/// No token is kept longer, whatever its endpoint says.
const LIFE_MAX_S: u64 = 86_400;

/// What says that an assertion is a signed one (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The error codes of token endpoints (RFC 6749, section 5.2). Nothing else of a refusal is told: an endpoint may say
/// the secret back.
const REFUSALS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Secret(text.into())
    }
}

/// What a provider knows us by.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A token that stays.
    Token(Secret),
    /// A user's password, which goes out as `Basic` (RFC 7617).
    Password {
        /// Whose it is.
        user: String,
        /// The password.
        password: Secret,
    },
    /// Credentials for which a token endpoint gives bearer tokens.
    Client(ClientCredentials),
    /// Nothing: the address is the secret.
    Nothing,
}

/// OAuth 2.0 client credentials. They go out in the body of the request for a token.
#[derive(Debug, Clone)]
pub struct ClientCredentials {
    /// Address of the token endpoint.
    pub token_url: String,
    /// Id of the client.
    pub client_id: String,
    /// How the client proves that it is it.
    pub proof: Proof,
    /// What a token is wanted for, where the endpoint must be told.
    pub scope: Option<String>,
}

/// How a client proves to a token endpoint that it is the client.
#[derive(Debug, Clone)]
pub enum Proof {
    /// By a secret, which goes out (`client_secret_post`).
    Secret(Secret),
    /// By signing who it is, for a short while and this endpoint alone (`private_key_jwt`, RFC 7523): the key stays here.
    Key {
        /// The private key, in PEM (PKCS #8): RSA, or of the curve P-256.
        pem: Secret,
        /// Which of the client's keys it is, where the endpoint knows several.
        id: Option<String>,
    },
}

impl<T: Into<Secret>> From<T> for Proof {
    fn from(secret: T) -> Self {
        Proof::Secret(secret.into())
    }
}

impl<T: Into<Secret>> From<T> for Credential {
    fn from(token: T) -> Self {
        Credential::Token(token.into())
    }
}

impl From<ClientCredentials> for Credential {
    fn from(credentials: ClientCredentials) -> Self {
        Credential::Client(credentials)
    }
}

/// Whether a text can stand as the scheme of an `Authorization` header (RFC 9110, section 11.1).
pub(crate) fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c))
}

/// Gives requests their `Authorization`.
pub(super) enum Authorization {
    Nothing,
    Fixed(HeaderValue),
    Fetched(Box<TokenSource>),
}

impl Authorization {
    /// # Errors
    /// [`RespondError::BadInput`] for a token or scheme that cannot stand in a header, an address that is none, or
    /// credentials without id or secret.
    pub(super) fn new(credential: Credential, scheme: Option<&str>) -> Result<Self, RespondError> {
        let bad = |text: &str| RespondError::BadInput(text.to_owned());
        match credential {
            Credential::Token(token) => {
                let scheme = scheme.unwrap_or(BEARER);
                if !is_scheme(scheme) {
                    return Err(bad("scheme of the token is none that can stand in a header"));
                }
                let header = header_of(scheme, token.reveal());
                let problem = "token of the API is empty or has characters that no token has";
                Ok(Authorization::Fixed(header.ok_or_else(|| bad(problem))?))
            }
            Credential::Password { user, password } => {
                let is_name = !user.is_empty() && !user.chars().any(|c| c.is_control() || c == ':');
                if !is_name {
                    return Err(bad("user of the API is empty or has characters that no user has"));
                }
                if password.reveal().is_empty() {
                    return Err(bad("password of the API is empty"));
                }
                let header = header_of("Basic", &BASE64.encode(format!("{user}:{}", password.reveal())));
                Ok(Authorization::Fixed(header.ok_or_else(|| bad("password of the API cannot be sent"))?))
            }
            Credential::Nothing => Ok(Authorization::Nothing),
            Credential::Client(credentials) => {
                let source = TokenSource::new(credentials)?;
                Ok(Authorization::Fetched(Box::new(source)))
            }
        }
    }

    /// The header of the next request. Where there is none, nothing was sent to the API.
    pub(super) async fn header(&self, http: &reqwest::Client) -> Result<Option<HeaderValue>, ExecuteError> {
        match self {
            Authorization::Nothing => Ok(None),
            Authorization::Fixed(header) => Ok(Some(header.clone())),
            Authorization::Fetched(source) => source.header(http).await.map(Some),
        }
    }

    /// Forgets a token that was refused; whether another one can be fetched.
    pub(super) async fn forget(&self, refused: Option<&HeaderValue>) -> bool {
        let Authorization::Fetched(source) = self else { return false };
        let mut kept = source.token.lock().await;
        if kept.as_ref().is_some_and(|token| Some(&token.header) == refused) {
            *kept = None;
        }
        true
    }
}

/// `<scheme> <token>`, where the token is one.
fn header_of(scheme: &str, token: &str) -> Option<HeaderValue> {
    let is_token = !token.is_empty() && token.bytes().all(|c| c.is_ascii_graphic());
    let mut header = HeaderValue::from_str(&format!("{scheme} {token}")).ok().filter(|_| is_token)?;
    header.set_sensitive(true);
    Some(header)
}

/// What a client proves itself by, ready for use.
enum Prover {
    Secret(Secret),
    Key(Signer),
}

/// Fetches tokens and keeps the last one.
pub(super) struct TokenSource {
    client_id: String,
    prover: Prover,
    scope: Option<String>,
    endpoint: Url,
    /// Locked while one is fetched, so that requests that come meanwhile wait for it and do not fetch their own.
    token: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    renew_at: Instant,
}

/// What a token endpoint answers.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl TokenSource {
    fn new(credentials: ClientCredentials) -> Result<Self, RespondError> {
        let ClientCredentials { token_url, client_id, proof, scope } = credentials;
        let bad = |text: &str| Err(RespondError::BadInput(text.to_owned()));
        let prover = match proof {
            Proof::Secret(secret) if secret.reveal().is_empty() => {
                return bad("client credentials of the API need an id and a secret");
            }
            Proof::Secret(secret) => Prover::Secret(secret),
            Proof::Key { pem, id } => match Signer::new(pem.reveal(), id) {
                Ok(signer) => Prover::Key(signer),
                Err(problem) => return bad(&format!("private key of the client: {problem}")),
            },
        };
        if client_id.is_empty() {
            return bad("client credentials of the API need an id and a secret");
        }
        let endpoint = super::client::address(&token_url, "address of the token endpoint")?;
        Ok(TokenSource { client_id, prover, scope, endpoint, token: Mutex::new(None) })
    }

    async fn header(&self, http: &reqwest::Client) -> Result<HeaderValue, ExecuteError> {
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| Instant::now() < token.renew_at) {
            return Ok(token.header.clone());
        }
        let token = self.fetch(http).await?;
        let header = token.header.clone();
        *kept = Some(token);
        Ok(header)
    }

    async fn fetch(&self, http: &reqwest::Client) -> Result<Token, ExecuteError> {
        let asked_at = Instant::now();
        let broken = |text: String| retryable(format!("token endpoint: {text}"), None);
        let form = self.form().map_err(ExecuteError::Terminal)?;
        let request = http.post(self.endpoint.clone()).body(form);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = request.send().await.map_err(|e| broken(text_of(&e)))?;
        let (status, after_s) = (answer.status(), wait_s(answer.status(), answer.headers(), now_s()));
        let body = body_of(answer).await.map_err(broken)?;
        if !status.is_success() {
            let why = refusal(status, &body);
            return Err(if is_transient(status) {
                retryable(why, after_s)
            } else {
                ExecuteError::Terminal(why)
            });
        }
        granted(&body, asked_at)
            .ok_or_else(|| ExecuteError::Terminal("token endpoint: it gave no bearer token".to_owned()))
    }

    /// The request for a token, encoded as a form.
    fn form(&self) -> Result<String, String> {
        let mut form = self.endpoint.clone();
        let mut pairs = form.query_pairs_mut();
        pairs
            .clear()
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client_id);
        match &self.prover {
            Prover::Secret(secret) => pairs.append_pair("client_secret", secret.reveal()),
            Prover::Key(signer) => {
                let assertion = signer.assertion(&self.client_id, self.endpoint.as_str(), now_s())?;
                pairs
                    .append_pair("client_assertion_type", ASSERTION_TYPE)
                    .append_pair("client_assertion", &assertion)
            }
        };
        pairs.extend_pairs(self.scope.iter().map(|scope| ("scope", scope)));
        drop(pairs);
        Ok(form.query().unwrap_or_default().to_owned())
    }
}

/// The token of an answer. It is renewed when nine tenths of its life are over, so that none ends on its way.
fn granted(body: &[u8], asked_at: Instant) -> Option<Token> {
    let granted: Granted = serde_json::from_slice(body).ok()?;
    let is_bearer = granted.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case(BEARER));
    let header = header_of(BEARER, &granted.access_token).filter(|_| is_bearer)?;
    let life_s = granted.expires_in.unwrap_or(LIFE_DEFAULT_S).min(LIFE_MAX_S);
    Some(Token { header, renew_at: asked_at + Duration::from_secs(life_s) * 9 / 10 })
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    let refused = serde_json::from_slice::<Refused>(body).map(|refused| refused.error).unwrap_or_default();
    match REFUSALS.iter().find(|code| **code == refused) {
        Some(code) => format!("token endpoint: {} {code}", status.as_u16()),
        None => format!("token endpoint: {}", status.as_u16()),
    }
}

/// Seconds of the epoch.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
