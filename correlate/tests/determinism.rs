//! Guarantees: sealed incidents depend on what arrived, not on the order, the batches, the duplicates or the
//! restarts in which it arrived.

#![allow(clippy::unwrap_used)] // A panic is how a test's helper fails.

mod support;

use correlate::{AnalystInput, Correlator, Parameters, Said};
use event::{
    Alert, EventBatch, IncidentDelta, IncidentStatus, RelationChange, Shelf, Tactic, TenantId, Watermark,
};
use proptest::prelude::*;
use support::{With, alert, at, batch, correlator, event, groups, watermark};

/// Something that arrives.
#[derive(Debug, Clone)]
enum Input {
    Alert(Box<Alert>),
    Rows(EventBatch),
}

impl Input {
    fn time(&self) -> i64 {
        match self {
            Input::Alert(alert) => alert.time.0,
            Input::Rows(rows) => rows.time(0).0,
        }
    }
}

/// Seconds by which anything may be late.
const LATENESS: i64 = 600;

fn an_alert(n: usize) -> impl Strategy<Value = Input> {
    let entities = (0..5_u32, 0..4_u32, 0..6_u32, 0..3_u32, 0..12_u32);
    (entities, 0..7_200_i64, 0..6_u32, 0..5_usize, 0..900_i64).prop_map(
        move |((host, user, process, ip, mask), s, rule, stage, span)| {
            let user_text = [
                format!("user:u{user}@corp.example"),
                format!("user:corp\\u{user}"),
                format!("user:s-1-5-21-1-1-1-{user}"),
            ];
            let host_text = [format!("device:h{host}.corp.example"), format!("device:h{host}")];
            let mut entities = vec![host_text[mask as usize % 2].clone()];
            if mask > 2 {
                entities.push(user_text[mask as usize % 3].clone());
            }
            if mask > 5 {
                entities.push(format!("process:h{host}/p{process}"));
            }
            if mask > 8 {
                entities.push(format!("ip:203.0.113.{ip}"));
            }
            if mask > 9 {
                entities.push(format!("url:https://c{ip}.example/x"));
            }
            let texts: Vec<&str> = entities.iter().map(String::as_str).collect();
            let mut alert =
                alert(&format!("a{n:03}"), &format!("rule {rule}"), s, &texts).tactic(Tactic::ALL[2 + stage]);
            alert.end_time = at(s + span % 300);
            Input::Alert(Box::new(alert))
        },
    )
}

/// An alert of few that share its device, and of a few more that share its user, rule or process.
fn a_scattered_alert(n: usize) -> impl Strategy<Value = Alert> {
    (0..12_u32, 0..20_u32, 0..8_u32, 0..3_600_i64, 0..4_u32).prop_map(
        move |(host, user, process, s, mask)| {
            let mut entities =
                vec![format!("device:h{host}.corp.example"), format!("user:u{user}@corp.example")];
            if mask > 0 {
                entities.push(format!("process:h{host}/p{process}"));
            }
            if mask > 1 {
                entities.push(format!("ip:203.0.113.{process}"));
            }
            let texts: Vec<&str> = entities.iter().map(String::as_str).collect();
            alert(&format!("s{n:03}"), &format!("rule {}", user % 7), s, &texts)
        },
    )
}

fn some_rows() -> impl Strategy<Value = Input> {
    (0..5_u32, 0..4_u32, 0..6_u32, 0..6_u32, 0..7_200_i64, any::<bool>()).prop_map(
        |(host, user, process, parent, s, with_sid)| {
            let (hostname, account) = (format!("h{host}.corp.example"), format!("corp\\u{user}"));
            let other =
                if with_sid { format!("s-1-5-21-1-1-1-{user}") } else { format!("u{user}@corp.example") };
            let column = if with_sid { "actor_user_sid" } else { "actor_user_email" };
            let (child, parent) = (format!("h{host}/p{process}"), format!("h{host}/p{parent}"));
            Input::Rows(batch(
                "process_activity",
                &[(
                    s,
                    &[
                        ("device_hostname", &hostname),
                        ("actor_user_account", &account),
                        (column, &other),
                        ("device_ip", &format!("203.0.113.{}", host % 3)),
                        ("process_uid", &child),
                        ("process_parent_uid", &parent),
                        ("process_file_path", "C:\\x\\tool.exe"),
                    ],
                )],
            ))
        },
    )
}

/// Events that joins look at, of few users, hosts and sites, so that many meet.
const EVENTS: i64 = 24;

