//! What relates incidents: suggested merges, campaigns, what analysts said; and the completeness ledger of the rules.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use correlate::{AnalystInput, Said};
use event::{Campaign, CampaignId, IncidentId, InputId, Suggestion, SuggestionId, Time};
use serde::{Deserialize, Serialize};
use storage::{CompletenessFilter, CompletenessRow};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::Caller;
use super::body::Body;
use super::incidents::{analyst, show, stored};
use super::page::{PageParams, Paged, TenantParam, blocking};
use super::params::Params;
use super::problem::Problem;
use crate::engine::in_words;

/// Which of them.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AboutParams {
    /// About this incident
    incident: Option<String>,
}

impl AboutParams {
    fn incident(self) -> Option<IncidentId> {
        self.incident.map(IncidentId::new)
    }
}

/// List suggested merges, strongest join first
#[utoipa::path(get, path = "/api/v1/suggestions", operation_id = "list_suggestions", tag = "suggestions",
    params(TenantParam, AboutParams, PageParams),
    responses((status = 200, description = "A page of suggestions", body = Paged<Suggestion>),
        (status = 400, description = "A parameter is wrong")))]
pub(crate) async fn suggestions(
    State(api): State<ApiState>,
    Params((tenant, about, page)): Params<(TenantParam, AboutParams, PageParams)>,
) -> Result<Json<Paged<Suggestion>>, Problem> {
    let (incident, cursor, limit) = (about.incident(), page.cursor()?, page.limit()?);
    let read = move || api.state.suggestions_page(&tenant.id(), incident.as_ref(), cursor.as_ref(), limit);
    Ok(Json(blocking(read).await?.into()))
}

/// What to do about a suggestion.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcceptRequest {
    /// Which of the two incidents stays; default: that of the earlier alert
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) into: Option<IncidentId>,
    /// Who
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
}

/// Merge two incidents as suggested
#[utoipa::path(post, path = "/api/v1/suggestions/{id}/accept", operation_id = "accept_suggestion", tag = "suggestions",
    params(TenantParam, ("id" = String, Path)),
    request_body = AcceptRequest,
    responses((status = 200, description = "The survivor", body = event::Incident,
            headers(("ETag" = String, description = "Version, for If-Match"))),
        (status = 400, description = "The survivor is none of the two"),
        (status = 404, description = "No such suggestion (any more)"),
        (status = 409, description = "They cannot be merged"),
        (status = 422, description = "The body has a wrong field")))]
pub(crate) async fn accept(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
    Body(request): Body<AcceptRequest>,
) -> Result<Response, Problem> {
    let Suggestion { a, b, .. } = suggestion(&api, &tenant, &id).await?;
    let into = request.into.unwrap_or_else(|| a.clone());
    let from = match () {
        () if into == a => b,
        () if into == b => a,
        () => return Err(Problem::bad_request(format!("{into} is none of the two incidents: {a} and {b}"))),
    };
    let said = Said::Merge { into: into.clone(), from };
    api.engine.tell(analyst(&tenant.id(), caller.name(request.by.as_deref())?, said, None)).await?;
    show(State(api), Path(into.to_string()), Params((tenant,))).await
}

/// Who does it.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ByRequest {
    /// Who
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
}

/// Say that the alerts of a suggested join do not belong together; it is not suggested again
#[utoipa::path(post, path = "/api/v1/suggestions/{id}/dismiss", operation_id = "dismiss_suggestion", tag = "suggestions",
    params(TenantParam, ("id" = String, Path)),
    request_body = ByRequest,
    responses((status = 200, description = "The suggestion that was dismissed", body = Suggestion),
        (status = 404, description = "No such suggestion (any more)"),
        (status = 409, description = "It is too old to be dismissed"),
        (status = 422, description = "The body has a wrong field")))]
