//! A set of rules: loaded once, evaluated over every batch.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use event::{Alert, EventBatch, Logsource};
use hashbrown::HashMap;
use rsigma_parser::SigmaRule;

use crate::alert;
use crate::atom::{Atoms, Field, FieldId};
use crate::document;
use crate::error::RuleError;
use crate::evaluate;
use crate::plan::Plan;
use crate::predicate::Predicate;
use crate::report::{LoadReport, Rejected};
use crate::rule::{CompiledRule, RuleInfo, id_of};

/// Position of a rule in its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(pub(crate) u32);

/// Compiled rules. Immutable; share it between threads by reference.
#[derive(Debug)]
pub struct RuleSet {
    pub(crate) rules: Vec<CompiledRule>,
    pub(crate) atoms: Atoms,
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
        let version = version_of(hashes);
        let Loader { rules, atoms, report, .. } = loader;
        (RuleSet { rules, atoms, version, plans: Mutex::default() }, report)
    }

    /// The packs that are part of the program: `rules/packs/`.
    pub fn builtin_packs() -> Vec<(String, String)> {
        crate::pack::documents()
    }

    /// Every rule and its position.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = (RuleIndex, &RuleInfo)> {
        self.rules.iter().enumerate().map(|(i, rule)| (RuleIndex(i as u32), &rule.info))
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
        names
    }

    /// A hash of the loaded texts, the same for any order of files.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Which rules match which rows, by row, then by position of the rule.
    pub fn matches(&self, batch: &EventBatch) -> Vec<(RuleIndex, usize)> {
        let plan = self.plan(&batch.meta.logsources);
        let found = evaluate::matches(&plan, &self.rules, &self.atoms, batch);
        found.into_iter().map(|(rule, row)| (RuleIndex(rule), row)).collect()
    }

    /// An alert for each match, in the order of [`RuleSet::matches`].
    pub fn evaluate(&self, batch: &EventBatch) -> Vec<Alert> {
        let matches = self.matches(batch);
        matches.into_iter().map(|(rule, row)| alert::build(self, rule, batch, row)).collect()
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

/// SigmaHQ has 7 MB. The automata of a set stay within their state numbers (see [`crate::scan`]).
const SET_BYTES_MAX: usize = 64 << 20;

fn version_of(mut hashes: Vec<[u8; 32]>) -> String {
    hashes.sort_unstable();
    let hash = blake3::hash(hashes.concat().as_slice());
    hash.to_hex()[..16].to_owned()
}

/// A rule set under construction.
#[derive(Default)]
struct Loader {
    rules: Vec<CompiledRule>,
    atoms: Atoms,
    ids: HashMap<Arc<str>, usize>,
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
                    for rule in &parsed.rules {
                        let ordinal = titles.entry(rule.title.clone()).or_default();
                        self.load_rule(file, id_of(file, *ordinal, rule), rule);
                        *ordinal += 1;
                    }
                }
                Err(reason) => self.reject(file, document.name, reason),
            }
        }
    }

    fn load_rule(&mut self, file: &str, id: Arc<str>, rule: &SigmaRule) {
        let loaded = match self.ids.get(&id) {
            Some(first) => {
                let first = self.rules[*first].info.file.to_string();
                Err(RuleError::DuplicateId { id: id.to_string(), first })
            }
            None => CompiledRule::new(Arc::clone(&id), file, rule, &mut self.atoms),
        };
        match loaded {
            Ok(compiled) => {
                self.ids.insert(id, self.rules.len());
                self.rules.push(compiled);
                self.report.loaded += 1;
            }
            Err(reason) => self.reject(file, rule.title.clone(), reason),
        }
    }

    fn reject(&mut self, file: &str, rule: String, reason: RuleError) {
        self.report.rejected.push(Rejected { file: file.to_owned(), rule, reason });
    }
}
