//! Predicates: what one detection leaf asks of one field.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;
use regex::Regex;

use crate::atom::FieldId;
use crate::column::Value;
use crate::pattern::{Pattern, matches_plainly};
use crate::time_part::TimePart;

/// What a leaf asks of a field. A predicate on a list is true if any member satisfies it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Predicate {
    /// The value matches a text pattern.
    Text(Pattern),
    /// A regular expression is found in the value, as written (not folded).
    Regex(Expression),
    /// The value is an address within a network.
    Cidr(IpNet),
    /// The value is a number that compares so.
    Compare(Comparison, Number),
    /// A part of the value, a time, compares so.
    Time(TimePart, Comparison, i64),
    /// The field is absent or null.
    Null,
    /// The key is present, even as null.
    Exists,
    /// The value stands in this relation to a value of another field of the row.
    FieldRef { other: FieldId, relation: Relation, cased: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Relation {
    Equals,
    Contains,
    StartsWith,
    EndsWith,
}

/// A number of a rule or an event: exact as integer, else a finite float.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Int(i128),
    Float(f64),
}

/// A compiled regular expression; identity is its source.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    source: String,
    regex: Regex,
}

impl Predicate {
    /// Whether one value satisfies the predicate. `Null`, `Exists` and `FieldRef` are questions about a row, not a value,
    /// and are `false` here.
    pub(crate) fn matches_value(&self, value: &Value<'_>) -> bool {
        match self {
            Predicate::Text(pattern) if !pattern.is_cased() => pattern.matches(value.folded),
            Predicate::Text(pattern) => pattern.matches(&value.raw()),
            _ => self.matches_other(&value.raw()),
        }
    }

    /// As [`Predicate::matches_value`], by the slow matcher: for the reference interpreter.
    pub(crate) fn matches_plainly(&self, raw: &str) -> bool {
        match self {
            Predicate::Text(pattern) => matches_plainly(pattern, raw),
            _ => self.matches_other(raw),
        }
    }

    fn matches_other(&self, raw: &str) -> bool {
        match self {
            Predicate::Regex(expression) => expression.regex.is_match(raw),
            Predicate::Cidr(net) => network_contains(net, raw),
            Predicate::Compare(comparison, number) => {
                Number::parse(raw).and_then(|n| n.compare(number)).is_some_and(|o| comparison.holds(o))
            }
            Predicate::Time(part, comparison, number) => {
                part.of(raw).is_some_and(|value| comparison.holds(value.cmp(number)))
            }
            Predicate::Text(_) | Predicate::Null | Predicate::Exists | Predicate::FieldRef { .. } => false,
        }
    }

    /// Texts of which at least one stands in every folded value that matches; empty where nothing is known.
    pub(crate) fn required_literals(&self) -> Vec<String> {
        match self {
            Predicate::Text(pattern) => pattern.required_literals(),
            Predicate::Regex(expression) => crate::regex_literals::required(&expression.source),
            _ => Vec::new(),
        }
    }

    /// Relative cost of asking a row, after the scan of its batch.
    pub(crate) fn cost(&self) -> u32 {
        match self {
            Predicate::Null | Predicate::Exists => 1,
            Predicate::Text(_) | Predicate::Compare(..) | Predicate::Cidr(_) => 20,
            Predicate::Time(..) | Predicate::FieldRef { .. } => 50,
            Predicate::Regex(_) => 200,
        }
    }
}

impl Comparison {
    pub(crate) fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }

    const fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}

impl Relation {
    /// Whether `value` stands in this relation to `other`; both folded or both raw.
    pub(crate) fn holds(self, value: &str, other: &str) -> bool {
        match self {
            Relation::Equals => value == other,
            Relation::Contains => value.contains(other),
            Relation::StartsWith => value.starts_with(other),
            Relation::EndsWith => value.ends_with(other),
        }
    }
}

impl Number {
    /// A number in decimal notation; infinities and NaN are none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(n) = text.parse() {
            return Some(Number::Int(n));
        }
        text.parse::<f64>().ok().filter(|f| f.is_finite()).map(Number::Float)
    }

    /// Order against another number; `None` never happens for parsed numbers, which are finite.
    pub(crate) fn compare(&self, other: &Number) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(b)),
            _ => self.as_float().partial_cmp(&other.as_float()),
        }
    }

    fn as_float(&self) -> f64 {
        match self {
            Number::Int(n) => *n as f64,
            Number::Float(f) => *f,
        }
    }

    fn bits(&self) -> (bool, u128) {
        match self {
            Number::Int(n) => (false, *n as u128),
            Number::Float(f) => (true, u128::from(f.to_bits())),
        }
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// The reason, where the linear-time engine does not take it.
    pub(crate) fn new(source: String) -> Result<Self, String> {
        let built = regex::RegexBuilder::new(&source).size_limit(REGEX_BYTES_MAX).nest_limit(64).build();
        match built {
            Ok(regex) => Ok(Self { source, regex }),
            Err(e) => Err(one_line(&e.to_string())),
        }
    }
}

/// Compiled size in bytes: SigmaHQ's largest needs a tenth; a pack must not take the memory of the engine.
const REGEX_BYTES_MAX: usize = 4 << 20;

fn one_line(text: &str) -> String {
    let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or(text);
    last.trim().trim_start_matches("error: ").to_owned()
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
    }
}

/// A v4-mapped address (`::ffff:10.0.0.1`) is its v4 address for v4 networks, as hosts treat it.
fn network_contains(net: &IpNet, raw: &str) -> bool {
    let text = raw.trim();
    let text = text.split('%').next().unwrap_or(text);
    let Ok(ip) = text.parse::<IpAddr>() else { return false };
    net.contains(&ip) || net.contains(&ip.to_canonical())
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Predicate::Text(pattern) => {
                let how = if pattern.is_cased() { "is (cased)" } else { "is" };
                write!(f, "{how} '{pattern}'")
            }
            Predicate::Regex(expression) => write!(f, "matches /{}/", expression.source),
            Predicate::Cidr(net) => write!(f, "in {net}"),
            Predicate::Compare(comparison, Number::Int(n)) => write!(f, "{} {n}", comparison.symbol()),
            Predicate::Compare(comparison, Number::Float(n)) => write!(f, "{} {n}", comparison.symbol()),
            Predicate::Time(part, comparison, n) => {
                write!(f, "{} {} {n}", part.as_str(), comparison.symbol())
            }
            Predicate::Null => f.write_str("is null"),
            Predicate::Exists => f.write_str("exists"),
            Predicate::FieldRef { relation, .. } => write!(f, "{relation:?} another field"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_exactly_and_across_forms() {
        let big = Number::parse("18446744073709551615").unwrap();
        let less = Number::parse("18446744073709551614").unwrap();
        assert_eq!(less.compare(&big), Some(std::cmp::Ordering::Less));
        assert_eq!(
            Number::parse("10").unwrap().compare(&Number::parse("9.5").unwrap()),
            Some(std::cmp::Ordering::Greater)
        );
        for text in ["", "abc", "nan", "inf", "0x10"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }

    #[test]
    fn networks_take_mapped_addresses_and_zones() {
        let v4: IpNet = "10.0.0.0/8".parse().unwrap();
        assert!(network_contains(&v4, "::ffff:10.1.2.3") && network_contains(&v4, " 10.1.2.3 "));
        assert!(!network_contains(&v4, "11.1.2.3") && !network_contains(&v4, "host"));
        let v6: IpNet = "fe80::/10".parse().unwrap();
        assert!(network_contains(&v6, "fe80::1%eth0"));
    }
}
