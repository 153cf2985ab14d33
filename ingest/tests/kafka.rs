//! Kafka through the `Source` contract, against the broker of `KAFKA_BOOTSTRAP`; `cargo xtask test` brings one.
//! The tests of a secured broker use its listener at `KAFKA_BOOTSTRAP_SECURED`, with the certificate and the user of
//! `KAFKA_SECURED_CA`, `KAFKA_SECURED_USER` and `KAFKA_SECURED_PASSWORD`. The test of a broker that goes away starts
//! its own through `ASTERISM_XTASK`. `cargo xtask test` sets them all.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use event::{RecordRef, Time};
use ingest::{
    DeadLetter, DeadLetterSink, DeadReason, IngestError, KafkaOptions, KafkaSource, KafkaWriter, PollBudget,
    Polled, Positions, Record, Source, TopicPartition,
};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

const BUDGET: PollBudget =
    PollBudget { records_max: 10_000, bytes_max: 8 << 20, wait: Duration::from_millis(500) };
/// A broker on a busy machine takes its time; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(90);

fn bootstrap() -> Option<String> {
    let bootstrap = std::env::var("KAFKA_BOOTSTRAP").ok().filter(|brokers| !brokers.is_empty());
    if bootstrap.is_none() {
        println!("skipped: KAFKA_BOOTSTRAP is not set; `cargo xtask test` brings a broker");
    }
    bootstrap
}

/// A name that no other test and no earlier run has used.
fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    format!("{name}-{now:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

type Settings = BTreeMap<String, String>;

fn admin(bootstrap: &str, settings: &Settings) -> AdminClient<DefaultClientContext> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", bootstrap).extend(settings.clone());
    client.create().unwrap()
}

async fn topic(bootstrap: &str, name: &str, partitions: i32) -> String {
    topic_with(bootstrap, &Settings::new(), name, partitions).await
}

async fn topic_with(bootstrap: &str, settings: &Settings, name: &str, partitions: i32) -> String {
    let topic = unique(name);
    let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
    let created = admin(bootstrap, settings).create_topics([&new], &AdminOptions::new()).await.unwrap();
    assert!(created.iter().all(Result::is_ok), "{created:?}");
    topic
}

fn writer(bootstrap: &str) -> KafkaWriter {
    KafkaWriter::open(bootstrap, &BTreeMap::new()).unwrap()
}

fn payloads(range: std::ops::Range<i64>) -> Vec<Bytes> {
    range.map(|i| Bytes::from(format!("record {i}"))).collect()
}

fn options(bootstrap: &str, group: &str, topics: &[&str]) -> KafkaOptions {
    KafkaOptions { group: group.to_owned(), ..KafkaOptions::new(bootstrap, topics.iter().copied()) }
}

async fn open(bootstrap: &str, group: &str, topics: &[&str]) -> KafkaSource {
    KafkaSource::open(options(bootstrap, group, topics)).await.unwrap()
}

fn key(topic: &str, partition: i32) -> TopicPartition {
    (Arc::from(topic), partition)
}

/// Polls until `done`, and keeps everything that came.
async fn poll_until(source: &mut KafkaSource, mut done: impl FnMut(&Polled) -> bool) -> Polled {
    let began = Instant::now();
    let mut all = Polled::default();
    while !done(&all) {
        assert!(
            began.elapsed() < PATIENCE,
            "still waiting with {} records, {:?}",
            all.records.len(),
            all.faults
        );
        let polled = source.poll(BUDGET).await.unwrap();
        all.records.extend(polled.records);
        all.assigned.extend(polled.assigned);
        all.revoked.extend(polled.revoked);
        all.faults.extend(polled.faults);
    }
    all
}

async fn records(source: &mut KafkaSource, n: usize) -> Vec<Record> {
    poll_until(source, |all| all.records.len() >= n).await.records
}

fn offsets(records: &[Record], topic: &str, partition: i32) -> Vec<i64> {
    let of = records.iter().filter(|r| r.topic.as_ref() == topic && r.partition == partition);
    of.map(|r| r.offset).collect()
}

