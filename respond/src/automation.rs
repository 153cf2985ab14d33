//! Automation levels, and which actions have one of their own.

use std::collections::BTreeSet;
use std::fmt;

use event::RiskClass;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::pattern::Patterns;
use crate::policy::Proposal;
use crate::verb::Verb;

/// How much may happen without a person; ordered from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Automation {
    /// Nothing happens; that it was asked for is recorded.
    Off,
    /// Dry run: what would have happened is recorded.
    AuditOnly,
    /// Everything waits for a person: the engine recommends.
    #[default]
    #[serde(alias = "recommend")]
    ApproveAll,
    /// Risk classes R0 and R1 run, the rest waits.
    Semi,
    /// Risk classes up to R2 run, the rest waits.
    Full,
}

impl Automation {
    /// The name used in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Automation::Off => "off",
            Automation::AuditOnly => "audit_only",
            Automation::ApproveAll => "approve_all",
            Automation::Semi => "semi",
            Automation::Full => "full",
        }
    }

    /// The highest risk class that runs without a person.
    pub(crate) const fn risk_max(self) -> Option<RiskClass> {
        match self {
            Automation::Off | Automation::AuditOnly | Automation::ApproveAll => None,
            Automation::Semi => Some(RiskClass::R1),
            Automation::Full => Some(RiskClass::R2),
        }
    }
}

/// Actions with a level of their own. What a group does not say does not matter to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name, shown in decisions.
    pub name: String,
    /// Of these tenants.
    #[serde(default)]
    pub tenants: BTreeSet<String>,
    /// On targets of these names, with `*` and `?`, by type.
    #[serde(default)]
    pub names: Patterns,
    /// Of these verbs.
    #[serde(default)]
    pub verbs: BTreeSet<Verb>,
    /// Of these risk classes.
    #[serde(default)]
    pub risk: BTreeSet<RiskClass>,
    /// Where this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// Their level.
    pub automation: Automation,
}

/// A condition in CEL, as in response rules, on `incident`, `entities`, `target` (`type`, `name`, `names`) and `action`
/// (`verb`, `risk` from 0 to 4).
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct When {
    source: String,
    condition: Condition,
}

impl Group {
    /// Whether it says nothing of what it takes: everything would be in it.
    pub(crate) fn is_open(&self) -> bool {
        let Self { tenants, names, verbs, risk, when, .. } = self;
        tenants.is_empty() && names.is_empty() && verbs.is_empty() && risk.is_empty() && when.is_none()
    }

    /// Whether a proposed action is in it.
    pub(crate) fn takes(&self, p: &Proposal<'_>) -> Result<bool, String> {
        let fits = (self.tenants.is_empty() || self.tenants.contains(p.tenant.as_str()))
            && (self.names.is_empty() || self.names.find(p.target).is_some())
            && (self.verbs.is_empty() || self.verbs.contains(&p.verb))
            && (self.risk.is_empty() || self.risk.contains(&p.risk));
        match &self.when {
            Some(when) if fits => when.condition.holds_for(p.facts, p.target, p.verb, p.risk),
            _ => Ok(fits),
        }
    }
}

impl TryFrom<String> for When {
    type Error = String;

    fn try_from(source: String) -> Result<Self, String> {
        let condition =
            Condition::compile_for_action(&source).map_err(|e| format!("when {source:?}: {e}"))?;
        Ok(Self { source, condition })
    }
}

impl From<When> for String {
    fn from(when: When) -> Self {
        when.source
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)
    }
}

impl PartialEq for When {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for When {}
