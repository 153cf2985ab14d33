//! What a correlation is told of an event that matched one of its rules.

use std::cmp::Ordering;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use event::{Class, Domain, Entity, EntityType, EventBatch, RecordRef, Role, TenantId, Time};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::definition::{Definition, Kind, Member, Source};
use super::measure::SCALE;
use crate::atom::FieldId;
use crate::field::{Cell, RowReader};
use crate::fold::fold;
use crate::set::RuleSet;

/// One event, seen by one correlation as a match of one of its rules.
#[derive(Debug, Clone)]
pub struct Observation {
    pub(crate) tenant: TenantId,
    pub(crate) correlation: u32,
    pub(crate) member: u16,
    pub(crate) time: Time,
    pub(crate) keys: Keys,
    pub(crate) value: Value,
    pub(crate) witness: Arc<Witness>,
}

/// The group-by values of a group, in lower case. Correlations that group an event alike share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(Arc<HashedTexts>);

#[derive(Debug, Default)]
struct HashedTexts {
    /// 128 bits: no two groups have one.
    hash: u128,
    texts: Box<[Arc<str>]>,
}

impl Keys {
    pub(crate) fn hash(&self) -> u128 {
        self.0.hash
    }
}

impl FromIterator<Arc<str>> for Keys {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(texts: I) -> Self {
        let texts: Box<[Arc<str>]> = texts.into_iter().collect();
        Self(Arc::new(HashedTexts { hash: key_of(&texts), texts }))
    }
}

impl Deref for Keys {
    type Target = [Arc<str>];

    fn deref(&self) -> &[Arc<str>] {
        &self.0.texts
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Keys {}

impl PartialOrd for Keys {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of their texts.
impl Ord for Keys {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.texts.cmp(&other.0.texts)
    }
}

impl Observation {
    /// The tenant of the event.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Event time.
    pub fn time(&self) -> Time {
        self.time
    }
}

/// The measured value of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Value {
    None,
    /// Hash of a text.
    One(u64),
    /// Hashes of the members of a list.
    Many(Box<[u64]>),
    /// In millionths.
    Number(i64),
}

impl Value {
    /// The value that the group-by texts of an inner correlation give; `None` where a number is asked for and none is there.
    pub(crate) fn of(kind: &Kind, texts: &[Arc<str>]) -> Option<Self> {
        match texts {
            [] => Some(Value::None),
            [text] if kind.is_numeric() => number(text).map(Value::Number),
            texts => Some(Value::One(hash_of(&texts.iter().map(AsRef::as_ref).collect::<Vec<&str>>()))),
        }
    }

    pub(crate) fn each(&self, mut f: impl FnMut(u64)) {
        match self {
            Value::One(hash) => f(*hash),
            Value::Many(hashes) => hashes.iter().copied().for_each(f),
            Value::None | Value::Number(_) => {}
        }
    }

    pub(crate) fn number(&self) -> i64 {
        if let Value::Number(number) = self { *number } else { 0 }
    }
}

/// An event that takes part in a correlation: enough to lead back to it, and to say whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Witness {
    pub(crate) uid: Box<str>,
    /// 64 bits of the hash of `uid`.
    pub(crate) hash: u64,
    /// One record, or those of an inner correlation.
    pub(crate) records: SmallVec<[RecordRef; 1]>,
    pub(crate) entities: PackedEntities,
    pub(crate) domain: Domain,
    pub(crate) product: Arc<str>,
    pub(crate) source: Arc<str>,
    pub(crate) class: Class,
}

/// Equal witnesses have equal hashes of their ids.
impl Hash for Witness {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
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

/// A list in a group-by field puts the event into a group for each member, up to this many.
const GROUPS_OF_EVENT_MAX: usize = 16;

/// Reads observations off the matches of a batch.
pub(crate) struct Observer<'a> {
    set: &'a RuleSet,
    batch: &'a EventBatch,
    cells: RowReader<'a>,
    /// The topic of the last witness: mostly that of the next one.
    topic: Arc<str>,
}

impl<'a> Observer<'a> {
    pub(crate) fn new(set: &'a RuleSet, batch: &'a EventBatch) -> Self {
        Self { set, batch, cells: RowReader::new(&set.atoms, batch), topic: "".into() }
    }

