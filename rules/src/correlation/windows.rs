//! The state of all correlations: groups by key, who wakes when, and what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Alert, AlertId, TenantId, Time, Watermark};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::alert;
use super::definition::{Definition, GROUP_EVENTS_MAX};
use super::observation::{Observation, Witness};
use super::timeline::{Entry, Place, Timeline, Verdict, WindowCounts};
use crate::set::RuleSet;

/// What observations, or the passing of event time, changed.
#[allow(clippy::large_enum_variant, reason = "nearly every change is an alert, and it is moved on at once")]
#[derive(Debug, Clone, PartialEq)]
pub enum CorrelationChange {
    /// A correlation rule fired. Provisional until the watermark passes the alert's time.
    Fired(Alert),
    /// A provisional alert no longer stands, as an earlier event came after later ones.
    Retracted {
        /// The tenant of the alert.
        tenant: TenantId,
        /// The id of the correlation rule.
        rule: Arc<str>,
        /// The group-by values, in lower case.
        group: Box<[Arc<str>]>,
        /// The alert.
        alert: AlertId,
        /// Its event time.
        time: Time,
        /// The last alert of the same rule and group that stands, if there is one.
        in_place: Option<AlertId>,
    },
}

/// Groups of one correlation and tenant, at most. Beyond it the group that has rested longest is given up.
pub const GROUPS_MAX: usize = 1_000_000;

/// Events of one correlation and tenant, at most. Beyond it the group that has rested longest is given up.
pub const EVENTS_MAX: usize = 2_000_000;

/// The state of every correlation rule, for every tenant.
///
/// What it reports is a function of the events, not of their order: after all changes are applied, the alerts that
/// stand are those of one pass over the events sorted by event time, provided that none came after the watermark had
/// passed it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Windows {
    /// By [`Definition::key`], then tenant.
    states: BTreeMap<Arc<str>, BTreeMap<TenantId, Groups>>,
    sealed: i64,
    counts: WindowCounts,
    limits: Limits,
}

/// What one correlation may hold for one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Limits {
    pub(super) groups: usize,
    pub(super) events: usize,
}

/// Marks the bytes of a snapshot and their format.
const MAGIC: &[u8; 8] = b"asterw02";

/// Bytes that are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state of {of}: {problem}")]
pub struct SnapshotError {
    of: &'static str,
    problem: String,
}

impl SnapshotError {
    pub(crate) fn new(of: &'static str, problem: String) -> Self {
        Self { of, problem }
    }
}

/// The groups of one correlation and tenant.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Groups {
    #[serde(with = "by_key")]
    groups: HashMap<GroupKey, Group>,
    /// When to look at a group again, by event time. A group may be listed more than once.
    wakes: BTreeMap<i64, Vec<GroupKey>>,
    /// Over all groups.
    events: usize,
}

/// 128 bits of the hash of the group-by values.
type GroupKey = u128;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Group {
    keys: Box<[Arc<str>]>,
    timeline: Timeline,
}

/// Observations and retractions for one correlation.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) added: Vec<Observation>,
    pub(super) removed: Vec<(TenantId, Box<[Arc<str>]>, Place)>,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            states: BTreeMap::new(),
            sealed: Watermark::START.0.0,
            counts: WindowCounts::default(),
            limits: Limits { groups: GROUPS_MAX, events: EVENTS_MAX },
        }
    }
}

/// The most that one correlation can hold for one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorstCase {
    /// Groups.
    pub groups: usize,
    /// Events, over all groups.
    pub events: usize,
    /// Bytes of them in memory, without the texts of their keys, ids and entities.
    pub bytes: usize,
}

impl WorstCase {
    /// Of a correlation with this definition: without `group-by` there is one group.
    pub(crate) fn of(definition: &Definition) -> Self {
        let groups = if definition.group_by.is_empty() { 1 } else { GROUPS_MAX };
        let events = if definition.group_by.is_empty() { GROUP_EVENTS_MAX } else { EVENTS_MAX };
        let group = size_of::<(GroupKey, Group)>() + size_of::<GroupKey>();
        let event = size_of::<Entry>() + size_of::<Witness>();
        Self { groups, events, bytes: groups * group + events * event }
    }
}

impl Windows {
    #[cfg(test)]
    pub(super) fn with_limits(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes in what [`RuleSet::evaluate`] observed.
    pub fn observe(&mut self, set: &RuleSet, observations: Vec<Observation>) -> Vec<CorrelationChange> {
        let mut inboxes: BTreeMap<u32, Inbox> = BTreeMap::new();
        for observation in observations {
            inboxes.entry(observation.correlation).or_default().added.push(observation);
        }
        self.run(set, inboxes, None)
    }

    /// Event time has come to `watermark`: windows that ended are judged for what was absent, and forgotten.
    pub fn advance(&mut self, set: &RuleSet, watermark: Watermark) -> Vec<CorrelationChange> {
        let until = watermark.0.0;
        if until <= self.sealed {
            return Vec::new();
        }
        let changes = self.run(set, BTreeMap::new(), Some(until));
        self.sealed = until;
        changes
    }

    /// The whole state as bytes; equal states have equal bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        event::snapshot::write(MAGIC, self)
    }

