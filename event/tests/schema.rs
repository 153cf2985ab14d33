//! What the types say of their JSON is what serde writes: values with everything and with nothing optional.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test panics")]

#[path = "../../tests/system/schema.rs"]
mod schema;

use std::collections::BTreeMap;

use event::{
    Action, ActionId, ActionState, Alert, AlertId, Approval, Artefact, Asset, AssetPart, AttackTag,
    BlastRadius, Campaign, CampaignId, Class, Countermeasure, Decision, Domain, Effect, EffectId,
    EffectState, Entity, EntityRisk, EntityType, Explanation, GraphCut, GraphEdge, GraphNode, GraphOmitted,
    GraphPath, Guard, Holder, Incident, IncidentGraph, IncidentId, IncidentLink, IncidentStatus, Join,
    JoinReason, LinkKind, Moment, PriorityPart, RecordRef, RiskClass, RiskLevel, RiskReason, Role, RuleRef,
    Severity, Suggestion, SuggestionId, Tactic, Target, TenantId, Time, Transition, UndoPlan,
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(components(schemas(
    Alert,
    Incident,
    Action,
    Effect,
    EntityRisk,
    Explanation,
    IncidentGraph,
    Suggestion,
    Campaign
)))]
struct Document;

const AT: Time = Time(1_772_434_800_000_001);

/// Whether the value follows the schema of its type.
fn check(name: &str, value: &impl Serialize) {
    let document = serde_json::to_value(Document::openapi()).unwrap();
    let value = serde_json::to_value(value).unwrap();
    let faults = schema::faults(&document, &json!({"$ref": format!("#/components/schemas/{name}")}), &value);
    assert!(faults.is_empty(), "{name}:\n{}\n{value}", faults.join("\n"));
}

fn entity() -> Entity {
    Entity::new(EntityType::CloudResource, Role::ProcessUser, "bucket-1").unwrap()
}

fn alert() -> Alert {
    Alert {
        id: AlertId::new("a-1"),
        tenant: TenantId::default(),
        time: AT,
        end_time: AT,
        rule: RuleRef { id: "r".into(), title: "Rule".into(), author: Some("A. Uthor".into()) },
        title: "Alert".into(),
        severity: Severity::High,
        domain: Domain::Endpoint,
        product: "Sysmon".into(),
        source: "windows_event".into(),
        class: Class::PROCESS_ACTIVITY,
        event_uid: "u".into(),
        attack: vec![AttackTag::Tactic(Tactic::CommandAndControl), AttackTag::Technique("T1003.001".into())],
        entities: vec![entity()],
        records: vec![RecordRef { topic: "t".into(), partition: 0, offset: 7 }],
        evidence: vec![("process_cmd_line".into(), "cmd /c".into())],
    }
}

fn join() -> Join {
    let reason = JoinReason {
        kind: "device".to_owned(),
        value: "ws-1".into(),
        rarity_ppm: 900_000,
        score_ppm: 500_000,
    };
    Join {
        a: AlertId::new("a-1"),
        b: AlertId::new("a-2"),
        weight_ppm: 1_000_000,
        gap_us: 5,
        reasons: vec![reason],
    }
}

