//! The dictionary of one field over one batch: each distinct value once, folded once.

use std::borrow::Cow;

use event::EventBatch;
use event::json::unescape;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::ops::Range;

use crate::atom::Field;
use crate::field::{Cell, FieldReader, Kept};
use crate::fold::fold_into;
use crate::rows::Rows;

/// The distinct values of a field, and which rows hold each.
#[derive(Debug)]
pub(crate) struct FieldColumn<'a> {
    rows: usize,
    values: Vec<Value<'a>>,
    /// The values whose escapes were resolved, one after the other.
    resolved: String,
    /// The folded values, one after the other.
    folded: String,
    /// Where the folded value ends that has this number.
    folded_ends: Vec<usize>,
    /// (value, row) pairs, by row.
    pairs: Vec<(u32, u32)>,
    /// `pairs` by value: rows of value `v` are `by_value[starts[v]..starts[v + 1]]`.
    by_value: Vec<u32>,
    starts: Vec<u32>,
    /// Where the pairs of a row begin; one more than there are rows.
    row_starts: Vec<u32>,
    present: Rows,
    null: Rows,
}

/// A distinct value.
#[derive(Debug)]
enum Value<'a> {
    Text(Cow<'a, str>),
    /// These bytes of [`FieldColumn::resolved`].
    Resolved(Range<usize>),
}

impl<'a> FieldColumn<'a> {
    pub(crate) fn new(batch: &'a EventBatch, field: &Field) -> Self {
        Self::of_rows(batch, field, &Rows::all(batch.len()))
    }

    /// The column as if no row but these had the field.
    pub(crate) fn of_rows(batch: &'a EventBatch, field: &Field, wanted: &Rows) -> Self {
        let reader = FieldReader::new(batch, field);
        let mut dictionary = Dictionary::default();
        let rows = batch.len();
        let mut column = Self::absent(rows);
        if reader.is_absent() {
            return column;
        }
        for row in 0..rows {
            let kept = if wanted.contains(row) { reader.kept(row) } else { Kept::Cell(Cell::Absent) };
            match kept {
                Kept::Cell(Cell::Absent) => {}
                Kept::Cell(Cell::Null) => column.present.insert(row),
                Kept::Cell(Cell::One(value)) => column.push(row, &mut dictionary, [Key::Text(value)]),
                Kept::Cell(Cell::Many(values)) => {
                    column.push(row, &mut dictionary, values.into_iter().map(Key::Text))
                }
                Kept::Written(written) => column.push(row, &mut dictionary, [Key::Written(written)]),
            }
            column.row_starts[row + 1] = column.pairs.len() as u32;
        }
        column.resolve(dictionary.keys);
        column.index();
        column.fold_values();
        column
    }

    fn absent(rows: usize) -> Self {
        Self {
            rows,
            values: Vec::new(),
            resolved: String::new(),
            folded: String::new(),
            folded_ends: Vec::new(),
            pairs: Vec::new(),
            by_value: Vec::new(),
            starts: vec![0],
            row_starts: vec![0; rows + 1],
            present: Rows::none(rows),
            null: Rows::all(rows),
        }
    }

    fn push(
        &mut self,
        row: usize,
        dictionary: &mut Dictionary<'a>,
        values: impl IntoIterator<Item = Key<'a>>,
    ) {
        self.present.insert(row);
        self.null.remove(row);
        self.pairs.extend(values.into_iter().map(|v| (dictionary.code(v), row as u32)));
    }

    /// Counting sort of the pairs by value.
    fn index(&mut self) {
        let mut starts = vec![0u32; self.values.len() + 1];
        self.pairs.iter().for_each(|(value, _)| starts[*value as usize + 1] += 1);
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        self.by_value = vec![0; self.pairs.len()];
        for (value, row) in &self.pairs {
            let at = &mut next[*value as usize];
            self.by_value[*at as usize] = *row;
            *at += 1;
        }
        self.starts = starts;
    }

