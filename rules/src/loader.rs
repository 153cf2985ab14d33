//! Documents to a rule set: read first, since filters and correlations may stand anywhere, then rewritten by
//! pipelines, then compiled.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use event::{Feed, Time};
use hashbrown::HashMap;
use rsigma_parser::{CorrelationRule, FilterRule, SigmaRule};

use crate::atom::Atoms;
use crate::correlation::{Names, Pending, resolve};
use crate::document;
use crate::error::RuleError;
use crate::filter::Filter;
use crate::node::Node;
use crate::overlay::{self, Applied, Overlay, OverlayEntry, Targets};
use crate::pipeline::{LogsourceHistory, Pipeline, Placeholders, Rewriter};
use crate::report::{LoadReport, Rejected};
use crate::rule::{CompiledRule, RuleInfo, id_of, logsource};
use crate::set::{Parts, RuleIndex, RuleSet};
use crate::suppression::{self, SuppressionSpec};

/// What rules are loaded with: [`RuleSet::loader`].
#[derive(Debug, Clone, Default)]
pub struct RuleLoader {
    pipelines: Vec<Pipeline>,
    placeholders: Placeholders,
    overlays: Vec<Overlay>,
    feeds: Vec<Feed>,
    now: Option<Time>,
}

impl RuleLoader {
    /// Adds a pipeline. Pipelines apply by priority, those of one priority in the order they are added.
    #[must_use]
    pub fn pipeline(mut self, pipeline: Pipeline) -> Self {
        self.pipelines.push(pipeline);
        self
    }

    /// Adds values of placeholders; of two lists for one name the later is taken.
    #[must_use]
    pub fn placeholders(mut self, placeholders: Placeholders) -> Self {
        self.placeholders.extend(placeholders);
        self
    }

    /// Adds an overlay. Its entries change rules as they were written, before pipelines do.
    #[must_use]
    pub fn overlay(mut self, overlay: Overlay) -> Self {
        self.overlays.push(overlay);
        self
    }

    /// What sources can give: a correlation rule does not wait for kinds of source that have nothing for it. It waits for
    /// all where this is not set.
    #[must_use]
    pub fn feeds(mut self, feeds: Vec<Feed>) -> Self {
        self.feeds = feeds;
        self
    }

    /// The time by which entries of overlays have expired; none has where it is not set.
    #[must_use]
    pub fn now(mut self, now: Time) -> Self {
        self.now = Some(now);
        self
    }

    /// Loads Sigma documents, each a file name and its text (one or more YAML documents).
    ///
    /// Nothing fails as a whole: what cannot be loaded stands in the report with its reason, the rest is loaded.
    /// Transformations that did nothing to any rule are among the warnings.
    pub fn load(self, documents: impl IntoIterator<Item = (String, String)>) -> (RuleSet, LoadReport) {
        let rewriter = Rewriter::new(self.pipelines, self.placeholders);
        let mut loading = Loading { rewriter, feeds: self.feeds, ..Loading::default() };
        let mut hashes = Vec::new();
        for (file, text) in documents {
            hashes.push(*blake3::hash(text.as_bytes()).as_bytes());
            loading.bytes += text.len();
            if loading.bytes > SET_BYTES_MAX {
                let reason = RuleError::Limit { what: "size of the rule set in bytes", limit: SET_BYTES_MAX };
                loading.reject(&file, String::new(), reason);
            } else {
                loading.load_file(&file, &text);
            }
        }
        let now = self.now.unwrap_or(Time::MIN);
        loading.next_expiry = self.overlays.iter().filter_map(|overlay| overlay.next_expiry(now)).min();
        loading.apply(&self.overlays, now);
        hashes.append(&mut loading.applied.hashes);
        let version = version_of(hashes, loading.rewriter.fingerprint());
        loading.finish(version)
    }
}

/// SigmaHQ has 7 MB. The automata of a set stay within their state numbers (see [`crate::scan`]).
const SET_BYTES_MAX: usize = 64 << 20;

