//! Event time: microseconds since the Unix epoch, UTC. Nothing here reads a clock.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A point in time, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, ToSchema)]
#[schema(
    value_type = String, format = DateTime, example = "2026-03-02T07:00:00.000000Z",
    description = "A point in time: RFC 3339 in UTC, with microseconds."
)]
pub struct Time(pub i64);

/// Why a text or number is no usable event time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// The text follows none of the known forms.
    #[error(
        "{0:?} is no timestamp (expected RFC 3339, `YYYY-MM-DD HH:MM:SS[.f]`, or epoch seconds, ms, us or ns)"
    )]
    Unreadable(String),
    /// The time lies outside 1990-01-01..2100-01-01, such as FILETIME zero (1601) or a sentinel (2999).
    #[error("timestamp {0} is outside 1990..2100")]
    Implausible(String),
}

impl Time {
    /// Earliest plausible event time, 1990-01-01: before it lie FILETIME zero, epoch zero and dead clocks.
    pub const MIN: Time = Time(631_152_000_000_000);
    /// Latest plausible event time, 2100-01-01: beyond it a single record would push the watermark for ever.
    pub const MAX: Time = Time(4_102_444_800_000_000);

    /// From milliseconds since the epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Time(ms.saturating_mul(1_000))
    }

    /// From seconds since the epoch.
    pub const fn from_secs(s: i64) -> Self {
        Time(s.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This time moved by `us` microseconds, saturating.
    pub const fn plus_micros(self, us: i64) -> Self {
        Time(self.0.saturating_add(us))
    }

    /// Reads the forms that real telemetry uses, and refuses implausible years.
    ///
    /// RFC 3339 with `T` or a space, up to 9 fraction digits, `Z`, an offset or none (then UTC); plain
    /// integers as epoch seconds, milliseconds, microseconds or nanoseconds, by magnitude.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let text = text.trim();
        let time = parse_fixed(text.as_bytes())
            .or_else(|| parse_epoch(text))
            .or_else(|| parse_general(text))
            .ok_or_else(|| TimeError::Unreadable(text.chars().take(64).collect()))?;
        time.plausible().ok_or_else(|| TimeError::Implausible(text.chars().take(64).collect()))
    }

    /// RFC 3339 in UTC with milliseconds, no more and no less, as STIX and CACAO want it.
    pub fn rfc3339_millis(self) -> String {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => format!("{t:.3}"),
            Err(_) => self.to_string(),
        }
    }

    /// `Some(self)` where the time lies within [`Time::MIN`]..[`Time::MAX`].
    pub fn plausible(self) -> Option<Self> {
        (Self::MIN..Self::MAX).contains(&self).then_some(self)
    }

    /// From an epoch number in seconds, milliseconds, microseconds or nanoseconds, told apart by magnitude.
    pub fn from_epoch_number(n: f64) -> Option<Self> {
        let abs = n.abs();
        let us = if abs < 1e11 {
            n * 1e6
        } else if abs < 1e14 {
            n * 1e3
        } else if abs < 1e17 {
            n
        } else {
            n / 1e3
        };
        us.is_finite().then_some(Time(us as i64))
    }
}

