//! Why a correlation rule fired or did not: what it was told, what its windows held, what the nearest of them misses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use event::{EventBatch, RecordRef, TenantId, Time};

use super::definition::{Definition, Kind, Source, Way};
use super::measure::{Measure, window_holds};
use super::observation::{Keys, Observation};
use super::timeline::{Entry, Timeline, Verdict, WindowCounts};
use super::{CorrelationChange, alert, seen_by, witness_of};
use crate::set::RuleSet;

/// What one correlation rule made of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrelationExplanation {
    /// Title of the rule.
    pub rule: Arc<str>,
    /// What it asks for: type, condition, timespan, group.
    pub asks: String,
    /// The rules that it watches, in their order.
    pub members: Vec<MemberOutcome>,
    /// Its groups: those in which it fired, then those that came nearest.
    pub groups: Vec<GroupOutcome>,
}

/// What a correlation rule was told of one rule that it watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberOutcome {
    /// The rule, as the correlation names it.
    pub name: Arc<str>,
    /// How often it matched or fired.
    pub matches: usize,
    /// How many of these count: they have a value in every group-by field, and one to measure where one is asked for.
    pub counted: usize,
    /// Where the first matches are.
    pub records: Vec<RecordRef>,
    /// For a rule that is a correlation itself: why it fired or did not.
    pub inner: Option<Box<CorrelationExplanation>>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOutcome {
    /// Names and values, in lower case; none where the rule has no group-by.
    pub key: Vec<(Arc<str>, Arc<str>)>,
    /// The windows in which it fired.
    pub fired: Vec<WindowOutcome>,
    /// Where it did not fire: the window that came nearest.
    pub nearest: Option<WindowOutcome>,
}

/// A window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowOutcome {
    /// Time of its first event.
    pub from: Time,
    /// Time of its last event.
    pub to: Time,
    /// Events of each rule that it holds, in the order of the list.
    pub held: Vec<(Arc<str>, usize)>,
    /// The measured number, where one is asked for.
    pub measured: Option<String>,
    /// What keeps it from firing.
    pub missing: Vec<String>,
}

/// Records that are named for a rule.
const RECORDS_SHOWN: usize = 3;

/// Windows of a group that are looked at for the nearest: the last ones.
const WINDOWS_MAX: usize = 10_000;

/// Collects what a correlation rule, and those within it, are told of batches.
#[derive(Debug)]
pub struct CorrelationExplainer<'a> {
    set: &'a RuleSet,
    correlation: u32,
    /// Matches of detection rules, and the first of them.
    matches: BTreeMap<u32, (usize, Vec<RecordRef>)>,
    observations: BTreeMap<u32, Vec<Observation>>,
}

/// The events of each group.
type Groups = BTreeMap<(TenantId, Keys), Vec<Entry>>;

impl<'a> CorrelationExplainer<'a> {
    /// For the correlation rule of this id; `None` where the set has none.
    pub fn new(set: &'a RuleSet, id: &str) -> Option<Self> {
        let is_meant = |d: &Definition| d.info.reference.id.eq_ignore_ascii_case(id);
        let correlation = set.correlations.definitions.iter().position(is_meant)? as u32;
        Some(Self { set, correlation, matches: BTreeMap::new(), observations: BTreeMap::new() })
    }

    /// Takes in the events of a batch. Memory grows with those that match.
    pub fn observe(&mut self, batch: &EventBatch) {
        for (rule, row) in self.set.matches(batch) {
            let (count, records) = self.matches.entry(rule.0).or_default();
            *count += 1;
            if records.len() < RECORDS_SHOWN {
                records.push(batch.record(row));
            }
        }
        for observation in self.set.evaluate(batch).observations {
            self.observations.entry(observation.correlation).or_default().push(observation);
        }
    }

    /// What the rule made of all that was taken in.
    pub fn explain(&self) -> CorrelationExplanation {
        self.outcome(self.correlation).0
    }