/// The same for any order of files; of pipelines and placeholders there is a fingerprint.
fn version_of(mut hashes: Vec<[u8; 32]>, rewriting: Option<[u8; 32]>) -> String {
    hashes.sort_unstable();
    hashes.extend(rewriting);
    let hash = blake3::hash(hashes.concat().as_slice());
    hash.to_hex()[..16].to_owned()
}

/// A rule set under construction.
#[derive(Default)]
struct Loading {
    rewriter: Rewriter,
    rules: Vec<(RuleInfo, SigmaRule)>,
    filters: Vec<(String, FilterRule)>,
    correlations: Vec<Pending>,
    /// The file of each id taken.
    ids: HashMap<Arc<str>, Arc<str>>,
    /// Suppression of alerts as rules declare it, by their id.
    declared: BTreeMap<Arc<str>, SuppressionSpec>,
    applied: Applied,
    feeds: Vec<Feed>,
    report: LoadReport,
    bytes: usize,
    next_expiry: Option<Time>,
}

impl Loading {
    fn load_file(&mut self, file: &str, text: &str) {
        let mut titles: HashMap<String, usize> = HashMap::new();
        let documents = document::read(text);
        if documents.is_empty() {
            let reason = "the file holds no rule: it is empty, or has comments alone".to_owned();
            self.reject(file, String::new(), RuleError::Document(reason));
        }
        for document in documents {
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

    /// Overlays change what was parsed; what they leave to be done is kept for [`Loading::finish`].
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
        let mut logsources = Logsources::default();
        for (info, rule) in std::mem::take(&mut self.rules) {
            let name = rule.name.clone();
            match self.compile_rule(info.clone(), rule, &filters, &mut atoms) {
                Ok(Compiled { rule: compiled, hidden, history }) => {
                    let index = rules.len() as u32;
                    excepted.extend(hidden.into_iter().map(|(by, hidden)| (RuleIndex(index), by, hidden)));
                    logsources.add(&info, name.as_ref(), history);
                    names.insert(info.reference.id.to_string(), index);
                    if let Some(name) = name {
                        names.entry(name).or_insert(index);
                    }
                    rules.push(compiled);
                }
                Err(reason) => self.reject_rule(&info, reason),
            }
        }
        self.note_unknown_targets(&filters, &names);
        let pending = self.rewrite_correlations(&logsources);
        let (mut correlations, rejected) = resolve(pending, &self.applied.disabled, &names, &mut atoms);
        correlations.relate(&self.feeds, &rules);
        rejected.into_iter().for_each(|(info, reason)| self.reject_rule(&info, reason));
        let specs = &self.applied.suppressions;
        let (suppressions, unsound) = suppression::compile(specs, &rules, &correlations, &mut atoms);
        unsound.into_iter().for_each(|(info, reason)| self.note_unsound_suppression(&info, reason));
        self.report.loaded = rules.len() + correlations.definitions.len();
        self.note_idle_transformations();
        let mut exceptions = Vec::with_capacity(excepted.len());
        for (rule, by, hidden) in excepted {
            exceptions.push((rule, by));
            rules.push(hidden);
        }
        let next_expiry = self.next_expiry;
        let parts = Parts { rules, exceptions, atoms, correlations, suppressions, next_expiry };
        (RuleSet::new(parts, version), self.report)
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
            match Filter::new(&filter, &self.rewriter, atoms) {
                Ok(compiled) => filters.push(compiled),
                Err(reason) => self.reject(&file, filter.title, reason),
            }
        }
        filters
    }

