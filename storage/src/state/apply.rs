//! Applies one change inside the writer's transaction, and fills the outbox with what really changed.

use std::collections::BTreeSet;

use event::{Action, Alert, Effect, RelationChange, RiskChange, RiskLevel, TenantId};
use rusqlite::{Connection, MAIN_DB, OptionalExtension, params};

use super::change::{
    AnalystInput, AuditRow, Committed, CompletenessRow, DeadLetterRow, ExceptionRow, RunningOf,
    RunningSuppressions, Snapshot, StateChange, SuppressionRow, UndeliveredRow,
};
use super::spool::Spool;
use super::{ReadError, engine, incident};
use crate::{StorageError, positions};

/// Longer payloads are cut: a dead letter shows what was wrong, the log still has the record.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Snapshots kept; the one before the last is the way back should the last prove unreadable.
const SNAPSHOTS_KEPT: i64 = 2;

pub(super) fn apply(connection: &Connection, change: &StateChange) -> Result<Committed, ReadError> {
    let mut outbox = Outbox { connection, rows: 0 };
    for (tenant, alert) in &change.withdrawn {
        take_alert(&mut outbox, tenant.as_str(), alert.as_str())?;
    }
    for alert in &change.alerts {
        put_alert(&mut outbox, alert)?;
    }
    let redirects = incident::put_deltas(&mut outbox, &change.deltas)?;
    for risk in &change.risks {
        put_risk(&mut outbox, risk)?;
    }
    if change.suggestions_are_all {
        connection.execute("DELETE FROM suggestions", [])?;
    }
    for relation in &change.relations {
        put_relation(connection, relation)?;
    }
    for action in &change.actions {
        put_action(&mut outbox, action)?;
    }
    for effect in &change.effects {
        put_effect(&mut outbox, effect)?;
    }
    for running in &change.running_suppressions {
        put_running(connection, running)?;
    }
    for row in &change.suppressions {
        put_suppression(connection, row, false)?;
    }
    for row in &change.exceptions {
        put_exception(connection, row)?;
    }
    for row in &change.completeness {
        put_completeness(connection, row)?;
    }
    for row in &change.audit {
        put_audit(&mut outbox, row)?;
    }
    for letter in &change.dead_letters {
        put_dead_letter(connection, letter)?;
    }
    for input in &change.analyst_inputs {
        put_analyst_input(connection, input)?;
    }
    put_named(connection, change)?;
    if let Some(snapshot) = &change.snapshot {
        put_snapshot(connection, snapshot)?;
    }
    let trimmed = change.trim.map(|limits| engine::trim(connection, limits)).transpose()?;
    Ok(Committed {
        redirects,
        outbox_seq: last_of(connection, "outbox")?,
        outbox_rows: outbox.rows,
        inputs_seq: last_of(connection, "analyst_inputs")?,
        trimmed: trimmed.unwrap_or_default(),
    })
}

/// The last number AUTOINCREMENT has given in a table, which outlives the rows.
fn last_of(connection: &Connection, table: &str) -> Result<i64, ReadError> {
    let mut statement = connection.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = ?1")?;
    Ok(statement.query_row([table], |r| r.get(0)).optional()?.unwrap_or(0))
}

/// The outbox of the change that is being applied.
pub(super) struct Outbox<'a> {
    pub(super) connection: &'a Connection,
    rows: usize,
}

/// What an outbox row tells.
pub(super) struct Note<'a> {
    pub(super) tenant: &'a str,
    pub(super) kind: &'a str,
    pub(super) change: &'a str,
    pub(super) subject: &'a str,
    pub(super) body: &'a str,
}

impl Outbox<'_> {
    pub(super) fn push(&mut self, note: &Note<'_>) -> Result<(), ReadError> {
        let sql = "INSERT INTO outbox (tenant, kind, change, subject, body) VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute(params![note.tenant, note.kind, note.change, note.subject, note.body])?;
        self.rows += 1;
        Ok(())
    }

    /// The stored body of a row, if there is one.
    pub(super) fn stored(&self, sql: &str, tenant: &str, id: &str) -> Result<Option<String>, ReadError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([tenant, id], |r| r.get(0)).optional()?)
    }
}

