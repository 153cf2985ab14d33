//! The kinds of evidence that two alerts may share, and the keys under which they are found.

use std::net::IpAddr;

use event::{EntityId, EntityType, TenantId, digest};
use serde::{Deserialize, Serialize};

/// A kind of evidence, each with its own weight and half-life. The order is part of stored formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Evidence {
    Process,
    Session,
    Message,
    File,
    User,
    Mailbox,
    Device,
    IpExternal,
    IpInternal,
    Url,
    Domain,
    App,
    CloudResource,
    Rule,
    /// A record that an alert was made of; it is where joins of plain events lead to, and no evidence by itself.
    Record,
    /// A join of plain events, by its place among the definitions.
    Join(u8),
}

/// Groups of evidence that tell of one thing: the strongest of a group counts, not their sum.
pub(crate) const GROUPS: usize = 12;

impl Evidence {
    /// The kinds of which each has its own entry among the parameters.
    pub(crate) const ALL: [Evidence; 14] = [
        Evidence::Process,
        Evidence::Session,
        Evidence::Message,
        Evidence::File,
        Evidence::User,
        Evidence::Mailbox,
        Evidence::Device,
        Evidence::IpExternal,
        Evidence::IpInternal,
        Evidence::Url,
        Evidence::Domain,
        Evidence::App,
        Evidence::CloudResource,
        Evidence::Rule,
    ];

    /// The kind of an entity.
    pub(crate) fn of(entity_type: EntityType, value: &str) -> Self {
        match entity_type {
            EntityType::User => Evidence::User,
            EntityType::Device => Evidence::Device,
            EntityType::Process => Evidence::Process,
            EntityType::File => Evidence::File,
            EntityType::Ip if value.parse().is_ok_and(|ip| is_internal(&ip)) => Evidence::IpInternal,
            EntityType::Ip => Evidence::IpExternal,
            EntityType::Domain => Evidence::Domain,
            EntityType::Url => Evidence::Url,
            EntityType::Mailbox => Evidence::Mailbox,
            EntityType::Message => Evidence::Message,
            EntityType::App => Evidence::App,
            EntityType::Session => Evidence::Session,
            EntityType::CloudResource => Evidence::CloudResource,
        }
    }

    /// The group whose strongest member counts.
    pub(crate) const fn group(self) -> usize {
        match self {
            Evidence::Process => 0,
            Evidence::Session => 1,
            Evidence::Message => 2,
            Evidence::File => 3,
            Evidence::User | Evidence::Mailbox => 4,
            // Inside a network an address is a device by another name.
            Evidence::Device | Evidence::IpInternal => 5,
            Evidence::IpExternal => 6,
            Evidence::Url | Evidence::Domain => 7,
            Evidence::App => 8,
            Evidence::CloudResource => 9,
            Evidence::Rule => 10,
            Evidence::Record | Evidence::Join(_) => 11,
        }
    }

    /// What the names are of that aliases make one.
    pub(crate) const fn aliased_type(self) -> Option<EntityType> {
        match self {
            Evidence::User | Evidence::Mailbox => Some(EntityType::User),
            Evidence::Device => Some(EntityType::Device),
            _ => None,
        }
    }

    /// The name shown in explanations.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Evidence::Process => "process",
            Evidence::Session => "session",
            Evidence::Message => "message",
            Evidence::File => "file",
            Evidence::User => "user",
            Evidence::Mailbox => "mailbox",
            Evidence::Device => "device",
            Evidence::IpExternal | Evidence::IpInternal => "ip",
            Evidence::Url => "url",
            Evidence::Domain => "domain",
            Evidence::App => "app",
            Evidence::CloudResource => "cloud_resource",
            Evidence::Rule => "rule",
            Evidence::Record => "record",
            Evidence::Join(_) => "event_join",
        }
    }
}

/// Where an entity value is found within a tenant: 64 bits of its [`EntityId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Key(pub(crate) u64);

impl Key {
    pub(crate) fn of(tenant: &TenantId, entity_type: EntityType, value: &str) -> Self {
        Key(EntityId::of(tenant, entity_type, value).0 as u64)
    }

    /// The key of a text that is no entity (a rule, an alert id); `domain` keeps the kinds apart.
    pub(crate) fn of_text(domain: &str, text: &str) -> Self {
        let hash = digest(&[domain.as_bytes(), &[0], text.as_bytes()]);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash[..8]);
        Key(u64::from_le_bytes(bytes))
    }
}

/// Addresses that only mean something inside one network (RFC 1918, RFC 6598, RFC 4193, link-local).
pub(crate) fn is_internal(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_addresses_are_weaker_evidence() {
        for ip in ["10.1.2.3", "172.16.0.1", "192.168.9.9", "100.64.0.1", "169.254.3.4", "fe80::1", "fd00::1"]
        {
            assert_eq!(Evidence::of(EntityType::Ip, ip), Evidence::IpInternal, "{ip}");
        }
        for ip in ["8.8.8.8", "172.32.0.1", "2001:db8::1"] {
            assert_eq!(Evidence::of(EntityType::Ip, ip), Evidence::IpExternal, "{ip}");
        }
    }

    #[test]
    fn every_group_has_a_place() {
        assert!(Evidence::ALL.iter().all(|kind| kind.group() < GROUPS));
    }
}
