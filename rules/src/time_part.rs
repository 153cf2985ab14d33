//! Parts of a time: `minute`, `hour`, `day`, `week`, `month`, `year`.

use jiff::civil::DateTime;
use rsigma_parser::Modifier;

/// Which part of a time a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TimePart {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl TimePart {
    pub(crate) fn from_modifier(modifier: Modifier) -> Option<Self> {
        Some(match modifier {
            Modifier::Minute => TimePart::Minute,
            Modifier::Hour => TimePart::Hour,
            Modifier::Day => TimePart::Day,
            Modifier::Week => TimePart::Week,
            Modifier::Month => TimePart::Month,
            Modifier::Year => TimePart::Year,
            _ => return None,
        })
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            TimePart::Minute => "minute",
            TimePart::Hour => "hour",
            TimePart::Day => "day",
            TimePart::Week => "week",
            TimePart::Month => "month",
            TimePart::Year => "year",
        }
    }

    /// The part of a time in text, as it is written: no zone conversion (specification, appendix of modifiers).
    /// Epoch numbers and other forms that carry no calendar are read as UTC. Weeks are those of ISO 8601.
    pub(crate) fn of(self, text: &str) -> Option<i64> {
        let time = civil(text.trim())?;
        Some(match self {
            TimePart::Minute => time.minute().into(),
            TimePart::Hour => time.hour().into(),
            TimePart::Day => time.day().into(),
            TimePart::Week => time.date().iso_week_date().week().into(),
            TimePart::Month => time.month().into(),
            TimePart::Year => time.year().into(),
        })
    }
}

fn civil(text: &str) -> Option<DateTime> {
    // `2024-05-06T13:14:15`: what follows are fractions and the zone.
    if let Some(Ok(time)) = text.get(..19).map(str::parse) {
        return Some(time);
    }
    let utc = event::Time::parse(text).ok()?;
    utc.to_string().get(..19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_parts_as_written() {
        let text = "2024-05-06T13:14:15+05:00";
        let parts = [
            TimePart::Minute,
            TimePart::Hour,
            TimePart::Day,
            TimePart::Week,
            TimePart::Month,
            TimePart::Year,
        ];
        assert_eq!(parts.map(|p| p.of(text)), [14, 13, 6, 19, 5, 2024].map(Some));
        assert_eq!(TimePart::Hour.of("1715001255"), Some(13));
        assert_eq!(TimePart::Hour.of("noon"), None);
    }
}
