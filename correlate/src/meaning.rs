//! What an incident means: its name, its story in plain words, how grave and how certain it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{
    Alert, Domain, Entity, EntityType, Incident, IncidentId, IncidentStatus, Severity, Tactic, TenantId,
};

use crate::evidence::Key;
use crate::facts::Facts;
use crate::fixed::ONE;
use crate::parameters::{Confidence, File, Priority};

/// Entities listed in an incident; the graph and the alerts have them all.
const ENTITIES_MAX: usize = 200;

/// The id of an incident, from its root: its first alert by event time, then id.
pub(crate) fn incident_id(tenant: &TenantId, root: &Alert) -> IncidentId {
    IncidentId::derive(&[tenant.as_str().as_bytes(), root.id.as_str().as_bytes()])
}

/// Everything that follows from the alerts of an incident, in order of event time.
pub(crate) struct Story<'a> {
    alerts: &'a [&'a Alert],
    entities: Vec<(Entity, u32)>,
    tactics: Vec<Tactic>,
    domains: Vec<Domain>,
    gravest: Severity,
}

impl<'a> Story<'a> {
    pub(crate) fn of(alerts: &'a [&'a Alert], facts: &Facts, file: &File) -> Self {
        let mut domains: Vec<Domain> = alerts.iter().map(|a| a.domain).collect();
        domains.sort_unstable();
        domains.dedup();
        Self {
            alerts,
            entities: entities(alerts, facts, file),
            tactics: tactics(alerts),
            domains,
            gravest: alerts.iter().map(|a| a.severity).max().unwrap_or(Severity::Informational),
        }
    }

    /// Fills everything but identity, version, joins and standing.
    pub(crate) fn tell(self, incident: &mut Incident, file: &File) {
        incident.title = self.title();
        incident.summary = self.summary();
        incident.severity = self.severity();
        incident.score = self.score(&file.priority);
        incident.confidence = self.confidence(&file.confidence, incident);
        incident.techniques = self.techniques();
        incident.domains = self.domains;
        incident.tactics = self.tactics;
        incident.entities = self.entities;
    }

    fn names(&self, entity_type: EntityType) -> Vec<&str> {
        self.entities.iter().filter(|(e, _)| e.entity_type == entity_type).map(|(e, _)| short(e)).collect()
    }

    /// `on ws-01 and 2 more devices, user alice`.
    fn place(&self) -> String {
        let mut place = String::new();
        if let Some(devices) = listed(&self.names(EntityType::Device), "device") {
            place.push_str(&format!(" on {devices}"));
        }
        let mut principals = self.names(EntityType::User);
        if principals.is_empty() {
            principals = self.names(EntityType::Mailbox);
        }
        if let Some(users) = listed(&principals, "user") {
            place.push_str(&format!(" by {users}"));
        }
        if place.is_empty()
            && let Some(ip) = listed(&self.names(EntityType::Ip), "address")
        {
            place.push_str(&format!(" from {ip}"));
        }
        place
    }

    fn title(&self) -> String {
        let first = self.alerts.first().map_or("", |a| &a.title);
        let what = match (self.alerts.len(), self.tactics.as_slice()) {
            (1, _) => first.to_owned(),
            (_, []) => self.gravest_title().to_owned(),
            (_, stages) => capitalised(&stage_list(stages)),
        };
        what + &self.place()
    }

    fn gravest_title(&self) -> &str {
        self.alerts.iter().find(|a| a.severity == self.gravest).map_or("", |a| &a.title)
    }

    fn summary(&self) -> String {
        let (Some(first), Some(last)) = (self.alerts.first(), self.alerts.last()) else {
            return String::new();
        };
        if self.alerts.len() == 1 {
            return format!(
                "One {} alert of {} at {}: {}{}.",
                first.severity,
                first.product,
                clock(first),
                first.title,
                self.place()
            );
        }
        let mut text = format!(
            "{} alerts{} between {} and {}, in {}.",
            self.alerts.len(),
            self.place(),
            clock(first),
            clock(last),
            self.domains.iter().map(|d| d.as_str()).collect::<Vec<_>>().join(", "),
        );
        text.push_str(&format!(" It began with \"{}\".", first.title));
        for stage in self.tactics.iter().skip(1).take(6) {
            if let Some(alert) = self.alerts.iter().find(|a| a.tactics().contains(stage)) {
                text.push_str(&format!(
                    " {} at {}: \"{}\".",
                    capitalised(&words(*stage)),
                    clock(alert),
                    alert.title
                ));
            }
        }
        text
    }

    /// The gravest alert; one step more where the story is broad: three domains, or five stages.
    fn severity(&self) -> Severity {
        let is_broad = self.domains.len() >= 3 || self.tactics.len() >= 5;
        match self.gravest {
            Severity::Low if is_broad => Severity::Medium,
            Severity::Medium if is_broad => Severity::High,
            Severity::High if is_broad => Severity::Critical,
            other => other,
        }
    }

    /// The sum of parts that `parameters.yml` documents under `priority`.
    fn score(&self, priority: &Priority) -> u32 {
        let assets = self.names(EntityType::Device).len() + self.names(EntityType::User).len();
        let doublings = self.alerts.len().max(1).ilog2();
        let severity = priority.severity.of(self.gravest);
        let tactics = (priority.tactic * self.tactics.len() as u32).min(priority.tactic_max);
        let domains =
            (priority.domain * self.domains.len().saturating_sub(1) as u32).min(priority.domain_max);
        let assets = (priority.asset * assets as u32).min(priority.asset_max);
        let alerts = (priority.alert_doubling * doublings).min(priority.alert_doubling_max);
        (severity + tactics + domains + assets + alerts).min(100)
    }

    /// As `parameters.yml` documents under `confidence`.
    fn confidence(&self, weights: &Confidence, incident: &Incident) -> u32 {
        let rules: BTreeSet<&str> = self.alerts.iter().map(|a| &*a.rule.id).collect();
        let agreeing = (weights.rule * (rules.len() as u32 - 1)).min(weights.rule_max);
        let domains = (weights.domain * self.domains.len().saturating_sub(1) as u32).min(weights.domain_max);
        let certain = (weights.severity.of(self.gravest) + agreeing + domains).min(99);
        let mut weights: Vec<u32> = incident.joins.iter().map(|j| j.weight_ppm).collect();
        weights.sort_unstable();
        // The middle join: one doubtful leaf does not make the core of a broad incident doubtful.
        let middle = weights.get(weights.len() / 2).copied().unwrap_or(ONE).min(ONE);
        certain * (ONE / 2 + middle / 2) / ONE
    }

    fn techniques(&self) -> Vec<Arc<str>> {
        let all: BTreeSet<&Arc<str>> = self.alerts.iter().flat_map(|a| a.techniques()).collect();
        all.into_iter().cloned().collect()
    }
}

