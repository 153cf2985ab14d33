//! Events a second of both engines, on one core.

use std::time::Duration;

use anyhow::{Result, ensure};
use event::EventBatch;
use ingest::Record;
use rsigma_eval::event::JsonEvent;
use serde_json::Value;

use crate::asterism::{Asterism, POLL_RECORDS};
use crate::data;
use crate::diff::{Both, Comparison};
use crate::differences::Extent;
use crate::load::{self, Cost};
use crate::measure;
use crate::rsigma::Rsigma;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Records of each file of real Windows events, from its beginning
    #[arg(long, default_value_t = 1_500)]
    records: usize,
    /// Rounds; the best one counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Events of one batch.
struct Group {
    /// The batch that the records became.
    normalised: EventBatch,
    /// Its flat events.
    events: Vec<Record>,
    /// The same, parsed for the other engine.
    parsed: Vec<Value>,
    /// The same, decoded for ours.
    flat: Vec<EventBatch>,
}

/// What is decoded at once.
struct Poll {
    records: Vec<Record>,
    groups: Vec<Group>,
}

struct Sample {
    polls: Vec<Poll>,
    events: u64,
    flat_bytes: u64,
    record_bytes: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    println!("{}", measure::machine());
    let mut both = Both::load()?;
    let sample = Sample::take(&mut both, arguments.records)?;
    let mut twice = Asterism::load(load::twice(data::rules()?))?;
    let mut best = [Duration::MAX; WORKS.len()];
    let mut alerts = [0; WORKS.len()];
    for _ in 0..arguments.rounds {
        for (at, work) in WORKS.iter().enumerate() {
            let (time, found) = measure::timed(|| (work.run)(&sample, &mut both, &mut twice))?;
            best[at] = best[at].min(time);
            alerts[at] = found;
        }
    }
    check_counts(&alerts)?;
    print_speed(&sample, &best);
    print_goals(&best)?;
    Ok(())
}

/// One thing that is measured; it returns the number of (rule, event) matches.
struct Work {
    name: &'static str,
    is_ours: bool,
    rules_twice: bool,
    bytes: fn(&Sample) -> u64,
    run: fn(&Sample, &mut Both, &mut Asterism) -> Result<u64>,
}

const RSIGMA_PARSE: usize = 0;
const PARSE: usize = 1;
const RSIGMA_EVALUATE: usize = 2;
const EVALUATE: usize = 3;
const NORMALISE: usize = 4;
const PARSE_TWICE: usize = 5;
const EVALUATE_TWICE: usize = 6;

const WORKS: [Work; 7] = [
    Work {
        name: "rsigma-eval: parse, evaluate",
        is_ours: false,
        rules_twice: false,
        bytes: |sample| sample.flat_bytes,
        run: |sample, both, _| sample.rsigma_parse(&both.asterism, &mut both.rsigma),
    },
    Work {
        name: "asterism: parse, evaluate",
        is_ours: true,
        rules_twice: false,
        bytes: |sample| sample.flat_bytes,
        run: |sample, both, _| sample.parse(&mut both.asterism),
    },
    Work {
        name: "rsigma-eval: evaluate",
        is_ours: false,
        rules_twice: false,
        bytes: |sample| sample.flat_bytes,
        run: |sample, both, _| sample.rsigma_evaluate(&both.asterism, &mut both.rsigma),
    },
    Work {
        name: "asterism: evaluate",
        is_ours: true,
        rules_twice: false,
        bytes: |sample| sample.flat_bytes,
        run: |sample, both, _| Ok(sample.evaluate(&both.asterism)),
    },
    Work {
        name: "asterism: parse, normalise to OCSF, evaluate",
        is_ours: true,
        rules_twice: false,
        bytes: |sample| sample.record_bytes,
        run: |sample, both, _| sample.normalise(&mut both.asterism),
    },
    Work {
        name: "asterism, rules twice: parse, evaluate",
        is_ours: true,
        rules_twice: true,
        bytes: |sample| sample.flat_bytes,
        run: |sample, _, twice| sample.parse(twice),
    },
    Work {
        name: "asterism, rules twice: evaluate",
        is_ours: true,
        rules_twice: true,
        bytes: |sample| sample.flat_bytes,
        run: |sample, _, twice| Ok(sample.evaluate(twice)),
    },
];

impl Sample {
    /// Takes the beginning of each file, and checks that both engines find the same in it.
    fn take(both: &mut Both, of_each: usize) -> Result<Self> {
        let mut records = Vec::new();
        for path in data::windows_files()? {
            records.extend(data::records(&path)?.into_iter().take(of_each));
        }
        let mut comparison = Comparison::default();
        let mut polls = Vec::new();
        for records in records.chunks(POLL_RECORDS) {
            let batches = both.asterism.normalise(records)?;
            let group = |batch| Group::of(both, batch, &mut comparison);
            let groups = batches.into_iter().map(group).collect::<Result<_>>()?;
            polls.push(Poll { records: records.to_vec(), groups });
        }
        comparison.report(Extent::Sample)?;
        let bytes =
            |records: &[Record]| records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
        Ok(Self {
            events: comparison.events,
            flat_bytes: polls.iter().flat_map(|poll| &poll.groups).map(|group| bytes(&group.events)).sum(),
            record_bytes: bytes(&records),
            polls,
        })
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.polls.iter().flat_map(|poll| &poll.groups)
    }

