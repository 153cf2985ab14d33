//! Quality: groupings of labelled alerts, scored against their truth by `incidents.py`, next to naive ones.
//!
//! Alert files go through `asterism correlate`, as a user would give them. Telemetry is detected and correlated in this
//! process, with the engine's stages in the engine's order.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program that prints.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, ensure};
use benches::grouping::{
    Grouping, NOISE, Outcome, Score, Scorer, mappings, naive, parse_grouping, read, records,
};
use clap::Parser;
use event::{Alert, AlertId, Class, Domain, Entity, EntityType, Role, RuleRef, Severity, TenantId, Time};
use ingest::{DecodeLimits, Decoder, Record, SourceKindHint};
use rules::RuleSet;
use serde_json::Value;
use simulate::{Company, CompanyOptions, GenerateOptions, Generator};

/// Scores groupings of labelled alerts.
#[derive(Parser)]
struct Args {
    /// The binary
    #[arg(long, default_value = "target/release/asterism")]
    asterism: PathBuf,
    /// Group alert files in this process: the same calls as the program makes, for trying other parameters
    #[arg(long)]
    in_process: bool,
    /// Parameters other than the shipped ones, for everything that is grouped in this process
    #[arg(long)]
    parameters: Option<PathBuf>,
    /// Folder of the scoring scripts [default: ASTERISM_SCORE, or ../shared/score]
    #[arg(long)]
    score: Option<PathBuf>,
    /// Seeds of the hard versions
    #[arg(long, value_delimiter = ',', default_value = "1,2,3,4,5")]
    seeds: Vec<u64>,
    /// Seeds of simulated companies
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    companies: Vec<u64>,
    /// Says of each story of a simulated company which alerts are apart from its largest incident, and why
    #[arg(long)]
    apart: bool,
    /// Records of a simulated company
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Alerts of the storm on one hub
    #[arg(long, default_value_t = 1_000_000)]
    storm: u64,
    /// Only the parts whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

const HOUR_US: i64 = 3_600_000_000;

struct Bench {
    args: Args,
    data: PathBuf,
    scratch: PathBuf,
    scorer: Scorer,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let data = benches::data_dir().context("no data: set ASTERISM_DATA")?;
    let scratch = std::env::temp_dir().join(format!("asterism-quality-{}", std::process::id()));
    let scorer = Scorer::find(args.score.clone(), &scratch)?;
    let bench = Bench { args, data, scratch, scorer };
    println!(
        "| Alerts | Grouping | Groups | B-cubed P | R | F1 | Pairwise P | R | Over-merged | Under-merged | Noise |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    type Part = fn(&Bench, &str) -> anyhow::Result<()>;
    let parts: [(&str, Part); 5] = [
        ("XDR", Bench::xdr),
        ("XDR, hard", Bench::hard),
        ("AIT-ADS", Bench::aitads),
        ("simulated company", Bench::simulated),
        ("LSASS campaign", Bench::campaign),
    ];
    for (name, part) in parts {
        if name.contains(&bench.args.only) {
            part(&bench, name)?;
        }
    }
    std::fs::remove_dir_all(&bench.scratch).context("cannot remove the scratch folder")
}

fn row(alerts: &str, grouping: &str, score: &Score) {
    println!(
        "| {alerts} | {grouping} | {:.1} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.2} | {:.3} |",
        score.groups,
        score.b3_precision,
        score.b3_recall,
        score.b3_f1,
        score.pair_precision,
        score.pair_recall,
        score.over_merge,
        score.under_merge,
        score.noise_in,
    );
}

/// What naive rows are called, and their windows.
const NAIVE: [(&str, i64); 2] = [("shared entities, 1 h", HOUR_US), ("shared entities, 24 h", 24 * HOUR_US)];

impl Bench {
    /// Groups a file with the program, or as it does.
    fn asterism(&self, alerts: &Path, mappings: Option<&Path>) -> anyhow::Result<Grouping> {
        if self.args.in_process {
            return self.in_process(alerts, mappings);
        }
        let mut command = Command::new(&self.args.asterism);
        command.args(["correlate", "--source", "auto"]);
        if let Some(dir) = mappings {
            command.arg("--mappings").arg(dir);
        }
        let output = command.arg(alerts).output().context("the program does not start")?;
        ensure!(output.status.success(), "correlate failed: {}", String::from_utf8_lossy(&output.stderr));
        parse_grouping(&output.stdout)
    }

