use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use event::{RecordRef, Time};
use ingest::{
    DeadLetter, DeadLetterSink, DeadReason, Journal, JournalOptions, JournalSource, Polled, Positions,
    Retention,
};

use super::*;

fn payloads(range: std::ops::Range<i64>) -> Vec<Bytes> {
    range.map(|i| Bytes::from(format!("record {i} {}", "x".repeat(100)))).collect()
}

fn small_segments(retention: Retention) -> JournalOptions {
    JournalOptions { segment_bytes_max: 4_000, retention, ..JournalOptions::default() }
}

/// Every offset once, in order, with its payload.
fn assert_records(records: &[Record], expected: std::ops::Range<i64>) {
    assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), expected.clone().collect::<Vec<_>>());
    assert_eq!(records.iter().map(|r| r.payload.clone()).collect::<Vec<_>>(), payloads(expected));
}

#[tokio::test]
async fn offsets_run_from_zero_by_partition_and_go_on_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let options = small_segments(Retention::default());
    {
        let journal = Journal::open(dir.path(), options).unwrap();
        for start in (0..200).step_by(20) {
            assert_eq!(journal.append("t", 0, &payloads(start..start + 20)).await.unwrap(), start);
        }
        assert_eq!(journal.append("t", 3, &payloads(0..1)).await.unwrap(), 0);
    }
    let journal = Journal::open(dir.path(), options).unwrap();
    assert_eq!(journal.append("t", 0, &payloads(200..230)).await.unwrap(), 200);
    assert_records(&journal.read("t", 0, 0, 1_000, 1 << 20).unwrap(), 0..230);
    assert_records(&journal.read("t", 0, 117, 10, 1 << 20).unwrap(), 117..127);
    assert_eq!(journal.read("t", 0, 5, 100, 1).unwrap().len(), 1, "the first record always fits");
    assert_eq!(journal.bounds("t", 0), Some((0, 230)));
    assert_eq!(journal.partitions(), vec![("t".into(), 0), ("t".into(), 3)]);
}

#[tokio::test]
async fn concurrent_appends_lie_whole_and_in_one_piece() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let journal = journal.clone();
        tasks.spawn(async move {
            let batch = vec![Bytes::from(format!("w{writer}")); 3];
            (writer, journal.append("t", 0, &batch).await.unwrap())
        });
    }
    let placed: BTreeMap<i64, i32> =
        tasks.join_all().await.into_iter().map(|(w, first)| (first, w)).collect();
    let records = journal.read("t", 0, 0, 1_000, 1 << 20).unwrap();
    assert_eq!(records.len(), 64 * 3);
    for (first, writer) in placed {
        let own = &records[first as usize..first as usize + 3];
        assert!(own.iter().all(|r| r.payload == format!("w{writer}")), "{own:?}");
    }
}

#[tokio::test]
async fn readers_wake_on_new_data_and_keep_their_own_places() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    journal.append("a", 0, &payloads(0..5)).await.unwrap();
    let mut early = JournalSource::open(journal.clone(), ["a".into(), "b".into()]);
    let mut late = JournalSource::open(journal.clone(), ["a".into()]);
    late.seek(&Positions::from([(("a".into(), 0), 3)])).await.unwrap();
    let polled = early.poll(BUDGET).await.unwrap();
    assert_eq!(polled.assigned, [(Arc::from("a"), 0)]);
    assert_records(&polled.records, 0..5);
    assert_records(&late.poll(BUDGET).await.unwrap().records, 3..5);
    let writer = journal.clone();
    let append = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        writer.append("b", 1, &payloads(0..2)).await.unwrap()
    });
    let began = std::time::Instant::now();
    let polled = early.poll(PollBudget { wait: Duration::from_secs(60), ..BUDGET }).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "the append wakes the reader");
    assert_eq!(append.await.unwrap(), 0);
    assert_eq!(polled.assigned, [(Arc::from("b"), 1)]);
    assert_records(&polled.records, 0..2);
}

#[tokio::test]
async fn reader_of_all_topics_seeks_in_any_and_leaves_dead_letters_alone() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    for topic in ["a", "a.dead"] {
        journal.append(topic, 0, &payloads(0..5)).await.unwrap();
    }
    let mut source = JournalSource::open(journal, []);
    source.seek(&Positions::from([(("a".into(), 0), 3)])).await.unwrap();
    let polled = source.poll(BUDGET).await.unwrap();
    assert_records(&polled.records, 3..5);
    assert!(source.poll(PollBudget { wait: Duration::from_millis(10), ..BUDGET }).await.unwrap().is_empty());
}

