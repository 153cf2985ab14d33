//! The embedded log: topics, partitions and offsets on local disk, for installations without Kafka.
//!
//! ```text
//! append ---> writer thread: one fsync for all that wait (group commit) ---> segments ---> JournalSource
//!                 |                                                             |
//!                 +-- publishes the next offset, wakes the readers              +-- retention drops the oldest
//! ```
//!
//! A partition is a row of segments, each a keyspace of one fjall database; dropping a segment frees its disk
//! space at once. What `append` acknowledged survives a crash; readers see nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::IngestError;
use crate::record::Record;
use crate::source::TopicPartition;

mod reader;
mod segment;
mod store;
mod writer;

pub use reader::JournalSource;
use store::Store;
use writer::Request;

/// Appends that may wait for the writer; more wait before they enter.
const QUEUE_REQUESTS: usize = 256;
/// Longest topic name: segment names carry it, and the store allows 255 bytes.
const TOPIC_BYTES_MAX: usize = 200;
/// Most partitions of a topic: each holds a memtable.
const PARTITIONS_MAX: i32 = 1_024;

/// How the journal keeps records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// What is dropped, and when.
    pub retention: Retention,
    /// Bytes after which a segment is sealed. Default 64 MiB: retention drops whole sealed segments.
    pub segment_bytes_max: u64,
    /// Largest record in bytes. Default 32 MiB.
    pub record_bytes_max: usize,
}

/// Limits on what is kept. The oldest sealed segments are dropped first, read or not; each loss is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Bytes of payload over all topics.
    pub bytes_max: Option<u64>,
    /// Age since a segment was sealed.
    pub age_max: Option<Duration>,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { retention: Retention::default(), segment_bytes_max: 64 << 20, record_bytes_max: 32 << 20 }
    }
}

/// An open journal. Clones share it; the last one dropped closes it.
#[derive(Debug, Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    /// `None` only while dropping: the writer ends when its queue closes.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<std::thread::JoinHandle<()>>,
    record_bytes_max: usize,
    failed: AtomicBool,
}

impl Journal {
    /// Opens or creates the journal in directory `path`, and recovers what was acknowledged before a crash.
    ///
    /// # Errors
    ///
    /// [`IngestError::Unavailable`] if another process has it open, [`IngestError::Corrupt`] if it cannot be
    /// recovered, [`IngestError::Io`] and [`IngestError::DiskFull`] as the system says.
    pub fn open(path: &Path, options: JournalOptions) -> Result<Self, IngestError> {
        let store = Arc::new(Store::open(path, options)?);
        store.enforce_retention()?;
        let (requests, inbox) = mpsc::channel(QUEUE_REQUESTS);
        let writer = writer::spawn(Arc::clone(&store), inbox)?;
        let record_bytes_max = options.record_bytes_max;
        let failed = AtomicBool::new(false);
        let inner = Inner { store, requests: Some(requests), writer: Some(writer), record_bytes_max, failed };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Appends records to a partition and returns the offset of the first one. When it returns, they are on disk.
    ///
    /// # Errors
    ///
    /// [`IngestError::Config`] for a topic or partition that cannot be named, [`IngestError::Limit`] for a record
    /// over the limit, [`IngestError::DiskFull`] and others if the write fails: then nothing was appended, and the
    /// journal takes no more writes until it is opened anew.
    pub async fn append(&self, topic: &str, partition: i32, payloads: &[Bytes]) -> Result<i64, IngestError> {
        let (request, reply) = self.request(topic, partition, payloads)?;
        self.queue()?.send(request).await.map_err(|_| self.closed())?;
        self.noted(reply.await.map_err(|_| self.closed())?)
    }

    /// [`Journal::append`] for threads without a runtime.
    ///
    /// # Errors
    ///
    /// As [`Journal::append`].
    pub fn append_blocking(
        &self,
        topic: &str,
        partition: i32,
        payloads: &[Bytes],
    ) -> Result<i64, IngestError> {
        let (request, reply) = self.request(topic, partition, payloads)?;
        self.queue()?.blocking_send(request).map_err(|_| self.closed())?;
        self.noted(reply.blocking_recv().map_err(|_| self.closed())?)
    }

    /// Whether a write failed, so that it takes no more until it is opened anew.
    pub fn has_failed(&self) -> bool {
        self.inner.failed.load(Ordering::Relaxed)
    }

    fn noted(&self, outcome: Result<i64, IngestError>) -> Result<i64, IngestError> {
        if outcome.is_err() {
            self.inner.failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Records of a partition from offset `from` (or the oldest kept), within both limits, but at least one if
    /// there is one. Reads the disk: not for a runtime's thread.
    ///
    /// # Errors
    ///
    /// If the disk cannot be read.
    pub fn read(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, IngestError> {
        self.inner.store.read(&(topic.into(), partition), from, records_max, bytes_max)
    }

    /// The oldest offset kept and the next one to be given; `None` for an unknown partition.
    pub fn bounds(&self, topic: &str, partition: i32) -> Option<(i64, i64)> {
        self.inner.store.partition(&(topic.into(), partition)).map(|partition| partition.bounds())
    }

    /// All partitions, in order.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.inner.store.partitions()
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.inner.store.path
    }

    /// Drops what retention no longer keeps; returns the number of records. Also done on opening and after writes.
    ///
    /// # Errors
    ///
    /// If the store cannot drop a segment.
    pub fn enforce_retention(&self) -> Result<u64, IngestError> {
        self.inner.store.enforce_retention()
    }

    /// Changes with every commit.
    fn commits(&self) -> watch::Receiver<u64> {
        self.inner.store.commits.subscribe()
    }

    fn queue(&self) -> Result<&mpsc::Sender<Request>, IngestError> {
        self.inner.requests.as_ref().ok_or_else(|| self.closed())
    }

    fn request(
        &self,
        topic: &str,
        partition: i32,
        payloads: &[Bytes],
    ) -> Result<(Request, oneshot::Receiver<Result<i64, IngestError>>), IngestError> {
        check_topic(topic)?;
        check_partition(partition)?;
        let bytes_max = self.inner.record_bytes_max;
        if let Some(large) = payloads.iter().find(|payload| payload.len() > bytes_max) {
            let what = format!("a record of {} bytes for topic {topic}", large.len());
            return Err(IngestError::Limit { what, limit: format!("{bytes_max} bytes") });
        }
        let (reply, answer) = oneshot::channel();
        Ok((Request { to: (topic.into(), partition), payloads: payloads.to_vec(), reply }, answer))
    }

    fn closed(&self) -> IngestError {
        IngestError::Bug(format!("the writer of the journal {} has ended", self.path().display()))
    }
}

impl Drop for Inner {
    /// Waits for the writer, so that the directory is free for the next opener.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(journal = %self.store.path.display(), "the journal's writer panicked");
        }
    }
}

/// Kafka's rule for names, a little shorter: `[A-Za-z0-9._-]`, 1 to 200 bytes, neither `.` nor `..`.
fn check_topic(topic: &str) -> Result<(), IngestError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let named = !topic.is_empty() && topic.len() <= TOPIC_BYTES_MAX && topic.chars().all(plain);
    if named && topic != "." && topic != ".." {
        return Ok(());
    }
    let shown: String = topic.chars().take(40).collect();
    let problem = format!("{shown:?} is no topic name: use 1 to {TOPIC_BYTES_MAX} of A-Z a-z 0-9 . _ -");
    Err(IngestError::Config { setting: "topic".to_owned(), problem })
}

