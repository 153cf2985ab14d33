//! The metrics of the sources, named in one place. Labels: `topic`, `partition`, `reason`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::IngestError;
use crate::record::Record;

const RECORDS: &str = "asterism_ingest_records_total";
const BYTES: &str = "asterism_ingest_bytes_total";
const LAG: &str = "asterism_ingest_lag_records";
const PAUSED: &str = "asterism_ingest_paused_partitions";
const GONE: &str = "asterism_ingest_records_gone_total";
const FAULTS: &str = "asterism_ingest_faults_total";
const DEAD: &str = "asterism_ingest_dead_letters_total";
#[cfg(feature = "kafka")]
const BROKER_ERRORS: &str = "asterism_ingest_broker_errors_total";
const DROPPED: &str = "asterism_journal_dropped_records_total";

/// Counts delivered records, one pair of counters a topic and poll.
pub(crate) fn delivered(records: &[Record]) {
    let mut sums: BTreeMap<&Arc<str>, (u64, u64)> = BTreeMap::new();
    for record in records {
        let sum = sums.entry(&record.topic).or_default();
        sum.0 += 1;
        sum.1 += record.payload.len() as u64;
    }
    for (topic, (records, bytes)) in sums {
        metrics::counter!(RECORDS, "topic" => topic.to_string()).increment(records);
        metrics::counter!(BYTES, "topic" => topic.to_string()).increment(bytes);
    }
}

/// Records between the reader and the end of the partition.
pub(crate) fn lag(topic: &str, partition: i32, records: i64) {
    let labels = [("topic", topic.to_owned()), ("partition", partition.to_string())];
    metrics::gauge!(LAG, &labels).set(records.max(0) as f64);
}

/// Partitions that are paused now.
pub(crate) fn paused(partitions: usize) {
    metrics::gauge!(PAUSED).set(partitions as f64);
}

/// Records that the log no longer had when we came to read them.
pub(crate) fn gone(topic: &str, records: u64) {
    metrics::counter!(GONE, "topic" => topic.to_owned()).increment(records);
}

/// A trouble that did not stop the source.
pub(crate) fn fault(fault: &IngestError) {
    metrics::counter!(FAULTS, "reason" => fault.code()).increment(1);
}

/// A record set aside, by reason code.
pub(crate) fn dead_letter(topic: &str, reason: &'static str) {
    metrics::counter!(DEAD, "topic" => topic.to_owned(), "reason" => reason).increment(1);
}

/// An error that the Kafka client reported and retries.
#[cfg(feature = "kafka")]
pub(crate) fn broker_error() {
    metrics::counter!(BROKER_ERRORS).increment(1);
}

/// Records that retention dropped from the journal.
pub(crate) fn retention_dropped(topic: &str, records: u64) {
    metrics::counter!(DROPPED, "topic" => topic.to_owned()).increment(records);
}
