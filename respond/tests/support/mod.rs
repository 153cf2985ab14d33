//! A responder with its storage, driven by hand, with a clock that only goes when told.

pub(crate) mod incident;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use event::{Action, Alert, Effect, Entity, Incident, IncidentStatus, Time};
use respond::{
    ActionChange, AuditEntry, AuditHead, Automation, Executor, Policy, Reply, Responder, ResponseRules, Step,
    Worker, drive,
};

use incident::incident;

/// What the incident is called.
const TITLE: &str = "Credential theft";

/// A responder, its executor, and what is stored of it.
pub(crate) struct Engine {
    pub(crate) responder: Responder,
    pub(crate) worker: Worker,
    pub(crate) now: Time,
    pub(crate) audit: Vec<AuditEntry>,
    rules: Vec<(String, String)>,
    actions: BTreeMap<String, Action>,
    effects: BTreeMap<String, Effect>,
}

fn responder(rules: &[(String, String)]) -> Responder {
    let (rules, report) = ResponseRules::load(rules.to_vec());
    assert_eq!(report.rejected, []);
    Responder::new(rules, Policy { automation: Automation::Full, ..Policy::default() }).unwrap()
}

impl Engine {
    /// One that does what these rules ask for, by files and texts.
    pub(crate) fn new(rules: Vec<(String, String)>, executor: impl Executor + 'static) -> Self {
        Engine {
            responder: responder(&rules),
            worker: Worker::new([Arc::new(executor) as Arc<dyn Executor>]),
            now: Time::from_secs(1_700_000_000),
            audit: Vec::new(),
            rules,
            actions: BTreeMap::new(),
            effects: BTreeMap::new(),
        }
    }

    pub(crate) fn store(&mut self, changes: Vec<ActionChange>) {
        for change in changes {
            self.actions.insert(change.action.id.to_string(), change.action);
            if let Some(effect) = change.effect {
                self.effects.insert(effect.id.to_string(), effect);
            }
            self.audit.push(change.audit);
        }
    }

    /// An incident about this comes, or comes again.
    pub(crate) fn see(&mut self, about: &Entity) {
        self.see_incident(incident(about, TITLE));
    }

    pub(crate) fn see_incident(&mut self, (incident, alerts): (Incident, Vec<Alert>)) {
        let Ok(changes) = self.responder.on_incident(&incident, || Ok::<_, Infallible>(alerts), self.now);
        self.store(changes);
    }

    /// The incident about this is closed.
    pub(crate) fn close(&mut self, about: &Entity) {
        let (mut closed, _) = incident(about, TITLE);
        closed.status = IncidentStatus::Closed;
        let Ok(changes) = self.responder.on_incident(&closed, || Ok::<_, Infallible>(Vec::new()), self.now);
        self.store(changes);
    }

    /// Lets everything run that can, through pauses and retries, for half an hour of its clock.
    pub(crate) async fn run(&mut self) {
        for _ in 0..180 {
            self.now = self.now.plus_micros(10_000_000);
            let changes = self.responder.tick(self.now);
            self.store(changes);
            loop {
                let (mut stored, now) = (Vec::new(), self.now);
                let mut persist = async |changes: Vec<ActionChange>| {
                    stored.extend(changes);
                    Ok(())
                };
                let more = drive(&mut self.responder, &self.worker, || now, &mut persist).await.unwrap();
                self.store(stored);
                if !more {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(6)).await;
            }
            if self.actions.values().all(|a| a.state.is_final()) {
                return;
            }
        }
    }

    /// Runs until a request is sent, and is killed before it knows what came of it.
    pub(crate) async fn die_after_dispatch(&mut self) {
        loop {
            self.now = self.now.plus_micros(1_000_000);
            let leased = self.responder.next_work(self.now).unwrap();
            self.store(leased.changes);
            let report = self.worker.perform(&leased.work).await;
            if leased.work.step == Step::Dispatch {
                assert!(matches!(report.outcome, Ok(Reply::Accepted { .. })));
                return self.crash();
            }
            let changes = self.responder.report(report, self.now).unwrap();
            self.store(changes);
        }
    }

    /// What is left after a kill: storage and the provider.
    fn crash(&mut self) {
        let last = self.audit.last();
        let head = last
            .map_or_else(AuditHead::default, |e| AuditHead { sequence: e.sequence, hash: e.hash.clone() });
        self.responder = responder(&self.rules);
        let (actions, effects) = (self.actions.values().cloned(), self.effects.values().cloned());
        let changes = self.responder.restore(actions, effects, head, self.now);
        self.store(changes);
    }

    pub(crate) fn action(&self, verb: &str) -> &Action {
        let mut found = self.actions.values().filter(|a| a.verb == verb);
        let action = found.next().unwrap();
        assert!(found.next().is_none(), "more than one {verb}");
        action
    }

    pub(crate) fn effect(&self) -> &Effect {
        assert_eq!(self.effects.len(), 1);
        self.effects.values().next().unwrap()
    }
}
