//! Points of policy and of the specification that the published vectors leave out.

use event::Logsource;
use serde_json::{Value, json};

use super::batch;
use crate::{RuleSet, explain};

fn load(detection: &str) -> RuleSet {
    let text = format!("title: t\nlogsource: {{product: test}}\ndetection:\n{detection}\n");
    let (set, report) = RuleSet::load([("t.yml".to_owned(), text)]);
    assert!(report.rejected.is_empty(), "{}", report.rejected[0]);
    set
}

fn hits(detection: &str, event: Value) -> bool {
    let set = load(&format!("{detection}\n  condition: s"));
    !set.matches(&batch::of(&[event], &set.native_fields(), &[])).is_empty()
}

fn refusal(detection: &str) -> String {
    let text = format!("title: t\nlogsource: {{product: test}}\ndetection:\n{detection}\n  condition: s\n");
    let (_, report) = RuleSet::load([("t.yml".to_owned(), text)]);
    report.rejected.first().map_or_else(|| format!("loaded: {detection}"), |r| r.reason.to_string())
}

#[test]
fn illegal_forms_name_key_and_reason() {
    let refused = [
        "  s: {A|near: x}",
        "  s: {A|contains|re: x}",
        "  s: {A|re: '(?=x)'}",
        "  s: {A|re: '(a)\\1'}",
        "  s: {A|base64: 'a*'}",
        "  s: {A|wide: 'Ä€'}",
        "  s: {A|expand: '%names%'}",
        "  s: {A|cidr: '10.0.0.0/99'}",
        "  s: {A|gt: many}",
        "  s: {A|gt|contains: 5}",
        "  s: {A|exists: maybe}",
        "  s: {A|contains|exists: true}",
        "  s: {A|i: x}",
        "  s: {A: []}",
        "  s: {A|contains: null}",
        "  s: {A|windash|all: [x, null]}",
        "  s: {A|base64offset: x}",
        "  s: {A: {B: 1}}",
        "  s: {A: [[1]]}",
        "  s: {5: x}",
        "  s: {}",
        "  t: {A: 1}",
    ];
    insta::assert_snapshot!(refused.map(|r| format!("{}\n  {}", r.trim(), refusal(r))).join("\n"));
}

#[test]
fn null_and_empty_are_two_things() {
    assert!(!hits("  s: {A: null}", json!({"A": ""})) && hits("  s: {A: ''}", json!({"A": ""})));
    assert!(!hits("  s: {A: ''}", json!({"A": null})) && !hits("  s: {A: ''}", json!({})));
    assert!(!hits("  s: {A: null}", json!({"A": []})) && !hits("  s: {A: '*'}", json!({"A": []})));
    assert!(
        hits("  s: {A|exists: true}", json!({"A": []}))
            && !hits("  s: {A|exists: false}", json!({"A": null}))
    );
}

#[test]
fn negation_of_lists_is_of_the_whole() {
    assert!(
        !hits("  s: {A|neq: [x, y]}", json!({"A": "Y"})) && hits("  s: {A|neq: [x, y]}", json!({"A": "z"}))
    );
    assert!(!hits("  s: {A|neq: x}", json!({"A": ["z", "x"]})));
    assert!(hits("  s: {A|fieldref|neq: B}", json!({"A": "1", "B": "2"})));
    assert!(!hits("  s: {A|fieldref|neq: B}", json!({"A": "x", "B": "X"})));
    assert!(!hits("  s: {A|fieldref|cased: B}", json!({"A": "x", "B": "X"})));
}

#[test]
fn numbers_are_texts_as_rule_or_event_write_them() {
    assert!(hits("  s: {A: 1.0}", json!({"A": 1.0})) && hits("  s: {A: 1.0}", json!({"A": "1.0"})));
    assert!(hits("  s: {A: 1.0}", json!({"A": 1})) && hits("  s: {A: '1.0'}", json!({"A": 1.0})));
    assert!(
        !hits("  s: {A: 1.5}", json!({"A": 1})) && hits("  s: {A|contains: 1.0}", json!({"A": "v1.0.3"}))
    );
    let large = "18446744073709551615";
    assert!(hits(&format!("  s: {{A: {large}}}"), json!({"A": large})));
    assert!(!hits(&format!("  s: {{A: {large}}}"), json!({"A": "18446744073709551614"})));
    assert!(hits(&format!("  s: [{large}]"), json!({"A": large})));
    assert!(hits("  s: {A|gte: 18446744073709551615}", json!({"A": 18_446_744_073_709_551_615_u64})));
    assert!(hits("  s: ['1.0']", json!({"A": 1.0})) && hits("  s: [1.0]", json!({"A": "1.0"})));
}

