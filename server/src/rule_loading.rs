//! Finds rule files and loads them; a bad rule never keeps the others out.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use event::{Feed, Time};
use ingest::MappingSet;
use respond::{RejectedRule, ResponseRules};
use rules::{LoadReport, Overlay, Pipeline, Placeholders, Rejected, RuleError, RuleLoader, RuleSet};

use crate::cli::RewriteArgs;
use crate::config;

/// The name that stands for the shipped packs on the command line.
const BUILTIN: &str = "builtin";

/// Largest rule file that is read, in bytes: a rule is a page of text.
const RULE_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where the rules of a configuration come from.
#[derive(Debug, Clone)]
pub(crate) struct RuleSources {
    paths: Vec<PathBuf>,
    rewrite: RewriteArgs,
    feeds: Vec<Feed>,
}

impl RuleSources {
    pub(crate) fn configured(rules: &config::Rules) -> Self {
        let builtin = rules.builtin.then(|| PathBuf::from(BUILTIN));
        let config::Rules { pipelines, placeholders, overlays, .. } = rules.clone();
        Self {
            paths: builtin.into_iter().chain(rules.dirs.iter().cloned()).collect(),
            rewrite: RewriteArgs { pipelines, placeholders, overlays },
            feeds: Vec::new(),
        }
    }

    /// Correlation rules do not wait for sources that have nothing for them: see [`RuleLoader::feeds`].
    pub(crate) fn fed_by(self, mappings: &MappingSet) -> Self {
        Self { feeds: mappings.feeds(), ..self }
    }

    pub(crate) fn named(paths: &[PathBuf], rewrite: &RewriteArgs) -> Self {
        Self { paths: paths.to_owned(), rewrite: rewrite.clone(), feeds: Vec::new() }
    }

    /// Loads rules in path order, through pipelines and with overlays. `now` tells which entries of overlays have expired.
    pub(crate) fn load(&self, now: Time) -> anyhow::Result<(RuleSet, LoadReport)> {
        let (documents, unreadable) = documents(&self.paths)?;
        let (rules, mut report) = self.loader()?.now(now).load(documents);
        let rejected =
            |(file, reason)| Rejected { file, rule: String::new(), reason: RuleError::Document(reason) };
        report.rejected.extend(unreadable.into_iter().map(rejected));
        Ok((rules, report))
    }

    /// Makes rules ready for all that sources can give: see [`RuleSet::prepare`].
    pub(crate) fn prepare(&self, rules: &RuleSet) {
        rules.prepare(&self.feeds);
    }

    /// What a pipeline, a list of values or an overlay says wrongly is an error: without it rules would mean something
    /// else.
    fn loader(&self) -> anyhow::Result<RuleLoader> {
        let RewriteArgs { pipelines, placeholders, overlays } = &self.rewrite;
        let mut loader = RuleSet::loader().feeds(self.feeds.clone());
        for file in pipelines {
            loader = loader.pipeline(Pipeline::parse(&file.display().to_string(), &text_of(file)?)?);
        }
        for file in placeholders {
            loader = loader.placeholders(values_of(file)?);
        }
        for file in overlays {
            loader = loader.overlay(Overlay::parse(&file.display().to_string(), &text_of(file)?)?);
        }
        Ok(loader)
    }

    /// Changes whenever a file comes, goes, is written, or may be read by others than before.
    pub(crate) fn fingerprint(&self) -> anyhow::Result<Fingerprint> {
        let mut files = Vec::new();
        for path in self.paths.iter().filter(|path| path.as_os_str() != BUILTIN) {
            files.extend(yaml_files(path)?);
        }
        let RewriteArgs { pipelines, placeholders, overlays } = &self.rewrite;
        files.extend([pipelines, placeholders, overlays].into_iter().flatten().cloned());
        let look = |file: PathBuf| {
            let metadata =
                std::fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let changed = (metadata.ctime(), metadata.ctime_nsec());
            Ok((file, metadata.len(), metadata.modified().ok(), changed))
        };
        files.into_iter().map(look).collect::<anyhow::Result<Vec<_>>>().map(Fingerprint)
    }
}

/// The text of a file that rules are not to be loaded without.
fn text_of(file: &Path) -> anyhow::Result<String> {
    read_capped(file)?.map_err(|reason| anyhow::anyhow!("{}: {reason}", file.display()))
}

fn values_of(file: &Path) -> anyhow::Result<Placeholders> {
    let text = text_of(file)?;
    if file.extension().is_some_and(|e| e == "yml" || e == "yaml") {
        return Placeholders::from_yaml(&text).with_context(|| file.display().to_string());
    }
    let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut values = Placeholders::default();
    values.insert_lines(name, &text);
    Ok(values)
}

