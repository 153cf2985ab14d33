//! STIX 2.1 (OASIS standard, 10 June 2021): a bundle of one incident.
//!
//! - Entities are cyber-observable objects with the ids that the standard derives from their properties (2.9); devices
//!   are identities of class `system` and cloud resources infrastructure, for want of an observable. Sessions, and
//!   processes of which neither image nor number is known, have no form there and are left out.
//! - An alert is `observed-data` over its observables, and a `sighting` of each of its ATT&CK techniques.
//! - Relations are `relationship` objects; a `grouping` holds all of it together, an `incident` carries its story.
//!
//! All ids are derived from content: the same incident gives the same bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::names::is_opaque;
use event::{Alert, AssetPart, EntityType, GraphEdge, GraphNode, Incident, IncidentGraph, Uuid};
use serde_json::{Map, Value, json};

/// The namespace that the standard gives for observables (2.9).
const OBSERVABLES: Uuid = Uuid::of(0x00ab_edb4_aa42_466c_9c01_fed2_3315_a9b7);

/// What is true of all incidents was created then; an object has one creation time wherever it appears.
const ALWAYS: &str = "2024-01-01T00:00:00.000Z";

/// The incident, the alerts of it that the graph shows, and their entities as a STIX 2.1 bundle.
pub fn stix(incident: &Incident, alerts: &[Alert], graph: &IncidentGraph) -> Value {
    let mut bundle = Bundle { incident, objects: BTreeMap::new(), of_node: BTreeMap::new() };
    let engine =
        bundle.always("identity", "asterism", json!({"name": "Asterism", "identity_class": "system"}));
    for node in &graph.nodes {
        bundle.entity(node);
    }
    for alert in alerts {
        bundle.alert(alert, graph);
    }
    for edge in &graph.edges {
        bundle.relation(edge);
    }
    bundle.incident();
    bundle.finish(&engine)
}

struct Bundle<'a> {
    incident: &'a Incident,
    /// By id.
    objects: BTreeMap<String, Value>,
    /// Object ids of graph nodes.
    of_node: BTreeMap<String, String>,
}