    /// The explanation of a correlation, and what it hands on to those that watch it.
    fn outcome(&self, index: u32) -> (CorrelationExplanation, Vec<Fired>) {
        let definition = &self.set.correlations.definitions[index as usize];
        let mut groups = Groups::new();
        let own = self.observations.get(&index).into_iter().flatten();
        for Observation { tenant, member, time, keys, value, witness, .. } in own {
            let entry =
                Entry { time: time.0, member: *member, value: value.clone(), witness: witness.clone() };
            groups.entry((tenant.clone(), keys.clone())).or_default().push(entry);
        }
        let mut inner = BTreeMap::new();
        for (number, member) in (0..).zip(&definition.members) {
            if let Source::Correlation(watched) = member.source {
                let (explanation, fired) = self.outcome(watched);
                hand_on(definition, number, &fired, &mut groups);
                inner.insert(number, (explanation, fired));
            }
        }
        let counted = counted(&groups);
        let mut fired = Vec::new();
        let mut outcomes: Vec<(usize, GroupOutcome)> = groups
            .into_iter()
            .map(|((tenant, keys), entries)| judge(definition, &tenant, &keys, entries, &mut fired))
            .collect();
        outcomes.sort_by_key(|(distance, _)| *distance);
        let member = |(number, member): (u16, &super::definition::Member)| {
            let (matches, records, explanation) = match (member.source, inner.remove(&number)) {
                (_, Some((explanation, fired))) => {
                    let records = fired.iter().flat_map(|f| f.alert.records.first().cloned());
                    (fired.len(), records.take(RECORDS_SHOWN).collect(), Some(Box::new(explanation)))
                }
                (Source::Rule(rule), None) => {
                    let (count, records) = self.matches.get(&rule).cloned().unwrap_or_default();
                    (count, records, None)
                }
                (Source::Correlation(_), None) => (0, Vec::new(), None),
            };
            let counted = counted.get(&number).map_or(0, BTreeSet::len);
            MemberOutcome { name: Arc::clone(&member.name), matches, counted, records, inner: explanation }
        };
        let explanation = CorrelationExplanation {
            rule: Arc::clone(&definition.info.reference.title),
            asks: asks(definition),
            members: (0..).zip(&definition.members).map(member).collect(),
            groups: outcomes.into_iter().map(|(_, outcome)| outcome).collect(),
        };
        (explanation, fired)
    }
}

/// A firing, and the group that it is of.
struct Fired {
    tenant: TenantId,
    keys: Keys,
    alert: event::Alert,
}

/// Firings of an inner correlation as events of an outer one.
fn hand_on(definition: &Definition, number: u16, fired: &[Fired], groups: &mut Groups) {
    for Fired { tenant, keys, alert } in fired {
        let Some((group, value)) = seen_by(definition, number, keys) else { continue };
        let entry = Entry { time: alert.time.0, member: number, value, witness: witness_of(alert) };
        groups.entry((tenant.clone(), group)).or_default().push(entry);
    }
}

/// The events of each member that are in any group: one may be in several.
fn counted(groups: &Groups) -> BTreeMap<u16, BTreeSet<u64>> {
    let mut counted: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
    for entry in groups.values().flatten() {
        counted.entry(entry.member).or_default().insert(entry.witness.hash());
    }
    counted
}

/// Judges a group as [`super::Windows`] does when all events have come; with how far it is from firing.
fn judge(
    definition: &Definition,
    tenant: &TenantId,
    keys: &Keys,
    mut entries: Vec<Entry>,
    fired: &mut Vec<Fired>,
) -> (usize, GroupOutcome) {
    let mut timeline = Timeline::default();
    let mut counts = WindowCounts::default();
    let mut verdicts = timeline.update(definition, &mut entries.clone(), &[], i64::MIN, &mut counts);
    if definition.kind.has_absence() {
        verdicts.extend(timeline.sweep(definition, i64::MIN, i64::MAX));
    }
    entries.sort_by_key(Entry::place);
    entries.dedup_by_key(|entry| entry.place());
    let mut windows = Vec::new();
    for verdict in verdicts {
        if let Verdict::Fired(window) = &verdict {
            let last = entries.partition_point(|entry| entry.time <= window.time);
            let first = entries.partition_point(|entry| entry.time < window.first_time);
            windows.push(Candidate::of(definition, &entries[first..last]).outcome);
        }
        if let CorrelationChange::Fired(alert) = alert::change(definition, tenant, keys, &verdict) {
            fired.push(Fired { tenant: tenant.clone(), keys: keys.clone(), alert });
        }
    }
    let nearest = if windows.is_empty() { nearest(definition, &entries) } else { None };
    let distance = nearest.as_ref().map_or(0, |candidate| candidate.distance.max(1));
    let key = definition.group_by.iter().cloned().zip(keys.iter().cloned()).collect();
    (distance, GroupOutcome { key, fired: windows, nearest: nearest.map(|candidate| candidate.outcome) })
}

