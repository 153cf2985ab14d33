//! Correlation rules alone, one core: 100 rules, a million live groups, one event in ten out of order. Says matched
//! events per second of processor time and bytes a group; first it checks that the alerts that stand are those of the
//! same events in order.
#![allow(clippy::print_stdout)] // A program that prints.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use anyhow::ensure;
use benches::{on_cpu_ns, resident};
use clap::Parser;
use event::{TenantId, Time, Watermark};
use ingest::{DecodeLimits, Decoder, MappingSet, Record, SourceKindHint};
use rules::{CorrelationChange, Observation, RuleSet, Windows};

/// As in the engine.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const RULES: u64 = 100;
/// Observations handed over at once, as a poll of the engine brings them.
const PORTION: usize = 8_192;
const LATENESS_S: i64 = 300;
const START_S: i64 = 1_772_434_800;

#[derive(Parser)]
struct Args {
    /// Events, of which three in four match
    #[arg(long, default_value_t = 2_600_000)]
    events: u64,
    /// Groups that events are of, over all rules; three in four are alive at the end
    #[arg(long, default_value_t = 1_330_000)]
    groups: u64,
    /// Rounds; the best one counts
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// Half count, the others count values, add them up, or ask for an order.
fn rules() -> anyhow::Result<RuleSet> {
    let mut text = String::new();
    for n in 0..RULES {
        let (kind, condition) = match n % 10 {
            0..5 => ("event_count", "{gte: 4}"),
            5 | 6 => ("value_count", "{field: peer, gte: 3}"),
            7 => ("value_sum", "{field: bytes, gte: 3500}"),
            _ => ("temporal_ordered", ""),
        };
        writeln!(
            text,
            "---\ntitle: base {n}\nname: b{n}\nlogsource: {{product: bench}}\ndetection: {{s: {{kind: k{n}, step: [1, 2]}}, condition: s}}"
        )?;
        let (watched, condition) = if condition.is_empty() {
            writeln!(
                text,
                "---\ntitle: then {n}\nname: t{n}\nlogsource: {{product: bench}}\ndetection: {{s: {{kind: k{n}, step: 3}}, condition: s}}"
            )?;
            (format!("[b{n}, t{n}]"), String::new())
        } else {
            (format!("[b{n}]"), format!("  condition: {condition}\n"))
        };
        write!(
            text,
            "---\ntitle: correlation {n}\nname: c{n}\nlevel: high\ncorrelation:\n  type: {kind}\n  rules: {watched}\n  group-by: [user]\n  timespan: 1h\n{condition}"
        )?;
    }
    let (rules, report) = RuleSet::load([("bench.yml".to_owned(), text)]);
    ensure!(report.rejected.is_empty(), "{:?}", report.rejected);
    Ok(rules)
}

/// Splitmix64: the same events every time.
fn scramble(n: u64) -> u64 {
    let z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Second of event `n`: all of them within half an hour, so that every group stays alive.
fn second(n: u64, events: u64) -> i64 {
    START_S + i64::try_from(n * 1_800 / events).unwrap_or(0)
}

/// The events in the order of arrival: one in ten comes up to five minutes after its time.
fn order(events: u64) -> Vec<u64> {
    let late = u64::try_from(LATENESS_S - 10).unwrap_or(0) * events / 1_800;
    let arrival = |n: u64| if scramble(n).is_multiple_of(10) { n + scramble(n ^ 1) % late.max(1) } else { n };
    let mut order: Vec<u64> = (0..events).collect();
    order.sort_by_key(|n| (arrival(*n), *n));
    order
}

fn record(n: u64, args: &Args) -> Record {
    let user = scramble(n ^ 7) % args.groups;
    let rule = user % RULES;
    let payload = format!(
        r#"{{"@uid":"{n}","time":{},"kind":"k{rule}","step":{},"user":"user{user}","peer":"peer{}","bytes":{}}}"#,
        second(n, args.events),
        1 + scramble(n ^ 3) % 3,
        scramble(n ^ 5) % 50,
        scramble(n ^ 9) % 2_000,
    );
    let offset = i64::try_from(n).unwrap_or(i64::MAX);
    Record { topic: "bench".into(), partition: 0, offset, payload: payload.into(), truncated_from: None }
}

fn observations(rules: &RuleSet, order: &[u64], args: &Args) -> anyhow::Result<Vec<Vec<Observation>>> {
    let mut decoder = Decoder::new(
        Arc::new(MappingSet::builtin()?),
        &rules.native_fields_by_logsource().into(),
        DecodeLimits::default(),
    );
    let hint = SourceKindHint::Json { logsources: [].into() };
    let mut portions = Vec::new();
    for chunk in order.chunks(PORTION) {
        let records: Vec<Record> = chunk.iter().map(|n| record(*n, args)).collect();
        let decoded = decoder.decode(&records, &hint, &TenantId::default(), Time::from_secs(START_S));
        portions.push(decoded.batches.iter().flat_map(|batch| rules.evaluate(batch).observations).collect());
    }
    Ok(portions)
}

struct Outcome {
    standing: BTreeSet<String>,
    cpu_s: f64,
    groups: usize,
    kept: usize,
    rss_delta: u64,
}

/// Feeds the portions; event time follows five minutes behind the newest event.
fn run(
    rules: &RuleSet,
    portions: Vec<Vec<Observation>>,
    order: &[u64],
    args: &Args,
) -> anyhow::Result<Outcome> {
    let mut windows = Windows::default();
    let mut standing = BTreeSet::new();
    let mut apply = |changes: Vec<CorrelationChange>| {
        for change in changes {
            match change {
                CorrelationChange::Fired(alert) => {
                    standing.insert(alert.id.to_string());
                }
                CorrelationChange::Retracted { alert, .. } => {
                    standing.remove(alert.as_str());
                }
            }
        }
    };
    let before = resident()?;
    let mut cpu_ns = 0;
    let mut newest = i64::MIN;
    for (portion, chunk) in portions.into_iter().zip(order.chunks(PORTION)) {
        newest = chunk.iter().map(|n| second(*n, args.events)).max().unwrap_or(newest).max(newest);
        let begun = on_cpu_ns()?;
        let mut changes = windows.observe(rules, portion);
        changes.extend(windows.advance(rules, &Watermark(Time::from_secs(newest - LATENESS_S)).into()));
        cpu_ns += on_cpu_ns()? - begun;
        // Keeping books of what stands is not the engine's work.
        apply(changes);
    }
    let cpu_s = cpu_ns as f64 / 1e9;
    let (groups, kept) = (windows.groups(), windows.events());
    ensure!(windows.counts().expired == 0 && windows.counts().late == 0, "{:?}", windows.counts());
    let rss_delta = resident()?.saturating_sub(before);
    apply(windows.advance(rules, &Watermark::END.into()));
    Ok(Outcome { standing, cpu_s, groups, kept, rss_delta })
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    println!("{}", benches::machine());
    let rules = rules()?;
    let in_order: Vec<u64> = (0..args.events).collect();
    let expected = run(&rules, observations(&rules, &in_order, &args)?, &in_order, &args)?;
    let order = order(args.events);
    let portions = observations(&rules, &order, &args)?;
    let matched: usize = portions.iter().map(Vec::len).sum();
    let mut best = f64::MAX;
    for _ in 0..args.rounds {
        let outcome = run(&rules, portions.clone(), &order, &args)?;
        ensure!(outcome.standing == expected.standing, "the order of arrival must not change an alert");
        best = best.min(outcome.cpu_s);
        println!(
            "{matched} matched events, {} groups and {} events held, {} alerts stand, {:.2} s of processor time, {} MiB more resident",
            outcome.groups,
            outcome.kept,
            outcome.standing.len(),
            outcome.cpu_s,
            outcome.rss_delta >> 20,
        );
    }
    println!("{:.0} matched events a second and core", matched as f64 / best);
    Ok(())
}
