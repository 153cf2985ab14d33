//! What is decided, held and told, without a provider.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use event::{
    Action, ActionId, ActionState, Alert, EntityType, Incident, IncidentId, IncidentStatus, Role, Time,
};

use crate::testing::{alert, incident};
use crate::*;

const NOW: Time = Time::from_secs(1_700_000_000);
const ISOLATE: &str = "id: isolate\ntitle: Isolate\nwhen: 'true'\ntarget: attacked_devices\naction: host.isolate\n\
                       args: {isolation_type: selective}\n";
const TELL: &str = "id: tell\ntitle: Tell\nwhen: 'true'\ntarget: attacked_devices\naction: notify.send\nargs: {channel: soc}\n";
const TICKET: &str = "id: ticket\ntitle: Ticket\nwhen: 'true'\ntarget: attacked_devices\naction: ticket.create\n\
                      args: {queue: SOC}\n";

fn responder(rule: &str, policy: Policy) -> Responder {
    let (rules, report) = ResponseRules::load([("r.yml".to_owned(), rule.to_owned())]);
    assert_eq!(report.rejected, []);
    Responder::new(rules, policy).unwrap()
}

fn full() -> Policy {
    Policy { automation: Automation::Full, ..Policy::default() }
}

/// One that isolates and releases, but not as the rule asks for it.
fn falcon() -> Capability {
    let mut falcon = Capability::whole("falcon", [Verb::HostIsolate, Verb::HostRelease]);
    let lacks = BTreeMap::from([("isolation_type".to_owned(), ["selective".to_owned()].into())]);
    falcon.verbs.insert(Verb::HostIsolate, Ability { lacks, ..Ability::default() });
    falcon
}

fn defender() -> Capability {
    Capability::whole("defender", [Verb::HostIsolate, Verb::HostRelease])
}

/// Chats with one channel.
fn chat(channel: &str) -> Capability {
    let only = BTreeMap::from([("channel".to_owned(), [channel.to_owned()].into())]);
    let ability = Ability { only, ..Ability::default() };
    Capability { provider: "chat".into(), verbs: BTreeMap::from([(Verb::NotifySend, ability)]) }
}

fn about(id: &str, hosts: &[&str]) -> (Incident, Vec<Alert>) {
    let alerts: Vec<Alert> =
        hosts.iter().map(|h| alert(&format!("{id}-{h}"), "attack.execution", &[(Role::Device, h)])).collect();
    (Incident { id: IncidentId::new(id), ..incident(&alerts) }, alerts)
}

fn see(responder: &mut Responder, id: &str, hosts: &[&str], now: Time) -> Vec<Action> {
    let (incident, alerts) = about(id, hosts);
    let Ok(changes) = responder.on_incident(&incident, || Ok::<_, Infallible>(alerts), now);
    changes.into_iter().map(|change| change.action).collect()
}

fn close(responder: &mut Responder, id: &str, hosts: &[&str], now: Time) -> Vec<Action> {
    let (incident, _) = about(id, hosts);
    let closed = Incident { status: IncidentStatus::Closed, ..incident };
    let Ok(changes) = responder.on_incident(&closed, || Ok::<_, Infallible>(Vec::new()), now);
    changes.into_iter().map(|change| change.action).collect()
}

fn only(actions: &[Action]) -> &Action {
    assert_eq!(actions.len(), 1, "{actions:#?}");
    &actions[0]
}

fn why(action: &Action) -> &str {
    action.decision.reasons.last().unwrap()
}

fn after_s(s: i64) -> Time {
    NOW.plus_micros(s * 1_000_000)
}

// What nobody here can do as it is asked for.

#[test]
fn what_no_connector_can_do_as_it_is_asked_for_is_left_to_a_person_and_nothing_is_sent() {
    let mut responder = responder(ISOLATE, full());
    responder.set_providers([falcon()]);
    let actions = see(&mut responder, "i-1", &["ws-01"], NOW);
    let action = only(&actions);
    assert_eq!(action.state, ActionState::AwaitingApproval);
    let lacks = "falcon cannot host.isolate with isolation_type selective";
    assert_eq!(why(action), format!("{lacks}: a person must"));
    assert_eq!(responder.next_work(NOW), None);
    let refused = responder.approve(&action.id, "ann", "", NOW).unwrap_err().to_string();
    assert!(refused.starts_with(lacks) && refused.contains("do it by hand"), "{refused}");
}

#[test]
fn the_first_connector_that_can_does_it() {
    let mut responder = responder(ISOLATE, full());
    responder.set_providers([falcon(), defender()]);
    assert_eq!(only(&see(&mut responder, "i-1", &["ws-01"], NOW)).state, ActionState::Queued);
}

#[test]
fn a_dry_run_says_what_could_not_have_been_done() {
    let mut responder = responder(ISOLATE, Policy { automation: Automation::AuditOnly, ..full() });
    responder.set_providers([falcon()]);
    let actions = see(&mut responder, "i-1", &["ws-01"], NOW);
    assert_eq!(only(&actions).state, ActionState::Simulated);
    let said = only(&actions).decision.reasons.iter().find_map(|reason| reason.strip_suffix(BY_HAND));
    assert_eq!(said, Some("falcon cannot host.isolate with isolation_type selective"));
}

#[test]
fn a_channel_that_nobody_has_is_found_out_before_anybody_is_told() {
    let mut responder = responder(TELL, full());
    responder.set_providers([chat("managers")]);
    let actions = see(&mut responder, "i-1", &["ws-01"], NOW);
    assert_eq!(why(only(&actions)), "chat cannot notify.send with channel soc: a person must");
}

