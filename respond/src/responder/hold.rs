//! Holders of effects: taking hold, letting go, and what follows when the last one has let go.

use event::{Action, ActionId, ActionState, Effect, EffectId, EffectState, Holder, IncidentId, Time};

use super::propose::action_id;
use super::ticket::CLOSED;
use super::{ActionChange, ENGINE, Entry, Responder};
use crate::book::{effect_of, verb_of};
use crate::callback::CallbackFault;
use crate::command::in_doubt;
use crate::policy::BACK_BY_HAND;
use crate::span::Span;
use crate::verb::Verb;

/// A revert that failed is tried again after this long, until it works: a host must not stay cut off because
/// its EDR was down for a night.
const REVERT_AGAIN: Span = Span::from_secs(15 * 60);

/// What is known of the effect when a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It holds, and we brought it about.
    Holds,
    /// It does not hold, or not because of us.
    Absent,
    /// It may hold.
    Unknown,
}

impl Responder {
    /// Follows a merge of incidents: actions and holds of `from` become those of `to`.
    pub fn on_merged(&mut self, from: &IncidentId, to: &IncidentId, now: Time) -> Vec<ActionChange> {
        self.merge(from, to, now);
        std::mem::take(&mut self.changes)
    }

    pub(super) fn merge(&mut self, from: &IncidentId, to: &IncidentId, now: Time) {
        if from == to {
            return;
        }
        let moved: Vec<Action> = self.book.of_incident(from).cloned().collect();
        let text = format!("incident {from} became part of {to}");
        for mut action in moved {
            action.incident = to.clone();
            let effect =
                self.book.effect(&effect_of(&action)).and_then(|e| hold_moved(e, &action.id, to, now));
            self.commit(action, effect, Entry::engine("merge", &text), now);
        }
    }

    /// Lets go of everything that a closed incident holds or asks for.
    pub(super) fn close(&mut self, incident: &IncidentId, now: Time) {
        let actions: Vec<Action> = self.book.of_incident(incident).cloned().collect();
        for action in actions {
            if action.state == ActionState::AwaitingApproval {
                self.end_unsent(action.clone(), CLOSED, now);
            }
            self.let_go(&action.id, &effect_of(&action), "holders", ENGINE, CLOSED, now);
            if action.state != ActionState::AwaitingApproval {
                self.close_opened(&action, ENGINE, CLOSED, now);
            }
        }
    }

    /// Cancels a command of which nothing is on the wire now; an earlier request of it may have arrived.
    pub(super) fn end_unsent(&mut self, mut action: Action, why: &str, now: Time) {
        let end = if in_doubt(&action) { End::Unknown } else { End::Absent };
        self.end_lease(&action.id, CallbackFault::Expired(now));
        self.step(&mut action, ActionState::CancelRequested, why, now);
        self.finish(action, ActionState::Cancelled, why, end, now);
    }

    /// Whether everybody who wanted the effect of this command has let go while it was under way.
    pub(super) fn is_unwanted(&self, action: &Action) -> bool {
        let effect = self.book.effect(&effect_of(action));
        let serves =
            |e: &Effect| e.state == EffectState::Applying || e.holders.iter().any(|h| h.action == action.id);
        verb_of(action).is_some_and(Verb::holds) && !effect.is_some_and(serves)
    }

    /// Takes one action's hold off an effect; the last one out takes the effect back.
    pub(super) fn let_go(
        &mut self,
        action: &ActionId,
        effect: &EffectId,
        rule: &str,
        by: &str,
        why: &str,
        now: Time,
    ) {
        let Some(mut effect) = self.book.effect(effect).cloned() else { return };
        let holds = |h: &Holder| h.action == *action;
        if !effect.holders.iter().any(holds) {
            return;
        }
        effect.holders.retain(|h| !holds(h));
        effect.updated_at = now;
        if effect.holders.is_empty() {
            return self.take_back(effect, action, rule, by, why, now);
        }
        if let Some(action) = self.book.action(action).cloned() {
            let text = format!("{why}; {} still hold", effect.holders.len());
            self.commit(action, Some(effect), Entry::engine("holder", &text).by(by), now);
        }
    }

