//! The members of a record by number. Sources repeat the order of their members, so one comparison mostly finds a
//! name: with the one that followed its predecessor last time.

use hashbrown::HashMap;

/// Number of a member name, the same in all records.
pub(crate) type NameId = u16;

/// Hostile input could bring new names with every record; the later ones get no number and are looked up as text.
const NAMES_MAX: usize = 4_096;

/// A member of the record at hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Its name, where it has a number.
    pub(crate) name: Option<NameId>,
    /// Index of its value on the tape; the name stands before it.
    pub(crate) at: usize,
}

#[derive(Debug)]
struct Known {
    /// As records write it, between quotes and with the colon; `None` where they must write it with escapes.
    written: Option<Box<str>>,
    /// What followed this name last time.
    next: Option<NameId>,
}

/// Every member name seen at the top of a record, and the members of the record at hand.
#[derive(Debug, Default)]
pub(crate) struct Names {
    ids: HashMap<Box<str>, NameId, foldhash::fast::FixedState>,
    known: Vec<Known>,
    /// What the last record began with.
    first: Option<NameId>,
    /// The name of the last member.
    last: Option<NameId>,
    members: Vec<Member>,
}

impl Names {
    /// A record begins.
    pub(crate) fn begin(&mut self) {
        self.members.clear();
        self.last = None;
    }

    /// The members of the record that was read last, in the order of the document.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether `rest` begins with the name that is expected next, and the colon: then the length of both. The value will
    /// be at `at` of the tape.
    #[inline]
    pub(crate) fn expected(&mut self, rest: &[u8], at: usize) -> Option<usize> {
        let guess = match self.last {
            Some(last) => self.known[usize::from(last)].next,
            None => self.first,
        };
        let written = self.known[usize::from(guess?)].written.as_deref()?.as_bytes();
        let bytes = written.len();
        if !is_same(rest.get(..bytes)?, written) {
            return None;
        }
        self.members.push(Member { name: guess, at });
        self.last = guess;
        Some(bytes)
    }

    /// Another name stands there.
    pub(crate) fn found(&mut self, name: &str, at: usize) {
        let id = self.find(self.last, name);
        self.members.push(Member { name: id, at });
        self.last = id;
    }

    fn find(&mut self, last: Option<NameId>, name: &str) -> Option<NameId> {
        let id = match self.ids.get(name) {
            Some(id) => *id,
            None if self.known.len() < NAMES_MAX => {
                let id = self.known.len() as NameId;
                self.ids.insert(name.into(), id);
                self.known.push(Known { written: written(name), next: None });
                id
            }
            None => return None,
        };
        match last {
            Some(last) => self.known[usize::from(last)].next = Some(id),
            None => self.first = Some(id),
        }
        Some(id)
    }
}

/// Whether two texts of one length are the same: names are so short that a call to compare them costs more than that.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    match a.len() {
        8..=16 => a.first_chunk::<8>() == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk(),
        17..=32 => a.first_chunk::<16>() == b.first_chunk() && a.last_chunk::<16>() == b.last_chunk(),
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
    use super::super::tape::Tape;
    use super::*;

    fn numbers(names: &mut Names, text: &str) -> Vec<Option<NameId>> {
        let mut tape = Tape { record: text, ..Tape::default() };
        scan(&mut tape, names, 64).unwrap();
        names.members().iter().map(|member| member.name).collect()
    }

    #[test]
    fn a_name_has_one_number_wherever_it_stands() {
        let mut names = Names::default();
        let known = |ids: &[NameId]| ids.iter().map(|id| Some(*id)).collect::<Vec<_>>();
        assert_eq!(numbers(&mut names, r#"{"a":1,"b":{"x":1},"c":[2]}"#), known(&[0, 1, 2]));
        assert_eq!(numbers(&mut names, r#"{"a":1,"b":{"x":1},"c":[2]}"#), known(&[0, 1, 2]));
        assert_eq!(numbers(&mut names, r#"{"c":1,"b":1,"":1,"a":1,"a":1}"#), known(&[2, 1, 3, 0, 0]));
        assert_eq!(numbers(&mut names, "{}"), known(&[]));
    }

    #[test]
    fn names_of_any_length_are_told_apart() {
        for length in 0..40 {
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
        assert_eq!(numbers(&mut names, r#"{"a\"b":1,"c":1}"#), [Some(0), Some(1)]);
        assert_eq!(numbers(&mut names, r#"{"a\"b":1,"c":1}"#), [Some(0), Some(1)]);
        let mut tape = Tape { record: r#"{"a"b":1}"#, ..Tape::default() };
        assert!(scan(&mut tape, &mut names, 64).is_err());
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
