//! An incident for executors to be asked about.

use event::{
    Alert, AlertId, AttackTag, Class, Domain, Entity, Incident, IncidentId, IncidentStatus, RecordRef,
    RuleRef, Severity, Tactic, TenantId, Time,
};

/// A confident incident about one thing.
pub(crate) fn incident(about: &Entity, title: &str) -> (Incident, Vec<Alert>) {
    let alert = Alert {
        id: AlertId::new("a-1"),
        tenant: TenantId::default(),
        time: Time::from_secs(1_700_000_000),
        end_time: Time::from_secs(1_700_000_000),
        rule: RuleRef { id: "lsass".into(), title: "LSASS access".into(), author: None },
        title: "LSASS access".into(),
        severity: Severity::High,
        domain: Domain::Endpoint,
        product: "Sysmon".into(),
        source: "windows_event".into(),
        class: Class::PROCESS_ACTIVITY,
        event_uid: "1".into(),
        attack: vec![AttackTag::Tactic(Tactic::CredentialAccess)],
        entities: vec![about.clone()],
        records: vec![RecordRef { topic: "t".into(), partition: 0, offset: 0 }],
        evidence: Vec::new(),
    };
    let incident = Incident {
        id: IncidentId::new("i-1"),
        tenant: TenantId::default(),
        version: 1,
        status: IncidentStatus::New,
        redirect_to: None,
        title: title.into(),
        summary: String::new(),
        severity: Severity::High,
        score: 80,
        confidence: 90,
        domains: vec![Domain::Email, Domain::Endpoint],
        tactics: vec![Tactic::CredentialAccess],
        techniques: vec!["T1003.001".into()],
        first_time: alert.time,
        last_time: alert.time,
        alerts: vec![alert.id.clone()],
        entities: vec![(about.clone(), 1)],
        joins: Vec::new(),
        sealed: false,
        assignee: None,
        classification: None,
        priority: Vec::new(),
        assets: Vec::new(),
        blast_radius: Default::default(),
        timeline: Vec::new(),
        links: Vec::new(),
    };
    (incident, vec![alert])
}
