//! The values that the expressions of a connector see.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cel::{Context, Env};
use serde_json::Value;

use crate::work::Request;

/// Names that an expression in some place may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Names(&'static [&'static str]);

impl Names {
    /// Before anything is asked.
    pub(super) const OF_REQUEST: Names = Names(&["kind", "beside", "args", "comment", "action"]);
    /// Where the provider's id of a target is looked for.
    pub(super) const OF_LOOKUP: Names =
        Names(&["name", "names", "kind", "beside", "args", "comment", "action"]);
    /// What was found there.
    pub(super) const OF_FOUND: Names =
        Names(&["name", "names", "kind", "beside", "args", "comment", "action", "answer"]);
    /// Once the target is known.
    pub(super) const OF_TARGET: Names = Names(&["id", "kind", "beside", "args", "comment", "action", "kept"]);
    /// What was seen of it.
    pub(super) const OF_LOOK: Names =
        Names(&["id", "kind", "beside", "args", "comment", "action", "kept", "answer"]);
    /// The same, for each member of a list.
    pub(super) const OF_ITEM: Names =
        Names(&["id", "kind", "beside", "args", "comment", "action", "kept", "answer", "item"]);
    /// What was answered to the request.
    pub(super) const OF_ANSWER: Names = Names::OF_LOOK;
    /// Where to ask after a request.
    pub(super) const OF_POLL: Names =
        Names(&["id", "kind", "beside", "args", "comment", "action", "kept", "reference"]);

    pub(super) fn has(self, name: &str) -> bool {
        self.0.contains(&name)
    }

    pub(super) fn listed(self) -> String {
        self.0.join(", ")
    }
}

/// The functions of the language, and those of its extension for texts.
static FUNCTIONS: LazyLock<Result<Arc<Env>, String>> = LazyLock::new(|| {
    let mut functions = Env::stdlib();
    functions.add_extension(cel::extensions::strings).map_err(|e| e.to_string())?;
    Ok(Arc::new(functions))
});

/// Values by name.
pub(crate) struct Scope {
    context: Context<'static, 'static>,
}

impl Scope {
    /// What is known of a request before anything was asked.
    pub(crate) fn of(request: &Request) -> Result<Self, String> {
        let mut beside: BTreeMap<&str, &str> = BTreeMap::new();
        for entity in &request.target.identifiers {
            if entity.entity_type != request.target.entity.entity_type {
                beside.entry(entity.entity_type.as_str()).or_insert(&entity.value);
            }
        }
        let kept = request.kept.as_deref().and_then(|kept| serde_json::from_str(kept).ok());
        let functions = FUNCTIONS.as_ref().map_err(String::clone)?;
        let mut scope = Self { context: Context::with_env(Arc::clone(functions)) };
        scope
            .context
            .add_function("odata", |text: Arc<String>| text.replace('\'', "''"))
            .map_err(|e| e.to_string())?;
        scope.put("kind", request.target.entity.entity_type.as_str())?;
        scope.put("beside", beside)?;
        scope.put("args", &request.args)?;
        scope.put("comment", request.comment.as_str())?;
        scope.put("action", request.action.as_str())?;
        scope.put("kept", kept.unwrap_or(Value::Null))?;
        Ok(scope)
    }

    /// Sets a value.
    pub(crate) fn put(&mut self, name: &str, value: impl serde::Serialize) -> Result<(), String> {
        self.context.add_variable(name, value).map_err(|e| e.to_string())
    }

    pub(super) fn context(&self) -> &Context<'static, 'static> {
        &self.context
    }
}