    fn in_process(&self, alerts: &Path, dir: Option<&Path>) -> anyhow::Result<Grouping> {
        let (no_rules, _) = RuleSet::load(Vec::new());
        let mut outcome =
            Outcome::of(&records(alerts)?, &no_rules, mappings(dir)?, self.args.parameters.as_deref())?;
        Ok(outcome.end())
    }

    /// The score of ours, then of the naive groupings, of an alert file.
    fn file_scores(&self, alerts: &Path, truth: &Path) -> anyhow::Result<[Score; 3]> {
        let truth = parse_grouping(&read(truth)?)?;
        let ours = self.scorer.score(&truth, &self.asterism(alerts, None)?)?;
        let read = read_alerts(alerts, None)?;
        let naive = |i: usize| self.scorer.score(&truth, &naive(&read, NAIVE[i].1));
        Ok([ours, naive(0)?, naive(1)?])
    }

    fn xdr_files(&self) -> [PathBuf; 2] {
        ["alerts/xdr_alerts.ndjson.zst", "groundtruth/xdr_alert_to_incident.ndjson.zst"]
            .map(|name| self.data.join(name))
    }

    fn xdr(&self, name: &str) -> anyhow::Result<()> {
        let [alerts, truth] = self.xdr_files();
        let scores = self.file_scores(&alerts, &truth)?;
        print_rows(name, &scores);
        Ok(())
    }

    fn hard(&self, name: &str) -> anyhow::Result<()> {
        let [alerts, truth] = self.xdr_files();
        let mut all = Vec::new();
        for seed in &self.args.seeds {
            let dir = self.scorer.harden(&alerts, &truth, *seed)?;
            let scores = self.file_scores(&dir.join("alerts.ndjson"), &dir.join("truth.ndjson"))?;
            row(&format!("{name}, seed {seed}"), "asterism", &scores[0]);
            all.push(scores);
        }
        let means = [0, 1, 2].map(|i| Score::mean(&all.iter().map(|scores| scores[i]).collect::<Vec<_>>()));
        print_rows(&format!("{name}, mean of {}", all.len()), &means);
        Ok(())
    }

    fn aitads(&self, name: &str) -> anyhow::Result<()> {
        let mappings = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/mappings");
        for scenario in ["fox", "russellmitchell"] {
            let path = self.data.join(format!("alerts/aitads_{scenario}.ndjson.zst"));
            let truth = episodes(&path, scenario)?;
            let named = |grouping: Grouping| -> Grouping {
                let line = |id: &str| id.rsplit('@').next().unwrap_or(id).to_owned();
                grouping.into_iter().map(|(id, group)| (line(&id), group)).collect()
            };
            let ours = self.scorer.score(&truth, &named(self.asterism(&path, Some(&mappings))?))?;
            let read = read_alerts(&path, Some(&mappings))?;
            let naive = |i: usize| self.scorer.score(&truth, &named(naive(&read, NAIVE[i].1)));
            print_rows(&format!("{name}, {scenario}"), &[ours, naive(0)?, naive(1)?]);
        }
        Ok(())
    }

