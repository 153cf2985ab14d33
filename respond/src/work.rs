//! What passes between the responder and a worker: one step of one command, and what came of it.

use std::collections::{BTreeMap, BTreeSet};

use event::{ActionId, IncidentId, Target, TenantId, Time};
use serde::{Deserialize, Serialize};

use crate::verb::Verb;

/// One network step of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Ask for the present state of the target.
    Probe,
    /// Send the request. Its intent is already stored.
    Dispatch,
    /// Ask how the request is getting on.
    Poll,
    /// Ask whether the target has the wanted state.
    Verify,
    /// Ask the provider to forget the request.
    Cancel,
}

/// What is asked of the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The command.
    pub action: ActionId,
    /// Tenant.
    pub tenant: TenantId,
    /// Verb.
    pub verb: Verb,
    /// Aim.
    pub target: Target,
    /// Arguments.
    pub args: BTreeMap<String, String>,
    /// The incident behind it.
    pub incident: IncidentId,
    /// What the incident was called when the action was proposed; it names what telemetry names.
    pub title: String,
    /// Goes to the provider with the request; begins with the action's id, so that it is found again.
    pub comment: String,
    /// The provider's own id of the request, once there is one.
    pub provider_ref: Option<String>,
    /// Requests of the command sent so far, the present one included.
    pub attempts: u32,
    /// Whether an earlier request of the command may have been carried out.
    pub in_doubt: bool,
    /// Of a command that takes an effect back: the state before the act, as [`Probe::pre_image`] gave it.
    pub kept: Option<String>,
}

/// The text by which a request of this engine is found at the provider.
pub(crate) fn marker(action: &ActionId) -> String {
    format!("{MARKER}{action}")
}

/// What every comment of this engine begins with.
pub(crate) const MARKER: &str = "asterism:";

impl Request {
    /// Hash of what goes to the provider, for the audit chain.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        part(self.action.as_str());
        part(self.verb.as_str());
        part(&self.target.entity.to_string());
        part(self.incident.as_str());
        part(&self.title);
        part(&self.comment);
        part(self.kept.as_deref().unwrap_or_default());
        self.args.iter().for_each(|(k, v)| {
            part(k);
            part(v);
        });
        hasher.finalize().to_hex().to_string()
    }
}

/// A leased step. Only the holder of the fence may report on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Rises with every lease.
    pub fence: u64,
    /// After this the lease may go to another worker.
    pub lease_until: Time,
    /// What to do.
    pub step: Step,
    /// With what.
    pub request: Request,
    /// Providers that are stopped: they are asked for nothing new.
    pub stopped: BTreeSet<String>,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The command.
    pub action: ActionId,
    /// The fence of the lease.
    pub fence: u64,
    /// The outcome.
    pub outcome: Result<Reply, ExecuteError>,
}

/// The provider's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Step::Probe`] and [`Step::Verify`].
    Probed(Probe),
    /// To [`Step::Dispatch`]: taken, under this reference.
    Accepted {
        /// The provider's id of the request.
        provider_ref: String,
    },
    /// To [`Step::Poll`].
    Progress(Progress),
    /// To [`Step::Cancel`].
    Cancelled {
        /// Whether it was in time.
        in_time: bool,
    },
}

/// The state of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Whether the effect holds now.
    pub holds: bool,
    /// Whether a request of this engine brought that about, as far as the provider can tell; else the engine's own
    /// record decides. What another party did is not ours to undo.
    pub by_us: Option<bool>,
    /// A request that is under way.
    pub under_way: Option<UnderWay>,
    /// What was seen, for people.
    pub evidence: String,
    /// What must be put back when the act is undone, as JSON; without it the evidence is kept.
    pub pre_image: Option<String>,
}

/// A request that the provider is working on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// The provider's id of it.
    pub provider_ref: String,
    /// Whether it is the very command that probes.
    pub ours: bool,
}

/// How far a request has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not begun; the device may be offline.
    Pending,
    /// Begun.
    Running,
    /// The provider says it is done.
    Done,
    /// The provider says it is not done and will not be.
    Failed(String),
    /// Somebody cancelled it at the provider.
    Cancelled,
}

/// Why a step gave no answer, by what may be done next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// Repeating it gives the same: a person must mend something.
    #[error("{0}")]
    Terminal(String),
    /// Certainly not done; try again.
    #[error("{message}")]
    Retryable {
        /// Why.
        message: String,
        /// When the provider wants to hear from us again, in seconds.
        after_s: Option<u32>,
    },
    /// It may or may not have been done: probe before anything else.
    #[error("{0}")]
    OutcomeUnknown(String),
}
