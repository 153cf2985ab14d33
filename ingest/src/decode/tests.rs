//! The decoder as a whole, on records of our own making.

use std::sync::{Arc, LazyLock};

use event::{Logsource, TenantId, Time};

use super::*;

mod dead_letters;
mod mapped;
mod native_fields;
mod properties;
mod real;

/// When the tests' records were read.
const READ_AT: Time = Time::from_secs(1_772_438_400);

/// A small source kind with every feature that a test needs.
const DOORS: &str = r##"
source_kind: door
title: Doors
domain: endpoint
product: Doors
event_time: [at, {field: tick, seconds_since: "2026-01-01T00:00:00Z"}]
event_uid: [id, {template: "{sent_id}/{place}"}]
maps: {way: {in: Inbound, out: Outbound}}
column_sets:
  person: {actor_user_name: {field: who, part: user_part}, actor_user_domain: {field: who, part: domain_part}}
columns: {device_hostname: house.name, message: note, process_pid: pid}
shapes:
  - {name: flat, recognise: {has: [door], lacks: [doors]}}
  - name: list
    recognise: {has: [doors]}
    explode: doors
    number: place
    rename: {at: ^sent, "house.name": "^house", sent_id: ^id}
  - name: nested
    recognise: {any: [xml.System, xml.Header], equals: {kind: [Door, Gate]}}
    roots: [xml.Data, xml.Extra.*, xml.System]
    pairs: [{at: xml.Pairs, name: Name, value: [Value, Number], prefix: p_}]
    json_text: [xml.Data.more]
    set: {door: front, action: open}
variants:
  - name: open
    when: {action: [open, unlock]}
    class: process_activity
    activity_id: {field: action, map: way, default: 1}
    severity_id: 2
    use: [person]
    logsource: [{product: doors, category: entry}]
    columns:
      process_name: {field: tool, part: basename}
      process_cmd_line: [cmd, {template: "{tool} {door}"}]
      process_hash_sha256: {field: hashes, kv: SHA256}
      process_integrity: {field: way, map: way}
      process_uid: {json: [more, key, id]}
      process_user_account: {json: [people, role=guest, name]}
    native: {Image: tool, Hidden: null}
  - name: shut
    when: {action: {prefix: shut}, door: {exists: true}}
    class: base_event
    activity_id: 2
    columns: {user_name: who}
    when_present: [user_name]
"##;

fn mappings() -> Arc<MappingSet> {
    static SET: LazyLock<Arc<MappingSet>> = LazyLock::new(|| {
        let mut set = MappingSet::default();
        set.load_text("door.yml", DOORS).unwrap_or_else(|e| panic!("{e}"));
        Arc::new(set)
    });
    Arc::clone(&SET)
}

fn records<S: AsRef<[u8]>>(lines: &[S]) -> Vec<Record> {
    let record =
        |(offset, line): (i64, &S)| Record::new("t".into(), 0, offset, line.as_ref().to_vec().into());
    (0..).zip(lines).map(record).collect()
}

fn decode_with<S: AsRef<[u8]>>(wanted: &[&str], hint: &SourceKindHint, lines: &[S]) -> Decoded {
    let wanted: NativeWanted = wanted.iter().map(|name| Arc::from(*name)).collect();
    let mut decoder = Decoder::new(mappings(), &wanted, DecodeLimits::default());
    decoder.decode(&records(lines), hint, &TenantId::default(), READ_AT)
}

fn decode<S: AsRef<[u8]>>(lines: &[S]) -> Decoded {
    decode_with(&[], &SourceKindHint::Auto, lines)
}
