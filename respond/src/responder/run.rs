//! Running commands: leasing steps to workers and drawing the consequence of their reports.

use std::collections::{BTreeMap, BTreeSet};

use event::{Action, ActionId, ActionState, EffectState, Time};

use super::hold::End;
use super::{ActionChange, Entry, Responder};
use crate::book::{effect_of, verb_of};
use crate::callback::{CallbackFault, Seal};
use crate::command::{in_doubt, in_flight};
use crate::error::RespondError;
use crate::span::Span;
use crate::verb::Verb;
use crate::work::{ExecuteError, Probe, Progress, Reply, Report, Request, Step, Work, marker};

/// Steps of one verb that are under way at once: a provider that is dead holds up its own commands, and no others.
const STEPS_MAX: usize = 16;
/// How long a worker has for one step. Longer than any executor's own timeouts together.
pub(crate) const LEASE: Span = Span::from_secs(60);
/// Requests sent for one command at most; each but the last certainly had no effect.
const ATTEMPTS_MAX: u32 = 8;
/// Looks at the target after the provider said done; its own state lags behind.
const VERIFICATIONS_MAX: u32 = 5;
/// An ended deadline leaves the provider this long to confirm the cancel.
const CANCEL_WITHIN: Span = Span::from_hours(1);

/// A step that a worker is at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    fence: u64,
    until: Time,
    verb: Verb,
    /// Of the token that was given out with it, if it went outside.
    seal: Option<Seal>,
}

/// A lease that went outside and is over: whoever comes with its token is told why it is of no use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past {
    seal: Seal,
    fault: CallbackFault,
}

/// When a command has its next turn, and how often it has failed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    not_before: Option<Time>,
    failures: u32,
    looks: u32,
}

/// Work for a worker, and what must be stored before the worker begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// Store these first.
    pub changes: Vec<ActionChange>,
    /// Then do this.
    pub work: Work,
}

impl Responder {
    /// Leases the next step of the command that has waited longest, if one may have its turn; else a look at an effect
    /// that nobody has looked at for long.
    pub fn next_work(&mut self, now: Time) -> Option<Leased> {
        self.next_work_of(now, |_| true)
    }

    /// The same among the commands that `takes` names: those of one worker.
    pub fn next_work_of(&mut self, now: Time, takes: impl Fn(&Action) -> bool) -> Option<Leased> {
        self.lease(now, None, takes)
    }

    /// The same for a worker outside, who is known by the token of this seal when it comes back.
    pub fn next_work_outside(
        &mut self,
        now: Time,
        seal: Seal,
        takes: impl Fn(&Action) -> bool,
    ) -> Option<Leased> {
        self.lease(now, Some(seal), takes)
    }

    fn lease(&mut self, now: Time, seal: Option<Seal>, takes: impl Fn(&Action) -> bool) -> Option<Leased> {
        let busy = self.busy();
        let takes = |a: &Action| verb_of(a).is_some_and(|verb| !busy.contains(&verb)) && takes(a);
        let ready = self.book.open().filter(|a| takes(a) && self.is_ready(a, now));
        let next = ready.min_by_key(|a| (waiting_since(a), &a.id));
        let mut action = next.or_else(|| self.due_look(now, takes))?.clone();
        let step = match action.state {
            ActionState::Dispatching => Step::Dispatch,
            ActionState::Verifying => Step::Verify,
            ActionState::CancelRequested => Step::Cancel,
            ActionState::Accepted | ActionState::Running => Step::Poll,
            _ => Step::Probe,
        };
        if matches!(action.state, ActionState::Queued | ActionState::OutcomeUnknown) {
            self.step(&mut action, ActionState::Probing, "", now);
            self.commit(action.clone(), None, Entry::engine("probe", "asks for the present state"), now);
        }
        let (request, verb) = (self.request_of(&action)?, verb_of(&action)?);
        self.fence += 1;
        let until = now.plus_micros(LEASE.micros());
        self.leases.insert(action.id.clone(), Lease { fence: self.fence, until, verb, seal });
        let stopped = self.policy.stopped.connectors.clone();
        let work = Work { fence: self.fence, lease_until: until, step, request, stopped };
        Some(Leased { changes: std::mem::take(&mut self.changes), work })
    }