    /// Every story at once among the hubs of a company, without and with a storm of alerts on one more hub that touches
    /// every host.
    fn simulated(&self, name: &str) -> anyhow::Result<()> {
        let start = Time::from_secs(1_772_434_800);
        let (rules, _) = RuleSet::load(RuleSet::builtin_packs());
        for seed in &self.args.companies {
            let company =
                Arc::new(Company::new(CompanyOptions { seed: *seed, start, ..CompanyOptions::default() }));
            let options = GenerateOptions { events: Some(self.args.events), ..GenerateOptions::default() };
            let length_us = i64::try_from(options.stories_end().as_micros())?;
            let (records, stories) = generate(&company, options);
            let quiet = Outcome::of(&records, &rules, mappings(None)?, self.args.parameters.as_deref())?;
            for storm in [0, self.args.storm] {
                let title = format!("{name} {seed}, {} alerts", quiet.alerts.len() as u64 + storm);
                let mut outcome = quiet.clone();
                outcome
                    .correlator
                    .push((0..storm).map(|n| storm_alert(&company, n, storm, start, length_us)));
                let predicted = outcome.end();
                let mut truth: Grouping =
                    quiet.alerts.iter().map(|(id, alert)| (id.clone(), story(alert, &stories))).collect();
                if self.args.apart {
                    apart(&truth, &predicted, &outcome);
                }
                truth.extend((0..storm).map(|n| (storm_id(n), NOISE.to_owned())));
                row(&title, "asterism", &self.scorer.score(&truth, &predicted)?);
                if storm == 0 {
                    for (naive_name, window_us) in NAIVE {
                        let naive = naive(outcome.alerts.values(), window_us);
                        row(&title, naive_name, &self.scorer.score(&truth, &naive)?);
                    }
                }
            }
        }
        Ok(())
    }

    /// The published campaign with its benign burst, seen by the published rules.
    fn campaign(&self, name: &str) -> anyhow::Result<()> {
        let file = "otrf_LSASS_campaign_01_metasploit_logonpasswords_lsass_memory_dump.ndjson.zst";
        let records = records(&self.data.join("endpoint").join(file))?;
        let (rules, _) = RuleSet::load(self.sigma_rules()?);
        let mut outcome = Outcome::of(&records, &rules, mappings(None)?, self.args.parameters.as_deref())?;
        let predicted = outcome.end();
        let attack = descendants(&records, "winx64_payload.exe")?;
        let burst = descendants(&records, "cscript.exe")?;
        let mut truth = Grouping::new();
        for (id, alert) in &outcome.alerts {
            let is_of = |lines: &HashSet<i64>| alert.records.iter().any(|r| lines.contains(&r.offset));
            match (is_of(&attack), is_of(&burst)) {
                (true, false) => drop(truth.insert(id.clone(), "attack".to_owned())),
                (false, true) => drop(truth.insert(id.clone(), NOISE.to_owned())),
                _ => {}
            }
        }
        let ours = self.scorer.score(&truth, &predicted)?;
        let naive = |i: usize| self.scorer.score(&truth, &naive(outcome.alerts.values(), NAIVE[i].1));
        print_rows(&format!("{name}, {} alerts", truth.len()), &[ours, naive(0)?, naive(1)?]);
        Ok(())
    }

    /// The published rules that are in use, unpacked: none that is deprecated, unsupported or has placeholders.
    fn sigma_rules(&self) -> anyhow::Result<Vec<(String, String)>> {
        let tar = self.scratch.join("rules.tar");
        let dir = self.scratch.join("rules");
        std::fs::create_dir_all(&dir)?;
        std::fs::write(&tar, read(&self.data.join("rules/sigmahq_rules.tar.zst"))?)?;
        let status = Command::new("tar").arg("xf").arg(&tar).arg("-C").arg(&dir).status()?;
        ensure!(status.success(), "tar failed: {status}");
        let mut rules = Vec::new();
        let folders = ["rules", "rules-compliance", "rules-emerging-threats", "rules-threat-hunting"];
        let mut folders: Vec<PathBuf> = folders.iter().map(|name| dir.join(name)).collect();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "yml") {
                    rules.push((path.to_string_lossy().into_owned(), std::fs::read_to_string(&path)?));
                }
            }
        }
        rules.sort();
        Ok(rules)
    }
}

/// The story that an alert's records tell.
fn story(alert: &Alert, stories: &HashMap<(String, i64), String>) -> String {
    let found = alert.records.iter().find_map(|r| stories.get(&(r.topic.to_string(), r.offset)));
    found.cloned().unwrap_or_else(|| NOISE.to_owned())
}

