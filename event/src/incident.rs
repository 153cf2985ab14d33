//! An incident: a connected group of alerts with the reasons that connect them (OCSF Incident Finding 2005).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::alert::{Domain, Severity, Tactic};
use crate::entity::{Entity, EntityType};
use crate::ids::{AlertId, IncidentId, TenantId};
use crate::relation::IncidentLink;
use crate::time::Time;

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStatus {
    /// Nobody has looked yet.
    New,
    /// An analyst works on it.
    InProgress,
    /// Done.
    Closed,
    /// Merged into another incident; see [`Incident::redirect_to`].
    Redirected,
}

impl IncidentStatus {
    /// Snake-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            IncidentStatus::New => "new",
            IncidentStatus::InProgress => "in_progress",
            IncidentStatus::Closed => "closed",
            IncidentStatus::Redirected => "redirected",
        }
    }
}

/// A connected group of alerts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// Identity, from its root alert.
    pub id: IncidentId,
    /// Tenant.
    pub tenant: TenantId,
    /// Rises with every change; a consumer drops what is older than what it has.
    pub version: u64,
    /// Status.
    pub status: IncidentStatus,
    /// The survivor, if this incident was merged. Always one hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub redirect_to: Option<IncidentId>,
    /// Generated name.
    pub title: String,
    /// Generated plain-language summary.
    pub summary: String,
    /// Highest severity of its alerts, raised by breadth.
    pub severity: Severity,
    /// Priority, 0 to 100.
    pub score: u32,
    /// How sure the engine is that this is one malicious story, 0 to 100.
    pub confidence: u32,
    /// Telemetry domains of its alerts, sorted.
    pub domains: Vec<Domain>,
    /// Tactics by first appearance in event time; informational alerts count only where there are no others.
    pub tactics: Vec<Tactic>,
    /// Technique ids, sorted.
    pub techniques: Vec<Arc<str>>,
    /// Event time of its first alert.
    pub first_time: Time,
    /// Event time of its last alert.
    pub last_time: Time,
    /// Its alerts by time, then id.
    pub alerts: Vec<AlertId>,
    /// Its entities after alias resolution, with the number of alerts that name them; most first.
    pub entities: Vec<(Entity, u32)>,
    /// The forest edges that hold it together, strongest first: `alerts.len() - 1` of them.
    pub joins: Vec<Join>,
    /// Whether event time has passed all of it, so that no late record can still change it.
    pub sealed: bool,
    /// Analyst in charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub assignee: Option<String>,
    /// Analyst's classification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub classification: Option<String>,
    /// Incidents it is related to, without being one with them; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable = false)]
    pub links: Vec<IncidentLink>,
}

/// An edge of the maximum-spanning forest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Join {
    /// The earlier alert.
    pub a: AlertId,
    /// The later alert.
    pub b: AlertId,
    /// Score in millionths, 0 to 1,250,000.
    pub weight_ppm: u32,
    /// Distance in event time, microseconds.
    pub gap_us: i64,
    /// What joins them, strongest first.
    pub reasons: Vec<JoinReason>,
}

/// One shared entity (or shared rare rule) behind a join.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JoinReason {
    /// Kind of evidence: an entity type, `process_tree`, `alias` or `rule`.
    pub kind: String,
    /// The shared value.
    pub value: Arc<str>,
    /// Rarity of the value in its epoch, in millionths.
    pub rarity_ppm: u32,
    /// This reason's own contribution, in millionths.
    pub score_ppm: u32,
}

/// What happened to an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum IncidentDelta {
    /// A new incident.
    Created { incident: Arc<Incident> },
    /// Alerts joined it, or its meaning changed.
    Updated { incident: Arc<Incident>, added: Vec<AlertId> },
    /// `from` became part of `incident`.
    Merged { from: IncidentId, incident: Arc<Incident> },
    /// `incident` came out of `from`.
    Split { from: IncidentId, incident: Arc<Incident> },
    /// Event time passed it.
    Sealed { incident: Arc<Incident> },
}

impl IncidentDelta {
    /// The incident after the change.
    pub fn incident(&self) -> &Arc<Incident> {
        match self {
            IncidentDelta::Created { incident }
            | IncidentDelta::Updated { incident, .. }
            | IncidentDelta::Merged { incident, .. }
            | IncidentDelta::Split { incident, .. }
            | IncidentDelta::Sealed { incident } => incident,
        }
    }

    /// Snake-case kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            IncidentDelta::Created { .. } => "created",
            IncidentDelta::Updated { .. } => "updated",
            IncidentDelta::Merged { .. } => "merged",
            IncidentDelta::Split { .. } => "split",
            IncidentDelta::Sealed { .. } => "sealed",
        }
    }
}

/// Why two alerts are in one incident, or are not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The alerts asked about.
    pub a: AlertId,
    /// The alerts asked about.
    pub b: AlertId,
    /// The joins from `a` to `b`; empty where nothing connects them.
    pub path: Vec<Join>,
    /// Index in `path` of the weakest join.
    #[schema(required = true)]
    pub weakest: Option<usize>,
    /// The alerts that would fall away without the weakest join: those on its smaller side.
    pub without_weakest: Vec<AlertId>,
    /// One sentence a person can read.
    pub text: String,
}

/// An incident as a graph for people and tools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IncidentGraph {
    /// The incident.
    pub incident: IncidentId,
    /// Alerts and entities.
    pub nodes: Vec<GraphNode>,
    /// Relations.
    pub edges: Vec<GraphEdge>,
    /// Nodes left out by the size bound.
    pub nodes_omitted: usize,
}

/// A node: an alert or an entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraphNode {
    /// `alert:<id>` or `<entity type>:<value>`.
    pub id: String,
    /// `alert` or the entity type.
    pub kind: String,
    /// For people.
    pub label: String,
    /// Event time of an alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub time: Option<Time>,
    /// Severity of an alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub severity: Option<Severity>,
    /// Alerts that name this entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub alerts: Option<u32>,
}

/// An edge: an alert names an entity, a process is parent of another, an alert joins another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraphEdge {
    /// Node id.
    pub from: String,
    /// Node id.
    pub to: String,
    /// Relation (`actor`, `target`, `parent_of`, `joined`, ...).
    pub relation: String,
    /// Score of a join, in millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub weight_ppm: Option<u32>,
}

impl Incident {
    /// The entities of one type, most named first.
    pub fn entities_of(&self, entity_type: EntityType) -> impl Iterator<Item = &Entity> {
        self.entities.iter().map(|(e, _)| e).filter(move |e| e.entity_type == entity_type)
    }
}
