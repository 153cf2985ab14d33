//! What cannot be decoded is named and counted, and never stops its neighbours.

use super::*;

fn reason(line: &[u8]) -> DeadReason {
    let good = br#"{"door":"a","action":"open","at":"2026-03-02T08:00:00Z"}"#;
    let decoded = decode(&[good.as_slice(), line, good.as_slice()]);
    assert_eq!((decoded.counts.records, decoded.counts.rows, decoded.counts.dead), (3, 2, 1), "{decoded:?}");
    let letter = decoded.dead.into_iter().next().unwrap();
    assert_eq!(letter.record.offset, 1);
    assert_eq!(letter.payload, line);
    letter.reason
}

#[test]
fn every_reason_says_what_is_wrong() {
    let lines: [&[u8]; 16] = [
        br#"{"door":"a","#,
        br#"{"door":"a" "action":1}"#,
        b"{\"door\":\"\x01\"}",
        b"",
        b"   ",
        b"[1,2]",
        b"\"door\"",
        b"{\"door\":\"\xff\"}",
        br#"{"window":"a"}"#,
        br#"{"door":"a","action":"burn","at":"2026-03-02T08:00:00Z"}"#,
        br#"{"door":"a","action":"open"}"#,
        br#"{"door":"a","action":"open","at":"yesterday"}"#,
        br#"{"door":"a","action":"open","at":"1601-01-01T00:00:00Z"}"#,
        br#"{"door":"a","action":"open","at":"2999-12-31T00:00:00Z","tick":"x"}"#,
        br#"{"door":"a","action":"shut","at":"2026-03-02T08:00:00Z","who":"-"}"#,
        br#"{"doors":{"door":"a"}}"#,
    ];
    let told: Vec<String> =
        lines.iter().map(|line| reason(line)).map(|reason| format!("{}: {reason}", reason.code())).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!(r#"{{"door":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(reason(deep.as_bytes().get(..60_000).unwrap()).code(), "too_deep");
    let nested = format!(r#"{{"door":{}1{}}}"#, r#"{"a":"#.repeat(70), "}".repeat(70));
    assert_eq!(reason(nested.as_bytes()), DeadReason::TooDeep { depth_max: 64 });
}

#[test]
fn large_records_are_refused_and_their_letters_cut() {
    let limits =
        DecodeLimits { record_bytes_max: 100, dead_payload_bytes_max: 10, ..DecodeLimits::default() };
    let mut decoder = Decoder::new(mappings(), &NativeWanted::default(), limits);
    let large = format!(r#"{{"door":"{}"}}"#, "x".repeat(200));
    let mut records = records(&[large.as_str()]);
    let decoded = decoder.decode(&records, &SourceKindHint::Auto, &TenantId::default(), READ_AT);
    assert_eq!(decoded.dead[0].reason, DeadReason::TooLarge { bytes: 211, bytes_max: 100 });
    assert_eq!(decoded.dead[0].payload.len(), 10);
    // A source that holds only the beginning of a giant says so; what it holds may look whole.
    records[0] = Record::new("t".into(), 0, 0, br#"{"door":"a"}"#.as_slice().into());
    records[0].truncated_from = Some(100_000_000);
    let decoded = decoder.decode(&records, &SourceKindHint::Auto, &TenantId::default(), READ_AT);
    assert_eq!(decoded.dead[0].reason, DeadReason::TooLarge { bytes: 100_000_000, bytes_max: 100 });
}

#[test]
fn an_unknown_source_kind_is_named() {
    let decoded = decode_with(&[], &SourceKindHint::Kind("window".into()), &[r#"{"door":"a"}"#]);
    assert_eq!(decoded.dead[0].reason, DeadReason::UnknownKind("window".into()));
    let decoded = decode_with(&[], &SourceKindHint::Kind("door".into()), &[r#"{"window":"a"}"#]);
    assert_eq!(decoded.dead[0].reason, DeadReason::UnknownShape { kind: Some("door".into()) });
}

#[test]
fn an_envelope_with_too_many_events_is_refused_whole() {
    let limits = DecodeLimits { explode_events_max: 2, ..DecodeLimits::default() };
    let mut decoder = Decoder::new(mappings(), &NativeWanted::default(), limits);
    let line =
        r#"{"sent":"2026-03-02T08:00:00Z","doors":[{"action":"open"},{"action":"open"},{"action":"open"}]}"#;
    let decoded = decoder.decode(&records(&[line]), &SourceKindHint::Auto, &TenantId::default(), READ_AT);
    assert_eq!(decoded.dead[0].reason, DeadReason::TooManyEvents { events: 3, events_max: 2 });
    assert_eq!(decoded.counts.rows, 0);
}

#[test]
fn one_bad_event_of_an_envelope_leaves_the_others() {
    let line = r#"{"sent":"2026-03-02T08:00:00Z","doors":[{"action":"open"},7,{"action":"burn"},{"action":"unlock"}]}"#;
    let decoded = decode(&[line]);
    assert_eq!((decoded.counts.rows, decoded.counts.dead, decoded.counts.exploded), (2, 2, 1));
    assert_eq!(decoded.dead[0].reason, DeadReason::NotAnObject("a number"));
    assert_eq!(decoded.dead[1].payload.as_ref(), br#"{"action":"burn"}"#);
}

#[test]
fn a_time_is_named_as_the_record_names_it() {
    let told = |decoded: Decoded| decoded.dead[0].reason.to_string();
    let unreadable = told(decode(&[r#"{"sent":"yesterday","doors":[{"action":"open"}]}"#]));
    assert!(unreadable.starts_with("no readable event time: sent: \"yesterday\""), "{unreadable}");
    let none = told(decode(&[r#"{"doors":[{"action":"open"}]}"#]));
    assert_eq!(none, "no event time; looked at sent, tick");
    let shipped = Arc::new(MappingSet::builtin().unwrap());
    let mut decoder = Decoder::new(shipped, &NativeWanted::default(), DecodeLimits::default());
    let mut windows = |header: &str| {
        let line = format!(
            r#"{{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational",{header}"Image":"C:\\a.exe"}}"#
        );
        let records = records(&[line.as_str()]);
        told(decoder.decode(&records, &SourceKindHint::Auto, &TenantId::default(), READ_AT))
    };
    let unreadable = windows(r#""TimeCreated":"yesterday","#);
    assert!(unreadable.starts_with("no readable event time: TimeCreated: \"yesterday\""), "{unreadable}");
    let none = windows("");
    assert!(none.starts_with("no event time; looked at TimeCreated, UtcTime, @timestamp, "), "{none}");
    assert!(!none.contains("EventTimestamp"), "{none}");
}

#[test]
fn a_source_kind_that_was_named_is_not_asked_for_again() {
    let decoded = decode_with(&[], &SourceKindHint::Kind("door".into()), &[r#"{"window":"a"}"#]);
    let told = decoded.dead[0].reason.to_string();
    assert!(told.contains("of source kind door; name another kind, or auto"), "{told}");
}
