//! Bytes to a tape, or the reason why not.

use simd_json::{Buffers, ErrorType, Tape};

use super::dead::DeadReason;
use super::json::{Json, Kind};
use super::limits::DecodeLimits;
use crate::record::Record;

/// Buffers that outlive a record.
pub(crate) struct Parser {
    buffers: Buffers,
    input: Vec<u8>,
    tape: Tape<'static>,
    limits: DecodeLimits,
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parser").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A buffer larger than this is given back after the record: one giant must not hold memory for ever.
const KEPT_BYTES_MAX: usize = 1 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Parser {
    pub(crate) fn new(limits: DecodeLimits) -> Self {
        let buffers = Buffers::with_max_depth(16 << 10, limits.depth_max);
        Self { buffers, input: Vec::new(), tape: Tape::null(), limits }
    }

    /// Parses a record and calls `f` with its text and tape, whose root is an object.
    pub(crate) fn with_tape<R>(
        &mut self,
        record: &Record,
        f: impl FnOnce(&str, &Tape<'_>) -> Result<R, DeadReason>,
    ) -> Result<R, DeadReason> {
        let payload = self.checked(record)?;
        let mut input = std::mem::take(&mut self.input);
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let outcome = match self.fill(payload, &mut input, &mut tape) {
            // The parser has validated UTF-8 already; this check costs little and keeps the code safe.
            Ok(()) => match std::str::from_utf8(payload) {
                Ok(text) => object(&tape).and_then(|()| f(text, &tape)),
                Err(e) => Err(DeadReason::InvalidUtf8 { byte: e.valid_up_to() }),
            },
            Err(reason) => Err(reason),
        };
        self.tape = tape.reset();
        self.keep(input);
        outcome
    }

    fn checked<'r>(&self, record: &'r Record) -> Result<&'r [u8], DeadReason> {
        let bytes = record
            .truncated_from
            .map_or(record.payload.len(), |whole| usize::try_from(whole).unwrap_or(usize::MAX));
        if bytes > self.limits.record_bytes_max || record.truncated_from.is_some() {
            return Err(DeadReason::TooLarge { bytes, bytes_max: self.limits.record_bytes_max });
        }
        let payload: &[u8] = &record.payload;
        let payload = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload).trim_ascii();
        if payload.is_empty() { Err(DeadReason::Empty) } else { Ok(payload) }
    }

    fn fill<'t>(
        &mut self,
        payload: &[u8],
        input: &'t mut Vec<u8>,
        tape: &mut Tape<'t>,
    ) -> Result<(), DeadReason> {
        // Parsing overwrites its input, so a second attempt needs its own copy: the borrow checker sees to that.
        let first = {
            let mut attempt = Tape(Vec::new());
            std::mem::swap(&mut attempt, tape);
            let mut attempt = attempt.reset();
            pad(input, payload);
            let outcome = simd_json::fill_tape_padded(input, payload.len(), &mut self.buffers, &mut attempt);
            match outcome {
                Ok(()) => {
                    *tape = attempt;
                    return Ok(());
                }
                Err(e) => e,
            }
        };
        Err(self.reason(payload, &first))
    }

    fn reason(&self, payload: &[u8], error: &simd_json::Error) -> DeadReason {
        if matches!(error.error(), ErrorType::DepthLimitExceeded) {
            return DeadReason::TooDeep { depth_max: self.limits.depth_max };
        }
        if let Err(e) = std::str::from_utf8(payload) {
            return DeadReason::InvalidUtf8 { byte: e.valid_up_to() };
        }
        match serde_json::from_slice::<serde::de::IgnoredAny>(payload) {
            Err(e) => DeadReason::BrokenJson {
                byte: byte_of(payload, e.line(), e.column()),
                problem: without_place(&e.to_string()),
            },
            Ok(_) => DeadReason::BrokenJson { byte: error.index(), problem: error.to_string() },
        }
    }

    fn keep(&mut self, input: Vec<u8>) {
        if input.capacity() <= KEPT_BYTES_MAX {
            self.input = input;
        } else {
            self.buffers = Buffers::with_max_depth(16 << 10, self.limits.depth_max);
            self.tape = Tape(Vec::new());
        }
    }
}

fn pad(input: &mut Vec<u8>, payload: &[u8]) {
    input.clear();
    input.extend_from_slice(payload);
    input.resize(payload.len() + simd_json::INPUT_PADDING, b' ');
}

fn object(tape: &Tape<'_>) -> Result<(), DeadReason> {
    match Json::Tape(&tape.0, 0).kind() {
        Kind::Object => Ok(()),
        other => Err(DeadReason::NotAnObject(other.name())),
    }
}

/// What the parser says, without line and column within the record: the byte tells the place.
fn without_place(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(problem, _)| problem).to_owned()
}

/// The byte offset of a line and column, both from 1.
fn byte_of(payload: &[u8], line: usize, column: usize) -> usize {
    let before: usize =
        payload.split_inclusive(|b| *b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column.saturating_sub(1)).min(payload.len())
}