    /// Verbs of which as many steps are under way as may be.
    fn busy(&self) -> BTreeSet<Verb> {
        let mut steps: BTreeMap<Verb, usize> = BTreeMap::new();
        self.leases.values().for_each(|lease| *steps.entry(lease.verb).or_default() += 1);
        steps.into_iter().filter(|(_, steps)| *steps >= STEPS_MAX).map(|(verb, _)| verb).collect()
    }

    /// What an action asks of its provider; nothing for a verb of a newer version.
    fn request_of(&self, action: &Action) -> Option<Request> {
        let verb = verb_of(action)?;
        let rule = &action.decision.rule;
        let done = |a: &&Action| a.attempts > 0 && verb_of(a).is_some_and(Verb::holds);
        let effect = effect_of(action);
        let taken_back = self.book.of_effect(&effect).filter(|_| !verb.applies());
        let taken_back = taken_back.filter(done).max_by_key(|a| (waiting_since(a), a.id.clone()));
        Some(Request {
            action: action.id.clone(),
            tenant: action.tenant.clone(),
            verb,
            target: action.target.clone(),
            args: action.args.clone(),
            incident: action.incident.clone(),
            title: action.title.clone(),
            comment: format!("{} incident {} rule {rule}", marker(&action.id), action.incident),
            provider_ref: action.provider_ref.clone(),
            attempts: action.attempts,
            in_doubt: in_doubt(action),
            kept: taken_back.and_then(|a| a.undo.as_ref()).map(|undo| undo.pre_image.clone()),
        })
    }

    fn is_ready(&self, action: &Action, now: Time) -> bool {
        let paced = self.paces.get(&action.id).and_then(|p| p.not_before).is_some_and(|t| t > now);
        if paced
            || self.leases.contains_key(&action.id)
            || action.expires_at <= now && !in_flight(action.state)
        {
            return false;
        }
        match action.state {
            ActionState::AwaitingApproval | ActionState::Proposed | ActionState::Probing => false,
            ActionState::Queued => self.has_turn(action, now),
            ActionState::Dispatching => !self.is_stopped(action),
            _ => verb_of(action).is_some(),
        }
    }

    /// Commands for one effect run one after the other; a release goes before a new hold.
    fn has_turn(&self, action: &Action, now: Time) -> bool {
        let Some(verb) = verb_of(action) else { return false };
        let effect = effect_of(action);
        let reverting = self.book.effect(&effect).is_some_and(|e| e.state == EffectState::Reverting);
        verb.applies() != reverting
            && !self.is_stopped(action)
            && !self.is_being_opened(action, now)
            && !self.book.of_effect(&effect).any(|a| in_flight(a.state))
    }

    fn is_stopped(&self, action: &Action) -> bool {
        self.stops(action).is_some()
    }

    /// A worker outside is still at its step: its lease lasts longer.
    ///
    /// # Errors
    /// [`RespondError::Callback`] where the token is not that of the present lease; [`RespondError::StaleReport`] where
    /// the lease has gone to another.
    pub fn heartbeat(
        &mut self,
        action: &ActionId,
        fence: u64,
        seal: Seal,
        now: Time,
    ) -> Result<Time, RespondError> {
        self.admit(action, seal, now)?;
        let expected = self.leases.get(action).map(|lease| lease.fence);
        match self.leases.get_mut(action).filter(|lease| lease.fence == fence) {
            Some(lease) => {
                lease.until = now.plus_micros(LEASE.micros());
                Ok(lease.until)
            }
            None => {
                self.counts.stale_reports += 1;
                Err(RespondError::StaleReport { action: action.clone(), got: fence, expected })
            }
        }
    }

    /// Takes the report of a worker outside.
    ///
    /// # Errors
    /// As [`Responder::report`], and [`RespondError::Callback`] where the token is not that of the present lease: the
    /// report changes nothing then.
    pub fn report_outside(
        &mut self,
        report: Report,
        seal: Seal,
        now: Time,
    ) -> Result<Vec<ActionChange>, RespondError> {
        self.admit(&report.action, seal, now)?;
        self.take_report(report, now)
    }

