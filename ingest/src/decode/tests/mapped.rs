//! Columns from fields, by every kind of expression.

use super::*;

fn row(line: &str) -> EventBatch {
    let decoded = decode(&[line]);
    assert!(decoded.dead.is_empty(), "{:?}", decoded.dead);
    decoded.batches.into_iter().next().unwrap()
}

fn texts(batch: &EventBatch, names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| batch.text(name, 0).map(str::to_owned)).collect()
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

#[test]
fn expressions_fill_columns() {
    let batch = row(
        r#"{"door":"a","action":"unlock","at":"2026-03-02T08:00:00.5Z","id":"d-1","who":"CORP\\ann","way":"IN","pid":"0x1f",
        "tool":"C:\\bin\\key.exe","hashes":"MD5=aa,SHA256=bb","note":"-","more":"{\"key\":{\"id\":7}}",
        "people":[{"role":"owner","name":"bob"},{"role":"guest","name":"eve"}],"house":{"name":"h1"}}"#,
    );
    assert_eq!(batch.time(0), Time(1_772_438_400_500_000));
    assert_eq!(batch.int("process_pid", 0), Some(31));
    assert_eq!(batch.int("severity_id", 0), Some(2));
    let names = [
        "event_uid",
        "actor_user_name",
        "actor_user_domain",
        "process_name",
        "process_cmd_line",
        "process_hash_sha256",
        "process_integrity",
        "process_uid",
        "process_user_account",
        "device_hostname",
        "product",
        "source",
    ];
    let expected = [
        "d-1",
        "ann",
        "CORP",
        "key.exe",
        r"C:\bin\key.exe a",
        "bb",
        "Inbound",
        "7",
        "eve",
        "h1",
        "Doors",
        "door",
    ];
    assert_eq!(texts(&batch, &names), some(&expected));
    assert_eq!(batch.text("message", 0), None);
    assert!(batch.text("raw", 0).unwrap().contains("key.exe"));
}

#[test]
fn events_of_an_envelope_have_its_fields_and_their_own_text() {
    let decoded = decode(&[
        r#"{"sent":"2026-03-02T08:00:00Z","house":"h2","doors":[{"action":"open","pid":4},{"action":"open","id":"x"}]}"#,
    ]);
    let batch = &decoded.batches[0];
    assert_eq!(batch.text("device_hostname", 1), Some("h2"));
    assert_eq!(batch.text("event_uid", 0), Some("t/0@0#0"));
    assert_eq!(batch.text("event_uid", 1), Some("x"));
    assert_eq!(batch.text("raw", 0), Some(r#"{"action":"open","pid":4}"#));
    assert_eq!(batch.int("process_pid", 0), Some(4));
}

#[test]
fn events_of_an_envelope_with_an_id_are_told_apart_by_their_place() {
    let decoded = decode(&[
        r#"{"sent":"2026-03-02T08:00:00Z","id":"s-1","doors":[{"action":"open"},{"action":"open"},{"action":"open","id":"x"}]}"#,
    ]);
    let uid = |row| decoded.batches[0].text("event_uid", row);
    assert_eq!((uid(0), uid(1), uid(2)), (Some("s-1/0"), Some("s-1/1"), Some("x")));
}

#[test]
fn roots_pairs_json_text_and_constants() {
    let batch = row(
        r##"{"kind":"door","xml":{"System":{"tick":86400,"who":{"#text":"ann"}},"Data":{"more":"\"{\\\"key\\\":{\\\"id\\\":8}}\""},
        "Extra":{"Inner":{"cmd":"turn"}},"Pairs":[{"Name":"p","Value":"q"}]}}"##,
    );
    assert_eq!(batch.time(0), Time::from_secs(1_767_312_000));
    assert_eq!(
        texts(&batch, &["actor_user_name", "process_cmd_line", "process_uid"]),
        some(&["ann", "turn", "8"])
    );
}

#[test]
fn a_second_time_field_serves_where_the_first_is_implausible() {
    let batch = row(r#"{"door":"a","action":"open","at":"1601-01-01T00:00:00Z","tick":60}"#);
    assert_eq!(batch.time(0), Time::from_secs(1_767_225_660));
}

#[test]
fn values_that_do_not_fit_are_left_null_and_counted() {
    let decoded = decode(&[r#"{"door":"a","action":"open","at":"2026-03-02T08:00:00Z","pid":"many"}"#]);
    assert_eq!(decoded.counts.misfits, 1);
    assert_eq!(decoded.batches[0].int("process_pid", 0), None);
}

#[test]
fn numbers_beyond_64_bits_are_dead_letters_or_rows_but_never_lost() {
    let decoded = decode(&[
        r#"{"door":"a","action":"open","at":"2026-03-02T08:00:00Z","pid":123456789012345678901234567890}"#,
    ]);
    assert_eq!(decoded.counts.rows + decoded.counts.dead, 1);
}
