//! What a commit promises, through the public surface.

use std::sync::Arc;

use event::{
    Action, ActionId, ActionState, Alert, AlertId, Artefact, AttackTag, Campaign, CampaignId, Class,
    Decision, Domain, Entity, EntityRisk, EntityType, Guard, Incident, IncidentDelta, IncidentId,
    IncidentStatus, Join, RecordRef, RelationChange, RiskChange, RiskClass, RiskLevel, Role, RuleRef,
    Severity, Suggestion, SuggestionId, Tactic, Target, TenantId, Time, Transition,
};
use tempfile::TempDir;

use super::*;

pub(crate) fn alert(tenant: &str, id: &str, time: i64) -> Alert {
    Alert {
        id: AlertId::new(id),
        tenant: TenantId::new(tenant),
        time: Time(time),
        end_time: Time(time),
        rule: RuleRef { id: "r-1".into(), title: "Suspicious thing".into(), author: None },
        title: "Suspicious thing on ws-01".into(),
        severity: Severity::High,
        domain: Domain::Endpoint,
        product: "Sysmon".into(),
        source: "windows_event".into(),
        class: Class::PROCESS_ACTIVITY,
        event_uid: "e-1".into(),
        attack: vec![AttackTag::Tactic(Tactic::Execution), AttackTag::Technique("T1059.001".into())],
        entities: vec![Entity { entity_type: EntityType::Device, role: Role::Device, value: "ws-01".into() }],
        records: vec![RecordRef { topic: "endpoint".into(), partition: 0, offset: time }],
        evidence: vec![("process_cmd_line".into(), "powershell -enc 100%_x".into())],
    }
}

pub(crate) fn incident(tenant: &str, id: &str, version: u64, alerts: &[&str]) -> Incident {
    Incident {
        id: IncidentId::new(id),
        tenant: TenantId::new(tenant),
        version,
        status: IncidentStatus::New,
        redirect_to: None,
        title: format!("Story {id}"),
        summary: "It began with a mail.".to_owned(),
        severity: Severity::High,
        score: 50 + alerts.len() as u32,
        confidence: 80,
        domains: vec![Domain::Email, Domain::Endpoint],
        tactics: vec![Tactic::InitialAccess],
        techniques: vec!["T1566".into()],
        first_time: Time(10),
        last_time: Time(10 + alerts.len() as i64),
        alerts: alerts.iter().map(|a| AlertId::new(*a)).collect(),
        entities: Vec::new(),
        priority: Vec::new(),
        assets: Vec::new(),
        blast_radius: Default::default(),
        timeline: Vec::new(),
        joins: Vec::new(),
        sealed: false,
        assignee: None,
        classification: None,
        links: Vec::new(),
    }
}

pub(crate) fn action(tenant: &str, id: &str, states: &[ActionState]) -> Action {
    let step =
        |(i, to): (usize, &ActionState)| Transition { to: *to, at: Time(i as i64), note: String::new() };
    let entity = Entity { entity_type: EntityType::Device, role: Role::Target, value: "ws-01".into() };
    Action {
        id: ActionId::new(id),
        tenant: TenantId::new(tenant),
        verb: "host.isolate".to_owned(),
        countermeasure: Default::default(),
        target: Target { entity, identifiers: Vec::new(), label: None },
        args: Default::default(),
        risk: RiskClass::R2,
        incident: IncidentId::new("i-1"),
        title: String::new(),
        state: states[states.len() - 1],
        decision: Decision {
            rule: "isolate".to_owned(),
            policy_version: "1".to_owned(),
            automation: "full".to_owned(),
            outcome: "execute".to_owned(),
            reasons: Vec::new(),
            approvers: 0,
        },
        approvals: Vec::new(),
        provider_ref: None,
        attempts: 0,
        undo: None,
        created_at: Time(5),
        expires_at: Time(500),
        history: states.iter().enumerate().map(step).collect(),
    }
}

fn created(incident: Incident) -> IncidentDelta {
    IncidentDelta::Created { incident: Arc::new(incident) }
}

fn updated(incident: Incident) -> IncidentDelta {
    IncidentDelta::Updated { incident: Arc::new(incident), added: Vec::new() }
}

fn merged(from: &str, incident: Incident) -> IncidentDelta {
    IncidentDelta::Merged { from: IncidentId::new(from), incident: Arc::new(incident) }
}

fn deltas(deltas: Vec<IncidentDelta>) -> StateChange {
    StateChange { deltas, ..StateChange::default() }
}

struct Fixture {
    folder: TempDir,
    db: StateDb,
    tenant: TenantId,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let db = StateDb::open(folder.path().join("state.db")).unwrap();
        Self { folder, db, tenant: TenantId::new("t") }
    }

    fn commit(&self, change: StateChange) -> Committed {
        self.db.commit_blocking(change).unwrap()
    }

    fn reopen(self) -> Self {
        let Self { folder, db, tenant } = self;
        drop(db);
        let db = StateDb::open(folder.path().join("state.db")).unwrap();
        Self { folder, db, tenant }
    }

    fn incident(&self, id: &str) -> Incident {
        self.db.incident(&self.tenant, &IncidentId::new(id)).unwrap().unwrap()
    }

    fn ids(&self, filter: &IncidentFilter) -> Vec<String> {
        let page = self.db.incidents_page(&self.tenant, filter, None, 100).unwrap();
        page.items.iter().map(|i| i.id.to_string()).collect()
    }

    fn notes(&self) -> Vec<String> {
        let rows = self.db.outbox(None, 0, 1_000).unwrap();
        rows.iter().map(|r| format!("{} {} {} {}", r.seq, r.kind, r.change, r.subject)).collect()
    }
}

