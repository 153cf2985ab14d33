//! What one commit of the state database holds.

use std::collections::BTreeMap;

use event::{
    Action, Alert, AlertId, Effect, IncidentDelta, IncidentId, RecordRef, RelationChange, RiskChange,
    TenantId, Time,
};

use super::engine::{StateLimits, Trimmed};
use super::spool::Spool;
use crate::Positions;

/// One transaction. After a restart the log is read again from the last snapshot, so every part may come twice, in
/// other portions; the stored state ends the same:
///
/// - alerts: two sightings of one id are united (records, entities, tags, evidence; earliest record decides the rest);
/// - incidents: a state that the stored one has outgrown is skipped, anything else replaces it under a higher version;
/// - risks of an earlier event time than the stored one are skipped;
/// - actions and effects never step back; the audit chain refuses a second entry under one number;
/// - dead letters and analyst inputs are kept once; counters are absolute values, not increments.
///
/// The outbox gets a row for each real change, in the order of the fields below, and none for a repetition.
#[derive(Debug, Clone, Default)]
pub struct StateChange {
    /// Alerts that no longer stand; taken away before `alerts` are put.
    pub withdrawn: Vec<(TenantId, AlertId)>,
    /// New alerts, or new sightings of known ones.
    pub alerts: Vec<Alert>,
    /// Incident changes, in the correlator's order.
    pub deltas: Vec<IncidentDelta>,
    /// Risks of users, devices and apps that rose or fell.
    pub risks: Vec<RiskChange>,
    /// Suggested merges and campaigns that changed.
    pub relations: Vec<RelationChange>,
    /// Whether suggested merges that `relations` does not have are no more: those of a snapshot that was loaded are all.
    pub suggestions_are_all: bool,
    /// Actions after their change.
    pub actions: Vec<Action>,
    /// Effects after their change.
    pub effects: Vec<Effect>,
    /// Windows with suppressed alerts that are not over, in the order in which they were told.
    pub running_suppressions: Vec<RunningSuppressions>,
    /// Windows with suppressed alerts that are over; put after those that are not.
    pub suppressions: Vec<SuppressionRow>,
    /// What exceptions hid so far; absolute, so a row takes the place of the one before.
    pub exceptions: Vec<ExceptionRow>,
    /// What became of hours under rules; absolute, so best committed with the snapshot they belong to.
    pub completeness: Vec<CompletenessRow>,
    /// Next entries of the audit chain.
    pub audit: Vec<AuditRow>,
    /// Records that could not be read.
    pub dead_letters: Vec<DeadLetterRow>,
    /// What analysts did; to be applied to the correlator once this is committed.
    pub analyst_inputs: Vec<AnalystInput>,
    /// The correlator's state. Commit it together with everything it has given out before it was taken.
    pub snapshot: Option<Snapshot<Spool>>,
    /// Totals by name; absolute, so best committed with the snapshot they belong to.
    pub counters: BTreeMap<String, i64>,
    /// Small named values (rule set version, parameter hash).
    pub meta: BTreeMap<String, String>,
    /// How far sinks have come in the outbox; see [`crate::StateDb::outbox_ack`].
    pub acks: BTreeMap<String, i64>,
    /// Sinks that begin again after an earlier row; see [`crate::StateDb::outbox_rewind`].
    pub rewinds: BTreeMap<String, i64>,
    /// What sinks would not have.
    pub undelivered: Vec<UndeliveredRow>,
    /// Bounds to hold now; see [`crate::StateDb::trim`].
    pub trim: Option<StateLimits>,
}

/// A message that a sink would not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndeliveredRow {
    /// The sink.
    pub sink: String,
    /// The row of the outbox.
    pub seq: i64,
    /// Why.
    pub reason: String,
}

/// How far a sink has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkRow {
    /// Its name.
    pub name: String,
    /// The last row of the outbox that it has.
    pub cursor: i64,
    /// Rows that were trimmed before it came for them.
    pub skipped: i64,
}

/// The correlator's state and where reading goes on after it; its bytes are a [`Spool`] on their way to the database and
/// [`Pieces`](event::snapshot::Pieces) when they come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot<Bytes> {
    /// The correlator's own bytes.
    pub correlator: Bytes,
    /// The bytes of the state of correlation rules.
    pub windows: Bytes,
    /// The bytes of the state of alert suppression.
    pub suppressions: Bytes,
    /// The bytes of what exceptions hid so far.
    pub exceptions: Bytes,
    /// The bytes of the completeness ledger.
    pub completeness: Bytes,
    /// Next offsets: everything before them is in `correlator`.
    pub positions: Positions,
    /// The last analyst input in `correlator` (see [`Committed::inputs_seq`]); 0 where there is none.
    pub inputs_seq: i64,
}