#[tokio::test]
async fn dead_letters_in_the_journal_carry_origin_reason_and_any_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    let letter = |offset, payload: &'static [u8]| DeadLetter {
        record: RecordRef { topic: "mail box.ndjson".into(), partition: 0, offset },
        reason: DeadReason::NotAnObject("a number"),
        payload: Bytes::from_static(payload),
        ingest_time: Time::from_secs(1_700_000_000),
    };
    let sink = DeadLetterSink::journal(journal.clone(), None);
    sink.send(&[letter(7, b"17"), letter(8, b"\xff")]).await.unwrap();
    let records = journal.read("mail_box.ndjson.dead", 0, 0, 10, 1 << 20).unwrap();
    insta::assert_snapshot!(records.iter().map(|r| String::from_utf8_lossy(&r.payload)).collect::<Vec<_>>().join("\n"), @r#"
    {"topic":"mail box.ndjson","partition":0,"offset":7,"reason":"not_an_object","message":"expected a JSON object, found a number","ingest_time":1700000000000000,"payload":"17"}
    {"topic":"mail box.ndjson","partition":0,"offset":8,"reason":"not_an_object","message":"expected a JSON object, found a number","ingest_time":1700000000000000,"payload_base64":"/w=="}
    "#);
}

#[tokio::test]
async fn budget_is_shared_by_partitions_and_pauses_hold() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    for partition in 0..3 {
        journal.append("t", partition, &payloads(0..50)).await.unwrap();
    }
    let mut source = JournalSource::open(journal, ["t".into()]);
    source.pause(&[("t".into(), 1)]).await.unwrap();
    // The first poll also finds the partitions.
    let polled = source.poll(PollBudget { records_max: 20, ..BUDGET }).await.unwrap();
    let of = |polled: &Polled, p: i32| polled.records.iter().filter(|r| r.partition == p).count();
    assert_eq!([of(&polled, 0), of(&polled, 1), of(&polled, 2)], [10, 0, 10]);
    let full = PollBudget { bytes_max: 0, wait: Duration::from_millis(10), ..BUDGET };
    assert!(source.poll(full).await.unwrap().is_empty());
    source.resume(&[("t".into(), 1)]).await.unwrap();
    let mut left = [40, 50, 40];
    while left != [0, 0, 0] {
        let polled = source.poll(BUDGET).await.unwrap();
        assert!(!polled.records.is_empty());
        for p in 0..3 {
            left[p as usize] -= of(&polled, p);
        }
    }
}

#[tokio::test]
async fn retention_drops_the_oldest_and_the_reader_is_told_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { bytes_max: Some(20_000), age_max: None };
    let (oldest, next);
    {
        let journal = Journal::open(dir.path(), small_segments(retention)).unwrap();
        let mut source = JournalSource::open(journal.clone(), ["t".into()]);
        assert_eq!(journal.append("t", 0, &payloads(0..10)).await.unwrap(), 0);
        assert_records(&source.poll(BUDGET).await.unwrap().records, 0..10);
        for start in (10..1_000).step_by(10) {
            journal.append("t", 0, &payloads(start..start + 10)).await.unwrap();
        }
        journal.enforce_retention().unwrap();
        (oldest, next) = journal.bounds("t", 0).unwrap();
        assert!((700..1_000).contains(&oldest) && next == 1_000, "{oldest}..{next}");
        let polled = source.poll(BUDGET).await.unwrap();
        assert_records(&polled.records, oldest..1_000);
        let [IngestError::OffsetsGone { from: 10, to, resumed_at, .. }] = polled.faults.as_slice() else {
            panic!("{:?}", polled.faults)
        };
        assert_eq!((*to, *resumed_at), (oldest, oldest));
    }
    let journal = Journal::open(dir.path(), small_segments(retention)).unwrap();
    assert_eq!(journal.bounds("t", 0), Some((oldest, next)));
    assert_records(&journal.read("t", 0, 0, 1_000, 1 << 20).unwrap(), oldest..1_000);
}

#[tokio::test]
async fn age_retention_drops_sealed_segments_only() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { bytes_max: None, age_max: Some(Duration::ZERO) };
    let journal = Journal::open(dir.path(), small_segments(retention)).unwrap();
    for start in (0..100).step_by(50) {
        journal.append("t", 0, &payloads(start..start + 50)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    journal.enforce_retention().unwrap();
    assert_eq!(journal.bounds("t", 0), Some((50, 100)));
}

#[tokio::test]
async fn position_beyond_a_replaced_journal_is_told_and_everything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    journal.append("t", 0, &payloads(0..3)).await.unwrap();
    let mut source = JournalSource::open(journal, ["t".into()]);
    source.seek(&Positions::from([(("t".into(), 0), 99)])).await.unwrap();
    let polled = source.poll(BUDGET).await.unwrap();
    assert_records(&polled.records, 0..3);
    assert!(polled.faults[0].to_string().contains("it was replaced"), "{:?}", polled.faults);
}

