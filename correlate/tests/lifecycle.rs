//! The life of incidents: what keeps them apart, what analysts do with them and take back, when they reopen, end and
//! fall into parts, what links them over weeks, and what all of it costs.

#![allow(clippy::unwrap_used)] // A panic is how a test's helper fails.

mod support;

use correlate::{AnalystInput, Correlator, Parameters, Said};
use event::{
    Alert, AlertId, EntityType, Guard, Incident, IncidentDelta, IncidentId, IncidentStatus, InputId,
    LinkKind, RelationChange, Severity, TenantId,
};
use support::{With, alert, at, batch, correlator, groups, watermark};

const DAY: i64 = 86_400;

fn tenant() -> TenantId {
    TenantId::default()
}

fn id(text: &str) -> AlertId {
    AlertId::new(text)
}

/// A correlator with some lines of the parameters replaced.
fn with(changes: &[(&str, &str)]) -> Correlator {
    let mut text = include_str!("../parameters.yml").to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    Correlator::new(Parameters::parse(&text).unwrap())
}

/// An alert of a session, which joins whatever shares it.
fn of(session: &str, id: &str, s: i64) -> Alert {
    alert(id, &format!("rule {id}"), s, &[&format!("session:{session}")])
}

/// Two incidents that share nothing: a1, a2 and b1, b2.
fn two(mut correlator: Correlator) -> (Correlator, IncidentId, IncidentId) {
    correlator.push([of("s1", "a1", 0), of("s1", "a2", 10), of("s2", "b1", 20), of("s2", "b2", 30)]);
    correlator.advance(watermark(40));
    let (a, b) = (home(&correlator, "a1"), home(&correlator, "b1"));
    assert_ne!(a, b);
    (correlator, a, b)
}

fn bridge(s: i64) -> Alert {
    alert("c1", "rule c1", s, &["session:s1", "session:s2"])
}

fn home(correlator: &Correlator, alert: &str) -> IncidentId {
    correlator.incident_of(&id(alert)).unwrap()
}

fn incident(correlator: &Correlator, alert: &str) -> Incident {
    (*correlator.incident(&home(correlator, alert)).unwrap()).clone()
}

fn alerts_of(correlator: &Correlator, incident: &IncidentId) -> Vec<String> {
    correlator.incident(incident).unwrap().alerts.iter().map(ToString::to_string).collect()
}

fn say(correlator: &mut Correlator, said: Said) -> (InputId, Vec<IncidentDelta>) {
    let (recorded, deltas) = correlator.apply(AnalystInput::new(tenant(), at(45), "dana", said)).unwrap();
    (recorded.id(), deltas)
}

fn refused(correlator: &mut Correlator, said: Said) -> String {
    correlator.apply(AnalystInput::new(tenant(), at(45), "dana", said)).unwrap_err().to_string()
}

fn assign(incident: &IncidentId, to: &str) -> Said {
    Said::Assign { incident: incident.clone(), assignee: Some(to.to_owned()) }
}

fn close(incident: &IncidentId) -> Said {
    Said::SetStatus { incident: incident.clone(), status: IncidentStatus::Closed }
}

fn all(correlator: &Correlator) -> Vec<Vec<String>> {
    groups(&correlator.incidents(&tenant()))
}

#[test]
fn two_worked_incidents_become_one_over_a_strong_join_alone() {
    // The session is half a day old: its witness has halved.
    let later = 40_000;
    let outcome = |worked: &[&str]| {
        let (mut correlator, a, b) = two(correlator());
        let deltas = [(a, "a1"), (b, "b1")].map(|(incident, first)| {
            if worked.contains(&first) { say(&mut correlator, assign(&incident, "dana")).1.len() } else { 0 }
        });
        assert_eq!(deltas.iter().sum::<usize>(), worked.len());
        correlator.push([bridge(later)]);
        correlator.flush();
        (all(&correlator).len(), correlator.suggestions(&tenant()))
    };
    assert_eq!(outcome(&[]).0, 1, "weak joins count");
    assert_eq!(outcome(&["a1"]).0, 1, "one of them alone is no conflict");
    let (incidents, suggestions) = outcome(&["a1", "b1"]);
    assert_eq!(incidents, 2, "nobody's work is interfered with over a weak join");
    assert_eq!((suggestions.len(), suggestions[0].guard), (1, Guard::Worked));
    assert!(suggestions[0].join.weight_ppm < 550_000, "{:?}", suggestions[0].join);
}

