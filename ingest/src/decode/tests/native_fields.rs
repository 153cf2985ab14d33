//! Native fields as rules see them.

use event::Native;
use event::json::unescaped;

use super::*;

fn json(logsources: Vec<Logsource>) -> SourceKindHint {
    SourceKindHint::Json { logsources: logsources.into() }
}

/// Value, presence and members of a field in the only row.
fn field(wanted: &str, line: &str) -> (Option<String>, bool, Vec<String>) {
    let decoded = decode_with(&[wanted], &json(Vec::new()), &[line]);
    match decoded.batches[0].native_field(wanted).map_or(Native::Absent, |field| field.get(0)) {
        Native::Absent => (None, false, Vec::new()),
        Native::Null => (None, true, Vec::new()),
        Native::Text(text) => (Some(text.to_owned()), true, Vec::new()),
        Native::Written(written) => (Some(unescaped(written)), true, Vec::new()),
        Native::Members(members) => (None, true, members.to_vec()),
    }
}

fn value(wanted: &str, line: &str) -> Option<String> {
    field(wanted, line).0
}

#[test]
fn scalars_are_text_in_their_json_form() {
    let line = r#"{"text":"a-B","int":4624,"neg":-1,"float":1.5,"whole":2.0,"yes":true,"dash":"-","path":"C:\\t\u00e9","two words":"x"}"#;
    let expected = [
        ("text", "a-B"),
        ("int", "4624"),
        ("neg", "-1"),
        ("float", "1.5"),
        ("whole", "2.0"),
        ("yes", "true"),
        ("dash", "-"),
        ("path", "C:\\t\u{e9}"),
        ("two words", "x"),
    ];
    for (name, text) in expected {
        assert_eq!(value(name, line).as_deref(), Some(text), "{name}");
    }
    assert_eq!(value("twowords", line).as_deref(), Some("x"));
    assert_eq!(field("absent", line), (None, false, vec![]));
}

#[test]
fn dotted_names_are_paths_or_literal_keys() {
    assert_eq!(value("a.b", r#"{"a":{"b":"nested"}}"#).as_deref(), Some("nested"));
    assert_eq!(value("a.b", r#"{"a.b":"literal"}"#).as_deref(), Some("literal"));
    assert_eq!(
        field("a.b", r#"{"a":[{"b":"x"},{"c":1},{"b":"y"}]}"#),
        (None, true, vec!["x".into(), "y".into()])
    );
    assert_eq!(value("a.1.b", r#"{"a":[{"b":"x"},{"b":"y"}]}"#).as_deref(), Some("y"));
}

#[test]
fn lists_have_members_and_null_is_present() {
    assert_eq!(field("a", r#"{"a":["x",1,["y"]]}"#), (None, true, vec!["x".into(), "1".into(), "y".into()]));
    assert_eq!(field("a", r#"{"a":null}"#), (None, true, vec![]));
    assert_eq!(field("a", r#"{"a":{"b":1}}"#), (None, true, vec![]));
    assert_eq!(field("a", r#"{"a":[]}"#), (None, true, vec![]));
}

#[test]
fn any_json_object_is_a_row_routed_by_the_given_logsources() {
    let logsource = Logsource { product: Some("okta".into()), ..Logsource::default() };
    let decoded = decode_with(
        &[],
        &json(vec![logsource.clone()]),
        &[r#"{"x":1}"#, r#"{"@timestamp":"2026-03-01T00:00:00Z"}"#],
    );
    let batch = &decoded.batches[0];
    assert_eq!(batch.meta.logsources.as_ref(), [logsource]);
    assert_eq!(batch.meta.domain, event::Domain::Identity);
    assert_eq!(batch.time(0), READ_AT);
    assert_eq!(batch.time(1), Time::from_secs(1_772_323_200));
    assert_eq!(batch.class, event::Class::BASE_EVENT);
}

#[test]
fn a_variant_replaces_and_hides_native_fields() {
    let line = r#"{"door":"a","action":"open","at":"2026-03-02T08:00:00Z","tool":"t.exe","Image":"other","Hidden":"h"}"#;
    let decoded = decode_with(&["Image", "Hidden", "tool"], &SourceKindHint::Auto, &[line]);
    let field = |name| decoded.batches[0].native_field(name).map(|field| field.get(0));
    assert_eq!(field("Image"), Some(Native::Text("t.exe")));
    assert_eq!(field("tool"), Some(Native::Text("t.exe")));
    assert_eq!(field("Hidden"), None);
}

#[test]
fn rows_without_a_field_are_null_between_rows_that_have_it() {
    let decoded = decode_with(&["a"], &json(Vec::new()), &[r#"{"b":1}"#, r#"{"a":"x"}"#, r#"{"b":1}"#]);
    let field = decoded.batches[0].native_field("a").unwrap();
    assert_eq!([0, 1, 2].map(|row| field.get(row)), [Native::Absent, Native::Text("x"), Native::Absent]);
}

#[test]
fn values_of_events_in_an_envelope_are_their_own() {
    let line = r#"  {"sent":"2026-03-02T08:00:00Z","id":"e1","house":"north\\wing","doors":[
        {"door":"a","action":"open","tool":"a\\b","note":"x"}, {"door":"b","action":"open","tool":"c","house":{"name":"south"}}]}"#;
    let decoded = decode_with(&["tool", "house.name", "note"], &SourceKindHint::Auto, &[line]);
    let batch = &decoded.batches[0];
    let field = |name: &str, row| batch.native_field(name).unwrap().get(row);
    assert_eq!(field("tool", 0), Native::Written(r"a\\b"));
    assert_eq!(field("tool", 1), Native::Text("c"));
    assert_eq!(field("note", 0), Native::Text("x"));
    assert_eq!(field("note", 1), Native::Absent);
    // What stands in the envelope alone is a copy.
    assert_eq!(field("house.name", 0), Native::Text(r"north\wing"));
    assert!(!batch.text("raw", 0).unwrap().contains("north"));
}
