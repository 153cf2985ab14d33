//! What is kept, and how it is asked: the event lake, the state database and hunting queries.
//!
//! ```text
//! EventBatch  -> Waiting -> LakeWriter -> Lake: a Delta table per OCSF class, parted by tenant and date --+
//!                                                                                             +-> Hunt: SQL
//! StateChange -> StateDb: one SQLite file: alerts, incidents, actions, audit, outbox, ... -----+
//! ```
//!
//! Both sinks are idempotent, so that the log can be read again from the last snapshot after any crash: the lake drops
//! rows whose offset a table already has, the state database keeps what it has and only tells its outbox what is new.
//! There is no commit protocol between the two.
//!
//! - [`LakeWriter`]: encodes batches by class and commits them to the [`Lake`]. Flush it before a snapshot is committed:
//!   the snapshot's positions say that everything before them is kept.
//! - [`StateDb`]: [`StateDb::commit`] applies a [`StateChange`] in one durable transaction; queries answer the API.
//! - [`Positions`]: where reading goes on; stored with the correlator's [`Snapshot`].
//! - [`shelf_in`]: where the state that pure crates hold puts what it seldom asks for, beside the memory.
//! - [`Hunt`]: SQL of one tenant over both, read-only, within [`HuntLimits`].
//! - [`StorageError`]: variants by what the operator must do.
//!
//! Not here: what an alert, an incident or an action means (`event`), and when to flush or commit (the caller).

mod error;
mod hunt;
mod lake;
mod positions;
mod shelf;
mod state;

pub use error::StorageError;
pub use hunt::{Hunt, HuntLimits, HuntResult};
pub use lake::{Flushed, Lake, LakeWriter, Waiting};
pub use positions::Positions;
pub use shelf::shelf_in;
pub use state::{
    ActionFilter, AlertFilter, AnalystInput, AuditRow, Committed, CompletenessFilter, CompletenessRow,
    Cursor, DeadLetterRow, ExceptionRow, IncidentCounts, IncidentFilter, IncidentSort, OutboxRow, Page,
    RiskFilter, RunningOf, RunningSuppressions, SinkRow, Snapshot, Spool, StateChange, StateDb, StateLimits,
    SuppressionRow, Trimmed, UndeliveredRow,
};
