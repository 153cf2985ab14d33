//! Many literals, looked for in one text at once.
//!
//! Every literal is known by four of its bytes, by those that fewest other literals have. One pass over the text asks a
//! small table for each four bytes of it; nearly always that is all, since what comes often in texts (`.exe`, `\wind`)
//! is in many literals and none is known by it. An automaton takes a step for each byte too, but each step waits for the
//! one before, and its table is as large as the literals.
//!
//! Where literals are long enough, only the four bytes at every second or fourth place of the text are asked for: a literal is
//! then known by as many grams, one of which stands at such a place wherever the literal does.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use hashbrown::HashMap;
use memchr::memmem::Finder;
use smallvec::SmallVec;

/// Number of a literal.
pub(crate) type LiteralId = u32;

/// Finds literals in texts. Both are folded.
#[derive(Debug, Default)]
pub(crate) struct Literals {
    texts: Vec<Box<str>>,
    stride: Stride,
    /// A bit for each hash of four bytes that a literal is known by.
    filter: Filter,
    /// Which literals are known by four bytes, and where in them these stand.
    by_gram: HashMap<Gram, SmallVec<[(LiteralId, u32); 2]>, foldhash::fast::FixedState>,
    short: Short,
    /// Literals with characters beyond ASCII, which most texts do not have.
    beyond_ascii: Option<Automaton>,
}

/// Four bytes of a text.
type Gram = u32;

const GRAM_BYTES: usize = size_of::<Gram>();

/// What four grams span at the widest stride.
const BLOCK_BYTES: usize = 3 * Stride::Four as usize + GRAM_BYTES;

/// How far apart the places of a text are whose grams are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stride {
    #[default]
    One = 1,
    Two = 2,
    Four = 4,
}

impl Stride {
    /// Literals that are shorter have no gram for each place that they can stand at.
    fn literal_bytes_min(self) -> usize {
        GRAM_BYTES + self as usize - 1
    }
}

/// Literals too short to be known by their grams.
#[derive(Debug)]
enum Short {
    Few(Vec<(LiteralId, Finder<'static>)>),
    Many(Automaton),
}

impl Default for Short {
    fn default() -> Self {
        Short::Few(Vec::new())
    }
}

/// So many searches are faster than one of an automaton.
const FEW: usize = 8;

impl Literals {
    /// Literals, numbered in this order.
    pub(crate) fn of(texts: &[&str]) -> Self {
        let mut literals =
            Self { texts: texts.iter().map(|text| (*text).into()).collect(), ..Self::default() };
        let numbered = || (0..).zip(texts.iter().copied());
        let of_ascii = || numbered().filter(|(_, text)| text.is_ascii());
        let suits = |stride: &Stride| {
            of_ascii().filter(|(_, text)| text.len() < stride.literal_bytes_min()).count() <= FEW
        };
        literals.stride = [Stride::Four, Stride::Two].into_iter().find(suits).unwrap_or_default();
        let is_short = |text: &str| text.len() < literals.stride.literal_bytes_min();
        let (short, long): (Vec<_>, Vec<_>) = of_ascii().partition(|(_, text)| is_short(text));
        literals.know(&long);
        literals.short = if short.len() <= FEW {
            let finder = |(id, text): &(LiteralId, &str)| (*id, Finder::new(text.as_bytes()).into_owned());
            Short::Few(short.iter().map(finder).collect())
        } else {
            Short::Many(Automaton::of(&short))
        };
        let beyond: Vec<_> = numbered().filter(|(_, text)| !text.is_ascii()).collect();
        literals.beyond_ascii = (!beyond.is_empty()).then(|| Automaton::of(&beyond));
        literals
    }

    /// Chooses the grams by which each of these literals is known: one for each remainder of its place by the stride.
    fn know(&mut self, literals: &[(LiteralId, &str)]) {
        let mut uses: HashMap<Gram, u32, foldhash::fast::FixedState> = HashMap::default();
        for (_, gram) in literals.iter().flat_map(|(_, text)| grams(text.as_bytes())) {
            *uses.entry(gram).or_default() += 1;
        }
        let stride = self.stride as usize;
        self.filter = Filter::for_grams(literals.len() * stride);
        for (id, text) in literals {
            for first in 0..stride {
                let here = grams(text.as_bytes()).skip(first).step_by(stride);
                let Some((at, gram)) = here.min_by_key(|(at, gram)| (uses.get(gram), *at)) else { continue };
                self.filter.insert(gram);
                self.by_gram.entry(gram).or_default().push((*id, at as u32));
            }
        }
    }

    /// Calls `hit` with the literals that stand in `text`, with each at least once.
    pub(crate) fn find(&self, text: &str, mut hit: impl FnMut(LiteralId)) {
        if !self.by_gram.is_empty() {
            self.find_known(text, &mut hit);
        }
        match &self.short {
            Short::Few(finders) => {
                let found = finders.iter().filter(|(_, finder)| finder.find(text.as_bytes()).is_some());
                found.for_each(|(id, _)| hit(*id));
            }
            Short::Many(automaton) => automaton.find(text, &mut hit),
        }
        if let Some(automaton) = &self.beyond_ascii
            && !text.is_ascii()
        {
            automaton.find(text, &mut hit);
        }
    }

    fn find_known(&self, text: &str, hit: &mut impl FnMut(LiteralId)) {
        match self.stride {
            Stride::One => self.find_at_each::<1>(text, hit),
            Stride::Two => self.find_at_each::<2>(text, hit),
            Stride::Four => self.find_at_each::<4>(text, hit),
        }
    }

    /// Those that are known by a gram. Four places of the text are asked at once: nearly always none leads to a literal.
    fn find_at_each<const STRIDE: usize>(&self, text: &str, hit: &mut impl FnMut(LiteralId)) {
        let bytes = text.as_bytes();
        let mut begin = 0;
        while let Some(block) = bytes[begin..].first_chunk::<BLOCK_BYTES>() {
            let grams: [Gram; 4] = std::array::from_fn(|i| gram_of(&block[i * STRIDE..]));
            let found = grams.map(|gram| self.filter.may_hold(gram));
            if found != [false; 4] {
                let known = grams.into_iter().zip(found).enumerate().filter(|(_, (_, found))| *found);
                known.for_each(|(i, (gram, _))| self.look_up(text, begin + i * STRIDE, gram, hit));
            }
            begin += grams.len() * STRIDE;
        }
        for (at, gram) in grams(&bytes[begin..]).step_by(STRIDE) {
            if self.filter.may_hold(gram) {
                self.look_up(text, begin + at, gram, hit);
            }
        }
    }

    fn look_up(&self, text: &str, at: usize, gram: Gram, hit: &mut impl FnMut(LiteralId)) {
        for (id, offset) in self.by_gram.get(&gram).into_iter().flatten() {
            let literal = self.texts[*id as usize].as_bytes();
            let start = at.checked_sub(*offset as usize);
            if start.is_some_and(|start| text.as_bytes()[start..].starts_with(literal)) {
                hit(*id);
            }
        }
    }
}

/// Every four bytes of a text, and where they stand.
fn grams(bytes: &[u8]) -> impl Iterator<Item = (usize, Gram)> + '_ {
    bytes.windows(GRAM_BYTES).enumerate().map(|(at, bytes)| (at, gram_of(bytes)))
}

#[inline]
fn gram_of(bytes: &[u8]) -> Gram {
    bytes.first_chunk().map_or(0, |bytes| Gram::from_le_bytes(*bytes))
}

/// A set of grams that may hold more than was put in. It is small, so that it stays in the first cache of the processor.
#[derive(Debug, Default)]
struct Filter {
    /// A power of two of them.
    words: Box<[u64]>,
    /// What takes a hash of 32 bits to the place of a bit.
    shift: u32,
}

/// A bit of 16 is set then, or fewer.
const FILTER_BITS_OF_GRAM: usize = 16;

const FILTER_BITS_MIN: usize = 1 << 10;
const FILTER_BITS_MAX: usize = 1 << 16;

impl Filter {
    fn for_grams(grams: usize) -> Self {
        let bits = (grams * FILTER_BITS_OF_GRAM).next_power_of_two().clamp(FILTER_BITS_MIN, FILTER_BITS_MAX);
        Self { words: vec![0; bits / 64].into(), shift: 32 - bits.trailing_zeros() }
    }

