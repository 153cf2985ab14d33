//! Encodes rows and commits them, class by class.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::error::ArrowError;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{StructField, StructType, Transaction};
use deltalake::protocol::SaveMode;
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use deltalake::{DeltaTable, DeltaTableError};
use event::Class;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::Lake;
use super::durable::sync_last_commit;
use super::marks::{Marks, after, merge, raise};
use super::schema::{DATE, TENANT, missing_columns, table_batch, table_schema};
use super::waiting::{Batches, Waiting};
use crate::StorageError;

/// What [`LakeWriter::write`] wrote.
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
    classes: BTreeMap<Class, ClassWriter>,
}

/// The table of a class and the files that its next commit adds.
#[derive(Debug)]
struct ClassWriter {
    table: DeltaTable,
    /// Always there but while it commits: its setters take it by value.
    files: RecordBatchWriter,
    /// What came so far, in this run or before: a record that is read again stops here.
    marks: Marks,
    /// What came with the push that is under way; records of one push are told apart by the caller, not by offset.
    pending: Marks,
    /// The last offsets of the rows that wait.
    last: Marks,
    /// Rows that are encoded and not committed.
    rows: usize,
}

impl LakeWriter {
    /// A writer that knows no table yet.
    pub fn new(lake: Lake) -> Self {
        Self { lake, classes: BTreeMap::new() }
    }

    /// The lake.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Encodes and commits rows that waited, a file for each class, tenant and day. Pushes follow the offsets of a partition:
    /// what is at or below an offset of an earlier push, or of the table, is dropped as read again. After it returns,
    /// every row is in the lake.
    ///
    /// # Errors
    /// The first [`StorageError`] of a table. The rows of the tables that failed are given up, the others are committed.
    /// Writing all of them again is right, also where a commit did happen but its answer was lost.
    pub async fn write(&mut self, waiting: Waiting) -> Result<Flushed, StorageError> {
        let (mut flushed, mut error) = (Flushed::default(), None);
        for (class, batches) in waiting.into_classes() {
            let writer = self.classes.remove(&class);
            match commit(&self.lake, class, writer, batches).await {
                Ok((writer, rows, known)) => {
                    if rows > 0 {
                        flushed.rows.insert(class, rows);
                    }
                    flushed.rows_known += known;
                    self.classes.insert(class, writer);
                }
                Err(e) => error = error.or(Some(e)),
            }
        }
        error.map_or(Ok(flushed), Err)
    }

    /// Joins the small files of a class into large ones, and lets go of files that no reader of the last week needs.
    ///
    /// # Errors
    /// [`StorageError`] where the table cannot be read or written; it stays as it was.
    pub async fn optimize(&mut self, class: Class) -> Result<(), StorageError> {
        self.classes.remove(&class);
        let at = |e: DeltaTableError| self.lake.error(class, &e);
        let table = self.lake.table(class).await?;
        if table.version().is_none() {
            return Ok(());
        }
        let (table, _) = table
            .optimize()
            .with_writer_properties(writer_properties(LARGE_ROW_GROUP_BYTES))
            .await
            .map_err(at)?;
        table.vacuum().await.map_err(at)?;
        Ok(())
    }
}

/// Commits the rows of a class; with its writer, how many they were, and how many the table had.
async fn commit(
    lake: &Lake,
    class: Class,
    writer: Option<ClassWriter>,
    batches: Batches,
) -> Result<(ClassWriter, usize, usize), StorageError> {
    let at = |e: DeltaTableError| lake.error(class, &e);
    let mut writer = match writer {
        Some(writer) => writer,
        None => ClassWriter::open(lake, class).await?,
    };
    let (mut known, mut last_push) = (0, 0);
    for batch in batches {
        let (push, batch) = batch.map_err(|e| at(e.into()))?;
        if push != last_push {
            merge(&mut writer.marks, writer.pending.drain());
            last_push = push;
        }
        known += writer.push(&batch).await.map_err(at)?;
    }
    merge(&mut writer.marks, writer.pending.drain());
    let rows = std::mem::take(&mut writer.rows);
    let writer = if rows > 0 { writer.commit(lake, class).await? } else { writer };
    Ok((writer, rows, known))
}

impl ClassWriter {
    async fn open(lake: &Lake, class: Class) -> Result<Self, StorageError> {
        let table = lake.table(class).await?;
        let opened = async {
            let table = if table.version().is_none() { create(&table, class).await? } else { table };
            let missing = missing_columns(&table, class);
            let table = if missing.is_empty() {
                table
            } else {
                let fields: StructType =
                    Arc::new(arrow::datatypes::Schema::new(missing)).try_into_kernel()?;
                table.add_columns().with_fields(fields.fields().cloned().collect::<Vec<_>>()).await?
            };
            let files = RecordBatchWriter::for_table(&table)?
                .with_writer_properties(writer_properties(ROW_GROUP_BYTES));
            Ok(Self { table, files, marks: Marks::new(), pending: Marks::new(), last: Marks::new(), rows: 0 })
        };
        opened.await.map_err(|e: DeltaTableError| lake.error(class, &e))
    }