fn incident() -> Incident {
    Incident {
        id: IncidentId::new("i-1"),
        tenant: TenantId::default(),
        version: 3,
        status: IncidentStatus::InProgress,
        redirect_to: Some(IncidentId::new("i-2")),
        title: "Incident".to_owned(),
        summary: "Summary".to_owned(),
        severity: Severity::Critical,
        score: 90,
        confidence: 80,
        domains: vec![Domain::Email, Domain::Network],
        tactics: vec![Tactic::InitialAccess],
        techniques: vec!["T1566".into()],
        first_time: AT,
        last_time: AT,
        alerts: vec![AlertId::new("a-1"), AlertId::new("a-2")],
        entities: vec![(entity(), 2)],
        priority: vec![PriorityPart {
            part: "severity".to_owned(),
            points: 65,
            because: "critical".to_owned(),
        }],
        assets: vec![Asset {
            entity_type: EntityType::Device,
            name: "ws-1".into(),
            names: vec!["ws-1".into(), "ws-1.corp.example".into()],
            part: AssetPart::Place,
            alerts: 2,
            severity: Severity::High,
            first_time: AT,
            last_time: AT,
        }],
        blast_radius: BlastRadius { devices: 1, ..BlastRadius::default() },
        timeline: vec![Moment {
            time: AT,
            end_time: AT,
            alert: AlertId::new("a-1"),
            alerts: 1,
            severity: Severity::High,
            tactics: vec![Tactic::InitialAccess],
            text: "Script on ws-1".to_owned(),
        }],
        joins: vec![join()],
        sealed: true,
        assignee: Some("anna".to_owned()),
        classification: Some("true_positive".to_owned()),
        links: vec![IncidentLink { kind: LinkKind::Sibling, incident: IncidentId::new("i-2") }],
    }
}

fn target() -> Target {
    Target { entity: entity(), identifiers: vec![entity()], label: Some("its name".into()) }
}

fn action() -> Action {
    let args = BTreeMap::from([("comment".to_owned(), "c".to_owned())]);
    Action {
        id: ActionId::new("c-1"),
        tenant: TenantId::default(),
        verb: "host.isolate".to_owned(),
        countermeasure: Countermeasure::Isolate,
        target: target(),
        args: args.clone(),
        risk: RiskClass::R2,
        incident: IncidentId::new("i-1"),
        title: "Credential theft".to_owned(),
        state: ActionState::AwaitingApproval,
        decision: Decision {
            rule: "rule".to_owned(),
            policy_version: "v".to_owned(),
            automation: "approve".to_owned(),
            outcome: "approve".to_owned(),
            reasons: vec!["because".to_owned()],
            approvers: 0,
        },
        approvals: vec![Approval { by: "anna".to_owned(), at: AT, approved: true, comment: String::new() }],
        provider_ref: Some("p-1".to_owned()),
        attempts: 1,
        undo: Some(UndoPlan { verb: "host.release".to_owned(), args, pre_image: "connected".to_owned() }),
        created_at: AT,
        expires_at: AT,
        history: vec![Transition { to: ActionState::Proposed, at: AT, note: "n".to_owned() }],
    }
}

#[test]
fn alerts_and_incidents_follow_their_schemas() {
    check("Alert", &alert());
    let bare = Alert {
        rule: RuleRef { author: None, ..alert().rule },
        attack: Vec::new(),
        entities: Vec::new(),
        evidence: Vec::new(),
        ..alert()
    };
    check("Alert", &bare);
    check("Incident", &incident());
    let bare =
        Incident { redirect_to: None, assignee: None, classification: None, links: Vec::new(), ..incident() };
    check("Incident", &bare);
}

#[test]
fn relations_follow_their_schemas() {
    let suggestion = Suggestion {
        id: SuggestionId::new("s-1"),
        tenant: TenantId::default(),
        a: IncidentId::new("i-1"),
        b: IncidentId::new("i-2"),
        guard: Guard::Closed,
        because: "one of the incidents is closed".to_owned(),
        join: incident().joins.remove(0),
    };
    check("Suggestion", &suggestion);
    let artefact = Artefact {
        entity_type: EntityType::File,
        value: "00ff".into(),
        alerts: vec![AlertId::new("a-1"), AlertId::new("a-2")],
    };
    let campaign = Campaign {
        id: CampaignId::new("g-1"),
        tenant: TenantId::default(),
        first_time: AT,
        last_time: AT,
        artefacts: vec![artefact],
        incidents: vec![IncidentId::new("i-1"), IncidentId::new("i-2")],
    };
    check("Campaign", &campaign);
}

