//! Decode and normalise one file of records on one core, and say how fast that was.
//!
//! `cargo run --release -p ingest --example decode_speed -- FILE.ndjson[.gz|.zst] [NATIVE_FIELD...]`
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use event::{TenantId, Time};
use ingest::{
    DecodeLimits, Decoder, FileOptions, FileSource, MappingSet, NativeWanted, PollBudget, Record, Source,
    SourceKindHint,
};

/// Records of one call, as the engine polls them.
const POLL_RECORDS: usize = 8_192;
/// The best of some rounds: others work on the machine as well.
const ROUNDS: usize = 7;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("usage: decode_speed FILE [NATIVE_FIELD...]")?;
    let names: Vec<Arc<str>> = args.map(Arc::from).collect();
    let native_fields = names.len();
    let wanted: NativeWanted = names.into_iter().collect();
    let records = read(&file).await?;
    let bytes: usize = records.iter().map(|r| r.payload.len()).sum();
    let mut decoder = Decoder::new(Arc::new(MappingSet::builtin()?), &wanted, DecodeLimits::default());
    let (mut rows, mut dead, mut best, mut best_cpu) = (0, 0, Duration::MAX, None);
    for _ in 0..ROUNDS {
        (rows, dead) = (0, 0);
        let (start, start_cpu) = (Instant::now(), cpu_time());
        for poll in records.chunks(POLL_RECORDS) {
            let decoded = decoder.decode(
                poll,
                &SourceKindHint::Auto,
                &TenantId::default(),
                Time::from_secs(1_800_000_000),
            );
            rows += decoded.counts.rows;
            dead += decoded.counts.dead;
        }
        best = best.min(start.elapsed());
        let cpu = start_cpu.zip(cpu_time()).map(|(start, end)| end.saturating_sub(start));
        best_cpu = best_cpu.into_iter().chain(cpu).min();
    }
    if let Some(cpu) = best_cpu {
        println!("{:.0} MB per second of processor time", bytes as f64 / 1e6 / cpu.as_secs_f64());
    }
    println!(
        "{} records, {rows} rows, {dead} dead, {native_fields} native fields: {:.0} MB/s, {:.0} records/s",
        records.len(),
        bytes as f64 / 1e6 / best.as_secs_f64(),
        records.len() as f64 / best.as_secs_f64(),
    );
    Ok(())
}

/// Processor time of this thread, where the system tells it: on a busy machine the clock measures the neighbours.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

async fn read(file: &str) -> Result<Vec<Record>, Box<dyn std::error::Error>> {
    let mut source = FileSource::open(&[file.into()], FileOptions::default())?;
    let mut records = Vec::new();
    let budget = PollBudget { records_max: 8_192, bytes_max: 64 << 20, wait: Duration::from_secs(1) };
    loop {
        let polled = source.poll(budget).await?;
        records.extend(polled.records);
        if polled.ended {
            return Ok(records);
        }
    }
}
