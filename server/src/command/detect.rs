//! `asterism detect`: rules over files, alerts as NDJSON, nothing stored.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use event::{Alert, AlertId, AttackTag, RecordRef, TenantId, Time, Watermark};
use indicatif::ProgressBar;
use ingest::{DecodeLimits, FileOptions, FileSource, Misfit, PollBudget, Source, TopicPartition};
use rules::{
    ExceptionTallies, ExceptionTally, SuppressionChange, SuppressionCounts, Suppressions, WindowCounts,
    Windows,
};
use serde_json::{Value, json};

use super::{load_mappings, note_rules, now, source_hint};
use crate::cli::DetectArgs;
use crate::engine::{Detected, Detector, Topics};
use crate::output::{self, Lines};
use crate::rule_loading::RuleSources;

/// What one poll of files may bring: full column batches, little memory.
pub(crate) const FILE_BUDGET: PollBudget =
    PollBudget { records_max: 16_384, bytes_max: 32 << 20, wait: Duration::from_secs(1) };

pub(crate) async fn run(args: DetectArgs) -> anyhow::Result<ExitCode> {
    let mappings = load_mappings(&args.input.mappings)?;
    let hint = source_hint(&args.input.source, &args.logsource, &mappings)?;
    let (rules, report) = RuleSources::named(&args.rules, &args.rewrite).load(now())?;
    note_rules(&report);
    let topics = Topics::all(hint, TenantId::default());
    let rules = Arc::new(rules);
    let mut detector = Detector::new(mappings, Arc::clone(&rules), topics, DecodeLimits::default());
    let mut source = FileSource::open(&args.input.files, FileOptions::default())?;
    let mut tally = Tally::default();
    let mut lines = Lines::stdout();
    let mut completed = Completed::default();
    let mut correlated = 0;
    let progress = output::progress("detect");
    each_portion(&mut source, &mut detector, &mut tally, &progress, |detected| {
        let told = completed.windows.observe(&rules, detected.observations);
        let told = completed.suppressions.observe_correlations(&rules, told);
        correlated += completed.apply(told);
        if detected.suppression_keys.is_empty() {
            return detected.alerts.iter().try_for_each(|alert| lines.json(&line(alert)));
        }
        let told = completed.suppressions.observe(&rules, detected.alerts, detected.suppression_keys);
        completed.apply(told);
        Ok(())
    })
    .await?;
    let told = completed.windows.advance(&rules, &Watermark::END.into());
    let told = completed.suppressions.observe_correlations(&rules, told);
    correlated += completed.apply(told);
    let told = completed.suppressions.advance(Watermark::END);
    completed.apply(told);
    tally.alerts = tally.alerts.saturating_add_signed(correlated);
    tally.windows = completed.windows.counts();
    tally.suppressions = completed.suppressions.counts();
    completed.alerts.values().try_for_each(|alert| lines.json(&line(alert)))?;
    lines.flush()?;
    progress.finish_and_clear();
    Ok(tally.report())
}

/// Alerts that later events may take back: those of correlation rules, and those that may be suppressed. They come last.
#[derive(Default)]
struct Completed {
    windows: Windows,
    suppressions: Suppressions,
    alerts: BTreeMap<(Time, AlertId), Alert>,
}

impl Completed {
    /// Returns how many alerts more there are.
    fn apply(&mut self, changes: Vec<SuppressionChange>) -> i64 {
        let before = self.alerts.len();
        for change in changes {
            match change {
                SuppressionChange::Passed(alert) => {
                    self.alerts.insert((alert.time, alert.id.clone()), alert);
                }
                SuppressionChange::Retracted { alert, time, .. } => {
                    self.alerts.remove(&(time, alert));
                }
                SuppressionChange::Suppressed { .. }
                | SuppressionChange::Running { .. }
                | SuppressionChange::Closed(_) => {}
            }
        }
        self.alerts.len() as i64 - before as i64
    }
}

/// Reads files to their end, a portion at a time, the file furthest behind in event time first.
pub(crate) async fn each_portion(
    source: &mut FileSource,
    detector: &mut Detector,
    tally: &mut Tally,
    progress: &ProgressBar,
    mut take: impl FnMut(Detected) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let polled = source.poll(FILE_BUDGET).await?;
        for fault in &polled.faults {
            tally.fault(fault);
        }
        let detected = detector.detect(&polled.records, now());
        for (partition, reached) in &detected.progress {
            if let Some(time) = reached.time_max {
                source.progress(partition, time);
            }
        }
        tally.add(&detected);
        progress.set_position(tally.records);
        take(detected)?;
        if polled.ended {
            return Ok(());
        }
    }
}

/// An OCSF Detection Finding with the flat fields that scripts rely on.
fn line(alert: &Alert) -> Value {
    let mut finding = event::ocsf::finding(alert);
    // The event that completed a correlation is the last one.
    let record = alert.records.last();
    let place = |record: &RecordRef| json!({"file": record.topic, "line": record.offset + 1});
    if alert.records.len() > 1 {
        finding["lines"] = alert.records.iter().map(place).collect();
    }
    finding["rule_id"] = json!(alert.rule.id);
    finding["rule_title"] = json!(alert.rule.title);
    finding["author"] = json!(alert.rule.author);
    finding["level"] = json!(alert.severity);
    finding["file"] = json!(record.map(|r| &r.topic));
    finding["line"] = json!(record.map(|r| r.offset + 1));
    finding["event_time"] = json!(alert.time);
    finding["attack"] = json!(alert.attack.iter().map(attack_tag).collect::<Vec<_>>());
    finding
}

