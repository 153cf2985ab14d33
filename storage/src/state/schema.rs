//! The tables, their version, and how a connection is set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::StorageError;

/// Marks the file as ours (`PRAGMA application_id`): "Astr".
const APPLICATION_ID: i64 = 0x4173_7472;

/// One step per schema version; the last one's number is the version this program reads and writes.
/// A released step is never edited: a change is a new step.
const MIGRATIONS: [&str; 7] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
];

/// How long a statement waits for another process's lock (a reader's checkpoint, a backup) before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

fn version_here() -> i64 {
    MIGRATIONS.len() as i64
}

/// Opens or creates the file for its one writer and brings its schema up to date.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StorageError> {
    let at = |e: rusqlite::Error| StorageError::sqlite(path, &e);
    let mut connection = Connection::open(path).map_err(at)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(at)?;
    let found = version(&connection).map_err(at)?;
    if found > 0 {
        check_version_of(&connection, path, 1..=version_here())?;
    } else if has_tables(&connection).map_err(at)? {
        return Err(StorageError::corrupt(path.display(), "an SQLite file, but no state database"));
    }
    set_up(&connection).map_err(at)?;
    migrate(&mut connection, found).map_err(at)?;
    Ok(connection)
}

/// FULL: a commit that was acknowledged survives the loss of power, which is what the log's restart point rests on.
fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // 16 MiB: what commits touch of the indexes stays in memory, the rest is the system's page cache.
    connection.pragma_update(None, "cache_size", -4_096)?;
    // A WAL that grew under a long read is cut back to 64 MiB.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn migrate(connection: &mut Connection, found: i64) -> rusqlite::Result<()> {
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", step as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StorageError> {
    let at = |e: rusqlite::Error| StorageError::sqlite(path, &e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(at)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(at)?;
    connection.pragma_update(None, "query_only", true).map_err(at)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Refuses a file that this program cannot read.
pub(super) fn check_version(connection: &Connection, path: &Path) -> Result<(), StorageError> {
    check_version_of(connection, path, version_here()..=version_here())
}

fn check_version_of(
    connection: &Connection,
    path: &Path,
    accepted: std::ops::RangeInclusive<i64>,
) -> Result<(), StorageError> {
    let at = |e: rusqlite::Error| StorageError::sqlite(path, &e);
    let application: i64 = connection.pragma_query_value(None, "application_id", |r| r.get(0)).map_err(at)?;
    if application != APPLICATION_ID {
        return Err(StorageError::corrupt(path.display(), "an SQLite file, but no state database"));
    }
    let found = version(connection).map_err(at)?;
    if accepted.contains(&found) {
        return Ok(());
    }
    let newer = "run the version that wrote it, or restore a backup made before the upgrade";
    let older = "start `asterism run` once, which migrates it";
    let remedy = if found > version_here() { newer } else { older }.to_owned();
    Err(StorageError::Version { place: path.display().to_string(), found, expected: version_here(), remedy })
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |r| r.get(0))
}

fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) > 0 FROM sqlite_schema", [], |r| r.get(0))
}
