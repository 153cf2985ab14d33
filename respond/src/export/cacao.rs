//! CACAO Security Playbooks 2.0 (OASIS committee specification 01): what was planned for one incident as a playbook that
//! other tools run or people follow.
//!
//! ```text
//! start -> parallel -> end                     one branch for each target; without the parallel step where there is one
//!            |-> action -> action -> end       a target's actions one after the other; a branch has an end of its own
//!            `-> approve -> if approved -> end   what waits for a person: a manual step and a condition; where several
//!                             `-> action -> end   must approve, each has both, one within the other
//! ```
//!
//! - What OpenC2 has a word for is an `openc2-http` command to a consumer that `__openc2_consumer__` names; all else is a
//!   `manual` one.
//! - The specification has no place for risk, decision and undo: they stand in an extension of each action step.
//! - All ids are derived from content: the same plan gives the same playbook. Steps look random, as the specification
//!   asks (10.10).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use event::{Action, ActionState, Countermeasure, Entity, EntityType, Incident, RiskClass, Time, Uuid};
use serde_json::{Value, json};

use super::openc2;
use crate::book::verb_of;
use crate::policy::Outcome;
use crate::verb::Verb;

/// Where an OpenC2 consumer listens (OpenC2 over HTTPS 1.0, 3.1).
const OPENC2_START_LINE: &str = "POST /.well-known/openc2 HTTP/1.1";
const OPENC2_CONTENT_TYPE: &str = "application/openc2-cmd+json;version=1.0";
const OPENC2_CONSUMER: &str = "__openc2_consumer__";

/// What the properties of the extension are.
const EXTENSION_SCHEMA: &str = "action_id, verb and arguments: the action as Asterism knows it. risk_class: R0 (reads) to \
    R4 (cannot be undone). state: of the action when this playbook was made. decision: the response rule that asked, and \
    why. approvals: what people have said. undo: the verb that takes it back, its arguments and, where OpenC2 has a word \
    for it, the command.";

/// The plan for an incident as a playbook, or nothing where nothing is planned. What takes an effect back is part of the
/// action that brings it about; what was suppressed, rejected or cancelled is left out.
pub fn cacao(incident: &Incident, actions: &[Action]) -> Option<Value> {
    let mut planned: Vec<(&Action, Verb)> = actions
        .iter()
        .filter(|action| {
            action.incident == incident.id && action.tenant == incident.tenant && is_planned(action)
        })
        .filter_map(|action| {
            let verb = verb_of(action).filter(|verb| verb.applies())?;
            (!verb.is_consequence()).then_some((action, verb))
        })
        .collect();
    planned.sort_by_key(|(action, _)| (action.created_at, &action.id));
    let created = planned.first()?.0.created_at;
    Some(Playbook::new(incident).document(&planned, created))
}

fn is_planned(action: &Action) -> bool {
    !matches!(action.state, ActionState::Suppressed | ActionState::Rejected | ActionState::Cancelled)
}

struct Playbook<'a> {
    incident: &'a Incident,
    workflow: BTreeMap<String, Value>,
    agents: BTreeMap<String, Value>,
    targets: BTreeMap<String, Value>,
    variables: BTreeMap<String, Value>,
}

impl<'a> Playbook<'a> {
    fn new(incident: &'a Incident) -> Self {
        let (workflow, agents, targets, variables) = Default::default();
        Playbook { incident, workflow, agents, targets, variables }
    }

