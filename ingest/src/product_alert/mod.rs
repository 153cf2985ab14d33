//! Alerts that products report: rows of class detection_finding become [`Alert`]s as well.
//!
//! What the row's columns say (id, title, severity, times) is read from the finished batch; what they cannot say is
//! drafted while the record is at hand: typed entities of Microsoft's `Entities` lists ([`typed`]), the one entity of
//! a Defender evidence row ([`evidence`]), and ATT&CK tags in their many spellings ([`tags`]).
//! What analysts decided (status, classification, assignment, a vendor's incident id) is an outcome: it never joins.

mod evidence;
mod tags;
#[cfg(test)]
mod tests;
mod typed;

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Alert, AlertId, AttackTag, Class, Domain, Entity, EventBatch, RuleRef, Severity};
use serde_json::Value;

use crate::decode::{Event, Json, Kind, KindPlan, parse_text};

/// Native fields that hold typed entities, tags and origin of a product's alert.
pub(crate) const FIELDS: &[&str] = &[
    "Entities",
    "ExtendedProperties",
    "Tactics",
    "Techniques",
    "SubTechniques",
    "AttackTechniques",
    "Category",
    "Categories",
    "ProviderName",
    "ProductName",
    "ServiceSource",
    "AlertType",
    "AlertName",
    "DisplayName",
    "CompromisedEntity",
    "AlertId",
    "EntityType",
    "EvidenceRole",
    "DeviceId",
    "DeviceName",
    "LocalIP",
    "RemoteIP",
    "RemoteUrl",
    "SHA256",
    "SHA1",
    "FileName",
    "FolderPath",
    "ProcessCommandLine",
    "AccountName",
    "AccountDomain",
    "AccountSid",
    "AccountObjectId",
    "AccountUpn",
    "NetworkMessageId",
    "EmailSubject",
    "Application",
    "ApplicationId",
    "OAuthApplicationId",
    "CloudResource",
];

/// What the columns of a finding cannot hold.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    entities: Vec<Entity>,
    tags: Vec<AttackTag>,
    evidence: Vec<(Arc<str>, Arc<str>)>,
    domain: Option<Domain>,
    rule_id: Option<Arc<str>>,
}

/// Telling fields kept with an alert; more belongs to the record itself.
const EVIDENCE_MAX: usize = 12;

impl Draft {
    /// The entities that no column names, at most `max`.
    pub(crate) fn entities(&self, max: usize) -> Vec<Entity> {
        let mut entities = self.entities.clone();
        entities.sort();
        entities.dedup();
        entities.truncate(max);
        entities
    }

    fn add_evidence(&mut self, name: &str, value: &str) {
        let entry = (Arc::from(name), Arc::from(value));
        if self.evidence.len() < EVIDENCE_MAX && !value.trim().is_empty() && !self.evidence.contains(&entry) {
            self.evidence.push(entry);
        }
    }
}

/// The native fields of a finding, by name.
pub(crate) struct Fields<'e, 'a> {
    event: &'e Event<'a>,
    plan: &'e KindPlan,
}

impl<'a> Fields<'_, 'a> {
    fn json(&self, name: &str) -> Option<Json<'a>> {
        self.event.values.get(self.plan.fields.find(name)?)
    }

    /// The text of a scalar field, unless it is empty.
    fn text(&self, name: &str) -> Option<String> {
        let mut scratch = String::new();
        let text = self.json(name)?.scalar(&mut scratch)?.trim();
        (!text.is_empty() && text != "-").then(|| text.to_owned())
    }

    /// The value of a field that holds JSON, as such or as text.
    fn value(&self, name: &str) -> Option<Value> {
        let json = self.json(name)?;
        match json.kind() {
            Kind::Object | Kind::List => Some(json.to_value()),
            _ => parse_text(&json.text()?),
        }
    }
}

/// Drafts the alert of one finding.
pub(crate) fn draft(event: &Event<'_>, plan: &KindPlan, raw: &str) -> Draft {
    let fields = Fields { event, plan };
    let mut draft = Draft::default();
    if let Some(entities @ Value::Array(_)) = fields.value("Entities") {
        typed::read(&entities, &mut draft);
    }
    if fields.text("EntityType").is_some() && fields.text("AlertId").is_some() {
        evidence::read(&fields, &mut draft);
    }
    compromised(&fields, &mut draft);
    tags::read(&fields, &mut draft);
    draft.domain = domain(&fields);
    draft.rule_id = rule_id(&fields);
    if plan.kind.form == crate::mapping::Form::Ocsf {
        ocsf(raw, &mut draft);
    }
    draft
}

