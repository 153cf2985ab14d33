//! The contract of every source: poll within a budget, know and set positions, pause and resume.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::IngestError;
use crate::record::Record;

/// A topic and a partition of it; for files the file name and what [`crate::FilePartition`] says.
pub type TopicPartition = (Arc<str>, i32);

/// The next offset to read of each topic-partition.
pub type Positions = BTreeMap<TopicPartition, i64>;

/// What one poll may return. A poll returns at least one record, however large, unless a limit is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollBudget {
    /// Most records; zero means there is no room downstream: the source pauses, and serves its group only.
    pub records_max: usize,
    /// Most bytes of payload; zero as with records.
    pub bytes_max: usize,
    /// Longest wait for the first record.
    pub wait: Duration,
}

impl PollBudget {
    /// No room downstream.
    pub const fn is_exhausted(&self) -> bool {
        self.records_max == 0 || self.bytes_max == 0
    }
}

/// What one poll brought.
#[derive(Debug, Default)]
pub struct Polled {
    /// Records, in offset order within each topic-partition.
    pub records: Vec<Record>,
    /// Partitions that are this source's from here on; in one poll, they come after the revoked ones.
    pub assigned: Vec<TopicPartition>,
    /// Partitions that another group member takes over. What was delivered before stays with the engine; an
    /// engine that drops such work must [`Source::seek`] if it ever gets the partition back.
    pub revoked: Vec<TopicPartition>,
    /// Partitions that hold nothing more (files only): they no longer hold the watermark back.
    pub finished: Vec<TopicPartition>,
    /// Troubles that did not stop the source, each counted: offsets that are gone, a damaged file.
    pub faults: Vec<IngestError>,
    /// All partitions are finished (files only).
    pub ended: bool,
}

impl Polled {
    /// Neither records nor news.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.assigned.is_empty()
            && self.revoked.is_empty()
            && self.finished.is_empty()
            && self.faults.is_empty()
            && !self.ended
    }
}

/// Records in. `poll` must be called again and again, with an exhausted budget when there is no room: it also
/// keeps the group membership alive. Every method is cancel-safe: a dropped future loses no record.
#[async_trait]
pub trait Source: Send {
    /// Waits for records, at most `budget.wait`, and returns those at hand within the budget.
    ///
    /// # Errors
    ///
    /// Only for what retrying cannot heal; everything else is retried inside and told in [`Polled::faults`].
    async fn poll(&mut self, budget: PollBudget) -> Result<Polled, IngestError>;

    /// Reads on from `positions`, for partitions held now and for those assigned later. Partitions that are not
    /// named keep their place.
    ///
    /// # Errors
    ///
    /// If the source cannot go there (standard input cannot go back; the broker does not answer).
    async fn seek(&mut self, positions: &Positions) -> Result<(), IngestError>;

    /// Stops delivery from these partitions until [`Source::resume`]. Unknown ones are remembered.
    ///
    /// # Errors
    ///
    /// If the client refuses.
    async fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), IngestError>;

    /// Ends [`Source::pause`].
    ///
    /// # Errors
    ///
    /// If the client refuses.
    async fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), IngestError>;

    /// Tells lag tools how far the engine is durable. A hint: nothing is read back from it.
    ///
    /// # Errors
    ///
    /// If the client refuses. A broker that is away is no error.
    async fn commit(&mut self, positions: &Positions) -> Result<(), IngestError>;
}
