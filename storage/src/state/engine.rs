//! What the engine itself reads and moves on: restart, the outbox and its sinks, bounds. Not scoped to a tenant.

use std::collections::BTreeMap;

use event::snapshot::Pieces;
use event::{Action, Effect, TenantId, Time};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::change::{AnalystInput, SinkRow, Snapshot, StateChange, UndeliveredRow};
use super::query::{bodies, list, rows, tenant_at};
use super::{ReadError, StateDb};
use crate::{Positions, StorageError, positions};

/// One change to deliver. Sequence numbers rise over all tenants and are never used twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Sequence number.
    pub seq: i64,
    /// Tenant.
    pub tenant: TenantId,
    /// `alert`, `incident`, `action`, `effect` or `audit`.
    pub kind: String,
    /// What happened: `created`, `updated`, `merged`, `split`, `sealed`, `redirected`, or an action's or effect's state.
    pub change: String,
    /// Id of what it is about.
    pub subject: String,
    /// Its JSON after the change.
    pub body: String,
}

/// Bounds of what grows for ever; see [`StateDb::trim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLimits {
    /// Rows of the outbox. Beyond it the oldest go, even if a sink that stands still has not had them.
    pub outbox_rows_max: i64,
    /// Dead letters. Beyond it the oldest go.
    pub dead_letters_max: i64,
    /// Rows of the completeness ledger: one for each rule and hour. Beyond it the oldest hours go.
    pub completeness_rows_max: i64,
}

impl Default for StateLimits {
    /// A million of what waits or could not be read: days of a sink's outage, and about a gigabyte at most. Four million
    /// hours of rules: a year of 450 of them.
    fn default() -> Self {
        Self { outbox_rows_max: 1_000_000, dead_letters_max: 1_000_000, completeness_rows_max: 4_000_000 }
    }
}

/// What [`StateDb::trim`] took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Outbox rows, delivered or not.
    pub outbox: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Rows of the completeness ledger.
    pub completeness: u64,
}

impl StateDb {
    /// Every action of every tenant, oldest first: what the responder restores from.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn all_actions(&self) -> Result<Vec<Action>, StorageError> {
        self.read(|c| bodies(c, "SELECT body FROM actions ORDER BY created_at, id", []))
    }

    /// Every effect of every tenant: what the responder restores from.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn all_effects(&self) -> Result<Vec<Effect>, StorageError> {
        self.read(|c| bodies(c, "SELECT body FROM effects ORDER BY tenant, id", []))
    }

    /// Analyst inputs of all tenants after number `after`, in order.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn analyst_inputs(&self, after: i64) -> Result<Vec<AnalystInput>, StorageError> {
        let sql = "SELECT seq, tenant, id, at, body FROM analyst_inputs WHERE seq > ?1 ORDER BY seq";
        self.read(|c| list(c, sql, [after], analyst_input))
    }

    /// The last snapshot.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn load_snapshot(&self) -> Result<Option<Snapshot<Pieces>>, StorageError> {
        self.read(|c| {
            let sql =
                "SELECT correlator, windows, suppressions, exceptions, completeness, inputs_seq, positions
                 FROM snapshots
                 ORDER BY id DESC LIMIT 1";
            let row = |r: &Row<'_>| {
                let snapshot = Snapshot {
                    correlator: pieces(r, 0)?,
                    windows: pieces(r, 1)?,
                    suppressions: pieces(r, 2)?,
                    exceptions: pieces(r, 3)?,
                    completeness: pieces(r, 4)?,
                    inputs_seq: r.get(5)?,
                    positions: Positions::new(),
                };
                Ok((snapshot, r.get::<_, String>(6)?))
            };
            let Some((snapshot, positions)) = c.query_row(sql, [], row).optional()? else {
                return Ok(None);
            };
            Ok(Some(Snapshot { positions: positions::from_json(&positions)?, ..snapshot }))
        })
    }

    /// Totals by name.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn counters(&self) -> Result<BTreeMap<String, i64>, StorageError> {
        let sql = "SELECT name, value FROM counters";
        self.read(|c| Ok(list(c, sql, [], |r| Ok((r.get(0)?, r.get(1)?)))?.into_iter().collect()))
    }

    /// A small named value.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn meta(&self, name: &str) -> Result<Option<String>, StorageError> {
        self.read(|c| {
            Ok(c.query_row("SELECT value FROM meta WHERE name = ?1", [name], |r| r.get(0)).optional()?)
        })
    }

    /// Outbox rows after sequence number `after`, in order; of one tenant, or of all.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn outbox(
        &self,
        tenant: Option<&TenantId>,
        after: i64,
        limit: usize,
    ) -> Result<Vec<OutboxRow>, StorageError> {
        let sql = "SELECT seq, tenant, kind, change, subject, body FROM outbox
             WHERE seq > ?2 AND (?1 IS NULL OR tenant = ?1) ORDER BY seq LIMIT ?3";
        self.read(|c| list(c, sql, params![tenant.map(TenantId::as_str), after, rows(limit)], outbox_row))
    }

    /// The last sequence number of the outbox; 0 while it was never used.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn outbox_head(&self) -> Result<i64, StorageError> {
        let sql = "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'";
        self.read(|c| Ok(c.query_row(sql, [], |r| r.get(0))?))
    }

    /// How far a sink has come: the last sequence number it acknowledged, 0 for a new one.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn sink_cursor(&self, sink: &str) -> Result<i64, StorageError> {
        let sql = "SELECT ifnull(max(cursor), 0) FROM sinks WHERE name = ?1";
        self.read(|c| Ok(c.query_row(sql, [sink], |r| r.get(0))?))
    }

    /// What a sink has not acknowledged yet, in order.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn outbox_fetch(&self, sink: &str, limit: usize) -> Result<Vec<OutboxRow>, StorageError> {
        self.outbox(None, self.sink_cursor(sink)?, limit)
    }

    /// Notes that a sink has everything up to and including `seq`, but for what it would not have. A lower number than
    /// before moves nothing back.
    ///
    /// # Errors
    /// As [`StateDb::commit`].
    pub async fn outbox_ack(
        &self,
        sink: &str,
        seq: i64,
        undelivered: Vec<UndeliveredRow>,
    ) -> Result<(), StorageError> {
        let acks = BTreeMap::from([(sink.to_owned(), seq)]);
        self.commit(StateChange { acks, undelivered, ..StateChange::default() }).await.map(drop)
    }

    /// Lets a sink begin again after `seq`, if it has come further: what follows is delivered once more, as far as the
    /// outbox still has it.
    ///
    /// # Errors
    /// As [`StateDb::commit`].
    pub async fn outbox_rewind(&self, sink: &str, seq: i64) -> Result<(), StorageError> {
        let rewinds = BTreeMap::from([(sink.to_owned(), seq)]);
        self.commit(StateChange { rewinds, ..StateChange::default() }).await.map(drop)
    }

    /// How far each sink has come, by name.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn sinks(&self) -> Result<Vec<SinkRow>, StorageError> {
        let sql = "SELECT name, cursor, skipped FROM sinks ORDER BY name";
        self.read(|c| {
            let mut statement = c.prepare_cached(sql)?;
            let row = |r: &Row<'_>| Ok(SinkRow { name: r.get(0)?, cursor: r.get(1)?, skipped: r.get(2)? });
            Ok(statement.query_map([], row)?.collect::<Result<_, _>>()?)
        })
    }

    /// What a sink would not have, latest first, up to `limit`.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn undelivered(&self, sink: &str, limit: usize) -> Result<Vec<UndeliveredRow>, StorageError> {
        let sql = "SELECT sink, seq, reason FROM undelivered WHERE sink = ?1 ORDER BY seq DESC LIMIT ?2";
        self.read(|c| {
            let mut statement = c.prepare_cached(sql)?;
            let row = |r: &Row<'_>| Ok(UndeliveredRow { sink: r.get(0)?, seq: r.get(1)?, reason: r.get(2)? });
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            Ok(statement.query_map(rusqlite::params![sink, limit], row)?.collect::<Result<_, _>>()?)
        })
    }

    /// Rows of the outbox that a sink never got, because they were trimmed before it came for them.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn sink_skipped(&self, sink: &str) -> Result<i64, StorageError> {
        let sql = "SELECT ifnull(max(skipped), 0) FROM sinks WHERE name = ?1";
        self.read(|c| Ok(c.query_row(sql, [sink], |r| r.get(0))?))
    }

    /// Takes away the oldest rows beyond the limits; call it now and then. What a sink had not had yet is counted in
    /// [`StateDb::sink_skipped`], and its cursor moves past it.
    ///
    /// # Errors
    /// As [`StateDb::commit`].
    pub async fn trim(&self, limits: StateLimits) -> Result<Trimmed, StorageError> {
        let change = StateChange { trim: Some(limits), ..StateChange::default() };
        self.commit(change).await.map(|committed| committed.trimmed)
    }
}

