//! `asterism replay`: the whole path offline, files into a data directory.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use event::{TenantId, Time, Watermark};
use ingest::{FileOptions, FileSource, PollBudget, Positions, Source};

use super::detect::Tally;
use super::run::{Content, detector, pipeline_options};
use super::{now, source_hint};
use crate::cli::ReplayArgs;
use crate::config::{self, Config};
use crate::engine::{Detected, Detector, Pipeline, PipelineOptions, Stores, Topics};
use crate::output;

/// Rows buffered between checkpoints at most: large lake files, little memory.
const CHECKPOINT_ROWS: usize = 100_000;

pub(crate) async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let config = settings(&args)?;
    let content = Content::load(&config)?;
    let tenant = TenantId::new(args.tenant.as_str());
    let hint = source_hint(&args.input.source, &[], content.mappings())?;
    let topics = Topics::configured_or(&config.kafka.topics, hint, tenant.clone());
    let detector = detector(&config, &content, topics);
    let source = FileSource::open(&args.input.files, FileOptions::default())?;
    let stores = Stores::open(&args.data_dir).await?;
    let options = PipelineOptions {
        checkpoint_rows_max: config.store.checkpoint_rows_max.min(CHECKPOINT_ROWS),
        // Offline nothing is executed: what would be done is recorded, and waits.
        executes: false,
        ..pipeline_options(&config, content)
    };
    let mut pipeline = Pipeline::open(stores.clone(), options, now()).await?;
    note_read_before(&args.input.files, pipeline.positions());
    let tally = feed(source, detector, budget(&config), &mut pipeline).await?;
    pipeline.checkpoint(now()).await?;
    pipeline.settle().await?;
    let counts = stores.state.incident_counts(&tenant)?;
    let incidents: u64 = counts.by_status.values().sum();
    let code = tally.report();
    output::note(&format!("{incidents} incidents in {}", args.data_dir.display()));
    Ok(code)
}

/// The configuration, with what the command line says instead.
fn settings(args: &ReplayArgs) -> anyhow::Result<Config> {
    let mut config = Config::load(args.config.as_deref())?;
    config.mappings.extend(args.input.mappings.iter().cloned());
    if !args.rules.is_empty() {
        config.rules = config::Rules { builtin: false, dirs: args.rules.clone() };
    }
    Ok(config)
}

/// What an earlier replay into this data directory read is not read again. A file is known by its name and its place
/// in the list alone, so that it is said: it may have been another one.
fn note_read_before(files: &[PathBuf], positions: &Positions) {
    for (index, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
        let place = i32::try_from(index).ok().map(|partition| (Arc::from(name.as_ref()), partition));
        if let Some(lines) = place.and_then(|place| positions.get(&place)) {
            output::note(&format!(
                "{}: {lines} lines of a file {name} were read before, and are left out; for another one use another --data-dir",
                file.display()
            ));
        }
    }
}

fn budget(config: &Config) -> PollBudget {
    PollBudget {
        records_max: config.ingest.poll_records_max,
        bytes_max: config.ingest.poll_bytes_max,
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
    let (portions_in, mut portions) = tokio::sync::mpsc::channel::<(Detected, Vec<_>, Vec<_>)>(1);
    let intake = tokio::spawn(async move {
        let mut tally = Tally::default();
        let progress = output::progress("replay");
        loop {
            let polled = source.poll(budget).await?;
            for fault in &polled.faults {
                tally.fault(fault);
            }
            let detected = tokio::task::block_in_place(|| detector.detect(&polled.records, now()));
            for ((_, partition), reached) in &detected.progress {
                if let Some(time) = reached.time_max {
                    source.progress(*partition, time);
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
    });
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
