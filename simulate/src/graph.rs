//! A simulated Microsoft Graph: accounts, sessions, risk, application grants and mail remediation, as far as responses
//! need them, with faults to inject. A double for tests and for the demo; it touches no real tenant.
//!
//! ```text
//! GET    /v1.0/users/{id or principal name}        GET /v1.0/users?$filter=onPremisesSecurityIdentifier eq 'x'
//! PATCH  /v1.0/users/{id}                          {"accountEnabled"}                              204
//! POST   /v1.0/users/{id}/revokeSignInSessions                                                     200
//! GET    /v1.0/identityProtection/riskyUsers?$filter=id eq 'x'
//! POST   /v1.0/identityProtection/riskyUsers/confirmCompromised, dismiss     {"userIds"}           204
//! GET    /v1.0/servicePrincipals?$filter=appId eq 'x'
//! GET    /v1.0/servicePrincipals/{id}              PATCH {"accountEnabled"}                        204
//! GET    /v1.0/users/{id}/oauth2PermissionGrants
//! GET    /v1.0/users/{id}/mailFolders/inbox/messageRules      PATCH /{rule} {"isEnabled"}          200
//! GET    /v1.0/oauth2PermissionGrants?$filter=clientId eq 'x'       POST, DELETE /{id}             201, 204
//! GET    /beta/security/collaboration/analyzedEmails?$filter=networkMessageId eq 'x'
//! POST   /beta/security/collaboration/analyzedEmails/remediate                                     202
//! GET    /simulator/graph                          the truth, and how often each change was carried out
//! POST   /simulator/faults                         see Faults
//! ```

mod state;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::provider::{Faults, Microsoft, Server, authorised, bad_filter, literal, now, refusal, unknown};
use state::State;

pub use state::GraphTruth;

/// How to run the simulated Graph.
#[derive(Debug, Clone)]
pub struct GraphConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The bearer token that requests must carry.
    pub token: String,
    /// Principal names of its users.
    pub users: Vec<String>,
    /// Whether a user, application or message that is asked for is there even if nobody put it there.
    pub onboard_unknown: bool,
    /// Keeps everything over restarts and kills.
    pub state_file: Option<PathBuf>,
}

impl Default for GraphConfig {
    fn default() -> Self {
        GraphConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            token: "simulated-graph".to_owned(),
            users: Vec::new(),
            onboard_unknown: false,
            state_file: None,
        }
    }
}

/// A running simulated Graph; it stops when dropped.
#[derive(Debug)]
pub struct GraphSimulator {
    graph: Arc<Graph>,
    server: Server,
}

/// Shared by the handlers. The lock is held for in-memory steps and one small file write, never over an await.
#[derive(Debug)]
struct Graph {
    config: GraphConfig,
    state: Mutex<State>,
}

impl GraphSimulator {
    /// Starts the server in the present runtime.
    ///
    /// # Errors
    /// A busy address, or a state file that cannot be read.
    pub async fn start(config: GraphConfig) -> io::Result<Self> {
        let mut state = State::load(config.state_file.as_deref())?;
        config.users.iter().for_each(|name| drop(state.onboard_user(name)));
        let listen = config.listen;
        let graph = Arc::new(Graph { config, state: Mutex::new(state) });
        let server = Server::start(listen, router(Arc::clone(&graph))).await?;
        Ok(GraphSimulator { graph, server })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Everything as it is now.
    pub fn truth(&self) -> GraphTruth {
        self.graph.lock().truth.clone()
    }

    /// Adds a rule to a user's inbox that does this with what comes; its id.
    pub fn add_inbox_rule(&self, user: &str, actions: Value) -> String {
        self.graph.lock().add_inbox_rule(user, actions)
    }

    /// Sets the faults to inject from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.graph.lock().faults = faults;
    }

    /// Puts an application there, with a grant that lets it read mail.
    pub fn consent(&self, app_id: &str, user: &str) {
        let mut state = self.graph.lock();
        let user = state.onboard_user(user);
        state.consent(app_id, Some(&user));
    }