    fn document(mut self, planned: &[(&Action, Verb)], created: Time) -> Value {
        let end = self.step("end", "main", json!({"name": "End"}));
        let first = self.all(planned, &end);
        let start = self.step("start", "main", json!({"name": "Start", "on_completion": first}));
        let extension = self.extension();
        let types: BTreeSet<&str> = planned.iter().map(|(_, verb)| playbook_type(*verb)).collect();
        let activities: BTreeSet<&str> = planned.iter().map(|(_, verb)| activity(*verb)).collect();
        let risk = planned.iter().map(|(action, _)| action.risk).max().unwrap_or(RiskClass::R0);
        let Incident { tenant, title, summary, score, .. } = self.incident;
        json!({
            "type": "playbook",
            "spec_version": "cacao-2.0",
            "id": format!("playbook--{}", self.uuid("playbook", "")),
            "name": text(&format!("Response to {title}")),
            "description": text(summary),
            "playbook_types": types,
            "playbook_activities": activities,
            "created_by": format!("identity--{}", Uuid::ours(&[tenant.as_str(), "identity", "asterism"])),
            "created": created.rfc3339_millis(),
            "modified": modified(planned, created).rfc3339_millis(),
            "priority": 100 - score.min(&99),
            "severity": self.incident.severity as u8 * 20,
            "impact": impact(risk),
            "labels": [self.incident.id],
            "playbook_variables": self.variables,
            "workflow_start": start,
            "workflow": self.workflow,
            "agent_definitions": self.agents,
            "target_definitions": self.targets,
            "extension_definitions": {
                extension: {
                    "type": "extension-definition",
                    "name": "Asterism action",
                    "description": "Risk, decision, approvals and undo of an action",
                    "created_by": format!("identity--{}", Uuid::ours(&[tenant.as_str(), "identity", "asterism"])),
                    "schema": EXTENSION_SCHEMA,
                    "version": "1.0.0",
                },
            },
        })
    }

    fn uuid(&self, kind: &str, name: &str) -> Uuid {
        Uuid::ours(&[self.incident.tenant.as_str(), self.incident.id.as_str(), kind, name])
    }

    fn id(&self, kind: &str, name: &str) -> String {
        format!("{kind}--{}", self.uuid(kind, name).as_if_random())
    }

    fn extension(&self) -> String {
        self.id("extension-definition", "action")
    }

    fn step(&mut self, kind: &str, name: &str, mut step: Value) -> String {
        let id = self.id(kind, name);
        step["type"] = json!(kind);
        self.workflow.insert(id.clone(), step);
        id
    }

    /// The first step of all of it: a branch for each target.
    fn all(&mut self, planned: &[(&Action, Verb)], end: &str) -> String {
        let mut by_target: Vec<(&Entity, Vec<(&Action, Verb)>)> = Vec::new();
        for (action, verb) in planned {
            let entity = &action.target.entity;
            match by_target.iter_mut().find(|(other, _)| *other == entity) {
                Some((_, branch)) => branch.push((action, *verb)),
                None => by_target.push((entity, vec![(action, *verb)])),
            }
        }
        if let [(_, only)] = by_target.as_slice() {
            return self.branch(only, end);
        }
        let branches: Vec<String> = by_target
            .iter()
            .map(|(entity, branch)| {
                let end = self.step("end", &entity.to_string(), json!({"name": "End of this target"}));
                self.branch(branch, &end)
            })
            .collect();
        let parallel = json!({"name": "Every target", "next_steps": branches, "on_completion": end});
        self.step("parallel", "main", parallel)
    }

    /// The first step of actions that follow each other, the last of which leads to `end`.
    fn branch(&mut self, actions: &[(&Action, Verb)], end: &str) -> String {
        actions.iter().rev().fold(end.to_owned(), |next, (action, verb)| match waits_for_a_person(action) {
            true => self.approved(action, *verb, 1, &next),
            false => self.act(action, *verb, &next),
        })
    }

    /// A person decides; if the answer is yes the next one does, of as many as must approve it, and then what was asked for
    /// is done. It goes on to `next` either way.
    fn approved(&mut self, action: &Action, verb: Verb, nth: u32, next: &str) -> String {
        let (what, asked) = (what(action), action.decision.approvers.max(1));
        let id = if nth == 1 { action.id.to_string() } else { format!("{}_{nth}", action.id) };
        let answer = format!("__approved_{id}__");
        let (says, by) = match asked {
            1 => (format!("Whether {what} is approved"), String::new()),
            _ => (
                format!("Whether {what} is approved, {nth} of {asked}"),
                format!(" This is approval {nth} of {asked}; each is another person's."),
            ),
        };
        self.variables.insert(answer.clone(), json!({"type": "bool", "description": says, "value": "false"}));
        let end = self.step("end", &id, json!({"name": "End of what was approved"}));
        let then = match nth < asked {
            true => self.approved(action, verb, nth + 1, &end),
            false => self.act(action, verb, &end),
        };
        let condition = json!({
            "name": format!("If {what} is approved"), "condition": format!("{answer}:value = 'true'"),
            "on_true": then, "on_completion": next,
        });
        let condition = self.step("if-condition", &id, condition);
        let decide = json!({
            "type": "manual",
            "command": format!(
                "Decide whether to do it: {what} (risk class {:?}).{by} {}", action.risk, reasons(action)
            ),
        });
        let step = json!({
            "name": format!("Approve {what}"), "commands": [decide], "agent": self.people(), "out_args": [answer],
            "on_completion": condition,
        });
        self.step("action", &format!("approve {id}"), step)
    }

