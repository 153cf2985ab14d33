//! Incidents: list, show, work, explain.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use correlate::{AnalystInput, Said};
use event::{
    Alert, AlertId, Domain, Explanation, Incident, IncidentGraph, IncidentId, IncidentStatus, Severity,
    TenantId, Time,
};
use serde::{Deserialize, Serialize};
use storage::{IncidentFilter, IncidentSort};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::page::{PageParams, Paged, TenantParam, blocking, word};
use super::problem::Problem;
use crate::command::now;
use crate::engine::Input;

const STATUSES: &str = "new, in_progress, closed, redirected";
const SEVERITIES: &str = "informational, low, medium, high, critical";
const DOMAINS: &str = "email, endpoint, identity, app, network";

/// Which incidents.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct IncidentParams {
    /// new, in_progress, closed or redirected
    #[serde(default)]
    status: Option<String>,
    /// Lowest severity
    #[serde(default)]
    severity: Option<String>,
    /// Telemetry domain it touches
    #[serde(default)]
    domain: Option<String>,
    /// Analyst in charge; empty for nobody
    #[serde(default)]
    assignee: Option<String>,
    /// Text in id, title, summary, entities or techniques
    #[serde(default)]
    q: Option<String>,
    /// Active at or after (RFC 3339)
    #[serde(default)]
    since: Option<String>,
    /// Active before (RFC 3339)
    #[serde(default)]
    until: Option<String>,
    /// `score` (default) or `recent`
    #[serde(default)]
    sort: Option<String>,
}

impl IncidentParams {
    fn filter(&self) -> Result<IncidentFilter, Problem> {
        let time = |name: &str, value: &Option<String>| {
            let parse = |v: &String| Time::parse(v).map_err(|e| Problem::bad_request(format!("{name}: {e}")));
            value.as_ref().map(parse).transpose()
        };
        let status =
            self.status.as_deref().map(|v| word("status", v, status_from_name, STATUSES)).transpose()?;
        let sort =
            self.sort.as_deref().map(|v| word("sort", v, sort_from_name, "score, recent")).transpose()?;
        Ok(IncidentFilter {
            status: status.into_iter().collect(),
            severity_min: self
                .severity
                .as_deref()
                .map(|v| word("severity", v, Severity::from_name, SEVERITIES))
                .transpose()?,
            domain: self
                .domain
                .as_deref()
                .map(|v| word("domain", v, domain_from_name, DOMAINS))
                .transpose()?,
            assignee: self.assignee.clone(),
            q: self.q.clone(),
            since: time("since", &self.since)?,
            until: time("until", &self.until)?,
            sort: sort.unwrap_or(IncidentSort::Score),
        })
    }
}

fn status_from_name(name: &str) -> Option<IncidentStatus> {
    use IncidentStatus::{Closed, InProgress, New, Redirected};
    [New, InProgress, Closed, Redirected].into_iter().find(|s| s.as_str() == name)
}

fn sort_from_name(name: &str) -> Option<IncidentSort> {
    match name {
        "score" => Some(IncidentSort::Score),
        "recent" => Some(IncidentSort::Recent),
        _ => None,
    }
}

pub(super) fn domain_from_name(name: &str) -> Option<Domain> {
    Domain::ALL.into_iter().find(|d| d.as_str() == name)
}

/// List incidents
#[utoipa::path(get, path = "/api/v1/incidents", tag = "incidents", params(TenantParam, IncidentParams, PageParams),
    responses((status = 200, description = "A page of incidents: {items, next}", body = serde_json::Value),
        (status = 400, description = "A parameter is wrong", body = Problem)))]
pub(crate) async fn list(
    State(api): State<ApiState>,
    Query(tenant): Query<TenantParam>,
    Query(params): Query<IncidentParams>,
    Query(page): Query<PageParams>,
) -> Result<Json<Paged<Incident>>, Problem> {
    let (filter, cursor, limit) = (params.filter()?, page.cursor()?, page.limit());
    let page =
        blocking(move || api.state.incidents_page(&tenant.id(), &filter, cursor.as_ref(), limit)).await?;
    Ok(Json(page.into()))
}

