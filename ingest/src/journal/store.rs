//! The state of the journal on disk and in memory: partitions, their segments, retention.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fjall::config::BlockSizePolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use tokio::sync::watch;

use super::segment::{Room, Segment, name_of, parse_name};
use super::{JournalOptions, store_error};
use crate::error::IngestError;
use crate::metrics;
use crate::record::Record;
use crate::source::TopicPartition;

/// Keyspace of what is known about sealed segments.
const SEALED: &str = "sealed";
/// Blocks read back soon after they are written: a small cache does.
const CACHE_BYTES: u64 = 32 << 20;
/// Of each partition: below a segment, so that the memory of a partition is bounded by it.
const MEMTABLE_BYTES: u64 = 16 << 20;
/// Records are read in order: larger blocks compress better and are read whole anyway.
const BLOCK_BYTES: u32 = 32 << 10;

pub(super) struct Store {
    pub(super) path: PathBuf,
    pub(super) options: JournalOptions,
    pub(super) commits: watch::Sender<u64>,
    pub(super) db: Database,
    sealed: Keyspace,
    /// Locked for moments only: never while disk is read or written for long.
    partitions: RwLock<BTreeMap<TopicPartition, Arc<Partition>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Segments of one partition, oldest first; the last one is appended to.
#[derive(Debug, Default)]
pub(super) struct Partition {
    segments: RwLock<Vec<Segment>>,
    /// The offset after the last acknowledged record: readers go no further.
    next: AtomicI64,
}

impl Partition {
    /// Oldest offset kept, next offset to be given.
    pub(super) fn bounds(&self) -> (i64, i64) {
        let next = self.next.load(Ordering::Acquire);
        (self.segments().first().map_or(next, |segment| segment.first), next)
    }

    pub(super) fn next(&self) -> i64 {
        self.next.load(Ordering::Acquire)
    }

    /// The segment that is appended to.
    pub(super) fn active(&self) -> Option<Segment> {
        self.segments().last().cloned()
    }

    /// Makes acknowledged records visible.
    pub(super) fn publish(&self, next: i64, bytes: u64) {
        if let Some(active) = self.segments_mut().last_mut() {
            active.bytes += bytes;
        }
        self.next.store(next, Ordering::Release);
    }

    fn seal_and_push(&self, sealed_at_ms: u64, segment: Segment) {
        let mut segments = self.segments_mut();
        if let Some(last) = segments.last_mut() {
            last.sealed_at_ms = Some(sealed_at_ms);
        }
        segments.push(segment);
    }

    /// Poison means a panic of another thread between two plain assignments, which cannot happen.
    fn segments(&self) -> RwLockReadGuard<'_, Vec<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments_mut(&self) -> RwLockWriteGuard<'_, Vec<Segment>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    pub(super) fn open(path: &Path, options: JournalOptions) -> Result<Self, IngestError> {
        let failed = |e: fjall::Error| store_error(path, &e);
        std::fs::create_dir_all(path).map_err(|e| super::io_error(path, &e))?;
        let db = Database::builder(path).cache_size(CACHE_BYTES).worker_threads(1).open().map_err(failed)?;
        let sealed = db.keyspace(SEALED, KeyspaceCreateOptions::default).map_err(failed)?;
        let (commits, _) = watch::channel(0);
        let store =
            Self { path: path.to_owned(), options, commits, db, sealed, partitions: RwLock::default() };
        store.recover()?;
        Ok(store)
    }

    pub(super) fn partition(&self, key: &TopicPartition) -> Option<Arc<Partition>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The partition, created with its first segment if it is new.
    pub(super) fn partition_or_new(&self, key: &TopicPartition) -> Result<Arc<Partition>, IngestError> {
        if let Some(partition) = self.partition(key) {
            return Ok(partition);
        }
        let partition = Arc::new(Partition::default());
        partition.seal_and_push(0, self.segment(key, 0)?);
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(key.clone(), Arc::clone(&partition));
        Ok(partition)
    }

    /// Seals the active segment and begins one at `first`. Returns it.
    pub(super) fn roll(
        &self,
        key: &TopicPartition,
        partition: &Partition,
        first: i64,
    ) -> Result<Segment, IngestError> {
        let next = self.segment(key, first)?;
        let sealed_at_ms = now_ms();
        if let Some(active) = partition.active() {
            let about = [active.bytes.to_be_bytes(), sealed_at_ms.to_be_bytes()].concat();
            self.sealed.insert(name_of(key, active.first), about).map_err(|e| store_error(&self.path, &e))?;
            // Flushed in the background, so that the write-ahead log can forget it.
            active.keyspace.rotate_memtable().map_err(|e| store_error(&self.path, &e))?;
        }
        partition.seal_and_push(sealed_at_ms, next.clone());
        Ok(next)
    }

