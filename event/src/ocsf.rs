//! Flat rows to nested OCSF JSON and back.
//!
//! The path of a column says where its value stands: `process.file.path` nests, `hashes#3` is the element
//! with `algorithm_id` 3 of a fingerprint list. Envelope columns that OCSF has no attribute for (`topic`,
//! `partition`, `offset`) stand under `unmapped`, as OCSF asks; `time` is in milliseconds there, so the
//! microseconds are kept in `time_dt` (profile `datetime`).

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use serde_json::{Map, Value, json};

use crate::action::{Action, ActionState};
use crate::alert::{Alert, AttackTag, Severity};
use crate::batch::EventBatch;
use crate::builder::BatchBuilder;
use crate::class::{Class, Column, ColumnType};
use crate::entity::{Entity, EntityType};
use crate::incident::Incident;
use crate::time::Time;

/// The OCSF version that the classes follow.
pub const VERSION: &str = "1.8.0";

/// One row as an OCSF event.
pub fn to_json(batch: &EventBatch, row: usize) -> Value {
    let schema = batch.schema();
    let mut event = Value::Object(Map::new());
    for column in &schema.columns {
        let Some(array) = batch.column(&column.name) else { continue };
        if let Some(value) = cell(column, array, row) {
            place(&mut event, &column.path, value);
        }
    }
    complete(&mut event, batch.class);
    let observables: Vec<Value> = batch.entities(row).iter().map(observable).collect();
    if !observables.is_empty() && event.get("observables").is_none() {
        event["observables"] = Value::Array(observables);
    }
    event
}

/// Sets the row of `builder` from an OCSF event (the inverse of [`to_json`]); attributes without a column
/// are left to `raw_data`. The caller sets what is missing of the envelope and ends the row.
pub fn set_row(builder: &mut BatchBuilder, event: &Value) {
    for index in 0..builder.schema().columns.len() {
        let column = &builder.schema().columns[index];
        let Some(value) = find(event, &column.path) else { continue };
        match (column.column_type, value) {
            (_, Value::Null) => {}
            (ColumnType::Json, value) => builder.set_text(index, &value.to_string()),
            (ColumnType::Strings, Value::Array(members)) => {
                builder.set_texts(index, members.iter().filter_map(Value::as_str));
            }
            (ColumnType::Time, Value::Number(n)) => {
                let exact = find(event, &format!("{}_dt", column.path)).and_then(Value::as_str);
                let time =
                    exact.and_then(|t| Time::parse(t).ok()).or_else(|| n.as_i64().map(Time::from_millis));
                if let Some(time) = time {
                    builder.set_time(index, time);
                }
            }
            (_, Value::String(text)) => {
                builder.set_from_text(index, text);
            }
            (_, Value::Number(_) | Value::Bool(_)) => {
                builder.set_from_text(index, &value.to_string());
            }
            _ => {}
        }
    }
}

/// An alert as an OCSF Detection Finding (2004). Rule author and record positions travel with it.
pub fn finding(alert: &Alert) -> Value {
    let attacks: Vec<Value> = alert.attack.iter().map(attack).collect();
    let mut analytic = json!({"type_id": 1, "type": "Rule", "uid": alert.rule.id, "name": alert.rule.title});
    if let Some(author) = &alert.rule.author {
        analytic["desc"] = json!(format!("author: {author}"));
    }
    let evidence: Map<String, Value> =
        alert.evidence.iter().map(|(k, v)| (k.to_string(), json!(v))).collect();
    let mut finding = json!({
        "class_uid": Class::DETECTION_FINDING.uid(),
        "activity_id": 1,
        "severity_id": alert.severity as u8,
        "is_alert": true,
        "time": alert.time.micros() / 1_000,
        "time_dt": alert.time,
        "message": alert.title,
        "finding_info": {
            "uid": alert.id, "title": alert.title, "analytic": analytic, "attacks": attacks,
            "first_seen_time": alert.time.micros() / 1_000, "first_seen_time_dt": alert.time,
            "last_seen_time": alert.end_time.micros() / 1_000, "last_seen_time_dt": alert.end_time,
            "data_sources": [alert.source], "types": [alert.domain],
        },
        "evidences": [{"data": evidence}],
        "observables": alert.entities.iter().map(observable).collect::<Vec<_>>(),
        "metadata": {"tenant_uid": alert.tenant, "uid": alert.id, "product": {"name": alert.product}},
        "unmapped": {"records": alert.records, "event_uid": alert.event_uid, "rule_author": alert.rule.author},
    });
    complete(&mut finding, Class::DETECTION_FINDING);
    finding
}

