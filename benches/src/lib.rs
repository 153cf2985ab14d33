//! What the benchmarks share: real records where they are, simulated ones everywhere, and the machine's name.

pub mod daemon;
pub mod grouping;

use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use event::Time;
use ingest::Record;
use simulate::{Company, CompanyOptions, GenerateOptions, Generator};

/// Records of one shape, as a source would hand them over.
pub struct Corpus {
    /// Where they come from.
    pub name: String,
    /// The records.
    pub records: Vec<Record>,
    /// Their bytes, line ends aside.
    pub bytes: u64,
}

/// The folder with public real-world data: `ASTERISM_DATA`, or `../shared/data`.
pub fn data_dir() -> Option<PathBuf> {
    let dir =
        std::env::var_os("ASTERISM_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let from_workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(&dir);
    [dir, from_workspace].into_iter().find(|d| d.is_dir())
}

/// The real Windows records of one attack emulation, if the data is here.
pub fn windows_records() -> anyhow::Result<Option<Corpus>> {
    let Some(dir) = data_dir() else { return Ok(None) };
    let name = "otrf_LSASS_campaign_01_metasploit_logonpasswords_lsass_memory_dump.ndjson.zst";
    let mut text = Vec::new();
    let file = std::fs::File::open(dir.join("endpoint").join(name))?;
    zstd::Decoder::new(file)?.read_to_end(&mut text)?;
    let lines = text.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    Ok(Some(corpus(name.to_owned(), lines.map(<[u8]>::to_vec))))
}

/// Simulated records of the topics that `wanted` accepts.
pub fn simulated_records(events: u64, wanted: impl Fn(&str) -> bool) -> Corpus {
    let start = Time::from_secs(1_772_434_800);
    let company = Company::new(CompanyOptions { seed: 1, start, ..CompanyOptions::default() });
    let options = GenerateOptions { events: Some(events), ..GenerateOptions::default() };
    let records =
        Generator::new(company, options).filter(|r| wanted(r.topic)).map(|r| r.payload.into_bytes());
    corpus(format!("simulated company, {events} records"), records)
}

fn corpus(name: String, lines: impl Iterator<Item = Vec<u8>>) -> Corpus {
    let record = |(offset, payload): (i64, Vec<u8>)| Record {
        topic: "bench".into(),
        partition: 0,
        offset,
        payload: payload.into(),
        truncated_from: None,
    };
    let records: Vec<Record> = (0..).zip(lines).map(record).collect();
    let bytes = records.iter().map(|r| r.payload.len() as u64).sum();
    Corpus { name, records, bytes }
}

/// One line that says on what a number was measured.
pub fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{} x {cores}, load {load}", model.trim_start_matches([' ', '\t', ':']))
}

/// Nanoseconds that this thread has run.
///
/// # Errors
/// Where the system does not say.
pub fn on_cpu_ns() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().context("schedstat")?.parse()?)
}

/// Resident bytes of this process.
///
/// # Errors
/// Where the system does not say.
pub fn resident() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).context("statm")?.parse()?;
    Ok(pages * 4096)
}

/// Peak resident memory of a process (`self`, or its id), in KiB; nothing once it has ended.
pub fn peak_kib(process: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}
