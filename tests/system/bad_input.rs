//! What users get wrong, and what attackers send: a clear message, and everything else goes on.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::harness::{
    Running, asterism, eventually, free_port, http, hunt, json_lines, lake_rows, metric, ok, stderr,
};

/// One good Sysmon record.
pub const GOOD: &str = r#"{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","Hostname":"ws-01.contoso.example","@timestamp":"2026-03-02T07:00:00Z","TimeCreated":"2026-03-02T07:00:00Z","UtcTime":"2026-03-02 07:00:00.123","Image":"C:\\Windows\\System32\\cmd.exe","CommandLine":"cmd /c whoami","ProcessGuid":"{11111111-2222-3333-4444-555555555555}","ProcessId":"42","SourceName":"Microsoft-Windows-Sysmon","Message":"m"}"#;

fn file(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn detect(file: &Path) -> Output {
    asterism().args(["detect", "--rules", "builtin"]).arg(file).output().unwrap()
}

/// Every kind of broken record between good ones: the record, the reason it is refused for, and what the message
/// says. No reason: it is decoded.
fn mixed() -> Vec<(Vec<u8>, Option<(&'static str, &'static str)>)> {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let with = |from: &str, to: &str| GOOD.replace(from, to).into_bytes();
    let untimed = r#"{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","Hostname":"ws-01.contoso.example","SourceName":"Microsoft-Windows-Sysmon","Image":"C:\\a.exe","CommandLine":"a"}"#;
    let broken = |code, says| Some((code, says));
    vec![
        (GOOD.into(), None),
        (b"{\"EventID\": 1, \"Chan".to_vec(), broken("broken_json", "broken JSON at byte ")),
        (b"[1,2,3]".to_vec(), broken("not_an_object", "expected a JSON object, found ")),
        (deep.into_bytes(), broken("too_deep", "nested deeper than ")),
        (
            with("2026-03-02", "1601-01-01"),
            broken("implausible_time", "1601-01-01T07:00:00Z is outside 1990..2100"),
        ),
        (with("2026-03-02", "2999-01-01"), broken("implausible_time", "outside 1990..2100")),
        (untimed.into(), broken("no_time", "no event time; looked at ")),
        (
            b"{\"EventID\":1,\"Channel\":\"\xff\xfe\"}".to_vec(),
            broken("invalid_utf8", "invalid UTF-8 at byte 24; the source must send UTF-8"),
        ),
        (
            b"{\"some\":\"shape\",\"nobody\":\"knows\"}".to_vec(),
            broken("unknown_shape", "name the source kind, or add a mapping"),
        ),
        // The types of the telling fields are wrong: nothing says what it is.
        (
            br#"{"EventID":{"a":[1]},"Channel":7,"Hostname":[],"TimeCreated":true}"#.to_vec(),
            broken("unreadable_time", "no readable event time"),
        ),
        // The type of one value is wrong: the record is decoded without it.
        (with(r#""ProcessId":"42""#, r#""ProcessId":"forty-two""#), None),
        (GOOD.into(), None),
    ]
}

fn mixed_file(dir: &Path) -> PathBuf {
    let lines: Vec<Vec<u8>> = mixed().into_iter().map(|(line, _)| line).collect();
    file(dir, "mixed.ndjson", &lines.join(&b'\n'))
}

/// How many records of [`mixed`] are refused, by reason.
fn refused() -> BTreeMap<&'static str, i64> {
    let mut refused = BTreeMap::new();
    for (code, _) in mixed().into_iter().filter_map(|(_, broken)| broken) {
        *refused.entry(code).or_default() += 1;
    }
    refused
}

/// Guarantees: each kind of broken record is counted under its reason with file, line and remedy; the good ones go
/// through; the counts add up.
#[test]
fn broken_records_are_named_and_do_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let output = detect(&mixed_file(dir.path()));
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "bad records are no failure of the command: {text}");
    let (records, events) = (mixed().len(), mixed().iter().filter(|(_, broken)| broken.is_none()).count());
    assert!(text.contains(&format!("{records} records read, {events} events")), "{text}");
    assert_eq!(
        refused().values().sum::<i64>() as usize + events,
        records,
        "every record is one or the other"
    );
    for (code, count) in refused() {
        let first = mixed().iter().position(|(_, b)| b.is_some_and(|(c, _)| c == code)).unwrap();
        let says = mixed()[first].1.unwrap().1;
        let begins = format!("  {count} not decoded ({code}), such as mixed.ndjson line {}: ", first + 1);
        let line = text.lines().find(|line| line.starts_with(&begins));
        assert!(line.is_some_and(|line| line.contains(says)), "{begins}{says}: {text}");
    }
    assert!(text.contains("1 values do not fit their column"), "{text}");
}