/// One incident; the id of a merged one gives its survivor
#[utoipa::path(get, path = "/api/v1/incidents/{id}", tag = "incidents", params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "The incident; its ETag is for If-Match", body = serde_json::Value),
        (status = 404, description = "No such incident", body = Problem)))]
pub(crate) async fn show(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Query(tenant): Query<TenantParam>,
) -> Result<Response, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    Ok(tagged(&incident))
}

async fn stored(api: &ApiState, tenant: &TenantParam, id: &str) -> Result<Incident, Problem> {
    let (state, tenant, incident) = (api.state.clone(), tenant.id(), IncidentId::new(id));
    let found = blocking(move || state.incident(&tenant, &incident)).await?;
    found.ok_or_else(|| Problem::not_found("incident", id))
}

fn etag(incident: &Incident) -> String {
    format!("\"{}\"", incident.version)
}

fn tagged(incident: &Incident) -> Response {
    let mut response = Json(incident).into_response();
    if let Ok(value) = HeaderValue::from_str(&etag(incident)) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// What an analyst changes. Absent fields stay as they are.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncidentPatch {
    /// Analyst in charge
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) assignee: Option<String>,
    /// new, in_progress or closed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    /// Such as true_positive, false_positive, benign
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) classification: Option<String>,
    /// Who
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
}

/// Assign or close an incident
#[utoipa::path(patch, path = "/api/v1/incidents/{id}", tag = "incidents", params(TenantParam, ("id" = String, Path)),
    request_body = IncidentPatch,
    responses((status = 200, description = "The incident after the change", body = serde_json::Value),
        (status = 404, description = "No such incident", body = Problem),
        (status = 412, description = "It changed since the If-Match version", body = Problem)))]
pub(crate) async fn patch(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Query(tenant): Query<TenantParam>,
    headers: HeaderMap,
    Json(patch): Json<IncidentPatch>,
) -> Result<Response, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    require_match(&headers, &incident)?;
    for input in inputs_of(&incident, patch)? {
        api.engine.tell(input).await?;
    }
    show(State(api), Path(id), Query(TenantParam::of(&incident.tenant))).await
}

fn require_match(headers: &HeaderMap, incident: &Incident) -> Result<(), Problem> {
    let wanted = headers.get(header::IF_MATCH).and_then(|v| v.to_str().ok());
    match wanted {
        Some(wanted) if wanted != "*" && wanted != etag(incident) => Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            format!("the incident is at version {} now: read it again", incident.version),
        )),
        _ => Ok(()),
    }
}

fn inputs_of(incident: &Incident, patch: IncidentPatch) -> Result<Vec<Input>, Problem> {
    let by = patch.by.as_deref().unwrap_or("api");
    let id = || incident.id.clone();
    let mut said = Vec::new();
    if let Some(to) = patch.assignee {
        said.push(Said::Assign { incident: id(), assignee: Some(to).filter(|a| !a.is_empty()) });
    }
    if let Some(classification) = patch.classification {
        said.push(Said::Classify {
            incident: id(),
            classification: Some(classification).filter(|c| !c.is_empty()),
        });
    }
    if let Some(status) = patch.status {
        let status = word("status", &status, status_from_name, "new, in_progress, closed")?;
        said.push(Said::SetStatus { incident: id(), status });
    }
    if said.is_empty() {
        return Err(Problem::bad_request("nothing to change: give assignee, classification or status"));
    }
    Ok(said.into_iter().map(|said| analyst(&incident.tenant, by, said)).collect())
}

fn analyst(tenant: &TenantId, by: &str, said: Said) -> Input {
    Input::Analyst(AnalystInput {
        tenant: tenant.clone(),
        at: now(),
        by: by.to_owned(),
        said,
        alerts: Vec::new(),
    })
}

/// The alerts of an incident, in event time
#[utoipa::path(get, path = "/api/v1/incidents/{id}/alerts", tag = "incidents", params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "Its alerts: {items}", body = serde_json::Value),
        (status = 404, description = "No such incident", body = Problem)))]
