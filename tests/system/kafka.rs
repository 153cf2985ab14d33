//! A real broker: four topics, the engine killed in the middle, one truth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use event::Class;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use serde_json::Value;

use crate::harness::{
    Running, Simulated, asterism, eventually, free_port, hunt, incidents, lake_rows, ok, total_rows,
};

/// The broker under test, or `None` with one line that says so.
fn broker(test: &str) -> Option<String> {
    let bootstrap = std::env::var("KAFKA_BOOTSTRAP").ok().filter(|b| !b.is_empty());
    if bootstrap.is_none() {
        println!("skipped: {test}: no KAFKA_BOOTSTRAP (cargo xtask test starts a broker)");
    }
    bootstrap
}

/// Simulated telemetry with one attack, in one file a topic.
fn telemetry(dir: &Path) -> Vec<PathBuf> {
    let out = dir.join("telemetry");
    let mut generate = asterism();
    generate.args([
        "generate",
        "--seed",
        "11",
        "--events",
        "20000",
        "--scenario",
        "phishing_to_cloud",
        "--users",
        "60",
    ]);
    ok(generate.arg("--truth").arg(dir.join("truth.ndjson")).arg("--out").arg(&out));
    let mut files: Vec<PathBuf> = out.read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 4, "at least four topics: {files:?}");
    files
}

fn client(bootstrap: &str) -> ClientConfig {
    ClientConfig::new().set("bootstrap.servers", bootstrap).clone()
}

