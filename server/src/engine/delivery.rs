//! Delivers the outbox to Kafka and webhooks, for SIEMs and playbooks that subscribe there.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use forward::{
    Deliverer, ForwardError, Gone, KafkaSink, Outbox, OutboxRow, SetAside, Sink, Stream, WebhookConfig,
    WebhookSink,
};
use storage::{StateDb, UndeliveredRow};
use tokio_util::sync::CancellationToken;

use crate::config::{Forward, Kafka, Subscribed, Webhook, read_secrets};

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

/// What delivers to each configured webhook, by its name.
pub(crate) struct Webhooks(Vec<WebhookSink>);

impl Webhooks {
    /// # Errors
    /// The first subscription that cannot be one, with the setting.
    pub(crate) fn configured(forward: &Forward) -> anyhow::Result<Self> {
        let mut names = std::collections::BTreeSet::from([SINK]);
        let sink = |(n, webhook): (usize, &Webhook)| {
            let place = format!("forward.webhooks[{n}]");
            let secrets =
                read_secrets(&webhook.secret_file).with_context(|| format!("{place}.secret_file"))?;
            let config = WebhookConfig {
                name: webhook.name.clone(),
                url: webhook.url.clone(),
                secrets,
                streams: webhook.streams.iter().map(|stream| stream_of(*stream)).collect(),
                allow: webhook.allow.clone(),
            };
            WebhookSink::new(config).context(place)
        };
        for webhook in &forward.webhooks {
            let name = webhook.name.as_str();
            anyhow::ensure!(!name.trim().is_empty(), "forward.webhooks: a webhook has no name");
            anyhow::ensure!(names.insert(name), "forward.webhooks: the name {name:?} is taken");
        }
        Ok(Self(forward.webhooks.iter().enumerate().map(sink).collect::<Result<_, _>>()?))
    }

    /// Whether each subscriber is gone, by its name.
    pub(crate) fn gone(&self) -> BTreeMap<String, Gone> {
        self.0.iter().map(|sink| (sink.name().to_owned(), sink.gone())).collect()
    }

    /// Delivers to each until `stopping` is cancelled.
    pub(crate) fn deliver(self, state: &StateDb, stopping: &CancellationToken) {
        for sink in self.0 {
            let mut deliverer = Deliverer::new(Arc::new(StateOutbox(state.clone())), sink);
            let stopping = stopping.clone();
            tokio::spawn(async move { deliverer.run(stopping.cancelled_owned()).await });
        }
    }
}

const fn stream_of(subscribed: Subscribed) -> Stream {
    match subscribed {
        Subscribed::Findings => Stream::Findings,
        Subscribed::Incidents => Stream::Incidents,
        Subscribed::Actions => Stream::Actions,
    }
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

    async fn ack(&self, sink: &str, sequence: i64, aside: &[SetAside]) -> Result<(), ForwardError> {
        let row = |aside: &SetAside| UndeliveredRow {
            sink: sink.to_owned(),
            seq: aside.sequence,
            reason: aside.reason.clone(),
        };
        let acked = self.0.outbox_ack(sink, sequence, aside.iter().map(row).collect()).await;
        acked.map_err(|e| ForwardError::Outbox(e.to_string()))
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
