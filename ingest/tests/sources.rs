//! Files and journal through the `Source` contract: what is delivered, what is told, what survives.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests too")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ingest::{IngestError, PollBudget, Record, Source};

#[path = "sources/files.rs"]
mod files;
#[path = "sources/journal.rs"]
mod journal;

const BUDGET: PollBudget =
    PollBudget { records_max: 1_000, bytes_max: 1 << 20, wait: Duration::from_secs(5) };

fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Distinct lines that do not compress to nothing, so that cutting the file cuts lines.
fn lines(n: usize) -> Vec<u8> {
    (0..n).flat_map(|i| format!("{{\"n\":{i},\"x\":\"{:x}\"}}\n", i * 2_654_435_761).into_bytes()).collect()
}

async fn read_all(source: &mut impl Source) -> (Vec<Record>, Vec<IngestError>) {
    let (mut records, mut faults) = (Vec::new(), Vec::new());
    loop {
        let polled = source.poll(BUDGET).await.unwrap();
        records.extend(polled.records);
        faults.extend(polled.faults);
        if polled.ended {
            return (records, faults);
        }
    }
}
