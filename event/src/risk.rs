//! Risk of an entity: what alerts say about a user, a device or an app, fading with event time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::alert::Severity;
use crate::entity::EntityType;
use crate::ids::{AlertId, IncidentId, TenantId};
use crate::time::Time;

/// How much attention an entity needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RiskLevel {
    /// Nothing, or nothing any more.
    None,
    /// Worth knowing.
    Low,
    /// Worth a look.
    Medium,
    /// Needs an analyst.
    High,
}

impl RiskLevel {
    /// Snake-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            RiskLevel::None => "none",
            RiskLevel::Low => "low",
            RiskLevel::Medium => "medium",
            RiskLevel::High => "high",
        }
    }
}

/// The risk of a user, a device or an app at a point of event time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntityRisk {
    /// Tenant.
    pub tenant: TenantId,
    /// User, device or app.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// The name people know it by.
    pub name: Arc<str>,
    /// Its other names, sorted.
    pub aliases: Vec<Arc<str>>,
    /// The level of `score`.
    pub level: RiskLevel,
    /// 0 to 100, as of `as_of`; it halves as the parameter `risk.half_life` says.
    pub score: u32,
    /// The event time that `score` is of.
    pub as_of: Time,
    /// Event time of the last alert that counts.
    pub last_raised: Time,
    /// What raised it, the largest part first: the strongest alert of each rule.
    pub raised_by: Vec<RiskReason>,
}

/// An alert that raises a risk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RiskReason {
    /// The alert.
    pub alert: AlertId,
    /// The incident it is in, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub incident: Option<IncidentId>,
    /// Its title.
    pub title: Arc<str>,
    /// Its severity.
    pub severity: Severity,
    /// Its event time.
    pub time: Time,
    /// What it alone would give as of the risk's time, 0 to 100.
    pub points: u32,
}

/// A risk rose or fell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RiskChange {
    /// More than before.
    Raised(EntityRisk),
    /// Less than before; at the level `none` nothing is left of it.
    Lowered(EntityRisk),
}

impl RiskChange {
    /// The risk after the change.
    pub const fn risk(&self) -> &EntityRisk {
        match self {
            RiskChange::Raised(risk) | RiskChange::Lowered(risk) => risk,
        }
    }

    /// `raised` or `lowered`.
    pub const fn kind(&self) -> &'static str {
        match self {
            RiskChange::Raised(_) => "raised",
            RiskChange::Lowered(_) => "lowered",
        }
    }
}
