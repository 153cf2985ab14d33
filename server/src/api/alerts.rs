//! Alerts: list and show.

use axum::Json;
use axum::extract::{Path, Query, State};
use event::{Alert, AlertId, IncidentId, Severity, Time};
use serde::Deserialize;
use storage::AlertFilter;
use utoipa::IntoParams;

use super::ApiState;
use super::incidents::domain_from_name;
use super::page::{PageParams, Paged, TenantParam, blocking, word};
use super::problem::Problem;

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AlertParams {
    /// Of this incident
    #[serde(default)]
    incident: Option<String>,
    /// Lowest severity
    #[serde(default)]
    severity: Option<String>,
    /// Telemetry domain
    #[serde(default)]
    domain: Option<String>,
    /// Rule id
    #[serde(default)]
    rule: Option<String>,
    /// Text in the alert
    #[serde(default)]
    q: Option<String>,
    /// Began at or after (RFC 3339)
    #[serde(default)]
    since: Option<String>,
    /// Began before (RFC 3339)
    #[serde(default)]
    until: Option<String>,
}

impl AlertParams {
    fn filter(self) -> Result<AlertFilter, Problem> {
        let time = |name: &str, value: &Option<String>| {
            let parse = |v: &String| Time::parse(v).map_err(|e| Problem::bad_request(format!("{name}: {e}")));
            value.as_ref().map(parse).transpose()
        };
        let severities = "informational, low, medium, high, critical";
        let domains = "email, endpoint, identity, app, network";
        Ok(AlertFilter {
            severity_min: self
                .severity
                .as_deref()
                .map(|v| word("severity", v, Severity::from_name, severities))
                .transpose()?,
            domain: self
                .domain
                .as_deref()
                .map(|v| word("domain", v, domain_from_name, domains))
                .transpose()?,
            since: time("since", &self.since)?,
            until: time("until", &self.until)?,
            incident: self.incident.map(IncidentId::new),
            rule: self.rule,
            q: self.q,
        })
    }
}

/// List alerts, latest first
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(TenantParam, AlertParams, PageParams),
    responses((status = 200, description = "A page of alerts: {items, next}", body = serde_json::Value),
        (status = 400, description = "A parameter is wrong", body = Problem)))]
pub(crate) async fn list(
    State(api): State<ApiState>,
    Query(tenant): Query<TenantParam>,
    Query(params): Query<AlertParams>,
    Query(page): Query<PageParams>,
) -> Result<Json<Paged<Alert>>, Problem> {
    let (filter, cursor, limit) = (params.filter()?, page.cursor()?, page.limit());
    let page = blocking(move || api.state.alerts_page(&tenant.id(), &filter, cursor.as_ref(), limit)).await?;
    Ok(Json(page.into()))
}

/// One alert
#[utoipa::path(get, path = "/api/v1/alerts/{id}", tag = "alerts", params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "The alert, with the records that made it", body = serde_json::Value),
        (status = 404, description = "No such alert", body = Problem)))]
pub(crate) async fn show(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Query(tenant): Query<TenantParam>,
) -> Result<Json<Alert>, Problem> {
    let alert = AlertId::new(id.as_str());
    let found = blocking(move || api.state.alert(&tenant.id(), &alert)).await?;
    found.map(Json).ok_or_else(|| Problem::not_found("alert", &id))
}
