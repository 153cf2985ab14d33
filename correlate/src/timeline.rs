//! What happened, line by line: repetitions folded, the gravest lines kept.

use std::cmp::Reverse;
use std::sync::Arc;

use event::{Alert, Entity, EntityType, Moment, Role, Tactic};
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::cast::{Cast, Toward};
use crate::keyed::Keyed;
use crate::names::Names;
use crate::words::headline;

/// Lines of a timeline; a person reads no more before opening the alerts.
const LINES_MAX: usize = 40;

/// The same again within this time is the same line.
const FOLD_US: i64 = 3_600_000_000;

/// Who and where, as far as a line names it.
type Parties = SmallVec<[(EntityType, Role, Arc<str>); 4]>;

/// The timeline of alerts in order of event time, whose cast is given.
pub(crate) fn timeline(alerts: &[&Keyed], cast: &Cast, names: &Names<'_>) -> Vec<Moment> {
    if let [only] = alerts {
        return vec![Line::new(only).moment(cast)];
    }
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut latest: HashMap<(&str, Parties), usize> = HashMap::new();
    for &alert in alerts {
        let key = (headline(alert), parties(alert, names));
        match latest.get(&key).copied().filter(|i| lines[*i].takes(alert)) {
            Some(i) => lines[i].add(alert),
            None => {
                latest.insert(key, lines.len());
                lines.push(Line::new(alert));
            }
        }
    }
    shorten(&mut lines);
    let moment = |line: Line<'_>| {
        let cast = Cast::of(&[line.first], names);
        line.moment(&cast)
    };
    lines.into_iter().map(moment).collect()
}

fn parties(alert: &Alert, names: &Names<'_>) -> Parties {
    let is_named = |e: &&Entity| match e.entity_type {
        EntityType::Device | EntityType::User | EntityType::Mailbox => true,
        EntityType::Ip => e.role == Role::Source,
        _ => false,
    };
    let named = alert.entities.iter().filter(is_named);
    let mut parties: Parties = named.map(|e| (e.entity_type, e.role, names.said(e))).collect();
    parties.sort_unstable();
    parties.dedup();
    parties
}

/// Some alerts of one title and the same parties.
struct Line<'a> {
    first: &'a Alert,
    gravest: &'a Alert,
    end: event::Time,
    alerts: u32,
    tactics: Vec<Tactic>,
}

impl<'a> Line<'a> {
    fn new(alert: &'a Alert) -> Self {
        Self { first: alert, gravest: alert, end: alert.time, alerts: 1, tactics: alert.tactics() }
    }

    fn takes(&self, alert: &Alert) -> bool {
        alert.time.0.saturating_sub(self.end.0) <= FOLD_US
    }

    fn add(&mut self, alert: &'a Alert) {
        self.alerts += 1;
        self.end = self.end.max(alert.time);
        if alert.severity > self.gravest.severity {
            self.gravest = alert;
        }
        self.tactics.extend(alert.tactics());
        self.tactics.sort_unstable();
        self.tactics.dedup();
    }

    fn moment(self, cast: &Cast) -> Moment {
        let place = cast.place(Toward::Rule);
        Moment {
            time: self.first.time,
            end_time: self.end,
            alert: self.first.id.clone(),
            alerts: self.alerts,
            severity: self.gravest.severity,
            tactics: self.tactics,
            text: format!("{}{place}", headline(self.first)),
        }
    }
}

/// Keeps the gravest lines, of equal ones those that bring a tactic first, then the earliest; in order of time.
fn shorten(lines: &mut Vec<Line<'_>>) {
    if lines.len() <= LINES_MAX {
        return;
    }
    let mut seen: Vec<Tactic> = Vec::new();
    let mut ranked: Vec<(usize, bool)> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let is_new = line.tactics.iter().any(|tactic| !seen.contains(tactic));
        seen.extend(&line.tactics);
        ranked.push((i, is_new));
    }
    ranked.sort_by_key(|(i, is_new)| (Reverse(lines[*i].gravest.severity), !is_new, *i));
    let mut kept = vec![false; lines.len()];
    ranked.iter().take(LINES_MAX).for_each(|(i, _)| kept[*i] = true);
    let mut keep = kept.into_iter();
    lines.retain(|_| keep.next().unwrap_or(false));
}