fn run(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

#[tokio::test]
async fn several_topics_arrive_whole_and_a_restart_goes_on_at_the_engines_positions_not_at_the_committed() {
    let Some(bootstrap) = bootstrap() else { return };
    let (mail, hosts) = (topic(&bootstrap, "mail", 2).await, topic(&bootstrap, "hosts", 1).await);
    let (writer, group) = (writer(&bootstrap), unique("group"));
    for (topic, partition) in [(&mail, 0), (&mail, 1), (&hosts, 0)] {
        let placed = writer.append(topic, Some(partition), &payloads(0..500)).await.unwrap();
        assert_eq!(placed, run(0..500).into_iter().map(|offset| (partition, offset)).collect::<Vec<_>>());
    }
    let mut source = open(&bootstrap, &group, &[&mail, &hosts]).await;
    let all = poll_until(&mut source, |all| all.records.len() >= 1_500).await;
    let held: BTreeSet<TopicPartition> = all.assigned.into_iter().collect();
    assert_eq!(held, BTreeSet::from([key(&mail, 0), key(&mail, 1), key(&hosts, 0)]));
    for (topic, partition) in [(&mail, 0), (&mail, 1), (&hosts, 0)] {
        assert_eq!(offsets(&all.records, topic, partition), run(0..500));
    }
    assert!(all.records.iter().all(|r| r.payload == format!("record {}", r.offset)));

    let committed = Positions::from([(key(&mail, 0), 500), (key(&mail, 1), 500), (key(&hosts, 0), 500)]);
    source.commit(&committed).await.unwrap();
    source.poll(BUDGET).await.unwrap();
    source.close().await.unwrap();
    let mut restarted = open(&bootstrap, &group, &[&mail, &hosts]).await;
    let durable = Positions::from([(key(&mail, 0), 490), (key(&mail, 1), 0), (key(&hosts, 0), 500)]);
    restarted.seek(&durable).await.unwrap();
    writer.append(&hosts, Some(0), &payloads(500..501)).await.unwrap();
    let again = records(&mut restarted, 511).await;
    assert_eq!(offsets(&again, &mail, 0), run(490..500));
    assert_eq!(offsets(&again, &mail, 1), run(0..500));
    assert_eq!(offsets(&again, &hosts, 0), run(500..501));
}

#[tokio::test]
async fn seeking_back_in_the_middle_redelivers_from_there_without_a_gap() {
    let Some(bootstrap) = bootstrap() else { return };
    let topic = topic(&bootstrap, "seek", 1).await;
    writer(&bootstrap).append(&topic, Some(0), &payloads(0..2_000)).await.unwrap();
    let mut source = open(&bootstrap, &unique("group"), &[&topic]).await;
    let few = PollBudget { records_max: 10, ..BUDGET };
    let mut seen = Vec::new();
    while seen.len() < 30 {
        seen.extend(source.poll(few).await.unwrap().records);
    }
    source.seek(&Positions::from([(key(&topic, 0), 3)])).await.unwrap();
    let after = records(&mut source, 1_997).await;
    assert_eq!(offsets(&after, &topic, 0), run(3..2_000));
}

#[tokio::test]
async fn exhausted_budget_delivers_nothing_and_the_rest_comes_when_there_is_room() {
    let Some(bootstrap) = bootstrap() else { return };
    let topic = topic(&bootstrap, "budget", 2).await;
    let writer = writer(&bootstrap);
    for partition in 0..2 {
        writer.append(&topic, Some(partition), &payloads(0..3_000)).await.unwrap();
    }
    let mut source = open(&bootstrap, &unique("group"), &[&topic]).await;
    let small = PollBudget { records_max: 100, ..BUDGET };
    let mut seen = Vec::new();
    while seen.is_empty() {
        seen = source.poll(small).await.unwrap().records;
    }
    assert!(seen.len() <= 100);
    let none = PollBudget { bytes_max: 0, wait: Duration::from_millis(300), ..BUDGET };
    for _ in 0..5 {
        assert!(source.poll(none).await.unwrap().records.is_empty());
    }
    while seen.len() < 6_000 {
        let bytes: usize = {
            let polled = source.poll(PollBudget { bytes_max: 5_000, ..BUDGET }).await.unwrap();
            seen.extend(polled.records.iter().cloned());
            polled.records.iter().map(|r| r.payload.len()).sum()
        };
        assert!(bytes <= 5_000, "{bytes}");
    }
    assert_eq!((offsets(&seen, &topic, 0), offsets(&seen, &topic, 1)), (run(0..3_000), run(0..3_000)));
}

#[tokio::test]
async fn paused_partition_waits_while_the_other_flows() {
    let Some(bootstrap) = bootstrap() else { return };
    let topic = topic(&bootstrap, "pause", 2).await;
    let writer = writer(&bootstrap);
    let mut source = open(&bootstrap, &unique("group"), &[&topic]).await;
    // Paused before it is assigned: it must hold from the first record on.
    source.pause(&[key(&topic, 0)]).await.unwrap();
    for partition in 0..2 {
        writer.append(&topic, Some(partition), &payloads(0..200)).await.unwrap();
    }
    let flowing = records(&mut source, 200).await;
    assert_eq!(offsets(&flowing, &topic, 1), run(0..200));
    for _ in 0..3 {
        assert!(source.poll(BUDGET).await.unwrap().records.is_empty());
    }
    source.resume(&[key(&topic, 0)]).await.unwrap();
    assert_eq!(offsets(&records(&mut source, 200).await, &topic, 0), run(0..200));
}

#[tokio::test]
async fn dropped_polls_lose_no_record() {
    let Some(bootstrap) = bootstrap() else { return };
    let topic = topic(&bootstrap, "dropped", 1).await;
    writer(&bootstrap).append(&topic, Some(0), &payloads(0..1_000)).await.unwrap();
    let mut source = open(&bootstrap, &unique("group"), &[&topic]).await;
    let (mut seen, began) = (Vec::new(), Instant::now());
    while seen.len() < 1_000 {
        assert!(began.elapsed() < PATIENCE);
        let poll = source.poll(PollBudget { records_max: 7, wait: PATIENCE, ..BUDGET });
        if let Ok(polled) = tokio::time::timeout(Duration::from_millis(1), poll).await {
            seen.extend(polled.unwrap().records);
        }
    }
    assert_eq!(offsets(&seen, &topic, 0), run(0..1_000));
}

#[tokio::test]
async fn second_member_takes_half_each_record_goes_to_one_and_its_share_comes_back() {
    let Some(bootstrap) = bootstrap() else { return };
    let (topic, group) = (topic(&bootstrap, "rebalance", 4).await, unique("group"));
    let writer = writer(&bootstrap);
    let append = async |range: std::ops::Range<i64>| {
        for partition in 0..4 {
            writer.append(&topic, Some(partition), &payloads(range.clone())).await.unwrap();
        }
    };
    append(0..50).await;
    let mut first = open(&bootstrap, &group, &[&topic]).await;
    let alone = poll_until(&mut first, |all| all.records.len() >= 200).await;
    assert_eq!(alone.assigned.len(), 4);

    let mut second = open(&bootstrap, &group, &[&topic]).await;
    // Both members share a state database: the second starts where the first had got to.
    second.seek(&(0..4).map(|p| (key(&topic, p), 50)).collect()).await.unwrap();
    let (mut taken, mut left) = (BTreeSet::new(), BTreeSet::from([0, 1, 2, 3]));
    let began = Instant::now();
    while taken.len() < 2 || left.len() > 2 {
        assert!(began.elapsed() < PATIENCE, "{taken:?} {left:?}");
        let (of_first, of_second) = tokio::join!(first.poll(BUDGET), second.poll(BUDGET));
        for (_, partition) in of_first.unwrap().revoked {
            left.remove(&partition);
        }
        taken.extend(of_second.unwrap().assigned.into_iter().map(|(_, partition)| partition));
    }
    assert!(taken.is_disjoint(&left), "{taken:?} {left:?}");

    append(50..100).await;
    let (of_first, of_second) = tokio::join!(records(&mut first, 100), records(&mut second, 100));
    for partition in 0..4 {
        let (owner, other) =
            if left.contains(&partition) { (&of_first, &of_second) } else { (&of_second, &of_first) };
        assert_eq!(offsets(owner, &topic, partition), run(50..100));
        assert_eq!(offsets(other, &topic, partition), run(0..0));
    }

    second.close().await.unwrap();
    first.seek(&taken.iter().map(|p| (key(&topic, *p), 100)).collect()).await.unwrap();
    append(100..110).await;
    let back = records(&mut first, 40).await;
    for partition in 0..4 {
        assert_eq!(offsets(&back, &topic, partition), run(100..110));
    }
}

#[tokio::test]
async fn deleted_offsets_are_named_and_reading_goes_on_at_the_oldest() {
    let Some(bootstrap) = bootstrap() else { return };
    let topic = topic(&bootstrap, "deleted", 2).await;
    let writer = writer(&bootstrap);
    for partition in 0..2 {
        writer.append(&topic, Some(partition), &payloads(0..100)).await.unwrap();
    }
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic, 0, Offset::Offset(60)).unwrap();
    admin(&bootstrap, &Settings::new()).delete_records(&before, &AdminOptions::new()).await.unwrap();

    let protocols = [
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("partition.assignment.strategy", "range"),
        ("group.protocol", "consumer"),
    ];
    for (setting, value) in protocols {
        let mut options = options(&bootstrap, &unique("group"), &[&topic]);
        options.settings.insert(setting.to_owned(), value.to_owned());
        let mut source = KafkaSource::open(options).await.unwrap();
        // Partition 0 lost what it wants; partition 1 wants what was never there.
        source.seek(&Positions::from([(key(&topic, 0), 10), (key(&topic, 1), 5_000)])).await.unwrap();
        let all = poll_until(&mut source, |all| all.records.len() >= 140).await;
        assert_eq!(offsets(&all.records, &topic, 0), run(60..100), "{value}");
        assert_eq!(offsets(&all.records, &topic, 1), run(0..100), "{value}");
        let mut gone: Vec<(i32, i64, i64, i64)> = Vec::new();
        for fault in &all.faults {
            let IngestError::OffsetsGone { partition, from, to, resumed_at, .. } = fault else {
                panic!("{fault}")
            };
            gone.push((*partition, *from, *to, *resumed_at));
        }
        gone.sort_unstable();
        assert_eq!(gone, [(0, 10, 60, 60), (1, 5_000, 5_000, 0)], "{value}");
    }
}

