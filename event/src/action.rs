//! An action changes the world. Its *command* is one attempt to do so; its *effect* is the state it holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::entity::Entity;
use crate::ids::{ActionId, EffectId, IncidentId, TenantId};
use crate::time::Time;

/// How much an action can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum RiskClass {
    /// Reads or collects.
    R0,
    /// Light and reversible.
    R1,
    /// Disrupts one entity, reversible.
    R2,
    /// Wide, or a critical entity; reversible.
    R3,
    /// Irreversible.
    R4,
}

impl RiskClass {
    /// One class up: for critical or privileged targets.
    pub const fn raised(self) -> Self {
        match self {
            RiskClass::R0 => RiskClass::R1,
            RiskClass::R1 => RiskClass::R2,
            RiskClass::R2 => RiskClass::R3,
            RiskClass::R3 | RiskClass::R4 => RiskClass::R4,
        }
    }
}

/// A tactic of D3FEND, which is the `activity_id` of OCSF's remediation activities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Countermeasure {
    /// Keep it apart.
    #[default]
    Isolate = 1,
    /// Remove it.
    Evict = 2,
    /// Put it back as it was.
    Restore = 3,
    /// Make it harder.
    Harden = 4,
    /// Find out.
    Detect = 5,
}

impl Countermeasure {
    /// The name that D3FEND gives it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Countermeasure::Isolate => "Isolate",
            Countermeasure::Evict => "Evict",
            Countermeasure::Restore => "Restore",
            Countermeasure::Harden => "Harden",
            Countermeasure::Detect => "Detect",
        }
    }
}

/// What an action is aimed at: an entity of the incident graph and the identifiers that resolved it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct Target {
    /// The canonical entity.
    pub entity: Entity,
    /// Every identifier of it, sorted: agent id, FQDN, short name, ...
    pub identifiers: Vec<Entity>,
    /// What people call it, where its entity is an id that tells them nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub label: Option<String>,
}

impl Target {
    /// The name to show.
    pub fn name(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.entity.value)
    }
}

/// Command states. `Proposed` is first; see [`ActionState::is_final`] for the last ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// A response rule asked for it.
    Proposed,
    /// Policy keeps it from running; the decision says why.
    Suppressed,
    /// Dry run: target, blast radius and undo plan are recorded, nothing is done.
    Simulated,
    /// Waits for a person.
    AwaitingApproval,
    /// A person said no.
    Rejected,
    /// Nobody decided, or nobody could execute it, in time.
    Expired,
    /// Waits for an executor.
    Queued,
    /// An executor asks the target for its present state.
    Probing,
    /// Intent is on disk; the request may be on the wire.
    Dispatching,
    /// The provider has taken it.
    Accepted,
    /// The provider works on it.
    Running,
    /// The provider says done; the target is asked.
    Verifying,
    /// The request may or may not have arrived: probe, never repeat blindly.
    OutcomeUnknown,
    /// The target already was in the wanted state.
    NoOp,
    /// Done and verified.
    Succeeded,
    /// Done in part.
    Partial,
    /// Not done.
    Failed,
    /// Not done in time.
    TimedOut,
    /// A cancel was asked for.
    CancelRequested,
    /// Cancelled before it took effect.
    Cancelled,
}

impl ActionState {
    /// Snake-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            ActionState::Proposed => "proposed",
            ActionState::Suppressed => "suppressed",
            ActionState::Simulated => "simulated",
            ActionState::AwaitingApproval => "awaiting_approval",
            ActionState::Rejected => "rejected",
            ActionState::Expired => "expired",
            ActionState::Queued => "queued",
            ActionState::Probing => "probing",
            ActionState::Dispatching => "dispatching",
            ActionState::Accepted => "accepted",
            ActionState::Running => "running",
            ActionState::Verifying => "verifying",
            ActionState::OutcomeUnknown => "outcome_unknown",
            ActionState::NoOp => "no_op",
            ActionState::Succeeded => "succeeded",
            ActionState::Partial => "partial",
            ActionState::Failed => "failed",
            ActionState::TimedOut => "timed_out",
            ActionState::CancelRequested => "cancel_requested",
            ActionState::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen to the command.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            ActionState::Suppressed
                | ActionState::Simulated
                | ActionState::Rejected
                | ActionState::Expired
                | ActionState::NoOp
                | ActionState::Succeeded
                | ActionState::Partial
                | ActionState::Failed
                | ActionState::TimedOut
                | ActionState::Cancelled
        )
    }
}

