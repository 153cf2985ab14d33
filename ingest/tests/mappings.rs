//! Goldens of the shipped mappings: what every sample in `mappings/samples/` becomes.
//!
//! A sample file is NDJSON, named after its source kind. `INSTA_UPDATE=always cargo test -p ingest --test mappings`
//! writes the goldens anew; read the difference before it is committed.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use event::json::unescaped;
use event::{EventBatch, Logsource, Native, TenantId, Time};
use ingest::{DecodeLimits, Decoded, Decoder, MappingSet, NativeWanted, Record, SourceKindHint};

/// Sigma fields that the goldens show, as rules over these sources name them.
const NATIVE: [&str; 40] = [
    "Image",
    "CommandLine",
    "ParentImage",
    "ParentCommandLine",
    "User",
    "OriginalFileName",
    "Hashes",
    "TargetFilename",
    "TargetObject",
    "Details",
    "EventType",
    "SourceImage",
    "TargetImage",
    "GrantedAccess",
    "ImageLoaded",
    "PipeName",
    "DestinationIp",
    "DestinationPort",
    "DestinationHostname",
    "Initiated",
    "QueryName",
    "ScriptBlockText",
    "Data",
    "EventID",
    "Provider_Name",
    "ServiceName",
    "Signature",
    "Operation",
    "eventName",
    "eventSource",
    "status",
    "properties.message",
    "ResultType",
    "operationName",
    "eventService",
    "setting_name",
    "eventType",
    "gcp.audit.method_name",
    "id.orig_h",
    "c-uri",
];

fn mappings_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings")
}

fn decoder() -> Decoder {
    let wanted: NativeWanted = NATIVE.iter().map(|name| Arc::from(*name)).collect();
    Decoder::new(Arc::new(MappingSet::builtin().unwrap()), &wanted, DecodeLimits::default())
}

fn records(topic: &str, text: &str) -> Vec<Record> {
    let topic: Arc<str> = topic.into();
    let lines = text.lines().filter(|line| !line.is_empty()).enumerate();
    lines.map(|(i, line)| Record::new(Arc::clone(&topic), 0, i as i64, line.to_owned().into())).collect()
}

fn decode(decoder: &mut Decoder, records: &[Record], hint: &SourceKindHint) -> Decoded {
    decoder.decode(records, hint, &TenantId::default(), Time::from_secs(1_800_000_000))
}

/// The sample files with their source kinds, in order of name.
fn samples() -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(mappings_dir().join("samples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let named = |path: &PathBuf| {
        let kind = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (kind, std::fs::read_to_string(path).unwrap())
    };
    files.iter().map(named).collect()
}

#[test]
fn samples_become_their_goldens() {
    let mut decoder = decoder();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../mappings/goldens");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (kind, text) in samples() {
        let mut golden = String::new();
        for record in records(&kind, &text) {
            describe(&decode(&mut decoder, &[record], &SourceKindHint::Auto), &kind, &mut golden);
        }
        settings.bind(|| insta::assert_snapshot!(kind.as_str(), golden));
    }
}

/// Naming the source kind and recognising it must agree, or the same record means two things.
#[test]
fn a_named_source_kind_and_a_recognised_one_agree() {
    let mut decoder = decoder();
    for (kind, text) in samples() {
        let hint = SourceKindHint::Kind(kind.as_str().into());
        for record in records(&kind, &text) {
            let show = |decoded: &Decoded| {
                let mut text = String::new();
                describe(decoded, &kind, &mut text);
                text
            };
            let named = show(&decode(&mut decoder, std::slice::from_ref(&record), &hint));
            let found = show(&decode(&mut decoder, std::slice::from_ref(&record), &SourceKindHint::Auto));
            assert_eq!(named, found, "{kind} line {}", record.offset + 1);
        }
    }
}

#[test]
fn every_variant_has_a_sample() {
    let mut decoder = decoder();
    let mut missing = Vec::new();
    for (kind, text) in samples() {
        let decoded = decode(&mut decoder, &records(&kind, &text), &SourceKindHint::Auto);
        let seen: BTreeSet<&str> = decoded.batches.iter().map(|batch| batch.meta.variant.as_ref()).collect();
        let yaml = std::fs::read_to_string(mappings_dir().join(format!("{kind}.yml"))).unwrap();
        let document: serde_yaml_ng::Value = serde_yaml_ng::from_str(&yaml).unwrap();
        let names = document["variants"].as_sequence().unwrap().iter().map(|v| v["name"].as_str().unwrap());
        missing.extend(names.filter(|name| !seen.contains(name)).map(|name| format!("{kind}.{name}")));
    }
    assert_eq!(missing, [""; 0], "variants without a sample");
}