    /// Ends an effect that nobody wants any more: a queued command is cancelled, any other is followed by a
    /// release.
    pub(super) fn take_back(
        &mut self,
        effect: Effect,
        cause: &ActionId,
        rule: &str,
        by: &str,
        why: &str,
        now: Time,
    ) {
        let applying = self.book.applying(&effect.id, None).cloned();
        match applying {
            Some(action) if action.state == ActionState::Queued => {
                self.book.put_effect(effect);
                self.end_unsent(action, why, now);
            }
            _ => self.release(effect, cause, rule, by, why, now),
        }
    }

    /// Queues the command that takes an effect back.
    pub(super) fn release(
        &mut self,
        mut effect: Effect,
        cause: &ActionId,
        rule: &str,
        by: &str,
        why: &str,
        now: Time,
    ) {
        let Some(cause) = self.book.action(cause).cloned() else { return };
        let Some(mut action) = self.draft_release(&cause, rule, why, now) else { return };
        effect.holders.clear();
        self.effect_step(&mut effect, EffectState::Reverting, now);
        let lacks = self.lacks(&action);
        match &lacks {
            Some(lacks) => {
                let by_hand = format!("{lacks}: {BACK_BY_HAND}");
                action.decision.reasons.push(by_hand.clone());
                self.step(&mut action, ActionState::Suppressed, &by_hand, now);
                self.effect_step(&mut effect, EffectState::RevertFailed, now);
            }
            None => drop(self.step(&mut action, ActionState::Queued, why, now)),
        }
        let kind = if rule == "undo" { "undo" } else { "decision" };
        let entry =
            Entry::engine(kind, why).by(by).with("takes_back", cause.id.to_string()).with("rule", rule);
        self.commit(action.clone(), Some(effect), entry, now);
        if let Some(lacks) = lacks {
            self.page_left(&action, &lacks, now);
        }
    }

    fn draft_release(&self, cause: &Action, rule: &str, why: &str, now: Time) -> Option<Action> {
        let verb = match verb_of(cause)? {
            verb if verb.applies() => verb.inverse()?,
            verb => verb,
        };
        let args = verb.shared_args(&cause.args);
        let id = action_id(&cause.tenant, verb, &cause.target, &args, &["takes back", cause.id.as_str()]);
        let mut decision = self.decision(rule, "built-in");
        decision.reasons = vec![why.to_owned(), "taking an effect back needs no approval".to_owned()];
        let release = Self::because_of(cause, id, (verb, args), decision, why, now);
        Some(Action { expires_at: now.plus_micros(self.policy.execute_within.micros()), ..release })
    }

    /// Ends a command and draws the consequence for its effect.
    pub(super) fn finish(&mut self, mut action: Action, to: ActionState, why: &str, end: End, now: Time) {
        self.paces.remove(&action.id);
        if !self.step(&mut action, to, why, now) {
            return;
        }
        if let Some(verb) = verb_of(&action) {
            let failed = matches!(to, ActionState::Failed | ActionState::TimedOut);
            if failed || matches!(to, ActionState::Succeeded | ActionState::Partial) {
                self.book.note_end(verb, now, failed);
            }
        }
        let applies = verb_of(&action).is_some_and(Verb::applies);
        // What was never queued has no part in the effect, which others may hold.
        let started = action.history.iter().any(|t| t.to == ActionState::Queued);
        let effect = self.book.effect(&effect_of(&action)).filter(|_| started).cloned();
        let (effect, orphaned) = match effect {
            Some(effect) if applies => self.applied(effect, &action, end, now),
            Some(effect) => (Some(self.reverted(effect, end, now)), false),
            None => (None, false),
        };
        let entry = Entry::engine("result", why).with("attempts", action.attempts.to_string());
        let entry = match &action.provider_ref {
            Some(provider_ref) => entry.with("provider_ref", provider_ref.clone()),
            None => entry,
        };
        let (id, ended) = (action.id.clone(), action.clone());
        self.commit(action, effect.clone(), entry, now);
        if effect.as_ref().is_some_and(|effect| effect.state == EffectState::RevertFailed) {
            self.page_left(&ended, why, now);
        }
        self.after_reopening(&ended, now);
        if let Some(effect) = effect.filter(|_| orphaned) {
            self.release(
                effect,
                &id,
                "doubt",
                ENGINE,
                "the outcome is not known: take it back to be sure",
                now,
            );
        }
    }