/// The window that needs least to fire; of several the last.
fn nearest(definition: &Definition, entries: &[Entry]) -> Option<Candidate> {
    let span = definition.span_us;
    let windows = (0..entries.len()).rev().take(WINDOWS_MAX).map(|at| {
        let time = entries[at].time;
        if definition.kind.has_absence() {
            &entries[at..entries.partition_point(|entry| entry.time <= time.saturating_add(span))]
        } else {
            &entries[entries.partition_point(|entry| entry.time < time.saturating_sub(span))..=at]
        }
    });
    let mut nearest: Option<Candidate> = None;
    for window in windows {
        let candidate = Candidate::of(definition, window);
        if nearest.as_ref().is_none_or(|best| candidate.distance < best.distance) {
            nearest = Some(candidate);
        }
    }
    nearest
}

/// A window and what it lacks.
struct Candidate {
    /// 0 where it lacks nothing.
    distance: usize,
    outcome: WindowOutcome,
}

impl Candidate {
    fn of(definition: &Definition, window: &[Entry]) -> Self {
        let kind = &definition.kind;
        let mut measure = Measure::new(kind, definition.members.len());
        let mut counts = vec![0_usize; definition.members.len()];
        for entry in window {
            measure.add(entry.time, entry.member, &entry.value);
            counts[usize::from(entry.member)] += 1;
        }
        let names = definition.members.iter().map(|member| Arc::clone(&member.name));
        let (distance, missing) = match kind.bounds() {
            [] => unseen(definition, window),
            _ => unmet(kind, measure.value(kind)),
        };
        let outcome = WindowOutcome {
            from: Time(window.first().map_or(0, |entry| entry.time)),
            to: Time(window.last().map_or(0, |entry| entry.time)),
            held: names.zip(counts).collect(),
            measured: measure
                .value(kind)
                .map(|(value, scale)| format!("{} is {}", kind.name(), number(value, scale))),
            missing,
        };
        Self { distance, outcome }
    }
}

/// The bounds that a number does not keep, and by how much.
fn unmet(kind: &Kind, value: Option<(i128, i128)>) -> (usize, Vec<String>) {
    let Some((value, scale)) = value else { return (usize::MAX, vec!["there is no value".to_owned()]) };
    let mut distance = 0_usize;
    let mut missing = Vec::new();
    for bound in kind.bounds().iter().filter(|bound| !bound.holds(value, scale)) {
        let off =
            (i128::from(bound.number).saturating_mul(scale) - value).unsigned_abs() / scale.unsigned_abs();
        distance = distance.saturating_add(usize::try_from(off).unwrap_or(usize::MAX).saturating_add(1));
        missing.push(format!("{} must be {bound}", kind.name()));
    }
    (distance, missing)
}