/// Event number `n`: a click, a visit, a download, a start, a remote logon, a sign-in.
fn an_event(n: i64) -> impl Strategy<Value = Input> {
    (0..6_u32, 0..2_u32, 0..2_u32, 0..2_u32, 0..900_i64, any::<bool>()).prop_map(
        move |(kind, user, host, site, s, by_account)| {
            let (address, account) = (format!("u{user}@corp.example"), format!("corp\\u{user}"));
            let who =
                if by_account { ("actor_user_account", &*account) } else { ("actor_user_email", &*address) };
            let device = ("device_hostname", &*format!("h{host}.corp.example"));
            let (domain, path) = (format!("s{site}.example"), format!("C:\\x\\t{site}.exe"));
            let (browser, program) = (format!("h{host}/b{user}"), format!("h{host}/t{site}"));
            let ip = ("src_endpoint_ip", &*format!("203.0.113.{site}"));
            let by = [device, who, ("actor_process_name", "chrome.exe"), ("actor_process_uid", &*browser)];
            let (class, columns): (_, Vec<(&str, &str)>) = match kind {
                0 => ("email_url_activity", vec![who, ("url_domain", &domain), ("message_uid", "m-1")]),
                1 => ("network_activity", [&by[..], &[("dst_endpoint_hostname", &domain), ip]].concat()),
                2 => ("file_activity", [&by[..], &[("file_path", &path)]].concat()),
                3 => (
                    "process_activity",
                    vec![
                        device,
                        who,
                        ("process_uid", &program),
                        ("process_file_path", &path),
                        ("process_session_uid", "0x77"),
                    ],
                ),
                4 => (
                    "authentication",
                    vec![device, ("logon_id", "119"), ("logon_type_id", "3"), ("status_id", "1"), ip],
                ),
                _ => ("authentication", vec![who, ip, ("session_uid", "session-1"), ("risk_level", "high")]),
            };
            Input::Rows(event(class, n, s, &columns))
        },
    )
}

/// An alert on one of the events, or on what came of it, that shares little with others.
fn an_alert_on_events(n: usize) -> impl Strategy<Value = Input> {
    (0..EVENTS, 0..1_200_i64, 0..4_u32, 0..2_u32).prop_map(move |(offset, s, about, host)| {
        let entity = match about {
            0 | 1 => format!("app:app-{n}"),
            2 => format!("process:h{host}/t{}", n % 2),
            _ => "message:m-1".to_owned(),
        };
        Input::Alert(Box::new(alert(&format!("e{n:03}"), &format!("on {n}"), s, &[&entity]).on(offset)))
    })
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let alerts: Vec<_> = (0..40).map(an_alert).collect();
    let on_events: Vec<_> = (0..16).map(an_alert_on_events).collect();
    let events: Vec<_> = (0..EVENTS).map(an_event).collect();
    let rows = proptest::collection::vec(some_rows(), 0..30);
    (alerts, rows, events, on_events).prop_map(|(mut all, rows, events, on_events)| {
        all.extend(rows);
        all.extend(events);
        all.extend(on_events);
        all
    })
}

#[test]
fn events_join_in_these_worlds() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reasons = 0;
    for _ in 0..8 {
        let all = inputs().new_tree(&mut runner).unwrap().current();
        reasons += reference(&all).matches("\"event_join\"").count();
    }
    assert!(reasons > 20, "{reasons}: the tests of order would say nothing about joins");
}

/// An order of arrival in which nothing is later than the allowed lateness, with some alerts twice.
fn arrivals(all: Vec<Input>) -> impl Strategy<Value = Vec<Input>> {
    let n = all.len();
    (
        Just(all),
        proptest::collection::vec(0..LATENESS * 1_000_000, n),
        proptest::collection::vec(any::<bool>(), n),
    )
        .prop_map(|(all, delays, twice)| {
            let mut order: Vec<(i64, Input)> = Vec::new();
            for ((input, delay), twice) in all.into_iter().zip(delays).zip(twice) {
                if twice {
                    order.push((input.time() + delay / 2, input.clone()));
                }
                order.push((input.time() + delay, input));
            }
            order.sort_by_key(|(arrival, _)| *arrival);
            order.into_iter().map(|(_, input)| input).collect()
        })
}

/// What an analyst does, with numbers that choose incidents and alerts.
#[derive(Debug, Clone, Copy)]
struct Deed {
    what: u8,
    one: usize,
    other: usize,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = (0..10_u8, any::<usize>(), any::<usize>());
    proptest::collection::vec(deed.prop_map(|(what, one, other)| Deed { what, one, other }), 0..8)
}

