//! What a correlation is told of an event that matched one of its rules.

use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use event::{EventBatch, TenantId, Time};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::definition::{Definition, Kind, Member, Source};
use super::measure::SCALE;
use super::witness::{Account, Draft, PackedEntities, Witness};
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
    pub(crate) witness: Witness,
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
    #[expect(clippy::box_collection, reason = "one word: there are millions of the others")]
    Many(Box<Vec<u64>>),
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

/// A list in a group-by field puts the event into a group for each member, up to this many.
const GROUPS_OF_EVENT_MAX: usize = 16;

/// Reads observations off the matches of a batch.
pub(crate) struct Observer<'a> {
    set: &'a RuleSet,
    batch: &'a EventBatch,
    cells: RowReader<'a>,
    /// What is told of the events.
    draft: Draft,
}

impl<'a> Observer<'a> {
    pub(crate) fn new(set: &'a RuleSet, batch: &'a EventBatch) -> Self {
        Self { set, batch, cells: RowReader::new(&set.atoms, batch), draft: Draft::default() }
    }

    /// What every correlation over `rule` is told of a row. All are to be finished by [`Observer::finish`].
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
                let witness = witness.get_or_insert_with(|| self.draft.write(&account_of(self.batch, row)));
                out.push(Observation {
                    tenant: self.batch.meta.tenant.clone(),
                    correlation: *correlation,
                    member: *member,
                    time: self.batch.time(row),
                    keys: keys.clone(),
                    value: value.clone(),
                    witness: witness.clone(),
                });
            }
        }
    }

    /// What was observed lies on one page.
    pub(crate) fn finish(mut self, observations: &mut [Observation]) {
        let page = self.draft.page();
        observations.iter_mut().for_each(|observation| observation.witness.put_on(&page));
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
                Cell::Many(texts) => {
                    Some(Value::Many(Box::new(texts.iter().map(|t| hash_of(&[&fold(t)])).collect())))
                }
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

fn account_of(batch: &EventBatch, row: usize) -> Account {
    Account {
        uid: batch.text("event_uid", row).unwrap_or_default().into(),
        records: SmallVec::from_iter([batch.record(row)]),
        entities: PackedEntities::of(&crate::alert::entities(batch, row)),
        domain: batch.meta.domain,
        product: Arc::clone(&batch.meta.product),
        source: Arc::clone(&batch.meta.source),
        class: batch.class,
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
    hash_of_bytes(&joined(texts.iter().copied()))
}

/// 128 bits of the hash of several texts.
pub(crate) fn key_of(texts: &[Arc<str>]) -> u128 {
    let hash = blake3::hash(&joined(texts.iter().map(AsRef::as_ref)));
    u128::from_le_bytes(*first_of(&hash))
}

/// 64 bits of the hash of bytes.
pub(crate) fn hash_of_bytes(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*first_of(&blake3::hash(bytes)))
}

fn first_of<const N: usize>(hash: &blake3::Hash) -> &[u8; N] {
    match hash.as_bytes().first_chunk() {
        Some(first) => first,
        None => unreachable!("a hash has 32 bytes"),
    }
}

/// Texts behind their lengths, to be hashed at once: mostly they are short.
fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> SmallVec<[u8; 256]> {
    let mut bytes = SmallVec::new();
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly() {
        assert_eq!(number(" 12 "), Some(12_000_000));
        assert_eq!(number("0.1"), Some(100_000));
        assert_eq!(number("1e30"), Some(i64::MAX));
        assert_eq!((number("x"), number("NaN")), (None, None));
    }
}
