//! Dead letters go back to a log: what could not be decoded, where it came from, and why.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::decode::DeadLetter;
use crate::error::IngestError;
use crate::journal::Journal;
#[cfg(feature = "kafka")]
use crate::kafka::KafkaWriter;
use crate::metrics;

/// Added to the origin's topic where no dead-letter topic is configured.
const SUFFIX: &str = ".dead";

/// Where dead letters go: one topic for all, or `<topic>.dead` beside each origin.
#[derive(Debug, Clone)]
pub struct DeadLetterSink {
    log: Log,
    topic: Option<String>,
}

#[derive(Debug, Clone)]
enum Log {
    #[cfg(feature = "kafka")]
    Kafka(KafkaWriter),
    Journal(Journal),
}

impl DeadLetterSink {
    /// To a Kafka topic. The record's value is the payload; origin and reason are headers `asterism.topic`,
    /// `asterism.partition`, `asterism.offset`, `asterism.reason`, `asterism.message`, `asterism.ingest_time` (us).
    #[cfg(feature = "kafka")]
    pub const fn kafka(writer: KafkaWriter, topic: Option<String>) -> Self {
        Self { log: Log::Kafka(writer), topic }
    }

    /// To a journal topic. Journal records have no headers, so each is a JSON object of the same facts.
    pub const fn journal(journal: Journal, topic: Option<String>) -> Self {
        Self { log: Log::Journal(journal), topic }
    }

    /// The topic for dead letters of `origin`.
    pub fn topic_for(&self, origin: &str) -> String {
        match &self.topic {
            Some(topic) => topic.clone(),
            None if is_dead_letter_topic(origin) => origin.to_owned(),
            None => format!("{origin}{SUFFIX}"),
        }
    }

    /// Appends the letters and waits until they are durable. Counts them.
    ///
    /// # Errors
    ///
    /// As the log: [`KafkaWriter::append`], [`Journal::append`]. Sending again is right: letters may then be twice.
    pub async fn send(&self, letters: &[DeadLetter]) -> Result<(), IngestError> {
        let mut by_topic: BTreeMap<String, Vec<&DeadLetter>> = BTreeMap::new();
        for letter in letters {
            by_topic.entry(self.topic_for(&letter.record.topic)).or_default().push(letter);
        }
        for (topic, letters) in by_topic {
            match &self.log {
                #[cfg(feature = "kafka")]
                Log::Kafka(writer) => to_kafka(writer, &topic, &letters).await?,
                Log::Journal(journal) => to_journal(journal, &topic, &letters).await?,
            }
        }
        for letter in letters {
            metrics::dead_letter(&letter.record.topic, letter.reason.code());
        }
        Ok(())
    }
}

/// By name: a topic that was configured otherwise is not known here.
pub(crate) fn is_dead_letter_topic(topic: &str) -> bool {
    topic.ends_with(SUFFIX)
}

#[cfg(feature = "kafka")]
async fn to_kafka(writer: &KafkaWriter, topic: &str, letters: &[&DeadLetter]) -> Result<(), IngestError> {
    let records: Vec<_> = letters
        .iter()
        .map(|letter| {
            // The origin as key keeps letters of one partition in order.
            let key = format!("{}/{}", letter.record.topic, letter.record.partition);
            (Bytes::from(key), letter.payload.clone(), headers(letter))
        })
        .collect();
    writer.append_keyed(topic, &records).await.map(drop)
}

#[cfg(feature = "kafka")]
fn headers(letter: &DeadLetter) -> Vec<(&'static str, String)> {
    vec![
        ("asterism.topic", letter.record.topic.to_string()),
        ("asterism.partition", letter.record.partition.to_string()),
        ("asterism.offset", letter.record.offset.to_string()),
        ("asterism.reason", letter.reason.code().to_owned()),
        ("asterism.message", letter.reason.to_string()),
        ("asterism.ingest_time", letter.ingest_time.micros().to_string()),
    ]
}

async fn to_journal(journal: &Journal, topic: &str, letters: &[&DeadLetter]) -> Result<(), IngestError> {
    let payloads: Vec<Bytes> =
        letters.iter().map(|letter| Bytes::from(envelope(letter).to_string())).collect();
    journal.append(&journal_topic(topic), 0, &payloads).await.map(drop)
}

/// The payload as text where it is UTF-8, else in base64.
fn envelope(letter: &DeadLetter) -> serde_json::Value {
    let mut envelope = serde_json::json!({
        "topic": letter.record.topic,
        "partition": letter.record.partition,
        "offset": letter.record.offset,
        "reason": letter.reason.code(),
        "message": letter.reason.to_string(),
        "ingest_time": letter.ingest_time.micros(),
    });
    let (name, text) = match std::str::from_utf8(&letter.payload) {
        Ok(text) => ("payload", text.to_owned()),
        Err(_) => {
            ("payload_base64", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &letter.payload))
        }
    };
    envelope[name] = text.into();
    envelope
}

/// File names are topics too, and may hold what a journal topic may not.
fn journal_topic(topic: &str) -> String {
    topic
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .collect()
}
