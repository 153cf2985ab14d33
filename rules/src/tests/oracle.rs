//! The columnar engine against the row-wise interpreter, on generated rules and events.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::batch;
use crate::{RuleSet, reference};

const FIELDS: [&str; 4] = ["A", "B", "C", "D"];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[abAB*?/ -]{0,4}".prop_map(|s| format!("'{s}'")),
        1 => (0..30u8).prop_map(|n| n.to_string()),
        1 => Just("null".to_owned()),
        1 => Just("true".to_owned()),
    ]
}

fn item() -> impl Strategy<Value = String> {
    let modifiers = prop::sample::select(vec![
        "",
        "|contains",
        "|startswith",
        "|endswith",
        "|contains|all",
        "|cased",
        "|contains|cased",
        "|neq",
        "|windash",
        "|contains|windash",
        "|startswith|neq",
    ]);
    let field = prop::sample::select(FIELDS.to_vec());
    let text =
        (field.clone(), modifiers, prop::collection::vec(value(), 1..4)).prop_map(|(f, m, mut values)| {
            // Null is no text, and the modifiers of texts refuse it.
            let takes_null = matches!(m, "" | "|neq");
            values.retain(|value| takes_null || value != "null");
            values.push("1.0".to_owned());
            format!("{{{f}{m}: [{}]}}", values.join(", "))
        });
    let special = (field, prop::sample::select(SPECIAL.to_vec())).prop_map(|(f, s)| format!("{{{f}{s}}}"));
    prop_oneof![5 => text, 2 => special, 1 => Just("['a?b', 12, 'B']".to_owned())]
}

const SPECIAL: [&str; 12] = [
    "|re: 'a+b'",
    "|re|i: '^A.B$'",
    "|re: '(ab|ba)[^b]'",
    "|cidr: '10.0.0.0/8'",
    "|gt: 5",
    "|lte: 12",
    "|exists: true",
    "|exists: false",
    "|fieldref: B",
    "|fieldref|contains: A",
    "|re|s: 'a.b'",
    "|lt: -1",
];

fn condition() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["s0", "s1", "s2", "1 of s*", "all of them", "2 of s*", "not s0"]);
    leaf.prop_map(str::to_owned).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

fn rule() -> impl Strategy<Value = String> {
    (prop::collection::vec(item(), 3), condition()).prop_map(|(items, condition)| {
        let items: String = items.iter().enumerate().map(|(i, item)| format!("  s{i}: {item}\n")).collect();
        format!(
            "title: generated\nlogsource: {{product: test}}\ndetection:\n{items}  condition: {condition}\n"
        )
    })
}

fn leaf_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => "[abAB*?/ \n–-]{0,6}".prop_map(Value::from),
        1 => (-3..30i64).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(json!("10.1.2.3")),
        1 => Just(Value::Null),
        1 => prop::collection::vec("[abAB]{0,3}", 0..3).prop_map(Value::from),
    ]
}

fn event() -> impl Strategy<Value = Value> {
    let entry = (prop::sample::select(FIELDS.to_vec()), leaf_json());
    prop::collection::vec(entry, 0..5).prop_map(|entries| {
        entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<serde_json::Map<_, _>>().into()
    })
}

/// A word, written in JSON in any of its ways, in any case, and with the characters that fold to its own.
fn written() -> impl Strategy<Value = String> {
    let words = vec!["mimikatz", "sekurlsa::logon", "c:\\mimilib.dll", "kali", "nothing", "größe 1000"];
    let ways = prop::collection::vec(0..40u8, 20);
    (prop::sample::select(words), ways)
        .prop_map(|(word, ways)| word.chars().zip(ways).map(|(c, way)| spelled(c, way)).collect())
}

fn spelled(c: char, way: u8) -> String {
    match (way, c) {
        (0, _) => format!("\\u{:04x}", u32::from(c)),
        (1, _) => format!("\\u{:04X}", u32::from(c.to_ascii_uppercase())),
        (2..=4, 's') => "\u{17f}".to_owned(),
        (2..=4, 'k') => "\u{212a}".to_owned(),
        (2, 'i') => "\\u0130".to_owned(),
        (_, '\\') => "\\\\".to_owned(),
        (5..=12, _) => c.to_uppercase().to_string(),
        _ => c.to_string(),
    }
}

