//! Connections that only read, reused.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::schema::open_reader;
use crate::StorageError;

/// Idle connections kept; more readers at once open their own and close it afterwards.
const IDLE_MAX: usize = 8;

/// Connections for queries. The lock is held only to take one or give it back.
#[derive(Debug)]
pub(crate) struct ReadPool {
    path: Arc<Path>,
    idle: Mutex<Vec<Connection>>,
}

impl ReadPool {
    pub(super) fn new(path: Arc<Path>) -> Self {
        Self { path, idle: Mutex::new(Vec::new()) }
    }

    /// Runs `f` on a connection inside one read transaction, so that all its statements see one state.
    pub(crate) fn with<T>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = idle.map_or_else(|| open_reader(&self.path), Ok)?;
        let at = |e: rusqlite::Error| StorageError::sqlite(&self.path, &e);
        let transaction = connection.transaction().map_err(at)?;
        let result = f(&transaction);
        transaction.finish().map_err(at)?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        result
    }
}
