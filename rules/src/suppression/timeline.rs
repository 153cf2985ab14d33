//! The alerts of one key: those that may still be judged otherwise, and the window that is open before them.

use std::cmp::Reverse;
use std::sync::Arc;

use event::{Alert, AlertId, Severity, TenantId, Time};
use serde::{Deserialize, Serialize};

use super::rule::Terms;
use super::spec::WindowKind;
use super::state::SuppressionChange;

/// Alerts of one key that the watermark has not passed, at most. Beyond it the oldest are sealed early.
pub const SUPPRESSION_HELD_MAX: usize = 1_024;

/// Suppressed alerts that a row names.
const SAMPLES_MAX: usize = 10;

/// One window with suppressed alerts: a row for hunting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// The tenant.
    pub tenant: TenantId,
    /// The rule whose alerts were suppressed.
    pub rule_id: Arc<str>,
    /// Names and values, in lower case, of the key fields.
    pub key: Vec<(Arc<str>, Arc<str>)>,
    /// The alert that passed, and stands for the others. It names the row: no other window has it.
    pub by: AlertId,
    /// Event time of that alert: the window begins.
    pub window_start: Time,
    /// The last time at which an alert was, or would have been, suppressed.
    pub window_end: Time,
    /// Event time of the first suppressed alert.
    pub first: Time,
    /// Event time of the last one.
    pub last: Time,
    /// How many were suppressed.
    pub count: u64,
    /// The first ten of them.
    pub samples: Vec<AlertId>,
}

/// Counts that no caller may lose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressionCounts {
    /// Alerts with a key, taken in.
    pub alerts: u64,
    /// Alerts that were suppressed, finally: the watermark has passed them.
    pub suppressed: u64,
    /// Seen before: the same alert.
    pub duplicates: u64,
    /// At or before the watermark.
    pub late: u64,
    /// Alerts that had passed and were taken back for an earlier one.
    pub retracted: u64,
    /// Sealed before the watermark, since their key had too many.
    pub sealed_early: u64,
    /// Keys given up because a rule had too many.
    pub evicted_keys: u64,
}

/// The alert that passed, and until when it stands for others.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    by: AlertId,
    severity: Severity,
    start: i64,
    /// Included.
    end: i64,
}

/// A window, as far as it is sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Window {
    head: Head,
    first: i64,
    last: i64,
    count: u64,
    samples: Vec<AlertId>,
}

/// An alert that may still be judged otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Held {
    alert: Alert,
    told: Told,
}

/// What was last said of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Told {
    Nothing,
    Passed,
    SuppressedBy(AlertId),
}

/// One key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Timeline {
    values: Vec<Arc<str>>,
    window: Option<Window>,
    /// In order of [`place`].
    held: Vec<Held>,
    /// Up to this time alerts were sealed early.
    floor: i64,
    /// When the last window ends, as judged now.
    end: i64,
}

/// What comes to one key.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) values: Vec<Arc<str>>,
    pub(super) added: Vec<Alert>,
    pub(super) removed: Vec<AlertId>,
}

/// The order of alerts.
fn place(alert: &Alert) -> (Time, Reverse<Severity>, &AlertId) {
    (alert.time, Reverse(alert.severity), &alert.id)
}

impl Head {
    fn of(alert: &Alert, terms: &Terms) -> Self {
        let start = alert.time.0;
        let end = start.saturating_add(terms.span_us);
        Self { by: alert.id.clone(), severity: alert.severity, start, end }
    }

    fn covers(&self, alert: &Alert) -> bool {
        (self.start..=self.end).contains(&alert.time.0) && alert.severity <= self.severity
    }

    fn suppress(&mut self, alert: &Alert, terms: &Terms) {
        if terms.kind == WindowKind::Sliding {
            self.end = self.end.max(alert.time.0.saturating_add(terms.span_us));
        }
    }
}

impl Window {
    fn of(alert: &Alert, terms: &Terms) -> Self {
        let head = Head::of(alert, terms);
        Self { head, first: i64::MAX, last: i64::MIN, count: 0, samples: Vec::new() }
    }

    fn note(&mut self, alert: &Alert) {
        self.first = self.first.min(alert.time.0);
        self.last = self.last.max(alert.time.0);
        self.count += 1;
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(alert.id.clone());
        }
    }

    fn knows(&self, alert: &AlertId) -> bool {
        self.head.by == *alert || self.samples.contains(alert)
    }
}

impl Timeline {
    pub(super) fn new(values: Vec<Arc<str>>) -> Self {
        Self { values, window: None, held: Vec::new(), floor: i64::MIN, end: i64::MIN }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.window.is_none() && self.held.is_empty()
    }

