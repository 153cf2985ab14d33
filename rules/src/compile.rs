//! Detections and conditions to one tree of atoms.

use std::collections::BTreeMap;

use rsigma_parser::{ConditionExpr, Detection, Detections, Quantifier, SelectorPattern, SigmaValue};
use rsigma_parser::{DetectionItem, FieldSpec, SigmaString};

use crate::atom::Atoms;
use crate::error::RuleError;
use crate::item;
use crate::node::Node;
use crate::pattern::Pattern;

/// Compiles the detection section of a rule. A list of conditions is a disjunction.
///
/// # Errors
/// Why the rule must be rejected. Every detection is compiled, also one that no condition names: a rule with
/// a mistake anywhere is a rule that its author did not mean.
pub(crate) fn compile(detections: &Detections, atoms: &mut Atoms) -> Result<Node, RuleError> {
    let mut named = BTreeMap::new();
    for (name, detection) in sorted(&detections.named) {
        let node = self::detection(detection, atoms)?;
        named.insert(name.as_str(), Node::Named(name.as_str().into(), Box::new(node)));
    }
    let conditions: Result<Vec<Node>, RuleError> =
        detections.conditions.iter().map(|c| condition(c, &named)).collect();
    match conditions? {
        conditions if conditions.is_empty() => Err(RuleError::Condition("the list is empty".to_owned())),
        conditions => Ok(Node::or(conditions)),
    }
}

/// The parser's map has no order; atom ids must not depend on the run.
fn sorted<V>(map: &std::collections::HashMap<String, V>) -> BTreeMap<&String, &V> {
    map.iter().collect()
}

fn detection(detection: &Detection, atoms: &mut Atoms) -> Result<Node, RuleError> {
    match detection {
        Detection::AllOf(items) if items.is_empty() => {
            Err(RuleError::Document("a detection is empty".to_owned()))
        }
        Detection::AllOf(items) => {
            items.iter().map(|i| item::compile(i, atoms)).collect::<Result<_, _>>().map(Node::and)
        }
        Detection::AnyOf(parts) if parts.is_empty() => {
            Err(RuleError::Document("a detection is empty".to_owned()))
        }
        Detection::AnyOf(parts) => {
            parts.iter().map(|d| self::detection(d, atoms)).collect::<Result<_, _>>().map(Node::or)
        }
        Detection::And(parts) => {
            parts.iter().map(|d| self::detection(d, atoms)).collect::<Result<_, _>>().map(Node::and)
        }
        Detection::Keywords(values) => keywords(values, atoms),
        Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {
            Err(RuleError::NotYetSupported("array selectors (sigma-version 3)"))
        }
    }
}

fn keywords(values: &[SigmaValue], atoms: &mut Atoms) -> Result<Node, RuleError> {
    let field = FieldSpec::new(None, Vec::new());
    item::compile(&DetectionItem { field, values: values.to_vec() }, atoms)
}

fn condition(expression: &ConditionExpr, named: &BTreeMap<&str, Node>) -> Result<Node, RuleError> {
    let all =
        |parts: &[ConditionExpr]| parts.iter().map(|p| condition(p, named)).collect::<Result<Vec<_>, _>>();
    match expression {
        ConditionExpr::And(parts) => all(parts).map(Node::and),
        ConditionExpr::Or(parts) => all(parts).map(Node::or),
        ConditionExpr::Not(part) => condition(part, named).map(|n| Node::Not(Box::new(n))),
        ConditionExpr::Identifier(name) => {
            let node = named.get(name.as_str()).cloned();
            node.ok_or_else(|| RuleError::Condition(format!("there is no detection `{name}`")))
        }
        ConditionExpr::Selector { quantifier, pattern } => selector(quantifier, pattern, named),
    }
}

fn selector(
    quantifier: &Quantifier,
    pattern: &SelectorPattern,
    named: &BTreeMap<&str, Node>,
) -> Result<Node, RuleError> {
    let chosen: Vec<Node> =
        named.iter().filter(|(name, _)| is_selected(pattern, name)).map(|(_, node)| node.clone()).collect();
    let problem = |what: &str| Err(RuleError::Condition(format!("`{quantifier} of {pattern}` {what}")));
    match quantifier {
        _ if chosen.is_empty() => problem("selects no detection"),
        Quantifier::Any => Ok(Node::or(chosen)),
        Quantifier::All => Ok(Node::and(chosen)),
        Quantifier::Count(n) => match usize::try_from(*n) {
            Ok(n) if (1..=chosen.len()).contains(&n) => Ok(Node::AtLeast(n, chosen)),
            _ => problem("asks for another number of detections than there are"),
        },
    }
}

/// Identifiers that begin with `_` are hidden from `them`, and from patterns that do not begin with `_`.
pub(crate) fn is_selected(pattern: &SelectorPattern, name: &str) -> bool {
    match pattern {
        SelectorPattern::Them => !name.starts_with('_'),
        SelectorPattern::Pattern(p) => {
            (p.starts_with('_') || !name.starts_with('_')) && matches_glob(p, name)
        }
    }
}

/// Letters count as they are written, as in names.
fn matches_glob(pattern: &str, name: &str) -> bool {
    Pattern::from_sigma(&SigmaString::new(pattern)).finished(true).matches(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_and_behind_a_star_does_not_overlap() {
        assert!(
            matches_glob("sel_*_end", "sel_x_end") && matches_glob("sel*", "sel") && matches_glob("*", "x")
        );
        assert!(matches_glob("*a*b", "xa_b") && !matches_glob("Sel*", "sel_a"));
        assert!(!matches_glob("sel*l", "sel") && !matches_glob("sel_*_a", "sel_a"));
    }
}