    /// Reads [`Windows::snapshot`] back, without the state of correlations that `set` does not have in that form.
    ///
    /// # Errors
    /// Where the bytes are no such snapshot.
    pub fn restore(set: &RuleSet, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let refuse = |problem: String| SnapshotError::new("correlation rules", problem);
        let mut windows: Self = event::snapshot::read(MAGIC, bytes).map_err(refuse)?;
        windows.retain(set);
        Ok(windows)
    }

    /// How far event time has come: what is at or before it is late.
    pub fn watermark(&self) -> Watermark {
        Watermark(Time(self.sealed))
    }

    /// What was taken in, late, given up.
    pub fn counts(&self) -> WindowCounts {
        self.counts
    }

    /// Groups that are held, over all correlations and tenants.
    pub fn groups(&self) -> usize {
        self.states.values().flat_map(BTreeMap::values).map(|groups| groups.groups.len()).sum()
    }

    /// Events that are held, over all groups.
    pub fn events(&self) -> usize {
        self.states.values().flat_map(BTreeMap::values).map(|groups| groups.events).sum()
    }

    /// Forgets the state of correlations that the set does not have any more, or has in another form.
    pub fn retain(&mut self, set: &RuleSet) {
        self.states.retain(|key, _| set.correlations.definitions.iter().any(|d| d.key == *key));
    }

    /// Correlations in order: what feeds others comes before them.
    fn run(
        &mut self,
        set: &RuleSet,
        mut inboxes: BTreeMap<u32, Inbox>,
        until: Option<i64>,
    ) -> Vec<CorrelationChange> {
        let mut changes = Vec::new();
        for (index, definition) in (0..).zip(&set.correlations.definitions) {
            let inbox = inboxes.remove(&index).unwrap_or_default();
            if inbox.added.is_empty() && inbox.removed.is_empty() && until.is_none() {
                continue;
            }
            for (tenant, keys, verdict) in self.step(definition, inbox, until) {
                let change = alert::change(definition, &tenant, &keys, &verdict);
                set.correlations.feed(index, &tenant, &keys, &change, &mut inboxes);
                if !definition.silent {
                    changes.push(change);
                }
            }
        }
        changes
    }

    fn step(
        &mut self,
        definition: &Definition,
        inbox: Inbox,
        until: Option<i64>,
    ) -> Vec<(TenantId, Box<[Arc<str>]>, Verdict)> {
        let mut per_tenant: BTreeMap<TenantId, Vec<(GroupKey, Touched)>> = BTreeMap::new();
        sort_out(inbox, &mut per_tenant);
        let state = self.states.entry(Arc::clone(&definition.key)).or_default();
        if until.is_some() {
            state.keys().for_each(|tenant| {
                per_tenant.entry(tenant.clone()).or_default();
            });
        }
        let mut verdicts = Vec::new();
        for (tenant, touched) in per_tenant {
            let groups = state.entry(tenant.clone()).or_default();
            let mut told = Vec::new();
            for (key, touched) in touched {
                groups.touch(definition, key, touched, self.sealed, &mut self.counts, &mut told);
            }
            if let Some(until) = until {
                groups.wake(definition, self.sealed, until, &mut told);
            }
            self.counts.evicted_groups += groups.bound(definition, self.sealed, self.limits);
            verdicts.extend(told.into_iter().map(|(keys, verdict)| (tenant.clone(), keys, verdict)));
        }
        state.retain(|_, groups| !groups.groups.is_empty());
        verdicts
    }
}

/// What comes to one group.
struct Touched {
    keys: Box<[Arc<str>]>,
    added: Vec<Entry>,
    removed: Vec<Place>,
}

/// By tenant and group, in order of first appearance.
fn sort_out(inbox: Inbox, per_tenant: &mut BTreeMap<TenantId, Vec<(GroupKey, Touched)>>) {
    let mut places: HashMap<(TenantId, GroupKey), usize> = HashMap::new();
    let mut group = |tenant: TenantId, keys: Box<[Arc<str>]>, put: &mut dyn FnMut(&mut Touched)| {
        let key = key_of(&keys);
        let list = per_tenant.entry(tenant.clone()).or_default();
        let place = *places.entry((tenant, key)).or_insert_with(|| {
            list.push((key, Touched { keys, added: Vec::new(), removed: Vec::new() }));
            list.len() - 1
        });
        put(&mut list[place].1);
    };
    for (tenant, keys, place) in inbox.removed {
        group(tenant, keys, &mut |touched| touched.removed.push(place));
    }
    for Observation { tenant, member, time, keys, value, witness, .. } in inbox.added {
        let mut entry = Some(Entry { time: time.0, member, value, witness });
        group(tenant, keys, &mut |touched| touched.added.extend(entry.take()));
    }
}

