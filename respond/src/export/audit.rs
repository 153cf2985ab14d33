//! The audit chain as OCSF events.

use event::{Action, ActionState, Class, IncidentId, Severity, ocsf};
use serde_json::{Value, json};

use crate::audit::AuditEntry;

/// An entry of the audit chain as an OCSF Remediation Activity (7001, 1.8.0): the action that it is about as it was then,
/// where there is one, who did it, and the entry's place in the chain. `metadata.uid` is the hash of the entry, which is
/// unique; `metadata.sequence` its position. Under `unmapped.audit` stands all that the hash was made of, so that the chain
/// can be verified from the events alone.
pub fn audit_activity(entry: &AuditEntry, action: Option<&Action>) -> Value {
    let record = &entry.record;
    let about =
        action.filter(|action| action.id.as_str() == record.subject && action.tenant == record.tenant);
    let mut activity = match about {
        Some(action) => ocsf::remediation(&as_it_was(action, entry)),
        None => of_no_action(entry),
    };
    activity["time"] = json!(record.at.micros() / 1_000);
    activity["time_dt"] = json!(record.at);
    activity["message"] = json!(format!("{} by {}: {}", record.kind, record.by, record.text));
    activity["status_detail"] = json!(record.text);
    activity["actor"] = json!({"user": {"name": record.by}});
    activity["metadata"]["uid"] = json!(entry.hash);
    activity["metadata"]["correlation_uid"] = json!(record.subject);
    activity["metadata"]["sequence"] = json!(entry.sequence);
    activity["metadata"]["event_code"] = json!(record.kind);
    activity["metadata"]["profiles"] = json!(["datetime", "host"]);
    // When it lapses is known as it is now alone.
    if let Some(unmapped) = activity["unmapped"].as_object_mut() {
        unmapped.remove("expires_at");
    }
    activity["unmapped"]["audit"] = json!(entry);
    activity
}

/// The action in the state that the entry tells, without what only came later.
fn as_it_was(action: &Action, entry: &AuditEntry) -> Action {
    let at = entry.record.at;
    let state = entry.record.details.get("state").and_then(|name| state_of(name)).unwrap_or(action.state);
    let detail = |name: &str| entry.record.details.get(name);
    let attempts = detail("attempts").or(detail("attempt")).and_then(|n| n.parse().ok());
    let mut was = Action { state, ..action.clone() };
    was.incident = detail("incident").map_or(was.incident, |id| IncidentId::new(id.as_str()));
    was.history.retain(|step| step.at <= at);
    was.approvals.retain(|approval| approval.at <= at);
    was.provider_ref = detail("provider_ref").cloned();
    was.attempts = attempts.unwrap_or_default();
    was
}

fn state_of(name: &str) -> Option<ActionState> {
    serde_json::from_value(json!(name)).ok()
}

/// What people say on incidents, and the kill switch, are links of the chain, too.
fn of_no_action(entry: &AuditEntry) -> Value {
    let record = &entry.record;
    let mut activity = json!({
        "class_uid": Class::REMEDIATION_ACTIVITY.uid(),
        "activity_id": 99,
        "activity_name": record.kind,
        "severity_id": Severity::Informational as u8,
        "command_uid": record.subject,
        "status_id": 99,
        "status": "Other",
        "metadata": {"tenant_uid": record.tenant, "product": {"name": "Asterism"}},
    });
    ocsf::complete(&mut activity, Class::REMEDIATION_ACTIVITY);
    activity
}

#[cfg(test)]
mod tests {
    use event::{TenantId, Time};

    use super::*;
    use crate::audit::{AuditHead, AuditRecord, verify};
    use crate::testing::{alert, incident};
    use crate::{Policy, Responder, ResponseRules};

    const T0: Time = Time::from_secs(1_700_000_000);