/// `YYYY-MM-DD[T ]HH:MM:SS[.fffffffff][Z|+HH:MM|-HH:MM]`, the form of nearly every record, without allocation.
fn parse_fixed(b: &[u8]) -> Option<Time> {
    let two = |i: usize| -> Option<i64> {
        let (h, l) = (b.get(i)?.wrapping_sub(b'0'), b.get(i + 1)?.wrapping_sub(b'0'));
        (h < 10 && l < 10).then(|| i64::from(h) * 10 + i64::from(l))
    };
    let year = two(0)? * 100 + two(2)?;
    let separated =
        b.get(4) == Some(&b'-') && b.get(7) == Some(&b'-') && matches!(b.get(10), Some(b'T' | b' '));
    if !separated || b.get(13) != Some(&b':') || b.get(16) != Some(&b':') {
        return None;
    }
    let (month, day, hour, minute, second) = (two(5)?, two(8)?, two(11)?, two(14)?, two(17)?);
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !in_range || day > days_in_month(year, month) {
        return None;
    }
    let mut at = 19;
    let mut fraction_us = 0;
    if b.get(at) == Some(&b'.') {
        at += 1;
        let mut scale = 100_000;
        while let Some(digit) = b.get(at).filter(|c| c.is_ascii_digit()) {
            fraction_us += i64::from(digit - b'0') * scale;
            scale /= 10;
            at += 1;
        }
    }
    let offset_minutes = match &b[at..] {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let colon = usize::from(b.get(at + 3) == Some(&b':'));
            if b.len() != at + 5 + colon {
                return None;
            }
            let minutes = two(at + 1)? * 60 + two(at + 3 + colon)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Time((seconds - offset_minutes * 60) * 1_000_000 + fraction_us))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn parse_epoch(text: &str) -> Option<Time> {
    let numeric = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    // Fewer than nine digits is a year or a counter, not an epoch.
    if !numeric || text.len() < 9 {
        return None;
    }
    match text.parse::<i64>() {
        // Integers keep their precision: a float would lose microseconds beyond 2^53 ns.
        Ok(n) if n < 100_000_000_000 => Some(Time::from_secs(n)),
        Ok(n) if n < 100_000_000_000_000 => Some(Time::from_millis(n)),
        Ok(n) if n < 100_000_000_000_000_000 => Some(Time(n)),
        Ok(n) => Some(Time(n / 1_000)),
        Err(_) => text.parse::<f64>().ok().and_then(Time::from_epoch_number),
    }
}

fn parse_general(text: &str) -> Option<Time> {
    if let Ok(t) = text.parse::<jiff::Timestamp>() {
        return Some(Time(t.as_microsecond()));
    }
    const FORMS: [&str; 5] = [
        "%m/%d/%Y %I:%M:%S %p",
        "%m/%d/%Y %H:%M:%S",
        "%Y-%m-%d %H:%M:%S%.f UTC",
        "%b %d, %Y %I:%M:%S %p",
        "%Y-%m-%d",
    ];
    FORMS.iter().find_map(|form| {
        let parsed = jiff::fmt::strtime::parse(form, text).ok()?;
        let date_time = parsed.to_datetime().or_else(|_| parsed.to_date().map(|d| d.at(0, 0, 0, 0))).ok()?;
        date_time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| Time(z.timestamp().as_microsecond()))
    })
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC with microseconds: `2023-08-15T09:53:59.757000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => write!(f, "{t:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        if let Some(us) = text.strip_suffix("us").and_then(|n| n.parse().ok()) {
            return Ok(Time(us));
        }
        parse_fixed(text.as_bytes())
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no RFC 3339 time")))
    }
}

/// How far event time has come: no record at or before it is still expected, within the allowed lateness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Watermark(pub Time);

impl Watermark {
    /// Nothing is complete yet.
    pub const START: Watermark = Watermark(Time(i64::MIN));
    /// The input has ended: everything is complete.
    pub const END: Watermark = Watermark(Time(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_of_real_telemetry() {
        let expected = Time(1_692_093_239_757_000);
        for text in [
            "2023-08-15T09:53:59.757Z",
            "2023-08-15 09:53:59.757",
            "2023-08-15T09:53:59.757000000Z",
            "2023-08-15 09:53:59.757000+00:00",
            "2023-08-15T11:53:59.757+0200",
            "1692093239757",
            "1692093239757000",
            "1692093239.757",
        ] {
            assert_eq!(Time::parse(text), Ok(expected), "{text}");
        }
        assert_eq!(Time::parse("8/15/2023 9:53:59 AM"), Ok(Time(1_692_093_239_000_000)));
        assert_eq!(Time::parse("1692093239"), Ok(Time(1_692_093_239_000_000)));
    }

    #[test]
    fn milliseconds_are_three_digits_and_never_later() {
        assert_eq!(Time(1_692_093_239_757_999).rfc3339_millis(), "2023-08-15T09:53:59.757Z");
        assert_eq!(Time::from_secs(1_692_093_239).rfc3339_millis(), "2023-08-15T09:53:59.000Z");
    }

    #[test]
    fn refuses_what_is_no_plausible_time() {
        for text in ["1601-01-01T00:00:00Z", "2999-12-31T00:00:00Z", "0001-01-01T00:00:00"] {
            assert!(matches!(Time::parse(text), Err(TimeError::Implausible(_))), "{text}");
        }
        for text in ["", "-", "yesterday", "2023-02-30T00:00:00Z", "12", "2023-08-15T25:00:00Z"] {
            assert!(matches!(Time::parse(text), Err(TimeError::Unreadable(_))), "{text}");
        }
    }

    #[test]
    fn shows_and_reads_back() {
        let t = Time(1_692_093_239_757_123);
        assert_eq!(t.to_string(), "2023-08-15T09:53:59.757123Z");
        let json = serde_json::to_string(&t).unwrap();
        assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), t);
        let end = serde_json::to_string(&Watermark::END).unwrap();
        assert_eq!(serde_json::from_str::<Watermark>(&end).unwrap(), Watermark::END);
    }
}
