//! Response latency: how long after a record is durable the provider has the request that it led to, while the daemon takes
//! records at a given rate. Real daemon, HTTP intake, journal, stores; simulated EDR and Graph.
//!
//! An action that ran by itself was decided on the alerts that its audit entry names. The latest of their records to be
//! acknowledged by the intake is the one that decided; from there the clock runs, over the poll, decoding, detection,
//! correlation, the decision, its write to disk and the probe, until the intent to send is on disk (`intent`), and until
//! the provider has answered (`answered`). Equal results first: every record is in the lake, and no host was isolated twice.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program that prints.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use benches::daemon::{Daemon, free_port};
use clap::Parser;
use event::Time;
use serde_json::Value;
use simulate::{
    Company, CompanyOptions, EdrConfig, EdrSimulator, GenerateOptions, Generator, GraphConfig, GraphSimulator,
};

/// Feeds a daemon at a rate and prints the latency of what it does by itself.
#[derive(Parser)]
struct Args {
    /// The binary
    #[arg(long, default_value = "target/release/asterism")]
    asterism: PathBuf,
    /// Records a second
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the daemon lives [default: a folder below the system's temporary one]
    #[arg(long)]
    scratch: Option<PathBuf>,
}

/// Records go out in ticks of this length.
const TICK: Duration = Duration::from_millis(100);

/// The company makes so many records a second of its own time: the feed squeezes it.
const COMPANY_RATE: f64 = 60.0;

/// When the record at an offset of a topic was acknowledged, in microseconds: ranges by their first offset.
type Acknowledged = HashMap<String, BTreeMap<i64, i64>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let scratch = args.scratch.clone().unwrap_or_else(|| std::env::temp_dir().join("asterism-latency"));
    std::fs::create_dir_all(&scratch)?;
    println!("{}", benches::machine());
    let company = Company::new(CompanyOptions { seed: 1, ..CompanyOptions::default() });
    let machines = company.hosts().iter().map(|host| host.fqdn().to_owned()).collect();
    let users = company.people().iter().map(|person| person.upn().to_owned()).collect();
    let edr = EdrSimulator::start(EdrConfig { machines, ..EdrConfig::default() }).await?;
    let graph = GraphConfig { users, onboard_unknown: true, ..GraphConfig::default() };
    let graph = GraphSimulator::start(graph).await?;
    let ticks = ticks(company, &args);
    let site = Site::start(&args, &scratch, &edr.url(), &graph.url()).await?;
    let acknowledged = site.feed(ticks, args.rate).await?;
    site.settle().await?;
    let isolations = edr.machines().iter().map(|machine| machine.isolations).max().unwrap_or_default();
    ensure!(isolations <= 1, "a host was isolated {isolations} times");
    report(&site.latencies(&acknowledged).await?)?;
    drop(site);
    std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
}

/// What is sent together: records of one kind of source.
type Tick = BTreeMap<&'static str, (u64, String)>;

fn ticks(company: Company, args: &Args) -> Vec<Tick> {
    let events = args.rate * args.seconds;
    let options = GenerateOptions {
        events: Some(events),
        rate_per_s: Some(COMPANY_RATE),
        pace: simulate::Pace::Steady,
        story_length: Duration::from_secs(600),
        story_repeat: Some(Duration::from_secs(300)),
        ..GenerateOptions::default()
    };
    let of_tick = (args.rate * TICK.as_millis() as u64 / 1_000) as usize;
    let records: Vec<_> = Generator::new(company, options).collect();
    let tick = |records: &[simulate::GeneratedRecord]| {
        let mut tick = Tick::new();
        for record in records {
            let (count, body) = tick.entry(record.source_kind).or_default();
            *count += 1;
            body.push_str(&record.payload);
            body.push('\n');
        }
        tick
    };
    records.chunks(of_tick.max(1)).map(tick).collect()
}

/// The daemon under load.
struct Site(Daemon);

impl Site {
    async fn start(args: &Args, dir: &Path, edr: &str, graph: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let (edr_token, graph_token) = (dir.join("edr.token"), dir.join("graph.token"));
        std::fs::write(&edr_token, EdrConfig::default().token)?;
        std::fs::write(&graph_token, GraphConfig::default().token)?;
        let config = format!(
            "data_dir = {:?}\n[api]\nlisten = \"127.0.0.1:{port}\"\n\
             [respond]\nconnectors = [{{ file = \"microsoft_graph\", url = {graph:?}, token_file = {graph_token:?} }}]\n\
             [respond.edr]\nurl = {edr:?}\ntoken_file = {edr_token:?}\n\
             [respond.policy]\nautomation = \"full\"\nauto_confidence_min = 0\nauto_domains_min = 1\n\
             caps = {{ rule_per_hour_max = 100000, tenant_per_hour_max = 100000, concurrent_max = 100000 }}\n",
            dir.join("data")
        );
        let file = dir.join("asterism.toml");
        std::fs::write(&file, config)?;
        Ok(Self(Daemon::start(&args.asterism, &file, port).await?))
    }