    /// Alerts that are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether an alert may still be judged otherwise.
    pub(super) fn holds(&self, alert: &AlertId) -> bool {
        self.held.iter().any(|held| held.alert.id == *alert)
    }

    /// When the key must be looked at again: an alert is sealed, or the window ends.
    pub(super) fn wake(&self) -> i64 {
        let ends = self.window.as_ref().map(|window| window.head.end);
        let first = self.held.first().map(|held| held.alert.time.0);
        ends.into_iter().chain(first).min().unwrap_or(i64::MAX)
    }

    /// When the key would be forgotten if nothing more came.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// Takes alerts in, and out, and judges what they touch.
    pub(super) fn update(
        &mut self,
        terms: &Terms,
        tenant: &TenantId,
        touched: Touched,
        sealed: i64,
        counts: &mut SuppressionCounts,
    ) -> Vec<SuppressionChange> {
        let mut removed = self.take_out(&touched.removed);
        let mut changes = Vec::new();
        counts.alerts += touched.added.len() as u64;
        for alert in touched.added {
            if alert.time.0 <= self.floor.max(sealed) {
                changes.extend(self.take_late(terms, alert, sealed, counts));
            } else {
                removed.extend(self.put_in(alert, counts));
            }
        }
        let judged = self.judge(terms, counts);
        let taken_back = removed.into_iter().map(|alert| self.taken_back(tenant, alert));
        let mut all: Vec<SuppressionChange> = taken_back.collect();
        all.append(&mut changes);
        all.extend(judged);
        all.extend(self.bound(terms, tenant, counts).into_iter().map(SuppressionChange::Closed));
        all
    }

    fn take_out(&mut self, removed: &[AlertId]) -> Vec<Alert> {
        self.held.extract_if(.., |held| removed.contains(&held.alert.id)).map(|held| held.alert).collect()
    }

    fn taken_back(&self, tenant: &TenantId, alert: Alert) -> SuppressionChange {
        let in_place = self.standing_at(alert.time).filter(|standing| *standing != alert.id);
        SuppressionChange::Retracted { tenant: tenant.clone(), alert: alert.id, time: alert.time, in_place }
    }

    /// The last alert at or before a time that passed.
    fn standing_at(&self, time: Time) -> Option<AlertId> {
        let mut before = self.held.iter().rev().skip_while(|held| held.alert.time > time);
        let held = before.find(|held| held.told == Told::Passed).map(|held| held.alert.id.clone());
        held.or_else(|| self.window.as_ref().map(|window| window.head.by.clone()))
    }

    /// Puts an alert in its place; of several deliveries of one alert that of the first record is kept, whichever came
    /// first. The one that it replaces, if it was told of, is to be taken back.
    fn put_in(&mut self, alert: Alert, counts: &mut SuppressionCounts) -> Option<Alert> {
        let at = match self.held.binary_search_by(|held| place(&held.alert).cmp(&place(&alert))) {
            Err(at) => {
                self.held.insert(at, Held { alert, told: Told::Nothing });
                return None;
            }
            Ok(at) => at,
        };
        counts.duplicates += 1;
        if alert.records >= self.held[at].alert.records {
            return None;
        }
        let before = std::mem::replace(&mut self.held[at], Held { alert, told: Told::Nothing });
        (before.told != Told::Nothing).then_some(before.alert)
    }

    /// An alert whose time is sealed: it changes no judgement, but may begin a window that reaches beyond.
    fn take_late(
        &mut self,
        terms: &Terms,
        alert: Alert,
        sealed: i64,
        counts: &mut SuppressionCounts,
    ) -> Option<SuppressionChange> {
        counts.late += 1;
        match &mut self.window {
            Some(window) if window.knows(&alert.id) => {
                counts.duplicates += 1;
                None
            }
            Some(window) if window.head.covers(&alert) => {
                window.note(&alert);
                counts.suppressed += 1;
                Some(SuppressionChange::Suppressed { by: window.head.by.clone(), alert })
            }
            Some(_) => Some(SuppressionChange::Passed(alert)),
            None => {
                self.window = Some(Window::of(&alert, terms)).filter(|window| window.head.end > sealed);
                Some(SuppressionChange::Passed(alert))
            }
        }
    }

    /// Judges every held alert, and says what differs from before.
    fn judge(&mut self, terms: &Terms, counts: &mut SuppressionCounts) -> Vec<SuppressionChange> {
        let mut head = self.window.as_ref().map(|window| window.head.clone());
        let mut changes = Vec::new();
        for Held { alert, told } in &mut self.held {
            let now = match &mut head {
                Some(head) if head.covers(alert) => {
                    head.suppress(alert, terms);
                    Told::SuppressedBy(head.by.clone())
                }
                _ => {
                    head = Some(Head::of(alert, terms));
                    Told::Passed
                }
            };
            if now != *told {
                let before = std::mem::replace(told, now);
                counts.retracted += u64::from(before == Told::Passed);
                changes.extend(difference(alert, &before, told));
            }
        }
        self.end = head.map_or(i64::MIN, |head| head.end);
        changes
    }

