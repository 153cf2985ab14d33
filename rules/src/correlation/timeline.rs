//! The events of one group, in the order of event time, and the alerts that follow from them.
//!
//! What fires is a function of the sorted events alone. Each event ends a window that reaches back one timespan;
//! if the condition holds for that window the correlation fires, and then not again until a whole timespan has
//! passed, so that the windows of two alerts share no event. An event that arrives out of order is put in its
//! place, and what follows it is judged again: what had fired and no longer does is taken back. Events at or
//! before the watermark are sealed: nothing is judged again there.
//!
//! A condition that asks for something *not* to happen is judged when the watermark has passed the end of the
//! window that begins with an event.
//!
//! Sealed events that no window to come can need are forgotten: of distinct values all but the last events of each. A
//! flood of one such group is as small as its first events.

use std::cmp::Ordering;
use std::collections::VecDeque;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::definition::{Definition, GROUP_EVENTS_MAX, Kind};
use super::measure::{Measure, holds_for, window_holds};
use super::observation::{Value, hash_of_bytes};
use super::witness::Witness;

/// An event of a group.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Microseconds.
    pub(crate) time: i64,
    pub(crate) member: u16,
    pub(crate) value: Value,
    pub(crate) witness: Witness,
}

/// The order of events. Clocks tick in seconds: at one time, members count as having come in the order of the list.
pub(crate) type Place = (i64, u16, u64);

impl Entry {
    pub(crate) fn place(&self) -> Place {
        (self.time, self.member, self.witness.hash())
    }

    /// The order of places.
    fn order(&self, other: &Entry) -> Ordering {
        let order = (self.time, self.member).cmp(&(other.time, other.member));
        order.then_with(|| self.witness.hash().cmp(&other.witness.hash()))
    }

    fn is_before(&self, place: Place) -> bool {
        match (self.time, self.member).cmp(&(place.0, place.1)) {
            Ordering::Equal => self.witness.hash() < place.2,
            order => order.is_lt(),
        }
    }
}

/// An alert that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Firing {
    /// The event that completed the window, or, where absence is asked for, began it.
    at: Place,
    /// What the window held.
    content: u64,
}

/// What became of a group.
#[derive(Debug)]
pub(crate) enum Verdict {
    Fired(Window),
    /// The firing at `at` is taken back; the last one that stands is at `stands`.
    Retracted {
        at: Place,
        stands: Option<Place>,
    },
}

/// The window of a firing.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) at: Place,
    /// Event time of the alert, microseconds.
    pub(crate) time: i64,
    pub(crate) first_time: i64,
    /// In order.
    pub(crate) witnesses: Vec<Witness>,
    /// Equal for windows that hold the same.
    content: u64,
}

impl Window {
    fn new(at: Place, time: i64, first_time: i64, witnesses: Vec<Witness>) -> Self {
        let content = content(time, &witnesses);
        Self { at, time, first_time, witnesses, content }
    }

    fn firing(&self) -> Firing {
        Firing { at: self.at, content: self.content }
    }
}

/// The measure of the window that ends with the last event.
#[derive(Debug, Clone)]
struct Tip {
    measure: Measure,
    /// Index of the first event of the window.
    first: usize,
    /// Index after that of the last.
    end: usize,
}

/// One group. There may be millions, most of them of few events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    entries: VecDeque<Entry>,
    firings: Firings,
    /// Kept where reading the window afresh would cost more than keeping it up to date.
    tip: Option<Box<Tip>>,
    /// Events that were left when those that nothing needs were last forgotten.
    settled: u32,
}

/// The alerts of a group that stand, in order: mostly none, which takes one word.
#[derive(Debug, Clone, Default)]
#[expect(clippy::box_collection, reason = "one word where there are none, not three")]
struct Firings(Option<Box<Vec<Firing>>>);

impl Firings {
    fn as_slice(&self) -> &[Firing] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    fn push(&mut self, firing: Firing) {
        self.0.get_or_insert_default().push(firing);
    }

    /// Takes those at `from` and after it.
    fn split_off(&mut self, from: Place) -> Vec<Firing> {
        let Some(firings) = &mut self.0 else { return Vec::new() };
        let later = firings.split_off(firings.partition_point(|f| f.at < from));
        self.0.take_if(|firings| firings.is_empty());
        later
    }

    fn forget_before(&mut self, time: i64) {
        if let Some(firings) = &mut self.0 {
            let spent = firings.partition_point(|f| f.at.0 < time);
            firings.drain(..spent);
            self.0.take_if(|firings| firings.is_empty());
        }
    }
}

/// Groups of so many events hold no room for more.
const FEW: usize = 4;

/// Windows of more events have a tip. Tests have small windows, and must see both.
const AFRESH_MAX: usize = if cfg!(test) { 3 } else { 16 };