impl Bundle<'_> {
    fn add(&mut self, kind: &str, id: Uuid, properties: Value) -> String {
        let id = format!("{kind}--{id}");
        let mut object = Map::from_iter([
            ("type".to_owned(), json!(kind)),
            ("spec_version".to_owned(), json!("2.1")),
            ("id".to_owned(), json!(id)),
        ]);
        if let Value::Object(properties) = properties {
            object.extend(properties.into_iter().filter(|(_, value)| !value.is_null()));
        }
        self.objects.entry(id.clone()).or_insert(Value::Object(object));
        id
    }

    /// A domain or relationship object of this incident.
    fn own(&mut self, kind: &str, parts: &[&str], mut properties: Value) -> String {
        properties["created"] = json!(self.incident.first_time.rfc3339_millis());
        properties["modified"] = json!(self.incident.last_time.rfc3339_millis());
        let mut named = vec![self.incident.tenant.as_str(), self.incident.id.as_str(), kind];
        named.extend(parts);
        self.add(kind, Uuid::ours(&named), properties)
    }

    /// A domain object that is the same in every incident of the tenant.
    fn always(&mut self, kind: &str, name: &str, mut properties: Value) -> String {
        properties["created"] = json!(ALWAYS);
        properties["modified"] = json!(ALWAYS);
        self.add(kind, Uuid::ours(&[self.incident.tenant.as_str(), kind, name]), properties)
    }

    /// An observable; its id follows from the properties that the standard names for it, all of which are given.
    fn observable(&mut self, kind: &str, properties: Value) -> String {
        // Each has one property, a text, so this is the canonical form (RFC 8785) that the standard hashes.
        let id = Uuid::named(OBSERVABLES, properties.to_string().as_bytes());
        self.add(kind, id, properties)
    }

    fn entity(&mut self, node: &GraphNode) {
        let Some(entity_type) = EntityType::from_name(&node.kind) else { return };
        let value = node.id.split_once(':').map_or("", |(_, value)| value);
        let id = match entity_type {
            EntityType::User if is_opaque(EntityType::User, value) => {
                self.observable("user-account", json!({"user_id": value}))
            }
            EntityType::User => self.observable("user-account", json!({"account_login": value})),
            EntityType::Device => {
                self.always("identity", value, json!({"name": node.label, "identity_class": "system"}))
            }
            EntityType::Ip => match value.parse() {
                Ok(IpAddr::V6(_)) => self.observable("ipv6-addr", json!({"value": value})),
                Ok(IpAddr::V4(_)) => self.observable("ipv4-addr", json!({"value": value})),
                Err(_) => return,
            },
            EntityType::Domain => self.observable("domain-name", json!({"value": value})),
            EntityType::Url => self.observable("url", json!({"value": uri(value)})),
            // Some records know a mailbox by its id alone.
            EntityType::Mailbox if !value.contains('@') => {
                self.observable("user-account", json!({"user_id": value}))
            }
            EntityType::Mailbox => self.observable("email-addr", json!({"value": value})),
            EntityType::App => self.observable("software", json!({"name": node.label})),
            EntityType::CloudResource => self.always("infrastructure", value, json!({"name": value})),
            EntityType::File if is_sha256(value) => {
                self.observable("file", json!({"hashes": {"SHA-256": value}}))
            }
            EntityType::File => self.observable("file", json!({"name": value})),
            EntityType::Message => {
                let id = unnamed(&[self.incident.tenant.as_str(), "message", value]);
                self.add("email-message", id, json!({"is_multipart": false, "message_id": value}))
            }
            EntityType::Process => match self.process(node, value) {
                Some(id) => id,
                None => return,
            },
            EntityType::Session => return,
        };
        self.of_node.insert(node.id.clone(), id);
    }

    fn process(&mut self, node: &GraphNode, value: &str) -> Option<String> {
        let id = unnamed(&[self.incident.tenant.as_str(), "process", value]);
        if !node.label.starts_with("process ") {
            let image = self.observable("file", json!({"name": node.label}));
            return Some(self.add("process", id, json!({"image_ref": image})));
        }
        let pid: u32 = value.rsplit('/').next()?.split('@').next()?.parse().ok()?;
        Some(self.add("process", id, json!({"pid": pid})))
    }

    fn alert(&mut self, alert: &Alert, graph: &IncidentGraph) {
        let node = format!("alert:{}", alert.id);
        if !graph.nodes.iter().any(|known| known.id == node) {
            return;
        }
        let named = graph.edges.iter().filter(|edge| edge.from == node && edge.relation != "joined");
        let ids: BTreeSet<String> = named.filter_map(|edge| self.of_node.get(&edge.to)).cloned().collect();
        let (systems, observables): (Vec<String>, Vec<String>) = ids
            .into_iter()
            .partition(|id| id.starts_with("identity--") || id.starts_with("infrastructure--"));
        let systems: Vec<String> = systems.into_iter().filter(|id| id.starts_with("identity--")).collect();
        let (first, last) = (alert.time.to_string(), alert.end_time.max(alert.time).to_string());
        let observed = (!observables.is_empty()).then(|| {
            let properties = json!({
                "first_observed": first, "last_observed": last,
                "number_observed": alert.records.len().clamp(1, 999_999_999),
                "object_refs": observables,
            });
            self.own("observed-data", &[alert.id.as_str()], properties)
        });
        if let Some(observed) = &observed {
            self.of_node.insert(node, observed.clone());
        }
        for technique in alert.techniques() {
            let pattern = self.technique(technique);
            let properties = json!({
                "description": alert.title, "first_seen": first, "last_seen": last, "count": 1,
                "sighting_of_ref": pattern,
                "observed_data_refs": observed.as_ref().map(|id| [id]),
                "where_sighted_refs": (!systems.is_empty()).then_some(&systems),
            });
            self.own("sighting", &[alert.id.as_str(), technique], properties);
        }
    }

    fn technique(&mut self, technique: &str) -> String {
        let url = format!("https://attack.mitre.org/techniques/{}/", technique.replace('.', "/"));
        let reference = json!({"source_name": "mitre-attack", "external_id": technique, "url": url});
        let properties = json!({"name": technique, "external_references": [reference]});
        self.always("attack-pattern", technique, properties)
    }

    fn relation(&mut self, edge: &GraphEdge) {
        let is_of_alert = edge.from.starts_with("alert:") && edge.relation != "joined";
        let ends = (self.of_node.get(&edge.from).cloned(), self.of_node.get(&edge.to).cloned());
        let (Some(from), Some(to)) = ends else { return };
        if is_of_alert || from == to {
            return;
        }
        let kind = match edge.relation.as_str() {
            "joined" => "related-to".to_owned(),
            other => other.replace('_', "-"),
        };
        let confidence = edge.weight_ppm.map(|ppm| (ppm / 10_000).min(100));
        let properties = json!({
            "relationship_type": kind, "source_ref": from, "target_ref": to, "confidence": confidence,
        });
        self.own("relationship", &[&kind, &from, &to], properties);
    }

    fn incident(&mut self) {
        let incident = self.incident;
        let labels: Vec<String> =
            incident.tactics.iter().map(|tactic| tactic.as_str().replace('_', "-")).collect();
        let id = self.own(
            "incident",
            &[],
            json!({
                "name": incident.title, "description": incident.summary, "confidence": incident.confidence.min(100),
                "labels": (!labels.is_empty()).then_some(labels),
            }),
        );
        let hit =
            incident.assets.iter().filter(|asset| matches!(asset.part, AssetPart::Target | AssetPart::Place));
        for asset in hit {
            let node = format!("{}:{}", asset.entity_type, asset.name);
            let Some(target) = self.of_node.get(&node).cloned() else { continue };
            let properties = json!({"relationship_type": "targets", "source_ref": id, "target_ref": target});
            self.own("relationship", &["targets", &id, &target], properties);
        }
    }

    fn finish(mut self, engine: &str) -> Value {
        for object in self.objects.values_mut() {
            if object.get("created").is_some() && object["id"] != engine {
                object["created_by_ref"] = json!(engine);
            }
        }
        let all: Vec<String> = self.objects.keys().filter(|id| *id != engine).cloned().collect();
        let grouping = json!({
            "name": self.incident.title, "context": "suspicious-activity", "object_refs": all,
            "created_by_ref": engine,
        });
        self.own("grouping", &[], grouping);
        let id = Uuid::ours(&[self.incident.tenant.as_str(), self.incident.id.as_str(), "bundle"]);
        let objects: Vec<Value> = self.objects.into_values().collect();
        json!({"type": "bundle", "id": format!("bundle--{id}"), "objects": objects})
    }
}

