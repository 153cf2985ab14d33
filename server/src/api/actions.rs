//! Actions and effects: list, decide, take back; the audit chain.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use event::{Action, ActionId, ActionState, Countermeasure, Effect, IncidentId, RiskClass, TenantId};
use respond::{AuditEntry, Verb};
use serde::{Deserialize, Serialize};
use storage::{ActionFilter, AuditRow};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::Caller;
use super::body::Body;
use super::page::{PageParams, Paged, TenantParam, blocking, comma_separated};
use super::params::Params;
use super::problem::Problem;
use crate::engine::{About, Decided, Decision, PAUSED, Verdict};

/// Which actions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ActionParams {
    /// States, comma separated; default: all
    #[serde(default, deserialize_with = "comma_separated")]
    #[param(inline, style = Form, explode = false)]
    state: Vec<ActionState>,
    /// Of this incident
    incident: Option<String>,
    /// With this verb, such as host.isolate
    verb: Option<String>,
}

impl ActionParams {
    fn filter(self) -> ActionFilter {
        ActionFilter { states: self.state, incident: self.incident.map(IncidentId::new), verb: self.verb }
    }
}

/// List actions, latest first
#[utoipa::path(get, path = "/api/v1/actions", operation_id = "list_actions", tag = "actions",
    params(TenantParam, ActionParams, PageParams),
    responses((status = 200, description = "A page of actions", body = Paged<Action>),
        (status = 400, description = "A parameter is wrong")))]
pub(crate) async fn list(
    State(api): State<ApiState>,
    Params((tenant, params, page)): Params<(TenantParam, ActionParams, PageParams)>,
) -> Result<Json<Paged<Action>>, Problem> {
    let (filter, cursor, limit) = (params.filter(), page.cursor()?, page.limit()?);
    let page =
        blocking(move || api.state.actions_page(&tenant.id(), &filter, cursor.as_ref(), limit)).await?;
    Ok(Json(page.into()))
}

/// One action with its decision and history
#[utoipa::path(get, path = "/api/v1/actions/{id}", operation_id = "get_action", tag = "actions",
    params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "The action", body = Action),
        (status = 404, description = "No such action")))]
pub(crate) async fn show(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
) -> Result<Json<Action>, Problem> {
    stored(&api, tenant.id(), &id).await.map(Json)
}

async fn stored(api: &ApiState, tenant: TenantId, id: &str) -> Result<Action, Problem> {
    let (state, action) = (api.state.clone(), ActionId::new(id));
    let found = blocking(move || state.action(&tenant, &action)).await?;
    found.ok_or_else(|| Problem::not_found("action", id))
}

/// A person's decision.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionRequest {
    /// Who decides; a user with a token of their own need not say it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// Why; goes into the audit chain
    #[serde(default)]
    pub(crate) comment: String,
}

/// Whether anything is done.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DryRunParam {
    /// Nothing is decided: the answer is what would change
    #[serde(default)]
    dry_run: bool,
}

/// What a decision would change, which it did not.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DryRun {
    /// Actions as they would be, each as it would be in the end
    pub(crate) would_change: Vec<Action>,
    /// Effects as they would be
    pub(crate) effects: Vec<Effect>,
    /// What would stay as it is although it was asked for, and why
    pub(crate) left: Vec<String>,
}

impl From<Decided> for DryRun {
    fn from(decided: Decided) -> Self {
        let mut actions: Vec<Action> = Vec::new();
        let mut effects: Vec<Effect> = Vec::new();
        for change in decided.changes {
            actions.retain(|action| action.id != change.action.id);
            actions.push(change.action);
            if let Some(effect) = change.effect {
                effects.retain(|known| known.id != effect.id);
                effects.push(effect);
            }
        }
        Self { would_change: actions, effects, left: decided.left }
    }
}

/// The action after a decision, or what the decision would change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum DecisionAnswer {
    /// It was decided.
    Done(Box<Action>),
    /// It was a dry run.
    Would(DryRun),
}

async fn decide(
    api: &ApiState,
    tenant: TenantId,
    id: &str,
    verdict: Verdict,
    decision: (&str, &str, DryRunParam),
) -> Result<DecisionAnswer, Problem> {
    let about = About::Action(stored(api, tenant.clone(), id).await?.id, verdict);
    let (by, comment, DryRunParam { dry_run }) = decision;
    let decision = Decision { about, by: by.to_owned(), comment: comment.to_owned(), dry_run };
    let decided = api.engine.decide(decision).await?;
    if dry_run {
        return Ok(DecisionAnswer::Would(decided.into()));
    }
    Ok(DecisionAnswer::Done(stored(api, tenant, id).await?.into()))
}