    #[inline]
    fn place(&self, gram: Gram) -> usize {
        // Fibonacci hashing: the upper bits depend on all bytes.
        (gram.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }

    fn insert(&mut self, gram: Gram) {
        let place = self.place(gram);
        self.words[place / 64] |= 1 << (place % 64);
    }

    #[inline]
    fn may_hold(&self, gram: Gram) -> bool {
        let place = self.place(gram);
        self.words[place / 64] >> (place % 64) & 1 == 1
    }
}

/// An automaton over some of the literals.
#[derive(Debug)]
struct Automaton {
    /// By number of the automaton.
    ids: Vec<LiteralId>,
    search: AhoCorasick,
}

/// A DFA takes a step for each byte, the other kind several, but it takes about 256 bytes of memory for each byte of its
/// literals, and there is one for each field of each set of logsources.
const DFA_LITERAL_BYTES_MAX: usize = 32 << 10;

impl Automaton {
    fn of(literals: &[(LiteralId, &str)]) -> Self {
        let is_small = literals.iter().map(|(_, text)| text.len()).sum::<usize>() <= DFA_LITERAL_BYTES_MAX;
        let kind = if is_small { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        let mut builder = AhoCorasick::builder();
        // The prefilters look for rare bytes, which the values of events are full of: they cost more than they save.
        builder.match_kind(MatchKind::Standard).kind(Some(kind)).prefilter(false);
        let search = builder.build(literals.iter().map(|(_, text)| text));
        Self {
            ids: literals.iter().map(|(id, _)| *id).collect(),
            // It fails beyond 2^31 states; a rule set holds 64 MB of text, and at most 25 spellings of each value.
            search: search.unwrap_or_else(|e| unreachable!("the size of a rule set is capped: {e}")),
        }
    }

    fn find(&self, text: &str, hit: &mut impl FnMut(LiteralId)) {
        for found in self.search.find_overlapping_iter(text) {
            hit(self.ids[found.pattern().as_usize()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_stands_in_a_text(
            literals in prop::collection::vec("[abé]{0,3}|[abc]{4,6}|[abcé]{0,9}", 0..30),
            text in "[abcé]{0,40}",
        ) {
            let texts: Vec<&str> = literals.iter().map(String::as_str).collect();
            let mut found = BTreeSet::new();
            Literals::of(&texts).find(&text, |id| {
                found.insert(id as usize);
            });
            let expected: BTreeSet<usize> = (0..texts.len()).filter(|i| text.contains(texts[*i])).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
