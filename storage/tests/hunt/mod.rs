//! Hunting: what can be asked, what cannot, and what each answer is.

use std::sync::Arc;
use std::time::Duration;

use event::{
    Alert, AlertId, Artefact, AttackTag, Campaign, CampaignId, Class, Domain, Entity, EntityRisk, EntityType,
    Guard, Incident, IncidentDelta, IncidentId, IncidentStatus, Join, RecordRef, RelationChange, RiskChange,
    RiskLevel, RiskReason, Role, RuleRef, Severity, Suggestion, SuggestionId, Tactic, TenantId, Time,
};
use storage::{
    AnalystInput, AuditRow, CompletenessRow, DeadLetterRow, Hunt, HuntLimits, StateChange, StorageError,
};

use crate::fixture::{DAY, Fixture, Place, batch_of, collect, place, processes, text};

mod slt;

fn alert(tenant: &str, id: &str, offset: i64) -> Alert {
    Alert {
        id: AlertId::new(id),
        tenant: TenantId::new(tenant),
        time: Time(DAY + offset * 60_000_000),
        end_time: Time(DAY + offset * 60_000_000),
        rule: RuleRef { id: "r-1".into(), title: "Encoded command".into(), author: Some("A. Nalyst".into()) },
        title: "Encoded command on ws-01".into(),
        severity: Severity::High,
        domain: Domain::Endpoint,
        product: "Sysmon".into(),
        source: "windows_event".into(),
        class: Class::PROCESS_ACTIVITY,
        event_uid: format!("endpoint-0-{offset}").into(),
        attack: vec![AttackTag::Tactic(Tactic::Execution), AttackTag::Technique("T1059.001".into())],
        entities: vec![Entity { entity_type: EntityType::Device, role: Role::Device, value: "ws-01".into() }],
        records: vec![RecordRef { topic: "endpoint".into(), partition: 0, offset }],
        evidence: vec![("process_cmd_line".into(), "powershell -enc AAAA".into())],
    }
}

