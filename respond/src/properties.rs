//! Properties over random histories: incidents, people, time, faults of the provider, crashes between any two
//! steps. The provider is a model that counts what it was made to do.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use event::{
    Action, ActionId, Effect, EffectId, EffectState, EntityType, Incident, IncidentId, IncidentStatus, Role,
    Time,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::audit::{AuditEntry, AuditHead, verify};
use crate::testing::{alert, incident};
use crate::{
    ActionChange, Automation, Capability, Caps, ExecuteError, OnDrift, Patterns, Policy, Probe, Progress,
    Reply, Report, RespondError, Responder, ResponseRules, Span, Step, UnderWay, Verb, Work,
};

const CONNECTOR: &str = "edr";
const HOSTS: [&str; 4] = ["ws-01", "ws-02", "ws-03", "dc01"];
const RULE: &str = "id: r\ntitle: T\nwhen: incident.confidence >= 80\ntarget: attacked_devices\naction: host.isolate\nttl: 2h\n";

/// What a person decides about an action.
type Decide = fn(&mut Responder, &ActionId, &str, &str, Time) -> Result<Vec<ActionChange>, RespondError>;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Happening {
    Incident {
        number: u8,
        hosts: u8,
    },
    Close {
        number: u8,
    },
    Merge {
        from: u8,
        to: u8,
    },
    Approve {
        nth: u8,
    },
    Reject {
        nth: u8,
    },
    Cancel {
        nth: u8,
    },
    Undo {
        nth: u8,
    },
    RollBack {
        number: u8,
    },
    /// Somebody else ends what we brought about, long enough before we look again.
    Drift {
        host: u8,
    },
    Work(Fault),
    /// For a while nothing goes wrong, and what was begun is done.
    Calm,
    Pass {
        s: u32,
    },
    KillSwitch(bool),
    /// Of the one connector.
    StopConnector(bool),
    Crash,
}

/// How the provider treats a step.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Refused,
    Unreachable,
    /// Done, but the answer is lost.
    LostReply,
    /// Not done, and no answer either.
    LostRequest,
    /// Done, then the engine dies before it hears of it.
    CrashAfter,
    /// The engine dies after the intent is stored, before anything is sent.
    CrashBefore,
    WorkerSilent,
}

fn happening() -> impl Strategy<Value = Happening> {
    let fault = prop_oneof![
        9 => Just(Fault::None), 1 => Just(Fault::Refused), 1 => Just(Fault::Unreachable), 1 => Just(Fault::LostReply),
        1 => Just(Fault::LostRequest), 1 => Just(Fault::CrashAfter), 1 => Just(Fault::CrashBefore),
        1 => Just(Fault::WorkerSilent)
    ];
    prop_oneof![
        // Most are about one host: over a cap all hosts of an incident wait, and little would ever be done.
        3 => (0..4u8, 0..4u8).prop_map(|(number, host)| Happening::Incident { number, hosts: 1 << host }),
        2 => (0..4u8, 1..16u8).prop_map(|(number, hosts)| Happening::Incident { number, hosts }),
        1 => (0..4u8).prop_map(|number| Happening::Close { number }),
        1 => (0..4u8, 0..4u8).prop_map(|(from, to)| Happening::Merge { from, to }),
        1 => any::<u8>().prop_map(|nth| Happening::Approve { nth }),
        1 => any::<u8>().prop_map(|nth| Happening::Reject { nth }),
        1 => any::<u8>().prop_map(|nth| Happening::Cancel { nth }),
        1 => any::<u8>().prop_map(|nth| Happening::Undo { nth }),
        1 => (0..4u8).prop_map(|number| Happening::RollBack { number }),
        2 => (0..3u8).prop_map(|host| Happening::Drift { host }),
        12 => fault.prop_map(Happening::Work),
        3 => Just(Happening::Calm),
        5 => prop_oneof![Just(1), Just(30), Just(600), Just(1_000), Just(4_000), Just(100_000)].prop_map(|s| Happening::Pass { s }),
        1 => any::<bool>().prop_map(Happening::KillSwitch),
        1 => any::<bool>().prop_map(Happening::StopConnector),
        2 => Just(Happening::Crash),
    ]
}

/// Caps that hold back much, and caps that hold back next to nothing.
const TIGHT: Caps = Caps { rule_per_hour_max: 3, tenant_per_hour_max: 3, concurrent_max: 2 };
const WIDE: Caps = Caps { rule_per_hour_max: 12, tenant_per_hour_max: 16, concurrent_max: 3 };