fn put_alert(outbox: &mut Outbox<'_>, alert: &Alert) -> Result<(), ReadError> {
    let (tenant, id) = (alert.tenant.as_str(), alert.id.as_str());
    let stored = outbox.stored("SELECT body FROM alerts WHERE tenant = ?1 AND id = ?2", tenant, id)?;
    match &stored {
        None => write_alert(outbox, alert, &serde_json::to_string(alert)?, "created"),
        Some(stored) => {
            let stored: Alert = serde_json::from_str(stored)?;
            let united = unite(stored.clone(), alert);
            if stored == *alert || stored == united {
                return Ok(());
            }
            write_alert(outbox, &united, &serde_json::to_string(&united)?, "updated")
        }
    }
}

/// An alert that does not stand any more leaves, and its incident with it; consumers get its last body.
fn take_alert(outbox: &mut Outbox<'_>, tenant: &str, id: &str) -> Result<(), ReadError> {
    let stored = outbox.stored("SELECT body FROM alerts WHERE tenant = ?1 AND id = ?2", tenant, id)?;
    let Some(body) = stored else { return Ok(()) };
    for table in ["alerts WHERE tenant = ?1 AND id", "incident_alerts WHERE tenant = ?1 AND alert"] {
        outbox.connection.prepare_cached(&format!("DELETE FROM {table} = ?2"))?.execute([tenant, id])?;
    }
    outbox.push(&Note { tenant, kind: "alert", change: "withdrawn", subject: id, body: &body })
}

fn write_alert(outbox: &mut Outbox<'_>, alert: &Alert, body: &str, change: &str) -> Result<(), ReadError> {
    let sql = "INSERT INTO alerts (tenant, id, time, end_time, severity, domain, source, rule, title, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (tenant, id) DO UPDATE SET time = ?3, end_time = ?4, severity = ?5, domain = ?6, source = ?7,
           rule = ?8, title = ?9, body = ?10";
    outbox.connection.prepare_cached(sql)?.execute(params![
        alert.tenant.as_str(),
        alert.id.as_str(),
        alert.time.micros(),
        alert.end_time.micros(),
        alert.severity as i64,
        alert.domain.as_str(),
        alert.source,
        alert.rule.id,
        alert.title,
        body,
    ])?;
    outbox.push(&Note {
        tenant: alert.tenant.as_str(),
        kind: "alert",
        change,
        subject: alert.id.as_str(),
        body,
    })
}

/// Two sightings of one alert as one. Commutative, associative and idempotent, so the order and the number of
/// sightings do not matter: sets are united, times widened, the higher severity wins, and the sighting with the
/// earliest record decides the rest.
fn unite(a: Alert, b: &Alert) -> Alert {
    let first_is_a =
        (a.records.iter().min(), &a.event_uid, &a.title) <= (b.records.iter().min(), &b.event_uid, &b.title);
    let (mut base, other) = if first_is_a { (a, b.clone()) } else { (b.clone(), a) };
    base.time = base.time.min(other.time);
    base.end_time = base.end_time.max(other.end_time);
    base.severity = base.severity.max(other.severity);
    union(&mut base.attack, other.attack);
    union(&mut base.entities, other.entities);
    union(&mut base.records, other.records);
    union(&mut base.evidence, other.evidence);
    base
}

fn union<T: Ord>(into: &mut Vec<T>, from: Vec<T>) {
    let all: BTreeSet<T> = std::mem::take(into).into_iter().chain(from).collect();
    *into = all.into_iter().collect();
}

/// A risk of an earlier event time than the stored one is one that a replay tells again. One without a level leaves.
fn put_risk(outbox: &mut Outbox<'_>, change: &RiskChange) -> Result<(), ReadError> {
    let risk = change.risk();
    let (tenant, id) = (risk.tenant.as_str(), format!("{}:{}", risk.entity_type, risk.name));
    let body = serde_json::to_string(risk)?;
    let changed = if risk.level == RiskLevel::None {
        let sql = "DELETE FROM entity_risk WHERE tenant = ?1 AND id = ?2 AND as_of <= ?3";
        outbox.connection.prepare_cached(sql)?.execute(params![tenant, id, risk.as_of.micros()])?
    } else {
        let sql = "INSERT INTO entity_risk (tenant, id, type, name, level, score, as_of, last_raised, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (tenant, id) DO UPDATE SET level = ?5, score = ?6, as_of = ?7, last_raised = ?8, body = ?9
               WHERE ?7 >= as_of AND body <> ?9";
        outbox.connection.prepare_cached(sql)?.execute(params![
            tenant,
            id,
            risk.entity_type.as_str(),
            risk.name,
            risk.level as i64,
            risk.score,
            risk.as_of.micros(),
            risk.last_raised.micros(),
            body,
        ])?
    };
    note_if(outbox, changed, &Note { tenant, kind: "risk", change: change.kind(), subject: &id, body: &body })
}