/// Trims inside the writer's transaction.
pub(super) fn trim(connection: &Connection, limits: StateLimits) -> Result<Trimmed, ReadError> {
    let newest: Option<i64> = connection.query_row("SELECT max(seq) FROM outbox", [], |r| r.get(0))?;
    let last_gone = newest.unwrap_or(0) - limits.outbox_rows_max;
    let skip = "UPDATE sinks SET skipped = skipped + ?1 - cursor, cursor = ?1 WHERE cursor < ?1";
    connection.execute(skip, [last_gone])?;
    let outbox = connection.execute("DELETE FROM outbox WHERE seq <= ?1", [last_gone])? as u64;
    connection.execute("DELETE FROM undelivered WHERE seq <= ?1", [last_gone])?;
    let newest: Option<i64> = connection.query_row("SELECT max(id) FROM dead_letters", [], |r| r.get(0))?;
    let last_gone = newest.unwrap_or(0) - limits.dead_letters_max;
    let dead_letters = connection.execute("DELETE FROM dead_letters WHERE id <= ?1", [last_gone])? as u64;
    Ok(Trimmed { outbox, dead_letters, completeness: trim_completeness(connection, limits)? })
}

/// Whole hours go, so that an hour that is there has all its rules.
fn trim_completeness(connection: &Connection, limits: StateLimits) -> Result<u64, ReadError> {
    let rows: i64 = connection.query_row("SELECT count(*) FROM completeness", [], |r| r.get(0))?;
    let excess = rows - limits.completeness_rows_max;
    if excess <= 0 {
        return Ok(0);
    }
    let sql = "DELETE FROM completeness WHERE start_time <=
         (SELECT start_time FROM completeness ORDER BY start_time LIMIT 1 OFFSET ?1)";
    Ok(connection.execute(sql, [excess - 1])? as u64)
}

fn analyst_input(row: &Row<'_>) -> rusqlite::Result<AnalystInput> {
    let at = Time(row.get(3)?);
    Ok(AnalystInput { seq: row.get(0)?, tenant: tenant_at(row, 1)?, id: row.get(2)?, at, body: row.get(4)? })
}

fn outbox_row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        seq: row.get(0)?,
        tenant: tenant_at(row, 1)?,
        kind: row.get(2)?,
        change: row.get(3)?,
        subject: row.get(4)?,
        body: row.get(5)?,
    })
}

fn pieces(row: &Row<'_>, column: usize) -> rusqlite::Result<Pieces> {
    row.get::<_, Vec<u8>>(column).map(Pieces::from)
}
