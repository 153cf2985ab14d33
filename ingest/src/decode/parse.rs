//! Bytes to a tape, or the reason why not.

use super::dead::DeadReason;
use super::json::{Json, Kind};
use super::limits::DecodeLimits;
use super::names::Names;
use super::scan::{Broken, Open, Problem, scan};
use super::tape::{Node, Resolved, Span, Tape};
use crate::record::Record;

/// Buffers that outlive a record.
#[derive(Debug)]
pub(crate) struct Parser {
    names: Names,
    nodes: Vec<Node>,
    resolved: Resolved,
    listed: Vec<(u32, Span)>,
    open: Vec<Open>,
    limits: DecodeLimits,
}

/// Buffers of a larger record than this are given back after it: one giant must not hold memory for ever.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// The tape tells places by numbers of 32 bits.
const TAPE_BYTES_MAX: usize = u32::MAX as usize;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Parser {
    pub(crate) fn new(limits: DecodeLimits) -> Self {
        Self {
            names: Names::default(),
            nodes: Vec::new(),
            resolved: Resolved::default(),
            listed: Vec::new(),
            open: Vec::new(),
            limits,
        }
    }

    /// Parses a record and calls `f` with its tape, whose root is an object.
    pub(crate) fn with_tape<R>(
        &mut self,
        record: &Record,
        f: impl FnOnce(&mut Tape<'_>) -> Result<R, DeadReason>,
    ) -> Result<R, DeadReason> {
        let payload = self.checked(record)?;
        let text = simdutf8::basic::from_utf8(payload).map_err(|_| invalid_utf8(payload))?;
        let mut tape = Tape {
            record: text,
            nodes: std::mem::take(&mut self.nodes),
            resolved: std::mem::take(&mut self.resolved),
            listed: std::mem::take(&mut self.listed),
        };
        let outcome = match scan(&mut tape, &mut self.names, &mut self.open, self.limits.depth_max) {
            Ok(()) => object(&tape).and_then(|()| f(&mut tape)),
            Err(broken) => Err(self.reason(broken)),
        };
        if payload.len() <= KEPT_BYTES_MAX {
            (self.nodes, self.resolved, self.listed) = (tape.nodes, tape.resolved, tape.listed);
        }
        outcome
    }

    fn checked<'r>(&self, record: &'r Record) -> Result<&'r [u8], DeadReason> {
        let bytes = record
            .truncated_from
            .map_or(record.payload.len(), |whole| usize::try_from(whole).unwrap_or(usize::MAX));
        let bytes_max = self.limits.record_bytes_max.min(TAPE_BYTES_MAX);
        if bytes > bytes_max || record.truncated_from.is_some() {
            return Err(DeadReason::TooLarge { bytes, bytes_max });
        }
        let payload: &[u8] = &record.payload;
        let payload = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload).trim_ascii();
        if payload.is_empty() { Err(DeadReason::Empty) } else { Ok(payload) }
    }

    fn reason(&self, broken: Broken) -> DeadReason {
        let problem = match broken.problem {
            Problem::TooDeep => return DeadReason::TooDeep { depth_max: self.limits.depth_max },
            Problem::Other(problem) => problem,
        };
        DeadReason::BrokenJson { byte: broken.byte, problem: problem.to_owned() }
    }
}

/// Says where, which the fast check does not.
fn invalid_utf8(payload: &[u8]) -> DeadReason {
    DeadReason::InvalidUtf8 { byte: std::str::from_utf8(payload).map_or_else(|e| e.valid_up_to(), str::len) }
}

fn object(tape: &Tape<'_>) -> Result<(), DeadReason> {
    match Json::Tape(tape, 0).kind() {
        Kind::Object => Ok(()),
        other => Err(DeadReason::NotAnObject(other.name())),
    }
}
