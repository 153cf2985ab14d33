//! What users get wrong, and what attackers send: a clear message, and everything else goes on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Running, asterism, eventually, free_port, hunt, ok, stderr};

/// One good Sysmon record.
pub const GOOD: &str = r#"{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","Hostname":"ws-01.contoso.example","@timestamp":"2026-03-02T07:00:00Z","TimeCreated":"2026-03-02T07:00:00Z","UtcTime":"2026-03-02 07:00:00.123","Image":"C:\\Windows\\System32\\cmd.exe","CommandLine":"cmd /c whoami","ProcessGuid":"{11111111-2222-3333-4444-555555555555}","ProcessId":"42","SourceName":"Microsoft-Windows-Sysmon","Message":"m"}"#;

fn file(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn detect(file: &Path) -> std::process::Output {
    asterism().args(["detect", "--rules", "builtin"]).arg(file).output().unwrap()
}

/// Guarantees: each kind of broken record is counted under its reason with file and line; the good ones go through.
#[test]
fn broken_records_are_named_and_do_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let year = |y: &str| GOOD.replace("2026-03-02", &format!("{y}-01-01"));
    let lines: Vec<Vec<u8>> = vec![
        GOOD.into(),
        b"{\"EventID\": 1, \"Chan".to_vec(),
        b"[1,2,3]".to_vec(),
        deep.into_bytes(),
        year("1601").into_bytes(),
        year("2999").into_bytes(),
        b"{\"EventID\":1,\"Channel\":\"\xff\xfe\"}".to_vec(),
        b"{\"some\":\"shape\",\"nobody\":\"knows\"}".to_vec(),
        br#"{"EventID":{"a":[1]},"Channel":7,"Hostname":[],"TimeCreated":true}"#.to_vec(),
        GOOD.into(),
    ];
    let path = file(dir.path(), "mixed.ndjson", &lines.join(&b'\n'));
    let output = detect(&path);
    let text = stderr(&output);
    assert!(output.status.success(), "bad records are no failure of the command: {text}");
    assert!(text.contains("10 records read"), "{text}");
    assert!(text.contains("mixed.ndjson line 2"), "file and line are named: {text}");
    for code in
        ["broken_json", "not_an_object", "too_deep", "implausible_time", "invalid_utf8", "unknown_shape"]
    {
        assert!(text.contains(code), "{code}: {text}");
    }
}

/// Guarantees: a 100 MB line is one dead letter, and memory does not hold it.
#[test]
fn an_endless_line_is_one_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.ndjson");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    out.write_all(b"{\"a\":\"").unwrap();
    for _ in 0..100 {
        out.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    writeln!(out, "\"}}\n{GOOD}").unwrap();
    out.into_inner().unwrap();
    let output = detect(&path);
    let text = stderr(&output);
    assert!(output.status.success() && text.contains("2 records read, 1 events"), "{text}");
    assert!(text.contains("too_large") && text.contains("long.ndjson line 1"), "{text}");
}

/// Guarantees: what can be read of a truncated file is read; the command fails and names the file.
#[test]
fn a_truncated_archive_is_read_as_far_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let text: String =
        (0..5_000).map(|i| GOOD.replace("whoami", &format!("whoami {}", i * 7_919)) + "\n").collect();
    let whole = zstd::encode_all(text.as_bytes(), 1).unwrap();
    let path = file(dir.path(), "cut.ndjson.zst", &whole[..whole.len() / 2]);
    let output = detect(&path);
    let text = stderr(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("cut.ndjson.zst") && !text.contains("0 records read"), "{text}");
}

#[test]
fn missing_files_rules_and_kinds_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "good.ndjson", GOOD.as_bytes());
    let missing = stderr(&detect(&dir.path().join("nowhere.ndjson")));
    assert!(missing.contains("nowhere.ndjson"), "{missing}");
    let kind = asterism()
        .args(["detect", "--rules", "builtin", "--source", "wndows_event"])
        .arg(&good)
        .output()
        .unwrap();
    assert!(
        !kind.status.success() && stderr(&kind).contains("windows_event"),
        "known kinds are listed: {}",
        stderr(&kind)
    );
    let usage = asterism().args(["detect", "--no-such-option"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2), "wrong usage exits with 2");
}

