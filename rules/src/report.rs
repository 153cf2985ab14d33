//! What became of the documents that were given to a rule set.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use event::RuleRef;

use crate::error::RuleError;
use crate::overlay::OverlayEntry;
use crate::rule::RuleInfo;

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
    /// Rules that were not loaded because an overlay, or the loss of a rule that they watch, disabled them.
    pub disabled: Vec<Disabled>,
    /// Rules that an overlay patched, once for each entry.
    pub patched: Vec<Overlaid>,
    /// Rules with events that an overlay excepts, once for each entry.
    pub excepted: Vec<Overlaid>,
    /// Rules whose alerts an overlay suppresses.
    pub suppressed: Vec<Overlaid>,
    /// Entries of overlays whose time is over: they did nothing.
    pub expired: Vec<Arc<OverlayEntry>>,
}

/// A rule that is not loaded, though nothing is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// The rule.
    pub rule: RuleRef,
    /// Its file.
    pub file: Arc<str>,
    /// What disabled it.
    pub by: DisabledBy,
}

/// What disabled a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisabledBy {
    /// An entry of an overlay.
    Overlay(Arc<OverlayEntry>),
    /// It is a correlation, and this rule that it watches, as it names it, is disabled.
    Base(String),
}

/// A rule that an overlay changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlaid {
    /// The rule, as it is with the change.
    pub rule: RuleRef,
    /// Its file.
    pub file: Arc<str>,
    /// The entry of the overlay.
    pub by: Arc<OverlayEntry>,
}

impl Disabled {
    pub(crate) fn new(info: &RuleInfo, by: DisabledBy) -> Self {
        Self { rule: info.reference.clone(), file: Arc::clone(&info.file), by }
    }
}

impl Overlaid {
    pub(crate) fn new(info: &RuleInfo, by: &Arc<OverlayEntry>) -> Self {
        Self { rule: info.reference.clone(), file: Arc::clone(&info.file), by: Arc::clone(by) }
    }
}

impl fmt::Display for Disabled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.file, self.rule.title)?;
        match &self.by {
            DisabledBy::Overlay(entry) => entry.fmt(f),
            DisabledBy::Base(name) => write!(f, "its rule {name} is disabled"),
        }
    }
}

impl fmt::Display for Overlaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.rule.title, self.by)
    }
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