/// Guarantees: a file of which nothing can be decoded is a failure that names it, beside one that can.
#[test]
fn a_file_of_which_nothing_is_decoded_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "good.ndjson", GOOD.as_bytes());
    let bad = file(dir.path(), "bad.ndjson", b"{\"some\":\"shape\"}\n");
    let output = asterism().args(["detect", "--rules", "builtin"]).args([&good, &bad]).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("error: nothing of bad.ndjson could be decoded"), "{text}");
    assert!(!text.contains("nothing of good.ndjson"), "{text}");
    let named =
        asterism().args(["correlate", "--source", "sentinel_security_alert"]).arg(&bad).output().unwrap();
    let text = stderr(&named);
    assert!(text.contains("of source kind sentinel_security_alert; name another kind, or auto"), "{text}");
    let events = stderr(&ok(asterism().args(["correlate"]).arg(&good)));
    assert!(events.contains("0 alerts in 0 incidents") && events.contains("asterism replay"), "{events}");
}

/// Guarantees: the environment names a server only where no option names a place.
#[test]
fn an_option_goes_before_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "good.ndjson", GOOD.as_bytes());
    let data_dir = dir.path().join("case");
    ok(asterism().args(["replay", "--rules", "builtin", "--data-dir"]).arg(&data_dir).arg(&good));
    let server = format!("http://127.0.0.1:{}", free_port());
    let list = |data_dir: Option<&Path>| {
        let mut list = asterism();
        list.env("ASTERISM_SERVER", &server).args(["incidents", "list"]);
        if let Some(dir) = data_dir {
            list.arg("--data-dir").arg(dir);
        }
        list.output().unwrap()
    };
    assert!(list(Some(&data_dir)).status.success(), "{}", stderr(&list(Some(&data_dir))));
    assert!(stderr(&list(None)).contains(&format!("no server at {server}")), "{}", stderr(&list(None)));
    for args in [&["incidents", "list"][..], &["hunt", "SELECT 1"]] {
        let output = asterism().args(args).arg("--data-dir").arg(dir.path()).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("is no data directory of asterism"), "{args:?}: {text}");
    }
}

/// Guarantees: records and their truth may go to one directory that is not there yet.
#[test]
fn the_truth_lies_beside_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("generated");
    ok(asterism()
        .args(["generate", "--events", "2000", "--out"])
        .arg(&out)
        .arg("--truth")
        .arg(out.join("truth.ndjson")));
    assert!(out.join("truth.ndjson").is_file());
}

