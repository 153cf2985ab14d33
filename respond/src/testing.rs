//! Alerts, incidents and targets for the tests of this crate.

use event::{
    Alert, AlertId, Asset, AssetPart, AttackTag, Class, Domain, Entity, EntityType, Incident, IncidentId,
    IncidentStatus, RecordRef, Role, RuleRef, Severity, Tactic, Target, TenantId, Time,
};

pub(crate) fn device_target(host: &str) -> Target {
    let entity = Entity::new(EntityType::Device, Role::Device, host).unwrap();
    Target { identifiers: vec![entity.clone()], entity, label: None }
}

pub(crate) fn alert(id: &str, tag: &str, devices: &[(Role, &str)]) -> Alert {
    let device = |(role, host): &(Role, &str)| Entity::new(EntityType::Device, *role, host).unwrap();
    Alert {
        id: AlertId::new(id),
        tenant: TenantId::default(),
        time: Time::from_secs(1_700_000_000),
        end_time: Time::from_secs(1_700_000_000),
        rule: RuleRef { id: "rule".into(), title: "rule".into(), author: None },
        title: "alert".into(),
        severity: Severity::High,
        domain: Domain::Endpoint,
        product: "test".into(),
        source: "test".into(),
        class: Class::PROCESS_ACTIVITY,
        event_uid: id.into(),
        attack: AttackTag::parse(tag).into_iter().collect(),
        entities: devices.iter().map(device).collect(),
        records: vec![RecordRef { topic: "t".into(), partition: 0, offset: 0 }],
        evidence: Vec::new(),
    }
}

/// Devices, each under one name.
fn assets(alerts: &[Alert]) -> Vec<Asset> {
    let mut names: Vec<&Entity> = alerts.iter().flat_map(|a| &a.entities).collect();
    names.retain(|e| e.entity_type == EntityType::Device && e.role == Role::Device);
    names.sort_by_key(|e| &e.value);
    names.dedup_by_key(|e| &e.value);
    let asset = |e: &Entity| Asset {
        entity_type: EntityType::Device,
        name: e.value.clone(),
        names: vec![e.value.clone()],
        part: AssetPart::Place,
        alerts: 1,
        severity: Severity::High,
        first_time: Time::from_secs(1_700_000_000),
        last_time: Time::from_secs(1_700_000_100),
    };
    names.into_iter().map(asset).collect()
}

/// An incident of these alerts, with confidence 90 in two domains.
pub(crate) fn incident(alerts: &[Alert]) -> Incident {
    let mut devices: Vec<Entity> = alerts.iter().flat_map(|a| a.entities.clone()).collect();
    devices.sort();
    devices.dedup_by(|a, b| a.value == b.value);
    let mut tactics: Vec<Tactic> = alerts.iter().flat_map(Alert::tactics).collect();
    tactics.sort();
    tactics.dedup();
    Incident {
        id: IncidentId::new("i-1"),
        tenant: TenantId::default(),
        version: 1,
        status: IncidentStatus::New,
        redirect_to: None,
        title: "incident".into(),
        summary: String::new(),
        severity: Severity::High,
        score: 80,
        confidence: 90,
        domains: vec![Domain::Email, Domain::Endpoint],
        tactics,
        techniques: Vec::new(),
        first_time: Time::from_secs(1_700_000_000),
        last_time: Time::from_secs(1_700_000_100),
        alerts: alerts.iter().map(|a| a.id.clone()).collect(),
        entities: devices.into_iter().map(|e| (e, 1)).collect(),
        priority: Vec::new(),
        assets: assets(alerts),
        blast_radius: Default::default(),
        timeline: Vec::new(),
        joins: Vec::new(),
        sealed: false,
        assignee: None,
        classification: None,
        links: Vec::new(),
    }
}
