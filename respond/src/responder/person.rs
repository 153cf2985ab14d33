//! What people ask for: approve, reject, cancel, undo.

use event::{Action, ActionId, ActionState, Approval, IncidentId, RiskClass, Time};

use super::ticket::{closing, opens};
use super::{ActionChange, Entry, Responder};
use crate::book::{CLOSE, REOPEN, effect_of, verb_of};
use crate::callback::CallbackFault;
use crate::command::{bounded, in_doubt};
use crate::effect::is_in_place;
use crate::error::RespondError;
use crate::policy::Policy;
use crate::verb::Verb;

type Changes = Result<Vec<ActionChange>, RespondError>;

impl Responder {
    /// Approves a waiting action, which runs when as many people have as the policy asks for its risk class. Caps, kill
    /// switch and protection bind people, too.
    ///
    /// # Errors
    /// [`RespondError::UnknownAction`]; [`RespondError::Conflict`] where it does not wait (any more), this person
    /// has approved it before, or has written the rule that asks for an action of risk class R3 or R4; [`RespondError::Limit`] where the policy forbids it now.
    pub fn approve(&mut self, id: &ActionId, by: &str, comment: &str, now: Time) -> Changes {
        let mut action = self.waiting(id, now)?;
        if let Some(pattern) = self.policy.protects(&action.target) {
            let text = format!("{} is protected ({})", action.target.entity.value, pattern.as_str());
            return Err(RespondError::Limit(text));
        }
        if let Some(lacks) = self.lacks(&action) {
            let remedy = "add a connector that can, or do it by hand and reject this with a note";
            return Err(RespondError::Limit(format!("{lacks}: {remedy}")));
        }
        if action.approvals.iter().any(|a| a.approved && a.by == by) {
            return Err(conflict(&action, &format!("{by} has approved it; another person must")));
        }
        let author = self.rules.get(&action.decision.rule).and_then(|rule| rule.author.as_deref());
        if action.risk >= RiskClass::R3 && author.is_some_and(|author| author.eq_ignore_ascii_case(by)) {
            return Err(conflict(
                &action,
                &format!("{by} wrote the rule that asks for it; another person must"),
            ));
        }
        action.approvals.push(approval(by, comment, true, now));
        let text = said("approved", comment);
        let (given, asked) = (action.approvals.len(), self.policy.approvers(action.risk));
        if given < asked as usize {
            let text = format!("{text} ({given} of {asked})");
            self.commit(action, None, Entry::engine("approval", &text).by(by), now);
            return Ok(std::mem::take(&mut self.changes));
        }
        let known = self.book.effect(&effect_of(&action)).filter(|effect| is_in_place(effect));
        let is_held =
            known.is_some_and(|effect| effect.holders.iter().any(|h| h.by == action.incident.as_str()));
        let effect = match self.join_effect(&action, now) {
            None if is_held => {
                self.step(
                    &mut action,
                    ActionState::NoOp,
                    "approved; its incident holds the effect already",
                    now,
                );
                None
            }
            Some(effect) => {
                self.step(
                    &mut action,
                    ActionState::NoOp,
                    "approved; the effect already holds for others",
                    now,
                );
                Some(effect)
            }
            None => {
                let usage = self.usage(&action, &effect_of(&action), now);
                Policy::within_limits(&usage).map_err(|limit| RespondError::Limit(limit.to_string()))?;
                self.enqueue(&mut action, &format!("approved by {by}"), now)
            }
        };
        self.commit(action, effect, Entry::engine("approval", &text).by(by), now);
        Ok(std::mem::take(&mut self.changes))
    }

    /// Refuses a waiting action for good.
    ///
    /// # Errors
    /// [`RespondError::UnknownAction`]; [`RespondError::Conflict`] where it does not wait (any more).
    pub fn reject(&mut self, id: &ActionId, by: &str, comment: &str, now: Time) -> Changes {
        let mut action = self.waiting(id, now)?;
        action.approvals.push(approval(by, comment, false, now));
        self.step(&mut action, ActionState::Rejected, &format!("rejected by {by}"), now);
        let text = said("rejected", comment);
        self.commit(action, None, Entry::engine("approval", &text).by(by), now);
        Ok(std::mem::take(&mut self.changes))
    }

    /// Stops an action that is not done yet: at once where nothing was sent, else by asking the provider.
    ///
    /// # Errors
    /// [`RespondError::UnknownAction`]; [`RespondError::Conflict`] where it is done, is a release, is on the
    /// wire at this moment, or where other incidents want its effect as well.
    pub fn cancel(&mut self, id: &ActionId, by: &str, comment: &str, now: Time) -> Changes {
        let mut action = self.known(id)?.clone();
        self.may_cancel(&action)?;
        let text = said(&format!("cancel asked by {by}"), comment);
        let sent = matches!(action.state, ActionState::Accepted | ActionState::Running);
        if sent {
            self.end_lease(id, CallbackFault::Expired(now));
            self.paces.remove(id);
            self.step(&mut action, ActionState::CancelRequested, &text, now);
            self.commit(action, None, Entry::engine("cancel", &text).by(by), now);
        } else {
            self.end_unsent(action, &text, now);
        }
        Ok(std::mem::take(&mut self.changes))
    }