#[tokio::test]
async fn bad_names_and_large_records_are_refused_and_a_second_opener_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { record_bytes_max: 10, ..JournalOptions::default() };
    let journal = Journal::open(dir.path(), options).unwrap();
    assert!(matches!(journal.append("../t", 0, &[]).await, Err(IngestError::Config { .. })));
    assert!(matches!(journal.append("t", -1, &[]).await, Err(IngestError::Config { .. })));
    let large = journal.append("t", 0, &[Bytes::from_static(b"0123456789a")]).await;
    assert!(matches!(large, Err(IngestError::Limit { .. })), "{large:?}");
    let second = Journal::open(dir.path(), options).unwrap_err();
    assert!(second.to_string().contains("another process has the journal open"), "{second}");
}

const CHILD: &str = "ASTERISM_TEST_JOURNAL_CHILD";

/// Not a test of its own: the process that `what_was_acknowledged_survives_a_kill` kills.
#[tokio::test]
async fn appending_child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let options = small_segments(Retention { bytes_max: Some(20_000), age_max: None });
    let journal = Journal::open(Path::new(&dir), options).unwrap();
    let mut next = journal.bounds("t", 0).map_or(0, |(_, next)| next);
    loop {
        assert_eq!(journal.append("t", 0, &payloads(next..next + 7)).await.unwrap(), next);
        next += 7;
        println!("acknowledged {next}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    use std::io::BufRead;
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 1..=3 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::appending_child", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut said = out
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.split("acknowledged ").nth(1).and_then(|n| n.parse::<i64>().ok()));
        acknowledged = said.by_ref().take(25 * round).last().unwrap();
        // SIGKILL: no handler of the child runs.
        child.kill().unwrap();
        acknowledged = said.last().unwrap_or(acknowledged);
        child.wait().unwrap();
    }
    let journal = Journal::open(dir.path(), small_segments(Retention::default())).unwrap();
    let (oldest, next) = journal.bounds("t", 0).unwrap();
    assert!(next >= acknowledged && oldest > 0, "{oldest}..{next}, acknowledged {acknowledged}");
    assert_records(&journal.read("t", 0, 0, usize::MAX, usize::MAX).unwrap(), oldest..next);
}

#[tokio::test]
async fn full_disk_is_an_error_with_path_and_remedy_and_nothing_acknowledged_is_lost() {
    let small_disk = SmallDisk::mount();
    let Some(disk) = small_disk else {
        println!("skipped: cannot mount a small file system here (needs root)");
        return;
    };
    let path = disk.dir.path().join("journal");
    let mut acknowledged = 0;
    let error = {
        let journal = Journal::open(&path, JournalOptions::default()).unwrap();
        let noise: Vec<Bytes> = (0..16).map(|i| Bytes::from(noise(64 << 10, i))).collect();
        loop {
            match journal.append("t", 0, &noise).await {
                Ok(first) => acknowledged = first + noise.len() as i64,
                Err(error) => break error,
            }
            assert!(acknowledged < 10_000, "the disk is smaller than that");
        }
    };
    let told = error.to_string();
    assert!(matches!(error, IngestError::DiskFull { .. }), "{error:?}");
    assert!(told.contains("journal") && told.contains("free space"), "{told}");
    assert!(acknowledged > 0);
    disk.grow();
    let journal = Journal::open(&path, JournalOptions::default()).unwrap();
    assert!(journal.bounds("t", 0).unwrap().1 >= acknowledged);
    assert_eq!(
        journal.read("t", 0, 0, usize::MAX, usize::MAX).unwrap().len() as i64,
        journal.bounds("t", 0).unwrap().1
    );
}

/// A file system of its own, in memory.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=96m", "tmpfs"], dir.path()).then_some(Self { dir })
    }

    fn grow(&self) {
        assert!(run("mount", &["-o", "remount,size=512m"], self.dir.path()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        assert!(run("umount", &[], self.dir.path()) || std::thread::panicking());
    }
}

fn run(program: &str, args: &[&str], last: &Path) -> bool {
    let mut command = std::process::Command::new(program);
    command
        .args(args)
        .arg(last)
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Bytes that do not compress.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