/// An action's history only grows: a replayed proposal finds it further on and leaves it alone.
fn put_action(outbox: &mut Outbox<'_>, action: &Action) -> Result<(), ReadError> {
    let body = serde_json::to_string(action)?;
    let sql = "INSERT INTO actions (tenant, id, incident, verb, target, state, steps, created_at, expires_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (tenant, id) DO UPDATE SET incident = ?3, state = ?6, steps = ?7, expires_at = ?9, body = ?10
           WHERE ?7 >= steps AND body <> ?10";
    let changed = outbox.connection.prepare_cached(sql)?.execute(params![
        action.tenant.as_str(),
        action.id.as_str(),
        action.incident.as_str(),
        action.verb,
        action.target.entity.to_string(),
        action.state.as_str(),
        action.history.len() as i64,
        action.created_at.micros(),
        action.expires_at.micros(),
        body,
    ])?;
    let (tenant, subject) = (action.tenant.as_str(), action.id.as_str());
    note_if(
        outbox,
        changed,
        &Note { tenant, kind: "action", change: action.state.as_str(), subject, body: &body },
    )
}

fn put_effect(outbox: &mut Outbox<'_>, effect: &Effect) -> Result<(), ReadError> {
    let body = serde_json::to_string(effect)?;
    let sql = "INSERT INTO effects (tenant, id, kind, target, state, expires_at, updated_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (tenant, id) DO UPDATE SET state = ?5, expires_at = ?6, updated_at = ?7, body = ?8
           WHERE ?7 >= updated_at AND body <> ?8";
    let changed = outbox.connection.prepare_cached(sql)?.execute(params![
        effect.tenant.as_str(),
        effect.id.as_str(),
        effect.kind,
        effect.target.entity.to_string(),
        effect.state.as_str(),
        effect.expires_at.micros(),
        effect.updated_at.micros(),
        body,
    ])?;
    let (tenant, subject) = (effect.tenant.as_str(), effect.id.as_str());
    note_if(
        outbox,
        changed,
        &Note { tenant, kind: "effect", change: effect.state.as_str(), subject, body: &body },
    )
}

fn note_if(outbox: &mut Outbox<'_>, changed: usize, note: &Note<'_>) -> Result<(), ReadError> {
    if changed == 0 { Ok(()) } else { outbox.push(note) }
}

/// The same entry again is fine; another one under its number would fork the chain.
fn put_audit(outbox: &mut Outbox<'_>, row: &AuditRow) -> Result<(), ReadError> {
    let tenant = row.tenant.as_str();
    let sql =
        "INSERT INTO audit (seq, tenant, at, kind, subject, hash, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (tenant, seq) DO NOTHING";
    let values = params![row.seq, tenant, row.at.micros(), row.kind, row.subject, row.hash, row.body];
    if outbox.connection.prepare_cached(sql)?.execute(values)? > 0 {
        let (kind, change, subject) = ("audit", row.kind.as_str(), row.subject.as_str());
        return outbox.push(&Note { tenant, kind, change, subject, body: &row.body });
    }
    let mut stored =
        outbox.connection.prepare_cached("SELECT hash FROM audit WHERE tenant = ?1 AND seq = ?2")?;
    let hash: String = stored.query_row(params![tenant, row.seq], |r| r.get(0))?;
    if hash == row.hash {
        return Ok(());
    }
    let detail = format!("it is {hash} there and {} here", row.hash);
    Err(StorageError::Conflict { what: format!("audit entry {} of tenant {tenant}", row.seq), detail }.into())
}

fn put_dead_letter(connection: &Connection, letter: &DeadLetterRow) -> Result<(), ReadError> {
    let sql = "INSERT INTO dead_letters
           (tenant, topic, partition, offset, reason, message, payload, payload_bytes, ingest_time)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![
        letter.tenant.as_str(),
        letter.record.topic,
        letter.record.partition,
        letter.record.offset,
        letter.reason,
        letter.message,
        &letter.payload[..letter.payload.len().min(PAYLOAD_BYTES_MAX)],
        letter.payload.len() as i64,
        letter.ingest_time.micros(),
    ])?;
    Ok(())
}

