//! The alert graph alone, one core: alerts in, incidents out. Says alerts per second, the time of single alerts, memory,
//! and the cost of a storm on one hub.
//!
//! First it checks, on fewer alerts, that the order of arrival changes nothing and that the incidents are the connected
//! components that petgraph finds over all scored pairs, joined in one batch.
#![allow(clippy::print_stdout)] // A program that prints.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, ensure};
use benches::{on_cpu_ns, peak_kib, resident};
use clap::Parser;
use correlate::{Correlator, Parameters};
use event::{
    Alert, AlertId, AttackTag, Class, Domain, Entity, EntityType, Role, RuleRef, Severity, Tactic, TenantId,
    Time, Watermark,
};
use petgraph::unionfind::UnionFind;

/// The engine's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures the alert graph.
#[derive(Parser)]
struct Args {
    /// Alerts
    #[arg(long, default_value_t = 1_000_000)]
    alerts: u64,
    /// Alerts in the comparison with petgraph
    #[arg(long, default_value_t = 100_000)]
    compared: u64,
    /// Alerts of the storm on one hub, beside as many that are not of it
    #[arg(long, default_value_t = 1_000_000)]
    storm: u64,
    /// Alerts handed over at once
    #[arg(long, value_delimiter = ',', default_values_t = [PORTION, BACKLOG, LONG_BACKLOG])]
    portions: Vec<usize>,
    /// Alerts and incidents held in memory at most [default: as shipped]
    #[arg(long)]
    held: Option<u64>,
    /// Only the parts whose name contains this: compared, single, many, storm
    #[arg(long, default_value = "")]
    only: String,
}

/// Alerts handed over at once while they come as they happen, 44 seconds of them.
const PORTION: usize = 512;
/// Alerts handed over at once while a backlog is worked off.
const BACKLOG: usize = 8_192;
/// The same where alerts of an hour and a half have waited.
const LONG_BACKLOG: usize = 65_536;
const START_S: i64 = 1_772_434_800;
const LATENESS_US: i64 = 300_000_000;
/// Alerts in a day of event time.
const PER_DAY: u64 = 1_000_000;

