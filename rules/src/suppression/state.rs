//! The state of all suppressions: timelines by key, who wakes when, and what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::snapshot::Pieces;
use event::{Alert, AlertId, TenantId, Time, Watermark};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::rule::{SuppressionKey, SuppressionRule, Terms};
use super::timeline::{Suppression, SuppressionCounts, Timeline, Touched};
use crate::correlation::{CorrelationChange, SnapshotError, key_of};
use crate::set::RuleSet;

/// Keys of one rule and tenant, at most. Beyond it the one that would be forgotten first is given up: its window ends.
pub const SUPPRESSION_KEYS_MAX: usize = 100_000;

/// What alerts, or the passing of event time, changed. What is said of an alert replaces what was said of it before.
#[allow(clippy::large_enum_variant, reason = "nearly every change is an alert, and it is moved on at once")]
#[derive(Debug, Clone, PartialEq)]
pub enum SuppressionChange {
    /// The alert stands. Provisional until the watermark passes its time.
    Passed(Alert),
    /// The alert does not stand: another stands for it. Provisional likewise.
    Suppressed {
        /// The alert that passed.
        by: AlertId,
        /// The alert that did not.
        alert: Alert,
    },
    /// An alert that had passed no longer stands: an earlier one came after it, or its correlation took it back.
    Retracted {
        /// The tenant of the alert.
        tenant: TenantId,
        /// The alert.
        alert: AlertId,
        /// Its event time.
        time: Time,
        /// The last alert of its key that stands, if there is one.
        in_place: Option<AlertId>,
    },
    /// The windows of a key that are not over yet, as far as they came: they replace what was last said of them. Windows
    /// that are not among them any more never were, unless they are [`SuppressionChange::Closed`].
    Running {
        /// The tenant.
        tenant: TenantId,
        /// The rule whose alerts are suppressed.
        rule_id: Arc<str>,
        /// Names and values, in lower case, of the key fields.
        key: Vec<(Arc<str>, Arc<str>)>,
        /// Those with suppressed alerts; mostly one, or none.
        windows: Vec<Suppression>,
    },
    /// A window with suppressed alerts is over, and sealed: this is the last that is said of it.
    Closed(Suppression),
}

/// The state of every suppression, for every tenant.
///
/// What it reports is a function of the alerts, not of their order: after all changes are applied, the alerts that
/// stand are those of one pass over the alerts sorted by event time, provided that none came after the watermark had
/// passed it and that no bound was reached.
///
/// Per turn: [`Windows`](crate::Windows) first, so that its changes come in; then [`Suppressions::observe`] and
/// [`Suppressions::observe_correlations`]; then [`Suppressions::advance`] with the same watermark.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Suppressions {
    /// By [`SuppressionRule::key`]. State of terms that no rule has any more ends with its windows.
    states: BTreeMap<Arc<str>, RuleState>,
    sealed: i64,
    counts: SuppressionCounts,
    keys_max: usize,
}

/// Marks the bytes of a snapshot and their format.
const MAGIC: &[u8; 8] = b"astersu2";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RuleState {
    terms: Terms,
    tenants: BTreeMap<TenantId, Keys>,
}

/// The keys of one rule and tenant.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Keys {
    timelines: BTreeMap<KeyHash, Timeline>,
    /// When to look at a key again, by event time; each key once.
    wakes: BTreeSet<(i64, KeyHash)>,
    /// When a key would be forgotten; each key once.
    ends: BTreeSet<(i64, KeyHash)>,
}

/// 128 bits of the hash of the key's values.
type KeyHash = u128;

/// What comes to each key, by state and tenant.
type Inbox<'a> = BTreeMap<Arc<str>, (&'a SuppressionRule, BTreeMap<TenantId, BTreeMap<KeyHash, Touched>>)>;

impl Default for Suppressions {
    fn default() -> Self {
        Self {
            states: BTreeMap::new(),
            sealed: Watermark::START.0.0,
            counts: SuppressionCounts::default(),
            keys_max: SUPPRESSION_KEYS_MAX,
        }
    }
}

impl Suppressions {
    /// Takes in alerts of detection rules, and the keys that [`RuleSet::evaluate`] gave for some of them. An alert
    /// without a key, or of a rule that suppresses nothing, passes at once.
    pub fn observe(
        &mut self,
        set: &RuleSet,
        alerts: Vec<Alert>,
        keys: Vec<SuppressionKey>,
    ) -> Vec<SuppressionChange> {
        let keys: HashMap<AlertId, Vec<Arc<str>>> = keys.into_iter().map(|k| (k.alert, k.values)).collect();
        let (mut changes, mut inbox) = (Vec::new(), Inbox::new());
        for alert in alerts {
            match (set.suppressions.get(&alert.rule.id), keys.get(&alert.id)) {
                (Some(rule), Some(values)) => add(&mut inbox, rule, values.clone(), alert),
                _ => changes.push(SuppressionChange::Passed(alert)),
            }
        }
        changes.extend(self.run(inbox));
        changes
    }