/// The compromised entity is a host or a user, as text; it matters where no typed entity says more.
fn compromised(fields: &Fields<'_, '_>, draft: &mut Draft) {
    use event::{EntityType, Role};
    let named = draft.entities.iter().any(|e| matches!(e.entity_type, EntityType::Device | EntityType::User));
    let Some(text) = fields.text("CompromisedEntity").filter(|_| !named) else { return };
    let user = text.contains('@') || text.contains('\\');
    let entity_type = if user { EntityType::User } else { EntityType::Device };
    // A resource path or a display name with blanks names neither.
    if !text.contains('/') && !text.contains(' ') {
        draft.entities.extend(Entity::new(entity_type, Role::Related, &text));
    }
}

/// Observables of an OCSF finding name entities by type.
fn ocsf(raw: &str, draft: &mut Draft) {
    use event::{EntityType, Role};
    let event: Value = serde_json::from_str(raw).unwrap_or_default();
    for observable in event["observables"].as_array().into_iter().flatten() {
        let Some(value) = observable["value"].as_str() else { continue };
        let named = observable["type"].as_str().and_then(EntityType::from_name);
        let entity_type = named.or_else(|| observable_type(observable["type_id"].as_u64()?));
        let role = observable["name"].as_str().and_then(|n| n.rsplit('.').next()).and_then(Role::from_name);
        draft.entities.extend(entity_type.and_then(|t| Entity::new(t, role.unwrap_or(Role::Related), value)));
    }
    for attack in event["finding_info"]["attacks"].as_array().into_iter().flatten() {
        tags::of_ocsf(attack, &mut draft.tags);
    }
    for types in event["finding_info"]["types"].as_array().into_iter().flatten() {
        let named = Domain::ALL.into_iter().find(|d| Some(d.as_str()) == types.as_str());
        draft.domain = draft.domain.or(named);
    }
    for evidence in event["evidences"].as_array().into_iter().flatten() {
        for (name, value) in evidence["data"].as_object().into_iter().flatten() {
            draft.add_evidence(name, value.as_str().unwrap_or_default());
        }
    }
}

/// OCSF 1.8 observable `type_id`.
fn observable_type(id: u64) -> Option<event::EntityType> {
    use event::EntityType;
    Some(match id {
        1 | 20 => EntityType::Device,
        2 => EntityType::Ip,
        4 | 21 => EntityType::User,
        5 => EntityType::Mailbox,
        6 => EntityType::Url,
        8 => EntityType::File,
        _ => return None,
    })
}

/// The domain that a product of this name watches.
fn domain(fields: &Fields<'_, '_>) -> Option<Domain> {
    let names =
        ["ServiceSource", "ProductName", "ProviderName"].into_iter().filter_map(|name| fields.text(name));
    let names: Vec<String> = names.map(|n| n.to_lowercase()).collect();
    let any = |words: &[&str]| names.iter().any(|name| words.iter().any(|word| name.contains(word)));
    if any(&["office 365", "for office", "oatp", "exchange online"]) {
        Some(Domain::Email)
    } else if any(&["identity", "azure advanced threat", "aatp", "ipc", "active directory", "entra"]) {
        Some(Domain::Identity)
    } else if any(&["cloud app", "mcas", "for cloud", "azure security center", "app governance"]) {
        Some(Domain::App)
    } else if any(&[
        "endpoint",
        "mdatp",
        "defender advanced threat",
        "antivirus",
        "crowdstrike",
        "sentinelone",
    ]) {
        Some(Domain::Endpoint)
    } else {
        None
    }
}

/// A detector of its own, where the alert names one: `AlertType` alone may be the same for a whole product.
fn rule_id(fields: &Fields<'_, '_>) -> Option<Arc<str>> {
    let properties = fields.value("ExtendedProperties");
    if let Some(detector) =
        properties.as_ref().and_then(|p| p["DetectorId"].as_str()).filter(|d| !d.is_empty())
    {
        return Some(detector.into());
    }
    let name = fields.text("AlertName").or_else(|| fields.text("DisplayName"))?;
    let of = fields.text("AlertType").or_else(|| fields.text("ProviderName")).unwrap_or_default();
    Some(if of == name || of.is_empty() { name.into() } else { format!("{of}/{name}").into() })
}

