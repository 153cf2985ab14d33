//! Queries of analysts and clients, scoped to one tenant.

use std::collections::BTreeMap;

use event::{
    Action, ActionId, Alert, AlertId, Campaign, CampaignId, Effect, EntityRisk, Incident, IncidentId,
    RecordRef, Suggestion, SuggestionId, TenantId, Time,
};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde::de::DeserializeOwned;

use super::change::{AuditRow, CompletenessRow, DeadLetterRow};
use super::page::{
    ActionFilter, AlertFilter, Conditions, Cursor, IncidentFilter, IncidentSort, PAGE_ROWS_MAX, Page,
    RiskFilter, anywhere,
};
use super::{ReadError, StateDb};
use crate::StorageError;

/// Incidents of a tenant that are not redirected, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncidentCounts {
    /// By status (`new`, `in_progress`, `closed`).
    pub by_status: BTreeMap<String, u64>,
    /// Open ones by OCSF severity number.
    pub open_by_severity: BTreeMap<u8, u64>,
}

/// Which rows of the completeness ledger.
#[derive(Debug, Clone, Default)]
pub struct CompletenessFilter {
    /// Of this rule.
    pub rule: Option<String>,
    /// Hours that begin at or after.
    pub since: Option<Time>,
    /// Hours that begin before.
    pub until: Option<Time>,
    /// Only where something came late, was recomputed or dropped.
    pub is_faulty: bool,
    /// Behind this hour and rule.
    pub after: Option<(Time, String)>,
}

impl StateDb {
    /// A page of incidents.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn incidents_page(
        &self,
        tenant: &TenantId,
        filter: &IncidentFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Incident>, StorageError> {
        let mut conditions = Conditions::of_tenant(tenant.as_str());
        match filter.status.as_slice() {
            [] => conditions.and("status <> ?", "redirected".to_owned()),
            status => conditions.and_in("status", status.iter().map(|s| s.as_str())),
        }
        conditions.and_some("severity >= ?", filter.severity_min.map(|s| s as i64));
        conditions.and_some("domains LIKE ?", filter.domain.map(|d| format!("% {d} %")));
        conditions.and_some("ifnull(assignee, '') = ?", filter.assignee.clone());
        conditions.and_some("body LIKE ? ESCAPE '\\'", filter.q.as_deref().map(anywhere));
        conditions.and_some("last_time >= ?", filter.since.map(Time::micros));
        conditions.and_some("first_time < ?", filter.until.map(Time::micros));
        let key = match filter.sort {
            IncidentSort::Recent => "last_time",
            IncidentSort::Score => "score",
        };
        self.page("incidents", key, conditions, cursor, limit)
    }

