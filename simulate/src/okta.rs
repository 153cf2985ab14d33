//! A simulated Okta: accounts, their life cycle and their sessions, as far as responses need them, with faults to inject.
//! A double for tests and for the demo; it touches no real organisation.
//!
//! ```text
//! GET    /api/v1/users/{id or login}
//! GET    /api/v1/users?search=profile.email eq "x"&limit=&after=      the next page in Link
//! POST   /api/v1/users/{id}/lifecycle/suspend, unsuspend, expire_password                  200, 400
//! DELETE /api/v1/users/{id}/sessions?oauthTokens=&forgetDevices=                           204
//! GET    /api/v1/users/{id}/grants?limit=                                                  DELETE 204
//! GET    /simulator/okta                          the truth, and how often each change was carried out
//! POST   /simulator/faults                        see Faults
//! ```

mod state;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::provider::{Dialect, Faults, Server, now};
use state::State;

pub use state::{OktaTruth, OktaUser};

/// Users of a page where the request does not say, and at most.
const PAGE_USERS: usize = 200;

/// How to run the simulated Okta.
#[derive(Debug, Clone)]
pub struct OktaConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The API token that requests carry as `SSWS`.
    pub token: String,
    /// The OAuth access token that they may carry as `Bearer` instead.
    pub access_token: String,
    /// Logins of its users, which are their addresses, too.
    pub users: Vec<String>,
    /// Whether a user who is asked for by login is there even if nobody put them there.
    pub onboard_unknown: bool,
    /// Keeps everything over restarts and kills.
    pub state_file: Option<PathBuf>,
}

impl Default for OktaConfig {
    fn default() -> Self {
        OktaConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            token: "simulated-okta".to_owned(),
            access_token: "simulated-okta-access".to_owned(),
            users: Vec::new(),
            onboard_unknown: false,
            state_file: None,
        }
    }
}

/// A running simulated Okta; it stops when dropped.
#[derive(Debug)]
pub struct OktaSimulator {
    okta: Arc<Okta>,
    server: Server,
}

/// Shared by the handlers. The lock is held for in-memory steps and one small file write, never over an await.
#[derive(Debug)]
struct Okta {
    config: OktaConfig,
    state: Mutex<State>,
}

impl OktaSimulator {
    /// Starts the server in the present runtime.
    ///
    /// # Errors
    /// A busy address, or a state file that cannot be read.
    pub async fn start(config: OktaConfig) -> io::Result<Self> {
        let mut state = State::load(config.state_file.as_deref())?;
        config.users.iter().for_each(|login| state.onboard(login, login));
        let listen = config.listen;
        let okta = Arc::new(Okta { config, state: Mutex::new(state) });
        let server = Server::start(listen, router(Arc::clone(&okta))).await?;
        Ok(OktaSimulator { okta, server })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Everything as it is now.
    pub fn truth(&self) -> OktaTruth {
        self.okta.lock().truth.clone()
    }

    /// Sets the faults to inject from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.okta.lock().faults = faults;
    }

    /// Adds a user whose login is not their address.
    pub fn add_user(&self, login: &str, email: &str) {
        self.okta.lock().onboard(login, email);
    }

    /// Changes a user behind everybody's back, as an administrator does, or the user.
    pub fn change_user(&self, login: &str, change: impl FnOnce(&mut OktaUser)) {
        if let Some(user) = self.okta.lock().user_mut(login) {
            change(user);
        }
    }

    /// Runs until the server fails or the task is dropped; for a process that is nothing but the simulator.
    ///
    /// # Errors
    /// What ended the server.
    pub async fn wait(self) -> io::Result<()> {
        self.server.wait().await
    }
}

/// How Okta refuses.
struct Refusing;

impl Dialect for Refusing {
    fn failure(message: &str) -> Response {
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "E0000009", message)
    }

    /// The moment at which the count begins anew, in seconds of the epoch.
    fn too_many(retry_after_s: u32) -> Response {
        let at_s = now().micros() / 1_000_000 + i64::from(retry_after_s);
        let limits = [
            ("x-rate-limit-limit", "600".to_owned()),
            ("x-rate-limit-remaining", "0".to_owned()),
            ("x-rate-limit-reset", at_s.to_string()),
        ];
        let text = "API call exceeded rate limit due to too many requests.";
        (limits, refusal(StatusCode::TOO_MANY_REQUESTS, "E0000047", text)).into_response()
    }
}

impl Okta {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held would be a bug of ours; the state is plain data and still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as faults say, and checks the token.
    async fn enter(&self, headers: &HeaderMap) -> Result<(), Response> {
        let latency_ms = self.lock().faults.latency_ms;
        tokio::time::sleep(Duration::from_millis(latency_ms)).await;
        let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let OktaConfig { token, access_token, .. } = &self.config;
        if given == format!("SSWS {token}") || given == format!("Bearer {access_token}") {
            return Ok(());
        }
        Err(refusal(StatusCode::UNAUTHORIZED, "E0000011", "Invalid token provided"))
    }

    /// Carries out a change to a user under the faults of the moment, and writes it down before it is answered.
    fn change(
        &self,
        name: &str,
        id: &str,
        change: impl FnOnce(&mut OktaUser) -> Result<Response, Response>,
    ) -> Result<Response, Response> {
        let mut state = self.lock();
        let fate = state.faults.next::<Refusing>()?;
        let answer = change(state.user_mut(id).ok_or_else(|| unknown(id))?)?;
        *state.truth.changes.entry(name.to_owned()).or_default() += 1;
        state.save(self.config.state_file.as_deref()).map_err(|e| Refusing::failure(&e.to_string()))?;
        Ok(fate.answer::<Refusing>(answer))
    }
}

