//! What exceptions hide, counted for each.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::snapshot::Pieces;
use event::{EventBatch, TenantId, Time};
use serde::{Deserialize, Serialize};

use crate::correlation::SnapshotError;
use crate::set::{Excepted, RuleSet};

/// What one exception of an overlay hides of one rule, for one tenant: a row for hunting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionTally {
    /// The tenant.
    pub tenant: TenantId,
    /// Id of the entry of the overlay.
    pub exception: Arc<str>,
    /// Id of the rule whose matches it hides.
    pub rule_id: Arc<str>,
    /// Who answers for it.
    pub owner: String,
    /// Why it is there.
    pub reason: String,
    /// From this time on it hides nothing.
    pub expires: Time,
    /// How many matches it hid. One that several exceptions hide counts for each.
    pub count: u64,
    /// Event time of the earliest.
    pub first: Time,
    /// Event time of the latest.
    pub last: Time,
}

/// The counts of all exceptions, for every tenant: no more than entries of overlays times rules that they name times
/// tenants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionTallies(BTreeMap<Key, ExceptionTally>);

/// Tenant, exception, rule.
type Key = (TenantId, Arc<str>, Arc<str>);

/// Marks the bytes of a snapshot and their format.
const MAGIC: &[u8; 8] = b"asterex1";

impl ExceptionTallies {
    /// Counts what [`RuleSet::evaluate`] found hidden in a batch.
    pub fn note(&mut self, set: &RuleSet, batch: &EventBatch, excepted: &[Excepted]) {
        for Excepted { rule, row, by } in excepted {
            let (tenant, rule_id) = (&batch.meta.tenant, &set.rule(*rule).reference.id);
            let time = batch.time(*row);
            self.add(ExceptionTally {
                tenant: tenant.clone(),
                exception: Arc::clone(&by.id),
                rule_id: Arc::clone(rule_id),
                owner: by.owner.clone(),
                reason: by.reason.clone(),
                expires: by.expires,
                count: 1,
                first: time,
                last: time,
            });
        }
    }

    /// Adds what was counted elsewhere; the sums of what changed.
    pub fn merge(&mut self, more: &Self) -> Vec<ExceptionTally> {
        more.tallies().map(|tally| self.add(tally.clone()).clone()).collect()
    }

    /// Every count, by tenant, exception and rule.
    pub fn tallies(&self) -> impl Iterator<Item = &ExceptionTally> {
        self.0.values()
    }

    /// Matches that were hidden; one that several exceptions hide counts for each.
    pub fn total(&self) -> u64 {
        self.tallies().map(|tally| tally.count).sum()
    }

    /// Forgets exceptions that the set does not have: should one come back, it is counted anew.
    pub fn retain(&mut self, set: &RuleSet) {
        self.0.retain(|(_, exception, _), _| set.exceptions().any(|entry| entry.id == *exception));
    }

    /// All counts as bytes; equal counts have equal bytes.
    pub fn snapshot(&self) -> Pieces {
        event::snapshot::write(MAGIC, self)
    }

    /// Reads [`ExceptionTallies::snapshot`] back.
    ///
    /// # Errors
    /// Where the bytes are no such snapshot.
    pub fn restore(bytes: &Pieces) -> Result<Self, SnapshotError> {
        let refuse = |problem: String| SnapshotError::new("exceptions", problem);
        event::snapshot::read(MAGIC, bytes).map_err(refuse)
    }

    fn add(&mut self, more: ExceptionTally) -> &ExceptionTally {
        let key = (more.tenant.clone(), Arc::clone(&more.exception), Arc::clone(&more.rule_id));
        match self.0.entry(key) {
            std::collections::btree_map::Entry::Vacant(place) => place.insert(more),
            std::collections::btree_map::Entry::Occupied(place) => {
                let tally = place.into_mut();
                tally.count += more.count;
                tally.first = tally.first.min(more.first);
                tally.last = tally.last.max(more.last);
                tally
            }
        }
    }
}
