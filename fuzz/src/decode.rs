//! Records of any bytes through recognition, mapping and batch building: no panic, nothing uncounted.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use event::{TenantId, Time};
use ingest::{DecodeLimits, Decoder, MappingSet, NativeWanted, Record, SourceKindHint};

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::new(Decoder::new(
        Arc::new(MappingSet::builtin().expect("the shipped mappings load")),
        &NativeWanted::default(),
        DecodeLimits::default(),
    ));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let record = |offset, payload: &[u8]| Record {
        topic: "fuzz".into(),
        partition: 0,
        offset,
        payload: payload.to_vec().into(),
        truncated_from: None,
    };
    let records: Vec<Record> =
        data.split(|b| *b == b'\n').zip(0..).map(|(line, i)| record(i, line)).collect();
    DECODER.with_borrow_mut(|decoder| {
        let decoded = decoder.decode(
            &records,
            &SourceKindHint::Auto,
            &TenantId::default(),
            Time::from_secs(1_700_000_000),
        );
        let rows: usize = decoded.batches.iter().map(event::EventBatch::len).sum();
        assert!(rows + decoded.dead.len() >= records.len(), "a record was lost uncounted");
        for batch in &decoded.batches {
            for row in 0..batch.len() {
                let _json = event::ocsf::to_json(batch, row);
            }
        }
    });
});
