//! Connectors: what each can do, and a kill switch for each.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use event::EntityType;
use respond::{Ability, Capability, Verb};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::actions::DecisionRequest;
use super::auth::Caller;
use super::body::Body;
use super::page::Paged;
use super::problem::Problem;
use crate::engine::{About, Decision};

/// What does actions: a provider, or `playbooks`, which lease what they do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConnectorView {
    /// Name
    pub(crate) connector: String,
    /// It is stopped: nothing new is brought about through it, what holds can still be taken back
    pub(crate) paused: bool,
    /// What it can do. Of several connectors that can do the same as it is asked for, the first of the list does it
    pub(crate) verbs: Vec<AbilityView>,
}

/// How far a connector can do a verb.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct AbilityView {
    /// The verb
    pub(crate) verb: String,
    /// Types of entities that it does it to
    pub(crate) targets: Vec<EntityType>,
    /// Values of arguments that it cannot do
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) lacks: BTreeMap<String, BTreeSet<String>>,
    /// The only values of arguments that it can do
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) only: BTreeMap<String, BTreeSet<String>>,
    /// What takes it back
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) undo: Option<String>,
    /// Whether a request can be cancelled before it takes effect
    pub(crate) cancellable: bool,
}

impl ConnectorView {
    fn of(capability: Capability, paused: bool) -> Self {
        let verbs =
            capability.verbs.into_iter().map(|(verb, ability)| AbilityView::of(verb, ability)).collect();
        Self { connector: capability.provider, paused, verbs }
    }
}

impl AbilityView {
    fn of(verb: Verb, Ability { targets, lacks, only, cancellable }: Ability) -> Self {
        let all = || verb.spec().targets.to_vec();
        Self {
            verb: verb.to_string(),
            targets: if targets.is_empty() { all() } else { targets.into_iter().collect() },
            lacks,
            only,
            undo: verb.undone_by().map(|undo| undo.to_string()),
            cancellable,
        }
    }
}

async fn views(api: &ApiState) -> Result<Vec<ConnectorView>, Problem> {
    let connectors = api.engine.connectors().await?.into_iter();
    Ok(connectors.map(|(capability, paused)| ConnectorView::of(capability, paused)).collect())
}

/// What does actions, in the order in which it is asked
#[utoipa::path(get, path = "/api/v1/connectors", operation_id = "list_connectors", tag = "actions",
    responses((status = 200, description = "Every connector", body = Paged<ConnectorView>)))]
pub(crate) async fn list(State(api): State<ApiState>) -> Result<Json<Paged<ConnectorView>>, Problem> {
    Ok(Json(Paged { items: views(&api).await?, next: None }))
}

async fn set_paused(
    api: &ApiState,
    caller: &Caller,
    name: String,
    request: DecisionRequest,
    on: bool,
) -> Result<Json<ConnectorView>, Problem> {
    let by = caller.name(request.by.as_deref())?.to_owned();
    let about = About::Pause(Some(name.clone()), on);
    api.engine.decide(Decision { about, by, comment: request.comment, dry_run: false }).await?;
    let found = views(api).await?.into_iter().find(|view| view.connector == name);
    found.map(Json).ok_or_else(|| Problem::not_found("connector", &name))
}

/// Pause one connector: nothing new is brought about through it
#[utoipa::path(post, path = "/api/v1/connectors/{name}/pause", operation_id = "pause_connector", tag = "actions",
    params(("name" = String, Path)), request_body = DecisionRequest,
    responses((status = 200, description = "How it stands now", body = ConnectorView),
        (status = 403, description = "The role may not decide, or speaks for another"),
        (status = 404, description = "No such connector")))]
pub(crate) async fn pause(
    State(api): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
    Body(request): Body<DecisionRequest>,
) -> Result<Json<ConnectorView>, Problem> {
    set_paused(&api, &caller, name, request, true).await
}

/// Let one connector go on
#[utoipa::path(post, path = "/api/v1/connectors/{name}/resume", operation_id = "resume_connector", tag = "actions",
    params(("name" = String, Path)), request_body = DecisionRequest,
    responses((status = 200, description = "How it stands now", body = ConnectorView),
        (status = 403, description = "The role may not decide, or speaks for another"),
        (status = 404, description = "No such connector"),
        (status = 409, description = "The configuration stops it")))]
pub(crate) async fn resume(
    State(api): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
    Body(request): Body<DecisionRequest>,
) -> Result<Json<ConnectorView>, Problem> {
    set_paused(&api, &caller, name, request, false).await
}
