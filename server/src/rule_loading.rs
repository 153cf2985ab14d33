//! Finds rule files and loads them; a bad rule never keeps the others out.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use respond::{RejectedRule, ResponseRules};
use rules::{LoadReport, RuleSet};

use crate::config;

/// The name that stands for the shipped packs on the command line.
const BUILTIN: &str = "builtin";

/// Largest rule file that is read, in bytes: a rule is a page of text.
const RULE_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where the rules of a configuration come from.
#[derive(Debug, Clone)]
pub(crate) struct RuleSources {
    paths: Vec<PathBuf>,
}

impl RuleSources {
    pub(crate) fn configured(rules: &config::Rules) -> Self {
        let builtin = rules.builtin.then(|| PathBuf::from(BUILTIN));
        Self { paths: builtin.into_iter().chain(rules.dirs.iter().cloned()).collect() }
    }

    pub(crate) fn load(&self) -> anyhow::Result<(RuleSet, LoadReport)> {
        load(&self.paths)
    }

    /// Changes whenever a file comes, goes, or is written.
    pub(crate) fn fingerprint(&self) -> anyhow::Result<Fingerprint> {
        let mut files = Vec::new();
        for path in self.paths.iter().filter(|path| path.as_os_str() != BUILTIN) {
            for file in yaml_files(path)? {
                let metadata =
                    std::fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?;
                files.push((file, metadata.len(), metadata.modified().ok()));
            }
        }
        Ok(Fingerprint(files))
    }
}

/// What files looked like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fingerprint(Vec<(PathBuf, u64, Option<SystemTime>)>);

/// Loads the rules of directories and files, in path order.
pub(crate) fn load(paths: &[PathBuf]) -> anyhow::Result<(RuleSet, LoadReport)> {
    Ok(RuleSet::load(documents(paths)?))
}

/// The (file name, text) pairs of every `.yml` and `.yaml` below the paths; the shipped packs stand where they are named.
fn documents(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut documents = Vec::new();
    let mut builtin_at = None;
    for path in paths {
        if path.as_os_str() == BUILTIN {
            builtin_at = builtin_at.or(Some(documents.len()));
            continue;
        }
        for file in yaml_files(path)? {
            let text = read_capped(&file)?;
            documents.push((file.display().to_string(), text));
        }
    }
    if let Some(at) = builtin_at {
        let packs = RuleSet::builtin_packs_beside(&documents);
        let after = documents.split_off(at);
        documents.extend(packs);
        documents.extend(after);
    }
    Ok(documents)
}

/// Loads response rules: the shipped ones, then those of directories.
pub(crate) fn load_response(
    builtin: bool,
    dirs: &[PathBuf],
) -> anyhow::Result<(ResponseRules, Vec<RejectedRule>)> {
    let mut documents = if builtin { ResponseRules::builtin_pack() } else { Vec::new() };
    for dir in dirs {
        for file in yaml_files(dir)? {
            documents.push((file.display().to_string(), read_capped(&file)?));
        }
    }
    let (rules, report) = ResponseRules::load(documents);
    Ok((rules, report.rejected))
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

/// Text of a file; bytes that are no UTF-8 are replaced, so that the parser names the rule and not the file system.
pub(crate) fn read_capped(file: &Path) -> anyhow::Result<String> {
    let length = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    if length > RULE_FILE_BYTES_MAX {
        bail!("{} has {length} bytes; a rule file may have {RULE_FILE_BYTES_MAX}", file.display());
    }
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