    fn act(&mut self, action: &Action, verb: Verb, next: &str) -> String {
        let entity = &action.target.entity;
        let command = openc2_command(verb, entity, &action.args, action.id.as_str());
        let (agent, mut command) = match command {
            Some(command) => (self.consumer(), in_http(&command)),
            None => {
                let arguments: Vec<String> = action.args.iter().map(|(k, v)| format!(", {k} {v}")).collect();
                let says = text(&format!("Do {}{}", what(action), arguments.concat()));
                (self.people(), json!({"type": "manual", "command": says}))
            }
        };
        command["playbook_activity"] = json!(activity(verb));
        let step = json!({
            "name": what(action),
            "description": reasons(action),
            "commands": [command],
            "agent": agent,
            "targets": [self.target(action)],
            "on_completion": next,
            "step_extensions": {self.extension(): extension(action, entity)},
        });
        self.step("action", action.id.as_str(), step)
    }

    /// Whoever carries commands of OpenC2 out.
    fn consumer(&mut self) -> String {
        let says = "Host name of the OpenC2 consumer that carries commands out";
        let variable = json!({"type": "string", "description": says, "constant": true, "external": true});
        self.variables.insert(OPENC2_CONSUMER.to_owned(), variable);
        let id = self.id("http-api", "openc2");
        let agent = json!({
            "type": "http-api", "name": "OpenC2 consumer", "description": says,
            "address": {"dname": [format!("{OPENC2_CONSUMER}:value")]}, "port": "443",
        });
        self.agents.insert(id.clone(), agent);
        id
    }

    /// Whoever decides, and does by hand what no command does.
    fn people(&mut self) -> String {
        let id = self.id("group", "people");
        let agent = json!({
            "type": "group", "name": "Security operations",
            "description": "Decides on approvals and does what is done by hand",
        });
        self.agents.insert(id.clone(), agent);
        id
    }

    fn target(&mut self, action: &Action) -> String {
        let entity = &action.target.entity;
        let mut definition = target_definition(entity);
        definition["name"] = json!(text(action.target.name()));
        definition["description"] = json!(text(&format!("{} {}", entity.entity_type, entity.value)));
        let id = self.id(definition["type"].as_str().unwrap_or_default(), &entity.to_string());
        self.targets.insert(id.clone(), definition);
        id
    }
}

fn waits_for_a_person(action: &Action) -> bool {
    action.decision.outcome == Outcome::Approve.as_str()
}

/// A text that tools show: what looks like a variable of a playbook (10.18) is none, whoever wrote it.
fn text(text: &str) -> String {
    text.replace("__:", "__ :")
}

fn what(action: &Action) -> String {
    text(&format!("{} on {} {}", action.verb, action.target.entity.entity_type, action.target.name()))
}

fn reasons(action: &Action) -> String {
    text(&format!("Asked for by rule {}: {}", action.decision.rule, action.decision.reasons.join("; ")))
}

/// A command without anything in it that a tool would take for a variable.
fn openc2_command(
    verb: Verb,
    entity: &Entity,
    args: &BTreeMap<String, String>,
    command_id: &str,
) -> Option<Value> {
    openc2::command(verb, entity, args, command_id).filter(|command| !command.to_string().contains("__:"))
}

fn in_http(command: &Value) -> Value {
    json!({
        "type": "openc2-http",
        "command": OPENC2_START_LINE,
        "headers": {"Content-Type": [OPENC2_CONTENT_TYPE]},
        "content_b64": BASE64.encode(command.to_string()),
    })
}

fn extension(action: &Action, entity: &Entity) -> Value {
    let undo = action.undo.as_ref().map(|undo| {
        let verb = Verb::from_name(&undo.verb);
        let id = format!("{}-undo", action.id);
        let command = verb.and_then(|verb| openc2_command(verb, entity, &undo.args, &id));
        json!({"verb": undo.verb, "arguments": undo.args, "command": command.as_ref().map(in_http)})
    });
    json!({
        "action_id": action.id,
        "verb": action.verb,
        "arguments": action.args,
        "risk_class": action.risk,
        "state": action.state,
        "decision": action.decision,
        "approvals": action.approvals,
        "undo": undo,
    })
}