    /// What every correlation over `rule` is told of a row.
    pub(crate) fn observe(&mut self, rule: u32, row: usize, out: &mut Vec<Observation>) {
        let mut witness = None;
        // Many correlations group by the same fields.
        let mut known: SmallVec<[(&[FieldId], Vec<Keys>); 4]> = SmallVec::new();
        for (correlation, member) in self.set.correlations.watching(Source::Rule(rule)) {
            let definition = &self.set.correlations.definitions[*correlation as usize];
            let watched = &definition.members[usize::from(*member)];
            let Some(value) = self.value(definition, watched, row) else { continue };
            let place = known.iter().position(|(fields, _)| *fields == watched.keys).unwrap_or_else(|| {
                known.push((&watched.keys, self.keys(watched, row)));
                known.len() - 1
            });
            for keys in &known[place].1 {
                let witness =
                    witness.get_or_insert_with(|| Arc::new(Witness::of(self.batch, row, &mut self.topic)));
                out.push(Observation {
                    tenant: self.batch.meta.tenant.clone(),
                    correlation: *correlation,
                    member: *member,
                    time: self.batch.time(row),
                    keys: keys.clone(),
                    value: value.clone(),
                    witness: Arc::clone(witness),
                });
            }
        }
    }

    /// The groups of an event: none where a group-by field has no value.
    fn keys(&mut self, member: &Member, row: usize) -> Vec<Keys> {
        let mut groups: Vec<Vec<Arc<str>>> = vec![Vec::new()];
        for field in &member.keys {
            let texts: Vec<Arc<str>> = match self.cells.cell(*field, row) {
                Cell::Absent | Cell::Null => return Vec::new(),
                Cell::One(text) => vec![fold(&text).as_ref().into()],
                Cell::Many(texts) => texts.iter().map(|t| fold(t).as_ref().into()).collect(),
            };
            let with = |group: &Vec<Arc<str>>, text: &Arc<str>| {
                group.iter().chain([text]).cloned().collect::<Vec<Arc<str>>>()
            };
            groups = groups.iter().flat_map(|g| texts.iter().map(move |t| with(g, t))).collect();
            groups.truncate(GROUPS_OF_EVENT_MAX);
        }
        groups.retain(|group| group.iter().all(|text| !text.is_empty()));
        groups.into_iter().map(Keys::from_iter).collect()
    }

    /// The measured value; `None` where the event has none that can be measured.
    fn value(&mut self, definition: &Definition, member: &Member, row: usize) -> Option<Value> {
        match member.values.as_slice() {
            [] => Some(Value::None),
            [field] if definition.kind.is_numeric() => match self.cells.cell(*field, row) {
                Cell::One(text) => number(&text).map(Value::Number),
                _ => None,
            },
            [field] => match self.cells.cell(*field, row) {
                Cell::Absent | Cell::Null => None,
                Cell::One(text) => Some(Value::One(hash_of(&[&fold(&text)]))),
                Cell::Many(texts) => Some(Value::Many(texts.iter().map(|t| hash_of(&[&fold(t)])).collect())),
            },
            fields => {
                let mut parts = Vec::with_capacity(fields.len());
                for field in fields {
                    match self.cells.cell(*field, row) {
                        Cell::Absent | Cell::Null => return None,
                        Cell::One(text) => parts.push(fold(&text).into_owned()),
                        Cell::Many(texts) => parts.push(fold(&texts.join("\u{0}")).into_owned()),
                    }
                }
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                Some(Value::One(hash_of(&parts)))
            }
        }
    }
}

impl Witness {
    fn of(batch: &EventBatch, row: usize, topic: &mut Arc<str>) -> Self {
        let mut record = batch.record(row);
        if record.topic == *topic {
            record.topic = Arc::clone(topic);
        } else {
            *topic = Arc::clone(&record.topic);
        }
        let uid = batch.text("event_uid", row).unwrap_or_default();
        Self {
            uid: uid.into(),
            hash: hash_of(&[uid]),
            records: SmallVec::from_iter([record]),
            entities: PackedEntities::of(&crate::alert::entities(batch, row)),
            domain: batch.meta.domain,
            product: Arc::clone(&batch.meta.product),
            source: Arc::clone(&batch.meta.source),
            class: batch.class,
        }
    }
}

/// Millionths of a decimal number, saturating.
fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.saturating_mul(SCALE));
    }
    let number: f64 = text.parse().ok().filter(|n: &f64| n.is_finite())?;
    // A cast of a float to an integer saturates.
    Some((number * SCALE as f64).round() as i64)
}

/// 64 bits of the hash of several texts.
pub(crate) fn hash_of(texts: &[&str]) -> u64 {
    let mut bytes = [0; 8];
    hasher_of(texts.iter().copied()).finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// 128 bits of the hash of several texts.
pub(crate) fn key_of(texts: &[Arc<str>]) -> u128 {
    let mut bytes = [0; 16];
    hasher_of(texts.iter().map(AsRef::as_ref)).finalize_xof().fill(&mut bytes);
    u128::from_le_bytes(bytes)
}

fn hasher_of<'a>(texts: impl Iterator<Item = &'a str>) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn numbers_are_read_exactly() {
        assert_eq!(number(" 12 "), Some(12_000_000));
        assert_eq!(number("0.1"), Some(100_000));
        assert_eq!(number("1e30"), Some(i64::MAX));
        assert_eq!((number("x"), number("NaN")), (None, None));
    }
}
