//! Incidents: list, show, work, explain.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use correlate::{AnalystInput, Said};
use event::{
    Alert, AlertId, Entity, EntityType, Explanation, Incident, IncidentGraph, IncidentId, IncidentStatus,
    TenantId,
};
use serde::{Deserialize, Serialize};
use storage::{IncidentFilter, IncidentSort};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::Caller;
use super::body::Body;
use super::page::{PageParams, Paged, SignalParams, TenantParam, blocking, comma_separated};
use super::params::Params;
use super::problem::Problem;
use crate::command::now;
use crate::engine::{Input, InputError, OnlyAt};

/// Which incidents.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct IncidentParams {
    /// Statuses, comma separated; default: all but redirected
    #[serde(default, deserialize_with = "comma_separated")]
    #[param(inline, style = Form, explode = false)]
    status: Vec<IncidentStatus>,
    /// Analyst in charge; empty for nobody
    assignee: Option<String>,
    /// Order; default: score
    #[param(inline)]
    sort: Option<IncidentOrder>,
}

/// The order of incidents.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IncidentOrder {
    /// Highest score first.
    Score,
    /// Latest activity first.
    Recent,
}

impl IncidentParams {
    fn filter(self, signal: SignalParams) -> IncidentFilter {
        IncidentFilter {
            status: self.status,
            assignee: self.assignee,
            severity_min: signal.severity,
            domain: signal.domain,
            q: signal.q,
            since: signal.since,
            until: signal.until,
            sort: match self.sort {
                Some(IncidentOrder::Recent) => IncidentSort::Recent,
                Some(IncidentOrder::Score) | None => IncidentSort::Score,
            },
        }
    }
}

/// List incidents
#[utoipa::path(get, path = "/api/v1/incidents", operation_id = "list_incidents", tag = "incidents",
    params(TenantParam, IncidentParams, SignalParams, PageParams),
    responses((status = 200, description = "A page of incidents", body = Paged<Incident>),
        (status = 400, description = "A parameter is wrong")))]
pub(crate) async fn list(
    State(api): State<ApiState>,
    Params((tenant, params, signal, page)): Params<(TenantParam, IncidentParams, SignalParams, PageParams)>,
) -> Result<Json<Paged<Incident>>, Problem> {
    let (filter, cursor, limit) = (params.filter(signal), page.cursor()?, page.limit()?);
    let page =
        blocking(move || api.state.incidents_page(&tenant.id(), &filter, cursor.as_ref(), limit)).await?;
    Ok(Json(page.into()))
}

/// One incident; the id of a merged one gives its survivor
#[utoipa::path(get, path = "/api/v1/incidents/{id}", operation_id = "get_incident", tag = "incidents",
    params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "The incident", body = Incident,
            headers(("ETag" = String, description = "Version, for If-Match"))),
        (status = 404, description = "No such incident")))]
pub(crate) async fn show(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
) -> Result<Response, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    Ok(tagged(&incident))
}

pub(super) async fn stored(api: &ApiState, tenant: &TenantParam, id: &str) -> Result<Incident, Problem> {
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

/// What an incident can turn out to be.
pub(crate) const CLASSIFICATIONS: [&str; 3] = ["true_positive", "false_positive", "benign"];

/// What an analyst changes. Absent fields stay as they are.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncidentPatch {
    /// Analyst in charge
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) assignee: Option<String>,
    /// new, in_progress or closed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<IncidentStatus>,
    /// true_positive, false_positive or benign; empty takes it back
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) classification: Option<String>,
    /// Who
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
}

/// Assign or close an incident
#[utoipa::path(patch, path = "/api/v1/incidents/{id}", operation_id = "edit_incident", tag = "incidents",
    params(TenantParam, ("id" = String, Path),
        ("If-Match" = Option<String>, Header, description = "ETag of the version that the change is meant for")),
    request_body = IncidentPatch,
    responses((status = 200, description = "The incident after the change", body = Incident,
            headers(("ETag" = String, description = "Version, for If-Match"))),
        (status = 400, description = "Nothing to change, an unknown classification, or a status that only a merge gives"),
        (status = 404, description = "No such incident"),
        (status = 412, description = "It changed since the If-Match version"),
        (status = 422, description = "The body has a wrong field")))]