pub(crate) async fn dismiss(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
    Body(request): Body<ByRequest>,
) -> Result<Json<Suggestion>, Problem> {
    let suggestion = suggestion(&api, &tenant, &id).await?;
    let said = Said::Veto { a: suggestion.join.a.clone(), b: suggestion.join.b.clone() };
    api.engine.tell(analyst(&tenant.id(), caller.name(request.by.as_deref())?, said, None)).await?;
    Ok(Json(suggestion))
}

async fn suggestion(api: &ApiState, tenant: &TenantParam, id: &str) -> Result<Suggestion, Problem> {
    let (state, tenant, suggestion) = (api.state.clone(), tenant.id(), SuggestionId::new(id));
    let found = blocking(move || state.suggestion(&tenant, &suggestion)).await?;
    found.ok_or_else(|| Problem::not_found("suggestion", id))
}

/// List campaigns, latest activity first
#[utoipa::path(get, path = "/api/v1/campaigns", operation_id = "list_campaigns", tag = "campaigns",
    params(TenantParam, AboutParams, PageParams),
    responses((status = 200, description = "A page of campaigns", body = Paged<Campaign>),
        (status = 400, description = "A parameter is wrong")))]
pub(crate) async fn campaigns(
    State(api): State<ApiState>,
    Params((tenant, about, page)): Params<(TenantParam, AboutParams, PageParams)>,
) -> Result<Json<Paged<Campaign>>, Problem> {
    let (incident, cursor, limit) = (about.incident(), page.cursor()?, page.limit()?);
    let read = move || api.state.campaigns_page(&tenant.id(), incident.as_ref(), cursor.as_ref(), limit);
    Ok(Json(blocking(read).await?.into()))
}

/// One campaign
#[utoipa::path(get, path = "/api/v1/campaigns/{id}", operation_id = "get_campaign", tag = "campaigns",
    params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "The campaign", body = Campaign),
        (status = 404, description = "No such campaign")))]
pub(crate) async fn campaign(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
) -> Result<Json<Campaign>, Problem> {
    let (state, tenant, campaign) = (api.state.clone(), tenant.id(), CampaignId::new(id.as_str()));
    let found = blocking(move || state.campaign(&tenant, &campaign)).await?;
    found.map(Json).ok_or_else(|| Problem::not_found("campaign", &id))
}

/// What an analyst said of an incident.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct InputView {
    /// Identity: what is undone
    #[schema(value_type = String)]
    pub(crate) id: InputId,
    /// When
    pub(crate) at: Time,
    /// Who
    pub(crate) by: String,
    /// assign, status, classify, merge_incidents, split_incident, move_alerts, veto, distinct or undo_input
    pub(crate) kind: String,
    /// What, in words
    pub(crate) text: String,
    /// Whether it was undone
    pub(crate) is_undone: bool,
}

impl InputView {
    pub(crate) fn of((input, is_undone): &(AnalystInput, bool)) -> Self {
        let (kind, text) = in_words(&input.said);
        let (id, at, by) = (input.id(), input.at, input.by.clone());
        Self { id, at, by, kind: kind.to_owned(), text, is_undone: *is_undone }
    }
}

/// What analysts said of an incident, oldest first, as long as the correlation state holds it
#[utoipa::path(get, path = "/api/v1/incidents/{id}/inputs", operation_id = "list_inputs_of_incident", tag = "incidents",
    params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "All of it", body = Paged<InputView>),
        (status = 404, description = "No such incident")))]
pub(crate) async fn inputs(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
) -> Result<Json<Paged<InputView>>, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    let inputs = api.engine.inputs(incident.id).await?;
    Ok(Json(Paged { items: inputs.iter().map(InputView::of).collect(), next: None }))
}

/// Undo what an analyst said, as if it had never been said; undoing an undo says it again
#[utoipa::path(post, path = "/api/v1/inputs/{id}/undo", operation_id = "undo_input", tag = "incidents",
    params(TenantParam, ("id" = String, Path)),
    request_body = ByRequest,
    responses((status = 200, description = "The input that is undone now", body = InputView),
        (status = 404, description = "No such input (any more)"),
        (status = 409, description = "It is undone already"),
        (status = 422, description = "The body has a wrong field")))]
