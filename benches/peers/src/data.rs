//! The public data that both engines read: rules and records.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ingest::Record;

/// Folders of SigmaHQ whose rules are in use.
const ACTIVE: [&str; 5] =
    ["rules", "rules-emerging-threats", "rules-threat-hunting", "rules-compliance", "rules-placeholder"];

/// `ASTERISM_DATA`, else `../shared/data` beside the checkout.
fn root() -> Result<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = std::env::var_os("ASTERISM_DATA")
        .map_or_else(|| checkout.join("../shared/data"), |dir| checkout.join(dir));
    ensure!(dir.is_dir(), "{} is no folder: ASTERISM_DATA names the folder of public data", dir.display());
    Ok(dir)
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    zstd::decode_all(file).with_context(|| format!("cannot unpack {}", path.display()))
}

/// The active SigmaHQ rules, (path, text), by path.
pub(crate) fn rules() -> Result<Vec<(String, String)>> {
    let path = root()?.join("rules/sigmahq_rules.tar.zst");
    let archive = unpacked(&path)?;
    let mut files = Vec::new();
    for entry in tar::Archive::new(archive.as_slice()).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        let folder = name.split('/').next().unwrap_or_default();
        if ACTIVE.contains(&folder) && name.ends_with(".yml") {
            let mut text = String::new();
            entry.read_to_string(&mut text).with_context(|| format!("{name} of {}", path.display()))?;
            files.push((name, text));
        }
    }
    ensure!(!files.is_empty(), "{} holds no active rules", path.display());
    files.sort();
    Ok(files)
}

/// The files of real Windows events: attack emulations of OTRF with all that the hosts logged meanwhile.
pub(crate) fn windows_files() -> Result<Vec<PathBuf>> {
    let folder = root()?.join("endpoint");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("otrf_") && name.ends_with(".ndjson.zst") {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("{} holds no file otrf_*.ndjson.zst", folder.display());
    }
    files.sort();
    Ok(files)
}

/// The events that SigmaHQ publishes with its rules.
pub(crate) fn regression_file() -> Result<PathBuf> {
    Ok(root()?.join("rules/sigma_regression.ndjson.zst"))
}

/// The lines of a file as records: the file's name is the topic, the line number from 0 the offset.
pub(crate) fn records(path: &Path) -> Result<Vec<Record>> {
    let text = unpacked(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lines = text.split(|byte| *byte == b'\n').zip(0..).filter(|(line, _)| !line.is_empty());
    Ok(lines.map(|(line, offset)| record(&name, offset, line.to_vec())).collect())
}

/// A record of partition 0.
pub(crate) fn record(topic: &str, offset: i64, payload: Vec<u8>) -> Record {
    Record::new(topic.into(), 0, offset, payload.into())
}
