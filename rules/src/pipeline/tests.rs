//! Pipelines on rules, seen by what the rules match.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::tests::batch;
use crate::{LoadReport, Pipeline, Placeholders, RuleLoader, RuleSet};

const HEAD: &str = "title: t\nname: base\nid: 11111111-1111-4111-8111-111111111111\nlevel: high\nstatus: test\n\
    date: 2026-01-31\ntags: [attack.execution]\nlogsource: {product: windows, category: process_creation}\n";

fn rule(detection: &str) -> String {
    format!("{HEAD}detection: {{{detection}}}\n")
}

fn pipeline(transformations: &str) -> Pipeline {
    Pipeline::parse("p.yml", &format!("name: p\ntransformations:\n{transformations}\n")).unwrap()
}

fn load(loader: RuleLoader, documents: &[&str]) -> (RuleSet, LoadReport) {
    let named = documents.iter().enumerate().map(|(i, text)| (format!("{i}.yml"), (*text).to_owned()));
    loader.load(named)
}

/// Rows of events that the one rule of a set matches.
fn rows(set: &RuleSet, events: &[Value]) -> Vec<usize> {
    set.matches(&batch::of(events, &set.native_fields(), &[])).into_iter().map(|(_, row)| row).collect()
}

/// Loads one rule through one pipeline; which of the events match.
fn matched(transformations: &str, detection: &str, events: &[Value]) -> Vec<usize> {
    let (set, report) = load(RuleSet::loader().pipeline(pipeline(transformations)), &[&rule(detection)]);
    assert!(report.rejected.is_empty(), "{transformations}\n{detection}\n{}", report.rejected[0]);
    rows(&set, events)
}

/// The reason for which the one rule is rejected.
fn rejection(transformations: &str, detection: &str) -> String {
    let (_, report) = load(RuleSet::loader().pipeline(pipeline(transformations)), &[&rule(detection)]);
    report.rejected.first().map_or_else(|| format!("loaded: {transformations}"), |r| r.reason.to_string())
}

#[test]
fn encoded_strings_are_strings_and_what_stands_for_several_is_left_alone() {
    // Zm9vYmFy is foobar, Zm9v foo.
    let cut = "- {type: replace_string, regex: '^(\\*?)Zm9v', replacement: '\\1'}";
    let events = [json!({"A": "YmFy"}), json!({"A": "Zm9vYmFy"}), json!({"A": "x YmFy y"})];
    assert_eq!(matched(cut, "s: {A|base64: foobar}, condition: s", &events), [0]);
    assert_eq!(matched(cut, "s: {A|base64|contains: foobar}, condition: s", &events), [0, 1, 2]);
    assert_eq!(matched(cut, "s: {A|base64offset|contains: foobar}, condition: s", &events), [1]);
    let map = "- {type: map_string, mapping: {' -x': ' --x'}}";
    let dashes = [json!({"A": " /x"}), json!({"A": " --x"})];
    assert_eq!(matched(map, "s: {A|windash: ' -x'}, condition: s", &dashes), [0]);
    assert_eq!(matched(map, "s: {A: ' -x'}, condition: s", &dashes), [1]);
    // A condition sees the encoded text too.
    let conditional = "- {type: set_value, value: found, detection_item_conditions: \
                       [{type: match_string, cond: any, pattern: Zm9v}]}";
    let found = [json!({"A": "found"})];
    assert_eq!(matched(conditional, "s: {A|base64: foobar}, condition: s", &found), [0]);
    assert_eq!(matched(conditional, "s: {A|base64offset: foobar}, condition: s", &found), [0; 0]);
    // Without a transformation of strings they are what they were, whatever their encoding.
    let rename = "- {type: field_name_mapping, mapping: {A: B}}";
    for (value, text) in [("wide|base64|contains", "SQBFAFgA"), ("utf16|base64", "//5JAEUAWAA=")] {
        let events = [json!({"B": text}), json!({"B": "SUVY"})];
        assert_eq!(matched(rename, &format!("s: {{A|{value}: IEX}}, condition: s"), &events), [0], "{value}");
    }
}

#[test]
fn field_names_are_mapped() {
    let one = "- {type: field_name_mapping, mapping: {A: B}}";
    let events = [json!({"A": "x"}), json!({"B": "x"}), json!({"C": "x"})];
    assert_eq!(matched(one, "s: {A: x}, condition: s", &events), [1]);
    assert_eq!(matched(one, "s: {A|contains|all: [x]}, condition: s", &events), [1]);
    let many = "- {type: field_name_mapping, mapping: {A: [B, C]}}";
    assert_eq!(matched(many, "s: {A: x}, condition: s", &events), [1, 2]);
    // In a conjunction each name still goes with the other items.
    let both = [json!({"B": "x", "D": 1}), json!({"C": "x", "D": 1}), json!({"B": "x"})];
    assert_eq!(matched(many, "s: {A: x, D: 1}, condition: s", &both), [0, 1]);
    // A reference may become several fields: any of them.
    let references = [json!({"D": "x", "B": "x"}), json!({"D": "x", "C": "X"}), json!({"D": "x", "A": "x"})];
    assert_eq!(matched(many, "s: {D|fieldref: A}, condition: s", &references), [0, 1]);
    assert_eq!(
        matched(one, "s: {D|fieldref|endswith: A}, condition: s", &[json!({"D": "yx", "B": "x"})]),
        [0]
    );
}