#[tokio::test]
async fn dead_letters_carry_origin_and_reason() {
    let Some(bootstrap) = bootstrap() else { return };
    let origin = unique("origin");
    let sink = DeadLetterSink::kafka(writer(&bootstrap), None);
    let letter = DeadLetter {
        record: RecordRef { topic: Arc::from(origin.as_str()), partition: 3, offset: 42 },
        reason: DeadReason::NotAnObject("a number"),
        payload: Bytes::from_static(b"17"),
        ingest_time: Time::from_secs(1_700_000_000),
    };
    sink.send(&[letter]).await.unwrap();

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .set("group.id", unique("group"))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    let dead = format!("{origin}.dead");
    consumer.subscribe(&[&dead]).unwrap();
    let began = Instant::now();
    let message = loop {
        assert!(began.elapsed() < PATIENCE, "no dead letter");
        // A rebalance ends a poll with nothing; the topic may not be known yet.
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(500)) {
            break message;
        }
    };
    assert_eq!(message.payload(), Some(b"17".as_slice()));
    let headers: BTreeMap<&str, &str> = (message.headers().unwrap().iter())
        .map(|header| (header.key, std::str::from_utf8(header.value.unwrap()).unwrap()))
        .collect();
    let expected = BTreeMap::from([
        ("asterism.topic", origin.as_str()),
        ("asterism.partition", "3"),
        ("asterism.offset", "42"),
        ("asterism.reason", "not_an_object"),
        ("asterism.message", "expected a JSON object, found a number"),
        ("asterism.ingest_time", "1700000000000000"),
    ]);
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn missing_broker_is_an_error_in_time_or_waited_for() {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let mut options = options(&nobody, "group", &["t"]);
    options.start_timeout = Some(Duration::from_secs(2));
    let began = Instant::now();
    let error = KafkaSource::open(options.clone()).await.err().unwrap().to_string();
    assert!(error.contains(&nobody) && error.contains("start the broker"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));

    options.start_timeout = None;
    let mut source = KafkaSource::open(options).await.unwrap();
    for _ in 0..4 {
        assert!(source.poll(BUDGET).await.unwrap().is_empty());
    }

    let settings = BTreeMap::from([("message.timeout.ms".to_owned(), "1500".to_owned())]);
    let writer = KafkaWriter::open(&nobody, &settings).unwrap();
    let error = writer.append("t", None, &payloads(0..1)).await.unwrap_err().to_string();
    assert!(error.contains(&nobody) && error.contains("topic t"), "{error}");
}

