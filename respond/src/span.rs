//! Durations as people write them in rules and configuration: `24h`, `30m`, `7d`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A positive duration in microseconds, at most [`Span::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

impl Span {
    /// One year: whatever is to hold longer is not a response but a configuration.
    pub const MAX: Span = Span(366 * 86_400_000_000);

    /// From seconds.
    pub const fn from_secs(s: i64) -> Self {
        Span(s * 1_000_000)
    }

    /// From hours.
    pub const fn from_hours(h: i64) -> Self {
        Span::from_secs(h * 3_600)
    }

    /// Length in microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Reads `90s`, `30m`, `24h`, `7d` and their combinations (`1d12h`); a day has 24 hours.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no duration (write 90s, 30m, 24h or 7d)");
        let span: jiff::Span = text.trim().parse().map_err(|_| bad())?;
        let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
        let us = i64::try_from(duration.as_micros()).map_err(|_| bad())?;
        let in_range = us > 0 && us <= Span::MAX.0;
        in_range.then_some(Span(us)).ok_or_else(|| format!("{text:?} is not between 1us and 366d"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 4] =
            [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s")];
        match UNITS.iter().find(|(us, _)| self.0 % us == 0) {
            Some((us, unit)) => write!(f, "{}{unit}", self.0 / us),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Span::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_durations() {
        for (text, s) in [("90s", 90), ("30m", 1_800), ("24h", 86_400), ("7d", 604_800), ("1d12h", 129_600)] {
            let span = Span::parse(text).unwrap();
            assert_eq!(span, Span::from_secs(s), "{text}");
            assert_eq!(Span::parse(&span.to_string()), Ok(span));
        }
        assert_eq!(Span::from_secs(86_400).to_string(), "1d");
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["", "24", "-1h", "0s", "99999d", "soon", "1 month"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }
}