/// The alerts of a batch of findings. Rows of one alert (Defender sends one a piece of evidence) become one.
pub(crate) fn alerts(batch: &EventBatch, drafts: &[Draft]) -> Vec<Alert> {
    if batch.class != Class::DETECTION_FINDING {
        return Vec::new();
    }
    let made = drafts.iter().enumerate().map(|(row, draft)| alert(batch, row, draft));
    merged(made)
}

/// Alerts with one id become one, whatever the order of their rows.
pub(crate) fn merged(alerts: impl IntoIterator<Item = Alert>) -> Vec<Alert> {
    let mut order: Vec<AlertId> = Vec::new();
    let mut by_id: BTreeMap<AlertId, Alert> = BTreeMap::new();
    for alert in alerts {
        match by_id.get_mut(&alert.id) {
            Some(known) => merge(known, alert),
            None => {
                order.push(alert.id.clone());
                by_id.insert(alert.id.clone(), alert);
            }
        }
    }
    order.iter().filter_map(|id| by_id.remove(id)).collect()
}

fn merge(into: &mut Alert, other: Alert) {
    // The row with tags and a title is the alert itself; the others are its evidence.
    if into.attack.is_empty() && !other.attack.is_empty() {
        into.rule = other.rule.clone();
        into.title = Arc::clone(&other.title);
    }
    into.time = into.time.min(other.time);
    into.end_time = into.end_time.max(other.end_time);
    into.severity = into.severity.max(other.severity);
    into.attack.extend(other.attack);
    into.entities.extend(other.entities);
    into.records.extend(other.records);
    into.evidence.extend(other.evidence);
    tidy(into);
}

fn tidy(alert: &mut Alert) {
    alert.attack.sort();
    alert.attack.dedup();
    alert.entities.sort();
    alert.entities.dedup();
    alert.records.sort();
    alert.records.dedup();
    let mut seen = std::collections::HashSet::new();
    alert.evidence.retain(|entry| seen.insert(entry.clone()));
    alert.evidence.truncate(EVIDENCE_MAX);
}

fn alert(batch: &EventBatch, row: usize, draft: &Draft) -> Alert {
    let text = |name: &str| batch.text(name, row).map(Arc::<str>::from);
    let event_uid = text("event_uid").unwrap_or_default();
    let id = text("finding_info_uid").unwrap_or_else(|| Arc::clone(&event_uid));
    let title = text("finding_info_title").or_else(|| text("rule_name")).or_else(|| text("message"));
    let title = title.unwrap_or_else(|| Arc::clone(&batch.meta.product));
    let rule_id = draft.rule_id.clone().or_else(|| text("rule_uid")).unwrap_or_else(|| Arc::clone(&title));
    let time = batch.time(row);
    let mut alert = Alert {
        id: AlertId::new(id),
        tenant: batch.meta.tenant.clone(),
        time,
        end_time: batch.time_of("finding_info_last_seen_time", row).map_or(time, |end| end.max(time)),
        rule: RuleRef {
            id: rule_id,
            title: text("rule_name").unwrap_or_else(|| Arc::clone(&title)),
            author: None,
        },
        title,
        severity: severity(batch.int("severity_id", row)),
        domain: draft.domain.unwrap_or(batch.meta.domain),
        product: text("product").unwrap_or_else(|| Arc::clone(&batch.meta.product)),
        source: Arc::clone(&batch.meta.source),
        class: batch.class,
        event_uid,
        attack: draft.tags.clone(),
        entities: batch.entities(row),
        records: vec![batch.record(row)],
        evidence: evidence_of(batch, row, draft),
    };
    if let Some(attacks) = batch.text("attacks", row) {
        tags::of_text(attacks, &mut alert.attack);
    }
    tidy(&mut alert);
    alert
}

fn evidence_of(batch: &EventBatch, row: usize, draft: &Draft) -> Vec<(Arc<str>, Arc<str>)> {
    let column = |name: &str| batch.text(name, row).map(|value| (Arc::from(name), Arc::from(value)));
    let named =
        ["device_hostname", "user_account", "message", "finding_info_desc"].into_iter().filter_map(column);
    draft.evidence.iter().cloned().chain(named).collect()
}

fn severity(id: Option<i64>) -> Severity {
    match id {
        Some(2) => Severity::Low,
        Some(3) => Severity::Medium,
        Some(4) => Severity::High,
        Some(5 | 6) => Severity::Critical,
        _ => Severity::Informational,
    }
}
