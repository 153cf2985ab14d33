//! Loads rules anew while the daemon runs: when their files change, and on SIGHUP.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rules::RuleSet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::command::now;
use crate::rule_loading::{Fingerprint, RuleSources};

/// Hands `rules` on, and after them every set that the sources give later; until `stopping`.
///
/// `pace` is how often files are looked at; zero leaves it to SIGHUP.
pub(crate) fn follow(
    sources: RuleSources,
    rules: Arc<RuleSet>,
    pace: Duration,
    stopping: CancellationToken,
) -> anyhow::Result<watch::Receiver<Arc<RuleSet>>> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let (sender, receiver) = watch::channel(rules);
    let mut seen = sources.fingerprint(now()).unwrap_or_default();
    tokio::spawn(async move {
        loop {
            let asked = tokio::select! {
                () = stopping.cancelled() => return,
                _ = hangup.recv() => true,
                () = tokio::time::sleep(pace), if !pace.is_zero() => false,
            };
            let (sources, before) = (sources.clone(), seen.clone());
            let running = sender.borrow().version().to_owned();
            let looked = tokio::task::spawn_blocking(move || look(&sources, &before, &running, asked)).await;
            match looked {
                Ok(Ok((fingerprint, changed))) => {
                    seen = fingerprint;
                    if let Some(rules) = changed {
                        sender.send_replace(rules);
                    }
                }
                Ok(Err(error)) => tracing::warn!("rules stay as they were: {error:#}"),
                Err(error) => tracing::error!("bug: loading rules panicked: {error}"),
            }
        }
    });
    Ok(receiver)
}

/// The rules, if they are others than those that run.
fn look(
    sources: &RuleSources,
    before: &Fingerprint,
    running: &str,
    asked: bool,
) -> anyhow::Result<(Fingerprint, Option<Arc<RuleSet>>)> {
    let fingerprint = sources.fingerprint(now())?;
    if fingerprint == *before && !asked {
        return Ok((fingerprint, None));
    }
    let (rules, report) = sources.load(now())?;
    if rules.version() == running {
        return Ok((fingerprint, None));
    }
    metrics::counter!("asterism_rule_reloads_total").increment(1);
    tracing::info!("rules changed: {} loaded, {} rejected", report.loaded, report.rejected.len());
    for rejection in &report.rejected {
        tracing::warn!("rejected: {rejection}");
    }
    Ok((fingerprint, Some(Arc::new(rules))))
}
