//! A case: its records by topic, its rules, its settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use event::{TenantId, Time};
use ingest::{DecodeLimits, Decoder, MappingSet, Record, SourceKindHint};

/// A folder of `tests/scenario/cases`.
pub struct Case {
    pub name: String,
    pub dir: PathBuf,
    pub topics: Vec<Topic>,
    /// Rows that the records become.
    pub rows: usize,
}

/// The records of one source kind of one tenant, in the order of their arrival.
#[derive(Clone)]
pub struct Topic {
    /// Also the name of the file that `replay` reads.
    pub name: String,
    pub kind: String,
    pub tenant: String,
    pub lateness_us: i64,
    pub lines: Vec<Line>,
}

/// A record and its event time in microseconds.
#[derive(Clone)]
pub struct Line {
    pub time: i64,
    pub text: String,
}

impl Case {
    /// Every case, or the one that SCENARIO names, by name.
    pub fn all() -> Vec<Case> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenario/cases");
        let mut cases: Vec<Case> = entries(&root).iter().map(|dir| Case::read(dir)).collect();
        if let Some(only) = std::env::var_os("SCENARIO") {
            cases.retain(|case| *case.name == only);
            assert_eq!(cases.len(), 1, "no case is named {}", only.display());
        } else {
            assert!(cases.len() >= 6, "the cases are found: {}", cases.len());
        }
        cases
    }

    /// One of them.
    pub fn named(name: &str) -> Case {
        Case::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenario/cases").join(name))
    }

    fn read(dir: &Path) -> Case {
        let about = std::fs::read_to_string(dir.join("README.md")).unwrap_or_default();
        assert!(about.contains("Guarantees"), "{}: README.md says what it guarantees", dir.display());
        let mut topics = Vec::new();
        for entry in entries(&dir.join("records")) {
            if entry.is_dir() {
                let tenant = stem(&entry);
                topics.extend(entries(&entry).iter().map(|file| Topic::read(file, &tenant)));
            } else {
                topics.push(Topic::read(&entry, "default"));
            }
        }
        let rows = topics.iter().map(|(_, rows)| rows).sum();
        let topics = topics.into_iter().map(|(topic, _)| topic).collect();
        Case { name: stem(dir), dir: dir.to_owned(), topics, rows }
    }

    /// The tenants, each once.
    pub fn tenants(&self) -> Vec<&str> {
        let mut tenants: Vec<&str> = self.topics.iter().map(|topic| topic.tenant.as_str()).collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants
    }

    pub fn records(&self) -> usize {
        self.topics.iter().map(|topic| topic.lines.len()).sum()
    }

    /// The case's own settings, or none.
    pub fn settings(&self) -> toml::Table {
        let path = self.dir.join("asterism.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut settings: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let rules = self.dir.join("rules");
        if rules.is_dir() {
            let own = format!("builtin = false\ndirs = [{rules:?}]\n");
            settings.insert("rules".to_owned(), own.parse::<toml::Table>().unwrap().into());
        }
        settings
    }
}

impl Topic {
    /// The topic, and how many rows its records become.
    fn read(file: &Path, tenant: &str) -> (Topic, usize) {
        let kind = stem(file);
        let name = format!("{tenant}.{kind}.ndjson");
        let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mappings = Arc::new(MappingSet::builtin().unwrap());
        let lateness_us = mappings.lateness_us(&kind);
        let mut decoder = Decoder::new(mappings, &Default::default(), DecodeLimits::default());
        let hint = SourceKindHint::Kind(kind.as_str().into());
        let mut rows = 0;
        let mut line = |(number, text): (usize, &str)| {
            let record = Record::new(name.as_str().into(), 0, number as i64, text.as_bytes().to_vec().into());
            let decoded = decoder.decode(&[record], &hint, &TenantId::new(tenant), Time::default());
            let place = format!("{}:{}", file.display(), number + 1);
            let batch = decoded.batches.first().unwrap_or_else(|| panic!("{place}: {:?}", decoded.dead));
            let uid = batch.text("event_uid", 0).unwrap_or_default();
            assert!(
                !uid.starts_with(&name),
                "{place}: a record without an id of its own depends on its place"
            );
            rows += decoded.counts.rows as usize;
            Line { time: batch.time(0).micros(), text: text.to_owned() }
        };
        let lines = text.lines().enumerate().map(&mut line).collect();
        (Topic { name, kind, tenant: tenant.to_owned(), lateness_us, lines }, rows)
    }
}

/// What is in a folder, by name.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let read = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut entries: Vec<PathBuf> = read.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_else(|| panic!("{} has a name", path.display())).to_string_lossy().into_owned()
}