/// An agent-target (7) of the vocabulary where one fits, else one of ours.
fn target_definition(entity: &Entity) -> Value {
    let address = |kind: &str| json!({"type": "net-address", "address": {kind: [entity.value]}});
    let ours = |kind: EntityType| json!({"type": format!("asterism-{}", kind.as_str().replace('_', "-"))});
    match entity.entity_type {
        // An address that a tool would take for a variable is none.
        other if entity.value.contains("__:") => ours(other),
        EntityType::Device | EntityType::Domain => address("dname"),
        EntityType::Ip if entity.value.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => address("ipv6"),
        EntityType::Ip => address("ipv4"),
        EntityType::Url => address("url"),
        EntityType::User | EntityType::Mailbox => json!({"type": "individual"}),
        other => ours(other),
    }
}

/// Of the vocabulary `playbook-type-ov` (3.1.1).
fn playbook_type(verb: Verb) -> &'static str {
    match (verb, verb.spec().countermeasure) {
        (Verb::NotifySend | Verb::TicketCreate | Verb::TicketClose | Verb::TicketReopen, _) => "notification",
        (_, Countermeasure::Isolate) => "mitigation",
        (_, Countermeasure::Evict | Countermeasure::Restore) => "remediation",
        (_, Countermeasure::Harden) => "prevention",
        (_, Countermeasure::Detect) => "investigation",
    }
}

/// Of the vocabulary `playbook-activity-type-ov` (3.1.2).
fn activity(verb: Verb) -> &'static str {
    match (verb, verb.spec().countermeasure) {
        (Verb::NotifySend | Verb::TicketCreate | Verb::TicketClose | Verb::TicketReopen, _) => {
            "deliver-content"
        }
        (Verb::PlaybookRun, _) => "execute-operation",
        (Verb::HostIsolate, _) => "disconnect-system",
        (Verb::HostScan, _) => "scan-system",
        (_, Countermeasure::Isolate) => "restrict-access",
        (_, Countermeasure::Evict) => "eliminate-risk",
        (_, Countermeasure::Restore) => "restore-capabilities",
        (_, Countermeasure::Harden) => "configure-systems",
        (_, Countermeasure::Detect) => "analyze-collected-data",
    }
}

/// What it may cost to run it, from 1 to 100.
fn impact(risk: RiskClass) -> u8 {
    match risk {
        RiskClass::R0 => 1,
        RiskClass::R1 => 25,
        RiskClass::R2 => 50,
        RiskClass::R3 => 75,
        RiskClass::R4 => 100,
    }
}

fn modified(planned: &[(&Action, Verb)], created: Time) -> Time {
    let changes = planned.iter().flat_map(|(action, _)| action.history.iter().map(|step| step.at));
    changes.max().unwrap_or(created).max(created)
}

#[cfg(test)]
mod tests {
    use event::{ActionId, Approval, Decision, IncidentId, Role, Target, TenantId, Transition, UndoPlan};

    use super::*;
    use crate::testing;

    const T0: Time = Time::from_secs(1_700_000_000);

    fn incident() -> Incident {
        let alerts = [testing::alert("a-1", "attack.credential-access", &[(Role::Device, "ws-01")])];
        Incident { summary: "Somebody reads LSASS on ws-01.".into(), ..testing::incident(&alerts) }
    }

    /// The `n`th action of the plan.
    fn action(n: i64, verb: Verb, entity_type: EntityType, value: &str, outcome: &str) -> Action {
        let entity = Entity::new(entity_type, Role::Target, value).unwrap();
        let mut args = verb.complete_args(&BTreeMap::new()).unwrap_or_default();
        if verb.holds() {
            args.insert("ttl".into(), "1d".into());
        }
        let undo = verb.inverse().filter(|_| verb.holds()).map(|inverse| UndoPlan {
            verb: inverse.to_string(),
            args: inverse.shared_args(&args),
            pre_image: "what the provider told".into(),
        });
        Action {
            id: ActionId::new(format!("c-{n}")),
            tenant: TenantId::default(),
            verb: verb.to_string(),
            countermeasure: verb.spec().countermeasure,
            target: Target { identifiers: vec![entity.clone()], entity, label: None },
            args,
            risk: verb.risk(),
            incident: IncidentId::new("i-1"),
            title: "incident".into(),
            state: if outcome == "approve" { ActionState::AwaitingApproval } else { ActionState::Queued },
            decision: Decision {
                rule: "contain".into(),
                policy_version: "1/2".into(),
                automation: "semi".into(),
                outcome: outcome.into(),
                reasons: vec!["R2 needs a person".into()],
                approvers: u32::from(outcome == "approve"),
            },
            approvals: Vec::new(),
            provider_ref: None,
            attempts: 0,
            undo,
            created_at: T0.plus_micros(n),
            expires_at: T0,
            history: vec![Transition {
                to: ActionState::Proposed,
                at: T0.plus_micros(n),
                note: "Contain".into(),
            }],
        }
    }

