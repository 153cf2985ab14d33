//! The live stream: every change of the outbox as a server-sent event; `Last-Event-ID` resumes without a gap.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use event::TenantId;
use futures::Stream;
use serde::Deserialize;
use storage::OutboxRow;
use utoipa::IntoParams;

use super::ApiState;
use super::page::{TenantParam, blocking};
use super::problem::Problem;

/// Rows read at once: a slow client holds no more than this.
const ROWS: usize = 200;
/// The outbox is looked at this often; a person does not see less.
const INTERVAL: Duration = Duration::from_millis(250);

/// Which changes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamParams {
    /// Kinds, comma separated: alert, incident, action, effect, audit
    #[serde(default)]
    types: Option<String>,
    /// Begin after this sequence number; 0 is the oldest kept; default: what is new
    #[serde(default)]
    after: Option<i64>,
}

struct Reader {
    api: ApiState,
    tenant: TenantId,
    kinds: Option<Vec<String>>,
    after: i64,
    waiting: std::collections::VecDeque<OutboxRow>,
}

/// Changes as they happen
#[utoipa::path(get, path = "/api/v1/stream", tag = "stream", params(TenantParam, StreamParams),
    responses((status = 200, description = "Server-sent events; id is the sequence number, event is `kind.change`, data is JSON", content_type = "text/event-stream", body = String)))]
pub(crate) async fn stream(
    State(api): State<ApiState>,
    Query(tenant): Query<TenantParam>,
    Query(params): Query<StreamParams>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let resumed = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let after = match resumed.or(params.after) {
        Some(after) => after,
        None => {
            let state = api.state.clone();
            blocking(move || state.outbox_head()).await?
        }
    };
    let kinds = params.types.map(|t| t.split(',').map(|k| k.trim().to_owned()).collect());
    let reader =
        Reader { api, tenant: tenant.id(), kinds, after, waiting: std::collections::VecDeque::new() };
    let events = futures::stream::unfold(reader, |mut reader| async move {
        let row = reader.next().await?;
        let event = Event::default()
            .id(row.seq.to_string())
            .event(format!("{}.{}", row.kind, row.change))
            .data(row.body);
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

impl Reader {
    /// The next row that is wanted; `None` when the server stops.
    async fn next(&mut self) -> Option<OutboxRow> {
        loop {
            while let Some(row) = self.waiting.pop_front() {
                self.after = row.seq;
                if self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&row.kind)) {
                    return Some(row);
                }
            }
            let (state, tenant, after) = (self.api.state.clone(), self.tenant.clone(), self.after);
            match blocking(move || state.outbox(Some(&tenant), after, ROWS)).await {
                Ok(rows) => self.waiting.extend(rows),
                // The client reconnects and resumes from its last id.
                Err(_) => return None,
            }
            if self.waiting.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = self.api.stopping.cancelled() => return None,
                }
            }
        }
    }
}