/// What the way that needs least asks of a window in vain.
fn unseen(definition: &Definition, window: &[Entry]) -> (usize, Vec<String>) {
    let (seen, ways) = match &definition.kind {
        Kind::Ordered(seen, ways) => (seen, ways.to_vec()),
        // So many ways that they cannot be told apart: all that is named is asked for.
        Kind::Temporal(seen) => {
            let all = Way { present: seen.positive(), absent: 0 };
            (seen, seen.ways(false).unwrap_or_else(|_| vec![all]))
        }
        _ => return (0, Vec::new()),
    };
    let members = window.iter().map(|entry| entry.member);
    let mask = members.clone().fold(0_u64, |mask, member| mask | 1 << member);
    let lacks = |way: &&Way| (way.present & !mask).count_ones() + (way.absent & mask).count_ones();
    let Some(way) = ways.iter().min_by_key(lacks) else { return (usize::MAX, Vec::new()) };
    let names = |bits: u64| {
        let named = definition.members.iter().enumerate().filter(move |(i, _)| bits >> i & 1 == 1);
        named.map(|(_, member)| member.name.to_string())
    };
    let mut missing: Vec<String> =
        names(way.present & !mask).map(|name| format!("no event of {name}")).collect();
    missing.extend(names(way.absent & mask).map(|name| format!("there must be no event of {name}")));
    if missing.is_empty() && seen.holds(mask) && !window_holds(&definition.kind, members) {
        let order: Vec<String> = names(way.present).collect();
        missing.push(format!("not in this order: {}", order.join(", then ")));
    }
    (missing.len(), missing)
}

/// What a correlation rule asks for, in a line.
fn asks(definition: &Definition) -> String {
    let by = match definition.group_by.as_slice() {
        [] => "over all events".to_owned(),
        names => format!("by {}", names.join(", ")),
    };
    format!("{} within {} s, {by}", definition.kind, definition.span_us / 1_000_000)
}

fn number(value: i128, scale: i128) -> String {
    if value % scale == 0 {
        (value / scale).to_string()
    } else {
        format!("{:.3}", value as f64 / scale as f64)
    }
}

/// Groups that are written out.
const GROUPS_SHOWN: usize = 20;

impl fmt::Display for CorrelationExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl CorrelationExplanation {
    /// Whether it fired in any group.
    pub fn fired(&self) -> bool {
        self.groups.iter().any(|group| !group.fired.is_empty())
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = depth * 2;
        let verdict = if self.fired() { "fires" } else { "does not fire" };
        writeln!(f, "{:indent$}{} {verdict}: {}", "", self.rule, self.asks)?;
        for member in &self.members {
            member.write(f, depth + 1)?;
        }
        for group in self.groups.iter().take(GROUPS_SHOWN) {
            group.write(f, depth + 1)?;
        }
        match self.groups.len().saturating_sub(GROUPS_SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "{:indent$}  and {more} groups more", ""),
        }
    }
}

impl MemberOutcome {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let Self { name, matches, counted, records, inner } = self;
        let mark = if *counted > 0 { "yes" } else { "no " };
        write!(f, "{:indent$}{mark} {name}: {matches} matches", "", indent = depth * 2)?;
        if counted < matches {
            let without = matches - counted;
            write!(f, ", {without} of them without a value in the group-by fields, or one to measure")?;
        }
        let places = records.iter().map(|r| format!("{} line {}", r.topic, r.offset + 1));
        let places: Vec<String> = places.collect();
        let more = if matches > &records.len() { ", .." } else { "" };
        match places.is_empty() {
            true => writeln!(f)?,
            false => writeln!(f, "  ({}{more})", places.join(", "))?,
        }
        inner.as_ref().map_or(Ok(()), |inner| inner.write(f, depth + 1))
    }
}

impl GroupOutcome {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = depth * 2;
        let key: Vec<String> = self.key.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let key = if key.is_empty() { "all events".to_owned() } else { key.join(", ") };
        for window in &self.fired {
            writeln!(f, "{:indent$}yes {key}: {window}", "")?;
        }
        match &self.nearest {
            Some(window) => writeln!(f, "{:indent$}no  {key}: nearest: {window}", ""),
            None => Ok(()),
        }
    }
}

impl fmt::Display for WindowOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held: Vec<String> = self.held.iter().map(|(name, count)| format!("{count} of {name}")).collect();
        write!(f, "{} to {} held {}", self.from, self.to, held.join(", "))?;
        if let Some(measured) = &self.measured {
            write!(f, "; {measured}")?;
        }
        if !self.missing.is_empty() {
            write!(f, "; {}", self.missing.join("; "))?;
        }
        Ok(())
    }
}
