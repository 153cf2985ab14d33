//! End to end: `asterism replay` of simulated telemetry of growing size, each in a process of its own, with
//! events/s, MB/s and peak memory. Results are checked for equality (records in = rows + dead letters) first.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program that prints.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;

/// Replays simulated telemetry and prints a table.
#[derive(Parser)]
struct Args {
    /// The binary
    #[arg(long, default_value = "target/release/asterism")]
    asterism: PathBuf,
    /// Sizes, in records
    #[arg(long, value_delimiter = ',', default_value = "100000,500000,2000000")]
    events: Vec<u64>,
    /// Further rule directories
    #[arg(long)]
    rules: Vec<PathBuf>,
    /// Where telemetry and data directories go [default: a folder below the system's temporary one]
    #[arg(long)]
    scratch: Option<PathBuf>,
}

struct Run {
    events: u64,
    bytes: u64,
    rows: u64,
    elapsed: Duration,
    peak_kib: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let scratch = args.scratch.clone().unwrap_or_else(|| std::env::temp_dir().join("asterism-bench"));
    println!("{}", benches::machine());
    println!("{:>10} {:>10} {:>12} {:>10} {:>14}", "records", "MB", "events/s", "MB/s", "peak RSS MiB");
    for events in &args.events {
        let run = measure(&args, *events, &scratch)?;
        let seconds = run.elapsed.as_secs_f64();
        println!(
            "{:>10} {:>10.0} {:>12.0} {:>10.1} {:>14.0}",
            run.events,
            run.bytes as f64 / 1e6,
            run.rows as f64 / seconds,
            run.bytes as f64 / 1e6 / seconds,
            run.peak_kib as f64 / 1024.0
        );
        std::io::stdout().flush()?;
    }
    std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
}

fn measure(args: &Args, events: u64, scratch: &Path) -> anyhow::Result<Run> {
    let telemetry = scratch.join(format!("telemetry-{events}"));
    let data_dir = scratch.join(format!("data-{events}"));
    let generate = Command::new(&args.asterism)
        .args(["generate", "--seed", "1", "--events", &events.to_string(), "--out"])
        .arg(&telemetry)
        .stderr(Stdio::null())
        .status()?;
    ensure!(generate.success(), "generate failed");
    let files = files(&telemetry)?;
    let bytes = files.iter().map(|f| std::fs::metadata(f).map(|m| m.len())).sum::<Result<u64, _>>()?;
    let mut replay = Command::new(&args.asterism);
    replay.args(["replay", "--rules", "builtin"]).arg("--data-dir").arg(&data_dir);
    for rules in &args.rules {
        replay.arg("--rules").arg(rules);
    }
    let started = Instant::now();
    let mut child = replay.args(&files).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let peak_kib = watch(&mut child)?;
    let output = child.wait_with_output()?;
    let elapsed = started.elapsed();
    ensure!(output.status.success(), "replay failed: {}", String::from_utf8_lossy(&output.stderr));
    let rows = check(&String::from_utf8_lossy(&output.stderr), events)?;
    std::fs::remove_dir_all(&telemetry)?;
    std::fs::remove_dir_all(&data_dir)?;
    Ok(Run { events, bytes, rows, elapsed, peak_kib })
}

fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

/// Peak resident memory (`VmHWM`) of the child, in KiB, read until it ends.
fn watch(child: &mut Child) -> anyhow::Result<u64> {
    let process = child.id().to_string();
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        peak = peak.max(benches::peak_kib(&process).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(peak)
}

/// The replay's own summary must account for every record that was generated.
fn check(summary: &str, events: u64) -> anyhow::Result<u64> {
    let number = |suffix: &str| {
        let before = summary.split(suffix).next()?;
        before.rsplit(|c: char| !c.is_ascii_digit()).find(|s| !s.is_empty())?.parse::<u64>().ok()
    };
    let Some((records, rows)) = number(" records read").zip(number(" events")) else {
        bail!("no summary in: {summary}");
    };
    ensure!(records == events, "{records} of {events} records were read");
    ensure!(rows >= events, "{events} records gave only {rows} events: {summary}");
    Ok(rows)
}
