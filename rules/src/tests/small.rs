//! Small rules that tests of state are made of, and the events that they match.

use serde_json::{Value, json};

/// A rule that matches the events of one kind. `more` is further lines of its header.
pub(crate) fn of_kind(title: &str, name: &str, kind: &str, more: &str) -> String {
    format!(
        "title: {title}\nname: {name}\n{more}logsource: {{product: test}}\n\
         detection: {{s: {{kind: {kind}}}, condition: s}}\n---\n"
    )
}

/// Rules A, B and C, named a, b and c, for the kinds of these names.
pub(crate) fn of_kinds() -> String {
    [("A", "a"), ("B", "b"), ("C", "c")].map(|(title, name)| of_kind(title, name, name, "")).concat()
}

/// An event of a kind, with an id of its own.
pub(crate) fn event(t: i64, kind: &str, user: &str) -> Value {
    json!({"@t": t, "@uid": format!("{t}-{kind}-{user}"), "kind": kind, "user": user})
}
