//! Sigma correlation rules: several matches within a time, seen as one thing.
//!
//! ```text
//! (rule, row) --observation--> group by group-by values --timeline--> window --measure--> fired, or taken back
//! ```
//!
//! [`RuleSet::evaluate`](crate::RuleSet::evaluate) reads an [`Observation`] off each match that a correlation watches;
//! [`Windows`] holds the state and is driven by one owner, who applies the changes it reports in order. Decisions that
//! the specification leaves open:
//!
//! - **Window**: each event ends a window that reaches back one timespan, both ends included. Bounds on counts and
//!   values are judged at every event.
//! - **Firing**: once, and then not again for the group until a timespan has passed: windows of two alerts share no event.
//! - **Group**: values compare without case; an event without a value in a group-by field is not counted; a list puts
//!   it into a group for each member; no `group-by` is one group for the tenant. Tenants share no group.
//! - **Order**: events at the same time count as having come in the order of `rules`.
//! - **Absence** (`a and not b`): judged when event time has passed the end of a window that begins with an event of
//!   the group; the alert's time is that end.
//! - **Order of some** (`temporal_ordered` with an expression): the rules of one way in which the expression holds came in
//!   the order of the list. For `(a or b) and c` that is a before c, or b before c; when the other came does not matter.
//! - **Values**: numbers are exact to a millionth; percentiles are by nearest rank; the median of an even number is the
//!   mean of the middle two; what is no number is not counted.
//! - **Telling**: an alert leads back to the events of its window; of an order of all members to those of its latest
//!   chain, of distinct values to the last events of each ([`timeline::TOLD_OF_VALUE`]), and `events` counts these.
//! - **`generate`**: a rule that correlations watch makes alerts of its own only if one of them says `generate: true`,
//!   and an informational one makes none even then: its level says that it enriches and never alerts alone.

mod alert;
mod definition;
mod explain;
mod groups;
mod measure;
mod observation;
mod resolve;
mod snapshot;
mod timeline;
mod windows;
mod witness;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use event::{Feed, Severity, TenantId};
use hashbrown::HashMap;
use smallvec::SmallVec;

pub(crate) use alert::group_of;
pub(crate) use definition::{Definition, Source};
pub use explain::{CorrelationExplainer, CorrelationExplanation, GroupOutcome, MemberOutcome, WindowOutcome};
pub use observation::Observation;
pub(crate) use observation::{Observer, key_of};
pub(crate) use resolve::{Names, Pending, resolve};
pub use snapshot::SnapshotError;
pub use timeline::WindowCounts;
pub use windows::{CorrelationChange, EVENTS_MAX, GROUPS_MAX, Windows, WorstCase};

use observation::{Keys, Value, hash_of};
use timeline::Place;
use windows::Inbox;
use witness::{Account, PackedEntities, Witness};

use crate::plan::applies;
use crate::rule::CompiledRule;

/// The correlations of a rule set, each after those that it watches.
#[derive(Debug, Default)]
pub(crate) struct Correlations {
    pub(crate) definitions: Vec<Definition>,
    watching: HashMap<Source, Vec<(u32, u16)>>,
    /// What disabled correlations would watch, and whether one of them says `generate: true`.
    disabled: HashMap<Source, bool>,
}

impl Correlations {
    pub(crate) fn new(definitions: Vec<Definition>, disabled: HashMap<Source, bool>) -> Self {
        let mut watching: HashMap<Source, Vec<(u32, u16)>> = HashMap::new();
        for (correlation, definition) in (0..).zip(&definitions) {
            for (number, member) in (0..).zip(&definition.members) {
                watching.entry(member.source).or_default().push((correlation, number));
            }
        }
        let mut correlations = Self { definitions, watching, disabled };
        for index in 0..correlations.definitions.len() {
            let severity = correlations.definitions[index].info.severity;
            let silent = correlations.is_silent(Source::Correlation(index as u32), severity);
            correlations.definitions[index].silent = silent;
        }
        correlations
    }

    /// What no source of a kind can give, nothing waits for.
    pub(crate) fn relate(&mut self, feeds: &[Feed], rules: &[CompiledRule]) {
        for index in 0..self.definitions.len() {
            let unrelated = |source: Source| match source {
                Source::Rule(rule) => {
                    let logsource = &rules[rule as usize].info.logsource;
                    Feed::unrelated(feeds, |rows| applies(logsource, &rows.logsources))
                }
                Source::Correlation(inner) => self.definitions[inner as usize].unrelated.clone(),
            };
            let members = self.definitions[index].members.iter().map(|member| unrelated(member.source));
            self.definitions[index].unrelated = members.reduce(|a, b| &a & &b).unwrap_or_default();
        }
    }

    /// Whether a rule of that severity only feeds correlations: one of them watches it, and it is informational or none
    /// says `generate: true`. A correlation that is disabled still counts: what was written to feed it would flood
    /// analysts by itself.
    pub(crate) fn is_silent(&self, source: Source, severity: Severity) -> bool {
        let watching = self.watching(source);
        let disabled = self.disabled.get(&source);
        let speaks = |(index, _): &(u32, u16)| self.definitions[*index as usize].generate;
        let generates = watching.iter().any(speaks) || disabled == Some(&true);
        (!watching.is_empty() || disabled.is_some()) && (severity == Severity::Informational || !generates)
    }

    /// Correlations, and the member of each, that watch a rule or correlation.
    pub(crate) fn watching(&self, source: Source) -> &[(u32, u16)] {
        self.watching.get(&source).map_or(&[], Vec::as_slice)
    }

    /// Hands what a correlation said on to those that watch it.
    fn feed(
        &self,
        index: u32,
        tenant: &TenantId,
        keys: &[Arc<str>],
        change: &CorrelationChange,
        inboxes: &mut [Inbox],
    ) {
        for (outer, number) in self.watching(Source::Correlation(index)) {
            let definition = &self.definitions[*outer as usize];
            let Some((outer_keys, value)) = seen_by(definition, *number, keys) else { continue };
            let inbox = &mut inboxes[*outer as usize];
            match change {
                CorrelationChange::Fired(alert) => inbox.added.push(Observation {
                    tenant: tenant.clone(),
                    correlation: *outer,
                    member: *number,
                    time: alert.time,
                    keys: outer_keys,
                    value,
                    witness: witness_of(alert),
                }),
                CorrelationChange::Retracted { alert, time, .. } => {
                    let place: Place = (time.0, *number, hash_of(&[alert.as_str()]));
                    inbox.removed.push((tenant.clone(), outer_keys, place));
                }
            }
        }
    }
}

/// The group and the value that a firing of a group has in a correlation that watches it; `None` where it has no value
/// that can be measured.
fn seen_by(outer: &Definition, number: u16, keys: &[Arc<str>]) -> Option<(Keys, Value)> {
    let member = &outer.members[usize::from(number)];
    let pick = |places: &[u32]| -> Keys {
        places.iter().filter_map(|place| keys.get(*place as usize).cloned()).collect()
    };
    Some((pick(&member.keys), Value::of(&outer.kind, &pick(&member.values))?))
}

/// An alert of a correlation as an event of another.
fn witness_of(alert: &event::Alert) -> Witness {
    Witness::alone(&Account {
        uid: alert.id.as_str().into(),
        records: SmallVec::from_vec(alert.records.clone()),
        entities: PackedEntities::of(&alert.entities),
        domain: alert.domain,
        product: Arc::clone(&alert.product),
        source: Arc::clone(&alert.source),
        class: alert.class,
    })
}
