//! Incident changes: which state is the newer one, who belongs to which incident, and redirects.

use std::collections::BTreeSet;

use event::{AlertId, Incident, IncidentDelta, IncidentId, IncidentStatus, TenantId};
use rusqlite::{OptionalExtension, params};

use super::ReadError;
use super::apply::{Note, Outbox};

/// An incident that became part of another one.
pub(super) type Redirect = (IncidentId, IncidentId);

/// Incidents that alerts moved out of.
type Left = BTreeSet<(TenantId, IncidentId)>;

/// Applies deltas in order, splits first: they take alerts away from the incident whose smaller state follows, which
/// would otherwise look like a state that was outgrown. Returns the incidents that nobody said were merged, but that
/// all alerts moved out of.
pub(super) fn put_deltas(
    outbox: &mut Outbox<'_>,
    deltas: &[IncidentDelta],
) -> Result<Vec<Redirect>, ReadError> {
    let is_split = |delta: &&IncidentDelta| matches!(delta, IncidentDelta::Split { .. });
    let mut left = Left::new();
    let mut passed_by = Vec::new();
    for delta in deltas.iter().filter(is_split).chain(deltas.iter().filter(|d| !is_split(d))) {
        let incident = delta.incident();
        if !put_incident(outbox, incident, delta.kind(), &mut left)? {
            passed_by.push(incident);
        }
        if let IncidentDelta::Merged { from, .. } = delta {
            redirect(outbox, from, incident)?;
        }
    }
    for incident in passed_by {
        if has_homeless(outbox, incident)? {
            put_incident(outbox, incident, RETURNED, &mut left)?;
        }
    }
    let mut redirects = Vec::new();
    for (tenant, id) in left {
        redirects.extend(redirect_deserted(outbox, &tenant, id)?);
    }
    Ok(redirects)
}

/// An incident told before a crash need not come about again when the log is read in other portions. Its alerts are
/// told to be in another one then, and nobody says that it was merged: it goes where its first alert went.
fn redirect_deserted(
    outbox: &mut Outbox<'_>,
    tenant: &TenantId,
    id: IncidentId,
) -> Result<Option<Redirect>, ReadError> {
    let Some(before) = stored(outbox, tenant, &id)?.filter(|i| i.status != IncidentStatus::Redirected) else {
        return Ok(None);
    };
    if !members(outbox, &before)?.is_empty() {
        return Ok(None);
    }
    let home = before.alerts.first().map(|root| home(outbox, tenant, root)).transpose()?.flatten();
    let Some(survivor) = home.map(|to| stored(outbox, tenant, &to)).transpose()?.flatten() else {
        return Ok(None);
    };
    redirect(outbox, &id, &survivor)?;
    Ok(Some((id, survivor.id)))
}

/// A change of an incident that leads elsewhere since it was merged, and is needed again: the survivor no longer has
/// its alerts.
const RETURNED: &str = "split";

