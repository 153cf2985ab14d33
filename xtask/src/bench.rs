//! `cargo xtask bench`: the benchmarks, their machine and commit first. `benches/RESULTS.md` keeps what they said.

use std::process::Command;

use anyhow::ensure;

use crate::process::say;
use crate::workspace;

/// Runs every part, or the one named: `decode`, `detect`, `correlate` (criterion), `quality`, `alert_graph`,
/// `correlation_rules`, `end_to_end`, `response_latency`, `dead_connector`, `peers`.
pub(crate) fn run(only: Option<&str>, events: &str) -> anyhow::Result<()> {
    let head = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output()?;
    say(&format!("commit {}", String::from_utf8_lossy(&head.stdout).trim()));
    let wanted = |part: &str| only.is_none_or(|o| o == part);
    for bench in ["decode", "detect", "correlate"] {
        if wanted(bench) {
            cargo(&["bench", "--workspace", "--bench", bench])?;
        }
    }
    for bench in ["correlation_rules", "alert_graph"] {
        if wanted(bench) {
            cargo(&["run", "--release", "--bin", bench])?;
        }
    }
    if ["quality", "end_to_end", "response_latency", "dead_connector"].into_iter().any(&wanted) {
        cargo(&["build", "--release", "--bin", "asterism"])?;
    }
    let asterism = workspace::target_dir().join("release/asterism");
    let asterism = asterism.to_string_lossy();
    let program = |name, more: &[&str]| {
        let fixed = ["run", "--release", "--bin", name, "--", "--asterism", asterism.as_ref()];
        cargo(&[&fixed, more].concat())
    };
    if wanted("quality") {
        program("quality", &[])?;
    }
    if wanted("end_to_end") {
        program("end_to_end", &["--events", events])?;
    }
    if wanted("response_latency") {
        program("response_latency", &[])?;
    }
    if wanted("dead_connector") {
        program("dead_connector", &[])?;
    }
    if wanted("peers") {
        peers("diff")?;
        peers("speed")?;
    }
    Ok(())
}

/// A task of `benches/peers`, which is a workspace of its own, with a lock and a target folder of its own.
fn peers(task: &str) -> anyhow::Result<()> {
    let manifest = workspace::root().join("benches/peers/Cargo.toml");
    let target = workspace::target_dir().join("peers");
    let status = workspace::cargo()
        .args(["run", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .args(["--", task])
        .status()?;
    ensure!(status.success(), "peers {task} failed");
    Ok(())
}

fn cargo(args: &[&str]) -> anyhow::Result<()> {
    let status = workspace::cargo().args(args).status()?;
    ensure!(status.success(), "cargo {} failed", args.join(" "));
    Ok(())
}