fn history() -> impl Strategy<Value = (Caps, Vec<Happening>)> {
    (prop_oneof![Just(TIGHT), Just(WIDE)], prop::collection::vec(happening(), 1..80))
}

/// A provider that does what it is told, and counts.
#[derive(Debug, Default)]
struct Provider {
    isolated: BTreeMap<String, ActionId>,
    /// Requests carried out, by command.
    done: BTreeMap<ActionId, u32>,
    isolations: BTreeSet<String>,
    /// Requests that are accepted but not finished.
    open: BTreeMap<String, (Verb, ActionId)>,
}

impl Provider {
    fn take(&mut self, work: &Work) {
        let host = work.request.target.entity.value.to_string();
        *self.done.entry(work.request.action.clone()).or_default() += 1;
        self.open.insert(host, (work.request.verb, work.request.action.clone()));
    }

    fn settle(&mut self, host: &str) {
        match self.open.remove(host) {
            Some((Verb::HostIsolate, action)) => {
                self.isolations.insert(host.to_owned());
                self.isolated.entry(host.to_owned()).or_insert(action);
            }
            Some((Verb::HostRelease, _)) => drop(self.isolated.remove(host)),
            Some(_) | None => {}
        }
    }

    fn answer(&mut self, work: &Work) -> Result<Reply, ExecuteError> {
        let host = work.request.target.entity.value.to_string();
        match work.step {
            Step::Probe | Step::Verify => Ok(Reply::Probed(self.probe(work, &host))),
            Step::Dispatch if self.open.contains_key(&host) => {
                Err(ExecuteError::OutcomeUnknown("busy".into()))
            }
            Step::Dispatch => {
                let is_new = work.request.verb.applies();
                assert!(!is_new || work.stopped.is_empty(), "sent through a stopped connector");
                self.take(work);
                Ok(Reply::Accepted { provider_ref: work.request.action.to_string() })
            }
            Step::Poll => {
                self.settle(&host);
                Ok(Reply::Progress(Progress::Done))
            }
            Step::Cancel => {
                let ours = self.open.get(&host).is_some_and(|(_, a)| *a == work.request.action);
                let in_time = ours && self.open.remove(&host).is_some();
                Ok(Reply::Cancelled { in_time })
            }
        }
    }

    fn probe(&mut self, work: &Work, host: &str) -> Probe {
        let open = self.open.get(host).cloned();
        let ours = open.as_ref().is_some_and(|(_, a)| *a == work.request.action);
        if open.is_some() && !ours {
            self.settle(host);
        }
        let under_way = open.filter(|_| ours).map(|(_, a)| UnderWay { provider_ref: a.to_string(), ours });
        let holds = self.isolated.contains_key(host);
        Probe { holds, by_us: Some(holds), under_way, evidence: format!("{host} {holds}"), pre_image: None }
    }
}

/// The storage: what a crash leaves.
#[derive(Debug, Default)]
struct Store {
    actions: BTreeMap<ActionId, Action>,
    effects: BTreeMap<EffectId, Effect>,
    audit: Vec<AuditEntry>,
}

struct World {
    responder: Responder,
    provider: Provider,
    store: Store,
    policy: Policy,
    now: Time,
    starts: Vec<(Time, ActionId)>,
}

fn policy(caps: Caps) -> Policy {
    Policy {
        caps,
        automation: Automation::Full,
        protected: Patterns::new(&[(EntityType::Device, &["dc*"])]),
        ttl: Span::from_hours(2),
        execute_within: Span::from_hours(3),
        on_drift: OnDrift::Reapply,
        ..Policy::default()
    }
}

fn responder(policy: &Policy) -> Responder {
    let (rules, _) = ResponseRules::load([("r.yml".to_owned(), RULE.to_owned())]);
    let mut responder = Responder::new(rules, policy.clone()).unwrap();
    responder.set_providers([Capability::whole(CONNECTOR, [Verb::HostIsolate, Verb::HostRelease])]);
    responder
}

fn numbered(number: u8, hosts: u8) -> (Incident, Vec<event::Alert>) {
    let hosts = HOSTS.iter().enumerate().filter(|(i, _)| hosts & (1 << i) != 0);
    let alerts: Vec<_> = hosts
        .map(|(_, h)| alert(&format!("a-{number}-{h}"), "attack.execution", &[(Role::Device, h)]))
        .collect();
    let mut incident = incident(&alerts);
    incident.id = IncidentId::new(format!("i-{number}"));
    (incident, alerts)
}

