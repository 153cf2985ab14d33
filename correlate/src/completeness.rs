//! The completeness ledger: what became of every hour of event time under every rule. Whoever asks whether a rule has
//! seen all of a night gets an answer with numbers, and not that nothing failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::snapshot::Pieces;
use event::{TenantId, Time, Watermark};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::error::CorrelateError;
use crate::snapshot::sorted;

/// What one rule did with one hour of event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInterval {
    /// Tenant.
    pub tenant: TenantId,
    /// Id of the rule.
    pub rule: Arc<str>,
    /// Where the hour begins. Both 1970 for what came so late that its hour was closed: see [`Completeness::observe`].
    pub start: Time,
    /// Where it ends; not part of it.
    pub end: Time,
    /// Counts.
    pub counts: RuleCounts,
    /// Event time has passed it: what still comes is late.
    pub is_complete: bool,
}

/// Counts of a rule in an interval. Events of a detection rule are rows of its logsource; those of a correlation rule
/// are matches of the rules that it watches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCounts {
    /// Events evaluated, the late ones among them.
    pub evaluated: u64,
    /// Events that came after event time had passed them, and were evaluated nevertheless.
    pub late: u64,
    /// Results taken back or changed because earlier events came after later ones.
    pub recomputed: u64,
    /// Events that came too late to count.
    pub dropped: u64,
}

impl RuleCounts {
    fn add(&mut self, more: RuleCounts) {
        self.evaluated += more.evaluated;
        self.late += more.late;
        self.recomputed += more.recomputed;
        self.dropped += more.dropped;
    }
}

