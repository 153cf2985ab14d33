//! Writing to Kafka: generated records, dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};

use super::options::{check_client, create};
use super::outage::Outage;
use super::panicked_client;
use crate::error::IngestError;

/// The client's queue is full: its thread needs this long to make room.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(10);
/// Deliveries awaited at once: bounds memory when a caller appends very many.
const WINDOW_RECORDS: usize = 20_000;

/// Defaults that differ from librdkafka's. A user's setting wins.
const PRODUCER_DEFAULTS: [(&str, &str); 5] = [
    // No record twice, none out of order, each on all in-sync replicas.
    ("enable.idempotence", "true"),
    ("compression.type", "zstd"),
    ("linger.ms", "5"),
    // A caller hears of a broker that is away within this time; the default is 5 min.
    ("message.timeout.ms", "60000"),
    ("queue.buffering.max.kbytes", "65536"),
];

/// A name and a value that travel with a record.
pub type KafkaHeader = (&'static str, String);

/// Writes records; clones share the connection.
#[derive(Clone)]
pub struct KafkaWriter {
    bootstrap: String,
    producer: FutureProducer<WriterContext>,
    outage: Arc<Outage>,
}

impl std::fmt::Debug for KafkaWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaWriter").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}

impl KafkaWriter {
    /// A writer to the brokers of `bootstrap`, with any librdkafka setting. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`IngestError::Config`] for a setting that the client refuses.
    pub fn open(bootstrap: &str, settings: &BTreeMap<String, String>) -> Result<Self, IngestError> {
        check_client(bootstrap, settings)?;
        let mut client = ClientConfig::new();
        for (key, value) in PRODUCER_DEFAULTS {
            client.set(key, value);
        }
        let outage = Arc::new(Outage::new(bootstrap));
        let context = WriterContext { outage: Arc::clone(&outage) };
        let producer = create(client, bootstrap, settings, context)?;
        Ok(Self { bootstrap: bootstrap.to_owned(), producer, outage })
    }

    /// Appends records to a partition, or to partitions of the client's choice, and waits until the brokers have
    /// them. Returns partition and offset of each.
    ///
    /// # Errors
    ///
    /// [`IngestError::Unavailable`] if the broker did not take all in time, [`IngestError::Limit`] for a record that
    /// it finds too large. Records before the failed one may have been written.
    pub async fn append(
        &self,
        topic: &str,
        partition: Option<i32>,
        payloads: &[Bytes],
    ) -> Result<Vec<(i32, i64)>, IngestError> {
        let records = payloads.iter().map(|payload| {
            let record = FutureRecord::<[u8], [u8]>::to(topic).payload(payload.as_ref());
            match partition {
                Some(partition) => record.partition(partition),
                None => record,
            }
        });
        self.send_all(topic, records).await
    }

    /// Appends records with a key each, which chooses the partition, and headers.
    ///
    /// # Errors
    ///
    /// As [`KafkaWriter::append`].
    pub async fn append_keyed(
        &self,
        topic: &str,
        records: &[(Bytes, Bytes, Vec<KafkaHeader>)],
    ) -> Result<Vec<(i32, i64)>, IngestError> {
        let records = records.iter().map(|(key, payload, headers)| {
            FutureRecord::<[u8], [u8]>::to(topic).key(key).payload(payload).headers(owned(headers))
        });
        self.send_all(topic, records).await
    }

    async fn send_all<'a>(
        &self,
        topic: &str,
        records: impl Iterator<Item = FutureRecord<'a, [u8], [u8]>>,
    ) -> Result<Vec<(i32, i64)>, IngestError> {
        let mut placed = Vec::new();
        let mut under_way = std::collections::VecDeque::new();
        for record in records {
            if under_way.len() >= WINDOW_RECORDS
                && let Some(oldest) = under_way.pop_front()
            {
                placed.push(self.delivered(topic, oldest).await?);
            }
            under_way.push_back(self.enqueue(topic, record).await?);
        }
        for delivery in under_way {
            placed.push(self.delivered(topic, delivery).await?);
        }
        if !placed.is_empty() {
            self.outage.ended();
        }
        Ok(placed)
    }

    async fn enqueue(
        &self,
        topic: &str,
        mut record: FutureRecord<'_, [u8], [u8]>,
    ) -> Result<DeliveryFuture, IngestError> {
        loop {
            match self.producer.send_result(record) {
                Ok(delivery) => return Ok(delivery),
                Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    record = back
                }
                Err((error, _)) => return Err(self.refused(topic, &error)),
            }
            tokio::time::sleep(QUEUE_FULL_WAIT).await;
        }
    }

    async fn delivered(&self, topic: &str, delivery: DeliveryFuture) -> Result<(i32, i64), IngestError> {
        match delivery.await {
            Ok(Ok(delivery)) => Ok((delivery.partition, delivery.offset)),
            Ok(Err((error, _))) => Err(self.refused(topic, &error)),
            Err(_canceled) => Err(panicked_client()),
        }
    }

    fn refused(&self, topic: &str, error: &KafkaError) -> IngestError {
        let reason = super::reason(error);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => IngestError::Limit {
                what: format!("a record for topic {topic}"),
                limit: "message.max.bytes of kafka.settings and of the topic".to_owned(),
            },
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition) => {
                self.unavailable(format!("topic {topic}: {reason}; create the topic, or correct its name"))
            }
            _ => self.unavailable(match self.outage.refusal() {
                Some(refusal) => format!("topic {topic}: {refusal}"),
                None => format!(
                    "topic {topic}: {reason}; check that the broker runs and that kafka.bootstrap is right"
                ),
            }),
        }
    }

    fn unavailable(&self, problem: String) -> IngestError {
        IngestError::Unavailable { endpoint: format!("Kafka at {}", self.bootstrap), problem }
    }
}

fn owned(headers: &[KafkaHeader]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
        all.insert(Header { key, value: Some(value.as_bytes()) })
    })
}

struct WriterContext {
    outage: Arc<Outage>,
}

impl ClientContext for WriterContext {
    fn error(&self, error: KafkaError, reason: &str) {
        self.outage.failed(&error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{line}");
    }
}
