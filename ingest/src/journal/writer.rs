//! The one thread that writes the journal: all appends that wait share one fsync.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use fjall::PersistMode;
use tokio::sync::{mpsc, oneshot};

use super::segment::{Segment, key_of};
use super::store::{Partition, Store};
use super::store_error;
use crate::error::IngestError;
use crate::source::TopicPartition;

/// Most payload bytes in one commit: enough to make the fsync cheap, little enough to bound memory and latency.
const GROUP_BYTES: usize = 8 << 20;

/// An append that waits.
pub(super) struct Request {
    pub(super) to: TopicPartition,
    pub(super) payloads: Vec<Bytes>,
    pub(super) reply: oneshot::Sender<Result<i64, IngestError>>,
}

impl Request {
    fn bytes(&self) -> usize {
        self.payloads.iter().map(Bytes::len).sum()
    }
}

/// Starts the writer; it ends when all senders are gone.
pub(super) fn spawn(
    store: Arc<Store>,
    mut inbox: mpsc::Receiver<Request>,
) -> Result<JoinHandle<()>, IngestError> {
    let path = store.path.clone();
    let work = move || {
        while let Some(first) = inbox.blocking_recv() {
            let group = gather(first, &mut inbox);
            commit(&store, group);
            if let Err(error) = store.enforce_retention() {
                tracing::error!(%error, "the journal cannot drop old records");
            }
        }
    };
    let thread = std::thread::Builder::new().name("journal-writer".to_owned());
    thread.spawn(work).map_err(|cause| IngestError::Io { path, cause })
}

/// The first request and all that wait behind it, up to the size of a group.
fn gather(first: Request, inbox: &mut mpsc::Receiver<Request>) -> Vec<Request> {
    let mut bytes = first.bytes();
    let mut group = vec![first];
    while bytes < GROUP_BYTES
        && let Ok(more) = inbox.try_recv()
    {
        bytes += more.bytes();
        group.push(more);
    }
    group
}

/// Where a partition stands within a group that is not committed yet.
struct Pending {
    partition: Arc<Partition>,
    segment: Segment,
    next: i64,
    bytes: u64,
}

/// Writes the group in one batch and answers each request. A requester that went away is nobody's loss.
fn commit(store: &Store, group: Vec<Request>) {
    let mut pending = BTreeMap::new();
    let written = stage(store, &group, &mut pending);
    match written {
        Ok(firsts) => {
            for state in pending.into_values() {
                state.partition.publish(state.next, state.bytes);
            }
            store.commits.send_modify(|commits| *commits += 1);
            for (request, first) in group.into_iter().zip(firsts) {
                drop(request.reply.send(Ok(first)));
            }
        }
        Err(failure) => {
            for request in group {
                drop(request.reply.send(Err(failure.to_error(store))));
            }
        }
    }
}

/// An error that goes to several requesters.
enum Failure {
    Store(fjall::Error),
    Segment(IngestError),
}

impl Failure {
    fn to_error(&self, store: &Store) -> IngestError {
        match self {
            Failure::Store(error) => store_error(&store.path, error),
            Failure::Segment(IngestError::DiskFull { path, remedy }) => {
                IngestError::DiskFull { path: path.clone(), remedy: remedy.clone() }
            }
            Failure::Segment(error) => IngestError::Unavailable {
                endpoint: store.path.display().to_string(),
                problem: format!("the journal cannot begin a segment: {error}"),
            },
        }
    }
}

/// Gives offsets, writes, and makes durable. Returns the first offset of each request.
fn stage(
    store: &Store,
    group: &[Request],
    pending: &mut BTreeMap<TopicPartition, Pending>,
) -> Result<Vec<i64>, Failure> {
    let records = group.iter().map(|request| request.payloads.len()).sum();
    let mut batch = fjall::OwnedWriteBatch::with_capacity(store.db.clone(), records)
        .durability(Some(PersistMode::SyncData));
    let mut firsts = Vec::with_capacity(group.len());
    for request in group {
        if !pending.contains_key(&request.to) {
            pending.insert(request.to.clone(), begin(store, &request.to).map_err(Failure::Segment)?);
        }
        let Some(state) = pending.get_mut(&request.to) else { continue };
        firsts.push(state.next);
        for payload in &request.payloads {
            batch.insert(&state.segment.keyspace, key_of(state.next), payload.as_ref());
            state.next += 1;
            state.bytes += payload.len() as u64;
        }
    }
    batch.commit().map_err(Failure::Store)?;
    Ok(firsts)
}

/// The partition's active segment, a new one if it is full.
fn begin(store: &Store, to: &TopicPartition) -> Result<Pending, IngestError> {
    let partition = store.partition_or_new(to)?;
    let next = partition.next();
    let segment = match partition.active() {
        Some(active) if active.bytes < store.options.segment_bytes_max => active,
        Some(_) | None => store.roll(to, &partition, next)?,
    };
    Ok(Pending { partition, segment, next, bytes: 0 })
}