/// Whether an alert of the incident is in none.
fn has_homeless(outbox: &Outbox<'_>, incident: &Incident) -> Result<bool, ReadError> {
    for alert in &incident.alerts {
        if home(outbox, &incident.tenant, alert)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The incident that an alert is in.
fn home(outbox: &Outbox<'_>, tenant: &TenantId, alert: &AlertId) -> Result<Option<IncidentId>, ReadError> {
    let sql = "SELECT incident FROM incident_alerts WHERE tenant = ?1 AND alert = ?2";
    Ok(outbox.stored(sql, tenant.as_str(), alert.as_str())?.map(IncidentId::new))
}

/// What the stored state says about an incoming one.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing new, or outgrown: a replay passes by.
    Skip,
    /// The new state, under this version.
    Replace { version: u64 },
}

/// Returns whether the state was taken; one that was outgrown is passed by.
fn put_incident(
    outbox: &mut Outbox<'_>,
    incident: &Incident,
    change: &str,
    left: &mut Left,
) -> Result<bool, ReadError> {
    let stored = head(outbox, incident)?;
    let members = members(outbox, incident)?;
    let incoming: BTreeSet<&str> = incident.alerts.iter().map(AlertId::as_str).collect();
    let version = match &stored {
        None => incident.version,
        Some(stored) => match verdict(stored, &members, incident, &incoming, change)? {
            Verdict::Skip => return Ok(false),
            Verdict::Replace { version } => version,
        },
    };
    set_members(outbox, incident, &members, &incoming, left)?;
    let change = if stored.is_none() { "created" } else { change };
    if version == incident.version {
        write(outbox, incident, change)?;
    } else {
        write(outbox, &Incident { version, ..incident.clone() }, change)?;
    }
    Ok(true)
}

/// What decides whether a stored state is outgrown. Its body stays text: large incidents are told often.
struct Head {
    version: u64,
    is_redirected: bool,
    sealed: bool,
    body: String,
}

fn head(outbox: &Outbox<'_>, incident: &Incident) -> Result<Option<Head>, ReadError> {
    let sql = "SELECT version, status, sealed, body FROM incidents WHERE tenant = ?1 AND id = ?2";
    let mut statement = outbox.connection.prepare_cached(sql)?;
    let head = statement.query_row([incident.tenant.as_str(), incident.id.as_str()], |r| {
        Ok(Head {
            version: r.get::<_, i64>(0)? as u64,
            is_redirected: r.get::<_, String>(1)? == IncidentStatus::Redirected.as_str(),
            sealed: r.get(2)?,
            body: r.get(3)?,
        })
    });
    Ok(head.optional()?)
}

/// After a restart the log is read again in other portions, so versions do not count the same steps any more. A state
/// is outgrown where its version is not higher and its alerts are only part of the members, or where it has all of
/// them but is not sealed yet. Everything else that differs is news, under a version above the stored one.
fn verdict(
    stored: &Head,
    members: &BTreeSet<String>,
    incident: &Incident,
    incoming: &BTreeSet<&str>,
    change: &str,
) -> Result<Verdict, serde_json::Error> {
    if members.iter().map(String::as_str).eq(incoming.iter().copied()) {
        let same_version = Incident { version: stored.version, ..incident.clone() };
        if serde_json::to_string(&same_version)? == stored.body {
            return Ok(Verdict::Skip);
        }
    }
    if incident.version > stored.version {
        return Ok(Verdict::Replace { version: incident.version });
    }
    // What came out of its survivor again is no earlier state.
    let was_redirected =
        stored.is_redirected && incident.status != IncidentStatus::Redirected && change != "split";
    let part = incoming.len() < members.len() && incoming.iter().all(|id| members.contains(*id));
    let unsealed = incoming.len() == members.len() && stored.sealed && !incident.sealed;
    Ok(if was_redirected || part || unsealed {
        Verdict::Skip
    } else {
        Verdict::Replace { version: stored.version + 1 }
    })
}

fn stored(outbox: &Outbox<'_>, tenant: &TenantId, id: &IncidentId) -> Result<Option<Incident>, ReadError> {
    let sql = "SELECT body FROM incidents WHERE tenant = ?1 AND id = ?2";
    let body = outbox.stored(sql, tenant.as_str(), id.as_str())?;
    Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
}

fn members(outbox: &Outbox<'_>, incident: &Incident) -> Result<BTreeSet<String>, ReadError> {
    let sql = "SELECT alert FROM incident_alerts WHERE tenant = ?1 AND incident = ?2";
    let mut statement = outbox.connection.prepare_cached(sql)?;
    let rows = statement.query_map([incident.tenant.as_str(), incident.id.as_str()], |r| r.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes `incoming` the members; an alert that was in another incident moves.
fn set_members(
    outbox: &Outbox<'_>,
    incident: &Incident,
    members: &BTreeSet<String>,
    incoming: &BTreeSet<&str>,
    left: &mut Left,
) -> Result<(), ReadError> {
    let (tenant, id) = (incident.tenant.as_str(), incident.id.as_str());
    let put = "INSERT INTO incident_alerts (tenant, alert, incident) VALUES (?1, ?2, ?3)
         ON CONFLICT (tenant, alert) DO UPDATE SET incident = ?3";
    let mut put = outbox.connection.prepare_cached(put)?;
    for alert in incoming.iter().filter(|alert| !members.contains(**alert)) {
        let before = home(outbox, &incident.tenant, &AlertId::new(*alert))?;
        left.extend(before.map(|before| (incident.tenant.clone(), before)));
        put.execute([tenant, alert, id])?;
    }
    let take = "DELETE FROM incident_alerts WHERE tenant = ?1 AND alert = ?2 AND incident = ?3";
    let mut take = outbox.connection.prepare_cached(take)?;
    for alert in members.iter().filter(|alert| !incoming.contains(alert.as_str())) {
        take.execute([tenant, alert, id])?;
    }
    Ok(())
}

fn write(outbox: &mut Outbox<'_>, incident: &Incident, change: &str) -> Result<(), ReadError> {
    let body = serde_json::to_string(incident)?;
    let domains: String = incident.domains.iter().flat_map(|d| [" ", d.as_str()]).chain([" "]).collect();
    let sql = "INSERT INTO incidents (tenant, id, version, status, severity, score, first_time, last_time, domains,
           assignee, sealed, redirect_to, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         ON CONFLICT (tenant, id) DO UPDATE SET version = ?3, status = ?4, severity = ?5, score = ?6, first_time = ?7,
           last_time = ?8, domains = ?9, assignee = ?10, sealed = ?11, redirect_to = ?12, body = ?13";
    outbox.connection.prepare_cached(sql)?.execute(params![
        incident.tenant.as_str(),
        incident.id.as_str(),
        incident.version as i64,
        incident.status.as_str(),
        incident.severity as i64,
        incident.score,
        incident.first_time.micros(),
        incident.last_time.micros(),
        domains,
        incident.assignee,
        incident.sealed,
        incident.redirect_to.as_ref().map(IncidentId::as_str),
        body,
    ])?;
    let (tenant, subject) = (incident.tenant.as_str(), incident.id.as_str());
    outbox.push(&Note { tenant, kind: "incident", change, subject, body: &body })
}

/// Points `from`, and all that pointed to it, at the survivor: always one hop.
fn redirect(outbox: &mut Outbox<'_>, from: &IncidentId, survivor: &Incident) -> Result<(), ReadError> {
    if *from == survivor.id || is_redirected(outbox, survivor)? {
        return Ok(());
    }
    let sql = "SELECT id FROM incidents WHERE tenant = ?1 AND redirect_to = ?2";
    let mut statement = outbox.connection.prepare_cached(sql)?;
    let rows = statement.query_map([survivor.tenant.as_str(), from.as_str()], |r| r.get::<_, String>(0))?;
    let mut pointing =
        rows.collect::<Result<Vec<_>, _>>()?.into_iter().map(IncidentId::new).collect::<Vec<_>>();
    drop(statement);
    pointing.push(from.clone());
    pointing.iter().try_for_each(|id| point(outbox, id, survivor))
}

fn point(outbox: &mut Outbox<'_>, id: &IncidentId, survivor: &Incident) -> Result<(), ReadError> {
    // One that was merged before it was ever stored still leaves its id behind.
    let before = stored(outbox, &survivor.tenant, id)?;
    let before = before.unwrap_or_else(|| Incident {
        id: id.clone(),
        version: 0,
        alerts: Vec::new(),
        ..survivor.clone()
    });
    if before.redirect_to.as_ref() == Some(&survivor.id) {
        return Ok(());
    }
    let redirect_to = Some(survivor.id.clone());
    let after =
        Incident { version: before.version + 1, status: IncidentStatus::Redirected, redirect_to, ..before };
    write(outbox, &after, "redirected")
}

/// A replayed merge into an incident that has itself been merged since is old news.
fn is_redirected(outbox: &Outbox<'_>, incident: &Incident) -> Result<bool, ReadError> {
    let sql = "SELECT 1 FROM incidents WHERE tenant = ?1 AND id = ?2 AND redirect_to IS NOT NULL";
    let mut statement = outbox.connection.prepare_cached(sql)?;
    let found = statement.query_row([incident.tenant.as_str(), incident.id.as_str()], |_| Ok(()));
    Ok(found.optional()?.is_some())
}