    /// An incident; one that was merged answers with its survivor.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn incident(&self, tenant: &TenantId, id: &IncidentId) -> Result<Option<Incident>, StorageError> {
        let sql = "SELECT s.body FROM incidents i
             JOIN incidents s ON s.tenant = i.tenant AND s.id = ifnull(i.redirect_to, i.id)
             WHERE i.tenant = ?1 AND i.id = ?2";
        self.read(|c| one(c, sql, tenant, id.as_str()))
    }

    /// How many incidents there are.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn incident_counts(&self, tenant: &TenantId) -> Result<IncidentCounts, StorageError> {
        let sql = "SELECT status, severity, count(*) FROM incidents
             WHERE tenant = ?1 AND status <> 'redirected' GROUP BY status, severity";
        self.read(|c| {
            let mut counts = IncidentCounts::default();
            let mut statement = c.prepare_cached(sql)?;
            let mut rows = statement.query([tenant.as_str()])?;
            while let Some(row) = rows.next()? {
                let (status, severity, n): (String, u8, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let n = n as u64;
                if status != "closed" {
                    *counts.open_by_severity.entry(severity).or_default() += n;
                }
                *counts.by_status.entry(status).or_default() += n;
            }
            Ok(counts)
        })
    }

    /// A page of suggested merges, strongest join first.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn suggestions_page(
        &self,
        tenant: &TenantId,
        incident: Option<&IncidentId>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Suggestion>, StorageError> {
        let mut conditions = Conditions::of_tenant(tenant.as_str());
        let about = "? IN (body ->> '$.a', body ->> '$.b')";
        conditions.and_some(about, incident.map(|id| id.as_str().to_owned()));
        self.page("suggestions", "weight", conditions, cursor, limit)
    }

    /// A suggested merge.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn suggestion(
        &self,
        tenant: &TenantId,
        id: &SuggestionId,
    ) -> Result<Option<Suggestion>, StorageError> {
        let sql = "SELECT body FROM suggestions WHERE tenant = ?1 AND id = ?2";
        self.read(|c| one(c, sql, tenant, id.as_str()))
    }

    /// A page of campaigns, latest activity first; of all, or of those with an incident.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn campaigns_page(
        &self,
        tenant: &TenantId,
        incident: Option<&IncidentId>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Campaign>, StorageError> {
        let mut conditions = Conditions::of_tenant(tenant.as_str());
        let has = "? IN (SELECT value FROM json_each(body, '$.incidents'))";
        conditions.and_some(has, incident.map(|id| id.as_str().to_owned()));
        self.page("campaigns", "last_time", conditions, cursor, limit)
    }

    /// A campaign.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn campaign(&self, tenant: &TenantId, id: &CampaignId) -> Result<Option<Campaign>, StorageError> {
        let sql = "SELECT body FROM campaigns WHERE tenant = ?1 AND id = ?2";
        self.read(|c| one(c, sql, tenant, id.as_str()))
    }

    /// What became of hours under rules: the first `limit` by hour, then rule.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn completeness(
        &self,
        tenant: &TenantId,
        filter: &CompletenessFilter,
        limit: usize,
    ) -> Result<Vec<CompletenessRow>, StorageError> {
        let mut conditions = Conditions::of_tenant(tenant.as_str());
        conditions.and_some("rule = ?", filter.rule.clone());
        conditions.and_some("start_time >= ?", filter.since.map(Time::micros));
        conditions.and_some("start_time < ?", filter.until.map(Time::micros));
        if let Some((start, rule)) = &filter.after {
            conditions.beyond("start_time, rule", (start.micros(), rule));
        }
        if filter.is_faulty {
            conditions.and("late + recomputed + dropped > ?", 0_i64);
        }
        let (filter, rows) = (conditions.sql(), limit.clamp(1, PAGE_ROWS_MAX + 1));
        let sql = format!(
            "SELECT tenant, start_time, rule, evaluated, late, recomputed, dropped, complete FROM completeness
             WHERE {filter} ORDER BY start_time, rule LIMIT {rows}"
        );
        self.read(|c| list(c, &sql, params_from_iter(conditions.values.iter()), completeness_row))
    }

    /// A page of risks of users, devices and apps, the highest score first.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn risks_page(
        &self,
        tenant: &TenantId,
        filter: &RiskFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<EntityRisk>, StorageError> {
        let mut conditions = Conditions::of_tenant(tenant.as_str());
        if !filter.types.is_empty() {
            conditions.and_in("type", filter.types.iter().map(|t| t.as_str()));
        }
        conditions.and_some("level >= ?", filter.level_min.map(|level| level as i64));
        conditions.and_some("body LIKE ? ESCAPE '\\'", filter.q.as_deref().map(anywhere));
        self.page("entity_risk", "score", conditions, cursor, limit)
    }

    /// A page of alerts, latest first.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn alerts_page(
        &self,
        tenant: &TenantId,
        filter: &AlertFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Alert>, StorageError> {
        let mut conditions = Conditions::of_tenant(tenant.as_str());
        let of_incident =
            "id IN (SELECT m.alert FROM incident_alerts m WHERE m.tenant = alerts.tenant AND m.incident =
             ifnull((SELECT i.redirect_to FROM incidents i WHERE i.tenant = alerts.tenant AND i.id = ?), ?))";
        conditions.and_some(of_incident, filter.incident.as_ref().map(|id| id.as_str().to_owned()));
        conditions.and_some("severity >= ?", filter.severity_min.map(|s| s as i64));
        conditions.and_some("domain = ?", filter.domain.map(|d| d.as_str().to_owned()));
        conditions.and_some("rule = ?", filter.rule.clone());
        conditions.and_some("body LIKE ? ESCAPE '\\'", filter.q.as_deref().map(anywhere));
        conditions.and_some("time >= ?", filter.since.map(Time::micros));
        conditions.and_some("time < ?", filter.until.map(Time::micros));
        self.page("alerts", "time", conditions, cursor, limit)
    }

    /// An alert.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn alert(&self, tenant: &TenantId, id: &AlertId) -> Result<Option<Alert>, StorageError> {
        self.read(|c| one(c, "SELECT body FROM alerts WHERE tenant = ?1 AND id = ?2", tenant, id.as_str()))
    }

    /// The alerts of an incident by time, then id; redirects are followed.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn alerts_of(&self, tenant: &TenantId, incident: &IncidentId) -> Result<Vec<Alert>, StorageError> {
        let sql =
            "SELECT a.body FROM incident_alerts m JOIN alerts a ON a.tenant = m.tenant AND a.id = m.alert
             WHERE m.tenant = ?1 AND m.incident =
               ifnull((SELECT redirect_to FROM incidents WHERE tenant = ?1 AND id = ?2), ?2)
             ORDER BY a.time, a.id";
        self.read(|c| bodies(c, sql, params![tenant.as_str(), incident.as_str()]))
    }

    /// The incident that holds an alert.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn incident_of(
        &self,
        tenant: &TenantId,
        alert: &AlertId,
    ) -> Result<Option<IncidentId>, StorageError> {
        let sql = "SELECT incident FROM incident_alerts WHERE tenant = ?1 AND alert = ?2";
        self.read(|c| {
            let mut statement = c.prepare_cached(sql)?;
            let id = statement
                .query_row([tenant.as_str(), alert.as_str()], |r| r.get::<_, String>(0))
                .optional()?;
            Ok(id.map(IncidentId::new))
        })
    }

    /// A page of actions, latest first.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn actions_page(
        &self,
        tenant: &TenantId,
        filter: &ActionFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Action>, StorageError> {
        let mut conditions = Conditions::of_tenant(tenant.as_str());
        if !filter.states.is_empty() {
            conditions.and_in("state", filter.states.iter().map(|s| s.as_str()));
        }
        conditions.and_some("incident = ?", filter.incident.as_ref().map(|id| id.as_str().to_owned()));
        conditions.and_some("verb = ?", filter.verb.clone());
        self.page("actions", "created_at", conditions, cursor, limit)
    }

    /// An action.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn action(&self, tenant: &TenantId, id: &ActionId) -> Result<Option<Action>, StorageError> {
        self.read(|c| one(c, "SELECT body FROM actions WHERE tenant = ?1 AND id = ?2", tenant, id.as_str()))
    }

    /// The effects of a tenant.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn effects(&self, tenant: &TenantId) -> Result<Vec<Effect>, StorageError> {
        self.read(|c| bodies(c, "SELECT body FROM effects WHERE tenant = ?1 ORDER BY id", [tenant.as_str()]))
    }

    /// Entries of the audit chain from number `from` on, in order; of one tenant, or of all.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn audit(
        &self,
        tenant: Option<&TenantId>,
        from: i64,
        limit: usize,
    ) -> Result<Vec<AuditRow>, StorageError> {
        let sql = "SELECT tenant, seq, at, kind, subject, hash, body FROM audit
             WHERE (?1 IS NULL OR tenant = ?1) AND seq >= ?2 ORDER BY seq, tenant LIMIT ?3";
        self.read(|c| list(c, sql, params![tenant.map(TenantId::as_str), from, rows(limit)], audit_row))
    }

    /// The last entry of a tenant's audit chain, or of the chain over all tenants.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn audit_head(&self, tenant: Option<&TenantId>) -> Result<Option<AuditRow>, StorageError> {
        let sql = "SELECT tenant, seq, at, kind, subject, hash, body FROM audit
             WHERE ?1 IS NULL OR tenant = ?1 ORDER BY seq DESC LIMIT 1";
        Ok(self.read(|c| list(c, sql, [tenant.map(TenantId::as_str)], audit_row))?.pop())
    }

    /// Dead letters, latest first.
    ///
    /// # Errors
    /// [`StorageError`] where the database cannot be read.
    pub fn dead_letters(&self, tenant: &TenantId, limit: usize) -> Result<Vec<DeadLetterRow>, StorageError> {
        let sql =
            "SELECT tenant, topic, partition, offset, reason, message, payload, ingest_time FROM dead_letters
             WHERE tenant = ?1 ORDER BY id DESC LIMIT ?2";
        self.read(|c| list(c, sql, params![tenant.as_str(), rows(limit)], dead_letter))
    }

    fn page<T: DeserializeOwned>(
        &self,
        table: &str,
        key: &str,
        mut conditions: Conditions,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<T>, StorageError> {
        conditions.after(key, cursor);
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let (filter, rows) = (conditions.sql(), limit + 1);
        let sql = format!(
            "SELECT {key}, id, body FROM {table} WHERE {filter} ORDER BY {key} DESC, id DESC LIMIT {rows}"
        );
        let mut rows: Vec<(i64, String, String)> = self.read(|c| {
            list(c, &sql, params_from_iter(conditions.values.iter()), |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?))
            })
        })?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(key, id, _)| Cursor::new(*key, id.as_str()));
        let items = rows.iter().map(|(_, _, body)| serde_json::from_str(body)).collect::<Result<_, _>>();
        Ok(Page { items: items.map_err(|e| ReadError::Json(e).at(self.path()))?, next })
    }
}