    /// Encodes the rows that are not known; how many are.
    async fn push(&mut self, batch: &RecordBatch) -> Result<usize, DeltaTableError> {
        self.learn(batch).await?;
        let fresh = after(batch, &self.marks)?;
        let known = batch.num_rows() - fresh.num_rows();
        if fresh.num_rows() == 0 {
            return Ok(known);
        }
        raise(&mut self.pending, &fresh)?;
        raise(&mut self.last, &fresh)?;
        self.rows += fresh.num_rows();
        let fresh = self.in_table_order(&table_batch(&fresh)?)?;
        self.files.write(fresh).await?;
        Ok(known)
    }

    /// Looks up the versions of topic-partitions that were not asked for yet.
    async fn learn(&mut self, batch: &RecordBatch) -> Result<(), DeltaTableError> {
        let mut wanted = Marks::new();
        raise(&mut wanted, batch)?;
        let snapshot = self.table.snapshot()?;
        let log_store = self.table.log_store();
        for partition in wanted.into_keys() {
            if !self.marks.contains_key(&partition) && !self.pending.contains_key(&partition) {
                let version =
                    snapshot.transaction_version(&log_store, app_id(&partition.0, partition.1)).await?;
                self.marks.insert(partition, version.unwrap_or(-1));
            }
        }
        Ok(())
    }

    /// The columns as the table has them: its order, its kinds of text, and null where only the table has a column.
    fn in_table_order(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let schema = self.files.arrow_schema();
        let column = |field: &arrow::datatypes::FieldRef| match batch.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        };
        let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(schema, columns)
    }

    async fn commit(mut self, lake: &Lake, class: Class) -> Result<Self, StorageError> {
        let transactions = self.last.drain();
        let transactions = transactions
            .map(|((topic, partition), offset)| Transaction::new(app_id(&topic, partition), offset));
        let properties = CommitProperties::default().with_application_transactions(transactions.collect());
        self.files = self.files.with_commit_properties(properties);
        self.files.flush_and_commit(&mut self.table).await.map_err(|e| lake.error(class, &e))?;
        let synced = sync_last_commit(&self.table).await;
        synced.map_err(|e| StorageError::io(Path::new(&lake.location(class)), &e))?;
        Ok(self)
    }
}

/// Makes the table of a class, unless somebody else just did.
async fn create(table: &DeltaTable, class: Class) -> Result<DeltaTable, DeltaTableError> {
    let schema: StructType = table_schema(class).try_into_kernel()?;
    let create = table.create().with_save_mode(SaveMode::Ignore).with_table_name(class.name());
    let create = create.with_columns(schema.fields().cloned().collect::<Vec<StructField>>());
    let create = create.with_partition_columns([TENANT, DATE]);
    create.with_configuration(TABLE_PROPERTIES.map(|(name, value)| (name, Some(value)))).await
}

/// A checkpoint every 10 commits bounds what a reader replays, and what making it takes: the commits since the last one
/// are read side by side, about 3 MiB each. Logs are kept a day beyond it. Smallest and largest values are kept of
/// the columns that rows come in the order of; of others they exclude nothing.
const TABLE_PROPERTIES: [(&str, &str); 3] = [
    ("delta.checkpointInterval", "10"),
    ("delta.logRetentionDuration", "interval 1 days"),
    ("delta.dataSkippingStatsColumns", "time,ingest_time,offset"),
];

fn app_id(topic: &str, partition: i64) -> String {
    format!("{topic}/{partition}")
}

/// Most of a file are its raw records, of which no two are alike: Zstandard at its fastest level halves Snappy's size. Every
/// column of every open file has a compressor of its own, though, and Zstandard's holds up to a megabyte; a dictionary
/// holds some 50 KB before its first value, and of each column one page waits as it is, in a vector of up to twice its
/// size. So the other columns take Snappy and small pages, and those with few values a dictionary.
fn writer_properties(row_group_bytes: usize) -> WriterProperties {
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_column_compression(RAW.into(), Compression::ZSTD(level))
        .set_column_data_page_size_limit(RAW.into(), RAW_PAGE_BYTES)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_bytes(Some(row_group_bytes))
        .set_dictionary_enabled(false);
    let few = FEW_VALUES
        .iter()
        .map(|path| ColumnPath::from(path.split('.').map(str::to_owned).collect::<Vec<_>>()));
    few.fold(properties, |properties, column| properties.set_column_dictionary_enabled(column, true)).build()
}

/// As much of a file is in memory until it is on its way to the store.
const ROW_GROUP_BYTES: usize = 2 << 20;

/// As usual; of files that are made of others, one at a time.
const LARGE_ROW_GROUP_BYTES: usize = 64 << 20;

const RAW: &str = "raw";

/// Larger pages compress better.
const RAW_PAGE_BYTES: usize = 256 << 10;

const PAGE_BYTES: usize = 32 << 10;

const DICTIONARY_BYTES: usize = 256 << 10;

/// Paths of columns whose values repeat.
const FEW_VALUES: [&str; 13] = [
    "entities.list.element.type",
    "entities.list.element.role",
    "entities.list.element.value",
    "source",
    "topic",
    "device_hostname",
    "device_uid",
    "actor_user_name",
    "actor_user_uid",
    "user_name",
    "user_uid",
    "process_name",
    "process_file_path",
];
