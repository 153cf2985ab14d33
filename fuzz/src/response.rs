//! Response rules and connector files of any text: each is loaded or rejected with its place, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (_rules, _report) = respond::ResponseRules::load([("fuzz.yml".to_owned(), text.to_owned())]);
    let _outcome = respond::Connector::parse("fuzz.yml", text);
});