    /// The values of the dictionary. One that is written in two ways has two numbers, which nobody minds.
    fn resolve(&mut self, keys: Vec<Key<'a>>) {
        let resolved = &mut self.resolved;
        let value = |key| match key {
            Key::Text(text) => Value::Text(text),
            Key::Written(written) => {
                let start = resolved.len();
                unescape(written, resolved);
                Value::Resolved(start..resolved.len())
            }
        };
        self.values = keys.into_iter().map(value).collect();
    }

    fn fold_values(&mut self) {
        let (mut folded, mut folded_ends) = (String::new(), Vec::with_capacity(self.values.len()));
        folded.reserve(self.values.iter().map(|value| self.raw(value).len()).sum());
        for value in &self.values {
            fold_into(self.raw(value), &mut folded);
            folded_ends.push(folded.len());
        }
        (self.folded, self.folded_ends) = (folded, folded_ends);
    }

    fn raw<'s>(&'s self, value: &'s Value<'a>) -> &'s str {
        match value {
            Value::Text(text) => text,
            Value::Resolved(bytes) => &self.resolved[bytes.clone()],
        }
    }

    /// Rows whose key is present.
    pub(crate) fn present(&self) -> &Rows {
        &self.present
    }

    /// Rows without a value: absent or null.
    pub(crate) fn null(&self) -> &Rows {
        &self.null
    }

    /// The distinct values: raw and folded.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        (0..self.values.len() as u32).map(|code| self.value(code))
    }

    pub(crate) fn value(&self, code: u32) -> (&str, &str) {
        let code = code as usize;
        let start = code.checked_sub(1).map_or(0, |before| self.folded_ends[before]);
        (self.raw(&self.values[code]), &self.folded[start..self.folded_ends[code]])
    }

    /// The rows that hold a value.
    pub(crate) fn rows_of(&self, code: usize) -> &[u32] {
        &self.by_value[self.starts[code] as usize..self.starts[code + 1] as usize]
    }

    /// The values that a row holds.
    pub(crate) fn codes(&self, row: usize) -> impl Iterator<Item = u32> + '_ {
        let range = self.row_starts[row] as usize..self.row_starts[row + 1] as usize;
        self.pairs[range].iter().map(|(code, _)| *code)
    }

    /// The rows of `among` that hold a value for which `test` (raw, folded) is true; each value is asked once.
    pub(crate) fn select(&self, among: &Rows, mut test: impl FnMut(&str, &str) -> bool) -> Rows {
        let mut found = Rows::none(self.rows);
        let mut known: Vec<Option<bool>> = vec![None; self.values.len()];
        for row in among.iter() {
            let hit = self.codes(row).any(|code| {
                *known[code as usize].get_or_insert_with(|| {
                    let (raw, folded) = self.value(code);
                    test(raw, folded)
                })
            });
            if hit {
                found.insert(row);
            }
        }
        found
    }
}

/// A value as the batch keeps it.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    Text(Cow<'a, str>),
    /// As JSON writes it, with escapes.
    Written(&'a str),
}

/// Interns values by how they are kept.
#[derive(Default)]
struct Dictionary<'a> {
    table: HashTable<u32>,
    keys: Vec<Key<'a>>,
    /// Of each value.
    hashes: Vec<u64>,
    /// The value that came last: that of neighbours is often the same.
    last: u32,
    hasher: FixedState,
}

impl<'a> Dictionary<'a> {
    fn code(&mut self, key: Key<'a>) -> u32 {
        if self.keys.get(self.last as usize) != Some(&key) {
            self.last = self.look_up(key);
        }
        self.last
    }

    fn look_up(&mut self, key: Key<'a>) -> u32 {
        let Self { table, keys, hashes, hasher, .. } = self;
        let hash = hasher.hash_one(&key);
        let same = |code: &u32| hashes[*code as usize] == hash && keys[*code as usize] == key;
        if let Some(code) = table.find(hash, same) {
            return *code;
        }
        let code = keys.len() as u32;
        keys.push(key);
        hashes.push(hash);
        table.insert_unique(hash, code, |code| hashes[*code as usize]);
        code
    }
}
