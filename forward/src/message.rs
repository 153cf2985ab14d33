//! From a row of the outbox to what goes out: an OCSF event with CloudEvents attributes.

use event::{Action, Alert, Incident, TenantId, Time, ocsf};
use serde_json::{Value, json};

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Rises with every row, without regard to tenants; never used twice.
    pub sequence: i64,
    /// Tenant.
    pub tenant: TenantId,
    /// `alert`, `incident`, `action`; other kinds are not forwarded.
    pub kind: String,
    /// What happened: `created`, `updated`, `merged`, `sealed`, a state, ...
    pub change: String,
    /// Id of what it is about.
    pub subject: String,
    /// The incident it belongs to, where that is known.
    pub incident: Option<String>,
    /// The JSON of the [`Alert`], [`Incident`] or [`Action`] after the change.
    pub body: String,
}

/// What subscribers subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// OCSF Detection Findings (2004).
    Findings,
    /// OCSF Incident Findings (2005).
    Incidents,
    /// OCSF Remediation Activities (7001).
    Actions,
}

impl Stream {
    /// The name, and the Kafka topic it goes to by default.
    pub const fn topic(self) -> &'static str {
        match self {
            Stream::Findings => "asterism.findings",
            Stream::Incidents => "asterism.incidents",
            Stream::Actions => "asterism.actions",
        }
    }
}

/// What goes out.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Sequence number of the outbox row: subscribers see gaps and repetitions by it.
    pub sequence: i64,
    /// Stable over retries: subscribers drop what they have.
    pub id: String,
    /// Where it goes.
    pub stream: Stream,
    /// CloudEvents `type`: `asterism.incident.updated`, ...
    pub event_type: String,
    /// Tenant.
    pub tenant: TenantId,
    /// The incident, else the subject; of actions the action. One key keeps its order.
    pub key: String,
    /// Id of what it is about.
    pub subject: String,
    /// Event time of the change.
    pub time: Time,
    /// The OCSF event.
    pub body: Value,
}

impl Message {
    /// The message of a row; `None` for a kind that is not forwarded.
    ///
    /// # Errors
    /// The reason why the body is not what its kind says: the row is set aside.
    pub fn of(row: &OutboxRow) -> Result<Option<Self>, String> {
        let unreadable = |e: serde_json::Error| format!("{} {}: {e}", row.kind, row.subject);
        let (stream, key, time, body) = match row.kind.as_str() {
            "alert" => {
                let alert: Alert = serde_json::from_str(&row.body).map_err(unreadable)?;
                let key = row.incident.clone().unwrap_or_else(|| row.subject.clone());
                (Stream::Findings, key, alert.time, ocsf::finding(&alert))
            }
            "incident" => {
                let incident: Incident = serde_json::from_str(&row.body).map_err(unreadable)?;
                let body = ocsf::incident_finding(&incident, activity(&row.change));
                (Stream::Incidents, incident.id.to_string(), incident.last_time, body)
            }
            "action" => {
                let action: Action = serde_json::from_str(&row.body).map_err(unreadable)?;
                let time = action.history.last().map_or(action.created_at, |t| t.at);
                (Stream::Actions, action.id.to_string(), time, ocsf::remediation(&action))
            }
            _ => return Ok(None),
        };
        Ok(Some(Message {
            sequence: row.sequence,
            id: format!("{}-{}", row.subject, row.sequence),
            stream,
            event_type: format!("asterism.{}.{}", row.kind, row.change),
            tenant: row.tenant.clone(),
            key,
            subject: row.subject.clone(),
            time,
            body,
        }))
    }

    /// CloudEvents 1.0 context attributes, in the order of the specification, extensions last.
    pub fn attributes(&self) -> [(&'static str, String); 8] {
        [
            ("specversion", "1.0".to_owned()),
            ("id", self.id.clone()),
            ("source", format!("/asterism/{}", self.tenant)),
            ("type", self.event_type.clone()),
            ("subject", self.subject.clone()),
            ("time", self.time.to_string()),
            ("tenant", self.tenant.to_string()),
            // The `sequence` extension of CloudEvents: sorts as text.
            ("sequence", format!("{:020}", self.sequence)),
        ]
    }

    /// The CloudEvent in structured mode, for sinks without headers.
    pub fn structured(&self) -> Value {
        let mut event = json!({"datacontenttype": "application/json", "data": self.body});
        for (name, value) in self.attributes() {
            event[name] = json!(value);
        }
        event
    }
}

/// OCSF `activity_id` of an incident finding: 1 create, 2 update, 3 close.
fn activity(change: &str) -> u8 {
    match change {
        "created" | "split" => 1,
        "closed" | "redirected" => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::incident_row;

    #[test]
    fn an_incident_becomes_an_ocsf_finding_in_a_cloud_event() {
        let message = Message::of(&incident_row(7)).unwrap().unwrap();
        assert_eq!((message.stream.topic(), message.key.as_str()), ("asterism.incidents", "i-1"));
        let event = message.structured();
        assert_eq!(event["id"], "i-1-7");
        assert_eq!(event["type"], "asterism.incident.updated");
        assert_eq!(event["sequence"], "00000000000000000007");
        assert_eq!(event["data"]["class_uid"], 2005);
        assert_eq!(event["data"]["activity_id"], 2);
        assert_eq!(event["time"], "2026-01-01T00:10:00.000000Z");
    }

    #[test]
    fn other_kinds_are_not_forwarded_and_a_broken_body_is_named() {
        let audit = OutboxRow { kind: "audit".into(), ..incident_row(1) };
        assert_eq!(Message::of(&audit), Ok(None));
        let broken = OutboxRow { body: "{".into(), ..incident_row(1) };
        assert!(Message::of(&broken).unwrap_err().starts_with("incident i-1: "));
    }

    #[test]
    fn an_action_becomes_a_remediation_with_its_decision() {
        let body = json!({
            "id": "c-1", "tenant": "default", "verb": "host.isolate", "args": {}, "risk": "R2", "incident": "i-1",
            "target": {"entity": {"type": "device", "role": "device", "value": "ws-01"}, "identifiers": []},
            "state": "succeeded", "approvals": [], "attempts": 1,
            "decision": {"rule": "r", "policy_version": "1/2", "automation": "full", "outcome": "execute", "reasons": []},
            "created_at": "2026-01-01T00:00:00.000000Z", "expires_at": "2026-01-02T00:00:00.000000Z", "history": [],
        });
        let row = OutboxRow {
            kind: "action".into(),
            change: "succeeded".into(),
            body: body.to_string(),
            ..incident_row(9)
        };
        let message = Message::of(&row).unwrap().unwrap();
        assert_eq!((message.stream, message.key.as_str()), (Stream::Actions, "c-1"));
        assert_eq!(message.body["class_uid"], 7001);
        assert_eq!(message.body["status"], "Success");
        assert_eq!(message.body["unmapped"]["decision"]["rule"], "r");
    }
}
