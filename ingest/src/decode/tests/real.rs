//! Public real-world records, where they are.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::*;

fn data_dir() -> Option<PathBuf> {
    let dir =
        std::env::var_os("ASTERISM_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(dir);
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(std::env::var_os("ASTERISM_DATA_REQUIRED").is_none(), "{} is missing", dir.display());
    println!("skipped: no data in {}", dir.display());
    None
}

/// The records of a file; in a debug build the first ones, since the whole of a campaign would take minutes.
fn records(file: &Path) -> Vec<Record> {
    let bytes_max: u64 = if cfg!(debug_assertions) { 256 << 10 } else { u64::MAX };
    let mut text = Vec::new();
    let raw = std::fs::File::open(file).unwrap();
    zstd::Decoder::new(raw).unwrap().take(bytes_max).read_to_end(&mut text).unwrap();
    if text.len() as u64 == bytes_max {
        let whole = text.iter().rposition(|b| *b == b'\n').unwrap();
        text.truncate(whole);
    }
    let topic: Arc<str> = file.file_name().unwrap().to_string_lossy().into();
    let lines = text.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    (0..).zip(lines).map(|(i, line)| Record::new(Arc::clone(&topic), 0, i, line.to_vec().into())).collect()
}

#[test]
fn every_public_record_is_decoded_or_accounted_for() {
    let Some(dir) = data_dir() else { return };
    let mut mappings = MappingSet::builtin().unwrap();
    mappings.load_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/mappings")).unwrap();
    let mut decoder = Decoder::new(Arc::new(mappings), &NativeWanted::default(), DecodeLimits::default());
    for domain in ["alerts", "app", "email", "endpoint", "identity", "network"] {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(dir.join(domain)).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        for file in files {
            let records = records(&file);
            let mut dead: BTreeMap<String, usize> = BTreeMap::new();
            let mut sources: BTreeMap<String, usize> = BTreeMap::new();
            let (mut alerts, mut misfits, mut ndead) = (0, 0, 0);
            for chunk in records.chunks(8_192) {
                let decoded = decoder.decode(
                    chunk,
                    &SourceKindHint::Auto,
                    &TenantId::default(),
                    Time::from_secs(1_800_000_000),
                );
                let counts = decoded.counts;
                assert!(
                    counts.rows + counts.dead >= counts.records || counts.exploded > 0,
                    "{}: {counts:?}",
                    file.display()
                );
                for letter in &decoded.dead {
                    ndead += 1;
                    let text: String = letter.reason.to_string().chars().take(140).collect();
                    *dead.entry(format!("{}: {text}", letter.reason.code())).or_default() += 1;
                }
                for batch in &decoded.batches {
                    *sources.entry(format!("{}/{}", batch.meta.source, batch.class)).or_default() +=
                        batch.len();
                }
                alerts += decoded.alerts.len();
                misfits += counts.misfits;
            }
            println!(
                "{domain}/{}: {} records, {ndead} dead, {misfits} misfits, {alerts} alerts {sources:?}",
                file.file_name().unwrap().to_string_lossy(),
                records.len()
            );
            if !file.ends_with("panther_rule_tests.ndjson.zst") {
                // Two published records carry no time that could be one.
                let other = dead.keys().find(|reason| !reason.contains("_time:"));
                assert_eq!(other, None, "{}: {dead:?}", file.display());
                assert!(ndead <= 2, "{}: {dead:?}", file.display());
            }
            for (reason, n) in dead.iter().take(6) {
                println!("    {n} {reason}");
            }
        }
    }
}
