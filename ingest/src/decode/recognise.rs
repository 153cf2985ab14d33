//! Which shape a record has: one walk notes which of all shapes' paths it has, then the shapes are tried by priority.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::slots::{Slots, Values};
use super::tape::Tape;
use super::trie::Trie;
use super::when;
use crate::mapping::{FieldId, Path, SourceKind};

/// A shape of a source kind, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShapeRef {
    pub(crate) kind: usize,
    pub(crate) shape: usize,
}

/// One bit a condition path.
type Bits = SmallVec<[u64; 8]>;

#[derive(Debug)]
struct Check {
    shape: ShapeRef,
    has: Bits,
    any: Bits,
    lacks: Bits,
    equals: Vec<(FieldId, Vec<String>)>,
}

/// Recognises records of every loaded source kind.
#[derive(Debug)]
pub(crate) struct Recogniser {
    trie: Trie,
    conditions: usize,
    /// By priority, then by name of the source kind, then in order of the file.
    checks: Vec<Check>,
    slots: Slots,
    bits: Bits,
    /// Checks whose presence conditions hold for a set of present paths. Sources repeat a few sets.
    seen: HashMap<Bits, SmallVec<[u16; 4]>, foldhash::fast::FixedState>,
}

/// Hostile input could bring a new set of paths with every record.
const SEEN_MAX: usize = 4_096;

impl Recogniser {
    pub(crate) fn new(kinds: &[Arc<SourceKind>]) -> Self {
        let mut paths = Paths { trie: Trie::new(), ids: HashMap::new() };
        let mut shapes: Vec<(i64, ShapeRef)> = Vec::new();
        for (kind, source) in kinds.iter().enumerate() {
            for (shape, known) in source.shapes.iter().enumerate() {
                shapes.push((-known.priority, ShapeRef { kind, shape }));
                let r = &known.recognise;
                let equals = r.equals.iter().map(|(path, _)| path);
                r.has.iter().chain(&r.any).chain(&r.lacks).chain(equals).for_each(|path| paths.add(path));
            }
        }
        // A stable sort keeps the order of kinds and shapes within a priority.
        shapes.sort_by_key(|(priority, _)| *priority);
        let words = paths.ids.len().div_ceil(64);
        let check = |shape: ShapeRef| {
            let r = &kinds[shape.kind].shapes[shape.shape].recognise;
            Check {
                shape,
                has: paths.bits(&r.has, words),
                any: paths.bits(&r.any, words),
                lacks: paths.bits(&r.lacks, words),
                equals: r.equals.iter().map(|(path, texts)| (paths.id(path), texts.clone())).collect(),
            }
        };
        let checks = shapes.iter().map(|(_, shape)| check(*shape)).collect();
        let conditions = paths.ids.len();
        let bits = Bits::from_elem(0, words);
        Self { trie: paths.trie, conditions, checks, slots: Slots::default(), bits, seen: HashMap::default() }
    }

    /// The shape of the record whose tape this is; `kind` limits the choice to one source kind.
    pub(crate) fn shape(&mut self, tape: &Tape<'_>, kind: Option<usize>) -> Option<ShapeRef> {
        self.slots.reset(self.conditions);
        self.trie.walk(tape, 0, &mut self.slots);
        self.bits.fill(0);
        for id in self.slots.present() {
            self.bits[usize::from(*id) / 64] |= 1 << (id % 64);
        }
        if self.seen.len() > SEEN_MAX {
            self.seen.clear();
        }
        let (bits, checks) = (&self.bits, &self.checks);
        let candidates = match self.seen.get(bits) {
            Some(candidates) => candidates,
            None => {
                let holding = (0..).zip(checks).filter(|(_, c)| c.may_hold(bits)).map(|(i, _)| i);
                self.seen.entry(bits.clone()).or_insert(holding.collect())
            }
        };
        let values = Values { slots: &self.slots, tape, constants: &[] };
        let holds = |check: &&Check| kind.is_none_or(|k| check.shape.kind == k) && check.equals_hold(&values);
        candidates.iter().map(|i| &checks[usize::from(*i)]).find(holds).map(|check| check.shape)
    }
}

impl Check {
    fn may_hold(&self, bits: &Bits) -> bool {
        let mut any = self.any.iter().all(|word| *word == 0);
        for (i, word) in bits.iter().enumerate() {
            if word & self.has[i] != self.has[i] || word & self.lacks[i] != 0 {
                return false;
            }
            any |= word & self.any[i] != 0;
        }
        any
    }

    fn equals_hold(&self, values: &Values<'_>) -> bool {
        let mut scratch = String::new();
        self.equals.iter().all(|(id, texts)| {
            scratch.clear();
            let text = values.get(*id).and_then(|json| json.scalar(&mut scratch));
            text.is_some_and(|text| texts.iter().any(|wanted| when::equals(text, wanted)))
        })
    }
}

struct Paths {
    trie: Trie,
    ids: HashMap<Path, FieldId>,
}

impl Paths {
    fn add(&mut self, path: &Path) {
        if self.ids.contains_key(path) {
            return;
        }
        let id = self.ids.len() as FieldId;
        self.ids.insert(path.clone(), id);
        let text = path.steps.join(".");
        for (rank, reading) in (0..).zip(Path::readings(&text)) {
            let node = self.trie.node(reading.steps.iter().map(AsRef::as_ref));
            self.trie.add_field(node, id, rank);
        }
    }

    fn id(&self, path: &Path) -> FieldId {
        self.ids.get(path).copied().unwrap_or_default()
    }

    fn bits(&self, paths: &[Path], words: usize) -> Bits {
        let mut bits = Bits::from_elem(0, words);
        for path in paths {
            let id = self.id(path);
            bits[usize::from(id) / 64] |= 1 << (id % 64);
        }
        bits
    }
}