pub(crate) async fn alerts(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Query(tenant): Query<TenantParam>,
) -> Result<Json<Paged<Alert>>, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    let items = blocking(move || api.state.alerts_of(&tenant.id(), &incident.id)).await?;
    Ok(Json(Paged { items, next: None }))
}

/// The incident as a graph of alerts and entities
#[utoipa::path(get, path = "/api/v1/incidents/{id}/graph", tag = "incidents", params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "Nodes and edges", body = serde_json::Value),
        (status = 404, description = "No such incident", body = Problem)))]
pub(crate) async fn graph(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Query(tenant): Query<TenantParam>,
) -> Result<Json<IncidentGraph>, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    Ok(Json(api.engine.graph(incident.id).await?))
}

/// Two alerts, or none for every join.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExplanationParams {
    /// Alert id
    #[serde(default)]
    a: Option<String>,
    /// Alert id
    #[serde(default)]
    b: Option<String>,
}

/// Why alerts belong together.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExplanationResponse {
    /// The incident.
    pub(crate) incident: IncidentId,
    /// One explanation for the two alerts asked about, or one for every join.
    pub(crate) explanations: Vec<Explanation>,
}

/// Why two alerts are in one incident, or every join of it
#[utoipa::path(get, path = "/api/v1/incidents/{id}/explanation", tag = "incidents",
    params(TenantParam, ExplanationParams, ("id" = String, Path)),
    responses((status = 200, description = "{incident, explanations}", body = serde_json::Value),
        (status = 404, description = "No such incident or alert", body = Problem)))]
pub(crate) async fn explanation(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Query(tenant): Query<TenantParam>,
    Query(params): Query<ExplanationParams>,
) -> Result<Json<ExplanationResponse>, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    let pair = match (params.a, params.b) {
        (Some(a), Some(b)) => Some((AlertId::new(a), AlertId::new(b))),
        (None, None) => None,
        _ => return Err(Problem::bad_request("give both a and b, or neither")),
    };
    let explanations = api.engine.explain(incident.id.clone(), pair).await?;
    Ok(Json(ExplanationResponse { incident: incident.id, explanations }))
}

/// Merge this incident into another.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MergeRequest {
    /// The survivor
    pub(crate) into: String,
    /// Who
    #[serde(default)]
    pub(crate) by: Option<String>,
}

/// Merge this incident into another
#[utoipa::path(post, path = "/api/v1/incidents/{id}/merge", tag = "incidents", params(TenantParam, ("id" = String, Path)),
    request_body = MergeRequest,
    responses((status = 200, description = "The survivor", body = serde_json::Value),
        (status = 409, description = "They cannot be merged", body = Problem)))]
pub(crate) async fn merge(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Query(tenant): Query<TenantParam>,
    Json(request): Json<MergeRequest>,
) -> Result<Response, Problem> {
    let from = stored(&api, &tenant, &id).await?;
    let into = stored(&api, &tenant, &request.into).await?;
    let said = Said::Merge { into: into.id.clone(), from: from.id };
    api.engine.tell(analyst(&into.tenant, request.by.as_deref().unwrap_or("api"), said)).await?;
    show(State(api), Path(into.id.to_string()), Query(tenant)).await
}

/// Take alerts out into an incident of their own.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitRequest {
    /// The alerts
    pub(crate) alerts: Vec<String>,
    /// Who
    #[serde(default)]
    pub(crate) by: Option<String>,
}

/// Take alerts out of an incident
#[utoipa::path(post, path = "/api/v1/incidents/{id}/split", tag = "incidents", params(TenantParam, ("id" = String, Path)),
    request_body = SplitRequest,
    responses((status = 200, description = "The incident without them", body = serde_json::Value),
        (status = 409, description = "It cannot be split so", body = Problem)))]
pub(crate) async fn split(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Query(tenant): Query<TenantParam>,
    Json(request): Json<SplitRequest>,
) -> Result<Response, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    let leaving = request.alerts.into_iter().map(AlertId::new).collect();
    let said = Said::Split { incident: incident.id, leaving };
    api.engine.tell(analyst(&incident.tenant, request.by.as_deref().unwrap_or("api"), said)).await?;
    show(State(api), Path(id), Query(tenant)).await
}
