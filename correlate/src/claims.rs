//! What analysts said, as it stands: the inputs in order, without those that were undone.
//!
//! Nothing here is carried out: where alerts and incidents stand is asked of the inputs anew each time, so saying and
//! undoing in any order beside the arrival of alerts ends the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{AlertId, Guard, IncidentId, IncidentStatus, InputId, TenantId};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::evidence::Key;
use crate::input::{AnalystInput, Said};
use crate::keyed::Keyed;
use crate::meaning::incident_id;
use crate::snapshot::sorted;

/// The analysts' inputs of a tenant.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// By their place in the order of saying.
    inputs: BTreeMap<u64, AnalystInput>,
    places: BTreeMap<InputId, u64>,
    next: u64,
    /// Which inputs speak of an alert, in order.
    #[serde(with = "sorted")]
    by_alert: HashMap<AlertId, Vec<u64>>,
    /// Places of undoing inputs.
    undos: BTreeSet<u64>,
    /// Places of inputs that were undone.
    undone: BTreeSet<u64>,
    /// Places of inputs that tell names apart.
    distinct: BTreeSet<u64>,
    /// Inputs forgotten because the table was full.
    pub(crate) evicted: u64,
}

/// What analysts said about an alert or a group of them, and what else decides whether groups may become one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) status: Option<IncidentStatus>,
    pub(crate) assignee: Option<String>,
    pub(crate) classification: Option<String>,
    /// The input that closed it.
    pub(crate) closed: Option<u64>,
    /// Side taken in each split, move and veto.
    apart: BTreeMap<u64, bool>,
    /// Scopes of its alerts, sorted.
    pub(crate) scopes: SmallVec<[u16; 2]>,
    /// The last input that spoke of it.
    last: u64,
    /// Inputs that spoke of it, undone ones and their undoing among them: it never falls.
    pub(crate) inputs: u64,
    /// Begin of its last alert, in microseconds.
    pub(crate) latest: i64,
}

/// What keeps two groups apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// What a person may decide otherwise.
    Guard(Guard),
    /// A person decided it so.
    Apart,
    /// The join rests on two names that a person said are two things.
    Distinct,
    /// The incident had rested or lasted too long.
    Age,
    /// Both are parts of what would be too large.
    Size,
}

impl Hold {
    pub(crate) const fn because(self) -> &'static str {
        match self {
            Hold::Guard(Guard::Closed) => "one of the incidents is closed",
            Hold::Guard(Guard::Assignee) => "the incidents have different assignees",
            Hold::Guard(Guard::Classification) => "the incidents have different classifications",
            Hold::Guard(Guard::Scope) => "the incidents belong to different scopes",
            Hold::Guard(Guard::Worked) => "people work on both incidents, and the join is weak",
            Hold::Apart => "an analyst took them apart",
            Hold::Distinct => "an analyst said that the names behind the join are not of one thing",
            Hold::Age => "the incident had rested or lasted too long to take more",
            Hold::Size => "one incident of both would be too large",
        }
    }
}

impl Claims {
    /// Records an input; one that is known already changes nothing. Returns the alerts it is about.
    pub(crate) fn add(&mut self, input: AnalystInput, inputs_max: usize) -> Vec<AlertId> {
        let id = input.id();
        if self.places.contains_key(&id) {
            return Vec::new();
        }
        let (alerts, place) = (input.alerts.clone(), self.next);
        self.next += 1;
        for alert in &alerts {
            self.by_alert.entry(alert.clone()).or_default().push(place);
        }
        self.places.insert(id, place);
        match &input.said {
            Said::Undo { .. } => drop(self.undos.insert(place)),
            Said::Distinct { .. } => drop(self.distinct.insert(place)),
            _ => {}
        }
        self.inputs.insert(place, input);
        while self.inputs.len() > inputs_max {
            let Some(oldest) = self.inputs.first_key_value().map(|(place, _)| *place) else { break };
            self.remove(oldest);
            self.evicted += 1;
        }
        self.settle_undone();
        alerts
    }