#[test]
fn keywords_are_bound_to_a_field() {
    let bind = "- {type: field_name_mapping, mapping: {null: message}}";
    let events = [json!({"message": "an evil text"}), json!({"other": "evil"})];
    assert_eq!(matched(bind, "s: [evil], condition: s", &events), [0]);
    assert_eq!(matched(bind, "s: {'|all': [evil, text]}, condition: s", &events), [0]);
}

#[test]
fn field_names_are_built() {
    let cases = [
        ("- {type: field_name_prefix, prefix: win.}", "win.ProcessId"),
        ("- {type: field_name_suffix, suffix: .keyword}", "ProcessId.keyword"),
        ("- {type: field_name_prefix_mapping, mapping: {Pro: pre.}}", "pre.cessId"),
        ("- {type: field_name_transform, transform_func: snake_case}", "process_id"),
        ("- {type: field_name_transform, transform_func: upper}", "PROCESSID"),
        ("- {type: field_name_transform, transform_func: lower, mapping: {ProcessId: pid}}", "pid"),
        ("- {type: field_name_prefix, prefix: b.}\n- {type: field_name_prefix, prefix: a.}", "a.b.ProcessId"),
    ];
    for (transformation, name) in cases {
        let events = [json!({name: 7}), json!({"ProcessId": 7})];
        assert_eq!(
            matched(transformation, "s: {ProcessId: 7}, condition: s", &events),
            [0],
            "{transformation}"
        );
    }
}

#[test]
fn items_are_dropped() {
    let drop = "- {type: drop_detection_item, field_name_conditions: [{type: include_fields, fields: [A]}]}";
    let events = [json!({"B": 1}), json!({"A": 1, "B": 1}), json!({"A": 1}), json!({"C": 1, "B": 1})];
    assert_eq!(matched(drop, "s: {A: 2, B: 1}, condition: s", &events), [0, 1, 3]);
    // What is left of the condition decides: a filter of which nothing is left filters nothing.
    assert_eq!(matched(drop, "s: {B: 1}, f: {A: 1}, condition: s and not f", &events), [0, 1, 3]);
    assert_eq!(matched(drop, "s: {B: 1}, f_1: {A: 1}, condition: s and not 1 of f_*", &events), [0, 1, 3]);
    assert_eq!(
        matched(drop, "s: {B: 1}, f_1: {A: 1}, f_2: {C: 1}, condition: s and not 1 of f_*", &events),
        [0, 1]
    );
    assert!(rejection(drop, "s: {A: 1}, condition: s").contains("dropped all"));
    assert!(rejection(drop, "s: {A: 1}, t: {B: 1}, condition: [s, t]").contains("one condition of the list"));
}

#[test]
fn conditions_are_added() {
    let events =
        [json!({"A": 1, "Channel": "Security-windows"}), json!({"A": 1, "Channel": "x"}), json!({"A": 1})];
    let add = "- {type: add_condition, conditions: {Channel|startswith: [Security, Sysmon]}}";
    assert_eq!(matched(add, "s: {A: 1}, condition: s", &events), [0]);
    assert_eq!(matched(add, "s: {A: 1}, condition: 1 of them", &events), [0]);
    let negated = "- {type: add_condition, negated: true, conditions: {Channel: x}}";
    assert_eq!(matched(negated, "s: {A: 1}, condition: s", &events), [0, 2]);
    let template = "- {type: add_condition, template: true, conditions: {Channel: 'Security-${product}'}}";
    assert_eq!(matched(template, "s: {A: 1}, condition: s", &events), [0]);
    let missing = "- {type: add_condition, template: true, conditions: {Channel: $service}}";
    assert!(rejection(missing, "s: {A: 1}, condition: s").contains("has no service"));
    // A later transformation sees what an earlier one added.
    let then = format!("{add}\n- {{type: field_name_mapping, mapping: {{Channel: log}}}}");
    assert_eq!(matched(&then, "s: {A: 1}, condition: s", &[json!({"A": 1, "log": "Sysmon/x"})]), [0]);
}

#[test]
fn the_logsource_is_changed() {
    let change = "- {type: change_logsource, product: linux, service: sshd}";
    let (set, _) = load(RuleSet::loader().pipeline(pipeline(change)), &[&rule("s: {A: 1}, condition: s")]);
    let logsource = &set.rules().next().unwrap().1.logsource;
    assert_eq!((logsource.product.as_deref(), logsource.category.as_deref()), (Some("linux"), None));
}