impl World {
    /// Goes through a history, looking after each step, and on to where everything has ended.
    fn live(history: Vec<Happening>) {
        World::within(TIGHT).go_through(history);
    }

    fn go_through(mut self, history: Vec<Happening>) -> Self {
        for happening in history {
            self.happen(happening);
            self.check();
        }
        self.run_out();
        self
    }

    fn new() -> Self {
        World::within(TIGHT)
    }

    fn within(caps: Caps) -> Self {
        let policy = policy(caps);
        World {
            responder: responder(&policy),
            provider: Provider::default(),
            store: Store::default(),
            policy,
            now: Time::from_secs(1_700_000_000),
            starts: Vec::new(),
        }
    }

    fn persist(&mut self, changes: Vec<ActionChange>) {
        for change in changes {
            let first = self.store.actions.get(&change.action.id).is_none_or(|a| !queued(a));
            if first && queued(&change.action) && change.action.verb == "host.isolate" {
                self.starts.push((self.now, change.action.id.clone()));
            }
            self.store.actions.insert(change.action.id.clone(), change.action);
            if let Some(effect) = change.effect {
                self.store.effects.insert(effect.id.clone(), effect);
            }
            self.store.audit.push(change.audit);
        }
    }

    fn crash(&mut self) {
        self.responder = responder(&self.policy);
        let head = self.store.audit.last();
        let head = head
            .map_or_else(AuditHead::default, |e| AuditHead { sequence: e.sequence, hash: e.hash.clone() });
        let (actions, effects) = (self.store.actions.values().cloned(), self.store.effects.values().cloned());
        let changes = self.responder.restore(actions, effects, head, self.now);
        self.persist(changes);
    }

    fn work(&mut self, fault: Fault) -> bool {
        let Some(leased) = self.responder.next_work(self.now) else { return false };
        self.persist(leased.changes);
        let work = leased.work;
        if fault == Fault::CrashBefore {
            self.crash();
            return true;
        }
        let lost = || Err(ExecuteError::OutcomeUnknown("lost".into()));
        let outcome = match fault {
            Fault::Refused => Err(ExecuteError::Terminal("refused".into())),
            Fault::Unreachable => Err(ExecuteError::Retryable { message: "down".into(), after_s: None }),
            Fault::LostRequest => lost(),
            Fault::LostReply => {
                let _done = self.provider.answer(&work);
                lost()
            }
            _ => self.provider.answer(&work),
        };
        match fault {
            Fault::CrashAfter => self.crash(),
            Fault::WorkerSilent => {}
            _ => {
                let report = Report { action: work.request.action, fence: work.fence, outcome };
                let changes = self.responder.report(report, self.now).unwrap();
                self.persist(changes);
            }
        }
        true
    }

