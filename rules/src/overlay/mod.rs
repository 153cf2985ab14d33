//! Overlays: changes to rules by id or name, from a file of one's own, so that packs stay as they came.
//!
//! ```yaml
//! overlays:
//!   - rule: 0f06a3a5-6a09-413f-8743-e6cf35561297   # id, or name, of a detection or correlation rule
//!     action: except
//!     owner: alice@example.com
//!     reason: the backup job deletes its own shadow copies
//!     expires: 2027-01-01          # that midnight UTC, or an RFC 3339 time; from then on the entry does nothing
//!     detection: {backup: {User: svc-backup}}
//!     condition: backup
//! ```
//!
//! | action | keys of its own | effect |
//! |---|---|---|
//! | `disable` | | The rule is not loaded. Correlations that watch it are disabled with it. |
//! | `patch` | `title`, `description`, `level`; `tags`, `falsepositives`, `references`: `{add: [..], remove: [..]}` | The rule says so of itself. |
//! | `except` | `detection`, `condition` | The rule matches where its condition holds and this one does not. |
//! | `suppress` | `fields`, `window`, `kind` | See the module `suppression`. |
//!
//! Decided:
//!
//! - Several entries may name one rule. Where one disables it the others do nothing; patches apply in the order of files
//!   and entries; exceptions add up; of several suppressions the first is taken and the others are rejected.
//! - `except` is for detection rules: what it excepts, no correlation sees. It is counted for each entry
//!   ([`ExceptionTallies`]). A correlation cannot be excepted from, as it has no events of its own.
//! - An exception runs out at its time, for every event that is taken in from then on; the other changes do when the
//!   rules are next loaded ([`RuleSet::next_expiry`](crate::RuleSet::next_expiry)).
//! - Rules that only a disabled correlation watched stay as silent as they were: they were written to feed it.
//! - A file with a mistake is refused as a whole, with the number of its entry: half of an overlay is nobody's intent.
//! - An entry for a rule that is not there is a warning: packs come and go.

mod apply;
mod read;
mod tally;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use event::Time;
use rsigma_parser::{Detections, Level};
use serde::Deserialize;

use crate::suppression::SuppressionSpec;

pub(crate) use apply::{Applied, Exception, Targets, apply};
pub use tally::{ExceptionTallies, ExceptionTally};

/// The changes of one overlay file.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlay {
    entries: Vec<Entry>,
}

/// What an entry of an overlay says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayEntry {
    /// Names it in counts: a hash of what it says, the same wherever it stands.
    pub id: Arc<str>,
    /// The file it stands in.
    pub file: Arc<str>,
    /// Its place in the file, from 1.
    pub number: usize,
    /// The rule that it names: id or name.
    pub rule: String,
    /// `disable`, `patch`, `except` or `suppress`.
    pub action: &'static str,
    /// Who answers for it.
    pub owner: String,
    /// Why it is there.
    pub reason: String,
    /// From this time on it does nothing.
    pub expires: Time,
}

/// Why an overlay file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {problem}", entry.map(|n| format!(": entry {n}")).unwrap_or_default())]
pub struct OverlayError {
    /// The file.
    pub file: String,
    /// The entry, from 1; `None` where the file itself cannot be read.
    pub entry: Option<usize>,
    /// What is wrong, and what would be right.
    pub problem: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    about: Arc<OverlayEntry>,
    change: Change,
    /// Of the entry as written: part of the version of a rule set.
    hash: [u8; 32],
}

#[derive(Debug, Clone, PartialEq)]
enum Change {
    Disable,
    Patch(Box<Patch>),
    Except(Arc<Detections>),
    Suppress(SuppressionSpec),
}

/// New values for what a rule says about itself.
#[derive(Debug, Clone, Default, PartialEq)]
struct Patch {
    title: Option<String>,
    description: Option<String>,
    level: Option<Level>,
    tags: Edit,
    falsepositives: Edit,
    references: Edit,
}

/// A change to a list.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Edit {
    add: Vec<String>,
    remove: Vec<String>,
}

impl Overlay {
    /// Reads an overlay file; `file` is its name in reports.
    ///
    /// # Errors
    /// The first mistake: an unknown key, a missing owner, a condition that does not compile.
    pub fn parse(file: &str, text: &str) -> Result<Self, OverlayError> {
        read::read(file, text).map(|entries| Self { entries })
    }

    /// Every entry, in order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &OverlayEntry> {
        self.entries.iter().map(|entry| entry.about.as_ref())
    }

    /// The first time after `now` at which an entry expires: a set that was loaded at `now` is right until then.
    pub fn next_expiry(&self, now: Time) -> Option<Time> {
        self.entries().map(|entry| entry.expires).filter(|expires| *expires > now).min()
    }
}

impl OverlayEntry {
    /// What stands for the title of a document in a report.
    pub(crate) fn label(&self) -> String {
        format!("entry {}", self.number)
    }
}

impl fmt::Display for OverlayEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, number, action, owner, reason, expires, .. } = self;
        write!(f, "{file}: entry {number}: {action} by {owner} until {expires}: {reason}")
    }
}