#[test]
fn scopes_do_not_merge_by_themselves() {
    let scoped = || with(&[("scopes: {}", "scopes: {plant: ['*.plant.example'], hq: ['*.hq.example']}")]);
    let on = |id: &str, s: i64, host: &str| {
        alert(id, &format!("rule {id}"), s, &["session:s1", &format!("device:{host}")])
    };
    let mut correlator = scoped();
    correlator.push([on("a", 0, "x.plant.example"), on("b", 10, "y.hq.example"), of("s1", "c", 20)]);
    correlator.flush();
    let suggestions = correlator.suggestions(&tenant());
    assert_eq!(all(&correlator).len(), 2, "what belongs to no scope belongs to either");
    assert_eq!(suggestions[0].guard, Guard::Scope);
    let (into, from) = (home(&correlator, "a"), home(&correlator, "b"));
    assert_eq!(incident(&correlator, "a").links[0].kind, LinkKind::Related);
    say(&mut correlator, Said::Merge { into, from });
    assert_eq!(all(&correlator), [["a", "b", "c"]], "a person may");
    assert!(correlator.suggestions(&tenant()).is_empty());
}

#[test]
fn suggestions_are_told_followed_and_dismissed() {
    let (mut correlator, a, b) = two(correlator());
    say(&mut correlator, close(&a));
    correlator.push([bridge(50)]);
    correlator.flush();
    let changes = correlator.take_relations();
    let [RelationChange::Suggested { suggestion }] = changes.as_slice() else { panic!("{changes:?}") };
    let incidents = [&suggestion.a, &suggestion.b];
    assert!(incidents.contains(&&a) && incidents.contains(&&b), "{suggestion:?}");
    assert!(correlator.take_relations().is_empty(), "told once");

    let mut dismissed = correlator.clone();
    let (veto, _) =
        say(&mut dismissed, Said::Veto { a: suggestion.join.a.clone(), b: suggestion.join.b.clone() });
    assert!(dismissed.suggestions(&tenant()).is_empty());
    assert_eq!(dismissed.take_relations().len(), 1);
    say(&mut dismissed, Said::Undo { input: veto });
    assert_eq!(dismissed.suggestions(&tenant()), std::slice::from_ref(suggestion));

    say(&mut correlator, Said::Merge { into: b.clone(), from: a });
    assert_eq!(all(&correlator).len(), 1);
    let changes = correlator.take_relations();
    assert_eq!(changes, [RelationChange::SuggestionGone { tenant: tenant(), id: suggestion.id.clone() }]);
    assert_eq!(
        incident(&correlator, "a1").status,
        IncidentStatus::New,
        "what was closed is open with the other"
    );
}

#[test]
fn the_survivor_of_a_merge_keeps_its_id_and_standing() {
    let (mut correlator, a, b) = two(correlator());
    say(&mut correlator, assign(&b, "erin"));
    say(
        &mut correlator,
        Said::Classify { incident: b.clone(), classification: Some("true_positive".to_owned()) },
    );
    let (merge, _) = say(&mut correlator, Said::Merge { into: b.clone(), from: a.clone() });
    assert_eq!(home(&correlator, "a1"), b, "although the other one began earlier");
    let merged = incident(&correlator, "a1");
    assert_eq!(merged.assignee.as_deref(), Some("erin"));
    assert_eq!(merged.classification.as_deref(), Some("true_positive"));
    assert_eq!(correlator.incident(&a).unwrap().id, b, "the other id leads there");

    say(&mut correlator, Said::Undo { input: merge });
    assert_eq!((home(&correlator, "a1"), home(&correlator, "b1")), (a, b));
    assert_eq!(incident(&correlator, "a1").assignee, None);
    assert_eq!(incident(&correlator, "b1").assignee.as_deref(), Some("erin"));
}

