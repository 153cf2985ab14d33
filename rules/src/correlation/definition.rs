//! A correlation rule, compiled: what it measures, over which rules, by which fields, within what time.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use rsigma_parser::{
    ConditionExpr, ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, Quantifier,
    WindowMode,
};

use super::alert::Told;
use crate::atom::{Atoms, Field, FieldId};
use crate::compile::is_selected;
use crate::error::RuleError;
use crate::rule::RuleInfo;

/// The rules of one correlation are bits of a word.
const MEMBERS_MAX: usize = 64;

/// A group holds at most this many events; a threshold beyond it could never be reached.
pub(crate) const GROUP_EVENTS_MAX: usize = 65_536;

/// A correlation rule, ready to run.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) info: RuleInfo,
    /// Names its state in snapshots: the id, and a hash of all that decides the outcome.
    pub(crate) key: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) members: Vec<Member>,
    /// Field names or aliases. Empty: all events are one group.
    pub(crate) group_by: Vec<Arc<str>>,
    /// Microseconds.
    pub(crate) span_us: i64,
    pub(crate) told: Told,
    /// Kinds of source that have nothing for the rules that it watches.
    pub(crate) unrelated: BTreeSet<Arc<str>>,
    /// Whether the rules that it watches make alerts of their own.
    pub(crate) generate: bool,
    /// Whether it only feeds other correlations.
    pub(crate) silent: bool,
}

/// One rule that a correlation watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) source: Source,
    /// As the correlation names it.
    pub(crate) name: Arc<str>,
    /// Where each group-by value comes from.
    pub(crate) keys: Vec<FieldId>,
    /// Where the measured value comes from.
    pub(crate) values: Vec<FieldId>,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A detection rule, by index; its fields are fields of the rule set.
    Rule(u32),
    /// A correlation, by index; its fields are positions in its `group-by`.
    Correlation(u32),
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Number of events.
    Count(Vec<Bound>),
    /// Number of distinct values.
    Distinct(Vec<Bound>),
    Sum(Vec<Bound>),
    Average(Vec<Bound>),
    /// The value of this percent rank, 1 to 100, by nearest rank.
    Percentile(u8, Vec<Bound>),
    Median(Vec<Bound>),
    /// The expression holds for the rules seen.
    Temporal(Seen),
    /// The same, and the rules of one of the ways in which it holds came in the order of the list.
    Ordered(Seen, Box<[Way]>),
}

/// A comparison of the measure with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) operator: ConditionOperator,
    pub(crate) number: u64,
}

impl Bound {
    /// Compares `value / scale` with the number.
    pub(crate) fn holds(self, value: i128, scale: i128) -> bool {
        let number = i128::from(self.number).saturating_mul(scale);
        match self.operator {
            ConditionOperator::Lt => value < number,
            ConditionOperator::Lte => value <= number,
            ConditionOperator::Gt => value > number,
            ConditionOperator::Gte => value >= number,
            ConditionOperator::Eq => value == number,
            ConditionOperator::Neq => value != number,
        }
    }
}

/// A boolean expression over which members were seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Member(u16),
    And(Vec<Seen>),
    Or(Vec<Seen>),
    Not(Box<Seen>),
}

/// One way in which an expression holds: members that must be seen, and members that must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    pub(crate) present: u64,
    pub(crate) absent: u64,
}

/// Ways of one expression, at most: `(a or b) and (c or d)` has four.
const WAYS_MAX: usize = 1_024;

/// Ways before those that are part of others are gone: each is compared with each.
const WAYS_HELD_MAX: usize = 4 * WAYS_MAX;

impl Way {
    /// Whether it asks for no more than `other` does: where the other holds this one does too.
    fn is_part_of(self, other: Way) -> bool {
        self.present & !other.present == 0 && self.absent & !other.absent == 0
    }

    fn and(self, other: Way) -> Way {
        Way { present: self.present | other.present, absent: self.absent | other.absent }
    }
}

