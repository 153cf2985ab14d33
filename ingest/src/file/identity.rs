//! Which topic-partition a file is: its name, and a number that tells it from others of that name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FilePartition, config, open};
use crate::error::IngestError;
use crate::source::TopicPartition;

/// Topic of standard input.
const STDIN: &str = "stdin";

/// A file of the list, and what its records are called.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) path: PathBuf,
    pub(super) key: TopicPartition,
    /// Standard input or a pipe: it can be read once, and nothing is known of it before.
    pub(super) is_stream: bool,
    content: Option<blake3::Hash>,
}

/// The files of the list in their order; with partitions by content, one that is there twice is there once.
pub(super) fn identify(paths: &[PathBuf], partition: FilePartition) -> Result<Vec<Identity>, IngestError> {
    let files = paths.iter().enumerate().map(|(place, path)| Identity::of(path, place, partition));
    let files = files.collect::<Result<Vec<Identity>, IngestError>>()?;
    match partition {
        FilePartition::Place => Ok(files),
        FilePartition::Content => distinct(files),
    }
}

impl Identity {
    fn of(path: &Path, place: usize, partition: FilePartition) -> Result<Self, IngestError> {
        let io = |cause| IngestError::Io { path: path.to_owned(), cause };
        let is_stream = open::is_stdin(path) || !path.metadata().map_err(io)?.is_file();
        let content = match partition {
            FilePartition::Content if !is_stream => Some(content_of(path).map_err(io)?),
            FilePartition::Content | FilePartition::Place => None,
        };
        let number = match partition {
            FilePartition::Place => i32::try_from(place).map_err(|_| config("name fewer files"))?,
            FilePartition::Content => content.as_ref().map_or(0, partition_of),
        };
        Ok(Self { path: path.to_owned(), key: (topic_of(path), number), is_stream, content })
    }
}

/// Partitions must tell files apart. Two files of one name and number are one file in two places, or, once in two
/// thousand million, two files that no number can tell apart.
fn distinct(files: Vec<Identity>) -> Result<Vec<Identity>, IngestError> {
    let mut seen: HashMap<TopicPartition, (PathBuf, Option<blake3::Hash>)> = HashMap::new();
    let mut kept = Vec::with_capacity(files.len());
    for file in files {
        match seen.entry(file.key.clone()) {
            Entry::Vacant(place) => {
                place.insert((file.path.clone(), file.content));
                kept.push(file);
            }
            Entry::Occupied(first) => {
                let (path, content) = first.get();
                if file.content.is_none() || file.content != *content {
                    let (a, b) = (path.display(), file.path.display());
                    return Err(config(&format!("{a} and {b} cannot be told apart; rename one of them")));
                }
                tracing::warn!(
                    "{} has the name and the content of {}: it is read once",
                    file.path.display(),
                    path.display()
                );
            }
        }
    }
    Ok(kept)
}

/// The bytes as stored: reading them is cheap beside decompressing and decoding them.
fn content_of(path: &Path) -> std::io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize())
}

/// 31 bits of the hash: a partition is no negative number.
fn partition_of(content: &blake3::Hash) -> i32 {
    let [a, b, c, d, ..] = *content.as_bytes();
    i32::from_be_bytes([a & 0x7f, b, c, d])
}

fn topic_of(path: &Path) -> Arc<str> {
    if open::is_stdin(path) {
        return STDIN.into();
    }
    path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &[u8]) -> Identity {
        let key = (Arc::from("a.ndjson"), 7);
        Identity { path: path.into(), key, is_stream: false, content: Some(blake3::hash(content)) }
    }

    #[test]
    fn files_of_one_name_and_number_are_one_file_or_refused() {
        let copies = distinct(vec![file("x/a.ndjson", b"{}"), file("y/a.ndjson", b"{}")]).unwrap();
        assert_eq!(copies, [file("x/a.ndjson", b"{}")]);
        let chance =
            distinct(vec![file("x/a.ndjson", b"{}"), file("y/a.ndjson", b"[]")]).unwrap_err().to_string();
        assert!(chance.contains("x/a.ndjson and y/a.ndjson") && chance.contains("rename"), "{chance}");
    }

    #[test]
    fn partition_of_a_content_is_the_same_for_ever() {
        assert_eq!(partition_of(&blake3::hash(b"{}\n")), 667_211_079);
        assert!(partition_of(&blake3::Hash::from_bytes([0xff; 32])) > 0);
    }
}
