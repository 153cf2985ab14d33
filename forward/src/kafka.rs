//! Findings, incidents and actions to Kafka: OCSF JSON as the value, CloudEvents attributes as headers
//! (CloudEvents Kafka protocol binding 1.0.2, binary mode). The key is the incident, of actions the action: their topic is
//! compacted, so that whoever reads it from its beginning has the last state of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::error::ForwardError;
use crate::message::{Message, Stream};
use crate::sink::Sink;

/// How long the producer may try one message before the batch counts as failed.
const DELIVERY_WITHIN: Duration = Duration::from_secs(30);

/// Sends to Kafka, each message acknowledged by all in-sync replicas.
pub struct KafkaSink {
    name: String,
    producer: FutureProducer<SinkContext>,
    /// Until the topic of actions is there.
    admin: Option<AdminClient<SinkContext>>,
    refusal: Refusal,
    delivery_within: Duration,
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
        Self::within(name, bootstrap, settings, DELIVERY_WITHIN)
    }

    fn within(
        name: impl Into<String>,
        bootstrap: &str,
        settings: &BTreeMap<String, String>,
        delivery_within: Duration,
    ) -> Result<Self, ForwardError> {
        let mut config = ClientConfig::new();
        config.set("client.id", "asterism-forward").set("compression.type", "zstd");
        settings.iter().for_each(|(key, value)| {
            config.set(key, value);
        });
        let timeout_ms = delivery_within.as_millis().to_string();
        config.set("bootstrap.servers", bootstrap).set("message.timeout.ms", timeout_ms);
        // Without idempotence a retry inside the producer could reorder messages of one key.
        config.set("enable.idempotence", "true").set("acks", "all");
        let refusal = Refusal::default();
        let context = SinkContext { refusal: refusal.clone() };
        let producer = config.create_with_context(context.clone()).map_err(|e| refused(e, settings))?;
        let admin = config.create_with_context(context).map_err(|e| refused(e, settings))?;
        Ok(KafkaSink { name: name.into(), producer, admin: Some(admin), refusal, delivery_within })
    }

    /// Creates the topic of actions as a compacted one, with as many partitions and replicas as the broker gives by default.
    /// One that exists stays as it is.
    async fn create_topic(&mut self) -> Result<(), ForwardError> {
        let Some(admin) = &self.admin else { return Ok(()) };
        let name = Stream::Actions.topic();
        let topic = NewTopic::new(name, -1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
        let options = AdminOptions::new().request_timeout(Some(self.delivery_within));
        let created = admin.create_topics([&topic], &options).await;
        let unavailable = |error: &KafkaError| {
            let reason = self.refusal.get().unwrap_or_else(|| error.to_string());
            ForwardError::Unavailable { sink: self.name.clone(), reason }
        };
        for outcome in created.map_err(|error| unavailable(&error))? {
            match outcome {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => tracing::warn!(
                    "the topic {name} could not be created as a compacted one ({code}): create it with \
                     cleanup.policy=compact, if it is to keep the last state of each action"
                ),
            }
        }
        self.admin = None;
        Ok(())
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
        let sent = self.producer.send(record, self.delivery_within).await;
        sent.map(|_| self.refusal.clear()).map_err(|(error, _)| self.failure(message, &error))
    }

    fn failure(&self, message: &Message, error: &KafkaError) -> ForwardError {
        let (sink, reason) = (self.name.clone(), error.to_string());
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessage) => {
                ForwardError::Refused { sink, sequence: message.sequence, reason }
            }
            _ => ForwardError::Unavailable { sink, reason: self.refusal.get().unwrap_or(reason) },
        }
    }
}

/// Settings whose values are no secrets: a path that leads nowhere is what the operator must see.
const SHOWN: [&str; 4] = [".location", ".protocol", ".mechanism", ".mechanisms"];

