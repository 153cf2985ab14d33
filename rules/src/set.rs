//! A set of rules: loaded once, evaluated over every batch.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use event::{Alert, EventBatch, Feed, Logsource, Time};
use hashbrown::HashMap;

use crate::alert;
use crate::atom::{Atoms, Field, FieldId};
use crate::correlation::{Correlations, Observation, Observer, Source, WorstCase};
use crate::evaluate;
use crate::loader::RuleLoader;
use crate::overlay::OverlayEntry;
use crate::plan::Plan;
use crate::predicate::Predicate;
use crate::report::LoadReport;
use crate::rule::{CompiledRule, RuleInfo};
use crate::suppression::{KeyReader, SuppressionKey, SuppressionRule};

/// Position of a rule in its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(pub(crate) u32);

/// What a set is made of.
pub(crate) struct Parts {
    /// Those that were loaded, then one for each of `exceptions`.
    pub(crate) rules: Vec<CompiledRule>,
    pub(crate) exceptions: Vec<(RuleIndex, Arc<OverlayEntry>)>,
    pub(crate) atoms: Atoms,
    pub(crate) correlations: Correlations,
    pub(crate) suppressions: HashMap<Arc<str>, SuppressionRule>,
    /// See [`RuleSet::next_expiry`].
    pub(crate) next_expiry: Option<Time>,
}

/// Compiled rules. Immutable; share it between threads by reference.
#[derive(Debug)]
pub struct RuleSet {
    /// Those that were loaded, then one for each of `exceptions`, which counts what it hides.
    pub(crate) rules: Vec<CompiledRule>,
    exceptions: Vec<(RuleIndex, Arc<OverlayEntry>)>,
    pub(crate) atoms: Atoms,
    pub(crate) correlations: Correlations,
    /// By rule id.
    pub(crate) suppressions: HashMap<Arc<str>, SuppressionRule>,
    next_expiry: Option<Time>,
    version: String,
    /// Plans by set of logsources, each made when the first batch with it comes. The sets are those of the
    /// mapping variants, a few dozen; the lock is held for a lookup, or for the making of one plan.
    plans: Mutex<HashMap<Arc<[Logsource]>, Arc<Plan>>>,
}

impl RuleSet {
    /// Loads Sigma documents, each a file name and its text (one or more YAML documents).
    ///
    /// Nothing fails as a whole: what cannot be loaded stands in the report with its reason, the rest is loaded.
    pub fn load(documents: impl IntoIterator<Item = (String, String)>) -> (RuleSet, LoadReport) {
        Self::loader().load(documents)
    }

    /// Loads documents with pipelines, values of placeholders, and overlays.
    pub fn loader() -> RuleLoader {
        RuleLoader::default()
    }

    pub(crate) fn new(parts: Parts, version: String) -> Self {
        let Parts { rules, exceptions, atoms, correlations, suppressions, next_expiry } = parts;
        let plans = Mutex::default();
        Self { rules, exceptions, atoms, correlations, suppressions, next_expiry, version, plans }
    }

    /// The packs that are part of the program: `rules/packs/`.
    pub fn builtin_packs() -> Vec<(String, String)> {
        crate::pack::documents()
    }

    /// The packs for loading with `others`, which are pairs of file name and text like those of [`RuleSet::load`].
    ///
    /// An informational rule of the packs is a building block: it matches every sign-in or every download, and is there
    /// for correlation rules to name. Those that no correlation rule names, neither of the packs nor of `others`, are
    /// left out: alone they would bury what matters.
    pub fn builtin_packs_beside(others: &[(String, String)]) -> Vec<(String, String)> {
        crate::pack::beside(crate::pack::documents(), others)
    }