impl Seen {
    pub(crate) fn holds(&self, seen: u64) -> bool {
        match self {
            Seen::Member(member) => seen >> member & 1 == 1,
            Seen::And(parts) => parts.iter().all(|p| p.holds(seen)),
            Seen::Or(parts) => parts.iter().any(|p| p.holds(seen)),
            Seen::Not(part) => !part.holds(seen),
        }
    }

    /// Whether it asks for something not to be there: known only when the window is over.
    pub(crate) fn has_absence(&self) -> bool {
        self.asked(true) != 0
    }

    /// The members that must be there, as opposed to those under a `not`.
    pub(crate) fn positive(&self) -> u64 {
        self.asked(false)
    }

    /// The members that stand under an odd number of `not`, or under an even one.
    fn asked(&self, negated: bool) -> u64 {
        match self {
            Seen::Member(_) if negated => 0,
            Seen::Member(member) => 1 << member,
            Seen::And(parts) | Seen::Or(parts) => parts.iter().fold(0, |all, p| all | p.asked(negated)),
            Seen::Not(part) => part.asked(!negated),
        }
    }

    /// Every way in which it holds, or, `negated`, does not; none of them part of another.
    ///
    /// # Errors
    /// Where there are more than [`WAYS_MAX`].
    pub(crate) fn ways(&self, negated: bool) -> Result<Vec<Way>, RuleError> {
        let each = |parts: &[Seen]| parts.iter().map(|p| p.ways(negated)).collect::<Result<Vec<_>, _>>();
        match (self, negated) {
            (Seen::Member(member), false) => Ok(vec![Way { present: 1 << member, absent: 0 }]),
            (Seen::Member(member), true) => Ok(vec![Way { present: 0, absent: 1 << member }]),
            (Seen::Not(part), _) => part.ways(!negated),
            (Seen::Or(parts), false) | (Seen::And(parts), true) => least(each(parts)?.concat()),
            (Seen::And(parts), false) | (Seen::Or(parts), true) => {
                let none = vec![Way { present: 0, absent: 0 }];
                each(parts)?.into_iter().try_fold(none, |all, ways| {
                    let both = all.iter().flat_map(|a| ways.iter().map(|b| a.and(*b)));
                    least(both.take(WAYS_HELD_MAX + 1).collect())
                })
            }
        }
    }

    fn named(&self) -> u64 {
        self.asked(true) | self.asked(false)
    }

    /// Whether it asks for all of `members`, and for nothing else.
    pub(crate) fn is_all_of(&self, members: usize) -> bool {
        let Seen::And(parts) = self else { return members == 1 && *self == Seen::Member(0) };
        parts.len() == members && parts.iter().all(|p| matches!(p, Seen::Member(_)))
    }
}

/// Ways without those that another is part of, and those that nothing can satisfy.
fn least(mut ways: Vec<Way>) -> Result<Vec<Way>, RuleError> {
    let limit = RuleError::Limit { what: "number of alternatives of a correlation", limit: WAYS_MAX };
    if ways.len() > WAYS_HELD_MAX {
        return Err(limit);
    }
    ways.retain(|way| way.present & way.absent == 0);
    ways.sort_unstable();
    ways.dedup();
    let all = ways.clone();
    ways.retain(|way| !all.iter().any(|other| other != way && other.is_part_of(*way)));
    if ways.len() > WAYS_MAX { Err(limit) } else { Ok(ways) }
}

impl Kind {
    /// Whether it can only be judged when the window is over.
    pub(crate) fn has_absence(&self) -> bool {
        matches!(self, Kind::Temporal(seen) | Kind::Ordered(seen, _) if seen.has_absence())
    }

    /// What the measured number must satisfy; none where it is not a number that is asked for.
    pub(crate) fn bounds(&self) -> &[Bound] {
        match self {
            Kind::Count(bounds)
            | Kind::Distinct(bounds)
            | Kind::Sum(bounds)
            | Kind::Average(bounds)
            | Kind::Percentile(_, bounds)
            | Kind::Median(bounds) => bounds,
            Kind::Temporal(_) | Kind::Ordered(..) => &[],
        }
    }

