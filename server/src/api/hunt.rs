//! Hunting over HTTP: one SELECT, rows of JSON.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use storage::HuntLimits;
use utoipa::ToSchema;

use super::ApiState;
use super::body::Body;
use super::page::TenantParam;
use super::params::Params;
use super::problem::Problem;

/// Rows of an answer at most, whatever the client asks for: they are held in memory as JSON.
const ROWS_MAX: usize = 100_000;
/// Seconds of a query at most.
pub(crate) const TIMEOUT_S_MAX: u64 = 100;

/// A question.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HuntRequest {
    /// A SELECT over the OCSF class tables and alerts, incidents, incident_alerts, actions, effects, audit, suppressions, exceptions, suggestions, campaigns, analyst_inputs, completeness, dead_letters
    pub(crate) sql: String,
    /// Most rows to return, at most 100000; 0 is that
    #[serde(default)]
    pub(crate) limit: Option<usize>,
    /// Give up after this many seconds, 1 to 100; default: 100
    #[serde(default)]
    pub(crate) timeout_s: Option<u64>,
}

/// A column of the answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct HuntColumn {
    /// Name
    pub(crate) name: String,
    /// Arrow type
    #[serde(rename = "type")]
    pub(crate) column_type: String,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct HuntResponse {
    /// Columns in the order of the SELECT
    pub(crate) columns: Vec<HuntColumn>,
    /// One object a row; null values are left out
    #[schema(value_type = Vec<std::collections::HashMap<String, serde_json::Value>>)]
    pub(crate) rows: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Whether the row limit cut the answer
    pub(crate) limited: bool,
}

/// Ask in SQL
#[utoipa::path(post, path = "/api/v1/hunt", operation_id = "hunt", tag = "hunt", params(TenantParam), request_body = HuntRequest,
    responses((status = 200, description = "The rows", body = HuntResponse),
        (status = 400, description = "The query is wrong or does more than read, or a limit is out of range"),
        (status = 422, description = "The query exceeds a limit")))]
pub(crate) async fn hunt(
    State(api): State<ApiState>,
    Params((tenant,)): Params<(TenantParam,)>,
    Body(request): Body<HuntRequest>,
) -> Result<Json<HuntResponse>, Problem> {
    let limits = limits(&request)?;
    let result = api.hunt.query(&request.sql, &tenant.id(), limits).await?;
    let schema = result.schema();
    let (batches, limited) = result.collect().await?;
    let column = |f: &arrow::datatypes::FieldRef| HuntColumn {
        name: f.name().clone(),
        column_type: f.data_type().to_string(),
    };
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>()).map_err(|e| Problem::internal(&e))?;
    writer.finish().map_err(|e| Problem::internal(&e))?;
    let json = writer.into_inner();
    // Arrow writes nothing at all for no rows.
    let json = if json.is_empty() { b"[]".to_vec() } else { json };
    let rows = serde_json::from_slice(&json).map_err(|e| Problem::internal(&e))?;
    Ok(Json(HuntResponse { columns: schema.fields().iter().map(column).collect(), rows, limited }))
}

fn limits(request: &HuntRequest) -> Result<HuntLimits, Problem> {
    let rows_max = request.limit.filter(|rows| *rows > 0).unwrap_or(ROWS_MAX);
    if rows_max > ROWS_MAX {
        return Err(Problem::bad_request(format!(
            "limit is {rows_max}, but at most {ROWS_MAX} rows are returned"
        )));
    }
    match request.timeout_s.unwrap_or(TIMEOUT_S_MAX) {
        seconds @ 1..=TIMEOUT_S_MAX => {
            let time_max = Duration::from_secs(seconds);
            Ok(HuntLimits { rows_max, time_max, ..HuntLimits::default() })
        }
        seconds => Err(Problem::bad_request(format!(
            "timeout_s is {seconds}, but a query has 1 to {TIMEOUT_S_MAX} seconds"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_out_of_range_are_refused() {
        let of = |limit, timeout_s| limits(&HuntRequest { sql: String::new(), limit, timeout_s });
        assert_eq!(of(Some(5), Some(7)).unwrap().time_max, Duration::from_secs(7));
        assert_eq!(of(Some(0), None).unwrap().rows_max, ROWS_MAX);
        for (limit, timeout_s, names) in [
            (None, Some(0), "timeout_s is 0"),
            (None, Some(100_000), "1 to 100"),
            (Some(1 << 20), None, "limit is"),
        ] {
            let problem = of(limit, timeout_s).unwrap_err();
            assert!(problem.status == 400 && problem.detail.contains(names), "{problem:?}");
        }
    }
}