#[test]
fn a_connector_says_to_what_it_does_a_verb() {
    let mut falcon = falcon();
    let ability = Ability { targets: [EntityType::File].into(), ..Ability::default() };
    falcon.verbs.insert(Verb::IndicatorBlock, ability);
    let lacks = |target| falcon.lacks(Verb::IndicatorBlock, target, &BTreeMap::new());
    assert_eq!(lacks(EntityType::File), None);
    assert_eq!(lacks(EntityType::Ip).as_deref(), Some("cannot indicator.block on ip"));
    let none = falcon.lacks(Verb::UserDisable, EntityType::User, &BTreeMap::new());
    assert_eq!(none.as_deref(), Some("cannot user.disable"));
}

// Kill switch of one connector.

#[test]
fn a_stopped_connector_does_nothing_new_and_still_takes_back() {
    let mut responder = responder(ISOLATE, full());
    responder.set_providers([defender(), chat("soc")]);
    see(&mut responder, "i-1", &["ws-01"], NOW);
    let now = settle(&mut responder, NOW);
    see(&mut responder, "i-2", &["ws-02"], now);
    let version = responder.policy().version();
    let entry = responder.stop_connector("defender", true, "ann", "wrong hosts", now).unwrap();
    let AuditRecord { kind, by, subject, text, .. } = entry.record;
    assert_eq!([kind, by, subject, text], ["kill_switch", "ann", "connector defender", "on: wrong hosts"]);
    assert_ne!(responder.policy().version(), version);
    assert_eq!(responder.next_work(now), None, "what was queued waits");
    let held = see(&mut responder, "i-3", &["ws-03"], now);
    assert_eq!(
        (only(&held).state, why(only(&held))),
        (ActionState::AwaitingApproval, "connector defender is stopped")
    );
    let refused = responder.approve(&held[0].id, "ann", "", now).unwrap_err().to_string();
    assert_eq!(refused, "connector defender is stopped");
    close(&mut responder, "i-1", &["ws-01"], now);
    let release = responder.next_work(now).expect("what holds is taken back").work;
    assert_eq!(
        (release.request.verb, release.stopped),
        (Verb::HostRelease, BTreeSet::from(["defender".into()]))
    );

    responder.stop_connector("defender", false, "ann", "", now).unwrap();
    let next = responder.next_work(now).expect("what waited goes on").work;
    assert_eq!(next.request.verb, Verb::HostIsolate);
}

#[test]
fn another_connector_is_not_stopped_with_it() {
    let mut responder = responder(TELL, full());
    responder.set_providers([defender(), chat("soc")]);
    responder.stop_connector("defender", true, "ann", "", NOW).unwrap();
    assert_eq!(only(&see(&mut responder, "i-1", &["ws-01"], NOW)).state, ActionState::Queued);
}

#[test]
fn a_connector_that_does_not_exist_cannot_be_stopped() {
    let mut responder = responder(ISOLATE, full());
    responder.set_providers([defender()]);
    let error = responder.stop_connector("defendr", true, "ann", "", NOW).unwrap_err().to_string();
    assert_eq!(error, "there is no connector \"defendr\"; known are defender");
}