    /// Puts a message into a mailbox.
    pub fn deliver(&self, network_message_id: &str, recipient: &str) {
        self.graph.lock().deliver(network_message_id, recipient);
    }

    /// Runs until the server fails or the task is dropped; for a process that is nothing but the simulator.
    ///
    /// # Errors
    /// What ended the server.
    pub async fn wait(self) -> io::Result<()> {
        self.server.wait().await
    }
}

impl Graph {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held would be a bug of ours; the state is plain data and still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as faults say, and checks the token.
    async fn enter(&self, headers: &HeaderMap) -> Result<(), Response> {
        let latency_ms = self.lock().faults.latency_ms;
        tokio::time::sleep(Duration::from_millis(latency_ms)).await;
        authorised(headers, &self.config.token)
    }

    /// The value that a list is filtered by, once the request may be answered.
    async fn asked(
        &self,
        headers: &HeaderMap,
        query: &HashMap<String, String>,
        prefix: &str,
    ) -> Result<String, Response> {
        self.enter(headers).await?;
        let filter = query.get("$filter").map_or("", String::as_str);
        literal(filter, prefix, "").ok_or_else(|| bad_filter(filter))
    }

    /// Carries out a change under the faults of the moment, and writes it down before it is answered.
    fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut State) -> Result<Response, Response>,
    ) -> Result<Response, Response> {
        let mut state = self.lock();
        let fate = state.faults.next::<Microsoft>()?;
        let answer = change(&mut state)?;
        *state.truth.changes.entry(name.to_owned()).or_default() += 1;
        state
            .save(self.config.state_file.as_deref())
            .map_err(|e| crate::provider::failure(&e.to_string()))?;
        Ok(fate.answer::<Microsoft>(answer))
    }
}

type Answer = Result<Response, Response>;
type Shape = Shared<Arc<Graph>>;

fn router(graph: Arc<Graph>) -> Router {
    let mail = "/beta/security/collaboration/analyzedEmails";
    Router::new()
        .route("/v1.0/users", get(find_users))
        .route("/v1.0/users/{id}", get(get_user).patch(patch_user))
        .route("/v1.0/users/{id}/revokeSignInSessions", post(revoke_sessions))
        .route("/v1.0/identityProtection/riskyUsers", get(find_risky))
        .route("/v1.0/identityProtection/riskyUsers/{verdict}", post(judge_users))
        .route("/v1.0/servicePrincipals", get(find_principals))
        .route("/v1.0/servicePrincipals/{id}", get(get_principal).patch(patch_principal))
        .route("/v1.0/users/{id}/oauth2PermissionGrants", get(find_user_grants))
        .route("/v1.0/users/{id}/mailFolders/inbox/messageRules", get(find_rules))
        .route("/v1.0/users/{id}/mailFolders/inbox/messageRules/{rule}", patch(change_rule))
        .route("/v1.0/oauth2PermissionGrants", get(find_grants).post(add_grant))
        .route("/v1.0/oauth2PermissionGrants/{id}", delete(remove_grant))
        .route(mail, get(find_messages))
        .route(&format!("{mail}/remediate"), post(remediate))
        .route("/simulator/graph", get(show))
        .route("/simulator/faults", post(set_faults))
        .with_state(graph)
}

fn list(context: &str, value: Vec<Value>) -> Response {
    Json(json!({"@odata.context": format!("$metadata#{context}"), "value": value})).into_response()
}

async fn find_users(
    Shared(graph): Shape,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let sid = graph.asked(&headers, &query, "onPremisesSecurityIdentifier eq ").await?;
    let state = graph.lock();
    let found =
        state.truth.users.values().filter(|user| user["onPremisesSecurityIdentifier"] == sid.as_str());
    Ok(list("users", found.cloned().collect()))
}

async fn get_user(Shared(graph): Shape, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    graph.enter(&headers).await?;
    let mut state = graph.lock();
    if graph.config.onboard_unknown && id.contains('@') {
        state.onboard_user(&id);
    }
    state.user(&id).map(|user| Json(user.clone()).into_response()).ok_or_else(|| unknown("user", &id))
}

