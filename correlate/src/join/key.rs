//! The values that two events must have the same: their forms in which equal things are equal texts, and their hashes.

use std::hash::BuildHasher;
use std::net::IpAddr;

use event::{Entity, EntityType, TenantId};
use foldhash::quality::FixedState;
use serde::Deserialize;
use smallvec::SmallVec;

use crate::evidence::{Evidence, Key, is_internal};
use crate::fixed::mix;

/// What a value of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    User,
    Device,
    Domain,
    Ip,
    File,
    Session,
    Logon,
    App,
    Mailbox,
    Recipient,
}

/// The normal forms of one value.
pub(crate) type Forms = SmallVec<[String; 1]>;

impl Part {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Part::User => "user",
            Part::Device => "device",
            Part::Domain => "domain",
            Part::Ip => "ip",
            Part::File => "file",
            Part::Session => "session",
            Part::Logon => "logon",
            Part::App => "app",
            Part::Mailbox => "mailbox",
            Part::Recipient => "recipient",
        }
    }

    /// The entity type whose aliases prove that two values of one form are one thing; `None` where the form itself does.
    pub(crate) const fn proved_as(self) -> Option<EntityType> {
        match self {
            Part::User => Some(EntityType::User),
            Part::Device => Some(EntityType::Device),
            _ => None,
        }
    }

    /// Appends the normal form of a value, or nothing where the value names nothing that could be the same elsewhere.
    /// Returns whether it did. A list of addresses has a form for each: see [`Part::forms`].
    pub(crate) fn push_form(self, raw: &str, out: &mut String) -> bool {
        let raw = raw.trim();
        let start = out.len();
        match self {
            Part::User => push_lower(local_name(raw), out),
            Part::Device => push_lower(short_name(raw), out),
            Part::Domain => push_lower(domain_of(raw), out),
            Part::Ip => push_external(raw, out),
            Part::File => push_lower(file_of(raw), out),
            Part::Session | Part::App => push_lower(if raw.len() < 8 { "" } else { raw }, out),
            Part::Logon => push_logon(raw, out),
            Part::Mailbox | Part::Recipient => push_lower(address_of(raw), out),
        }
        out.len() > start
    }

    /// All normal forms of a value.
    pub(crate) fn forms(self, raw: &str) -> Forms {
        let form = |text: &str| {
            let mut form = String::new();
            self.push_form(text, &mut form).then_some(form)
        };
        match self {
            Part::Recipient => raw.split([';', ',']).filter_map(form).collect(),
            _ => form(raw).into_iter().collect(),
        }
    }

    /// The entity of a form, whose rarity can weigh a join.
    pub(crate) fn entity(self, form: &str, tenant: &TenantId) -> Option<(Key, Evidence)> {
        let entity_type = match self {
            Part::Domain => EntityType::Domain,
            Part::Ip => EntityType::Ip,
            Part::File if !form.contains(['\\', '/']) => EntityType::File,
            Part::Session => EntityType::Session,
            Part::App => EntityType::App,
            Part::Mailbox | Part::Recipient => EntityType::Mailbox,
            _ => return None,
        };
        let value = Entity::canonical(entity_type, form)?;
        Some((Key::of(tenant, entity_type, &value), Evidence::of(entity_type, &value)))
    }
}

/// One seed for all: hashes of two batches are compared.
static HASHER: FixedState = FixedState::with_seed(0x6a6f_696e);

/// The hash of a form, never 0.
pub(crate) fn hash_form(form: &str) -> u64 {
    HASHER.hash_one(form).max(1)
}

/// The hash of a key from those of its parts.
pub(crate) fn combine(key: u64, part: u64) -> u64 {
    mix(key.rotate_left(23) ^ part)
}

fn push_lower(text: &str, out: &mut String) {
    if text.is_ascii() {
        out.push_str(text);
        let start = out.len() - text.len();
        out[start..].make_ascii_lowercase();
    } else {
        out.push_str(&text.to_lowercase());
    }
}

/// `alice` of `CONTOSO\alice` and `alice@contoso.com`. Identifiers stay whole.
fn local_name(raw: &str) -> &str {
    let name = raw.rsplit('\\').next().unwrap_or(raw);
    name.split('@').next().unwrap_or(name)
}

/// `ws-7` of `ws-7.contoso.com`.
fn short_name(raw: &str) -> &str {
    raw.split('.').next().unwrap_or(raw)
}

/// A name with a dot, without port and final dot.
fn domain_of(raw: &str) -> &str {
    let host = raw.split(':').next().unwrap_or(raw).trim_end_matches('.');
    if host.contains('.') { host } else { "" }
}