#[test]
fn strings_are_replaced() {
    let replace = r"- {type: replace_string, regex: '^C:\\Windows', replacement: '%SystemRoot%'}";
    let events = [json!({"A": r"%SystemRoot%\cmd.exe"}), json!({"A": r"C:\Windows\cmd.exe"})];
    assert_eq!(matched(replace, r"s: {A: 'C:\Windows\cmd.exe'}, condition: s", &events), [0]);
    // Wildcards of modifiers are part of the text.
    let star = r"- {type: replace_string, regex: '^\*\\', replacement: ''}";
    assert_eq!(matched(star, r"s: {A|endswith: '\cmd.exe'}, condition: s", &[json!({"A": "cmd.exe"})]), [0]);
    let special =
        "- {type: replace_string, skip_special: true, interpret_special: true, regex: x, replacement: '*'}";
    assert_eq!(matched(special, "s: {A: axb}, condition: s", &[json!({"A": "a--b"})]), [0]);
    let literal = "- {type: replace_string, skip_special: true, regex: x, replacement: '*'}";
    assert_eq!(
        matched(literal, "s: {A: axb}, condition: s", &[json!({"A": "a--b"}), json!({"A": "a*b"})]),
        [1]
    );
    let group = r"- {type: replace_string, regex: '(\d+)-(\d+)', replacement: '\2-\g<1>'}";
    assert_eq!(matched(group, "s: {A: 12-34}, condition: s", &[json!({"A": "34-12"})]), [0]);
}

#[test]
fn values_are_mapped_set_and_converted() {
    let map = "- {type: map_string, mapping: {a: b, c: [d, 'e*']}}";
    let events = ["b", "d", "e1", "a", "c"].map(|text| json!({"A": text}));
    assert_eq!(matched(map, "s: {A: [a, c]}, condition: s", &events), [0, 1, 2]);
    let set = "- {type: set_value, value: 5}";
    assert_eq!(matched(set, "s: {A|contains: x}, condition: s", &[json!({"A": 5}), json!({"A": "x"})]), [0]);
    assert_eq!(matched(set, "s: {A|re: x}, condition: s", &[json!({"A": "5"})]), [0]);
    let null = "- {type: set_value, value: null}";
    assert_eq!(matched(null, "s: {A: x}, condition: s", &[json!({"A": null}), json!({"A": "x"})]), [0]);
    let number = "- {type: convert_type, target_type: num}";
    assert_eq!(matched(number, "s: {A: '4624'}, condition: s", &[json!({"A": 4624})]), [0]);
    assert!(rejection(number, "s: {A: x}, condition: s").contains("\"x\" is no number"));
    let text = "- {type: convert_type, target_type: str}\n- {type: map_string, mapping: {'5': six}}";
    assert_eq!(matched(text, "s: {A: 5}, condition: s", &[json!({"A": "six"})]), [0]);
    let case = "- {type: case, method: upper}\n- {type: map_string, mapping: {ABC: yes-sir}}";
    assert_eq!(matched(case, "s: {A: abc}, condition: s", &[json!({"A": "yes-sir"})]), [0]);
}

#[test]
fn strings_become_expressions_that_mean_the_same() {
    let events = [
        json!({"A": "a.B"}),
        json!({"A": "a.b"}),
        json!({"A": "xa.b"}),
        json!({"A": "a.b\nx"}),
        json!({"A": "acb"}),
    ];
    let method = |method: &str| format!("- {{type: regex, method: {method}}}");
    assert_eq!(matched(&method("plain"), "s: {A: a.b}, condition: s", &events), [1]);
    assert_eq!(matched(&method("ignore_case_flag"), "s: {A: a.b}, condition: s", &events), [0, 1]);
    assert_eq!(matched("- {type: regex}", "s: {A: a.b}, condition: s", &events), [0, 1]);
    assert_eq!(matched("- {type: regex}", "s: {A|startswith: a.b}, condition: s", &events), [0, 1, 3]);
    // Numbers stay, beside the expressions.
    let mixed = [json!({"A": "x"}), json!({"A": 5})];
    assert_eq!(matched("- {type: regex}", "s: {A: [x, 5]}, condition: s", &mixed), [0, 1]);
    assert_eq!(matched("- {type: regex}", "s: {A|neq: [x, 5]}, condition: s", &mixed), Vec::<usize>::new());
}

#[test]
fn hashes_go_to_their_fields() {
    let split = "- {type: hashes_fields, valid_hash_algos: [MD5, SHA1], field_prefix: File}";
    let md5 = "0123456789abcdef0123456789abcdef";
    let events = [
        json!({"FileMD5": md5}),
        json!({"FileSHA1": "ff"}),
        json!({"Hashes": "x,IMPHASH=77,y"}),
        json!({"Hashes": "MD5=1"}),
    ];
    let detection = format!("s: {{Hashes|contains: ['MD5={md5}', 'SHA1=ff', IMPHASH=77]}}, condition: s");
    assert_eq!(matched(split, &detection, &events), [0, 1, 2]);
    assert_eq!(matched(split, &format!("s: {{Hash: {md5}}}, condition: s"), &events), [0]);
    let all = [json!({"FileMD5": "1", "FileSHA1": "2"}), json!({"FileMD5": "1"})];
    assert_eq!(matched(split, "s: {Hashes|contains|all: [MD5=1, SHA1=2]}, condition: s", &all), [0]);
    assert_eq!(
        matched(
            split,
            "s: {Hashes|neq: [MD5=1, SHA1=2]}, condition: s",
            &[json!({"FileMD5": 3}), json!({"FileSHA1": 2})]
        ),
        [0]
    );
    assert!(rejection(split, "s: {Hashes: SHA256=1}, condition: s").contains("no hash of MD5, SHA1"));
}

