//! An alert: a rule fired on records, or a product reported a finding (OCSF Detection Finding 2004).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::class::Class;
use crate::entity::Entity;
use crate::ids::{AlertId, TenantId};
use crate::time::Time;

/// Where a record lies in the log: the end of every evidence trail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct RecordRef {
    /// Topic (for files: the file name).
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset (for files: line number, from 0).
    pub offset: i64,
}

impl fmt::Display for RecordRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

/// Severity, with the numbers of OCSF `severity_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Severity {
    /// Enriches, never alerts alone.
    Informational = 1,
    /// Worth a look in bulk.
    Low = 2,
    /// Worth a look.
    Medium = 3,
    /// Needs an analyst.
    High = 4,
    /// Needs an analyst now.
    Critical = 5,
}

impl Severity {
    /// From a Sigma level, a product's severity word or an OCSF id; case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "informational" | "info" | "1" => Severity::Informational,
            "low" | "2" => Severity::Low,
            "medium" | "moderate" | "3" => Severity::Medium,
            "high" | "4" => Severity::High,
            "critical" | "severe" | "5" | "6" => Severity::Critical,
            _ => return None,
        })
    }

    /// The lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Informational => "informational",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Telemetry domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// Mail flow, mail content, clicks in mail.
    Email,
    /// Hosts.
    Endpoint,
    /// Directories, sign-ins, accounts.
    Identity,
    /// SaaS, cloud control planes, applications.
    App,
    /// Flows, DNS, proxies.
    Network,
}

impl Domain {
    /// Every domain.
    pub const ALL: [Domain; 5] =
        [Domain::Email, Domain::Endpoint, Domain::Identity, Domain::App, Domain::Network];

    /// The lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Domain::Email => "email",
            Domain::Endpoint => "endpoint",
            Domain::Identity => "identity",
            Domain::App => "app",
            Domain::Network => "network",
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An ATT&CK (enterprise) tactic, in kill-chain order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // The members are the tactics' own names.
pub enum Tactic {
    Reconnaissance,
    ResourceDevelopment,
    InitialAccess,
    Execution,
    Persistence,
    PrivilegeEscalation,
    DefenseEvasion,
    CredentialAccess,
    Discovery,
    LateralMovement,
    Collection,
    CommandAndControl,
    Exfiltration,
    Impact,
}

impl Tactic {
    /// Every tactic, in kill-chain order.
    pub const ALL: [Tactic; 14] = [
        Tactic::Reconnaissance,
        Tactic::ResourceDevelopment,
        Tactic::InitialAccess,
        Tactic::Execution,
        Tactic::Persistence,
        Tactic::PrivilegeEscalation,
        Tactic::DefenseEvasion,
        Tactic::CredentialAccess,
        Tactic::Discovery,
        Tactic::LateralMovement,
        Tactic::Collection,
        Tactic::CommandAndControl,
        Tactic::Exfiltration,
        Tactic::Impact,
    ];

    /// Snake-case name (`initial_access`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Tactic::Reconnaissance => "reconnaissance",
            Tactic::ResourceDevelopment => "resource_development",
            Tactic::InitialAccess => "initial_access",
            Tactic::Execution => "execution",
            Tactic::Persistence => "persistence",
            Tactic::PrivilegeEscalation => "privilege_escalation",
            Tactic::DefenseEvasion => "defense_evasion",
            Tactic::CredentialAccess => "credential_access",
            Tactic::Discovery => "discovery",
            Tactic::LateralMovement => "lateral_movement",
            Tactic::Collection => "collection",
            Tactic::CommandAndControl => "command_and_control",
            Tactic::Exfiltration => "exfiltration",
            Tactic::Impact => "impact",
        }
    }

    /// From `initial_access`, `initial-access`, `InitialAccess`, `Initial Access` or `TA0001`.
    pub fn from_name(name: &str) -> Option<Self> {
        const IDS: [&str; 14] = [
            "ta0043", "ta0042", "ta0001", "ta0002", "ta0003", "ta0004", "ta0005", "ta0006", "ta0007",
            "ta0008", "ta0009", "ta0011", "ta0010", "ta0040",
        ];
        let squash =
            |s: &str| s.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        let wanted = squash(name);
        let by_id = IDS.iter().position(|id| *id == wanted).map(|i| Tactic::ALL[i]);
        by_id.or_else(|| Tactic::ALL.into_iter().find(|t| squash(t.as_str()) == wanted))
    }
}