    /// Takes in what [`Windows`](crate::Windows) reports; the keys are group-by values.
    pub fn observe_correlations(
        &mut self,
        set: &RuleSet,
        correlated: Vec<CorrelationChange>,
    ) -> Vec<SuppressionChange> {
        let (mut changes, mut inbox) = (Vec::new(), Inbox::new());
        for change in correlated {
            match change {
                CorrelationChange::Fired(alert) => {
                    let rule = set.suppressions.get(&alert.rule.id);
                    let keyed = rule.and_then(|rule| Some((rule, rule.values_of_alert(set, &alert)?)));
                    match keyed {
                        Some((rule, values)) => add(&mut inbox, rule, values, alert),
                        None => changes.push(SuppressionChange::Passed(alert)),
                    }
                }
                CorrelationChange::Retracted { tenant, rule, group, alert, time, in_place } => {
                    let is_known = set.suppressions.get(&rule).is_some_and(|rule| {
                        self.take_back(&mut inbox, rule, &tenant, rule.values_of_group(&group), &alert)
                    });
                    if !is_known {
                        changes.push(SuppressionChange::Retracted { tenant, alert, time, in_place });
                    }
                }
            }
        }
        changes.extend(self.run(inbox));
        changes
    }

    /// Event time has come to `watermark`: what came before is final, and windows that ended are rows.
    pub fn advance(&mut self, watermark: Watermark) -> Vec<SuppressionChange> {
        let until = watermark.0.0;
        if until <= self.sealed {
            return Vec::new();
        }
        let Self { states, counts, .. } = self;
        let mut rows = Vec::new();
        for RuleState { terms, tenants } in states.values_mut() {
            for (tenant, keys) in tenants.iter_mut() {
                rows.extend(keys.advance(terms, tenant, until, counts));
            }
        }
        self.forget_empty();
        self.sealed = until;
        rows.into_iter().map(SuppressionChange::Closed).collect()
    }

    /// Each window with suppressed alerts that is not closed yet, as if no more alerts came: what the
    /// [`SuppressionChange::Running`] so far come to.
    pub fn running(&self) -> Vec<Suppression> {
        let of_tenant = |terms: &Terms, tenant: &TenantId, keys: &Keys| {
            keys.timelines.values().flat_map(|timeline| timeline.rows(terms, tenant)).collect::<Vec<_>>()
        };
        let states = self.states.values().flat_map(|s| s.tenants.iter().map(|(t, keys)| (&s.terms, t, keys)));
        states.flat_map(|(terms, tenant, keys)| of_tenant(terms, tenant, keys)).collect()
    }

    /// The whole state as bytes; equal states have equal bytes.
    pub fn snapshot(&self) -> Pieces {
        event::snapshot::write(MAGIC, self)
    }

    /// Reads [`Suppressions::snapshot`] back. Windows of rules that have changed since then end at their time.
    ///
    /// # Errors
    /// Where the bytes are no such snapshot.
    pub fn restore(bytes: &Pieces) -> Result<Self, SnapshotError> {
        let refuse = |problem: String| SnapshotError::new("suppression", problem);
        event::snapshot::read(MAGIC, bytes).map_err(refuse)
    }

    /// What was taken in, suppressed, late, given up.
    pub fn counts(&self) -> SuppressionCounts {
        self.counts
    }

    /// Keys that are kept, over all rules and tenants.
    pub fn keys(&self) -> usize {
        self.all_keys().map(|keys| keys.timelines.len()).sum()
    }

    /// Alerts that are held until the watermark passes them, over all keys.
    pub fn held(&self) -> usize {
        self.all_keys().flat_map(|keys| keys.timelines.values()).map(Timeline::len).sum()
    }

    #[cfg(test)]
    pub(super) fn with_keys_max(keys_max: usize) -> Self {
        Self { keys_max, ..Self::default() }
    }

    fn all_keys(&self) -> impl Iterator<Item = &Keys> {
        self.states.values().flat_map(|state| state.tenants.values())
    }

