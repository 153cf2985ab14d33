//! Quality: `asterism correlate` on labelled alerts, scored against their truth, next to naive groupings.
//!
//! The metrics are those of `simulate::Score`.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program that prints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::Parser;
use serde_json::Value;
use simulate::Score;

/// Scores groupings of the labelled XDR alerts.
#[derive(Parser)]
struct Args {
    /// The binary
    #[arg(long, default_value = "target/release/asterism")]
    asterism: PathBuf,
    /// Alerts [default: xdr_alerts of the public data]
    #[arg(long)]
    alerts: Option<PathBuf>,
    /// Truth: {"alert_id", "incident"} a line, "-" for noise
    #[arg(long)]
    truth: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let data = benches::data_dir().context("no data: set ASTERISM_DATA")?;
    let alerts = args.alerts.unwrap_or_else(|| data.join("alerts/xdr_alerts.ndjson.zst"));
    let truth = args.truth.unwrap_or_else(|| data.join("groundtruth/xdr_alert_to_incident.ndjson.zst"));
    let truth = grouping(&read(&truth)?)?;
    let output =
        Command::new(&args.asterism).args(["correlate", "--source", "auto"]).arg(&alerts).output()?;
    ensure!(output.status.success(), "correlate failed: {}", String::from_utf8_lossy(&output.stderr));
    let predicted = grouping(&output.stdout)?;
    println!(
        "{:<28} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}",
        "grouping", "groups", "b3_p", "b3_r", "b3_f1", "pair_f", "merged"
    );
    print_row("asterism", &truth, &predicted);
    print_row("one group", &truth, &truth.keys().map(|a| (a.clone(), "all".to_owned())).collect());
    print_row("every alert alone", &truth, &truth.keys().map(|a| (a.clone(), a.clone())).collect());
    Ok(())
}

fn print_row(name: &str, truth: &BTreeMap<String, String>, predicted: &BTreeMap<String, String>) {
    let score = Score::of(truth, predicted);
    println!(
        "{name:<28} {:>6} {:>6.3} {:>6.3} {:>6.3} {:>6.3} {:>6.3}",
        score.groups,
        score.b3_precision,
        score.b3_recall,
        score.b3_f1(),
        score.pair_f1(),
        score.over_merge
    );
}

fn grouping(ndjson: &[u8]) -> anyhow::Result<BTreeMap<String, String>> {
    let lines = ndjson.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    lines
        .map(|line| {
            let row: Value = serde_json::from_slice(line)?;
            let text = |key: &str| {
                row[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {row}"))
            };
            Ok((text("alert_id")?, text("incident")?))
        })
        .collect()
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if path.extension().is_some_and(|e| e == "zst") {
        Ok(zstd::decode_all(bytes.as_slice())?)
    } else {
        Ok(bytes)
    }
}
