//! A stretch of a partition: one keyspace, keyed by offset.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::Keyspace;

use super::store_error;
use crate::error::IngestError;
use crate::record::Record;
use crate::source::TopicPartition;

/// Offsets from `first` on, up to the first one of the next segment.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) first: i64,
    /// Payload bytes.
    pub(super) bytes: u64,
    /// Wall clock, in ms since the epoch, when the next segment began; `None` while it is appended to.
    pub(super) sealed_at_ms: Option<u64>,
    pub(super) keyspace: Keyspace,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({}.., {} bytes)", self.first, self.bytes)
    }
}

/// `topic@partition@first offset`; `@` is in no topic name.
pub(super) fn name_of((topic, partition): &TopicPartition, first: i64) -> String {
    format!("{topic}@{partition}@{first:020}")
}

/// The reverse of [`name_of`]; `None` for keyspaces that are no segments.
pub(super) fn parse_name(name: &str) -> Option<(TopicPartition, i64)> {
    let mut parts = name.split('@');
    let (topic, partition, first) = (parts.next()?, parts.next()?, parts.next()?);
    let key = (Arc::from(topic), partition.parse().ok()?);
    parts.next().is_none().then_some((key, first.parse().ok()?))
}

/// Big-endian, so that key order is offset order.
pub(super) const fn key_of(offset: i64) -> [u8; 8] {
    offset.to_be_bytes()
}

fn offset_of(key: &[u8]) -> Option<i64> {
    key.try_into().ok().map(i64::from_be_bytes)
}

impl Segment {
    /// The offset after the last record on disk.
    pub(super) fn end(&self, path: &Path) -> Result<i64, IngestError> {
        let Some(last) = self.keyspace.last_key_value() else { return Ok(self.first) };
        let key = last.key().map_err(|e| store_error(path, &e))?;
        offset_of(&key).map(|offset| offset + 1).ok_or_else(|| self.bad_key(path))
    }

    /// Payload bytes on disk, counted.
    pub(super) fn count_bytes(&self, path: &Path) -> Result<u64, IngestError> {
        self.keyspace.iter().try_fold(0, |sum, guard| {
            guard.size().map(|size| sum + u64::from(size)).map_err(|e| store_error(path, &e))
        })
    }

    /// Appends records of `offsets` to `out` until a limit is reached; the first record always fits.
    pub(super) fn read(
        &self,
        of: &TopicPartition,
        offsets: Range<i64>,
        room: &mut Room,
        out: &mut Vec<Record>,
        path: &Path,
    ) -> Result<(), IngestError> {
        for guard in self.keyspace.range(key_of(offsets.start)..key_of(offsets.end)) {
            let (key, value) = guard.into_inner().map_err(|e| store_error(path, &e))?;
            let offset = offset_of(&key).ok_or_else(|| self.bad_key(path))?;
            if !room.take(value.len()) {
                return Ok(());
            }
            out.push(Record::new(Arc::clone(&of.0), of.1, offset, Bytes::copy_from_slice(&value)));
        }
        Ok(())
    }

    fn bad_key(&self, path: &Path) -> IngestError {
        let problem = format!("segment {self:?} holds a key that is no offset; restore the directory");
        IngestError::Corrupt { place: path.display().to_string(), problem }
    }
}

/// What a read may still return.
pub(super) struct Room {
    pub(super) records: usize,
    pub(super) bytes: usize,
    pub(super) taken: usize,
}

impl Room {
    pub(super) const fn new(records: usize, bytes: usize) -> Self {
        Self { records, bytes, taken: 0 }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.records == 0 || self.bytes == 0
    }

    /// Takes room for one record; the first one always fits.
    fn take(&mut self, bytes: usize) -> bool {
        if self.records == 0 || (bytes > self.bytes && self.taken > 0) {
            (self.records, self.bytes) = (0, 0);
            return false;
        }
        self.records -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.taken += 1;
        true
    }
}