/// What files looked like: length, time of the last write, and of the last change of anything about them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fingerprint(Vec<(PathBuf, u64, Option<SystemTime>, (i64, i64))>);

/// Checks that there are rule files at every path.
pub(crate) fn require(paths: &[PathBuf]) -> anyhow::Result<()> {
    let mut on_disk = paths.iter().filter(|path| path.as_os_str() != BUILTIN);
    on_disk.try_for_each(|path| yaml_files(path).map(drop))
}

/// Pairs of a file and its text, or why it is none.
type Files = Vec<(String, String)>;

/// The texts of every `.yml` and `.yaml` below the paths, the shipped packs where they are named, and the files that
/// are no text.
fn documents(paths: &[PathBuf]) -> anyhow::Result<(Files, Files)> {
    let (mut documents, mut unreadable) = (Vec::new(), Vec::new());
    let mut builtin_at = None;
    for path in paths {
        if path.as_os_str() == BUILTIN {
            builtin_at = builtin_at.or(Some(documents.len()));
            continue;
        }
        for file in yaml_files(path)? {
            let name = file.display().to_string();
            match read_capped(&file)? {
                Ok(text) => documents.push((name, text)),
                Err(reason) => unreadable.push((name, reason)),
            }
        }
    }
    if let Some(at) = builtin_at {
        let packs = RuleSet::builtin_packs_beside(&documents);
        let after = documents.split_off(at);
        documents.extend(packs);
        documents.extend(after);
    }
    Ok((documents, unreadable))
}

/// Loads response rules: the shipped ones, then those of directories.
pub(crate) fn load_response(
    builtin: bool,
    dirs: &[PathBuf],
) -> anyhow::Result<(ResponseRules, Vec<RejectedRule>)> {
    let mut documents = if builtin { ResponseRules::builtin_pack() } else { Vec::new() };
    let mut unreadable = Vec::new();
    for dir in dirs {
        for file in yaml_files(dir)? {
            let name = file.display().to_string();
            match read_capped(&file)? {
                Ok(text) => documents.push((name, text)),
                Err(reason) => unreadable.push(RejectedRule { file: name, line: None, rule: None, reason }),
            }
        }
    }
    let (rules, report) = ResponseRules::load(documents);
    Ok((rules, report.rejected.into_iter().chain(unreadable).collect()))
}

/// Every YAML file at or below `path`, sorted.
pub(crate) fn yaml_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if metadata.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
            let kind = entry.file_type()?;
            let yaml = entry.path().extension().is_some_and(|e| e == "yml" || e == "yaml");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && yaml {
                files.push(entry.path());
            }
        }
    }
    if files.is_empty() {
        bail!("no .yml or .yaml file below {}", path.display());
    }
    files.sort();
    Ok(files)
}

/// Text of a file, or why it is none: that is a fault of one rule, and keeps no other out.
fn read_capped(file: &Path) -> anyhow::Result<Result<String, String>> {
    let length = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    if length > RULE_FILE_BYTES_MAX {
        bail!("{} has {length} bytes; a rule file may have {RULE_FILE_BYTES_MAX}", file.display());
    }
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(String::from_utf8(bytes).map_err(|e| {
        let byte = e.utf8_error().valid_up_to();
        format!("invalid UTF-8 at byte {byte}: the file must be UTF-8 text")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_text_is_rejected_and_the_others_load() {
        const GOOD: &str = "title: good\nlogsource: {product: test}\ndetection: {s: {a: b}, condition: s}\n";
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("good.yml"), GOOD).unwrap();
        std::fs::write(dir.path().join("latin.yml"), b"title: caf\xe9\n").unwrap();
        std::fs::write(dir.path().join("empty.yml"), "# nothing yet\n").unwrap();
        let sources = RuleSources::named(&[dir.path().to_owned()], &RewriteArgs::default());
        let (_, report) = sources.load(Time::MIN).unwrap();
        assert_eq!((report.loaded, report.rejected.len()), (1, 2));
        let said = |file: &str| {
            let of = |r: &&Rejected| r.file.ends_with(file);
            report.rejected.iter().find(of).map(ToString::to_string).unwrap_or_default()
        };
        assert!(said("latin.yml").contains("invalid UTF-8 at byte 10"), "{}", said("latin.yml"));
        assert!(said("empty.yml").contains("holds no rule"), "{}", said("empty.yml"));
    }
}