    /// The name of the type.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Kind::Count(_) => "event_count",
            Kind::Distinct(_) => "value_count",
            Kind::Sum(_) => "value_sum",
            Kind::Average(_) => "value_avg",
            Kind::Percentile(..) => "value_percentile",
            Kind::Median(_) => "value_median",
            Kind::Temporal(_) => "temporal",
            Kind::Ordered(..) => "temporal_ordered",
        }
    }

    fn measures_values(&self) -> bool {
        !matches!(self, Kind::Count(_) | Kind::Temporal(_) | Kind::Ordered(..))
    }

    /// Whether values are numbers, and not texts that are told apart.
    pub(crate) fn is_numeric(&self) -> bool {
        self.measures_values() && !matches!(self, Kind::Distinct(_))
    }
}

/// What a name in `rules` stands for.
pub(crate) struct Referent<'a> {
    pub(crate) source: Source,
    /// The group-by names of a correlation.
    pub(crate) group_by: &'a [Arc<str>],
}

impl Definition {
    /// Compiles a parsed correlation; `find` resolves an id or name.
    ///
    /// # Errors
    /// Why it must be rejected.
    pub(crate) fn new<'a>(
        info: RuleInfo,
        rule: &CorrelationRule,
        atoms: &mut Atoms,
        find: impl Fn(&str) -> Option<Referent<'a>>,
    ) -> Result<Self, RuleError> {
        check(rule)?;
        let kind = kind(rule)?;
        let value_fields = match &rule.condition {
            CorrelationCondition::Threshold { field: Some(fields), .. } if kind.measures_values() => {
                fields.as_slice()
            }
            _ => &[],
        };
        let members = rule.rules.iter().map(|name| {
            let unknown = || RuleError::Document(format!("correlation: there is no rule `{name}`"));
            let referent = find(name).ok_or_else(unknown)?;
            let keys = fields(rule, name, &referent, &rule.group_by, atoms)?;
            let values = fields(rule, name, &referent, value_fields, atoms)?;
            Ok(Member { source: referent.source, name: name.as_str().into(), keys, values })
        });
        let members = members.collect::<Result<Vec<_>, RuleError>>()?;
        let group_by: Vec<Arc<str>> = rule.group_by.iter().map(|name| name.as_str().into()).collect();
        let span_us = i64::try_from(rule.timespan.seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let decisive = format!("{kind:?} {:?} {group_by:?} {:?} {span_us}", rule.rules, sorted_aliases(rule));
        let key = format!("{}@{}", info.reference.id, &blake3::hash(decisive.as_bytes()).to_hex()[..16]);
        Ok(Self {
            info,
            key: key.into(),
            told: Told::of(&kind, &members, span_us),
            kind,
            members,
            group_by,
            span_us,
            generate: rule.generate,
            silent: false,
            unrelated: BTreeSet::new(),
        })
    }
}

fn sorted_aliases(rule: &CorrelationRule) -> Vec<(&str, Vec<(&String, &String)>)> {
    let mut aliases: Vec<(&str, Vec<(&String, &String)>)> = rule
        .aliases
        .iter()
        .map(|alias| {
            let mut pairs: Vec<_> = alias.mapping.iter().collect();
            pairs.sort();
            (alias.alias.as_str(), pairs)
        })
        .collect();
    aliases.sort();
    aliases
}

