//! How far event time has come over all partitions.

use std::collections::BTreeMap;

use event::{Time, Watermark};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Progress {
    /// Latest event time less the source's lateness.
    complete_to: Time,
    is_idle: bool,
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
/// tracker.advance("sysmon/0", Time(1_000), 100);
/// tracker.advance("mail/0", Time(500), 100);
/// assert_eq!(tracker.watermark(), Watermark(Time(400)));
/// tracker.idle("mail/0");
/// assert_eq!(tracker.watermark(), Watermark(Time(900)));
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// A partition has delivered events up to `event_time_max`; its records may be `lateness_us` late.
    pub fn advance(&mut self, partition: &str, event_time_max: Time, lateness_us: i64) -> Watermark {
        let complete_to = event_time_max.plus_micros(lateness_us.saturating_neg());
        match self.partitions.get_mut(partition) {
            Some(progress) => {
                progress.complete_to = progress.complete_to.max(complete_to);
                progress.is_idle = false;
            }
            None => {
                self.partitions.insert(partition.to_owned(), Progress { complete_to, is_idle: false });
            }
        }
        self.recompute()
    }

    /// A partition that has delivered nothing yet, and must be waited for.
    pub fn expect(&mut self, partition: &str) {
        let nothing = Progress { complete_to: Watermark::START.0, is_idle: false };
        self.partitions.entry(partition.to_owned()).or_insert(nothing);
    }

    /// The caller has seen nothing of a partition for so long that the others need not wait for it. What it
    /// delivers later may be late, and is counted so.
    pub fn idle(&mut self, partition: &str) -> Watermark {
        if let Some(progress) = self.partitions.get_mut(partition) {
            progress.is_idle = true;
        }
        self.recompute()
    }

    /// A partition is no longer read here.
    pub fn forget(&mut self, partition: &str) -> Watermark {
        self.partitions.remove(partition);
        self.recompute()
    }

    /// The input has ended.
    pub fn flush(&mut self) -> Watermark {
        self.watermark = Watermark::END;
        self.watermark
    }

    /// The present watermark. With no active partition it stays where it was.
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    fn recompute(&mut self) -> Watermark {
        let active = self.partitions.values().filter(|p| !p.is_idle).map(|p| p.complete_to).min();
        if let Some(time) = active {
            self.watermark = self.watermark.max(Watermark(time));
        }
        self.watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_active_partition_decides() {
        let mut tracker = WatermarkTracker::default();
        tracker.expect("b");
        assert_eq!(tracker.advance("a", Time(100), 10), Watermark::START);
        assert_eq!(tracker.advance("b", Time(50), 10), Watermark(Time(40)));
        assert_eq!(tracker.advance("b", Time(300), 10), Watermark(Time(90)));
        assert_eq!(tracker.idle("a"), Watermark(Time(290)));
    }

    #[test]
    fn it_never_goes_back() {
        let mut tracker = WatermarkTracker::default();
        tracker.advance("a", Time(100), 10);
        assert_eq!(tracker.advance("a", Time(20), 10), Watermark(Time(90)));
        assert_eq!(tracker.advance("late", Time(20), 10), Watermark(Time(90)));
        assert_eq!(tracker.forget("late"), Watermark(Time(90)));
        assert_eq!(tracker.flush(), Watermark::END);
    }
}
