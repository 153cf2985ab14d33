//! `asterism replay`: the whole path offline, files into a data directory.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use event::{TenantId, Time, Watermark};
use ingest::{FileOptions, FilePartition, FileSource, PollBudget, Positions, Source, TopicPartition};

use super::detect::Tally;
use super::run::{Content, detector, pipeline_options};
use super::{now, source_hint};
use crate::cli::ReplayArgs;
use crate::config::{self, Config};
use crate::engine::{Detected, Detector, Pipeline, Stores, Topics};
use crate::{output, rule_loading};

/// What one poll reads of a file at most: three portions are under way at once.
const POLL_RECORDS_MAX: usize = 2_048;
const POLL_BYTES_MAX: usize = 2 << 20;

pub(crate) async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let config = settings(&args)?;
    let content = config::in_file(args.config.as_deref(), Content::load(&config))?;
    let tenant = TenantId::new(args.tenant.as_str());
    let hint = source_hint(&args.input.source, &[], content.mappings())?;
    let topics = Topics::configured_or(&config.kafka.topics, hint, tenant.clone());
    let detector = detector(&config, &content, topics);
    // Positions outlive the command: a file must be known again, and another of its name must not be taken for it.
    let options = FileOptions { partition: FilePartition::Content, ..FileOptions::default() };
    let source = FileSource::open(&args.input.files, options)?;
    let stores = Stores::open(&args.data_dir).await?;
    // Offline nothing is executed: what would be done is recorded, and waits.
    let options = pipeline_options(&config, content, None);
    let mut pipeline = Pipeline::open(stores.clone(), options, now()).await?;
    let mut tally = feed(source, detector, budget(&config), &mut pipeline).await?;
    tally.windows = pipeline.window_counts();
    tally.suppressions = pipeline.suppression_counts();
    pipeline.checkpoint().await?;
    pipeline.settle().await?;
    let counts = stores.state.incident_counts(&tenant)?;
    let incidents: u64 = counts.by_status.values().sum();
    let code = tally.report();
    output::note(&format!("{incidents} incidents in {}", args.data_dir.display()));
    Ok(code)
}

/// What the data directory holds of a file already, or of another one with its name.
fn known((name, partition): &TopicPartition, positions: &Positions) -> Option<String> {
    let lines = |key: &TopicPartition| positions.get(key).copied().filter(|lines| *lines > 0);
    if let Some(lines) = lines(&(Arc::clone(name), *partition)) {
        return Some(format!("{name} was replayed before: its first {lines} lines are not read again"));
    }
    let namesake = positions.keys().any(|(other, number)| other == name && number != partition);
    namesake.then(|| {
        format!("another file {name} was replayed before, or this one before it changed: it is read from its beginning")
    })
}

/// The configuration, with what the command line says instead.
fn settings(args: &ReplayArgs) -> anyhow::Result<Config> {
    let mut config = Config::load(args.config.as_deref())?;
    config.mappings.extend(args.input.mappings.iter().cloned());
    if !args.rules.is_empty() {
        rule_loading::require(&args.rules).context("--rules")?;
        (config.rules.builtin, config.rules.dirs) = (false, args.rules.clone());
    }
    config.rules.pipelines.extend(args.rewrite.pipelines.iter().cloned());
    config.rules.placeholders.extend(args.rewrite.placeholders.iter().cloned());
    config.rules.overlays.extend(args.rewrite.overlays.iter().cloned());
    Ok(config)
}

fn budget(config: &Config) -> PollBudget {
    PollBudget {
        records_max: config.ingest.poll_records_max.min(POLL_RECORDS_MAX),
        bytes_max: config.ingest.poll_bytes_max.min(POLL_BYTES_MAX),
        wait: Duration::from_secs(1),
    }
}

/// Reading and detecting run beside correlating and storing, a bounded number of portions apart.
async fn feed(
    mut source: FileSource,
    mut detector: Detector,
    budget: PollBudget,
    pipeline: &mut Pipeline,
) -> anyhow::Result<Tally> {
    source.seek(pipeline.positions()).await?;
    for known in source.partitions().filter_map(|file| known(file, pipeline.positions())) {
        output::note(&known);
    }
    let (portions_in, mut portions) = tokio::sync::mpsc::channel::<(Detected, Vec<_>, Vec<_>)>(1);
    let intake = async move {
        let mut tally = Tally::default();
        let progress = output::progress("replay");
        loop {
            let polled = source.poll(budget).await?;
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
            let assigned = polled.assigned;
            if portions_in.send((detected, assigned, polled.finished)).await.is_err() || polled.ended {
                progress.finish_and_clear();
                return anyhow::Ok(tally);
            }
        }
    };
    // On a thread of its own, and not as a task that blocks: that one would go from thread to thread, and each keeps memory
    // that it may need again.
    let runtime = tokio::runtime::Handle::current();
    let intake = tokio::task::spawn_blocking(move || runtime.block_on(intake));
    let mut clock = Time::default();
    while let Some((detected, assigned, finished)) = portions.recv().await {
        assigned.iter().for_each(|partition| pipeline.expect(partition));
        // Decisions carry the time of the events, so that the same files give the same record.
        clock = detected.progress.values().filter_map(|p| p.time_max).chain([clock]).max().unwrap_or(clock);
        pipeline.process(detected, clock).await?;
        finished.iter().for_each(|partition| pipeline.finished(partition));
    }
    pipeline.advance(Some(Watermark::END), clock).await?;
    intake.await.context("bug: the reading task panicked")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_file_is_said() {
        let positions = Positions::from([((Arc::from("a.ndjson"), 7), 100)]);
        let said = |name: &str, partition: i32| known(&(Arc::from(name), partition), &positions);
        assert!(said("a.ndjson", 7).is_some_and(|text| text.contains("first 100 lines")));
        assert!(said("a.ndjson", 8).is_some_and(|text| text.contains("another file a.ndjson")));
        assert_eq!(said("b.ndjson", 7), None);
    }
}