/// Guarantees: a broken rule is rejected by file and reason; the others load and fire.
#[test]
fn a_broken_rule_does_not_keep_the_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    file(&rules, "broken.yml", b"title: broken\ndetection: [not: closed\n");
    file(&rules, "unknown.yml", b"title: unknown modifier\nlogsource: {product: windows}\ndetection:\n  s:\n    Image|sounds_like: x\n  condition: s\n");
    file(&rules, "good.yml", b"title: who am i\nid: 0d0f7a3e-2d55-4bb0-9d3f-6d1f0a4c0001\nauthor: someone\nlogsource: {product: windows, category: process_creation}\ndetection:\n  s:\n    CommandLine|contains: whoami\n  condition: s\nlevel: low\n");
    let good = file(dir.path(), "good.ndjson", GOOD.as_bytes());
    let output = ok(asterism().args(["detect", "--rules"]).arg(&rules).arg(&good));
    let text = stderr(&output);
    assert!(text.contains("1 rules loaded, 2 rejected"), "{text}");
    assert!(text.contains("broken.yml") && text.contains("sounds_like"), "{text}");
    let alerts = crate::harness::json_lines(&output);
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0]["author"].as_str(), alerts[0]["line"].as_i64()), (Some("someone"), Some(1)));
    let check = asterism().args(["rules", "check"]).arg(&rules).output().unwrap();
    assert_eq!(check.status.code(), Some(1), "check fails where a rule is rejected");
}

#[test]
fn an_unknown_config_key_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "asterism.toml", b"[api]\nlissten = \"127.0.0.1:1\"\n");
    let output = asterism().args(["run", "-c"]).arg(&config).output().unwrap();
    let text = stderr(&output);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("asterism.toml") && text.contains("api.lissten") && text.contains("listen"),
        "{text}"
    );
}

#[test]
fn a_busy_port_is_said_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = format!("data_dir = {:?}\n[api]\nlisten = \"127.0.0.1:{port}\"\n", dir.path().join("data"));
    let config = file(dir.path(), "asterism.toml", config.as_bytes());
    let output = asterism().args(["run", "-c"]).arg(&config).output().unwrap();
    let text = stderr(&output);
    assert!(
        !output.status.success() && text.contains(&port.to_string()) && text.contains("another port"),
        "{text}"
    );
}

/// Guarantees: a topic that is in the journal is not read from Kafka as well, where its records have the same names.
#[test]
fn a_topic_of_the_journal_is_not_read_from_kafka() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let journal =
        ingest::Journal::open(&data_dir.join("journal"), ingest::JournalOptions::default()).unwrap();
    journal.append_blocking("mail", 0, &[GOOD.into()]).unwrap();
    drop(journal);
    let run = |topic: &str| {
        let config = format!(
            "data_dir = {data_dir:?}\n[api]\nlisten = \"127.0.0.1:0\"\n[kafka]\nbootstrap = \"127.0.0.1:{}\"\ntopics = [{{ name = {topic:?} }}]\n",
            free_port()
        );
        let config = file(dir.path(), "asterism.toml", config.as_bytes());
        let output = asterism().args(["run", "-c"]).arg(&config).output().unwrap();
        assert!(!output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let text = run("mail");
    assert!(text.contains("kafka.topics names \"mail\"") && text.contains("journal"), "{text}");
    let text = run("http.auto");
    assert!(text.contains("kafka.topics names \"http.auto\"") && text.contains("journal"), "{text}");
}

/// Guarantees: the password of a secured broker is read from its file, and a missing file is named.
#[test]
fn a_missing_secret_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("kafka-password");
    let config = format!(
        "[kafka]\nbootstrap = \"127.0.0.1:1\"\ntopics = [{{ name = \"t\" }}]\nsecret_files = {{ \"sasl.password\" = {secret:?} }}\n"
    );
    let config = file(dir.path(), "asterism.toml", config.as_bytes());
    let check = || asterism().args(["run", "--check", "-c"]).arg(&config).output().unwrap();
    let text = stderr(&check());
    assert!(
        text.contains("kafka.secret_files.\"sasl.password\"") && text.contains("kafka-password"),
        "{text}"
    );
    std::fs::write(&secret, "hunter2\n").unwrap();
    let output = check();
    assert!(output.status.success() && !stderr(&output).contains("hunter2"), "{}", stderr(&output));
}

