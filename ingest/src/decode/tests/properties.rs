//! Whatever comes in, nothing panics and nothing is uncounted.

use proptest::prelude::*;

use super::*;

fn json_like() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:?}")),
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap_or_default()),
        Just(r#""2026-03-02T08:00:00Z""#.to_owned()),
    ];
    let key = prop_oneof![
        Just("door"),
        Just("doors"),
        Just("action"),
        Just("at"),
        Just("xml"),
        Just("Data"),
        Just("Pairs"),
        Just("Name"),
        Just("Value"),
        Just("more"),
        Just("kind"),
        Just("System"),
        Just("#text"),
        Just("other"),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn check(decoded: &Decoded, records: usize) {
    let rows: usize = decoded.batches.iter().map(EventBatch::len).sum();
    assert_eq!(decoded.counts.records as usize, records);
    assert_eq!(decoded.counts.rows as usize, rows);
    assert_eq!(decoded.counts.dead as usize, decoded.dead.len());
    if decoded.counts.exploded == 0 {
        assert_eq!(rows + decoded.dead.len(), records);
    }
    for batch in &decoded.batches {
        for row in 0..batch.len() {
            assert!(event::ocsf::to_json(batch, row).is_object());
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        check(&decode(&lines), lines.len());
    }

    #[test]
    fn arbitrary_json(lines in prop::collection::vec(json_like(), 0..10), hint in 0..3) {
        let hint = match hint {
            0 => SourceKindHint::Auto,
            1 => SourceKindHint::Kind("door".into()),
            _ => SourceKindHint::Json { logsources: Arc::new([]) },
        };
        check(&decode_with(&["door", "action", "xml.Data", "other"], &hint, &lines), lines.len());
    }

    /// The cut into calls does not matter: each row is the same.
    #[test]
    fn the_cut_into_calls_does_not_matter(lines in prop::collection::vec(json_like(), 1..10), cut in 0_usize..10) {
        let records = records(&lines);
        let mut decoder = Decoder::new(mappings(), &NativeWanted::default(), DecodeLimits::default());
        let mut rows = |parts: &[&[Record]]| {
            let mut rows: Vec<String> = Vec::new();
            for part in parts {
                let decoded = decoder.decode(part, &SourceKindHint::Auto, &TenantId::default(), READ_AT);
                for batch in &decoded.batches {
                    rows.extend((0..batch.len()).map(|row| event::ocsf::to_json(batch, row).to_string()));
                }
            }
            rows.sort();
            rows
        };
        let (head, tail) = records.split_at(cut.min(records.len()));
        prop_assert_eq!(rows(&[&records]), rows(&[head, tail]));
    }
}