/// Guarantees: what was not decoded is a row with origin, reason and payload, once, also after a second replay.
#[test]
fn what_is_not_decoded_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mixed_file, data_dir) = (mixed_file(dir.path()), dir.path().join("case"));
    let mut replay = asterism();
    replay.args(["replay", "--rules", "builtin", "--data-dir"]).arg(&data_dir).arg(&mixed_file);
    ok(&mut replay);
    let again = stderr(&ok(&mut replay));
    let left_out =
        format!("mixed.ndjson was replayed before: its first {} lines are not read again", mixed().len());
    assert!(again.contains(&left_out) && again.contains("0 records read"), "{again}");
    let rows = hunt(&data_dir, "SELECT reason, message, topic, \"offset\", payload_bytes FROM dead_letters");
    let mut by_reason = BTreeMap::new();
    for row in &rows {
        *by_reason.entry(row["reason"].as_str().unwrap()).or_default() += 1;
        assert_eq!(row["topic"], "mixed.ndjson");
        let line = usize::try_from(row["offset"].as_i64().unwrap()).unwrap();
        let (record, broken) = &mixed()[line];
        assert_eq!(broken.unwrap().0, row["reason"], "line {line}");
        // Of a record that is too long its beginning is kept.
        assert_eq!(row["payload_bytes"], record.len().min(64 << 10), "line {line}: the record as received");
        assert!(!row["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(by_reason, refused());
    let kept = hunt(&data_dir, "SELECT raw FROM process_activity WHERE raw LIKE '%forty-two%'");
    assert_eq!(kept.len(), 1, "a value that fits no column stays in the record");
}

/// Guarantees: over HTTP, too, one bad record does not stop the others, and each is counted.
#[test]
fn bad_records_over_http_are_counted_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (api, data_dir) = (free_port(), dir.path().join("data"));
    let config =
        format!("data_dir = {data_dir:?}\n[api]\nlisten = \"127.0.0.1:{api}\"\n[store]\ncheckpoint_s = 1\n");
    let config = file(dir.path(), "asterism.toml", config.as_bytes());
    let mut daemon = Running::start(asterism().args(["run", "-c"]).arg(&config), dir.path(), "daemon");
    let body = format!("{GOOD}\n{{\"EventID\": 1, \"Chan\n[1,2,3]\n{{\"some\":\"shape\"}}\n{GOOD}\n");
    let url = format!("http://127.0.0.1:{api}/api/v1/ingest/auto");
    let (status, answer) = daemon.until("the daemon answers", Duration::from_secs(60), || {
        http(reqwest::Method::POST, &url, Some(body.clone()))
    });
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("\"accepted\":5"), "{answer}");
    daemon.until("good ones are stored, bad ones counted", Duration::from_secs(60), || {
        let counted = metric(api, "asterism_dead_letters_total")?;
        (lake_rows(api)? == 2 && counted == 3).then_some(())
    });
    let nobody = format!("http://127.0.0.1:{api}/api/v1/ingest/wndows_event");
    let (status, answer) = http(reqwest::Method::POST, &nobody, Some(GOOD.to_owned())).unwrap();
    assert!(status == 404 && answer.contains("wndows_event"), "{status} {answer}");
    daemon.stop();
    let sql = "SELECT reason, topic, \"offset\" FROM dead_letters ORDER BY \"offset\"";
    let rows: Vec<String> = hunt(&data_dir, sql)
        .iter()
        .map(|r| {
            format!("{}@{} {}", r["topic"].as_str().unwrap(), r["offset"], r["reason"].as_str().unwrap())
        })
        .collect();
    assert_eq!(rows, ["http.auto@1 broken_json", "http.auto@2 not_an_object", "http.auto@3 unknown_shape"]);
}

/// Peak of the memory of a process, in MiB, watched until it ends.
fn peak_mib(mut child: std::process::Child) -> (u64, Output) {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or_default() / 1_024);
        std::thread::sleep(Duration::from_millis(2));
    }
    (peak, child.wait_with_output().unwrap())
}

/// Guarantees: a 100 MB line is one dead letter with its size and the setting that would let it in, and memory does
/// not hold it: it takes hardly more than a file of one short line.
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
    let short = file(dir.path(), "short.ndjson", GOOD.as_bytes());
    let run = |path: &Path| {
        let mut command = asterism();
        command.args(["detect", "--rules", "builtin"]).arg(path);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        peak_mib(command.spawn().unwrap())
    };
    let (usual, _) = run(&short);
    let (peak, output) = run(&path);
    let text = stderr(&output);
    assert!(output.status.success() && text.contains("2 records read, 1 events"), "{text}");
    assert!(text.contains("1 not decoded (too_large), such as long.ndjson line 1: "), "{text}");
    assert!(text.contains("104857608 bytes") && text.contains("raise ingest.record_bytes_max"), "{text}");
    assert!(peak < usual + 64, "{peak} MiB for a line of 100 MiB, {usual} MiB for a short one");
}