    #[allow(clippy::needless_pass_by_value)] // Callers make it on the spot.
    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        let changes = match happening {
            Happening::Incident { number, hosts } => {
                let (incident, alerts) = numbered(number, hosts);
                let Ok(changes) = self.responder.on_incident(&incident, || Ok::<_, Infallible>(alerts), now);
                changes
            }
            Happening::Close { number } => {
                let (mut incident, _) = numbered(number, 1);
                incident.status = IncidentStatus::Closed;
                let Ok(changes) =
                    self.responder.on_incident(&incident, || Ok::<_, Infallible>(Vec::new()), now);
                changes
            }
            Happening::Merge { from, to } => {
                let id = |n| IncidentId::new(format!("i-{n}"));
                self.responder.on_merged(&id(from), &id(to), now)
            }
            Happening::Approve { nth } => self.decided(nth, Responder::approve),
            Happening::Reject { nth } => self.decided(nth, Responder::reject),
            Happening::Cancel { nth } => self.decided(nth, Responder::cancel),
            Happening::Undo { nth } => self.decided(nth, Responder::undo),
            Happening::RollBack { number } => {
                self.responder.roll_back(&IncidentId::new(format!("i-{number}")), "ann", "", now).0
            }
            Happening::Drift { host } => {
                // A command of which it is not known what became of it is sent again then, and rightly.
                if let Some(action) = self.provider.isolated.remove(HOSTS[usize::from(host)]) {
                    self.provider.done.remove(&action);
                }
                self.now = now.plus_micros(1_000_000_000);
                self.responder.tick(self.now)
            }
            Happening::Work(fault) => {
                self.work(fault);
                Vec::new()
            }
            Happening::Calm => {
                for _ in 0..6 {
                    self.happen(Happening::Pass { s: 2 });
                    self.work(Fault::None);
                }
                Vec::new()
            }
            Happening::Pass { s } => {
                self.now = now.plus_micros(i64::from(s) * 1_000_000);
                self.responder.tick(self.now)
            }
            Happening::KillSwitch(on) => {
                self.policy.kill_switch = on;
                let entry = self.responder.set_kill_switch(on, "ann", "", now);
                self.store.audit.push(entry);
                Vec::new()
            }
            Happening::StopConnector(on) => {
                self.stop_connector(on);
                Vec::new()
            }
            Happening::Crash => {
                self.crash();
                Vec::new()
            }
        };
        self.persist(changes);
    }

    /// What comes of a person's decision on one of the actions, if there is one.
    fn decided(&mut self, nth: u8, decide: Decide) -> Vec<ActionChange> {
        let known = self.store.actions.len().max(1);
        let Some(id) = self.store.actions.keys().nth(usize::from(nth) % known).cloned() else {
            return Vec::new();
        };
        decide(&mut self.responder, &id, "ann", "", self.now).unwrap_or_default()
    }

    fn stop_connector(&mut self, on: bool) {
        let stopped = &mut self.policy.stopped.connectors;
        if on {
            stopped.insert(CONNECTOR.to_owned());
        } else {
            stopped.remove(CONNECTOR);
        }
        let entry = self.responder.stop_connector(CONNECTOR, on, "ann", "", self.now).unwrap();
        self.store.audit.push(entry);
    }

    /// What must hold after every step.
    fn check(&self) {
        assert_eq!(self.responder.counts().bugs, 0, "illegal transition");
        let stored: Vec<&Action> = self.store.actions.values().collect();
        assert_eq!(stored, self.responder.actions().collect::<Vec<_>>(), "memory is ahead of storage");
        verify(&AuditHead::default(), &self.store.audit).unwrap();
        assert!(!self.provider.isolations.contains("dc01"), "a protected device was isolated");
        for effect in self.store.effects.values() {
            self.check_effect(effect);
        }
        self.check_caps();
    }

    fn check_effect(&self, effect: &Effect) {
        let holds =
            matches!(effect.state, EffectState::Applying | EffectState::Active | EffectState::Drifted);
        assert!(!holds || !effect.holders.is_empty(), "held by nobody: {effect:?}");
        let over =
            matches!(effect.state, EffectState::Absent | EffectState::Reverted | EffectState::RevertFailed);
        assert!(!over || effect.holders.is_empty(), "over, but held: {effect:?}");
        let ttl_us = Span::from_hours(2).micros();
        assert!(
            effect.expires_at.micros() <= effect.updated_at.micros() + ttl_us,
            "holds too long: {effect:?}"
        );
        let command = self
            .store
            .actions
            .values()
            .any(|a| !a.state.is_final() && crate::book::effect_of(a) == effect.id);
        let moving = matches!(effect.state, EffectState::Applying | EffectState::Reverting);
        assert!(!moving || command, "stuck: {effect:?}");
    }

    fn check_caps(&self) {
        let Caps { rule_per_hour_max, concurrent_max, .. } = self.policy.caps;
        for (at, _) in &self.starts {
            let within = |t: &Time| t.micros() <= at.micros() && at.micros() - t.micros() < 3_600_000_000;
            let in_hour = self.starts.iter().filter(|(t, _)| within(t)).count();
            assert!(in_hour <= rule_per_hour_max as usize, "{in_hour} starts within an hour");
        }
        let wanted = self.store.effects.values().filter(|e| crate::effect::is_wanted(e)).count();
        assert!(wanted <= concurrent_max as usize, "{wanted} effects at one time");
    }

    /// Lets what is under way come to its end, well within the time to live.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.happen(Happening::Pass { s: 30 });
            while self.work(Fault::None) {}
        }
    }

    /// With a provider that works and enough time, everything ends, and nothing stays isolated.
    fn run_out(&mut self) {
        self.happen(Happening::KillSwitch(false));
        self.happen(Happening::StopConnector(false));
        for _ in 0..40 {
            self.happen(Happening::Pass { s: 3_600 });
            self.settle();
        }
        self.check();
        for effect in self.store.effects.values() {
            let over = matches!(effect.state, EffectState::Absent | EffectState::Reverted);
            assert!(over, "never taken back: {effect:?}");
        }
        assert_eq!(self.provider.isolated, BTreeMap::new(), "still isolated");
        // A request may be lost on the way, never be carried out twice for one cause.
        for (action, times) in &self.provider.done {
            assert!(*times <= 1, "{action} was carried out {times} times");
        }
    }
}

