//! The rule packs that are part of the program; `build.rs` lists them.

use std::collections::HashSet;

use rsigma_parser::{Level, SigmaRule};

use crate::document::{self, Parsed};

/// Path below `packs/`, and text.
const PACKS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/packs.rs"));

/// File name and text of every rule of the packs.
pub(crate) fn documents() -> Vec<(String, String)> {
    PACKS.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
}

/// Packs without their idle building blocks: see [`crate::RuleSet::builtin_packs_beside`].
pub(crate) fn beside(mut packs: Vec<(String, String)>, others: &[(String, String)]) -> Vec<(String, String)> {
    let watched: HashSet<String> =
        packs.iter().chain(others).flat_map(|(_, text)| watched_by(text)).collect();
    packs.retain(|(_, text)| !is_idle(text, &watched));
    packs
}

/// Names and ids that the correlation rules of a text list.
fn watched_by(text: &str) -> Vec<String> {
    if !text.contains("correlation") {
        return Vec::new();
    }
    parsed(text).flat_map(|p| p.correlations).flat_map(|c| c.rules).collect()
}

fn is_idle(text: &str, watched: &HashSet<String>) -> bool {
    if !text.contains("level: informational") {
        return false;
    }
    let named = |name: &Option<String>| name.as_ref().is_some_and(|name| watched.contains(name));
    let idle =
        |rule: &SigmaRule| rule.level == Some(Level::Informational) && !named(&rule.name) && !named(&rule.id);
    let rules: Vec<SigmaRule> = parsed(text).flat_map(|p| p.rules).collect();
    !rules.is_empty() && rules.iter().all(idle)
}

fn parsed(text: &str) -> impl Iterator<Item = Parsed> {
    document::read(text).into_iter().filter_map(|document| document.outcome.ok())
}
