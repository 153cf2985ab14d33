//! A simulated CrowdStrike Falcon: tokens, hosts, containment, grouping tags and indicators, as far as responses need
//! them, with faults to inject. A double for tests and for the demo; it touches no real host.
//!
//! ```text
//! POST   /oauth2/token                                 client_id, client_secret as a form      201, 403
//! GET    /devices/combined/devices/v1?filter=hostname:'x'&limit=&offset=
//! GET    /devices/entities/devices/v2?ids=x
//! POST   /devices/entities/devices-actions/v2?action_name=contain, lift_containment   {"ids"}  202, 404
//! PATCH  /devices/entities/devices/tags/v1             {"action", "device_ids", "tags"}        202, 404
//! GET    /iocs/combined/indicator/v1?filter=type:'sha256'+value:'x'
//! POST   /iocs/entities/indicators/v1                  {"comment", "indicators"}               201, 400
//! DELETE /iocs/entities/indicators/v1?ids=x&comment=x                                          200, 404
//! GET    /ods/queries/scans/v1?filter=description.keyword:'x'      ids
//! GET    /ods/entities/scans/v2?ids=x
//! POST   /ods/entities/scans/v1                        {"hosts", "file_paths", "description"}  201, 400
//! POST   /ods/entities/scan-control-actions/cancel/v1  {"ids"}                                 200, 404
//! GET    /simulator/falcon                             the truth, and how often each change was carried out
//! POST   /simulator/faults                             see Faults
//! ```

mod fql;
mod state;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Form, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::provider::{Dialect, Faults, Server, micros, now};
use fql::Filter;
use state::State;

pub use state::{FalconHost, FalconScan, FalconTruth};

/// Rows of a page where the request does not say.
const PAGE_ROWS: usize = 100;

/// How to run the simulated Falcon.
#[derive(Debug, Clone)]
pub struct FalconConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Id of the API client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// How long a token is good, in whole seconds.
    pub token_life: Duration,
    /// Names of its hosts, with or without their domain.
    pub hosts: Vec<String>,
    /// Whether a host that is asked for by its name is there even if nobody put it there.
    pub onboard_unknown: bool,
    /// How long a host takes to do what it is asked for.
    pub pending: Duration,
    /// Keeps everything but tokens over restarts and kills.
    pub state_file: Option<PathBuf>,
}

impl Default for FalconConfig {
    fn default() -> Self {
        FalconConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            client_id: "asterism".to_owned(),
            client_secret: "simulated-falcon".to_owned(),
            token_life: Duration::from_secs(1_799),
            hosts: Vec::new(),
            onboard_unknown: false,
            pending: Duration::from_millis(200),
            state_file: None,
        }
    }
}

/// A running simulated Falcon; it stops when dropped.
#[derive(Debug)]
pub struct FalconSimulator {
    falcon: Arc<Falcon>,
    server: Server,
}

/// Shared by the handlers. The lock is held for in-memory steps and one small file write, never over an await.
#[derive(Debug)]
struct Falcon {
    config: FalconConfig,
    state: Mutex<State>,
}

impl FalconSimulator {
    /// Starts the server in the present runtime.
    ///
    /// # Errors
    /// A busy address, or a state file that cannot be read.
    pub async fn start(config: FalconConfig) -> io::Result<Self> {
        let mut state = State::load(config.state_file.as_deref())?;
        config.hosts.iter().for_each(|name| state.onboard(name));
        let listen = config.listen;
        let falcon = Arc::new(Falcon { config, state: Mutex::new(state) });
        let server = Server::start(listen, router(Arc::clone(&falcon))).await?;
        Ok(FalconSimulator { falcon, server })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Everything as it is now.
    pub fn truth(&self) -> FalconTruth {
        self.falcon.lock().truth.clone()
    }

    /// Sets the faults to inject from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.falcon.lock().faults = faults;
    }

    /// Adds a host, even beside another one of the same name, as a second installation does; its agent id.
    pub fn install(&self, name: &str) -> String {
        self.falcon.lock().install(name)
    }

    /// Changes a host behind everybody's back: takes it off the network, or has an administrator act on it.
    pub fn change_host(&self, device_id: &str, change: impl FnOnce(&mut FalconHost)) {
        if let Some(host) = self.falcon.lock().truth.hosts.get_mut(device_id) {
            change(host);
        }
    }

    /// Ends every token before its time.
    pub fn revoke_tokens(&self) {
        self.falcon.lock().tokens.clear();
    }

    /// Runs until the server fails or the task is dropped; for a process that is nothing but the simulator.
    ///
    /// # Errors
    /// What ended the server.
    pub async fn wait(self) -> io::Result<()> {
        self.server.wait().await
    }
}

