//! Mini-segments: rows of one selection that came together, as immutable columns of their own size, with the hashes of
//! their keys in order and a Bloom filter before them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use arrow::array::{Array, AsArray, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use event::{Cold, EventBatch, RecordRef, Shelf, Time};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::bloom::Bloom;
use super::definition::{Selection, Source};
use super::index::{Entry, Index};
use super::key::{Part, combine, hash_form, host_of};
use super::texts::Texts;
use crate::fixed::mix;

/// Keys of one row at most: each of its parts may have several values.
const KEYS_PER_ROW_MAX: usize = 16;

/// Rows in columns.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    body: Cold<Body>,
    /// Rows.
    len: usize,
    index: Index,
    /// Of the index.
    bloom: Bloom,
    from: i64,
    to: i64,
}

/// What is asked of rows whose keys have met others.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Body {
    /// The kept columns of the selection.
    texts: Vec<Texts>,
    topics: Texts,
    #[serde(with = "event::numbers")]
    partitions: Vec<i64>,
    #[serde(with = "event::numbers")]
    offsets: Vec<i64>,
    /// What a row's event led to or came from, hashed: rows of one face are one thing to whoever counts.
    #[serde(with = "event::numbers")]
    faces: Vec<u64>,
}

/// A row of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    segment: &'a Segment,
    pub(crate) row: usize,
    time: i64,
}

impl<'a> Row<'a> {
    /// The value of a kept column.
    pub(crate) fn text(&self, column: usize) -> Option<&'a str> {
        self.body().texts[column].get(self.row)
    }

    fn body(&self) -> &'a Body {
        self.segment.body.get()
    }

    pub(crate) fn time(&self) -> Time {
        Time(self.time)
    }

    pub(crate) fn face(&self) -> u64 {
        self.body().faces[self.row]
    }

    /// The order of events, whatever order they came in.
    pub(crate) fn order(&self) -> (i64, &'a str, i64, i64) {
        let Body { topics, partitions, offsets, .. } = self.body();
        let row = self.row;
        (self.time().0, topics.get(row).unwrap_or_default(), partitions[row], offsets[row])
    }

    pub(crate) fn record(&self) -> RecordRef {
        let Body { topics, partitions, offsets, .. } = self.body();
        RecordRef {
            topic: topics.get(self.row).unwrap_or_default().into(),
            partition: partitions[self.row] as i32,
            offset: offsets[self.row],
        }
    }

    /// The part of a value that a source speaks of.
    pub(crate) fn source(&self, source: Source) -> Option<&'a str> {
        let text = self.text(source.column)?;
        Some(if source.is_host { host_of(text) } else { text })
    }
}

/// The rows of a batch that have a key, by slice of event time.
pub(crate) fn segments(
    batch: &EventBatch,
    selection: &Selection,
    parts: &[Part],
    rows: &[u32],
    slice_us: i64,
) -> BTreeMap<i64, Segment> {
    let keys = keys(batch, selection, parts, rows);
    let times = times(batch);
    let mut slices: BTreeMap<i64, Slice> = BTreeMap::new();
    for (row, keys) in rows.iter().zip(keys).filter(|(_, keys)| !keys.is_empty()) {
        let slice = times.map_or(0, |times| times.value(*row as usize)).div_euclid(slice_us);
        let slice = slices.entry(slice).or_default();
        slice.keys.extend(keys.into_iter().map(|key| (key, slice.rows.len() as u32)));
        slice.rows.push(*row);
    }
    slices.into_iter().map(|(slice, of)| (slice, Segment::of(batch, selection, &of.rows, of.keys))).collect()
}

/// Event times, of which every row has one.
fn times(batch: &EventBatch) -> Option<&TimestampMicrosecondArray> {
    batch.column("time").and_then(|column| column.as_primitive_opt())
}

#[derive(Default)]
struct Slice {
    rows: Vec<u32>,
    keys: Vec<(u64, u32)>,
}

/// The keys of each row: every way to take one value of each part.
fn keys(batch: &EventBatch, selection: &Selection, parts: &[Part], rows: &[u32]) -> Vec<SmallVec<[u64; 4]>> {
    let mut keys: Vec<SmallVec<[u64; 4]>> = vec![SmallVec::from_slice(&[0]); rows.len()];
    let mut form = String::new();
    for (part, sources) in parts.iter().zip(&selection.same) {
        let columns: SmallVec<[(&StringViewArray, bool); 4]> = sources
            .iter()
            .filter_map(|source| {
                let column = batch.columns.column(selection.kept[source.column]);
                Some((column.as_string_view_opt()?, source.is_host))
            })
            .filter(|(column, _)| column.null_count() < column.len())
            .collect();
        for (row, keys) in rows.iter().zip(&mut keys).filter(|(_, keys)| !keys.is_empty()) {
            let values = values(*part, &columns, *row as usize, &mut form);
            let all = keys.iter().flat_map(|key| values.iter().map(move |value| combine(*key, *value)));
            *keys = all.take(KEYS_PER_ROW_MAX).collect();
        }
    }
    keys
}

/// The hashes of the different forms of one part in one row.
fn values(
    part: Part,
    columns: &[(&StringViewArray, bool)],
    row: usize,
    form: &mut String,
) -> SmallVec<[u64; 4]> {
    let mut hashes: SmallVec<[u64; 4]> = SmallVec::new();
    let mut add = |hash: u64| {
        if !hashes.contains(&hash) {
            hashes.push(hash);
        }
    };
    for (column, is_host) in columns.iter().filter(|(column, _)| column.is_valid(row)) {
        let text = if *is_host { host_of(column.value(row)) } else { column.value(row) };
        if part == Part::Recipient {
            part.forms(text).iter().for_each(|form| add(hash_form(form)));
            continue;
        }
        form.clear();
        if part.push_form(text, form) {
            add(hash_form(form));
        }
    }
    hashes
}