fn one<T: DeserializeOwned>(
    c: &Connection,
    sql: &str,
    tenant: &TenantId,
    id: &str,
) -> Result<Option<T>, ReadError> {
    let body: Option<String> =
        c.prepare_cached(sql)?.query_row([tenant.as_str(), id], |r| r.get(0)).optional()?;
    Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
}

pub(super) fn bodies<T: DeserializeOwned>(
    c: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<T>, ReadError> {
    let bodies: Vec<String> = list(c, sql, values, |r| r.get(0))?;
    Ok(bodies.iter().map(|body| serde_json::from_str(body)).collect::<Result<_, _>>()?)
}

pub(super) fn list<T>(
    c: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, ReadError> {
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map(values, row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn tenant_at(row: &Row<'_>, column: usize) -> rusqlite::Result<TenantId> {
    row.get::<_, String>(column).map(TenantId::new)
}

fn completeness_row(row: &Row<'_>) -> rusqlite::Result<CompletenessRow> {
    let count = |column: usize| row.get::<_, i64>(column).map(|n| n.max(0) as u64);
    Ok(CompletenessRow {
        tenant: tenant_at(row, 0)?,
        start: Time(row.get(1)?),
        rule: row.get(2)?,
        evaluated: count(3)?,
        late: count(4)?,
        recomputed: count(5)?,
        dropped: count(6)?,
        is_complete: row.get(7)?,
    })
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        tenant: tenant_at(row, 0)?,
        seq: row.get(1)?,
        at: Time(row.get(2)?),
        kind: row.get(3)?,
        subject: row.get(4)?,
        hash: row.get(5)?,
        body: row.get(6)?,
    })
}

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetterRow> {
    let topic: String = row.get(1)?;
    Ok(DeadLetterRow {
        tenant: tenant_at(row, 0)?,
        record: RecordRef { topic: topic.into(), partition: row.get(2)?, offset: row.get(3)? },
        reason: row.get(4)?,
        message: row.get(5)?,
        payload: row.get(6)?,
        ingest_time: Time(row.get(7)?),
    })
}

/// A `LIMIT`.
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