/// Events that a group may gain before it is looked through for those that nothing needs, beside as many as it had.
const SETTLE_AFTER: usize = if cfg!(test) { 0 } else { 8 };

/// An alert on distinct values tells so many events of each, the last ones.
pub(crate) const TOLD_OF_VALUE: u32 = if cfg!(test) { 2 } else { 8 };

/// Counts that no caller may lose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowCounts {
    /// Observations taken in.
    pub observations: u64,
    /// Seen before: the same event of the same rule.
    pub duplicates: u64,
    /// At or before the watermark: they count for windows that end later, and change nothing that was sealed.
    pub late: u64,
    /// Older than any window that can still end: not taken in.
    pub expired: u64,
    /// Oldest events of a full group, given up.
    pub evicted_events: u64,
    /// Groups given up because a correlation had too many.
    pub evicted_groups: u64,
    /// Alerts that later events took back or changed.
    pub retracted: u64,
}

impl Timeline {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn first_time(&self) -> Option<i64> {
        self.entries.front().map(|e| e.time)
    }

    pub(crate) fn last_time(&self) -> Option<i64> {
        self.entries.back().map(|e| e.time)
    }

    /// The events and the alerts that stand.
    pub(crate) fn parts(&self) -> (impl Iterator<Item = &Entry>, &[Firing]) {
        (self.entries.iter(), self.firings.as_slice())
    }

    /// Of [`Timeline::parts`], in their order.
    pub(crate) fn of_parts(entries: Vec<Entry>, firings: Vec<Firing>) -> Self {
        let firings = Firings((!firings.is_empty()).then(|| Box::new(firings)));
        Self { entries: entries.into(), firings, ..Self::default() }
    }

    /// Takes events in, and out, and judges what they touch. `added` is empty afterwards.
    pub(crate) fn update(
        &mut self,
        definition: &Definition,
        added: &mut Vec<Entry>,
        removed: &[Place],
        sealed: i64,
        counts: &mut WindowCounts,
    ) -> Vec<Verdict> {
        let removed_at = self.take_out(removed);
        let added_at = self.put_in(added, counts);
        self.bound(counts);
        let Some(from) = removed_at.into_iter().chain(added_at).min() else { return Vec::new() };
        if definition.kind.has_absence() {
            // Judged when the watermark passes; see `sweep`.
            return Vec::new();
        }
        let from = from.max((sealed, u16::MAX, u64::MAX));
        self.judge(definition, from, counts)
    }

    fn take_out(&mut self, removed: &[Place]) -> Option<Place> {
        if !removed.is_empty() {
            self.entries.retain(|entry| !removed.contains(&entry.place()));
            self.tip = None;
        }
        removed.iter().min().copied()
    }

    /// Puts events in their places; a place such that nothing before it is new.
    fn put_in(&mut self, added: &mut Vec<Entry>, counts: &mut WindowCounts) -> Option<Place> {
        added.sort_by(Entry::order);
        let first = added.first()?;
        let is_in_order = self.entries.back().is_none_or(|last| last.order(first).is_lt());
        let first = (first.time, first.member, 0);
        let is_one = added.len() == 1;
        let len = self.entries.len() + added.len();
        if len > self.entries.capacity() {
            // Twice while there are few, and then by a quarter: there may be millions of groups.
            let room =
                if len <= FEW { added.len().max(self.entries.len()) } else { added.len().max(len / 4) };
            self.entries.reserve_exact(room);
        }
        self.entries.extend(added.drain(..));
        if is_in_order && is_one {
            return Some(first);
        }
        if !is_in_order {
            self.tip = None;
            self.entries.make_contiguous().sort_by(Entry::order);
        }
        self.drop_duplicates(first, counts);
        Some(first)
    }

    /// Keeps one of several deliveries of an event: that of the first record, whichever came first.
    fn drop_duplicates(&mut self, from: Place, counts: &mut WindowCounts) {
        let begin = self.entries.partition_point(|e| e.is_before(from));
        let mut tail = self.entries.range(begin..).zip(self.entries.range(begin..).skip(1));
        if !tail.any(|(a, b)| a.place() == b.place()) {
            return;
        }
        let mut tail: Vec<Entry> = self.entries.drain(begin..).collect();
        let before = tail.len();
        tail.sort_by_cached_key(|entry| (entry.place(), entry.witness.account().records));
        tail.dedup_by_key(|entry| entry.place());
        counts.duplicates += (before - tail.len()) as u64;
        self.entries.extend(tail);
    }

    /// A full group gives up its oldest events.
    fn bound(&mut self, counts: &mut WindowCounts) {
        let excess = self.entries.len().saturating_sub(GROUP_EVENTS_MAX);
        if excess > 0 {
            self.entries.drain(..excess);
            self.tip = None;
            counts.evicted_events += excess as u64;
        }
    }

