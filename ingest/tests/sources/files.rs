use bytes::Bytes;
use event::Time;
use ingest::{FileOptions, FilePartition, FileSource, Positions, TopicPartition};

use super::*;

fn open(paths: &[PathBuf]) -> FileSource {
    FileSource::open(paths, FileOptions::default()).unwrap()
}

#[tokio::test]
async fn every_compression_gives_the_same_records() {
    let dir = tempfile::tempdir().unwrap();
    let plain = lines(5_000);
    let (first, second) = plain.split_at(plain.len() / 2);
    let members = [gzip(first), gzip(second)].concat();
    let frames = [zstd::encode_all(first, 3).unwrap(), zstd::encode_all(second, 3).unwrap()].concat();
    // The name says nothing: the bytes tell.
    let paths = [
        write(dir.path(), "a", &plain),
        write(dir.path(), "b.ndjson", &members),
        write(dir.path(), "c.gz", &frames),
    ];
    let (records, faults) = read_all(&mut open(&paths)).await;
    assert!(faults.is_empty(), "{faults:?}");
    let of = |partition: i32| -> Vec<(i64, &Bytes)> {
        records.iter().filter(|r| r.partition == partition).map(|r| (r.offset, &r.payload)).collect()
    };
    let expected: Vec<&[u8]> = plain.strip_suffix(b"\n").unwrap().split(|b| *b == b'\n').collect();
    assert_eq!(of(0).iter().map(|(_, line)| line.as_ref()).collect::<Vec<_>>(), expected);
    assert_eq!(of(0).iter().map(|(n, _)| *n).collect::<Vec<_>>(), (0..5_000).collect::<Vec<i64>>());
    assert_eq!((of(1), of(2)), (of(0), of(0)));
}

#[tokio::test]
async fn truncated_file_gives_what_is_readable_then_an_error_with_its_line_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let text = lines(50_000);
    for (name, whole) in [("cut.gz", gzip(&text)), ("cut.zst", zstd::encode_all(text.as_slice(), 3).unwrap())]
    {
        let cut = write(dir.path(), name, &whole[..whole.len() * 2 / 3]);
        let sound = write(dir.path(), "sound.ndjson", &lines(10));
        let (records, faults) = read_all(&mut open(&[cut.clone(), sound])).await;
        let from_cut = records.iter().filter(|r| r.partition == 0).count();
        assert!((10_000..50_000).contains(&from_cut), "{name}: {from_cut}");
        assert_eq!(records.iter().filter(|r| r.partition == 1).count(), 10);
        let [fault @ IngestError::Corrupt { place, .. }] = faults.as_slice() else { panic!("{faults:?}") };
        assert_eq!(place, &format!("{}:{}", cut.display(), from_cut + 1));
        assert!(fault.to_string().contains("cut short or damaged"), "{fault}");
    }
}

#[tokio::test]
async fn garbage_after_a_gzip_member_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "a.gz", &[gzip(b"{}\n"), b"trailing rubbish".to_vec()].concat());
    let (records, faults) = read_all(&mut open(&[path])).await;
    assert_eq!(records.iter().map(|r| r.payload.as_ref()).collect::<Vec<_>>(), [b"{}"]);
    assert_eq!(faults.len(), 1);
}

#[tokio::test]
async fn hundred_megabyte_line_is_cut_and_marked_and_the_next_line_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = b"{\"before\":1}\n".to_vec();
    text.extend(vec![b'x'; 100 << 20]);
    text.extend_from_slice(b"\n{\"after\":1}\n");
    let path = write(dir.path(), "long.zst", &zstd::encode_all(text.as_slice(), 1).unwrap());
    let (records, faults) = read_all(&mut open(&[path])).await;
    assert!(faults.is_empty(), "{faults:?}");
    let shape: Vec<_> = records.iter().map(|r| (r.offset, r.payload.len(), r.truncated_from)).collect();
    assert_eq!(shape, vec![(0, 12, None), (1, 64 << 10, Some(100 << 20)), (2, 11, None)]);
}

#[tokio::test]
async fn the_file_furthest_behind_in_event_time_is_read_next() {
    let dir = tempfile::tempdir().unwrap();
    // Line n of file a is at hour n, of file b at hour 10 n: ten lines of a stand against one of b.
    let mut source = open(&[write(dir.path(), "a", &lines(100)), write(dir.path(), "b", &lines(10))]);
    let one = PollBudget { records_max: 1, ..BUDGET };
    let mut reached = [0_i64; 2];
    loop {
        let polled = source.poll(one).await.unwrap();
        for record in &polled.records {
            let hours_a_line = if record.partition == 0 { 1 } else { 10 };
            reached[record.partition as usize] = record.offset * hours_a_line;
            let partition = (record.topic.clone(), record.partition);
            source.progress(&partition, Time::from_secs(record.offset * hours_a_line * 3_600));
        }
        if polled.ended || !polled.finished.is_empty() {
            break;
        }
        // One chunk is read ahead before its predecessor's progress is known.
        assert!((reached[0] - reached[1]).abs() <= 20, "{reached:?}");
    }
    assert!(reached[0] > 50 && reached[1] > 50, "{reached:?}");
}

