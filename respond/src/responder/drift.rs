//! Whether what we brought about still holds: somebody else may have ended it.
//!
//! An effect that holds is looked at now and then, by the action that holds it. Where it no longer holds it has drifted:
//! people are told, and the policy says whether it is brought about again, by a command of its own.

use event::{Action, ActionState, Effect, EffectId, EffectState, Time};

use super::propose::{action_id, undo_plan};
use super::{Entry, Responder};
use crate::book::{effect_of, verb_of};
use crate::policy::{Limit, OnDrift, Policy};
use crate::work::Probe;

/// The rule of commands that bring back what has drifted.
const RULE: &str = "drift";

/// What drifts so often again is somebody's will: it is left to people.
const AGAIN_MAX: usize = 2;

/// Why what has drifted is not brought back at once.
enum Held {
    Person(String),
    Limit(Limit),
}

impl Responder {
    /// The holding action of the effect that was looked at longest ago, if one is due.
    pub(super) fn due_look(&self, now: Time, takes: impl Fn(&Action) -> bool) -> Option<&Action> {
        let every_us = self.policy.look_every.micros();
        let looked_at = |e: &Effect| self.looks.get(&e.id).copied().unwrap_or(e.updated_at);
        let holds = |e: &&Effect| matches!(e.state, EffectState::Active | EffectState::Drifted);
        let due = |e: &&Effect| now.micros().saturating_sub(looked_at(e).micros()) >= every_us;
        let holder = |e: &Effect| {
            let action = self.book.action(&e.holders.first()?.action)?;
            let own = if effect_of(action) == e.id { Some(action) } else { None };
            own.filter(|a| a.state.is_final() && !self.leases.contains_key(&a.id) && takes(a))
        };
        let effects = self.book.effects().filter(holds).filter(due);
        effects
            .filter_map(|e| Some((looked_at(e), holder(e)?)))
            .min_by_key(|(t, a)| (*t, &a.id))
            .map(|(_, a)| a)
    }

    /// What a look at an effect found; nothing where the provider could not be asked.
    pub(super) fn looked(&mut self, action: &Action, probe: Option<&Probe>, now: Time) {
        let id = effect_of(action);
        self.looks.insert(id.clone(), now);
        let Some(effect) = self.book.effect(&id).cloned() else { return };
        match (effect.state, probe) {
            (EffectState::Active, Some(probe)) if !probe.holds => self.drifted(action, effect, probe, now),
            (EffectState::Drifted, Some(probe)) if probe.holds => {
                let text = format!("it holds again: {}", probe.evidence);
                self.drift_step(action, effect, EffectState::Active, &text, now);
            }
            _ => {}
        }
    }

    fn drifted(&mut self, action: &Action, effect: Effect, probe: &Probe, now: Time) {
        self.counts.drifted += 1;
        let text = format!("it no longer holds, and we have not ended it: {}", probe.evidence);
        self.drift_step(action, effect, EffectState::Drifted, &text, now);
        if self.policy.on_drift != OnDrift::Tell {
            self.propose_again(action, now);
        }
    }

    fn drift_step(&mut self, action: &Action, mut effect: Effect, to: EffectState, text: &str, now: Time) {
        self.effect_step(&mut effect, to, now);
        self.commit(action.clone(), Some(effect), Entry::engine("drift", text), now);
    }

    /// A command like the one whose effect has drifted. It runs by itself where the policy says so, as long as the effect
    /// does not drift time and again.
    fn propose_again(&mut self, cause: &Action, now: Time) {
        let effect = effect_of(cause);
        let Some(verb) = verb_of(cause).filter(|verb| verb.applies()) else { return };
        let again = self.book.of_effect(&effect).filter(|a| a.decision.rule == RULE).count();
        let nth = again.to_string();
        let parts = ["drift", cause.incident.as_str(), &nth];
        let id = action_id(&cause.tenant, verb, &cause.target, &cause.args, &parts);
        let (what, decision) = ((verb, cause.args.clone()), self.decision(RULE, "built-in"));
        let mut action = Action {
            undo: undo_plan(verb, &cause.args),
            risk: cause.risk,
            expires_at: now.plus_micros(self.policy.approval_within(cause.risk).micros()),
            ..Self::because_of(cause, id, what, decision, "its effect has drifted", now)
        };
        let (held, cap) = match self.needs_person(&action, again, now) {
            Ok(()) => (None, None),
            Err(Held::Person(why)) => (Some(why), None),
            Err(Held::Limit(limit)) => {
                let cap = if let Limit::Cap(cap) = &limit { Some(cap.clone()) } else { None };
                (Some(limit.to_string()), cap)
            }
        };
        let why = held.clone().unwrap_or_else(|| "the policy brings back what has drifted".to_owned());
        action.decision.reasons = vec![format!("the effect of {} has drifted", cause.id), why.clone()];
        let effect = match held {
            Some(_) => {
                self.counts.held += 1;
                action.decision.outcome = "approve".into();
                action.decision.approvers = self.policy.approvers(action.risk);
                self.step(&mut action, ActionState::AwaitingApproval, &why, now);
                None
            }
            None => {
                self.counts.executed += 1;
                self.enqueue(&mut action, &why, now)
            }
        };
        self.counts.proposed += 1;
        let again = action.clone();
        self.commit(action, effect, Entry::engine("decision", &why).with("rule", RULE), now);
        if let Some(cap) = cap {
            self.page(&again, &cap, now);
        }
    }

    fn needs_person(&self, action: &Action, again: usize, now: Time) -> Result<(), Held> {
        let person = |why: String| Err(Held::Person(why));
        if self.policy.on_drift == OnDrift::Ask {
            return person("somebody else ended it: a person must".to_owned());
        }
        if again >= AGAIN_MAX {
            return person(format!("it was brought back {again} times already: somebody wants it ended"));
        }
        if let Some(lacks) = self.lacks(action) {
            return person(format!("{lacks}: a person must"));
        }
        if let Some(gap) = self.undo_gap(action) {
            return person(format!("{gap}: a person must"));
        }
        let usage = self.usage(action, &effect_of(action), now);
        Policy::within_limits(&usage).map_err(Held::Limit)
    }

    /// Forgets looks at what is no longer known.
    pub(super) fn forget_looks(&mut self) {
        let book = &self.book;
        self.looks.retain(|id: &EffectId, _| book.effect(id).is_some());
    }
}
