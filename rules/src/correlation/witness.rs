//! Events that take part in correlations: what leads back to them. Windows of a day hold many of them, of which few
//! come to be part of an alert: what is told of them lies on pages, one for the events of a batch, which are beside the
//! memory where there is a [`Shelf`].

use std::fmt::{self, Write};
use std::sync::Arc;

use event::{Class, Domain, Entity, EntityType, Kept, RecordRef, Role, Shelf};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use smallvec::SmallVec;

use super::observation::{hash_of, hash_of_bytes};

/// An event that takes part in a correlation.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    /// 64 bits of the hash of its id.
    hash: u64,
    /// 64 bits of the hash of its id and records.
    content: u64,
    page: Kept,
    /// Where its [`Account`] is on the page.
    at: u32,
    len: u32,
}

/// Enough to lead back to an event, and to say whom it concerns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) uid: Box<str>,
    /// One record, or those of an inner correlation.
    pub(crate) records: SmallVec<[RecordRef; 1]>,
    pub(crate) entities: PackedEntities,
    pub(crate) domain: Domain,
    pub(crate) product: Arc<str>,
    pub(crate) source: Arc<str>,
    pub(crate) class: Class,
}

impl Account {
    /// The hash of the id, and that of the id and records.
    fn hashes(&self) -> (u64, u64) {
        let hash = hash_of(&[&self.uid]);
        let mut bytes = SmallVec::<[u8; 128]>::from_slice(&hash.to_le_bytes());
        for record in &self.records {
            bytes.extend_from_slice(record.topic.as_bytes());
            bytes.extend_from_slice(&record.partition.to_le_bytes());
            bytes.extend_from_slice(&record.offset.to_le_bytes());
        }
        (hash, hash_of_bytes(&bytes))
    }
}

impl Witness {
    /// A witness on a page of its own.
    pub(crate) fn alone(account: &Account) -> Self {
        let mut draft = Draft::default();
        let mut witness = draft.write(account);
        witness.put_on(&draft.page());
        witness
    }

    /// Gives it the page that it was written for.
    pub(crate) fn put_on(&mut self, page: &Kept) {
        self.page = page.clone();
    }

    /// Equal for the same event, whatever record it came in.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Equal for the same event from the same records.
    pub(crate) const fn content(&self) -> u64 {
        self.content
    }

    /// Which page it is on, and where.
    pub(crate) fn place(&self) -> (usize, u32) {
        (self.page.address(), self.at)
    }

    /// What it says.
    pub(crate) fn account(&self) -> Account {
        let bytes = self.page.part(self.at as usize, self.len as usize);
        match postcard::from_bytes(&bytes) {
            Ok(account) => account,
            // They were made here of such an account.
            Err(error) => unreachable!("bytes of an account are one: {error}"),
        }
    }
}

/// Accounts on their way to a page.
#[derive(Debug)]
pub(crate) struct Draft {
    bytes: Vec<u8>,
    /// Stands for the page until there is one.
    blank: Kept,
}

impl Default for Draft {
    fn default() -> Self {
        Self { bytes: Vec::new(), blank: Shelf::in_memory().keep(Vec::new()) }
    }
}

impl Draft {
    /// A witness that is on a page once it is given what [`Draft::page`] returns.
    pub(crate) fn write(&mut self, account: &Account) -> Witness {
        let (hash, content) = account.hashes();
        let at = self.bytes.len();
        match postcard::to_extend(account, std::mem::take(&mut self.bytes)) {
            Ok(bytes) => self.bytes = bytes,
            // Memory takes all that is written, and an account refuses nothing.
            Err(error) => unreachable!("an account is writable: {error}"),
        }
        let len = self.bytes.len() - at;
        Witness { hash, content, page: self.blank.clone(), at: at as u32, len: len as u32 }
    }

    /// The page of all that was written.
    pub(crate) fn page(&mut self) -> Kept {
        Shelf::in_memory().keep(std::mem::take(&mut self.bytes))
    }
}

/// Puts the pages of witnesses on a shelf, each once: those of one page follow each other.
pub(crate) fn shelve<'a>(witnesses: impl Iterator<Item = &'a mut Witness>, shelf: &Shelf) {
    let mut last: Option<(Kept, Kept)> = None;
    for witness in witnesses {
        let page = match &last {
            Some((page, shelved)) if page.address() == witness.page.address() => shelved,
            _ => {
                let mut shelved = witness.page.clone();
                shelved.shelve(shelf);
                &last.insert((witness.page.clone(), shelved)).1
            }
        };
        witness.page = page.clone();
    }
}

