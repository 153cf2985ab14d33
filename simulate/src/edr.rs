//! A simulated EDR: an HTTP server that takes machine actions as the Defender for Endpoint API does, with faults to
//! inject. A double for tests and for the demo; it touches no real machine.
//!
//! ```text
//! GET  /api/machines?$filter=computerDnsName eq 'x'    (also startswith(computerDnsName,'x'))
//! GET  /api/machines/{id or name}
//! POST /api/machines/{id}/isolate     {"Comment", "IsolationType"}     201, 400, 404, 429
//! POST /api/machines/{id}/unisolate   {"Comment"}                      the same; also restrictCodeExecution,
//!                                     unrestrictCodeExecution, collectInvestigationPackage, offboard
//! POST /api/machines/{id}/runAntiVirusScan {"Comment", "ScanType"}
//! POST /api/machines/{id}/StopAndQuarantineFile {"Comment", "Sha1"}    of a file that the vendor signed it ends as Failed
//! GET  /api/files/{SHA-1 or SHA-256}
//! GET  /api/indicators?$filter=indicatorValue eq 'x'
//! POST /api/indicators                {"indicatorValue", "indicatorType", "action", "title", "description", ...}
//!                                     one for a value: what is there is replaced
//! DELETE /api/indicators/{id}         204, 404
//! GET  /api/machineactions?$filter=machineId eq 'x'
//! GET  /api/machineactions/{id}
//! POST /api/machineactions/{id}/cancel {"Comment"}
//! GET  /simulator/machines            the truth: is it isolated, how often was it asked for
//! POST /simulator/machines            {"computerDnsName", "online"}    onboard, or set online
//! POST /simulator/faults              see Faults
//! ```

mod indicator;
mod state;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::provider::{
    self, Faults, Microsoft, Server, bad_filter, literal, micros, now, refusal, too_many, unknown,
};
use state::{Durations, MachineAction, State};

pub use state::{EdrFile, EdrIndicator, EdrMachine};

/// How to run the simulated EDR.
#[derive(Debug, Clone)]
pub struct EdrConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The bearer token that requests must carry.
    pub token: String,
    /// DNS names of its machines.
    pub machines: Vec<String>,
    /// Whether a machine asked for by its exact name is onboarded if it is unknown, and a file was seen that is asked for
    /// by its SHA-256.
    pub onboard_unknown: bool,
    /// How long an action stays `Pending`.
    pub pending: Duration,
    /// How long it then stays `InProgress`.
    pub running: Duration,
    /// Keeps machines and actions over restarts and kills.
    pub state_file: Option<PathBuf>,
}

impl Default for EdrConfig {
    fn default() -> Self {
        EdrConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            token: "simulated-edr".to_owned(),
            machines: Vec::new(),
            onboard_unknown: false,
            pending: Duration::from_millis(200),
            running: Duration::from_millis(300),
            state_file: None,
        }
    }
}

/// A running simulated EDR; it stops when dropped.
#[derive(Debug)]
pub struct EdrSimulator {
    edr: Arc<Edr>,
    server: Server,
}

/// Shared by the handlers. The lock is held for in-memory steps and one small file write, never over an await.
#[derive(Debug)]
struct Edr {
    config: EdrConfig,
    state: Mutex<State>,
}

impl EdrSimulator {
    /// Starts the server in the present runtime.
    ///
    /// # Errors
    /// A busy address, or a state file that cannot be read.
    pub async fn start(config: EdrConfig) -> io::Result<Self> {
        let mut state = State::load(config.state_file.as_deref())?;
        config.machines.iter().for_each(|name| {
            state.onboard(name);
        });
        let listen = config.listen;
        let edr = Arc::new(Edr { config, state: Mutex::new(state) });
        let server = Server::start(listen, router(Arc::clone(&edr))).await?;
        Ok(EdrSimulator { edr, server })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The machines as they are now, by DNS name.
    pub fn machines(&self) -> Vec<EdrMachine> {
        let mut machines: Vec<_> = self.edr.lock().machines.values().cloned().collect();
        machines.sort_by(|a, b| a.computer_dns_name.cmp(&b.computer_dns_name));
        machines
    }

    /// The indicators as they are now, by value.
    pub fn indicators(&self) -> Vec<EdrIndicator> {
        self.edr.lock().indicators.values().cloned().collect()
    }

    /// Makes a file known, as one that was seen on some machine is.
    pub fn add_file(&self, file: EdrFile) {
        self.edr.lock().files.push(file);
    }

    /// Sets the faults to inject from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.edr.lock().faults = faults;
    }

