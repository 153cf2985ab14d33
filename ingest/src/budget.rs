//! Back-pressure: how many records and bytes lie between the source and the durable sinks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::record::Record;
use crate::source::PollBudget;

/// Counts what the engine holds, and sizes the next poll by it. Clones share the count.
///
/// Once full it stays closed until half is free: pausing and resuming a Kafka partition throws away what the
/// client had fetched ahead, so it must not flap.
#[derive(Debug, Clone)]
pub struct Budget {
    records_max: usize,
    bytes_max: usize,
    held: Arc<Mutex<Level>>,
}

#[derive(Debug, Default)]
struct Level {
    records: usize,
    bytes: usize,
    closed: bool,
}

impl Budget {
    /// Room for `records_max` records and `bytes_max` bytes.
    pub fn new(records_max: usize, bytes_max: usize) -> Self {
        Self { records_max, bytes_max, held: Arc::default() }
    }

    /// Takes room for records that go downstream. Drop the lease when they are durable, or gone.
    pub fn take(&self, records: &[Record]) -> Lease {
        let bytes = records.iter().map(|record| record.payload.len()).sum();
        let mut level = self.level();
        level.records += records.len();
        level.bytes += bytes;
        level.closed |= level.records >= self.records_max || level.bytes >= self.bytes_max;
        Lease { budget: self.clone(), records: records.len(), bytes }
    }

    /// The budget of the next poll: what is free, or nothing while closed.
    pub fn next_poll(&self, wait: Duration) -> PollBudget {
        let level = self.level();
        if level.closed {
            return PollBudget { records_max: 0, bytes_max: 0, wait };
        }
        PollBudget {
            records_max: self.records_max.saturating_sub(level.records),
            bytes_max: self.bytes_max.saturating_sub(level.bytes),
            wait,
        }
    }

    /// Records and bytes held now.
    pub fn held(&self) -> (usize, usize) {
        let level = self.level();
        (level.records, level.bytes)
    }

    fn release(&self, records: usize, bytes: usize) {
        let mut level = self.level();
        level.records = level.records.saturating_sub(records);
        level.bytes = level.bytes.saturating_sub(bytes);
        if level.records <= self.records_max / 2 && level.bytes <= self.bytes_max / 2 {
            level.closed = false;
        }
    }

    /// The lock guards three plain numbers and no code that can panic, so poison carries no meaning.
    fn level(&self) -> MutexGuard<'_, Level> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room taken from a [`Budget`]; given back on drop.
#[derive(Debug)]
#[must_use = "the room is free again as soon as the lease is dropped"]
pub struct Lease {
    budget: Budget,
    records: usize,
    bytes: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.release(self.records, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn records(n: usize) -> Vec<Record> {
        (0..n).map(|i| Record::new("t".into(), 0, i as i64, Bytes::from_static(b"0123456789"))).collect()
    }

    #[test]
    fn full_budget_opens_only_when_half_is_free() {
        let budget = Budget::new(10, 1_000);
        let first = budget.take(&records(6));
        assert_eq!(budget.next_poll(Duration::ZERO).records_max, 4);
        let second = budget.take(&records(4));
        assert!(budget.next_poll(Duration::ZERO).is_exhausted());
        drop(second);
        assert!(budget.next_poll(Duration::ZERO).is_exhausted(), "six of ten are still held");
        drop(first);
        assert_eq!(budget.next_poll(Duration::ZERO).records_max, 10);
    }

    #[test]
    fn bytes_close_the_budget_as_records_do() {
        let budget = Budget::new(1_000, 100);
        let lease = budget.take(&records(12));
        assert_eq!(budget.held(), (12, 120));
        assert!(budget.next_poll(Duration::ZERO).is_exhausted());
        drop(lease);
        assert_eq!(budget.next_poll(Duration::ZERO).bytes_max, 100);
    }
}
