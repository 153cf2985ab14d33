//! Rows that wait for their commit: as Arrow IPC, compressed (LZ4), on a shelf, by class. A commit then has the columns of
//! one class open at a time, and what waits takes no memory.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use event::{Class, EventBatch, Kept, Shelf};
use lz4_flex::block::{compress_prepend_size, decompress_size_prepended};

use crate::StorageError;

/// What is encoded takes several times its bytes while it is: of no more rows at once.
const ROWS_AT_ONCE: usize = 512;

/// Rows on their way to a [`LakeWriter`](super::LakeWriter).
#[derive(Debug)]
pub struct Waiting {
    shelf: Shelf,
    /// In the order in which they came, each with the number of its call of [`Waiting::push`].
    classes: BTreeMap<Class, Vec<(u64, Kept)>>,
    pushes: u64,
    rows: usize,
    bytes: usize,
    /// What is being encoded, in memory that the next can use.
    scratch: Vec<u8>,
}

impl Waiting {
    /// No rows, of which those that come wait on a shelf.
    pub fn on(shelf: Shelf) -> Self {
        Self { shelf, classes: BTreeMap::new(), pushes: 0, rows: 0, bytes: 0, scratch: Vec::new() }
    }

    /// Takes batches in. One call must hold all rows of each of their records.
    ///
    /// # Errors
    /// [`StorageError::Bug`] for columns that cannot be written as Arrow IPC, which none of ours are.
    pub fn push(&mut self, batches: &[EventBatch]) -> Result<(), StorageError> {
        self.pushes += 1;
        for batch in batches {
            for first in (0..batch.len()).step_by(ROWS_AT_ONCE) {
                let rows = first..batch.len().min(first + ROWS_AT_ONCE);
                self.rows += rows.len();
                let bytes = written(batch, rows, &mut self.scratch)
                    .map_err(|error| StorageError::Bug(error.to_string()))?;
                self.bytes += bytes.len();
                self.classes.entry(batch.class).or_default().push((self.pushes, self.shelf.keep(bytes)));
            }
        }
        Ok(())
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What waits from now on; what waited until now is returned.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let scratch = std::mem::take(&mut self.scratch);
        let next = Self { scratch, ..Self::on(self.shelf.clone()) };
        std::mem::replace(self, next)
    }

    /// What waits, class by class.
    pub(super) fn into_classes(self) -> impl Iterator<Item = (Class, Batches)> {
        self.classes.into_iter().map(|(class, batches)| (class, Batches(batches.into_iter())))
    }
}

/// Batches of a class without the columns that have no value, each with the number of its push. They are read one after the
/// other.
pub(super) struct Batches(std::vec::IntoIter<(u64, Kept)>);

impl Iterator for Batches {
    type Item = Result<(u64, RecordBatch), ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (push, kept) = self.0.next()?;
        Some(read(&kept).map(|batch| (push, batch)))
    }
}

fn read(kept: &Kept) -> Result<RecordBatch, ArrowError> {
    let bytes = decompress_size_prepended(&kept.read()).map_err(|e| ArrowError::ExternalError(e.into()))?;
    let mut batches = StreamReader::try_new(Cursor::new(bytes), None)?;
    batches.next().unwrap_or_else(|| Err(ArrowError::IpcError("a batch is not where it was kept".to_owned())))
}

fn written(batch: &EventBatch, rows: Range<usize>, scratch: &mut Vec<u8>) -> Result<Vec<u8>, ArrowError> {
    let rows = batch.compacted(rows)?;
    scratch.clear();
    let mut writer = StreamWriter::try_new(&mut *scratch, &rows.schema())?;
    writer.write(&rows)?;
    writer.finish()?;
    drop(writer);
    Ok(compress_prepend_size(scratch))
}
