//! Verbs as commands of OpenC2 (language 1.0, committee specification 02) and its profile for endpoint response (`er`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use event::{Entity, EntityType};
use serde_json::{Map, Value, json};

use crate::span::Span;
use crate::verb::Verb;

/// What can be denied whatever it is: the language has a target of its own for each.
const INDICATOR: &str = "x-asterism:indicator";

/// The command that does a verb to an entity, or nothing where language and profile have no word for it.
pub(super) fn command(
    verb: Verb,
    entity: &Entity,
    args: &BTreeMap<String, String>,
    command_id: &str,
) -> Option<Value> {
    let form = verb.spec().openc2;
    let is = |name: &str, value: &str| args.get(name).is_some_and(|given| given == value);
    // The profile isolates wholly, and what is denied is denied: it could not be said less.
    if is("isolation_type", "selective") || is("mode", "warn") || is("mode", "audit") {
        return None;
    }
    Some(json!({
        "action": form.action,
        "target": target(form.target, entity)?,
        "args": arguments(verb, args),
        "command_id": command_id,
    }))
}

fn target(kind: &str, entity: &Entity) -> Option<Value> {
    let value = &*entity.value;
    Some(match (kind, entity.entity_type) {
        ("device", EntityType::Device) => json!({"device": {"hostname": value}}),
        ("file" | INDICATOR, EntityType::File) => {
            let kind = hash_kind(value)?;
            json!({"file": {"hashes": {kind: value}}})
        }
        ("ipv4_net" | INDICATOR, EntityType::Ip) => match value.parse().ok()? {
            IpAddr::V4(ip) => json!({"ipv4_net": format!("{ip}/32")}),
            IpAddr::V6(ip) => json!({"ipv6_net": format!("{ip}/128")}),
        },
        ("ipv4_net" | INDICATOR, EntityType::Domain) => json!({"domain_name": value}),
        (INDICATOR, EntityType::Url) => json!({"uri": value}),
        ("email_addr", EntityType::Mailbox) => json!({"email_addr": value}),
        ("er:account", EntityType::User) => {
            let name = if value.starts_with("s-1-") { "uid" } else { "account_name" };
            json!({"er": {"account": {name: value}}})
        }
        _ => return None,
    })
}

/// A file that is known by its path alone may be another one tomorrow.
fn hash_kind(value: &str) -> Option<&'static str> {
    let kind = match value.len() {
        32 => "md5",
        40 => "sha1",
        64 => "sha256",
        _ => return None,
    };
    value.bytes().all(|c| c.is_ascii_hexdigit()).then_some(kind)
}

fn arguments(verb: Verb, args: &BTreeMap<String, String>) -> Value {
    let mut given = Map::from_iter([("response_requested".to_owned(), json!("complete"))]);
    if let Some(ttl) = args.get("ttl").and_then(|ttl| Span::parse(ttl).ok()) {
        given.insert("duration".to_owned(), json!(ttl.micros() / 1_000));
    }
    let is_deep = args.get("depth").is_some_and(|depth| depth == "full");
    let profile = match verb {
        Verb::HostIsolate | Verb::HostRelease => Some(("device_containment", "network_isolation")),
        Verb::HostRestrictApps | Verb::HostUnrestrictApps => Some(("device_containment", "app_restriction")),
        Verb::HostScan => Some(("scan_depth", if is_deep { "deep" } else { "shallow" })),
        Verb::UserDisable => Some(("account_status", "disabled")),
        Verb::UserEnable => Some(("account_status", "enabled")),
        _ => None,
    };
    if let Some((name, value)) = profile {
        given.insert("er".to_owned(), json!({name: value}));
    }
    Value::Object(given)
}

#[cfg(test)]
mod tests {
    use event::Role;

    use super::*;

    fn said(verb: Verb, entity_type: EntityType, value: &str, args: &[(&str, &str)]) -> String {
        let entity = Entity::new(entity_type, Role::Target, value).unwrap();
        let given = args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        command(verb, &entity, &given, "c-1").map_or_else(|| "none".to_owned(), |command| command.to_string())
    }

    #[test]
    fn what_the_language_has_a_word_for_is_said_in_it() {
        let sha256 = "ab".repeat(32);
        let said = [
            said(
                Verb::HostIsolate,
                EntityType::Device,
                "ws-01",
                &[("ttl", "1d"), ("isolation_type", "full")],
            ),
            said(Verb::HostUnrestrictApps, EntityType::Device, "ws-01", &[]),
            said(Verb::HostScan, EntityType::Device, "ws-01", &[("depth", "full")]),
            said(Verb::UserDisable, EntityType::User, "ann@corp.example", &[]),
            said(Verb::UserEnable, EntityType::User, "S-1-5-21-1-2-3-500", &[]),
            said(Verb::FileQuarantine, EntityType::File, &sha256, &[]),
            said(Verb::IndicatorBlock, EntityType::Url, "https://bad.example/x", &[("mode", "block")]),
            said(Verb::NetworkBlock, EntityType::Ip, "198.51.100.7", &[]),
            said(Verb::NetworkUnblock, EntityType::Ip, "2001:db8::7", &[]),
            said(Verb::NetworkBlock, EntityType::Domain, "bad.example", &[]),
            said(Verb::EmailBlockSender, EntityType::Mailbox, "mallory@bad.example", &[]),
        ];
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn what_it_cannot_say_as_it_is_meant_is_not_said() {
        let none = [
            said(Verb::HostIsolate, EntityType::Device, "ws-01", &[("isolation_type", "selective")]),
            said(Verb::IndicatorBlock, EntityType::Domain, "bad.example", &[("mode", "audit")]),
            said(Verb::FileDelete, EntityType::File, "c:\\temp\\a.exe", &[]),
            said(Verb::ProcessKill, EntityType::Process, "ws-01|4711", &[]),
            said(Verb::EmailBlockSender, EntityType::Domain, "bad.example", &[]),
            said(Verb::UserRevokeSessions, EntityType::User, "ann@corp.example", &[]),
            said(Verb::NotifySend, EntityType::Device, "ws-01", &[("channel", "soc")]),
        ];
        assert_eq!(none, ["none"; 7]);
    }
}
