//! Quality: `asterism correlate` on labelled alerts, scored against their truth, next to naive groupings.
//!
//! The metrics are B-cubed and pairwise precision and recall over the alerts of true incidents, as
//! Amigó et al. (2009) define them; noise counts against precision where it shares an incident with such an alert.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program that prints.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::Parser;
use serde_json::Value;

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
    let output = Command::new(&args.asterism).args(["correlate", "--source", "auto"]).arg(&alerts).output()?;
    ensure!(output.status.success(), "correlate failed: {}", String::from_utf8_lossy(&output.stderr));
    let predicted = grouping(&output.stdout)?;
    println!("{:<28} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}", "grouping", "groups", "b3_p", "b3_r", "b3_f1", "pair_f", "merged");
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
        f1(score.b3_precision, score.b3_recall),
        f1(score.pair_precision, score.pair_recall),
        score.over_merge
    );
}

fn f1(precision: f64, recall: f64) -> f64 {
    if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
}

struct Score {
    groups: usize,
    b3_precision: f64,
    b3_recall: f64,
    pair_precision: f64,
    pair_recall: f64,
    over_merge: f64,
}

impl Score {
    fn of(truth: &BTreeMap<String, String>, predicted: &BTreeMap<String, String>) -> Self {
        let mut cells: HashMap<(&str, &str), f64> = HashMap::new();
        let (mut true_size, mut pred_true, mut pred_noise) = (counts(), counts(), counts());
        for (alert, incident) in truth {
            // An alert that the prediction leaves out counts as alone.
            let group = predicted.get(alert).unwrap_or(alert).as_str();
            if incident == "-" {
                *pred_noise.entry(group).or_default() += 1.0;
                continue;
            }
            *true_size.entry(incident).or_default() += 1.0;
            *pred_true.entry(group).or_default() += 1.0;
            *cells.entry((group, incident)).or_default() += 1.0;
        }
        let n: f64 = true_size.values().sum();
        let noise = |group: &str| pred_noise.get(group).copied().unwrap_or(0.0);
        let pairs = |k: f64| k * (k - 1.0) / 2.0;
        let hits: f64 = cells.values().map(|c| pairs(*c)).sum();
        let predicted_pairs: f64 = pred_true.iter().map(|(g, k)| pairs(*k) + k * noise(g)).sum();
        let true_pairs: f64 = true_size.values().map(|k| pairs(*k)).sum();
        let mut held: HashMap<&str, BTreeSet<&str>> = HashMap::new();
        for (group, incident) in cells.keys() {
            held.entry(group).or_default().insert(incident);
        }
        Score {
            groups: pred_true.len(),
            b3_precision: cells.iter().map(|((g, _), c)| c * c / (pred_true[g] + noise(g))).sum::<f64>() / n,
            b3_recall: cells.iter().map(|((_, t), c)| c * c / true_size[t]).sum::<f64>() / n,
            pair_precision: if predicted_pairs > 0.0 { hits / predicted_pairs } else { 1.0 },
            pair_recall: if true_pairs > 0.0 { hits / true_pairs } else { 1.0 },
            over_merge: held.values().filter(|h| h.len() > 1).count() as f64 / held.len().max(1) as f64,
        }
    }
}

fn counts<'a>() -> HashMap<&'a str, f64> {
    HashMap::new()
}

fn grouping(ndjson: &[u8]) -> anyhow::Result<BTreeMap<String, String>> {
    let lines = ndjson.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    lines
        .map(|line| {
            let row: Value = serde_json::from_slice(line)?;
            let text = |key: &str| row[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {row}"));
            Ok((text("alert_id")?, text("incident")?))
        })
        .collect()
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if path.extension().is_some_and(|e| e == "zst") { Ok(zstd::decode_all(bytes.as_slice())?) } else { Ok(bytes) }
}
