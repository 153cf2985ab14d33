//! Deliveries to subscribers: how far each has come, what it would not have, and once more from the beginning.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use forward::Gone;
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
    /// It has said that it is gone (410): nothing goes out to it until it is resumed
    pub(crate) gone: bool,
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
    let (state, webhooks) = (api.state.clone(), Arc::clone(&api.webhooks));
    blocking(move || {
        let head = state.outbox_head()?;
        let mut sinks = state.sinks()?;
        let is_new = |name: &&String| !sinks.iter().any(|sink| sink.name == **name);
        let new: Vec<String> = webhooks.keys().filter(is_new).cloned().collect();
        sinks.extend(new.into_iter().map(|name| storage::SinkRow { name, cursor: 0, skipped: 0 }));
        let view = |sink: storage::SinkRow| {
            let undelivered = state.undelivered(&sink.name, UNDELIVERED_MAX)?.into_iter();
            let undelivered =
                undelivered.map(|row| Undelivered { sequence: row.seq, reason: row.reason }).collect();
            Ok(DeliveryView {
                gone: webhooks.get(&sink.name).is_some_and(Gone::is_gone),
                sink: sink.name,
                cursor: sink.cursor,
                head,
                skipped: sink.skipped,
                undelivered,
            })
        };
        sinks.into_iter().map(view).collect()
    })
    .await
}

/// How far subscribers have come
#[utoipa::path(get, path = "/api/v1/deliveries", operation_id = "list_deliveries", tag = "deliveries",
    responses((status = 200, description = "Every subscriber", body = Paged<DeliveryView>)))]
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

/// Whether a subscriber had to be resumed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Resumed {
    /// Name of the webhook
    pub(crate) sink: String,
    /// Whether it had said that it is gone; else nothing has changed
    pub(crate) was_gone: bool,
}

/// Try a subscriber again that has said that it is gone (410); it goes on where it stopped, within half a minute
#[utoipa::path(post, path = "/api/v1/deliveries/{sink}/resume", operation_id = "resume_deliveries", tag = "deliveries",
    params(("sink" = String, Path)),
    responses((status = 200, description = "It is tried again", body = Resumed),
        (status = 404, description = "No such webhook")))]
pub(crate) async fn resume(
    State(api): State<ApiState>,
    Path(sink): Path<String>,
) -> Result<Json<Resumed>, Problem> {
    let gone = api.webhooks.get(&sink).ok_or_else(|| Problem::not_found("webhook", &sink))?;
    let was_gone = gone.resume();
    Ok(Json(Resumed { sink, was_gone }))
}
