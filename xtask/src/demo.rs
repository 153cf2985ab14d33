//! `cargo xtask demo`: the demo as a newcomer starts it, with its truth checked.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::process::say;
use crate::workspace;

/// Domains that the demo's main incident must span.
const DOMAINS: [&str; 4] = ["email", "endpoint", "identity", "app"];

/// Runs the demo for `duration` and checks what its data directory then holds.
pub(crate) fn run(duration: &str) -> anyhow::Result<()> {
    let status = workspace::cargo().args(["build", "--release", "--locked", "--bin", "asterism"]).status()?;
    ensure!(status.success(), "the binary does not build");
    let data_dir = tempfile::tempdir()?;
    let asterism = workspace::target_dir().join("release/asterism");
    let status = Command::new(&asterism)
        .args(["demo", "--fresh", "--port", "0", "--duration", duration, "--data-dir"])
        .arg(data_dir.path())
        .stdin(Stdio::null())
        .status()
        .context("asterism demo")?;
    ensure!(status.success(), "the demo failed: {status}");
    check_incidents(&asterism, data_dir.path())?;
    check_isolation(&asterism, data_dir.path())?;
    say(&format!("demo: an incident over {} and the isolated host are there", DOMAINS.join(", ")));
    Ok(())
}

fn check_incidents(asterism: &Path, data_dir: &Path) -> anyhow::Result<()> {
    let incidents = query(asterism, &["incidents", "list", "--json"], data_dir)?;
    let spans = |incident: &Value| {
        let domains: Vec<&str> =
            incident["domains"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        DOMAINS.iter().all(|d| domains.contains(d))
    };
    if !incidents.iter().any(spans) {
        bail!("no incident spans {}; there are {} incidents", DOMAINS.join(", "), incidents.len());
    }
    Ok(())
}

fn check_isolation(asterism: &Path, data_dir: &Path) -> anyhow::Result<()> {
    let actions = query(asterism, &["actions", "list", "--json"], data_dir)?;
    let isolated = |action: &Value| action["verb"] == "host.isolate" && action["state"] == "succeeded";
    ensure!(
        actions.iter().any(isolated),
        "no host was isolated: {} actions, none of them succeeded",
        actions.len()
    );
    Ok(())
}

fn query(asterism: &Path, args: &[&str], data_dir: &Path) -> anyhow::Result<Vec<Value>> {
    let output = Command::new(asterism).args(args).arg("--data-dir").arg(data_dir).output()?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).context("a line of JSON")).collect()
}