pub(crate) async fn patch(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
    headers: HeaderMap,
    Body(patch): Body<IncidentPatch>,
) -> Result<Response, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    let only_at = only_at(&headers, &incident)?;
    let by = caller.name(patch.by.as_deref())?.to_owned();
    let inputs = inputs_of(&incident, patch, &by)?;
    api.engine.tell(Input::Analyst { inputs, only_at }).await?;
    show(State(api), Path(id), Params((TenantParam::of(&incident.tenant),))).await
}

/// The version that `If-Match` asks for, where it does not take any. The engine looks again before it changes anything.
fn only_at(headers: &HeaderMap, incident: &Incident) -> Result<Option<OnlyAt>, Problem> {
    let wanted = headers.get(header::IF_MATCH).and_then(|v| v.to_str().ok());
    let Some(wanted) = wanted.filter(|wanted| !names_any(wanted)) else { return Ok(None) };
    if !names_version(wanted, &etag(incident)) {
        return Err(InputError::Changed(incident.version).into());
    }
    let Incident { tenant, id, version, .. } = incident;
    Ok(Some(OnlyAt { tenant: tenant.clone(), incident: id.clone(), version: *version }))
}

/// Whether an `If-Match` header (RFC 9110: `*`, or a list of tags) takes any version.
fn names_any(header: &str) -> bool {
    header.split(',').any(|tag| tag.trim() == "*")
}

/// Whether it names this tag.
fn names_version(header: &str, etag: &str) -> bool {
    header.split(',').any(|tag| tag.trim() == etag)
}

fn inputs_of(incident: &Incident, patch: IncidentPatch, by: &str) -> Result<Vec<AnalystInput>, Problem> {
    let id = || incident.id.clone();
    let mut said = Vec::new();
    if let Some(to) = patch.assignee {
        said.push(Said::Assign { incident: id(), assignee: Some(to).filter(|a| !a.is_empty()) });
    }
    if let Some(classification) = patch.classification {
        said.push(Said::Classify { incident: id(), classification: known_classification(classification)? });
    }
    if patch.status == Some(IncidentStatus::Redirected) {
        return Err(Problem::bad_request("an incident is redirected by merging it, not by a status"));
    }
    if let Some(status) = patch.status {
        said.push(Said::SetStatus { incident: id(), status });
    }
    if said.is_empty() {
        return Err(Problem::bad_request("nothing to change: give assignee, classification or status"));
    }
    Ok(said.into_iter().map(|said| AnalystInput::new(incident.tenant.clone(), now(), by, said)).collect())
}

/// The classification that was given; empty is none.
fn known_classification(text: String) -> Result<Option<String>, Problem> {
    if text.is_empty() || CLASSIFICATIONS.contains(&text.as_str()) {
        return Ok(Some(text).filter(|text| !text.is_empty()));
    }
    let known = CLASSIFICATIONS.join(", ");
    Err(Problem::bad_request(format!("classification {text:?} is not known; known: {known}")))
}

/// One thing that somebody says, about an incident at this version where one is given.
pub(super) fn analyst(tenant: &TenantId, by: &str, said: Said, only_at: Option<OnlyAt>) -> Input {
    Input::Analyst { inputs: vec![AnalystInput::new(tenant.clone(), now(), by, said)], only_at }
}

/// The alerts of an incident, in event time
#[utoipa::path(get, path = "/api/v1/incidents/{id}/alerts", operation_id = "list_alerts_of_incident", tag = "incidents",
    params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "All its alerts", body = Paged<Alert>),
        (status = 404, description = "No such incident")))]