/// The id of an observable of which the standard says that its id is random (UUID version 4): as random as its name.
fn unnamed(parts: &[&str]) -> Uuid {
    Uuid::ours(parts).as_if_random()
}

/// A URL as a URI (RFC 3986): what may not stand in one is percent-encoded; without a scheme it is one of the web, as
/// proxies write them.
fn uri(value: &str) -> String {
    let bytes = value.as_bytes();
    let is_escape =
        |i: usize| bytes.get(i + 1..i + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    let has_scheme = value.split_once(':').is_some_and(|(scheme, rest)| {
        let is_name = scheme.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'));
        // `host:8080/x` has a port and no scheme.
        is_name
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && !rest.starts_with(|c: char| c.is_ascii_digit())
    });
    let mut uri = if has_scheme { String::new() } else { "http://".to_owned() };
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'%' if !is_escape(i) => uri.push_str("%25"),
            b'!' | b'#'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~' => {
                uri.push(char::from(*byte))
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

fn is_sha256(value: &str) -> bool {
    value.len() == 64 && value.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_uri_cannot_hold_is_encoded() {
        assert_eq!(uri("https://a.example/x?y=1&z=%20[0]"), "https://a.example/x?y=1&z=%20[0]");
        assert_eq!(
            uri("https://a.example/shared documents/ü<"),
            "https://a.example/shared%20documents/%C3%BC%3C"
        );
        assert_eq!(uri("https://a.example/100%"), "https://a.example/100%25");
        assert_eq!(uri("a.example:8080/x"), "http://a.example:8080/x");
        assert_eq!(uri("bad.example/x"), "http://bad.example/x");
    }
}
