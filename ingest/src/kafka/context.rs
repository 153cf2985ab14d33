//! What Kafka's client calls back: rebalances, errors, statistics, log lines.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::options::KafkaStart;
use super::outage::Outage;
use crate::error::IngestError;
use crate::metrics;
use crate::record::Record;
use crate::source::{Positions, TopicPartition};

/// A change of the assignment, in the order it happened.
pub(super) enum News {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
}

/// Shared between the source and the client's callbacks, which run inside a poll of the source.
pub(super) struct SourceContext {
    start: KafkaStart,
    outage: Outage,
    /// Locked for moments; never across a call of the client.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where each partition goes on: the engine's positions, moved on by what was delivered.
    starts: Positions,
    news: Vec<News>,
}

impl SourceContext {
    pub(super) fn new(bootstrap: &str, start: KafkaStart) -> Self {
        Self { start, outage: Outage::new(bootstrap), state: Mutex::default() }
    }

    pub(super) fn take_news(&self) -> Vec<News> {
        std::mem::take(&mut self.state().news)
    }

    pub(super) fn starts(&self) -> Positions {
        self.state().starts.clone()
    }

    pub(super) fn start_from(&self, positions: &Positions) {
        self.state().starts.extend(positions.iter().map(|(key, offset)| (key.clone(), *offset)));
    }

    /// Delivered records move the starts on, so that a partition that comes back is not read twice.
    pub(super) fn advance(&self, records: &[Record]) {
        let mut state = self.state();
        let mut last: Option<&Record> = None;
        for record in records {
            if let Some(before) = last.filter(|l| l.partition != record.partition || l.topic != record.topic)
            {
                state.starts.insert((Arc::clone(&before.topic), before.partition), before.offset + 1);
            }
            last = Some(record);
        }
        if let Some(before) = last {
            state.starts.insert((Arc::clone(&before.topic), before.partition), before.offset + 1);
        }
    }

    /// An error that is retried: told to the operator, not to the caller.
    #[allow(clippy::unnecessary_wraps, reason = "stands where a result is due")]
    pub(super) fn told(&self, error: &KafkaError) -> Result<(), IngestError> {
        self.outage.failed(error, "");
        Ok(())
    }

    /// Why the brokers turn this client away, if they do.
    pub(super) fn refusal(&self) -> Option<String> {
        self.outage.refusal()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a partition begins, or goes on.
    pub(super) fn start_of(&self, key: &TopicPartition) -> Offset {
        let known = self.state().starts.get(key).copied();
        known.map_or_else(|| self.start.offset(), Offset::Offset)
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> KafkaResult<()> {
        for mut element in partitions.elements() {
            let key = (Arc::from(element.topic()), element.partition());
            element.set_offset(self.start_of(&key))?;
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(partitions),
        }
    }

    fn unassign(consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> KafkaResult<()> {
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        }
    }
}

fn keys(partitions: &TopicPartitionList) -> Vec<TopicPartition> {
    partitions.elements().iter().map(|e| (Arc::from(e.topic()), e.partition())).collect()
}

impl ConsumerContext for SourceContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigned = matches!(code, RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
        let keys = keys(partitions);
        tracing::info!(assigned, partitions = ?keys, "Kafka rebalance");
        let (done, news) = if assigned {
            (self.assign(consumer, partitions), News::Assigned(keys))
        } else {
            (Self::unassign(consumer, partitions), News::Revoked(keys))
        };
        match done {
            Ok(()) => self.state().news.push(news),
            // The client leaves the group and joins again: there will be another rebalance.
            Err(error) => self.outage.failed(&error, "rebalance"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "Kafka took no commit; lag tools lag behind");
        }
    }
}

impl ClientContext for SourceContext {
    fn error(&self, error: KafkaError, reason: &str) {
        self.outage.failed(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.outage.ended();
        }
        for (topic, about) in &statistics.topics {
            for (partition, about) in
                about.partitions.iter().filter(|(_, p)| p.hi_offset >= 0 && p.app_offset >= 0)
            {
                metrics::lag(topic, *partition, about.hi_offset - about.app_offset);
            }
        }
    }

    /// The client repeats itself while a broker is away; what the operator must know is told by [`Outage`].
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{line}");
    }
}
