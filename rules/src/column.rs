//! The dictionary of one field over one batch: each distinct value once, folded once.

use std::borrow::Cow;
use std::hash::BuildHasher;

use event::json::{Unescaper, unescaped};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::field::{Cell, FieldReader, Kept};
use crate::fold::fold_into;
use crate::rows::Rows;

/// The distinct values of a field, and which rows hold each.
#[derive(Debug)]
pub(crate) struct FieldColumn<'a> {
    dictionary: Dictionary<'a>,
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
    unescaper: Unescaper,
}

/// A distinct value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'c> {
    key: &'c Key<'c>,
    pub(crate) folded: &'c str,
}

impl<'c> Value<'c> {
    /// As it is, which few predicates ask for.
    pub(crate) fn raw(&self) -> Cow<'c, str> {
        match self.key {
            Key::Text(text) => Cow::Borrowed(text),
            Key::Written(written) => Cow::Owned(unescaped(written)),
        }
    }
}

impl<'a> FieldColumn<'a> {
    /// A column without rows, for [`FieldColumn::fill`].
    pub(crate) fn empty() -> Self {
        Self {
            dictionary: Dictionary::default(),
            folded: String::new(),
            folded_ends: Vec::new(),
            pairs: Vec::new(),
            by_value: Vec::new(),
            starts: Vec::new(),
            row_starts: Vec::new(),
            present: Rows::none(0),
            null: Rows::none(0),
            unescaper: Unescaper::default(),
        }
    }

    /// The column of a field of a batch with so many rows.
    pub(crate) fn new(reader: &FieldReader<'a>, rows: usize) -> Self {
        let mut column = Self::empty();
        column.fill(reader, rows, None);
        column
    }

    /// Makes it another column, in the same memory; as if no row but those of `wanted` had the field.
    pub(crate) fn fill(&mut self, reader: &FieldReader<'a>, rows: usize, wanted: Option<&Rows>) {
        self.dictionary.clear();
        self.pairs.clear();
        self.present = Rows::none(rows);
        self.null = Rows::all(rows);
        self.pairs.reserve(rows);
        self.row_starts.clear();
        self.row_starts.reserve(rows + 1);
        self.row_starts.push(0);
        for row in 0..rows {
            if wanted.is_none_or(|wanted| wanted.contains(row)) {
                self.push(row, reader.kept(row));
            }
            self.row_starts.push(self.pairs.len() as u32);
        }
        self.index();
        self.fold_values();
    }

    fn push(&mut self, row: usize, kept: Kept<'a>) {
        let Self { dictionary, pairs, .. } = self;
        match kept {
            Kept::Cell(Cell::Absent) => return,
            Kept::Cell(Cell::Null) => return self.present.insert(row),
            Kept::Cell(Cell::One(value)) => pairs.push((dictionary.code(Key::Text(value)), row as u32)),
            Kept::Written(written) => pairs.push((dictionary.code(Key::Written(written)), row as u32)),
            Kept::Cell(Cell::Many(values)) => {
                pairs.extend(values.into_iter().map(|v| (dictionary.code(Key::Text(v)), row as u32)));
            }
        }
        self.present.insert(row);
        self.null.remove(row);
    }

    /// Counting sort of the pairs by value.
    fn index(&mut self) {
        let Self { dictionary, pairs, by_value, starts, .. } = self;
        // Each count stands two places on, so that after the sort below every start stands where it belongs.
        starts.clear();
        starts.resize(dictionary.keys.len() + 2, 0);
        pairs.iter().for_each(|(value, _)| starts[*value as usize + 2] += 1);
        for i in 2..starts.len() {
            starts[i] += starts[i - 1];
        }
        by_value.clear();
        by_value.resize(pairs.len(), 0);
        for (value, row) in pairs {
            let at = &mut starts[*value as usize + 1];
            by_value[*at as usize] = *row;
            *at += 1;
        }
    }

    fn fold_values(&mut self) {
        let Self { dictionary, folded, folded_ends, unescaper, .. } = self;
        folded.clear();
        folded_ends.clear();
        folded_ends.reserve(dictionary.keys.len());
        for key in &dictionary.keys {
            match key {
                Key::Text(text) => fold_into(text, folded),
                Key::Written(written) => fold_into(unescaper.text(written), folded),
            }
            folded_ends.push(folded.len());
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

    /// The distinct values. One that is written in two ways is there twice.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value<'_>> {
        (0..self.dictionary.keys.len() as u32).map(|code| self.value(code))
    }

    pub(crate) fn value(&self, code: u32) -> Value<'_> {
        let code = code as usize;
        let start = code.checked_sub(1).map_or(0, |before| self.folded_ends[before]);
        Value { key: &self.dictionary.keys[code], folded: &self.folded[start..self.folded_ends[code]] }
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

    /// The rows of `among` that hold a value for which `test` is true; each value is asked once.
    pub(crate) fn select(&self, among: &Rows, mut test: impl FnMut(&Value<'_>) -> bool) -> Rows {
        let mut found = Rows::none(self.present.len());
        let mut known: Vec<Option<bool>> = vec![None; self.dictionary.keys.len()];
        for row in among.iter() {
            let hit = self
                .codes(row)
                .any(|code| *known[code as usize].get_or_insert_with(|| test(&self.value(code))));
            if hit {
                found.insert(row);
            }
        }
        found
    }
}

/// A value as the batch keeps it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key<'a> {
    Text(Cow<'a, str>),
    /// As JSON writes it, with escapes.
    Written(&'a str),
}

/// Interns values by how they are kept.
#[derive(Debug, Default)]
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
    fn clear(&mut self) {
        self.table.clear();
        self.keys.clear();
        self.hashes.clear();
        self.last = 0;
    }

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