fn queued(action: &Action) -> bool {
    action.history.iter().any(|t| t.to == event::ActionState::Queued)
}

/// A hundred histories, or as many as the environment asks for: `cargo xtask histories`.
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { 100 };
    ProptestConfig { cases, failure_persistence: None, ..asked }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_double_act_no_orphan_no_protected_no_excess_and_everything_is_reverted(
        (caps, history) in history()
    ) {
        World::within(caps).go_through(history);
    }

    #[test]
    fn a_replay_of_the_same_incidents_changes_nothing(
        incidents in prop::collection::vec((0..4u8, 1..16u8), 1..10), crash in any::<bool>()
    ) {
        let mut world = World::new();
        let all = || incidents.iter().map(|(number, hosts)| Happening::Incident { number: *number, hosts: *hosts });
        for happening in all() {
            world.happen(happening);
        }
        world.settle();
        if crash {
            world.crash();
        }
        let before = (world.store.actions.clone(), world.provider.done.clone());
        for happening in all() {
            world.happen(happening);
        }
        world.settle();
        prop_assert_eq!(before, (world.store.actions, world.provider.done));
    }
}

/// Properties of what never comes about prove nothing: how often commands come to each end, and effects through each state.
#[test]
fn histories_come_to_every_end() {
    const HISTORIES: usize = 300;
    let mut runner = TestRunner::deterministic();
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..HISTORIES {
        let (caps, history) = history().new_tree(&mut runner).unwrap().current();
        let world = World::within(caps).go_through(history);
        for action in world.store.actions.values() {
            let passed: BTreeSet<&str> = action.history.iter().map(|step| step.to.as_str()).collect();
            passed
                .iter()
                .for_each(|state| *reached.entry(format!("{} {state}", action.verb)).or_default() += 1);
            *reached.entry(format!("by {}", action.decision.rule)).or_default() += 1;
        }
    }
    let (isolate, release) = ("host.isolate", "host.release");
    for (what, state, least) in [
        (isolate, "suppressed", 100),
        (isolate, "awaiting_approval", 100),
        (isolate, "queued", 300),
        (isolate, "outcome_unknown", 30),
        (isolate, "succeeded", 100),
        (isolate, "failed", 10),
        (isolate, "cancelled", 10),
        (isolate, "rejected", 10),
        (isolate, "expired", 10),
        (release, "succeeded", 100),
        (release, "outcome_unknown", 10),
        (release, "no_op", 5),
        ("by", "drift", 10),
        ("by", "undo", 10),
        ("by", "ttl", 30),
        ("by", "holders", 10),
    ] {
        let times = reached.get(&format!("{what} {state}")).copied().unwrap_or_default();
        assert!(
            times >= least,
            "{what} {state}: {times} times, at least {least} were expected of {reached:#?}"
        );
    }
}

// Histories that went wrong once.

#[test]
fn a_command_whose_cancel_was_lost_is_not_sent_again() {
    use Fault as F;
    use Happening::{Incident, Pass, Work};
    World::live(vec![
        Incident { number: 0, hosts: 1 },
        Work(F::None),
        Work(F::None),
        Pass { s: 100_000 },
        Work(F::CrashAfter),
        Work(F::None),
        Work(F::Refused),
        Work(F::None),
    ]);
}

#[test]
fn one_incident_holds_once() {
    use Fault as F;
    use Happening::{Approve, Cancel, Incident, Merge, Pass, Undo, Work};
    World::live(vec![
        Incident { number: 2, hosts: 5 },
        Work(F::None),
        Work(F::None),
        Work(F::CrashAfter),
        Undo { nth: 71 },
        Work(F::None),
        Work(F::Unreachable),
        Incident { number: 0, hosts: 5 },
        Work(F::None),
        Incident { number: 2, hosts: 10 },
        Work(F::LostReply),
        Pass { s: 100_000 },
        Work(F::Unreachable),
        Cancel { nth: 79 },
        Work(F::Refused),
        Incident { number: 1, hosts: 5 },
        Incident { number: 3, hosts: 7 },
        Pass { s: 4_000 },
        Merge { from: 2, to: 3 },
        Incident { number: 2, hosts: 1 },
        Approve { nth: 248 },
    ]);
}

