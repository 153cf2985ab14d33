//! `asterism replay`: the whole path offline, files into a data directory.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use correlate::Parameters;
use event::{TenantId, Time, Watermark};
use ingest::{DecodeLimits, FileOptions, FileSource, Source};
use respond::Policy;

use super::detect::{FILE_BUDGET, Tally};
use super::{load_mappings, note_rules, now, source_hint};
use crate::cli::ReplayArgs;
use crate::engine::{Detected, Detector, Pipeline, PipelineOptions, Stores, Topics};
use crate::output;
use crate::rule_loading;

/// Rows buffered between checkpoints: large lake files, little memory.
const CHECKPOINT_ROWS: usize = 100_000;

pub(crate) async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let mappings = load_mappings(&args.input.mappings)?;
    let hint = source_hint(&args.input.source, &[], &mappings)?;
    let (rules, report) = rule_loading::load(&args.rules)?;
    note_rules(&report);
    let (response_rules, _) = rule_loading::load_response(true, &[])?;
    let topics = Topics::all(hint, TenantId::new(args.tenant.as_str()));
    let rules = Arc::new(rules);
    let detector = Detector::new(mappings, Arc::clone(&rules), topics, DecodeLimits::default());
    let source = FileSource::open(&args.input.files, FileOptions::default())?;
    let stores = Stores::open(&args.data_dir).await?;
    let options = PipelineOptions {
        rules,
        parameters: Parameters::builtin()?,
        response_rules,
        // Offline nothing is executed: what would be done is recorded, waiting for a person.
        policy: Policy::default(),
        checkpoint_rows_max: CHECKPOINT_ROWS,
        executes: false,
    };
    let mut pipeline = Pipeline::open(stores.clone(), options, now()).await?;
    let tally = feed(source, detector, &mut pipeline).await?;
    pipeline.checkpoint(now()).await?;
    pipeline.settle().await?;
    let counts = stores.state.incident_counts(&TenantId::new(args.tenant.as_str()))?;
    let incidents: u64 = counts.by_status.values().sum();
    let code = tally.report();
    output::note(&format!("{incidents} incidents in {}", args.data_dir.display()));
    Ok(code)
}

/// Reading and detecting run beside correlating and storing, a bounded number of portions apart.
async fn feed(
    mut source: FileSource,
    mut detector: Detector,
    pipeline: &mut Pipeline,
) -> anyhow::Result<Tally> {
    source.seek(pipeline.positions()).await?;
    let (portions_in, mut portions) = tokio::sync::mpsc::channel::<(Detected, Vec<_>, Vec<_>)>(1);
    let intake = tokio::spawn(async move {
        let mut tally = Tally::default();
        let progress = output::progress("replay");
        loop {
            let polled = source.poll(FILE_BUDGET).await?;
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