impl fmt::Display for Tactic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An ATT&CK reference of an alert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttackTag {
    /// A tactic.
    Tactic(Tactic),
    /// A technique or sub-technique id, upper case (`T1003.001`).
    Technique(Arc<str>),
}

impl AttackTag {
    /// From a Sigma tag (`attack.t1003.001`, `attack.credential-access`) or a bare technique or tactic.
    pub fn parse(tag: &str) -> Option<Self> {
        let tag = tag.trim();
        let tag = tag.strip_prefix("attack.").unwrap_or(tag);
        let digits = tag.strip_prefix(['t', 'T']).filter(|rest| {
            rest.starts_with(|c: char| c.is_ascii_digit())
                && rest.bytes().all(|c| c.is_ascii_digit() || c == b'.')
        });
        match digits {
            Some(digits) => Some(AttackTag::Technique(format!("T{digits}").into())),
            None => Tactic::from_name(tag).map(AttackTag::Tactic),
        }
    }
}

/// The rule or detector behind an alert. The author travels with every alert (Detection Rule License 1.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleRef {
    /// Rule id (Sigma UUID, or the product's detector id).
    pub id: Arc<str>,
    /// Rule title.
    pub title: Arc<str>,
    /// Rule author, as the rule states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub author: Option<Arc<str>>,
}

/// A rule fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// Identity: content-derived, or the product's own.
    pub id: AlertId,
    /// Tenant.
    pub tenant: TenantId,
    /// Event time at which it began.
    pub time: Time,
    /// Event time at which it ended; equals `time` for a single event.
    pub end_time: Time,
    /// What fired.
    pub rule: RuleRef,
    /// Shown to analysts.
    pub title: Arc<str>,
    /// Severity.
    pub severity: Severity,
    /// Telemetry domain.
    pub domain: Domain,
    /// The product that saw it (`Sysmon`, `Microsoft Defender for Endpoint`).
    pub product: Arc<str>,
    /// Source kind of the record.
    pub source: Arc<str>,
    /// Class of the record.
    pub class: Class,
    /// The event's own id.
    pub event_uid: Arc<str>,
    /// ATT&CK tags, sorted.
    pub attack: Vec<AttackTag>,
    /// Entities as the records name them, sorted, without duplicates.
    pub entities: Vec<Entity>,
    /// The records that made it; never empty.
    pub records: Vec<RecordRef>,
    /// A few telling fields of the record (`process_cmd_line`, `url_url_string`, ...), for people.
    pub evidence: Vec<(Arc<str>, Arc<str>)>,
}

impl Alert {
    /// The tactics of the alert, in kill-chain order.
    pub fn tactics(&self) -> Vec<Tactic> {
        let mut tactics: Vec<Tactic> = self.tagged_tactics().collect();
        tactics.sort_unstable();
        tactics.dedup();
        tactics
    }

    /// The last of its tactics in kill-chain order.
    pub fn last_tactic(&self) -> Option<Tactic> {
        self.tagged_tactics().max()
    }

    fn tagged_tactics(&self) -> impl Iterator<Item = Tactic> + '_ {
        self.attack.iter().filter_map(|t| if let AttackTag::Tactic(t) = t { Some(*t) } else { None })
    }

    /// The technique ids of the alert.
    pub fn techniques(&self) -> impl Iterator<Item = &Arc<str>> {
        self.attack.iter().filter_map(|t| if let AttackTag::Technique(t) = t { Some(t) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_attack_tags() {
        assert_eq!(AttackTag::parse("attack.t1003.001"), Some(AttackTag::Technique("T1003.001".into())));
        assert_eq!(
            AttackTag::parse("attack.credential-access"),
            Some(AttackTag::Tactic(Tactic::CredentialAccess))
        );
        assert_eq!(AttackTag::parse("CommandAndControl"), Some(AttackTag::Tactic(Tactic::CommandAndControl)));
        assert_eq!(AttackTag::parse("TA0010"), Some(AttackTag::Tactic(Tactic::Exfiltration)));
        assert_eq!(AttackTag::parse("attack.g0016"), None);
        assert_eq!(AttackTag::parse("detection.emerging-threats"), None);
    }
}