macro_rules! decision {
    ($(#[$doc:meta])* $name:ident, $path:literal, $operation:literal, $verdict:expr) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, operation_id = $operation, tag = "actions",
            params(TenantParam, DryRunParam, ("id" = String, Path)),
            request_body = DecisionRequest,
            responses((status = 200, description = "The action after the decision, or what a dry run would change",
                    body = DecisionAnswer),
                (status = 403, description = "The role may not decide, or speaks for another"),
                (status = 404, description = "No such action"),
                (status = 409, description = "Its state does not allow that"),
                (status = 422, description = "The body lacks a field, or has one too many")))]
        pub(crate) async fn $name(
            State(api): State<ApiState>,
            caller: Caller,
            Path(id): Path<String>,
            Params((tenant, dry_run)): Params<(TenantParam, DryRunParam)>,
            Body(request): Body<DecisionRequest>,
        ) -> Result<Json<DecisionAnswer>, Problem> {
            let by = caller.name(request.by.as_deref())?;
            decide(&api, tenant.id(), &id, $verdict, (by, &request.comment, dry_run)).await.map(Json)
        }
    };
}

decision!(
    /// Approve a waiting action
    approve, "/api/v1/actions/{id}/approve", "approve_action", Verdict::Approve
);
decision!(
    /// Reject a waiting action
    reject, "/api/v1/actions/{id}/reject", "reject_action", Verdict::Reject
);
decision!(
    /// Cancel an action that has not finished
    cancel, "/api/v1/actions/{id}/cancel", "cancel_action", Verdict::Cancel
);
decision!(
    /// Take an action back
    undo, "/api/v1/actions/{id}/undo", "undo_action", Verdict::Undo
);

/// A person's decision on several actions of one verb.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkRequest {
    /// Actions, 1 to 100, all of one verb
    pub(crate) ids: Vec<String>,
    /// What is decided
    pub(crate) verdict: Verdict,
    /// Who decides; a user with a token of their own need not say it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// Why; goes into the audit chain
    #[serde(default)]
    pub(crate) comment: String,
}

/// What became of one of several actions.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct BulkOutcome {
    /// The action
    pub(crate) id: String,
    /// The action after the decision
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) action: Option<Action>,
    /// What a dry run would change
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) would: Option<DryRun>,
    /// Why the decision was refused
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) problem: Option<String>,
}

/// Actions decided on at once.
const BULK_MAX: usize = 100;

/// Decide on several actions of one verb
#[utoipa::path(post, path = "/api/v1/actions/bulk", operation_id = "decide_actions", tag = "actions",
    params(TenantParam, DryRunParam), request_body = BulkRequest,
    responses((status = 200, description = "What became of each, in the order asked; in a dry run each finds what those \
            before it would have done",
            body = Paged<BulkOutcome>),
        (status = 403, description = "The role may not decide, or speaks for another"),
        (status = 404, description = "One is unknown; nothing was decided"),
        (status = 422, description = "They have several verbs, or are too many; nothing was decided")))]
pub(crate) async fn bulk(
    State(api): State<ApiState>,
    caller: Caller,
    Params((tenant, dry_run)): Params<(TenantParam, DryRunParam)>,
    Body(request): Body<BulkRequest>,
) -> Result<Json<Paged<BulkOutcome>>, Problem> {
    let BulkRequest { ids, verdict, by, comment } = request;
    let by = caller.name(by.as_deref())?;
    let wrong = |text: String| Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text));
    if ids.is_empty() || ids.len() > BULK_MAX {
        return wrong(format!("ids names {} actions; 1 to {BULK_MAX} may be decided on at once", ids.len()));
    }
    let mut verbs = BTreeSet::new();
    for id in &ids {
        verbs.insert(stored(&api, tenant.id(), id).await?.verb);
    }
    if verbs.len() > 1 {
        let verbs: Vec<String> = verbs.into_iter().collect();
        return wrong(format!(
            "the actions have several verbs ({}); decide on one at a time",
            verbs.join(", ")
        ));
    }
    let about = About::Actions(ids.iter().map(|id| ActionId::new(id.as_str())).collect(), verdict);
    let decision = Decision { about, by: by.to_owned(), comment, dry_run: dry_run.dry_run };
    let each = api.engine.decide(decision).await?.each;
    let mut items = Vec::with_capacity(ids.len());
    for (id, outcome) in ids.into_iter().zip(each) {
        let (action, would, problem) = match outcome {
            Ok(changes) if dry_run.dry_run => {
                (None, Some(Decided { changes, ..Decided::default() }.into()), None)
            }
            Ok(_) => (Some(stored(&api, tenant.id(), &id).await?), None, None),
            Err(problem) => (None, None, Some(problem)),
        };
        items.push(BulkOutcome { id, action, would, problem });
    }
    Ok(Json(Paged { items, next: None }))
}

