//! The rows of one selection that may still meet others: segments in slices of event time. A slice whose time has passed
//! is dropped whole; nothing is ever deleted from a segment.

use std::collections::BTreeMap;

use event::Shelf;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bloom::Bloom;
use super::segment::{Row, Segment};

/// Segments of about one size in a slice before they become one: each row is copied a few times at most.
const SEGMENTS_OF_A_SIZE: usize = 4;

/// Segments of fewer rows count as one size.
const ROWS_OF_A_SMALL_SEGMENT: usize = 256;

#[derive(Debug, Clone, Default)]
pub(crate) struct Ring {
    slices: BTreeMap<i64, Vec<Segment>>,
    /// Before all segments. It forgets when it is made anew.
    bloom: Bloom,
    /// Hashes in all segments.
    hashes: usize,
    rows: usize,
}

impl Ring {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn insert(&mut self, slice: i64, segment: Segment) {
        self.rows += segment.len();
        self.hashes += segment.keys_len();
        if self.hashes <= self.bloom.room() {
            segment.entries().iter().for_each(|(hash, _, _)| self.bloom.insert(*hash));
        }
        let segments = self.slices.entry(slice).or_default();
        segments.push(segment);
        compact(segments);
        if self.hashes > self.bloom.room() {
            self.rebuild();
        }
    }

    fn rebuild(&mut self) {
        let segments = || self.slices.values().flatten();
        self.rows = segments().map(Segment::len).sum();
        self.hashes = segments().map(Segment::keys_len).sum();
        // Room for half as many more: rebuilding costs a hash no more than inserting it twice.
        let mut bloom = Bloom::with_room(self.hashes + self.hashes / 2);
        for segment in segments() {
            segment.entries().iter().for_each(|(hash, _, _)| bloom.insert(*hash));
        }
        self.bloom = bloom;
    }

    /// The rows of a key within a span of time, in slices of `slice_us`.
    pub(crate) fn find(&self, hash: u64, span: (i64, i64), slice_us: i64) -> impl Iterator<Item = Row<'_>> {
        let (first, last) = if self.bloom.may_contain(hash) {
            (span.0.div_euclid(slice_us), span.1.div_euclid(slice_us))
        } else {
            (0, -1)
        };
        let slices = (first <= last).then(|| self.slices.range(first..=last)).into_iter().flatten();
        slices.flat_map(move |(_, segments)| segments.iter().flat_map(move |s| s.find(hash, span)))
    }

    /// Drops the slices that ended before `t`.
    pub(crate) fn drop_before(&mut self, t: i64, slice_us: i64) {
        let first = t.div_euclid(slice_us);
        if self.slices.first_key_value().is_some_and(|(slice, _)| *slice < first) {
            self.slices = self.slices.split_off(&first);
            self.rebuild();
        }
    }

    /// See [`Segment::cool`]. Small segments of the latest slice are about to become one with others.
    pub(crate) fn cool(&mut self, shelf: &Shelf) {
        let latest = self.slices.last_key_value().map(|(slice, _)| *slice);
        for (slice, segments) in &mut self.slices {
            let is_to_stay = |segment: &&mut Segment| Some(*slice) != latest || size(segment) > 0;
            segments.iter_mut().filter(is_to_stay).for_each(|segment| segment.cool(shelf));
        }
    }

    /// Drops the oldest slice; the rows that are lost.
    pub(crate) fn drop_oldest(&mut self) -> usize {
        let before = self.rows;
        drop(self.slices.pop_first());
        self.rebuild();
        before - self.rows
    }
}

/// Makes one segment of several of about one size.
fn compact(segments: &mut Vec<Segment>) {
    while let Some(newest) = segments.last().map(size) {
        let alike = segments.iter().rev().take_while(|segment| size(segment) == newest).count();
        if alike < SEGMENTS_OF_A_SIZE {
            return;
        }
        let tail = segments.split_off(segments.len() - alike);
        segments.push(Segment::merged(&tail));
        // Four small segments may make another small one: that is no reason to go on.
        if segments.last().map(size) == Some(newest) {
            return;
        }
    }
}

/// The size of a segment, each class four times the one before it.
fn size(segment: &Segment) -> u32 {
    (segment.len() / ROWS_OF_A_SMALL_SEGMENT).max(1).ilog(SEGMENTS_OF_A_SIZE)
}

impl Serialize for Ring {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.slices.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ring {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut ring = Ring { slices: Deserialize::deserialize(deserializer)?, ..Ring::default() };
        ring.rebuild();
        Ok(ring)
    }
}
