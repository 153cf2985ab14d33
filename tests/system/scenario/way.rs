//! The ways that records take into the engine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use ingest::{Journal, JournalOptions};

use super::case::{Case, Line, Topic};
use super::golden::Outcome;
use crate::harness::{Running, Simulated, asterism, free_port, lake_rows_of, metric, ok, stderr};

/// A way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One file a topic, read whole.
    AtOnce,
    /// A record at a time, a checkpoint after each.
    OneByOne,
    /// Three records at a time, a checkpoint now and then.
    ByThrees,
    /// Every topic dealt over three partitions.
    Dealt,
    /// Every topic out of order, as much as the lateness of its source kind allows.
    Shuffled,
    /// Through the journal of a daemon that gets SIGKILL twice: before any checkpoint, and in the middle of one.
    Killed,
}

impl Way {
    pub const ALL: [Way; 6] =
        [Way::AtOnce, Way::OneByOne, Way::ByThrees, Way::Dealt, Way::Shuffled, Way::Killed];

    pub fn run(self, case: &Case) -> Outcome {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        let one_each = || case.topics.iter().map(|topic| vec![topic.lines.clone()]).collect();
        match self {
            Way::AtOnce => replay(case, dir, one_each(), (16_384, 100_000)),
            Way::OneByOne => replay(case, dir, one_each(), (1, 1)),
            Way::ByThrees => replay(case, dir, one_each(), (3, 10)),
            Way::Dealt => replay(case, dir, case.topics.iter().map(deal).collect(), (4, 100_000)),
            Way::Shuffled => {
                let shuffled = case.topics.iter().map(|topic| vec![shuffle(topic)]).collect();
                replay(case, dir, shuffled, (2, 5))
            }
            Way::Killed => killed(case, dir),
        }
    }
}

/// The lines of each partition of a topic.
type Partitions = Vec<Vec<Line>>;

/// A card to each in turn.
fn deal(topic: &Topic) -> Partitions {
    let mut partitions = vec![Vec::new(); 3];
    for (i, line) in topic.lines.iter().enumerate() {
        partitions[i % 3].push(line.clone());
    }
    partitions.retain(|partition| !partition.is_empty());
    partitions
}

/// Each record arrives late by some share of nine tenths of the lateness; the same on every run.
fn shuffle(topic: &Topic) -> Vec<Line> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut delay = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 1_000) as i64 * (topic.lateness_us / 10 * 9) / 1_000
    };
    let mut arriving: Vec<(i64, Line)> =
        topic.lines.iter().map(|line| (line.time + delay(), line.clone())).collect();
    arriving.sort_by_key(|(arrival, _)| *arrival);
    arriving.into_iter().map(|(_, line)| line).collect()
}

/// The configuration of a run: the case's settings, and those of the way.
pub fn config(case: &Case, dir: &Path, way: &str) -> PathBuf {
    let mut settings = case.settings();
    for (name, value) in way.parse::<toml::Table>().unwrap() {
        match (settings.get_mut(&name), value) {
            (Some(toml::Value::Table(own)), toml::Value::Table(more)) => own.extend(more),
            (_, value) => drop(settings.insert(name, value)),
        }
    }
    let topic = |topic: &Topic| {
        let (name, source, tenant) = (&topic.name, &topic.kind, &topic.tenant);
        let pairs = [("name", name), ("source", source), ("tenant", tenant)];
        let table = pairs.into_iter().map(|(key, value)| (key.to_owned(), value.as_str().into()));
        toml::Value::Table(table.collect())
    };
    let mut kafka = toml::Table::new();
    kafka.insert("topics".to_owned(), case.topics.iter().map(topic).collect::<Vec<_>>().into());
    settings.insert("kafka".to_owned(), kafka.into());
    let path = dir.join("asterism.toml");
    std::fs::write(&path, settings.to_string()).unwrap();
    path
}

/// Files offline; `batch` is records of a poll, and rows of a checkpoint.
fn replay(case: &Case, dir: &Path, topics: Vec<Partitions>, batch: (i64, i64)) -> Outcome {
    let mut files = Vec::new();
    for (topic, partitions) in case.topics.iter().zip(topics) {
        for (number, lines) in partitions.iter().enumerate() {
            let folder = dir.join(format!("partition-{number}"));
            std::fs::create_dir_all(&folder).unwrap();
            // A space more a partition: files of one name and one content are one file.
            let text: String =
                lines.iter().map(|line| format!("{}{}\n", line.text, " ".repeat(number))).collect();
            std::fs::write(folder.join(&topic.name), text).unwrap();
            files.push(folder.join(&topic.name));
        }
    }
    let (records, rows) = batch;
    let way = format!("[ingest]\npoll_records_max = {records}\n[store]\ncheckpoint_rows_max = {rows}\n");
    let config = config(case, dir, &way);
    let data = dir.join("data");
    let said =
        stderr(&ok(asterism().args(["replay", "-c"]).arg(config).arg("--data-dir").arg(&data).args(files)));
    assert!(said.contains(&format!("{} records read, {} events", case.records(), case.rows)), "{said}");
    Outcome::of(case, &data)
}

