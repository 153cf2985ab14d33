//! Detect, one core: rules over decoded batches.
#![allow(clippy::print_stderr)] // A program that says on what it measures.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use event::{EventBatch, TenantId, Time};
use ingest::{DecodeLimits, Decoder, MappingSet, SourceKindHint};
use rules::RuleSet;

fn batches(rules: &RuleSet, corpus: &benches::Corpus, poll: usize) -> Vec<EventBatch> {
    let mappings = Arc::new(MappingSet::builtin().expect("the shipped mappings load"));
    let mut decoder =
        Decoder::new(mappings, &rules.native_fields_by_logsource().into(), DecodeLimits::default());
    let time = Time::from_secs(1_800_000_000);
    let decode = |chunk| decoder.decode(chunk, &SourceKindHint::Auto, &TenantId::default(), time).batches;
    corpus.records.chunks(poll).flat_map(decode).collect()
}

fn alert_ids(rules: &RuleSet, batches: &[EventBatch]) -> Vec<String> {
    let mut ids: Vec<String> =
        batches.iter().flat_map(|b| rules.evaluate(b).alerts).map(|a| a.id.to_string()).collect();
    ids.sort();
    ids
}

fn detect(c: &mut Criterion) {
    eprintln!("{}", benches::machine());
    let (rules, _) = RuleSet::load(RuleSet::builtin_packs());
    let real = benches::windows_records().expect("the data is readable");
    for corpus in real.into_iter().chain([benches::simulated_records(100_000, |_| true)]) {
        let large = batches(&rules, &corpus, 16_384);
        let expected = alert_ids(&rules, &batches(&rules, &corpus, 1_000));
        assert_eq!(alert_ids(&rules, &large), expected, "the cut into batches must not change an alert");
        let mut group = c.benchmark_group("detect");
        group.throughput(Throughput::Elements(corpus.records.len() as u64)).sample_size(10);
        group.bench_function(format!("shipped pack, {}", corpus.name), |b| {
            b.iter(|| large.iter().map(|batch| black_box(rules.evaluate(batch)).alerts.len()).sum::<usize>());
        });
        group.finish();
    }
}

criterion_group!(benches, detect);
criterion_main!(benches);
