//! Errors, by what the operator must do about them.

use std::path::PathBuf;

/// Why records cannot be had, or sent on. One bad record is never an error: it becomes a dead letter.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A setting must be changed. The text names the setting and what is accepted.
    #[error("setting {setting}: {problem}")]
    Config {
        /// The setting, dotted as in the config file, or the command-line option.
        setting: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The other side does not answer now: retrying may help.
    #[error("{endpoint} is unavailable: {problem}")]
    Unavailable {
        /// Broker list, topic or the like.
        endpoint: String,
        /// What happened.
        problem: String,
    },
    /// A file or directory cannot be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says. Part of the text, so it is no `source`, which would be told once more.
        cause: std::io::Error,
    },
    /// Stored bytes are damaged: truncated compression, a broken journal.
    #[error("{place}: {problem}")]
    Corrupt {
        /// File and line or byte, or journal topic, partition and offset.
        place: String,
        /// What is damaged, and what to do.
        problem: String,
    },
    /// A limit was reached: raise it, or send less.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What is too large.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// The log no longer holds what was asked for. Reading goes on where it can; the loss is counted.
    #[error(
        "{topic}/{partition}: offsets {from} to {to} are gone: {problem}; reading goes on at {resumed_at}"
    )]
    OffsetsGone {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// First missing offset.
        from: i64,
        /// The offset after the last missing one; equal to `from` if nothing countable is missing.
        to: i64,
        /// Where reading goes on.
        resumed_at: i64,
        /// Why, and what to change.
        problem: String,
    },
    /// The disk is full. Free space, or lower what is kept; then start again.
    #[error("{}: the disk is full: {remedy}", path.display())]
    DiskFull {
        /// The directory that cannot grow.
        path: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// A mapping file must be corrected.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// A defect of this program.
    #[error("bug: {0}")]
    Bug(String),
}

impl IngestError {
    /// Stable code of the variant, used as a metric label.
    pub const fn code(&self) -> &'static str {
        match self {
            IngestError::Config { .. } => "config",
            IngestError::Unavailable { .. } => "unavailable",
            IngestError::Io { .. } => "io",
            IngestError::Corrupt { .. } => "corrupt",
            IngestError::Limit { .. } => "limit",
            IngestError::OffsetsGone { .. } => "offsets_gone",
            IngestError::DiskFull { .. } => "disk_full",
            IngestError::Mapping(_) => "mapping",
            IngestError::Bug(_) => "bug",
        }
    }
}

/// What is wrong with a mapping: file, place inside it, problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {place}: {problem}")]
pub struct MappingError {
    /// The file, or directory.
    pub file: String,
    /// Where in it, as keys (`variants[sysmon_1].columns.process_pid`) or line and column.
    pub place: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_told_once() {
        let error = IngestError::Io { path: "a.ndjson".into(), cause: std::io::ErrorKind::NotFound.into() };
        assert_eq!(error.to_string(), "a.ndjson: entity not found");
        assert!(std::error::Error::source(&error).is_none(), "who prints the causes would print it again");
    }
}
