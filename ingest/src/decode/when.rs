//! Conditions of variants on native fields. Case does not matter.

use super::json::{Json, Kind};
use super::slots::Values;
use crate::mapping::{Condition, FieldId, Test, When};

/// Whether an alternative holds; no alternative at all always holds. The condition on the field `proved` is known to.
pub(crate) fn holds(when: &When, proved: Option<FieldId>, values: &Values<'_>) -> bool {
    let all = |alternative: &Vec<(FieldId, Condition)>| {
        alternative.iter().all(|(f, c)| proved == Some(*f) || condition_holds(*f, c, values))
    };
    when.alternatives.is_empty() || when.alternatives.iter().any(all)
}

fn condition_holds(field: FieldId, condition: &Condition, values: &Values<'_>) -> bool {
    match condition {
        Condition::Exists(wanted) => values.get(field).is_some() == *wanted,
        Condition::Any(tests) => match values.plain_text(field) {
            Some(text) => any_text(tests, text),
            None if values.is_listed(field) => values.listed(field).any(|json| any(tests, json)),
            None => values.get(field).is_some_and(|json| any(tests, json)),
        },
    }
}

pub(crate) fn is_list(json: Json<'_>) -> bool {
    matches!(json.kind(), Kind::List)
}

fn any(tests: &[Test], json: Json<'_>) -> bool {
    let json = json.unwrapped();
    if is_list(json) {
        return json.members().any(|member| any(tests, member));
    }
    match json.kind() {
        Kind::Int(n) => with_int(n, |digits| any_text(tests, digits)),
        _ => json.scalar(&mut String::new()).is_some_and(|text| any_text(tests, text)),
    }
}

fn any_text(tests: &[Test], text: &str) -> bool {
    let text = text.trim();
    tests.iter().any(|test| passes(test, text))
}

/// Calls `f` with the digits of a number, written on the stack: event ids are compared in every record.
pub(crate) fn with_int<R>(n: i64, f: impl FnOnce(&str) -> R) -> R {
    // An i64 has at most 19 digits and a sign.
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = n.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if n < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    f(std::str::from_utf8(&digits[at..]).unwrap_or_default())
}

fn passes(test: &Test, text: &str) -> bool {
    match test {
        Test::Equals(wanted) => equals(text, wanted),
        Test::Prefix(wanted) => match text.get(..wanted.len()) {
            Some(head) if head.is_ascii() => head.eq_ignore_ascii_case(wanted),
            _ => text.to_lowercase().starts_with(wanted.as_ref()),
        },
        Test::Contains(wanted) => text.to_lowercase().contains(wanted.as_ref()),
    }
}

/// Whether `text` equals `lower`, which is in lower case.
pub(crate) fn equals(text: &str, lower: &str) -> bool {
    text.eq_ignore_ascii_case(lower) || (!text.is_ascii() && text.to_lowercase() == lower)
}

/// Calls `f` with the text in lower case; allocates where it is not already.
pub(crate) fn lower<R>(text: &str, f: impl FnOnce(&str) -> R) -> R {
    let text = text.trim();
    if text.bytes().all(|c| c.is_ascii() && !c.is_ascii_uppercase()) {
        f(text)
    } else {
        f(&text.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_display() {
        for n in [0, 1, -1, 10, 4624, i64::MAX, i64::MIN] {
            assert_eq!(with_int(n, str::to_owned), n.to_string());
        }
    }
}