/// An incident as an OCSF Incident Finding (2005).
pub fn incident_finding(incident: &Incident, activity_id: u8) -> Value {
    let alerts: Vec<Value> = incident.alerts.iter().map(|id| json!({"uid": id})).collect();
    let mut finding = json!({
        "class_uid": Class::INCIDENT_FINDING.uid(),
        "activity_id": activity_id,
        "severity_id": incident.severity as u8,
        "time": incident.last_time.micros() / 1_000,
        "time_dt": incident.last_time,
        "start_time": incident.first_time.micros() / 1_000,
        "end_time": incident.last_time.micros() / 1_000,
        "message": incident.title,
        "desc": incident.summary,
        "priority_score": incident.score,
        "finding_info_list": alerts,
        "observables": incident.entities.iter().map(|(e, _)| observable(e)).collect::<Vec<_>>(),
        "metadata": {"tenant_uid": incident.tenant, "uid": incident.id, "sequence": incident.version, "product": {"name": "Asterism"}},
    });
    complete(&mut finding, Class::INCIDENT_FINDING);
    finding
}

/// An action as an OCSF Remediation Activity (7001): its command, target, state and the decision behind it.
pub fn remediation(action: &Action) -> Value {
    let time = action.history.last().map_or(action.created_at, |t| t.at);
    let (status_id, status) = remediation_status(action.state);
    let mut activity = json!({
        "class_uid": Class::REMEDIATION_ACTIVITY.uid(),
        "activity_id": action.countermeasure as u8,
        "activity_name": action.countermeasure.as_str(),
        "countermeasures": [{"d3f_tactic": {"name": action.countermeasure.as_str()}}],
        "severity_id": Severity::Informational as u8,
        "time": time.micros() / 1_000,
        "time_dt": time,
        "command_uid": action.id,
        "status_id": status_id,
        "status": status,
        "status_code": action.state,
        "status_detail": action.history.last().map(|t| &t.note),
        "message": format!("{} {}: {}", action.verb, action.target.name(), action.state.as_str()),
        "observables": [observable(&action.target.entity)],
        "metadata": {"tenant_uid": action.tenant, "uid": action.id, "product": {"name": "Asterism"}},
        "unmapped": {
            "action_uid": action.id, "incident_uid": action.incident, "verb": action.verb,
            "target": action.target.entity.value, "args": action.args, "risk": action.risk,
            "decision": action.decision, "approvals": action.approvals, "attempts": action.attempts,
            "provider_ref": action.provider_ref, "expires_at": action.expires_at,
        },
    });
    // The class has no place for users, mail and applications: they stand in the observables.
    if action.target.entity.entity_type == EntityType::Device {
        activity["device"] = json!({"hostname": action.target.entity.value, "type_id": 0});
    }
    complete(&mut activity, Class::REMEDIATION_ACTIVITY);
    activity
}

/// OCSF `status_id` and `status` of a remediation (1.8.0, class 7001): what is not at its end is `Unknown`.
fn remediation_status(state: ActionState) -> (u8, &'static str) {
    match state {
        ActionState::Succeeded | ActionState::NoOp => (1, "Success"),
        ActionState::Failed | ActionState::TimedOut | ActionState::Expired => (2, "Failure"),
        ActionState::Partial => (4, "Partial"),
        ActionState::Suppressed | ActionState::Simulated | ActionState::Rejected | ActionState::Cancelled => {
            (99, "Other")
        }
        _ => (0, "Unknown"),
    }
}

/// Adds what OCSF requires on every event and follows from its class and its `activity_id`.
pub fn complete(event: &mut Value, class: Class) {
    let activity = event.get("activity_id").and_then(Value::as_u64).unwrap_or(0);
    event["class_name"] = json!(class.name());
    event["category_uid"] = json!(class.category_uid());
    event["type_uid"] = json!(u64::from(class.uid()) * 100 + activity);
    event["metadata"]["version"] = json!(VERSION);
}

fn attack(tag: &AttackTag) -> Value {
    match tag {
        AttackTag::Tactic(tactic) => json!({"tactic": {"name": tactic}}),
        AttackTag::Technique(uid) => json!({"technique": {"uid": uid}}),
    }
}

/// OCSF observable type ids (1.8.0, `objects/observable`).
fn observable(entity: &Entity) -> Value {
    let type_id = match entity.entity_type {
        EntityType::Device => 1,
        EntityType::Ip => 2,
        EntityType::User => 4,
        EntityType::Mailbox => 5,
        EntityType::Url => 6,
        EntityType::File => 8,
        EntityType::Process => 25,
        EntityType::Domain => 1,
        EntityType::Message | EntityType::App | EntityType::Session | EntityType::CloudResource => 10,
    };
    json!({"name": format!("{}.{}", entity.entity_type, entity.role), "type_id": type_id, "type": entity.entity_type, "value": entity.value})
}

fn cell(column: &Column, array: &ArrayRef, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Utf8View if column.column_type == ColumnType::Json => {
            let text = array.as_string_view().value(row);
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        DataType::Utf8View => json!(array.as_string_view().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Timestamp(..) => json!(Time(array.as_primitive::<TimestampMicrosecondType>().value(row))),
        DataType::List(_) => {
            let members = array.as_list::<i32>().value(row);
            json!(members.as_string_view().iter().flatten().collect::<Vec<_>>())
        }
        _ => return None,
    })
}