/// Guarantees: what can be read of a truncated file is read; the command fails, and names the file, the line and the
/// remedy.
#[test]
fn a_truncated_archive_is_read_as_far_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let text: String =
        (0..5_000).map(|i| GOOD.replace("whoami", &format!("whoami {}", i * 7_919)) + "\n").collect();
    let whole = zstd::encode_all(text.as_bytes(), 1).unwrap();
    let path = file(dir.path(), "cut.ndjson.zst", &whole[..whole.len() / 2]);
    let output = detect(&path);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let read: u64 =
        text.split(" records read").next().unwrap().rsplit(['\n', ' ']).next().unwrap().parse().unwrap();
    assert!((1..5_000).contains(&read), "{text}");
    let place =
        format!("error: {}:{}: the compressed data is cut short or damaged", path.display(), read + 1);
    assert!(text.contains(&place) && text.contains("fetch the file again"), "{place}: {text}");
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
    assert_eq!(missing.matches("No such file").count(), 1, "said once: {missing}");
    let directory = stderr(&detect(dir.path()));
    assert_eq!(directory.matches("is a directory").count(), 1, "said once: {directory}");
    let rules = asterism()
        .args(["replay", "--rules", "/nowhere/rules", "--data-dir"])
        .arg(dir.path().join("case"))
        .arg(&good)
        .output()
        .unwrap();
    assert!(stderr(&rules).contains("--rules: cannot read /nowhere/rules"), "{}", stderr(&rules));
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
    let of = |file: &str| text.lines().find(|line| line.contains(file)).unwrap_or_default();
    assert!(of("broken.yml").contains("not valid YAML") && of("broken.yml").contains("line 2"), "{text}");
    assert!(of("unknown.yml").contains("unknown modifier in `Image|sounds_like`"), "{text}");
    let alerts = json_lines(&output);
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0]["author"].as_str(), alerts[0]["line"].as_i64()), (Some("someone"), Some(1)));
    file(&rules, "empty.yml", b"");
    file(&rules, "latin.yml", b"title: caf\xe9\n");
    file(&rules, "level.yml", b"title: who else\nlogsource: {product: windows, category: process_creation}\ndetection:\n  s:\n    CommandLine|contains: hostname\n  condition: s\nlevel: superhigh\n");
    let check = asterism().args(["rules", "check"]).arg(&rules).output().unwrap();
    let told = String::from_utf8_lossy(&check.stdout).into_owned();
    let of = |file: &str| told.lines().find(|line| line.contains(file)).unwrap_or_default();
    assert!(of("empty.yml").starts_with("rejected") && of("empty.yml").contains("holds no rule"), "{told}");
    assert!(
        of("latin.yml").starts_with("rejected") && of("latin.yml").contains("UTF-8 at byte 10"),
        "{told}"
    );
    assert!(of("level.yml").starts_with("odd") && of("level.yml").contains("level `superhigh`"), "{told}");
    assert_eq!(check.status.code(), Some(1), "check fails where a rule is rejected");
}

#[test]
fn an_unknown_config_key_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "asterism.toml", b"[api]\nlissten = \"127.0.0.1:1\"\n");
    let output = asterism().args(["run", "-c"]).arg(&config).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("asterism.toml")
            && text.contains("unknown key `api.lissten`; known here: ingest_body_bytes_max, listen, "),
        "{text}"
    );
    for (wrong, says) in [
        ("[api]\nlisten = 8080\n", "listen"),
        ("[api\n", "line 1"),
        ("[respond.policy]\nautomatoin = \"full\"\n", "automatoin"),
        ("[respond.policy]\nautomation = \"fully\"\n", "approve_all"),
        ("[kafka]\nbootstrap = \"b:9092\"\n", "name the topics to read"),
        (
            "[kafka]\ntopics = [{ name = \"a\", source = \"nope\" }]\n",
            "source = \"nope\", which is no source kind",
        ),
        (
            "[api]\ntoken_file = \"/nowhere/token\"\n",
            "api.token_file: cannot read secret file /nowhere/token",
        ),
        ("[respond.edr]\nurl = \"notaurl\"\n", "respond.edr.url is \"notaurl\""),
        ("[respond.edr]\nurl = \"http://127.0.0.1:1\"\n", "respond.edr.token_file is empty"),
        (
            "[respond.edr]\nurl = \"http://127.0.0.1:1\"\ntoken_file = \"/nowhere/token\"\n",
            "respond.edr.token_file: cannot read secret file /nowhere/token",
        ),
        (
            "[respond.edr]\nurl = \"http://127.0.0.1:1\"\ntoken_file = \"t\"\noauth2 = { client_id = \"c\" }\n",
            "respond.edr.token_file and respond.edr.oauth2 are both set",
        ),
        ("[respond.policy]\nttl = \"9d\"\n", "respond.policy.ttl_max"),
        (
            "[respond.policy.stopped]\nconnectors = [\"okta\"]\n",
            "respond.policy.stopped.connectors names \"okta\", which is no connector here; known: none",
        ),
        (
            "[respond.policy]\npage = \"soc\"\n",
            "respond.policy.page is \"soc\", but no connector has a channel of that name",
        ),
        (
            "[respond.mail]\nhost = \"mail.example\"\nfrom = \"a@b.example\"\nca_file = \"/nowhere/ca.pem\"\n",
            "respond.mail.ca_file: cannot read /nowhere/ca.pem",
        ),
        ("[rules]\ndirs = [\"/nowhere/rules\"]\n", "rules.dirs: cannot read /nowhere/rules"),
        ("mappings = [\"/nowhere/mappings\"]\n", "mappings: /nowhere/mappings"),
    ] {
        let config = file(dir.path(), "asterism.toml", wrong.as_bytes());
        let output = asterism().args(["run", "--check", "-c"]).arg(&config).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{wrong}: {text}");
        assert!(text.contains("asterism.toml") && text.contains(says), "{wrong}: {text}");
    }
    let nowhere = dir.path().join("nowhere.toml");
    let text = stderr(&asterism().args(["run", "--check", "-c"]).arg(&nowhere).output().unwrap());
    assert!(text.contains(&format!("cannot read {}", nowhere.display())), "{text}");
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
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("another port"), "{text}");
    assert!(!dir.path().join("data").exists(), "nothing was begun");
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
    let health = http(reqwest::Method::GET, &format!("http://127.0.0.1:{api}/healthz"), None);
    assert_eq!(health.map(|(status, _)| status), Some(200), "it serves without its broker");
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