#[test]
fn a_release_in_doubt_is_not_forgotten() {
    use Fault as F;
    use Happening::{Approve, Close, Crash, Incident, Pass, Work};
    World::live(vec![
        Incident { number: 0, hosts: 11 },
        Work(F::Unreachable),
        Incident { number: 0, hosts: 1 },
        Incident { number: 2, hosts: 12 },
        Work(F::None),
        Work(F::None),
        Crash,
        Work(F::None),
        Incident { number: 1, hosts: 14 },
        Work(F::None),
        Close { number: 0 },
        Incident { number: 3, hosts: 5 },
        Crash,
        Incident { number: 2, hosts: 3 },
        Incident { number: 1, hosts: 6 },
        Pass { s: 100_000 },
        Pass { s: 4_000 },
        Pass { s: 1 },
        Close { number: 0 },
        Work(F::None),
        Approve { nth: 52 },
        Crash,
        Pass { s: 100_000 },
    ]);
}

#[test]
fn a_release_that_comes_late_leaves_a_reverted_effect_as_it_is() {
    use Fault as F;
    use Happening::{Approve, Close, Crash, Incident, Pass, Undo, Work};
    World::live(vec![
        Incident { number: 3, hosts: 14 },
        Work(F::None),
        Work(F::None),
        Work(F::None),
        Work(F::CrashAfter),
        Close { number: 3 },
        Work(F::Unreachable),
        Work(F::None),
        Incident { number: 2, hosts: 7 },
        Work(F::None),
        Pass { s: 4_000 },
        Approve { nth: 110 },
        Crash,
        Pass { s: 4_000 },
        Undo { nth: 195 },
    ]);
}

/// The host is isolated, somebody else releases it, and the engine has a look.
fn drift(world: &mut World) {
    assert!(world.provider.isolated.contains_key("ws-01"));
    world.happen(Happening::Drift { host: 0 });
    world.happen(Happening::Pass { s: 1_000 });
    world.settle();
    world.check();
}

#[test]
fn what_has_drifted_is_brought_back_twice_and_then_people_are_asked() {
    let mut world = World::new();
    world.happen(Happening::Incident { number: 0, hosts: 1 });
    world.settle();
    for _ in 0..2 {
        drift(&mut world);
        assert!(world.provider.isolated.contains_key("ws-01"), "it is brought back");
    }
    drift(&mut world);
    let effect = world.store.effects.values().next().unwrap().clone();
    assert_eq!(effect.state, EffectState::Drifted);
    let waits = |a: &&Action| a.state == event::ActionState::AwaitingApproval;
    let asked: Vec<Action> = world.store.actions.values().filter(waits).cloned().collect();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].decision.reasons.last().unwrap().contains("brought back 2 times"), "{asked:?}");
    world.happen(Happening::Pass { s: 3_600 });
    let approved = world.responder.approve(&asked[0].id, "ann", "", world.now).unwrap();
    world.persist(approved);
    world.settle();
    let effect = world.responder.effect(&effect.id).unwrap();
    assert_eq!((effect.state, effect.holders.len()), (EffectState::Active, 1));
    assert!(world.provider.isolated.contains_key("ws-01"));
    world.run_out();
}

#[test]
fn what_holds_again_has_drifted_no_more() {
    let mut world = World::new();
    world.policy.on_drift = OnDrift::Tell;
    world.crash();
    world.happen(Happening::Incident { number: 0, hosts: 1 });
    world.settle();
    let by = world.provider.isolated["ws-01"].clone();
    drift(&mut world);
    let state = |world: &World| world.store.effects.values().next().unwrap().state;
    assert_eq!((state(&world), world.store.actions.len()), (EffectState::Drifted, 1));
    world.provider.isolated.insert("ws-01".to_owned(), by);
    world.happen(Happening::Pass { s: 1_000 });
    world.settle();
    assert_eq!(state(&world), EffectState::Active);
    world.run_out();
}