#[test]
fn networks_and_addresses_are_v4_also_where_they_are_mapped() {
    for net in ["10.0.0.0/8", "::ffff:10.0.0.0/104"] {
        let asks = |event: &str| hits(&format!("  s: {{A|cidr: '{net}'}}"), json!({"A": event}));
        assert!(asks("10.1.2.3") && asks("::ffff:10.1.2.3") && !asks("11.1.2.3") && !asks("::ffff:11.1.2.3"));
        assert!(!asks("10.1.2.3:443") && !asks("") && !asks("fe80::1"), "{net}");
    }
    assert!(hits("  s: {A|cidr: '::/0'}", json!({"A": "2001:db8::1"})));
}

#[test]
fn an_expression_begins_or_ends_the_value_and_not_one_of_its_lines() {
    assert!(hits("  s: {A|re|m|startswith: 'b'}", json!({"A": "b\na"})));
    assert!(!hits("  s: {A|re|m|startswith: 'b'}", json!({"A": "a\nb"})));
    assert!(!hits("  s: {A|re|m|endswith: 'a'}", json!({"A": "a\nb"})));
    assert!(hits("  s: {A|re|endswith: 'x|a'}", json!({"A": "b\na"})));
}

#[test]
fn field_names_lose_their_spaces_and_brackets_are_literal() {
    assert!(hits("  s: {'Process Command Line|contains': x}", json!({"Process Command Line": "a x b"})));
    assert!(hits("  s: {'A[0]': x}", json!({"A[0]": "x"})));
    assert!(hits("  s: {a.b.c: x}", json!({"a": {"b": {"c": "X"}}})));
}

#[test]
fn unicode_is_folded() {
    assert!(
        hits("  s: {A: 'ÜBUNG'}", json!({"A": "übung"}))
            && hits("  s: {A|contains: 'ΟΔΟΣ'}", json!({"A": "xοδοςx"}))
    );
    assert!(!hits("  s: {A|cased: 'ÜBUNG'}", json!({"A": "Übung"})));
}

#[test]
fn windash_with_encodings_and_in_patterns() {
    assert!(hits("  s: {A|windash|base64offset|contains: ' -x'}", json!({"A": "cmd IC94"})));
    assert!(hits("  s: {A|windash|contains: ['* /stext *']}", json!({"A": "mail.exe \u{2015}StExt c:\\x"})));
    assert!(hits("  s: {A|contains|windash: '-a -b -c -d'}", json!({"A": "x -a /b –c ―d"})));
}

#[test]
fn expressions_are_those_of_pcre() {
    assert!(hits(r"  s: {A|re: '\${jndi:(ldap|rmi)'}", json!({"A": "x ${jndi:ldap://y}"})));
    assert!(hits(r"  s: {A|re: '\<script\>'}", json!({"A": "a <script>"})));
    assert!(!hits(r"  s: {A|re: '\<script\>'}", json!({"A": "a script"})));
}

#[test]
fn keywords_do_not_search_keys_nor_join_values() {
    let nested = json!({"evil": {"deep": ["a", {"x": "some EVIL\ntext"}]}});
    assert!(hits("  s: [evil]", nested.clone()) && !hits("  s: [deep]", nested.clone()));
    assert!(hits("  s: ['evil*text']", nested.clone()));
    assert!(hits("  s: {'|re': 'EVIL\\s'}", nested));
    assert!(!hits("  s: {'|all': [a1, zz]}", json!({"m": "a1"})));
}

#[test]
fn a_rule_applies_to_any_logsource_of_the_set() {
    let source = |category: &str| Logsource {
        product: Some("windows".into()),
        category: Some(category.into()),
        service: None,
    };
    let text = "title: t\nlogsource: {product: Windows, category: registry_event}\ndetection: {s: {A: 1}, condition: s}\n";
    let (set, _) = RuleSet::load([("t.yml".to_owned(), text.to_owned())]);
    let matched = |sources: &[Logsource]| {
        !set.matches(&batch::of(&[json!({"A": 1})], &set.native_fields(), sources)).is_empty()
    };
    assert!(matched(&[source("registry_set"), source("registry_event")]) && matched(&[]));
    assert!(!matched(&[source("registry_set")]));
}