/// Guarantees: a broker that goes away is named and waited for; when it is back, reading goes on where it was, and
/// nothing is lost or stored twice.
#[test]
fn a_broker_that_comes_back_is_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let (api, broker, data_dir) = (free_port(), cluster.bootstrap_servers(), dir.path().join("data"));
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &broker).set("reconnect.backoff.max.ms", "500");
    let producer: BaseProducer = client.create().unwrap();
    let produce = |count: usize| {
        for _ in 0..count {
            producer.send(BaseRecord::<(), str>::to("t").payload(GOOD)).unwrap();
        }
        producer.flush(Duration::from_secs(120)).unwrap();
    };
    let config = format!(
        "data_dir = {data_dir:?}\n[api]\nlisten = \"127.0.0.1:{api}\"\n[store]\ncheckpoint_s = 1\n\
         [kafka]\nbootstrap = {broker:?}\ndead_letter_topic = \"\"\ntopics = [{{ name = \"t\" }}]\n"
    );
    let config = file(dir.path(), "asterism.toml", config.as_bytes());
    produce(30);
    let mut daemon = Running::start(asterism().args(["run", "-c"]).arg(&config), dir.path(), "daemon");
    let rows_are = |rows: i64, daemon: &mut Running| {
        daemon.until(&format!("{rows} rows are in the lake"), Duration::from_secs(90), || {
            (lake_rows(api)? == rows).then_some(())
        });
    };
    rows_are(30, &mut daemon);
    let said = daemon.text().len();
    cluster.broker_down(1).unwrap();
    eventually("the broker is named", Duration::from_secs(60), || {
        daemon.text()[said..].contains(&broker).then_some(())
    });
    assert!(daemon.is_running() && lake_rows(api) == Some(30), "{}", daemon.text());
    cluster.broker_up(1).unwrap();
    produce(20);
    rows_are(50, &mut daemon);
    daemon.stop();
    let offsets = hunt(&data_dir, "SELECT count(DISTINCT \"offset\") AS n FROM process_activity");
    assert_eq!(offsets[0]["n"], 50, "no record twice");
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
    let value = asterism()
        .args(["hunt", "--data-dir"])
        .arg(&data_dir)
        .arg("SELECT CAST(process_cmd_line AS BIGINT) FROM process_activity")
        .output()
        .unwrap();
    let text = stderr(&value);
    assert!(!value.status.success() && text.contains("cmd /c whoami") && !text.contains("Arrow"), "{text}");
    let csv = ok(asterism()
        .args(["hunt", "--format", "csv", "--data-dir"])
        .arg(&data_dir)
        .arg("SELECT 'x' AS name, make_array(1, 2) AS numbers"));
    assert_eq!(String::from_utf8_lossy(&csv.stdout), "name,numbers\nx,\"[1,2]\"\n");
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
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no space left for ") && text.contains("free some, then retry"), "{text}");
    assert!(text.contains(&small.display().to_string()), "the place is named: {text}");
    assert!(!text.contains("panicked"), "{text}");
}
