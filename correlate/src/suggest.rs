//! The list of suggested merges: what joins are held back that a person may decide otherwise.

use std::collections::{BTreeMap, BTreeSet};

use event::{AlertId, RelationChange, Suggestion, SuggestionId, TenantId};
use serde::{Deserialize, Serialize};

/// The suggestions of a tenant, of which a full list takes no more.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Suggestions {
    /// By the earlier alert of the join.
    by_alert: BTreeMap<AlertId, Vec<Suggestion>>,
    len: usize,
    /// Suggestions that are not told yet as they are, with the earlier alert of their join.
    changed: BTreeSet<(AlertId, SuggestionId)>,
    /// Suggestions that the list had no room for.
    pub(crate) refused: u64,
}

impl Suggestions {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_alert.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Suggestion> {
        self.by_alert.values().flatten()
    }

    /// The suggestions of these alerts are exactly the `present` ones.
    pub(crate) fn replace<'a>(
        &mut self,
        alerts: impl Iterator<Item = &'a AlertId>,
        present: Vec<Suggestion>,
        limit: usize,
    ) {
        let before: Vec<Suggestion> = alerts.flat_map(|alert| self.take(alert)).collect();
        for suggestion in present {
            if self.len >= limit {
                self.refused += 1;
                continue;
            }
            if !before.contains(&suggestion) {
                self.changed.insert((suggestion.join.a.clone(), suggestion.id.clone()));
            }
            self.by_alert.entry(suggestion.join.a.clone()).or_default().push(suggestion);
            self.len += 1;
        }
        let gone = before.into_iter().map(|suggestion| (suggestion.join.a, suggestion.id));
        let gone: Vec<_> = gone.filter(|(alert, id)| self.find(alert, id).is_none()).collect();
        self.changed.extend(gone);
    }

    /// An alert has left memory.
    pub(crate) fn forget(&mut self, alert: &AlertId) {
        let gone = self.take(alert).into_iter().map(|suggestion| (suggestion.join.a, suggestion.id));
        self.changed.extend(gone);
    }

    fn take(&mut self, alert: &AlertId) -> Vec<Suggestion> {
        let taken = self.by_alert.remove(alert).unwrap_or_default();
        self.len -= taken.len();
        taken
    }

    fn find(&self, alert: &AlertId, id: &SuggestionId) -> Option<&Suggestion> {
        self.by_alert.get(alert)?.iter().find(|suggestion| suggestion.id == *id)
    }

    /// What changed since the last call.
    pub(crate) fn take_changes(&mut self, tenant: &TenantId) -> Vec<RelationChange> {
        let changed = std::mem::take(&mut self.changed);
        let change = |(alert, id): (AlertId, SuggestionId)| match self.find(&alert, &id) {
            Some(suggestion) => RelationChange::Suggested { suggestion: suggestion.clone() },
            None => RelationChange::SuggestionGone { tenant: tenant.clone(), id },
        };
        changed.into_iter().map(change).collect()
    }
}