#[test]
fn rules_of_one_id_are_loaded_once() {
    let rule = |title: &str| {
        format!(
            "title: {title}\nid: 11111111-1111-4111-8111-111111111111\nlogsource: {{product: p}}\ndetection: {{s: {{A: 1}}, condition: s}}\n"
        )
    };
    let (set, report) = RuleSet::load([("a.yml".to_owned(), rule("a")), ("b.yml".to_owned(), rule("b"))]);
    assert_eq!((set.rules().len(), report.rejected.len()), (1, 1));
    assert_eq!(
        report.rejected[0].to_string(),
        "b.yml: b: rule id 11111111-1111-4111-8111-111111111111 is already taken by a.yml"
    );
    let (other_order, _) = RuleSet::load([("b.yml".to_owned(), rule("b")), ("a.yml".to_owned(), rule("a"))]);
    assert_eq!(set.version(), other_order.version());
}

#[test]
fn actions_of_old_collections_are_understood() {
    let text = "action: global\ntitle: t\nlogsource: {product: p}\n---\ndetection: {s: {A: 1}, condition: s}\n---\ndetection: {s: {A: 2}, condition: s}\n";
    let (set, report) = RuleSet::load([("t.yml".to_owned(), text.to_owned())]);
    assert_eq!((set.rules().len(), report.rejected.len()), (2, 0));
}

#[test]
fn an_alert_carries_rule_evidence_and_origin() {
    let text = "title: Tool\nid: 22222222-2222-4222-8222-222222222222\nauthor: Some One\nlevel: high\ntags: [attack.t1003.001, attack.credential-access, car.1]\n\
                logsource: {product: p}\ndetection: {s: {Image|endswith: '\\tool.exe'}, condition: s}\n";
    let (set, _) = RuleSet::load([("t.yml".to_owned(), text.to_owned())]);
    let events = [json!({"Image": "C:\\x.exe"}), json!({"Image": "C:\\TOOL.exe"})];
    let alerts = set.evaluate(&batch::of(&events, &set.native_fields(), &[])).alerts;
    insta::assert_json_snapshot!(alerts);
}

#[test]
fn explanations_show_each_leaf() {
    let set = load("  s: {A|contains|all: [x, y], B|gt: 5}\n  f: {C: null}\n  condition: s and not f");
    let events = batch::of(
        &[json!({"A": "xyz", "B": 7, "C": "set"}), json!({"A": "x", "B": "no"})],
        &set.native_fields(),
        &[],
    );
    let index = set.rules().next().unwrap().0;
    let both = [0, 1].map(|row| explain(&set, &events, row, index).to_string());
    insta::assert_snapshot!(both.join("\n"));
}

#[test]
fn taxonomy_stands_in_for_native_fields() {
    use event::{BatchBuilder, Class, ClassSchema};
    let set = load(
        "  s: {Image|endswith: '\\cmd.exe', Hashes|contains: 'SHA256=ab', ParentImage: 'explorer.exe'}\n  condition: s",
    );
    let generic = batch::of(&[json!({})], &set.native_fields(), &[]);
    let schema = ClassSchema::of(Class::PROCESS_ACTIVITY);
    let mut builder = BatchBuilder::new(Class::PROCESS_ACTIVITY, generic.meta.clone());
    for (column, value) in [
        ("time", "1700000000"),
        ("ingest_time", "1700000000"),
        ("tenant", "t"),
        ("event_uid", "e"),
        ("class_uid", "1007"),
        ("activity_id", "1"),
        ("source", "edr"),
        ("topic", "t"),
        ("partition", "0"),
        ("offset", "0"),
        ("process_file_path", "C:\\Windows\\cmd.exe"),
        ("process_hash_sha256", "ABCD"),
        ("actor_process_file_path", "explorer.exe"),
    ] {
        let index = schema.columns.iter().position(|c| c.name == column).unwrap();
        assert!(builder.set_from_text(index, value), "{column}");
    }
    builder.end_row();
    let events = builder.finish(event::NativeFields::default(), &[]).unwrap();
    assert_eq!(set.matches(&events).len(), 1);
    let mut alerts = set.evaluate(&events).alerts;
    assert!(alerts.remove(0).evidence.iter().any(|(name, _)| name.as_ref() == "process_file_path"));
}