/// Does what it is told, under a name.
struct Named(&'static str);

#[async_trait]
impl Executor for Named {
    fn capability(&self) -> Capability {
        Capability::whole(self.0, [Verb::HostIsolate, Verb::HostRelease])
    }

    async fn probe(&self, _request: &Request) -> Result<Probe, ExecuteError> {
        Ok(Probe { holds: false, by_us: None, under_way: None, evidence: self.0.into(), pre_image: None })
    }

    async fn execute(&self, _request: &Request) -> Result<String, ExecuteError> {
        Ok(self.0.to_owned())
    }

    async fn poll(&self, _request: &Request, _provider_ref: &str) -> Result<Progress, ExecuteError> {
        Ok(Progress::Done)
    }

    async fn cancel(&self, _request: &Request, _provider_ref: &str) -> Result<bool, ExecuteError> {
        Ok(false)
    }
}

#[tokio::test]
async fn a_worker_sends_nothing_new_through_a_stopped_connector() {
    let mut responder = responder(ISOLATE, full());
    see(&mut responder, "i-1", &["ws-01"], NOW);
    let mut work = responder.next_work(NOW).unwrap().work;
    work.stopped = BTreeSet::from(["edr".to_owned()]);
    let worker = Worker::new([Arc::new(Named("edr")) as Arc<dyn Executor>]);
    for (step, in_doubt, refused) in [
        (Step::Probe, false, true),
        (Step::Dispatch, false, true),
        (Step::Dispatch, true, true),
        // What may have been done must be found out, and what was asked for is followed to its end.
        (Step::Probe, true, false),
        (Step::Poll, true, false),
    ] {
        work.step = step;
        work.request.in_doubt = in_doubt;
        work.request.provider_ref = Some("1".into());
        let outcome = worker.perform(&work).await.outcome;
        let stopped = ExecuteError::Retryable { message: "connector edr is stopped".into(), after_s: None };
        assert_eq!(outcome == Err(stopped), refused, "{step:?} {in_doubt}: {outcome:?}");
    }
    work.step = Step::Dispatch;
    work.request.verb = Verb::HostRelease;
    assert!(worker.perform(&work).await.outcome.is_ok(), "what holds is taken back");
}

// Over a cap.

fn capped(page: &str) -> Policy {
    let caps = Caps { rule_per_hour_max: 3, tenant_per_hour_max: 4, concurrent_max: 50 };
    Policy { caps, page: page.into(), ..full() }
}

fn isolated(hosts: &[Action]) -> Vec<ActionState> {
    hosts.iter().filter(|a| a.verb == "host.isolate").map(|a| a.state).collect()
}

#[test]
fn over_a_cap_all_wait_and_not_only_the_last() {
    let mut responder = responder(ISOLATE, capped(""));
    let four = see(&mut responder, "i-1", &["ws-01", "ws-02", "ws-03", "ws-04"], NOW);
    assert_eq!(isolated(&four), [ActionState::AwaitingApproval; 4]);
    assert_eq!(why(&four[0]), "cap rule_per_hour_max is 3, 0 are used and 4 are asked for at once: all wait");
    let three = see(&mut responder, "i-2", &["ws-11", "ws-12", "ws-13"], NOW);
    assert_eq!(isolated(&three), [ActionState::Queued; 3], "as many as there is room for run");
    let one = see(&mut responder, "i-3", &["ws-21"], NOW);
    assert_eq!(why(&one[0]), "cap rule_per_hour_max is reached (3 of 3)");
}

#[test]
fn what_waits_for_another_reason_takes_no_room() {
    let mut responder = responder(ISOLATE, capped(""));
    // Servers count one class higher, and a person must.
    let actions = see(&mut responder, "i-1", &["srv1", "srv2", "srv3", "ws-01", "ws-02"], NOW);
    let queued = actions.iter().filter(|a| a.state == ActionState::Queued).count();
    assert_eq!((queued, actions.len()), (2, 5));
}

#[test]
fn people_are_told_once_for_each_cap_and_hour() {
    let mut responder = responder(ISOLATE, capped("soc"));
    responder.set_providers([defender(), chat("soc")]);
    let pages = |actions: &[Action]| -> Vec<Action> {
        actions.iter().filter(|a| a.decision.rule == "page").cloned().collect()
    };
    let first = see(&mut responder, "i-1", &["ws-01", "ws-02", "ws-03", "ws-04"], NOW);
    let page = only(&pages(&first)).clone();
    assert_eq!(
        (page.verb.as_str(), page.state, page.risk),
        ("notify.send", ActionState::Queued, event::RiskClass::R0)
    );
    assert_eq!(page.args, BTreeMap::from([("channel".to_owned(), "soc".to_owned())]));
    assert!(page.title.starts_with("Response held back: cap rule_per_hour_max is 3"), "{}", page.title);
    assert!(why(&page).contains(" is held back: cap rule_per_hour_max"), "{}", why(&page));
    assert_eq!(responder.counts().paged, 1);
    let work = responder.next_work(NOW).expect("it goes out").work;
    assert_eq!((work.request.verb, &work.request.title), (Verb::NotifySend, &page.title));

    let again = see(&mut responder, "i-2", &["ws-11", "ws-12", "ws-13", "ws-14"], after_s(60));
    assert_eq!((pages(&again).len(), again.len()), (0, 4), "it was told");
    let three = see(&mut responder, "i-3", &["ws-21", "ws-22", "ws-23"], after_s(61));
    assert_eq!(isolated(&three), [ActionState::Queued; 3], "a notice takes no room");
    let hour = see(&mut responder, "i-4", &["ws-31", "ws-32", "ws-33", "ws-34"], after_s(3_601));
    assert_eq!(pages(&hour).len(), 1, "another hour");
}

#[test]
fn a_page_is_not_repeated_after_a_restart_and_does_not_use_up_a_cap() {
    let mut before = responder(ISOLATE, capped("soc"));
    let told = see(&mut before, "i-1", &["ws-01", "ws-02", "ws-03", "ws-04"], NOW);
    assert_eq!(told.len(), 5);
    let mut after = responder(ISOLATE, capped("soc"));
    after.restore(
        before.actions().cloned().collect::<Vec<_>>(),
        Vec::new(),
        before.audit_head().clone(),
        NOW,
    );
    let again = see(&mut after, "i-2", &["ws-11", "ws-12", "ws-13", "ws-14"], after_s(1));
    assert_eq!(isolated(&again).len(), again.len(), "no second page");
    let three = see(&mut after, "i-3", &["ws-21", "ws-22", "ws-23"], after_s(2));
    assert_eq!(isolated(&three), [ActionState::Queued; 3]);
}

#[test]
fn a_page_that_nobody_can_send_is_on_record() {
    let mut responder = responder(ISOLATE, capped("soc"));
    responder.set_providers([defender()]);
    let actions = see(&mut responder, "i-1", &["ws-01", "ws-02", "ws-03", "ws-04"], NOW);
    let page = actions.iter().find(|a| a.decision.rule == "page").unwrap();
    assert_eq!(page.state, ActionState::Suppressed);
    assert_eq!(why(page), "nobody can be told: no configured provider can notify.send");
}

#[test]
fn a_page_does_not_stand_for_a_notice_of_a_rule() {
    let both = format!("{ISOLATE}---\n{TELL}");
    let mut responder = responder(&both, capped("soc"));
    responder.set_providers([defender(), chat("soc")]);
    let actions = see(&mut responder, "i-1", &["ws-01", "ws-02", "ws-03", "ws-04"], NOW);
    let told = |state| actions.iter().filter(|a| a.decision.rule == "tell" && a.state == state).count();
    assert_eq!((told(ActionState::Suppressed), told(ActionState::Queued)), (0, 3), "the first ones go out");
}

// Leases that go outside.

fn leased() -> (Responder, Work) {
    let mut responder = responder(ISOLATE, full());
    see(&mut responder, "i-1", &["ws-01"], NOW);
    let leased = responder.next_work_outside(NOW, Seal::of("token"), |_| true).unwrap();
    (responder, leased.work)
}

fn probed(work: &Work) -> Report {
    let probe =
        Probe { holds: false, by_us: None, under_way: None, evidence: String::new(), pre_image: None };
    Report { action: work.request.action.clone(), fence: work.fence, outcome: Ok(Reply::Probed(probe)) }
}

fn fault(outcome: Result<Vec<ActionChange>, RespondError>) -> CallbackFault {
    match outcome {
        Err(RespondError::Callback { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn whoever_has_the_token_keeps_the_lease_and_reports_once() {
    let (mut responder, work) = leased();
    let (id, seal) = (work.request.action.clone(), Seal::of("token"));
    let until = responder.heartbeat(&id, work.fence, seal, after_s(30)).unwrap();
    assert_eq!(until, after_s(90));
    assert!(!responder.report_outside(probed(&work), seal, after_s(89)).unwrap().is_empty());
    let before = responder.action(&id).cloned();
    let replayed = fault(responder.report_outside(probed(&work), seal, after_s(89)));
    assert_eq!(replayed, CallbackFault::Used);
    assert_eq!(responder.action(&id).cloned(), before, "a replay changes nothing");
    // The token of the next step is another one.
    responder.next_work_outside(after_s(89), Seal::of("another"), |_| true).unwrap();
    assert_eq!(fault(responder.report_outside(probed(&work), seal, after_s(89))), CallbackFault::Used);
}

#[test]
fn a_forged_token_changes_nothing_and_does_not_end_the_lease() {
    let (mut responder, work) = leased();
    let before = responder.action(&work.request.action).cloned();
    for forged in ["", "toke", "token ", "Token"] {
        let outcome = responder.report_outside(probed(&work), Seal::of(forged), NOW);
        assert_eq!(fault(outcome), CallbackFault::Forged);
        let kept = responder.heartbeat(&work.request.action, work.fence, Seal::of(forged), NOW);
        assert!(matches!(kept, Err(RespondError::Callback { fault: CallbackFault::Forged, .. })));
    }
    assert_eq!(responder.action(&work.request.action).cloned(), before);
    assert!(responder.report_outside(probed(&work), Seal::of("token"), NOW).is_ok());
}

#[test]
fn a_token_is_over_with_its_lease_whether_or_not_anybody_has_looked() {
    let (mut responder, work) = leased();
    let (late, seal) = (work.lease_until, Seal::of("token"));
    assert_eq!(fault(responder.report_outside(probed(&work), seal, late)), CallbackFault::Expired(late));
    responder.tick(late);
    assert_eq!(fault(responder.report_outside(probed(&work), seal, late)), CallbackFault::Expired(late));
    let (mut other, work) = leased();
    other.cancel(&work.request.action, "ann", "", after_s(1)).unwrap();
    let ended = fault(other.report_outside(probed(&work), seal, after_s(2)));
    assert_eq!(ended, CallbackFault::Expired(after_s(1)), "a person has ended it");
}

#[test]
fn after_a_restart_nothing_is_leased() {
    let (before, work) = leased();
    let mut after = responder(ISOLATE, full());
    let effects: Vec<_> = before.effects().cloned().collect();
    after.restore(before.actions().cloned().collect::<Vec<_>>(), effects, before.audit_head().clone(), NOW);
    let outcome = after.report_outside(probed(&work), Seal::of("token"), NOW);
    assert_eq!(fault(outcome), CallbackFault::NoLease);
}

#[test]
fn a_right_token_with_another_fence_is_stale() {
    let (mut responder, work) = leased();
    let report = Report { fence: work.fence + 1, ..probed(&work) };
    let error = responder.report_outside(report, Seal::of("token"), NOW).unwrap_err();
    assert!(matches!(error, RespondError::StaleReport { .. }), "{error}");
}

#[test]
fn nobody_outside_reports_on_a_step_of_our_own_nor_the_other_way_round() {
    let mut ours = responder(ISOLATE, full());
    see(&mut ours, "i-1", &["ws-01"], NOW);
    let work = ours.next_work(NOW).unwrap().work;
    assert_eq!(fault(ours.report_outside(probed(&work), Seal::of(""), NOW)), CallbackFault::Forged);
    assert!(ours.report(probed(&work), NOW).is_ok());
    let (mut outside, work) = leased();
    assert!(matches!(outside.report(probed(&work), NOW), Err(RespondError::StaleReport { .. })));
    assert!(outside.report_outside(probed(&work), Seal::of("token"), NOW).is_ok());
}

#[test]
fn a_token_is_nowhere_but_with_whom_it_was_given_to() {
    let (mut responder, work) = leased();
    let error = responder.report_outside(probed(&work), Seal::of("forged"), NOW).unwrap_err();
    let changes = responder.report_outside(probed(&work), Seal::of("token"), NOW).unwrap();
    let shown = format!("{responder:?} {work:?} {changes:?} {error} {error:?}");
    assert!(!shown.contains("\"token\"") && !shown.contains(blake3::hash(b"token").to_hex().as_str()));
}

// Tickets.

fn desk() -> Capability {
    Capability::whole("desk", [Verb::TicketCreate, Verb::TicketClose])
}

/// Lets everything that waits for a worker be done as a provider does that says yes to all but one verb.
fn drive(responder: &mut Responder, now: Time, refuses: Option<Verb>) {
    while let Some(Leased { work, .. }) = responder.next_work(now) {
        let holds = work.request.attempts > 0 && work.request.verb.applies();
        let probe = Probe { holds, by_us: None, under_way: None, evidence: "seen".into(), pre_image: None };
        let outcome = match work.step {
            Step::Dispatch if Some(work.request.verb) == refuses => {
                Err(ExecuteError::Terminal("refused".into()))
            }
            Step::Dispatch => Ok(Reply::Accepted { provider_ref: "1".into() }),
            Step::Poll => Ok(Reply::Progress(Progress::Done)),
            Step::Cancel => Ok(Reply::Cancelled { in_time: true }),
            Step::Probe | Step::Verify => Ok(Reply::Probed(probe)),
        };
        let report = Report { action: work.request.action, fence: work.fence, outcome };
        responder.report(report, now).unwrap();
        responder.tick(now);
    }
}

/// Lets time pass until nothing waits any more.
fn settle(responder: &mut Responder, from: Time) -> Time {
    let at = |n: i64| from.plus_micros(n * 10_000_000);
    (0..20).for_each(|n| drive(responder, at(n), None));
    at(20)
}

fn of_verb<'a>(responder: &'a Responder, verb: &'a str) -> Vec<&'a Action> {
    responder.actions().filter(|a| a.verb == verb).collect()
}

#[test]
fn a_ticket_is_closed_once_when_its_incident_is() {
    let mut responder = responder(TICKET, full());
    responder.set_providers([desk()]);
    see(&mut responder, "i-1", &["ws-01"], NOW);
    let now = settle(&mut responder, NOW);
    let opened = of_verb(&responder, "ticket.create")[0].clone();
    assert_eq!((opened.state, responder.effects().count()), (ActionState::Succeeded, 0));
    let actions = close(&mut responder, "i-1", &["ws-01"], now);
    let closing = only(&actions);
    assert_eq!((closing.verb.as_str(), closing.state), ("ticket.close", ActionState::Queued));
    assert_eq!(closing.args["ticket"], opened.id.as_str());
    assert_eq!(close(&mut responder, "i-1", &["ws-01"], now), [], "once");
    let now = settle(&mut responder, now);
    assert_eq!(of_verb(&responder, "ticket.close")[0].state, ActionState::Succeeded);
    let refused = responder.undo(&opened.id, "ann", "", now).unwrap_err().to_string();
    assert!(refused.contains("closes what it opened"), "{refused}");
    let (changes, left) = responder.roll_back(&IncidentId::new("i-1"), "ann", "", now);
    assert_eq!((changes.len(), left.len()), (0, 0), "there is nothing left to take back");
}

#[test]
fn a_ticket_can_be_closed_by_undo_and_by_roll_back() {
    let mut responder = responder(TICKET, full());
    responder.set_providers([desk()]);
    see(&mut responder, "i-1", &["ws-01", "ws-02"], NOW);
    let now = settle(&mut responder, NOW);
    let first = of_verb(&responder, "ticket.create")[0].id.clone();
    let changes = responder.undo(&first, "ann", "a mistake", now).unwrap();
    assert_eq!(changes[0].audit.record.by, "ann");
    assert_eq!(changes[0].action.decision.reasons[0], "undone by ann: a mistake");
    let (changes, left) = responder.roll_back(&IncidentId::new("i-1"), "ann", "", now);
    assert_eq!((changes.len(), left.len()), (1, 0), "the other one");
}

#[test]
fn a_ticket_that_is_not_opened_yet_is_not_opened_and_one_on_the_wire_is_closed_after() {
    let mut waiting = responder(TICKET, full());
    waiting.set_providers([desk()]);
    see(&mut waiting, "i-1", &["ws-01"], NOW);
    let ended = close(&mut waiting, "i-1", &["ws-01"], NOW);
    assert_eq!(only(&ended).state, ActionState::Cancelled);

    let mut sent = responder(TICKET, full());
    sent.set_providers([desk()]);
    see(&mut sent, "i-1", &["ws-01"], NOW);
    let probe = sent.next_work(NOW).unwrap().work;
    sent.report(probed(&probe), NOW).unwrap();
    let dispatch = sent.next_work(NOW).unwrap().work;
    assert_eq!(dispatch.step, Step::Dispatch);
    close(&mut sent, "i-1", &["ws-01"], NOW);
    assert_eq!(sent.next_work(NOW), None, "nothing is closed that is still being opened");
    let outcome = Ok(Reply::Accepted { provider_ref: "INC1".into() });
    sent.report(Report { action: dispatch.request.action, fence: dispatch.fence, outcome }, NOW).unwrap();
    settle(&mut sent, NOW);
    let states = |verb| of_verb(&sent, verb).iter().map(|a| a.state).collect::<Vec<_>>();
    assert_eq!(
        (states("ticket.create"), states("ticket.close")),
        (vec![ActionState::Succeeded], vec![ActionState::Succeeded])
    );
}

#[test]
fn a_ticket_that_nobody_can_close_is_told() {
    let mut responder = responder(TICKET, full());
    responder.set_providers([Capability::whole("desk", [Verb::TicketCreate])]);
    see(&mut responder, "i-1", &["ws-01"], NOW);
    let now = settle(&mut responder, NOW);
    let actions = close(&mut responder, "i-1", &["ws-01"], now);
    assert_eq!(only(&actions).state, ActionState::Suppressed);
    assert_eq!(why(only(&actions)), "no configured provider can ticket.close: close it by hand");
}

// Several decisions at once.

#[test]
fn a_rehearsal_of_several_decisions_counts_each_against_the_caps() {
    let policy = Policy { automation: Automation::ApproveAll, ..capped("") };
    let mut responder = responder(ISOLATE, policy);
    let mut ids: Vec<ActionId> = Vec::new();
    for (n, hosts) in [["ws-01", "ws-02"], ["ws-03", "ws-04"]].iter().enumerate() {
        ids.extend(see(&mut responder, &format!("i-{n}"), hosts, NOW).into_iter().map(|a| a.id));
    }
    let incidents = ["i-0", "i-1"].map(IncidentId::new).into();
    let say = |responder: &mut Responder| -> Vec<String> {
        let each = ids.iter().map(|id| responder.approve(id, "ann", "", NOW));
        each.map(|outcome| outcome.map_or_else(|e| e.to_string(), |_| "queued".to_owned())).collect()
    };
    let would = responder.rehearse(&incidents, say);
    assert_eq!(would, ["queued", "queued", "queued", "cap rule_per_hour_max is reached (3 of 3)"]);
    assert!(responder.actions().all(|a| a.state == ActionState::AwaitingApproval), "nothing was decided");
    assert_eq!(say(&mut responder), would, "and so it comes");
}

// Approvals that come too late.

#[test]
fn an_approval_that_comes_too_late_is_refused_and_nothing_is_sent() {
    let approval_within_of = BTreeMap::from([(event::RiskClass::R2, Span::from_hours(4))]);
    let policy = Policy { automation: Automation::ApproveAll, approval_within_of, ..Policy::default() };
    let mut responder = responder(ISOLATE, policy);
    let id = only(&see(&mut responder, "i-1", &["ws-01"], NOW)).id.clone();
    let at = after_s(4 * 3_600);
    // Whether or not anybody has looked at the time since.
    let refused = responder.approve(&id, "ann", "", at).unwrap_err().to_string();
    assert!(refused.contains("its approval has lapsed"), "{refused}");
    responder.tick(at);
    let action = responder.action(&id).unwrap();
    assert_eq!(
        (action.state, action.history.last().unwrap().note.as_str()),
        (ActionState::Expired, "nobody decided in time")
    );
    let refused = responder.approve(&id, "ann", "", at).unwrap_err().to_string();
    assert!(refused.contains("it does not wait for approval"), "{refused}");
    assert_eq!(responder.next_work(at), None);
    let waits_a_week =
        only(&see(&mut self::responder(ISOLATE, Policy::default()), "i-1", &["ws-01"], NOW)).expires_at;
    assert_eq!(waits_a_week, after_s(7 * 86_400));
}

// Executors that lie.

/// Answers each step with what `lie` gives for it, until nothing happens any more; what becomes of the isolation.
fn lied_to(lie: fn(Step) -> Result<Reply, ExecuteError>) -> (Action, Responder) {
    let mut responder = responder(ISOLATE, full());
    see(&mut responder, "i-1", &["ws-01"], NOW);
    for n in 0..500 {
        let now = after_s(n * 30);
        responder.tick(now);
        while let Some(Leased { work, .. }) = responder.next_work(now) {
            let release = work.request.verb == Verb::HostRelease;
            let probe = Probe {
                holds: false,
                by_us: None,
                under_way: None,
                evidence: "not isolated".into(),
                pre_image: None,
            };
            let outcome = if release { Ok(Reply::Probed(probe)) } else { lie(work.step) };
            let report = Report { action: work.request.action, fence: work.fence, outcome };
            responder.report(report, now).unwrap();
        }
    }
    let action = of_verb(&responder, "host.isolate")[0].clone();
    (action, responder)
}

fn is_isolated(holds: bool) -> Reply {
    let evidence = if holds { "isolated" } else { "not isolated" };
    Reply::Probed(Probe { holds, by_us: None, under_way: None, evidence: evidence.into(), pre_image: None })
}

#[test]
fn what_a_provider_calls_done_is_not_done_where_the_target_says_otherwise() {
    let (action, responder) = lied_to(|step| match step {
        Step::Probe | Step::Verify => Ok(is_isolated(false)),
        Step::Dispatch => Ok(Reply::Accepted { provider_ref: "1".into() }),
        Step::Poll => Ok(Reply::Progress(Progress::Done)),
        Step::Cancel => Ok(Reply::Cancelled { in_time: true }),
    });
    assert_eq!((action.state, action.attempts), (ActionState::Failed, 1));
    let note = &action.history.last().unwrap().note;
    assert_eq!(note, "the provider said done, the target says otherwise: not isolated");
    assert!(responder.effects().all(|e| e.holders.is_empty() && e.state == event::EffectState::Absent));
}

#[test]
fn an_answer_to_another_question_is_no_answer() {
    let (action, responder) = lied_to(|step| match step {
        Step::Probe => Ok(is_isolated(false)),
        // It says how far a request is that it was never given.
        _ => Ok(Reply::Progress(Progress::Done)),
    });
    assert_ne!(action.state, ActionState::Succeeded);
    assert!(
        action.history.iter().any(|t| t.to == ActionState::OutcomeUnknown && t.note.contains("out of turn"))
    );
    assert_eq!(responder.counts().bugs, 0);
    let held = responder.effects().filter(|e| !e.holders.is_empty()).count();
    assert!(action.state.is_final() && held == 0, "{action:?}");
}

#[test]
fn a_provider_that_takes_everything_and_does_nothing_is_given_up() {
    let (action, _) = lied_to(|step| match step {
        Step::Probe | Step::Verify => Ok(is_isolated(false)),
        Step::Dispatch => Err(ExecuteError::OutcomeUnknown("no answer".into())),
        _ => Err(ExecuteError::Terminal("no such request".into())),
    });
    assert_eq!((action.state, action.attempts), (ActionState::Failed, 8));
    assert_eq!(action.history.last().unwrap().note, "sent often enough without effect");
}

// Tickets of incidents that go on.

fn whole_desk() -> Capability {
    Capability::whole("desk", [Verb::TicketCreate, Verb::TicketClose, Verb::TicketReopen])
}

fn states(responder: &Responder, verb: &str) -> Vec<ActionState> {
    let mut found = of_verb(responder, verb);
    found.sort_by_key(|a| a.created_at);
    found.iter().map(|a| a.state).collect()
}

/// A responder whose incident has a ticket, which was closed with it.
fn closed() -> (Responder, Time) {
    let mut responder = responder(TICKET, full());
    responder.set_providers([whole_desk()]);
    see(&mut responder, "i-1", &["ws-01"], NOW);
    let now = settle(&mut responder, NOW);
    close(&mut responder, "i-1", &["ws-01"], now);
    let now = settle(&mut responder, now);
    (responder, now)
}

#[test]
fn a_ticket_follows_its_incident_however_often_it_is_closed_and_reopened() {
    use ActionState::Succeeded;
    let (mut responder, mut now) = closed();
    for round in 1..4 {
        let opened = see(&mut responder, "i-1", &["ws-01"], now);
        assert_eq!(
            (only(&opened).verb.as_str(), only(&opened).state),
            ("ticket.reopen", ActionState::Queued)
        );
        assert_eq!(only(&opened).args["ticket"], of_verb(&responder, "ticket.create")[0].id.as_str());
        assert_eq!(see(&mut responder, "i-1", &["ws-01"], now), [], "once");
        now = settle(&mut responder, now);
        assert_eq!(see(&mut responder, "i-1", &["ws-01"], now), [], "it is open");
        close(&mut responder, "i-1", &["ws-01"], now);
        now = settle(&mut responder, now);
        assert_eq!(close(&mut responder, "i-1", &["ws-01"], now), [], "it is closed");
        assert_eq!(states(&responder, "ticket.reopen"), vec![Succeeded; round]);
        assert_eq!(states(&responder, "ticket.close"), vec![Succeeded; round + 1]);
    }
    assert_eq!(states(&responder, "ticket.create"), [Succeeded]);
}

#[test]
fn what_was_not_sent_yet_is_taken_back_and_nothing_is_sent() {
    let mut responder = responder(TICKET, full());
    responder.set_providers([whole_desk()]);
    see(&mut responder, "i-1", &["ws-01"], NOW);
    let now = settle(&mut responder, NOW);
    close(&mut responder, "i-1", &["ws-01"], now);
    let reopened = see(&mut responder, "i-1", &["ws-01"], now);
    assert_eq!(
        (only(&reopened).verb.as_str(), only(&reopened).state),
        ("ticket.close", ActionState::Cancelled)
    );
    assert_eq!(see(&mut responder, "i-1", &["ws-01"], now), []);
    close(&mut responder, "i-1", &["ws-01"], now);
    let now = settle(&mut responder, now);
    assert_eq!(states(&responder, "ticket.close"), [ActionState::Cancelled, ActionState::Succeeded]);

    see(&mut responder, "i-1", &["ws-01"], now);
    let closed = close(&mut responder, "i-1", &["ws-01"], now);
    assert_eq!((only(&closed).verb.as_str(), only(&closed).state), ("ticket.reopen", ActionState::Cancelled));
    let now = settle(&mut responder, now);
    assert_eq!(states(&responder, "ticket.close").len(), 2, "it was never opened again");
    see(&mut responder, "i-1", &["ws-01"], now);
    settle(&mut responder, now);
    assert_eq!(states(&responder, "ticket.reopen"), [ActionState::Cancelled, ActionState::Succeeded]);
}

#[test]
fn a_ticket_that_was_not_opened_in_time_is_opened_when_its_incident_goes_on() {
    let mut responder = responder(TICKET, full());
    responder.set_providers([whole_desk()]);
    see(&mut responder, "i-1", &["ws-01"], NOW);
    close(&mut responder, "i-1", &["ws-01"], NOW);
    see(&mut responder, "i-1", &["ws-01"], after_s(1));
    see(&mut responder, "i-1", &["ws-01"], after_s(2));
    let now = settle(&mut responder, after_s(3));
    assert_eq!(states(&responder, "ticket.create"), [ActionState::Cancelled, ActionState::Succeeded]);
    close(&mut responder, "i-1", &["ws-01"], now);
    settle(&mut responder, now);
    assert_eq!(states(&responder, "ticket.close"), [ActionState::Succeeded]);
}

#[test]
fn a_ticket_that_cannot_be_opened_again_is_followed_by_one_that_names_it() {
    use ActionState::{Failed, Succeeded, Suppressed};
    for (desk, state) in [(whole_desk(), Failed), (desk(), Suppressed)] {
        let (mut responder, now) = closed();
        responder.set_providers([desk]);
        see(&mut responder, "i-1", &["ws-01"], now);
        let at = |n: i64| now.plus_micros(n * 10_000_000);
        (0..20).for_each(|n| drive(&mut responder, at(n), Some(Verb::TicketReopen)));
        let now = at(20);
        assert_eq!(
            (states(&responder, "ticket.reopen"), states(&responder, "ticket.create")),
            (vec![state], vec![Succeeded; 2])
        );
        let follow_up =
            responder.actions().find(|a| a.decision.rule == "reopen" && a.verb == "ticket.create");
        let follow_up = follow_up.unwrap().clone();
        assert!(follow_up.title.starts_with("Follow-up of 1: "), "{}", follow_up.title);
        assert_eq!(see(&mut responder, "i-1", &["ws-01"], now), [], "one is enough");

        responder.set_providers([whole_desk()]);
        close(&mut responder, "i-1", &["ws-01"], now);
        let now = settle(&mut responder, now);
        see(&mut responder, "i-1", &["ws-01"], now);
        settle(&mut responder, now);
        let reopened = of_verb(&responder, "ticket.reopen");
        let of_follow_up = reopened.iter().filter(|a| a.args["ticket"] == follow_up.id.as_str()).count();
        assert_eq!((reopened.len(), of_follow_up), (2, 1), "the old one stays closed");
        assert_eq!(states(&responder, "ticket.create"), [Succeeded; 2]);
    }
}

#[test]
fn a_ticket_that_people_closed_by_undo_stays_closed() {
    let mut responder = responder(TICKET, full());
    responder.set_providers([whole_desk()]);
    see(&mut responder, "i-1", &["ws-01"], NOW);
    let now = settle(&mut responder, NOW);
    let opened = of_verb(&responder, "ticket.create")[0].id.clone();
    responder.undo(&opened, "ann", "a mistake", now).unwrap();
    let now = settle(&mut responder, now);
    assert_eq!(see(&mut responder, "i-1", &["ws-01"], now), []);
}

// What only people can take back.

/// Quarantines, and has no way to put anything back.
fn one_way() -> Capability {
    Capability::whole("defender", [Verb::HostIsolate])
}

#[test]
fn what_nobody_here_can_take_back_needs_a_person_who_is_told_so() {
    let mut responder = responder(ISOLATE, full());
    responder.set_providers([one_way()]);
    let actions = see(&mut responder, "i-1", &["ws-01"], NOW);
    let action = only(&actions);
    assert_eq!(action.state, ActionState::AwaitingApproval);
    assert_eq!(why(action), "what nobody here can take back needs a person");
    let gap = "defender cannot host.release: take it back by hand";
    assert!(action.decision.reasons.iter().any(|reason| reason == gap), "{:?}", action.decision.reasons);
}

#[test]
fn what_nobody_here_can_take_back_is_left_to_people_once_and_tried_again_when_somebody_can() {
    let mut responder = responder(ISOLATE, Policy { page: "soc".into(), ..full() });
    responder.set_providers([one_way(), chat("soc")]);
    let id = only(&see(&mut responder, "i-1", &["ws-01"], NOW)).id.clone();
    responder.approve(&id, "ann", "", NOW).unwrap();
    let now = settle(&mut responder, NOW);
    let left = close(&mut responder, "i-1", &["ws-01"], now);
    let release = left.iter().find(|a| a.verb == "host.release").unwrap();
    assert_eq!(release.state, ActionState::Suppressed);
    assert_eq!(why(release), "no configured provider can host.release: take it back by hand");
    let effect = |responder: &Responder| responder.effects().next().unwrap().state;
    assert_eq!(effect(&responder), event::EffectState::RevertFailed);
    let page = left.iter().find(|a| a.decision.rule == "page").unwrap();
    assert_eq!(page.title, "Not taken back: host.release on ws-01");
    for n in 1..20 {
        responder.tick(now.plus_micros(n * 1_000_000_000));
    }
    assert_eq!(of_verb(&responder, "host.release").len(), 1, "it is not tried in vain");
    responder.set_providers([defender(), chat("soc")]);
    let now = now.plus_micros(20_000_000_000);
    responder.tick(now);
    assert_eq!(of_verb(&responder, "host.release").len(), 2);
}

#[test]
fn a_page_follows_another_one_after_an_hour_and_not_before() {
    let pages = |responder: &Responder| responder.actions().filter(|a| a.decision.rule == "page").count();
    // A minute before the clock strikes the hour, and after.
    let before = Time::from_secs(1_700_000_000 - 1_700_000_000 % 3_600 + 3_540);
    let mut responder = responder(ISOLATE, capped("soc"));
    for (n, s, expected) in
        [(1, 0, 1), (2, 120, 1), (3, 3_599, 1), (4, 3_600, 2), (5, 7_199, 2), (6, 7_200, 3)]
    {
        let hosts: Vec<String> = (0..4).map(|host| format!("ws-{n}-{host}")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        see(&mut responder, &format!("i-{n}"), &hosts, before.plus_micros(s * 1_000_000));
        assert_eq!(pages(&responder), expected, "after {s} s");
    }
}
