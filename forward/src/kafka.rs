//! Findings, incidents and actions to Kafka: OCSF JSON as the value, CloudEvents attributes as headers
//! (CloudEvents Kafka protocol binding 1.0.2, binary mode), the incident as the key.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::error::ForwardError;
use crate::message::Message;
use crate::sink::Sink;

/// How long the producer may try one message before the batch counts as failed.
const DELIVERY_WITHIN: Duration = Duration::from_secs(30);

/// Sends to Kafka, each message acknowledged by all in-sync replicas.
pub struct KafkaSink {
    name: String,
    producer: FutureProducer,
}

impl KafkaSink {
    /// A sink for a broker; `settings` are librdkafka's own (TLS, SASL, ...) and go before ours where safety
    /// does not depend on them.
    ///
    /// # Errors
    /// [`ForwardError::BadInput`] for a setting that librdkafka does not know or take.
    pub fn new(
        name: impl Into<String>,
        bootstrap: &str,
        settings: &BTreeMap<String, String>,
    ) -> Result<Self, ForwardError> {
        let mut config = ClientConfig::new();
        config.set("client.id", "asterism-forward").set("compression.type", "zstd");
        settings.iter().for_each(|(key, value)| {
            config.set(key, value);
        });
        let timeout_ms = DELIVERY_WITHIN.as_millis().to_string();
        config.set("bootstrap.servers", bootstrap).set("message.timeout.ms", timeout_ms);
        // Without idempotence a retry inside the producer could reorder messages of one key.
        config.set("enable.idempotence", "true").set("acks", "all");
        let producer = config.create().map_err(|e| ForwardError::BadInput(format!("kafka sink: {e}")))?;
        Ok(KafkaSink { name: name.into(), producer })
    }

    async fn send(&self, message: &Message) -> Result<(), ForwardError> {
        let body = message.body.to_string();
        let mut headers =
            OwnedHeaders::new().insert(Header { key: "content-type", value: Some("application/json") });
        for (name, value) in message.attributes() {
            headers = headers.insert(Header { key: &format!("ce_{name}"), value: Some(&value) });
        }
        let record =
            FutureRecord::to(message.stream.topic()).key(&message.key).payload(&body).headers(headers);
        let sent = self.producer.send(record, DELIVERY_WITHIN).await;
        sent.map(drop).map_err(|(error, _)| self.failure(message, &error))
    }

    fn failure(&self, message: &Message, error: &KafkaError) -> ForwardError {
        let (sink, reason) = (self.name.clone(), error.to_string());
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessage) => {
                ForwardError::Refused { sink, sequence: message.sequence, reason }
            }
            _ => ForwardError::Unavailable { sink, reason },
        }
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&mut self, messages: &[Message]) -> Result<(), ForwardError> {
        // The producer keeps the order in which the sends begin; all acknowledgements are awaited, so that a
        // refused message does not hide an unavailable broker.
        let sent = join_all(messages.iter().map(|m| self.send(m))).await;
        let failures: Vec<ForwardError> = sent.into_iter().filter_map(Result::err).collect();
        let unavailable = |e: &ForwardError| matches!(e, ForwardError::Unavailable { .. });
        let worst = failures.iter().position(unavailable).or((!failures.is_empty()).then_some(0));
        worst.and_then(|at| failures.into_iter().nth(at)).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Message as _;
    use rdkafka::consumer::{Consumer, StreamConsumer};
    use rdkafka::message::Headers;

    use super::*;
    use crate::testing::incident_row;

    #[test]
    fn an_unknown_setting_is_refused() {
        let settings = BTreeMap::from([("no.such.setting".to_owned(), "1".to_owned())]);
        let error = KafkaSink::new("k", "127.0.0.1:1", &settings).err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("no.such.setting")));
    }

    #[tokio::test]
    async fn messages_arrive_at_a_broker_with_key_and_headers() {
        let Ok(bootstrap) = std::env::var("KAFKA_BOOTSTRAP") else {
            println!("skipped: KAFKA_BOOTSTRAP is not set");
            return;
        };
        let mut sink = KafkaSink::new("kafka", &bootstrap, &BTreeMap::new()).unwrap();
        let sequence = i64::from(std::process::id());
        let message = Message::of(&incident_row(sequence)).unwrap().unwrap();
        sink.deliver(std::slice::from_ref(&message)).await.unwrap();

        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", &bootstrap)
            .set("group.id", format!("forward-test-{sequence}"))
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        consumer.subscribe(&[message.stream.topic()]).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let got =
                tokio::time::timeout(left, consumer.recv()).await.expect("the message never came").unwrap();
            let headers: BTreeMap<_, _> =
                got.headers().unwrap().iter().map(|h| (h.key.to_owned(), h.value)).collect();
            if headers.get("ce_id") == Some(&Some(message.id.as_bytes())) {
                assert_eq!(got.key(), Some(&b"i-1"[..]));
                let body: serde_json::Value = serde_json::from_slice(got.payload().unwrap()).unwrap();
                assert_eq!(body, message.body);
                return;
            }
        }
    }
}