    /// An isolation that was proposed and approved, and what somebody said on something else.
    fn story() -> (Action, Vec<AuditEntry>) {
        let rule =
            "id: isolate\ntitle: Isolate\nwhen: 'true'\ntarget: attacked_devices\naction: host.isolate\n";
        let (rules, report) = ResponseRules::load([("r.yml".to_owned(), rule.to_owned())]);
        assert_eq!(report.rejected, []);
        let mut responder = Responder::new(rules, Policy::default()).unwrap();
        let alerts = [alert("a-1", "attack.credential-access", &[(event::Role::Device, "ws-01")])];
        let found = || Ok::<_, std::convert::Infallible>(alerts.to_vec());
        let mut changes = responder.on_incident(&incident(&alerts), found, T0).unwrap();
        let id = changes[0].action.id.clone();
        let later = |s: i64| T0.plus_micros(s * 1_000_000);
        changes.extend(responder.approve(&id, "anna", "go", later(60)).unwrap());
        let mut entries: Vec<AuditEntry> = changes.into_iter().map(|change| change.audit).collect();
        entries.push(responder.note(AuditRecord {
            at: later(90),
            tenant: TenantId::default(),
            kind: "merge".into(),
            by: "kim".into(),
            subject: "i-1".into(),
            text: "i-2 became part of it".into(),
            details: Default::default(),
        }));
        (responder.action(&id).unwrap().clone(), entries)
    }

    #[test]
    fn an_entry_is_told_with_its_action_as_it_was_then() {
        let (action, entries) = story();
        let events: Vec<Value> = entries.iter().map(|entry| audit_activity(entry, Some(&action))).collect();
        let part = |name: &str| events.iter().map(|event| event[name].clone()).collect::<Vec<_>>();
        assert_eq!(part("status_code"), [json!("awaiting_approval"), json!("queued"), Value::Null]);
        assert_eq!(part("type_uid"), [700_101, 700_101, 700_199]);
        assert_eq!(part("command_uid"), [json!(action.id), json!(action.id), json!("i-1")]);
        assert_eq!(part("time"), [1_700_000_000_000_i64, 1_700_000_060_000, 1_700_000_090_000]);
        let approvals = |n: usize| events[n]["unmapped"]["approvals"].as_array().map(Vec::len);
        assert_eq!((approvals(0), approvals(1)), (Some(0), Some(1)), "what came later is not told");
        assert_eq!(events[1]["actor"]["user"]["name"], "anna");
        assert_eq!(events[1]["message"], "approval by anna: approved: go");
        assert_eq!(events[1]["device"]["hostname"], "ws-01");
        assert_eq!(events[2]["message"], "merge by kim: i-2 became part of it");
    }

    #[test]
    fn the_chain_is_verified_from_the_events_alone() {
        let (action, entries) = story();
        let mut events: Vec<Value> =
            entries.iter().map(|entry| audit_activity(entry, Some(&action))).collect();
        let chain = |events: &[Value]| {
            let entry = |event: &Value| serde_json::from_value(event["unmapped"]["audit"].clone()).unwrap();
            events.iter().map(entry).collect::<Vec<AuditEntry>>()
        };
        assert_eq!(verify(&AuditHead::default(), &chain(&events)).unwrap().sequence, 3);
        for (event, entry) in events.iter().zip(&entries) {
            assert_eq!(event["metadata"]["uid"], json!(entry.hash));
            assert_eq!(event["metadata"]["sequence"], json!(entry.sequence));
        }
        events[1]["unmapped"]["audit"]["record"]["by"] = json!("mallory");
        assert_eq!(verify(&AuditHead::default(), &chain(&events)).unwrap_err().sequence, 2);
    }

    #[test]
    fn the_action_of_another_entry_is_not_told() {
        let (action, entries) = story();
        let stranger = Action { id: event::ActionId::new("c-other"), ..action.clone() };
        let other_tenant = Action { tenant: TenantId::new("other"), ..action };
        for wrong in [stranger, other_tenant] {
            let activity = audit_activity(&entries[0], Some(&wrong));
            assert_eq!(activity["activity_id"], 99);
            assert!(activity["unmapped"].get("decision").is_none(), "{activity}");
        }
    }

    #[test]
    fn an_event_has_what_its_class_requires() {
        let (action, entries) = story();
        for entry in &entries {
            let activity = audit_activity(entry, Some(&action));
            for required in [
                "activity_id",
                "category_uid",
                "class_uid",
                "command_uid",
                "metadata",
                "severity_id",
                "time",
                "type_uid",
            ] {
                assert!(!activity[required].is_null(), "{required}: {activity}");
            }
            for required in ["version", "product", "uid", "profiles"] {
                assert!(!activity["metadata"][required].is_null(), "{required}: {activity}");
            }
        }
        insta::assert_json_snapshot!(audit_activity(&entries[1], Some(&action)));
    }
}