#[test]
fn a_worked_incident_keeps_its_id_when_an_earlier_alert_comes() {
    let mut correlator = correlator();
    correlator.push([of("s1", "a1", 100), of("s1", "a2", 110)]);
    correlator.advance(watermark(0));
    let before = home(&correlator, "a1");
    say(&mut correlator, assign(&before, "dana"));
    correlator.push([of("s1", "a0", 50)]);
    correlator.flush();
    assert_eq!(home(&correlator, "a0"), before);
    assert_eq!(correlator.incidents(&tenant()).len(), 1);
}

#[test]
fn alerts_move_and_both_incidents_keep_their_ids() {
    for moving in ["a1", "a2"] {
        let (mut correlator, a, b) = two(correlator());
        let other = if moving == "a1" { "a2" } else { "a1" };
        let said = Said::Move { from: a.clone(), moving: vec![id(moving)], to: b.clone() };
        let (moved, _) = say(&mut correlator, said);
        assert_eq!(alerts_of(&correlator, &a), [other], "{moving} has left");
        assert_eq!(home(&correlator, moving), b);
        assert_eq!(alerts_of(&correlator, &b).len(), 3);
        // What the moved one shares with those it left does not bring it back, nor them along.
        correlator.push([of("s1", "a3", 50)]);
        correlator.flush();
        assert_eq!(alerts_of(&correlator, &b).len() + alerts_of(&correlator, &a).len(), 5);
        assert_ne!(home(&correlator, moving), home(&correlator, other));

        let mut back = correlator.clone();
        say(&mut back, Said::Move { from: b.clone(), moving: vec![id(moving)], to: a.clone() });
        assert_eq!((home(&back, moving), home(&back, other)), (a.clone(), a.clone()), "there and back");
        say(&mut correlator, Said::Undo { input: moved });
        assert_eq!(alerts_of(&correlator, &a), ["a1", "a2", "a3"]);
        assert_eq!(alerts_of(&correlator, &b), ["b1", "b2"]);
    }
}

#[test]
fn what_moved_into_a_closed_incident_stays_there() {
    let (mut correlator, a, b) = two(correlator());
    say(&mut correlator, close(&b));
    say(&mut correlator, Said::Move { from: a.clone(), moving: vec![id("a2")], to: b.clone() });
    assert_eq!(alerts_of(&correlator, &b), ["a2", "b1", "b2"]);
    assert_eq!(incident(&correlator, "a2").status, IncidentStatus::Closed);
    say(&mut correlator, assign(&b, "dana"));
    assert_eq!(incident(&correlator, "a2").status, IncidentStatus::Closed, "assigning opens nothing");
}

#[test]
fn every_input_can_be_undone_and_the_undo_too() {
    let (fresh, a, b) = two(correlator());
    let said = [
        assign(&a, "dana"),
        close(&a),
        Said::Classify { incident: a.clone(), classification: Some("benign".to_owned()) },
        Said::Merge { into: a.clone(), from: b.clone() },
        Said::Split { incident: a.clone(), leaving: vec![id("a2")] },
        Said::Move { from: a.clone(), moving: vec![id("a1")], to: b.clone() },
        Said::Veto { a: id("a1"), b: id("a2") },
    ];
    let state = |correlator: &Correlator| {
        let mut incidents = correlator.incidents(&tenant());
        incidents.iter_mut().for_each(|incident| incident.version = 0);
        incidents
    };
    for said in said {
        let mut correlator = fresh.clone();
        let (input, deltas) = say(&mut correlator, said.clone());
        assert!(!deltas.is_empty(), "{said:?}");
        let after = state(&correlator);
        let (undo, _) = say(&mut correlator, Said::Undo { input: input.clone() });
        assert_eq!(state(&correlator), state(&fresh), "{said:?} is undone");
        assert!(refused(&mut correlator, Said::Undo { input: input.clone() }).contains("is undone already"));
        say(&mut correlator, Said::Undo { input: undo });
        assert_eq!(state(&correlator), after, "{said:?} is said again");
        let told = correlator.inputs(&tenant());
        assert_eq!(told.iter().map(|(_, is_undone)| *is_undone).collect::<Vec<_>>(), [false, true, false]);
    }
}