/// How Falcon refuses.
struct CrowdStrike;

impl Dialect for CrowdStrike {
    fn failure(message: &str) -> Response {
        refusal(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The moment from which on requests are taken again, in seconds of the epoch.
    fn too_many(retry_after_s: u32) -> Response {
        let at_s = now().micros() / 1_000_000 + i64::from(retry_after_s);
        let limits = [
            ("x-ratelimit-limit", "6000".to_owned()),
            ("x-ratelimit-remaining", "0".to_owned()),
            ("x-ratelimit-retryafter", at_s.to_string()),
        ];
        (limits, refusal(StatusCode::TOO_MANY_REQUESTS, "API rate limit exceeded.")).into_response()
    }
}

impl Falcon {
    /// The state at this moment.
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held would be a bug of ours; the state is plain data and still whole.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(micros(self.config.pending), now());
        state
    }

    /// Waits as long as faults say, and checks the token.
    async fn enter(&self, headers: &HeaderMap) -> Result<(), Response> {
        self.delay().await;
        let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let token = given.and_then(|given| given.strip_prefix("Bearer ")).unwrap_or_default();
        let is_good = self.lock().tokens.get(token).is_some_and(|until| *until > now());
        let refused = || refusal(StatusCode::UNAUTHORIZED, "access denied, invalid bearer token");
        is_good.then_some(()).ok_or_else(refused)
    }

    async fn delay(&self) {
        let latency_ms = self.lock().faults.latency_ms;
        tokio::time::sleep(Duration::from_millis(latency_ms)).await;
    }

    /// Carries out a change under the faults of the moment, and writes it down before it is answered.
    fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut State) -> Result<Response, Response>,
    ) -> Result<Response, Response> {
        let mut state = self.lock();
        let fate = state.faults.next::<CrowdStrike>()?;
        if state.faults.hidden_errors > 0 {
            state.faults.hidden_errors -= 1;
            return Ok(envelope(StatusCode::ACCEPTED, Vec::new(), vec![error(500, "injected, not done")]));
        }
        let answer = change(&mut state)?;
        *state.truth.changes.entry(name.to_owned()).or_default() += 1;
        state.save(self.config.state_file.as_deref()).map_err(|e| CrowdStrike::failure(&e.to_string()))?;
        Ok(fate.answer::<CrowdStrike>(answer))
    }
}

type Answer = Result<Response, Response>;
type Shape = Shared<Arc<Falcon>>;
type Asked = Query<HashMap<String, String>>;

fn router(falcon: Arc<Falcon>) -> Router {
    Router::new()
        .route("/oauth2/token", post(give_token))
        .route("/devices/combined/devices/v1", get(find_hosts))
        .route("/devices/entities/devices/v2", get(get_hosts))
        .route("/devices/entities/devices-actions/v2", post(act))
        .route("/devices/entities/devices/tags/v1", patch(tag))
        .route("/iocs/combined/indicator/v1", get(find_indicators))
        .route("/iocs/entities/indicators/v1", post(add_indicators).delete(remove_indicators))
        .route("/ods/queries/scans/v1", get(find_scans))
        .route("/ods/entities/scans/v2", get(get_scan))
        .route("/ods/entities/scans/v1", post(add_scan))
        .route("/ods/entities/scan-control-actions/cancel/v1", post(cancel_scans))
        .route("/simulator/falcon", get(show))
        .route("/simulator/faults", post(set_faults))
        .with_state(falcon)
}

fn error(code: u16, message: &str) -> Value {
    json!({"code": code, "message": message})
}

/// What every answer of Falcon looks like.
fn envelope(status: StatusCode, resources: Vec<Value>, errors: Vec<Value>) -> Response {
    let meta = json!({"query_time": 0.01, "powered_by": "simulator", "trace_id": "simulated"});
    (status, Json(json!({"meta": meta, "resources": resources, "errors": errors}))).into_response()
}

fn refusal(status: StatusCode, message: &str) -> Response {
    envelope(status, Vec::new(), vec![error(status.as_u16(), message)])
}

fn bad(message: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, message)
}

async fn give_token(Shared(falcon): Shape, Form(form): Form<HashMap<String, String>>) -> Answer {
    falcon.delay().await;
    let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
    let FalconConfig { client_id, client_secret, token_life, .. } = &falcon.config;
    if !is("client_id", client_id) || !is("client_secret", client_secret) {
        return Err(refusal(StatusCode::FORBIDDEN, "access denied, authorization failed"));
    }
    let token = falcon.lock().give_token(micros(*token_life), now());
    let granted = json!({"access_token": token, "token_type": "bearer", "expires_in": token_life.as_secs()});
    Ok((StatusCode::CREATED, Json(granted)).into_response())
}