/// Splitmix64: the same alerts every time.
fn scramble(n: u64) -> u64 {
    let z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Eight entities an alert: a device and its address, a user, two processes, a file, an outside address, a domain. One
/// alert in fifty belongs to an attack of thirty that goes from host to host; one in twenty names the domain controller.
fn alert(n: u64) -> Alert {
    let r = |salt: u64| scramble(n ^ (salt << 48));
    let is_attack = r(1) % 50 == 0;
    let attack = n / 1_500;
    let host = match (is_attack, r(2) % 20) {
        (true, _) => scramble(attack) % 5_000 + r(3) % 4,
        (false, 0) => 0,
        _ => r(3) % 5_000,
    };
    let user = if is_attack { scramble(attack) % 8_000 } else { r(4) % 8_000 };
    let process =
        if is_attack { format!("a{attack}-{}", r(5) % 6) } else { format!("p{}", r(5) % 3_000_000) };
    let rule = if is_attack { 200 + r(6) % 40 } else { (r(6) % 200) * (r(7) % 200) / 200 };
    let outside = if is_attack { scramble(attack ^ 7) % 250 } else { r(8) % 60_000 };
    let entities = [
        (EntityType::Device, Role::Device, format!("ws-{host}.contoso.example")),
        (EntityType::Ip, Role::Related, format!("10.{}.{}.{}", host / 65_536, host / 256 % 256, host % 256)),
        (EntityType::User, Role::Actor, format!("user{user}@contoso.example")),
        (EntityType::Process, Role::Related, format!("ws-{host}/{process}")),
        (EntityType::Process, Role::Related, format!("ws-{host}/parent{}", r(9) % 400_000)),
        (
            EntityType::File,
            Role::Related,
            format!("{:064x}", if is_attack { attack } else { r(10) % 20_000 }),
        ),
        (EntityType::Ip, Role::Related, format!("203.{}.{}.7", outside / 256, outside % 256)),
        (EntityType::Domain, Role::Related, format!("d{outside}.example")),
    ];
    let severity =
        if is_attack { Severity::High } else { [Severity::Low, Severity::Medium][(r(11) % 2) as usize] };
    let tactic = Tactic::ALL[(r(12) % 14) as usize];
    let us = (u128::from(n) * 86_400_000_000 / u128::from(PER_DAY)) as i64;
    made(format!("alert-{n}"), Time::from_secs(START_S).plus_micros(us), rule, severity, tactic, &entities)
}

/// An alert of the storm: one address, one account, every host in turn.
fn storm_alert(n: u64, all: u64) -> Alert {
    let us = (u128::from(n) * 86_400_000_000 / u128::from(all.max(1))) as i64;
    let entities = [
        (EntityType::Device, Role::Device, format!("ws-{}.contoso.example", n % 5_000)),
        (EntityType::Ip, Role::Related, "10.255.0.1".to_owned()),
        (EntityType::User, Role::Actor, "svc-scanner@contoso.example".to_owned()),
    ];
    let time = Time::from_secs(START_S).plus_micros(us);
    made(format!("storm-{n}"), time, 900 + n % 3, Severity::Medium, Tactic::Discovery, &entities)
}

fn made(
    id: String,
    time: Time,
    rule: u64,
    severity: Severity,
    tactic: Tactic,
    entities: &[(EntityType, Role, String)],
) -> Alert {
    let title = format!("Rule {rule}");
    Alert {
        id: AlertId::new(id.as_str()),
        tenant: TenantId::default(),
        time,
        end_time: time,
        rule: RuleRef { id: title.as_str().into(), title: title.as_str().into(), author: None },
        title: title.into(),
        severity,
        domain: Domain::Endpoint,
        product: "bench".into(),
        source: "bench".into(),
        class: Class::DETECTION_FINDING,
        event_uid: id.into(),
        attack: vec![AttackTag::Tactic(tactic)],
        entities: entities.iter().filter_map(|(t, role, value)| Entity::new(*t, *role, value)).collect(),
        records: Vec::new(),
        evidence: Vec::new(),
    }
}

/// In order of arrival: one in twenty is up to five minutes late.
fn arrival(mut alerts: Vec<Alert>) -> Vec<Alert> {
    let late = |alert: &Alert, i: u64| {
        let by =
            if scramble(i ^ 0xabc).is_multiple_of(20) { scramble(i) % (LATENESS_US as u64 - 1) } else { 0 };
        alert.time.0 + by as i64
    };
    let mut keyed: Vec<(i64, u64, Alert)> =
        (0..).zip(alerts.drain(..)).map(|(i, alert)| (late(&alert, i), i, alert)).collect();
    keyed.sort_by_key(|(time, i, _)| (*time, *i));
    keyed.into_iter().map(|(_, _, alert)| alert).collect()
}

struct Measured {
    cpu_s: f64,
    /// Of these for scores and the forest, without what is told.
    placed_s: f64,
    /// The longest portion, in seconds.
    longest_s: f64,
    deltas: usize,
}

/// Feeds the alerts in portions; event time follows five minutes behind the newest.
fn feed(correlator: &mut Correlator, alerts: Vec<Alert>, portion: usize) -> anyhow::Result<Measured> {
    let (mut newest, mut longest_s, mut placed_s, mut deltas) = (i64::MIN, 0_f64, 0.0, 0);
    let begun = on_cpu_ns()?;
    let mut alerts = alerts.into_iter().peekable();
    while alerts.peek().is_some() {
        let portion: Vec<Alert> = alerts.by_ref().take(portion).collect();
        newest = portion.iter().map(|alert| alert.time.0).max().unwrap_or(newest).max(newest);
        let started = on_cpu_ns()?;
        correlator.push(portion);
        let watermark = Watermark(Time(newest - LATENESS_US));
        correlator.place(watermark);
        placed_s += (on_cpu_ns()? - started) as f64 / 1e9;
        deltas += correlator.advance(watermark).len();
        longest_s = longest_s.max((on_cpu_ns()? - started) as f64 / 1e9);
    }
    Ok(Measured { cpu_s: (on_cpu_ns()? - begun) as f64 / 1e9, placed_s, longest_s, deltas })
}

fn correlator() -> anyhow::Result<Correlator> {
    Ok(Correlator::new(Parameters::builtin()?))
}

/// One that holds so many alerts and incidents, not what is shipped.
fn holding(held: Option<u64>) -> anyhow::Result<Correlator> {
    let Some(held) = held else { return correlator() };
    let mut text = Parameters::builtin()?.text().to_owned();
    for (limit, shipped) in [("alerts", 1_000_000), ("incidents", 500_000)] {
        let line = format!("  {limit}: {shipped}\n");
        ensure!(text.contains(&line), "the shipped parameters have no line {line:?}");
        text = text.replace(&line, &format!("  {limit}: {held}\n"));
    }
    Ok(Correlator::new(Parameters::parse(&text)?))
}

type Groups = BTreeSet<Vec<String>>;

fn incidents(correlator: &Correlator) -> Groups {
    let incidents = correlator.incidents(&TenantId::default());
    let sorted = |ids: &[AlertId]| {
        let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.sort();
        ids
    };
    incidents.iter().map(|incident| sorted(&incident.alerts)).collect()
}

/// Incidents against the components of all scored pairs, and against another order of arrival.
fn compare(count: u64) -> anyhow::Result<()> {
    let alerts: Vec<Alert> = (0..count).map(alert).collect();
    let mut ours = correlator()?;
    ours.push(alerts.clone());
    ours.record_pairs();
    let begun = on_cpu_ns()?;
    ours.flush();
    let ours_s = (on_cpu_ns()? - begun) as f64 / 1e9;
    let found = incidents(&ours);
    let pairs = ours.take_pairs();
    let begun = on_cpu_ns()?;
    let mut union: UnionFind<u32> = UnionFind::new(alerts.len());
    let mut places = BTreeMap::new();
    for id in pairs.iter().flat_map(|(a, b)| [a, b]) {
        let next = places.len() as u32;
        places.entry(id.clone()).or_insert(next);
    }
    for (a, b) in &pairs {
        union.union(places[a], places[b]);
    }
    let mut groups: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (id, place) in &places {
        groups.entry(union.find(*place)).or_default().push(id.to_string());
    }
    let peer_s = (on_cpu_ns()? - begun) as f64 / 1e9;
    let alone =
        alerts.iter().filter(|alert| !places.contains_key(&alert.id)).map(|alert| vec![alert.id.to_string()]);
    let mut expected: Groups = groups.into_values().collect();
    expected.extend(alone);
    ensure!(
        found == expected,
        "{} incidents, but {} components of the scored pairs",
        found.len(),
        expected.len()
    );
    let mut late = correlator()?;
    feed(&mut late, arrival(alerts), PORTION)?;
    late.flush();
    ensure!(incidents(&late) == found, "the order of arrival must not change an incident");
    println!(
        "{count} alerts: {} incidents, the components of {} scored pairs; {ours_s:.2} s for scores and incidents, {peer_s:.2} s for petgraph's components of the finished pairs",
        found.len(),
        pairs.len(),
    );
    Ok(())
}

/// The time of single alerts, each handed over alone.
fn one_at_a_time(count: u64) -> anyhow::Result<()> {
    let mut single = correlator()?;
    let mut times_us = Vec::new();
    let mut newest = i64::MIN;
    for alert in arrival((0..count).map(alert).collect()) {
        newest = newest.max(alert.time.0);
        // The processor time of a thread is known to some milliseconds only.
        let begun = Instant::now();
        single.push([alert]);
        single.advance(Watermark(Time(newest - LATENESS_US)));
        times_us.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    times_us.sort_by(f64::total_cmp);
    let at = |share: f64| times_us[((times_us.len() - 1) as f64 * share) as usize];
    println!(
        "one alert at a time, {count} alerts: p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, longest {:.0} us",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    Ok(())
}

/// Alerts per second, through scores and forest and with all incidents told, and memory.
fn many(count: u64, portion: usize, held: Option<u64>) -> anyhow::Result<()> {
    /// Alerts made at once: they are the benchmark's own memory.
    const MADE: u64 = 500_000;
    let before = resident()?;
    let mut all = holding(held)?;
    let (mut cpu_s, mut placed_s, mut deltas, mut longest_s) = (0.0, 0.0, 0, 0_f64);
    let mut from = 0;
    while from < count {
        let to = (from + MADE).min(count);
        let measured = feed(&mut all, arrival((from..to).map(alert).collect()), portion)?;
        cpu_s += measured.cpu_s;
        placed_s += measured.placed_s;
        deltas += measured.deltas;
        longest_s = longest_s.max(measured.longest_s);
        from = to;
    }
    println!(
        "{count} alerts, eight entities each, {portion} at a time: {:.0} alerts/s through scores and forest, {:.0} alerts/s all told ({deltas} deltas), longest portion {:.0} ms, {} MiB more resident, peak of the process {} MiB",
        count as f64 / placed_s,
        count as f64 / cpu_s,
        longest_s * 1e3,
        resident()?.saturating_sub(before) >> 20,
        peak_kib("self").context("VmHWM")? >> 10,
    );
    println!("{:?}", all.stats());
    Ok(())
}

/// What an alert costs while as many others, or ten times as many, storm one hub.
fn storms(storm: u64) -> anyhow::Result<()> {
    for storm in [0, storm / 10, storm] {
        let quiet = PER_DAY / 10;
        let others = (0..quiet).map(|n| alert(n * 10));
        let mut mixed: Vec<Alert> = others.chain((0..storm).map(|n| storm_alert(n, storm))).collect();
        mixed.sort_by_key(|alert| alert.time);
        let count = mixed.len();
        let mut correlator = correlator()?;
        let measured = feed(&mut correlator, mixed, PORTION)?;
        println!(
            "{quiet} alerts and a storm of {storm} on one hub: {:.2} us an alert, longest portion {:.0} ms, {} pairs scored",
            measured.cpu_s * 1e6 / count.max(1) as f64,
            measured.longest_s * 1e3,
            correlator.stats().pairs_scored_total,
        );
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    println!("{}; processor time of one thread, but for single alerts", benches::machine());
    let is_wanted = |part: &str| part.contains(&args.only);
    if is_wanted("compared") {
        compare(args.compared)?;
    }
    if is_wanted("single") {
        one_at_a_time(args.compared)?;
    }
    if is_wanted("many") {
        for portion in &args.portions {
            many(args.alerts, *portion, args.held)?;
        }
    }
    if is_wanted("storm") {
        storms(args.storm)?;
    }
    Ok(())
}