    fn plan() -> Vec<Action> {
        let mut approved = action(2, Verb::HostScan, EntityType::Device, "ws-01", "approve");
        let yes = Approval {
            by: "anna".into(),
            at: T0.plus_micros(1_500_000),
            approved: true,
            comment: "go".into(),
        };
        approved.approvals.push(yes);
        let at = approved.approvals[0].at;
        approved.history.push(Transition { to: ActionState::Queued, at, note: "approved by anna".into() });
        let mut taken_back = action(9, Verb::HostRelease, EntityType::Device, "ws-01", "execute");
        taken_back.state = ActionState::Succeeded;
        let mut suppressed = action(8, Verb::UserContain, EntityType::User, "ann@corp.example", "suppress");
        suppressed.state = ActionState::Suppressed;
        vec![
            taken_back,
            suppressed,
            action(3, Verb::UserRevokeSessions, EntityType::User, "ann@corp.example", "execute"),
            action(4, Verb::UserDisable, EntityType::User, "ann@corp.example", "approve"),
            action(5, Verb::FileQuarantine, EntityType::File, &"ab".repeat(32), "execute"),
            action(1, Verb::HostIsolate, EntityType::Device, "ws-01", "execute"),
            approved,
        ]
    }

    #[test]
    fn a_plan_becomes_a_playbook() {
        let playbook = cacao(&incident(), &plan()).unwrap();
        check(&playbook);
        insta::assert_json_snapshot!(playbook);
        let mut other_order = plan();
        other_order.reverse();
        assert_eq!(cacao(&incident(), &other_order), Some(playbook), "the same whatever order they come in");
    }

    #[test]
    fn where_nothing_is_planned_there_is_no_playbook() {
        assert_eq!(cacao(&incident(), &[]), None);
        let mut rejected = action(1, Verb::HostIsolate, EntityType::Device, "ws-01", "approve");
        rejected.state = ActionState::Rejected;
        let mut of_another = action(2, Verb::HostIsolate, EntityType::Device, "ws-01", "execute");
        of_another.incident = IncidentId::new("i-2");
        let mut of_nobody = action(3, Verb::HostIsolate, EntityType::Device, "ws-01", "execute");
        of_nobody.tenant = TenantId::new("other");
        let release = action(4, Verb::HostRelease, EntityType::Device, "ws-01", "execute");
        assert_eq!(cacao(&incident(), &[rejected, of_another, of_nobody, release]), None);
    }

    #[test]
    fn every_plan_is_sound() {
        let verbs = [Verb::HostIsolate, Verb::HostScan, Verb::HostTag, Verb::HostOffboard];
        for targets in 1..4 {
            for each in 1..4 {
                for waiting in 0..1 << each {
                    let outcome = |n: usize| if waiting >> n & 1 == 1 { "approve" } else { "execute" };
                    let actions: Vec<Action> = (0..targets * each)
                        .map(|n| {
                            let (target, nth) = (n / each, n % each);
                            let host = format!("ws-{target:02}");
                            action(n as i64, verbs[nth], EntityType::Device, &host, outcome(nth))
                        })
                        .collect();
                    let playbook = cacao(&incident(), &actions).unwrap();
                    check(&playbook);
                    let steps = playbook["workflow"].as_object().unwrap();
                    let acts = steps.values().filter(|step| step["step_extensions"].is_object()).count();
                    assert_eq!(acts, targets * each, "each action is one step");
                    let asked = steps.values().filter(|step| step["out_args"].is_array()).count();
                    assert_eq!(asked, targets * (waiting as usize).count_ones() as usize);
                }
            }
        }
    }