/// An incident without its meaning.
pub(crate) fn blank(tenant: &TenantId, alerts: &[&Alert]) -> Incident {
    let root = alerts[0];
    Incident {
        id: incident_id(tenant, root),
        tenant: tenant.clone(),
        version: 0,
        status: IncidentStatus::New,
        redirect_to: None,
        title: String::new(),
        summary: String::new(),
        severity: Severity::Informational,
        score: 0,
        confidence: 0,
        domains: Vec::new(),
        tactics: Vec::new(),
        techniques: Vec::new(),
        first_time: root.time,
        last_time: alerts.iter().map(|a| a.time).max().unwrap_or(root.time),
        alerts: alerts.iter().map(|a| a.id.clone()).collect(),
        entities: Vec::new(),
        joins: Vec::new(),
        sealed: false,
        assignee: None,
        classification: None,
    }
}

/// Entities by the name people know them by, with the number of alerts that name them; most first.
fn entities(alerts: &[&Alert], facts: &Facts, file: &File) -> Vec<(Entity, u32)> {
    let at = alerts.iter().map(|a| a.time).max().unwrap_or_default();
    let mut counts: BTreeMap<(EntityType, Arc<str>), (Entity, u32)> = BTreeMap::new();
    for alert in alerts {
        let mut seen = BTreeSet::new();
        for entity in &alert.entities {
            let value = known_name(entity, &alert.tenant, at, facts, file);
            if seen.insert((entity.entity_type, Arc::clone(&value))) {
                let named = Entity { value: Arc::clone(&value), ..entity.clone() };
                counts.entry((entity.entity_type, value)).or_insert((named, 0)).1 += 1;
            }
        }
    }
    let mut entities: Vec<(Entity, u32)> = counts.into_values().collect();
    entities.sort_by(|(a, n), (b, m)| {
        m.cmp(n).then_with(|| (a.entity_type, &a.value).cmp(&(b.entity_type, &b.value)))
    });
    entities.truncate(ENTITIES_MAX);
    entities
}

/// The name people know an entity by at a time: its FQDN, its address, ..., else what the alert calls it.
pub(crate) fn known_name(
    entity: &Entity,
    tenant: &TenantId,
    at: event::Time,
    facts: &Facts,
    file: &File,
) -> Arc<str> {
    if !matches!(entity.entity_type, EntityType::User | EntityType::Device) {
        return Arc::clone(&entity.value);
    }
    let key = Key::of(tenant, entity.entity_type, &entity.value);
    facts.aliases.display(key, at, &file.alias).unwrap_or_else(|| Arc::clone(&entity.value))
}

fn tactics(alerts: &[&Alert]) -> Vec<Tactic> {
    let mut found = Vec::new();
    for tactic in alerts.iter().flat_map(|a| a.tactics()) {
        if !found.contains(&tactic) {
            found.push(tactic);
        }
    }
    found
}

/// A device without its domain, a user without it where that is not all there is.
fn short(entity: &Entity) -> &str {
    match entity.entity_type {
        EntityType::Device => crate::alias::short_host(&entity.value).unwrap_or(&entity.value),
        EntityType::User => entity.value.rsplit('\\').next().unwrap_or(&entity.value),
        _ => &entity.value,
    }
}

/// `a`, `a and b`, `a and 3 more devices`.
fn listed(names: &[&str], what: &str) -> Option<String> {
    let plural = if what.ends_with('s') { "es" } else { "s" };
    match names {
        [] => None,
        [one] => Some((*one).to_owned()),
        [one, other] => Some(format!("{one} and {other}")),
        [one, rest @ ..] => Some(format!("{one} and {} more {what}{plural}", rest.len())),
    }
}

/// `execution and discovery`, `execution, discovery and impact`, `initial access to impact in 6 stages`.
fn stage_list(stages: &[Tactic]) -> String {
    match stages {
        [] => String::new(),
        [one] => words(*one),
        [some @ .., last] if stages.len() <= 3 => {
            format!("{} and {}", some.iter().map(|s| words(*s)).collect::<Vec<_>>().join(", "), words(*last))
        }
        [first, .., last] => format!("{} to {} in {} stages", words(*first), words(*last), stages.len()),
    }
}

fn words(tactic: Tactic) -> String {
    tactic.as_str().replace('_', " ")
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// `2024-06-20 09:10:44 UTC`.
fn clock(alert: &Alert) -> String {
    let text = alert.time.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{} UTC", seconds.replace('T', " ")),
        None => text,
    }
}