pub(crate) async fn alerts(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
) -> Result<Json<Paged<Alert>>, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    let items = blocking(move || api.state.alerts_of(&tenant.id(), &incident.id)).await?;
    Ok(Json(Paged { items, next: None }))
}

/// The format of a graph.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GraphFormat {
    /// The document that this API describes.
    #[default]
    Json,
    /// GraphML.
    Graphml,
    /// A STIX 2.1 bundle.
    Stix,
}

/// How a graph is told.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct GraphParams {
    /// Format; default: json
    #[param(inline)]
    format: Option<GraphFormat>,
    /// One end of the shortest path that the graph is to have: a node id, an alert id, a name or a value
    #[serde(default)]
    a: Option<String>,
    /// The other end
    #[serde(default)]
    b: Option<String>,
}

/// The incident as a graph of alerts and entities, with the shortest path between two of them
#[utoipa::path(get, path = "/api/v1/incidents/{id}/graph", operation_id = "get_incident_graph", tag = "incidents",
    params(TenantParam, GraphParams, ("id" = String, Path)),
    responses((status = 200, description = "Nodes and edges", content(
            (IncidentGraph = "application/json"),
            (String = "application/graphml+xml"),
            (std::collections::BTreeMap<String, serde_json::Value> = "application/stix+json"))),
        (status = 400, description = "One end of a path without the other"),
        (status = 404, description = "No such incident, alert or entity"),
        (status = 409, description = "A name of several entities, or an incident that has left memory")))]
pub(crate) async fn graph(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Params((tenant, params)): Params<(TenantParam, GraphParams)>,
) -> Result<Response, Problem> {
    let between = match (params.a, params.b) {
        (Some(a), Some(b)) => Some((a, b)),
        (None, None) => None,
        _ => return Err(Problem::bad_request("give both a and b, or neither")),
    };
    let incident = stored(&api, &tenant, &id).await?;
    let graph = api.engine.graph(incident.id.clone(), between).await?;
    Ok(match params.format.unwrap_or_default() {
        GraphFormat::Json => Json(graph).into_response(),
        GraphFormat::Graphml => typed("application/graphml+xml", correlate::graphml(&graph)),
        GraphFormat::Stix => {
            let (state, of) = (api.state.clone(), incident.id.clone());
            let alerts = blocking(move || state.alerts_of(&tenant.id(), &of)).await?;
            let bundle = correlate::stix(&incident, &alerts, &graph);
            typed("application/stix+json;version=2.1", bundle.to_string())
        }
    })
}

fn typed(media_type: &'static str, body: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(media_type))], body).into_response()
}

/// Two alerts, or none for the joins of the incident.
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
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ExplanationResponse {
    /// The incident.
    pub(crate) incident: IncidentId,
    /// One explanation for the two alerts asked about, or one for every join; of a very large incident for the weakest 500.
    pub(crate) explanations: Vec<Explanation>,
}

/// Why two alerts are in one incident, or every join of it
#[utoipa::path(get, path = "/api/v1/incidents/{id}/explanation", operation_id = "explain_incident", tag = "incidents",
    params(TenantParam, ExplanationParams, ("id" = String, Path)),
    responses((status = 200, description = "The joins and their reasons", body = ExplanationResponse),
        (status = 400, description = "One alert without the other"),
        (status = 404, description = "No such incident or alert")))]
pub(crate) async fn explanation(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Params((tenant, params)): Params<(TenantParam, ExplanationParams)>,
) -> Result<Json<ExplanationResponse>, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    let pair = match (params.a, params.b) {
        (Some(a), Some(b)) => Some((AlertId::new(a), AlertId::new(b))),
        (None, None) => None,
        _ => return Err(Problem::bad_request("give both a and b, or neither")),
    };
    for alert in pair.iter().flat_map(|(a, b)| [a.clone(), b.clone()]) {
        let (state, tenant, id) = (api.state.clone(), tenant.id(), alert.clone());
        let found = blocking(move || state.alert(&tenant, &id)).await?;
        found.ok_or_else(|| Problem::not_found("alert", alert.as_str()))?;
    }
    let asked = pair.is_some();
    let explanations = api.engine.explain(incident.id.clone(), pair).await?;
    if asked && explanations.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "the correlation state holds these alerts no more"));
    }
    Ok(Json(ExplanationResponse { incident: incident.id, explanations }))
}

