//! Liveness, readiness, metrics.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::page::blocking;
use super::problem::Problem;

/// The process is alive
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "health", responses((status = 200, description = "ok", body = String)))]
pub(crate) async fn healthz() -> &'static str {
    "ok"
}

/// The engine reads and its state can be read
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "health",
    responses((status = 200, description = "ready", body = String), (status = 503, description = "Not ready, and why")))]
pub(crate) async fn readyz(State(api): State<ApiState>) -> Result<&'static str, Problem> {
    if !api.engine.is_alive() {
        return Err(Problem::unavailable("the engine has stopped; the server's log has the cause"));
    }
    if api.ingest.journal.has_failed() {
        return Err(Problem::unavailable(
            "the journal takes no more records since a write failed; the log has the cause; start again without it",
        ));
    }
    blocking(move || api.state.outbox_head()).await?;
    Ok("ready")
}

/// Prometheus metrics
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "health", responses((status = 200, description = "Prometheus text", body = String)))]
pub(crate) async fn metrics(State(api): State<ApiState>) -> Response {
    let text = api.metrics.render();
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