#[test]
fn graphs_and_explanations_follow_their_schemas() {
    let entity = GraphNode {
        id: "device:ws-1".to_owned(),
        kind: "device".to_owned(),
        label: "ws-1".to_owned(),
        time: None,
        severity: None,
        alerts: Some(2),
        reaches: Some(1),
        column: 0,
        lane: 2,
    };
    let alert = GraphNode {
        time: Some(AT),
        severity: Some(Severity::Low),
        alerts: None,
        reaches: None,
        ..entity.clone()
    };
    let edge = GraphEdge {
        from: "a".to_owned(),
        to: "b".to_owned(),
        relation: "joined".to_owned(),
        weight_ppm: Some(1),
        alert: None,
    };
    let shown = GraphEdge { weight_ppm: None, alert: Some(AlertId::new("a-1")), ..edge.clone() };
    let path =
        GraphPath { nodes: vec!["a".to_owned()], edges: vec![edge.clone()], text: "a joined b".to_owned() };
    let graph = IncidentGraph {
        incident: IncidentId::new("i-1"),
        title: "Incident".to_owned(),
        nodes: vec![entity, alert],
        edges: vec![shown, edge],
        cuts: vec![GraphCut { node: "a".to_owned(), parts: vec![2, 1] }],
        path: Some(path),
        nodes_omitted: 1,
        omitted: vec![GraphOmitted { kind: "file".to_owned(), label: "files".to_owned(), nodes: 1 }],
    };
    check("IncidentGraph", &graph);
    check("IncidentGraph", &IncidentGraph { path: None, ..graph });
    let apart = Explanation {
        a: AlertId::new("a-1"),
        b: AlertId::new("a-2"),
        path: Vec::new(),
        weakest: None,
        without_weakest: Vec::new(),
        text: "Nothing connects them.".to_owned(),
    };
    check("Explanation", &apart);
    check("Explanation", &Explanation { path: vec![join()], weakest: Some(0), ..apart });
}

#[test]
fn risks_follow_their_schema() {
    let reason = RiskReason {
        alert: AlertId::new("a-1"),
        incident: Some(IncidentId::new("i-1")),
        title: "Alert".into(),
        severity: Severity::High,
        time: AT,
        points: 40,
    };
    let risk = EntityRisk {
        tenant: TenantId::default(),
        entity_type: EntityType::User,
        name: "alice@contoso.com".into(),
        aliases: vec!["contoso\\alice".into()],
        level: RiskLevel::Medium,
        score: 40,
        as_of: AT,
        last_raised: AT,
        raised_by: vec![RiskReason { incident: None, ..reason.clone() }, reason],
    };
    check("EntityRisk", &risk);
}

#[test]
fn actions_and_effects_follow_their_schemas() {
    check("Action", &action());
    let fresh =
        Action { approvals: Vec::new(), provider_ref: None, undo: None, history: Vec::new(), ..action() };
    check("Action", &fresh);
    let holders = vec![Holder { by: "i-1".to_owned(), action: ActionId::new("c-1") }];
    let effect = Effect {
        id: EffectId::new("e-1"),
        tenant: TenantId::default(),
        target: target(),
        kind: "host.isolated".to_owned(),
        state: EffectState::RevertFailed,
        holders,
        expires_at: AT,
        updated_at: AT,
    };
    check("Effect", &effect);
}

#[test]
fn what_is_always_there_is_required_and_what_may_be_missing_is_never_null() {
    let document = serde_json::to_value(Document::openapi()).unwrap();
    let schema = |name: &str| document["components"]["schemas"][name].clone();
    let required =
        |name: &str, field: &str| schema(name)["required"].as_array().unwrap().contains(&field.into());
    assert!(required("Incident", "title") && !required("Incident", "assignee"));
    assert_eq!(schema("Incident")["properties"]["assignee"]["type"], "string");
    assert!(required("Explanation", "weakest"));
    assert_eq!(schema("Explanation")["properties"]["weakest"]["type"], json!(["integer", "null"]));
    assert_eq!(schema("Time")["format"], "date-time");
    assert_eq!(schema("IncidentStatus")["enum"], json!(["new", "in_progress", "closed", "redirected"]));
    let action = schema("Action");
    for (name, property) in action["properties"].as_object().unwrap() {
        assert_ne!(property["description"], Value::Null, "{name} has no description");
    }
}
