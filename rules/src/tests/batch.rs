//! Batches from any JSON objects, every field native: a small stand-in for the decoder.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use event::json::unescaped;
use event::{
    BatchBuilder, Class, ClassSchema, Domain, EventBatch, Logsource, NativeColumn, NativeFields, RowMeta,
    TenantId, Time,
};
use serde_json::Value;

/// A batch of the generic class with the native fields that `wanted` names. `@t` (seconds), `@uid`, `@raw` and
/// `@ingested` of an event give its time, its id, its raw record, and when it was taken in; without them all events have
/// one time, ids by row, and themselves as raw record.
pub(crate) fn of(events: &[Value], wanted: &HashSet<Arc<str>>, logsources: &[Logsource]) -> EventBatch {
    let meta = RowMeta {
        tenant: TenantId::default(),
        source: "json".into(),
        variant: "json".into(),
        domain: Domain::Endpoint,
        product: "JSON".into(),
        logsources: logsources.into(),
    };
    let schema = ClassSchema::of(Class::BASE_EVENT);
    let at = |name: &str| schema.columns.iter().position(|c| c.name == name).unwrap();
    let mut builder = BatchBuilder::new(Class::BASE_EVENT, Arc::new(meta));
    for (row, event) in events.iter().enumerate() {
        let seconds = event.get("@t").and_then(Value::as_i64).unwrap_or_default();
        builder.set_time(at("time"), Time::from_secs(1_700_000_000 + seconds));
        let ingested = event.get("@ingested").and_then(Value::as_str).map(|text| Time::parse(text).unwrap());
        builder.set_time(at("ingest_time"), ingested.unwrap_or(Time::from_secs(1_700_000_000)));
        for (column, value) in [("tenant", "default"), ("source", "json"), ("topic", "test")] {
            builder.set_text(at(column), value);
        }
        let uid = event.get("@uid").and_then(Value::as_str).map(str::to_owned);
        builder.set_text(at("event_uid"), &uid.unwrap_or_else(|| format!("test/0@{row}")));
        builder.set_text(at("raw"), &raw(event));
        for (column, value) in
            [("class_uid", 0), ("activity_id", 0), ("partition", 0), ("offset", row as i64)]
        {
            builder.set_int(at(column), value);
        }
        builder.end_row();
    }
    let mut native = NativeFields::default();
    for name in wanted {
        let found: Vec<Option<Value>> = events.iter().map(|e| lookup(e, name)).collect();
        if found.iter().any(Option::is_some) {
            native.insert(Arc::clone(name), native_column(name, &found, events));
        }
    }
    builder.finish(native, &[]).unwrap()
}

/// A literal key, with or without spaces in it, else a dotted path; below a list, of any member.
fn lookup(event: &Value, name: &str) -> Option<Value> {
    match event {
        Value::Array(members) => {
            let below = members.iter().filter_map(|member| lookup(member, name));
            let found: Vec<Value> = below.flat_map(members_of).collect();
            (!found.is_empty()).then(|| Value::Array(found))
        }
        Value::Object(object) => {
            let squeezed = || object.iter().find(|(key, _)| key.replace(' ', "") == name).map(|(_, v)| v);
            object.get(name).or_else(squeezed).cloned().or_else(|| {
                let (head, rest) = name.split_once('.')?;
                lookup(object.get(head)?, rest)
            })
        }
        _ => None,
    }
}

fn members_of(value: Value) -> Vec<Value> {
    match value {
        Value::Array(members) => members,
        other => vec![other],
    }
}

/// As the decoder makes it: values stand in the raw record where they can.
fn native_column(name: &str, found: &[Option<Value>], events: &[Value]) -> NativeColumn {
    let mut column = NativeColumn::default();
    for (row, (value, event)) in found.iter().zip(events).enumerate() {
        let text = value.as_ref().and_then(text);
        match (value, text) {
            (None, _) => {}
            (Some(Value::Array(members)), _) => {
                column.push_members(row, members.iter().filter_map(self::text).collect());
            }
            (Some(_), None) => column.push_null(row),
            (Some(_), Some(text)) => match place(&raw(event), name, &text) {
                Some((bytes, written)) => column.push_place(row, bytes, written),
                None => column.push_text(row, &text),
            },
        }
    }
    column
}

/// Where the text of a member stands in a raw record, and whether it is written with escapes.
fn place(raw: &str, name: &str, text: &str) -> Option<(Range<u32>, bool)> {
    let begin = format!("\"{name}\":\"");
    let start = raw.find(&begin)? + begin.len();
    let mut end = start;
    while *raw.as_bytes().get(end)? != b'"' {
        end += if raw.as_bytes()[end] == b'\\' { 2 } else { 1 };
    }
    let written = raw.get(start..end)?;
    (unescaped(written) == text).then(|| (start as u32..end as u32, written.contains('\\')))
}

fn raw(event: &Value) -> String {
    event.get("@raw").and_then(Value::as_str).map_or_else(|| event.to_string(), str::to_owned)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The workspace's real data: `None`, with one printed line, where it is absent and not required.
pub(crate) fn data(path: &str) -> Option<std::path::PathBuf> {
    let root = std::env::var_os("ASTERISM_DATA").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        std::path::PathBuf::from,
    );
    let full = root.join(path);
    if full.exists() {
        return Some(full);
    }
    assert!(
        std::env::var_os("ASTERISM_DATA_REQUIRED").is_none_or(|v| v != "1"),
        "{} is absent",
        full.display()
    );
    println!("skipped: {} is absent", full.display());
    None
}