    pub(super) fn read(
        &self,
        key: &TopicPartition,
        from: i64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, IngestError> {
        let Some(partition) = self.partition(key) else { return Ok(Vec::new()) };
        let end = partition.next();
        let segments: Vec<Segment> = partition.segments().clone();
        let begin = segments.partition_point(|segment| segment.first <= from).saturating_sub(1);
        let mut room = Room::new(records_max, bytes_max);
        let mut out = Vec::new();
        for segment in &segments[begin..] {
            let start = from.max(segment.first);
            if room.is_full() || start >= end {
                break;
            }
            segment.read(key, start..end, &mut room, &mut out, &self.path)?;
        }
        Ok(out)
    }

    /// Drops sealed segments that are too old, then the oldest until the rest fits. Returns dropped records.
    pub(super) fn enforce_retention(&self) -> Result<u64, IngestError> {
        let retention = self.options.retention;
        let mut dropped = 0;
        if let Some(age_max) = retention.age_max {
            let oldest_ms = now_ms().saturating_sub(millis(age_max));
            while let Some((key, _)) = self.oldest_sealed().filter(|(_, at_ms)| *at_ms < oldest_ms) {
                dropped += self.drop_oldest(&key)?;
            }
        }
        if let Some(bytes_max) = retention.bytes_max {
            while self.bytes() > bytes_max
                && let Some((key, _)) = self.oldest_sealed()
            {
                dropped += self.drop_oldest(&key)?;
            }
        }
        Ok(dropped)
    }

    fn bytes(&self) -> u64 {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.values().map(|p| p.segments().iter().map(|segment| segment.bytes).sum::<u64>()).sum()
    }

    fn oldest_sealed(&self) -> Option<(TopicPartition, u64)> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        let sealed = partitions
            .iter()
            .filter_map(|(key, partition)| Some((key.clone(), partition.segments().first()?.sealed_at_ms?)));
        sealed.min_by_key(|(_, at_ms)| *at_ms)
    }

    fn drop_oldest(&self, key: &TopicPartition) -> Result<u64, IngestError> {
        let Some(partition) = self.partition(key) else { return Ok(0) };
        let (segment, next_first) = {
            let mut segments = partition.segments_mut();
            if segments.len() < 2 {
                return Ok(0);
            }
            (segments.remove(0), segments[0].first)
        };
        let records = (next_first - segment.first).unsigned_abs();
        metrics::retention_dropped(&key.0, records);
        tracing::warn!(topic = %key.0, partition = key.1, from = segment.first, to = next_first, "retention drops records");
        self.forget(key, segment)?;
        Ok(records)
    }

    fn forget(&self, key: &TopicPartition, segment: Segment) -> Result<(), IngestError> {
        let name = name_of(key, segment.first);
        let deleted = self.db.delete_keyspace(segment.keyspace).and_then(|()| self.sealed.remove(name));
        deleted.map_err(|e| store_error(&self.path, &e))
    }

    fn segment(&self, key: &TopicPartition, first: i64) -> Result<Segment, IngestError> {
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        };
        let keyspace =
            self.db.keyspace(&name_of(key, first), options).map_err(|e| store_error(&self.path, &e))?;
        Ok(Segment { first, bytes: 0, sealed_at_ms: None, keyspace })
    }

    fn recover(&self) -> Result<(), IngestError> {
        let mut found: BTreeMap<TopicPartition, Vec<i64>> = BTreeMap::new();
        for name in self.db.list_keyspace_names() {
            if let Some((key, first)) = parse_name(&name) {
                found.entry(key).or_default().push(first);
            }
        }
        for (key, mut firsts) in found {
            firsts.sort_unstable();
            let partition = self.recover_partition(&key, &firsts)?;
            self.partitions.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::new(partition));
        }
        Ok(())
    }

    fn recover_partition(&self, key: &TopicPartition, firsts: &[i64]) -> Result<Partition, IngestError> {
        let mut segments: Vec<Segment> = Vec::with_capacity(firsts.len());
        let mut end = 0;
        for first in firsts {
            let mut segment = self.segment(key, *first)?;
            // A crash in the middle of retention can leave an older segment behind a dropped one.
            if end != *first {
                for stray in segments.drain(..) {
                    self.forget(key, stray)?;
                }
            }
            end = segment.end(&self.path)?;
            (segment.bytes, segment.sealed_at_ms) = self.recover_seal(key, &segment)?;
            segments.push(segment);
        }
        if let Some(last) = segments.last_mut() {
            last.sealed_at_ms = None;
        }
        Ok(Partition { segments: RwLock::new(segments), next: AtomicI64::new(end) })
    }

    /// Bytes and time of sealing; for a segment without that, counted bytes and now.
    fn recover_seal(
        &self,
        key: &TopicPartition,
        segment: &Segment,
    ) -> Result<(u64, Option<u64>), IngestError> {
        let about = self.sealed.get(name_of(key, segment.first)).map_err(|e| store_error(&self.path, &e))?;
        let halves = about.as_deref().and_then(|about| about.split_at_checked(8));
        match halves.and_then(|(bytes, at)| Some((bytes.try_into().ok()?, at.try_into().ok()?))) {
            Some((bytes, at)) => Ok((u64::from_be_bytes(bytes), Some(u64::from_be_bytes(at)))),
            None => Ok((segment.count_bytes(&self.path)?, Some(now_ms()))),
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
