//! The responder: a pure state machine over incidents, people's words, time and workers' reports.
//!
//! It never waits and never sends. Each call returns [`ActionChange`]s; the caller stores them in one
//! transaction, in order, *before* it does anything else: that is the write-ahead rule, and it is why a crash
//! at any point repeats nothing. If they cannot be stored, drop the responder and restore it from storage.

mod drift;
mod hold;
#[cfg(test)]
mod packs;
mod page;
mod person;
mod propose;
mod run;
#[cfg(test)]
mod tests;
mod ticket;

pub(crate) use run::LEASE;
pub use run::Leased;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{Action, ActionId, ActionState, Effect, EffectId, IncidentId, TenantId, Time};

use crate::audit::{AuditChain, AuditEntry, AuditHead, AuditRecord};
use crate::book::{Book, Start, counts_as_start, verb_of};
use crate::capability::{Capability, doer, undo_gap};
use crate::command;
use crate::error::RespondError;
use crate::policy::Policy;
use crate::rules::ResponseRules;
use crate::span::Span;
use crate::verb::Verb;

/// Who acts when no person does.
const ENGINE: &str = "engine";
/// Actions kept in memory; beyond it no new ones are proposed, and that is counted.
const ACTIONS_MAX: usize = 100_000;
/// How long ended actions are remembered, so that a replay of old records finds them again.
const REMEMBER: Span = Span::from_hours(90 * 24);

/// One change, to be stored in one transaction with its audit entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionChange {
    /// The action after the change.
    pub action: Action,
    /// Its effect after the change, where that changed.
    pub effect: Option<Effect>,
    /// The link of the audit chain that records it.
    pub audit: AuditEntry,
}

/// What the responder has counted since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Actions proposed by rules.
    pub proposed: u64,
    /// Of these: started without a person.
    pub executed: u64,
    /// Left to a person.
    pub held: u64,
    /// Suppressed by policy, or as duplicates.
    pub suppressed: u64,
    /// Recorded as a dry run.
    pub simulated: u64,
    /// Notices to people that a cap holds actions back, or that something could not be taken back.
    pub paged: u64,
    /// Not even proposed, because too many actions are in memory.
    pub refused: u64,
    /// Effects that no longer held although nobody here had ended them.
    pub drifted: u64,
    /// Reports of workers that had lost their lease.
    pub stale_reports: u64,
    /// Evaluations of rules that failed; see [`Responder::rule_faults`].
    pub rule_faults: u64,
    /// Steps that a state machine refused: bugs.
    pub bugs: u64,
}

/// Decides on actions and keeps their state; see the module's text for the contract.
#[derive(Debug)]
pub struct Responder {
    rules: Arc<ResponseRules>,
    policy: Policy,
    policy_version: String,
    /// What the configured providers can do, in the order in which they are asked; none where none is configured, and
    /// everything is only decided.
    providers: Option<Arc<[Capability]>>,
    book: Book,
    leases: BTreeMap<ActionId, run::Lease>,
    /// The last lease of each action that went outside and is over.
    past: BTreeMap<ActionId, run::Past>,
    paces: BTreeMap<ActionId, run::Pace>,
    /// When effects that hold were looked at last.
    looks: BTreeMap<EffectId, Time>,
    fence: u64,
    audit: AuditChain,
    changes: Vec<ActionChange>,
    counts: Counts,
    faults: BTreeMap<Arc<str>, String>,
    forgot_at: Time,
}

impl Responder {
    /// A responder that knows nothing yet.
    ///
    /// # Errors
    /// [`RespondError::BadInput`] where the policy contradicts itself.
    pub fn new(rules: ResponseRules, policy: Policy) -> Result<Self, RespondError> {
        policy.check()?;
        Ok(Responder {
            rules: Arc::new(rules),
            policy_version: policy.version(),
            policy,
            providers: None,
            book: Book::default(),
            leases: BTreeMap::new(),
            past: BTreeMap::new(),
            paces: BTreeMap::new(),
            looks: BTreeMap::new(),
            fence: 0,
            audit: AuditChain::default(),
            changes: Vec::new(),
            counts: Counts::default(),
            faults: BTreeMap::new(),
            forgot_at: Time(i64::MIN),
        })
    }

    /// Says what the configured providers can do, in the order in which they are asked: what none can is left to people.
    pub fn set_providers(&mut self, providers: impl IntoIterator<Item = Capability>) {
        self.providers = Some(providers.into_iter().collect());
    }

    /// Why nobody here can do an action as it is asked for, if so.
    fn lacks(&self, action: &Action) -> Option<String> {
        doer(self.providers.as_deref()?, action).err()
    }

