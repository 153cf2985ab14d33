//! Pipelines of any text, and rules through those that are sound: a mistake is an error with its place, never a panic,
//! and no rule grows without end. The text before a line of `=====` is the pipeline, the rest the rules.
#![no_main]

use rules::{Pipeline, Placeholders, RuleSet};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (pipeline, rest) = text.split_once("\n=====\n").unwrap_or((text, RULE));
    let (lists, rules) = rest.split_once("\n=====\n").unwrap_or(("admins: [root, 'svc-*']", rest));
    let Ok(pipeline) = Pipeline::parse("fuzz.yml", pipeline) else { return };
    let placeholders = Placeholders::from_yaml(lists).unwrap_or_default();
    let loader = RuleSet::loader().pipeline(pipeline).placeholders(placeholders);
    let (rules, _report) = loader.load([("fuzz.yml".to_owned(), rules.to_owned())]);
    let _fields = rules.native_fields();
});

const RULE: &str = "title: t\nname: r\nlevel: high\nlogsource: {product: windows, category: process_creation}\n\
    detection:\n  s: {Image|endswith: '\\cmd.exe', User|expand: '%admins%', Hashes: [MD5=00, 'SHA1=*'], A|fieldref: B}\n\
    \x20 f: {CommandLine|re: 'a.b', Port: [1, 2]}\n  k: [evil, 7]\n  condition: (s or k) and not f\n";