impl Deed {
    fn said(self, correlator: &Correlator, before: &[AnalystInput]) -> Option<Said> {
        let incidents = correlator.incidents(&TenantId::default());
        let (one, other) = (&incidents[self.one % incidents.len()], &incidents[self.other % incidents.len()]);
        let (incident, to) = (one.id.clone(), other.id.clone());
        let last = || vec![one.alerts[one.alerts.len() - 1].clone()];
        let first = || vec![one.alerts[0].clone()];
        let name = || Some(format!("n{}", self.other % 2));
        Some(match self.what {
            0 => Said::Assign { incident, assignee: name() },
            1 => Said::SetStatus { incident, status: IncidentStatus::Closed },
            2 => Said::Classify { incident, classification: name() },
            3 => Said::Merge { into: incident, from: to },
            4 => Said::Split { incident, leaving: last() },
            5 => Said::Move { from: incident, moving: last(), to },
            6 => Said::Move { from: incident, moving: first(), to },
            7 => Said::Veto { a: first().remove(0), b: last().remove(0) },
            8 => Said::Undo { input: before.get(self.one % before.len().max(1))?.id() },
            _ => Said::SetStatus { incident, status: IncidentStatus::InProgress },
        })
    }
}

fn parameters(reopens: bool) -> Parameters {
    let text = include_str!("../parameters.yml");
    let reopen = if reopens { "reopen: 10m" } else { "reopen: new_linked" };
    let text = text.replace("reopen: new_linked", reopen).replace("episodes_max: 500", "episodes_max: 9");
    Parameters::parse(&text.replace("life_max: 30d", "life_max: 90m")).unwrap()
}

/// In order of time, in one batch, without a pause; then what the analyst does, as it is recorded.
fn reference_of(all: &[Input], parameters: Parameters, deeds: &[Deed]) -> (String, Vec<AnalystInput>) {
    let mut correlator = Correlator::new(parameters);
    take_all(&mut correlator, all);
    correlator.flush();
    let mut recorded = Vec::new();
    for (n, deed) in deeds.iter().enumerate() {
        let Some(said) = deed.said(&correlator, &recorded) else { continue };
        let input = AnalystInput::new(TenantId::default(), at(n as i64), "dana", said);
        // What makes no sense (a split of one alert) is refused, and nothing was said.
        recorded.extend(correlator.apply(input).ok().map(|(input, _)| input));
    }
    (state(&correlator), recorded)
}

fn take_all(correlator: &mut Correlator, all: &[Input]) {
    for input in all {
        if let Input::Rows(rows) = input {
            correlator.observe(rows);
        }
    }
    correlator.push(
        all.iter().filter_map(|input| if let Input::Alert(a) = input { Some((**a).clone()) } else { None }),
    );
}

/// In order of time, in one batch, without a pause.
fn reference(all: &[Input]) -> String {
    let mut correlator = correlator();
    for input in all {
        if let Input::Rows(rows) = input {
            correlator.observe(rows);
        }
    }
    correlator.push(
        all.iter().filter_map(|input| if let Input::Alert(a) = input { Some((**a).clone()) } else { None }),
    );
    correlator.flush();
    state(&correlator)
}

fn state(correlator: &Correlator) -> String {
    let tenant = TenantId::default();
    let relations = (correlator.suggestions(&tenant), correlator.campaigns(&tenant));
    serde_json::to_string(&(correlator.incidents(&tenant), relations)).unwrap()
}

/// Feeds one by one or in batches, with the watermark close behind, restarting here and there; checks on the way
/// that deltas tell a consumer the whole truth.
fn run(arrivals: &[Input], batch_size: usize, restart_every: usize) -> String {
    run_with(arrivals, batch_size, restart_every, &Parameters::builtin().unwrap(), &[])
}