#[test]
fn every_mapping_has_samples() {
    let with_samples: BTreeSet<String> = samples().into_iter().map(|(kind, _)| kind).collect();
    let set = MappingSet::builtin().unwrap();
    // OCSF itself is taken by its own attribute paths, which the decoder's tests cover.
    for (kind, _) in set.source_kinds().filter(|(kind, _)| *kind != "ocsf") {
        assert!(with_samples.contains(kind), "mappings/samples/{kind}.ndjson is missing");
    }
}

fn describe(decoded: &Decoded, kind: &str, golden: &mut String) {
    for letter in &decoded.dead {
        writeln!(golden, "## dead letter\n{}: {}\n", letter.reason.code(), letter.reason).unwrap();
    }
    for batch in &decoded.batches {
        for row in 0..batch.len() {
            describe_row(batch, row, kind, golden);
        }
    }
    for alert in &decoded.alerts {
        let entities: Vec<String> =
            alert.entities.iter().map(|e| format!("{}/{}={}", e.entity_type, e.role, e.value)).collect();
        writeln!(
            golden,
            "## alert\n{} {} {}\n  {}\n",
            alert.time,
            alert.severity.as_str(),
            alert.title,
            entities.join("\n  ")
        )
        .unwrap();
    }
    if decoded.counts.misfits > 0 {
        writeln!(golden, "misfits: {}\n", decoded.counts.misfits).unwrap();
    }
}

fn describe_row(batch: &EventBatch, row: usize, kind: &str, golden: &mut String) {
    let meta = &batch.meta;
    assert_eq!(meta.source.as_ref(), kind, "recognised as another source kind");
    let logsources: Vec<String> = meta.logsources.iter().map(logsource).collect();
    writeln!(golden, "## {} -> {} ({}, {})", meta.variant, batch.class, meta.domain, meta.product).unwrap();
    writeln!(golden, "logsources: {}", logsources.join("; ")).unwrap();
    const PLUMBING: [&str; 11] = [
        "ingest_time",
        "tenant",
        "class_uid",
        "source",
        "topic",
        "partition",
        "offset",
        "raw",
        "entities",
        "event_uid",
        "product",
    ];
    for (field, column) in batch.columns.schema().fields().iter().zip(batch.columns.columns()) {
        let own_uid = field.name() == "event_uid"
            && !batch.text("event_uid", row).unwrap_or_default().starts_with(kind);
        if (own_uid || !PLUMBING.contains(&field.name().as_str())) && column.is_valid(row) {
            let value =
                batch.time_of(field.name(), row).map_or_else(|| shown(column, row), |time| time.to_string());
            writeln!(golden, "  {} = {value}", field.name()).unwrap();
        }
    }
    let entities: Vec<String> =
        batch.entities(row).iter().map(|e| format!("{}/{}={}", e.entity_type, e.role, e.value)).collect();
    writeln!(golden, "entities: {}", entities.join(" | ")).unwrap();
    writeln!(golden, "native: {}\n", natives(batch, row).join(" | ")).unwrap();
}

fn natives(batch: &EventBatch, row: usize) -> Vec<String> {
    let value = |name: &&str| {
        let value = match batch.native_field(name)?.get(row) {
            Native::Absent | Native::Null => return None,
            Native::Text(text) => text.to_owned(),
            Native::Written(written) => unescaped(written),
            Native::Members(members) => members.join(", "),
        };
        Some(format!("{name}={}", value.escape_debug()))
    };
    NATIVE.iter().filter_map(value).collect()
}

fn logsource(source: &Logsource) -> String {
    let key = |key: &Option<Arc<str>>| key.as_deref().unwrap_or("*").to_owned();
    format!("{}/{}/{}", key(&source.product), key(&source.category), key(&source.service))
}

/// A value on one line, long ones cut.
fn shown(column: &ArrayRef, row: usize) -> String {
    let formatter = ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap();
    let text = formatter.value(row).to_string().escape_debug().to_string();
    match text.char_indices().nth(240) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}