#[test]
fn fields_are_extracted() {
    let extract = "- {type: extract_fields, field_prefix: reg, regex: '(?P<kind>[a-z]+):(?P<n>\\d+)', field_name_conditions: [{type: include_fields, fields: [A]}]}";
    let events = [json!({"reg.kind": "dword", "reg.n": 7}), json!({"reg.kind": "dword", "reg.n": 8})];
    assert_eq!(matched(extract, "s: {A: ['dword:7', other]}, condition: s", &events), [0]);
    let zeros = [json!({"reg.kind": "dword", "reg.n": "007"}), json!({"reg.kind": "dword", "reg.n": 7})];
    assert_eq!(matched(extract, "s: {A: 'dword:007'}, condition: s", &zeros), [0]);
}

#[test]
fn placeholders_are_filled() {
    let mut lists = Placeholders::from_yaml("admins: [root, 'svc-*']\nport: 8080").unwrap();
    lists.insert_lines("hosts", "# inventory\n h1 \n\nh2\n");
    let loader = || RuleSet::loader().placeholders(lists.clone());
    let hits = |detection: &str, events: &[Value]| {
        let (set, report) = load(loader(), &[&rule(detection)]);
        assert!(report.rejected.is_empty(), "{}", report.rejected[0]);
        rows(&set, events)
    };
    let events = ["root", "svc-7", "svc-", "x", "%admins%"].map(|text| json!({"A": text}));
    assert_eq!(hits("s: {A|expand: '%admins%'}, condition: s", &events), [0, 1, 2]);
    assert_eq!(hits("s: {A|expand: [x, '%admins%']}, condition: s", &events), [0, 1, 2, 3]);
    // Without the modifier, or escaped, it is text.
    assert_eq!(hits("s: {A: '%admins%'}, condition: s", &events), [4]);
    assert_eq!(hits(r"s: {A|expand: '\%admins\%'}, condition: s", &events), [4]);
    let joined = [json!({"A": "root@h1"}), json!({"A": "SVC-1@h2"}), json!({"A": "x@h2"})];
    assert_eq!(hits("s: {A|expand: '%admins%@%hosts%'}, condition: s", &joined), [0, 1]);
    assert_eq!(hits("s: {A|contains|expand: 't@%hosts%'}, condition: s", &joined), [0]);
    assert_eq!(hits("s: {A|re|expand: '^[a-z]+@%hosts%$'}, condition: s", &joined), [0, 2]);
    assert_eq!(
        hits(
            "s: {A|expand|base64offset|contains: '%hosts%'}, condition: s",
            &[json!({"A": "xxaDF5"}), json!({"A": "h1"})]
        ),
        [0]
    );
    assert_eq!(hits("s: {A|expand: '%port%'}, condition: s", &[json!({"A": 8080})]), [0]);
    // With `all` every value must hold.
    assert_eq!(
        hits(
            "s: {A|contains|all|expand: '%hosts%'}, condition: s",
            &[json!({"A": "h1"}), json!({"A": "h2 h1"})]
        ),
        [1]
    );
    let (_, report) = load(loader(), &[&rule("s: {A|expand: '%none%'}, condition: s")]);
    assert_eq!(report.rejected[0].reason.to_string(), "`A|expand`: placeholder %none% has no values");
}

#[test]
fn pipelines_fill_placeholders() {
    let text = "vars: {u: [a, 'b?']}\ntransformations:\n- {type: value_placeholders, include: [u]}\n- {type: wildcard_placeholders, exclude: [keep]}\n";
    let loader = || RuleSet::loader().pipeline(Pipeline::parse("p.yml", text).unwrap());
    let events = [json!({"A": "a"}), json!({"A": "b1"}), json!({"A": "c"}), json!({"B": "anything"})];
    let hits = |detection: &str| {
        let (set, report) = load(loader(), &[&rule(detection)]);
        assert!(report.rejected.is_empty(), "{}", report.rejected[0]);
        rows(&set, &events)
    };
    assert_eq!(hits("s: {A|expand: '%u%'}, condition: s"), [0, 1]);
    assert_eq!(hits("s: {B|expand: '%rest%'}, condition: s"), [3]);
    let (_, report) = load(loader(), &[&rule("s: {A|expand: '%keep%'}, condition: s")]);
    assert_eq!(report.rejected_by_code().get("placeholder"), Some(&1));
    // A list of the loader helps where the vars have none.
    let strict = "transformations: [{type: value_placeholders}]";
    let loader = RuleSet::loader().pipeline(Pipeline::parse("p.yml", strict).unwrap());
    let (set, _) = load(
        loader.placeholders(Placeholders::from_yaml("u: c").unwrap()),
        &[&rule("s: {A|expand: '%u%'}, condition: s")],
    );
    assert_eq!(rows(&set, &events), [2]);
}