#[test]
fn inputs_that_make_no_sense_are_refused() {
    let (mut correlator, a, b) = two(correlator());
    let whole = Said::Move { from: a.clone(), moving: vec![id("a1"), id("a2")], to: b.clone() };
    assert!(refused(&mut correlator, whole).contains("a move leaves at least one alert"));
    let nowhere = Said::Move { from: a.clone(), moving: vec![id("a1")], to: a.clone() };
    assert!(refused(&mut correlator, nowhere).contains("is one incident already"));
    let foreign = Said::Move { from: a.clone(), moving: vec![id("b1")], to: b };
    assert!(refused(&mut correlator, foreign).contains("b1 is not in"));
    assert!(refused(&mut correlator, Said::Veto { a: id("a1"), b: id("a1") }).contains("name two"));
    let unknown = Said::Undo { input: InputId::new("n-1") };
    assert!(refused(&mut correlator, unknown).contains("no input n-1"));
    let nobody = Said::Distinct { entity_type: EntityType::User, a: "x".to_owned(), b: "y".to_owned() };
    assert!(refused(&mut correlator, nobody).contains("no alert names the user x"));
}

#[test]
fn an_input_twice_is_an_input_once() {
    let (mut correlator, a, _) = two(correlator());
    let input = AnalystInput::new(tenant(), at(45), "dana", assign(&a, "dana"));
    let (recorded, _) = correlator.apply(input).unwrap();
    let before = correlator.snapshot();
    assert!(correlator.apply(recorded).unwrap().1.is_empty());
    assert!(correlator.snapshot() == before);
}

#[test]
fn names_of_two_people_no_longer_join() {
    let mut correlator = correlator();
    let proof = [("actor_user_account", "CONTOSO\\alice"), ("actor_user_email", "alice@contoso.com")];
    correlator.observe(&batch("authentication", &[(-10, &proof)]));
    correlator.push([
        alert("a", "r1", 0, &["user:contoso\\alice", "device:ws-01"]),
        alert("b", "r2", 60, &["user:alice@contoso.com", "ip:203.0.113.5"]),
    ]);
    correlator.advance(watermark(100));
    assert_eq!(all(&correlator), [["a", "b"]]);
    let said = Said::Distinct {
        entity_type: EntityType::User,
        a: "contoso\\alice".to_owned(),
        b: "alice@contoso.com".to_owned(),
    };
    let (input, _) = say(&mut correlator, said);
    assert_eq!(all(&correlator), [["a"], ["b"]]);
    let text = correlator.explain(&id("a"), &id("b")).unwrap().text;
    assert!(text.contains("names behind the join are not of one thing"), "{text}");
    // Alerts that come later are kept apart too, and those of one name still join.
    correlator.push([
        alert("c", "r3", 120, &["user:contoso\\alice", "device:ws-01"]),
        alert("d", "r4", 180, &["user:alice@contoso.com", "ip:203.0.113.5"]),
    ]);
    correlator.flush();
    assert_eq!(all(&correlator), [["a", "c"], ["b", "d"]]);
    say(&mut correlator, Said::Undo { input });
    assert_eq!(all(&correlator), [["a", "b", "c", "d"]]);
}

/// An incident of a1 and a2 that is closed; then another alert of its session.
fn after_closing(reopen: &str, later: i64) -> Correlator {
    let (mut correlator, a, _) = two(with(&[("reopen: new_linked", &format!("reopen: {reopen}"))]));
    say(&mut correlator, assign(&a, "dana"));
    say(&mut correlator, close(&a));
    correlator.push([of("s1", "a3", later)]);
    correlator.flush();
    correlator
}

