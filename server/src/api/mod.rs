//! The HTTP API: JSON under `/api/v1`, described by OpenAPI, problems as RFC 9457, pages by cursor.
//!
//! Reads go to the state database and the lake; what changes an incident or an action is handed to the engine,
//! which owns both, and answered when it is durable.
#![allow(unused_qualifications)] // The code that `utoipa::path` writes.

mod actions;
mod alerts;
mod auth;
mod body;
mod connectors;
mod deliveries;
mod document;
mod health;
mod hunt;
mod incidents;
mod ingest;
mod leases;
mod page;
mod params;
mod problem;
mod relations;
mod risk;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use forward::Gone;
use metrics_exporter_prometheus::PrometheusHandle;
use storage::{Hunt, StateDb};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use actions::{BulkOutcome, BulkRequest, DecisionRequest, ResponseState, RollBack, VerbDocument};
pub(crate) use auth::{Auth, User};
pub(crate) use connectors::ConnectorView;
pub(crate) use deliveries::{DeliveryView, ReplayRequest, Resumed};
pub(crate) use hunt::{HuntColumn, HuntRequest, HuntResponse, TIMEOUT_S_MAX as HUNT_TIMEOUT_S_MAX};
pub(crate) use incidents::{
    CLASSIFICATIONS, ExplanationResponse, IncidentPatch, MergeRequest, MoveRequest, SplitRequest, VetoRequest,
};
pub(crate) use page::{Paged, parse_list};
use problem::Problem;
pub(crate) use relations::{AcceptRequest, ByRequest, CompletenessView, InputView};

use crate::engine::EngineHandle;

/// A request body may have this many bytes, ingest aside: questions and decisions are short.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A request other than the stream may take this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) state: StateDb,
    pub(crate) hunt: Arc<Hunt>,
    pub(crate) engine: EngineHandle,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) ingest: ingest::Intake,
    /// Whether each webhook is gone, by its name.
    pub(crate) webhooks: Arc<BTreeMap<String, Gone>>,
    pub(crate) stopping: CancellationToken,
}

pub(crate) use ingest::Intake;

fn documented() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(document::Description::openapi())
        .routes(routes!(incidents::list))
        .routes(routes!(incidents::show, incidents::patch))
        .routes(routes!(incidents::alerts))
        .routes(routes!(incidents::graph))
        .routes(routes!(incidents::explanation))
        .routes(routes!(incidents::merge))
        .routes(routes!(incidents::split))
        .routes(routes!(incidents::move_alerts))
        .routes(routes!(incidents::veto))
        .routes(routes!(actions::roll_back))
        .routes(routes!(actions::playbook))
        .routes(routes!(actions::response))
        .routes(routes!(actions::pause))
        .routes(routes!(actions::resume))
        .routes(routes!(connectors::list))
        .routes(routes!(connectors::pause))
        .routes(routes!(connectors::resume))
        .routes(routes!(relations::inputs))
        .routes(routes!(relations::undo))
        .routes(routes!(relations::suggestions))
        .routes(routes!(relations::accept))
        .routes(routes!(relations::dismiss))
        .routes(routes!(relations::campaigns))
        .routes(routes!(relations::campaign))
        .routes(routes!(relations::completeness))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::show))
        .routes(routes!(risk::list))
        .routes(routes!(actions::list))
        .routes(routes!(actions::show))
        .routes(routes!(actions::approve))
        .routes(routes!(actions::reject))
        .routes(routes!(actions::cancel))
        .routes(routes!(actions::undo))
        .routes(routes!(actions::bulk))
        .routes(routes!(actions::verbs))
        .routes(routes!(actions::effects))
        .routes(routes!(actions::audit))
        .routes(routes!(leases::lease))
        .routes(routes!(leases::heartbeat))
        .routes(routes!(leases::report))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::replay))
        .routes(routes!(deliveries::resume))
        .routes(routes!(hunt::hunt))
        .routes(routes!(stream::stream))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

/// The OpenAPI document.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    document::complete(documented().routes(routes!(ingest::ingest)).into_openapi())
}

/// The routes with their limits and who may call them.
pub(crate) fn router(state: ApiState, auth: Auth, ingest_body_bytes_max: usize) -> Router {
    let limited = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT);
    let (api, _) = documented().split_for_parts();
    let (intake, _) = OpenApiRouter::new().routes(routes!(ingest::ingest)).split_for_parts();
    let intake = intake
        .layer(DefaultBodyLimit::max(ingest_body_bytes_max))
        .layer(tower_http::limit::RequestBodyLimitLayer::new(ingest_body_bytes_max))
        .layer(RequestDecompressionLayer::new())
        .layer(middleware::map_response(move |response| async move {
            let remedy = "send fewer records at once, or raise api.ingest_body_bytes_max";
            problem::of_large_body(response, ingest_body_bytes_max, remedy)
        }));
    let described = openapi();
    api.layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::map_response(|response| async {
            problem::of_large_body(response, BODY_BYTES_MAX, "ask for less at once")
        }))
        .merge(intake)
        .route("/api/v1/openapi.json", get(move || async move { Json(described) }))
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, "no such path; see /api/v1/openapi.json").into_response()
        })
        .layer(limited)
        .layer(middleware::map_response(problem::of_framework))
        .layer(middleware::from_fn_with_state(auth, auth::require))
        .layer(middleware::from_fn(measured))
        .with_state(state)
}

/// Counts requests and times their answers, by route as documented and not by path: ids would make a series each.
async fn measured(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let labels = [("method", request.method().to_string()), ("route", route)];
    let started = Instant::now();
    let response = next.run(request).await;
    metrics::histogram!("asterism_http_answer_seconds", &labels).record(started.elapsed().as_secs_f64());
    let [method, route] = labels;
    let status = ("status", response.status().as_u16().to_string());
    metrics::counter!("asterism_http_requests_total", &[method, route, status]).increment(1);
    response
}

/// Binds the listener; a busy port is an error with its remedy.
pub(crate) async fn bind(listen: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}: stop what uses it, or choose another port (--port, api.listen)")
    })
}

/// Serves until `stopping` is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    let stop = async move { stopping.cancelled().await };
    axum::serve(listener, router).with_graceful_shutdown(stop).await.context("the HTTP server failed")
}
