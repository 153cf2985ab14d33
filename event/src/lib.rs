//! The data model of Asterism, and nothing else: no Kafka, HTTP, file, clock or thread.
//!
//! ```text
//! record (bytes at topic, partition, offset)
//!   -> EventBatch (Arrow columns of one OCSF class and one source kind)
//!   -> Alert      (a rule fired, or a product told us)
//!   -> Incident   (a connected group of alerts)
//!   -> Action     (a change to the world: command and effect)
//! ```
//!
//! - [`Class`] and [`ClassSchema`]: OCSF 1.8 classes as flat Arrow schemas; `classes.yml` is their one
//!   definition, with the OCSF path of every column, so that [`ocsf`] gives the nested JSON back exactly.
//! - [`EventBatch`]: rows of one class, with the native fields that rules asked for.
//! - [`Entity`]: a user, device, process, ... named by a canonical value within a tenant.
//! - [`Alert`], [`Incident`], [`IncidentDelta`], [`Suggestion`], [`Campaign`], [`Action`], [`Effect`]: what the
//!   engine says.
//! - [`Time`] is event time in microseconds; nothing here reads a clock.
//!
//! ```
//! use event::{Class, ClassSchema};
//! let schema = ClassSchema::of(Class::PROCESS_ACTIVITY);
//! assert_eq!(schema.column("process_cmd_line").unwrap().path, "process.cmd_line");
//! ```

mod action;
mod address;
mod alert;
mod batch;
mod builder;
mod class;
mod cold;
mod column;
mod digest;
mod entity;
mod feed;
mod ids;
mod incident;
pub mod json;
mod native;
pub mod numbers;
pub mod ocsf;
mod relation;
mod risk;
mod shelf;
pub mod snapshot;
mod time;
mod uuid;

pub use action::{
    Action, ActionState, Approval, Countermeasure, Decision, Effect, EffectState, Holder, RiskClass, Target,
    Transition, UndoPlan,
};
pub use address::is_local_address;
pub use alert::{Alert, AttackTag, Domain, RecordRef, RuleRef, Severity, Tactic};
pub use batch::{EventBatch, Logsource, RowMeta, bytes_of, entity_list_type};
pub use builder::BatchBuilder;
pub use class::{Class, ClassSchema, Column, ColumnType, SchemaError};
pub use cold::Cold;
pub use digest::digest;
pub use entity::{Entity, EntityId, EntityType, Role};
pub use feed::{Feed, RowShape, Watermarks};
pub use ids::{ActionId, AlertId, CampaignId, EffectId, IncidentId, InputId, SuggestionId, TenantId};
pub use incident::{
    Asset, AssetPart, BlastRadius, Explanation, GraphCut, GraphEdge, GraphNode, GraphOmitted, GraphPath,
    Incident, IncidentDelta, IncidentGraph, IncidentStatus, Join, JoinReason, Moment, PriorityPart,
};
pub use native::{Native, NativeColumn, NativeFields, NativeReader};
pub use relation::{Artefact, Campaign, Guard, IncidentLink, LinkKind, RelationChange, Suggestion};
pub use risk::{EntityRisk, RiskChange, RiskLevel, RiskReason};
pub use shelf::{Kept, Medium, Shelf};
pub use time::{Time, TimeError, Watermark};
pub use uuid::Uuid;
