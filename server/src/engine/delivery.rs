//! Delivers the outbox to Kafka, for SIEMs and playbooks that subscribe there.

use std::sync::Arc;

use async_trait::async_trait;
use forward::{Deliverer, ForwardError, KafkaSink, Outbox, OutboxRow};
use storage::StateDb;
use tokio_util::sync::CancellationToken;

use crate::config::Kafka;

/// The cursor of the outbox that Kafka's deliveries move.
const SINK: &str = "kafka";

struct StateOutbox(StateDb);

/// Delivers until `stopping` is cancelled.
///
/// # Errors
/// Where a setting is one that the Kafka client refuses.
pub(crate) fn deliver_to_kafka(
    state: StateDb,
    kafka: &Kafka,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    let sink = KafkaSink::new(SINK, &kafka.bootstrap, &kafka.settings)?;
    let mut deliverer = Deliverer::new(Arc::new(StateOutbox(state)), sink);
    // It stops with the token, and what it had not delivered by then waits in the outbox.
    tokio::spawn(async move { deliverer.run(stopping.cancelled_owned()).await });
    Ok(())
}

#[async_trait]
impl Outbox for StateOutbox {
    async fn fetch(&self, after: i64, limit: usize) -> Result<Vec<OutboxRow>, ForwardError> {
        let state = self.0.clone();
        let rows = tokio::task::spawn_blocking(move || state.outbox(None, after, limit)).await;
        let rows = rows.map_err(|e| ForwardError::Outbox(e.to_string()))?;
        let rows = rows.map_err(|e| ForwardError::Outbox(e.to_string()))?;
        Ok(rows.into_iter().map(row).collect())
    }

    async fn cursor(&self, sink: &str) -> Result<i64, ForwardError> {
        self.0.sink_cursor(sink).map_err(|e| ForwardError::Outbox(e.to_string()))
    }

    async fn ack(&self, sink: &str, sequence: i64) -> Result<(), ForwardError> {
        self.0.outbox_ack(sink, sequence).await.map_err(|e| ForwardError::Outbox(e.to_string()))
    }
}

fn row(row: storage::OutboxRow) -> OutboxRow {
    OutboxRow {
        sequence: row.seq,
        tenant: row.tenant,
        kind: row.kind,
        change: row.change,
        subject: row.subject,
        incident: None,
        body: row.body,
    }
}