    /// Whether whoever comes with this token has the present lease of an action.
    fn admit(&mut self, action: &ActionId, seal: Seal, now: Time) -> Result<(), RespondError> {
        let lease = self.leases.get(action).filter(|lease| lease.seal == Some(seal));
        let past = self.past.get(action).filter(|past| past.seal == seal);
        let fault = match (lease, past) {
            (Some(lease), _) if lease.until > now => return Ok(()),
            (Some(lease), _) => CallbackFault::Expired(lease.until),
            (None, Some(past)) => past.fault,
            (None, None) if self.leases.contains_key(action) || self.past.contains_key(action) => {
                CallbackFault::Forged
            }
            (None, None) => CallbackFault::NoLease,
        };
        self.counts.stale_reports += 1;
        Err(RespondError::Callback { action: action.clone(), fault })
    }

    /// A step is with nobody any more.
    pub(super) fn end_lease(&mut self, action: &ActionId, fault: CallbackFault) {
        if let Some(Lease { seal: Some(seal), .. }) = self.leases.remove(action) {
            self.past.insert(action.clone(), Past { seal, fault });
        }
    }

    /// Takes a worker's report.
    ///
    /// # Errors
    /// [`RespondError::StaleReport`] where the lease has gone to another; the report is dropped, and whoever
    /// has the lease now finds out by probing.
    pub fn report(&mut self, report: Report, now: Time) -> Result<Vec<ActionChange>, RespondError> {
        // What went outside comes back with its token, or not at all.
        let sealed = self.leases.get(&report.action).filter(|lease| lease.seal.is_some());
        if let Some(fence) = sealed.map(|lease| lease.fence) {
            self.counts.stale_reports += 1;
            let Report { action, fence: got, .. } = report;
            return Err(RespondError::StaleReport { action, got, expected: Some(fence) });
        }
        self.take_report(report, now)
    }

    fn take_report(&mut self, report: Report, now: Time) -> Result<Vec<ActionChange>, RespondError> {
        let expected = self.leases.get(&report.action).map(|l| l.fence);
        let action = self.book.action(&report.action).cloned();
        let (Some(action), true) = (action, expected == Some(report.fence)) else {
            self.counts.stale_reports += 1;
            return Err(RespondError::StaleReport { action: report.action, got: report.fence, expected });
        };
        self.end_lease(&action.id, CallbackFault::Used);
        match report.outcome {
            Ok(reply) => self.replied(action, reply, now),
            Err(error) => self.failed(action, &error, now),
        }
        Ok(std::mem::take(&mut self.changes))
    }

    fn replied(&mut self, action: Action, reply: Reply, now: Time) {
        match (action.state, reply) {
            (ActionState::Probing, Reply::Probed(probe)) => self.probed(action, &probe, now),
            (ActionState::Dispatching, Reply::Accepted { provider_ref }) => {
                self.accepted(action, &provider_ref, now)
            }
            (ActionState::Accepted | ActionState::Running, Reply::Progress(p)) => {
                self.progressed(action, p, now)
            }
            (ActionState::Verifying, Reply::Probed(probe)) => self.verified(action, &probe, now),
            (state, Reply::Probed(probe)) if state.is_final() => self.looked(&action, Some(&probe), now),
            (ActionState::CancelRequested, Reply::Cancelled { in_time }) => {
                self.cancelled(action, in_time, now)
            }
            (_, other) => {
                let error =
                    ExecuteError::OutcomeUnknown(format!("the executor answered out of turn: {other:?}"));
                self.failed(action, &error, now);
            }
        }
    }