    /// Judges every event after the place `from` or at it, and says what differs from before.
    fn judge(&mut self, definition: &Definition, from: Place, counts: &mut WindowCounts) -> Vec<Verdict> {
        let begin = self.entries.partition_point(|e| e.is_before(from));
        let stale = self.firings.split_off(from);
        let mut tip = self.tip.take().filter(|tip| tip.end == begin);
        let mut first = tip.as_ref().map_or(0, |tip| tip.first);
        let mut fresh = Vec::new();
        for index in begin..self.entries.len() {
            let time = self.entries[index].time;
            first = self.first_since(time.saturating_sub(definition.span_us), first);
            if matches!(definition.kind, Kind::Count(_)) || index - first < AFRESH_MAX {
                tip = None;
            } else {
                tip = Some(self.enter(definition, tip, first, index));
            }
            if self.is_armed(definition, time) && self.fires(definition, tip.as_deref(), first, index) {
                let window = self.window(definition, first, index);
                self.firings.push(window.firing());
                fresh.push(window);
            }
        }
        self.tip = tip;
        if stale.is_empty() && fresh.is_empty() {
            return Vec::new();
        }
        difference(stale, fresh, self.firings.as_slice().last().map(|f| f.at), counts)
    }

    /// The place of the first event at `start` or later, which is not before `from`.
    fn first_since(&self, start: i64, from: usize) -> usize {
        match self.entries.get(from) {
            Some(entry) if entry.time >= start => from,
            _ => self.entries.partition_point(|e| e.time < start).max(from),
        }
    }

    /// The measure of the window from `first` to `index`: that of the window before it, kept up to date, if there is one.
    fn enter(&self, definition: &Definition, tip: Option<Box<Tip>>, first: usize, index: usize) -> Box<Tip> {
        let mut tip = tip.unwrap_or_else(|| {
            let measure = Measure::new(&definition.kind, definition.members.len());
            Box::new(Tip { measure, first, end: first })
        });
        for old in self.entries.range(tip.first..first.min(tip.end)) {
            tip.measure.remove(old.member, &old.value);
        }
        for new in self.entries.range(tip.end.max(first)..=index) {
            tip.measure.add(new.time, new.member, &new.value);
        }
        (tip.first, tip.end) = (first, index + 1);
        tip
    }

    /// Whether a whole timespan has passed since the last firing.
    fn is_armed(&self, definition: &Definition, time: i64) -> bool {
        let last = self.firings.as_slice().last();
        last.is_none_or(|last| time > last.at.0.saturating_add(definition.span_us))
    }

    fn fires(&self, definition: &Definition, tip: Option<&Tip>, first: usize, index: usize) -> bool {
        let window = || self.entries.range(first..=index);
        let Some(tip) = tip else {
            let window = window().map(|e| (e.member, &e.value));
            return holds_for(&definition.kind, definition.members.len(), window);
        };
        match (&definition.kind, &tip.measure) {
            // An order of some, not all: the window is read anew, where its members would do.
            (Kind::Ordered(seen, _), Measure::Seen(_)) => {
                seen.holds(tip.measure.seen()) && window_holds(&definition.kind, window().map(|e| e.member))
            }
            (kind, measure) => {
                measure.holds(kind, self.entries[index].time.saturating_sub(definition.span_us))
            }
        }
    }

    fn window(&self, definition: &Definition, first: usize, last: usize) -> Window {
        let end = &self.entries[last];
        let in_window: Vec<&Entry> = match &definition.kind {
            Kind::Ordered(seen, _) if seen.is_all_of(definition.members.len()) => {
                let newest_first = self.entries.range(first..=last).rev();
                let chain =
                    chain_of(definition.members.len(), newest_first.map(|entry| (entry, entry.member)));
                let mut chain: Vec<&Entry> = chain.collect();
                chain.reverse();
                chain
            }
            Kind::Distinct(_) => {
                let window: Vec<&Entry> = self.entries.range(first..=last).collect();
                let is_told = last_of_values(window.iter().copied());
                window.into_iter().zip(is_told).filter_map(|(entry, told)| told.then_some(entry)).collect()
            }
            _ => self.entries.range(first..=last).collect(),
        };
        let first_time = in_window.first().map_or(end.time, |e| e.time);
        let witnesses = in_window.iter().map(|e| e.witness.clone()).collect();
        Window::new(end.place(), end.time, first_time, witnesses)
    }

