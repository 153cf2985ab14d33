//! The keys of a segment, by which its rows are found. They are in memory while the segment is young, and then on a shelf,
//! of which a question reads the part where its key would be.

use std::borrow::Cow;

use event::{Kept, Shelf};
use smallvec::SmallVec;

/// The hash of a key, its row, and the time of that.
pub(crate) type Entry = (u64, u32, i64);

/// Keys in order.
#[derive(Debug, Clone)]
pub(crate) enum Index {
    Young(Vec<Entry>),
    Shelved {
        /// Entries of [`BYTES`] each.
        entries: Kept,
        /// The first hash of every [`BLOCK`] entries.
        fences: Box<[u64]>,
    },
}

/// Bytes of an entry on a shelf.
const BYTES: usize = 20;

/// Entries that are read at once: about a kilobyte.
const BLOCK: usize = 64;

impl Index {
    /// Of entries in any order.
    pub(crate) fn of(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable();
        Self::Young(entries)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Young(entries) => entries.len(),
            Self::Shelved { entries, .. } => entries.len() / BYTES,
        }
    }

    /// All entries, in order.
    pub(crate) fn all(&self) -> Cow<'_, [Entry]> {
        match self {
            Self::Young(entries) => Cow::Borrowed(entries),
            Self::Shelved { entries, .. } => Cow::Owned(read(&entries.read()).collect()),
        }
    }

    /// The rows of a key, and their times.
    pub(crate) fn find(&self, hash: u64) -> SmallVec<[(u32, i64); 4]> {
        match self {
            Self::Young(entries) => {
                let start = entries.partition_point(|entry| entry.0 < hash);
                same(entries[start..].iter().copied(), hash).collect()
            }
            Self::Shelved { entries, fences } => {
                // Those that are equal may begin at the end of the block before.
                let first = fences.partition_point(|fence| *fence < hash).saturating_sub(1);
                let blocks = fences[first..].iter().take_while(|fence| **fence <= hash).count();
                let bytes = entries.part(first * BLOCK * BYTES, blocks * BLOCK * BYTES);
                same(read(&bytes).skip_while(|entry| entry.0 < hash), hash).collect()
            }
        }
    }

    /// Puts them on a shelf.
    pub(crate) fn shelve(&mut self, shelf: &Shelf) {
        let Self::Young(entries) = self else { return };
        let mut bytes = Vec::with_capacity(entries.len() * BYTES);
        for (hash, row, time) in &*entries {
            bytes.extend_from_slice(&hash.to_le_bytes());
            bytes.extend_from_slice(&row.to_le_bytes());
            bytes.extend_from_slice(&time.to_le_bytes());
        }
        let fences = entries.iter().step_by(BLOCK).map(|entry| entry.0).collect();
        *self = Self::Shelved { entries: shelf.keep(bytes), fences };
    }
}

/// The rows of the first entries, which have a hash.
fn same(entries: impl Iterator<Item = Entry>, hash: u64) -> impl Iterator<Item = (u32, i64)> {
    entries.take_while(move |entry| entry.0 == hash).map(|(_, row, time)| (row, time))
}

fn read(bytes: &[u8]) -> impl Iterator<Item = Entry> + '_ {
    let (entries, _) = bytes.as_chunks::<BYTES>();
    entries.iter().map(|entry| {
        let part = |from: usize| -> [u8; 8] { std::array::from_fn(|i| entry[from + i]) };
        let row = std::array::from_fn(|i| entry[8 + i]);
        (u64::from_le_bytes(part(0)), u32::from_le_bytes(row), i64::from_le_bytes(part(12)))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However many rows a key has, and wherever blocks begin.
        #[test]
        fn on_a_shelf_it_finds_the_same(
            entries in proptest::collection::vec((0..40_u64, any::<u32>(), any::<i64>()), 0..600),
        ) {
            let young = Index::of(entries);
            let mut shelved = young.clone();
            shelved.shelve(&Shelf::on(std::sync::Mutex::new(Vec::new())));
            prop_assert_eq!((shelved.len(), shelved.all()), (young.len(), young.all()));
            for hash in 0..41 {
                prop_assert_eq!(shelved.find(hash), young.find(hash));
            }
        }
    }
}
