//! The scan of one field: which atoms of many rules hold for a value, in one pass over its text.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use hashbrown::HashMap;

use crate::atom::{AtomId, Atoms};
use crate::pattern::Shape;
use crate::predicate::Predicate;

/// Looks for every scanned atom of a field at once.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// Folded value -> atoms that equal it.
    exact: HashMap<Box<str>, Vec<AtomId>>,
    automaton: Option<AhoCorasick>,
    /// Per literal of the automaton: what its occurrence says.
    uses: Vec<Vec<Use>>,
}

/// What an occurrence of a literal says about an atom.
#[derive(Debug, Clone, Copy)]
struct Use {
    atom: AtomId,
    check: Check,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Check {
    /// The atom holds.
    Anywhere,
    /// The atom holds if the literal begins the value.
    AtStart,
    /// The atom holds if the literal ends the value.
    AtEnd,
    /// The atom may hold: its predicate decides.
    Candidate,
}

impl Scanner {
    /// The scanner of these atoms, which are all of one field and all scanned.
    pub(crate) fn new(atoms: &Atoms, ids: &[AtomId]) -> Self {
        let mut scanner = Self::default();
        let mut literals: Vec<&str> = Vec::new();
        let mut index: HashMap<&str, usize> = HashMap::new();
        for id in ids {
            let predicate = &atoms.get(*id).predicate;
            if let Predicate::Text(pattern) = predicate
                && let (Shape::Equals(text), false) = (pattern.shape(), pattern.is_cased())
            {
                scanner.exact.entry_ref(text).or_default().push(*id);
                continue;
            }
            let check = check_of(predicate);
            for literal in atoms.required(*id) {
                let at = *index.entry(literal).or_insert_with(|| {
                    literals.push(literal);
                    scanner.uses.push(Vec::new());
                    literals.len() - 1
                });
                scanner.uses[at].push(Use { atom: *id, check });
            }
        }
        scanner.automaton = automaton(&literals);
        scanner
    }

    /// Calls `hit` with every atom that holds for a value; an atom may come twice.
    pub(crate) fn scan(&self, atoms: &Atoms, raw: &str, folded: &str, mut hit: impl FnMut(AtomId)) {
        if let Some(ids) = self.exact.get(folded) {
            ids.iter().for_each(|id| hit(*id));
        }
        let Some(automaton) = &self.automaton else { return };
        let mut asked: Vec<AtomId> = Vec::new();
        for found in automaton.find_overlapping_iter(folded) {
            for Use { atom, check } in &self.uses[found.pattern().as_usize()] {
                let holds = match check {
                    Check::Anywhere => true,
                    Check::AtStart => found.start() == 0,
                    Check::AtEnd => found.end() == folded.len(),
                    Check::Candidate => {
                        let first = !asked.contains(atom);
                        if first {
                            asked.push(*atom);
                        }
                        first && atoms.get(*atom).predicate.matches_value(raw, folded)
                    }
                };
                if holds {
                    hit(*atom);
                }
            }
        }
    }
}

fn check_of(predicate: &Predicate) -> Check {
    match predicate {
        Predicate::Text(pattern) if !pattern.is_cased() => match pattern.shape() {
            Shape::Contains(_) => Check::Anywhere,
            Shape::Prefix(_) => Check::AtStart,
            Shape::Suffix(_) => Check::AtEnd,
            Shape::Equals(_) | Shape::General => Check::Candidate,
        },
        _ => Check::Candidate,
    }
}

/// A DFA takes a step for each byte, the other kind several, but it takes about 256 bytes of memory for each byte of its
/// literals, and there is one for each field of each set of logsources.
const DFA_LITERAL_BYTES_MAX: usize = 32 << 10;

fn automaton(literals: &[&str]) -> Option<AhoCorasick> {
    if literals.is_empty() {
        return None;
    }
    let mut builder = AhoCorasick::builder();
    let is_small = literals.iter().map(|literal| literal.len()).sum::<usize>() <= DFA_LITERAL_BYTES_MAX;
    let kind = if is_small { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
    // The prefilters look for rare bytes, which the values of events are full of: they cost more than they save.
    builder.match_kind(MatchKind::Standard).kind(Some(kind)).prefilter(false);
    // It fails beyond 2^31 states; a rule set holds 64 MB of text, and at most 25 spellings of each value.
    Some(builder.build(literals).unwrap_or_else(|e| unreachable!("the size of a rule set is capped: {e}")))
}