#[test]
fn a_rehearsal_tells_what_comes_and_changes_nothing() {
    let mut world = World::new();
    world.happen(Happening::Incident { number: 0, hosts: 3 });
    world.settle();
    let (before, incident) = (world.store.actions.clone(), IncidentId::new("i-0"));
    let now = world.now;
    let would =
        world.responder.rehearse(&[incident.clone()].into(), |r| r.roll_back(&incident, "ann", "", now).0);
    assert_eq!(before, world.responder.actions().map(|a| (a.id.clone(), a.clone())).collect());
    let (did, left) = world.responder.roll_back(&incident, "ann", "", now);
    assert_eq!((would, left.len()), (did.clone(), 0));
    let releases = did.iter().filter(|change| change.action.verb == "host.release").count();
    assert_eq!((releases, world.provider.isolated.len()), (2, 2));
    world.persist(did);
    world.settle();
    assert_eq!(world.provider.isolated.len(), 0);
    let (again, left) = world.responder.roll_back(&incident, "ann", "", world.now);
    assert_eq!((again.len(), left.len()), (0, 0));
    world.run_out();
}

#[test]
fn the_author_of_a_rule_does_not_approve_what_is_dangerous() {
    let mut world = World::new();
    world.policy.automation = Automation::ApproveAll;
    let rule = RULE.replace("action: host.isolate\nttl: 2h", "author: Ann\naction: host.offboard");
    let (rules, report) = ResponseRules::load([("r.yml".to_owned(), rule)]);
    assert_eq!(report.rejected, []);
    world.responder = Responder::new(rules, world.policy.clone()).unwrap();
    world.happen(Happening::Incident { number: 0, hosts: 1 });
    let id = world.store.actions.keys().next().unwrap().clone();
    let refused = world.responder.approve(&id, "ann", "", world.now).unwrap_err().to_string();
    assert!(refused.contains("ann wrote the rule that asks for it"), "{refused}");
    assert_eq!(world.responder.approve(&id, "kim", "", world.now).unwrap().len(), 1);
}

#[test]
fn a_dead_provider_has_few_steps_under_way_and_nothing_is_lost() {
    const COMMANDS: usize = 10_000;
    let mut world = World::new();
    let caps = Caps { rule_per_hour_max: u32::MAX, tenant_per_hour_max: u32::MAX, concurrent_max: u32::MAX };
    world.policy = Policy { caps, ..world.policy };
    world.crash();
    for n in 0..COMMANDS / 100 {
        let names: Vec<String> = (0..100).map(|m| format!("ws-{n}-{m}")).collect();
        let alerts: Vec<_> = names
            .iter()
            .map(|h| alert(&format!("a-{h}"), "attack.execution", &[(Role::Device, h)]))
            .collect();
        let mut incident = incident(&alerts);
        incident.id = IncidentId::new(format!("i-{n}"));
        let Ok(changes) = world.responder.on_incident(&incident, || Ok::<_, Infallible>(alerts), world.now);
        world.persist(changes);
    }
    let open = |world: &World| world.responder.actions().filter(|a| !a.state.is_final()).count();
    assert_eq!(open(&world), COMMANDS);
    for _ in 0..3 {
        let steps: Vec<_> = std::iter::from_fn(|| world.responder.next_work(world.now)).collect();
        assert_eq!(steps.len(), 16, "the others wait their turn");
        for leased in steps {
            world.persist(leased.changes);
            let outcome = Err(ExecuteError::Retryable { message: "refused".into(), after_s: None });
            let report = Report { action: leased.work.request.action, fence: leased.work.fence, outcome };
            let changes = world.responder.report(report, world.now).unwrap();
            world.persist(changes);
        }
    }
    assert_eq!(open(&world), COMMANDS);
    assert_eq!(world.responder.counts().refused, 0);
}

#[test]
fn fences_rise_over_restarts() {
    let mut world = World::new();
    world.crash();
    world.happen(Happening::Incident { number: 0, hosts: 1 });
    let before = world.responder.next_work(world.now).unwrap();
    world.persist(before.changes);
    world.now = world.now.plus_micros(1);
    world.crash();
    world.happen(Happening::Pass { s: 30 });
    let after = world.responder.next_work(world.now).unwrap();
    assert!(after.work.fence > before.work.fence);
    let stale = Report {
        action: before.work.request.action,
        fence: before.work.fence,
        outcome: Err(ExecuteError::Terminal("late".into())),
    };
    assert!(world.responder.report(stale, world.now).is_err());
}
