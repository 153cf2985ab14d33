//! Makes a commit on a local disk durable. The object store's local client writes through the page cache and does not
//! wait for the disk, but the log is read again only from the last snapshot: what is before it must survive a power cut.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use deltalake::DeltaTable;
use serde::Deserialize;

/// Waits until the table's last commit and its data files are on disk; returns how many files that were. Object
/// storage is durable when it answers: nothing to do.
pub(super) async fn sync_last_commit(table: &DeltaTable) -> io::Result<usize> {
    let (Some(version), Ok(root)) = (table.version(), table.table_url().to_file_path()) else { return Ok(0) };
    let log = root.join("_delta_log");
    let commit = log.join(format!("{version:020}.json"));
    let url = table.table_url().clone();
    let sync = move || {
        let text = std::fs::read_to_string(&commit)?;
        let mut paths: Vec<PathBuf> = Vec::new();
        for path in added(&text)? {
            // The path in the log is a URL reference: partition values may be escaped in it.
            let data = url.join(&path).ok().and_then(|url| url.to_file_path().ok());
            paths.push(data.ok_or_else(|| io::Error::other(format!("{path:?} is no path")))?);
        }
        for path in &paths {
            sync_file(path)?;
        }
        sync_file(&commit)?;
        sync_folder(&log)?;
        Ok(paths.len() + 1)
    };
    tokio::task::spawn_blocking(sync).await.map_err(io::Error::other)?
}

#[derive(Deserialize)]
struct Line {
    add: Option<Add>,
}

#[derive(Deserialize)]
struct Add {
    path: String,
}

fn added(commit: &str) -> io::Result<Vec<String>> {
    let lines = commit.lines().map(serde_json::from_str::<Line>).collect::<Result<Vec<_>, _>>()?;
    Ok(lines.into_iter().filter_map(|line| line.add).map(|add| add.path).collect())
}

fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// A new file is found after a power cut only once its folder is on disk, too.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