fn check(rule: &CorrelationRule) -> Result<(), RuleError> {
    if rule.rules.is_empty() {
        return Err(RuleError::Document("correlation: `rules` is empty".to_owned()));
    }
    if let Some(twice) = rule.rules.iter().enumerate().find(|(i, name)| rule.rules[..*i].contains(name)) {
        return Err(RuleError::Document(format!("correlation: `rules` lists `{}` twice", twice.1)));
    }
    if rule.rules.len() > MEMBERS_MAX {
        return Err(RuleError::Limit { what: "number of rules of a correlation", limit: MEMBERS_MAX });
    }
    if rule.timespan.seconds == 0 {
        return Err(RuleError::Document("correlation: `timespan` is zero".to_owned()));
    }
    if rule.window != WindowMode::Sliding {
        return Err(RuleError::NotYetSupported("correlation windows other than sliding"));
    }
    Ok(())
}

fn kind(rule: &CorrelationRule) -> Result<Kind, RuleError> {
    let bounds = || match &rule.condition {
        CorrelationCondition::Threshold { predicates, .. } => bounds(predicates),
        CorrelationCondition::Extended(_) => {
            Err(RuleError::Condition("only temporal correlations take a boolean expression".to_owned()))
        }
    };
    Ok(match rule.correlation_type {
        CorrelationType::EventCount => Kind::Count(reachable(bounds()?)?),
        CorrelationType::ValueCount => Kind::Distinct(reachable(with_field(rule, bounds()?)?)?),
        CorrelationType::ValueSum => Kind::Sum(with_field(rule, bounds()?)?),
        CorrelationType::ValueAvg => Kind::Average(with_field(rule, bounds()?)?),
        CorrelationType::ValueMedian => Kind::Median(with_field(rule, bounds()?)?),
        CorrelationType::ValuePercentile => Kind::Percentile(rank(rule)?, with_field(rule, bounds()?)?),
        CorrelationType::Temporal => Kind::Temporal(seen(rule)?),
        CorrelationType::TemporalOrdered => {
            let seen = seen(rule)?;
            let ways = seen.ways(false)?.into();
            Kind::Ordered(seen, ways)
        }
    })
}

fn bounds(predicates: &[(ConditionOperator, u64)]) -> Result<Vec<Bound>, RuleError> {
    if predicates.is_empty() {
        return Err(RuleError::Condition("no comparison (gt, gte, lt, lte, eq, neq)".to_owned()));
    }
    Ok(predicates.iter().map(|(operator, number)| Bound { operator: *operator, number: *number }).collect())
}

/// Refuses counts that a group can never hold.
fn reachable(bounds: Vec<Bound>) -> Result<Vec<Bound>, RuleError> {
    let too_high = |b: &Bound| {
        let asks_for_more =
            matches!(b.operator, ConditionOperator::Gt | ConditionOperator::Gte | ConditionOperator::Eq);
        asks_for_more && b.number >= GROUP_EVENTS_MAX as u64
    };
    if bounds.iter().any(too_high) {
        return Err(RuleError::Limit { what: "threshold of a correlation", limit: GROUP_EVENTS_MAX - 1 });
    }
    Ok(bounds)
}

fn with_field(rule: &CorrelationRule, bounds: Vec<Bound>) -> Result<Vec<Bound>, RuleError> {
    let several = rule.correlation_type == CorrelationType::ValueCount;
    match &rule.condition {
        CorrelationCondition::Threshold { field: Some(fields), .. }
            if fields.len() == 1 || (several && !fields.is_empty()) =>
        {
            Ok(bounds)
        }
        _ => Err(RuleError::Condition(format!(
            "{} needs `field`{}",
            rule.correlation_type.as_str(),
            if several { "" } else { ", one" }
        ))),
    }
}

fn rank(rule: &CorrelationRule) -> Result<u8, RuleError> {
    let CorrelationCondition::Threshold { percentile, .. } = &rule.condition else { return Ok(50) };
    match percentile {
        None => Ok(50),
        Some(rank @ 1..=100) => Ok(*rank as u8),
        Some(other) => Err(RuleError::Condition(format!("`percentile` is {other}; it must be 1 to 100"))),
    }
}