fn incident(tenant: &str, id: &str, alerts: &[&str]) -> Incident {
    let device = Entity { entity_type: EntityType::Device, role: Role::Device, value: "ws-01".into() };
    Incident {
        id: IncidentId::new(id),
        tenant: TenantId::new(tenant),
        version: 1,
        status: IncidentStatus::New,
        redirect_to: None,
        title: "Encoded command on one device".to_owned(),
        summary: "One device ran encoded commands.".to_owned(),
        severity: Severity::High,
        score: 71,
        confidence: 80,
        domains: vec![Domain::Endpoint],
        tactics: vec![Tactic::Execution],
        techniques: vec!["T1059.001".into()],
        first_time: Time(DAY),
        last_time: Time(DAY + 120_000_000),
        alerts: alerts.iter().map(|a| AlertId::new(*a)).collect(),
        entities: vec![(device, 2)],
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

fn risk(tenant: &str) -> RiskChange {
    let reason = RiskReason {
        alert: AlertId::new("a-1"),
        incident: Some(IncidentId::new("i-1")),
        title: "Encoded command".into(),
        severity: Severity::High,
        time: Time(DAY),
        points: 40,
    };
    RiskChange::Raised(EntityRisk {
        tenant: TenantId::new(tenant),
        entity_type: EntityType::Device,
        name: "ws-01.contoso.com".into(),
        aliases: vec!["ws-01".into()],
        level: RiskLevel::Medium,
        score: 40,
        as_of: Time(DAY + 120_000_000),
        last_raised: Time(DAY),
        raised_by: vec![reason],
    })
}

fn state_of(tenant: &str) -> StateChange {
    let incident = incident(tenant, "i-1", &["a-1", "a-2"]);
    StateChange {
        alerts: vec![alert(tenant, "a-1", 1), alert(tenant, "a-2", 2)],
        deltas: vec![IncidentDelta::Created { incident: Arc::new(incident) }],
        risks: vec![risk(tenant)],
        audit: vec![AuditRow {
            tenant: TenantId::new(tenant),
            seq: 1,
            at: Time(DAY),
            kind: "proposed".to_owned(),
            subject: "c-1".to_owned(),
            hash: "h".to_owned(),
            body: "{}".to_owned(),
        }],
        dead_letters: vec![DeadLetterRow {
            tenant: TenantId::new(tenant),
            record: RecordRef { topic: "endpoint".into(), partition: 0, offset: 99 },
            reason: "not_json".to_owned(),
            message: "expected value".to_owned(),
            payload: b"<xml/>".to_vec(),
            ingest_time: Time(DAY),
        }],
        relations: relations(tenant),
        completeness: vec![CompletenessRow {
            tenant: TenantId::new(tenant),
            rule: "r-1".to_owned(),
            start: Time(DAY),
            evaluated: 9,
            late: 2,
            recomputed: 1,
            dropped: 0,
            is_complete: true,
        }],
        analyst_inputs: vec![AnalystInput {
            seq: 0,
            tenant: TenantId::new(tenant),
            id: "n-1".to_owned(),
            at: Time(DAY),
            body: r#"{"by":"anna","said":{"kind":"assign"},"alerts":["a-1","a-2"]}"#.to_owned(),
        }],
        ..StateChange::default()
    }
}

fn relations(tenant: &str) -> Vec<RelationChange> {
    let join = Join {
        a: AlertId::new("a-1"),
        b: AlertId::new("a-2"),
        weight_ppm: 700_000,
        gap_us: 1,
        reasons: Vec::new(),
    };
    let suggestion = Suggestion {
        id: SuggestionId::new("s-1"),
        tenant: TenantId::new(tenant),
        a: IncidentId::new("i-1"),
        b: IncidentId::new("i-2"),
        guard: Guard::Scope,
        because: "the incidents belong to different scopes".to_owned(),
        join,
    };
    let artefact = Artefact {
        entity_type: EntityType::Domain,
        value: "c2.example".into(),
        alerts: vec![AlertId::new("a-1")],
    };
    let campaign = Campaign {
        id: CampaignId::new("g-1"),
        tenant: TenantId::new(tenant),
        first_time: Time(DAY),
        last_time: Time(2 * DAY),
        artefacts: vec![artefact],
        incidents: vec![IncidentId::new("i-1"), IncidentId::new("i-9")],
    };
    vec![RelationChange::Suggested { suggestion }, RelationChange::Campaign { campaign }]
}

/// Ten processes of tenant `t` and three of tenant `u`, on two days, with alerts and an incident for each tenant.
async fn company() -> Fixture {
    let f = Fixture::new();
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    let theirs: Vec<_> =
        (0..3).map(|offset| Place { tenant: "u", topic: "theirs", ..place(0, offset) }).collect();
    let next_day = place(1, 1_500);
    waiting
        .push(&[
            processes(0, 0..9),
            batch_of(Class::PROCESS_ACTIVITY, &[next_day]),
            batch_of(Class::PROCESS_ACTIVITY, &theirs),
        ])
        .unwrap();
    writer.write(waiting.take()).await.unwrap();
    f.state.commit(state_of("t")).await.unwrap();
    f.state.commit(state_of("u")).await.unwrap();
    f
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_reaches_only_its_own_rows() {
    let f = company().await;
    let hunt = f.hunt();
    for sql in [
        "SELECT count(*) FROM process_activity",
        "SELECT count(*) FROM asterism.public.process_activity",
        "SELECT count(*) FROM process_activity WHERE tenant = 't' OR 1 = 1",
        "SELECT count(*) FROM (SELECT * FROM process_activity UNION ALL SELECT * FROM process_activity WHERE tenant = 't')",
        "SELECT count(*) FROM process_activity a JOIN process_activity b ON a.\"offset\" = b.\"offset\"",
    ] {
        let rows = text(&collect(&hunt, sql, "u").await.unwrap());
        assert!(rows.contains("| 3 "), "{sql}\n{rows}");
    }
    for table in Hunt::table_names() {
        let rows = collect(&hunt, &format!("SELECT * FROM {table} WHERE tenant <> 'u'"), "u").await.unwrap();
        assert_eq!(rows.iter().map(|b| b.num_rows()).sum::<usize>(), 0, "{table}");
        let rows = collect(&hunt, &format!("SELECT * FROM {table}"), "nobody").await.unwrap();
        assert_eq!(rows.iter().map(|b| b.num_rows()).sum::<usize>(), 0, "{table}");
    }
    let alerts = text(&collect(&hunt, "SELECT count(*) AS n FROM alerts", "u").await.unwrap());
    assert!(alerts.contains("| 2 |"), "{alerts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_reading_is_allowed() {
    let f = company().await;
    let hunt = f.hunt();
    for (sql, name) in [
        ("DROP TABLE alerts", "DROP TABLE"),
        ("DELETE FROM alerts", "DELETE FROM"),
        ("UPDATE alerts SET title = ''", "UPDATE"),
        ("INSERT INTO alerts SELECT * FROM alerts", "INSERT INTO"),
        ("CREATE TABLE x AS SELECT 1", "CREATE TABLE"),
        ("CREATE VIEW x AS SELECT 1", "CREATE VIEW"),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "CREATE EXTERNAL TABLE"),
        ("COPY alerts TO '/tmp/x.csv'", "COPY"),
        ("COPY (SELECT 1) TO '/tmp/x.csv'", "COPY"),
        ("SET datafusion.execution.batch_size = 1", "SET"),
        ("EXPLAIN DROP TABLE alerts", "EXPLAIN DROP TABLE"),
        ("PREPARE p AS SELECT 1", "PREPARE"),
        ("TRUNCATE TABLE alerts", "TRUNCATE TABLE"),
        ("SELECT 1 INTO x", ""),
        ("WITH x AS (DELETE FROM alerts RETURNING *) SELECT * FROM x", ""),
    ] {
        let error = collect(&hunt, sql, "t").await.unwrap_err();
        let refused = matches!(&error, StorageError::Refused { .. } | StorageError::Query { .. });
        assert!(refused && error.to_string().starts_with(name), "{sql}: {error}");
    }
    for sql in
        ["SELECT 1; SELECT 2", "", "SELECT * FROM '/etc/passwd'", "SELECT * FROM read_csv('/etc/passwd')"]
    {
        assert!(matches!(collect(&hunt, sql, "t").await, Err(StorageError::Query { .. })), "{sql}");
    }
    let count = f.table("SELECT count(*) AS n FROM alerts").await;
    assert!(count.contains("| 2 |"), "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_are_answered_with_right_ones() {
    let f = company().await;
    let hunt = f.hunt();
    let mut messages = Vec::new();
    for sql in [
        "SELECT * FROM process",
        "SELECT * FROM incidnets",
        "SELECT * FROM zzz",
        "SELECT process_cmdline FROM process_activity",
        "SELEC 1",
        "SELECT count(* FROM alerts",
        "SELECT nosuch(1)",
    ] {
        let error = collect(&hunt, sql, "t").await.unwrap_err();
        messages.push(format!("{sql}\n  {}", error.to_string().lines().next().unwrap_or_default()));
    }
    insta::assert_snapshot!(messages.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_held_and_named() {
    let f = company().await;
    let hunt = f.hunt();
    let tenant = TenantId::new("t");
    let few = HuntLimits { rows_max: 4, ..HuntLimits::default() };
    let result = hunt.query("SELECT * FROM process_activity", &tenant, few).await.unwrap();
    let (batches, truncated) = result.collect().await.unwrap();
    assert_eq!((batches.iter().map(|b| b.num_rows()).sum::<usize>(), truncated), (4, true));
    let exact = HuntLimits { rows_max: 10, ..HuntLimits::default() };
    let (_, truncated) =
        hunt.query("SELECT * FROM process_activity", &tenant, exact).await.unwrap().collect().await.unwrap();
    assert!(!truncated);
    let endless = "SELECT count(*) FROM generate_series(1, 100000000000) a";
    let quick = HuntLimits { time_max: Duration::from_millis(300), ..HuntLimits::default() };
    let error = match hunt.query(endless, &tenant, quick).await {
        Ok(result) => result.collect().await.unwrap_err(),
        Err(e) => e,
    };
    assert!(matches!(&error, StorageError::Limit { what, .. } if what == "the query's time"), "{error}");
    let small = HuntLimits { memory_bytes_max: 64 << 10, ..HuntLimits::default() };
    let hungry = "SELECT array_agg(concat(value, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')) FROM generate_series(1, 1000000)";
    let error = hunt.query(hungry, &tenant, small).await.unwrap().collect().await.unwrap_err();
    assert!(matches!(&error, StorageError::Limit { what, .. } if what == "the query's memory"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_sees_what_was_just_committed() {
    let f = Fixture::new();
    let hunt = f.hunt();
    let count = async |hunt: &Hunt| {
        text(&collect(hunt, "SELECT count(*) AS n FROM process_activity", "t").await.unwrap())
    };
    assert!(count(&hunt).await.contains("| 0 |"));
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    for end in [5, 9] {
        waiting.push(&[processes(0, 0..end)]).unwrap();
        writer.write(waiting.take()).await.unwrap();
        assert!(count(&hunt).await.contains(&format!("| {end} |")), "{}", count(&hunt).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hunt_over_one_day_opens_only_its_files() {
    let f = company().await;
    let plan = f.table("EXPLAIN ANALYZE SELECT * FROM process_activity WHERE date = DATE '2026-11-21'").await;
    assert!(plan.contains("2026-11-21") && !plan.contains("date=2026-11-20"), "{plan}");
    let by_time = "SELECT \"offset\" FROM process_activity WHERE time >= '2026-11-21T00:00:00Z'";
    let rows = f.table(by_time).await;
    assert!(rows.contains("1500") && rows.lines().count() == 5, "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_beside_the_writer_sees_the_same() {
    let f = company().await;
    let beside = Hunt::open(f.folder.path()).unwrap();
    let sql = "SELECT count(*) AS n FROM process_activity";
    assert_eq!(text(&collect(&beside, sql, "t").await.unwrap()), f.table(sql).await);
    let error = Hunt::open(&f.folder.path().join("elsewhere")).unwrap_err();
    assert!(matches!(error, StorageError::Unavailable { .. }), "{error}");
}