type Answer = Result<Response, Response>;
type Shape = Shared<Arc<Okta>>;

fn router(okta: Arc<Okta>) -> Router {
    Router::new()
        .route("/api/v1/users", get(find_users))
        .route("/api/v1/users/{id}", get(get_user))
        .route("/api/v1/users/{id}/lifecycle/{step}", post(lifecycle))
        .route("/api/v1/users/{id}/sessions", delete(end_sessions))
        .route("/api/v1/users/{id}/grants", get(find_grants).delete(revoke_grants))
        .route("/simulator/okta", get(show))
        .route("/simulator/faults", post(set_faults))
        .with_state(okta)
}

fn refusal(status: StatusCode, code: &str, summary: &str) -> Response {
    let body = json!({
        "errorCode": code, "errorSummary": summary, "errorLink": code, "errorId": "simulated", "errorCauses": [],
    });
    (status, Json(body)).into_response()
}

fn unknown(id: &str) -> Response {
    refusal(StatusCode::NOT_FOUND, "E0000007", &format!("Not found: Resource not found: {id} (User)"))
}

/// The address that a search asks for.
fn searched(search: &str) -> Option<&str> {
    let email = search.strip_prefix("profile.email eq \"")?.strip_suffix('"')?;
    (!email.contains('"')).then_some(email)
}

async fn find_users(
    Shared(okta): Shape,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    okta.enter(&headers).await?;
    let invalid = || refusal(StatusCode::BAD_REQUEST, "E0000031", "Invalid search criteria.");
    let search = query.get("search").map_or("", String::as_str);
    let email = searched(search).ok_or_else(invalid)?;
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (limit, after) =
        (number("limit").unwrap_or(PAGE_USERS).min(PAGE_USERS), number("after").unwrap_or(0));
    let state = okta.lock();
    let found: Vec<Value> =
        state.truth.users.values().filter(|u| u.email == email).map(OktaUser::resource).collect();
    let rows: Vec<&Value> = found.iter().skip(after).take(limit).collect();
    let next = after + rows.len();
    let answer = Json(&rows).into_response();
    if next >= found.len() {
        return Ok(answer);
    }
    let link = format!("</api/v1/users?limit={limit}&after={next}>; rel=\"next\"");
    Ok(([(header::LINK, link)], answer).into_response())
}

async fn get_user(Shared(okta): Shape, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    okta.enter(&headers).await?;
    let mut state = okta.lock();
    if okta.config.onboard_unknown && id.contains('@') {
        state.onboard(&id, &id);
    }
    state.user(&id).map(|user| Json(user.resource()).into_response()).ok_or_else(|| unknown(&id))
}

async fn lifecycle(
    Shared(okta): Shape,
    headers: HeaderMap,
    Path((id, step)): Path<(String, String)>,
) -> Answer {
    okta.enter(&headers).await?;
    let (from, to, problem) = match step.as_str() {
        "suspend" => ("ACTIVE", "SUSPENDED", "Cannot suspend a user that is not active"),
        "unsuspend" => ("SUSPENDED", "ACTIVE", "Cannot unsuspend a user that is not suspended"),
        "expire_password" => {
            ("ACTIVE", "PASSWORD_EXPIRED", "This operation is not allowed in the user's status.")
        }
        _ => return Err(refusal(StatusCode::NOT_FOUND, "E0000022", "The endpoint does not support it")),
    };
    okta.change(&step, &id, |user| {
        if user.status != from {
            let summary = format!("Api validation failed: {problem}");
            return Err(refusal(StatusCode::BAD_REQUEST, "E0000001", &summary));
        }
        user.status = to.to_owned();
        Ok(Json(if step == "expire_password" { user.resource() } else { json!({}) }).into_response())
    })
}

async fn end_sessions(
    Shared(okta): Shape,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    okta.enter(&headers).await?;
    let says = |name: &str| query.get(name).map(String::as_str);
    okta.change("end_sessions", &id, |user| {
        user.sessions = 0;
        if says("oauthTokens") == Some("true") {
            user.oauth_tokens = 0;
        }
        if says("forgetDevices") != Some("false") {
            user.remembered_devices = 0;
        }
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

async fn find_grants(Shared(okta): Shape, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    okta.enter(&headers).await?;
    let state = okta.lock();
    let user = state.user(&id).ok_or_else(|| unknown(&id))?;
    let grants: Vec<Value> = user.grants.iter().map(|client| state::grant(user, client)).collect();
    Ok(Json(grants).into_response())
}

async fn revoke_grants(Shared(okta): Shape, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    okta.enter(&headers).await?;
    okta.change("revoke_grants", &id, |user| {
        user.grants.clear();
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

async fn show(Shared(okta): Shape) -> Response {
    Json(&okta.lock().truth).into_response()
}

async fn set_faults(Shared(okta): Shape, Json(faults): Json<Faults>) -> StatusCode {
    okta.lock().faults = faults;
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_names_one_address() {
        assert_eq!(searched("profile.email eq \"a@b\""), Some("a@b"));
        for search in
            ["", "profile.login eq \"a\"", "profile.email eq a", "profile.email eq \"a\" or status eq \"x\""]
        {
            assert_eq!(searched(search), None, "{search}");
        }
    }
}
