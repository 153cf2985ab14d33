//! Correlate, one core: alerts of a simulated company to sealed incidents.
#![allow(clippy::print_stderr)] // A program that says on what it measures.

use std::hint::black_box;
use std::sync::Arc;

use correlate::{Correlator, Parameters};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use event::{Alert, EventBatch, TenantId, Time, Watermark};
use ingest::{DecodeLimits, Decoder, MappingSet, SourceKindHint};
use rules::RuleSet;

/// Batches and their alerts, in order.
fn portions(events: u64) -> Vec<(Vec<EventBatch>, Vec<Alert>)> {
    let (rules, _) = RuleSet::load(RuleSet::builtin_packs());
    let mappings = Arc::new(MappingSet::builtin().expect("the shipped mappings load"));
    let mut decoder =
        Decoder::new(mappings, &rules.native_fields_by_logsource().into(), DecodeLimits::default());
    let corpus = benches::simulated_records(events, |_| true);
    let time = Time::from_secs(1_800_000_000);
    let portion = |chunk| {
        let decoded = decoder.decode(chunk, &SourceKindHint::Auto, &TenantId::default(), time);
        let alerts =
            decoded.batches.iter().flat_map(|b| rules.evaluate(b).alerts).chain(decoded.alerts).collect();
        (decoded.batches, alerts)
    };
    corpus.records.chunks(4_096).map(portion).collect()
}

fn correlator() -> Correlator {
    Correlator::new(Parameters::builtin().expect("the shipped parameters load"))
}

/// Everything that a run says in the end, as text.
fn outcome(portions: &[(Vec<EventBatch>, Vec<Alert>)], backwards: bool) -> String {
    let mut correlator = correlator();
    let order: Vec<_> = if backwards { portions.iter().rev().collect() } else { portions.iter().collect() };
    for (batches, alerts) in order {
        batches.iter().for_each(|batch| correlator.observe(batch));
        correlator.push(alerts.clone());
    }
    correlator.advance(Watermark::END);
    serde_json::to_string(&correlator.incidents(&TenantId::default())).expect("incidents are JSON")
}

fn correlate(c: &mut Criterion) {
    eprintln!("{}", benches::machine());
    let portions = portions(100_000);
    assert_eq!(
        outcome(&portions, false),
        outcome(&portions, true),
        "the order of arrival must not change an incident"
    );
    let alerts: usize = portions.iter().map(|(_, alerts)| alerts.len()).sum();
    let rows: usize = portions.iter().flat_map(|(batches, _)| batches).map(EventBatch::len).sum();
    let mut group = c.benchmark_group("correlate");
    group.throughput(Throughput::Elements(rows as u64)).sample_size(10);
    group.bench_function(format!("{rows} events with {alerts} alerts"), |b| {
        b.iter(|| black_box(outcome(&portions, false)).len());
    });
    group.finish();
}

criterion_group!(benches, correlate);
criterion_main!(benches);