#[test]
fn a_closed_incident_reopens_as_the_policy_says() {
    let never = after_closing("never", 50);
    assert_ne!(home(&never, "a3"), home(&never, "a1"));
    assert!(incident(&never, "a3").links.is_empty());
    assert_eq!(never.suggestions(&tenant())[0].guard, Guard::Closed);

    let linked = after_closing("new_linked", 50);
    let [link] = incident(&linked, "a3").links.try_into().unwrap();
    assert_eq!((link.kind, link.incident), (LinkKind::Continues, home(&linked, "a1")));
    assert!(incident(&linked, "a1").links.is_empty(), "the closed one stays as it is");
    assert_eq!(incident(&linked, "a1").status, IncidentStatus::Closed);

    let within = after_closing("1h", 10 + 3_600);
    assert_eq!(home(&within, "a3"), home(&within, "a1"));
    assert_eq!(incident(&within, "a1").status, IncidentStatus::InProgress, "it is Dana's");
    assert!(within.suggestions(&tenant()).is_empty());

    let late = after_closing("1h", 11 + 3_600);
    assert_ne!(home(&late, "a3"), home(&late, "a1"));
    assert_eq!(incident(&late, "a1").status, IncidentStatus::Closed);
}

#[test]
fn a_reopened_incident_can_be_closed_again() {
    let mut correlator = after_closing("1h", 50);
    let incident_id = home(&correlator, "a1");
    say(&mut correlator, close(&incident_id));
    assert_eq!(incident(&correlator, "a3").status, IncidentStatus::Closed);
    assert_eq!(alerts_of(&correlator, &incident_id), ["a1", "a2", "a3"]);
}

#[test]
fn what_rested_or_lasted_too_long_goes_on_in_another_incident() {
    let steps = |correlator: &mut Correlator, hours: &[i64]| {
        correlator.push(hours.iter().map(|h| of("s1", &format!("a{h:03}"), h * 3_600)));
        correlator.flush();
        all(correlator)
    };
    let mut rested = with(&[("idle: 7d", "idle: 3h")]);
    assert_eq!(steps(&mut rested, &[0, 2, 5, 9, 10]), [vec!["a000", "a002", "a005"], vec!["a009", "a010"]]);
    let link = incident(&rested, "a009").links.remove(0);
    assert_eq!((link.kind, link.incident), (LinkKind::Continues, home(&rested, "a000")));
    let text = rested.explain(&id("a000"), &id("a010")).unwrap().text;
    assert!(text.contains("rested or lasted too long"), "{text}");

    let mut lasted = with(&[("life_max: 30d", "life_max: 4h")]);
    assert_eq!(
        steps(&mut lasted, &[0, 2, 4, 6, 8, 10, 12]),
        [vec!["a000", "a002", "a004"], vec!["a006", "a008", "a010"], vec!["a012"]]
    );
}

#[test]
fn a_large_incident_falls_into_parts_at_its_weakest_joins() {
    let small = || with(&[("episodes_max: 500", "episodes_max: 8")]);
    let mut correlator = small();
    // Two bursts of one session an hour apart, each of 6.
    let burst = |name: &'static str, s: i64| (0..6).map(move |n| of("s1", &format!("{name}{n}"), s + n));
    correlator.push(burst("a", 0).chain(burst("b", 3_600)));
    correlator.flush();
    let parts = all(&correlator);
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [6, 6]);
    let (a, b) = (incident(&correlator, "a0"), incident(&correlator, "b0"));
    assert_eq!(a.id, home(&correlator, "a5"));
    assert_eq!((a.links[0].kind, &a.links[0].incident), (LinkKind::Sibling, &b.id));
    assert_eq!((b.links[0].kind, &b.links[0].incident), (LinkKind::Sibling, &a.id));
    assert!(correlator.explain(&id("a0"), &id("b0")).unwrap().text.contains("too large"));
    // The same with one alert less is one incident: the guard is the size, not the gap.
    let mut fewer = small();
    fewer.push(burst("a", 0).take(4).chain(burst("b", 3_600).take(4)));
    fewer.flush();
    assert_eq!(all(&fewer).len(), 1);
}

#[test]
fn what_gets_too_large_stays_cut_however_it_arrives() {
    let run = |one_by_one: bool| {
        let mut correlator = with(&[("episodes_max: 500", "episodes_max: 20")]);
        let alerts: Vec<Alert> =
            (0..150).map(|n| of("s1", &format!("a{n:03}"), n * 60 + (n % 7) * 300)).collect();
        if one_by_one {
            for alert in alerts {
                correlator.push([alert]);
                correlator.advance(watermark(-10_000));
            }
        } else {
            correlator.push(alerts);
        }
        correlator.flush();
        correlator.incidents(&tenant())
    };
    let (at_once, one_by_one) = (run(false), run(true));
    assert!(at_once.len() > 5, "{}", at_once.len());
    assert!(at_once.iter().all(|i| i.alerts.len() <= 25 && i.joins.len() + 1 == i.alerts.len()));
    assert_eq!(at_once, one_by_one);
    assert_eq!(at_once.iter().map(|i| i.alerts.len()).sum::<usize>(), 150);
    let ids: std::collections::BTreeSet<&IncidentId> = at_once.iter().map(|i| &i.id).collect();
    assert_eq!(ids.len(), at_once.len());
}

