//! Risk of users, devices and apps.

use axum::Json;
use axum::extract::State;
use event::{EntityRisk, EntityType, RiskLevel};
use serde::Deserialize;
use storage::RiskFilter;
use utoipa::IntoParams;

use super::ApiState;
use super::page::{PageParams, Paged, TenantParam, blocking, comma_separated};
use super::params::Params;
use super::problem::Problem;

/// Which risks.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RiskParams {
    /// Types of entities, comma separated: user, device, app; default: all
    #[serde(default, rename = "type", deserialize_with = "comma_separated")]
    #[param(inline, style = Form, explode = false)]
    types: Vec<EntityType>,
    /// Lowest level
    #[param(inline)]
    level: Option<RiskLevel>,
    /// Text in the name, another name, or what raised it; case of ASCII letters does not matter
    q: Option<String>,
}

/// List users, devices and apps at risk, the highest score first
#[utoipa::path(get, path = "/api/v1/risk", operation_id = "list_risk", tag = "risk",
    params(TenantParam, RiskParams, PageParams),
    responses((status = 200, description = "A page of risks; each score is as of its `as_of`", body = Paged<EntityRisk>),
        (status = 400, description = "A parameter is wrong")))]
pub(crate) async fn list(
    State(api): State<ApiState>,
    Params((tenant, params, page)): Params<(TenantParam, RiskParams, PageParams)>,
) -> Result<Json<Paged<EntityRisk>>, Problem> {
    let filter = RiskFilter { types: params.types, level_min: params.level, q: params.q };
    let (cursor, limit) = (page.cursor()?, page.limit()?);
    let page = blocking(move || api.state.risks_page(&tenant.id(), &filter, cursor.as_ref(), limit)).await?;
    Ok(Json(page.into()))
}