    /// Judges the windows that `until` completes: those that begin after `since` and end at or before it.
    pub(crate) fn sweep(&mut self, definition: &Definition, since: i64, until: i64) -> Vec<Verdict> {
        let span = definition.span_us;
        let mut fired = Vec::new();
        let begin = self.entries.partition_point(|e| e.time.saturating_add(span) <= since);
        for index in begin..self.entries.len() {
            let start = self.entries[index].place();
            let end = start.0.saturating_add(span);
            if end > until {
                break;
            }
            let last = self.entries.partition_point(|e| e.time <= end);
            let members = self.entries.range(index..last).map(|e| e.member);
            if self.is_armed(definition, start.0) && window_holds(&definition.kind, members) {
                let in_window = self.entries.range(index..last);
                let witnesses = in_window.map(|e| e.witness.clone()).collect();
                let window = Window::new(start, end, start.0, witnesses);
                self.firings.push(window.firing());
                fired.push(Verdict::Fired(window));
            }
        }
        fired
    }

    /// Forgets sealed events that no window to come can need. The newest stays: it keeps the group, and what it said,
    /// until its window is over.
    pub(crate) fn settle(&mut self, definition: &Definition, sealed: i64) {
        let before = self.entries.len();
        if before == 0 || before < self.settled as usize * 2 + SETTLE_AFTER {
            return;
        }
        let end = self.entries.partition_point(|e| e.time <= sealed);
        if let Some(is_needed) = needed(definition, self.entries.range(..end)) {
            let mut is_needed = is_needed.into_iter().chain(std::iter::repeat(true));
            let mut left = before;
            self.entries.retain(|_| {
                left -= 1;
                is_needed.next() != Some(false) || left == 0
            });
            if self.entries.len() < before {
                self.tip = None;
                self.give_room_back();
            }
        }
        self.settled = self.entries.len() as u32;
    }

    /// Lets go of room where most of it is left, with some to spare: events come as they go.
    fn give_room_back(&mut self) {
        let len = self.entries.len();
        if self.entries.capacity() > len * 2 {
            self.entries.shrink_to(len + len / 4);
        }
    }

    /// Forgets events before `time`, which no window holds that can still be judged, and firings a timespan older,
    /// which keep no such window from firing.
    pub(crate) fn forget_before(&mut self, time: i64, span_us: i64) {
        let old = self.entries.partition_point(|e| e.time < time);
        if old > 0 {
            match &mut self.tip {
                Some(tip) if tip.first >= old => {
                    tip.first -= old;
                    tip.end -= old;
                }
                _ => self.tip = None,
            }
            self.entries.drain(..old);
            self.give_room_back();
        }
        self.firings.forget_before(time.saturating_sub(span_us));
    }
}

/// The latest chain of the first `members` members, of events with their members, newest first.
fn chain_of<T>(members: usize, newest_first: impl Iterator<Item = (T, u16)>) -> impl Iterator<Item = T> {
    let mut wanted = members;
    newest_first.filter_map(move |(event, member)| {
        let is_next = wanted > 0 && usize::from(member) == wanted - 1;
        wanted -= usize::from(is_next);
        is_next.then_some(event)
    })
}

/// Which events, in order, are among the last [`TOLD_OF_VALUE`] of any of their values.
fn last_of_values<'a>(entries: impl DoubleEndedIterator<Item = &'a Entry>) -> Vec<bool> {
    let mut later: HashMap<u64, u32, foldhash::fast::FixedState> = HashMap::default();
    let mut is_last: Vec<bool> = entries
        .rev()
        .map(|entry| {
            let mut any = false;
            entry.value.each(|value| {
                let later = later.entry(value).or_default();
                any |= *later < TOLD_OF_VALUE;
                *later += 1;
            });
            any
        })
        .collect();
    is_last.reverse();
    is_last
}

/// Which of a group's sealed events a window may need that ends later, in order; `None`: all of them.
fn needed<'a>(
    definition: &Definition,
    sealed: impl DoubleEndedIterator<Item = &'a Entry> + ExactSizeIterator + Clone,
) -> Option<Vec<bool>> {
    match &definition.kind {
        Kind::Distinct(_) => Some(last_of_values(sealed)),
        _ => None,
    }
}

/// The hash of what a window holds.
fn content(time: i64, witnesses: &[Witness]) -> u64 {
    let mut bytes = SmallVec::<[u8; 256]>::from_slice(&time.to_le_bytes());
    for witness in witnesses {
        bytes.extend_from_slice(&witness.content().to_le_bytes());
    }
    hash_of_bytes(&bytes)
}

/// What has changed between two judgements; an alert whose window changed is taken back and fired again.
fn difference(
    stale: Vec<Firing>,
    fresh: Vec<Window>,
    stands: Option<Place>,
    counts: &mut WindowCounts,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for old in &stale {
        let is_unchanged = fresh.iter().any(|new| new.at == old.at && new.content == old.content);
        if !is_unchanged {
            counts.retracted += 1;
            verdicts.push(Verdict::Retracted { at: old.at, stands });
        }
    }
    let is_new = |new: &Window| !stale.iter().any(|old| old.at == new.at && old.content == new.content);
    verdicts.extend(fresh.into_iter().filter(is_new).map(Verdict::Fired));
    verdicts
}
