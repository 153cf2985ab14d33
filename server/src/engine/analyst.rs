//! What the audit chain says of an analyst's word on an incident.

use std::collections::BTreeMap;

use correlate::{AnalystInput, Said};
use event::Time;
use respond::AuditRecord;

/// The entry for an input that was taken, about the incident, or the alert, that it names first.
pub(super) fn audit_record(input: &AnalystInput, now: Time) -> AuditRecord {
    let (kind, subject, text, details) = told(&input.said);
    let details = details.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    AuditRecord {
        at: now,
        tenant: input.tenant.clone(),
        kind: kind.to_owned(),
        by: input.by.clone(),
        subject,
        text,
        details,
    }
}

/// What was said, for people: its kind, and a sentence about the incident or alert that it names first.
pub(crate) fn in_words(said: &Said) -> (&'static str, String) {
    let (kind, _, text, _) = told(said);
    (kind, text)
}

type Told = (&'static str, String, String, BTreeMap<&'static str, String>);

fn told(said: &Said) -> Told {
    match said {
        Said::Assign { incident, assignee } => {
            let to = assignee.as_deref().unwrap_or("nobody");
            ("assign", incident.to_string(), format!("assigned to {to}"), detail("assignee", to))
        }
        Said::SetStatus { incident, status } => {
            let status = status.as_str();
            ("status", incident.to_string(), format!("set to {status}"), detail("status", status))
        }
        Said::Classify { incident, classification } => {
            let as_what = classification.as_deref().unwrap_or("nothing");
            let text = format!("classified as {as_what}");
            ("classify", incident.to_string(), text, detail("classification", as_what))
        }
        Said::Merge { into, from } => (
            "merge_incidents",
            into.to_string(),
            format!("{from} merged into it"),
            detail("from", from.as_str()),
        ),
        Said::Split { incident, leaving } => {
            let alerts: Vec<&str> = leaving.iter().map(|alert| alert.as_str()).collect();
            let text = format!("{} alerts taken out", alerts.len());
            ("split_incident", incident.to_string(), text, detail("alerts", &alerts.join(",")))
        }
        Said::Move { from, moving, to } => {
            let alerts: Vec<&str> = moving.iter().map(|alert| alert.as_str()).collect();
            let text = format!("{} alerts moved to {to}", alerts.len());
            let mut details = detail("alerts", &alerts.join(","));
            details.insert("to", to.to_string());
            ("move_alerts", from.to_string(), text, details)
        }
        Said::Veto { a, b } => {
            ("veto", a.to_string(), format!("does not belong with {b}"), detail("with", b.as_str()))
        }
        Said::Distinct { entity_type, a, b } => {
            let text = format!("is not the same {entity_type} as {b}");
            ("distinct", format!("{entity_type}:{a}"), text, detail("from", b))
        }
        Said::Undo { input } => ("undo_input", input.to_string(), "undone".to_owned(), BTreeMap::new()),
    }
}

fn detail(key: &'static str, value: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([(key, value.to_owned())])
}

#[cfg(test)]
mod tests {
    use event::{AlertId, IncidentId, IncidentStatus, TenantId};

    use super::*;

    #[test]
    fn every_input_says_who_did_what_to_which_incident() {
        let incident = || IncidentId::new("i-1");
        let inputs = [
            Said::Assign { incident: incident(), assignee: Some("anna".to_owned()) },
            Said::Assign { incident: incident(), assignee: None },
            Said::SetStatus { incident: incident(), status: IncidentStatus::Closed },
            Said::Classify { incident: incident(), classification: Some("benign".to_owned()) },
            Said::Merge { into: incident(), from: IncidentId::new("i-2") },
            Said::Split { incident: incident(), leaving: vec![AlertId::new("a-1"), AlertId::new("a-2")] },
        ];
        let told = inputs.map(|said| {
            let (tenant, at) = (TenantId::default(), Time::from_secs(1));
            let input = AnalystInput::new(tenant, at, "bert", said);
            let record = audit_record(&input, Time::from_secs(2));
            assert_eq!(
                (record.by.as_str(), record.subject.as_str(), record.at),
                ("bert", "i-1", Time::from_secs(2))
            );
            assert_eq!(record.details.len(), 1);
            format!("{}: {}", record.kind, record.text)
        });
        let expected = [
            "assign: assigned to anna",
            "assign: assigned to nobody",
            "status: set to closed",
            "classify: classified as benign",
            "merge_incidents: i-2 merged into it",
            "split_incident: 2 alerts taken out",
        ];
        assert_eq!(told, expected);
    }
}
