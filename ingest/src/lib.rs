//! Records in, rows out: Kafka, the embedded journal and files; decode, normalise to OCSF, dead letters.
//!
//! ```text
//! Source (Kafka | journal | files) -> Record -> Decoder --+-> EventBatch  (rows of one OCSF class)
//!                                       ^                 +-> Alert       (a product reported a finding)
//!                       MappingSet -----+                 +-> DeadLetter  (what could not be decoded, and why)
//! ```
//!
//! - [`Record`]: bytes at a topic, partition and offset.
//! - [`Source`]: polled within a [`PollBudget`]; [`KafkaSource`], [`JournalSource`] and [`FileSource`] implement it.
//!   [`Budget`] counts what lies downstream and closes the source when that is full.
//! - [`Journal`]: the log of an installation without Kafka; [`KafkaWriter`] and [`DeadLetterSink`] write to logs.
//! - [`MappingSet`]: which record shapes are known and which field goes to which OCSF column. Content lies in
//!   `ingest/mappings/`, its format in `ingest/mappings/README.md`.
//! - Feature `kafka` (default): all that talks to Kafka; without it librdkafka and OpenSSL are not compiled.
//! - [`Decoder`]: parses, recognises, maps. It reads no clock, no file and no network.

mod budget;
mod dead_letter;
mod decode;
mod error;
mod file;
mod journal;
#[cfg(feature = "kafka")]
mod kafka;
mod mapping;
mod metrics;
mod product_alert;
mod record;
mod source;

pub use budget::{Budget, Lease};
pub use dead_letter::DeadLetterSink;
pub use decode::{
    DeadLetter, DeadReason, DecodeCounts, DecodeLimits, Decoded, Decoder, Misfit, NativeWanted,
    SourceKindHint,
};
pub use error::{IngestError, MappingError};
pub use file::{FileOptions, FilePartition, FileSource};
pub use journal::{Journal, JournalOptions, JournalSource, Retention};
#[cfg(feature = "kafka")]
pub use kafka::{KafkaHeader, KafkaOptions, KafkaSource, KafkaStart, KafkaWriter};
pub use mapping::MappingSet;
pub use record::Record;
pub use source::{PollBudget, Polled, Positions, Source, TopicPartition};
