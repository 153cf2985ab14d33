//! Timestamps of any bytes: no panic, and what is read shows and reads back.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(time) = event::Time::parse(text) {
        assert_eq!(event::Time::parse(&time.to_string()), Ok(time));
    }
});
