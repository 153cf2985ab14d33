//! The state of all correlations: groups by key, who wakes when, and what changed.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use event::snapshot::Pieces;
use event::{Alert, AlertId, Shelf, TenantId, Time, Watermark, Watermarks};
use serde::{Deserialize, Serialize};

use super::definition::{Definition, GROUP_EVENTS_MAX};
use super::groups::{Arrival, Groups, Told};
use super::observation::{Keys, Observation};
use super::timeline::{Entry, Place, WindowCounts};
use super::witness::shelve;
use super::{SnapshotError, alert, snapshot};
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
#[derive(Debug, Clone)]
pub struct Windows {
    /// By [`Definition::key`].
    pub(super) states: BTreeMap<Arc<str>, State>,
    pub(super) counts: WindowCounts,
    pub(super) limits: Limits,
    /// Where it is told of events what leads back to them.
    pub(super) shelf: Shelf,
}

/// One correlation.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// How far event time has come with the sources that can give what it watches.
    pub(super) sealed: i64,
    pub(super) tenants: BTreeMap<TenantId, Groups>,
}

impl Default for State {
    fn default() -> Self {
        Self { sealed: Watermark::START.0.0, tenants: BTreeMap::new() }
    }
}

/// What one correlation may hold for one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Limits {
    pub(super) groups: usize,
    pub(super) events: usize,
}

/// Observations and retractions for one correlation.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) added: Vec<Observation>,
    pub(super) removed: Vec<(TenantId, Keys, Place)>,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            states: BTreeMap::new(),
            counts: WindowCounts::default(),
            limits: Limits { groups: GROUPS_MAX, events: EVENTS_MAX },
            shelf: Shelf::in_memory(),
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
    /// Bytes of them in memory, without the texts of their keys and what leads back to them.
    pub bytes: usize,
}

impl WorstCase {
    /// Of a correlation with this definition: without `group-by` there is one group.
    pub(crate) fn of(definition: &Definition) -> Self {
        let groups = if definition.group_by.is_empty() { 1 } else { GROUPS_MAX };
        let events = if definition.group_by.is_empty() { GROUP_EVENTS_MAX } else { EVENTS_MAX };
        Self { groups, events, bytes: groups * Groups::bytes_of_group() + events * size_of::<Entry>() }
    }
}

impl Windows {
    #[cfg(test)]
    pub(super) fn with_limits(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Windows that have seen nothing, and put what leads back to events on a shelf.
    pub fn on(shelf: Shelf) -> Self {
        Self { shelf, ..Self::default() }
    }

    /// Takes in what [`RuleSet::evaluate`] observed.
    pub fn observe(&mut self, set: &RuleSet, mut observations: Vec<Observation>) -> Vec<CorrelationChange> {
        shelve(observations.iter_mut().map(|observation| &mut observation.witness), &self.shelf);
        let mut inboxes = inboxes(set);
        for observation in observations {
            inboxes[observation.correlation as usize].added.push(observation);
        }
        self.run(set, inboxes, None)
    }

    /// Event time has come to `watermarks`: windows that ended are judged for what was absent, and forgotten. A correlation
    /// waits for the sources that can give what it watches.
    pub fn advance(&mut self, set: &RuleSet, watermarks: &Watermarks) -> Vec<CorrelationChange> {
        self.run(set, inboxes(set), Some(watermarks))
    }

    /// The whole state as bytes; equal states have equal bytes.
    pub fn snapshot(&self) -> Pieces {
        Pieces::of(|pieces| self.write_snapshot(pieces))
    }

    /// Writes [`Windows::snapshot`] to where it does not take memory.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn write_snapshot(&self, out: impl Write) -> io::Result<()> {
        snapshot::write_to(self, out)
    }

    /// Reads [`Windows::snapshot`] back, without the state of correlations that `set` does not have in that form.
    ///
    /// # Errors
    /// Where the bytes are no such snapshot.
    pub fn restore(set: &RuleSet, bytes: &Pieces, shelf: Shelf) -> Result<Self, SnapshotError> {
        let mut windows = snapshot::read(bytes, shelf)?;
        windows.retain(set);
        Ok(windows)
    }

    /// How far event time has come with what the correlation of an observation watches: what is at or before it is late.
    pub fn watermark(&self, set: &RuleSet, observation: &Observation) -> Watermark {
        let definition = set.correlations.definitions.get(observation.correlation as usize);
        let state = definition.and_then(|definition| self.states.get(&definition.key));
        state.map_or(Watermark::START, |state| Watermark(Time(state.sealed)))
    }

