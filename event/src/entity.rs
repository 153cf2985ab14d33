//! Entities: the users, devices, processes, ... that alerts and events share.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfkc_quick};
use utoipa::ToSchema;

use crate::{TenantId, digest};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every member, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The name used in columns, JSON and mappings.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The member of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names!(
    /// What an entity is. The order is part of stored formats: append only.
    EntityType {
        /// A person's or service's account.
        User = "user",
        /// A host.
        Device = "device",
        /// A running process, unique in its tenant.
        Process = "process",
        /// File content, by SHA-256 where known.
        File = "file",
        /// An IP address.
        Ip = "ip",
        /// A DNS name that is no managed device.
        Domain = "domain",
        /// A URL without fragment.
        Url = "url",
        /// A mailbox, by primary SMTP address.
        Mailbox = "mailbox",
        /// An email message.
        Message = "message",
        /// An OAuth application or SaaS product.
        App = "app",
        /// A sign-in session, token or access key.
        Session = "session",
        /// A cloud resource.
        CloudResource = "cloud_resource",
    }
);

names!(
    /// The part an entity plays in its row. Two values of one type and one single role name the same entity.
    Role {
        /// Who or what acted.
        Actor = "actor",
        /// The parent of the acting process.
        ActorParent = "actor_parent",
        /// What was acted upon, or created.
        Target = "target",
        /// The parent of the target process.
        Parent = "parent",
        /// The account a process runs as.
        ProcessUser = "process_user",
        /// The device the event happened on.
        Device = "device",
        /// Where it came from.
        Source = "source",
        /// Where it went.
        Destination = "destination",
        /// Who sent a message.
        Sender = "sender",
        /// Who received a message (several).
        Recipient = "recipient",
        /// The owner of a file or object.
        Owner = "owner",
        /// Where a file came from.
        Origin = "origin",
        /// The session of the event.
        Session = "session",
        /// The credential used.
        Credential = "credential",
        /// The service that was asked for.
        Service = "service",
        /// Named by an alert without a role (several).
        Related = "related",
    }
);

impl Role {
    /// Whether a row has at most one entity of a type in this role, so that several values are its aliases.
    pub const fn is_single(self) -> bool {
        !matches!(self, Role::Recipient | Role::Related)
    }
}

/// An entity as a record names it: canonical value within its tenant, before alias resolution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct Entity {
    /// What it is.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// The part it plays.
    pub role: Role,
    /// Canonical value; see [`Entity::canonical`].
    pub value: Arc<str>,
}

/// 128-bit hash of tenant, type and canonical value: the key of joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityId(pub u128);

impl Entity {
    /// An entity from a raw value, or nothing where the value is a placeholder (`-`, empty, all-zero id, ...).
    pub fn new(entity_type: EntityType, role: Role, raw: &str) -> Option<Self> {
        Self::canonical(entity_type, raw).map(|value| Self { entity_type, role, value })
    }

    /// The canonical spelling of a value: trimmed, NFKC, lower case; URLs lose their fragment; addresses
    /// lose brackets, ports of IPv6 literals and the v4-mapped prefix; loopback and unspecified addresses,
    /// machine-local accounts and other values that name nothing give `None`.
    pub fn canonical(entity_type: EntityType, raw: &str) -> Option<Arc<str>> {
        let trimmed = raw.trim();
        if trimmed.is_empty() || trimmed.len() > VALUE_BYTES_MAX || is_placeholder(trimmed) {
            return None;
        }
        let value = fold(trimmed);
        let value = match entity_type {
            EntityType::Ip => canonical_ip(&value)?,
            EntityType::User => canonical_user(value)?,
            EntityType::Device => canonical_device(&value)?,
            EntityType::Url => value.split('#').next().unwrap_or_default().trim_end_matches('/').to_owned(),
            EntityType::Domain if value == "localhost" => return None,
            EntityType::Domain => value.trim_end_matches('.').to_owned(),
            EntityType::Mailbox => value.strip_prefix("smtp:").unwrap_or(&value).to_owned(),
            _ => value,
        };
        (!value.is_empty()).then(|| value.into())
    }

    /// The join key of this value in a tenant.
    pub fn id(&self, tenant: &TenantId) -> EntityId {
        EntityId::of(tenant, self.entity_type, &self.value)
    }
}

