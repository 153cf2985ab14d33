//! How numbers, times and lists are said to people: one wording and one rounding everywhere.

use std::borrow::Cow;

use event::{Alert, BlastRadius, Tactic, Time};

/// Millionths as a share with two decimals, rounded half up: `0.55`.
pub fn share(ppm: u32) -> String {
    let hundredths = (u64::from(ppm) + 5_000) / 10_000;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// A span of microseconds in the unit a person would use, rounded half up: `45 s`, `12 min`, `3 h`, `2 d`.
pub fn duration(us: i64) -> String {
    const SECOND_US: i64 = 1_000_000;
    let rounded = |unit_us: i64| us.max(0).saturating_add(unit_us / 2) / unit_us;
    match rounded(SECOND_US) {
        seconds @ ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", rounded(60 * SECOND_US)),
        7_200..172_800 => format!("{} h", rounded(3_600 * SECOND_US)),
        _ => format!("{} d", rounded(86_400 * SECOND_US)),
    }
}

/// `1 alert falls`, `3 alerts fall`.
pub(crate) fn counted(n: usize, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

/// `a`, `a and b`, `a and 3 more devices`.
pub(crate) fn listed<'a>(names: &[&'a str], more: &str) -> Option<Cow<'a, str>> {
    match names {
        [] => None,
        [one] => Some(Cow::Borrowed(one)),
        [one, other] => Some(format!("{one} and {other}").into()),
        [one, rest @ ..] => Some(format!("{one} and {} more {more}", rest.len()).into()),
    }
}

/// `2 devices, 1 user and 1 mailbox`; nothing where nothing is affected.
pub fn affected(radius: &BlastRadius) -> String {
    let counts = [
        (radius.devices, "device", "devices"),
        (radius.users, "user", "users"),
        (radius.mailboxes, "mailbox", "mailboxes"),
        (radius.apps, "app", "apps"),
        (radius.cloud_resources, "cloud resource", "cloud resources"),
    ];
    let some = counts.into_iter().filter(|(n, ..)| *n > 0);
    let mut told: Vec<String> = some.map(|(n, one, more)| counted(n as usize, one, more)).collect();
    match told.pop() {
        Some(last) if !told.is_empty() => format!("{} and {last}", told.join(", ")),
        only => only.unwrap_or_default(),
    }
}

/// `execution`, `execution and discovery`, `execution, discovery and impact`.
pub(crate) fn tactic_list(tactics: &[Tactic]) -> String {
    match tactics {
        [] => String::new(),
        [one] => tactic(*one),
        [some @ .., last] => {
            format!(
                "{} and {}",
                some.iter().map(|s| tactic(*s)).collect::<Vec<_>>().join(", "),
                tactic(*last)
            )
        }
    }
}

/// `initial access`.
pub(crate) fn tactic(tactic: Tactic) -> String {
    tactic.as_str().replace('_', " ")
}

pub(crate) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// `2024-06-20 09:10:44`, in UTC.
pub(crate) fn clock(time: Time) -> String {
    let text = time.to_string();
    text.split_once('.').map_or(text.as_str(), |(seconds, _)| seconds).replace('T', " ")
}

/// The clock without the date where that is the date of `before`: `09:10:44`.
pub(crate) fn clock_after(before: Time, time: Time) -> String {
    let (known, text) = (clock(before), clock(time));
    match (known.split_once(' '), text.split_once(' ')) {
        (Some((day, _)), Some((same, hour))) if day == same => hour.to_owned(),
        _ => text,
    }
}

/// `at 2024-06-20 09:10:44 UTC`, `between 2024-06-20 09:10:44 and 09:12:00 UTC`.
pub(crate) fn span(first: Time, last: Time) -> String {
    let begin = clock(first);
    if first == last || begin == clock(last) {
        return format!("at {begin} UTC");
    }
    format!("between {begin} and {} UTC", clock_after(first, last))
}

/// The title of an alert, to go on a sentence with.
pub(crate) fn headline(alert: &Alert) -> &str {
    sentence_end_cut(&alert.title)
}

pub(crate) fn sentence_end_cut(title: &str) -> &str {
    title.trim_end_matches(['.', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_spans_are_rounded_half_up() {
        let shares = [0, 4_999, 5_000, 545_000, 995_000, 1_083_801].map(share);
        assert_eq!(shares, ["0.00", "0.00", "0.01", "0.55", "1.00", "1.08"]);
        let spans = [-1, 0, 1_499_999, 1_500_000, 119_499_999, 119_500_000, 150_000_000, 7_199_500_000];
        assert_eq!(spans.map(duration), ["0 s", "0 s", "1 s", "2 s", "119 s", "2 min", "3 min", "2 h"]);
        assert_eq!(duration(172_800_000_000), "2 d");
        assert_eq!(duration(i64::MAX), "106751991 d");
    }

    #[test]
    fn a_span_says_the_day_once_and_the_second_once() {
        let at = |s: i64| Time::from_secs(1_772_438_400 + s);
        assert_eq!(span(at(0), at(0)), "at 2026-03-02 08:00:00 UTC");
        assert_eq!(span(at(0), at(90)), "between 2026-03-02 08:00:00 and 08:01:30 UTC");
        assert_eq!(span(at(0), at(86_400)), "between 2026-03-02 08:00:00 and 2026-03-03 08:00:00 UTC");
    }
}