    /// An undo takes back what is before it, unless it was undone itself.
    fn settle_undone(&mut self) {
        self.undone.clear();
        for place in self.undos.iter().rev() {
            let Some(Said::Undo { input: target }) = self.inputs.get(place).map(|input| &input.said) else {
                continue;
            };
            let target = self.places.get(target).filter(|target| *target < place);
            if let (Some(target), false) = (target, self.undone.contains(place)) {
                self.undone.insert(*target);
            }
        }
    }

    fn remove(&mut self, place: u64) {
        let Some(input) = self.inputs.remove(&place) else { return };
        self.places.remove(&input.id());
        self.undos.remove(&place);
        self.distinct.remove(&place);
        for alert in &input.alerts {
            if let Some(places) = self.by_alert.get_mut(alert) {
                places.retain(|p| *p != place);
                if places.is_empty() {
                    self.by_alert.remove(alert);
                }
            }
        }
    }

    /// Forgets inputs none of whose alerts is held any more.
    pub(crate) fn forget(&mut self, held: impl Fn(&AlertId) -> bool, dropped: &[Arc<Keyed>]) {
        let concerned: BTreeSet<u64> =
            dropped.iter().filter_map(|alert| self.by_alert.get(&alert.id)).flatten().copied().collect();
        for place in concerned {
            if self.inputs.get(&place).is_some_and(|input| !input.alerts.iter().any(&held)) {
                self.remove(place);
            }
        }
        self.settle_undone();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.inputs.len()
    }

    pub(crate) fn get(&self, id: &InputId) -> Option<&AnalystInput> {
        self.places.get(id).and_then(|place| self.inputs.get(place))
    }

    /// Whether an input was undone, and that was not undone.
    pub(crate) fn is_undone(&self, id: &InputId) -> bool {
        self.places.get(id).is_some_and(|place| self.undone.contains(place))
    }

    /// All inputs in force and undone, in order of saying.
    pub(crate) fn all(&self) -> impl Iterator<Item = &AnalystInput> {
        self.inputs.values()
    }

    /// The inputs that speak of one of some alerts, in order of saying.
    pub(crate) fn about(&self, alerts: &[AlertId]) -> impl Iterator<Item = &AnalystInput> {
        let places: BTreeSet<u64> = alerts.iter().flat_map(|alert| self.of(alert)).copied().collect();
        places.into_iter().filter_map(|place| self.inputs.get(&place))
    }

    /// Places of the inputs that speak of an alert, undone ones among them.
    pub(crate) fn of(&self, alert: &AlertId) -> &[u64] {
        self.by_alert.get(alert).map_or(&[], Vec::as_slice)
    }

    /// The input at a place, if it is in force.
    pub(crate) fn in_force(&self, place: u64) -> Option<&AnalystInput> {
        self.inputs.get(&place).filter(|_| !self.undone.contains(&place))
    }

    /// The alerts that the input at a place speaks of.
    pub(crate) fn alerts_of(&self, place: u64) -> &[AlertId] {
        self.inputs.get(&place).map_or(&[], |input| &input.alerts)
    }

    /// Pairs of names that are two things.
    pub(crate) fn distinct(&self, tenant: &TenantId) -> Vec<(Key, Key)> {
        let pair = |place: &u64| match &self.in_force(*place)?.said {
            Said::Distinct { entity_type, a, b } => {
                Some((Key::of(tenant, *entity_type, a), Key::of(tenant, *entity_type, b)))
            }
            _ => None,
        };
        self.distinct.iter().filter_map(pair).collect()
    }

    pub(crate) fn standing(&self, alert: &AlertId) -> Standing {
        let mut standing = Standing::default();
        for &place in self.of(alert) {
            standing.last = place + 1;
            standing.inputs += 1;
            if let Some(input) = self.in_force(place) {
                self.hear(&mut standing, place, input, alert);
            }
        }
        standing
    }