impl EntityId {
    /// The join key of a canonical value in a tenant.
    pub fn of(tenant: &TenantId, entity_type: EntityType, value: &str) -> Self {
        let tenant = tenant.as_str().as_bytes();
        let length = (tenant.len() as u64).to_le_bytes();
        let hash = digest(&[&length, tenant, &[entity_type as u8], value.as_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        EntityId(u128::from_le_bytes(bytes))
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.entity_type, self.value)
    }
}

/// A longer value is data, not a name: it would only bloat every table it enters.
const VALUE_BYTES_MAX: usize = 2_048;

fn is_placeholder(value: &str) -> bool {
    const WORDS: [&str; 9] = ["-", "n/a", "null", "none", "unknown", "(null)", "undefined", "0", "%%1"];
    value.bytes().all(|c| matches!(c, b'0' | b'-' | b'{' | b'}'))
        || WORDS.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Lower case, NFKC; ASCII (nearly everything) takes the short way.
fn fold(value: &str) -> String {
    if value.is_ascii() {
        return value.to_ascii_lowercase();
    }
    let lower = value.to_lowercase();
    match is_nfkc_quick(lower.chars()) {
        unicode_normalization::IsNormalized::Yes => lower,
        _ => lower.nfkc().collect(),
    }
}

fn canonical_ip(value: &str) -> Option<String> {
    let bare = match value.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        // `10.0.0.1:443`: one colon means a port, several mean IPv6.
        None if value.matches(':').count() == 1 => value.split(':').next().unwrap_or(value),
        None => value.split('%').next().unwrap_or(value),
    };
    let ip: std::net::IpAddr = bare.parse().ok()?;
    let ip = ip.to_canonical();
    let names_nothing =
        ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.to_string() == "255.255.255.255";
    (!names_nothing).then(|| ip.to_string())
}

/// Accounts that exist on every machine name no one: joining on them would join everything.
fn canonical_user(value: String) -> Option<String> {
    const WELL_KNOWN: [&str; 12] = [
        "system",
        "local service",
        "network service",
        "anonymous logon",
        "s-1-5-18",
        "s-1-5-19",
        "s-1-5-20",
        "s-1-5-7",
        "s-1-0-0",
        "not available",
        "root",
        "everyone",
    ];
    let name = value.rsplit('\\').next().unwrap_or(&value);
    let machine_scoped = [
        "nt authority\\",
        "nt service\\",
        "window manager\\",
        "font driver host\\",
        "iis apppool\\",
        "nt-autorität\\",
    ]
    .iter()
    .any(|prefix| value.starts_with(prefix));
    let well_known = WELL_KNOWN.contains(&name) || name.starts_with("dwm-") || name.starts_with("umfd-");
    // `host$` and Kerberos' `host$@REALM` are machine accounts: the device already stands in the row.
    let is_machine = name.split('@').next().is_some_and(|account| account.ends_with('$'));
    (!machine_scoped && !well_known && !is_machine && !name.is_empty()).then_some(value)
}

fn canonical_device(value: &str) -> Option<String> {
    let value = value.trim_start_matches('\\').trim_end_matches('.');
    (value != "localhost" && value != "workgroup" && !value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(entity_type: EntityType, raw: &str) -> Option<String> {
        Entity::canonical(entity_type, raw).map(|v| v.to_string())
    }

    #[test]
    fn spells_values_one_way() {
        assert_eq!(canonical(EntityType::User, " Alice@Contoso.COM "), Some("alice@contoso.com".into()));
        assert_eq!(canonical(EntityType::Ip, "::ffff:10.0.0.1"), Some("10.0.0.1".into()));
        assert_eq!(canonical(EntityType::Ip, "[2001:db8::1]:443"), Some("2001:db8::1".into()));
        assert_eq!(canonical(EntityType::Ip, "20.1.2.3:50123"), Some("20.1.2.3".into()));
        assert_eq!(
            canonical(EntityType::Url, "https://A.example/x/#frag"),
            Some("https://a.example/x".into())
        );
        assert_eq!(canonical(EntityType::Device, "\\\\WS-01."), Some("ws-01".into()));
        assert_eq!(
            canonical(EntityType::Mailbox, "SMTP:Alice@contoso.example"),
            Some("alice@contoso.example".into())
        );
    }

    #[test]
    fn names_that_name_nothing_are_no_entities() {
        for (entity_type, raw) in [
            (EntityType::User, "NT AUTHORITY\\SYSTEM"),
            (EntityType::User, "S-1-5-18"),
            (EntityType::User, "CONTOSO\\WS-01$"),
            (EntityType::User, "WS-01$@CONTOSO.EXAMPLE"),
            (EntityType::User, "-"),
            (EntityType::Domain, "localhost"),
            (EntityType::Ip, "127.0.0.1"),
            (EntityType::Ip, "::1"),
            (EntityType::Ip, "not an address"),
            (EntityType::Process, "{00000000-0000-0000-0000-000000000000}"),
            (EntityType::Session, ""),
        ] {
            assert_eq!(canonical(entity_type, raw), None, "{raw}");
        }
    }

    #[test]
    fn ids_differ_by_tenant_and_type() {
        let user = Entity::new(EntityType::User, Role::Actor, "alice").unwrap();
        assert_ne!(user.id(&TenantId::new("a")), user.id(&TenantId::new("b")));
        assert_ne!(
            EntityId::of(&TenantId::new("a"), EntityType::Device, "alice"),
            user.id(&TenantId::new("a"))
        );
    }
}