/// An alert on its own host that names a file and a domain.
fn sighting(id: &str, day: i64, host: &str, url: &str) -> Alert {
    alert(id, &format!("rule {id}"), day * DAY, &[&format!("device:{host}"), &format!("url:{url}")])
}

const C2: &str = "https://c2.example/x";

#[test]
fn rare_artefacts_link_incidents_over_weeks_without_merging_them() {
    let mut correlator = correlator();
    let mut changes = Vec::new();
    for (n, day) in [0, 12, 25].into_iter().enumerate() {
        correlator.push([
            sighting(&format!("a{n}"), day, &format!("h{n}"), C2),
            sighting(&format!("b{n}"), day, &format!("g{n}"), &format!("https://own{n}.example/x")),
        ]);
        correlator.advance(watermark(day * DAY + 3_600));
        changes.extend(correlator.take_relations());
    }
    let [campaign] = correlator.campaigns(&tenant()).try_into().unwrap();
    assert_eq!(campaign.incidents.len(), 3, "{campaign:?}");
    assert_eq!(campaign.incidents[2], home(&correlator, "a2"), "the others have left memory");
    assert_eq!(campaign.artefacts.len(), 1);
    assert_eq!(campaign.artefacts[0].value.as_ref(), C2);
    assert_eq!(campaign.artefacts[0].alerts, [id("a0"), id("a1"), id("a2")]);
    assert_eq!((campaign.first_time, campaign.last_time), (at(0), at(25 * DAY)));
    let told: Vec<_> = changes
        .iter()
        .map(|change| match change {
            RelationChange::Campaign { campaign } => (campaign.id.clone(), campaign.incidents.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(campaign.id.clone(), 2), (campaign.id.clone(), 3)], "one id from the first link on");
    assert!(correlator.stats().alerts <= 4);

    // After the window nobody remembers it.
    correlator.push([sighting("a9", 25 + 61, "h9", C2)]);
    correlator.flush();
    assert!(correlator.campaigns(&tenant()).is_empty());
    assert!(correlator.take_relations().is_empty(), "what was told of it stays true");
}

#[test]
fn what_many_share_links_nothing() {
    let mut correlator = correlator();
    // The principals of one day make it common within the hour; those of the days before were rare each.
    for n in 0..40 {
        correlator.push([sighting(&format!("a{n:02}"), n, &format!("h{n}"), C2)]);
        correlator.advance(watermark(n * DAY + 3_600));
        let campaigns = correlator.campaigns(&tenant());
        assert_eq!(campaigns.len(), usize::from((1..32).contains(&n)), "after {n}");
    }
    let gone = correlator.take_relations();
    assert!(matches!(gone.as_slice(), [RelationChange::CampaignGone { .. }]), "{gone:?}");
}

#[test]
fn a_flood_of_sightings_is_a_few() {
    let mut correlator = correlator();
    let flood = |day: i64| {
        (0..2_000).map(move |n| {
            let alert = sighting(&format!("a{day:02}-{n:04}"), day, "h1", C2);
            Alert { time: at(day * DAY + n), end_time: at(day * DAY + n), ..alert }
        })
    };
    for day in [0, 10] {
        correlator.push(flood(day));
        correlator.advance(watermark(day * DAY + 4_000));
    }
    correlator.flush();
    let [campaign] = correlator.campaigns(&tenant()).try_into().unwrap();
    assert_eq!(campaign.artefacts[0].alerts, [id("a00-0000"), id("a10-0000")]);
}

#[test]
fn campaigns_survive_restarts_and_do_not_depend_on_pace() {
    let alerts: Vec<Alert> = (0..60)
        .map(|n| {
            let url = format!("https://c{}.example/x", n % 7);
            sighting(&format!("a{n:02}"), n % 45, &format!("h{}", n % 11), &url)
        })
        .collect();
    let run = |days: i64, restarts: bool| {
        let mut correlator = correlator();
        let mut sorted = alerts.clone();
        sorted.sort_by_key(|alert| alert.time);
        let mut told = std::collections::BTreeMap::new();
        for until in (0..46).step_by(days as usize) {
            let now = |alert: &Alert| {
                (until * DAY..(until + days) * DAY)
                    .contains(&(alert.time.0 / 1_000_000 - at(0).0 / 1_000_000))
            };
            correlator.push(sorted.iter().filter(|alert| now(alert)).cloned());
            correlator.advance(watermark((until + days) * DAY - 1));
            if restarts {
                let bytes = correlator.snapshot();
                correlator = Correlator::restore(Parameters::builtin().unwrap(), &bytes).unwrap();
            }
            for change in correlator.take_relations() {
                match change {
                    RelationChange::Campaign { campaign } => drop(told.insert(campaign.id.clone(), campaign)),
                    RelationChange::CampaignGone { id, .. } => drop(told.remove(&id)),
                    other => panic!("{other:?}"),
                }
            }
        }
        let held = correlator.campaigns(&tenant());
        assert_eq!(told.into_values().collect::<Vec<_>>(), held, "changes tell all");
        held
    };
    let reference = run(1, false);
    assert!(reference.len() > 1, "{reference:?}");
    assert_eq!(run(1, true), reference);
    assert_eq!(run(5, true), reference);
    assert_eq!(run(46, false), reference);
}

#[test]
fn an_address_is_the_device_that_had_it() {
    let agent = |s: i64, host: &str, ip: &str| {
        batch("process_activity", &[(s, &[("device_hostname", host), ("device_ip", ip)])])
    };
    let by_device = || alert("a", "r1", 0, &["device:ws-01.contoso.com", "user:alice@contoso.com"]);
    let by_address = || alert("b", "r2", 60, &["ip:10.1.2.3"]).grave(Severity::High);
    let joined = |rows: &[(i64, &str, &str)], backward: bool| {
        let mut correlator = correlator();
        for (s, host, ip) in rows {
            correlator.observe(&agent(*s, host, ip));
        }
        let (mut a, mut b) = (by_device(), by_address());
        if backward {
            std::mem::swap(&mut a.time, &mut b.time);
            std::mem::swap(&mut a.end_time, &mut b.end_time);
        }
        correlator.push([a, b]);
        correlator.flush();
        correlator.incidents(&tenant())
    };
    for backward in [false, true] {
        assert_eq!(joined(&[], backward).len(), 2, "nothing is known of the address");
        let one = joined(&[(-600, "ws-01.contoso.com", "10.1.2.3")], backward);
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].joins[0].reasons[0].kind, "alias");
        let nat = [(-600, "ws-01.contoso.com", "10.1.2.3"), (-500, "ws-02.contoso.com", "10.1.2.3")];
        assert_eq!(joined(&nat, backward).len(), 2, "shared addresses are nobody's");
        let moved = [(-20_000, "ws-01.contoso.com", "10.1.2.3"), (-500, "ws-02.contoso.com", "10.1.2.3")];
        assert_eq!(joined(&moved, backward).len(), 2, "it is another one's by now");
    }
}