    fn hear(&self, standing: &mut Standing, place: u64, input: &AnalystInput, alert: &AlertId) {
        match &input.said {
            Said::Assign { assignee, .. } => standing.assignee.clone_from(assignee),
            Said::SetStatus { status, .. } => {
                standing.status = Some(*status);
                standing.closed = (*status == IncidentStatus::Closed).then_some(place);
            }
            Said::Classify { classification, .. } => standing.classification.clone_from(classification),
            // Whoever merges knows of the splits, assignments and closings before.
            Said::Merge { .. } => {
                let kept = input.kept.as_ref();
                *standing = Standing {
                    assignee: kept.and_then(|kept| kept.assignee.clone()),
                    classification: kept.and_then(|kept| kept.classification.clone()),
                    status: kept
                        .map(|kept| kept.status)
                        .filter(|status| *status == IncidentStatus::InProgress),
                    last: standing.last,
                    inputs: standing.inputs,
                    ..Standing::default()
                };
            }
            Said::Move { moving, .. } if has(moving, alert) => {
                // Between it and where it goes nothing that was said before stands.
                standing.apart.retain(|before, side| {
                    !input.other.iter().any(|other| self.side(*before, other) == Some(!*side))
                });
                standing.assignee = None;
                standing.classification = None;
                standing.closed = input.other.first().and_then(|other| self.closed_before(place, other));
                standing.status = standing.closed.map(|_| IncidentStatus::Closed);
                standing.apart.insert(place, true);
            }
            Said::Split { .. } | Said::Veto { .. } | Said::Move { .. } => {
                if let Some(side) = self.side(place, alert) {
                    standing.apart.insert(place, side);
                }
            }
            Said::Distinct { .. } | Said::Undo { .. } => {}
        }
    }

    /// The input that had closed the incident of an alert before a place.
    fn closed_before(&self, place: u64, alert: &AlertId) -> Option<u64> {
        let before = self.of(alert).iter().copied().take_while(|before| *before < place);
        let said = before.filter_map(|before| match &self.in_force(before)?.said {
            Said::SetStatus { status, .. } => Some((before, *status)),
            _ => None,
        });
        said.last().filter(|(_, status)| *status == IncidentStatus::Closed).map(|(before, _)| before)
    }

    /// The side that an alert takes in what takes alerts apart.
    fn side(&self, place: u64, alert: &AlertId) -> Option<bool> {
        self.of(alert).binary_search(&place).ok()?;
        let input = self.in_force(place)?;
        match &input.said {
            Said::Split { leaving, .. } => Some(has(leaving, alert)),
            Said::Veto { a, .. } => Some(a == alert),
            Said::Move { moving, .. } if has(moving, alert) => Some(true),
            Said::Move { .. } => (!has(&input.other, alert)).then_some(false),
            _ => None,
        }
    }

    /// How incidents are called that the inputs at some places speak of.
    pub(crate) fn names(&self, places: &BTreeSet<u64>) -> Calling {
        let mut names = Calling::default();
        for &place in places {
            let Some(input) = self.in_force(place) else { continue };
            match &input.said {
                Said::Assign { .. } | Said::SetStatus { .. } | Said::Classify { .. } => {
                    names.worked.extend(input.alerts.iter().cloned());
                }
                Said::Merge { .. } => {
                    names.guests.extend(input.other.iter().cloned());
                    names.worked.extend(input.alerts.iter().cloned());
                }
                Said::Move { moving, .. } => names.hear_move(input, moving),
                _ => {}
            }
        }
        names
    }
}

/// How incidents are called: by the first of their alerts that is no guest, of those that people worked on if there
/// are any. Every alert has one name that no other has, so two incidents never have one.
#[derive(Debug, Default)]
pub(crate) struct Calling {
    /// Names that are not the alert's own.
    given: HashMap<AlertId, IncidentId>,
    /// Alerts that came from another incident.
    guests: BTreeSet<AlertId>,
    worked: BTreeSet<AlertId>,
}

impl Calling {
    pub(crate) fn name(&self, tenant: &TenantId, alert: &AlertId) -> IncidentId {
        self.given.get(alert).cloned().unwrap_or_else(|| incident_id(tenant, alert))
    }

