//! Joins of plain events, one core: batches as they stream in, beside a batch hash join that sees all of them at once.
//! Both must find the same pairs before either is timed.
#![allow(clippy::print_stderr)] // A program that says on what it measures.

use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::sync::Arc;

use correlate::{EventJoins, Parameters};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use event::{
    BatchBuilder, Class, ClassSchema, Domain, EventBatch, NativeFields, RowMeta, TenantId, Time, Watermark,
};

const START_S: i64 = 1_772_438_400;

/// Rows of a batch, as the decoder makes them.
const BATCH: i64 = 8_192;

/// Events a second: an hour of a company of a few thousand people is a few million.
const PER_SECOND: i64 = 1_000;

/// One event in so many is the first of some join: a click, a download, a risky sign-in.
const FIRSTS: i64 = 1_000;

/// A well mixed number of a row.
fn dice(n: i64, of: u64, sides: u64) -> u64 {
    let mut z = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ of.wrapping_mul(0xd1b5_4a32_d192_ed03);
    z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 32)) % sides
}

type Row = Vec<(&'static str, String)>;

/// The class and the columns of event `n`.
fn row(n: i64) -> (&'static str, Row) {
    let user = dice(n, 1, 2_000);
    let (address, account) = (format!("u{user}@contoso.example"), format!("CONTOSO\\u{user}"));
    let host = format!("WS-{user:04}.contoso.example");
    let site = format!("site{}.example", dice(n, 2, 40) * dice(n, 3, 100));
    let ip = format!("203.0.{}.{}", dice(n, 4, 200), dice(n, 5, 250));
    let path = format!("C:\\Users\\u{user}\\Downloads\\tool{}.exe", dice(n, 6, 50));
    let device = ("device_hostname", host.clone());
    if n % FIRSTS == 0 {
        return match dice(n, 7, 3) {
            0 => (
                "email_url_activity",
                vec![
                    ("actor_user_email", address),
                    ("url_domain", site.clone()),
                    ("url_url_string", format!("https://{site}/x")),
                    ("message_uid", format!("m-{n}")),
                ],
            ),
            1 => (
                "file_activity",
                vec![
                    device,
                    ("actor_process_name", "msedge.exe".to_owned()),
                    ("actor_process_uid", format!("{host}/{n}")),
                    ("file_path", path),
                ],
            ),
            _ => (
                "authentication",
                vec![
                    ("user_email", address),
                    ("src_endpoint_ip", ip),
                    ("risk_level", "high".to_owned()),
                    ("session_uid", format!("session-{n}")),
                ],
            ),
        };
    }
    let program = ["chrome.exe", "msedge.exe", "svchost.exe", "Teams.exe", "OneDrive.exe"];
    let by = [
        device,
        ("actor_user_email", address),
        ("actor_user_account", account),
        ("actor_process_name", program[dice(n, 8, 5) as usize].to_owned()),
        ("actor_process_uid", format!("{host}/{n}")),
    ];
    match dice(n, 9, 10) {
        0..6 => (
            "network_activity",
            [
                &by[..],
                &[
                    ("dst_endpoint_hostname", site),
                    ("dst_endpoint_ip", ip),
                    ("src_endpoint_ip", "10.1.2.3".to_owned()),
                ],
            ]
            .concat(),
        ),
        6..8 => ("dns_activity", [&by[..], &[("query_hostname", site)]].concat()),
        _ => (
            "process_activity",
            [
                &by[..],
                &[
                    ("process_uid", format!("{host}/p{n}")),
                    ("process_name", "tool.exe".to_owned()),
                    ("process_file_path", path),
                ],
            ]
            .concat(),
        ),
    }
}

/// Events in order of time, a batch for each class of a portion.
fn batches(events: i64) -> Vec<EventBatch> {
    let meta = Arc::new(RowMeta {
        tenant: TenantId::default(),
        source: "bench".into(),
        variant: "bench".into(),
        domain: Domain::Endpoint,
        product: "bench".into(),
        logsources: Arc::from([]),
    });
    let mut batches = Vec::new();
    for start in (0..events).step_by(BATCH as usize) {
        let mut portion: HashMap<&str, BatchBuilder> = HashMap::new();
        for n in start..(start + BATCH).min(events) {
            let (name, columns) = row(n);
            let class = Class::from_name(name).expect("a class of the model");
            let builder = portion.entry(name).or_insert_with(|| BatchBuilder::new(class, Arc::clone(&meta)));
            fill(builder, ClassSchema::of(class), n, &columns);
        }
        let mut done: Vec<_> = portion.into_iter().collect();
        done.sort_by_key(|(name, _)| *name);
        batches.extend(
            done.into_iter().map(|(_, b)| b.finish(NativeFields::default(), &[]).expect("rows are complete")),
        );
    }
    batches
}

fn fill(builder: &mut BatchBuilder, schema: &ClassSchema, n: i64, columns: &[(&'static str, String)]) {
    let index = |name: &str| {
        schema.columns.iter().position(|c| c.name == name).unwrap_or_else(|| panic!("no column {name}"))
    };
    let time = Time(START_S * 1_000_000 + n * 1_000_000 / PER_SECOND);
    for name in ["time", "ingest_time"] {
        builder.set_time(index(name), time);
    }
    for (name, text) in [("tenant", "default"), ("source", "bench"), ("topic", "bench")] {
        builder.set_text(index(name), text);
    }
    builder.set_text(index("event_uid"), &n.to_string());
    builder.set_int(index("class_uid"), i64::from(schema.class.uid()));
    builder.set_int(index("activity_id"), 1);
    builder.set_int(index("partition"), 0);
    builder.set_int(index("offset"), n);
    for (name, text) in columns {
        assert!(builder.set_from_text(index(name), text), "{name} = {text}");
    }
    builder.end_row();
}

/// Pairs by join and the offsets of both events.
type Pairs = BTreeSet<(Arc<str>, i64, i64)>;

fn streamed(batches: &[EventBatch]) -> (usize, Pairs) {
    let mut joins = EventJoins::new(Parameters::builtin().expect("the shipped parameters load"));
    let (mut found, mut pairs) = (0, Pairs::new());
    for batch in batches {
        for pair in joins.observe(batch) {
            found += 1;
            pairs.insert((pair.join, pair.first.offset, pair.second.offset));
        }
        // A minute late at most.
        joins.advance(&Watermark(Time(batch.time(batch.len() - 1).0 - 60_000_000)).into());
    }
    (found, pairs)
}

/// The peer: all rows at once, the first events in a hash table, every row after the other asked of it.
#[derive(Default)]
struct HashJoin {
    clicks: HashMap<(String, String), Vec<(i64, i64)>>,
    downloads: HashMap<(String, String), Vec<(i64, i64)>>,
    signins: HashMap<String, Vec<(i64, i64)>>,
}

const BROWSERS: [&str; 7] =
    ["chrome.exe", "msedge.exe", "firefox.exe", "brave.exe", "opera.exe", "vivaldi.exe", "iexplore.exe"];

fn is_browser(name: Option<&str>) -> bool {
    name.is_some_and(|name| BROWSERS.iter().any(|browser| browser.eq_ignore_ascii_case(name)))
}

fn local(user: &str) -> String {
    let name = user.rsplit('\\').next().unwrap_or(user);
    name.split('@').next().unwrap_or(name).to_ascii_lowercase()
}

fn short(host: &str) -> String {
    host.split('.').next().unwrap_or(host).to_ascii_lowercase()
}

impl HashJoin {
    fn build(&mut self, batch: &EventBatch) {
        for row in 0..batch.len() {
            let place = (batch.time(row).0, batch.int("offset", row).unwrap_or_default());
            let text = |name: &str| batch.text(name, row);
            match batch.class.name() {
                "email_url_activity" => {
                    if let (Some(user), Some(domain)) = (text("actor_user_email"), text("url_domain")) {
                        self.clicks.entry((local(user), domain.to_owned())).or_default().push(place);
                    }
                }
                "file_activity" if is_browser(text("actor_process_name")) => {
                    if let (Some(host), Some(path)) = (text("device_hostname"), text("file_path")) {
                        let key = (short(host), path.to_ascii_lowercase());
                        self.downloads.entry(key).or_default().push(place);
                    }
                }
                "authentication" if text("risk_level") == Some("high") => {
                    if let Some(ip) = text("src_endpoint_ip") {
                        self.signins.entry(ip.to_owned()).or_default().push(place);
                    }
                }
                _ => {}
            }
        }
    }

    fn probe(&self, batch: &EventBatch, mut found: impl FnMut(&'static str, i64, i64)) {
        const MINUTE: i64 = 60_000_000;
        for row in 0..batch.len() {
            let (time, offset) = (batch.time(row).0, batch.int("offset", row).unwrap_or_default());
            let text = |name: &str| batch.text(name, row);
            let mut tell = |join, firsts: Option<&Vec<(i64, i64)>>, before: i64, after: i64| {
                for (first, number) in firsts.into_iter().flatten() {
                    if (first - before..=first + after).contains(&time) {
                        found(join, *number, offset);
                    }
                }
            };
            let domain = match batch.class.name() {
                "network_activity" => "dst_endpoint_hostname",
                "dns_activity" => "query_hostname",
                "process_activity" => {
                    if let (Some(host), Some(path)) = (text("device_hostname"), text("process_file_path")) {
                        let key = (short(host), path.to_ascii_lowercase());
                        let day = 24 * 60 * MINUTE;
                        tell("download_to_execution", self.downloads.get(&key), MINUTE / 6, day);
                    }
                    continue;
                }
                _ => continue,
            };
            if let (true, Some(user), Some(domain)) =
                (is_browser(text("actor_process_name")), text("actor_user_email"), text(domain))
            {
                let key = (local(user), domain.to_owned());
                tell("click_to_browser", self.clicks.get(&key), MINUTE / 6, 10 * MINUTE);
            }
            if let (true, Some(ip)) = (batch.class.name() == "network_activity", text("dst_endpoint_ip")) {
                tell("signin_to_connection", self.signins.get(ip), 30 * MINUTE, 30 * MINUTE);
            }
        }
    }
}

fn at_once(batches: &[EventBatch]) -> (usize, Pairs) {
    let mut join = HashJoin::default();
    batches.iter().for_each(|batch| join.build(batch));
    let (mut found, mut pairs) = (0, Pairs::new());
    for batch in batches {
        join.probe(batch, |name, first, second| {
            found += 1;
            pairs.insert((name.into(), first, second));
        });
    }
    (found, pairs)
}

fn joins(c: &mut Criterion) {
    eprintln!("{}", benches::machine());
    let events = std::env::var("JOIN_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let batches = batches(events);
    let (found, ours) = streamed(&batches);
    let (_, theirs) = at_once(&batches);
    assert_eq!(ours, theirs, "both must find the same pairs");
    eprintln!("{events} events in {} batches, {found} pairs", batches.len());
    let mut group = c.benchmark_group("joins");
    group.throughput(Throughput::Elements(events as u64)).sample_size(10);
    group.bench_function("streamed, Bloom-gated segments", |b| b.iter(|| black_box(streamed(&batches)).0));
    group.bench_function("peer: one batch hash join", |b| b.iter(|| black_box(at_once(&batches)).0));
    group.finish();
}

criterion_group!(benches, joins);
criterion_main!(benches);