/// What was taken back of what was done about an incident.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct RollBack {
    /// Actions that changed, or would, each as it is in the end: cancelled ones, and releases that were queued
    pub(crate) actions: Vec<Action>,
    /// What stays, and why: what is done once, requests that are on the wire
    pub(crate) left: Vec<String>,
}

/// Take back all that was done about an incident
///
/// The last first: what waits is cancelled, holds are let go, and effects that no other incident holds are taken back.
#[utoipa::path(post, path = "/api/v1/incidents/{id}/rollback", operation_id = "roll_back_incident", tag = "actions",
    params(TenantParam, DryRunParam, ("id" = String, Path)), request_body = DecisionRequest,
    responses((status = 200, description = "What was taken back, or a dry run would", body = RollBack),
        (status = 403, description = "The role may not decide, or speaks for another"),
        (status = 404, description = "No such incident")))]
pub(crate) async fn roll_back(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Params((tenant, dry_run)): Params<(TenantParam, DryRunParam)>,
    Body(request): Body<DecisionRequest>,
) -> Result<Json<RollBack>, Problem> {
    let by = caller.name(request.by.as_deref())?.to_owned();
    let about = About::Incident(super::incidents::stored(&api, &tenant, &id).await?.id);
    let decision = Decision { about, by, comment: request.comment, dry_run: dry_run.dry_run };
    let DryRun { would_change, left, .. } = api.engine.decide(decision).await?.into();
    Ok(Json(RollBack { actions: would_change, left }))
}

/// Whether the response runs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ResponseState {
    /// A person has paused it: nothing new is brought about, what holds can still be taken back
    pub(crate) paused: bool,
    /// Connectors that are stopped, by people or by the configuration
    pub(crate) connectors_paused: Vec<String>,
}

async fn response_state(api: &ApiState) -> Result<Json<ResponseState>, Problem> {
    let state = api.state.clone();
    let paused = blocking(move || state.meta(PAUSED)).await?;
    let connectors = api.engine.connectors().await?.into_iter();
    let connectors_paused = connectors.filter(|(_, paused)| *paused).map(|(can, _)| can.provider).collect();
    Ok(Json(ResponseState { paused: paused.as_deref() == Some("true"), connectors_paused }))
}

async fn set_paused(
    api: &ApiState,
    caller: &Caller,
    request: DecisionRequest,
    on: bool,
) -> Result<Json<ResponseState>, Problem> {
    let by = caller.name(request.by.as_deref())?.to_owned();
    let decision = Decision { about: About::Pause(None, on), by, comment: request.comment, dry_run: false };
    api.engine.decide(decision).await?;
    response_state(api).await
}

/// Whether the response is paused
#[utoipa::path(get, path = "/api/v1/response", operation_id = "get_response_state", tag = "actions",
    responses((status = 200, description = "How it stands", body = ResponseState)))]
pub(crate) async fn response(State(api): State<ApiState>) -> Result<Json<ResponseState>, Problem> {
    response_state(&api).await
}

/// Pause the response, of all tenants: nothing new is brought about
#[utoipa::path(post, path = "/api/v1/response/pause", operation_id = "pause_response", tag = "actions",
    request_body = DecisionRequest,
    responses((status = 200, description = "How it stands now", body = ResponseState),
        (status = 403, description = "The role may not decide, or speaks for another")))]
pub(crate) async fn pause(
    State(api): State<ApiState>,
    caller: Caller,
    Body(request): Body<DecisionRequest>,
) -> Result<Json<ResponseState>, Problem> {
    set_paused(&api, &caller, request, true).await
}

/// Let the response go on
#[utoipa::path(post, path = "/api/v1/response/resume", operation_id = "resume_response", tag = "actions",
    request_body = DecisionRequest,
    responses((status = 200, description = "How it stands now", body = ResponseState),
        (status = 403, description = "The role may not decide, or speaks for another"),
        (status = 409, description = "The configuration stops it")))]
pub(crate) async fn resume(
    State(api): State<ApiState>,
    caller: Caller,
    Body(request): Body<DecisionRequest>,
) -> Result<Json<ResponseState>, Problem> {
    set_paused(&api, &caller, request, false).await
}

/// What is planned for an incident, as a CACAO 2.0 playbook
#[utoipa::path(get, path = "/api/v1/incidents/{id}/playbook", operation_id = "get_playbook", tag = "actions",
    params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "The playbook (OASIS CACAO Security Playbooks 2.0)",
            body = HashMap<String, serde_json::Value>),
        (status = 404, description = "No such incident, or nothing is planned for it")))]
