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
    let text = (field.clone(), modifiers, prop::collection::vec(value(), 1..4))
        .prop_map(|(f, m, v)| format!("{{{f}{m}: [{}]}}", v.join(", ")));
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn both_engines_agree(rules in prop::collection::vec(rule(), 1..5), events in prop::collection::vec(event(), 1..70), cut in 0..70usize) {
        let documents = rules.iter().enumerate().map(|(i, text)| (format!("{i}.yml"), text.clone()));
        let (set, report) = RuleSet::load(documents);
        prop_assert!(report.rejected.is_empty(), "{}\n{}", report.rejected[0], rules.join("\n"));
        let batch = batch::of(&events, &set.native_fields(), &[]);
        let fast = set.matches(&batch);
        let mut slow = Vec::new();
        for row in 0..events.len() {
            for (index, _) in set.rules() {
                if reference::holds(&set.rules[index.0 as usize].tree, &set.atoms, &batch, row) {
                    slow.push((index, row));
                }
            }
        }
        prop_assert_eq!(&fast, &slow, "{}\n{:#?}", rules.join("\n"), events);
        // The result must not depend on where batches are cut.
        let cut = cut.min(events.len());
        let mut parts = set.matches(&batch::of(&events[..cut], &set.native_fields(), &[]));
        let rest = set.matches(&batch::of(&events[cut..], &set.native_fields(), &[]));
        parts.extend(rest.into_iter().map(|(rule, row)| (rule, row + cut)));
        prop_assert_eq!(&fast, &parts);
    }
}
