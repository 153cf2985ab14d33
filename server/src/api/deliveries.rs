//! Deliveries to subscribers: how far each has come, what it would not have, and once more from the beginning.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::body::Body;
use super::page::{Paged, blocking};
use super::problem::Problem;

/// How far a subscriber has come.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeliveryView {
    /// Name of the webhook, or `kafka`
    pub(crate) sink: String,
    /// Sequence number of the last change that it has
    pub(crate) cursor: i64,
    /// Sequence number of the last change there is
    pub(crate) head: i64,
    /// Changes that were trimmed before it came for them
    pub(crate) skipped: i64,
    /// Changes that it refused, latest first; at most 100
    pub(crate) undelivered: Vec<Undelivered>,
}

/// A change that a subscriber refused.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Undelivered {
    /// Its sequence number
    pub(crate) sequence: i64,
    /// Why
    pub(crate) reason: String,
}

/// Refused changes that are listed.
const UNDELIVERED_MAX: usize = 100;

async fn views(api: &ApiState) -> Result<Vec<DeliveryView>, Problem> {
    let state = api.state.clone();
    blocking(move || {
        let head = state.outbox_head()?;
        let view = |sink: storage::SinkRow| {
            let undelivered = state.undelivered(&sink.name, UNDELIVERED_MAX)?.into_iter();
            let undelivered =
                undelivered.map(|row| Undelivered { sequence: row.seq, reason: row.reason }).collect();
            Ok(DeliveryView {
                sink: sink.name,
                cursor: sink.cursor,
                head,
                skipped: sink.skipped,
                undelivered,
            })
        };
        state.sinks()?.into_iter().map(view).collect()
    })
    .await
}

/// How far subscribers have come
#[utoipa::path(get, path = "/api/v1/deliveries", operation_id = "list_deliveries", tag = "deliveries",
    responses((status = 200, description = "Every subscriber that has had something", body = Paged<DeliveryView>)))]
pub(crate) async fn list(State(api): State<ApiState>) -> Result<Json<Paged<DeliveryView>>, Problem> {
    Ok(Json(Paged { items: views(&api).await?, next: None }))
}

/// From where to deliver again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayRequest {
    /// The changes after this sequence number are delivered once more, as far as they are still there
    #[schema(minimum = 0)]
    pub(crate) after: i64,
}

/// Deliver to a subscriber again; what it has had comes with the ids that it had
#[utoipa::path(post, path = "/api/v1/deliveries/{sink}/replay", operation_id = "replay_deliveries", tag = "deliveries",
    params(("sink" = String, Path)), request_body = ReplayRequest,
    responses((status = 200, description = "Where it begins again", body = DeliveryView),
        (status = 404, description = "No such subscriber, or it has had nothing yet"),
        (status = 422, description = "The body lacks a field, or has one too many")))]
pub(crate) async fn replay(
    State(api): State<ApiState>,
    Path(sink): Path<String>,
    Body(request): Body<ReplayRequest>,
) -> Result<Json<DeliveryView>, Problem> {
    api.state.outbox_rewind(&sink, request.after.max(0)).await.map_err(|e| Problem::internal(&e))?;
    let found = views(&api).await?.into_iter().find(|view| view.sink == sink);
    found.map(Json).ok_or_else(|| Problem::not_found("subscriber", &sink))
}
