//! Overlays of any text, and a rule set with those that are sound: a mistake is an error with its place, never a panic.
//! The text before a line of `=====` is the overlay, the rest the rules.
#![no_main]

use event::Time;
use rules::{Overlay, RuleSet};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (overlay, rules) = text.split_once("\n=====\n").unwrap_or((text, RULES));
    let Ok(overlay) = Overlay::parse("fuzz.yml", overlay) else { return };
    let now = Time::from_secs(1_700_000_000);
    let entries = overlay.entries().len();
    let expired = overlay.entries().filter(|entry| entry.expires <= now).count();
    let (rules, report) = RuleSet::loader().overlay(overlay).now(now).load([("r.yml".into(), rules.into())]);
    assert!(report.expired.len() == expired && expired <= entries, "an entry was lost uncounted");
    assert!(rules.next_expiry().is_none_or(|at| at > now), "what expires is still to come");
    let _fields = rules.native_fields();
});

const RULES: &str = "title: A\nname: a\nid: 00000000-0000-4000-8000-00000000000a\nlevel: high\ntags: [attack.t1110]\n\
    logsource: {product: windows}\ndetection: {s: {User: x}, condition: s}\n---\n\
    title: Many\nname: many\ncorrelation: {type: event_count, rules: [a], group-by: [User], timespan: 5m, condition: {gte: 2}}\n";
