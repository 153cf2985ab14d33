//! The event time of an event: the first of the source's time fields that is readable and plausible.

use event::{Time, TimeError};

use super::dead::DeadReason;
use super::eval::is_empty;
use super::plan::{KindPlan, ShapePlan};
use super::slots::Values;
use crate::mapping::{FieldId, TimeField};

/// The event time, or why there is none.
pub(crate) fn event_time(
    candidates: &[TimeField],
    values: &Values<'_>,
    plan: &KindPlan,
    shape: &ShapePlan,
    scratch: &mut String,
) -> Result<Time, DeadReason> {
    let mut failure: Option<DeadReason> = None;
    for candidate in candidates {
        scratch.clear();
        let Some(text) = values.get(candidate.field).and_then(|json| json.unwrapped().scalar(scratch)) else {
            continue;
        };
        if is_empty(text) {
            continue;
        }
        match read(candidate, text) {
            Ok(time) => return Ok(time),
            Err(e) => note(&mut failure, name(candidate.field, values, plan, shape), &e),
        }
    }
    Err(failure.unwrap_or_else(|| no_time(candidates, plan, shape)))
}

/// What the record calls the field that was found; mappings have names of their own, which no record has.
fn name<'n>(field: FieldId, values: &Values<'_>, plan: &'n KindPlan, shape: &'n ShapePlan) -> &'n str {
    let names = shape.names(field, &plan.fields);
    names.get(values.rank(field)).copied().unwrap_or_else(|| plan.fields.name(field))
}

fn no_time(candidates: &[TimeField], plan: &KindPlan, shape: &ShapePlan) -> DeadReason {
    let mut looked_at: Vec<&str> = Vec::new();
    for name in candidates.iter().flat_map(|candidate| shape.names(candidate.field, &plan.fields)) {
        if !looked_at.contains(&name) {
            looked_at.push(name);
        }
    }
    DeadReason::NoTime(looked_at.join(", "))
}

fn read(candidate: &TimeField, text: &str) -> Result<Time, TimeError> {
    let Some(start) = candidate.since else { return Time::parse(text) };
    let seconds: f64 =
        text.trim().parse().map_err(|_| TimeError::Unreadable(text.chars().take(64).collect()))?;
    // Saturates; what is out of range is implausible.
    let time = start.plus_micros((seconds * 1e6).round() as i64);
    time.plausible().ok_or_else(|| TimeError::Implausible(text.chars().take(64).collect()))
}

/// An implausible time says more than an unreadable one; among equals the first counts.
fn note(failure: &mut Option<DeadReason>, field: &str, error: &TimeError) {
    let reason = match error {
        TimeError::Unreadable(_) => DeadReason::UnreadableTime(format!("{field}: {error}")),
        TimeError::Implausible(_) => DeadReason::ImplausibleTime(format!("{field}: {error}")),
    };
    if failure.is_none()
        || (matches!(failure, Some(DeadReason::UnreadableTime(_)))
            && matches!(error, TimeError::Implausible(_)))
    {
        *failure = Some(reason);
    }
}