/// The host of the first URL in a text.
pub(crate) fn host_of(text: &str) -> &str {
    let Some((_, rest)) = text.split_once("://") else { return "" };
    let end = rest.find(['/', '?', '#', '"', '\'', ' ', '<', '>', ')', ',']).unwrap_or(rest.len());
    let authority = &rest[..end];
    authority.rsplit('@').next().unwrap_or(authority)
}

/// A hash or a full path; a mere name says little. The stream of the mark of the web names its file.
fn file_of(raw: &str) -> &str {
    const MARK: &str = ":zone.identifier";
    let is_hash = raw.len() >= 32 && raw.bytes().all(|c| c.is_ascii_hexdigit());
    if !is_hash && !raw.contains(['\\', '/']) {
        return "";
    }
    let cut = raw.len().saturating_sub(MARK.len());
    let is_mark = raw.is_char_boundary(cut) && raw[cut..].eq_ignore_ascii_case(MARK);
    if is_mark { &raw[..cut] } else { raw }
}

/// An address that means the same in every network, without port and brackets.
fn push_external(raw: &str, out: &mut String) {
    let bare = match raw.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        // One colon means a port, several mean IPv6.
        None => raw.split_once(':').filter(|(_, rest)| !rest.contains(':')).map_or(raw, |(ip, _)| ip),
    };
    let Ok(ip) = bare.parse::<IpAddr>() else { return };
    let ip = ip.to_canonical();
    if is_internal(&ip) || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return;
    }
    out.push_str(&ip.to_string());
}

/// A Windows logon id as a number; those of the system's own accounts are on every device.
fn push_logon(raw: &str, out: &mut String) {
    let hex = raw.strip_prefix("0x").or_else(|| raw.strip_prefix("0X"));
    let number = hex.map_or_else(|| raw.parse::<u64>(), |digits| u64::from_str_radix(digits, 16));
    const OF_THE_SYSTEM: [u64; 5] = [0, 0x3e3, 0x3e4, 0x3e5, 0x3e7];
    if let Ok(number) = number
        && !OF_THE_SYSTEM.contains(&number)
    {
        out.push_str(&format!("{number:x}"));
    }
}

/// `a@x.example` of `smtp:a@x.example`, `"A" [SMTP:a@x.example]` and `A <a@x.example>`.
fn address_of(raw: &str) -> &str {
    let inner = raw.rsplit(['[', '<']).next().unwrap_or(raw);
    let inner = inner.trim_end_matches([']', '>', '"']).trim();
    let is_marked = inner.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("smtp:"));
    let address = if is_marked { &inner[5..] } else { inner };
    if address.contains('@') { address } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(part: Part, raw: &str) -> String {
        part.forms(raw).join("|")
    }

    #[test]
    fn equal_things_have_equal_forms() {
        for (part, raw, expected) in [
            (Part::User, "CONTOSO\\Alice", "alice"),
            (Part::User, "alice@contoso.com", "alice"),
            (Part::User, "S-1-5-21-1-2-3-1104", "s-1-5-21-1-2-3-1104"),
            (Part::Device, "WS-7.contoso.com", "ws-7"),
            (Part::Domain, "Evil.Example.:443", "evil.example"),
            (Part::Domain, "fileserver", ""),
            (Part::Ip, "::ffff:203.0.113.9", "203.0.113.9"),
            (Part::Ip, "203.0.113.9:51240", "203.0.113.9"),
            (Part::Ip, "[2001:db8::7]:443", "2001:db8::7"),
            (Part::Ip, "2001:db8::7", "2001:db8::7"),
            (Part::Ip, "10.1.2.3", ""),
            (Part::Ip, "fe80::1", ""),
            (Part::File, "C:\\Users\\A\\x.exe:Zone.Identifier", "c:\\users\\a\\x.exe"),
            (Part::File, "x.exe", ""),
            (Part::Session, "0", ""),
            (Part::Logon, "0x3E7", ""),
            (Part::Logon, "0x1A2B", "1a2b"),
            (Part::Logon, "6699", "1a2b"),
            (Part::Logon, "-", ""),
            (Part::Mailbox, "smtp:Alice@contoso.com", "alice@contoso.com"),
            (Part::Recipient, "\"X\" [SMTP:x@evil.example]; y@evil.example", "x@evil.example|y@evil.example"),
            (Part::Recipient, "nobody", ""),
        ] {
            assert_eq!(form(part, raw), expected, "{part:?} {raw}");
        }
    }

    #[test]
    fn the_host_of_a_url_in_a_text_is_found() {
        for (text, host) in [
            ("\"C:\\edge.exe\" --single-argument https://Evil.example/a?b=http://x", "Evil.example"),
            ("https://user@evil.example:8443/", "evil.example:8443"),
            ("no url", ""),
            ("://", ""),
            ("https://ünï.example", "ünï.example"),
        ] {
            assert_eq!(host_of(text), host, "{text}");
        }
    }
}
