//! The groups of one correlation and tenant: found by their values, woken when event time has passed their windows.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::definition::Definition;
use super::observation::Keys;
use super::timeline::{Entry, Place, Timeline, Verdict, WindowCounts};
use super::windows::Limits;

/// A place in [`Groups::slab`].
type GroupId = u32;

/// The groups of one correlation and tenant.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    /// Places of groups, by the hash of their keys.
    places: HashTable<GroupId>,
    /// Groups; those whose place is free hold nothing.
    slab: Vec<Group>,
    free: Vec<GroupId>,
    /// Which groups to look at again, by event time. Those that are to wake at another time by now are passed by.
    wakes: BTreeMap<i64, Vec<GroupId>>,
    /// Over all groups.
    events: usize,
}

/// One group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Of its keys: here as well, so that whoever looks for a group reads nothing else.
    hash: u128,
    pub(super) keys: Keys,
    pub(super) timeline: Timeline,
    /// When to look at it again; [`NEVER`] where it is new, or gone.
    pub(super) wake_at: i64,
}

const NEVER: i64 = i64::MAX;

/// What comes to groups.
pub(super) enum Arrival {
    Added(Entry),
    Removed(Place),
}

/// What became of groups, and whose verdict it is.
pub(super) type Told = Vec<(Keys, Verdict)>;

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// In the order of their keys.
    pub(super) fn sorted(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.places.iter().map(|id| &self.slab[*id as usize]).collect();
        groups.sort_unstable_by(|a, b| a.keys.cmp(&b.keys));
        groups
    }

    /// Puts back a group that was written.
    pub(super) fn restore(&mut self, keys: Keys, timeline: Timeline, wake_at: i64) {
        let id = self.place(&keys);
        self.events += timeline.len();
        self.slab[id as usize].timeline = timeline;
        self.wake(id, wake_at);
    }

    /// Bytes of a group in memory, without the texts of its keys and without its events.
    pub(super) const fn bytes_of_group() -> usize {
        // Tables are half full at worst; a free place costs nothing while there are groups to come.
        size_of::<Group>() + 2 * (size_of::<GroupId>() + 1) + 2 * size_of::<GroupId>()
    }

    /// The place of the group with these keys, which is made where there is none.
    fn place(&mut self, keys: &Keys) -> GroupId {
        let hash = keys.hash();
        let slab = &self.slab;
        if let Some(id) = self.places.find(hash as u64, |id| slab[*id as usize].hash == hash) {
            return *id;
        }
        let group = Group { hash, keys: keys.clone(), timeline: Timeline::default(), wake_at: NEVER };
        let id = match self.free.pop() {
            Some(id) => {
                self.slab[id as usize] = group;
                id
            }
            None => {
                // By a quarter, not by twice: there may be millions.
                if self.slab.len() == self.slab.capacity() {
                    self.slab.reserve_exact(self.slab.len() / 4 + 16);
                }
                self.slab.push(group);
                (self.slab.len() - 1) as GroupId
            }
        };
        let slab = &self.slab;
        self.places.insert_unique(hash as u64, id, |id| slab[*id as usize].hash as u64);
        id
    }

    /// Takes in what comes to groups, in order, and judges what it touches: the group that is named first comes first.
    pub(super) fn take_in(
        &mut self,
        definition: &Definition,
        arrivals: Vec<(Keys, Arrival)>,
        sealed: i64,
        counts: &mut WindowCounts,
        told: &mut Told,
    ) {
        let mut order: Vec<(GroupId, u32)> = Vec::with_capacity(arrivals.len());
        order.extend((0..).zip(&arrivals).map(|(n, (keys, _))| (self.place(keys), n)));
        order.sort_unstable();
        let mut touched: Vec<&[(GroupId, u32)]> = order.chunk_by(|a, b| a.0 == b.0).collect();
        touched.sort_unstable_by_key(|arrivals| arrivals[0].1);
        let mut arrivals: Vec<Option<Arrival>> =
            arrivals.into_iter().map(|(_, arrival)| Some(arrival)).collect();
        let (mut added, mut removed) = (Vec::new(), SmallVec::<[Place; 4]>::new());
        for group in touched {
            for (_, n) in group {
                match arrivals[*n as usize].take() {
                    Some(Arrival::Added(entry)) => added.push(entry),
                    Some(Arrival::Removed(place)) => removed.push(place),
                    None => {}
                }
            }
            self.touch(definition, group[0].0, &mut added, &removed, sealed, counts, told);
            removed.clear();
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what is touched, and where the outcome goes")]
    fn touch(
        &mut self,
        definition: &Definition,
        id: GroupId,
        added: &mut Vec<Entry>,
        removed: &[Place],
        sealed: i64,
        counts: &mut WindowCounts,
        told: &mut Told,
    ) {
        let oldest = sealed.saturating_sub(definition.span_us);
        counts.observations += added.len() as u64;
        counts.late += added.iter().filter(|e| e.time <= sealed).count() as u64;
        let before = added.len();
        added.retain(|e| e.time >= oldest);
        counts.expired += (before - added.len()) as u64;
        let group = &mut self.slab[id as usize];
        let timeline = &mut group.timeline;
        let (first_before, len_before) = (timeline.first_time(), timeline.len());
        if !added.is_empty() || !removed.is_empty() {
            timeline.forget_before(oldest, definition.span_us);
            let verdicts = timeline.update(definition, added, removed, sealed, counts);
            timeline.settle(definition, sealed);
            told.extend(verdicts.into_iter().map(|v| (group.keys.clone(), v)));
            self.events = self.events + timeline.len() - len_before;
        }
        let first = timeline.first_time();
        if first.is_none() {
            self.remove(id);
        } else if group.wake_at == NEVER || (definition.kind.has_absence() && first < first_before) {
            // One that has been there is listed already, unless it now begins earlier and must be judged earlier.
            let at = next_wake(definition, timeline, sealed);
            self.wake(id, at);
        }
    }

    /// Lists a group to be looked at again.
    fn wake(&mut self, id: GroupId, at: i64) {
        self.slab[id as usize].wake_at = at;
        self.wakes.entry(at).or_default().push(id);
    }

    /// Gives a group up; the number of its events.
    fn remove(&mut self, id: GroupId) -> usize {
        let group = &mut self.slab[id as usize];
        if let Ok(place) = self.places.find_entry(group.hash as u64, |other| *other == id) {
            place.remove();
        }
        (group.keys, group.wake_at) = (Keys::default(), NEVER);
        self.free.push(id);
        std::mem::take(&mut group.timeline).len()
    }

    /// Looks at every group whose time has come: judges windows that ended, forgets what is over, and sleeps again.
    pub(super) fn advance(&mut self, definition: &Definition, since: i64, until: i64, told: &mut Told) {
        let later = self.wakes.split_off(&until.saturating_add(1));
        let listed = std::mem::replace(&mut self.wakes, later);
        let mut due: Vec<(i64, GroupId)> =
            listed.into_iter().flat_map(|(at, ids)| ids.into_iter().map(move |id| (at, id))).collect();
        if definition.kind.has_absence() {
            // The order in which alerts are told does not depend on that in which groups were made.
            let keys = |id: GroupId| &self.slab[id as usize].keys;
            due.sort_unstable_by(|a, b| keys(a.1).cmp(keys(b.1)));
        }
        let ended = until.saturating_sub(definition.span_us).saturating_add(1);
        for (at, id) in due {
            let group = &mut self.slab[id as usize];
            if group.wake_at != at {
                continue;
            }
            if definition.kind.has_absence() {
                let verdicts = group.timeline.sweep(definition, since, until);
                told.extend(verdicts.into_iter().map(|v| (group.keys.clone(), v)));
            }
            let len_before = group.timeline.len();
            group.timeline.forget_before(ended, definition.span_us);
            self.events = self.events + group.timeline.len() - len_before;
            if group.timeline.is_empty() {
                self.remove(id);
            } else {
                let at = next_wake(definition, &group.timeline, until);
                self.wake(id, at);
            }
        }
        self.shrink();
    }

    /// Gives up the groups that would be forgotten first; how many.
    pub(super) fn bound(&mut self, definition: &Definition, sealed: i64, limits: Limits) -> u64 {
        let mut given_up = 0;
        while self.len() > limits.groups || self.events > limits.events {
            let Some((listed_at, ids)) = self.wakes.pop_first() else { return given_up };
            for id in ids {
                let group = &self.slab[id as usize];
                if group.wake_at != listed_at {
                    continue;
                }
                let at = next_wake(definition, &group.timeline, sealed);
                if at > listed_at {
                    // It has had events since it was listed.
                    self.wake(id, at);
                } else {
                    self.events -= self.remove(id);
                    given_up += 1;
                }
            }
        }
        given_up
    }

    /// A flood that has passed leaves its places behind: moves what is left together.
    fn shrink(&mut self) {
        if self.free.len() < 1_024 || self.free.len() < self.slab.len() / 4 * 3 {
            return;
        }
        let mut all = Self::default();
        let mut ids: Vec<GroupId> = self.places.iter().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let group = &mut self.slab[id as usize];
            all.restore(group.keys.clone(), std::mem::take(&mut group.timeline), group.wake_at);
        }
        *self = all;
    }
}

/// When a group must be looked at again: where absence is asked for, when the first window not judged yet ends; else
/// when the last event has left every window.
fn next_wake(definition: &Definition, timeline: &Timeline, sealed: i64) -> i64 {
    let span = definition.span_us;
    let times = if definition.kind.has_absence() { timeline.first_time() } else { timeline.last_time() };
    let end = times.unwrap_or(sealed).saturating_add(span);
    // Rounded up, so that few distinct wake times are kept: forgetting may wait, judging absence may not.
    if definition.kind.has_absence() { end.max(sealed.saturating_add(1)) } else { rounded_up(end, span / 16) }
}

fn rounded_up(time: i64, step: i64) -> i64 {
    let step = step.max(1);
    time.div_euclid(step).saturating_add(1).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_small() {
        assert!(Groups::bytes_of_group() <= 128, "{}", Groups::bytes_of_group());
    }
}