    /// Every rule and its position.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = (RuleIndex, &RuleInfo)> {
        self.rules[..self.loaded()].iter().enumerate().map(|(i, rule)| (RuleIndex(i as u32), &rule.info))
    }

    /// The rule at a position of this set.
    pub fn rule(&self, index: RuleIndex) -> &RuleInfo {
        &self.rules[index.0 as usize].info
    }

    /// The rule with this id.
    pub fn find(&self, id: &str) -> Option<RuleIndex> {
        self.rules().find(|(_, info)| info.reference.id.eq_ignore_ascii_case(id)).map(|(index, _)| index)
    }

    /// The fields that any loaded rule names.
    pub fn native_fields(&self) -> HashSet<Arc<str>> {
        self.native_fields_by_logsource().into_values().flatten().collect()
    }

    /// The fields that loaded rules name, by the logsource of the rules: the decoder extracts from an event what rules
    /// that it is routed to name.
    pub fn native_fields_by_logsource(&self) -> BTreeMap<Logsource, HashSet<Arc<str>>> {
        let mut names: BTreeMap<Logsource, HashSet<Arc<str>>> = BTreeMap::new();
        let mut add = |logsource: &Logsource, field: FieldId| {
            if let Field::Named(name) = &self.atoms.fields()[field as usize] {
                names.entry(logsource.clone()).or_default().insert(Arc::clone(name));
            }
        };
        for rule in &self.rules {
            rule.tree.for_each_atom(&mut |id| {
                let atom = self.atoms.get(id);
                add(&rule.info.logsource, atom.field);
                if let Predicate::FieldRef { other, .. } = &atom.predicate {
                    add(&rule.info.logsource, *other);
                }
            });
        }
        for (id, suppression) in &self.suppressions {
            let logsource =
                self.find(id).map_or_else(Logsource::default, |rule| self.rule(rule).logsource.clone());
            suppression.fields().iter().for_each(|field| add(&logsource, *field));
        }
        for member in self.correlations.definitions.iter().flat_map(|d| &d.members) {
            if let Source::Rule(rule) = member.source {
                let logsource = &self.rules[rule as usize].info.logsource;
                member.keys.iter().chain(&member.values).for_each(|field| add(logsource, *field));
            }
        }
        names
    }

    /// A hash of the loaded texts, the same for any order of files, of the pipelines and placeholders, and of the entries
    /// of overlays that are in force.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The entries of overlays that hide matches of rules of this set.
    pub(crate) fn exceptions(&self) -> impl Iterator<Item = &OverlayEntry> {
        self.exceptions.iter().map(|(_, by)| by.as_ref())
    }

    /// When the next entry of an overlay that is in force runs out: the same files then make another set. `None` where
    /// no entry is in force.
    pub fn next_expiry(&self) -> Option<Time> {
        self.next_expiry
    }

    /// Which rules match which rows, by row, then by position of the rule.
    pub fn matches(&self, batch: &EventBatch) -> Vec<(RuleIndex, usize)> {
        self.judged(batch).0
    }

    /// The detection rules that are evaluated on a batch: those of its logsources.
    pub fn applied_to(&self, batch: &EventBatch) -> Vec<&RuleInfo> {
        let plan = self.plan(&batch.meta.logsources);
        let own = plan.applied.iter().filter(|rule| (**rule as usize) < self.loaded());
        own.map(|rule| &self.rules[*rule as usize].info).collect()
    }

    /// The correlation rule that an observation is for, and how long its windows are, in microseconds: what is older
    /// than that before the watermark cannot count any more.
    pub fn watched_by(&self, observation: &Observation) -> Option<(&RuleInfo, i64)> {
        let definition = self.correlations.definitions.get(observation.correlation as usize)?;
        Some((&definition.info, definition.span_us))
    }

    /// How many of `rules` were loaded as such.
    fn loaded(&self) -> usize {
        self.rules.len() - self.exceptions.len()
    }

    /// The matches, and those that exceptions hide.
    ///
    /// An exception that ran out before a row was taken in hides nothing of it, also where the set was loaded before.
    fn judged(&self, batch: &EventBatch) -> (Vec<(RuleIndex, usize)>, Vec<Excepted>) {
        let plan = self.plan(&batch.meta.logsources);
        let (mut matches, mut excepted, mut over) = (Vec::new(), Vec::new(), Vec::new());
        for (rule, row) in evaluate::matches(&plan, &self.rules, &self.atoms, batch) {
            let Some(place) = (rule as usize).checked_sub(self.loaded()) else {
                matches.push((RuleIndex(rule), row));
                continue;
            };
            let (rule, by) = &self.exceptions[place];
            if batch.time_of("ingest_time", row).is_some_and(|taken_in| taken_in >= by.expires) {
                over.push((*rule, row));
            } else {
                excepted.push(Excepted { rule: *rule, row, by: Arc::clone(by) });
            }
        }
        if !over.is_empty() {
            let hidden: HashSet<(RuleIndex, usize)> = excepted.iter().map(|e| (e.rule, e.row)).collect();
            matches.extend(over.into_iter().filter(|found| !hidden.contains(found)));
            matches.sort_unstable_by_key(|(rule, row)| (*row, *rule));
            matches.dedup();
        }
        (matches, excepted)
    }

    /// An alert for each match, in the order of [`RuleSet::matches`], and what correlations are told of the matches.
    pub fn evaluate(&self, batch: &EventBatch) -> Evaluated {
        let mut evaluated = Evaluated::default();
        let mut observer = Observer::new(self, batch);
        let mut keys = KeyReader::new(self, batch);
        let (matches, excepted) = self.judged(batch);
        evaluated.excepted = excepted;
        for (rule, row) in matches {
            observer.observe(rule.0, row, &mut evaluated.observations);
            let severity = self.rule(rule).severity;
            if !self.correlations.is_silent(Source::Rule(rule.0), severity) {
                let alert = alert::build(self, rule, batch, row);
                evaluated.suppression_keys.extend(keys.key(&alert, row));
                evaluated.alerts.push(alert);
            }
        }
        observer.finish(&mut evaluated.observations);
        evaluated
    }

    /// Makes ready for all rows that sources can give. Without it the first rows of each shape wait for that.
    pub fn prepare(&self, feeds: &[Feed]) {
        feeds.iter().flat_map(|feed| &feed.rows).for_each(|rows| drop(self.plan(&rows.logsources)));
    }

    /// Every correlation rule, each after those that it watches.
    pub fn correlations(&self) -> impl ExactSizeIterator<Item = &RuleInfo> {
        self.correlations.definitions.iter().map(|definition| &definition.info)
    }

    /// Every correlation rule and the rules that it watches, which may be correlation rules before it.
    pub fn watched(&self) -> impl Iterator<Item = (&RuleInfo, Vec<&RuleInfo>)> {
        let definitions = &self.correlations.definitions;
        let info = |source: Source| match source {
            Source::Rule(rule) => &self.rules[rule as usize].info,
            Source::Correlation(correlation) => &definitions[correlation as usize].info,
        };
        definitions.iter().map(move |definition| {
            (&definition.info, definition.members.iter().map(|member| info(member.source)).collect())
        })
    }

    /// Every correlation rule and the most that it can hold for one tenant. At the bound the group that has rested
    /// longest is given up, and counted (see [`WindowCounts`](crate::WindowCounts)).
    pub fn worst_cases(&self) -> impl ExactSizeIterator<Item = (&RuleInfo, WorstCase)> {
        self.correlations.definitions.iter().map(|definition| (&definition.info, WorstCase::of(definition)))
    }

    fn plan(&self, logsources: &Arc<[Logsource]>) -> Arc<Plan> {
        // A panic while a plan was made leaves the map as it was: nothing is half inserted.
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(logsources) {
            return Arc::clone(plan);
        }
        let plan = Arc::new(Plan::new(&self.rules, &self.atoms, logsources));
        plans.insert(Arc::clone(logsources), Arc::clone(&plan));
        plan
    }
}

