//! Alerts: list and show.

use axum::Json;
use axum::extract::{Path, State};
use event::{Alert, AlertId, IncidentId};
use serde::Deserialize;
use storage::AlertFilter;
use utoipa::IntoParams;

use super::ApiState;
use super::page::{PageParams, Paged, SignalParams, TenantParam, blocking};
use super::params::Params;
use super::problem::Problem;

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AlertParams {
    /// Of this incident; the id of a merged one means its survivor
    incident: Option<String>,
    /// Rule id
    rule: Option<String>,
}

impl AlertParams {
    fn filter(self, signal: SignalParams) -> AlertFilter {
        AlertFilter {
            severity_min: signal.severity,
            domain: signal.domain,
            since: signal.since,
            until: signal.until,
            q: signal.q,
            incident: self.incident.map(IncidentId::new),
            rule: self.rule,
        }
    }
}

/// List alerts, latest first
#[utoipa::path(get, path = "/api/v1/alerts", operation_id = "list_alerts", tag = "alerts",
    params(TenantParam, AlertParams, SignalParams, PageParams),
    responses((status = 200, description = "A page of alerts", body = Paged<Alert>),
        (status = 400, description = "A parameter is wrong")))]
pub(crate) async fn list(
    State(api): State<ApiState>,
    Params((tenant, params, signal, page)): Params<(TenantParam, AlertParams, SignalParams, PageParams)>,
) -> Result<Json<Paged<Alert>>, Problem> {
    let (filter, cursor, limit) = (params.filter(signal), page.cursor()?, page.limit()?);
    let page = blocking(move || api.state.alerts_page(&tenant.id(), &filter, cursor.as_ref(), limit)).await?;
    Ok(Json(page.into()))
}

/// One alert
#[utoipa::path(get, path = "/api/v1/alerts/{id}", operation_id = "get_alert", tag = "alerts",
    params(TenantParam, ("id" = String, Path)),
    responses((status = 200, description = "The alert, with the records that made it", body = Alert),
        (status = 404, description = "No such alert")))]
pub(crate) async fn show(
    State(api): State<ApiState>,
    Path(id): Path<String>,
    Params((tenant,)): Params<(TenantParam,)>,
) -> Result<Json<Alert>, Problem> {
    let alert = AlertId::new(id.as_str());
    let found = blocking(move || api.state.alert(&tenant.id(), &alert)).await?;
    found.map(Json).ok_or_else(|| Problem::not_found("alert", &id))
}
