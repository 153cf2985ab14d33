//! The one thread that writes: a bounded queue, a savepoint for each change, one fsync for all that wait.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::apply::apply;
use super::change::{Committed, StateChange};
use crate::StorageError;

/// Changes that wait; beyond it `commit` waits, which slows the engine down instead of growing its memory.
const QUEUE_MAX: usize = 256;

/// Changes in one fsync. More would only add latency: past a few dozen the fsync is no longer the cost.
const GROUP_MAX: usize = 64;

type Reply = oneshot::Sender<Result<Committed, StorageError>>;
type Request = (StateChange, Reply);

/// Handle of the writer thread; dropping it lets the queue run empty and closes the database.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `lock` is held as long as it runs.
    pub(super) fn start(path: Arc<Path>, connection: Connection, lock: File) -> Result<Self, StorageError> {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let place = Arc::clone(&path);
        let thread = std::thread::Builder::new().name("state-writer".to_owned()).spawn(move || {
            run(&path, connection, requests);
            drop(lock);
        });
        let thread = thread.map_err(|e| StorageError::io(&place, &e))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    pub(super) async fn commit(&self, change: StateChange) -> Result<Committed, StorageError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StorageError::Closed)?;
        queue.send((change, reply)).await.map_err(|_| StorageError::Closed)?;
        answer.await.map_err(|_| StorageError::Closed)?
    }

    pub(super) fn commit_blocking(&self, change: StateChange) -> Result<Committed, StorageError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StorageError::Closed)?;
        queue.blocking_send((change, reply)).map_err(|_| StorageError::Closed)?;
        answer.blocking_recv().map_err(|_| StorageError::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the state database's writer thread panicked");
        }
    }
}

fn run(path: &Path, mut connection: Connection, mut requests: mpsc::Receiver<Request>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while let Some(first) = requests.blocking_recv() {
        group.push(first);
        while group.len() < GROUP_MAX
            && let Ok(next) = requests.try_recv()
        {
            group.push(next);
        }
        commit_group(path, &mut connection, group.drain(..));
    }
}

/// Commits the changes that apply; one that does not fails alone.
fn commit_group(path: &Path, connection: &mut Connection, group: impl Iterator<Item = Request>) {
    let (changes, replies): (Vec<_>, Vec<_>) = group.unzip();
    let results = match try_commit(path, connection, &changes) {
        Ok(results) => results,
        Err(e) => vec![Err(e); replies.len()],
    };
    for (reply, result) in replies.into_iter().zip(results) {
        // The caller may have gone away; the change stands all the same.
        drop(reply.send(result));
    }
}

type Outcome = Result<Committed, StorageError>;

fn try_commit(
    path: &Path,
    connection: &mut Connection,
    changes: &[StateChange],
) -> Result<Vec<Outcome>, StorageError> {
    let at = |e: rusqlite::Error| StorageError::sqlite(path, &e);
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(at)?;
    let mut results = Vec::with_capacity(changes.len());
    for change in changes {
        let savepoint = transaction.savepoint().map_err(at)?;
        // A savepoint that is dropped without a commit takes its change back.
        match apply(&savepoint, change) {
            Ok(committed) => {
                savepoint.commit().map_err(at)?;
                results.push(Ok(committed));
            }
            Err(e) => results.push(Err(e.at(path))),
        }
    }
    transaction.commit().map_err(at)?;
    Ok(results)
}
