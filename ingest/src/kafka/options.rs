//! Settings of the Kafka clients.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::KafkaError;

use super::context::SourceContext;
use crate::error::IngestError;

/// How to join.
#[derive(Clone)]
pub struct KafkaOptions {
    /// `host:port` of some brokers, comma-separated.
    pub bootstrap: String,
    /// Consumer group.
    pub group: String,
    /// Topics to read.
    pub topics: Vec<String>,
    /// Where partitions begin for which the engine has no position.
    pub start: KafkaStart,
    /// How long to wait for a broker on opening; `None` waits for ever, while polling.
    pub start_timeout: Option<Duration>,
    /// Any setting of librdkafka: TLS, SASL, timeouts. Values are never shown.
    pub settings: BTreeMap<String, String>,
}

/// Where reading begins without a position of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KafkaStart {
    /// The oldest record kept: nothing is missed.
    #[default]
    Earliest,
    /// Records that arrive from now on.
    Latest,
    /// The offset committed to the broker by this group, else as the broker's oldest.
    Committed,
}

impl KafkaStart {
    pub(super) const fn offset(self) -> Offset {
        match self {
            KafkaStart::Earliest => Offset::Beginning,
            KafkaStart::Latest => Offset::End,
            KafkaStart::Committed => Offset::Stored,
        }
    }
}

impl std::fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("bootstrap", &self.bootstrap)
            .field("group", &self.group)
            .field("topics", &self.topics)
            .field("start", &self.start)
            .field("start_timeout", &self.start_timeout)
            .field("settings", &self.settings.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Settings that are ours: the engine's positions depend on them.
const RESERVED: [(&str, &str); 5] = [
    ("bootstrap.servers", "use kafka.bootstrap"),
    ("group.id", "use kafka.group"),
    ("enable.auto.commit", "the state database keeps the positions"),
    ("enable.auto.offset.store", "the state database keeps the positions"),
    ("auto.offset.reset", "positions out of range are reported and mended by the source"),
];

/// Defaults that differ from librdkafka's. A user's setting wins.
const CONSUMER_DEFAULTS: [(&str, &str); 8] = [
    // Partitions that stay keep flowing while others move.
    ("partition.assignment.strategy", "cooperative-sticky"),
    // A killed process is replaced within this time.
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "2000"),
    // The client's own read-ahead, over all partitions.
    ("queued.max.messages.kbytes", "32768"),
    // The default of 1 s stalls a reader whose read-ahead is full.
    ("fetch.queue.backoff.ms", "50"),
    // New topics and partitions are found within this time; the default is 5 min.
    ("topic.metadata.refresh.interval.ms", "30000"),
    // Lag, and whether a broker answers.
    ("statistics.interval.ms", "5000"),
    ("reconnect.backoff.max.ms", "5000"),
];

const CLASSIC_ONLY: [&str; 3] =
    ["partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"];

impl KafkaOptions {
    /// Brokers and topics, everything else by default: group `asterism`, earliest, 10 s for the broker to answer.
    pub fn new(bootstrap: impl Into<String>, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            group: "asterism".to_owned(),
            topics: topics.into_iter().map(Into::into).collect(),
            start: KafkaStart::default(),
            start_timeout: Some(Duration::from_secs(10)),
            settings: BTreeMap::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), IngestError> {
        if self.topics.is_empty() {
            return Err(config("kafka.topics", "name at least one topic"));
        }
        check_client(&self.bootstrap, &self.settings)
    }

    pub(super) fn create_consumer<T: FromClientConfigAndContext<SourceContext>>(
        &self,
    ) -> Result<T, IngestError> {
        let mut client = ClientConfig::new();
        client.set("group.id", &self.group);
        // The newer group protocol refuses what its broker side decides.
        let classic = self.settings.get("group.protocol").is_none_or(|protocol| protocol == "classic");
        for (key, value) in
            CONSUMER_DEFAULTS.into_iter().filter(|(key, _)| classic || !CLASSIC_ONLY.contains(key))
        {
            client.set(key, value);
        }
        for (key, _) in &RESERVED[2..4] {
            client.set(*key, "false");
        }
        // A start at the committed offset needs somewhere to go when nothing was committed.
        client
            .set("auto.offset.reset", if self.start == KafkaStart::Committed { "earliest" } else { "error" });
        let context = SourceContext::new(&self.bootstrap, self.start);
        create(client, &self.bootstrap, &self.settings, context)
    }
}

