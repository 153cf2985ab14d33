//! Why a rule was rejected.

/// Why a document was not loaded. The others load; the [`LoadReport`](crate::LoadReport) carries file and rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The file is no YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// YAML, but no sound Sigma document.
    #[error("{0}")]
    Document(String),
    /// The condition cannot be read, or names something the detection does not have.
    #[error("condition: {0}")]
    Condition(String),
    /// A modifier that does not exist. Ignoring it would change what the rule means.
    #[error("unknown modifier in `{key}`: {modifier}")]
    UnknownModifier {
        /// The detection key as written.
        key: String,
        /// The modifier.
        modifier: String,
    },
    /// Modifiers that do not go together, or a value that a modifier cannot take.
    #[error("`{key}`: {problem}")]
    Value {
        /// The detection key as written.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A placeholder without values. Give it a list of values, a pipeline that fills it, or remove the rule.
    #[error("`{key}`: placeholder %{placeholder}% has no values")]
    Placeholder {
        /// The detection key as written.
        key: String,
        /// The placeholder, without its percent signs.
        placeholder: String,
    },
    /// A pipeline rejects the rule, or cannot be applied to it.
    #[error("pipeline `{pipeline}`, {transformation}: {problem}")]
    Pipeline {
        /// Name of the pipeline.
        pipeline: String,
        /// Number, id and type of the transformation.
        transformation: String,
        /// Why.
        problem: String,
    },
    /// A regular expression that the linear-time engine does not take: lookaround, backreference, or a plain mistake.
    #[error("`{key}`: regular expression {pattern:?}: {problem}")]
    Regex {
        /// The detection key as written.
        key: String,
        /// The expression.
        pattern: String,
        /// What is wrong.
        problem: String,
    },
    /// Another document has the same id: two alerts of one event would share their identity.
    #[error("rule id {id} is already taken by {first}")]
    DuplicateId {
        /// The id.
        id: String,
        /// File of the rule that was loaded.
        first: String,
    },
    /// A kind of document, or an extension, that this version does not evaluate.
    #[error("{0} are not yet supported")]
    NotYetSupported(&'static str),
    /// Larger or deeper than any real rule.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The limit, in the unit that `what` names.
        limit: usize,
    },
}

impl RuleError {
    /// A short, stable code for counting: `placeholder`, `unknown_modifier`, ...
    pub const fn code(&self) -> &'static str {
        match self {
            RuleError::Yaml(_) => "yaml",
            RuleError::Document(_) => "document",
            RuleError::Condition(_) => "condition",
            RuleError::UnknownModifier { .. } => "unknown_modifier",
            RuleError::Value { .. } => "value",
            RuleError::Placeholder { .. } => "placeholder",
            RuleError::Pipeline { .. } => "pipeline",
            RuleError::Regex { .. } => "regex",
            RuleError::DuplicateId { .. } => "duplicate_id",
            RuleError::NotYetSupported(_) => "not_yet_supported",
            RuleError::Limit { .. } => "limit",
        }
    }
}
