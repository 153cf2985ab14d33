use std::collections::{BTreeMap, BTreeSet};

use event::TenantId;
use serde_json::Value;

use super::*;
use crate::company::CompanyOptions;

fn company(seed: u64, tenant: &str) -> Company {
    Company::new(CompanyOptions { seed, tenant: TenantId::new(tenant), ..CompanyOptions::default() })
}

fn generate(seed: u64, tenant: &str, options: GenerateOptions) -> Generator {
    Generator::new(company(seed, tenant), options)
}

fn some(events: u64) -> GenerateOptions {
    GenerateOptions { events: Some(events), ..GenerateOptions::default() }
}

/// BLAKE3 over all that a record carries.
fn fingerprint(records: impl Iterator<Item = GeneratedRecord>) -> String {
    let mut hasher = blake3::Hasher::new();
    for record in records {
        let truth = record.truth.map(|t| t.to_json().unwrap()).unwrap_or_default();
        let times = format!("{}|{}", record.delivery_time, record.event_time);
        for part in [record.topic, record.source_kind, &record.key, &times, &record.payload, &truth] {
            hasher.update(part.as_bytes()).update(b"\n");
        }
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_ever() {
    let of = |seed| fingerprint(generate(seed, "default", some(2_000)));
    let first = of(1);
    assert_eq!(first, of(1));
    assert_ne!(first, of(2));
    insta::assert_snapshot!(first);
}

#[test]
fn every_record_is_one_line_of_json_with_the_fields_of_its_shape() {
    let mut shapes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in generate(1, "default", some(12_000)) {
        assert!(!record.payload.contains('\n'), "{}", record.payload);
        let row: Value = serde_json::from_str(&record.payload).unwrap();
        let (shape, fields) = shape(record.source_kind, &row);
        let fields = fields.as_object().unwrap().keys().cloned();
        shapes.entry(shape).or_default().extend(fields);
    }
    insta::assert_yaml_snapshot!(shapes);
}

/// The name of a record's shape, and the object that holds its fields.
fn shape<'a>(kind: &str, row: &'a Value) -> (String, &'a Value) {
    match kind {
        "windows_event" => (format!("{kind}/{}/{}", row["Channel"].as_str().unwrap(), row["EventID"]), row),
        "defender_xdr" => {
            let record = &row["records"][0];
            (format!("{kind}/{}", record["category"].as_str().unwrap()), &record["properties"])
        }
        "m365_audit" => (format!("{kind}/{}", row["Operation"].as_str().unwrap()), row),
        "google_workspace" => (format!("{kind}/{}", row["id"]["applicationName"].as_str().unwrap()), row),
        _ => (kind.to_owned(), row),
    }
}

#[test]
fn records_come_in_delivery_order_and_late_ones_within_their_bound() {
    let (mut last, mut late, mut very_late, mut count) = (Time(0), 0, 0, 0);
    for record in generate(3, "default", some(12_000)) {
        assert!(record.delivery_time >= last, "delivery times never go back");
        last = record.delivery_time;
        let delay_s = (record.delivery_time.micros() - record.event_time.micros()) / 1_000_000;
        assert!((0..7_300).contains(&delay_s), "{delay_s} s");
        assert!(record.truth.is_none() || delay_s < 620, "attack records are never very late: {delay_s} s");
        count += 1;
        late += i32::from(delay_s >= 60);
        very_late += i32::from(delay_s >= 600);
    }
    let share = f64::from(late) / f64::from(count);
    assert!((0.01..0.03).contains(&share), "{share}");
    assert!(very_late > 0 && very_late < late / 5, "{very_late} of {late}");
}

#[test]
fn memory_follows_the_rate_and_not_the_count() {
    let options = GenerateOptions { rate_per_s: Some(10.0), pace: Pace::Steady, ..some(30_000) };
    let mut generator = generate(1, "default", options);
    let mut most_waiting = [0, 0];
    for i in 0..30_000 {
        generator.next().unwrap();
        let half = usize::from(i >= 15_000);
        most_waiting[half] = most_waiting[half].max(generator.waiting());
    }
    assert!(most_waiting[1] < 10 * 300, "{most_waiting:?}");
    assert!((most_waiting[1] as f64) < 1.5 * most_waiting[0] as f64, "{most_waiting:?}");
}

#[test]
fn truth_names_every_attack_record_and_nothing_else() {
    let mut with = generate(1, "default", GenerateOptions { duplicate_share: 0.0, ..some(10_000) });
    let mut steps: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in with.by_ref() {
        let Some(truth) = record.truth else { continue };
        let carried = |part: &str| record.payload.contains(part);
        assert!(truth.event_uid.split('/').all(carried), "{} in {}", truth.event_uid, record.payload);
        assert!(seen.insert((truth.topic, truth.event_uid.clone())), "{} twice", truth.event_uid);
        assert_eq!(truth.topic, record.topic);
        assert_eq!(truth.tenant.as_str(), "default");
        steps.entry(truth.story.to_string()).or_default().insert(truth.step);
    }
    insta::assert_yaml_snapshot!(steps);
}

#[test]
fn stories_do_not_change_the_day_around_them() {
    let everyday = |scenarios: Vec<Scenario>| {
        let options = GenerateOptions {
            scenarios,
            duplicate_share: 0.0,
            rate_per_s: Some(10.0),
            duration: Some(Duration::from_secs(600)),
            ..GenerateOptions::default()
        };
        let mut rows: Vec<_> =
            generate(1, "default", options).filter(|r| r.truth.is_none()).map(|r| r.payload).collect();
        rows.sort();
        rows
    };
    let (calm, attacked) = (everyday(Vec::new()), everyday(Scenario::ALL.to_vec()));
    // The stories bring harmless records of their own; none of the everyday ones is missing.
    let attacked: BTreeSet<_> = attacked.into_iter().collect();
    assert!(calm.iter().all(|row| attacked.contains(row)));
}

#[test]
fn tenants_share_no_id() {
    let ids = |tenant: &str| -> BTreeSet<String> {
        let text: Vec<String> = generate(1, tenant, some(3_000)).map(|r| r.payload).collect();
        text.iter().flat_map(|t| guids(t)).collect()
    };
    let (a, b) = (ids("a"), ids("b"));
    let fixed = |id: &String| FIXED.iter().any(|f| id.eq_ignore_ascii_case(f));
    let shared: Vec<_> = a.intersection(&b).filter(|id| !fixed(id)).collect();
    assert!(a.len() > 2_000 && shared.is_empty(), "{shared:?}");
}

/// Ids that are the same in every tenant of the world: event providers, Windows classes, Microsoft's own apps.
const FIXED: [&str; 20] = [
    "5770385f-c22a-43e0-bf4c-06f5698ffbd9",
    "54849625-5478-4994-a5ba-3e3b0328c30d",
    "555908d1-a6d7-4695-8e1e-26931d2012f4",
    "a0c1853b-5c40-4b15-8766-3cf1c58f985a",
    "AB8902B4-09CA-4BB6-B78D-A8F59079A8D5",
    "00000003-0000-0000-c000-000000000000",
    "00000002-0000-0000-c000-000000000000",
    "00000002-0000-0ff1-ce00-000000000000",
    "00000003-0000-0ff1-ce00-000000000000",
    "797f4846-ba00-4fd7-ba43-dac1f8f63013",
    "d3590ed6-52b3-4102-aeff-aad2292ab01c",
    "9199bf20-a13f-4107-85dc-02114787ef48",
    "1fec8e78-bce4-4aaf-ab1b-5451cc387264",
    "89bee1f7-5e6e-4d8a-9f3d-ecd601259da7",
    "08e18876-6177-487e-b8b5-cf950c1e598c",
    "c44b4083-3bb0-49c1-b47d-974e53cbdf3c",
    "1950a258-227b-4e31-a9cf-717495945fc2",
    "4765445b-32c6-49b0-83e6-1d93765276ca",
    "00000000-0000-0000-0000-000000000000",
    "cebff5cd-ace2-4f4f-9178-9926f41749ea",
];

/// All GUIDs in a text.
fn guids(text: &str) -> Vec<String> {
    let is_guid = |t: &str| {
        t.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
    };
    let starts = text.match_indices('-').filter_map(|(at, _)| at.checked_sub(8));
    starts.filter_map(|at| text.get(at..at + 36)).filter(|t| is_guid(t)).map(str::to_owned).collect()
}

#[test]
fn the_mix_keeps_its_shares() {
    let mut by_domain: BTreeMap<&str, f64> = BTreeMap::new();
    let options = GenerateOptions { scenarios: Vec::new(), rate_per_s: Some(50.0), ..some(15_000) };
    let mut bytes = 0;
    for record in generate(1, "default", options) {
        bytes += record.payload.len();
        *by_domain.entry(record.topic.split('.').next().unwrap()).or_default() += 1.0 / 15_000.0;
    }
    assert!((0.65..0.80).contains(&by_domain["endpoint"]), "{by_domain:?}");
    assert!((0.07..0.20).contains(&by_domain["identity"]), "{by_domain:?}");
    assert!((0.05..0.15).contains(&by_domain["app"]), "{by_domain:?}");
    assert!((0.04..0.10).contains(&by_domain["email"]), "{by_domain:?}");
    let mean = bytes / 15_000;
    assert!((1_000..2_000).contains(&mean), "mean record size {mean} bytes");
}

#[test]
fn volume_follows_the_asked_rate() {
    let options = GenerateOptions {
        scenarios: Vec::new(),
        pace: Pace::Steady,
        rate_per_s: Some(20.0),
        duration: Some(Duration::from_secs(900)),
        ..GenerateOptions::default()
    };
    let count = generate(5, "default", options).count() as f64;
    assert!((0.85..1.15).contains(&(count / (20.0 * 900.0))), "{count}");
}

#[test]
fn stories_repeat_with_other_people() {
    let options = GenerateOptions {
        scenarios: vec![Scenario::PhishingToCloud],
        story_repeat: Some(Duration::from_secs(3_600)),
        duration: Some(Duration::from_secs(4 * 3_600)),
        rate_per_s: Some(0.5),
        ..GenerateOptions::default()
    };
    let mut victims: BTreeMap<String, String> = BTreeMap::new();
    for record in generate(1, "default", options) {
        if let Some(truth) = record.truth.filter(|t| t.step == "mass_download") {
            victims.insert(truth.story.to_string(), record.key);
        }
    }
    assert_eq!(victims.len(), 4);
    assert_eq!(victims.values().collect::<BTreeSet<_>>().len(), 4, "{victims:?}");
}
