//! What relates incidents that are not one: links, suggested merges, campaigns.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::entity::EntityType;
use crate::ids::{AlertId, CampaignId, IncidentId, SuggestionId, TenantId};
use crate::incident::Join;
use crate::time::Time;

/// Why one incident points to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// Both are parts of what would be too large for one incident.
    Sibling,
    /// It goes on where the other one was closed, rested too long or had lasted long enough.
    Continues,
    /// A join between the two is held back; see [`Suggestion`].
    Related,
}

/// A pointer from one incident to another of the same tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct IncidentLink {
    /// Why.
    pub kind: LinkKind,
    /// The other incident.
    pub incident: IncidentId,
}

/// What keeps two incidents apart that a join would merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// One of them is closed.
    Closed,
    /// They have different assignees.
    Assignee,
    /// They have different classifications.
    Classification,
    /// They belong to different scopes.
    Scope,
    /// People work on both, and the join is not strong enough to interfere.
    Worked,
}

impl Guard {
    /// Snake-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Guard::Closed => "closed",
            Guard::Assignee => "assignee",
            Guard::Classification => "classification",
            Guard::Scope => "scope",
            Guard::Worked => "worked",
        }
    }
}

/// A merge that the engine did not do by itself; an analyst may.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Suggestion {
    /// Identity, from the tenant and the two alerts of the join.
    pub id: SuggestionId,
    /// Tenant.
    pub tenant: TenantId,
    /// The incident of the join's earlier alert.
    pub a: IncidentId,
    /// The incident of the join's later alert.
    pub b: IncidentId,
    /// What holds the join back.
    pub guard: Guard,
    /// The same, for people.
    pub because: String,
    /// The join that would merge them.
    pub join: Join,
}

/// Incidents that very rare artefacts link over weeks. They stay incidents of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Campaign {
    /// Identity, from the tenant and the first alert that names one of its artefacts.
    pub id: CampaignId,
    /// Tenant.
    pub tenant: TenantId,
    /// Event time of the first alert that names one of its artefacts.
    pub first_time: Time,
    /// Event time of the last one.
    pub last_time: Time,
    /// What links them, by type, then value.
    pub artefacts: Vec<Artefact>,
    /// At least two, by the first alert that names an artefact.
    pub incidents: Vec<IncidentId>,
}

/// Something so rare that two incidents which have it in common are hardly strangers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Artefact {
    /// What it is.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// Canonical value.
    pub value: Arc<str>,
    /// For each device or user and day the first alert that names it, by time.
    pub alerts: Vec<AlertId>,
}

/// A change of what relates incidents. State by id: the last change of an id is how it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum RelationChange {
    /// A merge is suggested, or what is known of it changed.
    Suggested { suggestion: Suggestion },
    /// A suggestion is no more: it was followed, decided against, or outlived.
    SuggestionGone { tenant: TenantId, id: SuggestionId },
    /// A campaign began or grew.
    Campaign { campaign: Campaign },
    /// A campaign is no more: it became part of an older one, or its incidents became one.
    CampaignGone { tenant: TenantId, id: CampaignId },
}
