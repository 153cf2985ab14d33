//! From an incident to proposals with a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{
    Action, ActionId, ActionState, Alert, Decision, Effect, EffectId, EffectState, Entity, Incident,
    IncidentStatus, RiskClass, Target, TenantId, Time, Transition, UndoPlan,
};

use super::{ACTIONS_MAX, Entry, Responder};
use crate::book::{Start, counts_as_start, effect_kind, effect_of, verb_of};
use crate::command::one_line;
use crate::condition::Facts;
use crate::effect::{effect_id, is_in_place, is_wanted, take_hold};
use crate::policy::{Cap, Outcome, Proposal, Usage, Verdict};
use crate::rules::{ResponseRule, RuleFault, Wanted};
use crate::select::IDENTIFIERS_MAX;
use crate::span::Span;
use crate::verb::Verb;

/// A longer title is cut: it becomes the subject of mails and the summary of tickets.
const TITLE_CHARS_MAX: usize = 200;
/// Alert ids kept as evidence in the audit entry of a decision: the latest, which made the difference.
const EVIDENCE_MAX: usize = 20;

impl Responder {
    /// Looks at an incident after a change: proposes what the rules ask for, lets go where it was closed,
    /// follows where it was merged. `alerts` gives the incident's alerts; it is asked only where a rule applies.
    ///
    /// The same incident again (a replay, a later version) finds its actions and does nothing.
    ///
    /// # Errors
    /// That of `alerts`.
    pub fn on_incident<E>(
        &mut self,
        incident: &Incident,
        alerts: impl FnOnce() -> Result<Vec<Alert>, E>,
        now: Time,
    ) -> Result<Vec<crate::ActionChange>, E> {
        match (incident.status, &incident.redirect_to) {
            (IncidentStatus::Redirected, Some(to)) => self.merge(&incident.id, to, now),
            (IncidentStatus::Redirected, None) => {}
            (IncidentStatus::Closed, _) => self.close(&incident.id, now),
            (IncidentStatus::New | IncidentStatus::InProgress, _) => self.propose(incident, alerts, now)?,
        }
        Ok(std::mem::take(&mut self.changes))
    }

    fn propose<E>(
        &mut self,
        incident: &Incident,
        alerts: impl FnOnce() -> Result<Vec<Alert>, E>,
        now: Time,
    ) -> Result<(), E> {
        self.reopen_closed(&incident.id, now);
        let rules = Arc::clone(&self.rules);
        let facts = match Facts::of(incident) {
            Ok(facts) => facts,
            Err(reason) => {
                self.note_fault(RuleFault { rule: "all".into(), reason });
                return Ok(());
            }
        };
        let (wanted, faults) = rules.evaluate(incident, &facts, alerts)?;
        faults.into_iter().for_each(|fault| self.note_fault(fault));
        let rush = self.rush(incident, &facts, &wanted, now);
        for (n, wanted) in wanted.iter().enumerate() {
            self.consider(incident, &facts, wanted, rush.get(&n), now);
        }
        Ok(())
    }