/// What a batch gave.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// Alerts of detection rules.
    pub alerts: Vec<Alert>,
    /// For [`Windows::observe`](crate::Windows::observe).
    pub observations: Vec<Observation>,
    /// For [`Suppressions::observe`](crate::Suppressions::observe): of the alerts that may be suppressed.
    pub suppression_keys: Vec<SuppressionKey>,
    /// What would have matched but for the exceptions of overlays, once for each exception that says so.
    pub excepted: Vec<Excepted>,
}

/// A match that an exception hides from people and correlations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excepted {
    /// The rule.
    pub rule: RuleIndex,
    /// The row of the batch.
    pub row: usize,
    /// The entry of the overlay.
    pub by: Arc<OverlayEntry>,
}

#[cfg(test)]
mod tests {
    use event::{Class, RowShape};

    use super::*;

    #[test]
    fn a_prepared_set_has_a_plan_for_each_shape() {
        let (set, _) = RuleSet::load(RuleSet::builtin_packs());
        let rows = |product: &str| RowShape {
            class: Class::PROCESS_ACTIVITY,
            logsources: Arc::from([Logsource { product: Some(product.into()), ..Logsource::default() }]),
            columns: std::collections::BTreeSet::new(),
        };
        let feed = Feed { kind: "k".into(), rows: vec![rows("windows"), rows("azure"), rows("windows")] };
        set.prepare(&[feed]);
        assert_eq!(set.plans.lock().unwrap().len(), 2);
    }
}