#[test]
fn rules_and_items_are_failed() {
    let fail =
        "- {type: rule_failure, message: not here, rule_conditions: [{type: logsource, product: windows}]}";
    assert_eq!(
        rejection(fail, "s: {A: 1}, condition: s"),
        "pipeline `p`, transformation 1 (rule_failure): not here"
    );
    let item = "- {id: guard, type: detection_item_failure, message: no wildcards, detection_item_conditions: [{type: contains_wildcard, cond: any}]}";
    assert!(rejection(item, "s: {A|contains: 1}, condition: s").starts_with("loaded"));
    assert!(
        rejection(item, "s: {A|contains: x}, condition: s")
            .ends_with("`guard` (detection_item_failure): no wildcards")
    );
    let strict = "- {type: field_name_mapping, mapping: {A: B}}\n- {type: strict_field_mapping_failure}";
    assert!(rejection(strict, "s: {A: 1}, condition: s").starts_with("loaded"));
    assert!(
        rejection(strict, "s: {A: 1, X: 2, Y: 3}, condition: s").ends_with("fields without mapping: X, Y")
    );
}

/// Whether a pipeline that is one transformation under a rule condition applies.
fn applies(conditions: &str) -> bool {
    let transformation = format!(
        "- {{id: first, type: set_state, key: k, val: 3}}\n- {{type: field_name_suffix, suffix: _x, {conditions}}}"
    );
    matched(&transformation, "s: {A|contains: v}, n: {N: 5}, condition: s or n", &[json!({"A_x": "v"})])
        == [0]
}

#[test]
fn rule_conditions() {
    let holds = [
        "rule_conditions: [{type: logsource, product: Windows}]",
        "rule_conditions: [{type: logsource, product: linux}, {type: logsource, category: process_creation}], rule_cond_op: or",
        "rule_conditions: [{type: contains_field, field: N}]",
        "rule_conditions: [{type: contains_detection_item, field: A, value: '*v*'}]",
        "rule_conditions: [{type: contains_detection_item, field: N, value: 5}]",
        "rule_conditions: [{type: processing_item_applied, processing_item_id: first}]",
        "rule_conditions: [{type: processing_state, key: k, val: 2, op: gt}]",
        "rule_conditions: [{type: is_sigma_rule}]",
        "rule_conditions: [{type: rule_attribute, attribute: level, value: medium, op: gte}]",
        "rule_conditions: [{type: rule_attribute, attribute: date, value: 2026-02-01, op: lt}]",
        "rule_conditions: [{type: rule_attribute, attribute: tags, value: attack.execution, op: in}]",
        "rule_conditions: [{type: rule_attribute, attribute: title, value: t}]",
        "rule_conditions: [{type: tag, tag: attack.execution}]",
        "rule_conditions: {a: {type: tag, tag: no.such}, b: {type: is_sigma_rule}}, rule_cond_expr: not a and (b or a)",
        "rule_conditions: [{type: is_sigma_correlation_rule}], rule_cond_not: true",
    ];
    for condition in holds {
        assert!(applies(condition), "{condition}");
    }
    let fails = [
        "rule_conditions: [{type: logsource, service: security}]",
        "rule_conditions: [{type: logsource, product: windows}, {type: is_sigma_correlation_rule}]",
        "rule_conditions: [{type: contains_field, field: a}]",
        "rule_conditions: [{type: contains_detection_item, field: A, value: v}]",
        "rule_conditions: [{type: processing_item_applied, processing_item_id: second}]",
        "rule_conditions: [{type: processing_state, key: other, val: 3}]",
        "rule_conditions: [{type: rule_attribute, attribute: status, value: stable}]",
        "rule_conditions: [{type: rule_attribute, attribute: nothing, value: 1, op: ne}]",
        "rule_conditions: {a: {type: is_sigma_rule}}, rule_cond_expression: not a",
    ];
    for condition in fails {
        assert!(!applies(condition), "{condition}");
    }
}

#[test]
fn item_and_field_conditions() {
    let with = |conditions: &str| format!("- {{type: set_value, value: hit, {conditions}}}");
    let events = [json!({"A": "hit"})];
    let hits = |conditions: &str, values: &str| {
        !matched(&with(conditions), &format!("s: {{A: {values}}}, condition: s"), &events).is_empty()
    };
    let any = "detection_item_conditions: [{type: match_string, cond: any, pattern: 'x+'}]";
    assert!(hits(any, "[xx, y]") && !hits(any, "[ax, y]"));
    let all = "detection_item_conditions: [{type: match_string, cond: all, pattern: 'x+'}]";
    assert!(hits(all, "[xx, x]") && !hits(all, "[xx, y]"));
    let negated = "detection_item_conditions: [{type: match_string, cond: all, pattern: x, negate: true}]";
    assert!(hits(negated, "[y, 5]") && !hits(negated, "[y, x]"));
    let value = "detection_item_conditions: [{type: match_value, cond: any, value: 5}]";
    assert!(hits(value, "[5, 6]") && hits(value, "5.0") && !hits(value, "'5'"));
    let null = "detection_item_conditions: [{type: is_null, cond: any}]";
    assert!(hits(null, "null") && !hits(null, "''"));
    let wildcard =
        "detection_item_conditions: [{type: contains_wildcard, cond: any}], detection_item_cond_not: true";
    assert!(hits(wildcard, "x") && !hits(wildcard, "x*"));
    assert!(hits("field_name_conditions: [{type: include_fields, fields: [A]}]", "x"));
    assert!(!hits("field_name_conditions: [{type: exclude_fields, fields: [A]}]", "x"));
    assert!(hits("field_name_conditions: [{type: include_fields, mode: re, fields: ['[AB]$']}]", "x"));
    assert!(!hits("field_name_conditions: [{type: include_fields, mode: re, fields: ['B']}]", "x"));
}

