//! Buffers rows by class and commits them.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use deltalake::DeltaTable;
use deltalake::DeltaTableError;
use deltalake::kernel::Transaction;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::operations::write::SchemaMode;
use event::{Class, EventBatch, Time};
use futures::{FutureExt, StreamExt, stream};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::buffer::{Buffer, Marks, after, raise};
use super::durable::sync_last_commit;
use super::schema::{DATE, TENANT, lacks_columns};
use super::{Lake, delta_error};
use crate::StorageError;

/// When a class is flushed. What is buffered at most is `total_bytes_max` and one push, provided that
/// [`LakeWriter::flush_due`] is called after each push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LakeLimits {
    /// Rows of one class. Fewer make many small files, more keep hunts waiting for fresh rows.
    pub rows_max: usize,
    /// Bytes of one class, in memory.
    pub bytes_max: usize,
    /// Bytes of all classes, in memory: beyond it every class is flushed.
    pub total_bytes_max: usize,
    /// Age of the oldest row of a class, in the caller's time, microseconds.
    pub age_us_max: i64,
}

impl Default for LakeLimits {
    /// 200,000 rows or 128 MiB of a class, 384 MiB in all, 30 seconds.
    fn default() -> Self {
        Self { rows_max: 200_000, bytes_max: 128 << 20, total_bytes_max: 384 << 20, age_us_max: 30_000_000 }
    }
}

/// What a flush wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flushed {
    /// Rows written, by class.
    pub rows: BTreeMap<Class, usize>,
    /// Rows that the tables had already (read again after a restart).
    pub rows_known: usize,
}

/// The one writer of a lake's tables in this process. Several processes may write one lake, as long as a
/// topic-partition has one reader at a time.
#[derive(Debug)]
pub struct LakeWriter {
    lake: Lake,
    limits: LakeLimits,
    classes: BTreeMap<Class, Slot>,
    /// Rows dropped on the way in since the last flush: read again within this run.
    known: usize,
}

#[derive(Debug, Default)]
struct Slot {
    buffer: Buffer,
    open: Option<OpenTable>,
}

/// A table and what it has: the versions of its transaction identifiers that were asked for so far.
#[derive(Debug)]
struct OpenTable {
    table: DeltaTable,
    marks: Marks,
}

/// Tables committed at once: a commit waits for the store about as long as it computes.
const COMMITS_AT_ONCE: usize = 4;

impl LakeWriter {
    /// A writer with nothing buffered.
    pub fn new(lake: Lake, limits: LakeLimits) -> Self {
        Self { lake, limits, classes: BTreeMap::new(), known: 0 }
    }

    /// The lake.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Buffers batches. One push must hold all rows of each of its records, and pushes follow the offsets of a
    /// partition: what is at or below an offset of an earlier push is dropped as read again. `now` is the caller's
    /// clock, which ages the buffers.
    ///
    /// # Errors
    /// [`StorageError::Bug`] where a batch has not the columns of its class.
    pub fn push(&mut self, batches: &[EventBatch], now: Time) -> Result<(), StorageError> {
        for batch in batches {
            let slot = self.classes.entry(batch.class).or_default();
            let known = slot.buffer.push(batch.class, &batch.columns, now);
            self.known += known.map_err(|e| arrow_bug(&e))?;
        }
        for batch in batches {
            self.classes.entry(batch.class).or_default().buffer.end_push();
        }
        Ok(())
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.classes.values().map(|slot| slot.buffer.rows).sum()
    }

    /// Bytes that wait, in memory.
    pub fn bytes(&self) -> usize {
        self.classes.values().map(|slot| slot.buffer.bytes).sum()
    }

    /// Commits the classes that have reached a limit; does nothing otherwise.
    ///
    /// # Errors
    /// As [`LakeWriter::flush`].
    pub async fn flush_due(&mut self, now: Time) -> Result<Flushed, StorageError> {
        let limits = self.limits;
        let all = self.bytes() >= limits.total_bytes_max;
        let due = |buffer: &Buffer| {
            let age = buffer.since.map_or(0, |since| now.micros().saturating_sub(since.micros()));
            all || buffer.rows >= limits.rows_max
                || buffer.bytes >= limits.bytes_max
                || age >= limits.age_us_max
        };
        self.flush_where(due).await
    }

    /// Commits everything. After it returns, every row that was pushed is in the lake.
    ///
    /// # Errors
    /// The first error of a table. The rows of the tables that failed stay buffered and the others are committed:
    /// calling it again is right, also where a commit did happen but its answer was lost.
    pub async fn flush(&mut self) -> Result<Flushed, StorageError> {
        self.flush_where(|_| true).await
    }

    async fn flush_where(&mut self, due: impl Fn(&Buffer) -> bool) -> Result<Flushed, StorageError> {
        let mut flushed = Flushed { rows_known: std::mem::take(&mut self.known), ..Flushed::default() };
        let lake = &self.lake;
        // Boxed: a stream of nameless futures that borrow is not `Send` enough for a spawned task.
        let mut commits = Vec::new();
        for (class, slot) in &mut self.classes {
            if slot.buffer.rows > 0 && due(&slot.buffer) {
                let class = *class;
                commits.push(async move { (class, slot.commit(lake, class).await) }.boxed());
            }
        }
        let mut results = stream::iter(commits).buffer_unordered(COMMITS_AT_ONCE);
        let mut error = None;
        while let Some((class, result)) = results.next().await {
            match result {
                Ok((0, known)) => flushed.rows_known += known,
                Ok((rows, known)) => {
                    flushed.rows.insert(class, rows);
                    flushed.rows_known += known;
                }
                Err(e) => error = error.or(Some(e)),
            }
        }
        error.map_or(Ok(flushed), Err)
    }

