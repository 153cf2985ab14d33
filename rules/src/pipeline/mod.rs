//! Processing pipelines: rules rewritten before they are compiled, in the format and with the meaning of pySigma.
//!
//! ```text
//! YAML text --document--> Pipeline --Rewriter--> Step by step over each rule --> detections for the compiler
//! ```
//!
//! Pipelines apply in the order of their priority, the lowest first, those of one priority in the order given; their
//! `vars` are one, the later ones win. What is decided here:
//!
//! - **Filters** belong to a rule before pipelines see it, as in pySigma: they are matched by the logsource that the
//!   rule came with, and rewritten together with it.
//! - **Correlations** have their fields renamed, in `group-by`, `aliases` and the condition. A logsource condition
//!   holds for one if it holds, at that step, for any rule that it watches.
//! - **Strings** have the wildcards of `contains`, `startswith` and `endswith` in them when conditions and
//!   transformations look at them, and are encoded where an encoding makes one text of them (`wide`, `base64`). Those of
//!   strings leave regular expressions alone, and texts that stand for several (`windash`, `base64offset`), as in pySigma.
//! - **Dropped items** ask nothing any more: a detection of which nothing is left vanishes from the condition.
//! - **Hashes**: values of kinds of hashes that the transformation does not name stay in their field; pySigma drops them.
//! - **Regular expressions** that `regex` makes match the whole value, as the string did.
//! - **Added conditions** are of their own: `them` and patterns of the rule do not see them.
//! - **Nested transformations** share state and vars with those around them.
//! - **Expressions** have Rust's syntax, without look-around; `match` is at the start of the text, as in Python.
//! - **Placeholders** (`%name%` under `expand`; `\%` is a percent sign) are filled by `value_placeholders`, from `vars`
//!   and then from the [`Placeholders`] of the loader, which also fill, in the end, what is left. A placeholder that
//!   has no values rejects the rule. With `all`, every value must hold, also those of one placeholder.
//! - **Refused**: query post-processing, finalizers, and transformations that write queries, read files or start programs.

mod attribute;
mod condition;
mod detection;
mod document;
mod fields;
mod keys;
mod placeholder;
mod replace;
mod rewriter;
mod step;
mod subject;
mod text;
mod transformation;
mod values;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use placeholder::Placeholders;
pub(crate) use rewriter::{Rewriter, Section, expands};
pub(crate) use subject::LogsourceHistory;

use step::Step;

/// A processing pipeline, ready to rewrite rules.
///
/// ```
/// let text = "name: ecs\ntransformations:\n- {id: names, type: field_name_mapping, mapping: {Image: process.executable}}\n";
/// let pipeline = rules::Pipeline::parse("ecs.yml", text).unwrap();
/// let rule = "title: t\nlogsource: {product: p}\ndetection: {s: {Image: x}, condition: s}\n";
/// let loader = rules::RuleSet::loader().pipeline(pipeline);
/// let (set, _report) = loader.load([("t.yml".to_owned(), rule.to_owned())]);
/// assert!(set.native_fields().contains("process.executable"));
/// ```
#[derive(Debug, Clone)]
pub struct Pipeline {
    name: Arc<str>,
    priority: i64,
    vars: Placeholders,
    steps: Vec<Step>,
    /// Of the text.
    hash: [u8; 32],
}

impl Pipeline {
    /// Reads a pipeline document; `file` is for messages, and the name of a pipeline without `name`.
    ///
    /// # Errors
    /// The first mistake, with its place. Keys and types that are unknown are mistakes: to skip them would change
    /// what rules mean.
    pub fn parse(file: &str, text: &str) -> Result<Pipeline, PipelineError> {
        document::read(file, text)
    }

    /// Its name, else its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Pipelines of lower priority apply first.
    pub fn priority(&self) -> i64 {
        self.priority
    }
}

/// Why a pipeline or the values of placeholders cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// No YAML, or no sound pipeline as a whole.
    #[error("{file}: {problem}")]
    Document {
        /// The file.
        file: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A transformation has a mistake.
    #[error("{file}: {place}: {problem}")]
    Transformation {
        /// The file.
        file: String,
        /// Number, id and type of the transformation.
        place: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Sound in pySigma, but without meaning where rules are evaluated and not converted.
    #[error("{file}: {}{what} is not possible here: {reason}", if .place.is_empty() { String::new() } else { format!("{place}: ") })]
    Refused {
        /// The file.
        file: String,
        /// Number, id and type of the transformation; empty for a key of the document.
        place: String,
        /// What is refused.
        what: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// The values of placeholders are no map of names to lists.
    #[error("placeholder values: {problem}")]
    Placeholders {
        /// What is wrong, and what would be right.
        problem: String,
    },
}
