//! One record of a log, as a source hands it over.

use std::sync::Arc;

use bytes::Bytes;
use event::RecordRef;

/// Bytes at a topic, partition and offset. For files the topic is the file name, the partition as
/// [`crate::FilePartition`] says and the offset the line number, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Topic, or file name.
    pub topic: Arc<str>,
    /// Partition, or number of the file.
    pub partition: i32,
    /// Offset, or line number from 0.
    pub offset: i64,
    /// The bytes as received.
    pub payload: Bytes,
    /// Length of the whole record in bytes, where the payload is only its beginning because the source will
    /// not hold a record that long. Such a record is not decoded: it is a dead letter, too large.
    pub truncated_from: Option<u64>,
}

impl Record {
    /// A whole record.
    pub const fn new(topic: Arc<str>, partition: i32, offset: i64, payload: Bytes) -> Self {
        Self { topic, partition, offset, payload, truncated_from: None }
    }

    /// Where the record lies.
    pub fn position(&self) -> RecordRef {
        RecordRef { topic: Arc::clone(&self.topic), partition: self.partition, offset: self.offset }
    }
}