/// Relations are state by id: the last word stands, however often it is said.
fn put_relation(connection: &Connection, relation: &RelationChange) -> Result<(), ReadError> {
    let gone = |table: &str, tenant: &TenantId, id: &str| -> Result<(), ReadError> {
        let sql = format!("DELETE FROM {table} WHERE tenant = ?1 AND id = ?2");
        connection.prepare_cached(&sql)?.execute([tenant.as_str(), id])?;
        Ok(())
    };
    match relation {
        RelationChange::SuggestionGone { tenant, id } => return gone("suggestions", tenant, id.as_str()),
        RelationChange::CampaignGone { tenant, id } => return gone("campaigns", tenant, id.as_str()),
        RelationChange::Suggested { suggestion } => {
            let sql = "INSERT INTO suggestions (tenant, id, weight, body) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (tenant, id) DO UPDATE SET weight = ?3, body = ?4";
            let (tenant, id) = (suggestion.tenant.as_str(), suggestion.id.as_str());
            let body = serde_json::to_string(suggestion)?;
            let values = params![tenant, id, suggestion.join.weight_ppm, body];
            connection.prepare_cached(sql)?.execute(values)?;
        }
        RelationChange::Campaign { campaign } => {
            let sql = "INSERT INTO campaigns (tenant, id, first_time, last_time, body)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (tenant, id) DO UPDATE SET first_time = ?3, last_time = ?4, body = ?5";
            let (tenant, id) = (campaign.tenant.as_str(), campaign.id.as_str());
            let body = serde_json::to_string(campaign)?;
            let (first, last) = (campaign.first_time.micros(), campaign.last_time.micros());
            connection.prepare_cached(sql)?.execute(params![tenant, id, first, last, body])?;
        }
    }
    Ok(())
}

fn put_completeness(connection: &Connection, row: &CompletenessRow) -> Result<(), ReadError> {
    let sql = "INSERT INTO completeness
           (tenant, start_time, rule, evaluated, late, recomputed, dropped, complete)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (tenant, start_time, rule) DO UPDATE SET evaluated = ?4, late = ?5, recomputed = ?6,
           dropped = ?7, complete = ?8";
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    connection.prepare_cached(sql)?.execute(params![
        row.tenant.as_str(),
        row.start.micros(),
        row.rule,
        count(row.evaluated),
        count(row.late),
        count(row.recomputed),
        count(row.dropped),
        row.is_complete,
    ])?;
    Ok(())
}

fn put_running(connection: &Connection, running: &RunningSuppressions) -> Result<(), ReadError> {
    match &running.of {
        RunningOf::All => {
            connection.prepare_cached("DELETE FROM suppressions WHERE running = 1")?.execute([])?;
        }
        RunningOf::Key { tenant, rule, key } => {
            let sql = "DELETE FROM suppressions WHERE running = 1 AND tenant = ?1 AND rule = ?2 AND key = ?3";
            let values = params![tenant.as_str(), rule, serde_json::to_string(key)?];
            connection.prepare_cached(sql)?.execute(values)?;
        }
    }
    running.rows.iter().try_for_each(|row| put_suppression(connection, row, true))
}

/// A window that was told is the same one when it is told again, later or after a restart.
fn put_suppression(connection: &Connection, row: &SuppressionRow, running: bool) -> Result<(), ReadError> {
    let sql = "INSERT INTO suppressions
           (tenant, rule, alert, key, window_start, window_end, first_time, last_time, count, samples, running)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (tenant, rule, alert) DO UPDATE SET window_end = ?6, first_time = ?7, last_time = ?8,
           count = ?9, samples = ?10, running = ?11";
    connection.prepare_cached(sql)?.execute(params![
        row.tenant.as_str(),
        row.rule,
        row.alert.as_str(),
        serde_json::to_string(&row.key)?,
        row.window_start.micros(),
        row.window_end.micros(),
        row.first.micros(),
        row.last.micros(),
        i64::try_from(row.count).unwrap_or(i64::MAX),
        serde_json::to_string(&row.samples)?,
        running,
    ])?;
    Ok(())
}

fn put_exception(connection: &Connection, row: &ExceptionRow) -> Result<(), ReadError> {
    let sql = "INSERT OR REPLACE INTO exceptions
           (tenant, exception, rule, owner, reason, expires, count, first_time, last_time)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    connection.prepare_cached(sql)?.execute(params![
        row.tenant.as_str(),
        row.exception,
        row.rule,
        row.owner,
        row.reason,
        row.expires.micros(),
        i64::try_from(row.count).unwrap_or(i64::MAX),
        row.first.micros(),
        row.last.micros(),
    ])?;
    Ok(())
}

