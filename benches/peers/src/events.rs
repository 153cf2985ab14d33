//! Flat events: a record with its Sigma fields at the top, where the other engine looks for them.
//!
//! How fields are named in a source, and which columns stand for them, is the business of our mappings. Both engines
//! get the result, so that a difference is one of rules and not of mappings.

use std::borrow::Cow;
use std::collections::BTreeSet;

use anyhow::{Context, Result};
use event::EventBatch;
use ingest::Record;
use rules::{Cell, FieldCells};
use serde_json::{Map, Value};

use crate::data;

/// Every row of the batch as a flat event with the fields of a set of rules; its offset is the row.
pub(crate) fn flat(fields: &BTreeSet<String>, batch: &EventBatch) -> Result<Vec<Record>> {
    let mut columns: Vec<(&str, FieldCells<'_>)> = Vec::new();
    for name in fields {
        columns.extend(FieldCells::of(batch, &name.replace(' ', "")).map(|cells| (name.as_str(), cells)));
    }
    (0..batch.len()).map(|row| Ok(data::record("flat", row as i64, event(batch, row, &columns)?))).collect()
}

fn event(batch: &EventBatch, row: usize, columns: &[(&str, FieldCells<'_>)]) -> Result<Vec<u8>> {
    let raw = batch.text("raw", row).unwrap_or_default();
    let raw: Value = serde_json::from_str(raw).with_context(|| format!("record {}", batch.record(row)))?;
    let mut fields = fields_of(raw);
    for (name, cells) in columns {
        put(&mut fields, name, cells.cell(row));
    }
    Ok(serde_json::to_vec(&fields)?)
}

/// A value that is the same to rules keeps the type it has in the record.
fn put(fields: &mut Map<String, Value>, name: &str, cell: Cell<'_>) {
    if fields.get(name).map(cell_of) != Some(cell.clone())
        && let Some(value) = value(cell)
    {
        fields.insert(name.to_owned(), value);
    }
}

/// What rules see in a JSON value.
fn cell_of(value: &Value) -> Cell<'_> {
    match value {
        Value::Null | Value::Object(_) => Cell::Null,
        Value::Array(members) => Cell::Many(members.iter().filter_map(text).collect()),
        scalar => text(scalar).map_or(Cell::Null, Cell::One),
    }
}

fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(_) | Value::Bool(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The fields of a record, with the types they have there: EVTX records keep them in three parts.
fn fields_of(record: Value) -> Map<String, Value> {
    let Value::Object(mut record) = record else { return Map::new() };
    let Some(Value::Object(mut event)) = record.remove("Event") else { return record };
    let mut fields = Map::new();
    for part in ["System", "EventData", "UserData"] {
        if let Some(Value::Object(part)) = event.remove(part) {
            fields.extend(part);
        }
    }
    fields
}

fn value(cell: Cell<'_>) -> Option<Value> {
    match cell {
        Cell::Absent => None,
        Cell::Null => Some(Value::Null),
        Cell::One(text) => Some(text.into()),
        Cell::Many(texts) => Some(texts.into_iter().map(Value::from).collect()),
    }
}
