//! The effect state machine: a state of the world that actions hold.
//!
//! ```text
//! absent -> applying -> active -> reverting -> reverted
//! applying -> absent                 the command failed, and certainly did nothing
//! active -> drifted -> active | applying | reverting
//! reverting -> revert_failed -> reverting
//! reverting -> applying              somebody took hold again in the meantime
//! ```

use event::{ActionId, Effect, EffectId, EffectState, Holder, Target, TenantId, Time};

use crate::error::RespondError;

/// Whether an effect may go from one state to another.
pub(crate) fn may_follow(from: EffectState, to: EffectState) -> bool {
    use EffectState::*;
    match from {
        Absent | Reverted => matches!(to, Applying),
        Applying => matches!(to, Active | Absent | Reverting),
        Active => matches!(to, Drifted | Reverting),
        Drifted => matches!(to, Active | Applying | Reverting),
        Reverting => matches!(to, Reverted | RevertFailed | Applying),
        RevertFailed => matches!(to, Reverting | Applying),
    }
}

/// Takes the effect one step further.
///
/// # Errors
/// [`RespondError::IllegalEffect`] where the state machine has no such step; the effect is unchanged.
pub(crate) fn advance(effect: &mut Effect, to: EffectState, at: Time) -> Result<(), RespondError> {
    if effect.state == to {
        return Ok(());
    }
    if !may_follow(effect.state, to) {
        return Err(RespondError::IllegalEffect { from: effect.state, to });
    }
    effect.state = to;
    effect.updated_at = at;
    Ok(())
}

/// The identity of the effect of one kind on one target.
pub(crate) fn effect_id(tenant: &TenantId, target: &Target, kind: &str) -> EffectId {
    EffectId::derive(&[tenant.as_str().as_bytes(), target.entity.to_string().as_bytes(), kind.as_bytes()])
}

/// An effect that nobody holds yet.
pub(crate) fn absent(tenant: &TenantId, target: &Target, kind: &str, at: Time) -> Effect {
    Effect {
        id: effect_id(tenant, target, kind),
        tenant: tenant.clone(),
        target: target.clone(),
        kind: kind.to_owned(),
        state: EffectState::Absent,
        holders: Vec::new(),
        expires_at: at,
        updated_at: at,
    }
}

/// Whether the effect is wanted by somebody: holds, or is on its way.
pub(crate) fn is_wanted(effect: &Effect) -> bool {
    let on = !matches!(effect.state, EffectState::Absent | EffectState::Reverted | EffectState::RevertFailed);
    on && !effect.holders.is_empty()
}

/// Whether it is wanted, and nobody has seen that it no longer holds.
pub(crate) fn is_in_place(effect: &Effect) -> bool {
    is_wanted(effect) && effect.state != EffectState::Drifted
}

/// Adds a holder, kept sorted so that the order of arrival does not matter; extends the end, never shortens it.
pub(crate) fn take_hold(effect: &mut Effect, by: &str, action: &ActionId, until: Time) {
    let holder = Holder { by: by.to_owned(), action: action.clone() };
    if let Err(at) = effect.holders.binary_search(&holder) {
        effect.holders.insert(at, holder);
    }
    effect.expires_at = effect.expires_at.max(until);
}

#[cfg(test)]
mod tests {
    use super::*;
    use EffectState::*;

    #[test]
    fn what_holds_can_always_be_taken_back() {
        for from in [Applying, Active, Drifted, RevertFailed] {
            assert!(may_follow(from, Reverting), "{from:?}");
        }
        assert!(!may_follow(Absent, Active), "an effect holds only after a command");
        assert!(!may_follow(Active, Absent), "what holds does not vanish");
        assert!(!may_follow(Reverted, Active));
    }
}
