//! The scan of one field: which atoms of many rules hold for a value, in one pass over its text.

use hashbrown::HashMap;

use crate::atom::{AtomId, Atoms};
use crate::column::Value;
use crate::literals::{LiteralId, Literals};
use crate::pattern::Shape;
use crate::predicate::Predicate;

/// Looks for every scanned atom of a field at once.
#[derive(Debug)]
pub(crate) struct Scanner {
    /// Folded value -> atoms that equal it.
    exact: HashMap<Box<str>, Vec<AtomId>>,
    /// Bytes of the longest of them: longer values need no look at them.
    exact_bytes_max: usize,
    begins: Edge,
    ends: Edge,
    literals: Literals,
    /// By literal: what its occurrence says.
    uses: Vec<Vec<Use>>,
}

/// What an occurrence of a literal says about an atom.
#[derive(Debug, Clone, Copy)]
enum Use {
    /// The atom holds.
    Holds(AtomId),
    /// The atom may hold: its predicate decides.
    Asks(AtomId),
}

impl Scanner {
    /// The scanner of these atoms, which are all of one field and all scanned.
    pub(crate) fn new(atoms: &Atoms, ids: &[AtomId]) -> Self {
        let mut scanner = Self {
            exact: HashMap::new(),
            exact_bytes_max: 0,
            begins: Edge::new(Side::Begin),
            ends: Edge::new(Side::End),
            literals: Literals::default(),
            uses: Vec::new(),
        };
        let mut literals: Vec<&str> = Vec::new();
        let mut index: HashMap<&str, usize> = HashMap::new();
        for id in ids {
            let predicate = &atoms.get(*id).predicate;
            let found = match shape_of(predicate) {
                Shape::Equals(text) => {
                    scanner.exact.entry_ref(text).or_default().push(*id);
                    scanner.exact_bytes_max = scanner.exact_bytes_max.max(text.len());
                    continue;
                }
                Shape::Prefix(text) => {
                    scanner.begins.insert(text, *id);
                    continue;
                }
                Shape::Suffix(text) => {
                    scanner.ends.insert(text, *id);
                    continue;
                }
                Shape::Contains(_) => Use::Holds(*id),
                Shape::General => Use::Asks(*id),
            };
            for literal in atoms.required(*id) {
                let at = *index.entry(literal).or_insert_with(|| {
                    literals.push(literal);
                    scanner.uses.push(Vec::new());
                    literals.len() - 1
                });
                scanner.uses[at].push(found);
            }
        }
        scanner.literals = Literals::of(&literals);
        scanner
    }

    /// The atoms that hold for a value, each once.
    pub(crate) fn scan(&self, atoms: &Atoms, value: &Value<'_>, holding: &mut Holding) {
        let folded = value.folded;
        let Holding { atoms: hits, asked } = holding;
        hits.clear();
        asked.clear();
        if folded.len() <= self.exact_bytes_max
            && let Some(ids) = self.exact.get(folded)
        {
            hits.extend(ids);
        }
        self.begins.find(folded, hits);
        self.ends.find(folded, hits);
        let mut last = None;
        self.literals.find(folded, |literal| {
            // Repetitions come together; those that do not are sorted out below.
            if last.replace(literal) != Some(literal) {
                self.used(literal, hits, asked);
            }
        });
        asked.sort_unstable();
        asked.dedup();
        hits.extend(asked.iter().filter(|atom| atoms.get(**atom).predicate.matches_value(value)));
        hits.sort_unstable();
        hits.dedup();
    }

    fn used(&self, literal: LiteralId, hits: &mut Vec<AtomId>, asked: &mut Vec<AtomId>) {
        for found in &self.uses[literal as usize] {
            match found {
                Use::Holds(atom) => hits.push(*atom),
                Use::Asks(atom) => asked.push(*atom),
            }
        }
    }
}

/// What a scan finds. Reused from value to value.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// The atoms that hold, ascending.
    pub(crate) atoms: Vec<AtomId>,
    asked: Vec<AtomId>,
}

/// A pattern that is case-sensitive, and what is no pattern, is general here.
fn shape_of(predicate: &Predicate) -> Shape<'_> {
    match predicate {
        Predicate::Text(pattern) if !pattern.is_cased() => pattern.shape(),
        _ => Shape::General,
    }
}

/// Where in a value a text stands.
#[derive(Debug, Clone, Copy)]
enum Side {
    Begin,
    End,
}

type ByBytes = HashMap<u64, Vec<(Box<str>, AtomId)>, foldhash::fast::FixedState>;

/// Texts that values begin with, or that they end with.
#[derive(Debug)]
struct Edge {
    side: Side,
    /// By the number of bytes that texts are known by: what is known by these bytes.
    by_length: Vec<(usize, ByBytes)>,
}

impl Edge {
    fn new(side: Side) -> Self {
        Self { side, by_length: Vec::new() }
    }

    /// The outermost bytes of a text; `None` where it has fewer.
    fn outermost(&self, text: &str, bytes: usize) -> Option<u64> {
        let text = text.as_bytes();
        let outermost = match self.side {
            Side::Begin => text.get(..bytes),
            Side::End => text.get(text.len().checked_sub(bytes)?..),
        };
        let mut number = [0; size_of::<u64>()];
        number[..bytes].copy_from_slice(outermost?);
        Some(u64::from_le_bytes(number))
    }

    fn insert(&mut self, text: &str, atom: AtomId) {
        let bytes = text.len().min(size_of::<u64>());
        let Some(outermost) = self.outermost(text, bytes) else { return };
        let place = self.by_length.iter().position(|(known, _)| *known == bytes).unwrap_or_else(|| {
            self.by_length.push((bytes, ByBytes::default()));
            self.by_length.len() - 1
        });
        self.by_length[place].1.entry(outermost).or_default().push((text.into(), atom));
    }

    /// Adds the atoms whose text stands at this side of a value.
    fn find(&self, value: &str, hits: &mut Vec<AtomId>) {
        for (bytes, known) in &self.by_length {
            let Some(outermost) = self.outermost(value, *bytes) else { continue };
            for (text, atom) in known.get(&outermost).into_iter().flatten() {
                let stands = match self.side {
                    Side::Begin => value.starts_with(&**text),
                    Side::End => value.ends_with(&**text),
                };
                if stands {
                    hits.push(*atom);
                }
            }
        }
    }
}
