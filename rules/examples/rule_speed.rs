//! How fast a rule set is over Windows events: `cargo run --release -p rules --example rule_speed -- RULES_DIR EVENTS.ndjson`.
//!
//! Events are flat JSON (`Channel`, `EventID`, `Image`, ...), routed as Sysmon process, file, registry, ... events.
//! The time is that of evaluation alone, on one core; decoding is not in it.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../src/tests/batch.rs"]
mod batch;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use event::Logsource;
use serde_json::Value;

const BATCH_ROWS: usize = 1_000;

fn main() {
    let mut args = std::env::args().skip(1);
    let (rules, events) = (args.next().unwrap(), args.next().unwrap());
    let mut files = Vec::new();
    collect(Path::new(&rules), &mut files);
    let start = Instant::now();
    let (set, report) = rules::RuleSet::load(files);
    println!(
        "loaded {} rules in {:?}, rejected {:?}",
        report.loaded,
        start.elapsed(),
        report.rejected_by_code()
    );

    let text = std::fs::read_to_string(events).unwrap();
    let mut by_source: BTreeMap<Vec<Logsource>, Vec<Value>> = BTreeMap::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        by_source.entry(logsources(&event)).or_default().push(event);
    }
    let (mut rows, mut matches, mut spent) = (0, 0, Duration::ZERO);
    for (sources, events) in &by_source {
        let batches: Vec<_> =
            events.chunks(BATCH_ROWS).map(|e| batch::of(e, &set.native_fields(), sources)).collect();
        // The first call makes the plan of the logsource set.
        set.matches(&batches[0]);
        let start = Instant::now();
        let found: usize = batches.iter().map(|b| set.matches(b).len()).sum();
        let took = start.elapsed();
        println!(
            "{:>7} rows {:>6} matches {:>9.0} rows/s  {:?}",
            events.len(),
            found,
            events.len() as f64 / took.as_secs_f64(),
            name(sources)
        );
        rows += events.len();
        matches += found;
        spent += took;
    }
    println!("{rows} rows, {matches} matches, {:.0} rows/s", rows as f64 / spent.as_secs_f64());
}

fn name(sources: &[Logsource]) -> Vec<&str> {
    sources.iter().filter_map(|s| s.category.as_deref().or(s.service.as_deref())).collect()
}

fn logsources(event: &Value) -> Vec<Logsource> {
    let id =
        event["EventID"].as_i64().or_else(|| event["EventID"].as_str()?.parse().ok()).unwrap_or_default();
    let channel = event["Channel"].as_str().unwrap_or_default();
    let source = |category: Option<&str>, service: Option<&str>| Logsource {
        product: Some("windows".into()),
        category: category.map(Into::into),
        service: service.map(Into::into),
    };
    if channel != "Microsoft-Windows-Sysmon/Operational" {
        let service = channel
            .rsplit('-')
            .next()
            .unwrap_or_default()
            .split('/')
            .next()
            .unwrap_or_default()
            .to_lowercase();
        return vec![source(None, Some(&service))];
    }
    let categories: &[&str] = match id {
        1 => &["process_creation"],
        3 => &["network_connection"],
        6 => &["driver_load"],
        7 => &["image_load"],
        8 => &["create_remote_thread"],
        10 => &["process_access"],
        11 => &["file_event"],
        12 => &["registry_event", "registry_add", "registry_delete"],
        13 => &["registry_event", "registry_set"],
        17 | 18 => &["pipe_created"],
        22 => &["dns_query"],
        _ => &[],
    };
    categories.iter().map(|c| source(Some(c), None)).chain([source(None, Some("sysmon"))]).collect()
}

fn collect(folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "yml") {
            files.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    files.sort();
}