/// The alerts of a storm: all on one host, each of another rule.
fn storm(n: i64) -> impl Iterator<Item = Alert> {
    (0..n).map(|n| {
        let on = ["device:h1", "user:u1@x.example"];
        alert(&format!("a{n:06}"), &format!("rule {}", n % 997), n / 4, &on)
    })
}

#[test]
fn a_storm_on_one_entity_costs_as_much_an_alert_at_its_end_as_at_its_beginning() {
    let mut correlator = correlator();
    let mut work = Vec::new();
    let mut before = correlator.stats();
    let alerts: Vec<Alert> = storm(12_000).collect();
    for (i, portion) in alerts.chunks(100).enumerate() {
        correlator.push(portion.to_vec());
        correlator.advance(watermark(i as i64 * 25 - 60));
        // Event time also moves on without alerts: nothing is to be told then.
        correlator.advance(watermark(i as i64 * 25 - 59));
        if (i + 1) % 30 == 0 {
            let now = correlator.stats();
            work.push([
                now.pairs_scored_total - before.pairs_scored_total,
                now.alerts_told_total - before.alerts_told_total,
                now.placings_redone_total - before.placings_redone_total,
            ]);
            before = now;
        }
    }
    let alerts = 3_000;
    for quarter in &work {
        let [pairs, told, redone] = quarter;
        assert!(*pairs <= alerts * 24, "pairs {work:?}");
        assert!(*told <= alerts * 80, "told {work:?}");
        assert!(*redone <= alerts, "redone {work:?}");
    }
    // In the first half the rules are still new: fewer earlier alerts of one are there to be compared with.
    assert!(
        work[3][0] <= work[2][0] * 5 / 4,
        "the last quarter compares as much as the one before: {work:?}"
    );
}