    /// A key with too many held alerts gives up the chance to judge the oldest again.
    fn bound(
        &mut self,
        terms: &Terms,
        tenant: &TenantId,
        counts: &mut SuppressionCounts,
    ) -> Vec<Suppression> {
        let excess = self.held.len().saturating_sub(SUPPRESSION_HELD_MAX);
        let Some(last) = excess.checked_sub(1).map(|last| self.held[last].alert.time.0) else {
            return Vec::new();
        };
        let before = self.held.len();
        self.floor = last;
        let rows = self.seal(terms, tenant, last, counts);
        counts.sealed_early += (before - self.held.len()) as u64;
        rows
    }

    /// Nothing at or before `until` will be judged again: it becomes part of windows, and windows that a later one
    /// follows become rows.
    fn seal(
        &mut self,
        terms: &Terms,
        tenant: &TenantId,
        until: i64,
        counts: &mut SuppressionCounts,
    ) -> Vec<Suppression> {
        let end = self.held.partition_point(|held| held.alert.time.0 <= until);
        let (mut rows, mut passed) = (Vec::new(), 0);
        for Held { alert, .. } in self.held.drain(..end).collect::<Vec<Held>>() {
            match &mut self.window {
                Some(window) if window.head.covers(&alert) => {
                    window.head.suppress(&alert, terms);
                    window.note(&alert);
                }
                _ => {
                    let before = self.window.replace(Window::of(&alert, terms));
                    rows.extend(before.and_then(|window| self.row(terms, tenant, window)));
                    passed += 1;
                }
            }
        }
        counts.suppressed += (end - passed) as u64;
        self.held.shrink_to(self.held.len() * 2);
        rows
    }

    /// The watermark has come to `until`: seals, and closes the window if it has ended.
    pub(super) fn advance(
        &mut self,
        terms: &Terms,
        tenant: &TenantId,
        until: i64,
        counts: &mut SuppressionCounts,
    ) -> Vec<Suppression> {
        let mut rows = self.seal(terms, tenant, until, counts);
        let ended = self.window.take_if(|window| window.head.end <= until);
        rows.extend(ended.and_then(|window| self.row(terms, tenant, window)));
        rows
    }

    /// The rows of all windows, as if nothing more came.
    pub(super) fn rows(&self, terms: &Terms, tenant: &TenantId) -> Vec<Suppression> {
        let mut window = self.window.clone();
        let mut rows = Vec::new();
        for Held { alert, .. } in &self.held {
            match &mut window {
                Some(window) if window.head.covers(alert) => {
                    window.head.suppress(alert, terms);
                    window.note(alert);
                }
                _ => {
                    let before = window.replace(Window::of(alert, terms));
                    rows.extend(before.and_then(|window| self.row(terms, tenant, window)));
                }
            }
        }
        rows.extend(window.and_then(|window| self.row(terms, tenant, window)));
        rows
    }

    /// Names and values of the key.
    pub(super) fn key(&self, terms: &Terms) -> Vec<(Arc<str>, Arc<str>)> {
        terms.names.iter().cloned().zip(self.values.iter().cloned()).collect()
    }

    fn row(&self, terms: &Terms, tenant: &TenantId, window: Window) -> Option<Suppression> {
        (window.count > 0).then(|| Suppression {
            tenant: tenant.clone(),
            rule_id: Arc::clone(&terms.rule_id),
            key: self.key(terms),
            by: window.head.by,
            window_start: Time(window.head.start),
            window_end: Time(window.head.end),
            first: Time(window.first),
            last: Time(window.last),
            count: window.count,
            samples: window.samples,
        })
    }
}

/// What is said of an alert that is judged otherwise than before.
fn difference(alert: &Alert, before: &Told, now: &Told) -> Vec<SuppressionChange> {
    let Told::SuppressedBy(by) = now else { return vec![SuppressionChange::Passed(alert.clone())] };
    let suppressed = SuppressionChange::Suppressed { by: by.clone(), alert: alert.clone() };
    if *before != Told::Passed {
        return vec![suppressed];
    }
    let (tenant, in_place) = (alert.tenant.clone(), Some(by.clone()));
    let retracted =
        SuppressionChange::Retracted { tenant, alert: alert.id.clone(), time: alert.time, in_place };
    vec![retracted, suppressed]
}