/// Guarantees: without its broker the daemon serves, says which broker it misses, and keeps trying.
#[test]
fn a_missing_broker_is_named_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (api, broker) = (free_port(), free_port());
    let config = format!(
        "data_dir = {:?}\n[api]\nlisten = \"127.0.0.1:{api}\"\n[kafka]\nbootstrap = \"127.0.0.1:{broker}\"\ntopics = [{{ name = \"t\" }}]\n",
        dir.path().join("data")
    );
    let config = file(dir.path(), "asterism.toml", config.as_bytes());
    let mut daemon = Running::start(asterism().args(["run", "-c"]).arg(&config), dir.path(), "daemon");
    let named = format!("127.0.0.1:{broker}");
    eventually("the broker is named", Duration::from_secs(60), || {
        daemon.text().contains(&named).then_some(())
    });
    assert!(daemon.is_running(), "{}", daemon.text());
    daemon.stop();
}

/// Guarantees: a file is read into a data directory once, wherever it lies; another file of its name is read too, and
/// a stream that cannot be known again is refused.
#[test]
fn a_file_is_replayed_once_and_its_namesake_too() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        dir.path().join(name)
    });
    let first = file(&a, "events.ndjson", GOOD.as_bytes());
    let copy = file(&b, "events.ndjson", GOOD.as_bytes());
    let data_dir = dir.path().join("case");
    let replay = |file: &Path| {
        stderr(&ok(asterism().args(["replay", "--rules", "builtin", "--data-dir"]).arg(&data_dir).arg(file)))
    };
    let rows = || hunt(&data_dir, "SELECT count(*) AS n FROM process_activity")[0]["n"].as_i64();
    assert!(replay(&first).contains("1 records read"));
    let again = replay(&copy);
    assert!(
        again.contains("0 records read") && again.contains("events.ndjson was replayed before"),
        "{again}"
    );
    assert_eq!(rows(), Some(1));

    let namesake = GOOD.replace("whoami", "hostname");
    file(&b, "events.ndjson", namesake.as_bytes());
    let other = replay(&b.join("events.ndjson"));
    assert!(other.contains("1 records read") && other.contains("another file events.ndjson"), "{other}");
    assert_eq!(rows(), Some(2));

    let pipe = || {
        let input = std::process::Stdio::from(std::fs::File::open(&first).unwrap());
        let mut replay = asterism();
        replay.args(["replay", "--rules", "builtin", "--data-dir"]).arg(&data_dir).arg("-").stdin(input);
        replay.output().unwrap()
    };
    assert!(stderr(&pipe()).contains("1 records read"));
    let refused = pipe();
    let text = stderr(&refused);
    assert!(!refused.status.success() && text.contains("stdin") && text.contains("as a file"), "{text}");
}

/// Guarantees: hunting reads only, and an unknown column is answered with what there is.
#[test]
fn hunting_refuses_what_is_no_question() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "good.ndjson", GOOD.as_bytes());
    let data_dir = dir.path().join("case");
    ok(asterism().args(["replay", "--rules", "builtin", "--data-dir"]).arg(&data_dir).arg(&good));
    assert_eq!(
        hunt(&data_dir, "SELECT process_cmd_line FROM process_activity")[0]["process_cmd_line"],
        "cmd /c whoami"
    );
    for sql in [
        "DROP TABLE alerts",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "COPY alerts TO '/tmp/x'",
    ] {
        let output = asterism().args(["hunt", "--data-dir"]).arg(&data_dir).arg(sql).output().unwrap();
        assert!(!output.status.success(), "{sql}");
    }
    let wrong = asterism()
        .args(["hunt", "--data-dir"])
        .arg(&data_dir)
        .arg("SELECT proces_cmd_line FROM process_activity")
        .output()
        .unwrap();
    assert!(stderr(&wrong).contains("process_cmd_line"), "{}", stderr(&wrong));
}

/// Guarantees: a full disk stops the work with the place and the remedy; what was there stays readable.
#[test]
fn a_full_disk_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&small)
        .status();
    if !mounted.is_ok_and(|s| s.success()) {
        println!("skipped: a_full_disk_is_said: no right to mount a small file system");
        return;
    }
    // Text that does not compress, several times what the disk holds.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    let mut line = || GOOD.replace("whoami", &(0..16).map(|_| noise()).collect::<String>()) + "\n";
    let text: String = (0..20_000).map(|_| line()).collect();
    let path = file(dir.path(), "many.ndjson", text.as_bytes());
    let output = asterism()
        .args(["replay", "--rules", "builtin", "--data-dir"])
        .arg(small.join("case"))
        .arg(&path)
        .output();
    std::process::Command::new("umount").arg(&small).status().unwrap();
    let output = output.unwrap();
    let text = stderr(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("space") && text.contains("small"), "{text}");
}