    fn probed(&mut self, mut action: Action, probe: &Probe, now: Time) {
        let Some(verb) = verb_of(&action) else { return };
        if let Some(under_way) = &probe.under_way {
            if under_way.ours {
                return self.accepted(action, &under_way.provider_ref, now);
            }
            return self.again(action, "another request for this target is under way", None, now);
        }
        if probe.holds == verb.applies() {
            return self.already(action, probe, now);
        }
        if !verb.applies() && !self.is_ours(&action, probe) {
            let why = format!("another party brought it about, it is not ours to end: {}", probe.evidence);
            return self.finish(action, ActionState::NoOp, &why, End::Absent, now);
        }
        if let Some(undo) = &mut action.undo {
            undo.pre_image =
                probe.pre_image.clone().unwrap_or_else(|| crate::command::bounded(&probe.evidence));
        }
        self.dispatch(action, verb, now);
    }

    /// Whether the effect that a probe found is this engine's doing, where the provider cannot tell by its own record.
    fn is_ours(&self, action: &Action, probe: &Probe) -> bool {
        let sent = verb_of(action).is_some_and(Verb::applies) && in_doubt(action);
        probe.by_us.unwrap_or_else(|| sent || self.book.may_hold(&effect_of(action), &action.id))
    }

    /// The target has the wanted state already.
    fn already(&mut self, action: Action, probe: &Probe, now: Time) {
        let applies = verb_of(&action).is_some_and(Verb::applies);
        let is_ours = self.is_ours(&action, probe);
        let end = if applies && is_ours { End::Holds } else { End::Absent };
        let done = in_doubt(&action) && (is_ours || !applies);
        let to = if done { ActionState::Succeeded } else { ActionState::NoOp };
        self.finish(action, to, &format!("already so: {}", probe.evidence), end, now);
    }

    /// Writes the intent ahead; the request itself goes out with the next lease.
    fn dispatch(&mut self, mut action: Action, verb: Verb, now: Time) {
        let end = if in_doubt(&action) && !verb.applies() { End::Unknown } else { End::Absent };
        if verb.applies() && self.policy.protects(&action.target).is_some() {
            return self.finish(action, ActionState::Failed, "the target is protected now", end, now);
        }
        if self.is_unwanted(&action) {
            return self.end_unsent(action, "nobody wants it any more", now);
        }
        if action.history.iter().any(|step| step.to == ActionState::CancelRequested) {
            let end = self.undone(&action);
            return self.finish(
                action,
                ActionState::Failed,
                "it was to be cancelled, and has not come about",
                end,
                now,
            );
        }
        if let Some(stopped) = self.stops(&action) {
            return self.again(action, &stopped, None, now);
        }
        if action.expires_at <= now {
            return self.finish(action, ActionState::TimedOut, "its time is over", end, now);
        }
        if action.attempts >= ATTEMPTS_MAX {
            let end = if verb.applies() { End::Absent } else { End::Holds };
            return self.finish(action, ActionState::Failed, "sent often enough without effect", end, now);
        }
        action.attempts += 1;
        let note = format!("attempt {}", action.attempts);
        self.step(&mut action, ActionState::Dispatching, &note, now);
        let hash = self.request_of(&action).map(|r| r.hash()).unwrap_or_default();
        let entry =
            Entry::engine("dispatch", "intent stored before the request is sent").with("request_hash", hash);
        let entry = entry.with("attempt", action.attempts.to_string());
        self.commit(action, None, entry, now);
    }

    fn accepted(&mut self, mut action: Action, provider_ref: &str, now: Time) {
        let note = format!("provider reference {provider_ref}");
        action.provider_ref = Some(crate::command::bounded(provider_ref));
        self.paces.remove(&action.id);
        self.step(&mut action, ActionState::Accepted, &note, now);
        let entry = Entry::engine("accepted", &note);
        self.look_again(&action.id, None, now);
        self.commit(action, None, entry, now);
    }

