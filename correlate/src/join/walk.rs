//! From an alert over pairs of plain events to what other alerts may be about: one pair after the other where the end of
//! one is the beginning of the next (a click, a download by the same browser, the program that it saved).

use std::cmp::Reverse;
use std::sync::Arc;

use event::{EntityType, Time};
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::definition::Side;
use super::link::{End, Group, Link};
use crate::evidence::{Evidence, Key};
use crate::facts::{Facts, Stale};
use crate::fixed::{ONE, decay, rarity, times};
use crate::parameters::File;
use crate::words::{clock, duration};

/// Links followed for one alert; the earliest known come first.
const LINKS_MAX: usize = 128;

/// A key that an alert reaches over events.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    pub(crate) key: Key,
    /// The join that says least of those on the way.
    pub(crate) join: u8,
    /// What is left of it on the way, in millionths.
    pub(crate) strength: u32,
    pub(crate) lead: Lead,
}

/// How an alert came to a key over events.
#[derive(Debug, Clone)]
pub(crate) struct Lead {
    pub(crate) via: Arc<Via>,
    /// Time of the event that it leads to: alerts long before or after that are less likely about it.
    pub(crate) at: Time,
    /// How fast that falls, in microseconds.
    pub(crate) half_life_us: i64,
}

/// The events on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Via {
    /// In words.
    pub(crate) text: Arc<str>,
    /// By time.
    pub(crate) events: Vec<Arc<End>>,
    /// The pairs: places in `events` of the first and the second, and the join.
    pub(crate) pairs: Vec<(usize, usize, u8)>,
    /// Places in `events` of the one that the alert is about or came from, and of the one that it leads to.
    pub(crate) ends: (usize, usize),
    /// Entities whose rarity weighs it.
    pub(crate) common: Vec<(Key, Evidence)>,
}

/// What a walk needs to know.
pub(crate) struct Walk<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) file: &'a File,
    pub(crate) stale: &'a mut Stale,
    /// Only what was known by then counts.
    pub(crate) t: Time,
}

/// A link on a path, from which of its sides it was taken.
#[derive(Debug, Clone)]
struct Step {
    link: Link,
    join: u8,
    side: Side,
}

/// A key where links are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) key: Key,
    pub(crate) kind: Evidence,
    /// What it is worth, in millionths.
    pub(crate) strength: u32,
}

/// How far a walk has come.
struct Stand {
    places: SmallVec<[Place; 8]>,
    path: Vec<Step>,
}