/// 128 bits of the hash of several values.
pub(crate) fn key_of(keys: &[Arc<str>]) -> GroupKey {
    let mut hasher = blake3::Hasher::new();
    for key in keys {
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key.as_bytes());
    }
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    u128::from_le_bytes(bytes)
}

impl Groups {
    fn touch(
        &mut self,
        definition: &Definition,
        key: GroupKey,
        mut touched: Touched,
        sealed: i64,
        counts: &mut WindowCounts,
        told: &mut Vec<(Box<[Arc<str>]>, Verdict)>,
    ) {
        let oldest = sealed.saturating_sub(definition.span_us);
        counts.observations += touched.added.len() as u64;
        counts.late += touched.added.iter().filter(|e| e.time <= sealed).count() as u64;
        let before = touched.added.len();
        touched.added.retain(|e| e.time >= oldest);
        counts.expired += (before - touched.added.len()) as u64;
        if touched.added.is_empty() && touched.removed.is_empty() {
            return;
        }
        let (groups, keys) = (&mut self.groups, touched.keys);
        let group = groups.entry(key).or_insert_with(|| Group { keys, timeline: Timeline::default() });
        let was_empty = group.timeline.is_empty();
        let (first_before, len_before) = (group.timeline.first_time(), group.timeline.len());
        group.timeline.forget_before(oldest, definition.span_us);
        let verdicts = group.timeline.update(definition, touched.added, &touched.removed, sealed, counts);
        told.extend(verdicts.into_iter().map(|v| (group.keys.clone(), v)));
        self.events = self.events + group.timeline.len() - len_before;
        if group.timeline.is_empty() {
            groups.remove(&key);
            return;
        }
        let first = group.timeline.first_time();
        // A group that has been there is listed already, unless it now begins earlier and must be judged earlier.
        if was_empty || (definition.kind.has_absence() && first < first_before) {
            let at = next_wake(definition, &group.timeline, sealed);
            self.wakes.entry(at).or_default().push(key);
        }
    }

    /// Looks at every group whose time has come: judges windows that ended, forgets what is over, and sleeps again.
    fn wake(
        &mut self,
        definition: &Definition,
        since: i64,
        until: i64,
        told: &mut Vec<(Box<[Arc<str>]>, Verdict)>,
    ) {
        let later = self.wakes.split_off(&until.saturating_add(1));
        let mut due: Vec<GroupKey> =
            std::mem::replace(&mut self.wakes, later).into_values().flatten().collect();
        due.sort_unstable();
        due.dedup();
        for key in due {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            if definition.kind.has_absence() {
                let verdicts = group.timeline.sweep(definition, since, until);
                told.extend(verdicts.into_iter().map(|v| (group.keys.clone(), v)));
            }
            let ended = until.saturating_sub(definition.span_us).saturating_add(1);
            let len_before = group.timeline.len();
            group.timeline.forget_before(ended, definition.span_us);
            self.events = self.events + group.timeline.len() - len_before;
            if group.timeline.is_empty() {
                self.groups.remove(&key);
            } else {
                let at = next_wake(definition, &group.timeline, until);
                self.wakes.entry(at).or_default().push(key);
            }
        }
    }

    /// Gives up the groups that would be forgotten first; how many.
    fn bound(&mut self, definition: &Definition, sealed: i64, limits: Limits) -> u64 {
        let mut given_up = 0;
        while self.groups.len() > limits.groups || self.events > limits.events {
            let Some((listed_at, keys)) = self.wakes.pop_first() else { return given_up };
            for key in keys {
                let at = self.groups.get(&key).map(|group| next_wake(definition, &group.timeline, sealed));
                match at {
                    // It has had events since it was listed.
                    Some(at) if at > listed_at => self.wakes.entry(at).or_default().push(key),
                    _ => {
                        let group = self.groups.remove(&key);
                        self.events -= group.as_ref().map_or(0, |group| group.timeline.len());
                        given_up += u64::from(group.is_some());
                    }
                }
            }
        }
        given_up
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

/// Written in the order of keys, so that equal states have equal bytes.
mod by_key {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Group, GroupKey, HashMap};

    pub(super) fn serialize<S: Serializer>(
        groups: &HashMap<GroupKey, Group>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut sorted: Vec<(&GroupKey, &Group)> = groups.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| **key);
        sorted.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<HashMap<GroupKey, Group>, D::Error> {
        Ok(Vec::<(GroupKey, Group)>::deserialize(from)?.into_iter().collect())
    }
}