pub(crate) async fn undo(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
    Body(request): Body<ByRequest>,
) -> Result<Json<InputView>, Problem> {
    let input = InputId::new(id.as_str());
    let held = api.engine.find_input(tenant.id(), input.clone()).await?;
    held.ok_or_else(|| Problem::not_found("input", &id))?;
    let said = Said::Undo { input: input.clone() };
    api.engine.tell(analyst(&tenant.id(), caller.name(request.by.as_deref())?, said, None)).await?;
    let undone = api.engine.find_input(tenant.id(), input).await?;
    let gone = || Problem::new(StatusCode::NOT_FOUND, "the correlation state holds this input no more");
    Ok(Json(InputView::of(&undone.ok_or_else(gone)?)))
}

/// Which hours of which rules.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CompletenessParams {
    /// Of this rule
    rule: Option<String>,
    /// Hours that begin at or after this event time
    #[param(inline)]
    since: Option<Time>,
    /// Hours that begin before this event time
    #[param(inline)]
    until: Option<Time>,
    /// Only those in which something came late, was recomputed or dropped
    #[serde(default)]
    faulty: Option<bool>,
    /// `next` of the page before
    #[serde(default)]
    cursor: Option<String>,
    /// Rows, 1 to 1000; default: 50
    #[serde(default)]
    limit: Option<usize>,
}

/// What became of an hour of event time under a rule. Events of a detection rule are rows of its logsource, those of a
/// correlation rule matches of the rules that it watches.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct CompletenessView {
    /// Id of the rule
    pub(crate) rule: String,
    /// Where the hour begins; 1970 for what came when its hour was closed, two days after it ended
    pub(crate) start: Time,
    /// Events evaluated, the late ones among them
    pub(crate) evaluated: u64,
    /// Events that came after event time had passed them, and were evaluated nevertheless
    pub(crate) late: u64,
    /// Results taken back or changed because earlier events came after later ones
    pub(crate) recomputed: u64,
    /// Events that came too late to count
    pub(crate) dropped: u64,
    /// Whether event time has passed the hour
    pub(crate) is_complete: bool,
}

impl From<CompletenessRow> for CompletenessView {
    fn from(row: CompletenessRow) -> Self {
        let CompletenessRow { tenant: _, rule, start, evaluated, late, recomputed, dropped, is_complete } =
            row;
        Self { rule, start, evaluated, late, recomputed, dropped, is_complete }
    }
}

/// What became of every hour under every rule, as of the last checkpoint: by hour, then rule
#[utoipa::path(get, path = "/api/v1/completeness", operation_id = "list_completeness", tag = "rules",
    params(TenantParam, CompletenessParams),
    responses((status = 200, description = "A page of the ledger", body = Paged<CompletenessView>),
        (status = 400, description = "A parameter is wrong")))]
pub(crate) async fn completeness(
    State(api): State<ApiState>,
    Params((tenant, params)): Params<(TenantParam, CompletenessParams)>,
) -> Result<Response, Problem> {
    let limit = PageParams::limit_of(params.limit)?;
    let filter = CompletenessFilter {
        rule: params.rule,
        since: params.since,
        until: params.until,
        is_faulty: params.faulty.unwrap_or_default(),
        after: params.cursor.as_deref().map(place).transpose()?,
    };
    let mut rows = blocking(move || api.state.completeness(&tenant.id(), &filter, limit + 1)).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| format!("{}~{}", row.start.micros(), row.rule));
    let items = rows.into_iter().map(CompletenessView::from).collect();
    Ok(Json(Paged::<CompletenessView> { items, next }).into_response())
}

/// A cursor of the ledger: hour and rule.
fn place(cursor: &str) -> Result<(Time, String), Problem> {
    let parts = cursor.split_once('~').and_then(|(start, rule)| Some((start.parse().ok()?, rule)));
    let refuse =
        || Problem::bad_request("not a cursor of this list; pass the `next` of the page before, unchanged");
    parts.map(|(start, rule)| (Time(start), rule.to_owned())).ok_or_else(refuse)
}