    /// The effect after a command that was to bring it about; and whether it must be taken back.
    fn applied(
        &mut self,
        mut effect: Effect,
        action: &Action,
        end: End,
        now: Time,
    ) -> (Option<Effect>, bool) {
        match (effect.state, end) {
            // A release stands in the queue already: it will see what there is to take back. Holders stay only
            // where another command is there to bring the effect about for them.
            (EffectState::Reverting, _) => {
                if self.book.applying(&effect.id, Some(&action.id)).is_none() {
                    effect.holders.clear();
                }
            }
            (EffectState::Applying, End::Holds) => {
                effect.expires_at = now.plus_micros(self.ttl_of(action).micros());
                self.effect_step(&mut effect, EffectState::Active, now);
            }
            // It did nothing, but what was there before it may hold.
            (EffectState::Applying, End::Absent) if self.book.may_hold(&effect.id, &action.id) => {
                return (Some(effect), true);
            }
            (EffectState::Applying, End::Absent) => {
                effect.holders.clear();
                self.effect_step(&mut effect, EffectState::Absent, now);
            }
            (EffectState::Applying, End::Unknown) => return (Some(effect), true),
            // It had let go before, and the effect has gone its own way.
            _ => return (None, false),
        }
        (Some(effect), false)
    }

    /// The effect after a command that was to take it back. Another one may have done that before.
    fn reverted(&mut self, mut effect: Effect, end: End, now: Time) -> Effect {
        if effect.state != EffectState::Reverting {
            return effect;
        }
        let to = match (effect.holders.is_empty(), end) {
            (false, _) => EffectState::Applying,
            (true, End::Absent) => EffectState::Reverted,
            (true, End::Holds | End::Unknown) => EffectState::RevertFailed,
        };
        self.effect_step(&mut effect, to, now);
        effect
    }

    /// Ends effects whose time has come and repeats reverts that failed.
    pub(super) fn expire_effects(&mut self, now: Time) {
        let due = |e: &&Effect| match e.state {
            EffectState::Active | EffectState::Drifted => e.expires_at <= now,
            EffectState::RevertFailed => e.updated_at.plus_micros(REVERT_AGAIN.micros()) <= now,
            _ => false,
        };
        let due: Vec<Effect> = self.book.effects().filter(due).cloned().collect();
        for effect in due {
            let (cause, rule, why) = match effect.holders.first() {
                Some(holder) => (Some(holder.action.clone()), "ttl", "its time to live is over"),
                None => (self.last_release(&effect.id), "retry", "the last attempt to take it back failed"),
            };
            // What nobody here can take back is left to people; it is asked for again once a connector can.
            let is_left =
                |cause: &ActionId| effect.state == EffectState::RevertFailed && self.is_left(cause, now);
            if let Some(cause) = cause.filter(|cause| !is_left(cause)) {
                self.release(effect, &cause, rule, ENGINE, why, now);
            }
        }
    }

    fn is_left(&self, cause: &ActionId, now: Time) -> bool {
        let release = self.book.action(cause).and_then(|cause| self.draft_release(cause, "retry", "", now));
        release.is_some_and(|release| self.lacks(&release).is_some())
    }

    fn last_release(&self, effect: &EffectId) -> Option<ActionId> {
        let releases = self.book.of_effect(effect).filter(|a| !verb_of(a).is_some_and(Verb::applies));
        releases.max_by_key(|a| (a.created_at, a.id.clone())).map(|a| a.id.clone())
    }
}

/// The effect with this action's hold moved to another incident, if it has one.
fn hold_moved(effect: &Effect, action: &ActionId, to: &IncidentId, now: Time) -> Option<Effect> {
    let mut moved = effect.clone();
    let at = moved.holders.iter().position(|h| h.action == *action)?;
    moved.holders[at].by = to.to_string();
    moved.holders.sort();
    // One incident holds once; the older action (by id) keeps the hold.
    moved.holders.dedup_by(|a, b| a.by == b.by);
    moved.updated_at = now;
    Some(moved)
}