/// One page of what fits the filter, with how much there is in all.
fn page(found: Vec<Value>, query: &HashMap<String, String>) -> Response {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (limit, offset) = (number("limit").unwrap_or(PAGE_ROWS), number("offset").unwrap_or(0));
    let total = found.len();
    let rows: Vec<Value> = found.into_iter().skip(offset).take(limit).collect();
    let next = offset + rows.len();
    let mut pagination = json!({"limit": limit, "total": total});
    if next < total {
        pagination["next"] = json!(next.to_string());
    }
    Json(json!({"meta": {"pagination": pagination}, "resources": rows, "errors": []})).into_response()
}

fn filter(query: &HashMap<String, String>) -> Result<Filter, Response> {
    let text = query.get("filter").map_or("", String::as_str);
    Filter::parse(text).ok_or_else(|| bad(&format!("invalid filter expression {text:?} supplied")))
}

async fn find_hosts(Shared(falcon): Shape, headers: HeaderMap, Query(query): Asked) -> Answer {
    falcon.enter(&headers).await?;
    let filter = filter(&query)?;
    let mut state = falcon.lock();
    if let Some(name) = filter.asks_for("hostname").filter(|_| falcon.config.onboard_unknown) {
        state.onboard(name);
    }
    let found = state.truth.hosts.values().map(FalconHost::resource).filter(|host| filter.matches(host));
    Ok(page(found.collect(), &query))
}

async fn get_hosts(Shared(falcon): Shape, headers: HeaderMap, Query(query): Asked) -> Answer {
    falcon.enter(&headers).await?;
    let id = query.get("ids").ok_or_else(|| bad("ids are missing"))?;
    let state = falcon.lock();
    match state.truth.hosts.get(id) {
        // It has no errors at all to show, not an empty list.
        Some(host) => Ok(Json(json!({"resources": [host.resource()], "errors": null})).into_response()),
        None => Err(refusal(StatusCode::NOT_FOUND, "device not found")),
    }
}

/// The ids that a body has under this name.
fn ids(body: &Value, name: &str) -> Result<Vec<String>, Response> {
    let ids: Option<Vec<String>> = serde_json::from_value(body[name].clone()).ok();
    ids.filter(|ids| !ids.is_empty()).ok_or_else(|| bad(&format!("{name} are missing")))
}

async fn act(
    Shared(falcon): Shape,
    headers: HeaderMap,
    Query(query): Asked,
    Json(body): Json<Value>,
) -> Answer {
    falcon.enter(&headers).await?;
    let name = query.get("action_name").map_or("", String::as_str);
    if !matches!(name, "contain" | "lift_containment") {
        return Err(bad("action_name is none of those that are known"));
    }
    let ids = ids(&body, "ids")?;
    falcon.change(name, |state| {
        each_host(state, &ids, |host| {
            host.ask(name == "contain", now());
            json!({"id": host.device_id, "path": format!("/devices/entities/devices/v2?ids={}", host.device_id)})
        })
    })
}

/// Does something to each host: what is known is done, what is not is told.
fn each_host(state: &mut State, ids: &[String], mut act: impl FnMut(&mut FalconHost) -> Value) -> Answer {
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    for id in ids {
        match state.truth.hosts.get_mut(id) {
            Some(host) => done.push(act(host)),
            None => errors.push(error(404, &format!("device {id} not found"))),
        }
    }
    match done.is_empty() {
        true => Err(envelope(StatusCode::NOT_FOUND, done, errors)),
        false => Ok(envelope(StatusCode::ACCEPTED, done, errors)),
    }
}

async fn tag(Shared(falcon): Shape, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    falcon.enter(&headers).await?;
    let action = body["action"].as_str().unwrap_or_default();
    if !matches!(action, "add" | "remove") {
        return Err(bad("action is neither add nor remove"));
    }
    let (hosts, tags) = (ids(&body, "device_ids")?, ids(&body, "tags")?);
    if tags.iter().any(|tag| !tag.starts_with("FalconGroupingTags/")) {
        return Err(bad("tags must be of the form FalconGroupingTags/"));
    }
    falcon.change(&format!("{action}_tag"), |state| {
        each_host(state, &hosts, |host| {
            match action {
                "add" => host.tags.extend(tags.iter().cloned()),
                _ => host.tags.retain(|tag| !tags.contains(tag)),
            }
            json!({"device_id": host.device_id, "updated": true, "code": 200})
        })
    })
}

async fn find_indicators(Shared(falcon): Shape, headers: HeaderMap, Query(query): Asked) -> Answer {
    falcon.enter(&headers).await?;
    let filter = filter(&query)?;
    let state = falcon.lock();
    let found = state.truth.indicators.values().filter(|indicator| filter.matches(indicator));
    Ok(page(found.cloned().collect(), &query))
}

