//! Mapping documents of any text: each is loaded or rejected with its place, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut mappings = ingest::MappingSet::default();
    let _outcome = mappings.load_text("fuzz.yml", text);
});
