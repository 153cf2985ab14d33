//! The names of members by number. Sources repeat the order of their members, so one comparison mostly finds a name:
//! with the one that followed its predecessor last time.

use hashbrown::HashMap;

/// Number of a member name, the same in all records.
pub(crate) type NameId = u16;

/// Hostile input could bring new names with every record; the later ones get no number and are looked up as text.
const NAMES_MAX: usize = 4_096;

#[derive(Debug)]
struct Known {
    /// As records write it, between quotes and with the colon; `None` where they must write it with escapes.
    written: Option<Box<str>>,
    /// What followed this name last time.
    next: Option<NameId>,
}

/// Every name of a member seen so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    ids: HashMap<Box<str>, NameId, foldhash::fast::FixedState>,
    known: Vec<Known>,
    /// What the last record began with.
    first: Option<NameId>,
    /// The name before, in the order of the document.
    last: Option<NameId>,
}

impl Names {
    /// A record begins.
    pub(crate) fn begin(&mut self) {
        self.last = None;
    }

    /// Whether `rest` begins with the name that is expected next, and the colon: then its number and the length of both.
    #[inline]
    pub(crate) fn expected(&mut self, rest: &[u8]) -> Option<(NameId, usize)> {
        let guess = match self.last {
            Some(last) => self.known[usize::from(last)].next?,
            None => self.first?,
        };
        let written = self.known[usize::from(guess)].written.as_deref()?.as_bytes();
        if !is_same(rest.get(..written.len())?, written) {
            return None;
        }
        self.last = Some(guess);
        Some((guess, written.len()))
    }

    /// The number of another name that stands there.
    pub(crate) fn find(&mut self, name: &str) -> Option<NameId> {
        let id = match self.ids.get(name) {
            Some(id) => Some(*id),
            None if self.known.len() < NAMES_MAX => {
                let id = self.known.len() as NameId;
                self.ids.insert(name.into(), id);
                self.known.push(Known { written: written(name), next: None });
                Some(id)
            }
            None => None,
        };
        match self.last {
            _ if id.is_none() => {}
            Some(last) => self.known[usize::from(last)].next = id,
            None => self.first = id,
        }
        self.last = id;
        id
    }
}

/// Whether two texts of one length are the same: names are so short that a call to compare them costs more than that.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    match a.len() {
        4..=7 => a.first_chunk::<4>() == b.first_chunk() && a.last_chunk::<4>() == b.last_chunk(),
        8..=16 => a.first_chunk::<8>() == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk(),
        17..=32 => a.first_chunk::<16>() == b.first_chunk() && a.last_chunk::<16>() == b.last_chunk(),
        33..=64 => a.first_chunk::<32>() == b.first_chunk() && a.last_chunk::<32>() == b.last_chunk(),
        _ => a == b,
    }
}

fn written(name: &str) -> Option<Box<str>> {
    let is_plain = !name.bytes().any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    is_plain.then(|| format!("\"{name}\":").into())
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan;
    use super::super::tape::{Node, Tape};
    use super::*;

    /// Of the names of a record in the order of the document; `None` where one has no number.
    fn numbers(names: &mut Names, text: &str) -> Vec<Option<NameId>> {
        let mut tape = Tape { record: text, ..Tape::default() };
        scan(&mut tape, names, &mut Vec::new(), 64).unwrap();
        let number = |node: &Node| match node {
            Node::Name(_, id) => Some(Some(*id)),
            Node::Text(_) | Node::Resolved(_) => Some(None),
            _ => None,
        };
        tape.nodes.iter().filter_map(number).collect()
    }

    #[test]
    fn a_name_has_one_number_wherever_it_stands() {
        let mut names = Names::default();
        let known = |ids: &[NameId]| ids.iter().map(|id| Some(*id)).collect::<Vec<_>>();
        for _ in 0..2 {
            assert_eq!(numbers(&mut names, r#"{"a":1,"b":{"x":1},"c":[2]}"#), known(&[0, 1, 2, 3]));
        }
        assert_eq!(
            numbers(&mut names, r#"{"c":1,"b":{"x":1,"a":1},"":1,"a":1}"#),
            known(&[3, 1, 2, 0, 4, 0])
        );
        assert_eq!(numbers(&mut names, r#"{"c" : 1, "b":[{"x":1},{"x":1}]}"#), known(&[3, 1, 2, 2]));
        assert_eq!(numbers(&mut names, "{}"), known(&[]));
    }

    #[test]
    fn names_of_any_length_are_told_apart() {
        for length in 0..70 {
            let name = "n".repeat(length);
            assert!(is_same(name.as_bytes(), name.as_bytes()));
            for place in 0..length {
                let mut other = name.clone().into_bytes();
                other[place] = b'x';
                assert!(!is_same(name.as_bytes(), &other), "{length} {place}");
            }
        }
    }

    #[test]
    fn a_name_with_escapes_is_never_taken_for_what_is_no_name() {
        let mut names = Names::default();
        for _ in 0..2 {
            assert_eq!(numbers(&mut names, r#"{"a\"b":1,"c":1}"#), [None, Some(1)]);
        }
        let mut tape = Tape { record: r#"{"a"b":1}"#, ..Tape::default() };
        assert!(scan(&mut tape, &mut names, &mut Vec::new(), 64).is_err());
    }

    #[test]
    fn names_beyond_the_limit_have_no_number() {
        let mut names = Names::default();
        for i in 0..NAMES_MAX {
            numbers(&mut names, &format!(r#"{{"n{i}":1}}"#));
        }
        assert_eq!(numbers(&mut names, r#"{"n1":1,"new":1,"n2":1}"#), [Some(1), None, Some(2)]);
    }
}
