//! A loaded rule: what it is, and its compiled condition.

use std::sync::Arc;

use event::{AttackTag, Logsource, RuleRef, Severity};
use rsigma_parser::{CorrelationRule, Level, LogSource, SigmaRule, Status};

use crate::atom::{AtomId, Atoms};
use crate::compile;
use crate::error::RuleError;
use crate::filter::Filter;
use crate::node::Node;
use crate::overlay::OverlayEntry;

/// What a loaded rule says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleInfo {
    /// Id, title and author, as every alert carries them.
    pub reference: RuleRef,
    /// The file it came from.
    pub file: Arc<str>,
    /// Its severity; a rule without a level is medium.
    pub severity: Severity,
    /// The events it applies to: each key present must be equal, lower case.
    pub logsource: Logsource,
    /// ATT&CK tags, sorted, without duplicates.
    pub attack: Vec<AttackTag>,
    /// Maturity: `stable`, `test`, `experimental`, `deprecated`, `unsupported`.
    pub status: Option<&'static str>,
    /// What it finds and why that matters.
    pub description: Option<Arc<str>>,
    /// Where to read on.
    pub references: Vec<String>,
    /// What else it may find.
    pub falsepositives: Vec<String>,
}

/// A rule ready to evaluate.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    pub(crate) info: RuleInfo,
    /// The condition as written.
    pub(crate) tree: Node,
    /// The same condition in the order of evaluation.
    pub(crate) program: Node,
    /// See [`Node::triggers`].
    pub(crate) triggers: Option<Vec<AtomId>>,
}

impl CompiledRule {
    /// Compiles a parsed rule, with the filters that apply to it.
    ///
    /// # Errors
    /// Why it must be rejected.
    pub(crate) fn new(
        info: RuleInfo,
        rule: &SigmaRule,
        filters: &[Filter],
        atoms: &mut Atoms,
    ) -> Result<Self, RuleError> {
        let mut parts = vec![compile::compile(&rule.detection, atoms)?];
        parts.extend(filters.iter().filter(|f| f.applies_to(&info, rule)).map(Filter::part));
        Ok(Self::of_parts(info, parts, atoms))
    }

    /// For each exception to a rule, what matches but for it. Each exception is asked by itself, so that each shows how
    /// much it hides, also where another hides the same.
    ///
    /// # Errors
    /// Those of [`CompiledRule::new`].
    pub(crate) fn excepted(
        info: &RuleInfo,
        rule: &SigmaRule,
        filters: &[Filter],
        atoms: &mut Atoms,
    ) -> Result<Vec<(Arc<OverlayEntry>, Self)>, RuleError> {
        let applying = || filters.iter().filter(|f| f.applies_to(info, rule));
        let mut excepted = Vec::new();
        for exception in applying() {
            let Some(by) = exception.exception_by() else { continue };
            let mut parts = vec![compile::compile(&rule.detection, atoms)?];
            parts.extend(applying().filter(|f| f.exception_by().is_none()).map(Filter::part));
            parts.push(Node::Not(Box::new(exception.part())));
            excepted.push((Arc::clone(by), Self::of_parts(info.clone(), parts, atoms)));
        }
        Ok(excepted)
    }

    fn of_parts(info: RuleInfo, parts: Vec<Node>, atoms: &Atoms) -> Self {
        let tree = Node::and(parts);
        let program = tree.optimised(atoms);
        let triggers = program.triggers(atoms);
        Self { info, tree, program, triggers }
    }
}

/// The id of a rule: its own, else one derived from file, title and `ordinal` (how many rules of that title
/// stand before it in the file), which stays as long as these do.
pub(crate) fn id_of(file: &str, ordinal: usize, id: Option<&str>, title: &str) -> Arc<str> {
    match id.map(str::trim).filter(|id| !id.is_empty()) {
        Some(id) => id.to_ascii_lowercase().into(),
        None => {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&(file.len() as u64).to_le_bytes());
            hasher.update(&(ordinal as u64).to_le_bytes());
            hasher.update(file.as_bytes()).update(title.as_bytes());
            format!("r-{}", &hasher.finalize().to_hex()[..24]).into()
        }
    }
}

impl RuleInfo {
    /// What a detection rule says about itself; it will be known by `id`.
    pub(crate) fn of_rule(id: Arc<str>, file: &str, rule: &SigmaRule) -> Self {
        Self {
            reference: reference(id, &rule.title, rule.author.as_deref()),
            file: file.into(),
            severity: severity(rule.level),
            logsource: logsource(&rule.logsource),
            attack: attack(&rule.tags),
            status: rule.status.map(status_name),
            description: rule.description.as_deref().map(|d| d.trim().into()),
            references: rule.references.clone(),
            falsepositives: rule.falsepositives.clone(),
        }
    }

    /// What a correlation rule says about itself.
    pub(crate) fn of_correlation(id: Arc<str>, file: &str, rule: &CorrelationRule) -> Self {
        Self {
            reference: reference(id, &rule.title, rule.author.as_deref()),
            file: file.into(),
            severity: severity(rule.level),
            logsource: Logsource::default(),
            attack: attack(&rule.tags),
            status: rule.status.map(status_name),
            description: rule.description.as_deref().map(|d| d.trim().into()),
            references: rule.references.clone(),
            falsepositives: rule.falsepositives.clone(),
        }
    }
}

fn reference(id: Arc<str>, title: &str, author: Option<&str>) -> RuleRef {
    RuleRef { id, title: title.into(), author: author.map(Into::into) }
}

fn severity(level: Option<Level>) -> Severity {
    level.and_then(|l| Severity::from_name(l.as_str())).unwrap_or(Severity::Medium)
}

fn attack(tags: &[String]) -> Vec<AttackTag> {
    let mut attack: Vec<AttackTag> =
        tags.iter().filter(|t| t.starts_with("attack.")).filter_map(|t| AttackTag::parse(t)).collect();
    attack.sort_unstable();
    attack.dedup();
    attack
}

pub(crate) fn logsource(source: &LogSource) -> Logsource {
    let key = |value: &Option<String>| value.as_deref().map(|v| v.trim().to_ascii_lowercase().into());
    Logsource {
        product: key(&source.product),
        category: key(&source.category),
        service: key(&source.service),
    }
}

const fn status_name(status: Status) -> &'static str {
    match status {
        Status::Stable => "stable",
        Status::Test => "test",
        Status::Experimental => "experimental",
        Status::Deprecated => "deprecated",
        Status::Unsupported => "unsupported",
    }
}
