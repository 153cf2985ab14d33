//! The simulated company's records through the shipped mappings: what its truth file names is found under that name,
//! and a record that is delivered twice has one id.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use event::TenantId;
use ingest::{DecodeLimits, Decoder, MappingSet, NativeWanted, Record, SourceKindHint};
use simulate::{Company, CompanyOptions, GenerateOptions, GeneratedRecord, Generator};

/// Enough that every source kind and every step of every story comes, with duplicates of each kind.
fn generated() -> Vec<GeneratedRecord> {
    let options =
        GenerateOptions { events: Some(12_000), duplicate_share: 0.2, ..GenerateOptions::default() };
    Generator::new(Company::new(CompanyOptions::default()), options).collect()
}

/// The event ids of each record, in its order.
fn decoded_uids(records: &[GeneratedRecord]) -> Vec<String> {
    let mappings = Arc::new(MappingSet::builtin().unwrap());
    let mut decoder = Decoder::new(mappings, &NativeWanted::default(), DecodeLimits::default());
    let mut uids = vec![String::new(); records.len()];
    let inputs: Vec<Record> = (0..)
        .zip(records)
        .map(|(offset, r)| Record::new(r.topic.into(), 0, offset, r.payload.clone().into()))
        .collect();
    for (chunk, of) in inputs.chunks(500).zip(records.chunks(500)) {
        let at = of[0].delivery_time;
        let decoded = decoder.decode(chunk, &SourceKindHint::Auto, &TenantId::default(), at);
        assert!(decoded.dead.is_empty(), "{:?}", decoded.dead.first());
        for batch in &decoded.batches {
            for row in 0..batch.len() {
                let record = usize::try_from(batch.int("offset", row).unwrap()).unwrap();
                assert_eq!(batch.text("source", row), Some(records[record].source_kind));
                assert!(uids[record].is_empty(), "one event a record: {}", records[record].payload);
                uids[record] = batch.text("event_uid", row).unwrap().to_owned();
            }
        }
    }
    uids
}

#[test]
fn truth_names_events_by_their_own_ids_and_duplicates_share_them() {
    let records = generated();
    let uids = decoded_uids(&records);
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut twice: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_uid: HashMap<(&str, &str), &str> = HashMap::new();
    for (record, uid) in records.iter().zip(&uids) {
        let kind = record.source_kind;
        assert!(
            !uid.starts_with(record.topic),
            "an id of its own, not the place in the log: {}",
            record.payload
        );
        if let Some(truth) = &record.truth {
            assert_eq!(&truth.event_uid, uid, "{kind}: {}", record.payload);
            named.insert(record.topic);
        }
        match by_uid.insert((kind, uid), &record.payload) {
            Some(first) if first == record.payload => *twice.entry(kind).or_default() += 1,
            Some(first) => panic!("two events under {uid}:\n{first}\n{}", record.payload),
            None => {}
        }
    }
    let kinds: BTreeSet<&str> = records.iter().map(|r| r.source_kind).collect();
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    assert!(kinds.iter().all(|kind| twice.contains_key(kind)), "{twice:?}");
    insta::assert_debug_snapshot!(named);
}
