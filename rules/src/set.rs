//! A set of rules: loaded once, evaluated over every batch.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use event::{Alert, EventBatch, Logsource, Time};
use hashbrown::HashMap;
use rsigma_parser::{CorrelationRule, FilterRule, SigmaRule};

use crate::alert;
use crate::atom::{Atoms, Field, FieldId};
use crate::correlation::{Correlations, Names, Observation, Observer, Pending, Source, resolve};
use crate::document;
use crate::error::RuleError;
use crate::evaluate;
use crate::filter::Filter;
use crate::overlay::{self, Applied, Overlay, OverlayEntry, Targets};
use crate::plan::Plan;
use crate::predicate::Predicate;
use crate::report::{LoadReport, Rejected};
use crate::rule::{CompiledRule, RuleInfo, id_of};
use crate::suppression::{self, KeyReader, SuppressionKey, SuppressionRule, SuppressionSpec};

/// Position of a rule in its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(pub(crate) u32);

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
        Self::load_with(documents, &[], Time::MIN)
    }

    /// [`RuleSet::load`], with the entries of overlays that have not expired at `now`.
    pub fn load_with(
        documents: impl IntoIterator<Item = (String, String)>,
        overlays: &[Overlay],
        now: Time,
    ) -> (RuleSet, LoadReport) {
        let mut loader = Loader::default();
        let mut hashes = Vec::new();
        for (file, text) in documents {
            hashes.push(*blake3::hash(text.as_bytes()).as_bytes());
            loader.bytes += text.len();
            if loader.bytes > SET_BYTES_MAX {
                let reason = RuleError::Limit { what: "size of the rule set in bytes", limit: SET_BYTES_MAX };
                loader.reject(&file, String::new(), reason);
            } else {
                loader.load_file(&file, &text);
            }
        }
        loader.apply(overlays, now);
        hashes.append(&mut loader.applied.hashes);
        loader.finish(version_of(hashes))
    }

    /// The packs that are part of the program: `rules/packs/`.
    pub fn builtin_packs() -> Vec<(String, String)> {
        crate::pack::documents()
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

    /// The fields that any loaded rule names: the decoder extracts them for every batch whose records have them.
    pub fn native_fields(&self) -> HashSet<Arc<str>> {
        let mut names = HashSet::new();
        let mut add = |field: FieldId| {
            if let Field::Named(name) = &self.atoms.fields()[field as usize] {
                names.insert(Arc::clone(name));
            }
        };
        for rule in &self.rules {
            rule.tree.for_each_atom(&mut |id| {
                let atom = self.atoms.get(id);
                add(atom.field);
                if let Predicate::FieldRef { other, .. } = &atom.predicate {
                    add(*other);
                }
            });
        }
        self.suppressions.values().flat_map(SuppressionRule::fields).for_each(|field| add(*field));
        for member in self.correlations.definitions.iter().flat_map(|d| &d.members) {
            if let Source::Rule(_) = member.source {
                member.keys.iter().chain(&member.values).for_each(|field| add(*field));
            }
        }
        names
    }

    /// A hash of the loaded texts and of the entries of overlays that are in force, the same for any order of files.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Which rules match which rows, by row, then by position of the rule.
    pub fn matches(&self, batch: &EventBatch) -> Vec<(RuleIndex, usize)> {
        let mut found = self.found(batch);
        found.retain(|(rule, _)| (rule.0 as usize) < self.loaded());
        found
    }

    /// How many of `rules` were loaded as such.
    fn loaded(&self) -> usize {
        self.rules.len() - self.exceptions.len()
    }

    /// [`RuleSet::matches`], with those of what counts exceptions.
    fn found(&self, batch: &EventBatch) -> Vec<(RuleIndex, usize)> {
        let plan = self.plan(&batch.meta.logsources);
        let found = evaluate::matches(&plan, &self.rules, &self.atoms, batch);
        found.into_iter().map(|(rule, row)| (RuleIndex(rule), row)).collect()
    }

    /// An alert for each match, in the order of [`RuleSet::matches`], and what correlations are told of the matches.
    pub fn evaluate(&self, batch: &EventBatch) -> Evaluated {
        let mut evaluated = Evaluated::default();
        let mut observer = Observer::new(self, batch);
        let mut keys = KeyReader::new(self, batch);
        for (rule, row) in self.found(batch) {
            if let Some(place) = (rule.0 as usize).checked_sub(self.loaded()) {
                let (rule, by) = &self.exceptions[place];
                evaluated.excepted.push(Excepted { rule: *rule, row, by: Arc::clone(by) });
                continue;
            }
            observer.observe(rule.0, row, &mut evaluated.observations);
            if !self.correlations.is_silent(Source::Rule(rule.0)) {
                let alert = alert::build(self, rule, batch, row);
                evaluated.suppression_keys.extend(keys.key(&alert, row));
                evaluated.alerts.push(alert);
            }
        }
        evaluated
    }

    /// Every correlation rule, each after those that it watches.
    pub fn correlations(&self) -> impl ExactSizeIterator<Item = &RuleInfo> {
        self.correlations.definitions.iter().map(|definition| &definition.info)
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

/// SigmaHQ has 7 MB. The automata of a set stay within their state numbers (see [`crate::scan`]).
const SET_BYTES_MAX: usize = 64 << 20;

fn version_of(mut hashes: Vec<[u8; 32]>) -> String {
    hashes.sort_unstable();
    let hash = blake3::hash(hashes.concat().as_slice());
    hash.to_hex()[..16].to_owned()
}

/// A rule set under construction: documents are read first, since filters and correlations may stand anywhere.
#[derive(Default)]
struct Loader {
    rules: Vec<(RuleInfo, SigmaRule)>,
    filters: Vec<(String, FilterRule)>,
    correlations: Vec<Pending>,
    /// The file of each id taken.
    ids: HashMap<Arc<str>, Arc<str>>,
    /// Suppression of alerts as rules declare it, by their id.
    declared: BTreeMap<Arc<str>, SuppressionSpec>,
    applied: Applied,
    report: LoadReport,
    bytes: usize,
}

impl Loader {
    fn load_file(&mut self, file: &str, text: &str) {
        let mut titles: HashMap<String, usize> = HashMap::new();
        for document in document::read(text) {
            match document.outcome {
                Ok(parsed) => {
                    let warn = |w: String| (file.to_owned(), document.name.clone(), w);
                    self.report.warnings.extend(parsed.warnings.into_iter().map(warn));
                    self.take(file, &mut titles, parsed.rules, parsed.correlations);
                    self.filters.extend(parsed.filters.into_iter().map(|f| (file.to_owned(), f)));
                }
                Err(reason) => self.reject(file, document.name, reason),
            }
        }
    }

    fn take(
        &mut self,
        file: &str,
        titles: &mut HashMap<String, usize>,
        rules: Vec<SigmaRule>,
        correlations: Vec<CorrelationRule>,
    ) {
        let mut id = |id: Option<&str>, title: &str| {
            let ordinal = titles.entry(title.to_owned()).or_default();
            *ordinal += 1;
            id_of(file, *ordinal - 1, id, title)
        };
        for rule in rules {
            let info = RuleInfo::of_rule(id(rule.id.as_deref(), &rule.title), file, &rule);
            if self.is_new(&info) {
                self.declare(&info, suppression::declared(&rule.custom_attributes));
                self.rules.push((info, rule));
            }
        }
        for rule in correlations {
            let info = RuleInfo::of_correlation(id(rule.id.as_deref(), &rule.title), file, &rule);
            if self.is_new(&info) {
                self.declare(&info, suppression::declared(&rule.custom_attributes));
                self.correlations.push(Pending { info, rule });
            }
        }
    }

    /// Of several documents with one id the first is taken.
    fn is_new(&mut self, info: &RuleInfo) -> bool {
        let id = &info.reference.id;
        if let Some(first) = self.ids.get(id) {
            let reason = RuleError::DuplicateId { id: id.to_string(), first: first.to_string() };
            self.reject_rule(info, reason);
            return false;
        }
        self.ids.insert(Arc::clone(id), Arc::clone(&info.file));
        true
    }

    /// Overlays change what was parsed; what they leave to be done is kept for [`Loader::finish`].
    fn apply(&mut self, overlays: &[Overlay], now: Time) {
        let Self { rules, correlations, report, .. } = self;
        self.applied = overlay::apply(overlays, now, Targets { rules, correlations, report });
        for (id, spec) in std::mem::take(&mut self.declared) {
            self.applied.suppressions.entry(id).or_insert(spec);
        }
    }

    fn finish(mut self, version: String) -> (RuleSet, LoadReport) {
        let mut atoms = Atoms::default();
        let mut filters = self.compile_filters(&mut atoms);
        self.report.filters = filters.len();
        filters.extend(self.compile_exceptions(&mut atoms));
        let (mut rules, mut names, mut excepted) = (Vec::new(), Names::new(), Vec::new());
        for (info, rule) in std::mem::take(&mut self.rules) {
            let compiled = CompiledRule::new(info.clone(), &rule, &filters, &mut atoms);
            let hidden = CompiledRule::excepted(&info, &rule, &filters, &mut atoms);
            match compiled.and_then(|compiled| Ok((compiled, hidden?))) {
                Ok((compiled, hidden)) => {
                    let index = rules.len() as u32;
                    excepted.extend(hidden.into_iter().map(|(by, hidden)| (RuleIndex(index), by, hidden)));
                    names.insert(info.reference.id.to_string(), index);
                    if let Some(name) = &rule.name {
                        names.entry(name.clone()).or_insert(index);
                    }
                    rules.push(compiled);
                }
                Err(reason) => self.reject_rule(&info, reason),
            }
        }
        self.note_unknown_targets(&filters, &names);
        let pending = std::mem::take(&mut self.correlations);
        let (correlations, rejected) = resolve(pending, &self.applied.disabled, &names, &mut atoms);
        rejected.into_iter().for_each(|(info, reason)| self.reject_rule(&info, reason));
        let specs = &self.applied.suppressions;
        let (suppressions, unsound) = suppression::compile(specs, &rules, &correlations, &mut atoms);
        unsound.into_iter().for_each(|(info, reason)| self.note_unsound_suppression(&info, reason));
        self.report.loaded = rules.len() + correlations.definitions.len();
        let mut exceptions = Vec::with_capacity(excepted.len());
        for (rule, by, hidden) in excepted {
            exceptions.push((rule, by));
            rules.push(hidden);
        }
        let plans = Mutex::default();
        (RuleSet { rules, exceptions, atoms, correlations, suppressions, version, plans }, self.report)
    }

    /// Takes what a rule declares of the suppression of its alerts.
    fn declare(&mut self, info: &RuleInfo, declared: Result<Option<SuppressionSpec>, String>) {
        match declared {
            Ok(Some(spec)) => {
                self.declared.insert(Arc::clone(&info.reference.id), spec);
            }
            Ok(None) => {}
            Err(problem) => self.note_unsound_suppression(info, RuleError::Document(problem)),
        }
    }

    /// The rule stays loaded, and its alerts all pass. What an overlay said is rejected; what the rule said is odd.
    fn note_unsound_suppression(&mut self, info: &RuleInfo, reason: RuleError) {
        let suppressed = &mut self.report.suppressed;
        match suppressed.iter().position(|overlaid| overlaid.rule.id == info.reference.id) {
            Some(index) => {
                let by = suppressed.remove(index).by;
                self.reject(&by.file, by.label(), reason);
            }
            None => {
                let odd = format!("its alerts are not suppressed: {reason}");
                self.report.warnings.push((info.file.to_string(), info.reference.title.to_string(), odd));
            }
        }
    }

    fn compile_exceptions(&mut self, atoms: &mut Atoms) -> Vec<Filter> {
        let mut filters = Vec::new();
        for exception in std::mem::take(&mut self.applied.exceptions) {
            match Filter::exception(&exception, atoms) {
                Ok(compiled) => filters.push(compiled),
                Err(reason) => self.reject(&exception.by.file, exception.by.label(), reason),
            }
        }
        filters
    }

    fn compile_filters(&mut self, atoms: &mut Atoms) -> Vec<Filter> {
        let mut filters = Vec::new();
        for (file, filter) in std::mem::take(&mut self.filters) {
            match Filter::new(&filter, atoms) {
                Ok(compiled) => filters.push(compiled),
                Err(reason) => self.reject(&file, filter.title, reason),
            }
        }
        filters
    }

    fn note_unknown_targets(&mut self, filters: &[Filter], names: &Names) {
        let is_known = |name: &str| names.contains_key(name) || self.applied.disabled_names.contains(name);
        for filter in filters {
            for name in filter.unknown(is_known) {
                let odd = format!("there is no rule `{name}`");
                self.report.warnings.push((String::new(), filter.name().to_owned(), odd));
            }
        }
    }

    fn reject_rule(&mut self, info: &RuleInfo, reason: RuleError) {
        self.reject(&info.file, info.reference.title.to_string(), reason);
    }

    fn reject(&mut self, file: &str, rule: String, reason: RuleError) {
        self.report.rejected.push(Rejected { file: file.to_owned(), rule, reason });
    }
}