/// Says of each story which alerts are apart from its largest incident, and what is in its incidents that is not its own.
fn apart(truth: &Grouping, predicted: &Grouping, outcome: &Outcome) {
    let mut stories: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    let mut foreign: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (alert, story) in truth {
        let group = predicted.get(alert).unwrap_or(alert);
        foreign.entry(group).or_default().push(alert);
        if story != NOISE {
            stories.entry(story).or_default().entry(group).or_default().push(alert);
        }
    }
    for (story, groups) in stories {
        let mut groups: Vec<(&str, Vec<&str>)> = groups.into_iter().collect();
        groups.sort_by_key(|(_, alerts)| std::cmp::Reverse(alerts.len()));
        let main = groups[0].1[0];
        for (i, (group, alerts)) in groups.iter().enumerate() {
            println!("{story}: {} alerts in {group}", alerts.len());
            for alert in alerts.iter().take(if i == 0 { 0 } else { 12 }) {
                println!("    {}", line(&outcome.alerts[*alert]));
            }
            if i > 0 {
                let why = outcome.correlator.explain(&AlertId::new(main), &AlertId::new(alerts[0]));
                println!("  {}", why.map_or_else(String::new, |why| why.text));
            }
            for alert in &foreign[group] {
                if truth[*alert] != story {
                    println!("  not of it ({}): {}", truth[*alert], line(&outcome.alerts[*alert]));
                    let why = outcome.correlator.explain(&AlertId::new(alerts[0]), &AlertId::new(*alert));
                    println!("      {}", why.map_or_else(String::new, |why| why.text));
                }
            }
        }
    }
}

/// An alert in one line.
fn line(alert: &Alert) -> String {
    let entities: Vec<String> =
        alert.entities.iter().map(|e| format!("{}/{:?}:{}", e.entity_type, e.role, e.value)).collect();
    format!("{} {} [{}] {}", alert.time, alert.rule.title, alert.severity, entities.join(" "))
}

fn print_rows(alerts: &str, scores: &[Score; 3]) {
    row(alerts, "asterism", &scores[0]);
    for ((name, _), score) in NAIVE.iter().zip(&scores[1..]) {
        row(alerts, name, score);
    }
}

fn read_alerts(path: &Path, dir: Option<&Path>) -> anyhow::Result<Vec<Alert>> {
    let (no_rules, _) = RuleSet::load(Vec::new());
    let mut decoder =
        Decoder::new(mappings(dir)?, &no_rules.native_fields_by_logsource().into(), DecodeLimits::default());
    let time = Time::from_secs(1_800_000_000);
    let decoded = decoder.decode(&records(path)?, &SourceKindHint::Auto, &TenantId::default(), time);
    Ok(decoded.alerts)
}

/// The truth of an AIT-ADS scenario by episode, each named by the line of its first alert: the same alert on the same
/// host again within a minute. One with a labelled attack alert belongs to the scenario's incident, one of false
/// positives is noise, the others are left out.
fn episodes(path: &Path, scenario: &str) -> anyhow::Result<Grouping> {
    const GAP_S: f64 = 60.0;
    let bytes = read(path)?;
    let lines = bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).enumerate();
    let mut rows: Vec<(f64, usize, Value)> = lines
        .map(|(line, bytes)| {
            let value: Value = serde_json::from_slice(bytes)?;
            let time = value["raw_time"].as_f64().context("raw_time")?;
            Ok((time, line, value))
        })
        .collect::<anyhow::Result<_>>()?;
    rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut open: HashMap<(String, String), (f64, usize)> = HashMap::new();
    let mut labels: BTreeMap<usize, [bool; 2]> = BTreeMap::new();
    for (time, line, value) in &rows {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let episode = open.entry((text("short"), text("host"))).or_insert((f64::MIN, *line));
        if time - episode.0 > GAP_S {
            episode.1 = *line;
        }
        episode.0 = *time;
        let [attack, noise] = labels.entry(episode.1).or_default();
        *attack |= value["event_label"] != "-";
        *noise |= value["time_label"] == "false_positive";
    }
    let truth = labels.into_iter().filter_map(|(line, label)| match label {
        [true, _] => Some((line.to_string(), scenario.to_owned())),
        [false, true] => Some((line.to_string(), NOISE.to_owned())),
        [false, false] => None,
    });
    Ok(truth.collect())
}

