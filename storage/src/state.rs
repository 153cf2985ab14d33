//! The state database: alerts, incidents, actions, effects, the audit chain, the outbox, analyst inputs and the
//! correlation snapshot, in one SQLite file.
//!
//! One thread writes. It takes the changes that wait, applies each under its own savepoint, and makes them durable
//! with one commit (WAL, `synchronous = FULL`), so that many small changes share one fsync. Readers have connections
//! of their own and see the last commit.
//!
//! Every change may come again after a restart: see [`StateChange`] for how each part converges.

mod apply;
mod change;
mod engine;
mod incident;
mod page;
mod query;
mod read;
mod schema;
mod spool;
mod writer;

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use crate::StorageError;
use read::ReadPool;
use writer::Writer;

pub use change::{
    AnalystInput, AuditRow, Committed, CompletenessRow, DeadLetterRow, ExceptionRow, RunningOf,
    RunningSuppressions, SinkRow, Snapshot, StateChange, SuppressionRow, UndeliveredRow,
};
pub use engine::{OutboxRow, StateLimits, Trimmed};
pub use page::{ActionFilter, AlertFilter, Cursor, IncidentFilter, IncidentSort, Page, RiskFilter};
pub use query::{CompletenessFilter, IncidentCounts};
pub use spool::Spool;

/// The state database. Clones share one writer and one pool of readers.
#[derive(Debug, Clone)]
pub struct StateDb {
    path: Arc<Path>,
    reads: Arc<ReadPool>,
    /// Absent where the database was opened for reading only.
    writer: Option<Arc<Writer>>,
}

impl StateDb {
    /// Opens or creates the database, migrates an older schema, and takes the writer's lock.
    ///
    /// # Errors
    /// [`StorageError::Locked`] where another process writes it, [`StorageError::Version`] where a newer program made
    /// it, [`StorageError::Corrupt`] where it is no state database or damaged, [`StorageError::Unavailable`] where the
    /// folder cannot be written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let path: Arc<Path> = path.as_ref().into();
        let folder = folder(&path);
        std::fs::create_dir_all(folder).map_err(|e| StorageError::io(folder, &e))?;
        let lock = lock(&path)?;
        let connection = schema::open_writer(&path)?;
        let writer = Writer::start(Arc::clone(&path), connection, lock)?;
        Ok(Self { reads: Arc::new(ReadPool::new(Arc::clone(&path))), path, writer: Some(Arc::new(writer)) })
    }

    /// Opens an existing database for queries, beside a process that writes it.
    ///
    /// # Errors
    /// As [`StateDb::open`], and [`StorageError::Unavailable`] where it does not exist.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let path: Arc<Path> = path.as_ref().into();
        let reads = ReadPool::new(Arc::clone(&path));
        reads.with(|connection| schema::check_version(connection, &path))?;
        Ok(Self { path, reads: Arc::new(reads), writer: None })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps what `write` writes beside the database, for a [`Snapshot`].
    ///
    /// # Errors
    /// [`StorageError::Full`] and [`StorageError::Unavailable`], of the folder.
    pub fn spool(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Spool, StorageError> {
        Spool::write(folder(&self.path), write)
    }

    /// Applies a change in one durable transaction: all of it, or nothing of it.
    ///
    /// Waits while the writer's queue is full.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] where the change contradicts the audit chain, [`StorageError::Full`],
    /// [`StorageError::Closed`], and [`StorageError::Unavailable`] on a database opened for reading only.
    pub async fn commit(&self, change: StateChange) -> Result<Committed, StorageError> {
        self.writer()?.commit(change).await
    }

    /// As [`StateDb::commit`], for threads outside an async runtime.
    ///
    /// # Errors
    /// As [`StateDb::commit`].
    pub fn commit_blocking(&self, change: StateChange) -> Result<Committed, StorageError> {
        self.writer()?.commit_blocking(change)
    }

    fn writer(&self) -> Result<&Writer, StorageError> {
        let read_only = || StorageError::unavailable(self.path.display(), "opened for reading only");
        self.writer.as_deref().ok_or_else(read_only)
    }

    fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T, ReadError>) -> Result<T, StorageError> {
        self.reads.with(|connection| f(connection).map_err(|e| e.at(&self.path)))
    }

    pub(crate) fn read_pool(&self) -> &Arc<ReadPool> {
        &self.reads
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Takes the lock that keeps a second writer out; it falls with the process, however that ends.
fn lock(path: &Path) -> Result<File, StorageError> {
    let mut lock_path = PathBuf::from(path).into_os_string();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let file = File::options().create(true).truncate(false).write(true).open(&lock_path);
    let file = file.map_err(|e| StorageError::io(&lock_path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::Locked {
            place: path.display().to_string(),
            detail: "the writer's lock is held".to_owned(),
        }),
        Err(TryLockError::Error(e)) => Err(StorageError::io(&lock_path, &e)),
    }
}

/// An error inside a statement, before it is told where it happened.
#[derive(Debug)]
pub(crate) enum ReadError {
    Sqlite(rusqlite::Error),
    Json(serde_json::Error),
    Io(io::Error),
    Storage(StorageError),
}

impl ReadError {
    fn at(self, path: &Path) -> StorageError {
        match self {
            ReadError::Sqlite(e) => StorageError::sqlite(path, &e),
            ReadError::Json(e) => StorageError::corrupt(path.display(), format!("stored JSON: {e}")),
            ReadError::Io(e) => StorageError::io(path, &e),
            ReadError::Storage(e) => e,
        }
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(e: rusqlite::Error) -> Self {
        ReadError::Sqlite(e)
    }
}

impl From<serde_json::Error> for ReadError {
    fn from(e: serde_json::Error) -> Self {
        ReadError::Json(e)
    }
}

impl From<io::Error> for ReadError {
    fn from(e: io::Error) -> Self {
        ReadError::Io(e)
    }
}

impl From<StorageError> for ReadError {
    fn from(e: StorageError) -> Self {
        ReadError::Storage(e)
    }
}

#[cfg(test)]
mod tests;
