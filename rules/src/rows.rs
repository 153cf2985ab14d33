//! A set of rows of one batch, one bit a row.

use smallvec::{SmallVec, smallvec};

/// A set of row numbers below a fixed length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Sets come and go with every part of every condition: those of most batches need no memory of their own.
    words: SmallVec<[u64; 8]>,
    len: usize,
}

impl Rows {
    /// No row of a batch with `len` rows.
    pub(crate) fn none(len: usize) -> Self {
        Self { words: smallvec![0; len.div_ceil(64)], len }
    }

    /// Every row of a batch with `len` rows.
    pub(crate) fn all(len: usize) -> Self {
        let mut rows = Self { words: smallvec![u64::MAX; len.div_ceil(64)], len };
        rows.trim();
        rows
    }

    /// Clears the bits beyond the length, which every other operation relies on.
    fn trim(&mut self) {
        let used = self.len % 64;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, row: usize) {
        self.words[row / 64] |= 1 << (row % 64);
    }

    pub(crate) fn remove(&mut self, row: usize) {
        self.words[row / 64] &= !(1 << (row % 64));
    }

    pub(crate) fn contains(&self, row: usize) -> bool {
        self.words[row / 64] & (1 << (row % 64)) != 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|w| *w == 0)
    }

    /// Keeps the rows that are in `other` too.
    pub(crate) fn intersect(&mut self, other: &Rows) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    /// Adds the rows of `other`.
    pub(crate) fn unite(&mut self, other: &Rows) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    /// Removes the rows of `other`.
    pub(crate) fn subtract(&mut self, other: &Rows) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    /// The rows, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(i, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    i * 64 + bit
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_operations_stay_within_the_length() {
        let mut evens = Rows::none(130);
        (0..130).step_by(2).for_each(|row| evens.insert(row));
        let mut odds = Rows::all(130);
        odds.subtract(&evens);
        assert_eq!(odds.iter().collect::<Vec<_>>(), (1..130).step_by(2).collect::<Vec<_>>());
        odds.unite(&evens);
        assert_eq!(odds, Rows::all(130));
        odds.intersect(&Rows::none(130));
        assert!(odds.is_empty());
        assert_eq!(Rows::all(64).iter().count(), 64);
        assert_eq!(Rows::all(0).iter().count(), 0);
    }
}