/// Alerts that were not told, since another of their rule and key stood for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionRow {
    /// Tenant.
    pub tenant: TenantId,
    /// Id of the rule.
    pub rule: String,
    /// The alert that passed.
    pub alert: AlertId,
    /// Fields and their values.
    pub key: Vec<(String, String)>,
    /// When the window began: event time of the alert that passed.
    pub window_start: Time,
    /// The last time at which an alert was, or would have been, suppressed.
    pub window_end: Time,
    /// Event time of the first suppressed alert.
    pub first: Time,
    /// Event time of the last one.
    pub last: Time,
    /// How many there were.
    pub count: u64,
    /// Some of them.
    pub samples: Vec<AlertId>,
}

/// Rows of windows that are not over; those that were told of the same before are forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningSuppressions {
    /// Which windows these are.
    pub of: RunningOf,
    /// All that there are of them now.
    pub rows: Vec<SuppressionRow>,
}

/// Which running windows are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunningOf {
    /// All of them: after a restart.
    All,
    /// Those of one key of a rule.
    Key {
        /// Tenant.
        tenant: TenantId,
        /// Id of the rule.
        rule: String,
        /// Fields and their values.
        key: Vec<(String, String)>,
    },
}

/// What one exception of an overlay hid of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExceptionRow {
    /// Tenant.
    pub tenant: TenantId,
    /// Id of the entry of the overlay.
    pub exception: String,
    /// Id of the rule whose matches it hides.
    pub rule: String,
    /// Who answers for it.
    pub owner: String,
    /// Why it is there.
    pub reason: String,
    /// From this time on it hides nothing.
    pub expires: Time,
    /// How many matches it hid.
    pub count: u64,
    /// Event time of the earliest.
    pub first: Time,
    /// Event time of the latest.
    pub last: Time,
}

/// What became of an hour of event time under a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletenessRow {
    /// Tenant.
    pub tenant: TenantId,
    /// Id of the rule.
    pub rule: String,
    /// Where the hour begins; 1970 for what came when its hour was closed.
    pub start: Time,
    /// Events evaluated, the late ones among them.
    pub evaluated: u64,
    /// Events that came after event time had passed them, and were evaluated nevertheless.
    pub late: u64,
    /// Results taken back or changed because earlier events came after later ones.
    pub recomputed: u64,
    /// Events that came too late to count.
    pub dropped: u64,
    /// Event time has passed the hour.
    pub is_complete: bool,
}

/// An entry of the audit chain, as its owner made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Tenant.
    pub tenant: TenantId,
    /// Position in the chain; may be global or per tenant.
    pub seq: i64,
    /// When it was decided.
    pub at: Time,
    /// What kind of entry (`proposed`, `approved`, ...).
    pub kind: String,
    /// The action or effect it is about.
    pub subject: String,
    /// Hash of the entry, which covers the one before it.
    pub hash: String,
    /// The entry as JSON.
    pub body: String,
}

/// A record that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// Tenant.
    pub tenant: TenantId,
    /// Where it lies in the log.
    pub record: RecordRef,
    /// Reason code (`not_json`, `no_time`, ...).
    pub reason: String,
    /// The reason for people.
    pub message: String,
    /// The bytes; stored up to 64 KiB.
    pub payload: Vec<u8>,
    /// When it was read.
    pub ingest_time: Time,
}

/// What an analyst did to incidents; the log of inputs replays with the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnalystInput {
    /// Number in the log of inputs; given by the database, ignored on commit.
    pub seq: i64,
    /// Tenant.
    pub tenant: TenantId,
    /// Idempotency key: the same id is stored once.
    pub id: String,
    /// When.
    pub at: Time,
    /// The input as JSON.
    pub body: String,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// Incidents that became part of others although no delta said so: they were told before a crash, and did not come
    /// about again. What belongs to the first of each pair belongs to the second.
    pub redirects: Vec<(IncidentId, IncidentId)>,
    /// The last sequence number of the outbox after this change; 0 while it was never used.
    pub outbox_seq: i64,
    /// Rows this change added to the outbox: its real changes.
    pub outbox_rows: usize,
    /// The last number in the log of analyst inputs after this change.
    pub inputs_seq: i64,
    /// What was taken away, where the change asked for it.
    pub trimmed: Trimmed,
}

impl StateChange {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.withdrawn.is_empty()
            && self.alerts.is_empty()
            && self.deltas.is_empty()
            && self.risks.is_empty()
            && self.relations.is_empty()
            && !self.suggestions_are_all
            && self.completeness.is_empty()
            && self.actions.is_empty()
            && self.effects.is_empty()
            && self.running_suppressions.is_empty()
            && self.suppressions.is_empty()
            && self.exceptions.is_empty()
            && self.audit.is_empty()
            && self.dead_letters.is_empty()
            && self.analyst_inputs.is_empty()
            && self.snapshot.is_none()
            && self.counters.is_empty()
            && self.meta.is_empty()
            && self.acks.is_empty()
            && self.rewinds.is_empty()
            && self.undelivered.is_empty()
            && self.trim.is_none()
    }
}
