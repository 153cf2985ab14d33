//! What the joins found: pairs of events, to be found from either of them and from what either led to or came from.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use event::{EntityType, RecordRef, Time};
use hashbrown::HashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::definition::Side;
use crate::evidence::{Evidence, Key};

/// One event of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) time: Time,
    pub(crate) record: RecordRef,
    pub(crate) record_key: Key,
    /// What it led to or came from, by which alerts reach it.
    pub(crate) anchors: SmallVec<[(EntityType, Key); 2]>,
    /// For each part that aliases must prove, the names that it gives.
    pub(crate) names: SmallVec<[(EntityType, SmallVec<[Key; 4]>); 2]>,
    /// Entities of the key whose rarity weighs the pair.
    pub(crate) common: SmallVec<[(Key, Evidence); 1]>,
    /// In words.
    pub(crate) text: Arc<str>,
}

impl End {
    /// The key of a record.
    pub(crate) fn key_of(record: &RecordRef) -> Key {
        Key::of_text("record", &record.to_string())
    }

    /// Where it is found.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        std::iter::once(self.record_key).chain(self.anchors.iter().map(|(_, key)| *key))
    }

    /// Ends of one face are one thing to whoever counts: twenty connections of a process are one process.
    fn face(&self) -> Key {
        self.anchors.first().map_or(self.record_key, |(_, key)| *key)
    }

    pub(crate) fn order(&self) -> (Time, &RecordRef) {
        (self.time, &self.record)
    }
}

/// Two events that a join brought together.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) join: u8,
    pub(crate) first: Arc<End>,
    pub(crate) second: Arc<End>,
}

impl Pair {
    /// A pair is known from its later event on.
    pub(crate) fn time(&self) -> Time {
        self.first.time.max(self.second.time)
    }
}

/// A pair, seen from one of its ends.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) own: Arc<End>,
    pub(crate) other: Arc<End>,
}

impl Link {
    /// See [`Pair::time`].
    fn time(&self) -> Time {
        self.own.time.max(self.other.time)
    }

    /// The order in which links are kept. The earliest stay, so that what is kept does not depend on what came first.
    fn rank(&self, other: &Link) -> Ordering {
        let rank = |link: &Self| (link.time(), link.other.time, link.own.time);
        rank(self)
            .cmp(&rank(other))
            .then_with(|| self.other.record.cmp(&other.other.record))
            .then_with(|| self.own.record.cmp(&other.own.record))
    }
}

/// Most keys have one link, for which there is no room to spare, and links of more have room for one more in so many:
/// there are many keys, and a vector that grows by itself doubles, from four on.
const ROOM_SHARE: usize = 4;

/// The links of one join and side at one key: one for each face of the other side, by rank.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) join: u8,
    /// The side of `own`.
    pub(crate) side: Side,
    links: Vec<Link>,
}

impl Group {
    /// The links that became known within a span of time.
    pub(crate) fn known(&self, (from, to): (Time, Time)) -> &[Link] {
        let start = self.links.partition_point(|link| link.time() < from);
        let known = &self.links[start..];
        &known[..known.partition_point(|link| link.time() <= to)]
    }

    /// Whether it holds something new, and by how many links it grew.
    fn insert(&mut self, link: Link, links_max: usize) -> (bool, usize) {
        let is_full = self.links.len() >= links_max;
        if is_full && self.links.last().is_some_and(|last| last.rank(&link) != Ordering::Greater) {
            return (false, 0);
        }
        let face = link.other.face();
        let known = self.links.iter().position(|known| known.other.face() == face);
        if let Some(known) = known {
            if self.links[known].rank(&link) != Ordering::Greater {
                return (false, 0);
            }
            self.links.remove(known);
        }
        let place = self.links.partition_point(|known| known.rank(&link) == Ordering::Less);
        if self.links.len() == self.links.capacity() {
            self.links.reserve_exact(1 + self.links.len() / ROOM_SHARE);
        }
        self.links.insert(place, link);
        self.links.truncate(links_max);
        (true, usize::from(known.is_none() && !is_full))
    }
}

/// All links of a tenant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links {
    by_key: HashMap<Key, Vec<Group>>,
    len: usize,
    /// Links forgotten because the table was full.
    pub(crate) evicted: u64,
}

