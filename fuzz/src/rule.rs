//! Rule documents of any text: each is loaded or rejected by name, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (rules, _report) = rules::RuleSet::load([("fuzz.yml".to_owned(), text.to_owned())]);
    let _fields = rules.native_fields();
});