    #[test]
    fn each_of_several_approvals_is_a_step_and_all_are_needed() {
        let mut offboard = action(1, Verb::HostOffboard, EntityType::Device, "ws-01", "approve");
        offboard.decision.approvers = 3;
        let isolate = action(2, Verb::HostIsolate, EntityType::Device, "ws-01", "execute");
        let playbook = cacao(&incident(), &[offboard, isolate]).unwrap();
        check(&playbook);
        let steps = playbook["workflow"].as_object().unwrap();
        let conditions = || steps.values().filter(|step| step["type"] == "if-condition");
        let variables: BTreeSet<String> = conditions().map(|step| step["condition"].to_string()).collect();
        assert_eq!((conditions().count(), variables.len()), (3, 3), "each has an answer of its own");
        let does_it = |id: &String| steps[id]["name"] == "host.offboard on device ws-01";
        let mut at = steps[playbook["workflow_start"].as_str().unwrap()]["on_completion"].as_str().unwrap();
        for _ in 0..3 {
            assert!(steps[at]["out_args"].is_array(), "{at} asks");
            let condition = &steps[steps[at]["on_completion"].as_str().unwrap()];
            let otherwise = reached(steps, condition["on_completion"].as_str().unwrap());
            assert!(!otherwise.iter().any(does_it), "a no leads past it");
            at = condition["on_true"].as_str().unwrap();
        }
        assert!(does_it(&at.to_owned()), "after the third yes it is done");
    }

    #[test]
    fn names_of_attackers_are_never_variables() {
        let evil = "__openc2_consumer__:value";
        let mut isolate = action(1, Verb::FileDelete, EntityType::File, evil, "approve");
        isolate.target.label = Some(evil.into());
        let block =
            action(2, Verb::IndicatorBlock, EntityType::Url, &format!("https://x.example/{evil}"), "execute");
        let playbook = cacao(&Incident { title: evil.into(), ..incident() }, &[isolate, block]).unwrap();
        check(&playbook);
        let ours = playbook["agent_definitions"].to_string();
        assert!(!ours.contains(evil), "no step needs a consumer: {ours}");
        let texts = [&playbook["name"], &playbook["workflow"], &playbook["target_definitions"]]
            .map(Value::to_string)
            .concat();
        assert!(!texts.replace("\"condition\":\"__approved_c-1__:value", "").contains("__:"), "{texts}");
    }

    /// What the specification asks of a playbook.
    fn check(playbook: &Value) {
        for required in ["name", "created_by", "created", "modified", "playbook_types", "playbook_activities"]
        {
            assert!(!playbook[required].is_null(), "{required}");
        }
        assert_eq!((&playbook["type"], &playbook["spec_version"]), (&json!("playbook"), &json!("cacao-2.0")));
        assert!(playbook["modified"].as_str() >= playbook["created"].as_str());
        let id = playbook["id"].as_str().unwrap();
        assert!(id.starts_with("playbook--") && version(id) == '5', "{id}");
        let steps = playbook["workflow"].as_object().unwrap();
        ids_are_unique(playbook);
        let starts: Vec<&String> = of_type(steps, "start").collect();
        assert_eq!(starts, [playbook["workflow_start"].as_str().unwrap()]);
        let reached = reached(steps, starts[0]);
        assert_eq!(reached.len(), steps.len(), "every step is reached: {playbook:#}");
        for (id, step) in steps {
            assert!(
                id.starts_with(&format!("{}--", step["type"].as_str().unwrap())) && version(id) == '4',
                "{id}"
            );
            assert_eq!(
                step["on_completion"].is_null(),
                step["type"] == "end",
                "{id}: one way on, but from an end"
            );
            match step["type"].as_str().unwrap() {
                "action" => action_is_whole(playbook, step),
                "parallel" => assert!(step["next_steps"].as_array().unwrap().len() >= 2, "{id}"),
                "if-condition" => {
                    let variable = step["condition"].as_str().unwrap().split(':').next().unwrap();
                    assert!(playbook["playbook_variables"][variable].is_object(), "{variable}");
                }
                _ => {}
            }
        }
        // The main path has one end, and each branch one of its own, which nothing else leads to.
        let branches = branches(steps);
        let ends: BTreeSet<String> =
            branches.iter().chain([starts[0]]).map(|first| end_of(steps, first)).collect();
        assert_eq!(ends.len(), branches.len() + 1, "branches share an end");
        assert_eq!(ends.len(), of_type(steps, "end").count());
    }

