//! What can go wrong, by what the operator must do.

use event::{ActionId, ActionState, EffectState};

use crate::callback::CallbackFault;

/// Errors of the respond crate.
#[derive(Debug, thiserror::Error)]
pub enum RespondError {
    /// The input names nothing, or is malformed: correct it.
    #[error("{0}")]
    BadInput(String),
    /// No action has this id: look it up in the list of actions.
    #[error("no action {0}")]
    UnknownAction(ActionId),
    /// The action is past the point where this can be asked for: reload it and decide again.
    #[error("action {action} is {}: {reason}", state.as_str())]
    Conflict {
        /// The action.
        action: ActionId,
        /// Its present state.
        state: ActionState,
        /// Why that forbids the request, and what to do instead.
        reason: String,
    },
    /// A cap, the kill switch or protection forbids it: wait, or change the policy.
    #[error("{0}")]
    Limit(String),
    /// A worker reported on a lease it no longer has: its report is refused, nothing is lost.
    #[error("report for {action} carries fence {got}, the lease has {expected:?}")]
    StaleReport {
        /// The action.
        action: ActionId,
        /// The fence in the report.
        got: u64,
        /// The fence of the present lease, if there is one.
        expected: Option<u64>,
    },
    /// What comes back from outside is not taken, and changes nothing: see the reason.
    #[error("callback for {action}: {fault}")]
    Callback {
        /// The action.
        action: ActionId,
        /// Why.
        fault: CallbackFault,
    },
    /// A change could not be stored, so nothing was sent: mend the storage, then restore from it.
    #[error("change not stored, nothing was sent: {0}")]
    NotStored(String),
    /// A state machine was asked for a step it does not have: a bug, please report it.
    #[error("bug: action {action} cannot go from {} to {}", from.as_str(), to.as_str())]
    IllegalTransition {
        /// The action.
        action: ActionId,
        /// Present state.
        from: ActionState,
        /// Wanted state.
        to: ActionState,
    },
    /// A state machine was asked for a step it does not have: a bug, please report it.
    #[error("bug: an effect cannot go from {} to {}", from.as_str(), to.as_str())]
    IllegalEffect {
        /// Present state.
        from: EffectState,
        /// Wanted state.
        to: EffectState,
    },
}
