//! What became of the documents that were given to a rule set.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::RuleError;

/// The outcome of loading: every document is counted here, loaded or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Detection and correlation rules that were loaded.
    pub loaded: usize,
    /// Filters that were loaded.
    pub filters: usize,
    /// Documents that were not, in the order of the files.
    pub rejected: Vec<Rejected>,
    /// Oddities of loaded rules, which do not change what they match: file, rule, what is odd.
    pub warnings: Vec<(String, String, String)>,
}

/// A document that was not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its file.
    pub file: String,
    /// Its title, else its id; empty where neither could be read.
    pub rule: String,
    /// Why.
    pub reason: RuleError,
}

impl LoadReport {
    /// Rejected documents by [`RuleError::code`].
    pub fn rejected_by_code(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        self.rejected.iter().for_each(|r| *counts.entry(r.reason.code()).or_default() += 1);
        counts
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule.as_str() {
            "" => write!(f, "{}: {}", self.file, self.reason),
            rule => write!(f, "{}: {rule}: {}", self.file, self.reason),
        }
    }
}