/// What is wrong with an indicator.
fn fault_of(indicator: &Value) -> Option<&'static str> {
    let is_hash = matches!(indicator["type"].as_str(), Some("sha256" | "md5"));
    let is_known = is_hash || matches!(indicator["type"].as_str(), Some("domain" | "ipv4" | "ipv6"));
    let needs_severity = matches!(indicator["action"].as_str(), Some("detect" | "prevent"));
    let checks = [
        (is_known && indicator["value"].is_string(), "type or value is invalid"),
        (is_hash || indicator["action"] != "prevent", "action prevent is only for hashes"),
        (!needs_severity || indicator["severity"].is_string(), "severity is missing"),
        (indicator["platforms"].as_array().is_some_and(|list| !list.is_empty()), "platforms are missing"),
        (
            indicator["applied_globally"] == true || indicator["host_groups"].is_array(),
            "host_groups are missing",
        ),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, fault)| fault)
}

async fn add_indicators(Shared(falcon): Shape, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    falcon.enter(&headers).await?;
    let indicators = body["indicators"].as_array().filter(|list| !list.is_empty());
    let indicators = indicators.ok_or_else(|| bad("indicators are missing"))?;
    if let Some(fault) = indicators.iter().find_map(fault_of) {
        return Err(bad(fault));
    }
    falcon.change("add_indicator", |state| {
        let added: Option<Vec<Value>> =
            indicators.iter().map(|indicator| state.add_indicator(indicator.clone())).collect();
        let duplicate = || bad("duplicate combination of type and value");
        Ok(envelope(StatusCode::CREATED, added.ok_or_else(duplicate)?, Vec::new()))
    })
}

async fn remove_indicators(Shared(falcon): Shape, headers: HeaderMap, Query(query): Asked) -> Answer {
    falcon.enter(&headers).await?;
    let id = query.get("ids").ok_or_else(|| bad("ids are missing"))?;
    falcon.change("remove_indicator", |state| {
        let missing = || refusal(StatusCode::NOT_FOUND, "indicator not found");
        state.truth.indicators.remove(id).ok_or_else(missing)?;
        Ok(envelope(StatusCode::OK, vec![json!(id)], Vec::new()))
    })
}

async fn find_scans(Shared(falcon): Shape, headers: HeaderMap, Query(query): Asked) -> Answer {
    falcon.enter(&headers).await?;
    let filter = filter(&query)?;
    let state = falcon.lock();
    let found = state.truth.scans.values().filter(|scan| filter.matches(&scan.resource()));
    Ok(page(found.map(|scan| json!(scan.id)).collect(), &query))
}

async fn get_scan(Shared(falcon): Shape, headers: HeaderMap, Query(query): Asked) -> Answer {
    falcon.enter(&headers).await?;
    let id = query.get("ids").ok_or_else(|| bad("ids are missing"))?;
    let state = falcon.lock();
    let scan = state.truth.scans.get(id).ok_or_else(|| refusal(StatusCode::NOT_FOUND, "scan not found"))?;
    Ok(envelope(StatusCode::OK, vec![scan.resource()], Vec::new()))
}

async fn add_scan(Shared(falcon): Shape, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    falcon.enter(&headers).await?;
    let (hosts, paths) = (ids(&body, "hosts")?, ids(&body, "file_paths")?);
    let description = body["description"].as_str().unwrap_or_default();
    falcon.change("scan", |state| {
        if hosts.iter().any(|id| !state.truth.hosts.contains_key(id)) {
            return Err(bad("hosts are unknown"));
        }
        let scan = state.add_scan(description, hosts, paths, now());
        Ok(envelope(StatusCode::CREATED, vec![scan], Vec::new()))
    })
}

async fn cancel_scans(Shared(falcon): Shape, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    falcon.enter(&headers).await?;
    let ids = ids(&body, "ids")?;
    falcon.change("cancel_scan", |state| {
        let scans = &mut state.truth.scans;
        if ids.iter().any(|id| !scans.contains_key(id)) {
            return Err(refusal(StatusCode::NOT_FOUND, "scan not found"));
        }
        let mut stopped = Vec::new();
        for id in &ids {
            if scans.get_mut(id).is_some_and(FalconScan::cancel) {
                stopped.push(json!(id));
            }
        }
        Ok(envelope(StatusCode::OK, stopped, Vec::new()))
    })
}

async fn show(Shared(falcon): Shape) -> Response {
    Json(&falcon.lock().truth).into_response()
}

async fn set_faults(Shared(falcon): Shape, Json(faults): Json<Faults>) -> StatusCode {
    falcon.lock().faults = faults;
    StatusCode::NO_CONTENT
}