/// As [`run`]; the analyst's inputs come in their order, each after as many batches as it says.
fn run_with(
    arrivals: &[Input],
    batch_size: usize,
    restart_every: usize,
    parameters: &Parameters,
    inputs: &[(usize, AnalystInput)],
) -> String {
    // What is on a shelf says what it would say in memory.
    let shelf = || Shelf::on(std::sync::Mutex::new(Vec::new()));
    let mut correlator = Correlator::new(parameters.clone()).on(shelf());
    let mut consumer = Consumer::default();
    let mut newest = i64::MIN;
    let mut inputs = inputs.iter().peekable();
    for (i, chunk) in arrivals.chunks(batch_size).enumerate() {
        while let Some((_, input)) = inputs.next_if(|(after, _)| *after <= i) {
            consumer.take(correlator.apply(input.clone()).unwrap().1);
        }
        for input in chunk {
            newest = newest.max(input.time());
            match input {
                Input::Alert(alert) => correlator.push([(**alert).clone()]),
                Input::Rows(rows) => correlator.observe(rows),
            }
        }
        consumer.take(correlator.advance(Watermark(event::Time(newest - LATENESS * 1_000_000 - 1))));
        consumer.relations(correlator.take_relations());
        if i % restart_every == restart_every - 1 {
            let bytes = correlator.snapshot();
            correlator = Correlator::restore(parameters.clone(), &bytes).unwrap().on(shelf());
            assert!(bytes == correlator.snapshot(), "a restored state has the bytes it came from");
        }
    }
    consumer.take(correlator.flush());
    for (_, input) in inputs {
        consumer.take(correlator.apply(input.clone()).unwrap().1);
    }
    consumer.relations(correlator.take_relations());
    consumer.check(&correlator);
    state(&correlator)
}

/// What a consumer of deltas knows.
#[derive(Default)]
struct Consumer {
    incidents: std::collections::BTreeMap<String, std::sync::Arc<event::Incident>>,
    redirects: std::collections::BTreeMap<String, String>,
    suggestions: std::collections::BTreeMap<event::SuggestionId, event::Suggestion>,
    campaigns: std::collections::BTreeMap<event::CampaignId, event::Campaign>,
}

impl Consumer {
    fn take(&mut self, deltas: Vec<IncidentDelta>) {
        for delta in deltas {
            if let IncidentDelta::Merged { from, incident } = &delta {
                self.incidents.remove(from.as_str());
                self.redirects.insert(from.to_string(), incident.id.to_string());
                continue;
            }
            let incident = delta.incident();
            let id = incident.id.to_string();
            if let Some(before) = self.incidents.get(&id) {
                assert!(before.version < incident.version, "{} -> {}", before.version, incident.version);
                assert!(!matches!(delta, IncidentDelta::Created { .. }), "created twice");
            }
            let returns = self.redirects.remove(&id).is_some();
            assert!(!returns || matches!(delta, IncidentDelta::Split { .. }), "{id} returns by a split");
            self.incidents.insert(id, std::sync::Arc::clone(incident));
        }
    }

    fn relations(&mut self, changes: Vec<RelationChange>) {
        for change in changes {
            match change {
                RelationChange::Suggested { suggestion } => {
                    self.suggestions.insert(suggestion.id.clone(), suggestion);
                }
                RelationChange::SuggestionGone { id, .. } => drop(self.suggestions.remove(&id)),
                RelationChange::Campaign { campaign } => {
                    self.campaigns.insert(campaign.id.clone(), campaign);
                }
                RelationChange::CampaignGone { id, .. } => drop(self.campaigns.remove(&id)),
            }
        }
    }

