//! The values that the expressions of a connector see.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cel::{Context, Env};
use serde_json::Value;

use crate::command::{odata, one_line};
use crate::work::Request;

/// Names that an expression in some place may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Names(&'static [&'static str]);

/// What is known of every request.
macro_rules! names {
    ($($more:literal),*) => {
        Names(&["action", "args", "beside", "comment", "config", "incident", "kind", "target", $($more),*])
    };
}

impl Names {
    /// What is known of a request before anything was asked.
    pub(super) const OF_REQUEST: Names = names!();
    /// Where the provider's id of a target is looked for.
    pub(super) const OF_LOOKUP: Names = names!("name", "names");
    /// What was found there.
    pub(super) const OF_FOUND: Names = names!("name", "names", "answer");
    /// Once the target is known.
    pub(super) const OF_TARGET: Names = names!("id", "kept");
    /// What was seen of it.
    pub(super) const OF_LOOK: Names = names!("id", "kept", "answer");
    /// The same, for each member of a list.
    pub(super) const OF_ITEM: Names = names!("id", "kept", "answer", "item");
    /// What was answered to the request.
    pub(super) const OF_ANSWER: Names = Names::OF_LOOK;
    /// Where to ask after a request.
    pub(super) const OF_POLL: Names = names!("id", "kept", "reference");
    /// What was answered to its cancel.
    pub(super) const OF_CANCEL: Names = names!("id", "kept", "reference", "answer");

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
    /// What is known of a request before anything was asked, and what the configuration says.
    pub(crate) fn of(request: &Request, config: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut beside: BTreeMap<&str, &str> = BTreeMap::new();
        for entity in &request.target.identifiers {
            if entity.entity_type != request.target.entity.entity_type {
                beside.entry(entity.entity_type.as_str()).or_insert(&entity.value);
            }
        }
        let kept = request.kept.as_deref().and_then(|kept| serde_json::from_str(kept).ok());
        let functions = FUNCTIONS.as_ref().map_err(String::clone)?;
        let mut scope = Self { context: Context::with_env(Arc::clone(functions)) };
        scope.context.add_function("odata", |text: Arc<String>| odata(&text)).map_err(|e| e.to_string())?;
        scope.put("kind", request.target.entity.entity_type.as_str())?;
        scope.context.add_function("code", |text: Arc<String>| code(&text)).map_err(|e| e.to_string())?;
        scope.put("beside", beside)?;
        scope.put("args", &request.args)?;
        scope.put("comment", request.comment.as_str())?;
        scope.put("action", request.action.as_str())?;
        scope.put("config", config)?;
        scope.put("incident", incident(request))?;
        scope.put("target", target(request))?;
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

fn incident(request: &Request) -> BTreeMap<&'static str, String> {
    let id = request.incident.to_string();
    let title = match one_line(&request.title) {
        title if title.trim().is_empty() => format!("Incident {id}"),
        title => title,
    };
    BTreeMap::from([("id", id), ("title", title)])
}

fn target(request: &Request) -> BTreeMap<&'static str, String> {
    let target = &request.target;
    BTreeMap::from([("type", target.entity.entity_type.to_string()), ("name", one_line(target.name()))])
}

/// A text as a code span of a chat: what an attacker named is shown in one line, and mentions nobody and links nowhere.
/// Chats read `<` and `>` even there, so look-alikes stand for them.
fn code(text: &str) -> String {
    let line = one_line(text);
    let plain = line.chars().map(|c| match c {
        '`' => '\'',
        '<' => '\u{2039}',
        '>' => '\u{203a}',
        c => c,
    });
    format!("`{}`", plain.collect::<String>())
}