    /// Compiles a rule as pipelines rewrite it, with the filters and exceptions that apply to it.
    fn compile_rule(
        &mut self,
        mut info: RuleInfo,
        mut rule: SigmaRule,
        filters: &[Filter],
        atoms: &mut Atoms,
    ) -> Result<Compiled, RuleError> {
        let filters: Vec<&Filter> = filters.iter().filter(|f| f.applies_to(&info, &rule)).collect();
        let sections = filters.iter().filter_map(|filter| filter.section());
        let (sections, history) = self.rewriter.rule(&mut rule, sections)?;
        info.logsource = logsource(&rule.logsource);
        let parts = filters.iter().filter_map(|filter| filter.part()).collect();
        let rule = CompiledRule::new(info.clone(), &sections, parts, atoms)?;
        let mut hidden = Vec::new();
        for exception in &filters {
            let Some((by, part)) = exception.exception_by().zip(exception.part()) else { continue };
            let others = filters.iter().filter(|filter| filter.exception_by().is_none());
            let mut parts: Vec<Node> = others.filter_map(|filter| filter.part()).collect();
            parts.push(Node::Not(Box::new(part)));
            hidden.push((Arc::clone(by), CompiledRule::new(info.clone(), &sections, parts, atoms)?));
        }
        Ok(Compiled { rule, hidden, history })
    }

    fn rewrite_correlations(&mut self, logsources: &Logsources) -> Vec<Pending> {
        let mut pending = std::mem::take(&mut self.correlations);
        if !self.rewriter.has_steps() {
            return pending;
        }
        let watched: Vec<Vec<&LogsourceHistory>> =
            pending.iter().map(|p| logsources.watched_by(&p.rule, &pending)).collect();
        let mut sound = Vec::new();
        for (mut correlation, watched) in pending.drain(..).zip(watched) {
            match self.rewriter.correlation(&mut correlation.rule, watched) {
                Ok(()) => sound.push(correlation),
                Err(reason) => self.reject_rule(&correlation.info, reason),
            }
        }
        sound
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

    fn note_idle_transformations(&mut self) {
        if self.report.loaded > 0 {
            let odd = |(pipeline, label)| (pipeline, label, "did nothing to any rule".to_owned());
            self.report.warnings.extend(self.rewriter.idle().into_iter().map(odd));
        }
    }

    fn reject_rule(&mut self, info: &RuleInfo, reason: RuleError) {
        self.reject(&info.file, info.reference.title.to_string(), reason);
    }

    fn reject(&mut self, file: &str, rule: String, reason: RuleError) {
        self.report.rejected.push(Rejected { file: file.to_owned(), rule, reason });
    }
}

/// A rule, compiled.
struct Compiled {
    rule: CompiledRule,
    /// For each exception to it, what matches but for that one. Each is asked by itself, so that each shows how much it
    /// hides, also where another hides the same.
    hidden: Vec<(Arc<OverlayEntry>, CompiledRule)>,
    /// The logsources that pipelines gave it.
    history: LogsourceHistory,
}

/// The logsources of rules, by id (lower case) and name.
#[derive(Default)]
struct Logsources(BTreeMap<String, LogsourceHistory>);

impl Logsources {
    fn add(&mut self, info: &RuleInfo, name: Option<&String>, history: LogsourceHistory) {
        if let Some(name) = name {
            self.0.entry(name.clone()).or_insert_with(|| history.clone());
        }
        self.0.insert(info.reference.id.to_string(), history);
    }

    /// Those of the rules that a correlation watches, also through other correlations.
    fn watched_by(&self, rule: &CorrelationRule, others: &[Pending]) -> Vec<&LogsourceHistory> {
        let mut found = Vec::new();
        let mut seen: HashSet<&str> = HashSet::new();
        let mut open: Vec<&str> = rule.rules.iter().map(String::as_str).collect();
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            let lower = name.to_ascii_lowercase();
            if let Some(history) = self.0.get(name).or_else(|| self.0.get(&lower)) {
                found.push(history);
            }
            let is_named = |p: &&Pending| {
                p.info.reference.id.as_ref() == lower || p.rule.name.as_deref().is_some_and(|n| n == name)
            };
            let inner = others.iter().filter(is_named).flat_map(|p| &p.rule.rules);
            open.extend(inner.map(String::as_str));
        }
        found
    }
}