#[test]
fn later_transformations_know_the_earlier_ones() {
    // The published idiom: what no mapping knows gets a prefix.
    let prefix = "- {id: m, type: field_name_mapping, mapping: {A: a.b}}\n\
        - {type: field_name_prefix, prefix: win., field_name_conditions: [{type: processing_item_applied, processing_item_id: m}], field_name_cond_not: true}";
    let events = [json!({"a.b": 1, "win.B": 2}), json!({"win.a.b": 1, "win.B": 2})];
    assert_eq!(matched(prefix, "s: {A: 1, B: 2}, condition: s", &events), [0]);
    let items = "- {id: m, type: map_string, mapping: {x: y}}\n\
        - {type: set_value, value: z, detection_item_conditions: [{type: processing_item_applied, processing_item_id: m}]}";
    assert_eq!(matched(items, "s: {A: x, B: q}, condition: s", &[json!({"A": "z", "B": "q"})]), [0]);
    let state = "- {type: nest, rule_conditions: [{type: logsource, product: windows}], items: [{id: inner, type: set_state, key: k, val: v}, {type: field_name_suffix, suffix: _1}]}\n\
        - {type: field_name_suffix, suffix: _2, field_name_conditions: [{type: processing_state, key: k, val: v}]}\n\
        - {type: field_name_suffix, suffix: _3, rule_conditions: [{type: processing_item_applied, processing_item_id: inner}]}";
    assert_eq!(matched(state, "s: {A: 1}, condition: s", &[json!({"A_1_2_3": 1})]), [0]);
    let attribute = "- {type: set_custom_attribute, attribute: risk, value: 5}\n\
        - {type: field_name_suffix, suffix: _x, rule_conditions: [{type: rule_attribute, attribute: risk, value: 4, op: gt}]}";
    assert_eq!(matched(attribute, "s: {A: 1}, condition: s", &[json!({"A_x": 1})]), [0]);
    let fields = "- {type: add_field, field: [q, r]}\n- {type: remove_field, field: q}\n\
        - {type: field_name_suffix, suffix: _x, rule_conditions: {q: {type: rule_attribute, attribute: fields, value: q, op: in}, r: {type: rule_attribute, attribute: fields, value: r, op: in}}, rule_cond_expr: r and not q}";
    assert_eq!(matched(fields, "s: {A: 1}, condition: s", &[json!({"A_x": 1})]), [0]);
}

#[test]
fn priority_decides_the_order_then_the_caller() {
    let suffix = |priority: i64, suffix: &str| {
        let text =
            format!("priority: {priority}\ntransformations: [{{type: field_name_suffix, suffix: {suffix}}}]");
        Pipeline::parse("p.yml", &text).unwrap()
    };
    let loader =
        RuleSet::loader().pipeline(suffix(20, "_3")).pipeline(suffix(10, "_1")).pipeline(suffix(10, "_2"));
    let (set, _) = load(loader, &[&rule("s: {A: 1}, condition: s")]);
    assert!(set.native_fields().contains("A_1_2_3"), "{:?}", set.native_fields());
}

#[test]
fn the_version_knows_pipelines_and_placeholders() {
    let version =
        |loader: RuleLoader| load(loader, &[&rule("s: {A: 1}, condition: s")]).0.version().to_owned();
    let (a, b) = ("- {type: case}", "- {type: case, method: upper}");
    let lists = |text: &str| Placeholders::from_yaml(text).unwrap();
    let versions = [
        version(RuleSet::loader()),
        version(RuleSet::loader().pipeline(pipeline(a))),
        version(RuleSet::loader().pipeline(pipeline(a)).pipeline(pipeline(b))),
        version(RuleSet::loader().pipeline(pipeline(b)).pipeline(pipeline(a))),
        version(RuleSet::loader().placeholders(lists("a: [b, c]"))),
        version(RuleSet::loader().placeholders(lists("a: [bc]"))),
    ];
    let distinct: std::collections::BTreeSet<&String> = versions.iter().collect();
    assert_eq!(distinct.len(), versions.len(), "{versions:?}");
    let (plain, _) = RuleSet::load([("0.yml".to_owned(), rule("s: {A: 1}, condition: s"))]);
    assert_eq!(plain.version(), versions[0]);
}

