//! Alerts with a truth: how they are read, grouped the naive way, and scored.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, ensure};
use correlate::{Correlator, Parameters};
use event::{Alert, TenantId, Time, Watermark};
use ingest::{DecodeLimits, Decoder, MappingSet, Record, SourceKindHint};
use rules::{CorrelationChange, RuleSet, Windows};
use serde_json::{Value, json};

/// Alert to group; in a truth, `-` for noise.
pub type Grouping = BTreeMap<String, String>;

/// Noise in a truth: an alert that belongs to no incident.
pub const NOISE: &str = "-";

/// Records decoded at once.
const PORTION: usize = 4_096;

/// The scripts that score, and make labelled alerts harder: `ASTERISM_SCORE`, or `../shared/score`.
pub struct Scorer {
    dir: PathBuf,
    scratch: PathBuf,
}

/// What the scorer says of one grouping; shares from 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Score {
    /// Groups with at least one alert of a true incident.
    pub groups: f64,
    /// B-cubed precision.
    pub b3_precision: f64,
    /// B-cubed recall.
    pub b3_recall: f64,
    /// B-cubed F1.
    pub b3_f1: f64,
    /// Pairwise precision.
    pub pair_precision: f64,
    /// Pairwise recall.
    pub pair_recall: f64,
    /// Share of these groups that hold two or more true incidents.
    pub over_merge: f64,
    /// Groups that a true incident is spread over, less one.
    pub under_merge: f64,
    /// Share of the alerts in these groups that are noise.
    pub noise_in: f64,
}

impl Score {
    /// The mean of several.
    pub fn mean(scores: &[Score]) -> Score {
        let n = scores.len().max(1) as f64;
        let of = |field: fn(&Score) -> f64| scores.iter().map(field).sum::<f64>() / n;
        Score {
            groups: of(|s| s.groups),
            b3_precision: of(|s| s.b3_precision),
            b3_recall: of(|s| s.b3_recall),
            b3_f1: of(|s| s.b3_f1),
            pair_precision: of(|s| s.pair_precision),
            pair_recall: of(|s| s.pair_recall),
            over_merge: of(|s| s.over_merge),
            under_merge: of(|s| s.under_merge),
            noise_in: of(|s| s.noise_in),
        }
    }
}

impl Scorer {
    /// The scripts in `dir` [default: `ASTERISM_SCORE`, or `../shared/score`]; files go to `scratch`.
    ///
    /// # Errors
    /// Where there are no scripts.
    pub fn find(dir: Option<PathBuf>, scratch: &Path) -> anyhow::Result<Self> {
        let named = dir.or_else(|| std::env::var_os("ASTERISM_SCORE").map(PathBuf::from));
        let dir = named.unwrap_or_else(|| PathBuf::from("../shared/score"));
        let from_workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(&dir);
        let found = [dir, from_workspace].into_iter().find(|d| d.join("incidents.py").is_file());
        let dir = found.context("no scorer: set ASTERISM_SCORE to the folder of incidents.py")?;
        std::fs::create_dir_all(scratch)?;
        Ok(Self { dir, scratch: scratch.to_owned() })
    }

    /// Scores a grouping against its truth with `incidents.py`.
    ///
    /// # Errors
    /// Where the script fails, with what it said.
    pub fn score(&self, truth: &Grouping, predicted: &Grouping) -> anyhow::Result<Score> {
        let paths = [("truth", truth), ("predicted", predicted)].map(|(name, grouping)| {
            let path = self.scratch.join(format!("{name}.ndjson"));
            write_grouping(&path, grouping).map(|()| path)
        });
        let [truth, predicted] = paths;
        let output = self.python("incidents.py", &[truth?.as_os_str(), predicted?.as_os_str()])?;
        let said: Value = serde_json::from_slice(&output)?;
        let number = |key: &str| said[key].as_f64().with_context(|| format!("no {key} in {said}"));
        Ok(Score {
            groups: number("predicted_incidents")?,
            b3_precision: number("b3_precision")?,
            b3_recall: number("b3_recall")?,
            b3_f1: number("b3_f1")?,
            pair_precision: number("pair_precision")?,
            pair_recall: number("pair_recall")?,
            over_merge: number("over_merge")?,
            under_merge: number("under_merge")?,
            noise_in: number("noise_in")?,
        })
    }

    /// Alerts and truth made harder with `harden_alerts.py`; the folder that holds `alerts.ndjson` and `truth.ndjson`.
    ///
    /// # Errors
    /// Where the script fails, with what it said.
    pub fn harden(&self, alerts: &Path, truth: &Path, seed: u64) -> anyhow::Result<PathBuf> {
        let out = self.scratch.join(format!("hard-{seed}"));
        let seed = seed.to_string();
        let fixed = ["--overlay", "--spread", "480", "--hubs", "6", "--noise", "400", "--seed", &seed];
        let paths = [alerts.as_os_str(), truth.as_os_str(), out.as_os_str()];
        let args: Vec<&std::ffi::OsStr> =
            paths.into_iter().chain(fixed.iter().map(std::ffi::OsStr::new)).collect();
        self.python("harden_alerts.py", &args)?;
        Ok(out)
    }

    fn python(&self, script: &str, args: &[&std::ffi::OsStr]) -> anyhow::Result<Vec<u8>> {
        let output = Command::new("python3").arg(self.dir.join(script)).args(args).output()?;
        ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }
}

fn write_grouping(path: &Path, grouping: &Grouping) -> anyhow::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for (alert, incident) in grouping {
        writeln!(file, "{}", json!({"alert_id": alert, "incident": incident}))?;
    }
    Ok(file.flush()?)
}