    fn version(id: &str) -> char {
        id.split_once("--").unwrap().1.chars().nth(14).unwrap()
    }

    fn of_type<'a>(
        steps: &'a serde_json::Map<String, Value>,
        kind: &'a str,
    ) -> impl Iterator<Item = &'a String> {
        steps.iter().filter(move |(_, step)| step["type"] == kind).map(|(id, _)| id)
    }

    fn ids_are_unique(playbook: &Value) {
        let parts = ["workflow", "agent_definitions", "target_definitions", "extension_definitions"];
        let keys = parts.iter().flat_map(|part| playbook[part].as_object().unwrap().keys());
        let uuids: Vec<&str> = keys.map(|id| id.split_once("--").unwrap().1).collect();
        assert_eq!(uuids.iter().collect::<BTreeSet<_>>().len(), uuids.len(), "{uuids:?}");
        for part in &parts[1..3] {
            for (id, object) in playbook[part].as_object().unwrap() {
                assert!(id.starts_with(&format!("{}--", object["type"].as_str().unwrap())), "{id}");
                assert!(object["name"].is_string(), "{id}");
                assert!(playbook["workflow"].to_string().contains(id.as_str()), "{id} is used");
            }
        }
    }

    fn action_is_whole(playbook: &Value, step: &Value) {
        let agent = step["agent"].as_str().unwrap();
        assert!(playbook["agent_definitions"][agent].is_object(), "{agent}");
        for target in step["targets"].as_array().into_iter().flatten() {
            assert!(playbook["target_definitions"][target.as_str().unwrap()].is_object(), "{target}");
        }
        for extension in step["step_extensions"].as_object().into_iter().flatten() {
            assert!(playbook["extension_definitions"][extension.0].is_object());
        }
        for variable in step["out_args"].as_array().into_iter().flatten() {
            assert!(playbook["playbook_variables"][variable.as_str().unwrap()].is_object(), "{variable}");
        }
        for command in step["commands"].as_array().unwrap() {
            assert!(command["command"].is_string());
            match command["type"].as_str().unwrap() {
                "manual" => assert!(agent.starts_with("group--")),
                "openc2-http" => {
                    assert!(agent.starts_with("http-api--"));
                    let content = BASE64.decode(command["content_b64"].as_str().unwrap()).unwrap();
                    let said: Value = serde_json::from_slice(&content).unwrap();
                    assert_eq!(said["target"].as_object().unwrap().len(), 1, "{said}");
                    assert!(said["action"].is_string() && said["command_id"].is_string(), "{said}");
                }
                other => panic!("{other} is no command of ours"),
            }
        }
    }

    fn next(step: &Value) -> Vec<String> {
        let single = ["on_completion", "on_true"].iter().filter_map(|name| step[name].as_str());
        let several = step["next_steps"].as_array().into_iter().flatten().filter_map(Value::as_str);
        single.chain(several).map(str::to_owned).collect()
    }

    fn reached(steps: &serde_json::Map<String, Value>, start: &str) -> BTreeSet<String> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start.to_owned()]);
        while let Some(id) = open.pop() {
            let step = steps.get(&id).unwrap_or_else(|| panic!("{id} is no step"));
            if seen.insert(id) {
                open.extend(next(step));
            }
        }
        seen
    }

    fn branches(steps: &serde_json::Map<String, Value>) -> Vec<String> {
        let first = |step: &Value| {
            let several = step["next_steps"].as_array().into_iter().flatten();
            step["on_true"]
                .as_str()
                .into_iter()
                .chain(several.filter_map(Value::as_str))
                .map(str::to_owned)
                .collect()
        };
        steps.values().flat_map(|step| -> Vec<String> { first(step) }).collect()
    }

    /// Where the steps lead that begin here, the branches within them aside.
    fn end_of(steps: &serde_json::Map<String, Value>, first: &str) -> String {
        let mut at = first.to_owned();
        for _ in 0..=steps.len() {
            match steps[&at]["on_completion"].as_str() {
                Some(next) => at = next.to_owned(),
                None => return at,
            }
        }
        panic!("{first} leads nowhere")
    }
}