impl Segment {
    fn of(batch: &EventBatch, selection: &Selection, rows: &[u32], keys: Vec<(u64, u32)>) -> Self {
        let numbers = |name: &str| -> Vec<i64> {
            let column = batch.column(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
            let value = |row: &u32| column.map_or(0, |column| column.value(*row as usize));
            rows.iter().map(value).collect()
        };
        let texts: Vec<Texts> =
            selection.kept.iter().map(|column| Texts::copied(batch.columns.column(*column), rows)).collect();
        let topics =
            batch.column("topic").map_or_else(|| Texts::none(rows.len()), |c| Texts::copied(c, rows));
        let (partitions, offsets) = (numbers("partition"), numbers("offset"));
        let face = |row: usize| {
            let mut anchors = selection.anchors.iter().filter_map(|(_, column)| texts[*column].get(row));
            match anchors.next() {
                Some(text) => hash_form(text),
                None => mix(offsets[row] as u64 ^ mix(partitions[row] as u64)),
            }
        };
        let faces = (0..rows.len()).map(face).collect();
        let column = times(batch);
        let entry = |(hash, row): (u64, u32)| {
            (hash, row, column.map_or(0, |column| column.value(rows[row as usize] as usize)))
        };
        let entries = keys.into_iter().map(entry).collect();
        let body = Body { texts, topics, partitions, offsets, faces };
        Self::assembled(Cold::new(body), rows.len(), entries)
    }

    /// Every row has a key.
    fn assembled(body: Cold<Body>, len: usize, entries: Vec<Entry>) -> Self {
        let mut bloom = Bloom::with_room(entries.len());
        let (mut from, mut to) = (i64::MAX, i64::MIN);
        for (hash, _, time) in &entries {
            bloom.insert(*hash);
            (from, to) = (from.min(*time), to.max(*time));
        }
        Self { body, len, index: Index::of(entries), bloom, from, to }
    }

    /// Its keys go on the shelf, and its rows from the second call on, until somebody asks for one.
    pub(crate) fn cool(&mut self, shelf: &Shelf) {
        self.index.shelve(shelf);
        self.body.cool(shelf);
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Rows at or before a time.
    pub(crate) fn late(&self, t: Time) -> usize {
        if self.from > t.0 {
            return 0;
        }
        // A row may have several keys.
        let late: HashSet<u32> =
            self.entries().iter().filter(|(_, _, time)| *time <= t.0).map(|(_, row, _)| *row).collect();
        late.len()
    }

    /// Hashes in all, those of one row apart.
    pub(crate) fn keys_len(&self) -> usize {
        self.index.len()
    }

    /// The hash of each key, its row, and the time of that, in order.
    pub(crate) fn entries(&self) -> Cow<'_, [Entry]> {
        self.index.all()
    }

    /// The row of an entry.
    pub(crate) fn row(&self, (_, row, time): Entry) -> Row<'_> {
        Row { segment: self, row: row as usize, time }
    }

    /// The rows of a key within a span of time.
    pub(crate) fn find(&self, hash: u64, (from, to): (i64, i64)) -> impl Iterator<Item = Row<'_>> {
        let is_possible = self.from <= to && self.to >= from && self.bloom.may_contain(hash);
        let found = if is_possible { self.index.find(hash) } else { SmallVec::new() };
        found
            .into_iter()
            .map(move |(row, time)| self.row((hash, row, time)))
            .filter(move |row| (from..=to).contains(&row.time))
    }

    /// One segment of several of one selection.
    pub(crate) fn merged(segments: &[Segment]) -> Self {
        let mut entries = Vec::with_capacity(segments.iter().map(Segment::keys_len).sum());
        let mut len = 0;
        for segment in segments {
            let before = len as u32;
            entries.extend(segment.entries().iter().map(|(hash, row, time)| (*hash, row + before, *time)));
            len += segment.len();
        }
        let bodies: Vec<&Body> = segments.iter().map(|segment| segment.body.get()).collect();
        Self::assembled(Cold::new(Body::merged(&bodies)), len, entries)
    }
}

impl Body {
    fn merged(bodies: &[&Body]) -> Self {
        Self {
            texts: (0..bodies.first().map_or(0, |b| b.texts.len()))
                .map(|i| Texts::merged(bodies.iter().map(|b| &b.texts[i])))
                .collect(),
            topics: Texts::merged(bodies.iter().map(|b| &b.topics)),
            partitions: bodies.iter().flat_map(|b| b.partitions.iter().copied()).collect(),
            offsets: bodies.iter().flat_map(|b| b.offsets.iter().copied()).collect(),
            faces: bodies.iter().flat_map(|b| b.faces.iter().copied()).collect(),
        }
    }

    /// Whether each column has so many rows.
    fn is_of(&self, rows: usize) -> bool {
        self.texts.iter().chain([&self.topics]).all(|column| column.len() == rows)
            && [self.partitions.len(), self.offsets.len(), self.faces.len()].iter().all(|n| *n == rows)
    }
}

/// A segment in a snapshot. Everything else follows from it.
#[derive(Serialize, Deserialize)]
struct Written<B, E> {
    body: B,
    len: usize,
    entries: E,
}

impl Serialize for Segment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written { body: &self.body, len: self.len, entries: self.entries() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { body, len, entries } = Written::<Cold<Body>, Vec<Entry>>::deserialize(deserializer)?;
        if !body.get().is_of(len) || entries.iter().any(|(_, row, _)| *row as usize >= len) {
            return Err(serde::de::Error::custom("rows of a join that do not fit together"));
        }
        Ok(Self::assembled(body, len, entries))
    }
}