    fn check(&self, correlator: &Correlator) {
        let tenant = TenantId::default();
        let by_id: std::collections::BTreeMap<_, _> =
            correlator.suggestions(&tenant).into_iter().map(|s| (s.id.clone(), s)).collect();
        assert_eq!(self.suggestions, by_id, "suggestions are told");
        let told: Vec<_> = self.campaigns.values().cloned().collect();
        assert_eq!(told, correlator.campaigns(&tenant), "campaigns are told");
        let mut told: Vec<event::Incident> = self.incidents.values().map(|i| (**i).clone()).collect();
        let mut held = correlator.incidents(&TenantId::default());
        for incident in told.iter_mut().chain(&mut held) {
            incident.version = 0;
        }
        told.sort_by(|a, b| a.id.cmp(&b.id));
        held.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(told, held, "deltas tell all");
        for (from, to) in &self.redirects {
            assert!(
                !self.incidents.contains_key(from) && self.incidents.contains_key(to),
                "{from} -> {to} is one hop"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn order_batches_duplicates_and_restarts_do_not_matter(
        (all, arrivals) in inputs().prop_flat_map(|all| (Just(all.clone()), arrivals(all))),
        batch_size in 1..12_usize,
        restart_every in 1..12_usize,
    ) {
        let expected = reference(&all);
        prop_assert_eq!(run(&arrivals, batch_size, restart_every), expected);
    }

    /// Whenever inputs are heard beside the alerts that they speak of, before them, between them or after all of
    /// them, restarts among them, the end is the same.
    #[test]
    fn it_does_not_matter_when_recorded_inputs_are_heard(
        (all, arrivals) in inputs().prop_flat_map(|all| (Just(all.clone()), arrivals(all))),
        deeds in deeds(),
        when in proptest::collection::vec(0..20_usize, 8),
        batch_size in 1..12_usize,
        restart_every in 1..5_usize,
        reopens in any::<bool>(),
    ) {
        let parameters = parameters(reopens);
        let (expected, recorded) = reference_of(&all, parameters.clone(), &deeds);
        let mut when: Vec<usize> = when.into_iter().take(recorded.len()).collect();
        when.sort_unstable();
        let inputs: Vec<(usize, AnalystInput)> = when.into_iter().zip(recorded).collect();
        prop_assert_eq!(run_with(&arrivals, batch_size, restart_every, &parameters, &inputs), expected);
    }

    /// Alerts of which few share anything, some of them late: what a late one does not touch is placed again as it was.
    /// After each, what is told and held is what one run over the alerts so far says.
    #[test]
    fn what_is_provisional_is_what_one_run_says(
        alerts in (24..48_usize).prop_flat_map(|n| (0..n).map(a_scattered_alert).collect::<Vec<_>>()),
        late in proptest::collection::vec(0..LATENESS, 48),
    ) {
        let mut arrivals: Vec<(i64, Alert)> = alerts.into_iter().zip(late).map(|(alert, late)| {
            (alert.time.0 + if late % 4 == 0 { late * 1_000_000 } else { 0 }, alert)
        }).collect();
        arrivals.sort_by_key(|(arrival, _)| *arrival);
        let (mut correlator, mut consumer) = (correlator(), Consumer::default());
        let mut newest = i64::MIN;
        for i in 0..arrivals.len() {
            let alert = &arrivals[i].1;
            newest = newest.max(alert.time.0);
            let watermark = Watermark(event::Time(newest - LATENESS * 1_000_000 - 1));
            correlator.push([alert.clone()]);
            consumer.take(correlator.advance(watermark));
            consumer.relations(correlator.take_relations());
            consumer.check(&correlator);
            let mut at_once = support::correlator();
            at_once.push(arrivals[..=i].iter().map(|(_, alert)| alert.clone()));
            at_once.advance(watermark);
            // Campaigns are read now and then, so which incidents theirs are is known a little later.
            let now = |correlator: &Correlator| {
                let tenant = TenantId::default();
                serde_json::to_string(&(correlator.incidents(&tenant), correlator.suggestions(&tenant))).unwrap()
            };
            prop_assert_eq!(now(&correlator), now(&at_once));
        }
    }

    /// Tenants meet nowhere, so however they are spread over correlators, together these say the same.
    #[test]
    fn shards_merged_say_what_one_says(all in inputs(), tenants in 1..9_usize) {
        let of_tenant = |input: &Input, n: usize| match input {
            Input::Alert(alert) => {
                let tenant = TenantId::new(format!("t{}", n % tenants));
                Input::Alert(Box::new(Alert { tenant, ..(**alert).clone() }))
            }
            Input::Rows(rows) => Input::Rows(rows.clone()),
        };
        let all: Vec<(usize, Input)> = all.iter().enumerate().map(|(n, input)| (n, of_tenant(input, n))).collect();
        let merged = |shards: usize| {
            let mut incidents = Vec::new();
            for shard in 0..shards {
                let own: Vec<Input> = all
                    .iter()
                    .filter(|(n, _)| (n % tenants) % shards == shard)
                    .map(|(_, input)| input.clone())
                    .filter(|input| matches!(input, Input::Alert(_)))
                    .collect();
                let mut correlator = correlator();
                take_all(&mut correlator, &own);
                correlator.flush();
                for n in 0..tenants {
                    incidents.extend(correlator.incidents(&TenantId::new(format!("t{n}"))));
                }
            }
            incidents.sort_by(|a, b| (&a.tenant, &a.id).cmp(&(&b.tenant, &b.id)));
            serde_json::to_string(&incidents).unwrap()
        };
        let one = merged(1);
        prop_assert_eq!(&merged(2), &one);
        prop_assert_eq!(&merged(8), &one);
    }

    #[test]
    fn every_alert_is_in_exactly_one_incident(all in inputs()) {
        let mut correlator = correlator();
        let mut ids = Vec::new();
        for input in &all {
            match input {
                Input::Alert(alert) => {
                    ids.push(alert.id.clone());
                    correlator.push([(**alert).clone()]);
                }
                Input::Rows(rows) => correlator.observe(rows),
            }
        }
        correlator.advance(watermark(3_600));
        let incidents = correlator.incidents(&TenantId::default());
        let mut held: Vec<_> = incidents.iter().flat_map(|i| i.alerts.clone()).collect();
        held.sort();
        prop_assert_eq!(held, ids);
        for incident in &incidents {
            prop_assert_eq!(incident.joins.len() + 1, incident.alerts.len());
        }
    }

    /// Whatever analysts do: each alert is in one incident, no two have one id, and each joins its alerts together.
    #[test]
    fn analysts_leave_every_alert_in_exactly_one_incident(
        all in inputs(), deeds in deeds(), reopens in any::<bool>(),
    ) {
        let parameters = parameters(reopens);
        let there = all.iter().filter(|input| matches!(input, Input::Alert(_))).count();
        let mut correlator = Correlator::new(parameters.clone());
        take_all(&mut correlator, &all);
        correlator.flush();
        let (_, recorded) = reference_of(&all, parameters, &deeds);
        for input in recorded {
            correlator.apply(input).unwrap();
            let incidents = correlator.incidents(&TenantId::default());
            let mut alerts: Vec<_> = incidents.iter().flat_map(|i| i.alerts.clone()).collect();
            alerts.sort();
            prop_assert_eq!(alerts.len(), there);
            alerts.dedup();
            prop_assert_eq!(alerts.len(), there);
            let ids: std::collections::BTreeSet<_> = incidents.iter().map(|i| &i.id).collect();
            prop_assert_eq!(ids.len(), incidents.len());
            for incident in &incidents {
                prop_assert_eq!(incident.joins.len() + 1, incident.alerts.len());
            }
        }
    }

    #[test]
    fn without_its_weakest_join_an_incident_falls_apart_as_explained(all in inputs()) {
        let mut correlator = correlator();
        correlator.push(all.iter().filter_map(|input| if let Input::Alert(a) = input { Some((**a).clone()) } else { None }));
        correlator.flush();
        for incident in correlator.incidents(&TenantId::default()).iter().filter(|i| i.alerts.len() > 2) {
            let (a, b) = (&incident.alerts[0], &incident.alerts[incident.alerts.len() - 1]);
            let explanation = correlator.explain(a, b).unwrap();
            let weakest = &explanation.path[explanation.weakest.unwrap()];
            prop_assert!(explanation.path.iter().all(|join| join.weight_ppm >= weakest.weight_ppm));
            // Above the cited weight the two are apart: no stronger path was hidden.
            let theta = format!("theta: {}.{:06}", (weakest.weight_ppm + 1) / 1_000_000, (weakest.weight_ppm + 1) % 1_000_000);
            let text = include_str!("../parameters.yml").replace("theta: 0.40", &theta);
            let mut stricter = Correlator::new(Parameters::parse(&text).unwrap());
            stricter.push(all.iter().filter_map(|input| if let Input::Alert(a) = input { Some((**a).clone()) } else { None }));
            stricter.flush();
            if weakest.weight_ppm < 1_000_000 {
                prop_assert_ne!(stricter.incident_of(a), stricter.incident_of(b));
            }
            let falling = &explanation.without_weakest;
            prop_assert!(falling.contains(a) != falling.contains(b), "one side of it");
            prop_assert!(!falling.is_empty() && falling.len() * 2 <= incident.alerts.len(), "the smaller one");
        }
    }
}

#[test]
fn two_shapes_of_one_alert_settle_on_the_fuller_one() {
    let short = alert("a", "rule", 10, &["device:h1"]);
    let full = alert("a", "rule", 10, &["device:h1", "user:u1@corp.example"]);
    let both = |first: &Alert, second: &Alert| {
        let mut correlator = correlator();
        correlator.push([first.clone(), alert("b", "other", 20, &["user:u1@corp.example", "device:h9"])]);
        correlator.advance(watermark(0));
        correlator.push([second.clone()]);
        correlator.flush();
        state(&correlator)
    };
    assert_eq!(both(&short, &full), both(&full, &short));
    let mut correlator = correlator();
    correlator.push([short, full]);
    correlator.flush();
    assert_eq!(groups(&correlator.incidents(&TenantId::default())), [["a"]]);
    assert_eq!(correlator.stats().alerts_duplicate_total, 1);
}
