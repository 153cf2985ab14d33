//! Decode and normalise, one core: records to OCSF columns with entities.
#![allow(clippy::print_stderr)] // A program that says on what it measures.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use benches::Corpus;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use event::{TenantId, Time};
use ingest::{DecodeLimits, Decoder, MappingSet, NativeWanted, SourceKindHint};

/// Records of one poll of the engine.
const POLL_RECORDS: usize = 16_384;

fn decoder(wanted: &NativeWanted) -> Decoder {
    let mappings = MappingSet::builtin().expect("the shipped mappings load");
    Decoder::new(Arc::new(mappings), wanted, DecodeLimits::default())
}

/// Every row as OCSF JSON by event id, however the records are cut into polls.
fn rows(corpus: &Corpus, poll: usize) -> BTreeMap<String, String> {
    let mut decoder = decoder(&NativeWanted::default());
    let mut rows = BTreeMap::new();
    for chunk in corpus.records.chunks(poll) {
        let decoded = decoder.decode(
            chunk,
            &SourceKindHint::Auto,
            &TenantId::default(),
            Time::from_secs(1_800_000_000),
        );
        for batch in &decoded.batches {
            for row in 0..batch.len() {
                let uid = batch.record(row).to_string() + batch.text("event_uid", row).unwrap_or_default();
                rows.insert(uid, event::ocsf::to_json(batch, row).to_string());
            }
        }
    }
    rows
}

fn bench(c: &mut Criterion, corpus: &Corpus, native: &[&str]) {
    let sample = Corpus {
        name: corpus.name.clone(),
        records: corpus.records.iter().take(5_000).cloned().collect(),
        bytes: 0,
    };
    assert_eq!(rows(&sample, POLL_RECORDS), rows(&sample, 777), "the cut into polls must not change a row");
    let wanted: NativeWanted = native.iter().map(|n| Arc::from(*n)).collect();
    let mut decoder = decoder(&wanted);
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(corpus.bytes)).sample_size(10);
    let name = format!("{} ({} native fields)", corpus.name, native.len());
    group.bench_function(name, |b| {
        b.iter(|| {
            for chunk in corpus.records.chunks(POLL_RECORDS) {
                let time = Time::from_secs(1_800_000_000);
                black_box(decoder.decode(chunk, &SourceKindHint::Auto, &TenantId::default(), time));
            }
        });
    });
    group.finish();
}

fn decode(c: &mut Criterion) {
    eprintln!("{}", benches::machine());
    let native = [
        "Image",
        "CommandLine",
        "ParentImage",
        "User",
        "TargetObject",
        "Details",
        "SourceImage",
        "TargetImage",
        "GrantedAccess",
        "CallTrace",
        "ImageLoaded",
        "TargetFilename",
        "EventID",
        "Provider_Name",
        "ScriptBlockText",
    ];
    if let Some(corpus) = benches::windows_records().expect("the data is readable") {
        bench(c, &corpus, &[]);
        bench(c, &corpus, &native);
    }
    bench(c, &benches::simulated_records(100_000, |topic| topic.contains("windows")), &native);
    bench(c, &benches::simulated_records(50_000, |topic| topic.contains("defender")), &native);
}

criterion_group!(benches, decode);
criterion_main!(benches);
