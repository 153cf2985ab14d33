//! Tickets are closed when what they are about is over, and opened again when it goes on. A ticket is no state of its
//! target: it has no time to live, and nobody else's wish keeps it open.

use std::collections::BTreeMap;

use event::{Action, ActionId, ActionState, IncidentId, Time};

use super::propose::action_id;
use super::{ENGINE, Entry, Responder};
use crate::book::{CLOSE, REOPEN, verb_of};
use crate::command::{in_doubt, in_flight};
use crate::span::Span;
use crate::verb::Verb;

/// Why what an incident has opened is closed. What people close by undo stays closed.
pub(super) const CLOSED: &str = "its incident was closed";

/// Why it is opened again.
const REOPENED: &str = "its incident was reopened";

/// Searches show what was done to a ticket by then: a connector may say 15 s at most.
const SEEN_AFTER: Span = Span::from_secs(20);

/// The argument that names the action which opened what is closed.
const OPENED_BY: &str = "ticket";

/// Whether an action is one that opens something to be closed later.
pub(super) fn opens(action: &Action) -> bool {
    verb_of(action).and_then(Verb::closed_by).is_some()
}

/// The verb that closes what an action has opened, or may have.
pub(super) fn closing(action: &Action) -> Option<Verb> {
    let verb = verb_of(action)?.closed_by()?;
    (action.attempts > 0 || !action.state.is_final()).then_some(verb)
}

/// Whether a command that closes or opens again was taken back before it was sent.
fn is_void(action: &Action) -> bool {
    action.state == ActionState::Cancelled
        && action.history.last().is_some_and(|step| [CLOSED, REOPENED].contains(&&*step.note))
}

/// Whether an opening that was taken back before it was sent needed nobody's word any more.
fn counted_on(opened: &Action) -> bool {
    opened.attempts == 0 && opened.history.iter().any(|step| step.to == ActionState::Queued)
}

/// Whether the ticket stays closed for good, since it could not be opened again: another one stands in its place.
fn is_refused(reopening: &Action) -> bool {
    matches!(reopening.state, ActionState::Failed | ActionState::Expired | ActionState::Suppressed)
}

fn is_reopening(action: &Action) -> bool {
    verb_of(action) == Some(Verb::TicketReopen)
}

impl Responder {
    /// Closes what an action has opened; one of which nothing was sent yet is cancelled instead.
    pub(super) fn close_opened(&mut self, opened: &Action, by: &str, why: &str, now: Time) {
        let Some(verb) = closing(opened) else { return };
        if opened.state == ActionState::Queued && !in_doubt(opened) {
            return self.end_unsent(opened.clone(), why, now);
        }
        if self.closed_by(opened).is_some() {
            return;
        }
        let waiting = self.follow_ups(opened).into_iter().rev().find(|a| !is_void(a));
        if let Some(reopening) = waiting.filter(|a| a.state == ActionState::Queued && !in_doubt(a)).cloned() {
            return self.end_unsent(reopening, CLOSED, now);
        }
        self.follow(opened, verb, (CLOSE, by, why), now);
    }

    /// Opens again what was closed with an incident that goes on.
    pub(super) fn reopen_closed(&mut self, incident: &IncidentId, now: Time) {
        let opened: Vec<Action> = self.book.of_incident(incident).filter(|a| opens(a)).cloned().collect();
        for opened in opened {
            if is_void(&opened) && counted_on(&opened) {
                self.open_anew(&opened, &opened.id.clone(), opened.title.clone(), now);
            } else if let Some(closed) = self.closed_by(&opened).cloned() {
                self.reopen(&opened, closed, now);
            }
        }
    }

    fn reopen(&mut self, opened: &Action, closed: Action, now: Time) {
        let with_incident = closed.history.first().is_some_and(|step| step.note == CLOSED);
        if !with_incident || self.follow_ups(opened).into_iter().any(|a| is_reopening(a) && is_refused(a)) {
            return;
        }
        let was_not_closed = [ActionState::Suppressed, ActionState::Failed, ActionState::Expired];
        match (closed.state, verb_of(&closed).and_then(Verb::reopened_by)) {
            (ActionState::Queued, _) if !in_doubt(&closed) => self.end_unsent(closed, REOPENED, now),
            (state, _) if was_not_closed.contains(&state) => {}
            (_, Some(verb)) => self.follow(opened, verb, (REOPEN, ENGINE, REOPENED), now),
            (_, None) => {}
        }
    }

    /// Where a ticket could not be opened again, another one is opened that names it.
    pub(super) fn after_reopening(&mut self, reopening: &Action, now: Time) {
        if !is_reopening(reopening) || !is_refused(reopening) {
            return;
        }
        let opened =
            reopening.args.get(OPENED_BY).and_then(|id| self.book.action(&ActionId::new(id.as_str())));
        let Some(opened) = opened.cloned() else { return };
        let before = opened.provider_ref.clone().unwrap_or_else(|| opened.id.to_string());
        self.open_anew(&opened, &reopening.id, format!("Follow-up of {before}: {}", opened.title), now);
    }