#[tokio::test]
async fn broker_that_goes_away_and_comes_back_is_waited_for_and_nothing_is_lost_or_twice() {
    let Some(xtask) = std::env::var_os("ASTERISM_XTASK") else {
        println!("skipped: ASTERISM_XTASK is not set; `cargo xtask test` sets it");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let broker = PrivateBroker { xtask: xtask.as_ref(), dir: dir.path() };
    let bootstrap = broker.start();
    let topic = topic(&bootstrap, "restart", 1).await;
    let writer = writer(&bootstrap);
    writer.append(&topic, Some(0), &payloads(0..300)).await.unwrap();
    let mut source = open(&bootstrap, &unique("group"), &[&topic]).await;
    let mut seen = records(&mut source, 300).await;

    broker.stop();
    for _ in 0..6 {
        assert!(source.poll(BUDGET).await.unwrap().records.is_empty());
    }
    assert_eq!(broker.start(), bootstrap, "it comes back on its port");
    writer.append(&topic, Some(0), &payloads(300..500)).await.unwrap();
    seen.extend(records(&mut source, 200).await);
    seen.extend(source.poll(BUDGET).await.unwrap().records);
    assert_eq!(offsets(&seen, &topic, 0), run(0..500));
}

/// How the secured listener lets a client in.
struct SecuredBroker {
    bootstrap: String,
    ca: String,
    user: String,
    password: String,
}

impl SecuredBroker {
    /// `None`, with a line that says so, where the environment names none: a user's own broker may have none.
    fn of_environment() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let read = || {
            Some(Self {
                bootstrap: variable("KAFKA_BOOTSTRAP_SECURED")?,
                ca: variable("KAFKA_SECURED_CA")?,
                user: variable("KAFKA_SECURED_USER")?,
                password: variable("KAFKA_SECURED_PASSWORD")?,
            })
        };
        let broker = read();
        if broker.is_none() {
            println!(
                "skipped: KAFKA_BOOTSTRAP_SECURED, KAFKA_SECURED_CA, KAFKA_SECURED_USER and KAFKA_SECURED_PASSWORD \
                 are not all set; `cargo xtask test` brings a broker"
            );
        }
        broker
    }

    /// As in `kafka.settings`, with the values of `other` in place of the right ones.
    fn settings(&self, mechanism: &str, other: &[(&str, &str)]) -> Settings {
        let right = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", self.user.as_str()),
            ("sasl.password", self.password.as_str()),
            ("ssl.ca.location", self.ca.as_str()),
        ];
        right.iter().chain(other).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// What the source and the writer say when they are not let in.
    async fn refusals(&self, settings: Settings) -> [String; 2] {
        let options = KafkaOptions {
            settings: settings.clone(),
            start_timeout: Some(Duration::from_secs(5)),
            ..options(&self.bootstrap, "group", &["t"])
        };
        assert!(!format!("{options:?}").contains(&settings["sasl.password"]));
        let source = KafkaSource::open(options).await.err().unwrap();

        let mut settings = settings;
        settings.insert("message.timeout.ms".to_owned(), "5000".to_owned());
        let writer = KafkaWriter::open(&self.bootstrap, &settings).unwrap();
        assert!(!format!("{writer:?}").contains(&settings["sasl.password"]));
        let written = writer.append("t", None, &payloads(0..1)).await.unwrap_err();
        for error in [&source, &written] {
            assert!(matches!(error, IngestError::Unavailable { .. }), "{error:?}");
            assert!(error.to_string().contains(&self.bootstrap), "{error}");
            assert!(!format!("{error} {error:?}").contains(&settings["sasl.password"]), "{error:?}");
            assert!(!format!("{error} {error:?}").contains(&self.password), "{error:?}");
        }
        [source.to_string(), written.to_string()]
    }
}