#[test]
fn what_waits_is_bounded_and_what_is_sealed_early_counted() {
    let mut correlator = with(&[
        ("waiting_alerts: 200000", "waiting_alerts: 50"),
        ("provisional_alerts: 4096", "provisional_alerts: 10"),
    ]);
    for n in 0..300 {
        correlator.push([of("s1", &format!("a{n:03}"), n)]);
        correlator.advance(watermark(-1));
        assert!(correlator.stats().alerts_waiting <= 50, "{:?}", correlator.stats());
    }
    assert!(correlator.stats().alerts_sealed_early_total > 200);
    correlator.flush();
    assert_eq!(correlator.incidents(&tenant()).iter().map(|i| i.alerts.len()).sum::<usize>(), 300);
}

#[test]
fn what_event_time_runs_over_is_told_before_it_is_forgotten() {
    let mut correlator = correlator();
    correlator.push((0..40).map(|day| of(&format!("s{day}"), &format!("a{day:02}"), day * DAY)));
    let deltas = correlator.advance(watermark(60 * DAY));
    let created = deltas.iter().filter(|delta| matches!(delta, IncidentDelta::Created { .. })).count();
    assert_eq!((created, correlator.stats().alerts), (40, 0));
}

#[test]
fn inputs_redirects_and_incidents_do_not_grow_for_ever() {
    let mut correlator = with(&[("  incidents: 500000", "  incidents: 20")]);
    for day in 0..60 {
        let (s, a, b) = (day * DAY, format!("a{day:02}"), format!("b{day:02}"));
        correlator.push([of(&a, &a, s), of(&b, &b, s + 10)]);
        correlator.advance(watermark(s + 20));
        let (into, from) = (home(&correlator, &a), home(&correlator, &b));
        say(&mut correlator, Said::Merge { into, from });
    }
    let stats = correlator.stats();
    assert!(stats.inputs <= 10 && stats.incidents <= 10, "{stats:?}");
    assert!(correlator.redirects(&tenant()).len() <= 10);
    correlator.push((0..100).map(|n| of(&format!("x{n}"), &format!("x{n}"), 60 * DAY + n)));
    correlator.advance(watermark(60 * DAY + 200));
    correlator.advance(watermark(60 * DAY + 201));
    let stats = correlator.stats();
    assert!(stats.incidents <= 25 && stats.alerts_retired_early_total > 70, "{stats:?}");
}

#[test]
fn a_merged_incident_leaves_memory_whole() {
    let mut correlator = correlator();
    correlator.push([of("s1", "a1", 0), of("s2", "b1", 5 * DAY)]);
    correlator.advance(watermark(5 * DAY + 10));
    let (into, from) = (home(&correlator, "b1"), home(&correlator, "a1"));
    say(&mut correlator, Said::Merge { into, from });
    // The first of them is beyond the horizon by now, the second is not.
    correlator.advance(watermark(9 * DAY));
    assert_eq!(alerts_of(&correlator, &home(&correlator, "b1")), ["a1", "b1"]);
    correlator.advance(watermark(14 * DAY));
    assert_eq!(correlator.stats().alerts, 0);
}