pub(super) fn check_client(bootstrap: &str, settings: &BTreeMap<String, String>) -> Result<(), IngestError> {
    if bootstrap.trim().is_empty() {
        return Err(config("kafka.bootstrap", "name at least one broker as host:port"));
    }
    match RESERVED.iter().find(|(key, _)| settings.contains_key(*key)) {
        Some((key, why)) => {
            Err(config(&format!("kafka.settings.\"{key}\""), &format!("is not for users: {why}")))
        }
        None => Ok(()),
    }
}

/// Settings whose values are no secrets: a path that leads nowhere is what the operator must see.
const SHOWN: [&str; 4] = [".location", ".protocol", ".mechanism", ".mechanisms"];

/// Overlays the user's settings and creates the client.
pub(super) fn create<C: ClientContext, T: FromClientConfigAndContext<C>>(
    mut client: ClientConfig,
    bootstrap: &str,
    settings: &BTreeMap<String, String>,
    context: C,
) -> Result<T, IngestError> {
    client.set("bootstrap.servers", bootstrap);
    for (key, value) in settings {
        client.set(key, value);
    }
    client.create_with_context(context).map_err(|error| match error {
        KafkaError::ClientConfig(_, problem, key, value) => {
            config(&format!("kafka.settings.\"{key}\""), &without(&problem, &value))
        }
        KafkaError::ClientCreation(problem) => {
            let hidden = settings.iter().filter(|(key, _)| !SHOWN.iter().any(|end| key.ends_with(end)));
            config("kafka.settings", &hidden.fold(problem, |text, (_, secret)| without(&text, secret)))
        }
        other => config("kafka.settings", &other.to_string()),
    })
}

/// librdkafka quotes the value it refuses, which may be a secret.
fn without(text: &str, secret: &str) -> String {
    if secret.is_empty() { text.to_owned() } else { text.replace(secret, "(value)") }
}

fn config(setting: &str, problem: &str) -> IngestError {
    IngestError::Config { setting: setting.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::*;

    fn with(key: &str, value: &str) -> KafkaOptions {
        let mut options = KafkaOptions::new("127.0.0.1:9", ["t"]);
        options.settings.insert(key.to_owned(), value.to_owned());
        options
    }

    fn refusal(options: &KafkaOptions) -> String {
        let created: Result<BaseConsumer<SourceContext>, _> =
            options.check().and_then(|()| options.create_consumer());
        created.err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn secrets_are_neither_in_debug_nor_in_errors() {
        let options = with("sasl.password", "hunter2");
        assert!(!format!("{options:?}").contains("hunter2"));
        let refused = refusal(&with("security.protocol", "hunter2"));
        assert!(refused.contains("security.protocol") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn settings_the_engine_depends_on_are_refused_with_the_reason() {
        insta::assert_snapshot!(
            refusal(&with("enable.auto.commit", "true")),
            @r#"setting kafka.settings."enable.auto.commit": is not for users: the state database keeps the positions"#
        );
    }

    #[test]
    fn unknown_setting_is_named() {
        let refused = refusal(&with("sasl.pasword", "x"));
        assert!(
            refused.contains("sasl.pasword") && refused.contains("No such configuration property"),
            "{refused}"
        );
    }

    #[test]
    fn tls_and_sasl_are_built_in() {
        let mut options = with("security.protocol", "sasl_ssl");
        for (key, value) in
            [("sasl.mechanisms", "SCRAM-SHA-512"), ("sasl.username", "u"), ("sasl.password", "p")]
        {
            options.settings.insert(key.to_owned(), value.to_owned());
        }
        assert_eq!(refusal(&options), "");
    }
}