async fn patch_user(
    Shared(graph): Shape,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    graph.enter(&headers).await?;
    let enabled = enabled(&body)?;
    graph.change("user", |state| {
        let user = state.user_mut(&id).ok_or_else(|| unknown("user", &id))?;
        user["accountEnabled"] = json!(enabled);
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

/// The one property that may be patched here.
fn enabled(body: &Value) -> Result<bool, Response> {
    let bad =
        || refusal(StatusCode::BAD_REQUEST, "Request_BadRequest", "expected accountEnabled and nothing else");
    let fields = body.as_object().filter(|fields| fields.len() == 1).ok_or_else(bad)?;
    fields.get("accountEnabled").and_then(Value::as_bool).ok_or_else(bad)
}

async fn revoke_sessions(Shared(graph): Shape, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    graph.enter(&headers).await?;
    graph.change("revokeSignInSessions", |state| {
        let user = state.user_mut(&id).ok_or_else(|| unknown("user", &id))?;
        user["signInSessionsValidFromDateTime"] = json!(now().to_string());
        Ok(Json(json!({"value": true})).into_response())
    })
}

async fn find_risky(
    Shared(graph): Shape,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let id = graph.asked(&headers, &query, "id eq ").await?;
    let state = graph.lock();
    Ok(list("riskyUsers", state.truth.risky.get(&id).cloned().into_iter().collect()))
}

async fn judge_users(
    Shared(graph): Shape,
    headers: HeaderMap,
    Path(verdict): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    graph.enter(&headers).await?;
    let (risk, level) = match verdict.as_str() {
        "confirmCompromised" => ("confirmedCompromised", "high"),
        "dismiss" => ("dismissed", "none"),
        _ => return Err(unknown("action", &verdict)),
    };
    let ids: Vec<String> = serde_json::from_value(body["userIds"].clone())
        .map_err(|e| refusal(StatusCode::BAD_REQUEST, "Request_BadRequest", &format!("userIds: {e}")))?;
    graph.change(&verdict, |state| {
        for id in ids {
            state.user(&id).ok_or_else(|| unknown("user", &id))?;
            state.truth.risky.insert(id.clone(), json!({"id": id, "riskState": risk, "riskLevel": level}));
        }
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

async fn find_principals(
    Shared(graph): Shape,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let app_id = graph.asked(&headers, &query, "appId eq ").await?;
    let mut state = graph.lock();
    if graph.config.onboard_unknown && !state.truth.principals.values().any(|p| p["appId"] == app_id.as_str())
    {
        state.consent(&app_id, None);
    }
    let found = state.truth.principals.values().filter(|p| p["appId"] == app_id.as_str()).cloned().collect();
    Ok(list("servicePrincipals", found))
}

async fn get_principal(Shared(graph): Shape, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    graph.enter(&headers).await?;
    let found = graph.lock().truth.principals.get(&id).cloned();
    found.map(|p| Json(p).into_response()).ok_or_else(|| unknown("service principal", &id))
}

async fn patch_principal(
    Shared(graph): Shape,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    graph.enter(&headers).await?;
    let enabled = enabled(&body)?;
    graph.change("servicePrincipal", |state| {
        let principal = state.truth.principals.get_mut(&id);
        principal.ok_or_else(|| unknown("service principal", &id))?["accountEnabled"] = json!(enabled);
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

async fn find_grants(
    Shared(graph): Shape,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let client = graph.asked(&headers, &query, "clientId eq ").await?;
    let state = graph.lock();
    let found = state.truth.grants.values().filter(|grant| grant["clientId"] == client.as_str());
    Ok(list("oauth2PermissionGrants", found.cloned().collect()))
}

/// What the user consented to, without what an administrator has granted for all.
async fn find_user_grants(Shared(graph): Shape, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    graph.enter(&headers).await?;
    let state = graph.lock();
    let user = state.user(&id).ok_or_else(|| unknown("user", &id))?;
    let found = state.truth.grants.values().filter(|grant| grant["principalId"] == user["id"]);
    Ok(list("oauth2PermissionGrants", found.cloned().collect()))
}

async fn find_rules(Shared(graph): Shape, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    graph.enter(&headers).await?;
    let mut state = graph.lock();
    let user = state.user(&id).cloned().ok_or_else(|| unknown("user", &id))?;
    if graph.config.onboard_unknown {
        state.forward_somewhere(user["userPrincipalName"].as_str().unwrap_or_default());
    }
    let found = state.truth.inbox_rules.values().filter(|rule| rule["mailbox"] == user["userPrincipalName"]);
    Ok(list("messageRules", found.cloned().collect()))
}

async fn change_rule(
    Shared(graph): Shape,
    headers: HeaderMap,
    Path((_, rule)): Path<(String, String)>,
    Json(body): Json<Value>,
) -> Answer {
    graph.enter(&headers).await?;
    let Some(is_enabled) = body["isEnabled"].as_bool() else {
        return Err(refusal(StatusCode::BAD_REQUEST, "ErrorInvalidRequest", "isEnabled is missing"));
    };
    graph.change("messageRule", |state| {
        let rule = state.truth.inbox_rules.get_mut(&rule).ok_or_else(|| unknown("rule", "of that id"))?;
        rule["isEnabled"] = json!(is_enabled);
        Ok(Json(rule.clone()).into_response())
    })
}

async fn add_grant(Shared(graph): Shape, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    graph.enter(&headers).await?;
    for needed in ["clientId", "consentType", "resourceId", "scope"] {
        if !body[needed].is_string() {
            let text = format!("{needed} is missing");
            return Err(refusal(StatusCode::BAD_REQUEST, "Request_BadRequest", &text));
        }
    }
    graph.change("grant", |state| {
        let grant = state.add_grant(body);
        Ok((StatusCode::CREATED, Json(grant)).into_response())
    })
}

async fn remove_grant(Shared(graph): Shape, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    graph.enter(&headers).await?;
    graph.change("revokeGrant", |state| {
        state.truth.grants.remove(&id).ok_or_else(|| unknown("grant", &id))?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

async fn find_messages(
    Shared(graph): Shape,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let message = graph.asked(&headers, &query, "networkMessageId eq ").await?;
    let mut state = graph.lock();
    let is_it = |mail: &&Value| mail["networkMessageId"] == message.as_str();
    if graph.config.onboard_unknown && !state.truth.messages.values().any(|mail| is_it(&mail)) {
        state.deliver(&message, "somebody@simulated.example");
    }
    Ok(list("analyzedEmails", state.truth.messages.values().filter(is_it).cloned().collect()))
}

async fn remediate(Shared(graph): Shape, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    graph.enter(&headers).await?;
    let bad = |text: &str| refusal(StatusCode::BAD_REQUEST, "Request_BadRequest", text);
    let action = body["action"].as_str().unwrap_or_default();
    let location = match action {
        "moveToJunk" => "junkFolder",
        "moveToInbox" => "inbox",
        "moveToDeletedItems" => "deletedFolder",
        "softDelete" => "recoverableItems",
        "hardDelete" => "removed",
        _ => return Err(bad("action is none of those that are known")),
    };
    let mails = body["analyzedEmails"].as_array().filter(|mails| !mails.is_empty());
    let ids: Vec<String> = mails
        .ok_or_else(|| bad("analyzedEmails is missing"))?
        .iter()
        .map(|mail| mail["id"].as_str().map(str::to_owned).ok_or_else(|| bad("an analyzed email has no id")))
        .collect::<Result<_, _>>()?;
    graph.change(action, |state| {
        for id in ids {
            let message = state.truth.messages.get_mut(&id).ok_or_else(|| unknown("analyzed email", &id))?;
            message["latestDelivery"]["location"] = json!(location);
        }
        // A link to a portal, and nothing to ask after: so it is at the vendor's.
        Ok((StatusCode::ACCEPTED, [("Location", "https://security.example/action-center")]).into_response())
    })
}

async fn show(Shared(graph): Shape) -> Response {
    Json(&graph.lock().truth).into_response()
}

async fn set_faults(Shared(graph): Shape, Json(faults): Json<Faults>) -> StatusCode {
    graph.lock().faults = faults;
    StatusCode::NO_CONTENT
}
