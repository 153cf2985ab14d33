//! The command state machine: which step may follow which.
//!
//! ```text
//! proposed -> suppressed | simulated | awaiting_approval | queued
//! awaiting_approval -> queued | no_op | rejected | expired
//! queued -> probing -> no_op | dispatching | accepted (an earlier request of ours was found)
//! dispatching -> accepted | outcome_unknown | queued (certainly not sent) | failed
//! outcome_unknown -> probing              never straight back to dispatching
//! accepted -> running -> verifying -> succeeded | partial | failed | timed_out
//! open -> cancel_requested -> cancelled | running (too late)
//! ```

use event::{Action, ActionState, Time, Transition};

use crate::error::RespondError;

/// Steps kept in the history of a command; a provider that is down for days would else grow it for ever.
const HISTORY_MAX: usize = 64;

/// Whether a command may go from one state to another.
pub(crate) fn may_follow(from: ActionState, to: ActionState) -> bool {
    use ActionState::*;
    match from {
        Proposed => matches!(to, Suppressed | Simulated | AwaitingApproval | Queued),
        AwaitingApproval => matches!(to, Queued | NoOp | Rejected | Expired | CancelRequested),
        Queued => matches!(to, Probing | Expired | CancelRequested),
        Probing => matches!(
            to,
            NoOp | Dispatching
                | Accepted
                | Succeeded
                | Queued
                | OutcomeUnknown
                | Failed
                | TimedOut
                | CancelRequested
        ),
        Dispatching => matches!(to, Accepted | OutcomeUnknown | Queued | Failed),
        Accepted => matches!(
            to,
            Running | Verifying | Failed | TimedOut | Cancelled | OutcomeUnknown | CancelRequested
        ),
        Running => {
            matches!(to, Verifying | Failed | TimedOut | Cancelled | OutcomeUnknown | CancelRequested)
        }
        Verifying => matches!(to, Succeeded | Partial | Failed | TimedOut),
        OutcomeUnknown => matches!(to, Probing | TimedOut),
        CancelRequested => matches!(to, Cancelled | Running | TimedOut),
        Suppressed | Simulated | Rejected | Expired | NoOp | Succeeded | Partial | Failed | TimedOut
        | Cancelled => false,
    }
}

/// Takes the command one step further and records it.
///
/// # Errors
/// [`RespondError::IllegalTransition`] where the state machine has no such step; the command is unchanged.
pub(crate) fn advance(
    action: &mut Action,
    to: ActionState,
    at: Time,
    note: &str,
) -> Result<(), RespondError> {
    if !may_follow(action.state, to) {
        return Err(RespondError::IllegalTransition { action: action.id.clone(), from: action.state, to });
    }
    if action.history.len() >= HISTORY_MAX {
        forget_repetition(&mut action.history);
    }
    action.history.push(Transition { to, at, note: bounded(note) });
    action.state = to;
    Ok(())
}

/// Removes the oldest step that only repeats an earlier one: who asked, and that a state was ever reached,
/// stays on record.
fn forget_repetition(history: &mut Vec<Transition>) {
    let repeats = |at: &usize| history[..*at].iter().any(|earlier| earlier.to == history[*at].to);
    if let Some(at) = (0..history.len()).find(repeats) {
        history.remove(at);
    }
}

/// Whether a request may have reached the provider without our knowing its outcome.
pub(crate) fn in_doubt(action: &Action) -> bool {
    let sent = |t: &Transition| matches!(t.to, ActionState::OutcomeUnknown | ActionState::Accepted);
    action.attempts > 0 && action.history.iter().any(sent)
}

/// Whether the command is past the queue and not yet at its end.
pub(crate) fn in_flight(state: ActionState) -> bool {
    !state.is_final()
        && !matches!(state, ActionState::Proposed | ActionState::AwaitingApproval | ActionState::Queued)
}

/// A text as it stands between the quotes of an OData filter.
pub(crate) fn odata(text: &str) -> String {
    text.replace('\'', "''")
}

/// A text that others wrote as one line: without controls, and without what makes it read as another one.
pub(crate) fn one_line(text: &str) -> String {
    let is_hidden = |c: &char| {
        let c = *c;
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().filter(|c| !is_hidden(c)).collect()
}

/// Provider texts end up in notes; they are outside bytes.
pub(crate) fn bounded(note: &str) -> String {
    note.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ActionState::*;

    const ALL: [ActionState; 20] = [
        Proposed,
        Suppressed,
        Simulated,
        AwaitingApproval,
        Rejected,
        Expired,
        Queued,
        Probing,
        Dispatching,
        Accepted,
        Running,
        Verifying,
        OutcomeUnknown,
        NoOp,
        Succeeded,
        Partial,
        Failed,
        TimedOut,
        CancelRequested,
        Cancelled,
    ];

    #[test]
    fn nothing_follows_a_final_state_and_every_open_one_has_an_end() {
        for from in ALL {
            let next: Vec<_> = ALL.into_iter().filter(|to| may_follow(from, *to)).collect();
            assert_eq!(next.is_empty(), from.is_final(), "{from:?}");
            assert!(!next.contains(&from), "{from:?} follows itself");
            assert!(from.is_final() || reaches_an_end(from), "{from:?}");
        }
    }

    fn reaches_an_end(from: ActionState) -> bool {
        let mut seen = vec![from];
        let mut at = 0;
        while at < seen.len() {
            let more: Vec<_> =
                ALL.into_iter().filter(|to| may_follow(seen[at], *to) && !seen.contains(to)).collect();
            seen.extend(more);
            at += 1;
        }
        seen.iter().any(|s| s.is_final())
    }

    #[test]
    fn only_a_probe_leads_to_a_dispatch() {
        let before: Vec<_> = ALL.into_iter().filter(|from| may_follow(*from, Dispatching)).collect();
        assert_eq!(before, [Probing]);
    }
}