/// Topics of this test alone, two partitions each, filled in order.
async fn produce(config: &ClientConfig, prefix: &str, files: &[PathBuf]) -> Vec<String> {
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let name = |f: &PathBuf| format!("{prefix}.{}", f.file_stem().unwrap().to_string_lossy());
    let topics: Vec<String> = files.iter().map(name).collect();
    let wanted: Vec<NewTopic<'_>> =
        topics.iter().map(|t| NewTopic::new(t, 2, TopicReplication::Fixed(1))).collect();
    for created in admin.create_topics(&wanted, &AdminOptions::new()).await.unwrap() {
        created.unwrap();
    }
    let producer: ThreadedProducer<_> = config.create().unwrap();
    for (topic, file) in topics.iter().zip(files) {
        for (i, line) in std::fs::read_to_string(file).unwrap().lines().enumerate() {
            let mut record = BaseRecord::<(), str>::to(topic).payload(line).partition((i % 2) as i32);
            while let Err((error, again)) = producer.send(record) {
                assert_eq!(error.rdkafka_error_code(), Some(rdkafka::error::RDKafkaErrorCode::QueueFull));
                std::thread::sleep(Duration::from_millis(10));
                record = again;
            }
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    topics
}

/// A daemon's folder, its simulated EDR, and how to start it.
struct Site {
    dir: PathBuf,
    api: u16,
    edr: Simulated,
}

impl Site {
    fn new(root: &Path, name: &str, bootstrap: &str, topics: &[String]) -> Self {
        let dir = root.join(name);
        std::fs::create_dir(&dir).unwrap();
        let edr = Simulated::start("edr", &dir);
        let api = free_port();
        let topics: Vec<String> = topics.iter().map(|t| format!("{{ name = {t:?} }}")).collect();
        // A partition that waits for a loaded machine must not count as idle: what it then brings would be late.
        let config = format!(
            "data_dir = {:?}\n[api]\nlisten = \"127.0.0.1:{api}\"\n[kafka]\nbootstrap = {bootstrap:?}\ngroup = \"{name}\"\ntopics = [{}]\n\
             [ingest]\npoll_records_max = 500\nidle_partition_s = 20\n[store]\ncheckpoint_s = 1\ncheckpoint_rows_max = 3000\n\
             [respond.policy]\nautomation = \"full\"\n[respond.edr]\nurl = {:?}\ntoken_file = {:?}\n",
            dir.join("data"),
            topics.join(", "),
            edr.url(),
            edr.token_file()
        );
        std::fs::write(dir.join("asterism.toml"), config).unwrap();
        Self { dir, api, edr }
    }

    fn start(&self) -> Running {
        Running::start(
            asterism().args(["run", "-c"]).arg(self.dir.join("asterism.toml")),
            &self.dir,
            "daemon",
        )
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Rows in the lake, once the daemon answers.
    fn rows(&self) -> Option<i64> {
        lake_rows(self.api)
    }
}

/// Rows of every class, and how many distinct ones.
fn lake(data_dir: &Path) -> BTreeMap<&'static str, (i64, i64)> {
    let of = |class: Class| {
        let sql = format!(
            "SELECT count(*) AS n, count(DISTINCT event_uid || '|' || topic || '|' || partition || '|' || \"offset\") AS d FROM {}",
            class.name()
        );
        let row = &hunt(data_dir, &sql)[0];
        (class.name(), (row["n"].as_i64().unwrap(), row["d"].as_i64().unwrap()))
    };
    Class::all().map(of).collect()
}

/// What an incident says, without the count of steps that led there.
fn stories(data_dir: &Path) -> Vec<Value> {
    let mut stories: Vec<Value> = incidents(data_dir)
        .into_iter()
        .map(|mut incident| {
            for step in ["version", "sealed"] {
                incident.as_object_mut().unwrap().remove(step);
            }
            incident
        })
        .collect();
    stories.sort_by_key(|i| i["id"].to_string());
    stories
}

/// Scenario: one attack in 20,000 records over four topics; one engine reads them in peace, another is killed with
/// SIGKILL in the middle, twice, and started again.
/// Guarantees: both end with the same incidents and the same lake rows, none twice; no host is isolated twice.
#[test]
fn killed_in_the_middle_it_ends_the_same() {
    let Some(bootstrap) = broker("killed_in_the_middle_it_ends_the_same") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let files = telemetry(scratch.path());
    let offline = scratch.path().join("offline");
    ok(asterism().args(["replay", "--rules", "builtin", "--data-dir"]).arg(&offline).args(&files));
    let expected = hunt(&offline, &total_rows())[0]["n"].as_i64().unwrap();

    let prefix = format!("t{}-{}", std::process::id(), free_port());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let topics = runtime.block_on(produce(&client(&bootstrap), &prefix, &files));

    let calm = Site::new(scratch.path(), &format!("{prefix}-calm"), &bootstrap, &topics);
    let mut daemon = calm.start();
    daemon.until("every row is in the lake", Duration::from_secs(120), || {
        (calm.rows() == Some(expected)).then_some(())
    });
    daemon.until("the host is isolated", Duration::from_secs(30), || {
        (!calm.edr.isolations().is_empty()).then_some(())
    });
    daemon.stop();

    let rough = Site::new(scratch.path(), &format!("{prefix}-rough"), &bootstrap, &topics);
    for share in [4, 2] {
        let mut daemon = rough.start();
        let some = |rows: i64| (rows > expected / (2 * share)).then_some(());
        daemon.until("some rows are in the lake", Duration::from_secs(60), || rough.rows().and_then(some));
        daemon.kill_hard();
    }
    let mut daemon = rough.start();
    daemon.until("every row is in the lake", Duration::from_secs(120), || {
        (rough.rows() == Some(expected)).then_some(())
    });
    daemon.until("the host is isolated", Duration::from_secs(30), || {
        (!rough.edr.isolations().is_empty()).then_some(())
    });
    daemon.stop();

    let (calm_lake, rough_lake) = (lake(&calm.data()), lake(&rough.data()));
    assert_eq!(calm_lake, rough_lake, "the same rows");
    assert!(rough_lake.values().all(|(n, distinct)| n == distinct), "no row twice: {rough_lake:?}");
    assert_eq!(stories(&calm.data()), stories(&rough.data()), "the same incidents");
    let spans = |i: &Value| i["domains"].as_array().map_or(0, Vec::len);
    assert!(stories(&calm.data()).iter().map(spans).max() >= Some(3), "one incident spans three domains");
    let (mut once, again) = (rough.edr.isolations(), rough.edr.isolations().len());
    once.dedup();
    assert_eq!(once.len(), again, "no host is isolated twice, also after the kills: {once:?}");
    ok(asterism().args(["audit", "verify", "--data-dir"]).arg(rough.data()));
}

/// How the broker's secured listener lets a client in, or `None` with one line that says so.
fn secured_broker(test: &str) -> Option<[String; 4]> {
    let names =
        ["KAFKA_BOOTSTRAP_SECURED", "KAFKA_SECURED_CA", "KAFKA_SECURED_USER", "KAFKA_SECURED_PASSWORD"];
    let values: Vec<String> =
        names.iter().filter_map(|n| std::env::var(n).ok()).filter(|v| !v.is_empty()).collect();
    let all = values.try_into().ok();
    if all.is_none() {
        println!("skipped: {test}: not all of {} (cargo xtask test starts a broker)", names.join(", "));
    }
    all
}

/// Guarantees: a secured broker is read with the password of a file; with a wrong one the daemon serves, says what to
/// check, and shows no password.
#[test]
fn a_secured_broker_is_read_with_the_password_of_a_file() {
    let Some([bootstrap, ca, user, password]) =
        secured_broker("a_secured_broker_is_read_with_the_password_of_a_file")
    else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("records.ndjson");
    std::fs::write(&file, format!("{}\n", crate::bad_input::GOOD)).unwrap();
    let mut client = client(&bootstrap);
    client.set("security.protocol", "sasl_ssl").set("sasl.mechanism", "SCRAM-SHA-256");
    client.set("sasl.username", &user).set("sasl.password", &password).set("ssl.ca.location", &ca);
    let prefix = format!("s{}-{}", std::process::id(), free_port());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let topics = runtime.block_on(produce(&client, &prefix, &[file]));

    let (api, secret) = (free_port(), scratch.path().join("kafka-password"));
    let config = format!(
        "data_dir = {:?}\n[api]\nlisten = \"127.0.0.1:{api}\"\n[store]\ncheckpoint_s = 1\n\
         [kafka]\nbootstrap = {bootstrap:?}\ngroup = {prefix:?}\ntopics = [{{ name = {:?} }}]\n\
         secret_files = {{ \"sasl.password\" = {secret:?} }}\n[kafka.settings]\n\"security.protocol\" = \"sasl_ssl\"\n\
         \"sasl.mechanism\" = \"SCRAM-SHA-256\"\n\"sasl.username\" = {user:?}\n\"ssl.ca.location\" = {ca:?}\n",
        scratch.path().join("data"),
        topics[0],
    );
    let config_file = scratch.path().join("asterism.toml");
    std::fs::write(&config_file, config).unwrap();
    let start = |name: &str, password: &str| {
        std::fs::write(&secret, format!("{password}\n")).unwrap();
        Running::start(asterism().args(["run", "-c"]).arg(&config_file), scratch.path(), name)
    };
    let daemon = start("refused", "correct-horse");
    eventually("the settings to check are named", Duration::from_secs(60), || {
        daemon.text().contains("check sasl.mechanism, sasl.username and sasl.password").then_some(())
    });
    assert!(!daemon.text().contains("correct-horse"), "{}", daemon.text());
    daemon.stop();
    let mut daemon = start("let-in", &password);
    daemon.until("the record is in the lake", Duration::from_secs(60), || {
        (lake_rows(api) == Some(1)).then_some(())
    });
    assert!(!daemon.text().contains(&password), "{}", daemon.text());
    daemon.stop();

    let generate = asterism()
        .args(["generate", "--events", "50", "--kafka", &bootstrap, "--config"])
        .arg(&config_file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&generate.stderr);
    assert!(generate.status.success() && said.contains("50 records written"), "{said}");
}
