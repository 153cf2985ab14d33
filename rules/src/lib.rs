//! Sigma rules: parsed, compiled, evaluated over the columns of a batch.
//!
//! This crate knows no clock, file, network or thread. Texts come in, alerts go out:
//!
//! ```text
//! YAML text --document--> rsigma AST --pipeline--> rewritten --item, compile--> tree of atoms (field, predicate)
//! EventBatch --logsource set--> Plan --scan per field--> rows per atom --evaluate--> (rule, row) --> Alert
//! ```
//!
//! - [`RuleSet`]: loads documents ([`LoadReport`] says what was rejected and why), evaluates batches.
//! - [`FieldCells`]: what rules see in a field of a batch.
//! - [`RuleLoader`]: loads them through processing [`Pipeline`]s and with values for [`Placeholders`].
//! - [`explain`]: the condition of a rule with the outcome of each leaf on one row. [`CorrelationExplainer`]: what a
//!   correlation rule saw, and what it misses.
//! - [`Overlay`]: rules disabled, patched, excepted, suppressed by id, without touching their pack.
//! - [`Windows`]: the state of correlation rules. [`Suppressions`]: which alerts of a rule are told, which counted.
//! - `taxonomy.yml`: which OCSF columns stand for a Sigma field where the source does not have it.
//! - `packs/`: rules of our own.
//!
//! ```
//! let rule = "title: Shadow copies deleted\nlogsource: {category: process_creation}\n\
//!             detection: {s: {CommandLine|contains: 'delete shadows'}, condition: s}\n";
//! let (set, report) = rules::RuleSet::load([("shadow.yml".to_owned(), rule.to_owned())]);
//! assert_eq!((report.loaded, report.rejected.len()), (1, 0));
//! assert!(set.native_fields().contains("CommandLine"));
//! ```
//!
//! # What the specification leaves open, decided
//!
//! Sigma 2.1 with the agreed parts of 2.2; each point is pinned by a test (`tests::vectors`, or beside the code).
//!
//! - **Field lookup**: the native field wins in every row where it has a value; else the OCSF
//!   column that the taxonomy names for the class; else a column of that very name. Names lose their spaces.
//! - **Case** ([`mod@fold`]): Unicode, one character for one character. `re` sees the value as written.
//! - **Lists in events**: any member may satisfy a leaf; members are not joined. An empty list is neither null nor equal to anything.
//! - **re** has the syntax of PCRE, as far as it has linear time: see the module `pcre`. `$` is the very end of the value.
//! - **null** is true for absent keys and JSON null; **''** only for empty text; **exists** for any present key.
//! - **Bare `*`** matches any value, also the empty one, but not an absent field.
//! - **neq** is a plain negation, so it holds for an absent field, as in pySigma.
//! - **Numbers**: values compare as text by default (`4624` = `'4624'`); `lt` and its kin compare exactly as integers, else as floats; anything else is false.
//! - **cidr**: a v4-mapped address is its v4 address; what is no address is false; a network without length is one address.
//! - **Time parts**: as written in the event, without zone conversion; epoch numbers as UTC; they combine with `lt`, `lte`, `gt`, `gte`; ISO weeks.
//! - **windash**: any of `-`, `/`, en dash, em dash, horizontal bar for one that begins a word; dashes within words stay.
//! - **utf16** is a byte order mark and little endian; `wide` takes any text, not only ASCII; encoded text is compared without case unless `cased`.
//! - **fieldref**: both fields must have a value; without case unless `cased`.
//! - **Keywords** search every string, number and boolean of the raw record, not its keys; each value by itself, so that `'|all'` may be satisfied by different ones.
//! - **Conditions**: operators also in upper case; `N of` means at least N; a selector that selects nothing is an error.
//! - **Rejected**, never ignored: unknown modifiers, modifiers that do not go together, empty lists, wildcards within encodings, placeholders without values, look-around, array selectors of sigma-version 3.
//! - **Filters**: the rule's condition and the filter's must hold; a filter applies to rules that it names and whose logsource has all keys of its own, never to correlations.
//! - **Correlations**: see the module `correlation`. **Pipelines and placeholders**, **overlays**, **suppression**: see the modules of these names.
//! - A rule without level is of medium severity; an informational rule makes alerts of informational severity, which correlation reads as context, and none where a correlation rule watches it.
//! - Two rules of one id: the first is kept.

mod alert;
mod atom;
mod column;
mod compile;
mod correlation;
mod document;
mod error;
mod evaluate;
mod explain;
mod field;
mod filter;
mod fold;
mod item;
mod keywords;
mod literals;
mod loader;
mod node;
mod overlay;
mod pack;
mod pattern;
mod pcre;
mod pipeline;
mod plan;
mod predicate;
mod reference;
mod regex_literals;
mod report;
mod rows;
mod rule;
mod scan;
mod set;
mod suppression;
mod taxonomy;
mod time_part;
mod written_filter;

#[cfg(test)]
mod tests;

pub use correlation::{
    CorrelationChange, CorrelationExplainer, CorrelationExplanation, EVENTS_MAX, GROUPS_MAX, GroupOutcome,
    MemberOutcome, Observation, SnapshotError, WindowCounts, WindowOutcome, Windows, WorstCase,
};
pub use error::RuleError;
pub use explain::{ConditionOutcome, RuleExplanation, explain};
pub use field::{Cell, FieldCells};
pub use loader::RuleLoader;
pub use overlay::{ExceptionTallies, ExceptionTally, Overlay, OverlayEntry, OverlayError};
pub use pipeline::{Pipeline, PipelineError, Placeholders};
pub use report::{Disabled, DisabledBy, LoadReport, Overlaid, Rejected};
pub use rule::RuleInfo;
pub use set::{Evaluated, Excepted, RuleIndex, RuleSet};
pub use suppression::{
    SUPPRESSION_HELD_MAX, SUPPRESSION_KEYS_MAX, Suppression, SuppressionChange, SuppressionCounts,
    SuppressionKey, Suppressions,
};
