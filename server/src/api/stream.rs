//! The live stream: every change of the outbox as a server-sent event; `Last-Event-ID` resumes without a gap.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use event::TenantId;
use futures::{Stream, StreamExt};
use serde::Deserialize;
use storage::OutboxRow;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::page::{TenantParam, blocking, comma_separated};
use super::params::Params;
use super::problem::Problem;

/// Rows read at once: a slow client holds no more than this.
const ROWS: usize = 200;
/// The outbox is looked at this often; a person does not see less.
const INTERVAL: Duration = Duration::from_millis(250);

/// What a change is about.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangeKind {
    /// An alert.
    Alert,
    /// An incident.
    Incident,
    /// The risk of a user, a device or an app.
    Risk,
    /// An action.
    Action,
    /// An effect.
    Effect,
    /// An entry of the audit chain.
    Audit,
}

impl ChangeKind {
    const fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Alert => "alert",
            ChangeKind::Incident => "incident",
            ChangeKind::Risk => "risk",
            ChangeKind::Action => "action",
            ChangeKind::Effect => "effect",
            ChangeKind::Audit => "audit",
        }
    }
}

/// Which changes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamParams {
    /// Kinds, comma separated; default: all
    #[serde(default, deserialize_with = "comma_separated")]
    #[param(inline, style = Form, explode = false)]
    types: Vec<ChangeKind>,
    /// Begin after this sequence number; 0 is the oldest kept; default: what is new
    after: Option<i64>,
}

struct Reader {
    api: ApiState,
    tenant: TenantId,
    /// Empty: all.
    kinds: Vec<ChangeKind>,
    after: i64,
    waiting: VecDeque<OutboxRow>,
}

/// Changes as they happen
///
/// Of each event, `id` is the sequence number, `event` is `kind.change` (such as `incident.created`), and `data` the
/// state after the change as JSON: Alert, Incident, EntityRisk, Action, Effect or AuditEntry, by kind. A client that asks for
/// changes that are not kept any more gets the event `gap` first, whose data has the `reason`: what it has is out of
/// date, and is to be read again.
#[utoipa::path(get, path = "/api/v1/stream", operation_id = "stream", tag = "stream",
    params(TenantParam, StreamParams,
        ("Last-Event-ID" = Option<i64>, Header, description = "Resume after this event; goes before `after`")),
    responses((status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        (status = 400, description = "A parameter is wrong")))]
pub(crate) async fn stream(
    State(api): State<ApiState>,
    Params((tenant, params)): Params<(TenantParam, StreamParams)>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let begin = begin(&api, last_event_id(&headers)?.or(params.after)).await?;
    let reader = Reader {
        api,
        tenant: tenant.id(),
        kinds: params.types,
        after: begin.after,
        waiting: VecDeque::new(),
    };
    let gap = begin.gap.map(|reason| {
        let data = serde_json::json!({ "reason": reason }).to_string();
        Ok(Event::default().id(begin.after.to_string()).event("gap").data(data))
    });
    let changes = futures::stream::unfold(reader, |mut reader| async move {
        let row = reader.next().await?;
        let event = Event::default()
            .id(row.seq.to_string())
            .event(format!("{}.{}", row.kind, row.change))
            .data(row.body);
        Some((Ok(event), reader))
    });
    Ok(Sse::new(futures::stream::iter(gap).chain(changes)).keep_alive(KeepAlive::default()))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    id.map(Some).ok_or_else(|| Problem::bad_request("Last-Event-ID is no sequence number of this stream"))
}

/// Where a stream begins.
struct Begin {
    after: i64,
    /// Why changes that the client has not had are gone, if they are.
    gap: Option<String>,
}

async fn begin(api: &ApiState, after: Option<i64>) -> Result<Begin, Problem> {
    let state = api.state.clone();
    blocking(move || {
        let head = state.outbox_head()?;
        let Some(after) = after else { return Ok(Begin { after: head, gap: None }) };
        // Over all tenants numbers have no holes, so the next one is missing only where it is gone.
        let next = state.outbox(None, after, 1)?.first().map_or(head + 1, |row| row.seq);
        let gap = gap(after, next, head);
        Ok(Begin { after: if gap.is_some() { next - 1 } else { after }, gap })
    })
    .await
}

/// Why a client that has the changes up to `after` cannot have all that follow: the next one that is kept is `next`,
/// and the last one `head`.
fn gap(after: i64, next: i64, head: i64) -> Option<String> {
    if after > head {
        return Some(format!(
            "there is no change {after}, the last one is {head}: the stream is of another data directory now; read everything again"
        ));
    }
    let gone = after > 0 && next > after + 1;
    gone.then(|| {
        format!("the changes {} to {} are not kept any more; read everything again", after + 1, next - 1)
    })
}

impl Reader {
    /// The next row that is wanted; `None` when the server stops.
    async fn next(&mut self) -> Option<OutboxRow> {
        loop {
            while let Some(row) = self.waiting.pop_front() {
                self.after = row.seq;
                if self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.as_str() == row.kind) {
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

#[cfg(test)]
mod tests {
    use super::gap;

    #[test]
    fn a_gap_says_which_changes_are_gone() {
        assert_eq!(gap(5, 6, 9), None);
        assert_eq!(gap(9, 10, 9), None, "nothing new yet");
        assert_eq!(gap(0, 4, 9), None, "0 is the oldest kept");
        assert!(gap(5, 8, 9).is_some_and(|reason| reason.starts_with("the changes 6 to 7 are not kept")));
        assert!(
            gap(12, 10, 9).is_some_and(|reason| reason.contains("no change 12") && reason.contains("is 9"))
        );
    }
}