#[test]
fn transformations_without_effect_are_warned_of() {
    let text = "- {type: field_name_mapping, mapping: {Typo: B}}\n- {type: field_name_mapping, mapping: {A: B}}\n\
        - {type: rule_failure, message: m, rule_conditions: [{type: is_sigma_correlation_rule}]}\n\
        - {type: nest, rule_conditions: [{type: logsource, product: linux}], items: [{type: case}]}\n\
        - {type: nest, items: [{id: in, type: map_string, mapping: {x: y}}]}";
    let (_, report) = load(RuleSet::loader().pipeline(pipeline(text)), &[&rule("s: {A: 1}, condition: s")]);
    let warned: Vec<String> = report.warnings.iter().map(|(p, t, w)| format!("{p}: {t} {w}")).collect();
    assert_eq!(
        warned,
        [
            "p: transformation 1 (field_name_mapping) did nothing to any rule",
            "p: transformation 4 (nest) did nothing to any rule",
            "p: transformation 5 (nest), transformation 1 `in` (map_string) did nothing to any rule",
        ]
    );
}

#[test]
fn filters_are_rewritten_with_the_rules_they_apply_to() {
    let filter = "title: f\nlogsource: {product: windows}\n\
        filter: {rules: any, sel_1: {User|expand: '%admins%'}, condition: not 1 of sel_*}\n";
    let text = "vars: {admins: [root]}\ntransformations:\n- {type: change_logsource, product: linux}\n\
        - {type: field_name_mapping, mapping: {User: user.name}}\n- {type: value_placeholders}\n";
    let loader = RuleSet::loader().pipeline(Pipeline::parse("p.yml", text).unwrap());
    let (set, report) = load(loader, &[&rule("s: {A: 1}, condition: s"), filter]);
    assert!(report.rejected.is_empty() && report.warnings.is_empty(), "{report:?}");
    assert_eq!(rows(&set, &[json!({"A": 1, "user.name": "root"}), json!({"A": 1, "User": "root"})]), [1]);
    // Without values it is the rule that is rejected, by the filter's name.
    let (_, report) = load(
        RuleSet::loader().pipeline(pipeline("- {type: value_placeholders}")),
        &[&rule("s: {A: 1}, condition: s"), filter],
    );
    let reason = report.rejected[0].reason.to_string();
    assert_eq!(reason, "`filter: f: User|expand`: placeholder %admins% has no values");
    // A filter with a mistake is rejected by itself, pipeline or not.
    let bad =
        "title: bad\nlogsource: {product: windows}\nfilter: {rules: any, s: {A|gt: x}, condition: not s}\n";
    let (set, report) = load(
        RuleSet::loader().pipeline(pipeline("- {type: case}")),
        &[&rule("s: {A: y}, condition: s"), bad],
    );
    assert_eq!((set.rules().len(), report.rejected.len(), report.filters), (1, 1, 0));
    // Without a pipeline the lists fill it.
    let lists = Placeholders::from_yaml("admins: root").unwrap();
    let (set, _) = load(RuleSet::loader().placeholders(lists), &[&rule("s: {A: 1}, condition: s"), filter]);
    assert_eq!(rows(&set, &[json!({"A": 1, "User": "root"}), json!({"A": 1})]), [1]);
}

#[test]
fn correlations_follow_their_rules() {
    let correlation = "title: c\ncorrelation:\n  type: value_count\n  rules: [base]\n  group-by: [User, who]\n  timespan: 1h\n\
        \x20 condition: {gte: 2, field: Image}\n  aliases: {who: {base: Ip}}\n";
    let chained = "title: outer\nname: outer\ncorrelation: {type: event_count, rules: [c2], timespan: 1h, condition: {gte: 1}, group-by: [User]}\n---\n\
        title: inner\nname: c2\ncorrelation: {type: event_count, rules: [base], timespan: 1h, condition: {gte: 1}, group-by: [User]}\n";
    let text = "- {type: field_name_mapping, mapping: {User: u, Image: i, Ip: p, who: bad}, rule_conditions: [{type: logsource, product: windows}]}\n\
        - {type: change_logsource, product: linux}";
    let base = rule("s: {A: 1}, condition: s");
    let (set, report) = load(RuleSet::loader().pipeline(pipeline(text)), &[&base, correlation, chained]);
    assert!(report.rejected.is_empty(), "{:?}", report.rejected);
    let fields = set.native_fields();
    let mut names: Vec<&str> = fields.iter().map(AsRef::as_ref).collect();
    names.sort_unstable();
    assert_eq!(names, ["A", "i", "p", "u"]);
    let many = "- {type: field_name_mapping, mapping: {Image: [i, j]}}";
    let (_, report) = load(RuleSet::loader().pipeline(pipeline(many)), &[&base, correlation]);
    assert!(report.rejected[0].reason.to_string().ends_with("is one field, but `Image` becomes i, j"));
}