fn keywords() -> impl Strategy<Value = String> {
    let lists = vec![
        "['mimikatz', 'sekurlsa::']",
        "{'|all': ['kali', 'mimikatz']}",
        "['\\mimilib.dll']",
        "['größe']",
        "[1000]",
        "{'|re': 'mimi(katz|lib)'}",
        "{'|cased': ['Kali']}",
    ];
    prop::sample::select(lists).prop_map(|list| {
        format!("title: k\nlogsource: {{product: test}}\ndetection:\n  s: {list}\n  condition: s\n")
    })
}

fn record() -> impl Strategy<Value = Value> {
    (written(), written(), prop::sample::select(vec!["1000", "1e3", "1000.0", "null"]))
        .prop_map(|(a, b, n)| json!({"@raw": format!("{{\"mimikatz\":\"{a}\",\"b\":[\"x {b} y\",{n}]}}")}))
}

fn long_field() -> impl Strategy<Value = String> {
    let items = vec![
        "{M|contains: ['mimikatz', 'sekurlsa::']}",
        "{M|contains|all: ['kali', 'x']}",
        "{M|endswith: '\\mimilib.dll'}",
        "{M|contains: 'größe'}",
        "{M|contains|cased: 'Kali'}",
        "{M|re: 'mimi(katz|lib)'}",
        "{M: '*nothing*mimikatz'}",
        "{M|contains|neq: 'sekurlsa'}",
        "{M|exists: true, M|contains: 'mimikatz'}",
    ];
    prop::sample::select(items).prop_map(|item| {
        format!("title: m\nlogsource: {{product: test}}\ndetection:\n  s: {item}\n  condition: s\n")
    })
}

/// A value so long that it is ruled out as it is written; few hold what rules look for.
fn long_record() -> impl Strategy<Value = Value> {
    let tail = prop_oneof![3 => Just(String::new()), 1 => written()];
    let pad = prop::sample::select(vec!["x", "nothing ", "\\\\", "\\r\\n\\t"]);
    (pad, 40..200usize, tail).prop_map(|(pad, times, tail)| {
        let written = format!("{}{tail}", pad.repeat(times));
        let value: Value = serde_json::from_str(&format!("\"{written}\"")).unwrap();
        json!({"@raw": format!("{{\"M\":\"{written}\"}}"), "M": value})
    })
}

fn load(rules: &[String]) -> RuleSet {
    let documents = rules.iter().enumerate().map(|(i, text)| (format!("{i}.yml"), text.clone()));
    let (set, report) = RuleSet::load(documents);
    assert!(report.rejected.is_empty(), "{}\n{}", report.rejected[0], rules.join("\n"));
    set
}

/// What fires by the columns, and by the row-wise interpreter.
fn both(set: &RuleSet, events: &[Value]) -> [Vec<(crate::RuleIndex, usize)>; 2] {
    let batch = batch::of(events, &set.native_fields(), &[]);
    let holds = |index: crate::RuleIndex, row| {
        reference::holds(&set.rules[index.0 as usize].tree, &set.atoms, &batch, row)
    };
    let indexes = || set.rules().map(|(index, _)| index);
    let rows = (0..events.len()).flat_map(|row| indexes().map(move |index| (index, row)));
    let slow = rows.filter(|(index, row)| holds(*index, *row)).collect();
    [set.matches(&batch), slow]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn both_engines_agree_on_keywords_however_they_are_written(rules in prop::collection::vec(keywords(), 1..4), events in prop::collection::vec(record(), 1..20)) {
        let set = load(&rules);
        let [fast, slow] = both(&set, &events);
        prop_assert_eq!(fast, slow, "{}\n{:#?}", rules.join("\n"), events);
    }

    #[test]
    fn both_engines_agree_on_long_values_however_they_are_written(rules in prop::collection::vec(long_field(), 1..4), events in prop::collection::vec(long_record(), 1..80)) {
        let set = load(&rules);
        let [fast, slow] = both(&set, &events);
        prop_assert_eq!(fast, slow, "{}\n{:#?}", rules.join("\n"), events);
    }

    #[test]
    fn both_engines_agree(rules in prop::collection::vec(rule(), 1..5), events in prop::collection::vec(event(), 1..70), cut in 0..70usize) {
        let set = load(&rules);
        let [fast, slow] = both(&set, &events);
        prop_assert_eq!(&fast, &slow, "{}\n{:#?}", rules.join("\n"), events);
        // The result must not depend on where batches are cut.
        let cut = cut.min(events.len());
        let mut parts = set.matches(&batch::of(&events[..cut], &set.native_fields(), &[]));
        let rest = set.matches(&batch::of(&events[cut..], &set.native_fields(), &[]));
        parts.extend(rest.into_iter().map(|(rule, row)| (rule, row + cut)));
        prop_assert_eq!(&fast, &parts);
    }
}