    fn rsigma_parse(&self, asterism: &Asterism, rsigma: &mut Rsigma) -> Result<u64> {
        let mut matches = 0;
        for group in self.groups() {
            let engine = &rsigma.route(&asterism.set, &group.normalised.meta.logsources)?.engine;
            for event in &group.events {
                let event: Value = serde_json::from_slice(&event.payload)?;
                matches += engine.evaluate(&JsonEvent::borrow(&event)).len() as u64;
            }
        }
        Ok(matches)
    }

    fn rsigma_evaluate(&self, asterism: &Asterism, rsigma: &mut Rsigma) -> Result<u64> {
        let mut matches = 0;
        for group in self.groups() {
            let engine = &rsigma.route(&asterism.set, &group.normalised.meta.logsources)?.engine;
            let count = |event| engine.evaluate(&JsonEvent::borrow(event)).len() as u64;
            matches += group.parsed.iter().map(count).sum::<u64>();
        }
        Ok(matches)
    }

    fn parse(&self, asterism: &mut Asterism) -> Result<u64> {
        let mut alerts = 0;
        for group in self.groups() {
            let batches = asterism.flat(&group.events, &group.normalised.meta.logsources)?;
            alerts += count_alerts(asterism, &batches);
        }
        Ok(alerts)
    }

    fn evaluate(&self, asterism: &Asterism) -> u64 {
        self.groups().map(|group| count_alerts(asterism, &group.flat)).sum()
    }

    fn normalise(&self, asterism: &mut Asterism) -> Result<u64> {
        let mut alerts = 0;
        for poll in &self.polls {
            let batches = asterism.normalise(&poll.records)?;
            alerts += count_alerts(asterism, &batches);
        }
        Ok(alerts)
    }
}

impl Group {
    fn of(both: &mut Both, normalised: EventBatch, comparison: &mut Comparison) -> Result<Self> {
        let events = both.flat(&normalised)?;
        comparison.compare_batch(both, &normalised, &events)?;
        let parsed =
            events.iter().map(|event| serde_json::from_slice(&event.payload)).collect::<Result<_, _>>()?;
        let flat = both.asterism.flat(&events, &normalised.meta.logsources)?;
        Ok(Self { normalised, events, parsed, flat })
    }
}

/// Alerts are made, as the engine does; the other side makes results of about the same content.
fn count_alerts(asterism: &Asterism, batches: &[EventBatch]) -> u64 {
    batches.iter().map(|batch| asterism.set.evaluate(batch).alerts.len() as u64).sum()
}

fn check_counts(matches: &[u64; WORKS.len()]) -> Result<()> {
    let expected = matches[PARSE];
    for (work, found) in WORKS.iter().zip(matches).filter(|(work, _)| work.is_ours) {
        let expected = if work.rules_twice { 2 * expected } else { expected };
        ensure!(*found == expected, "{}: {found} alerts in place of {expected}", work.name);
    }
    ensure!(matches[RSIGMA_PARSE] == matches[RSIGMA_EVALUATE], "rsigma-eval finds less when it parses");
    Ok(())
}

fn print_speed(sample: &Sample, best: &[Duration; WORKS.len()]) {
    println!(
        "\n{} events, {:.0} MB, processor time of one core:\n",
        sample.events,
        sample.flat_bytes as f64 / 1e6
    );
    println!("| Measured | Events/s | MB/s |\n|---|---:|---:|");
    for (work, time) in WORKS.iter().zip(best) {
        let seconds = time.as_secs_f64();
        let megabytes = (work.bytes)(sample) as f64 / 1e6 / seconds;
        println!("| {} | {:.0} | {megabytes:.0} |", work.name, sample.events as f64 / seconds);
    }
}

/// The goals of the Sigma layer, and what was measured.
fn print_goals(best: &[Duration; WORKS.len()]) -> Result<()> {
    let ratio = |slow: usize, fast: usize| best[slow].as_secs_f64() / best[fast].as_secs_f64();
    println!("\n| Goal | Measured |\n|---|---:|");
    println!("| at least 4 times rsigma-eval, parse included | {:.1} |", ratio(RSIGMA_PARSE, PARSE));
    println!("| the same, normalising to OCSF as well | {:.1} |", ratio(RSIGMA_PARSE, NORMALISE));
    println!("| evaluation alone | {:.1} |", ratio(RSIGMA_EVALUATE, EVALUATE));
    println!(
        "| twice the rules at most 1.3 times the time, parse included | {:.2} |",
        ratio(PARSE_TWICE, PARSE)
    );
    println!("| evaluation alone | {:.2} |", ratio(EVALUATE_TWICE, EVALUATE));
    println!("\n| Loading | Rules | Load s | Ready s | Kept MB | Peak MB |\n|---|---:|---:|---:|---:|---:|");
    for engine in ["asterism", "asterism-twice", "rsigma"] {
        println!("{}", row(engine, &load::measured(engine)?));
    }
    Ok(())
}

fn row(engine: &str, cost: &Cost) -> String {
    let seconds = |ms: u64| ms as f64 / 1e3;
    let megabytes = |kib: u64| kib as f64 * 1024.0 / 1e6;
    format!(
        "| {engine} | {} | {:.2} | {:.2} | {:.0} | {:.0} |",
        cost.rules,
        seconds(cost.load_ms),
        seconds(cost.ready_ms),
        megabytes(cost.kept_kib),
        megabytes(cost.peak_kib)
    )
}
