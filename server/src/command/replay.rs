//! `asterism replay`: the whole path offline, files into a data directory.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use correlate::Parameters;
use event::{TenantId, Time, Watermark};
use ingest::{DecodeLimits, FileOptions, FilePartition, FileSource, Positions, Source, TopicPartition};
use respond::Policy;

use super::detect::{FILE_BUDGET, Tally};
use super::{load_mappings, note_rules, now, source_hint};
use crate::cli::ReplayArgs;
use crate::engine::{CheckpointLimits, Detected, Detector, Pipeline, PipelineOptions, Stores, Topics};
use crate::output;
use crate::rule_loading;

/// What is buffered between checkpoints: large lake files, little memory.
const CHECKPOINT: CheckpointLimits = CheckpointLimits { rows_max: 100_000, bytes_max: 64 << 20 };

pub(crate) async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let mappings = load_mappings(&args.input.mappings)?;
    let hint = source_hint(&args.input.source, &[], &mappings)?;
    let (rules, report) = rule_loading::load(&args.rules)?;
    note_rules(&report);
    let (response_rules, _) = rule_loading::load_response(true, &[])?;
    let topics = Topics::all(hint, TenantId::new(args.tenant.as_str()));
    let detector = Detector::new(mappings, Arc::new(rules), topics, DecodeLimits::default());
    // Positions outlive the command: a file must be known again, and another of its name must not be taken for it.
    let options = FileOptions { partition: FilePartition::Content, ..FileOptions::default() };
    let source = FileSource::open(&args.input.files, options)?;
    let stores = Stores::open(&args.data_dir).await?;
    let options = PipelineOptions {
        parameters: Parameters::builtin()?,
        response_rules,
        // Offline nothing is executed: what would be done is recorded, waiting for a person.
        policy: Policy::default(),
        checkpoint: CHECKPOINT,
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

/// Reading and detecting run beside correlating and storing, a bounded number of portions apart.
async fn feed(
    mut source: FileSource,
    mut detector: Detector,
    pipeline: &mut Pipeline,
) -> anyhow::Result<Tally> {
    source.seek(pipeline.positions()).await?;
    for known in source.partitions().filter_map(|file| known(file, pipeline.positions())) {
        output::note(&known);
    }
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
