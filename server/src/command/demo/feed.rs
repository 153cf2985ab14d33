//! Feeds the simulated company's records to the journal: the last 45 minutes fast, then at the pace of the clock.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use event::Time;
use ingest::Journal;
use serde::{Deserialize, Serialize};
use simulate::{Company, CompanyOptions, GenerateOptions, GeneratedRecord, Generator, Pace, Truth};
use tokio_util::sync::CancellationToken;

use super::{progress_path, truth_path};
use crate::cli::DemoArgs;
use crate::command::now;

/// Event time that passes before the present is reached.
const HISTORY: Duration = Duration::from_secs(45 * 60);
/// Real time in which it passes.
const HISTORY_IN: Duration = Duration::from_secs(30);
/// Event time from the first to the last step of a story.
const STORY_LENGTH: Duration = Duration::from_secs(25 * 60);
/// Records are appended this often.
const STEP: Duration = Duration::from_millis(100);

/// How far the feed came; a second start goes on from here.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    seed: u64,
    start: Time,
    rate_per_s: f64,
    records: u64,
}

/// A record of an attack and where it lies in the journal.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TruthRow {
    pub(super) topic: String,
    pub(super) offset: i64,
    pub(super) story: String,
    pub(super) step: String,
}

pub(super) struct Feed {
    journal: Journal,
    generator: std::iter::Peekable<Generator>,
    progress: Progress,
    progress_path: PathBuf,
    truth_path: PathBuf,
}

impl Feed {
    pub(super) fn open(args: &DemoArgs, journal: Journal) -> anyhow::Result<Self> {
        let progress_path = progress_path(&args.data_dir);
        let progress = match std::fs::read(&progress_path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("in {}", progress_path.display()))?
            }
            Err(_) => Progress {
                seed: args.seed,
                start: now().plus_micros(-i64::try_from(HISTORY.as_micros())?),
                rate_per_s: f64::from(args.rate) * HISTORY_IN.as_secs_f64() / HISTORY.as_secs_f64(),
                records: 0,
            },
        };
        let skip = usize::try_from(progress.records)?;
        let mut generator = generator(&progress);
        if skip > 0 {
            // The generator is deterministic: what was fed before is passed over.
            generator.nth(skip - 1);
        }
        let generator = generator.peekable();
        Ok(Self { journal, generator, progress, progress_path, truth_path: truth_path(&args.data_dir) })
    }

    /// Runs until `stopping` is cancelled; the number of records fed in all runs.
    pub(super) async fn run(mut self, stopping: CancellationToken) -> anyhow::Result<u64> {
        let begun = Instant::now();
        let from = self.generator.peek().map_or(self.progress.start, |r| r.delivery_time);
        let mut steps = tokio::time::interval(STEP);
        steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return Ok(self.progress.records),
                _ = steps.tick() => self.feed_until(reached(from, begun.elapsed())).await?,
            }
        }
    }

    async fn feed_until(&mut self, until: Time) -> anyhow::Result<()> {
        let mut due: BTreeMap<&'static str, Vec<GeneratedRecord>> = BTreeMap::new();
        let mut count = 0;
        while let Some(record) = self.generator.next_if(|r| r.delivery_time <= until) {
            count += 1;
            due.entry(record.topic).or_default().push(record);
        }
        if count == 0 {
            return Ok(());
        }
        for (topic, records) in due {
            self.append(topic, records).await?;
        }
        self.progress.records += count;
        // Written beside and renamed: a kill between the two repeats a step's records, and loses none.
        let partial = self.progress_path.with_extension("partial");
        std::fs::write(&partial, serde_json::to_vec(&self.progress)?)?;
        Ok(std::fs::rename(&partial, &self.progress_path)?)
    }

    async fn append(&self, topic: &str, records: Vec<GeneratedRecord>) -> anyhow::Result<()> {
        let truths: Vec<Option<Truth>> = records.iter().map(|r| r.truth.clone()).collect();
        let payloads: Vec<_> = records.into_iter().map(|r| r.payload.into_bytes().into()).collect();
        let first = self.journal.append(topic, 0, &payloads).await?;
        let rows = (first..).zip(truths).filter_map(|(offset, truth)| {
            let truth = truth?;
            Some(TruthRow {
                topic: topic.to_owned(),
                offset,
                story: truth.story.to_string(),
                step: truth.step.to_owned(),
            })
        });
        let rows: Vec<TruthRow> = rows.collect();
        if rows.is_empty() {
            return Ok(());
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.truth_path)?;
        for row in rows {
            file.write_all(&[serde_json::to_vec(&row)?, b"\n".to_vec()].concat())?;
        }
        Ok(())
    }
}

/// Event time reached after `elapsed` of real time: fast until the present, then with it.
fn reached(from: Time, elapsed: Duration) -> Time {
    let speed = HISTORY.as_secs_f64() / HISTORY_IN.as_secs_f64();
    let fast = from.plus_micros((elapsed.as_secs_f64() * speed * 1e6) as i64);
    fast.min(now()).max(from)
}

fn generator(progress: &Progress) -> Generator {
    let company = Company::new(CompanyOptions {
        seed: progress.seed,
        start: progress.start,
        ..CompanyOptions::default()
    });
    let options = GenerateOptions {
        rate_per_s: Some(progress.rate_per_s),
        pace: Pace::Steady,
        story_length: STORY_LENGTH,
        ..GenerateOptions::default()
    };
    Generator::new(company, options)
}