    fn progressed(&mut self, mut action: Action, progress: Progress, now: Time) {
        match progress {
            Progress::Failed(why) => {
                self.finish(action.clone(), ActionState::Failed, &why, self.undone(&action), now)
            }
            Progress::Cancelled => {
                let end = self.undone(&action);
                self.finish(action, ActionState::Cancelled, "cancelled at the provider", end, now);
            }
            Progress::Done => {
                self.paces.remove(&action.id);
                self.step(&mut action, ActionState::Verifying, "the provider says done", now);
                self.commit(action, None, Entry::engine("verify", "the provider says done"), now);
            }
            Progress::Running if action.state == ActionState::Accepted => {
                self.step(&mut action, ActionState::Running, "the provider works on it", now);
                self.look_again(&action.id, None, now);
                self.commit(action, None, Entry::engine("running", "the provider works on it"), now);
            }
            Progress::Running | Progress::Pending => self.look_again(&action.id, None, now),
        }
    }

    /// What is known of the effect where the provider says that it has not done the request.
    fn undone(&self, action: &Action) -> End {
        if verb_of(action).is_some_and(Verb::applies) { End::Absent } else { End::Holds }
    }

    fn verified(&mut self, action: Action, probe: &Probe, now: Time) {
        let applies = verb_of(&action).is_some_and(Verb::applies);
        if probe.holds == applies {
            let end = if applies { End::Holds } else { End::Absent };
            return self.finish(action, ActionState::Succeeded, &probe.evidence, end, now);
        }
        if self.paces.get(&action.id).map_or(0, |p| p.looks) + 1 >= VERIFICATIONS_MAX {
            let why = format!("the provider said done, the target says otherwise: {}", probe.evidence);
            let end = self.undone(&action);
            return self.finish(action, ActionState::Failed, &why, end, now);
        }
        self.look_again(&action.id, None, now);
    }

    fn cancelled(&mut self, mut action: Action, in_time: bool, now: Time) {
        if in_time {
            let end = self.undone(&action);
            return self.finish(action, ActionState::Cancelled, "cancelled before it took effect", end, now);
        }
        self.step(&mut action, ActionState::Running, "too late to cancel", now);
        self.commit(action, None, Entry::engine("cancel", "too late to cancel"), now);
    }

    fn failed(&mut self, mut action: Action, error: &ExecuteError, now: Time) {
        let after_s = if let ExecuteError::Retryable { after_s, .. } = error { *after_s } else { None };
        let terminal = matches!(error, ExecuteError::Terminal(_));
        let why = error.to_string();
        match action.state {
            state if state.is_final() => self.looked(&action, None, now),
            ActionState::Probing | ActionState::Dispatching if terminal => {
                let end = if in_doubt(&action) { End::Unknown } else { self.undone(&action) };
                self.finish(action, ActionState::Failed, &why, end, now);
            }
            ActionState::Dispatching if matches!(error, ExecuteError::OutcomeUnknown(_)) => {
                self.step(&mut action, ActionState::OutcomeUnknown, &why, now);
                self.pause(&action.id, after_s, now);
                self.commit(action, None, Entry::engine("outcome_unknown", &why), now);
            }
            ActionState::Probing | ActionState::Dispatching => self.again(action, &why, after_s, now),
            ActionState::Accepted | ActionState::Running if terminal => {
                self.step(&mut action, ActionState::OutcomeUnknown, &why, now);
                self.commit(action, None, Entry::engine("outcome_unknown", &why), now);
            }
            ActionState::Verifying if terminal => {
                self.finish(action, ActionState::Failed, &why, End::Unknown, now);
            }
            ActionState::CancelRequested if terminal => self.cancelled(action, false, now),
            _ => self.pause(&action.id, after_s, now),
        }
    }

    /// Back to where the command waits for a probe, after a pause.
    fn again(&mut self, mut action: Action, why: &str, after_s: Option<u32>, now: Time) {
        let to = match in_doubt(&action) && action.state == ActionState::Probing {
            true => ActionState::OutcomeUnknown,
            false => ActionState::Queued,
        };
        self.step(&mut action, to, why, now);
        if to == ActionState::Queued && self.is_unwanted(&action) {
            return self.end_unsent(action, "nobody wants it any more", now);
        }
        self.pause(&action.id, after_s, now);
        self.commit(action, None, Entry::engine("retry", why), now);
    }

