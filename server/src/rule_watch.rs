//! Loads rules anew while the daemon runs: when their files change, when an entry of an overlay runs out, and on SIGHUP.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use event::Time;
use rules::RuleSet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::command::now;
use crate::rule_loading::{Fingerprint, RuleSources};

/// Hands `rules` on, and after them every set that the sources give later; until `stopping`.
///
/// `pace` is how often files are looked at; zero leaves it to SIGHUP. Entries of overlays run out in any case.
pub(crate) fn follow(
    sources: RuleSources,
    rules: Arc<RuleSet>,
    pace: Duration,
    stopping: CancellationToken,
) -> anyhow::Result<watch::Receiver<Arc<RuleSet>>> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let mut known = Known::of(&sources, &rules);
    let (sender, receiver) = watch::channel(rules);
    tokio::spawn(async move {
        loop {
            let asked = tokio::select! {
                () = stopping.cancelled() => return,
                _ = hangup.recv() => true,
                () = pause(pace, known.next_expiry) => false,
            };
            let (sources, before) = (sources.clone(), known.clone());
            let running = sender.borrow().version().to_owned();
            let looked = tokio::task::spawn_blocking(move || look(&sources, before, &running, asked)).await;
            match looked {
                Ok((seen, changed)) => {
                    known = seen;
                    if let Some(rules) = changed {
                        sender.send_replace(rules);
                    }
                }
                Err(error) => tracing::error!("bug: loading rules panicked: {error}"),
            }
        }
    });
    Ok(receiver)
}

/// Until the files are to be looked at, or rules are to be loaded anew whatever they look like.
async fn pause(pace: Duration, next_expiry: Option<Time>) {
    let expiry = next_expiry.map(|at| at.micros().saturating_sub(now().micros()));
    let expiry = expiry.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or_default()));
    match (!pace.is_zero()).then_some(pace).into_iter().chain(expiry).min() {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// What is known of the sources.
#[derive(Debug, Clone, Default)]
struct Known {
    files: Fingerprint,
    /// When an entry of an overlay runs out; `None` also after files were refused, until they change.
    next_expiry: Option<Time>,
    /// What was last wrong with them: it is told once.
    trouble: Option<String>,
}

impl Known {
    fn of(sources: &RuleSources, rules: &RuleSet) -> Self {
        let files = sources.fingerprint().unwrap_or_default();
        Self { files, next_expiry: rules.next_expiry(), trouble: None }
    }

    fn troubled(self, error: &anyhow::Error) -> Self {
        let trouble = format!("{error:#}");
        if self.trouble.as_ref() != Some(&trouble) {
            metrics::counter!("asterism_rule_reload_failures_total").increment(1);
            tracing::warn!("rules stay as they were: {trouble}");
        }
        Self { trouble: Some(trouble), ..self }
    }
}

/// The rules, if they are others than those that run. Files that were refused are read again when they have changed.
fn look(
    sources: &RuleSources,
    mut known: Known,
    running: &str,
    asked: bool,
) -> (Known, Option<Arc<RuleSet>>) {
    let now = now();
    let files = match sources.fingerprint() {
        Ok(files) => files,
        Err(error) => return (known.troubled(&error), None),
    };
    let has_expired = known.next_expiry.is_some_and(|at| at <= now);
    if files == known.files && !has_expired && !asked {
        return (known, None);
    }
    known.files = files;
    known.next_expiry = None;
    let (rules, report) = match sources.load(now) {
        Ok(loaded) => loaded,
        Err(error) => return (known.troubled(&error), None),
    };
    known = Known { next_expiry: rules.next_expiry(), trouble: None, ..known };
    if rules.version() == running {
        return (known, None);
    }
    sources.prepare(&rules);
    metrics::counter!("asterism_rule_reloads_total").increment(1);
    tracing::info!("rules changed: {} loaded, {} rejected", report.loaded, report.rejected.len());
    for rejection in &report.rejected {
        tracing::warn!("rejected: {rejection}");
    }
    (known, Some(Arc::new(rules)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::RewriteArgs;

    const RULE: &str =
        "title: t\nname: t\nlogsource: {product: test}\ndetection: {s: {a: b}, condition: s}\n";

    fn overlay(expires: &str) -> String {
        format!("overlays: [{{rule: t, action: disable, owner: o, reason: r, expires: '{expires}'}}]")
    }

    fn sources(dir: &Path, text: &str) -> RuleSources {
        std::fs::write(dir.join("rule.yml"), RULE).unwrap();
        std::fs::write(dir.join("overlay.yaml.txt"), text).unwrap();
        let rewrite = RewriteArgs { overlays: vec![dir.join("overlay.yaml.txt")], ..RewriteArgs::default() };
        RuleSources::named(&[dir.join("rule.yml")], &rewrite)
    }

    #[test]
    fn what_is_refused_is_told_once_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let broken = sources(dir.path(), "overlays: [{rule: t}]");
        let (known, changed) = look(&broken, Known::default(), "none", false);
        assert!(known.trouble.as_ref().is_some_and(|t| t.contains("action")), "{known:?}");
        assert!(changed.is_none());
        // Not read again: the files are as they were, and the next look finds nothing to do.
        let before = Known { trouble: None, ..known };
        let (known, _) = look(&broken, before, "none", false);
        assert_eq!(known.trouble, None);
        let mended = sources(dir.path(), &overlay("2099-01-01"));
        let (known, changed) = look(&mended, known, "none", false);
        assert_eq!((known.trouble.is_none(), changed.map(|set| set.rules().len())), (true, Some(0)));
        assert_eq!(known.next_expiry, Some(Time::parse("2099-01-01").unwrap()));
    }

    #[tokio::test]
    async fn an_entry_runs_out_at_its_time_also_where_no_file_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let expires = Time(now().micros() + 300_000);
        let sources = sources(dir.path(), &overlay(&expires.to_string()));
        let (rules, _) = sources.load(now()).unwrap();
        assert_eq!((rules.rules().len(), rules.next_expiry()), (0, Some(expires)));
        let stopping = CancellationToken::new();
        let mut receiver = follow(sources, Arc::new(rules), Duration::ZERO, stopping.clone()).unwrap();
        tokio::time::timeout(Duration::from_secs(10), receiver.changed()).await.unwrap().unwrap();
        assert!(now() >= expires);
        assert_eq!(receiver.borrow().rules().len(), 1);
        stopping.cancel();
    }
}