fn a_bit_of_everything() -> StateChange {
    StateChange {
        alerts: vec![alert("t", "a-1", 10), alert("t", "a-2", 20)],
        deltas: vec![created(incident("t", "i-1", 1, &["a-1", "a-2"]))],
        actions: vec![action("t", "c-1", &[ActionState::Proposed])],
        audit: vec![AuditRow {
            tenant: TenantId::new("t"),
            seq: 1,
            at: Time(5),
            kind: "proposed".to_owned(),
            subject: "c-1".to_owned(),
            hash: "h1".to_owned(),
            body: "{}".to_owned(),
        }],
        dead_letters: vec![DeadLetterRow {
            tenant: TenantId::new("t"),
            record: RecordRef { topic: "mail".into(), partition: 1, offset: 7 },
            reason: "not_json".to_owned(),
            message: "expected value at column 1".to_owned(),
            payload: vec![b'x'; 100_000],
            ingest_time: Time(30),
        }],
        analyst_inputs: vec![AnalystInput {
            seq: 0,
            tenant: TenantId::new("t"),
            id: "input-1".to_owned(),
            at: Time(40),
            body: r#"{"kind":"assign"}"#.to_owned(),
        }],
        snapshot: Some(snapshot(spooled)),
        counters: [("records".to_owned(), 21)].into(),
        ..StateChange::default()
    }
}

fn snapshot<Bytes>(bytes: impl Fn(&[u8]) -> Bytes) -> Snapshot<Bytes> {
    Snapshot {
        windows: bytes(&[7, 8]),
        suppressions: bytes(&[7]),
        exceptions: bytes(&[8]),
        completeness: bytes(&[9]),
        correlator: bytes(&[1, 2, 3]),
        positions: [((Arc::from("mail"), 1), 8), ((Arc::from("endpoint"), 0), 21)].into(),
        inputs_seq: 1,
    }
}

fn spooled(bytes: &[u8]) -> Spool {
    Spool::write(&std::env::temp_dir(), |out| out.write_all(bytes)).unwrap()
}

fn suggestion(tenant: &str, id: &str, a: &str, b: &str, weight_ppm: u32) -> Suggestion {
    Suggestion {
        id: SuggestionId::new(id),
        tenant: TenantId::new(tenant),
        a: IncidentId::new(a),
        b: IncidentId::new(b),
        guard: Guard::Closed,
        because: "one of the incidents is closed".to_owned(),
        join: Join {
            a: AlertId::new("a-1"),
            b: AlertId::new("a-2"),
            weight_ppm,
            gap_us: 1,
            reasons: Vec::new(),
        },
    }
}

fn campaign(tenant: &str, id: &str, incidents: &[&str]) -> Campaign {
    let artefact = Artefact {
        entity_type: EntityType::Domain,
        value: "c2.example".into(),
        alerts: vec![AlertId::new("a-1")],
    };
    Campaign {
        id: CampaignId::new(id),
        tenant: TenantId::new(tenant),
        first_time: Time(1),
        last_time: Time(2),
        artefacts: vec![artefact],
        incidents: incidents.iter().map(|id| IncidentId::new(*id)).collect(),
    }
}

