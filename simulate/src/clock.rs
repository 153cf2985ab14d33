//! Time of day: the working-hours curve, and timestamps in the forms that sources write. Nothing here reads a clock.

use std::fmt;

use event::Time;

const SECOND_US: i64 = 1_000_000;
const DAY_S: i64 = 86_400;

/// `time` plus whole or fractional seconds.
pub(crate) fn after(time: Time, seconds: f64) -> Time {
    time.plus_micros((seconds * SECOND_US as f64) as i64)
}

/// How busy people are at `time`, as a factor of their mean over a week; `utc_offset_h` is the company's zone.
///
/// A morning and an afternoon peak, a lunch dip, quiet nights and weekends.
pub(crate) fn human_activity(time: Time, utc_offset_h: i64) -> f64 {
    const BY_HOUR: [f64; 24] = [
        0.05, 0.03, 0.03, 0.03, 0.04, 0.10, 0.35, 1.10, 2.60, 3.10, 3.00, 2.70, 1.90, 2.50, 2.90, 2.80, 2.40,
        1.70, 0.90, 0.50, 0.35, 0.25, 0.15, 0.08,
    ];
    const WEEKEND: f64 = 0.15;
    let local_s = time.micros().div_euclid(SECOND_US) + utc_offset_h * 3_600;
    // 1970-01-01 was a Thursday: day 2 of the epoch is the first Saturday.
    let weekend = matches!(local_s.div_euclid(DAY_S).rem_euclid(7), 2 | 3);
    let second = local_s.rem_euclid(DAY_S);
    let (hour, part) = ((second / 3_600) as usize, (second % 3_600) as f64 / 3_600.0);
    let curve = BY_HOUR[hour] * (1.0 - part) + BY_HOUR[(hour + 1) % 24] * part;
    if weekend { curve * WEEKEND } else { curve }
}

/// True on the company's patch day, the second day of its working week.
pub(crate) fn is_patch_day(time: Time) -> bool {
    time.micros().div_euclid(SECOND_US * DAY_S).rem_euclid(7) == 5
}

/// A timestamp to be written in one of the forms that sources use.
#[derive(Clone, Copy)]
pub(crate) enum Stamp {
    /// `2023-08-15T09:53:59.757Z`
    Millis(Time),
    /// `2023-08-15 09:53:59.757`, Sysmon's `UtcTime`
    Sysmon(Time),
    /// `2023-08-15T09:53:59.7571230Z`, the 100 ns ticks of Defender
    Ticks(Time),
    /// `2023-08-15T09:53:59Z`
    Seconds(Time),
    /// `2023-08-15T09:53:59.757`, the Log Analytics export of Entra
    Bare(Time),
}

impl fmt::Display for Stamp {
    /// Digits by hand: three stamps a record made formatting a tenth of the generator's time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Stamp::Millis(t) | Stamp::Sysmon(t) | Stamp::Ticks(t) | Stamp::Seconds(t) | Stamp::Bare(t)) =
            *self;
        let second = t.micros().div_euclid(SECOND_US);
        let (year, month, day) = civil(second.div_euclid(DAY_S));
        let of_day = second.rem_euclid(DAY_S);
        let mut text = *b"0000-00-00T00:00:00.0000000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], of_day / 3_600);
        digits(&mut text[14..16], of_day / 60 % 60);
        digits(&mut text[17..19], of_day % 60);
        digits(&mut text[20..26], t.micros().rem_euclid(SECOND_US));
        if matches!(self, Stamp::Sysmon(_)) {
            text[10] = b' ';
        }
        let (length, zone) = match self {
            Stamp::Millis(_) => (23, "Z"),
            Stamp::Sysmon(_) | Stamp::Bare(_) => (23, ""),
            Stamp::Ticks(_) => (28, ""),
            Stamp::Seconds(_) => (19, "Z"),
        };
        f.write_str(std::str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)?;
        f.write_str(zone)
    }
}

/// Fills `out` with the decimal digits of `n`, zeros in front.
fn digits(out: &mut [u8], mut n: i64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

impl serde::Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Year, month and day of a day count since 1970-01-01 (Howard Hinnant, "chrono-compatible date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_read_back_as_the_same_time() {
        for us in [1_692_093_239_757_000, 951_782_400_000_000, 1_740_787_199_999_000] {
            let time = Time(us);
            for stamp in [Stamp::Millis(time), Stamp::Sysmon(time), Stamp::Ticks(time), Stamp::Bare(time)] {
                assert_eq!(Time::parse(&stamp.to_string()), Ok(time), "{stamp}");
            }
        }
        assert_eq!(Stamp::Seconds(Time(1_692_093_239_757_000)).to_string(), "2023-08-15T09:53:59Z");
    }

    #[test]
    fn people_work_by_day_and_rest_on_sunday() {
        let at = |text| human_activity(Time::parse(text).unwrap(), 1);
        assert!(at("2026-03-02T09:00:00Z") > 20.0 * at("2026-03-02T02:00:00Z"));
        assert!(at("2026-03-02T09:00:00Z") > 5.0 * at("2026-03-01T09:00:00Z"));
        let week =
            (0..168).map(|h| human_activity(Time::from_secs(1_772_409_600 + h * 3_600), 0)).sum::<f64>();
        assert!((0.7..1.3).contains(&(week / 168.0)), "{week}");
    }
}