    /// Takes an alert back that waits in the inbox, or is held; whether it did.
    fn take_back<'a>(
        &self,
        inbox: &mut Inbox<'a>,
        rule: &'a SuppressionRule,
        tenant: &TenantId,
        values: Vec<Arc<str>>,
        alert: &AlertId,
    ) -> bool {
        let keys = self.states.get(&rule.key).and_then(|state| state.tenants.get(tenant));
        let timeline = keys.and_then(|keys| keys.timelines.get(&key_of(&values)));
        let is_held = timeline.is_some_and(|timeline| timeline.holds(alert));
        let touched = touched(inbox, rule, tenant, values);
        let waiting = touched.added.len();
        touched.added.retain(|added| added.id != *alert);
        if is_held {
            touched.removed.push(alert.clone());
        }
        is_held || touched.added.len() < waiting
    }

    fn run(&mut self, inbox: Inbox<'_>) -> Vec<SuppressionChange> {
        let mut changes = Vec::new();
        let Self { states, sealed, counts, keys_max } = self;
        for (state_key, (rule, tenants)) in inbox {
            let state = states
                .entry(state_key)
                .or_insert_with(|| RuleState { terms: rule.terms.clone(), tenants: BTreeMap::new() });
            for (tenant, touched) in tenants {
                let keys = state.tenants.entry(tenant.clone()).or_default();
                for (key, touched) in touched {
                    changes.extend(keys.touch(&state.terms, &tenant, key, touched, *sealed, counts));
                }
                let given_up = keys.bound(&state.terms, &tenant, *keys_max, counts);
                changes.extend(given_up.into_iter().map(SuppressionChange::Closed));
            }
        }
        self.forget_empty();
        changes
    }

    fn forget_empty(&mut self) {
        for state in self.states.values_mut() {
            state.tenants.retain(|_, keys| !keys.timelines.is_empty());
        }
        self.states.retain(|_, state| !state.tenants.is_empty());
    }
}

fn add<'a>(inbox: &mut Inbox<'a>, rule: &'a SuppressionRule, values: Vec<Arc<str>>, alert: Alert) {
    touched(inbox, rule, &alert.tenant, values).added.push(alert);
}

fn touched<'i, 'a>(
    inbox: &'i mut Inbox<'a>,
    rule: &'a SuppressionRule,
    tenant: &TenantId,
    values: Vec<Arc<str>>,
) -> &'i mut Touched {
    let (_, tenants) = inbox.entry(Arc::clone(&rule.key)).or_insert_with(|| (rule, BTreeMap::new()));
    let keys = tenants.entry(tenant.clone()).or_default();
    let touched = keys.entry(key_of(&values)).or_default();
    touched.values = values;
    touched
}

impl Keys {
    fn touch(
        &mut self,
        terms: &Terms,
        tenant: &TenantId,
        key: KeyHash,
        mut touched: Touched,
        sealed: i64,
        counts: &mut SuppressionCounts,
    ) -> Vec<SuppressionChange> {
        let values = std::mem::take(&mut touched.values);
        let timeline = self.timelines.entry(key).or_insert_with(|| Timeline::new(values));
        self.wakes.remove(&(timeline.wake(), key));
        self.ends.remove(&(timeline.end(), key));
        let before = timeline.rows(terms, tenant);
        let mut changes = timeline.update(terms, tenant, touched, sealed, counts);
        let windows = timeline.rows(terms, tenant);
        if windows != before {
            let (tenant, rule_id) = (tenant.clone(), Arc::clone(&terms.rule_id));
            changes.push(SuppressionChange::Running { tenant, rule_id, key: timeline.key(terms), windows });
        }
        self.rest(key);
        changes
    }

    /// A key that was looked at sleeps again, or is forgotten.
    fn rest(&mut self, key: KeyHash) {
        let Some(timeline) = self.timelines.get(&key) else { return };
        if timeline.is_empty() {
            self.timelines.remove(&key);
        } else {
            self.wakes.insert((timeline.wake(), key));
            self.ends.insert((timeline.end(), key));
        }
    }

    fn advance(
        &mut self,
        terms: &Terms,
        tenant: &TenantId,
        until: i64,
        counts: &mut SuppressionCounts,
    ) -> Vec<Suppression> {
        let mut rows = Vec::new();
        while let Some((_, key)) = self.wakes.first().copied().filter(|(at, _)| *at <= until) {
            self.wakes.pop_first();
            if let Some(timeline) = self.timelines.get_mut(&key) {
                self.ends.remove(&(timeline.end(), key));
                rows.extend(timeline.advance(terms, tenant, until, counts));
            }
            self.rest(key);
        }
        rows
    }

    /// Gives up the keys that would be forgotten first; the rows of their windows.
    fn bound(
        &mut self,
        terms: &Terms,
        tenant: &TenantId,
        keys_max: usize,
        counts: &mut SuppressionCounts,
    ) -> Vec<Suppression> {
        let mut rows = Vec::new();
        while self.timelines.len() > keys_max {
            let Some((_, key)) = self.ends.pop_first() else { return rows };
            if let Some(mut timeline) = self.timelines.remove(&key) {
                self.wakes.remove(&(timeline.wake(), key));
                counts.evicted_keys += 1;
                rows.extend(timeline.advance(terms, tenant, i64::MAX, counts));
            }
        }
        rows
    }
}
