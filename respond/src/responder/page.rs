//! Tells people that a cap holds actions back, or that something could not be taken back: once for each of these and a
//! while, not once for each action.

use std::collections::BTreeMap;

use event::{Action, ActionId, ActionState, Time};

use super::{Entry, Responder};
use crate::book::{HOUR_US, PAGE, effect_of, verb_of};
use crate::command::one_line;
use crate::policy::Cap;
use crate::verb::Verb;

/// A cap that holds back is told of once an hour.
const CAP_AGAIN_US: i64 = HOUR_US;

/// What could not be taken back is told of once a day, however often it is tried.
const LEFT_AGAIN_US: i64 = 24 * HOUR_US;

/// A notice is known by what it is about and by the part of its while in which it was asked for: it is found again
/// among so many, after a restart as well.
const PARTS: i64 = 60;

/// What people are told of.
struct Matter<'a> {
    /// What tells it from other matters.
    key: &'a [&'a str],
    title: String,
    why: String,
    again_us: i64,
}

impl Responder {
    /// Tells that this cap has held an action back.
    pub(super) fn page(&mut self, held: &Action, cap: &Cap, now: Time) {
        let of_verb = match verb_of(held) {
            Some(verb) if self.policy.caps_of.contains_key(&verb) => verb.as_str(),
            _ => "",
        };
        let rule = if cap.is_of_rule() { held.decision.rule.as_str() } else { "" };
        let matter = Matter {
            key: &[cap.name, of_verb, rule],
            title: format!("Response held back: {cap}"),
            why: format!("{} is held back: {cap}", held.id),
            again_us: CAP_AGAIN_US,
        };
        self.tell(held, &matter, now);
    }

    /// Tells that an effect could not be taken back, which this command was to do.
    pub(super) fn page_left(&mut self, release: &Action, why: &str, now: Time) {
        let effect = effect_of(release);
        let matter = Matter {
            key: &["left", effect.as_str()],
            title: format!("Not taken back: {} on {}", release.verb, release.target.name()),
            why: format!("{} has not done it: {why}", release.id),
            again_us: LEFT_AGAIN_US,
        };
        self.tell(release, &matter, now);
    }

    /// Queues the notice, if the policy says who is told and none was sent lately.
    fn tell(&mut self, about: &Action, matter: &Matter<'_>, now: Time) {
        if self.policy.page.is_empty() || self.was_told(about, matter, now) {
            return;
        }
        self.counts.paged += 1;
        let mut action = self.draft_page(about, matter, now);
        action.decision.reasons.push(matter.why.clone());
        match self.lacks(&action) {
            Some(lacks) => {
                let nobody = format!("nobody can be told: {lacks}");
                action.decision.reasons.push(nobody.clone());
                self.step(&mut action, ActionState::Suppressed, &nobody, now);
            }
            None => drop(self.enqueue(&mut action, &matter.why, now)),
        }
        self.commit(action, None, Entry::engine("page", &matter.why).with("rule", PAGE), now);
    }

    fn was_told(&self, about: &Action, matter: &Matter<'_>, now: Time) -> bool {
        let last = part(matter, now);
        let ids = (last - PARTS..=last).map(|part| self.page_id(about, matter, part));
        let mut pages = ids.filter_map(|id| self.book.action(&id));
        pages.any(|page| now.micros() - page.created_at.micros() < matter.again_us)
    }

    fn page_id(&self, about: &Action, matter: &Matter<'_>, part: i64) -> ActionId {
        let part = part.to_string();
        let parts = ["page", about.tenant.as_str()].into_iter().chain(matter.key.iter().copied());
        let parts: Vec<&[u8]> = parts.chain([&*self.policy.page, &*part]).map(str::as_bytes).collect();
        ActionId::derive(&parts)
    }

    fn draft_page(&self, about: &Action, matter: &Matter<'_>, now: Time) -> Action {
        let args = BTreeMap::from([("channel".to_owned(), self.policy.page.clone())]);
        let id = self.page_id(about, matter, part(matter, now));
        let decision = self.decision(PAGE, "built-in");
        let page = Self::because_of(about, id, (Verb::NotifySend, args), decision, &matter.title, now);
        Action { title: one_line(&matter.title), ..page }
    }
}

/// In which part of its while a notice would be asked for now.
fn part(matter: &Matter<'_>, now: Time) -> i64 {
    now.micros().div_euclid(matter.again_us / PARTS)
}