/// Simulated records in order of delivery, and the story of each record of an attack by its place.
fn generate(
    company: &Arc<Company>,
    options: GenerateOptions,
) -> (Vec<Record>, HashMap<(String, i64), String>) {
    let mut offsets: HashMap<&str, i64> = HashMap::new();
    let (mut records, mut stories) = (Vec::new(), HashMap::new());
    for made in Generator::new(Arc::clone(company), options) {
        let offset = offsets.entry(made.topic).or_default();
        if let Some(truth) = &made.truth {
            stories.insert((made.topic.to_owned(), *offset), truth.story.to_string());
        }
        records.push(Record::new(made.topic.into(), 0, *offset, made.payload.into_bytes().into()));
        *offset += 1;
    }
    (records, stories)
}

fn storm_id(n: u64) -> String {
    format!("storm-{n:07}")
}

/// One of `all` alerts that a scanner's address and account raise on every host in turn while the stories happen.
fn storm_alert(company: &Company, n: u64, all: u64, start: Time, length_us: i64) -> Alert {
    const RULES: [(&str, Severity); 4] = [
        ("Port scan seen by sensor", Severity::Low),
        ("Many failed sign-ins from one address", Severity::Medium),
        ("Vulnerability scanner banner", Severity::Informational),
        ("New administrative share connection", Severity::Medium),
    ];
    let hosts = company.hosts();
    let host = &hosts[(n * 7_919 % hosts.len() as u64) as usize];
    let (title, severity) = RULES[(n / hosts.len() as u64 % 4) as usize];
    let after = i128::from(length_us) * i128::from(n) / i128::from(all.max(1));
    let time = start.plus_micros(i64::try_from(after).unwrap_or(length_us));
    let entities = [
        (EntityType::Device, Role::Device, host.fqdn()),
        (EntityType::Ip, Role::Related, "10.255.0.1"),
        (EntityType::User, Role::Actor, "svc-scanner"),
    ];
    Alert {
        id: AlertId::new(storm_id(n)),
        tenant: company.tenant().clone(),
        time,
        end_time: time,
        rule: RuleRef { id: title.into(), title: title.into(), author: None },
        title: title.into(),
        severity,
        domain: Domain::Network,
        product: "storm".into(),
        source: "storm".into(),
        class: Class::DETECTION_FINDING,
        event_uid: storm_id(n).into(),
        attack: Vec::new(),
        entities: entities.into_iter().filter_map(|(t, role, v)| Entity::new(t, role, v)).collect(),
        records: Vec::new(),
        evidence: Vec::new(),
    }
}

/// The lines of Sysmon records about processes that descend from the image, or that it or they act in.
fn descendants(records: &[Record], image: &str) -> anyhow::Result<HashSet<i64>> {
    let rows: Vec<(i64, Value)> = records
        .iter()
        .map(|record| Ok((record.offset, serde_json::from_slice(&record.payload)?)))
        .collect::<anyhow::Result<_>>()?;
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_ascii_lowercase();
    let mut tree: HashSet<String> = HashSet::new();
    loop {
        let before = tree.len();
        for (_, row) in &rows {
            let process = text(row, "ProcessGuid");
            let is_root = text(row, "Image").ends_with(&format!("\\{image}"));
            if !process.is_empty() && (is_root || tree.contains(&text(row, "ParentProcessGuid"))) {
                tree.insert(process);
            }
        }
        if tree.len() == before {
            break;
        }
    }
    let is_of = |row: &Value| {
        ["ProcessGuid", "SourceProcessGUID", "SourceProcessGuid"]
            .iter()
            .any(|key| tree.contains(&text(row, key)))
    };
    Ok(rows.iter().filter(|(_, row)| is_of(row)).map(|(offset, _)| *offset).collect())
}