    /// Why whoever does an action could not take it back, if so.
    fn undo_gap(&self, action: &Action) -> Option<String> {
        undo_gap(self.providers.as_deref()?, action)
    }

    /// What keeps a command from being sent, if it is one that does something: all of it is stopped, or a part.
    fn stops(&self, action: &Action) -> Option<String> {
        let verb = verb_of(action).filter(|verb| verb.applies())?;
        let of_connector = || {
            let stopped = &self.policy.stopped.connectors;
            let providers = self.providers.as_deref().filter(|_| !stopped.is_empty())?;
            let name = &doer(providers, action).ok()?.provider;
            stopped.contains(name).then(|| format!("connector {name} is stopped"))
        };
        self.policy.stops(&action.tenant, &action.decision.rule, verb).or_else(of_connector)
    }

    /// Takes up where a stored responder stopped. What was on the wire then has an unknown outcome now.
    pub fn restore(
        &mut self,
        actions: impl IntoIterator<Item = Action>,
        effects: impl IntoIterator<Item = Effect>,
        audit: AuditHead,
        now: Time,
    ) -> Vec<ActionChange> {
        self.audit = AuditChain::resume(audit);
        // Fences rise over restarts, too: a worker that slept through one must not be taken for the one after it.
        self.fence = self.fence.max(u64::try_from(now.micros()).unwrap_or(0));
        let mut starts = Vec::new();
        for action in actions {
            let queued = action.history.iter().find(|t| t.to == ActionState::Queued);
            if let Some(verb) = verb_of(&action).filter(|_| counts_as_start(&action)) {
                starts.extend(queued.map(|t| Start {
                    at: t.at,
                    tenant: action.tenant.clone(),
                    rule: action.decision.rule.as_str().into(),
                    verb,
                }));
            }
            self.book.put_action(action);
        }
        effects.into_iter().for_each(|e| self.book.put_effect(e));
        self.restore_ends();
        starts.sort_by_key(|start| start.at);
        starts.into_iter().for_each(|start| self.book.note_start(start));
        self.recover(now);
        std::mem::take(&mut self.changes)
    }

    /// How commands ended before, for the breaker.
    fn restore_ends(&mut self) {
        let end = |a: &Action| {
            let failed = match a.state {
                ActionState::Failed | ActionState::TimedOut => true,
                ActionState::Succeeded | ActionState::Partial => false,
                _ => return None,
            };
            Some((a.history.last()?.at, verb_of(a)?, failed))
        };
        let mut ends: Vec<(Time, Verb, bool)> = self.book.actions().filter_map(end).collect();
        ends.sort_unstable();
        ends.into_iter().for_each(|(at, verb, failed)| self.book.note_end(verb, at, failed));
    }

    /// Lets time pass: approvals and commands lapse, effects end, lost leases are taken up, failed reverts are
    /// repeated. Call it every second or so.
    pub fn tick(&mut self, now: Time) -> Vec<ActionChange> {
        self.expire_leases(now);
        self.expire_commands(now);
        self.expire_effects(now);
        if now.micros().saturating_sub(self.forgot_at.micros()) > Span::from_hours(1).micros() {
            self.forgot_at = now;
            self.book.forget_before(now.plus_micros(-REMEMBER.micros()));
            self.forget_looks();
            let book = &self.book;
            self.past.retain(|id, _| book.action(id).is_some_and(|action| !action.state.is_final()));
        }
        std::mem::take(&mut self.changes)
    }

    /// What would come of it if something were said of the actions of some incidents now; nothing does.
    pub fn rehearse<T>(&self, incidents: &BTreeSet<IncidentId>, say: impl FnOnce(&mut Responder) -> T) -> T {
        let mut rehearsal = Responder {
            rules: Arc::clone(&self.rules),
            policy: self.policy.clone(),
            policy_version: self.policy_version.clone(),
            providers: self.providers.clone(),
            book: self.book.about(incidents),
            leases: self.leases.clone(),
            past: BTreeMap::new(),
            paces: BTreeMap::new(),
            looks: BTreeMap::new(),
            fence: self.fence,
            audit: self.audit.clone(),
            changes: Vec::new(),
            counts: Counts::default(),
            faults: BTreeMap::new(),
            forgot_at: self.forgot_at,
        };
        say(&mut rehearsal)
    }

