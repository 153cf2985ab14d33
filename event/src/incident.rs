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
    /// Priority, 0 to 100: the sum of `priority`, capped.
    pub score: u32,
    /// The parts of the priority, in a fixed order; parts without points are left out.
    #[serde(default)]
    pub priority: Vec<PriorityPart>,
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
    /// What is affected (devices, users, mailboxes, apps, cloud resources), those acted upon first, then by alerts;
    /// at most 50.
    #[serde(default)]
    pub assets: Vec<Asset>,
    /// How many assets of each kind are affected, those that `assets` has no room for included.
    #[serde(default)]
    pub blast_radius: BlastRadius,
    /// What happened, in order of event time: repetitions of one alert are one line, and a long story keeps its
    /// gravest lines; at most 40.
    #[serde(default)]
    pub timeline: Vec<Moment>,
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

/// One part of a priority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PriorityPart {
    /// `severity`, `tactics`, `domains`, `assets` or `alerts`.
    pub part: String,
    /// What it adds to the score.
    pub points: u32,
    /// What it is given for, for people: `critical`, `5 stages`.
    pub because: String,
}

/// The part an affected asset plays. The first that applies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssetPart {
    /// It was acted upon.
    Target,
    /// The activity ran on it.
    Place,
    /// The activity was done in its name.
    Doer,
    /// Alerts name it without a part.
    Involved,
}

impl AssetPart {
    /// Snake-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            AssetPart::Target => "target",
            AssetPart::Place => "place",
            AssetPart::Doer => "doer",
            AssetPart::Involved => "involved",
        }
    }
}

/// An affected asset, by the name people know it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Asset {
    /// What it is.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// Its name.
    pub name: Arc<str>,
    /// Every name that alerts call it by, as records spell it, sorted; at most 16.
    #[serde(default)]
    pub names: Vec<Arc<str>>,
    /// The part it plays.
    pub part: AssetPart,
    /// Alerts that name it.
    pub alerts: u32,
    /// The gravest of them.
    pub severity: Severity,
    /// Event time of the first of them.
    pub first_time: Time,
    /// Event time of the last of them.
    pub last_time: Time,
}

/// How many assets of each kind an incident affects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlastRadius {
    /// Devices.
    pub devices: u32,
    /// Users.
    pub users: u32,
    /// Mailboxes that are not those of the users counted.
    pub mailboxes: u32,
    /// Applications.
    pub apps: u32,
    /// Cloud resources.
    pub cloud_resources: u32,
}

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moment {
    /// Event time of its first alert.
    pub time: Time,
    /// Event time of its last alert.
    pub end_time: Time,
    /// The first alert.
    pub alert: AlertId,
    /// How many alerts it stands for: the same title, in a row.
    pub alerts: u32,
    /// The gravest of them.
    pub severity: Severity,
    /// Tactics, in kill-chain order.
    pub tactics: Vec<Tactic>,
    /// What happened, where, by whom and against whom.
    pub text: String,
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
    /// Kind of evidence: an entity type, `process_tree`, `alias`, `rule`, or `event_join` (events without an alert).
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
    /// Its name.
    pub title: String,
    /// Alerts, entities, and the events between them: the gravest and earliest alerts first, then the entities that most
    /// alerts name.
    pub nodes: Vec<GraphNode>,
    /// Relations, by their ends.
    pub edges: Vec<GraphEdge>,
    /// Nodes without which the alerts fall into parts, the largest parts first.
    pub cuts: Vec<GraphCut>,
    /// The shortest path, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub path: Option<GraphPath>,
    /// Nodes left out by the size bound.
    pub nodes_omitted: usize,
    /// What was left out, alerts by title and entities by kind, most first.
    pub omitted: Vec<GraphOmitted>,
}

/// A node: an alert, an entity, or an event without an alert that connects some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraphNode {
    /// `alert:<id>`, `<entity type>:<value>` or `event:<record>`.
    pub id: String,
    /// `alert`, the entity type or `event`.
    pub kind: String,
    /// For people.
    pub label: String,
    /// Event time of an alert or event.
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
    /// Blast radius: devices, users, mailboxes, apps and cloud resources that can be reached from this entity along
    /// relations between entities, in their direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reaches: Option<u32>,
    /// Where to draw it: the column, in order of event time.
    pub column: u32,
    /// Where to draw it: the lane, one for alerts and one for each kind of entity.
    pub lane: u32,
}

/// An edge: an alert names an entity, an entity did something to another, an alert joins another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct GraphEdge {
    /// Node id.
    pub from: String,
    /// Node id.
    pub to: String,
    /// `joined` between alerts; the part that an entity plays in an alert (`actor`, `target`, ...); between entities
    /// `ran`, `parent_of`, `signed_in_to`, `sent`, `clicked`, `connected_to`, `granted` and others; between events what
    /// the first led to (`opened`, `executed`, ...); `is_about` where an alert is about what an event led to or came from.
    pub relation: String,
    /// Score of a join, in millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub weight_ppm: Option<u32>,
    /// The first alert that shows the relation between two entities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub alert: Option<AlertId>,
}

/// A node without which the alerts of an incident fall into parts (an articulation point).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GraphCut {
    /// Node id.
    pub node: String,
    /// Alerts of each part, largest first.
    pub parts: Vec<u32>,
}

/// A shortest path through an incident's graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GraphPath {
    /// Node ids, ends included; empty where nothing connects them.
    pub nodes: Vec<String>,
    /// The edges between them, one fewer.
    pub edges: Vec<GraphEdge>,
    /// For people.
    pub text: String,
}

/// Nodes that a graph has no room for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GraphOmitted {
    /// `alert` or the entity type.
    pub kind: String,
    /// The title of alerts; the kind of entities in words.
    pub label: String,
    /// How many.
    pub nodes: u32,
}

impl Incident {
    /// The entities of one type, most named first.
    pub fn entities_of(&self, entity_type: EntityType) -> impl Iterator<Item = &Entity> {
        self.entities.iter().map(|(e, _)| e).filter(move |e| e.entity_type == entity_type)
    }
}