    /// After a failure: 2 s, doubling to 5 min, spread so that many commands do not come back at once.
    fn pause(&mut self, id: &ActionId, after_s: Option<u32>, now: Time) {
        let pace = self.paces.entry(id.clone()).or_default();
        pace.failures = pace.failures.saturating_add(1);
        let back_off_us = spread(id, pace.failures, 2_000_000, 300_000_000);
        let asked_us = i64::from(after_s.unwrap_or(0).min(3_600)) * 1_000_000;
        pace.not_before = Some(now.plus_micros(back_off_us.max(asked_us)));
    }

    /// While the provider works: 0.5 s, doubling to 30 s.
    fn look_again(&mut self, id: &ActionId, after_s: Option<u32>, now: Time) {
        let pace = self.paces.entry(id.clone()).or_default();
        pace.looks = pace.looks.saturating_add(1);
        let wait_us = spread(id, pace.looks, 500_000, 30_000_000);
        let asked_us = i64::from(after_s.unwrap_or(0)) * 1_000_000;
        pace.not_before = Some(now.plus_micros(wait_us.max(asked_us)));
    }

    /// After a restart: a probe is repeated, a request that was on the wire has an unknown outcome.
    pub(super) fn recover(&mut self, now: Time) {
        let open: Vec<Action> = self.book.open().cloned().collect();
        for mut action in open {
            match action.state {
                ActionState::Probing => self.again(action, "the engine was restarted", None, now),
                ActionState::Dispatching => {
                    self.step(&mut action, ActionState::OutcomeUnknown, "the engine was restarted", now);
                    self.commit(
                        action,
                        None,
                        Entry::engine("outcome_unknown", "the engine was restarted"),
                        now,
                    );
                }
                _ => {}
            }
        }
    }

    /// Takes up steps of workers that have gone silent.
    pub(super) fn expire_leases(&mut self, now: Time) {
        let lost: Vec<(ActionId, Time)> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.until <= now)
            .map(|(id, lease)| (id.clone(), lease.until))
            .collect();
        for (id, until) in lost {
            self.end_lease(&id, CallbackFault::Expired(until));
            if let Some(action) = self.book.action(&id).cloned() {
                let error = ExecuteError::OutcomeUnknown("the worker has gone silent".to_owned());
                self.failed(action, &error, now);
            }
        }
    }

    /// Ends approvals and commands whose time is over.
    pub(super) fn expire_commands(&mut self, now: Time) {
        let late: Vec<Action> = self.book.open().filter(|a| a.expires_at <= now).cloned().collect();
        for mut action in late {
            let doubt = if in_doubt(&action) { End::Unknown } else { self.undone(&action) };
            match action.state {
                ActionState::AwaitingApproval => {
                    self.finish(action, ActionState::Expired, "nobody decided in time", End::Absent, now);
                }
                ActionState::Queued => {
                    self.finish(action, ActionState::Expired, "not executed in time", doubt, now);
                }
                ActionState::OutcomeUnknown | ActionState::Verifying | ActionState::CancelRequested => {
                    self.end_lease(&action.id, CallbackFault::Expired(now));
                    self.finish(action, ActionState::TimedOut, "its time is over", End::Unknown, now);
                }
                ActionState::Accepted | ActionState::Running => {
                    self.end_lease(&action.id, CallbackFault::Expired(now));
                    action.expires_at = now.plus_micros(CANCEL_WITHIN.micros());
                    self.step(&mut action, ActionState::CancelRequested, "not done in time", now);
                    self.commit(action, None, Entry::engine("cancel", "not done in time"), now);
                }
                _ => {}
            }
        }
    }
}

fn waiting_since(action: &Action) -> Time {
    action.history.last().map_or(action.created_at, |t| t.at)
}

/// Exponential back-off, spread over its upper half by the action's id: no clock, no randomness.
fn spread(id: &ActionId, n: u32, base_us: i64, max_us: i64) -> i64 {
    let whole = base_us.saturating_mul(1 << n.saturating_sub(1).min(20)).min(max_us);
    let hash = blake3::hash(format!("{id} {n}").as_bytes());
    let part = i64::from(hash.as_bytes()[0]);
    whole / 2 + whole / 2 * part / 255
}
