//! Alerts and rows for tests, in few words.
#![allow(dead_code)] // Every test file uses its own part.

use std::sync::Arc;

use correlate::{Correlator, Parameters};
use event::{
    Alert, AlertId, AttackTag, BatchBuilder, Class, ClassSchema, Domain, Entity, EntityType, EventBatch,
    Incident, NativeFields, RecordRef, Role, RowMeta, RuleRef, Severity, Tactic, TenantId, Time, Watermark,
};

/// 2026-03-02T08:00:00Z.
pub(crate) const START: i64 = 1_772_438_400;

/// Event time `s` seconds into the story.
pub(crate) fn at(s: i64) -> Time {
    Time::from_secs(START + s)
}

pub(crate) fn watermark(s: i64) -> Watermark {
    Watermark(at(s))
}

pub(crate) fn correlator() -> Correlator {
    Correlator::new(Parameters::builtin().unwrap())
}

/// An alert `id` of a rule, `s` seconds into the story, with entities as `device:ws-01.contoso.com`,
/// `user/actor:alice` (the role defaults to the usual one of the type).
pub(crate) fn alert(id: &str, rule: &str, s: i64, entities: &[&str]) -> Alert {
    let mut entities: Vec<Entity> = entities.iter().map(|text| entity(text)).collect();
    entities.sort();
    Alert {
        id: AlertId::new(id),
        tenant: TenantId::default(),
        time: at(s),
        end_time: at(s),
        rule: RuleRef { id: rule.into(), title: rule.into(), author: None },
        title: rule.into(),
        severity: Severity::Medium,
        domain: Domain::Endpoint,
        product: "Sysmon".into(),
        source: "windows_event".into(),
        class: Class::PROCESS_ACTIVITY,
        event_uid: id.into(),
        attack: Vec::new(),
        entities,
        records: vec![RecordRef { topic: "t".into(), partition: 0, offset: s }],
        evidence: Vec::new(),
    }
}

pub(crate) trait With {
    fn tactic(self, tactic: Tactic) -> Self;
    fn grave(self, severity: Severity) -> Self;
    fn domain(self, domain: Domain) -> Self;
    /// Made of the record `offset` of the topic `events`.
    fn on(self, offset: i64) -> Self;
}

impl With for Alert {
    fn tactic(mut self, tactic: Tactic) -> Self {
        self.attack.push(AttackTag::Tactic(tactic));
        self
    }

    fn grave(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    fn domain(mut self, domain: Domain) -> Self {
        self.domain = domain;
        self
    }

    fn on(mut self, offset: i64) -> Self {
        self.records = vec![RecordRef { topic: "events".into(), partition: 0, offset }];
        self
    }
}

pub(crate) fn entity(text: &str) -> Entity {
    let (what, value) = text.split_once(':').unwrap();
    let (kind, role) = what.split_once('/').unwrap_or((what, ""));
    let entity_type = EntityType::from_name(kind).unwrap();
    let usual = match entity_type {
        EntityType::User => Role::Actor,
        EntityType::Device => Role::Device,
        EntityType::Ip => Role::Source,
        EntityType::Mailbox => Role::Recipient,
        _ => Role::Target,
    };
    Entity::new(entity_type, Role::from_name(role).unwrap_or(usual), value).unwrap()
}

/// Rows of one class: the time in seconds, then column and text.
pub(crate) fn batch(class: &str, rows: &[(i64, &[(&str, &str)])]) -> EventBatch {
    batch_of(class, ("t", 0), rows)
}

/// One row whose record is number `offset` of the topic `events`.
pub(crate) fn event(class: &str, offset: i64, s: i64, columns: &[(&str, &str)]) -> EventBatch {
    batch_of(class, ("events", offset), &[(s, columns)])
}

/// Rows of a class that say nothing but when.
pub(crate) fn rows(class: &str, len: usize) -> EventBatch {
    let row: (i64, &[(&str, &str)]) = (0, &[]);
    batch_of(class, ("events", 1_000_000), &vec![row; len])
}

fn batch_of(class: &str, (topic, first): (&str, i64), rows: &[(i64, &[(&str, &str)])]) -> EventBatch {
    let class = Class::from_name(class).unwrap();
    let schema = ClassSchema::of(class);
    let meta = RowMeta {
        tenant: TenantId::default(),
        source: "windows_event".into(),
        variant: "test".into(),
        domain: Domain::Endpoint,
        product: "Sysmon".into(),
        logsources: Arc::from([]),
    };
    let mut builder = BatchBuilder::new(class, Arc::new(meta));
    for (i, (s, columns)) in rows.iter().enumerate() {
        let index = |name: &str| schema.columns.iter().position(|c| c.name == name).unwrap();
        builder.set_time(index("time"), at(*s));
        builder.set_time(index("ingest_time"), at(*s));
        for (name, text) in [("tenant", "default"), ("source", "windows_event"), ("topic", topic)] {
            builder.set_text(index(name), text);
        }
        let offset = first + i as i64;
        builder.set_text(index("event_uid"), &format!("e{offset}"));
        builder.set_int(index("class_uid"), i64::from(class.uid()));
        builder.set_int(index("activity_id"), 1);
        builder.set_int(index("partition"), 0);
        builder.set_int(index("offset"), offset);
        for (name, text) in *columns {
            assert!(builder.set_from_text(index(name), text), "{name} = {text}");
        }
        builder.end_row();
    }
    builder.finish(NativeFields::default(), &[]).unwrap()
}

/// The incidents as sets of alert ids, largest first.
pub(crate) fn groups(incidents: &[Incident]) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> =
        incidents.iter().map(|i| i.alerts.iter().map(ToString::to_string).collect()).collect();
    groups.sort_by_key(|g| (std::cmp::Reverse(g.len()), g.clone()));
    groups
}

/// The incidents of some alerts.
pub(crate) fn incidents_of(alerts: Vec<Alert>) -> Vec<Incident> {
    let mut correlator = correlator();
    correlator.push(alerts);
    correlator.flush();
    correlator.incidents(&TenantId::default())
}
