//! Records over HTTP: NDJSON into the embedded journal. The answer comes after the records are on disk.

use std::sync::Arc;

use ::ingest::{Journal, MappingSet};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::params::Params;
use super::problem::Problem;
use crate::config::HTTP_TOPIC_PREFIX;

/// Where records over HTTP go.
#[derive(Clone)]
pub(crate) struct Intake {
    pub(crate) journal: Journal,
    pub(crate) mappings: Arc<MappingSet>,
}

/// What was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IngestResponse {
    /// Records written
    accepted: usize,
    /// Topic they were written to
    topic: String,
    /// Offset of the first record; null where there was none
    #[schema(required = true)]
    first_offset: Option<i64>,
}

/// Write NDJSON records, gzip allowed; the source kind is `auto` or one of the mappings'
#[utoipa::path(post, path = "/api/v1/ingest/{source_kind}", operation_id = "ingest", tag = "ingest",
    params(("source_kind" = String, Path)),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, description = "The records are durable; decoding follows, what cannot be decoded becomes a dead letter", body = IngestResponse),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "No such source kind"),
        (status = 413, description = "The body is too large: send less at once")))]
pub(crate) async fn ingest(
    State(api): State<ApiState>,
    Path(kind): Path<String>,
    Params(()): Params<()>,
    body: Bytes,
) -> Result<Json<IngestResponse>, Problem> {
    if kind != "auto" && !api.ingest.mappings.source_kinds().any(|(name, _)| name == kind) {
        let known: Vec<&str> = api.ingest.mappings.source_kinds().map(|(name, _)| name).collect();
        let detail = format!("no source kind {kind:?}; known: auto, {}", known.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    let lines = body.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty());
    let payloads: Vec<Bytes> = lines.map(|line| body.slice_ref(line)).collect();
    let topic = format!("{HTTP_TOPIC_PREFIX}{kind}");
    let accepted = payloads.len();
    let first_offset = if payloads.is_empty() {
        None
    } else {
        let written = api.ingest.journal.append(&topic, 0, &payloads).await;
        Some(written.map_err(|e| Problem::unavailable(e.to_string()))?)
    };
    Ok(Json(IngestResponse { accepted, topic, first_offset }))
}
