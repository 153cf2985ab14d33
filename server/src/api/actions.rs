//! Actions and effects: list, decide, take back; the audit chain.

use axum::Json;
use axum::extract::{Path, Query, State};
use event::{Action, ActionId, ActionState, Effect, IncidentId, TenantId};
use serde::{Deserialize, Serialize};
use storage::{ActionFilter, AuditRow};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::page::{PageParams, Paged, TenantParam, blocking};
use super::problem::Problem;
use crate::engine::{Input, Verdict};

/// Which actions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ActionParams {
    /// State, such as awaiting_approval or succeeded
    #[serde(default)]
    state: Option<String>,
    /// Of this incident
    #[serde(default)]
    incident: Option<String>,
    /// With this verb
    #[serde(default)]
    verb: Option<String>,
}

impl ActionParams {
    fn filter(self) -> Result<ActionFilter, Problem> {
        let states = self.state.as_deref().map(state_from_name).transpose()?;
        Ok(ActionFilter {
            states: states.into_iter().collect(),
            incident: self.incident.map(IncidentId::new),
            verb: self.verb,
        })
    }
}

fn state_from_name(name: &str) -> Result<ActionState, Problem> {
    serde_json::from_value(serde_json::Value::String(name.to_owned()))
        .map_err(|e| Problem::bad_request(format!("state={name:?}: {e}")))
}

/// List actions, latest first
#[utoipa::path(get, path = "/api/v1/actions", tag = "actions", params(TenantParam, ActionParams, PageParams),
    responses((status = 200, description = "A page of actions: {items, next}", body = serde_json::Value),
        (status = 400, description = "A parameter is wrong", body = Problem)))]
pub(crate) async fn list(
    State(api): State<ApiState>,
    Query(tenant): Query<TenantParam>,
    Query(params): Query<ActionParams>,
    Query(page): Query<PageParams>,
) -> Result<Json<Paged<Action>>, Problem> {
    let (filter, cursor, limit) = (params.filter()?, page.cursor()?, page.limit());
    let page =
        blocking(move || api.state.actions_page(&tenant.id(), &filter, cursor.as_ref(), limit)).await?;
    Ok(Json(page.into()))
}

/// One action with its decision and history
#[utoipa::path(get, path = "/api/v1/actions/{id}", tag = "actions", params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "The action", body = serde_json::Value),
        (status = 404, description = "No such action", body = Problem)))]
pub(crate) async fn show(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Query(tenant): Query<TenantParam>,
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
    /// Who decides
    pub(crate) by: String,
    /// Why; goes into the audit chain
    #[serde(default)]
    pub(crate) comment: String,
}

async fn decide(
    api: ApiState,
    tenant: TenantId,
    id: String,
    verdict: Verdict,
    request: DecisionRequest,
) -> Result<Json<Action>, Problem> {
    let action = stored(&api, tenant.clone(), &id).await?.id;
    let (by, comment) = (request.by, request.comment);
    api.engine.tell(Input::Decide { action, verdict, by, comment }).await?;
    stored(&api, tenant, &id).await.map(Json)
}

macro_rules! decision {
    ($(#[$doc:meta])* $name:ident, $path:literal, $verdict:expr) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = "actions", params(TenantParam, ("id" = String, Path)),
            request_body = DecisionRequest,
            responses((status = 200, description = "The action after the decision", body = serde_json::Value),
                (status = 404, description = "No such action", body = Problem),
                (status = 409, description = "Its state does not allow that", body = Problem)))]
        pub(crate) async fn $name(
            State(api): State<ApiState>,
            Path(id): Path<String>,
            Query(tenant): Query<TenantParam>,
            Json(request): Json<DecisionRequest>,
        ) -> Result<Json<Action>, Problem> {
            decide(api, tenant.id(), id, $verdict, request).await
        }
    };
}

decision!(
    /// Approve a waiting action
    approve, "/api/v1/actions/{id}/approve", Verdict::Approve
);
decision!(
    /// Reject a waiting action
    reject, "/api/v1/actions/{id}/reject", Verdict::Reject
);
decision!(
    /// Cancel an action that has not finished
    cancel, "/api/v1/actions/{id}/cancel", Verdict::Cancel
);
decision!(
    /// Take an action back
    undo, "/api/v1/actions/{id}/undo", Verdict::Undo
);

/// The states that actions hold
#[utoipa::path(get, path = "/api/v1/effects", tag = "actions", params(TenantParam),
    responses((status = 200, description = "Effects: {items}", body = serde_json::Value)))]
pub(crate) async fn effects(
    State(api): State<ApiState>,
    Query(tenant): Query<TenantParam>,
) -> Result<Json<Paged<Effect>>, Problem> {
    let items = blocking(move || api.state.effects(&tenant.id())).await?;
    Ok(Json(Paged { items, next: None }))
}

/// Where to begin in the audit chain.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParams {
    /// First entry
    #[serde(default)]
    from: i64,
}

/// Entries of an audit page.
const AUDIT_PAGE: usize = 1_000;

/// Entries of the audit chain, in order; the chain covers all tenants
#[utoipa::path(get, path = "/api/v1/audit", tag = "actions", params(AuditParams),
    responses((status = 200, description = "Entries: {items, next}", body = serde_json::Value)))]
pub(crate) async fn audit(
    State(api): State<ApiState>,
    Query(params): Query<AuditParams>,
) -> Result<Json<Paged<serde_json::Value>>, Problem> {
    let rows = blocking(move || api.state.audit(None, params.from, AUDIT_PAGE)).await?;
    let next = (rows.len() == AUDIT_PAGE).then(|| rows.last().map(|r| (r.seq + 1).to_string())).flatten();
    let entry = |row: &AuditRow| serde_json::from_str(&row.body).map_err(|e| Problem::internal(&e));
    Ok(Json(Paged { items: rows.iter().map(entry).collect::<Result<_, _>>()?, next }))
}