#[test]
fn mistakes_name_file_place_and_remedy() {
    let wrong = [
        "transformations: {a: b}",
        "- just a list",
        "colour: red",
        "transformations: [{id: x}]",
        "transformations: [{type: nosuch}]",
        "transformations: [{type: case, colour: red}]",
        "transformations: [{type: case, method: camel}]",
        "transformations: [{id: m, type: field_name_mapping}]",
        "transformations: [{id: m, type: field_name_mapping, mapping: {A: []}}]",
        "transformations: [{type: replace_string, regex: '(?=a)', replacement: b}]",
        "transformations: [{type: replace_string, regex: 'a', replacement: '\\1'}]",
        "transformations: [{type: case, rule_conditions: [{type: logsource}]}]",
        "transformations: [{type: case, rule_conditions: [{type: tag, tag: a, b: c}]}]",
        "transformations: [{type: case, rule_conditions: [{type: moon}]}]",
        "transformations: [{type: case, rule_cond_not: true}]",
        "transformations: [{type: case, rule_conditions: {a: {type: is_sigma_rule}}, rule_cond_expr: a and b}]",
        "transformations: [{type: case, rule_conditions: {a: {type: is_sigma_rule}, b: {type: is_sigma_rule}}, rule_cond_expr: a}]",
        "transformations: [{type: case, detection_item_conditions: [{type: is_null}]}]",
        "transformations: [{type: nest, items: [{type: add_condition, conditions: {A|near: 1}}]}]",
        "transformations: [{type: query_expression_placeholders, expression: x}]",
        "transformations: [{type: http_placeholders, url: x}]",
        "postprocessing: [{type: embed, prefix: x}]",
        "finalizers: [{type: concat}]",
        "priority: high",
        "vars: {a: {b: c}}",
        "a: [",
    ];
    let said = wrong.map(|text| {
        let outcome = Pipeline::parse("p.yml", text);
        format!("{text}\n  {}", outcome.map_or_else(|e| e.to_string(), |_| "accepted".to_owned()))
    });
    insta::assert_snapshot!(said.join("\n"));
    assert!(
        Placeholders::from_yaml("a: {b: c}").unwrap_err().to_string().starts_with("placeholder values: ")
    );
}

#[test]
fn rules_that_grow_without_end_are_rejected() {
    let double = "- {type: field_name_mapping, mapping: {A: [A, A]}}\n".repeat(64);
    assert!(rejection(&double, "s: {A: 1}, condition: s").contains("exceeds the limit"));
    let longer = "- {type: replace_string, regex: '.', replacement: '\\g<0>\\g<0>'}\n".repeat(64);
    assert!(rejection(&longer, "s: {A: abc}, condition: s").contains("exceeds"));
    let lists = Placeholders::from_yaml("a: [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]").unwrap();
    let many = rule(&format!("s: {{A|expand: '{}'}}, condition: s", "%a%".repeat(40)));
    let (_, report) = load(RuleSet::loader().placeholders(lists), &[&many]);
    assert_eq!(report.rejected_by_code().get("limit"), Some(&1));
    let deep = format!("{}{}", "{type: nest, items: [".repeat(20), "]}".repeat(20));
    assert!(Pipeline::parse("p.yml", &format!("transformations: [{deep}]")).is_err());
}

proptest! {
    /// A mapping and its inverse leave every rule what it was, and so does a pipeline that changes nothing.
    #[test]
    fn mapping_there_and_back_changes_no_match(
        items in prop::collection::vec(("[ABC]", "(\\|(contains|startswith|endswith|re|neq|fieldref|windash|cased|contains\\|all|neq\\|contains))?", "[aAb*?.-]{1,3}", "[ABC]"), 1..4),
        any in any::<bool>(),
        events in prop::collection::vec(prop::collection::vec("[aAb.-]{0,4}", 3), 1..6),
    ) {
        let items: Vec<String> = items
            .iter()
            .filter(|(_, modifiers, value, _)| !(modifiers == "|re" && regex::Regex::new(value).is_err()))
            .map(|(field, modifiers, value, other)| {
                let value = if modifiers == "|fieldref" { other } else { value };
                format!("{field}{modifiers}: '{value}'")
            })
            .collect();
        let named: Vec<String> = items.iter().enumerate().map(|(i, item)| format!("s{i}: {{{item}}}")).collect();
        prop_assume!(!named.is_empty());
        let quantifier = if any { "1" } else { "all" };
        let text = rule(&format!("{}, condition: {quantifier} of s*", named.join(", ")));
        let events: Vec<Value> =
            events.iter().map(|e| json!({"A": e[0], "B": e[1], "C": e[2]})).collect();
        let (plain, report) = load(RuleSet::loader(), &[&text]);
        prop_assert!(report.rejected.is_empty(), "{}\n{}", text, report.rejected[0]);
        let there = pipeline("- {type: field_name_mapping, mapping: {A: x.a, B: [x.b], C: x.c}}");
        let back = pipeline("- {type: field_name_prefix_mapping, mapping: {x.: ''}}\n- {type: field_name_transform, transform_func: upper}");
        let (mapped, report) = load(RuleSet::loader().pipeline(there).pipeline(back), &[&text]);
        prop_assert!(report.rejected.is_empty(), "{}\n{}", text, report.rejected[0]);
        prop_assert_eq!(rows(&plain, &events), rows(&mapped, &events), "{}", text);
    }

    #[test]
    fn no_text_makes_a_pipeline_panic(text in "(transformations:|[-{}\\[\\]:,'a-z_ \n%\\\\*?]){0,60}") {
        if let Ok(pipeline) = Pipeline::parse("p.yml", &text) {
            let _loaded = load(RuleSet::loader().pipeline(pipeline), &[&rule("s: {A: 1}, condition: s")]);
        }
    }
}