/// Puts a value at a path, making objects and fingerprint elements on the way.
fn place(event: &mut Value, path: &str, value: Value) {
    // A time is a number of milliseconds in OCSF; its exact form stands beside it.
    if let Value::String(text) = &value
        && (path == "time" || path.ends_with("_time"))
        && let Ok(time) = Time::parse(text)
    {
        place_plain(event, &format!("{path}_dt"), value.clone());
        return place_plain(event, path, json!(time.micros() / 1_000));
    }
    place_plain(event, path, value);
}

fn place_plain(event: &mut Value, path: &str, value: Value) {
    let mut at = event;
    for segment in path.split('.') {
        at = match segment.split_once('#') {
            None => &mut at[segment],
            Some((list, id)) => element(&mut at[list], id.parse().unwrap_or(0)),
        };
    }
    *at = value;
}

fn element(list: &mut Value, algorithm_id: u64) -> &mut Value {
    if !list.is_array() {
        *list = json!([]);
    }
    let members = match list {
        Value::Array(members) => members,
        _ => unreachable!("made an array above"),
    };
    let found = members.iter().position(|m| m["algorithm_id"] == json!(algorithm_id));
    let index = found.unwrap_or_else(|| {
        members.push(json!({"algorithm_id": algorithm_id}));
        members.len() - 1
    });
    &mut members[index]
}

fn find<'a>(event: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(event, |at, segment| match segment.split_once('#') {
        None => at.get(segment),
        Some((list, id)) => {
            let id: u64 = id.parse().ok()?;
            at.get(list)?.as_array()?.iter().find(|m| m["algorithm_id"] == json!(id))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alert::Domain;
    use crate::batch::RowMeta;
    use crate::ids::TenantId;
    use crate::native::NativeFields;

    fn meta() -> Arc<RowMeta> {
        Arc::new(RowMeta {
            tenant: TenantId::default(),
            source: "test".into(),
            variant: "test".into(),
            domain: Domain::Endpoint,
            product: "Test".into(),
            logsources: Arc::new([]),
        })
    }

    fn envelope(builder: &mut BatchBuilder) {
        let schema = builder.schema();
        let at = |name: &str| schema.columns.iter().position(|c| c.name == name).unwrap();
        builder.set_time(at("time"), Time(1_692_093_239_757_123));
        builder.set_time(at("ingest_time"), Time(1_692_093_240_000_000));
        builder.set_text(at("tenant"), "default");
        builder.set_text(at("event_uid"), "t/0@7");
        builder.set_int(at("class_uid"), i64::from(schema.class.uid()));
        builder.set_int(at("activity_id"), 1);
        builder.set_text(at("source"), "test");
        builder.set_text(at("topic"), "t");
        builder.set_int(at("partition"), 0);
        builder.set_int(at("offset"), 7);
    }

    #[test]
    fn a_row_of_every_class_goes_to_ocsf_json_and_back() {
        for class in Class::all() {
            let mut builder = BatchBuilder::new(class, meta());
            envelope(&mut builder);
            for (index, column) in builder.schema().own_columns().iter().enumerate() {
                let index = index + builder.schema().envelope().len();
                match column.column_type {
                    ColumnType::String => builder.set_text(index, &format!("v{index}")),
                    ColumnType::Json => builder.set_text(index, r#"[{"a":1}]"#),
                    ColumnType::Strings => builder.set_texts(index, ["x", "y"]),
                    ColumnType::Int => builder.set_int(index, index as i64),
                    ColumnType::Bool => builder.set_bool(index, true),
                    ColumnType::Time => builder.set_time(index, Time(1_692_093_239_000_001)),
                    ColumnType::Float => builder.set_float(index, 1.5),
                }
            }
            builder.end_row();
            let batch = builder.finish(NativeFields::default(), &[]).unwrap();
            let event = to_json(&batch, 0);
            let mut again = BatchBuilder::new(class, meta());
            set_row(&mut again, &event);
            again.end_row();
            let again = again.finish(NativeFields::default(), &[]).unwrap();
            assert_eq!(again.columns, batch.columns, "{class}: {event:#}");
        }
    }

    #[test]
    fn ocsf_json_has_what_the_class_requires() {
        let mut builder = BatchBuilder::new(Class::PROCESS_ACTIVITY, meta());
        envelope(&mut builder);
        let at = |name: &str| {
            ClassSchema::of(Class::PROCESS_ACTIVITY).columns.iter().position(|c| c.name == name).unwrap()
        };
        builder.set_text(at("process_cmd_line"), "whoami /all");
        builder.set_text(at("process_hash_sha256"), "AB12");
        builder.set_text(at("device_hostname"), "WS-01");
        builder.end_row();
        let batch = builder.finish(NativeFields::default(), &[]).unwrap();
        insta::assert_json_snapshot!(to_json(&batch, 0));
    }

    use crate::class::ClassSchema;
}