    /// What was taken in, late, given up.
    pub fn counts(&self) -> WindowCounts {
        self.counts
    }

    /// Groups that are held, over all correlations and tenants.
    pub fn groups(&self) -> usize {
        self.all().map(Groups::len).sum()
    }

    /// Events that are held, over all groups.
    pub fn events(&self) -> usize {
        self.all().map(Groups::events).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Groups> {
        self.states.values().flat_map(|state| state.tenants.values())
    }

    /// Forgets the state of correlations that the set does not have any more, or has in another form.
    pub fn retain(&mut self, set: &RuleSet) {
        self.states.retain(|key, _| set.correlations.definitions.iter().any(|d| d.key == *key));
    }

    /// Correlations in order: what feeds others comes before them.
    fn run(
        &mut self,
        set: &RuleSet,
        mut inboxes: Vec<Inbox>,
        watermarks: Option<&Watermarks>,
    ) -> Vec<CorrelationChange> {
        let mut changes = Vec::new();
        for (index, definition) in (0..).zip(&set.correlations.definitions) {
            let inbox = std::mem::take(&mut inboxes[index as usize]);
            if inbox.added.is_empty() && inbox.removed.is_empty() && watermarks.is_none() {
                continue;
            }
            let until = watermarks.map(|watermarks| watermarks.without(&definition.unrelated).0.0);
            for (tenant, told) in self.step(definition, inbox, until) {
                for (keys, verdict) in told {
                    let change = alert::change(definition, &tenant, &keys, &verdict);
                    set.correlations.feed(index, &tenant, &keys, &change, &mut inboxes);
                    if !definition.silent {
                        changes.push(change);
                    }
                }
            }
        }
        changes
    }

    /// What the groups of each tenant tell.
    fn step(&mut self, definition: &Definition, inbox: Inbox, until: Option<i64>) -> Vec<(TenantId, Told)> {
        if !self.states.contains_key(&definition.key) {
            self.states.insert(Arc::clone(&definition.key), State::default());
        }
        let Some(State { sealed, tenants }) = self.states.get_mut(&definition.key) else { return Vec::new() };
        let until = until.filter(|until| *until > *sealed);
        let mut arrivals = by_tenant(inbox);
        if until.is_some() {
            tenants.keys().for_each(|tenant| {
                arrivals.entry(tenant.clone()).or_default();
            });
        }
        let mut all = Vec::new();
        for (tenant, arrivals) in arrivals {
            let groups = tenants.entry(tenant.clone()).or_default();
            let mut told = Told::new();
            groups.take_in(definition, arrivals, *sealed, &mut self.counts, &mut told);
            if let Some(until) = until {
                groups.advance(definition, *sealed, until, &mut told);
            }
            self.counts.evicted_groups += groups.bound(definition, *sealed, self.limits);
            all.push((tenant, told));
        }
        tenants.retain(|_, groups| groups.len() > 0);
        *sealed = until.unwrap_or(*sealed);
        all
    }
}

/// One for each correlation.
fn inboxes(set: &RuleSet) -> Vec<Inbox> {
    set.correlations.definitions.iter().map(|_| Inbox::default()).collect()
}

fn by_tenant(inbox: Inbox) -> BTreeMap<TenantId, Vec<(Keys, Arrival)>> {
    let arrivals = inbox.added.len() + inbox.removed.len();
    let mut tenants: BTreeMap<TenantId, Vec<(Keys, Arrival)>> = BTreeMap::new();
    let mut put = |tenant: TenantId, keys: Keys, arrival: Arrival| match tenants.get_mut(&tenant) {
        Some(of_tenant) => of_tenant.push((keys, arrival)),
        None => {
            // Most often there is one tenant.
            let mut of_tenant = Vec::with_capacity(arrivals);
            of_tenant.push((keys, arrival));
            tenants.insert(tenant, of_tenant);
        }
    };
    for (tenant, keys, place) in inbox.removed {
        put(tenant, keys, Arrival::Removed(place));
    }
    for Observation { tenant, member, time, keys, value, witness, .. } in inbox.added {
        put(tenant, keys, Arrival::Added(Entry { time: time.0, member, value, witness }));
    }
    tenants
}