    /// The rank of an alert in calling its incident; the least calls it, of equal ones the earliest.
    pub(crate) fn rank(&self, alert: &AlertId) -> (bool, bool) {
        (self.guests.contains(alert), !self.worked.contains(alert))
    }

    /// The incident that alerts move out of keeps its name, even where the alert moves that it is called by.
    fn hear_move(&mut self, input: &AnalystInput, moving: &[AlertId]) {
        let Said::Move { from, .. } = &input.said else { return };
        self.guests.extend(moving.iter().cloned());
        let caller = moving.iter().find(|alert| self.name(&input.tenant, alert) == *from);
        let heir = input.alerts.iter().find(|alert| !has(moving, alert) && !has(&input.other, alert));
        if let (Some(caller), Some(heir)) = (caller, heir) {
            let name = self.name(&input.tenant, heir);
            self.given.insert(heir.clone(), from.clone());
            self.given.insert(caller.clone(), name);
        }
    }
}

/// Whether a sorted list has an alert.
fn has(alerts: &[AlertId], alert: &AlertId) -> bool {
    alerts.binary_search(alert).is_ok()
}

impl Standing {
    /// Whether a person took two groups apart.
    pub(crate) fn is_apart(&self, other: &Standing) -> bool {
        self.apart.iter().any(|(i, side)| other.apart.get(i).is_some_and(|theirs| theirs != side))
    }

    /// Opens what was closed: more came in time.
    pub(crate) fn reopen(&mut self) {
        self.closed = None;
        let status = if self.assignee.is_some() { IncidentStatus::InProgress } else { IncidentStatus::New };
        self.status = Some(status);
    }

    /// Why two groups must not become one by themselves, whatever joins them.
    pub(crate) fn conflict(&self, other: &Standing) -> Option<Hold> {
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        if self.is_apart(other) {
            return Some(Hold::Apart);
        }
        if self.closed != other.closed {
            return Some(Hold::Guard(Guard::Closed));
        }
        if differ(&self.assignee, &other.assignee) {
            return Some(Hold::Guard(Guard::Assignee));
        }
        differ(&self.classification, &other.classification).then_some(Hold::Guard(Guard::Classification))
    }

    /// Why two groups must not become one over a join of this weight.
    pub(crate) fn conflict_over(&self, other: &Standing, weight: u32, worked_min: u32) -> Option<Hold> {
        let conflict = self.conflict(other);
        if conflict.is_some() {
            return conflict;
        }
        let scopes_differ = !self.scopes.is_empty()
            && !other.scopes.is_empty()
            && !self.scopes.iter().any(|scope| other.scopes.contains(scope));
        if scopes_differ {
            return Some(Hold::Guard(Guard::Scope));
        }
        let is_weak = self.is_worked() && other.is_worked() && weight < worked_min;
        is_weak.then_some(Hold::Guard(Guard::Worked))
    }

    /// Whether somebody works on it, or has.
    fn is_worked(&self) -> bool {
        self.assignee.is_some()
            || self.classification.is_some()
            || matches!(self.status, Some(IncidentStatus::InProgress | IncidentStatus::Closed))
    }

    pub(crate) fn absorb(&mut self, other: Standing) {
        let newer = other.last > self.last;
        let pick = |mine: Option<String>, theirs: Option<String>| {
            if newer { theirs.or(mine) } else { mine.or(theirs) }
        };
        self.assignee = pick(self.assignee.take(), other.assignee);
        self.classification = pick(self.classification.take(), other.classification);
        self.status = if newer { other.status.or(self.status) } else { self.status.or(other.status) };
        self.closed = self.closed.or(other.closed);
        self.apart.extend(other.apart);
        self.scopes.extend(other.scopes);
        self.scopes.sort_unstable();
        self.scopes.dedup();
        self.last = self.last.max(other.last);
        self.inputs = self.inputs.max(other.inputs);
        self.latest = self.latest.max(other.latest);
    }
}