/// Merge this incident into another.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MergeRequest {
    /// The survivor
    pub(crate) into: IncidentId,
    /// Who
    #[serde(default)]
    pub(crate) by: Option<String>,
}

/// Merge this incident into another
#[utoipa::path(post, path = "/api/v1/incidents/{id}/merge", operation_id = "merge_incident", tag = "incidents",
    params(TenantParam, ("id" = String, Path),
        ("If-Match" = Option<String>, Header, description = "ETag of the version that the change is meant for")),
    request_body = MergeRequest,
    responses((status = 200, description = "The survivor", body = Incident,
            headers(("ETag" = String, description = "Version, for If-Match"))),
        (status = 404, description = "No such incident"),
        (status = 409, description = "They cannot be merged"),
        (status = 412, description = "It changed since the If-Match version"),
        (status = 422, description = "The body has a wrong field")))]
pub(crate) async fn merge(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
    headers: HeaderMap,
    Body(request): Body<MergeRequest>,
) -> Result<Response, Problem> {
    let from = stored(&api, &tenant, &id).await?;
    let only_at = only_at(&headers, &from)?;
    let into = stored(&api, &tenant, request.into.as_str()).await?;
    let said = Said::Merge { into: into.id.clone(), from: from.id };
    api.engine.tell(analyst(&into.tenant, caller.name(request.by.as_deref())?, said, only_at)).await?;
    show(State(api), Path(into.id.to_string()), Params((tenant,))).await
}

/// Move alerts to another incident.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveRequest {
    /// The alerts
    pub(crate) alerts: Vec<AlertId>,
    /// The incident they belong to
    pub(crate) to: IncidentId,
    /// Who
    #[serde(default)]
    pub(crate) by: Option<String>,
}

/// Move alerts to another incident; both keep their ids
#[utoipa::path(post, path = "/api/v1/incidents/{id}/move", operation_id = "move_alerts", tag = "incidents",
    params(TenantParam, ("id" = String, Path),
        ("If-Match" = Option<String>, Header, description = "ETag of the version that the change is meant for")),
    request_body = MoveRequest,
    responses((status = 200, description = "The incident without them", body = Incident,
            headers(("ETag" = String, description = "Version, for If-Match"))),
        (status = 404, description = "No such incident"),
        (status = 409, description = "They cannot be moved so"),
        (status = 412, description = "It changed since the If-Match version"),
        (status = 422, description = "The body has a wrong field")))]
pub(crate) async fn move_alerts(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
    headers: HeaderMap,
    Body(request): Body<MoveRequest>,
) -> Result<Response, Problem> {
    let from = stored(&api, &tenant, &id).await?;
    let only_at = only_at(&headers, &from)?;
    let to = stored(&api, &tenant, request.to.as_str()).await?;
    let said = Said::Move { from: from.id.clone(), moving: request.alerts, to: to.id };
    api.engine.tell(analyst(&from.tenant, caller.name(request.by.as_deref())?, said, only_at)).await?;
    show(State(api), Path(from.id.to_string()), Params((tenant,))).await
}

/// Two alerts do not belong together, or two names are not those of one thing.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VetoRequest {
    /// An alert id; with `type` a user's, device's, ... name
    pub(crate) a: String,
    /// The other one
    pub(crate) b: String,
    /// What the names are names of
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) entity_type: Option<EntityType>,
    /// Who
    #[serde(default)]
    pub(crate) by: Option<String>,
}