/// A setting that the client does not know or take. librdkafka quotes its value, which may be a secret.
fn refused(error: KafkaError, settings: &BTreeMap<String, String>) -> ForwardError {
    let problem = match error {
        KafkaError::ClientConfig(_, problem, key, value) => {
            format!("setting {key:?}: {}", without(&problem, &value))
        }
        other => {
            let hidden = settings.iter().filter(|(key, _)| !SHOWN.iter().any(|end| key.ends_with(end)));
            hidden.fold(other.to_string(), |text, (_, secret)| without(&text, secret))
        }
    };
    ForwardError::BadInput(format!("kafka sink: {problem}"))
}

fn without(text: &str, secret: &str) -> String {
    if secret.is_empty() { text.to_owned() } else { text.replace(secret, "(value)") }
}

/// Why the broker turns the producer away, if it does: of a message that was not sent for that reason the producer
/// says only that it timed out.
#[derive(Clone, Default)]
struct Refusal(Arc<Mutex<Option<String>>>);

impl Refusal {
    fn get(&self) -> Option<String> {
        self.state().clone()
    }

    fn clear(&self) {
        *self.state() = None;
    }

    fn state(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct SinkContext {
    refusal: Refusal,
}

impl ClientContext for SinkContext {
    /// The client tries again by itself; the deliverer tells of messages that could not be sent.
    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        if let Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) =
            error.rdkafka_error_code()
        {
            let remedy = "check security.protocol and the sasl.* and ssl.* entries of kafka.settings";
            *self.refusal.state() = Some(format!("{reason}; {remedy}"));
        }
        tracing::debug!(%error, reason, "Kafka client error");
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&mut self, messages: &[Message]) -> Result<(), ForwardError> {
        self.create_topic().await?;
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
    use rdkafka::admin::ResourceSpecifier;
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

    #[test]
    fn a_refused_setting_does_not_show_its_value() {
        let settings = BTreeMap::from([("security.protocol".to_owned(), "hunter2".to_owned())]);
        let error =
            KafkaSink::new("k", "127.0.0.1:1", &settings).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("security.protocol") && !error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn a_secured_broker_takes_messages_and_a_wrong_password_is_told_with_its_remedy() {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let names =
            ["KAFKA_BOOTSTRAP_SECURED", "KAFKA_SECURED_CA", "KAFKA_SECURED_USER", "KAFKA_SECURED_PASSWORD"];
        let [Some(bootstrap), Some(ca), Some(user), Some(password)] = names.map(variable) else {
            println!("skipped: {} are not all set; `cargo xtask test` brings a broker", names.join(", "));
            return;
        };
        let settings = |password: &str| {
            let of = [
                ("security.protocol", "sasl_ssl"),
                ("sasl.mechanism", "SCRAM-SHA-256"),
                ("sasl.username", user.as_str()),
                ("sasl.password", password),
                ("ssl.ca.location", ca.as_str()),
            ];
            of.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
        };
        let message = Message::of(&incident_row(1)).unwrap().unwrap();
        let mut sink = KafkaSink::new("kafka", &bootstrap, &settings(&password)).unwrap();
        sink.deliver(std::slice::from_ref(&message)).await.unwrap();

        let wrong = settings("correct-horse");
        let mut sink = KafkaSink::within("kafka", &bootstrap, &wrong, Duration::from_secs(5)).unwrap();
        let error = sink.deliver(std::slice::from_ref(&message)).await.unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(matches!(error, ForwardError::Unavailable { .. }), "{said}");
        assert!(said.contains("check security.protocol and the sasl.*"), "{said}");
        assert!(!said.contains("correct-horse") && !said.contains(&password), "{said}");
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
        let admin: AdminClient<_> =
            ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
        let actions = ResourceSpecifier::Topic(Stream::Actions.topic());
        let described = admin.describe_configs([&actions], &AdminOptions::new()).await.unwrap();
        let policy = described[0].as_ref().unwrap().get("cleanup.policy").unwrap().value.clone();
        assert_eq!(policy.as_deref(), Some("compact"));

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
