//! Batches from any JSON objects, every field native: a small stand-in for the decoder.

use std::collections::HashSet;
use std::sync::Arc;

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
        let raw = event.get("@raw").and_then(Value::as_str).map(str::to_owned);
        builder.set_text(at("raw"), &raw.unwrap_or_else(|| event.to_string()));
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
            native.insert(Arc::clone(name), native_column(&found));
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

fn native_column(found: &[Option<Value>]) -> NativeColumn {
    let mut column = NativeColumn::default();
    for (row, value) in found.iter().enumerate() {
        match value {
            None => {}
            Some(Value::Array(members)) => {
                column.push_members(row, members.iter().filter_map(text).collect())
            }
            Some(value) => match text(value) {
                Some(text) => column.push_text(row, &text),
                None => column.push_null(row),
            },
        }
    }
    column
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