/// The record of why an action may or may not run. No action exists without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// Response rule that asked (`manual` for a person).
    pub rule: String,
    /// Version (content hash) of that rule and of the policy.
    pub policy_version: String,
    /// Automation level that applied.
    pub automation: String,
    /// What came out: `execute`, `approve`, `suppress`, `simulate`.
    pub outcome: String,
    /// Why, in order of the checks.
    pub reasons: Vec<String>,
    /// How many people must approve it; left out where it needs none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub approvers: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// A person's word on an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// When.
    pub at: Time,
    /// Yes or no.
    pub approved: bool,
    /// Why.
    pub comment: String,
}

/// How to take an action back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UndoPlan {
    /// The inverse verb.
    pub verb: String,
    /// Its arguments.
    pub args: BTreeMap<String, String>,
    /// State of the target before the act, as the probe saw it.
    pub pre_image: String,
}

/// One step in the life of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    /// New state.
    pub to: ActionState,
    /// When.
    pub at: Time,
    /// Why, for people; never a secret.
    pub note: String,
}

/// A command: one intent to change the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Action {
    /// Identity: derived from tenant, verb, target, arguments and cause, so a replay finds it again.
    pub id: ActionId,
    /// Tenant.
    pub tenant: TenantId,
    /// `host.isolate`, `host.release`, ...
    pub verb: String,
    /// What kind of countermeasure it is.
    #[serde(default)]
    pub countermeasure: Countermeasure,
    /// Aim.
    pub target: Target,
    /// Arguments of the verb.
    pub args: BTreeMap<String, String>,
    /// Risk class after raising.
    pub risk: RiskClass,
    /// The incident behind it.
    pub incident: IncidentId,
    /// What the incident was called when it was proposed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// State.
    pub state: ActionState,
    /// Why it may run.
    pub decision: Decision,
    /// Approvals and rejections.
    pub approvals: Vec<Approval>,
    /// The executor's own id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub provider_ref: Option<String>,
    /// Dispatches so far.
    pub attempts: u32,
    /// How to take it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub undo: Option<UndoPlan>,
    /// When it was proposed.
    pub created_at: Time,
    /// When a pending approval or execution lapses.
    pub expires_at: Time,
    /// Every step so far.
    pub history: Vec<Transition>,
}

/// Effect states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EffectState {
    /// Nothing holds.
    Absent,
    /// A command is on its way.
    Applying,
    /// Holds.
    Active,
    /// A probe found something else.
    Drifted,
    /// Being taken back.
    Reverting,
    /// Taken back.
    Reverted,
    /// Could not be taken back: a person is needed.
    RevertFailed,
}

impl EffectState {
    /// Snake-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            EffectState::Absent => "absent",
            EffectState::Applying => "applying",
            EffectState::Active => "active",
            EffectState::Drifted => "drifted",
            EffectState::Reverting => "reverting",
            EffectState::Reverted => "reverted",
            EffectState::RevertFailed => "revert_failed",
        }
    }
}

/// Who wants an effect to hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct Holder {
    /// The incident, or `analyst:<name>`.
    pub by: String,
    /// The command that took hold.
    pub action: ActionId,
}

/// A state of the world that actions hold: "host H is isolated".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Effect {
    /// Identity: tenant, target, kind.
    pub id: EffectId,
    /// Tenant.
    pub tenant: TenantId,
    /// Aim.
    pub target: Target,
    /// `host.isolated`.
    pub kind: String,
    /// State.
    pub state: EffectState,
    /// It ends when the last holder lets go.
    pub holders: Vec<Holder>,
    /// When it ends by itself.
    pub expires_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}
