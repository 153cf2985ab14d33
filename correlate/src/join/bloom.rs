//! A blocked Bloom filter (Putze, Sanders, Singler 2007): all bits of a hash lie in one word, so that a question costs
//! one line of the cache.

/// Bits a hash: one false yes in about a hundred.
const BITS_PER_HASH: usize = 16;

/// A set of hashes that may say yes wrongly, never no.
#[derive(Debug, Clone)]
pub(crate) struct Bloom {
    words: Vec<u64>,
}

impl Default for Bloom {
    fn default() -> Self {
        Self::with_room(0)
    }
}

impl Bloom {
    /// For that many hashes.
    pub(crate) fn with_room(hashes: usize) -> Self {
        Self { words: vec![0; (hashes * BITS_PER_HASH).div_ceil(64).max(1)] }
    }

    /// Hashes that it has room for.
    pub(crate) fn room(&self) -> usize {
        self.words.len() * 64 / BITS_PER_HASH
    }

    /// The hash must be well mixed.
    pub(crate) fn insert(&mut self, hash: u64) {
        let word = self.word(hash);
        self.words[word] |= bits(hash);
    }

    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let bits = bits(hash);
        self.words[self.word(hash)] & bits == bits
    }

    fn word(&self, hash: u64) -> usize {
        // As many hashes for each word, without a division.
        (((hash >> 32) * self.words.len() as u64) >> 32) as usize
    }
}

/// Four bits of a word, from the low bits of the hash; its high ones choose the word.
const fn bits(hash: u64) -> u64 {
    (1 << (hash & 63)) | (1 << ((hash >> 6) & 63)) | (1 << ((hash >> 12) & 63)) | (1 << ((hash >> 18) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::mix;

    #[test]
    fn it_never_says_no_wrongly_and_seldom_yes() {
        let mut bloom = Bloom::with_room(10_000);
        (0..10_000).for_each(|n| bloom.insert(mix(n)));
        assert!((0..10_000).all(|n| bloom.may_contain(mix(n))));
        let wrong = (10_000..110_000).filter(|n| bloom.may_contain(mix(*n))).count();
        assert!(wrong < 2_000, "{wrong} of 100,000");
        assert!(!Bloom::default().may_contain(mix(1)));
    }
}
