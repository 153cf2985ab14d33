//! Records to batches: parse, recognise, take the wanted values, pick the variant, fill columns.
//!
//! ```text
//! payload -- parse --> tape -- recognise --> shape -- trie walk --> slots -- when --> variant -- eval --> columns
//! ```
//!
//! A record costs one parse, which tells where its values stand and numbers its members. By number, two walks are cheap:
//! one notes which of all shapes' paths exist, the other takes the values that the shape's source kind and the loaded
//! rules want. What nobody wants is skipped whole, and its escapes stay as they are written.

mod column;
mod dead;
mod eval;
mod json;
mod limits;
mod names;
mod native;
mod parse;
mod plan;
mod recognise;
mod rows;
mod run;
mod scan;
mod slots;
mod tape;
#[cfg(test)]
mod tests;
mod time;
mod trie;
mod wanted;
mod when;

use std::sync::Arc;

use event::{Alert, EventBatch, Logsource, RecordRef, TenantId, Time};

pub use dead::{DeadLetter, DeadReason};
pub(crate) use eval::Event;
pub(crate) use json::{Json, Kind, parse_text};
pub use limits::DecodeLimits;
pub(crate) use plan::KindPlan;
pub use wanted::NativeWanted;

use crate::mapping::{MappingSet, SourceKind};
use crate::record::Record;
use parse::Parser;
use recognise::Recogniser;
use run::Run;
use slots::Slots;
use tape::Tape;
use wanted::Wanted;

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
    /// One of the values that did not fit their column.
    pub misfit: Option<Misfit>,
}

/// A value that did not fit its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Its record.
    pub record: RecordRef,
    /// The column that stays empty.
    pub column: &'static str,
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
    /// Rows without an event time that took the time of reading: only of [`SourceKindHint::Json`].
    pub undated: u64,
}

/// The source kind of [`SourceKindHint::Json`]: every record, no columns of its own.
const JSON_KIND: &str = include_str!("json_kind.yml");

/// Decodes records and normalises them to OCSF rows.
///
/// ```
/// use std::sync::Arc;
/// use event::{TenantId, Time};
/// use ingest::{DecodeLimits, Decoder, MappingSet, NativeWanted, Record, SourceKindHint};
///
/// let mut decoder = Decoder::new(Arc::new(MappingSet::default()), &NativeWanted::default(), DecodeLimits::default());
/// let record = Record::new("t".into(), 0, 7, br#"{"a": 1, "time": "2026-03-02T08:00:00Z"}"#.as_slice().into());
/// let hint = SourceKindHint::Json { logsources: Arc::new([]) };
/// let decoded = decoder.decode(&[record], &hint, &TenantId::default(), Time::from_secs(1_772_438_400));
/// assert_eq!(decoded.batches[0].text("event_uid", 0), Some("t/0@7"));
/// ```
#[derive(Debug)]
pub struct Decoder {
    /// In order of name; the last one is that of [`SourceKindHint::Json`].
    kinds: Vec<KindPlan>,
    recogniser: Recogniser,
    wanted: Wanted,
    limits: DecodeLimits,
    parser: Parser,
    buffers: Buffers,
}

/// What is filled anew with every record.
#[derive(Debug, Default)]
struct Buffers {
    slots: Slots,
    envelope: Slots,
}

impl Decoder {
    /// A decoder for these mappings that extracts the native fields in `wanted`.
    pub fn new(mappings: Arc<MappingSet>, wanted: &NativeWanted, limits: DecodeLimits) -> Self {
        let wanted = Wanted::new(wanted);
        let mut kinds: Vec<Arc<SourceKind>> = mappings.kinds().cloned().collect();
        let recogniser = Recogniser::new(&kinds);
        // The text is part of the program; every use of the decoder reads it, so a defect cannot be released.
        kinds.push(Arc::new(
            SourceKind::parse("json_kind.yml", JSON_KIND).unwrap_or_else(|e| unreachable!("{e}")),
        ));
        Self {
            kinds: kinds.into_iter().map(|kind| KindPlan::new(kind, &wanted)).collect(),
            recogniser,
            wanted,
            limits,
            parser: Parser::new(limits),
            buffers: Buffers::default(),
        }
    }

    /// Decodes records of one tenant. `ingest_time` is when they were read.
    ///
    /// Never fails: what cannot be decoded is in [`Decoded::dead`], with the reason.
    pub fn decode(
        &mut self,
        records: &[Record],
        hint: &SourceKindHint,
        tenant: &TenantId,
        ingest_time: Time,
    ) -> Decoded {
        let choice = self.choice(hint);
        let mut run = Run::new(&self.kinds, &self.wanted, self.limits, tenant, ingest_time, hint);
        for record in records {
            let shape = |tape: &Tape<'_>| match &choice {
                Choice::Shape(shape) => Ok(*shape),
                Choice::Any(kind) => {
                    let unknown = || DeadReason::UnknownShape {
                        kind: kind.map(|k| self.kinds[k].kind.name.to_string()),
                    };
                    self.recogniser.shape(tape, *kind).ok_or_else(unknown)
                }
                Choice::None(name) => Err(DeadReason::UnknownKind(name.to_string())),
            };
            run.record(record, &mut self.parser, shape, &mut self.buffers);
        }
        run.finish()
    }

    fn choice(&self, hint: &SourceKindHint) -> Choice {
        let json = self.kinds.len() - 1;
        match hint {
            SourceKindHint::Auto => Choice::Any(None),
            SourceKindHint::Json { .. } => Choice::Shape(recognise::ShapeRef { kind: json, shape: 0 }),
            SourceKindHint::Kind(name) => {
                match self.kinds[..json].iter().position(|plan| plan.kind.name == *name) {
                    Some(kind) => Choice::Any(Some(kind)),
                    None => Choice::None(Arc::clone(name)),
                }
            }
        }
    }
}

/// Which shapes come into question.
enum Choice {
    Any(Option<usize>),
    Shape(recognise::ShapeRef),
    None(Arc<str>),
}
