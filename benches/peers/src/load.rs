//! Rules loaded once, in a process that has done nothing else: time and memory.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use event::Logsource;
use serde::{Deserialize, Serialize};

use crate::asterism::{Asterism, POLL_RECORDS};
use crate::data;
use crate::measure::{self, resident};
use crate::rsigma::Rsigma;

/// Which engine loads, and what.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Engine {
    Asterism,
    /// Every rule twice.
    AsterismTwice,
    Rsigma,
}

/// What loading cost.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) rules: usize,
    /// Processor time of parsing and compiling.
    pub(crate) load_ms: u64,
    /// The same with what is made when the first events of each set of logsources come.
    pub(crate) ready_ms: u64,
    /// Resident memory that the loaded rules add, without the texts they were read from.
    pub(crate) kept_kib: u64,
    /// The same at its peak.
    pub(crate) peak_kib: u64,
}

/// The cost of loading, measured in a child process.
pub(crate) fn measured(engine: &str) -> Result<Cost> {
    let output = Command::new(std::env::current_exe()?).args(["load", engine]).output()?;
    ensure!(output.status.success(), "peers load {engine}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("peers load {engine}"))
}

/// Loads, and prints the cost as JSON.
pub(crate) fn run(engine: Engine) -> Result<()> {
    let cost = match engine {
        Engine::Asterism => asterism(data::rules()?)?,
        Engine::AsterismTwice => asterism(twice(data::rules()?))?,
        Engine::Rsigma => rsigma(&data::rules()?)?,
    };
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

fn asterism(documents: Vec<(String, String)>) -> Result<Cost> {
    let sets = logsources()?;
    let before = begin()?;
    let (load, mut loaded) = measure::timed(|| Asterism::load(documents))?;
    let (plans, ()) = measure::timed(|| make_plans(&mut loaded, &sets))?;
    cost(loaded.set.rules().len(), [load, load + plans], before)
}

fn rsigma(documents: &[(String, String)]) -> Result<Cost> {
    let before = begin()?;
    let (load, engine) = measure::timed(|| Ok(Rsigma::load(documents)?.engine_of_all().0))?;
    cost(engine.rule_count(), [load, load], before)
}

fn begin() -> Result<u64> {
    measure::forget_peak()?;
    Ok(resident()?.now_kib)
}

fn cost(rules: usize, [load, ready]: [std::time::Duration; 2], before_kib: u64) -> Result<Cost> {
    let memory = resident()?;
    Ok(Cost {
        rules,
        load_ms: load.as_millis() as u64,
        ready_ms: ready.as_millis() as u64,
        kept_kib: memory.now_kib.saturating_sub(before_kib),
        peak_kib: memory.peak_kib.saturating_sub(before_kib),
    })
}

/// The sets of logsources of real Windows events.
fn logsources() -> Result<BTreeSet<Arc<[Logsource]>>> {
    let mut without_rules = Asterism::load(Vec::new())?;
    let mut sets = BTreeSet::new();
    for path in data::windows_files()?.into_iter().take(1).chain([data::regression_file()?]) {
        for records in data::records(&path)?.chunks(POLL_RECORDS) {
            let batches = without_rules.normalise(records)?;
            sets.extend(batches.iter().map(|batch| Arc::clone(&batch.meta.logsources)));
        }
    }
    Ok(sets)
}

fn make_plans(asterism: &mut Asterism, sets: &BTreeSet<Arc<[Logsource]>>) -> Result<()> {
    let event = [data::record("flat", 0, b"{}".to_vec())];
    for logsources in sets {
        for batch in asterism.flat(&event, logsources)? {
            std::hint::black_box(asterism.set.matches(&batch));
        }
    }
    Ok(())
}

/// Every rule once more, under another id.
pub(crate) fn twice(documents: Vec<(String, String)>) -> Vec<(String, String)> {
    let copies: Vec<_> =
        documents.iter().map(|(file, text)| (format!("twin/{file}"), with_other_ids(text))).collect();
    documents.into_iter().chain(copies).collect()
}

/// The first digit of each id becomes its complement.
fn with_other_ids(text: &str) -> String {
    let other = |line: &str| {
        let id = line.strip_prefix("id:")?.trim_start();
        let (first, rest) = id.split_at_checked(1)?;
        let digit = u32::from_str_radix(first, 16).ok()?;
        Some(format!("id: {:x}{rest}\n", 15 - digit))
    };
    text.lines().map(|line| other(line).unwrap_or_else(|| format!("{line}\n"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_has_another_id() {
        let rule = "title: a\nid: 0ab1\ndetection:\n    id: 1\n".to_owned();
        let [(_, first), (_, twin)] = <[_; 2]>::try_from(twice(vec![("f".to_owned(), rule)])).expect("two");
        assert_eq!(twin, first.replace("id: 0ab1", "id: fab1"));
    }
}
