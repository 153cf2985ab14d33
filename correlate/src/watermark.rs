//! How far event time has come over all partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Time, Watermark, Watermarks};

#[derive(Debug, Clone)]
struct Progress {
    /// Latest event time.
    event_time_max: Time,
    /// The kinds of source that it was seen to have, and how late their records may be, in microseconds. None: any.
    kinds: BTreeMap<Arc<str>, i64>,
    is_idle: bool,
}

impl Progress {
    /// What is complete: to the latest event time less the longest lateness.
    fn watermark(&self) -> Watermark {
        let lateness_us = self.kinds.values().max().copied().unwrap_or_default();
        Watermark(self.event_time_max.plus_micros(lateness_us.saturating_neg()))
    }
}

/// The watermark: the smallest completeness of the partitions that still deliver. It never goes back.
///
/// ```
/// use correlate::WatermarkTracker;
/// use event::{Time, Watermark};
///
/// let mut tracker = WatermarkTracker::default();
/// tracker.expect("sysmon/0");
/// tracker.expect("mail/0");
/// tracker.advance("sysmon/0", Time(1_000), [("windows_event", 100)]);
/// tracker.advance("mail/0", Time(500), [("defender_xdr", 100)]);
/// assert_eq!(tracker.watermarks().all(), Watermark(Time(400)));
/// assert_eq!(tracker.watermarks().of("windows_event"), Watermark(Time(900)));
/// tracker.idle("mail/0");
/// assert_eq!(tracker.watermarks().all(), Watermark(Time(900)));
/// ```
#[derive(Debug, Clone)]
pub struct WatermarkTracker {
    partitions: BTreeMap<String, Progress>,
    watermark: Watermark,
}

impl Default for WatermarkTracker {
    fn default() -> Self {
        Self { partitions: BTreeMap::new(), watermark: Watermark::START }
    }
}

impl WatermarkTracker {
    /// A partition has delivered events up to `event_time_max`, of these kinds of source; with each kind, how late its
    /// records may be, in microseconds.
    pub fn advance<'a>(
        &mut self,
        partition: &str,
        event_time_max: Time,
        kinds: impl IntoIterator<Item = (&'a str, i64)>,
    ) {
        self.expect(partition);
        let Some(progress) = self.partitions.get_mut(partition) else { return };
        progress.event_time_max = progress.event_time_max.max(event_time_max);
        progress.is_idle = false;
        for (kind, lateness_us) in kinds {
            match progress.kinds.get_mut(kind) {
                Some(known) => *known = lateness_us,
                None => drop(progress.kinds.insert(kind.into(), lateness_us)),
            }
        }
        self.recompute();
    }

    /// A partition that has delivered nothing yet, and must be waited for.
    pub fn expect(&mut self, partition: &str) {
        if !self.partitions.contains_key(partition) {
            let nothing =
                Progress { event_time_max: Watermark::START.0, kinds: BTreeMap::new(), is_idle: false };
            self.partitions.insert(partition.to_owned(), nothing);
        }
    }

    /// The caller has seen nothing of a partition for so long that the others need not wait for it. What it
    /// delivers later may be late, and is counted so.
    pub fn idle(&mut self, partition: &str) {
        if let Some(progress) = self.partitions.get_mut(partition) {
            progress.is_idle = true;
        }
        self.recompute();
    }

    /// A partition is no longer read here.
    pub fn forget(&mut self, partition: &str) {
        self.partitions.remove(partition);
        self.recompute();
    }

    /// The present watermark, and that of each kind of source. With no active partition it stays where it was. A partition
    /// of which no kind is known yet may be of any, and holds all of them back.
    pub fn watermarks(&self) -> Watermarks {
        let mut watermarks = Watermarks::from(self.watermark);
        if self.active().any(|progress| progress.kinds.is_empty()) {
            return watermarks;
        }
        for progress in self.active() {
            watermarks.note(progress.kinds.keys().map(AsRef::as_ref), progress.watermark());
        }
        watermarks
    }

    fn active(&self) -> impl Iterator<Item = &Progress> {
        self.partitions.values().filter(|progress| !progress.is_idle)
    }

    fn recompute(&mut self) {
        if let Some(watermark) = self.active().map(Progress::watermark).min() {
            self.watermark = self.watermark.max(watermark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(tracker: &WatermarkTracker) -> Watermark {
        tracker.watermarks().all()
    }

    #[test]
    fn the_slowest_active_partition_decides() {
        let mut tracker = WatermarkTracker::default();
        tracker.expect("b");
        tracker.advance("a", Time(100), [("x", 10)]);
        assert_eq!(all(&tracker), Watermark::START);
        assert_eq!(tracker.watermarks().of("x"), Watermark::START, "b may be of that kind");
        tracker.advance("b", Time(50), [("y", 10)]);
        assert_eq!(all(&tracker), Watermark(Time(40)));
        tracker.advance("b", Time(300), [("y", 10)]);
        assert_eq!(all(&tracker), Watermark(Time(90)));
        tracker.idle("a");
        assert_eq!(all(&tracker), Watermark(Time(290)));
    }

    #[test]
    fn each_kind_waits_for_its_own() {
        let mut tracker = WatermarkTracker::default();
        ["a", "b", "c"].into_iter().for_each(|partition| tracker.expect(partition));
        tracker.advance("a", Time(1_000), [("fast", 10)]);
        tracker.advance("b", Time(900), [("fast", 10)]);
        tracker.advance("c", Time(1_000), [("slow", 600), ("medium", 100)]);
        let watermarks = tracker.watermarks();
        let of = |kind| watermarks.of(kind).0.0;
        assert_eq!((of("fast"), of("slow"), of("medium"), of("other")), (890, 400, 400, 400));
        assert_eq!(watermarks.without(&["slow".into(), "medium".into()].into()), Watermark(Time(890)));
        let every = ["slow".into(), "medium".into(), "fast".into()];
        assert_eq!(watermarks.without(&every.into()), watermarks.all());
    }

    #[test]
    fn it_never_goes_back() {
        let mut tracker = WatermarkTracker::default();
        tracker.advance("a", Time(100), [("x", 10)]);
        tracker.advance("a", Time(20), [("x", 10)]);
        assert_eq!(all(&tracker), Watermark(Time(90)));
        tracker.advance("late", Time(20), [("x", 10)]);
        assert_eq!((all(&tracker), tracker.watermarks().of("x")), (Watermark(Time(90)), Watermark(Time(90))));
        tracker.forget("late");
        assert_eq!(all(&tracker), Watermark(Time(90)));
    }
}