#[tokio::test]
async fn secured_broker_is_written_and_read_with_either_mechanism() {
    let Some(broker) = SecuredBroker::of_environment() else { return };
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let settings = broker.settings(mechanism, &[]);
        let topic = topic_with(&broker.bootstrap, &settings, "secured", 1).await;
        let writer = KafkaWriter::open(&broker.bootstrap, &settings).unwrap();
        writer.append(&topic, Some(0), &payloads(0..200)).await.unwrap();
        let options = KafkaOptions { settings, ..options(&broker.bootstrap, &unique("group"), &[&topic]) };
        assert!(!format!("{options:?}").contains(&broker.password));
        let mut source = KafkaSource::open(options).await.unwrap();
        assert_eq!(offsets(&records(&mut source, 200).await, &topic, 0), run(0..200), "{mechanism}");
    }
}

#[tokio::test]
async fn wrong_password_is_told_with_the_settings_to_check_and_without_the_password() {
    let Some(broker) = SecuredBroker::of_environment() else { return };
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        for said in broker.refusals(broker.settings(mechanism, &[("sasl.password", "correct-horse")])).await {
            assert!(said.contains("check sasl.mechanism, sasl.username and sasl.password"), "{said}");
            assert!(said.to_lowercase().contains("authentication failed"), "{said}");
        }
    }
}