impl Walk<'_> {
    /// Everything that is reached from some keys, each with its strength, by key.
    pub(crate) fn reach(mut self, places: SmallVec<[Place; 8]>) -> Vec<Reached> {
        let mut best: HashMap<Key, Reached> = HashMap::new();
        let mut stands = vec![Stand { places, path: Vec::new() }];
        let mut left = LINKS_MAX;
        for _ in 0..self.file.joins.hops {
            let mut next = Vec::new();
            for stand in &stands {
                for (step, strength) in self.steps(stand) {
                    if left == 0 {
                        break;
                    }
                    left -= 1;
                    next.push(self.arrive(stand, step, strength, &mut best));
                }
            }
            stands = next;
        }
        let mut reached: Vec<Reached> = best.into_values().collect();
        reached.sort_unstable_by_key(|reached| reached.key);
        reached
    }

    /// What became known within the horizon and not later: the rest counts no more, or not yet.
    fn span(&self) -> (Time, Time) {
        (Time(self.t.0.saturating_sub(self.file.horizon.0)), self.t)
    }

    /// The links that lead on.
    fn steps(&mut self, stand: &Stand) -> Vec<(Step, u32)> {
        let mut steps = Vec::new();
        let facts = self.facts;
        for place in &stand.places {
            self.stale.consult(place.key);
            for group in facts.links.at(place.key) {
                for link in group.known(self.span()) {
                    self.stale.consult(link.own.record_key);
                    self.stale.consult(link.other.record_key);
                    let strength = times(place.strength, self.strength(stand, *place, group, link));
                    if strength > 0 && !stand.knows(&link.other) && self.is_proved(link) {
                        let step = Step { link: link.clone(), join: group.join, side: group.side };
                        steps.push((step, strength));
                    }
                }
            }
        }
        steps
    }

    /// What one link leaves: less where an end has many others, less the longer it takes, less where it begins long
    /// before or after the alert or the link before it.
    fn strength(&self, stand: &Stand, place: Place, group: &Group, link: &Link) -> u32 {
        let weighing = &self.file.joins.kinds[group.join as usize];
        let links = &self.facts.links;
        let here = group.known(self.span()).len() as u32;
        let own = links.count(link.own.record_key, group.join, group.side, self.span());
        let other = links.count(link.other.record_key, group.join, group.side.other(), self.span());
        let fan = rarity(here.max(own).max(other), weighing.free, weighing.population);
        let gap = |a: Time, b: Time| a.0.saturating_sub(b.0).saturating_abs();
        let taken = decay(gap(link.own.time, link.other.time), weighing.half_life.0);
        let (hop, before) = match stand.path.last() {
            None => (ONE, self.t),
            Some(last) => (self.file.joins.hop.0, last.link.other.time),
        };
        let begun = decay(gap(link.own.time, before), self.half_life(place.kind, group.join));
        times(times(fan, taken), times(hop, begun))
    }

    /// How fast what meets at a key fades. A process lives on after an event of it, a message or a session is one thing.
    fn half_life(&self, kind: Evidence, join: u8) -> i64 {
        let own = self.file.joins.kinds[join as usize].half_life.0;
        match kind {
            Evidence::Record => own,
            Evidence::Process => own.min(self.file.weighing(kind).half_life.0),
            _ => self.file.weighing(kind).half_life.0,
        }
    }

    /// Whether the names that only looked alike are one user, one device.
    fn is_proved(&mut self, link: &Link) -> bool {
        let facts = self.facts;
        link.own.names.iter().zip(&link.other.names).all(|((_, own), (_, theirs))| {
            own.iter().any(|name| theirs.contains(name))
                || own.iter().any(|name| {
                    self.stale.consult(*name);
                    let cluster = facts.aliases.cluster(*name, self.t, &self.file.alias);
                    cluster.iter().any(|alias| {
                        self.stale.consult(alias.key);
                        theirs.contains(&alias.key)
                    })
                })
        })
    }

    /// Notes what the other end of a link leads to, and stands there.
    fn arrive(
        &mut self,
        stand: &Stand,
        step: Step,
        strength: u32,
        best: &mut HashMap<Key, Reached>,
    ) -> Stand {
        let places = self.places_of(&step.link.other, strength);
        let (at, last) = (step.link.other.time, step.join);
        let mut path = stand.path.clone();
        path.push(step);
        let beta = |join: u8| self.file.joins.kinds[join as usize].beta.0;
        let join =
            path.iter().map(|step| step.join).min_by_key(|join| (beta(*join), *join)).unwrap_or_default();
        let via = Arc::new(Via::of(&path));
        for Place { key, kind, strength } in &places {
            let half_life_us = self.half_life(*kind, last);
            let lead = Lead { via: Arc::clone(&via), at, half_life_us };
            let reached = Reached { key: *key, join, strength: *strength, lead };
            let worth =
                |reached: &Reached| (times(beta(reached.join), reached.strength), Reverse(reached.join));
            match best.get(key) {
                Some(known) if worth(known) >= worth(&reached) => {}
                _ => drop(best.insert(*key, reached)),
            }
        }
        Stand { places, path }
    }

    /// Where an end is found: at its record, what it led to, and the processes above that, as far as they are not those
    /// that start everything.
    fn places_of(&mut self, end: &End, strength: u32) -> SmallVec<[Place; 8]> {
        let facts = self.facts;
        let weighing = self.file.weighing(Evidence::Process);
        let mut places: SmallVec<[Place; 8]> = SmallVec::new();
        let mut add = |key: Key, kind: Evidence, strength: u32| match places
            .iter_mut()
            .find(|place| place.key == key)
        {
            Some(known) => known.strength = strength.max(known.strength),
            None => places.push(Place { key, kind, strength }),
        };
        add(end.record_key, Evidence::Record, strength);
        for (entity_type, key) in &end.anchors {
            self.stale.consult(*key);
            if *entity_type != EntityType::Process {
                add(*key, Evidence::of(*entity_type, ""), strength);
                continue;
            }
            if facts.lineage.is_session_root(*key, self.t, self.file, weighing) {
                continue;
            }
            let ancestry = facts.lineage.ancestry(*key, self.t, self.file, weighing);
            if ancestry.is_empty() {
                add(*key, Evidence::Process, strength);
            }
            for ancestor in ancestry {
                self.stale.consult(ancestor.key);
                let step = (0..ancestor.steps).fold(ONE, |step, _| times(step, self.file.tree.step.0));
                add(ancestor.key, Evidence::Process, times(times(strength, ancestor.rarity), step));
            }
        }
        places
    }
}

impl Stand {
    /// Whether an event is on the path already.
    fn knows(&self, end: &End) -> bool {
        let ends = self.path.iter().flat_map(|step| [&step.link.own, &step.link.other]);
        ends.into_iter().any(|known| known.record == end.record)
    }
}

impl Via {
    fn of(path: &[Step]) -> Self {
        let mut events: Vec<Arc<End>> =
            path.iter().flat_map(|step| [&step.link.own, &step.link.other]).cloned().collect();
        events.sort_by(|a, b| a.order().cmp(&b.order()));
        events.dedup_by(|a, b| a.record == b.record);
        let place =
            |end: &End| events.iter().position(|event| event.record == end.record).unwrap_or_default();
        let pair = |step: &Step| {
            let (own, other) = (place(&step.link.own), place(&step.link.other));
            match step.side {
                Side::First => (own, other, step.join),
                Side::Second => (other, own, step.join),
            }
        };
        let pairs = path.iter().map(pair).collect();
        let ends = path.first().zip(path.last());
        let ends = ends.map_or((0, 0), |(first, last)| (place(&first.link.own), place(&last.link.other)));
        let mut common: Vec<(Key, Evidence)> =
            path.iter().flat_map(|step| step.link.own.common.iter().copied()).collect();
        common.sort_unstable();
        common.dedup();
        Self { text: told(&events).into(), pairs, ends, common, events }
    }
}

/// `alice@contoso.com clicked https://... at 2026-03-02 10:02:00 UTC; msedge.exe on ws-7 looked up ... 1 s later`.
fn told(events: &[Arc<End>]) -> String {
    let mut told = String::new();
    for (i, event) in events.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|before| events.get(before));
        match before {
            None => told.push_str(&format!("{} at {} UTC", event.text, clock(event.time))),
            Some(before) => {
                let gap = duration(event.time.0.saturating_sub(before.time.0));
                told.push_str(&format!("; {} {gap} later", event.text));
            }
        }
    }
    told
}
