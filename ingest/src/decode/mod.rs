//! Records to batches: parse, recognise, take the wanted values, pick the variant, fill columns.

mod dead;
mod limits;

use std::collections::HashSet;
use std::sync::Arc;

use event::{Alert, EventBatch, Logsource, TenantId, Time};

pub use dead::{DeadLetter, DeadReason};
pub use limits::DecodeLimits;

use crate::mapping::MappingSet;
use crate::record::Record;

/// The native field names that loaded rules name. The decoder extracts each of them where a record has it.
pub type NativeWanted = HashSet<Arc<str>>;

/// What the operator says about the records of a source.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceKindHint {
    /// Recognise every record by its shape.
    Auto,
    /// Records of one source kind; its shapes are told apart by the record.
    Kind(Arc<str>),
    /// Any JSON object as it is, every field native. Rules are routed by `logsources`; empty means not gated.
    Json {
        /// The logsources of every record.
        logsources: Arc<[Logsource]>,
    },
}

/// What a call of [`Decoder::decode`] made of its records.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Rows, one batch a mapping variant, in order of first appearance.
    pub batches: Vec<EventBatch>,
    /// Alerts that products reported; their rows are in `batches` too (class detection_finding).
    pub alerts: Vec<Alert>,
    /// What could not be decoded.
    pub dead: Vec<DeadLetter>,
    /// Sums.
    pub counts: DecodeCounts,
}

/// Sums over one call of [`Decoder::decode`]. Without exploded records, `records == rows + dead`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecodeCounts {
    /// Records in.
    pub records: u64,
    /// Bytes in.
    pub bytes: u64,
    /// Records that were envelopes of a list of events.
    pub exploded: u64,
    /// Rows out.
    pub rows: u64,
    /// Dead letters out.
    pub dead: u64,
    /// Product alerts out.
    pub alerts: u64,
    /// Values that did not fit their column and were left null.
    pub misfits: u64,
}

/// Decodes records and normalises them to OCSF rows.
#[derive(Debug)]
pub struct Decoder {
    #[allow(dead_code)]
    mappings: Arc<MappingSet>,
}

impl Decoder {
    /// A decoder for these mappings that extracts the native fields in `wanted`.
    pub fn new(mappings: Arc<MappingSet>, _wanted: &NativeWanted, _limits: DecodeLimits) -> Self {
        Self { mappings }
    }

    /// Decodes records of one tenant. `ingest_time` is when they were read.
    ///
    /// Never fails: what cannot be decoded is in [`Decoded::dead`], with the reason.
    pub fn decode(
        &mut self,
        _records: &[Record],
        _hint: &SourceKindHint,
        _tenant: &TenantId,
        _ingest_time: Time,
    ) -> Decoded {
        Decoded::default()
    }
}