#[tokio::test]
async fn broker_whose_certificate_is_not_trusted_is_told_with_the_settings_to_check() {
    let Some(broker) = SecuredBroker::of_environment() else { return };
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, OTHER_CA).unwrap();
    let wrong = broker.settings("PLAIN", &[("ssl.ca.location", ca.to_str().unwrap())]);
    let mut missing = broker.settings("PLAIN", &[]);
    missing.remove("ssl.ca.location");
    for settings in [wrong, missing] {
        for said in broker.refusals(settings).await {
            assert!(
                said.contains("certificate") && said.contains("check security.protocol, ssl.ca.location"),
                "{said}"
            );
        }
    }
}

#[test]
fn missing_ca_file_is_named() {
    let settings = Settings::from([
        ("security.protocol".to_owned(), "ssl".to_owned()),
        ("ssl.ca.location".to_owned(), "/no/such/ca.pem".to_owned()),
    ]);
    let error = KafkaWriter::open("127.0.0.1:9", &settings).unwrap_err().to_string();
    assert!(error.contains("kafka.settings") && error.contains("ssl.ca.location"), "{error}");
}

/// A certificate that signed no broker's; nobody has its key.
const OTHER_CA: &str = "-----BEGIN CERTIFICATE-----
MIIBjTCCATOgAwIBAgIUKF3eVGqR/o48uq1u95AQbF5zRKswCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQbm90IHRoZSBicm9rZXInczAgFw0yNjExMjUxMDA5NDlaGA8y
MTI2MTEwMTEwMDk0OVowGzEZMBcGA1UEAwwQbm90IHRoZSBicm9rZXInczBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABPYEf0TQ5ipf2X904aDvJokSg6/YmbmUTNbU
91c9aGTefq8RRUpd0Rg+cEuXZKp0n9yCXX3HvLkdwQInQopaPsyjUzBRMB0GA1Ud
DgQWBBQcGrIj4ZetYeywhBrQInS/q5SOzzAfBgNVHSMEGDAWgBQcGrIj4ZetYeyw
hBrQInS/q5SOzzAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDj
LXYCOHR9ZZr6q3M+hgA70vyiUtqt676hd55pgolPkQIgcWfgLhZIjoSUdgscywuQ
igoKczK66sEJY9Y0UR7j6ck=
-----END CERTIFICATE-----
";

/// A broker of one test, run by xtask in a directory of its own.
struct PrivateBroker<'a> {
    xtask: &'a Path,
    dir: &'a Path,
}

impl PrivateBroker<'_> {
    /// Returns its address.
    fn start(&self) -> String {
        let out = Command::new(self.xtask).args(["kafka", "start", "--dir"]).arg(self.dir).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let said = String::from_utf8(out.stdout).unwrap();
        said.lines().find_map(|line| line.strip_prefix("KAFKA_BOOTSTRAP=")).unwrap().to_owned()
    }

    fn stop(&self) {
        let status =
            Command::new(self.xtask).args(["kafka", "stop", "--dir"]).arg(self.dir).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for PrivateBroker<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}
