//! Tickets are closed when what they are about is over. A ticket is no state of its target: it has no time to live, and
//! nobody else's wish keeps it open.

use std::collections::BTreeMap;

use event::{Action, ActionId, ActionState, Time};

use super::propose::action_id;
use super::{Entry, Responder};
use crate::book::{CLOSE, verb_of};
use crate::command::in_doubt;
use crate::span::Span;
use crate::verb::Verb;

/// Searches show what was opened by then: a connector may say 15 s at most.
const SEEN_AFTER: Span = Span::from_secs(20);

/// The argument that names the action which opened what is closed.
const OPENED_BY: &str = "ticket";

/// The verb that closes what an action has opened, or may have.
pub(super) fn closing(action: &Action) -> Option<Verb> {
    let verb = verb_of(action)?.closed_by()?;
    (action.attempts > 0 || !action.state.is_final()).then_some(verb)
}

impl Responder {
    /// Closes what an action has opened; one of which nothing was sent yet is cancelled instead.
    pub(super) fn close_opened(&mut self, opened: &Action, by: &str, why: &str, now: Time) {
        let Some(verb) = closing(opened) else { return };
        if opened.state == ActionState::Queued && !in_doubt(opened) {
            return self.end_unsent(opened.clone(), why, now);
        }
        let mut action = self.draft_closing(opened, verb, why, now);
        if self.book.action(&action.id).is_some() {
            return;
        }
        match self.lacks(&action) {
            Some(lacks) => {
                let by_hand = format!("{lacks}: close it by hand");
                action.decision.reasons.push(by_hand.clone());
                self.step(&mut action, ActionState::Suppressed, &by_hand, now);
            }
            None => drop(self.enqueue(&mut action, why, now)),
        }
        let entry = Entry::engine("undo", why).by(by).with("takes_back", opened.id.to_string());
        self.commit(action, None, entry.with("rule", CLOSE), now);
    }

    /// The action that closes what this one has opened, if there is one already.
    pub(super) fn closed_by(&self, opened: &Action) -> Option<&Action> {
        self.book.action(&closing_id(opened, closing(opened)?))
    }

    fn draft_closing(&self, opened: &Action, verb: Verb, why: &str, now: Time) -> Action {
        let mut decision = self.decision(CLOSE, "built-in");
        decision.reasons = vec![why.to_owned(), "closing what was opened needs no approval".to_owned()];
        let what = (verb, arguments(opened));
        Self::because_of(opened, closing_id(opened, verb), what, decision, why, now)
    }

    /// Whether what a command is to close is still being opened, or may not be seen yet.
    pub(super) fn is_being_opened(&self, action: &Action, now: Time) -> bool {
        let opened = action.args.get(OPENED_BY).filter(|_| action.decision.rule == CLOSE);
        let opened = opened.and_then(|id| self.book.action(&ActionId::new(id.as_str())));
        let is_seen = |at: Time| now.micros() - at.micros() >= SEEN_AFTER.micros();
        opened.is_some_and(|opened| {
            !opened.state.is_final() || opened.history.last().is_some_and(|step| !is_seen(step.at))
        })
    }
}

fn arguments(opened: &Action) -> BTreeMap<String, String> {
    BTreeMap::from([(OPENED_BY.to_owned(), opened.id.to_string())])
}

/// One for each action that opened something.
fn closing_id(opened: &Action, verb: Verb) -> ActionId {
    action_id(&opened.tenant, verb, &opened.target, &arguments(opened), &["closes"])
}