    /// Turns the kill switch of one connector: while it is on, nothing new is brought about through it; what holds is still
    /// taken back.
    ///
    /// # Errors
    /// [`RespondError::BadInput`] where no connector has this name.
    pub fn stop_connector(
        &mut self,
        connector: &str,
        on: bool,
        by: &str,
        comment: &str,
        now: Time,
    ) -> Result<AuditEntry, RespondError> {
        let known: Vec<&str> =
            self.providers.iter().flat_map(|all| all.iter()).map(|p| p.provider.as_str()).collect();
        if on && !known.contains(&connector) {
            let text = format!("there is no connector {connector:?}; known are {}", known.join(", "));
            return Err(RespondError::BadInput(text));
        }
        let stopped = &mut self.policy.stopped.connectors;
        if on {
            stopped.insert(connector.to_owned())
        } else {
            stopped.remove(connector)
        };
        Ok(self.note_switch(&format!("connector {connector}"), on, by, comment, now))
    }

    /// Turns the kill switch: while it is on, no new effect is brought about; what holds is still taken back.
    pub fn set_kill_switch(&mut self, on: bool, by: &str, comment: &str, now: Time) -> AuditEntry {
        self.policy.kill_switch = on;
        self.note_switch("policy", on, by, comment, now)
    }

    fn note_switch(&mut self, subject: &str, on: bool, by: &str, comment: &str, now: Time) -> AuditEntry {
        self.policy_version = self.policy.version();
        self.note(AuditRecord {
            at: now,
            tenant: TenantId::default(),
            kind: "kill_switch".into(),
            by: by.into(),
            subject: subject.into(),
            text: command::bounded(&person::said(if on { "on" } else { "off" }, comment)),
            details: BTreeMap::from([("policy_version".into(), self.policy_version.clone())]),
        })
    }

    /// Links a record of the caller's own to the audit chain; the caller stores it with the others, in order.
    pub fn note(&mut self, record: AuditRecord) -> AuditEntry {
        self.audit.append(record)
    }

    /// The action of this id.
    pub fn action(&self, id: &ActionId) -> Option<&Action> {
        self.book.action(id)
    }

    /// The effect of this id.
    pub fn effect(&self, id: &EffectId) -> Option<&Effect> {
        self.book.effect(id)
    }

    /// Every action in memory.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.book.actions()
    }

    /// Every effect in memory.
    pub fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.book.effects()
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The end of the audit chain.
    pub fn audit_head(&self) -> &AuditHead {
        self.audit.head()
    }

    /// Commands that wait or are under way.
    pub fn open(&self) -> usize {
        self.book.open().count()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Rules that could not be evaluated, with the last reason.
    pub fn rule_faults(&self) -> impl Iterator<Item = (&str, &str)> {
        self.faults.iter().map(|(rule, reason)| (&**rule, reason.as_str()))
    }

    /// Takes an action one step further. A step that the state machine lacks is a bug: it is counted, and the
    /// action stays as it is.
    fn step(&mut self, action: &mut Action, to: ActionState, note: &str, now: Time) -> bool {
        match command::advance(action, to, now, note) {
            Ok(()) => true,
            Err(error) => {
                debug_assert!(false, "{error}");
                self.counts.bugs += 1;
                false
            }
        }
    }

    fn effect_step(&mut self, effect: &mut Effect, to: event::EffectState, now: Time) {
        if let Err(error) = crate::effect::advance(effect, to, now) {
            debug_assert!(false, "{error}");
            self.counts.bugs += 1;
        }
    }

    /// Books a change and links it to the audit chain.
    fn commit(&mut self, action: Action, effect: Option<Effect>, entry: Entry<'_>, now: Time) {
        let mut details = entry.details;
        details.insert("state".into(), action.state.as_str().into());
        details.insert("incident".into(), action.incident.to_string());
        if let Some(effect) = &effect {
            details.insert("effect".into(), format!("{} {}", effect.id, effect.state.as_str()));
        }
        let audit = self.audit.append(AuditRecord {
            at: now,
            tenant: action.tenant.clone(),
            kind: entry.kind.to_owned(),
            by: entry.by.to_owned(),
            subject: action.id.to_string(),
            text: command::bounded(entry.text),
            details,
        });
        self.book.put_action(action.clone());
        if let Some(effect) = &effect {
            self.book.put_effect(effect.clone());
        }
        self.changes.push(ActionChange { action, effect, audit });
    }
}

/// What the audit chain says about a change.
struct Entry<'a> {
    kind: &'a str,
    by: &'a str,
    text: &'a str,
    details: BTreeMap<String, String>,
}

impl<'a> Entry<'a> {
    fn engine(kind: &'a str, text: &'a str) -> Self {
        Entry { kind, by: ENGINE, text, details: BTreeMap::new() }
    }

    fn by(mut self, by: &'a str) -> Self {
        self.by = by;
        self
    }

    fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.details.insert(key.into(), value.into());
        self
    }
}