pub(crate) async fn playbook(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
) -> Result<Json<serde_json::Value>, Problem> {
    let incident = super::incidents::stored(&api, &tenant, &id).await?;
    let filter = ActionFilter { incident: Some(incident.id.clone()), ..ActionFilter::default() };
    let mut actions = Vec::new();
    let mut cursor = None;
    loop {
        let (state, of, filter) = (api.state.clone(), incident.tenant.clone(), filter.clone());
        let page = blocking(move || state.actions_page(&of, &filter, cursor.as_ref(), ACTIONS_PAGE)).await?;
        actions.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let playbook = respond::cacao(&incident, &actions);
    playbook.map(Json).ok_or_else(|| Problem::not_found("playbook for incident", &id))
}

/// Actions read at once.
const ACTIONS_PAGE: usize = 1_000;

/// What can be done to a target.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerbDocument {
    /// Name
    pub(crate) verb: String,
    /// Types of entities that it can be done to
    pub(crate) targets: Vec<&'static str>,
    /// Risk class, before a critical target raises it
    pub(crate) risk: RiskClass,
    /// The verb that takes it back; none where nothing can or must
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) undo: Option<String>,
    /// Kind of the effect that it brings about or ends
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) effect: Option<&'static str>,
    /// Arguments, as a JSON Schema
    pub(crate) arguments: serde_json::Value,
    /// Action and target of its form in OpenC2
    pub(crate) openc2: String,
    /// Tactic of D3FEND
    pub(crate) countermeasure: Countermeasure,
    /// The remediation class of OCSF that fits it best; records go out as 7001
    pub(crate) ocsf_class: u16,
}

impl VerbDocument {
    pub(crate) fn of(verb: Verb) -> Self {
        let spec = verb.spec();
        Self {
            verb: verb.to_string(),
            targets: spec.targets.iter().map(|t| t.as_str()).collect(),
            risk: spec.risk,
            undo: verb.undone_by().map(|verb| verb.to_string()),
            effect: spec.part.effect(),
            arguments: verb.schema(),
            openc2: format!("{} {}", spec.openc2.action, spec.openc2.target),
            countermeasure: spec.countermeasure,
            ocsf_class: spec.ocsf_class,
        }
    }
}

/// What can be done
#[utoipa::path(get, path = "/api/v1/verbs", operation_id = "list_verbs", tag = "actions",
    responses((status = 200, description = "Every verb", body = Paged<VerbDocument>)))]
pub(crate) async fn verbs() -> Json<Paged<VerbDocument>> {
    Json(Paged { items: Verb::ALL.iter().map(|verb| VerbDocument::of(*verb)).collect(), next: None })
}

/// The states that actions hold
#[utoipa::path(get, path = "/api/v1/effects", operation_id = "list_effects", tag = "actions", params(TenantParam),
    responses((status = 200, description = "All of them", body = Paged<Effect>)))]
pub(crate) async fn effects(
    State(api): State<ApiState>,
    Params((tenant,)): Params<(TenantParam,)>,
) -> Result<Json<Paged<Effect>>, Problem> {
    let items = blocking(move || api.state.effects(&tenant.id())).await?;
    Ok(Json(Paged { items, next: None }))
}

/// Where to begin in the audit chain.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParams {
    /// `next` of the page before, or the sequence number to begin at
    #[serde(default)]
    cursor: i64,
}

/// Entries of an audit page.
const AUDIT_PAGE: usize = 1_000;

/// Entries of the audit chain, in order; the chain covers all tenants
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "list_audit", tag = "actions", params(AuditParams),
    responses((status = 200, description = "A page of entries", body = Paged<AuditEntry>),
        (status = 400, description = "A parameter is wrong")))]
pub(crate) async fn audit(
    State(api): State<ApiState>,
    Params((params,)): Params<(AuditParams,)>,
) -> Result<Json<Paged<serde_json::Value>>, Problem> {
    let rows = blocking(move || api.state.audit(None, params.cursor, AUDIT_PAGE)).await?;
    let next = (rows.len() == AUDIT_PAGE).then(|| rows.last().map(|r| (r.seq + 1).to_string())).flatten();
    // As stored, byte for byte: the hash of an entry covers all of it, whatever version wrote it.
    let entry = |row: &AuditRow| serde_json::from_str(&row.body).map_err(|e| Problem::internal(&e));
    Ok(Json(Paged { items: rows.iter().map(entry).collect::<Result<_, _>>()?, next }))
}