    /// Takes an action's hold off its effect; if nobody else holds it, the effect is taken back. What it has opened is
    /// closed.
    ///
    /// # Errors
    /// [`RespondError::UnknownAction`]; [`RespondError::Conflict`] where the action holds nothing.
    pub fn undo(&mut self, id: &ActionId, by: &str, comment: &str, now: Time) -> Changes {
        let action = self.known(id)?.clone();
        let text = said(&format!("undone by {by}"), comment);
        if action.state.is_final() && closing(&action).is_some() {
            if let Some(closed) = self.closed_by(&action) {
                return Err(conflict(&action, &format!("{} closes what it opened", closed.id)));
            }
            self.close_opened(&action, by, &text, now);
            return Ok(std::mem::take(&mut self.changes));
        }
        let effect = effect_of(&action);
        let holds = self.book.effect(&effect).is_some_and(|e| e.holders.iter().any(|h| h.action == *id));
        if !holds {
            return Err(conflict(&action, "it holds no effect, so there is nothing to take back"));
        }
        self.let_go(id, &effect, "undo", by, &text, now);
        Ok(std::mem::take(&mut self.changes))
    }

    /// Takes back all that an incident has done, the last first: what waits or is not done yet is cancelled, holds are let
    /// go, and effects that nobody else holds are taken back. What cannot be is told beside the changes.
    pub fn roll_back(
        &mut self,
        incident: &IncidentId,
        by: &str,
        comment: &str,
        now: Time,
    ) -> (Vec<ActionChange>, Vec<RespondError>) {
        let mut actions: Vec<(Time, ActionId)> = self
            .book
            .of_incident(incident)
            .filter(|a| verb_of(a).is_some_and(Verb::applies))
            .map(|a| (a.history.last().map_or(a.created_at, |step| step.at), a.id.clone()))
            .collect();
        actions.sort_unstable_by(|a, b| b.cmp(a));
        let (mut changes, mut left) = (Vec::new(), Vec::new());
        for (_, id) in actions {
            match self.take_out(&id, by, comment, now) {
                Ok(more) => changes.extend(more),
                Err(error) => left.push(error),
            }
        }
        (changes, left)
    }

    /// Undoes an action that holds something, cancels one that may still be; of others that have done something, why it
    /// stays.
    fn take_out(&mut self, id: &ActionId, by: &str, comment: &str, now: Time) -> Changes {
        let action = self.known(id)?;
        let holds =
            self.book.effect(&effect_of(action)).is_some_and(|e| e.holders.iter().any(|h| h.action == *id));
        match action.state {
            ActionState::AwaitingApproval => self.cancel(id, by, comment, now),
            _ if holds => self.undo(id, by, comment, now),
            // What cleans up is no act of the incident, and what was opened is closed once.
            _ if [CLOSE, REOPEN].contains(&&*action.decision.rule) && !opens(action) => Ok(Vec::new()),
            _ if action.state.is_final() && self.closed_by(action).is_some() => Ok(Vec::new()),
            _ if action.state.is_final() && closing(action).is_some() => self.undo(id, by, comment, now),
            state if !state.is_final() => self.cancel(id, by, comment, now),
            ActionState::Succeeded | ActionState::Partial if !verb_of(action).is_some_and(Verb::holds) => {
                Err(conflict(action, &format!("{} is done and cannot be undone", action.verb)))
            }
            _ => Ok(Vec::new()),
        }
    }

    fn known(&self, id: &ActionId) -> Result<&Action, RespondError> {
        self.book.action(id).ok_or_else(|| RespondError::UnknownAction(id.clone()))
    }

    fn waiting(&self, id: &ActionId, now: Time) -> Result<Action, RespondError> {
        let action = self.known(id)?;
        if action.state != ActionState::AwaitingApproval {
            return Err(conflict(action, "it does not wait for approval"));
        }
        if action.expires_at <= now {
            return Err(conflict(action, "its approval has lapsed; a new proposal follows from new alerts"));
        }
        Ok(action.clone())
    }

    fn may_cancel(&self, action: &Action) -> Result<(), RespondError> {
        use ActionState::*;
        if action.state.is_final() {
            return Err(conflict(action, "it has ended; undo it instead"));
        }
        if !verb_of(action).is_some_and(Verb::applies) {
            return Err(conflict(action, "a release cannot be cancelled"));
        }
        let effect = self.book.effect(&effect_of(action));
        let others = effect.into_iter().flat_map(|e| &e.holders).filter(|h| h.action != action.id);
        if let Some(other) = others.into_iter().next() {
            let reason = format!("{} wants it as well; undo {} first", other.by, other.action);
            return Err(conflict(action, &reason));
        }
        match action.state {
            Accepted | Running | AwaitingApproval => Ok(()),
            Queued | Probing if !in_doubt(action) => Ok(()),
            CancelRequested => Err(conflict(action, "its cancel is under way")),
            _ => Err(conflict(action, "its request may be on the wire; wait for the outcome, then undo it")),
        }
    }
}

fn conflict(action: &Action, reason: &str) -> RespondError {
    RespondError::Conflict { action: action.id.clone(), state: action.state, reason: reason.to_owned() }
}

/// What was done, and why if that was said.
pub(super) fn said(what: &str, comment: &str) -> String {
    if comment.trim().is_empty() { what.to_owned() } else { format!("{what}: {comment}") }
}

fn approval(by: &str, comment: &str, approved: bool, at: Time) -> Approval {
    Approval { by: by.to_owned(), at, approved, comment: bounded(comment) }
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn without_a_comment_no_colon_is_left() {
        assert_eq!(said("undone by anna", ""), "undone by anna");
        assert_eq!(said("undone by anna", "host is clean"), "undone by anna: host is clean");
    }
}
