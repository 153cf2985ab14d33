//! Dead letters: what could not be decoded, where it lies and why.

use bytes::Bytes;
use event::{RecordRef, Time};

/// A record, or one event of an exploded record, that could not be decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Where the record lies.
    pub record: RecordRef,
    /// Why it could not be decoded.
    pub reason: DeadReason,
    /// The bytes, cut at [`DecodeLimits::dead_payload_bytes_max`](crate::DecodeLimits::dead_payload_bytes_max).
    pub payload: Bytes,
    /// When it was read.
    pub ingest_time: Time,
}

/// Why a record is dead. [`DeadReason::code`] is stable; the display text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeadReason {
    /// No JSON.
    #[error("broken JSON at byte {byte}: {problem}")]
    BrokenJson {
        /// Offset of the defect in the payload.
        byte: usize,
        /// What the parser says.
        problem: String,
    },
    /// No bytes, or white space alone.
    #[error("the record is empty")]
    Empty,
    /// JSON, but no object.
    #[error("expected a JSON object, found {0}")]
    NotAnObject(&'static str),
    /// Longer than the limit.
    #[error(
        "the record has {bytes} bytes, more than the limit of {bytes_max}; raise ingest.record_bytes_max if it is sound"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Nested deeper than the limit.
    #[error("objects and arrays are nested deeper than {depth_max}")]
    TooDeep {
        /// The limit.
        depth_max: usize,
    },
    /// No UTF-8.
    #[error("invalid UTF-8 at byte {byte}; the source must send UTF-8")]
    InvalidUtf8 {
        /// Offset of the first bad byte.
        byte: usize,
    },
    /// No shape recognises the record.
    #[error("{}", unknown_shape(kind.as_deref()))]
    UnknownShape {
        /// The source kind that was named, if any.
        kind: Option<String>,
    },
    /// The named source kind does not exist.
    #[error("no source kind {0:?}; add a mapping for it or correct the name")]
    UnknownKind(String),
    /// The shape is known, but no variant takes the event.
    #[error("source kind {kind}: no variant takes this event ({keys})")]
    NoVariant {
        /// Source kind.
        kind: String,
        /// The telling fields of the event.
        keys: String,
    },
    /// No field holds an event time.
    #[error("no event time; looked at {0}")]
    NoTime(String),
    /// A field that should hold the event time holds something else.
    #[error("no readable event time: {0}")]
    UnreadableTime(String),
    /// Event times outside 1990..2100.
    #[error("no plausible event time: {0}")]
    ImplausibleTime(String),
    /// A column that the mapping demands is empty.
    #[error("{variant}: column {column} is empty")]
    MissingColumn {
        /// Mapping variant.
        variant: String,
        /// The column.
        column: String,
    },
    /// The envelope of a list of events lacks the list.
    #[error("source kind {kind}: no list of events at {path}")]
    BadEnvelope {
        /// Source kind.
        kind: String,
        /// Where the list should be.
        path: String,
    },
    /// The envelope holds more events than the limit.
    #[error("the record holds {events} events, more than the limit of {events_max}")]
    TooManyEvents {
        /// Events in the record.
        events: usize,
        /// The limit.
        events_max: usize,
    },
    /// A row could not be built: a defect of this program. The record is kept.
    #[error("bug: {0}")]
    Bug(String),
}

fn unknown_shape(kind: Option<&str>) -> String {
    match kind {
        None => "no known record shape; name the source kind, or add a mapping".to_owned(),
        Some(kind) => format!(
            "none of the record shapes of source kind {kind}; name another kind, or auto to have it recognised, or \
             add a mapping"
        ),
    }
}

impl DeadReason {
    /// Stable code, used as a metric label and in dead-letter headers.
    pub const fn code(&self) -> &'static str {
        match self {
            DeadReason::BrokenJson { .. } => "broken_json",
            DeadReason::Empty => "empty",
            DeadReason::NotAnObject(_) => "not_an_object",
            DeadReason::TooLarge { .. } => "too_large",
            DeadReason::TooDeep { .. } => "too_deep",
            DeadReason::InvalidUtf8 { .. } => "invalid_utf8",
            DeadReason::UnknownShape { .. } => "unknown_shape",
            DeadReason::UnknownKind(_) => "unknown_kind",
            DeadReason::NoVariant { .. } => "no_variant",
            DeadReason::NoTime(_) => "no_time",
            DeadReason::UnreadableTime(_) => "unreadable_time",
            DeadReason::ImplausibleTime(_) => "implausible_time",
            DeadReason::MissingColumn { .. } => "missing_column",
            DeadReason::BadEnvelope { .. } => "bad_envelope",
            DeadReason::TooManyEvents { .. } => "too_many_events",
            DeadReason::Bug(_) => "bug",
        }
    }
}