/// The witnesses of a page, as they are written: their accounts, one after the other.
pub(crate) struct Pile(pub(crate) Vec<Witness>);

impl<'de> Deserialize<'de> for Pile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Accounts)
    }
}

struct Accounts;

impl<'de> Visitor<'de> for Accounts {
    type Value = Pile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("accounts of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut accounts: A) -> Result<Pile, A::Error> {
        let (mut draft, mut witnesses) = (Draft::default(), Vec::new());
        while let Some(account) = accounts.next_element::<Account>()? {
            witnesses.push(draft.write(&account));
        }
        let page = draft.page();
        witnesses.iter_mut().for_each(|witness| witness.put_on(&page));
        Ok(Pile(witnesses))
    }
}

/// Entities in one text: witnesses are many, and few of them come to be part of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Box<str>")]
pub(crate) struct PackedEntities(Box<str>);

/// A text that is not all entities is refused: those behind the damage would be lost.
impl TryFrom<Box<str>> for PackedEntities {
    type Error = &'static str;

    fn try_from(packed: Box<str>) -> Result<Self, Self::Error> {
        let mut rest = &*packed;
        while !rest.is_empty() {
            (_, rest) = unpack(rest).ok_or("entities that cannot be read")?;
        }
        Ok(Self(packed))
    }
}

impl PackedEntities {
    pub(crate) fn of(entities: &[Entity]) -> Self {
        let mut packed = String::new();
        for Entity { entity_type, role, value } in entities {
            packed.push(letter(*entity_type as u8));
            packed.push(letter(*role as u8));
            // Writing to a text cannot fail.
            _ = write!(packed, "{}:{value}", value.len());
        }
        Self(packed.into())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Entity> + '_ {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (entity, left) = unpack(rest)?;
            rest = left;
            Some(entity)
        })
    }
}

/// The first entity of a packed text, and what follows it.
fn unpack(packed: &str) -> Option<(Entity, &str)> {
    let (head, rest) = packed.split_once(':')?;
    let (letters, len) = head.split_at_checked(2)?;
    let &[entity_type, role] = letters.as_bytes() else { return None };
    let (value, rest) = rest.split_at_checked(len.parse().ok()?)?;
    let entity_type = *EntityType::ALL.get(usize::from(entity_type.checked_sub(LETTER)?))?;
    let role = *Role::ALL.get(usize::from(role.checked_sub(LETTER)?))?;
    Some((Entity { entity_type, role, value: value.into() }, rest))
}

const LETTER: u8 = b'A';

const fn letter(place: u8) -> char {
    (LETTER + place) as char
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(n: usize) -> Account {
        Account {
            uid: format!("event {n}").into(),
            records: SmallVec::from_iter([RecordRef { topic: "t".into(), partition: 0, offset: n as i64 }]),
            entities: PackedEntities::of(&[]),
            domain: Domain::Identity,
            product: "p".into(),
            source: "s".into(),
            class: Class::AUTHENTICATION,
        }
    }

    #[test]
    fn witnesses_of_a_page_say_what_was_written() {
        let mut draft = Draft::default();
        let mut witnesses: Vec<Witness> = (0..100).map(|n| draft.write(&account(n))).collect();
        let page = draft.page();
        witnesses.iter_mut().for_each(|witness| witness.put_on(&page));
        let shelf = Shelf::on(std::sync::Mutex::new(Vec::new()));
        shelve(witnesses.iter_mut(), &shelf);
        assert!(shelf.used() > 0);
        for (n, witness) in witnesses.iter().enumerate() {
            let alone = Witness::alone(&account(n));
            assert_eq!((witness.hash(), witness.content()), (alone.hash(), alone.content()));
            assert_eq!((witness.account(), alone.account()), (account(n), account(n)));
        }
    }

    #[test]
    fn packed_entities_come_back() {
        let entities: Vec<Entity> = EntityType::ALL
            .iter()
            .zip(Role::ALL.iter().rev())
            .zip(["", "a", "12:x", "contoso\\älice", ":", "AA3:"].into_iter().cycle())
            .map(|((entity_type, role), value)| Entity {
                entity_type: *entity_type,
                role: *role,
                value: value.into(),
            })
            .collect();
        let packed = PackedEntities::of(&entities);
        assert_eq!(packed.iter().collect::<Vec<_>>(), entities);
        assert_eq!(PackedEntities::try_from(packed.0.clone()), Ok(packed));
        for damaged in ["A", "AA", "AA5:abc", "zA1:x", "AA1:ä", "A\u{e4}1:x"] {
            assert!(PackedEntities::try_from(Box::from(damaged)).is_err(), "{damaged}");
        }
    }
}
