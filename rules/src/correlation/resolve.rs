//! Correlation documents to definitions: names become rules, what feeds others comes first, circles are refused.

use std::collections::HashSet;

use hashbrown::HashMap;
use rsigma_parser::CorrelationRule;

use super::Correlations;
use super::definition::{Definition, Referent, Source};
use crate::atom::Atoms;
use crate::error::RuleError;
use crate::rule::RuleInfo;

/// A correlation document whose references are not looked up yet.
pub(crate) struct Pending {
    pub(crate) info: RuleInfo,
    pub(crate) rule: CorrelationRule,
}

/// Detection rules by id (lower case) and by name.
pub(crate) type Names = HashMap<String, u32>;

/// Compiles correlations; what cannot be compiled comes back with the reason. Of those that are `disabled` it is only
/// kept which rules they would watch.
pub(crate) fn resolve(
    mut pending: Vec<Pending>,
    disabled: &[Pending],
    rules: &Names,
    atoms: &mut Atoms,
) -> (Correlations, Vec<(RuleInfo, RuleError)>) {
    let mut definitions: Vec<Definition> = Vec::new();
    let mut known: HashMap<String, u32> = HashMap::new();
    let mut rejected = Vec::new();
    loop {
        let waiting: HashSet<String> = pending.iter().flat_map(names_of).collect();
        let is_waiting =
            |name: &String| waiting.contains(name) || waiting.contains(&name.to_ascii_lowercase());
        let (blocked, ready): (Vec<Pending>, Vec<Pending>) =
            pending.into_iter().partition(|p| p.rule.rules.iter().any(is_waiting));
        pending = blocked;
        if ready.is_empty() {
            break;
        }
        for Pending { info, rule } in ready {
            let names = names_of_rule(&info, &rule);
            let found =
                Definition::new(info.clone(), &rule, atoms, |name| find(name, rules, &known, &definitions));
            match found {
                Ok(definition) => {
                    known.extend(names.into_iter().map(|name| (name, definitions.len() as u32)));
                    definitions.push(definition);
                }
                Err(reason) => rejected.push((info, reason)),
            }
        }
    }
    let circle = |p: Pending| {
        (
            p.info,
            RuleError::Document(format!("correlation: watches itself, through {}", p.rule.rules.join(", "))),
        )
    };
    rejected.extend(pending.into_iter().map(circle));
    let disabled = watched(disabled, |name| find(name, rules, &known, &definitions).map(|r| r.source));
    (Correlations::new(definitions, disabled), rejected)
}

/// What correlations name, and whether one that names it says `generate: true`.
fn watched(correlations: &[Pending], find: impl Fn(&str) -> Option<Source>) -> HashMap<Source, bool> {
    let mut watched = HashMap::new();
    for Pending { rule, .. } in correlations {
        for source in rule.rules.iter().filter_map(|name| find(name)) {
            *watched.entry(source).or_default() |= rule.generate;
        }
    }
    watched
}

fn names_of(pending: &Pending) -> Vec<String> {
    names_of_rule(&pending.info, &pending.rule)
}

fn names_of_rule(info: &RuleInfo, rule: &CorrelationRule) -> Vec<String> {
    [Some(info.reference.id.to_string()), rule.name.clone()].into_iter().flatten().collect()
}

fn find<'a>(
    name: &str,
    rules: &Names,
    correlations: &HashMap<String, u32>,
    definitions: &'a [Definition],
) -> Option<Referent<'a>> {
    let lower = name.to_ascii_lowercase();
    if let Some(rule) = rules.get(name).or_else(|| rules.get(&lower)) {
        return Some(Referent { source: Source::Rule(*rule), group_by: &[] });
    }
    let index = correlations.get(name).or_else(|| correlations.get(&lower))?;
    let group_by = definitions[*index as usize].group_by.as_slice();
    Some(Referent { source: Source::Correlation(*index), group_by })
}