#[tokio::test]
async fn seek_goes_on_at_the_line_even_after_reading_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = open(&[write(dir.path(), "a", &lines(20)), write(dir.path(), "b", &lines(20))]);
    let before = source.poll(PollBudget { records_max: 3, ..BUDGET }).await.unwrap();
    assert_eq!(
        before.records.iter().map(|r| (r.partition, r.offset)).collect::<Vec<_>>(),
        [(0, 0), (0, 1), (0, 2)]
    );
    source.seek(&Positions::from([(("a".into(), 0), 17)])).await.unwrap();
    let (records, _) = read_all(&mut source).await;
    let of = |p: i32| records.iter().filter(|r| r.partition == p).map(|r| r.offset).collect::<Vec<i64>>();
    assert_eq!(of(0), (17..20).collect::<Vec<i64>>());
    assert_eq!(of(1), (0..20).collect::<Vec<i64>>());
}

#[tokio::test]
async fn dropped_poll_loses_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = open(&[write(dir.path(), "a", &lines(2_000))]);
    let mut offsets = Vec::new();
    loop {
        let poll = source.poll(PollBudget { records_max: 7, ..BUDGET });
        if let Ok(polled) = tokio::time::timeout(Duration::ZERO, poll).await {
            let polled = polled.unwrap();
            offsets.extend(polled.records.iter().map(|r| r.offset));
            if polled.ended {
                break;
            }
        }
    }
    assert_eq!(offsets, (0..2_000).collect::<Vec<i64>>());
}

#[tokio::test]
async fn paused_file_waits_and_an_exhausted_budget_delivers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = open(&[write(dir.path(), "a", &lines(3)), write(dir.path(), "b", &lines(3))]);
    source.pause(&[("a".into(), 0)]).await.unwrap();
    let full = PollBudget { records_max: 0, wait: Duration::from_millis(10), ..BUDGET };
    assert!(source.poll(full).await.unwrap().records.is_empty());
    let polled = source.poll(BUDGET).await.unwrap();
    assert_eq!(polled.records.iter().map(|r| r.partition).collect::<Vec<_>>(), [1, 1, 1]);
    source.resume(&[("a".into(), 0)]).await.unwrap();
    let (records, _) = read_all(&mut source).await;
    assert_eq!(records.iter().map(|r| r.partition).collect::<Vec<_>>(), [0, 0, 0]);
}

#[test]
fn what_cannot_be_read_is_named_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let refused =
        |paths: &[PathBuf]| FileSource::open(paths, FileOptions::default()).unwrap_err().to_string();
    let missing = refused(&[dir.path().join("missing.ndjson")]);
    assert!(missing.contains("missing.ndjson: No such file"), "{missing}");
    assert!(refused(&[dir.path().to_owned()]).contains(&dir.path().display().to_string()));
    assert!(refused(&["-".into(), "-".into()]).contains("standard input"));
}

#[tokio::test]
async fn utf16_file_is_named_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "wide.json", b"\xff\xfe{\0}\0\n\0");
    let (_, faults) = read_all(&mut open(&[path])).await;
    assert!(faults[0].to_string().contains("convert it to UTF-8"), "{faults:?}");
}

fn open_by_content(paths: &[PathBuf]) -> FileSource {
    let options = FileOptions { partition: FilePartition::Content, ..FileOptions::default() };
    FileSource::open(paths, options).unwrap()
}

/// Where an engine that has read all of it stands.
async fn positions_after(mut source: FileSource) -> Positions {
    let (records, faults) = read_all(&mut source).await;
    assert!(faults.is_empty(), "{faults:?}");
    records.into_iter().map(|record| ((record.topic, record.partition), record.offset + 1)).collect()
}

#[tokio::test]
async fn file_is_known_again_by_content_wherever_it_lies_and_no_other_of_its_name_is_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let [here, there, elsewhere] = ["here", "there", "elsewhere"].map(|name| {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        dir.path().join(name)
    });
    let first = write(&here, "events", &lines(100));
    let read = positions_after(open_by_content(std::slice::from_ref(&first))).await;
    assert_eq!(read.values().collect::<Vec<_>>(), [&100]);

    let copy = write(&there, "events", &lines(100));
    // One more record, so that the beginning is the same.
    let namesake = write(&elsewhere, "events", &lines(101));
    let other = write(&here, "another", &lines(5));
    let mut source = open_by_content(&[other, namesake, first, copy]);
    let files: Vec<TopicPartition> = source.partitions().cloned().collect();
    assert_eq!(files.len(), 3, "the copy is the same file: {files:?}");
    assert!(read.contains_key(&files[2]) && !read.contains_key(&files[1]), "{files:?} {read:?}");
    source.seek(&read).await.unwrap();
    let (records, faults) = read_all(&mut source).await;
    assert!(faults.is_empty(), "{faults:?}");
    let of = |file: &TopicPartition| {
        let own = records.iter().filter(|r| (&r.topic, r.partition) == (&file.0, file.1));
        own.map(|r| r.offset).collect::<Vec<i64>>()
    };
    assert_eq!(of(&files[0]), (0..5).collect::<Vec<i64>>());
    assert_eq!(of(&files[1]), (0..101).collect::<Vec<i64>>());
    assert_eq!(of(&files[2]), Vec::<i64>::new(), "replaying adds nothing");
}

#[tokio::test]
async fn a_stream_that_was_read_before_is_refused() {
    let mut source = open_by_content(&["-".into()]);
    let known = source.partitions().next().cloned().unwrap();
    source.seek(&Positions::from([(known.clone(), 0)])).await.unwrap();
    let refused = source.seek(&Positions::from([(known, 3)])).await.unwrap_err().to_string();
    assert!(refused.contains("stdin") && refused.contains("as a file"), "{refused}");
}