#[test]
fn relations_are_what_was_said_last() {
    let f = Fixture::new();
    let t = TenantId::new("t");
    let commit = |relations: Vec<RelationChange>| {
        f.commit(StateChange { relations, ..StateChange::default() });
    };
    let suggested = |suggestion: Suggestion| RelationChange::Suggested { suggestion };
    commit(vec![
        suggested(suggestion("t", "s-1", "i-1", "i-2", 400_000)),
        suggested(suggestion("t", "s-2", "i-2", "i-3", 900_000)),
        suggested(suggestion("u", "s-1", "i-1", "i-2", 500_000)),
        RelationChange::Campaign { campaign: campaign("t", "g-1", &["i-1", "i-2"]) },
    ]);
    let ids = |incident: Option<&str>| {
        let incident = incident.map(IncidentId::new);
        let page = f.db.suggestions_page(&t, incident.as_ref(), None, 10).unwrap();
        page.items.iter().map(|s| s.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(None), ["s-2", "s-1"], "strongest first");
    assert_eq!(ids(Some("i-1")), ["s-1"]);
    let first = f.db.suggestions_page(&t, None, None, 1).unwrap();
    let second = f.db.suggestions_page(&t, None, first.next.as_ref(), 1).unwrap();
    assert_eq!((second.items[0].id.as_str(), second.next), ("s-1", None));
    let of_incident =
        |id: &str| f.db.campaigns_page(&t, Some(&IncidentId::new(id)), None, 10).unwrap().items.len();
    assert_eq!((of_incident("i-2"), of_incident("i-3")), (1, 0));

    commit(vec![
        RelationChange::SuggestionGone { tenant: t.clone(), id: SuggestionId::new("s-2") },
        RelationChange::Campaign { campaign: campaign("t", "g-1", &["i-1", "i-2", "i-3"]) },
    ]);
    assert_eq!((ids(None), of_incident("i-3")), (vec!["s-1".to_owned()], 1));
    f.commit(StateChange { suggestions_are_all: true, ..StateChange::default() });
    assert!(ids(None).is_empty());
    assert!(f.db.campaign(&t, &CampaignId::new("g-1")).unwrap().is_some(), "campaigns are history");
    commit(vec![RelationChange::CampaignGone { tenant: t.clone(), id: CampaignId::new("g-1") }]);
    assert!(f.db.campaign(&t, &CampaignId::new("g-1")).unwrap().is_none());
}

fn hour(tenant: &str, rule: &str, start: i64, counts: [u64; 4]) -> CompletenessRow {
    let [evaluated, late, recomputed, dropped] = counts;
    CompletenessRow {
        tenant: TenantId::new(tenant),
        rule: rule.to_owned(),
        start: Time(start),
        evaluated,
        late,
        recomputed,
        dropped,
        is_complete: start < 2,
    }
}

#[tokio::test]
async fn hours_of_rules_are_absolute_and_bounded() {
    let f = Fixture::new();
    let t = TenantId::new("t");
    let rows = |rows: Vec<CompletenessRow>| StateChange { completeness: rows, ..StateChange::default() };
    let first = vec![hour("t", "r1", 1, [5, 0, 0, 0]), hour("t", "r2", 1, [5, 1, 0, 0])];
    f.db.commit(rows(first)).await.unwrap();
    let then =
        vec![hour("t", "r1", 1, [7, 0, 0, 0]), hour("t", "r1", 2, [1, 0, 0, 3]), hour("u", "r1", 1, [9; 4])];
    f.db.commit(rows(then)).await.unwrap();
    let found = |filter: &CompletenessFilter, limit: usize| f.db.completeness(&t, filter, limit).unwrap();
    let everything = [
        hour("t", "r1", 1, [7, 0, 0, 0]),
        hour("t", "r2", 1, [5, 1, 0, 0]),
        hour("t", "r1", 2, [1, 0, 0, 3]),
    ];
    assert_eq!(found(&CompletenessFilter::default(), 10), everything);
    let faulty = CompletenessFilter { is_faulty: true, ..CompletenessFilter::default() };
    assert_eq!(found(&faulty, 10), everything[1..]);
    let rule = CompletenessFilter {
        rule: Some("r1".to_owned()),
        since: Some(Time(2)),
        ..CompletenessFilter::default()
    };
    assert_eq!(found(&rule, 10), everything[2..]);
    let behind =
        CompletenessFilter { after: Some((Time(1), "r1".to_owned())), ..CompletenessFilter::default() };
    assert_eq!(found(&behind, 1), everything[1..2]);

    let limits = StateLimits { completeness_rows_max: 3, ..StateLimits::default() };
    assert_eq!(f.db.trim(limits).await.unwrap().completeness, 3, "the whole first hour");
    assert_eq!(found(&CompletenessFilter::default(), 10), everything[2..]);
}

#[test]
fn a_change_is_there_after_a_restart_and_a_second_time_changes_nothing() {
    let f = Fixture::new();
    let first = f.commit(a_bit_of_everything());
    assert_eq!((first.outbox_rows, first.outbox_seq, first.inputs_seq), (5, 5, 1));
    let f = f.reopen();
    let again = f.commit(a_bit_of_everything());
    assert_eq!((again.outbox_rows, again.outbox_seq, again.inputs_seq), (0, 5, 1));
    insta::assert_snapshot!(f.notes().join("\n"), @r"
    1 alert created a-1
    2 alert created a-2
    3 incident created i-1
    4 action proposed c-1
    5 audit proposed c-1
    ");
    assert_eq!(f.incident("i-1"), incident("t", "i-1", 1, &["a-1", "a-2"]));
    let alerts = f.db.alerts_of(&f.tenant, &IncidentId::new("i-1")).unwrap();
    assert_eq!(alerts, [alert("t", "a-1", 10), alert("t", "a-2", 20)]);
    assert_eq!(f.db.load_snapshot().unwrap(), Some(snapshot(|bytes| bytes.to_vec().into())));
    assert_eq!(f.db.counters().unwrap()["records"], 21);
    let letters = f.db.dead_letters(&f.tenant, 10).unwrap();
    assert_eq!((letters.len(), letters[0].payload.len()), (1, 64 * 1024));
    let inputs = f.db.analyst_inputs(0).unwrap();
    assert_eq!((inputs.len(), inputs[0].seq), (1, 1));
    assert_eq!(f.db.analyst_inputs(1).unwrap(), []);
}

#[test]
fn a_change_that_cannot_apply_leaves_nothing_behind_and_harms_no_other() {
    let f = Fixture::new();
    f.commit(a_bit_of_everything());
    let mut fork = a_bit_of_everything();
    fork.alerts.push(alert("t", "a-3", 30));
    fork.audit[0].hash = "another".to_owned();
    let error = f.db.commit_blocking(fork).unwrap_err();
    assert!(matches!(error, StorageError::Conflict { .. }), "{error}");
    assert_eq!(f.db.alert(&f.tenant, &AlertId::new("a-3")).unwrap(), None);
    f.commit(StateChange { alerts: vec![alert("t", "a-4", 40)], ..StateChange::default() });
    assert!(f.db.alert(&f.tenant, &AlertId::new("a-4")).unwrap().is_some());
}

#[test]
fn an_incident_does_not_go_back_while_the_log_is_read_again() {
    let f = Fixture::new();
    f.commit(deltas(vec![created(incident("t", "i-1", 1, &["a"]))]));
    f.commit(deltas(vec![updated(incident("t", "i-1", 2, &["a", "b"]))]));
    f.commit(deltas(vec![updated(incident("t", "i-1", 3, &["a", "b", "c"]))]));
    let f = f.reopen();
    let replayed = f.commit(deltas(vec![created(incident("t", "i-1", 1, &["a", "b"]))]));
    assert_eq!(replayed.outbox_rows, 0, "outgrown");
    let replayed = f.commit(deltas(vec![updated(incident("t", "i-1", 2, &["a", "b", "c"]))]));
    assert_eq!(replayed.outbox_rows, 0, "the same under a lower version");
    f.commit(deltas(vec![updated(incident("t", "i-1", 3, &["a", "b", "c", "d"]))]));
    let now = f.incident("i-1");
    assert_eq!((now.alerts.len(), now.version), (4, 4), "news under a replayed version still rises");
}

#[test]
fn a_sealed_incident_stays_sealed_under_replay() {
    let f = Fixture::new();
    let sealed = Incident { sealed: true, ..incident("t", "i-1", 2, &["a"]) };
    f.commit(deltas(vec![created(incident("t", "i-1", 1, &["a"]))]));
    f.commit(deltas(vec![IncidentDelta::Sealed { incident: Arc::new(sealed.clone()) }]));
    assert_eq!(f.commit(deltas(vec![created(incident("t", "i-1", 1, &["a"]))])).outbox_rows, 0);
    assert_eq!(f.incident("i-1"), sealed);
}

#[test]
fn merged_incidents_redirect_in_one_hop() {
    let f = Fixture::new();
    let story = || {
        vec![
            deltas(vec![created(incident("t", "i-1", 1, &["a"])), created(incident("t", "i-2", 1, &["b"]))]),
            deltas(vec![merged("i-2", incident("t", "i-1", 2, &["a", "b"]))]),
            deltas(vec![created(incident("t", "i-0", 1, &["c"]))]),
            // `i-9` was merged before it was ever stored.
            deltas(vec![
                merged("i-1", incident("t", "i-0", 2, &["a", "b", "c"])),
                merged("i-9", incident("t", "i-0", 3, &["a", "b", "c", "d"])),
            ]),
        ]
    };
    for change in story() {
        f.commit(change);
    }
    for id in ["i-0", "i-1", "i-2", "i-9"] {
        assert_eq!(f.incident(id).id.as_str(), "i-0", "{id}");
    }
    assert_eq!(f.ids(&IncidentFilter::default()), ["i-0"]);
    let redirected = IncidentFilter { status: vec![IncidentStatus::Redirected], ..IncidentFilter::default() };
    assert_eq!(f.ids(&redirected).len(), 3);
    for alert in ["a", "b", "c", "d"] {
        let holder = f.db.incident_of(&f.tenant, &AlertId::new(alert)).unwrap().unwrap();
        assert_eq!(holder.as_str(), "i-0", "{alert}");
    }
    let before = f.incident("i-0");
    for change in story() {
        f.commit(change);
    }
    assert_eq!(f.ids(&IncidentFilter::default()), ["i-0"], "the replayed story ends the same");
    assert_eq!(Incident { version: before.version, ..f.incident("i-0") }, before);
    assert_eq!(f.ids(&redirected).len(), 3);
}

/// One alert was told alone before a crash; read again in another portion, it comes with an earlier one at once.
#[test]
fn an_incident_that_does_not_come_about_again_redirects() {
    let f = Fixture::new();
    f.commit(deltas(vec![created(incident("t", "i-b", 1, &["b"]))]));
    let f = f.reopen();
    let committed = f.commit(deltas(vec![created(incident("t", "i-a", 1, &["a", "b"]))]));
    assert_eq!(committed.redirects, [(IncidentId::new("i-b"), IncidentId::new("i-a"))]);
    assert_eq!(f.incident("i-b").id.as_str(), "i-a");
    assert_eq!(f.ids(&IncidentFilter::default()), ["i-a"]);
    let said = f.commit(deltas(vec![merged("i-a", incident("t", "i-0", 2, &["0", "a", "b"]))]));
    assert!(said.redirects.is_empty(), "a merge that a delta tells is no surprise");

    // Only provisionally one: the later state takes them apart again.
    let part = |id: &str, alerts: &[&str]| IncidentDelta::Split {
        from: IncidentId::new("i-0"),
        incident: Arc::new(incident("t", id, 1, alerts)),
    };
    f.commit(deltas(vec![updated(incident("t", "i-0", 2, &["0", "a"])), part("i-b", &["b"])]));
    assert_eq!(f.incident("i-b").alerts, [AlertId::new("b")]);
    assert_eq!(f.db.incident_of(&f.tenant, &AlertId::new("b")).unwrap(), Some(IncidentId::new("i-b")));
    assert_eq!(f.incident("i-0").alerts.len(), 2);
}

/// Two incidents merge under the id of a third one, which then falls apart.
#[test]
fn an_incident_returns_from_a_merge_that_did_not_last() {
    let f = Fixture::new();
    let two = || vec![created(incident("t", "i-a", 1, &["a"])), created(incident("t", "i-b", 1, &["b"]))];
    f.commit(deltas(two()));
    let all = incident("t", "i-c", 1, &["c", "a", "b"]);
    f.commit(deltas(vec![created(all.clone()), merged("i-a", all.clone()), merged("i-b", all)]));
    assert_eq!(f.incident("i-a").id.as_str(), "i-c");
    let back = |id: &str, alerts: &[&str]| IncidentDelta::Split {
        from: IncidentId::new("i-c"),
        incident: Arc::new(incident("t", id, 1, alerts)),
    };
    let rest = incident("t", "i-b", 2, &["b", "c"]);
    f.commit(deltas(vec![back("i-a", &["a"]), back("i-b", &["b", "c"]), merged("i-c", rest)]));
    assert_eq!(f.ids(&IncidentFilter::default()), ["i-b", "i-a"]);
    assert_eq!(f.incident("i-c").id.as_str(), "i-b");
    for (alert, home) in [("a", "i-a"), ("b", "i-b"), ("c", "i-b")] {
        let holder = f.db.incident_of(&f.tenant, &AlertId::new(alert)).unwrap();
        assert_eq!(holder, Some(IncidentId::new(home)), "{alert}");
    }
}

/// After a crash the merge need not come about again: what the survivor lets go of is somewhere.
#[test]
fn no_alert_is_left_without_an_incident() {
    let f = Fixture::new();
    f.commit(deltas(vec![created(incident("t", "i-a", 1, &["a"]))]));
    f.commit(deltas(vec![merged("i-a", incident("t", "i-c", 1, &["c", "a"]))]));
    let f = f.reopen();
    f.commit(deltas(vec![
        updated(incident("t", "i-a", 1, &["a"])),
        updated(incident("t", "i-c", 2, &["c"])),
    ]));
    let holder = f.db.incident_of(&f.tenant, &AlertId::new("a")).unwrap();
    assert_eq!(holder, Some(IncidentId::new("i-a")));
    assert_eq!(f.ids(&IncidentFilter::default()), ["i-c", "i-a"]);
}

#[test]
fn a_split_moves_its_alerts() {
    let f = Fixture::new();
    f.commit(deltas(vec![created(incident("t", "i-1", 5, &["a", "b", "c"]))]));
    let part = IncidentDelta::Split {
        from: IncidentId::new("i-1"),
        incident: Arc::new(incident("t", "i-3", 1, &["c"])),
    };
    // A version that does not rise: the counter began anew after a restart.
    f.commit(deltas(vec![updated(incident("t", "i-1", 2, &["a", "b"])), part]));
    assert_eq!(f.incident("i-1").alerts.len(), 2);
    assert_eq!(f.db.incident_of(&f.tenant, &AlertId::new("c")).unwrap(), Some(IncidentId::new("i-3")));
}

#[test]
fn actions_never_step_back() {
    let f = Fixture::new();
    let done = [ActionState::Proposed, ActionState::Queued, ActionState::Succeeded];
    let put = |states: &[ActionState]| {
        f.commit(StateChange { actions: vec![action("t", "c-1", states)], ..StateChange::default() })
            .outbox_rows
    };
    assert_eq!([put(&done[..1]), put(&done), put(&done), put(&done[..1])], [1, 1, 0, 0]);
    let stored = f.db.action(&f.tenant, &ActionId::new("c-1")).unwrap().unwrap();
    assert_eq!(stored.state, ActionState::Succeeded);
}

#[test]
fn pages_are_stable_while_rows_arrive() {
    let f = Fixture::new();
    let put = |n: i64| {
        let incident = Incident { last_time: Time(n / 2), ..incident("t", &format!("i-{n:03}"), 1, &[]) };
        f.commit(deltas(vec![created(incident)]));
    };
    (0..25).for_each(put);
    let filter = IncidentFilter::default();
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = f.db.incidents_page(&f.tenant, &filter, cursor.as_ref(), 10).unwrap();
        seen.extend(page.items.iter().map(|i| i.id.to_string()));
        put(100 + seen.len() as i64);
        let Some(next) = page.next else { break };
        cursor = Some(Cursor::parse(&next.to_string()).unwrap());
    }
    let expected: Vec<String> = (0..25).rev().map(|n| format!("i-{n:03}")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn filters_select() {
    let f = Fixture::new();
    let base = incident("t", "i-1", 1, &["a"]);
    let other = Incident {
        id: IncidentId::new("i-2"),
        severity: Severity::Low,
        status: IncidentStatus::Closed,
        domains: vec![Domain::App],
        assignee: Some("eve".to_owned()),
        title: "100%_sure".to_owned(),
        first_time: Time(100),
        last_time: Time(200),
        alerts: Vec::new(),
        ..base.clone()
    };
    f.commit(deltas(vec![created(base), created(other)]));
    let all = IncidentFilter::default;
    let ids = |filter: IncidentFilter| f.ids(&filter);
    assert_eq!(ids(all()), ["i-2", "i-1"]);
    assert_eq!(ids(IncidentFilter { status: vec![IncidentStatus::Closed], ..all() }), ["i-2"]);
    assert_eq!(ids(IncidentFilter { severity_min: Some(Severity::Medium), ..all() }), ["i-1"]);
    assert_eq!(ids(IncidentFilter { domain: Some(Domain::App), ..all() }), ["i-2"]);
    assert_eq!(ids(IncidentFilter { domain: Some(Domain::Endpoint), ..all() }), ["i-1"]);
    assert_eq!(ids(IncidentFilter { assignee: Some("eve".to_owned()), ..all() }), ["i-2"]);
    assert_eq!(ids(IncidentFilter { assignee: Some(String::new()), ..all() }), ["i-1"]);
    assert_eq!(ids(IncidentFilter { q: Some("100%_S".to_owned()), ..all() }), ["i-2"]);
    assert_eq!(ids(IncidentFilter { q: Some("S%1".to_owned()), ..all() }), [""; 0]);
    assert_eq!(ids(IncidentFilter { since: Some(Time(50)), ..all() }), ["i-2"]);
    assert_eq!(ids(IncidentFilter { until: Some(Time(50)), ..all() }), ["i-1"]);
    let counts = f.db.incident_counts(&f.tenant).unwrap();
    assert_eq!(counts.by_status, [("closed".to_owned(), 1), ("new".to_owned(), 1)].into());
    assert_eq!(counts.open_by_severity, [(4, 1)].into());
}

#[test]
fn tenants_see_only_their_own() {
    let f = Fixture::new();
    f.commit(a_bit_of_everything());
    let mut theirs = incident("u", "i-1", 1, &["a-1"]);
    theirs.title = "theirs".to_owned();
    f.commit(StateChange {
        alerts: vec![alert("u", "a-1", 99)],
        deltas: vec![created(theirs)],
        ..StateChange::default()
    });
    let u = TenantId::new("u");
    assert_eq!(f.incident("i-1").title, "Story i-1");
    assert_eq!(f.db.incident(&u, &IncidentId::new("i-1")).unwrap().unwrap().title, "theirs");
    let of_incident = AlertFilter { incident: Some(IncidentId::new("i-1")), ..AlertFilter::default() };
    let times = |tenant: &TenantId| {
        let page = f.db.alerts_page(tenant, &of_incident, None, 10).unwrap();
        page.items.iter().map(|a| a.time.micros()).collect::<Vec<_>>()
    };
    assert_eq!((times(&f.tenant), times(&u)), (vec![20, 10], vec![99]));
    assert_eq!(f.db.actions_page(&u, &ActionFilter::default(), None, 10).unwrap().items, []);
    assert_eq!(f.db.audit(Some(&u), 0, 10).unwrap(), []);
    assert_eq!(f.db.audit(None, 0, 10).unwrap().len(), 1);
    assert_eq!(f.db.outbox(Some(&u), 0, 10).unwrap().len(), 2);
}

#[tokio::test]
async fn each_sink_has_its_own_place_in_the_outbox() {
    let folder = TempDir::new().unwrap();
    let db = StateDb::open(folder.path().join("state.db")).unwrap();
    db.commit(a_bit_of_everything()).await.unwrap();
    let fetched = |sink| db.outbox_fetch(sink, 3).unwrap().iter().map(|r| r.seq).collect::<Vec<_>>();
    assert_eq!(fetched("siem"), [1, 2, 3]);
    db.outbox_ack("siem", 2, Vec::new()).await.unwrap();
    db.outbox_ack("siem", 1, Vec::new()).await.unwrap();
    assert_eq!((fetched("siem"), fetched("soar")), (vec![3, 4, 5], vec![1, 2, 3]));
    let trimmed = db
        .trim(StateLimits { outbox_rows_max: 1, dead_letters_max: 0, ..StateLimits::default() })
        .await
        .unwrap();
    assert_eq!(trimmed, Trimmed { outbox: 4, dead_letters: 1, completeness: 0 });
    assert_eq!((fetched("siem"), db.sink_skipped("siem").unwrap()), (vec![5], 2));
    assert_eq!(db.outbox_head().unwrap(), 5);
}

#[tokio::test]
async fn many_callers_share_commits() {
    let folder = TempDir::new().unwrap();
    let db = StateDb::open(folder.path().join("state.db")).unwrap();
    let tasks = (0..500).map(|n| {
        let db = db.clone();
        let change =
            StateChange { alerts: vec![alert("t", &format!("a-{n:03}"), n)], ..StateChange::default() };
        tokio::spawn(async move { db.commit(change).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!(db.outbox_head().unwrap(), 500);
}

#[test]
fn a_second_writer_is_kept_out_and_readers_are_not() {
    let f = Fixture::new();
    f.commit(a_bit_of_everything());
    assert!(matches!(StateDb::open(f.db.path()), Err(StorageError::Locked { .. })));
    let reader = StateDb::open_read_only(f.db.path()).unwrap();
    assert!(reader.incident(&f.tenant, &IncidentId::new("i-1")).unwrap().is_some());
    let refused = reader.commit_blocking(StateChange::default());
    assert!(matches!(refused, Err(StorageError::Unavailable { .. })));
}

#[test]
fn strange_files_are_refused_with_a_remedy() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    std::fs::write(
        &path,
        "this is no database, and it is long enough to have a header of its own".repeat(20),
    )
    .unwrap();
    assert!(matches!(StateDb::open(&path), Err(StorageError::Corrupt { .. })));
    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    assert!(matches!(StateDb::open(&path), Err(StorageError::Corrupt { .. })));
    std::fs::remove_file(&path).unwrap();
    drop(StateDb::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = StateDb::open(&path).unwrap_err();
    assert!(matches!(error, StorageError::Version { found: 99, expected: 7, .. }), "{error}");
    assert_eq!(StateDb::open_read_only(&path).unwrap_err(), error);
}

#[tokio::test]
async fn a_sink_begins_again_and_what_it_would_not_have_is_known() {
    let folder = TempDir::new().unwrap();
    let db = StateDb::open(folder.path().join("state.db")).unwrap();
    db.commit(a_bit_of_everything()).await.unwrap();
    let head = db.outbox_head().unwrap();
    let aside = |seq: i64| UndeliveredRow { sink: "soar".to_owned(), seq, reason: "422".to_owned() };
    db.outbox_ack("soar", head, vec![aside(1), aside(head)]).await.unwrap();
    assert_eq!(db.undelivered("soar", 10).unwrap(), [aside(head), aside(1)]);
    db.outbox_rewind("soar", 1).await.unwrap();
    db.outbox_rewind("nobody", 1).await.unwrap();
    let sinks: Vec<(String, i64)> = db.sinks().unwrap().into_iter().map(|s| (s.name, s.cursor)).collect();
    assert_eq!(sinks, [("soar".to_owned(), 1)], "a rewind makes no sink");
    assert_eq!(db.undelivered("soar", 10).unwrap(), [aside(1)], "it is delivered again");
    assert_eq!(db.outbox_fetch("soar", 10_000).unwrap().len() as i64, head - 1);
    db.outbox_rewind("soar", head).await.unwrap();
    assert_eq!(db.sink_cursor("soar").unwrap(), 1, "never forwards");
}

#[test]
fn a_file_of_the_first_version_is_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let first = Connection::open(&path).unwrap();
    first.execute_batch(include_str!("schema_1.sql")).unwrap();
    first.pragma_update(None, "application_id", 0x4173_7472).unwrap();
    first.pragma_update(None, "user_version", 1).unwrap();
    first
        .execute_batch(
            "INSERT INTO snapshots (inputs_seq, positions, correlator, windows, suppressions)
               VALUES (0, '[]', x'00', x'00', x'00');
             INSERT INTO suppressions VALUES ('t', 'r-1', 'a-1', '[[\"user\",\"kim\"]]', 10, 70, 20, 30, 4, '[]');",
        )
        .unwrap();
    drop(first);
    let db = StateDb::open(&path).unwrap();
    assert!(db.load_snapshot().unwrap().is_none(), "state of another form is let go");
    db.commit_blocking(a_bit_of_everything()).unwrap();
    drop(db);
    let running: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT running FROM suppressions WHERE alert = 'a-1'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(running, 0);
}

fn window(user: &str, alert: &str, count: u64) -> SuppressionRow {
    SuppressionRow {
        tenant: TenantId::new("t"),
        rule: "r-1".to_owned(),
        alert: AlertId::new(alert),
        key: vec![("user".to_owned(), user.to_owned())],
        window_start: Time(10),
        window_end: Time(70),
        first: Time(20),
        last: Time(20 + count as i64),
        count,
        samples: vec![AlertId::new("a-9")],
    }
}

fn running(user: &str, rows: &[SuppressionRow]) -> StateChange {
    let key = vec![("user".to_owned(), user.to_owned())];
    let of = RunningOf::Key { tenant: TenantId::new("t"), rule: "r-1".to_owned(), key };
    let running_suppressions = vec![RunningSuppressions { of, rows: rows.to_vec() }];
    StateChange { running_suppressions, ..StateChange::default() }
}

#[test]
fn running_windows_are_replaced_and_those_that_are_over_stay() {
    let f = Fixture::new();
    let told = || {
        let connection = Connection::open(f.folder.path().join("state.db")).unwrap();
        let sql = "SELECT alert || ' ' || count || ' ' || running FROM suppressions ORDER BY alert";
        let mut statement = connection.prepare(sql).unwrap();
        let rows: Vec<String> = statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
        rows
    };
    f.commit(running("u", &[window("u", "a-1", 1)]));
    f.commit(running("w", &[window("w", "b-1", 4)]));
    assert_eq!(told(), ["a-1 1 1", "b-1 4 1"]);
    // Another alert stands for them now.
    f.commit(running("u", &[window("u", "a-0", 2)]));
    assert_eq!(told(), ["a-0 2 1", "b-1 4 1"]);
    // Over, and a new one runs, in one commit.
    let over =
        StateChange { suppressions: vec![window("u", "a-0", 3)], ..running("u", &[window("u", "a-5", 1)]) };
    f.commit(over);
    assert_eq!(told(), ["a-0 3 0", "a-5 1 1", "b-1 4 1"]);
    f.commit(running("u", &[]));
    assert_eq!(told(), ["a-0 3 0", "b-1 4 1"]);
    let all = RunningSuppressions { of: RunningOf::All, rows: vec![window("w", "b-1", 2)] };
    f.commit(StateChange { running_suppressions: vec![all], ..StateChange::default() });
    assert_eq!(told(), ["a-0 3 0", "b-1 2 1"]);
}

#[test]
fn what_an_exception_hid_takes_the_place_of_what_was_told_before() {
    let f = Fixture::new();
    let row = |count: u64| ExceptionRow {
        tenant: TenantId::new("t"),
        exception: "e-1".to_owned(),
        rule: "r-1".to_owned(),
        owner: "ada".to_owned(),
        reason: "the backup runs it".to_owned(),
        expires: Time(1_000),
        count,
        first: Time(10),
        last: Time(10 + count as i64),
    };
    for count in [3, 7] {
        f.commit(StateChange { exceptions: vec![row(count)], ..StateChange::default() });
    }
    let connection = Connection::open(f.folder.path().join("state.db")).unwrap();
    let sql = "SELECT count, first_time, last_time FROM exceptions";
    let told: (i64, i64, i64) =
        connection.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap();
    assert_eq!(told, (7, 10, 17));
}

#[test]
fn a_crash_between_commits_keeps_every_commit() {
    let folder = TempDir::new().unwrap();
    let db = StateDb::open(folder.path().join("state.db")).unwrap();
    db.commit_blocking(a_bit_of_everything()).unwrap();
    // The files as a kill leaves them: the WAL is neither checkpointed nor removed.
    let killed = TempDir::new().unwrap();
    for name in ["state.db", "state.db-wal"] {
        std::fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    }
    let wal = killed.path().join("state.db-wal");
    let torn = std::fs::metadata(&wal).unwrap().len() - 10;
    let whole = StateDb::open(killed.path().join("state.db")).unwrap();
    assert_eq!(whole.outbox_head().unwrap(), 5);
    drop(whole);
    // A torn last commit is gone as a whole.
    for name in ["state.db", "state.db-wal"] {
        std::fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    }
    File::options().write(true).open(&wal).unwrap().set_len(torn).unwrap();
    let torn = StateDb::open(killed.path().join("state.db")).unwrap();
    assert_eq!((torn.outbox_head().unwrap(), torn.load_snapshot().unwrap()), (0, None));
    torn.commit_blocking(a_bit_of_everything()).unwrap();
    assert_eq!(torn.outbox_head().unwrap(), 5);
}

fn risk(name: &str, level: RiskLevel, score: u32, as_of: i64) -> EntityRisk {
    EntityRisk {
        tenant: TenantId::new("t"),
        entity_type: EntityType::User,
        name: name.into(),
        aliases: Vec::new(),
        level,
        score,
        as_of: Time(as_of),
        last_raised: Time(as_of),
        raised_by: Vec::new(),
    }
}

#[test]
fn risks_are_kept_as_of_their_latest_time() {
    let f = Fixture::new();
    let put = |changes: Vec<RiskChange>| {
        f.commit(StateChange { risks: changes, ..StateChange::default() }).outbox_rows
    };
    let scores = |filter: RiskFilter| {
        let page = f.db.risks_page(&f.tenant, &filter, None, 10).unwrap();
        page.items.iter().map(|risk| (risk.name.to_string(), risk.score)).collect::<Vec<_>>()
    };
    let high = RiskChange::Raised(risk("alice", RiskLevel::High, 80, 20));
    let low = RiskChange::Raised(risk("bob", RiskLevel::Low, 20, 20));
    assert_eq!(put(vec![high.clone(), low]), 2);
    assert_eq!(put(vec![high]), 0, "told again, it is nothing new");
    assert_eq!(
        put(vec![RiskChange::Raised(risk("alice", RiskLevel::Medium, 50, 10))]),
        0,
        "a replay is outgrown"
    );
    assert_eq!(scores(RiskFilter::default()), [("alice".to_owned(), 80), ("bob".to_owned(), 20)]);
    let filter = RiskFilter { level_min: Some(RiskLevel::Medium), ..RiskFilter::default() };
    assert_eq!(scores(filter), [("alice".to_owned(), 80)]);
    let filter = RiskFilter { types: vec![EntityType::Device], ..RiskFilter::default() };
    assert!(scores(filter).is_empty());
    let filter = RiskFilter { q: Some("BOB".to_owned()), ..RiskFilter::default() };
    assert_eq!(scores(filter).len(), 1);
    assert_eq!(put(vec![RiskChange::Lowered(risk("alice", RiskLevel::None, 0, 30))]), 1);
    assert_eq!(scores(RiskFilter::default()), [("bob".to_owned(), 20)]);
    let rows = f.db.outbox(Some(&f.tenant), 0, 10).unwrap();
    let told: Vec<String> =
        rows.iter().map(|row| format!("{} {} {}", row.kind, row.change, row.subject)).collect();
    assert_eq!(told, ["risk raised user:alice", "risk raised user:bob", "risk lowered user:alice"]);
}