/// Daemons that are killed in [`killed`].
const KILLS: usize = 2;

/// Three thirds of the records, a daemon for each: the first two are killed.
fn killed(case: &Case, dir: &Path) -> Outcome {
    let (data, api) = (dir.join("data"), free_port());
    let (edr, graph) = (Simulated::start("edr", dir), Simulated::start("graph", dir));
    let settings = |checkpoint_s: i64, rows: i64| {
        let way = format!(
            "data_dir = {data:?}\n[api]\nlisten = \"127.0.0.1:{api}\"\n[ingest]\npoll_records_max = 5\n\
             idle_partition_s = 600\n[store]\ncheckpoint_s = {checkpoint_s}\ncheckpoint_rows_max = {rows}\n\
             [respond]\nconnectors = [{{ file = \"microsoft_graph\", url = {:?}, token_file = {:?} }}]\n\
             [respond.edr]\nurl = {:?}\ntoken_file = {:?}\n",
            graph.url(),
            graph.token_file(),
            edr.url(),
            edr.token_file()
        );
        config(case, dir, &way)
    };
    let start = |config: &Path| Running::start(asterism().args(["run", "-c"]).arg(config), dir, "daemon");

    let rows = || {
        let each: Option<Vec<i64>> = case.tenants().iter().map(|tenant| lake_rows_of(api, tenant)).collect();
        each.map(|rows| rows.iter().sum::<i64>())
    };

    append(case, &data, 0);
    let mut daemon = start(&settings(3_600, 1_000_000));
    daemon.until("the first third is taken", Duration::from_secs(60), || {
        (metric(api, "asterism_events_total")? > 0).then_some(())
    });
    daemon.kill_hard();

    append(case, &data, 1);
    let mut daemon = start(&settings(1, 1));
    daemon.until("some rows are in the lake", Duration::from_secs(60), || (rows()? > 0).then_some(()));
    daemon.kill_hard();

    append(case, &data, 2);
    let mut daemon = start(&settings(1, 1));
    daemon.until("every row is in the lake", Duration::from_secs(60), || {
        (rows()? == case.rows as i64).then_some(())
    });
    let outcome = Outcome::of(case, &data);
    let executed = [outcome.executed("host.isolate"), outcome.executed("user.revoke_sessions")];
    let done = || [edr.isolations().len(), graph.changes("revokeSignInSessions")];
    daemon.until("what was decided is done", Duration::from_secs(30), || {
        done().iter().zip(&executed).all(|(done, decided)| done >= decided).then_some(())
    });
    daemon.stop();
    let ([isolations, revocations], [isolated, revoked]) = (done(), executed);
    assert_eq!(isolations, isolated, "{}: nothing is done twice", case.name);
    // Ended sessions leave a time, and not who ended them: after a kill between the call and its record the call is made
    // again, which harms nobody.
    assert!((revoked..=revoked + KILLS).contains(&revocations), "{}: {revocations} of {revoked}", case.name);
    end(case, dir, &data);
    Outcome::of(case, &data)
}

/// Puts a third of every topic into the journal, over two partitions.
pub fn append(case: &Case, data: &Path, third: usize) {
    let journal = Journal::open(&data.join("journal"), JournalOptions::default()).unwrap();
    for topic in &case.topics {
        let size = topic.lines.len().div_ceil(3).max(1);
        for (i, line) in topic.lines.iter().skip(third * size).take(size).enumerate() {
            let payload = Bytes::from(line.text.clone());
            journal.append_blocking(&topic.name, (i % 2) as i32, &[payload]).unwrap();
        }
    }
}

/// The stream has ended, so nothing is late any more: everything is sealed.
fn end(case: &Case, dir: &Path, data: &Path) {
    let empty = dir.join("end.ndjson");
    std::fs::write(&empty, "").unwrap();
    let config = config(case, dir, "");
    ok(asterism().args(["replay", "-c"]).arg(config).arg("--data-dir").arg(data).arg(empty));
}