fn check_partition(partition: i32) -> Result<(), IngestError> {
    if (0..PARTITIONS_MAX).contains(&partition) {
        return Ok(());
    }
    let problem = format!("{partition} is outside 0..{PARTITIONS_MAX}");
    Err(IngestError::Config { setting: "partition".to_owned(), problem })
}

/// What a failure of the store means to the operator.
fn store_error(path: &Path, error: &fjall::Error) -> IngestError {
    let corrupt = |problem: String| IngestError::Corrupt { place: path.display().to_string(), problem };
    match error {
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => io_error(path, io),
        fjall::Error::Locked => IngestError::Unavailable {
            endpoint: path.display().to_string(),
            problem: "another process has the journal open; stop it, or choose another data directory"
                .to_owned(),
        },
        // A write of the store's own thread may have failed first, and said so to nobody.
        fjall::Error::Poisoned => match try_to_write(path) {
            Err(io) => io_error(path, &io),
            Ok(()) => corrupt(
                "a write failed before (the first one said why), so it takes no more; remove the cause and start again"
                    .to_owned(),
            ),
        },
        other => {
            corrupt(format!("{other}; restore the directory, or move it away to begin an empty journal"))
        }
    }
}

/// Whether there is room for what a write takes.
fn try_to_write(path: &Path) -> std::io::Result<()> {
    let probe = path.join("room");
    let written = std::fs::write(&probe, vec![0_u8; 4 << 20]);
    // It is empty or partial where there is no room; a probe that stays is written over by the next.
    drop(std::fs::remove_file(&probe));
    written
}

fn io_error(path: &Path, error: &std::io::Error) -> IngestError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => IngestError::DiskFull {
            path: PathBuf::from(path),
            remedy: "free space there, then start again; what was acknowledged is safe".to_owned(),
        },
        kind => {
            let cause = error.raw_os_error().map_or_else(|| kind.into(), std::io::Error::from_raw_os_error);
            IngestError::Io { path: PathBuf::from(path), cause }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_that_could_leave_the_directory_are_refused() {
        for name in ["", ".", "..", "a/b", "a\0b", "ü", "a@0", &"x".repeat(201)] {
            assert!(check_topic(name).is_err(), "{name:?}");
        }
        for name in ["xdr.endpoint", "a", "A-b_c.9", &"x".repeat(200)] {
            check_topic(name).unwrap();
        }
    }

    #[test]
    fn full_disk_is_named_with_path_and_remedy() {
        let error = fjall::Error::Io(std::io::ErrorKind::StorageFull.into());
        insta::assert_snapshot!(
            store_error(Path::new("/data/journal"), &error),
            @"/data/journal: the disk is full: free space there, then start again; what was acknowledged is safe"
        );
    }
}
