//! Events of any JSON under rules that ask for the expensive things: lists of ten thousand values, nested repetitions,
//! many wildcards, keywords. Whatever an event holds, its evaluation ends soon, and the columns say what the interpreter
//! of `rules explain` says.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use event::{TenantId, Time};
use ingest::{DecodeLimits, Decoder, MappingSet, Record, SourceKindHint};
use rules::{RuleSet, Suppressions, Windows};

thread_local! {
    static ENGINE: RefCell<(RuleSet, Decoder)> = RefCell::new(engine());
}

/// Fields that the rules ask for: one that most events have, a nested one, one below a list.
fn rules() -> String {
    let many: Vec<String> = (0..10_000).map(|i| format!("      - 'value{i}*x'")).collect();
    let leaves = [
        "A|re: '(a|aa|b?)+$'",
        "A|re|i: '(.*a){12}'",
        "a.b|re: '^(([a-z])+.)+[A-Z]([a-z])+$'",
        "A: '*a*b*?c*d*e*'",
        "A|windash|contains: ' -a -b -c'",
        "A|wide|base64offset|contains: 'IEX (New-Object'",
        "A|cidr: ['10.0.0.0/8', 'fe80::/10']",
        "A|gt: 5",
        "a.b|hour|gte: 22",
        "A|fieldref|contains: a.b",
        "A|exists: true",
        "A: null",
        "A: ''",
    ];
    let named = leaves.iter().zip(0..).map(|(leaf, i)| rule(&format!("r{i}"), &format!("  s: {{{leaf}}}\n")));
    let lists = rule("list", &format!("  s:\n    A:\n{}\n", many.join("\n")));
    let keywords = rule("keywords", "  s: ['ev*l', 4625, 'x?y']\n") + &rule("all", "  s: {'|all': [a, b]}\n");
    let count = "title: n\nname: n\ncorrelation: {type: value_count, rules: [r10], group-by: [A], timespan: 1h, \
                 condition: {field: a.b, gte: 2}}\ncustom_attributes: {asterism.suppress: {window: 1h}}\n---\n";
    named.collect::<String>() + &lists + &keywords + count
}

fn rule(name: &str, detection: &str) -> String {
    format!(
        "title: {name}\nname: {name}\nlogsource: {{category: any}}\ndetection:\n{detection}  condition: s\n---\n"
    )
}

fn engine() -> (RuleSet, Decoder) {
    let (set, report) = RuleSet::load([("fuzz.yml".to_owned(), rules())]);
    assert!(report.rejected.is_empty(), "{:?}", report.rejected);
    let mappings = Arc::new(MappingSet::builtin().expect("the shipped mappings load"));
    let decoder = Decoder::new(mappings, &set.native_fields_by_logsource().into(), DecodeLimits::default());
    (set, decoder)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let record = |(line, offset): (&[u8], i64)| Record {
        topic: "fuzz".into(),
        partition: 0,
        offset,
        payload: line.to_vec().into(),
        truncated_from: None,
    };
    let records: Vec<Record> = data.split(|b| *b == b'\n').zip(0..).map(record).collect();
    ENGINE.with_borrow_mut(|(set, decoder)| {
        let now = Time::from_secs(1_700_000_000);
        let hint = SourceKindHint::Json { logsources: Arc::from([]) };
        let decoded = decoder.decode(&records, &hint, &TenantId::default(), now);
        let (mut windows, mut suppressions) = (Windows::default(), Suppressions::default());
        for batch in &decoded.batches {
            let matches = set.matches(batch);
            for row in 0..batch.len().min(4) {
                for (index, info) in set.rules() {
                    let explained = rules::explain(set, batch, row, index);
                    let title = &info.reference.title;
                    assert_eq!(explained.matched, matches.contains(&(index, row)), "{title}: {explained}");
                }
            }
            let evaluated = set.evaluate(batch);
            let told = windows.observe(set, evaluated.observations);
            suppressions.observe_correlations(set, told);
            suppressions.observe(set, evaluated.alerts, evaluated.suppression_keys);
        }
    });
});