/// Veto a join: two alerts do not belong together, or two names are not those of one thing
#[utoipa::path(post, path = "/api/v1/incidents/{id}/veto", operation_id = "veto_join", tag = "incidents",
    params(TenantParam, ("id" = String, Path),
        ("If-Match" = Option<String>, Header, description = "ETag of the version that the change is meant for")),
    request_body = VetoRequest,
    responses((status = 200, description = "The incident of that id after it", body = Incident,
            headers(("ETag" = String, description = "Version, for If-Match"))),
        (status = 400, description = "A name of nothing"),
        (status = 404, description = "No such incident"),
        (status = 409, description = "The engine holds no such alerts or names"),
        (status = 412, description = "It changed since the If-Match version"),
        (status = 422, description = "The body has a wrong field")))]
pub(crate) async fn veto(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
    headers: HeaderMap,
    Body(request): Body<VetoRequest>,
) -> Result<Response, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    let only_at = only_at(&headers, &incident)?;
    let said = match request.entity_type {
        None => Said::Veto { a: AlertId::new(request.a), b: AlertId::new(request.b) },
        Some(entity_type) => {
            let name = |raw: &str| {
                let canonical = Entity::canonical(entity_type, raw).map(|name| name.to_string());
                canonical.ok_or_else(|| Problem::bad_request(format!("{raw:?} names no {entity_type}")))
            };
            Said::Distinct { entity_type, a: name(&request.a)?, b: name(&request.b)? }
        }
    };
    api.engine.tell(analyst(&incident.tenant, caller.name(request.by.as_deref())?, said, only_at)).await?;
    show(State(api), Path(id), Params((tenant,))).await
}

/// Take alerts out into an incident of their own.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitRequest {
    /// The alerts
    pub(crate) alerts: Vec<AlertId>,
    /// Who
    #[serde(default)]
    pub(crate) by: Option<String>,
}

/// Take alerts out of an incident
#[utoipa::path(post, path = "/api/v1/incidents/{id}/split", operation_id = "split_incident", tag = "incidents",
    params(TenantParam, ("id" = String, Path),
        ("If-Match" = Option<String>, Header, description = "ETag of the version that the change is meant for")),
    request_body = SplitRequest,
    responses((status = 200, description = "The incident without them", body = Incident,
            headers(("ETag" = String, description = "Version, for If-Match"))),
        (status = 404, description = "No such incident"),
        (status = 409, description = "It cannot be split so"),
        (status = 412, description = "It changed since the If-Match version"),
        (status = 422, description = "The body has a wrong field")))]
pub(crate) async fn split(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
    headers: HeaderMap,
    Body(request): Body<SplitRequest>,
) -> Result<Response, Problem> {
    let incident = stored(&api, &tenant, &id).await?;
    let only_at = only_at(&headers, &incident)?;
    let said = Said::Split { incident: incident.id, leaving: request.alerts };
    api.engine.tell(analyst(&incident.tenant, caller.name(request.by.as_deref())?, said, only_at)).await?;
    show(State(api), Path(id), Params((tenant,))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classification_is_one_of_three_or_none() {
        for known in CLASSIFICATIONS {
            assert_eq!(known_classification(known.to_owned()).unwrap().as_deref(), Some(known));
        }
        assert_eq!(known_classification(String::new()).unwrap(), None);
        let problem = known_classification("foo".to_owned()).unwrap_err();
        assert_eq!(problem.status, 400);
        assert!(CLASSIFICATIONS.iter().all(|known| problem.detail.contains(known)), "{problem:?}");
    }

    #[test]
    fn if_match_takes_a_star_or_a_list_of_tags() {
        for header in ["\"7\"", "\"6\", \"7\""] {
            assert!(names_version(header, "\"7\"") && !names_any(header), "{header}");
        }
        assert!(names_any("*") && names_any("\"6\", *"));
        for header in ["", "7", "\"6\"", "W/\"7\"", "\"77\""] {
            assert!(!names_version(header, "\"7\""), "{header}");
        }
    }
}