fn put_analyst_input(connection: &Connection, input: &AnalystInput) -> Result<(), ReadError> {
    let sql = "INSERT INTO analyst_inputs (tenant, id, at, body) SELECT ?1, ?2, ?3, ?4
         WHERE NOT EXISTS (SELECT 1 FROM analyst_inputs WHERE tenant = ?1 AND id = ?2)";
    let values = params![input.tenant.as_str(), input.id, input.at.micros(), input.body];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn put_named(connection: &Connection, change: &StateChange) -> Result<(), ReadError> {
    let counter = "INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2";
    for (name, value) in &change.counters {
        connection.prepare_cached(counter)?.execute(params![name, value])?;
    }
    let meta = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2";
    for (name, value) in &change.meta {
        connection.prepare_cached(meta)?.execute(params![name, value])?;
    }
    let ack = "INSERT INTO sinks (name, cursor) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET cursor = ?2 WHERE ?2 > cursor";
    for (sink, seq) in &change.acks {
        connection.prepare_cached(ack)?.execute(params![sink, seq])?;
    }
    let rewind = "UPDATE sinks SET cursor = min(cursor, ?2) WHERE name = ?1";
    for (sink, seq) in &change.rewinds {
        connection.prepare_cached(rewind)?.execute(params![sink, seq])?;
        let delivered_again = "DELETE FROM undelivered WHERE sink = ?1 AND seq > ?2";
        connection.prepare_cached(delivered_again)?.execute(params![sink, seq])?;
    }
    let aside = "INSERT INTO undelivered (sink, seq, reason) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET reason = ?3";
    for UndeliveredRow { sink, seq, reason } in &change.undelivered {
        connection.prepare_cached(aside)?.execute(params![sink, seq, reason])?;
    }
    Ok(())
}

fn put_snapshot(connection: &Connection, snapshot: &Snapshot<Spool>) -> Result<(), ReadError> {
    // Room first, then the bytes piece by piece: the whole of a large state would be in memory once more.
    let sql = "INSERT INTO snapshots
           (inputs_seq, positions, correlator, windows, suppressions, exceptions, completeness)
         VALUES (?1, ?2, zeroblob(?3), zeroblob(?4), zeroblob(?5), zeroblob(?6), zeroblob(?7))";
    let positions = positions::to_json(&snapshot.positions)?;
    let Snapshot { inputs_seq, correlator, windows, suppressions, exceptions, completeness, .. } = snapshot;
    let len = |bytes: &Spool| bytes.len() as i64;
    let values = params![
        inputs_seq,
        positions,
        len(correlator),
        len(windows),
        len(suppressions),
        len(exceptions),
        len(completeness)
    ];
    connection.prepare_cached(sql)?.execute(values)?;
    let last = connection.last_insert_rowid();
    let columns = [
        ("correlator", correlator),
        ("windows", windows),
        ("suppressions", suppressions),
        ("exceptions", exceptions),
        ("completeness", completeness),
    ];
    for (column, bytes) in columns {
        let mut blob = connection.blob_open(MAIN_DB, "snapshots", column, last, false)?;
        bytes.read(|portion, at| blob.write_at(portion, at).map_err(ReadError::from))?;
    }
    connection.prepare_cached("DELETE FROM snapshots WHERE id <= ?1")?.execute([last - SNAPSHOTS_KEPT])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::alert;

    #[test]
    fn sightings_unite_in_any_order() {
        let mut a = alert("t", "x", 10);
        a.records[0].offset = 5;
        let mut b = alert("t", "x", 20);
        b.records[0].offset = 3;
        b.title = "the earliest record's title".into();
        b.entities.clear();
        let mut c = alert("t", "x", 15);
        c.records[0].offset = 9;
        c.severity = event::Severity::Critical;
        let left = unite(unite(a.clone(), &b), &c);
        let right = unite(unite(c.clone(), &b), &a);
        assert_eq!(left, right);
        assert_eq!(unite(left.clone(), &b), left);
        assert_eq!(left.title.as_ref(), "the earliest record's title");
        assert_eq!(left.records.iter().map(|r| r.offset).collect::<Vec<_>>(), [3, 5, 9]);
        assert_eq!((left.time.micros(), left.end_time.micros()), (10, 20));
        assert_eq!(left.severity, event::Severity::Critical);
    }
}
