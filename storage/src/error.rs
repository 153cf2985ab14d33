//! What can go wrong, by what the operator must do.

use std::fmt::Display;
use std::path::Path;

/// An error of the event lake, the state database or a hunting query. Every message names the place and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The disk, or a quota on it, is full. Nothing of the change was kept.
    #[error("no space left for {place}: free some, then retry; nothing acknowledged was lost ({detail})")]
    Full { place: String, detail: String },
    /// Another process works in the same data directory.
    #[error("{place} is in use by another process: stop it, or choose another data directory ({detail})")]
    Locked { place: String, detail: String },
    /// Stored bytes are not what was written.
    #[error(
        "{place} is damaged: restore it from a backup, or move it away and replay the log from its start ({detail})"
    )]
    Corrupt { place: String, detail: String },
    /// The stored format belongs to another version of the program.
    #[error("{place} has schema version {found}, this program reads {expected}: {remedy}")]
    Version { place: String, found: i64, expected: i64, remedy: String },
    /// The schema on disk and the schema of the program contradict each other.
    #[error(
        "{place}: column {column} is {found} on disk and {expected} here: move the table away and replay, or run the version that wrote it"
    )]
    Schema { place: String, column: String, found: String, expected: String },
    /// The place cannot be read or written now (permissions, input/output, network).
    #[error("{place} is unavailable: check that it exists and may be read and written ({detail})")]
    Unavailable { place: String, detail: String },
    /// A change contradicts what is stored; retrying it cannot help.
    #[error("{what} contradicts what is stored: {detail}")]
    Conflict { what: String, detail: String },
    /// A declared limit was reached.
    #[error("{what} exceeds the limit of {limit}: {remedy}")]
    Limit { what: String, limit: String, remedy: String },
    /// The query itself is wrong; `hint` may name what was meant.
    #[error("{message}{}", hint.as_deref().map(|h| format!(" ({h})")).unwrap_or_default())]
    Query { message: String, hint: Option<String> },
    /// A statement that hunting does not allow.
    #[error("{statement} is not allowed: hunting only reads; use SELECT, WITH, EXPLAIN, DESCRIBE or SHOW")]
    Refused { statement: String },
    /// The database was closed while the change waited.
    #[error("the state database is closed")]
    Closed,
    /// A defect of this program.
    #[error("internal error, please report it: {0}")]
    Bug(String),
}

impl StorageError {
    pub(crate) fn unavailable(place: impl Display, detail: impl Display) -> Self {
        StorageError::Unavailable { place: place.to_string(), detail: detail.to_string() }
    }

    pub(crate) fn corrupt(place: impl Display, detail: impl Display) -> Self {
        StorageError::Corrupt { place: place.to_string(), detail: detail.to_string() }
    }

    /// Sorts an error of SQLite by its result code.
    pub(crate) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let (place, detail) = (path.display().to_string(), error.to_string());
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => StorageError::Full { place, detail },
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => StorageError::Locked { place, detail },
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => StorageError::Corrupt { place, detail },
            Some(Code::TooBig) => {
                let remedy = "store less in one value".to_owned();
                StorageError::Limit { what: "a value for SQLite".to_owned(), limit: detail, remedy }
            }
            Some(Code::ConstraintViolation | Code::TypeMismatch | Code::ApiMisuse) => {
                StorageError::Bug(detail)
            }
            Some(_) => StorageError::Unavailable { place, detail },
            None => StorageError::Bug(detail),
        }
    }

    /// Sorts an input/output error by its kind.
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        let (place, detail) = (path.display().to_string(), error.to_string());
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                StorageError::Full { place, detail }
            }
            _ => StorageError::Unavailable { place, detail },
        }
    }
}