    /// Sends every tick at its time; one that cannot be sent in time follows at once.
    async fn feed(&self, ticks: Vec<Tick>, rate: u64) -> anyhow::Result<Acknowledged> {
        let (mut acknowledged, mut sent) = (Acknowledged::new(), 0);
        let begun = Instant::now();
        for (n, tick) in (0..).zip(ticks) {
            tokio::time::sleep_until((begun + TICK * n).into()).await;
            for (kind, (count, body)) in tick {
                let answer = self.0.ingest(kind, body).await?;
                let topic = answer["topic"].as_str().context("no topic")?.to_owned();
                let first = answer["first_offset"].as_i64().context("no offset")?;
                acknowledged.entry(topic).or_default().insert(first, now_us()?);
                sent += count;
            }
        }
        let took = begun.elapsed().as_secs_f64();
        println!("{sent} records in {took:.1} s: {:.0}/s (asked: {rate}/s)", sent as f64 / took);
        Ok(acknowledged)
    }

    /// Waits until all records are in the lake, and no action is open.
    async fn settle(&self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(300);
        loop {
            let open = self
                .0
                .get("actions?state=queued,probing,dispatching,accepted,running,verifying,outcome_unknown")
                .await?;
            let metrics = self.0.metrics().await?;
            let behind = metrics
                .lines()
                .find_map(|line| line.strip_prefix("asterism_lake_buffered_rows ")?.parse::<f64>().ok());
            if open["items"].as_array().is_some_and(Vec::is_empty) && behind == Some(0.0) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the daemon does not come to rest");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Of each action that ran by itself: microseconds to the intent, and to the provider's answer.
    async fn latencies(&self, acknowledged: &Acknowledged) -> anyhow::Result<Vec<(i64, i64)>> {
        let mut evidence: HashMap<String, Vec<String>> = HashMap::new();
        for entry in self.audit().await? {
            let record = &entry["record"];
            if record["kind"] == "decision" {
                let ids = record["details"]["evidence"].as_str().unwrap_or_default();
                let subject = record["subject"].as_str().unwrap_or_default().to_owned();
                evidence.insert(subject, ids.split(' ').map(str::to_owned).collect());
            }
        }
        let mut latencies = Vec::new();
        for action in self.0.all("actions?").await? {
            let at = |state: &str| {
                let step = action["history"].as_array()?.iter().find(|step| step["to"] == state)?;
                Time::parse(step["at"].as_str()?).ok()
            };
            let is_own = action["decision"]["outcome"] == "execute" && action["decision"]["rule"] != "undo";
            let (Some(intent), Some(answered), true) = (at("dispatching"), at("accepted"), is_own) else {
                continue;
            };
            let id = action["id"].as_str().unwrap_or_default();
            let alerts = evidence.get(id).with_context(|| format!("{id} was decided without an entry"))?;
            let mut decided = i64::MIN;
            for alert in alerts {
                decided = decided.max(self.acknowledged(alert, acknowledged).await?);
            }
            latencies.push((intent.micros() - decided, answered.micros() - decided));
        }
        Ok(latencies)
    }

    /// When the last record of an alert was acknowledged.
    async fn acknowledged(&self, alert: &str, acknowledged: &Acknowledged) -> anyhow::Result<i64> {
        let alert = self.0.get(&format!("alerts/{alert}")).await?;
        let mut last = i64::MIN;
        for record in alert["records"].as_array().into_iter().flatten() {
            let topic = record["topic"].as_str().unwrap_or_default();
            let offset = record["offset"].as_i64().context("a record without an offset")?;
            let range = acknowledged.get(topic).and_then(|ranges| ranges.range(..=offset).next_back());
            last = last.max(*range.with_context(|| format!("{topic}/{offset} was never sent"))?.1);
        }
        Ok(last)
    }

    async fn audit(&self) -> anyhow::Result<Vec<Value>> {
        let (mut entries, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let page = self.0.get(&format!("audit?cursor={cursor}")).await?;
            entries.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return Ok(entries),
            }
        }
    }
}

fn report(latencies: &[(i64, i64)]) -> anyhow::Result<()> {
    if latencies.is_empty() {
        bail!("nothing ran by itself: there is nothing to measure");
    }
    println!("{} actions ran by themselves; ms from the deciding record's acknowledgement", latencies.len());
    for (name, of) in [("intent", 0), ("answered", 1)] {
        let mut all: Vec<i64> = latencies.iter().map(|l| if of == 0 { l.0 } else { l.1 }).collect();
        all.sort_unstable();
        let at = |share: usize| all[(all.len() - 1) * share / 100] as f64 / 1e3;
        println!("{name:>9}: p50 {:.0}, p90 {:.0}, p99 {:.0}, max {:.0}", at(50), at(90), at(99), at(100));
    }
    Ok(())
}

fn now_us() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}