    /// Opens a ticket like another one, once for its cause.
    fn open_anew(&mut self, opened: &Action, cause: &ActionId, title: String, now: Time) {
        let Some(verb) = verb_of(opened) else { return };
        let args = opened.args.clone();
        let id = action_id(&opened.tenant, verb, &opened.target, &args, &["opens anew", cause.as_str()]);
        if self.book.action(&id).is_some() {
            return;
        }
        let decision = self.decision(REOPEN, "built-in");
        let mut action = Self::because_of(opened, id, (verb, args), decision, REOPENED, now);
        action.title = title;
        self.ask_for(action, ("open it by hand", REOPEN, ENGINE, REOPENED), opened, now);
    }

    /// Asks for what follows from the opening of a ticket.
    fn follow(&mut self, opened: &Action, verb: Verb, (rule, by, why): (&str, &str, &str), now: Time) {
        let nth = self.follow_ups(opened).len();
        let mut decision = self.decision(rule, "built-in");
        decision.reasons =
            vec![why.to_owned(), "what was opened needs no approval to follow its incident".to_owned()];
        let (id, what) = (follow_up_id(opened, verb, nth), (verb, arguments(opened)));
        let action = Self::because_of(opened, id.clone(), what, decision, why, now);
        let by_hand = if rule == CLOSE { "close it by hand" } else { "another one is opened" };
        self.ask_for(action, (by_hand, rule, by, why), opened, now);
        if let Some(asked) = self.book.action(&id).cloned() {
            self.after_reopening(&asked, now);
        }
    }

    fn ask_for(
        &mut self,
        mut action: Action,
        (by_hand, rule, by, why): (&str, &str, &str, &str),
        opened: &Action,
        now: Time,
    ) {
        match self.lacks(&action) {
            Some(lacks) => {
                let by_hand = format!("{lacks}: {by_hand}");
                action.decision.reasons.push(by_hand.clone());
                self.step(&mut action, ActionState::Suppressed, &by_hand, now);
            }
            None => drop(self.enqueue(&mut action, why, now)),
        }
        let kind = if rule == CLOSE { "undo" } else { "reopen" };
        let about = if rule == CLOSE { "takes_back" } else { "opens_again" };
        let entry = Entry::engine(kind, why).by(by).with(about, opened.id.to_string());
        self.commit(action, None, entry.with("rule", rule), now);
    }

    /// The action that closes what this one has opened, if there is one already and nothing has opened it again.
    pub(super) fn closed_by(&self, opened: &Action) -> Option<&Action> {
        closing(opened)?;
        let stands = |a: &&Action| !(is_void(a) || is_reopening(a) && is_refused(a));
        let last = self.follow_ups(opened).into_iter().rev().find(stands)?;
        (!is_reopening(last)).then_some(last)
    }

    /// What has followed from the opening of a ticket, in order.
    fn follow_ups(&self, opened: &Action) -> Vec<&Action> {
        let Some(closing) = verb_of(opened).and_then(Verb::closed_by) else { return Vec::new() };
        let nth = |n| {
            let ids = [Some(closing), closing.reopened_by()].into_iter().flatten();
            ids.map(|verb| follow_up_id(opened, verb, n)).find_map(|id| self.book.action(&id))
        };
        (0..).map_while(nth).collect()
    }

    /// Whether what a command is to close or to open again is still being changed, or may not be seen yet.
    pub(super) fn is_being_opened(&self, action: &Action, now: Time) -> bool {
        if ![CLOSE, REOPEN].contains(&&*action.decision.rule) {
            return false;
        }
        let opened = action.args.get(OPENED_BY).and_then(|id| self.book.action(&ActionId::new(id.as_str())));
        let is_fresh = |a: &Action| {
            a.history.last().is_some_and(|step| now.micros() - step.at.micros() < SEEN_AFTER.micros())
        };
        let is_changing =
            |a: &Action| in_flight(a.state) || a.state.is_final() && a.attempts > 0 && is_fresh(a);
        opened.is_some_and(|opened| {
            let mut others = self.follow_ups(opened).into_iter().filter(|other| other.id != action.id);
            !opened.state.is_final() || is_fresh(opened) || others.any(is_changing)
        })
    }
}

fn arguments(opened: &Action) -> BTreeMap<String, String> {
    BTreeMap::from([(OPENED_BY.to_owned(), opened.id.to_string())])
}

/// One for each turn of each action that opened something.
fn follow_up_id(opened: &Action, verb: Verb, nth: usize) -> ActionId {
    let what = if verb == Verb::TicketReopen { "reopens" } else { "closes" };
    let nth = nth.to_string();
    // The first closing bears no number.
    let cause: &[&str] = if nth == "0" { &[what] } else { &[what, &nth] };
    action_id(&opened.tenant, verb, &opened.target, &arguments(opened), cause)
}
