//! Tells people that a cap holds actions back: once for each cap and hour, not once for each action.

use std::collections::BTreeMap;

use event::{Action, ActionId, ActionState, Time};

use super::{Entry, Responder};
use crate::book::{HOUR_US, PAGE, verb_of};
use crate::command::one_line;
use crate::policy::Cap;
use crate::verb::Verb;

impl Responder {
    /// Queues the notice that this cap has held an action back, if the policy says who is told and none was sent yet.
    pub(super) fn page(&mut self, held: &Action, cap: &Cap, now: Time) {
        if self.policy.page.is_empty() {
            return;
        }
        let mut action = self.draft_page(held, cap, now);
        if self.book.action(&action.id).is_some() {
            return;
        }
        self.counts.paged += 1;
        let why = format!("{} is held back: {cap}", held.id);
        action.decision.reasons.push(why.clone());
        match self.lacks(&action) {
            Some(lacks) => {
                let nobody = format!("nobody can be told: {lacks}");
                action.decision.reasons.push(nobody.clone());
                self.step(&mut action, ActionState::Suppressed, &nobody, now);
            }
            None => drop(self.enqueue(&mut action, &why, now)),
        }
        self.commit(action, None, Entry::engine("page", &why).with("rule", PAGE), now);
    }

    fn draft_page(&self, held: &Action, cap: &Cap, now: Time) -> Action {
        let args = BTreeMap::from([("channel".to_owned(), self.policy.page.clone())]);
        // The same whatever it is that meets the cap in this hour, and after a restart.
        let hour = now.micros().div_euclid(HOUR_US).to_string();
        let of_verb = match verb_of(held) {
            Some(verb) if self.policy.caps_of.contains_key(&verb) => verb.as_str(),
            _ => "",
        };
        let rule = if cap.is_of_rule() { held.decision.rule.as_str() } else { "" };
        let parts = ["page", held.tenant.as_str(), cap.name, of_verb, rule, &self.policy.page, &hour];
        let title = format!("Response held back: {cap}");
        let (id, decision) = (ActionId::derive(&parts.map(str::as_bytes)), self.decision(PAGE, "built-in"));
        let page = Self::because_of(held, id, (Verb::NotifySend, args), decision, &title, now);
        Action { title: one_line(&title), ..page }
    }
}
