//! Scenarios: small stories in, golden incidents and actions out, whatever way the records take.
//!
//! A case is a folder of `tests/scenario/cases`; tests/scenario/README.md says what is in one, and how to add one.

pub mod case;
mod golden;
pub mod way;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use case::Case;
use golden::Outcome;
use way::Way;

/// Cases at once: each starts the binary again and again, and mostly waits for the disk.
const CASES_AT_ONCE: usize = 3;

/// Guarantees: each case gives its golden, byte for byte, in one go, in other batches, over several partitions, out
/// of order within the allowed lateness, and through a daemon that is killed twice.
#[test]
fn every_case_gives_its_golden_whatever_way_the_records_take() {
    let waiting = Mutex::new(VecDeque::from(Case::all()));
    let failures = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..CASES_AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = next() {
                    if catch_unwind(AssertUnwindSafe(|| check(&case))).is_err() {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(case.name);
                    }
                }
            });
        }
    });
    let failed = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failed.is_empty(), "these cases failed, each with its reason above: {failed:?}");
}

fn check(case: &Case) {
    // SCENARIO_WAY names one of them, as it is called here.
    let only = std::env::var("SCENARIO_WAY").ok();
    let is_wanted = |way: &Way| only.as_ref().is_none_or(|only| *only == format!("{way:?}"));
    let ways: Vec<Way> = Way::ALL.into_iter().filter(is_wanted).collect();
    assert!(!ways.is_empty(), "no way is called {only:?}: {:?}", Way::ALL);
    for way in ways {
        let outcome = way.run(case);
        if way == Way::AtOnce && golden::is_update() {
            outcome.write(case);
        }
        let (mut outcome, mut golden) = (outcome, Outcome::golden(case));
        // The id of an action is derived from its incident, as that was known when it was decided: by its first alert.
        // Where an earlier one came later, the incident has another id now, and the action is not decided again.
        if way != Way::AtOnce {
            (outcome, golden) = (outcome.with_nameless_actions(), golden.with_nameless_actions());
        }
        outcome.expect(&golden, &format!("{}, {way:?}", case.name));
    }
}