    /// Takes a machine on or off the network of the EDR.
    pub fn set_online(&self, computer_dns_name: &str, online: bool) {
        let mut state = self.edr.lock();
        let id = state.onboard(computer_dns_name).id;
        if let Some(machine) = state.machines.get_mut(&id) {
            machine.online = online;
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

impl Edr {
    fn raw(&self) -> MutexGuard<'_, State> {
        // A panic while it was held would be a bug of ours; the state is plain data and still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state at this moment.
    fn lock(&self) -> MutexGuard<'_, State> {
        let durations =
            Durations { pending_us: micros(self.config.pending), running_us: micros(self.config.running) };
        let mut state = self.raw();
        state.advance(durations, now());
        state
    }

    /// Writes the state file before the answer goes out.
    fn save(&self, state: &State) -> Result<(), Response> {
        let saved = state.save(self.config.state_file.as_deref());
        saved.map_err(|e| provider::failure(&e.to_string()))
    }

    async fn enter(&self, headers: &HeaderMap) -> Result<(), Response> {
        let latency_ms = self.raw().faults.latency_ms;
        tokio::time::sleep(Duration::from_millis(latency_ms)).await;
        provider::authorised(headers, &self.config.token)
    }
}

type Answer = Result<Response, Response>;

fn router(edr: Arc<Edr>) -> Router {
    Router::new()
        .route("/api/machines", get(find_machines))
        .route("/api/machines/{id}", get(get_machine))
        .route("/api/machines/{id}/{action}", post(change))
        .route("/api/files/{id}", get(get_file))
        .route("/api/indicators", get(indicator::find).post(indicator::submit))
        .route("/api/indicators/{id}", delete(indicator::remove))
        .route("/api/machineactions", get(find_actions))
        .route("/api/machineactions/{id}", get(get_action))
        .route("/api/machineactions/{id}/cancel", post(cancel))
        .route("/simulator/machines", get(show_machines).post(set_machine))
        .route("/simulator/faults", post(set_faults))
        .with_state(edr)
}

async fn find_machines(
    Shared(edr): Shared<Arc<Edr>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    edr.enter(&headers).await?;
    let mut state = edr.lock();
    let filter = query.get("$filter").map_or("", String::as_str);
    let matches: Box<dyn Fn(&EdrMachine) -> bool> = match filter {
        "" => Box::new(|_| true),
        _ => match (
            literal(filter, "computerDnsName eq ", ""),
            literal(filter, "startswith(computerDnsName,", ")"),
        ) {
            (Some(name), _) => {
                if edr.config.onboard_unknown && state.machine(&name).is_none() {
                    state.onboard(&name);
                    edr.save(&state)?;
                }
                Box::new(move |m| m.computer_dns_name == name)
            }
            (_, Some(prefix)) => Box::new(move |m| m.computer_dns_name.starts_with(&prefix)),
            _ => return Err(bad_filter(filter)),
        },
    };
    let found: Vec<Value> = state.machines.values().filter(|m| matches(m)).map(machine_json).collect();
    Ok(Json(json!({"@odata.context": "$metadata#Machines", "value": found})).into_response())
}

async fn get_machine(Shared(edr): Shared<Arc<Edr>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    edr.enter(&headers).await?;
    let found = edr.lock().machine(&id).map(machine_json);
    found.map(|m| Json(m).into_response()).ok_or_else(|| unknown("machine", &id))
}

/// The actions of a machine by the last part of their path: their type, and the field that says how, with what it may
/// say, the default first.
const ACTIONS: [(&str, &str, Option<(&str, &[&str])>); 8] = [
    ("isolate", "Isolate", Some(("IsolationType", &["Full", "Selective", "UnManagedDevice"]))),
    ("unisolate", "Unisolate", None),
    ("restrictCodeExecution", "RestrictCodeExecution", None),
    ("unrestrictCodeExecution", "UnrestrictCodeExecution", None),
    ("runAntiVirusScan", "RunAntiVirusScan", Some(("ScanType", &["Quick", "Full"]))),
    ("collectInvestigationPackage", "CollectInvestigationPackage", None),
    ("offboard", "Offboard", None),
    (QUARANTINE, QUARANTINE, None),
];

const QUARANTINE: &str = "StopAndQuarantineFile";

async fn change(
    Shared(edr): Shared<Arc<Edr>>,
    headers: HeaderMap,
    Path((id, action)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    edr.enter(&headers).await?;
    let found = ACTIONS.iter().find(|(path, ..)| *path == action);
    let (_, kind, how) = found.ok_or_else(|| unknown("action", &action))?;
    let (comment, scope) = change_body(&body, *how)?;
    let file = if *kind == QUARANTINE { Some(file_of(&body)?) } else { None };
    let mut state = edr.lock();
    let machine = state.machine(&id).ok_or_else(|| unknown("machine", &id))?.id.clone();
    if !state.within_rate(now()) {
        return Err(too_many(60));
    }
    let fate = state.faults.next::<Microsoft>()?;
    if state.is_busy(&machine, kind, file.as_deref()) {
        let text = "an action of this kind is already in progress on this machine";
        return Err(refusal(StatusCode::BAD_REQUEST, "ActiveRequestAlreadyExists", text));
    }
    let action = state.request(&machine, kind, scope.as_deref(), file.as_deref(), &comment, now());
    edr.save(&state)?;
    Ok(fate.answer::<Microsoft>((StatusCode::CREATED, Json(action)).into_response()))
}

/// Comment, and what the field for it says of the how; the names are case-sensitive, as the vendor's are.
fn change_body(body: &[u8], how: Option<(&str, &[&str])>) -> Result<(String, Option<String>), Response> {
    let bad = |code, text: &str| refusal(StatusCode::BAD_REQUEST, code, text);
    let body: Value = serde_json::from_slice(body).map_err(|e| bad("InvalidRequestBody", &e.to_string()))?;
    let comment = body["Comment"].as_str().filter(|c| !c.is_empty());
    let comment = comment.ok_or_else(|| bad("MissingRequiredParameter", "parameter Comment is missing"))?;
    let Some((field, values)) = how else { return Ok((comment.to_owned(), None)) };
    let said = body.get(field).map_or(values.first().copied(), Value::as_str);
    match said.filter(|said| values.contains(said)) {
        Some(said) => Ok((comment.to_owned(), Some(said.to_owned()))),
        None => Err(bad("InvalidInput", &format!("{field} is none of {}", values.join(", ")))),
    }
}

/// The file that a body names.
fn file_of(body: &[u8]) -> Result<String, Response> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let sha1 =
        body["Sha1"].as_str().filter(|sha1| sha1.len() == 40 && sha1.bytes().all(|c| c.is_ascii_hexdigit()));
    let bad = || refusal(StatusCode::BAD_REQUEST, "InvalidInput", "parameter Sha1 is missing or no SHA-1");
    sha1.map(str::to_lowercase).ok_or_else(bad)
}

async fn get_file(Shared(edr): Shared<Arc<Edr>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    edr.enter(&headers).await?;
    let mut state = edr.lock();
    if edr.config.onboard_unknown && id.len() == 64 {
        state.see_file(&id.to_lowercase());
    }
    let is_it =
        |file: &&EdrFile| [&file.sha1, &file.sha256].iter().any(|hash| hash.eq_ignore_ascii_case(&id));
    let found = state.files.iter().find(is_it).map(|file| Json(file).into_response());
    found.ok_or_else(|| unknown("file", &id))
}

async fn find_actions(
    Shared(edr): Shared<Arc<Edr>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    edr.enter(&headers).await?;
    let filter = query.get("$filter").map_or("", String::as_str);
    let machine = literal(filter, "machineId eq ", "");
    if machine.is_none() && !filter.is_empty() {
        return Err(bad_filter(filter));
    }
    let state = edr.lock();
    let found = state.actions.iter().rev().filter(|a| machine.as_ref().is_none_or(|m| a.machine_id == *m));
    let found: Vec<&MachineAction> = found.collect();
    Ok(Json(json!({"@odata.context": "$metadata#MachineActions", "value": found})).into_response())
}

async fn get_action(Shared(edr): Shared<Arc<Edr>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    edr.enter(&headers).await?;
    let found = edr.lock().actions.iter().find(|a| a.id == id).cloned();
    found.map(|a| Json(a).into_response()).ok_or_else(|| unknown("machine action", &id))
}

async fn cancel(
    Shared(edr): Shared<Arc<Edr>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    edr.enter(&headers).await?;
    let (comment, _) = change_body(&body, None)?;
    let mut state = edr.lock();
    let fate = state.faults.next::<Microsoft>()?;
    let action = state.cancel(&id, &comment, now()).ok_or_else(|| unknown("open machine action", &id))?;
    edr.save(&state)?;
    Ok(fate.answer::<Microsoft>(Json(action).into_response()))
}

async fn show_machines(Shared(edr): Shared<Arc<Edr>>) -> Answer {
    let state = edr.lock();
    edr.save(&state)?;
    Ok(Json(state.machines.values().collect::<Vec<_>>()).into_response())
}

async fn set_machine(Shared(edr): Shared<Arc<Edr>>, Json(body): Json<Value>) -> Answer {
    let name =
        body["computerDnsName"].as_str().ok_or_else(|| unknown("machine", "without computerDnsName"))?;
    let mut state = edr.lock();
    let mut machine = state.onboard(name);
    machine.online = body["online"].as_bool().unwrap_or(true);
    state.machines.insert(machine.id.clone(), machine.clone());
    edr.save(&state)?;
    Ok(Json(machine).into_response())
}

async fn set_faults(Shared(edr): Shared<Arc<Edr>>, Json(faults): Json<Faults>) -> StatusCode {
    edr.raw().faults = faults;
    StatusCode::NO_CONTENT
}

/// A machine as the vendor shows it: the resource has no isolation state.
fn machine_json(machine: &EdrMachine) -> Value {
    json!({
        "id": machine.id,
        "computerDnsName": machine.computer_dns_name,
        "osPlatform": "Windows11",
        "healthStatus": if machine.online { "Active" } else { "Inactive" },
        "onboardingStatus": "Onboarded",
        "machineTags": [],
    })
}

#[cfg(test)]
mod tests {
    use event::Time;

    use super::*;

    const PENDING: Durations = Durations { pending_us: 10, running_us: 10 };

    #[test]
    fn an_action_goes_through_its_states_and_isolates_once() {
        let mut state = State::default();
        let id = state.onboard("WS-01.corp.example").id;
        let action = state.request(&id, "Isolate", Some("Full"), None, "asterism:c-1", Time(0)).id;
        assert!(state.is_busy(&id, "Unisolate", None));
        let status = |state: &State| state.actions.iter().find(|a| a.id == action).unwrap().status.clone();
        for (at, expected) in [(5, "Pending"), (15, "InProgress"), (25, "Succeeded"), (99, "Succeeded")] {
            state.advance(PENDING, Time(at));
            assert_eq!(status(&state), expected);
        }
        let machine = state.machine("ws-01.CORP.example").unwrap();
        assert!(machine.isolated && !state.is_busy(&id, "Unisolate", None));
        assert_eq!((machine.isolate_requests, machine.isolations), (1, 1));
    }

    #[test]
    fn an_offline_machine_leaves_its_action_pending_until_it_is_cancelled() {
        let mut state = State::default();
        let id = state.onboard("ws-01").id;
        state.machines.get_mut(&id).unwrap().online = false;
        let action = state.request(&id, "Isolate", None, None, "x", Time(0)).id;
        assert!(!state.advance(PENDING, Time(1_000_000)));
        assert_eq!(state.cancel(&action, "no", Time(2)).unwrap().status, "Cancelled");
        assert!(state.cancel(&action, "again", Time(3)).is_none());
        assert!(!state.machine(&id).unwrap().isolated);
    }

    #[test]
    fn state_survives_in_its_file_and_a_broken_file_is_named() {
        let path = std::env::temp_dir().join(format!("asterism-edr-{}.json", std::process::id()));
        let mut state = State::default();
        let id = state.onboard("ws-01").id;
        state.request(&id, "Isolate", None, None, "x", Time(0));
        state.save(Some(&path)).unwrap();
        assert_eq!(State::load(Some(&path)).unwrap().machine(&id).unwrap().isolate_requests, 1);
        std::fs::write(&path, "{").unwrap();
        let error = State::load(Some(&path)).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("asterism-edr-") && error.contains("begin anew"), "{error}");
    }

    #[test]
    fn field_names_are_case_sensitive() {
        let how = ACTIONS[0].2;
        assert!(change_body(br#"{"Comment": "c", "IsolationType": "Full"}"#, how).is_ok());
        assert!(change_body(br#"{"comment": "c"}"#, how).is_err());
        assert!(change_body(br#"{"Comment": "c", "IsolationType": "full"}"#, how).is_err());
    }
}