    /// Forgets what is buffered and what the tables were known to have. Call it when reading starts again elsewhere
    /// (a seek, partitions assigned anew): another writer may have come further meanwhile.
    pub fn reset(&mut self) {
        self.classes.clear();
        self.known = 0;
    }

    /// Joins the small files of a class into large ones, and lets go of files that no reader of the last week needs.
    ///
    /// # Errors
    /// [`StorageError`] where the table cannot be read or written; it stays as it was.
    pub async fn optimize(&mut self, class: Class) -> Result<(), StorageError> {
        let location = self.lake.location(class);
        let at = |e: DeltaTableError| delta_error(&location, &e);
        let slot = self.classes.entry(class).or_default();
        let OpenTable { table, marks } = slot.take(&self.lake, class).await?;
        if table.version().is_none() {
            return Ok(());
        }
        let (table, _) = table.optimize().with_writer_properties(writer_properties()).await.map_err(at)?;
        let (table, _) = table.vacuum().await.map_err(at)?;
        slot.open = Some(OpenTable { table, marks });
        Ok(())
    }
}

impl Slot {
    /// The open table, taken out: whoever fails with it leaves nothing stale behind, and the next one reads it anew.
    async fn take(&mut self, lake: &Lake, class: Class) -> Result<OpenTable, StorageError> {
        match self.open.take() {
            Some(open) => Ok(open),
            None => Ok(OpenTable { table: lake.table(class).await?, marks: Marks::new() }),
        }
    }

    /// Commits the buffer; returns the rows written and the rows the table had.
    async fn commit(&mut self, lake: &Lake, class: Class) -> Result<(usize, usize), StorageError> {
        let location = lake.location(class);
        let mut open = self.take(lake, class).await?;
        open.learn(&last_of(&self.buffer.batches)?).await.map_err(|e| delta_error(&location, &e))?;
        let fresh =
            self.buffer.batches.iter().map(|batch| after(batch, &open.marks)).collect::<Result<Vec<_>, _>>();
        let mut fresh = fresh.map_err(|e| arrow_bug(&e))?;
        fresh.retain(|batch| batch.num_rows() > 0);
        let rows = fresh.iter().map(RecordBatch::num_rows).sum();
        if rows > 0 {
            let last = last_of(&fresh)?;
            open = open.write(class, fresh, last).await.map_err(|e| delta_error(&location, &e))?;
            let synced = sync_last_commit(&open.table).await;
            synced.map_err(|e| StorageError::io(Path::new(&location), &e))?;
        }
        let known = self.buffer.rows - rows;
        self.buffer.clear();
        self.open = Some(open);
        Ok((rows, known))
    }
}

/// The last offset of each topic-partition.
fn last_of(batches: &[RecordBatch]) -> Result<Marks, StorageError> {
    let mut last = Marks::new();
    batches.iter().try_for_each(|batch| raise(&mut last, batch)).map_err(|e| arrow_bug(&e))?;
    Ok(last)
}

impl OpenTable {
    /// Looks up the versions of topic-partitions that were not asked for yet.
    async fn learn(&mut self, wanted: &Marks) -> Result<(), DeltaTableError> {
        let Ok(snapshot) = self.table.snapshot() else { return Ok(()) };
        let log_store = self.table.log_store();
        for partition in wanted.keys() {
            if !self.marks.contains_key(partition) {
                let version =
                    snapshot.transaction_version(&log_store, app_id(&partition.0, partition.1)).await?;
                self.marks.insert(partition.clone(), version.unwrap_or(-1));
            }
        }
        Ok(())
    }

    async fn write(
        mut self,
        class: Class,
        rows: Vec<RecordBatch>,
        last: Marks,
    ) -> Result<Self, DeltaTableError> {
        let mut transactions = Vec::with_capacity(last.len());
        for ((topic, partition), offset) in last {
            transactions.push(Transaction::new(app_id(&topic, partition), offset));
            self.marks.insert((topic, partition), offset);
        }
        let properties = CommitProperties::default().with_application_transactions(transactions);
        let lacks = lacks_columns(&self.table, class);
        let write =
            self.table.write(rows).with_partition_columns([TENANT, DATE]).with_table_name(class.name());
        let write = write.with_configuration(TABLE_PROPERTIES.map(|(name, value)| (name, Some(value))));
        let write = write.with_writer_properties(writer_properties()).with_commit_properties(properties);
        let write = if lacks { write.with_schema_mode(SchemaMode::Merge) } else { write };
        Ok(Self { table: write.await?, marks: self.marks })
    }
}

/// A checkpoint every 10 commits bounds what a reader replays, and what making it takes: the commits since the last one
/// are read side by side, about 3 MiB each. Logs are kept a day beyond it.
const TABLE_PROPERTIES: [(&str, &str); 2] =
    [("delta.checkpointInterval", "10"), ("delta.logRetentionDuration", "interval 1 days")];

fn app_id(topic: &str, partition: i64) -> String {
    format!("{topic}/{partition}")
}

/// Zstandard at its fastest level: half the size of Snappy on logs at about the same speed.
fn writer_properties() -> WriterProperties {
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    WriterProperties::builder().set_compression(Compression::ZSTD(level)).build()
}

fn arrow_bug(error: &ArrowError) -> StorageError {
    StorageError::Bug(format!("a batch does not fit its class: {error}"))
}
