//! Events that take part in correlations: what leads back to them. Windows of a day hold many of them, of which few
//! come to be part of an alert: those that have waited for an hour are pages of compressed bytes.

use std::fmt::Write;
use std::sync::Arc;

use event::{Class, Domain, Entity, EntityType, Packed, RecordRef, Role};
use hashbrown::HashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::observation::{hash_of, hash_of_bytes};

/// An event that takes part in a correlation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    /// 64 bits of the hash of its id.
    hash: u64,
    /// 64 bits of the hash of its id and records.
    content: u64,
    account: Account,
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

impl Witness {
    pub(crate) fn new(account: Account) -> Self {
        let hash = hash_of(&[&account.uid]);
        let mut bytes = SmallVec::<[u8; 128]>::from_slice(&hash.to_le_bytes());
        for record in &account.records {
            bytes.extend_from_slice(record.topic.as_bytes());
            bytes.extend_from_slice(&record.partition.to_le_bytes());
            bytes.extend_from_slice(&record.offset.to_le_bytes());
        }
        Self { hash, content: hash_of_bytes(&bytes), account }
    }
}

/// The hashes follow from the rest.
impl Serialize for Witness {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.account.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Witness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Account::deserialize(deserializer).map(Self::new)
    }
}

/// A witness, or where it waits.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    Warm(Arc<Witness>),
    /// The page, and the place on it.
    Cold(Arc<Page>, u32),
}

impl Seen {
    /// Equal for the same event, whatever record it came in.
    pub(crate) fn hash(&self) -> u64 {
        match self {
            Self::Warm(witness) => witness.hash,
            Self::Cold(page, at) => page.hashes[*at as usize].0,
        }
    }

    /// Equal for the same event from the same records.
    pub(crate) fn content(&self) -> u64 {
        match self {
            Self::Warm(witness) => witness.content,
            Self::Cold(page, at) => page.hashes[*at as usize].1,
        }
    }
}

/// Witnesses as compressed bytes.
#[derive(Debug)]
pub(crate) struct Page {
    /// [`Seen::hash`] and [`Seen::content`] of each.
    hashes: Box<[(u64, u64)]>,
    packed: Packed<Vec<Arc<Witness>>>,
}

impl Page {
    fn new(packed: Packed<Vec<Arc<Witness>>>, witnesses: &[Arc<Witness>]) -> Self {
        Self { hashes: witnesses.iter().map(|w| (w.hash, w.content)).collect(), packed }
    }

    /// The witness at a place of a page, if the page is so long.
    pub(crate) fn seen(page: &Arc<Self>, at: u32) -> Option<Seen> {
        (page.hashes.len() > at as usize).then(|| Seen::Cold(Arc::clone(page), at))
    }
}

impl Serialize for Page {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.packed.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Page {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = Packed::deserialize(deserializer)?;
        let witnesses: Vec<Arc<Witness>> = packed.unpack();
        Ok(Self::new(packed, &witnesses))
    }
}

/// Reads what witnesses say. Those of one window lie on few pages, one after the other.
#[derive(Default)]
pub(crate) struct Reader {
    page: Option<(Arc<Page>, Vec<Arc<Witness>>)>,
}

impl Reader {
    pub(crate) fn read<'a>(&'a mut self, seen: &'a Seen) -> &'a Account {
        let (page, at) = match seen {
            Seen::Warm(witness) => return &witness.account,
            Seen::Cold(page, at) => (page, *at as usize),
        };
        let open = self.page.take().filter(|(open, _)| Arc::ptr_eq(open, page));
        let (_, witnesses) =
            self.page.insert(open.unwrap_or_else(|| (Arc::clone(page), page.packed.unpack())));
        &witnesses[at].account
    }
}

/// Witnesses of a page: reading one costs that of all.
pub(crate) const PAGE: usize = if cfg!(test) { 4 } else { 128 };

/// Makes pages of witnesses that several groups may hold.
#[derive(Default)]
pub(crate) struct Cooler {
    /// By address: each is held here until it has been replaced everywhere.
    places: HashMap<usize, usize>,
    witnesses: Vec<Arc<Witness>>,
}

impl Cooler {
    /// Notes a witness that is to become part of a page.
    pub(crate) fn note(&mut self, seen: &Seen) {
        if let Seen::Warm(witness) = seen {
            self.places.entry(Arc::as_ptr(witness).addr()).or_insert_with(|| {
                self.witnesses.push(Arc::clone(witness));
                self.witnesses.len() - 1
            });
        }
    }

    /// The pages of what was noted. What does not fill half of one stays as it is.
    pub(crate) fn pages(self) -> Pages {
        let chunks = self.witnesses.chunks(PAGE).filter(|chunk| chunk.len() > PAGE / 2);
        let page = |chunk: &[Arc<Witness>]| Arc::new(Page::new(Packed::of(&chunk.to_vec()), chunk));
        Pages { pages: chunks.map(page).collect(), cooler: self }
    }
}

/// Where witnesses are that were noted.
pub(crate) struct Pages {
    pages: Vec<Arc<Page>>,
    cooler: Cooler,
}

impl Pages {
    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Replaces a witness by its place.
    pub(crate) fn replace(&self, seen: &mut Seen) {
        let Seen::Warm(witness) = &*seen else { return };
        let place = self.cooler.places.get(&Arc::as_ptr(witness).addr());
        let page = place.and_then(|place| Some((self.pages.get(place / PAGE)?, place % PAGE)));
        if let Some((page, at)) = page {
            *seen = Seen::Cold(Arc::clone(page), at as u32);
        }
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

    fn witness(n: usize) -> Seen {
        Seen::Warm(Arc::new(Witness::new(Account {
            uid: format!("event {n}").into(),
            records: SmallVec::from_iter([RecordRef { topic: "t".into(), partition: 0, offset: n as i64 }]),
            entities: PackedEntities::of(&[]),
            domain: Domain::Identity,
            product: "p".into(),
            source: "s".into(),
            class: Class::AUTHENTICATION,
        })))
    }

    #[test]
    fn witnesses_say_the_same_on_pages() {
        let warm: Vec<Seen> = (0..2 * PAGE + 1).map(witness).collect();
        let mut cooler = Cooler::default();
        warm.iter().chain(&warm).for_each(|seen| cooler.note(seen));
        let pages = cooler.pages();
        let mut cold = warm.clone();
        cold.iter_mut().for_each(|seen| pages.replace(seen));
        let is_cold = |seen: &Seen| matches!(seen, Seen::Cold(..));
        assert_eq!(cold.iter().filter(|seen| is_cold(seen)).count(), 2 * PAGE, "one alone is no page");
        let (mut of_warm, mut of_cold) = (Reader::default(), Reader::default());
        for (warm, cold) in warm.iter().zip(&cold) {
            assert_eq!((cold.hash(), cold.content()), (warm.hash(), warm.content()));
            assert_eq!(of_cold.read(cold), of_warm.read(warm));
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
