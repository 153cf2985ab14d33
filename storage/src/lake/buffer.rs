//! Rows of one class that wait for the next commit, each offset once.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use event::{Class, Time};

use super::schema::table_batch;

/// A topic-partition.
pub(super) type Partition = (Arc<str>, i64);

/// The last offset by topic-partition.
pub(super) type Marks = HashMap<Partition, i64>;

/// Batches of one class, in the table's schema.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// When the oldest row came.
    pub(super) since: Option<Time>,
    /// What came so far, also before the last flush: a record that is read again in one run stops here.
    marks: Marks,
    /// What came with the push that is under way; records of one push are told apart by the caller, not by offset.
    pending: Marks,
}

impl Buffer {
    /// Adds rows; returns how many were there already.
    pub(super) fn push(&mut self, class: Class, batch: &RecordBatch, now: Time) -> Result<usize, ArrowError> {
        let fresh = after(batch, &self.marks)?;
        if fresh.num_rows() > 0 {
            raise(&mut self.pending, &fresh)?;
            let batch = table_batch(class, &fresh)?;
            self.rows += batch.num_rows();
            self.bytes += event::bytes_of(&batch);
            self.since.get_or_insert(now);
            self.batches.push(batch);
        }
        Ok(batch.num_rows() - fresh.num_rows())
    }

    /// Ends a push: from now on its records count as known.
    pub(super) fn end_push(&mut self) {
        for (partition, offset) in self.pending.drain() {
            let mark = self.marks.entry(partition).or_insert(offset);
            *mark = offset.max(*mark);
        }
    }

    /// Empties the buffer; what came stays known.
    pub(super) fn clear(&mut self) {
        self.batches.clear();
        (self.rows, self.bytes, self.since) = (0, 0, None);
    }
}

/// The rows beyond the marks.
pub(super) fn after(batch: &RecordBatch, marks: &Marks) -> Result<RecordBatch, ArrowError> {
    if marks.is_empty() {
        return Ok(batch.clone());
    }
    let mut keep = Vec::with_capacity(batch.num_rows());
    let mut memo: Option<(Partition, i64)> = None;
    for_each_place(batch, |topic, partition, offset| {
        let known =
            memo.as_ref().filter(|((t, p), _)| t.as_ref() == topic && *p == partition).map(|(_, mark)| *mark);
        let mark = known.unwrap_or_else(|| {
            let key = (Arc::from(topic), partition);
            let mark = marks.get(&key).copied().unwrap_or(-1);
            memo = Some((key, mark));
            mark
        });
        keep.push(offset > mark);
    })?;
    if keep.iter().all(|k| *k) {
        return Ok(batch.clone());
    }
    filter_record_batch(batch, &BooleanArray::from(keep))
}

/// Raises the marks to the rows' offsets.
pub(super) fn raise(marks: &mut Marks, batch: &RecordBatch) -> Result<(), ArrowError> {
    let mut last: Option<(Partition, i64)> = None;
    for_each_place(batch, |topic, partition, offset| match &mut last {
        Some(((t, p), mark)) if t.as_ref() == topic && *p == partition => *mark = offset.max(*mark),
        _ => {
            let before = last.replace(((Arc::from(topic), partition), offset));
            put(marks, before);
        }
    })?;
    put(marks, last);
    Ok(())
}

fn put(marks: &mut Marks, mark: Option<(Partition, i64)>) {
    if let Some((partition, offset)) = mark {
        let mark = marks.entry(partition).or_insert(offset);
        *mark = offset.max(*mark);
    }
}

fn for_each_place(batch: &RecordBatch, mut f: impl FnMut(&str, i64, i64)) -> Result<(), ArrowError> {
    let column = |name: &str| {
        let column = batch.column_by_name(name);
        column.ok_or_else(|| ArrowError::SchemaError(format!("a batch without `{name}`")))
    };
    let wrong = || ArrowError::SchemaError("`topic`, `partition` or `offset` has another type".to_owned());
    let topics = column("topic")?.as_string_view_opt().ok_or_else(wrong)?;
    let partitions = column("partition")?.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
    let offsets = column("offset")?.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
    for row in 0..batch.num_rows() {
        f(topics.value(row), partitions.value(row), offsets.value(row));
    }
    Ok(())
}