/// The ledger of all tenants and rules. An hour is closed two days of event time after it ended, or when the ledger is
/// full; what comes for a closed hour is counted under 1970, so that the total stays right.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Completeness {
    /// By the start of the hour, in microseconds.
    hours: BTreeMap<i64, Hour>,
    /// Hours before this are closed.
    closed_before: i64,
    watermark: i64,
    /// Hours that changed since the last call of [`Completeness::take_changes`].
    changed: BTreeSet<i64>,
    /// Hours closed because the ledger was full.
    closed_early: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Hour {
    tenants: BTreeMap<TenantId, Rules>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Rules {
    #[serde(with = "sorted")]
    rules: HashMap<Arc<str>, RuleCounts>,
}

const HOUR_US: i64 = 3_600_000_000;

/// Hours stay open so long after event time has passed them.
const OPEN_US: i64 = 48 * HOUR_US;

/// Counts held, over hours, tenants and rules: some 50 MB.
const COUNTS_MAX: usize = 500_000;

/// Of what came for closed hours.
const CLOSED: i64 = 0;

/// Marks the bytes of a ledger and their format.
const MAGIC: &[u8; 8] = b"asterl01";

impl Default for Completeness {
    fn default() -> Self {
        Self {
            hours: BTreeMap::new(),
            closed_before: i64::MIN,
            watermark: Watermark::START.0.0,
            changed: BTreeSet::new(),
            closed_early: 0,
        }
    }
}

impl Completeness {
    /// The hour of an event, as its start in microseconds: what [`Completeness::observe`] takes.
    pub fn hour(time: Time) -> i64 {
        time.0.div_euclid(HOUR_US).saturating_mul(HOUR_US)
    }

    /// Counts for rules in one hour. An hour that is closed counts under 1970.
    pub fn observe<'a>(
        &mut self,
        tenant: &TenantId,
        hour: i64,
        rules: impl IntoIterator<Item = (&'a Arc<str>, RuleCounts)>,
    ) {
        let hour = if hour < self.closed_before { CLOSED } else { hour };
        let of_hour = self.hours.entry(hour).or_default();
        if !of_hour.tenants.contains_key(tenant) {
            of_hour.tenants.insert(tenant.clone(), Rules::default());
        }
        let Some(own) = of_hour.tenants.get_mut(tenant) else { return };
        for (rule, more) in rules {
            match own.rules.get_mut(rule) {
                Some(counts) => counts.add(more),
                None => drop(own.rules.insert(Arc::clone(rule), more)),
            }
        }
        self.changed.insert(hour);
    }

    /// Event time has come to `watermark`: hours before it are complete, and old ones are closed once they were told.
    pub fn advance(&mut self, watermark: Watermark) {
        let until = watermark.0.0;
        if until <= self.watermark {
            return;
        }
        // Hours that this completes are told once more.
        let complete = |start: i64, watermark: i64| start.saturating_add(HOUR_US) <= watermark;
        let newly =
            self.hours.keys().filter(|start| complete(**start, until) && !complete(**start, self.watermark));
        self.changed.extend(newly);
        self.watermark = until;
    }

    /// The intervals that changed since the last call, as they are now; old ones are closed after that.
    pub fn take_changes(&mut self) -> Vec<RuleInterval> {
        let changed = std::mem::take(&mut self.changed);
        let hours = changed.iter().filter_map(|start| Some((*start, self.hours.get(start)?)));
        let told = hours.flat_map(|(start, hour)| self.told(start, hour)).collect();
        self.close_old();
        told
    }

    fn told(&self, start: i64, hour: &Hour) -> Vec<RuleInterval> {
        let end = if start == CLOSED { CLOSED } else { start.saturating_add(HOUR_US) };
        let is_complete = end <= self.watermark;
        let mut told = Vec::new();
        for (tenant, own) in &hour.tenants {
            let mut rules: Vec<(&Arc<str>, &RuleCounts)> = own.rules.iter().collect();
            rules.sort_by_key(|(rule, _)| *rule);
            told.extend(rules.into_iter().map(|(rule, counts)| RuleInterval {
                tenant: tenant.clone(),
                rule: Arc::clone(rule),
                start: Time(start),
                end: Time(end),
                counts: *counts,
                is_complete,
            }));
        }
        told
    }

    fn close_old(&mut self) {
        // At the end of the input everything would be old; nothing comes that this could make room for.
        let until = if self.watermark == Watermark::END.0.0 {
            i64::MIN
        } else {
            self.watermark.saturating_sub(OPEN_US)
        };
        let mut held = self.len();
        while let Some((start, hour)) = self.hours.iter().find(|(start, _)| **start != CLOSED) {
            let (start, is_full) = (*start, held > COUNTS_MAX);
            if start.saturating_add(HOUR_US) > until && !is_full {
                return;
            }
            held -= hour.tenants.values().map(|own| own.rules.len()).sum::<usize>();
            self.closed_early += u64::from(is_full);
            self.hours.remove(&start);
            self.closed_before = start.saturating_add(HOUR_US);
        }
    }

    /// Counts held.
    pub fn len(&self) -> usize {
        self.hours.values().flat_map(|hour| hour.tenants.values()).map(|own| own.rules.len()).sum()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.hours.is_empty()
    }

    /// Hours closed because the ledger was full.
    pub fn closed_early(&self) -> u64 {
        self.closed_early
    }

    /// The whole ledger as bytes; equal ledgers have equal bytes.
    pub fn snapshot(&self) -> Pieces {
        event::snapshot::write(MAGIC, self)
    }

    /// The ledger of [`Completeness::snapshot`].
    ///
    /// # Errors
    /// [`CorrelateError::Snapshot`] for bytes that are none.
    pub fn restore(bytes: &Pieces) -> Result<Self, CorrelateError> {
        event::snapshot::read(MAGIC, bytes).map_err(CorrelateError::Snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: i64 = 400_000 * HOUR_US;

    fn evaluated(n: u64) -> RuleCounts {
        RuleCounts { evaluated: n, ..RuleCounts::default() }
    }

    fn observe(ledger: &mut Completeness, time: i64, counts: RuleCounts) {
        let rule: Arc<str> = "r1".into();
        ledger.observe(&TenantId::default(), Completeness::hour(Time(time)), [(&rule, counts)]);
    }

    fn told(ledger: &mut Completeness) -> Vec<(i64, RuleCounts, bool)> {
        let hours = |time: Time| time.0 / HOUR_US;
        ledger.take_changes().into_iter().map(|i| (hours(i.start), i.counts, i.is_complete)).collect()
    }

    #[test]
    fn an_hour_is_told_as_it_changes_and_when_it_is_complete() {
        let mut ledger = Completeness::default();
        observe(&mut ledger, FIRST + 5, evaluated(3));
        observe(&mut ledger, FIRST + HOUR_US - 1, evaluated(4));
        assert_eq!(told(&mut ledger), [(400_000, evaluated(7), false)]);
        assert!(told(&mut ledger).is_empty());
        ledger.advance(Watermark(Time(FIRST + HOUR_US - 1)));
        assert!(told(&mut ledger).is_empty());
        ledger.advance(Watermark(Time(FIRST + HOUR_US)));
        assert_eq!(told(&mut ledger), [(400_000, evaluated(7), true)]);
        let late = RuleCounts { evaluated: 1, late: 1, recomputed: 1, dropped: 2 };
        observe(&mut ledger, FIRST, late);
        assert_eq!(told(&mut ledger), [(400_000, RuleCounts { evaluated: 8, ..late }, true)]);
    }

    #[test]
    fn closed_hours_are_counted_apart() {
        let mut ledger = Completeness::default();
        observe(&mut ledger, FIRST, evaluated(1));
        ledger.advance(Watermark(Time(FIRST + HOUR_US + OPEN_US)));
        assert_eq!(told(&mut ledger).len(), 1, "told before it is closed");
        assert!(ledger.is_empty());
        observe(&mut ledger, FIRST, evaluated(1));
        observe(&mut ledger, FIRST - 500 * HOUR_US, evaluated(1));
        assert_eq!(told(&mut ledger), [(0, evaluated(2), true)]);
    }

    #[test]
    fn a_full_ledger_closes_the_oldest_hours() {
        let mut ledger = Completeness::default();
        let rules: Vec<Arc<str>> = (0..COUNTS_MAX / 4).map(|n| Arc::from(format!("r{n}"))).collect();
        for hour in 0..6 {
            let counts = rules.iter().map(|rule| (rule, evaluated(1)));
            ledger.observe(&TenantId::default(), FIRST + hour * HOUR_US, counts);
        }
        assert_eq!(ledger.take_changes().len(), COUNTS_MAX / 4 * 6);
        assert_eq!((ledger.len(), ledger.closed_early()), (COUNTS_MAX, 2));
    }

    #[test]
    fn a_restored_ledger_goes_on() {
        let mut ledger = Completeness::default();
        observe(&mut ledger, FIRST, evaluated(2));
        let bytes = ledger.snapshot();
        let mut restored = Completeness::restore(&bytes).unwrap();
        assert_eq!(restored.snapshot(), bytes);
        observe(&mut restored, FIRST, evaluated(1));
        assert_eq!(told(&mut restored), [(400_000, evaluated(3), false)]);
        assert!(Completeness::restore(&b"asterl01".to_vec().into()).is_err());
    }
}
