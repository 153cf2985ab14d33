//! The members of a record by number. Sources repeat the order of their members, so one comparison mostly finds a
//! name: with the one that followed its predecessor last time.

use hashbrown::HashMap;
use simd_json::Node;

use super::json::Json;

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
    name: Box<str>,
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
    members: Vec<Member>,
}

impl Names {
    /// Numbers the members at the top of a record.
    pub(crate) fn read(&mut self, tape: &[Node<'_>]) {
        self.members.clear();
        let mut last = None;
        for (key, value) in Json::Tape(tape, 0).entries() {
            let Json::Tape(_, at) = value else { continue };
            let name = self.after(last, key);
            self.members.push(Member { name, at });
            last = name;
        }
    }

    /// The members of the record that was read last, in the order of the document.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The number of the name that follows `last`.
    #[inline]
    fn after(&mut self, last: Option<NameId>, name: &str) -> Option<NameId> {
        let guess = match last {
            Some(last) => self.known[usize::from(last)].next,
            None => self.first,
        };
        match guess {
            Some(id) if *self.known[usize::from(id)].name == *name => guess,
            _ => self.find(last, name),
        }
    }

    fn find(&mut self, last: Option<NameId>, name: &str) -> Option<NameId> {
        let id = match self.ids.get(name) {
            Some(id) => *id,
            None if self.known.len() < NAMES_MAX => {
                let id = self.known.len() as NameId;
                self.ids.insert(name.into(), id);
                self.known.push(Known { name: name.into(), next: None });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(names: &mut Names, text: &str) -> Vec<Option<NameId>> {
        let mut bytes = text.as_bytes().to_vec();
        let tape = simd_json::to_tape(&mut bytes).unwrap();
        names.read(&tape.0);
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
    fn names_beyond_the_limit_have_no_number() {
        let mut names = Names::default();
        for i in 0..NAMES_MAX {
            numbers(&mut names, &format!(r#"{{"n{i}":1}}"#));
        }
        assert_eq!(numbers(&mut names, r#"{"n1":1,"new":1,"n2":1}"#), [Some(1), None, Some(2)]);
    }
}