    /// Over a cap all wait, not the last ones alone: which of these would, because together they are too many.
    fn rush(
        &self,
        incident: &Incident,
        facts: &Facts,
        wanted: &[Wanted<'_>],
        now: Time,
    ) -> BTreeMap<usize, Cap> {
        let mut running = Vec::new();
        let mut seen = BTreeSet::new();
        for (n, wanted) in wanted.iter().enumerate() {
            let action = self.draft(incident, wanted, now);
            let effect = effect_of(&action);
            // Of what breaks nothing, such as notices, the first ones are better than none.
            let is_harmless = wanted.rule.verb.risk() == RiskClass::R0;
            if is_harmless || self.asked_before(&action, &effect).is_some() || seen.contains(&effect) {
                continue;
            }
            let usage = self.usage(&action, &effect, now);
            let runs = self.verdict(incident, facts, wanted, &action, &usage).outcome == Outcome::Execute;
            if runs {
                seen.insert(effect);
                running.push((n, wanted.rule, usage));
            }
        }
        let mut rush = BTreeMap::new();
        // What a cap of its rule holds back takes no room in those of the tenant.
        for is_left in [[true, false, false], [false, true, true]] {
            let over = |(n, rule, usage): &(usize, &ResponseRule, Usage)| {
                let verb = rule.verb;
                let sharing = running.iter().filter(|(_, r, _)| self.policy.shares_caps(verb, r.verb));
                let of_rule = sharing.clone().filter(|(_, r, _)| r.id == rule.id).count();
                let at_once = sharing.clone().filter(|(_, r, _)| r.verb.holds()).count();
                let more = [of_rule, sharing.count(), at_once];
                let mut asked = more.map(|more| u32::try_from(more).unwrap_or(u32::MAX));
                asked.iter_mut().zip(is_left).for_each(|(asked, is_left)| *asked *= u32::from(is_left));
                usage.over(asked).map(|cap| (*n, cap))
            };
            let held: BTreeMap<usize, Cap> = running.iter().filter_map(over).collect();
            running.retain(|(n, _, _)| !held.contains_key(n));
            rush.extend(held);
        }
        rush
    }

    fn note_fault(&mut self, RuleFault { rule, reason }: RuleFault) {
        self.counts.rule_faults += 1;
        self.faults.insert(rule, reason);
    }

    fn consider(
        &mut self,
        incident: &Incident,
        facts: &Facts,
        wanted: &Wanted<'_>,
        rush: Option<&Cap>,
        now: Time,
    ) {
        let action = self.draft(incident, wanted, now);
        let effect = effect_of(&action);
        if let Some(asked) = self.asked_before(&action, &effect) {
            return self.learn_names(asked, &action.target, now);
        }
        if self.book.len() >= ACTIONS_MAX {
            self.counts.refused += 1;
            return;
        }
        let usage = Usage { rush: rush.cloned(), ..self.usage(&action, &effect, now) };
        let verdict = self.verdict(incident, facts, wanted, &action, &usage);
        self.settle_proposal(action, &verdict, incident, &wanted.rule.version, now);
    }

    fn verdict(
        &self,
        incident: &Incident,
        facts: &Facts,
        wanted: &Wanted<'_>,
        action: &Action,
        usage: &Usage,
    ) -> Verdict {
        let proposal = Proposal {
            now: action.created_at,
            tenant: &incident.tenant,
            facts,
            verb: wanted.rule.verb,
            target: &action.target,
            risk: action.risk,
            automation_max: wanted.rule.automation,
            lacks: self.lacks(action),
            undo_gap: self.undo_gap(action),
            confidence: incident.confidence,
            domains: incident.domains.len(),
        };
        self.policy.decide(&proposal, usage)
    }

    /// The action in which this rule has asked for this effect in this incident, be it under other arguments or names.
    fn asked_before(&self, action: &Action, effect: &EffectId) -> Option<ActionId> {
        if self.book.action(&action.id).is_some() {
            return Some(action.id.clone());
        }
        let mut of_effect = self.book.of_effect(effect).filter(|a| a.incident == action.incident);
        let is_same =
            |a: &&Action| a.decision.rule == action.decision.rule && verb_of(a).is_some_and(Verb::applies);
        of_effect.find(is_same).map(|a| a.id.clone())
    }

    /// As long as nothing was sent, a target gains the names that its incident has learnt since: one of them may be the
    /// only one by which its provider knows it.
    fn learn_names(&mut self, id: ActionId, target: &Target, now: Time) {
        let waits = |a: &&Action| {
            matches!(a.state, ActionState::AwaitingApproval | ActionState::Queued) && a.attempts == 0
        };
        let Some(mut action) = self.book.action(&id).filter(waits).cloned() else { return };
        let known: BTreeSet<&Entity> = action.target.identifiers.iter().collect();
        let room = IDENTIFIERS_MAX.saturating_sub(known.len());
        let new: Vec<Entity> =
            target.identifiers.iter().filter(|e| !known.contains(e)).take(room).cloned().collect();
        let label = target.label.as_ref().filter(|label| action.target.label.as_ref() != Some(*label));
        if new.is_empty() && label.is_none() {
            return;
        }
        let text = match new.len() {
            0 => "people call the target otherwise now".to_owned(),
            more => format!("{more} more names of the target are known"),
        };
        action.target.label = label.cloned().or(action.target.label);
        action.target.identifiers.extend(new);
        action.target.identifiers.sort_unstable();
        self.commit(action, None, Entry::engine("target", &text), now);
    }

    fn draft(&self, incident: &Incident, wanted: &Wanted<'_>, now: Time) -> Action {
        let rule = wanted.rule;
        let target = self.book.known_target(&incident.tenant, &wanted.target);
        let mut args = rule.args.clone();
        if rule.verb.holds() {
            args.insert("ttl".into(), self.policy.ttl(rule.ttl).to_string());
        }
        let cause = [incident.id.as_str(), &rule.id];
        let risk = self.policy.risk(rule.verb.risk(), &target);
        Action {
            id: action_id(&incident.tenant, rule.verb, &target, &args, &cause),
            tenant: incident.tenant.clone(),
            verb: rule.verb.to_string(),
            countermeasure: rule.verb.spec().countermeasure,
            risk,
            undo: undo_plan(rule.verb, &args),
            target,
            args,
            incident: incident.id.clone(),
            title: title_of(incident),
            state: ActionState::Proposed,
            decision: self.decision(&rule.id, &rule.version),
            approvals: Vec::new(),
            provider_ref: None,
            attempts: 0,
            created_at: now,
            expires_at: now.plus_micros(self.policy.approval_within(risk).micros()),
            history: vec![Transition { to: ActionState::Proposed, at: now, note: rule.title.to_string() }],
        }
    }

    /// What the engine itself asks for because of an action: about the same target, in the same incident, from the
    /// beginning.
    pub(super) fn because_of(
        cause: &Action,
        id: ActionId,
        (verb, args): (Verb, BTreeMap<String, String>),
        decision: Decision,
        note: &str,
        now: Time,
    ) -> Action {
        Action {
            id,
            verb: verb.to_string(),
            countermeasure: verb.spec().countermeasure,
            args,
            risk: verb.risk(),
            decision,
            undo: None,
            state: ActionState::Proposed,
            approvals: Vec::new(),
            provider_ref: None,
            attempts: 0,
            created_at: now,
            expires_at: now,
            history: vec![Transition { to: ActionState::Proposed, at: now, note: note.to_owned() }],
            ..cause.clone()
        }
    }

    /// A decision record to be completed: rule and policy stand in it from the start.
    pub(super) fn decision(&self, rule: &str, rule_version: &str) -> Decision {
        Decision {
            rule: rule.to_owned(),
            policy_version: format!("{rule_version}/{}", self.policy_version),
            automation: self.policy.automation.as_str().to_owned(),
            outcome: Outcome::Execute.as_str().to_owned(),
            reasons: Vec::new(),
            approvers: 0,
        }
    }

    pub(super) fn usage(&self, action: &Action, effect: &EffectId, now: Time) -> Usage {
        let verb = verb_of(action);
        let counts = |other: Verb| verb.is_none_or(|verb| self.policy.shares_caps(verb, other));
        let (rule_hour, tenant_hour) = self.book.starts(now, &action.tenant, &action.decision.rule, counts);
        let known = self.book.effect(effect);
        let cooling = known.is_some_and(|e| match e.state {
            EffectState::Reverting | EffectState::RevertFailed => true,
            EffectState::Reverted => now.micros() - e.updated_at.micros() < self.policy.cool_down.micros(),
            _ => false,
        });
        let cooling = cooling || self.was_done_lately(action, effect, now);
        let held = known.filter(|e| is_wanted(e)).map(|e| {
            let holders: Vec<&str> = e.holders.iter().map(|h| h.by.as_str()).collect();
            format!("effect {} is {}, held by {}", e.id, e.state.as_str(), holders.join(", "))
        });
        let held = held.or_else(|| {
            let mut same = self.book.of_incident(&action.incident).filter(|a| !a.state.is_final());
            let asked = same.find(|a| a.id != action.id && effect_of(a) == *effect && counts_as_start(a));
            asked.map(|a| format!("action {} of this incident asks for it", a.id))
        });
        let held = held.or_else(|| self.done_otherwise(action, effect));
        let caps = verb.map_or(&self.policy.caps, |verb| self.policy.caps(verb)).clone();
        let concurrent = self.book.concurrent(&action.tenant, counts);
        let stopped = self.stops(action);
        let failing = verb.and_then(|verb| self.book.failing(verb, &self.policy.breaker, now));
        Usage { rule_hour, tenant_hour, concurrent, caps, rush: None, held, cooling, stopped, failing }
    }

    /// Who does the same already, or has done something stronger that holds.
    fn done_otherwise(&self, action: &Action, effect: &EffectId) -> Option<String> {
        let verb = verb_of(action)?;
        if !verb.holds() {
            let doing = self.book.applying(effect, Some(&action.id)).filter(|a| counts_as_start(a));
            return doing.map(|a| format!("action {} does it already", a.id));
        }
        verb.contained_in().find_map(|stronger| {
            let id = effect_id(&action.tenant, &action.target, stronger.deed());
            let holds = self.book.effect(&id).filter(|e| is_wanted(e))?;
            Some(format!("effect {} ({}) leaves nothing to do", holds.id, holds.kind))
        })
    }

    /// Whether what is done once was done to this target within the cool-down.
    fn was_done_lately(&self, action: &Action, effect: &EffectId, now: Time) -> bool {
        let is_once = verb_of(action).is_some_and(|verb| verb.applies() && !verb.holds());
        let lately = |t: Time| now.micros() - t.micros() < self.policy.cool_down.micros();
        let done = |a: &Action| {
            a.state == ActionState::Succeeded
                && counts_as_start(a)
                && a.history.last().is_some_and(|step| lately(step.at))
        };
        is_once && self.book.of_effect(effect).any(done)
    }

    fn settle_proposal(
        &mut self,
        mut action: Action,
        verdict: &Verdict,
        incident: &Incident,
        rule_version: &str,
        now: Time,
    ) {
        action.decision.automation = verdict.automation.as_str().to_owned();
        action.decision.outcome = verdict.outcome.as_str().to_owned();
        action.decision.reasons.clone_from(&verdict.reasons);
        let why = verdict.reasons.last().cloned().unwrap_or_default();
        self.counts.proposed += 1;
        let effect = match verdict.outcome {
            Outcome::Execute => {
                self.counts.executed += 1;
                self.enqueue(&mut action, &why, now)
            }
            Outcome::Approve => {
                self.counts.held += 1;
                action.decision.approvers = self.policy.approvers(action.risk);
                self.step(&mut action, ActionState::AwaitingApproval, &why, now);
                None
            }
            Outcome::Simulate => {
                self.counts.simulated += 1;
                self.step(&mut action, ActionState::Simulated, &why, now);
                None
            }
            Outcome::Suppress => {
                self.counts.suppressed += 1;
                self.step(&mut action, ActionState::Suppressed, &why, now);
                self.join_effect(&action, now)
            }
        };
        let text = format!("{}: {why}", verdict.outcome.as_str());
        let latest = incident.alerts.len().saturating_sub(EVIDENCE_MAX);
        let evidence: Vec<&str> = incident.alerts[latest..].iter().map(|a| a.as_str()).collect();
        let entry = Entry::engine("decision", &text)
            .with("rule", action.decision.rule.clone())
            .with("rule_version", rule_version)
            .with("policy_version", self.policy_version.clone())
            .with("verb", action.verb.clone())
            .with("target", action.target.entity.to_string())
            .with("incident_version", incident.version.to_string())
            .with("reasons", verdict.reasons.join("; "))
            .with("evidence", evidence.join(" "));
        let held = action.clone();
        self.commit(action, effect, entry, now);
        if let Some(cap) = &verdict.cap {
            self.page(&held, cap, now);
        }
    }

    /// Puts a command in the queue; its incident takes hold of the effect, if there is one.
    pub(super) fn enqueue(&mut self, action: &mut Action, why: &str, now: Time) -> Option<Effect> {
        let holds = verb_of(action).is_some_and(Verb::holds);
        let ttl = self.ttl_of(action);
        let within = if holds { self.policy.execute_within.min(ttl) } else { self.policy.execute_within };
        self.step(action, ActionState::Queued, why, now);
        action.expires_at = now.plus_micros(within.micros());
        if let Some(verb) = verb_of(action).filter(|_| counts_as_start(action)) {
            let (tenant, rule) = (action.tenant.clone(), action.decision.rule.as_str().into());
            self.book.note_start(Start { at: now, tenant, rule, verb });
        }
        if !holds {
            return None;
        }
        let mut effect = self.effect_for(action, now);
        let until = now.plus_micros(ttl.micros());
        if effect.state == EffectState::Drifted {
            effect.holders.retain(|h| h.by != action.incident.as_str());
        }
        if !is_wanted(&effect) {
            effect.holders.clear();
            effect.expires_at = until;
            effect.updated_at = now;
        }
        take_hold(&mut effect, action.incident.as_str(), &action.id, until);
        // While it is being taken back, the release goes first; then this command has its turn.
        if effect.state != EffectState::Reverting {
            self.effect_step(&mut effect, EffectState::Applying, now);
        }
        Some(effect)
    }

    /// Where the effect is already wanted by others, the incident of this action takes hold as well.
    pub(super) fn join_effect(&self, action: &Action, now: Time) -> Option<Effect> {
        let mut effect = self.book.effect(&effect_of(action)).filter(|e| is_in_place(e))?.clone();
        let by = action.incident.as_str();
        let stands = action.decision.automation != crate::Automation::Off.as_str();
        if !stands
            || self.policy.protects(&action.target).is_some()
            || effect.holders.iter().any(|h| h.by == by)
        {
            return None;
        }
        let until = now.plus_micros(self.ttl_of(action).micros());
        take_hold(&mut effect, by, &action.id, until);
        effect.updated_at = now;
        Some(effect)
    }

    pub(super) fn effect_for(&self, action: &Action, now: Time) -> Effect {
        let known = self.book.effect(&effect_of(action)).cloned();
        known.unwrap_or_else(|| {
            crate::effect::absent(&action.tenant, &action.target, &effect_kind(action), now)
        })
    }

    pub(super) fn ttl_of(&self, action: &Action) -> Span {
        let stated = action.args.get("ttl").and_then(|text| Span::parse(text).ok());
        self.policy.ttl(stated)
    }
}

/// Names in a title come from telemetry: one line, and not too long.
fn title_of(incident: &Incident) -> String {
    one_line(&incident.title).chars().take(TITLE_CHARS_MAX).collect()
}

/// How a verb is taken back, if it leaves anything to be taken back; the probe completes it with the state before the act.
pub(super) fn undo_plan(verb: Verb, args: &BTreeMap<String, String>) -> Option<UndoPlan> {
    let inverse = verb.inverse().filter(|_| verb.holds())?;
    Some(UndoPlan { verb: inverse.to_string(), args: inverse.shared_args(args), pre_image: String::new() })
}

/// The identity of an action: the same cause gives the same id on every run.
pub(super) fn action_id(
    tenant: &TenantId,
    verb: Verb,
    target: &Target,
    args: &BTreeMap<String, String>,
    cause: &[&str],
) -> ActionId {
    let target = target.entity.to_string();
    let mut parts: Vec<&[u8]> = vec![tenant.as_str().as_bytes(), verb.as_str().as_bytes(), target.as_bytes()];
    for (key, value) in args {
        parts.extend([key.as_bytes(), value.as_bytes()]);
    }
    parts.push(b"cause");
    parts.extend(cause.iter().map(|c| c.as_bytes()));
    ActionId::derive(&parts)
}