fn seen(rule: &CorrelationRule) -> Result<Seen, RuleError> {
    let all = (0..rule.rules.len() as u16).map(Seen::Member).collect();
    let seen = match &rule.condition {
        CorrelationCondition::Extended(expression) => expression_of(expression, &rule.rules)?,
        CorrelationCondition::Threshold { .. } => Seen::And(all),
    };
    let unnamed = rule.rules.iter().enumerate().find(|(i, _)| seen.named() >> i & 1 == 0);
    if let Some((_, name)) = unnamed {
        return Err(RuleError::Condition(format!("rule `{name}` is listed but not named in the condition")));
    }
    if seen.positive() == 0 {
        return Err(RuleError::Condition(
            "a correlation must ask for at least one rule to be seen".to_owned(),
        ));
    }
    Ok(seen)
}

fn expression_of(expression: &ConditionExpr, rules: &[String]) -> Result<Seen, RuleError> {
    let all = |parts: &[ConditionExpr]| {
        parts.iter().map(|p| expression_of(p, rules)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match expression {
        ConditionExpr::And(parts) => Seen::And(all(parts)?),
        ConditionExpr::Or(parts) => Seen::Or(all(parts)?),
        ConditionExpr::Not(part) => Seen::Not(Box::new(expression_of(part, rules)?)),
        ConditionExpr::Identifier(name) => {
            let member = rules.iter().position(|rule| rule == name);
            let unknown = || RuleError::Condition(format!("`{name}` is not in `rules`"));
            Seen::Member(member.ok_or_else(unknown)? as u16)
        }
        ConditionExpr::Selector { quantifier, pattern } => {
            let chosen: Vec<Seen> = (0..)
                .zip(rules)
                .filter(|(_, name)| is_selected(pattern, name))
                .map(|(i, _)| Seen::Member(i))
                .collect();
            match quantifier {
                Quantifier::All if !chosen.is_empty() => Seen::And(chosen),
                Quantifier::Any if !chosen.is_empty() => Seen::Or(chosen),
                _ => {
                    return Err(RuleError::Condition(format!("`{quantifier} of {pattern}` selects no rule")));
                }
            }
        }
    })
}

/// The field of a member that a name stands for.
fn field_of<'a>(rule: &'a CorrelationRule, member: &str, name: &'a String) -> Result<&'a String, RuleError> {
    let Some(alias) = rule.aliases.iter().find(|a| a.alias == *name) else { return Ok(name) };
    let missing =
        || RuleError::Document(format!("correlation: alias `{name}` says nothing for rule `{member}`"));
    alias.mapping.get(member).ok_or_else(missing)
}

/// Where the values of `names` come from in events of a member: through its aliases, else by that very name.
fn fields(
    rule: &CorrelationRule,
    member: &str,
    referent: &Referent<'_>,
    names: &[String],
    atoms: &mut Atoms,
) -> Result<Vec<FieldId>, RuleError> {
    let id_of = |name: &String| {
        let field = field_of(rule, member, name)?;
        match referent.source {
            Source::Rule(_) => Ok(atoms.field(Field::Named(field.replace(' ', "").into()))),
            Source::Correlation(_) => {
                let place = referent.group_by.iter().position(|g| g.as_ref() == field.as_str());
                let missing = || {
                    RuleError::Document(format!(
                        "correlation: `{member}` is not grouped by `{field}`, which `{name}` asks of it"
                    ))
                };
                place.map(|i| i as FieldId).ok_or_else(missing)
            }
        }
    };
    names.iter().map(id_of).collect()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.bounds().iter().try_for_each(|bound| write!(f, " {bound}"))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", sign(self.operator), self.number)
    }
}

const fn sign(operator: ConditionOperator) -> &'static str {
    match operator {
        ConditionOperator::Lt => "<",
        ConditionOperator::Lte => "<=",
        ConditionOperator::Gt => ">",
        ConditionOperator::Gte => ">=",
        ConditionOperator::Eq => "=",
        ConditionOperator::Neq => "!=",
    }
}
