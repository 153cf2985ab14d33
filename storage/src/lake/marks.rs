//! How far the rows of each topic-partition have come.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;

/// A topic-partition.
pub(super) type Partition = (Arc<str>, i64);

/// The last offset by topic-partition.
pub(super) type Marks = HashMap<Partition, i64>;

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
            merge(marks, before);
        }
    })?;
    merge(marks, last);
    Ok(())
}

/// Raises the marks to others.
pub(super) fn merge(marks: &mut Marks, others: impl IntoIterator<Item = (Partition, i64)>) {
    for (partition, offset) in others {
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