fn attack_tag(tag: &AttackTag) -> String {
    match tag {
        AttackTag::Tactic(tactic) => format!("attack.{}", tactic.as_str().replace('_', "-")),
        AttackTag::Technique(id) => format!("attack.{}", id.to_ascii_lowercase()),
    }
}

/// What a file command read, for the summary at its end.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    rows: u64,
    alerts: u64,
    /// Values of decoded records that do not fit their column, and where one of them is.
    misfits: u64,
    misfit: Option<Misfit>,
    /// Rows without a time of their own.
    undated: u64,
    /// What correlation rules took in, and what they did not.
    pub(crate) windows: WindowCounts,
    /// Alerts that others stood for.
    pub(crate) suppressions: SuppressionCounts,
    /// Matches that exceptions of overlays hide.
    excepted: ExceptionTallies,
    /// By reason code: how many, and one of them.
    dead: BTreeMap<&'static str, (u64, String)>,
    /// Files with records, and whether any of a file's was decoded.
    decoded: BTreeMap<TopicPartition, bool>,
    faults: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, detected: &Detected) {
        self.records += detected.counts.records;
        self.rows += detected.counts.rows;
        self.alerts += detected.alerts.len() as u64;
        self.misfits += detected.counts.misfits;
        self.undated += detected.counts.undated;
        self.misfit = self.misfit.take().or_else(|| detected.misfit.clone());
        self.excepted.merge(&detected.excepted);
        for (file, reached) in &detected.progress {
            *self.decoded.entry(file.clone()).or_default() |= reached.time_max.is_some();
        }
        for (_, letter) in &detected.dead {
            let example =
                || format!("{} line {}: {}", letter.record.topic, letter.record.offset + 1, letter.reason);
            self.dead.entry(letter.reason.code()).or_insert_with(|| (0, example())).0 += 1;
        }
    }

    pub(crate) fn fault(&mut self, fault: &dyn std::fmt::Display) {
        self.faults.push(fault.to_string());
    }

    /// Records that were decoded.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Says what was read and what was not. A file that could not be read to its end, or of which nothing could be
    /// decoded, is a failure.
    pub(crate) fn report(&self) -> ExitCode {
        let suppressed = self.suppressions.suppressed;
        let alerts = self.alerts.saturating_sub(suppressed);
        output::note(&format!("{} records read, {} events, {alerts} alerts", self.records, self.rows));
        if suppressed > 0 {
            output::note(&format!("  {suppressed} more were suppressed: others stand for them"));
        }
        for (code, (count, example)) in &self.dead {
            output::note(&format!("  {count} not decoded ({code}), such as {example}"));
        }
        if let Some(Misfit { record, column }) = &self.misfit {
            output::note(&format!(
                "  {} values do not fit their column, which stays empty; `raw` has them, such as that of {column} in \
                 {} line {}",
                self.misfits,
                record.topic,
                record.offset + 1
            ));
        }
        if self.undated > 0 {
            output::note(&format!(
                "  {} records have no time of their own, and took that of reading: windows and incidents by time say \
                 little about them",
                self.undated
            ));
        }
        for told in self.losses() {
            output::note(&format!("  {told}"));
        }
        for fault in &self.faults {
            output::note(&format!("error: {fault}"));
        }
        let undecoded = self.decoded.iter().filter(|(_, decoded)| !**decoded);
        let undecoded: Vec<&str> = undecoded.map(|((file, _), _)| &**file).collect();
        for file in &undecoded {
            output::note(&format!("error: nothing of {file} could be decoded; the reasons stand above"));
        }
        if self.faults.is_empty() && undecoded.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// What overlays hide, and what correlation rules and suppression could not judge as it was meant.
    fn losses(&self) -> impl Iterator<Item = String> {
        let Self { windows, suppressions, .. } = self;
        let losses = [
            (windows.late, "events came too late to change what correlation rules had sealed"),
            (windows.expired, "events came too late for any window of correlation rules"),
            (windows.evicted_events, "events were given up, as a group of a correlation rule was full"),
            (windows.evicted_groups, "groups were given up, as a correlation rule had too many"),
            (suppressions.late, "alerts came too late to change what suppression had sealed"),
            (
                suppressions.sealed_early,
                "alerts were judged early, as their key of a suppression had too many",
            ),
            (suppressions.evicted_keys, "keys were given up, as the suppression of a rule had too many"),
        ];
        let hidden = self.excepted.tallies().map(|tally| {
            let ExceptionTally { count, owner, reason, .. } = tally;
            format!("{count} matches are hidden by an exception of {owner}: {reason}")
        });
        let lost = losses.into_iter().filter(|(count, _)| *count > 0);
        hidden.chain(lost.map(|(count, what)| format!("{count} {what}")))
    }
}