impl Links {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The links at a key, by join and side.
    pub(crate) fn at(&self, key: Key) -> &[Group] {
        self.by_key.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Links of one join and side at a key that became known within a span of time.
    pub(crate) fn count(&self, key: Key, join: u8, side: Side, span: (Time, Time)) -> u32 {
        let group = self.at(key).iter().find(|group| (group.join, group.side) == (join, side));
        group.map_or(0, |group| group.known(span).len() as u32)
    }

    /// Adds a pair; calls `changed` for each key at which it is new. A key keeps `links_max` links of a join: with so
    /// many it is a hub, and they are worth nothing.
    pub(crate) fn insert(&mut self, pair: &Pair, links_max: usize, mut changed: impl FnMut(Key)) {
        let (first, second) = (self.held(&pair.first), self.held(&pair.second));
        let ends = [(Side::First, &first, &second), (Side::Second, &second, &first)];
        for (side, own, other) in ends {
            for key in own.keys() {
                let groups = self.by_key.entry(key).or_insert_with(|| Vec::with_capacity(1));
                let place = groups.partition_point(|group| (group.join, group.side) < (pair.join, side));
                let is_known =
                    groups.get(place).is_some_and(|group| (group.join, group.side) == (pair.join, side));
                if !is_known {
                    groups.insert(place, Group { join: pair.join, side, links: Vec::new() });
                }
                let link = Link { own: Arc::clone(own), other: Arc::clone(other) };
                let (is_new, grown) = groups[place].insert(link, links_max);
                self.len += grown;
                if is_new {
                    changed(key);
                }
            }
        }
    }

    /// The same end as another pair has it, where one does: a logon leads to many processes.
    fn held(&self, end: &Arc<End>) -> Arc<End> {
        let links = self.at(end.record_key).iter().flat_map(|group| &group.links);
        let same = links.map(|link| &link.own).find(|known| **known == *end);
        Arc::clone(same.unwrap_or(end))
    }

    /// Forgets the oldest links until the table is within its limit.
    pub(crate) fn bound(&mut self, limit: usize) {
        if self.len <= limit {
            return;
        }
        // A quarter at once, so that the cost of finding them is spread over many insertions.
        let excess = self.len - (limit - limit / 4);
        let mut times: Vec<Time> =
            self.by_key.values().flatten().flat_map(|group| group.links.iter().map(Link::time)).collect();
        let (_, last, _) = times.select_nth_unstable(excess - 1);
        let before = self.len;
        self.forget_before(Time(last.0.saturating_add(1)));
        self.evicted += (before - self.len) as u64;
    }

    /// Forgets links that became known before `t`.
    pub(crate) fn forget_before(&mut self, t: Time) {
        self.by_key.retain(|_, groups| {
            groups.iter_mut().for_each(|group| group.links.retain(|link| link.time() >= t));
            groups.retain(|group| !group.links.is_empty());
            !groups.is_empty()
        });
        self.len = self.by_key.values().flatten().map(|group| group.links.len()).sum();
    }
}

/// A table in a snapshot: each end once, links by the numbers of theirs.
#[derive(Serialize, Deserialize)]
struct Written<E> {
    ends: Vec<E>,
    groups: Vec<(Key, u8, Side, Vec<(u32, u32)>)>,
    evicted: u64,
}

impl Serialize for Links {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let by_key: BTreeMap<&Key, &Vec<Group>> = self.by_key.iter().collect();
        let mut numbers: HashMap<*const End, u32> = HashMap::new();
        let mut written: Written<&End> =
            Written { ends: Vec::new(), groups: Vec::new(), evicted: self.evicted };
        for (key, groups) in by_key {
            for group in groups {
                let mut number = |end: &'_ Arc<End>| {
                    let next = numbers.len() as u32;
                    *numbers.entry(Arc::as_ptr(end)).or_insert(next)
                };
                let mut links = Vec::with_capacity(group.links.len());
                for link in &group.links {
                    for end in [&link.own, &link.other] {
                        if number(end) as usize == written.ends.len() {
                            written.ends.push(end);
                        }
                    }
                    links.push((number(&link.own), number(&link.other)));
                }
                written.groups.push((*key, group.join, group.side, links));
            }
        }
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Links {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::<End>::deserialize(deserializer)?;
        let ends: Vec<Arc<End>> = written.ends.into_iter().map(Arc::new).collect();
        let mut links = Self { evicted: written.evicted, ..Self::default() };
        for (key, join, side, numbers) in written.groups {
            let link = |(own, other): (u32, u32)| {
                let (own, other) = (ends.get(own as usize)?, ends.get(other as usize)?);
                Some(Link { own: Arc::clone(own), other: Arc::clone(other) })
            };
            let group: Option<Vec<Link>> = numbers.into_iter().map(link).collect();
            let group = group.ok_or_else(|| serde::de::Error::custom("a link without its end"))?;
            links.len += group.len();
            links.by_key.entry(key).or_default().push(Group { join, side, links: group });
        }
        Ok(links)
    }
}