/// Reads `{"alert_id", "incident"}` lines.
///
/// # Errors
/// Where a line is none.
pub fn parse_grouping(ndjson: &[u8]) -> anyhow::Result<Grouping> {
    let lines = ndjson.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    lines
        .map(|line| {
            let row: Value = serde_json::from_slice(line)?;
            let text = |key: &str| {
                row[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {row}"))
            };
            Ok((text("alert_id")?, text("incident")?))
        })
        .collect()
}

/// The bytes of a file, decompressed where its name ends in `.zst`.
///
/// # Errors
/// Where it cannot be read.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if path.extension().is_some_and(|e| e == "zst") {
        Ok(zstd::decode_all(bytes.as_slice())?)
    } else {
        Ok(bytes)
    }
}

/// The lines of a file as records.
///
/// # Errors
/// Where it cannot be read.
pub fn records(path: &Path) -> anyhow::Result<Vec<Record>> {
    let bytes = read(path)?;
    let topic: Arc<str> = path.file_name().context("a file name")?.to_string_lossy().into();
    let lines = (0..).zip(bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()));
    Ok(lines.map(|(offset, line)| Record::new(Arc::clone(&topic), 0, offset, line.to_vec().into())).collect())
}

/// The shipped mappings and those of `dir`.
///
/// # Errors
/// Where one does not load.
pub fn mappings(dir: Option<&Path>) -> anyhow::Result<Arc<MappingSet>> {
    let mut mappings = MappingSet::builtin()?;
    if let Some(dir) = dir {
        mappings.load_dir(dir)?;
    }
    Ok(Arc::new(mappings))
}

/// What came of records.
#[derive(Clone)]
pub struct Outcome {
    /// Alerts by id: those that rules made and that products report.
    pub alerts: BTreeMap<String, Alert>,
    /// What grouped them.
    pub correlator: Correlator,
}

impl Outcome {
    /// Nothing yet, with the shipped parameters or those of a file.
    ///
    /// # Errors
    /// Where the parameters do not load.
    pub fn new(parameters: Option<&Path>) -> anyhow::Result<Self> {
        let parameters = match parameters {
            Some(path) => Parameters::parse(&std::fs::read_to_string(path)?)?,
            None => Parameters::builtin()?,
        };
        Ok(Self { alerts: BTreeMap::new(), correlator: Correlator::new(parameters) })
    }

    /// Detects and correlates records as the engine does.
    ///
    /// # Errors
    /// Where the shipped parameters do not load.
    pub fn of(
        records: &[Record],
        rules: &RuleSet,
        mappings: Arc<MappingSet>,
        parameters: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let mut decoder =
            Decoder::new(mappings, &rules.native_fields_by_logsource().into(), DecodeLimits::default());
        let mut outcome = Self::new(parameters)?;
        let mut windows = Windows::default();
        let runs = records.chunk_by(|a, b| a.topic == b.topic);
        for portion in runs.flat_map(|run| run.chunks(PORTION)) {
            let time = Time::from_secs(1_800_000_000);
            let decoded = decoder.decode(portion, &SourceKindHint::Auto, &TenantId::default(), time);
            outcome.push(decoded.alerts);
            for batch in &decoded.batches {
                outcome.correlator.observe(batch);
                let evaluated = rules.evaluate(batch);
                outcome.push(evaluated.alerts);
                outcome.tell(windows.observe(rules, evaluated.observations));
            }
        }
        outcome.tell(windows.advance(rules, &Watermark::END.into()));
        Ok(outcome)
    }

    /// Takes alerts in.
    pub fn push(&mut self, alerts: Vec<Alert>) {
        self.alerts.extend(alerts.iter().map(|alert| (alert.id.to_string(), alert.clone())));
        self.correlator.push(alerts);
    }

    fn tell(&mut self, changes: Vec<CorrelationChange>) {
        for change in changes {
            match change {
                CorrelationChange::Fired(alert) => self.push(vec![alert]),
                CorrelationChange::Retracted { tenant, alert, in_place, .. } => {
                    self.alerts.remove(alert.as_str());
                    self.correlator.withdraw(&tenant, &alert, in_place);
                }
            }
        }
    }

    /// The input has ended: the incident of every alert.
    pub fn end(&mut self) -> Grouping {
        self.correlator.advance(Watermark::END);
        let mut predicted = Grouping::new();
        for incident in self.correlator.incidents(&TenantId::default()) {
            predicted.extend(incident.alerts.iter().map(|id| (id.to_string(), incident.id.to_string())));
        }
        predicted
    }
}

/// Alerts in one group where a chain of shared entity values joins them, each at most `window_us` after the one before.
pub fn naive<'a>(alerts: impl IntoIterator<Item = &'a Alert>, window_us: i64) -> Grouping {
    let mut sorted: Vec<&Alert> = alerts.into_iter().collect();
    sorted.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    let mut parents: Vec<usize> = (0..sorted.len()).collect();
    let mut last = HashMap::new();
    for (i, alert) in sorted.iter().enumerate() {
        for entity in &alert.entities {
            if let Some(j) = last.insert((entity.entity_type, Arc::clone(&entity.value)), i)
                && alert.time.0 - sorted[j].time.0 <= window_us
            {
                let (a, b) = (root(&mut parents, i), root(&mut parents, j));
                parents[a] = b;
            }
        }
    }
    let mut grouping = Grouping::new();
    for (i, alert) in sorted.iter().enumerate() {
        grouping.insert(alert.id.to_string(), root(&mut parents, i).to_string());
    }
    grouping
}

fn root(parents: &mut [usize], mut v: usize) -> usize {
    while parents[v] != v {
        parents[v] = parents[parents[v]];
        v = parents[v];
    }
    v
}
