//! What the generator is asked for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

/// An attack that is told across sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Phishing mail, payload, credential theft, lateral movement, then the cloud: all four domains.
    PhishingToCloud,
    /// A stolen mail session, hiding rules and a false invoice: no endpoint.
    BusinessEmailCompromise,
    /// Guessed passwords of many users, one success, enumeration.
    PasswordSpray,
}

impl Scenario {
    /// Every story.
    pub const ALL: [Scenario; 3] =
        [Scenario::PhishingToCloud, Scenario::BusinessEmailCompromise, Scenario::PasswordSpray];

    /// The name on the command line and in truth files.
    pub const fn name(self) -> &'static str {
        match self {
            Scenario::PhishingToCloud => "phishing_to_cloud",
            Scenario::BusinessEmailCompromise => "business_email_compromise",
            Scenario::PasswordSpray => "password_spray",
        }
    }

    /// Reads what `--scenario` takes: a story's name, `benign` for none, `all` for every one.
    ///
    /// # Errors
    /// [`UnknownScenario`] names the choices.
    pub fn set(text: &str) -> Result<Vec<Scenario>, UnknownScenario> {
        match text {
            "benign" => Ok(Vec::new()),
            "all" => Ok(Self::ALL.to_vec()),
            name => name.parse().map(|scenario| vec![scenario]),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no scenario of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no scenario {0:?}; choose phishing_to_cloud, business_email_compromise, password_spray, benign (none) or all"
)]
pub struct UnknownScenario(String);

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|s| s.name() == text).ok_or_else(|| UnknownScenario(text.to_owned()))
    }
}

/// How the volume follows the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// People work by day: nights and weekends are mostly machines.
    WorkingDays,
    /// The same volume at any hour: for a demo that starts at midnight, and for load tests.
    Steady,
}

/// How much is generated, of what, and how it arrives.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// Stop after this many records.
    pub events: Option<u64>,
    /// Stop at this event time after the start; with neither limit the generator never ends.
    pub duration: Option<Duration>,
    /// The stories to tell.
    pub scenarios: Vec<Scenario>,
    /// Mean records per second of event time. Default: a tenth of the hosts; with `events` and `duration` their
    /// quotient; with `events` alone slow enough that the stories end before the last record.
    pub rate_per_s: Option<f64>,
    /// How the volume follows the time of day.
    pub pace: Pace,
    /// Share of records delivered minutes late (a twentieth of them up to two hours), 0 to 1.
    pub late_share: f64,
    /// Share of records delivered twice, 0 to 1.
    pub duplicate_share: f64,
    /// Event time from the start to the first step of the first story.
    pub story_start_offset: Duration,
    /// Event time from the first to the last step of a story, without `story_pause`.
    pub story_length: Duration,
    /// Silence inside a story, before the attacker turns to the cloud.
    pub story_pause: Duration,
    /// Event time from the start of a story to the start of the next of its kind, with other people; `None` tells
    /// each once.
    pub story_repeat: Option<Duration>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            events: None,
            duration: None,
            scenarios: Scenario::ALL.to_vec(),
            rate_per_s: None,
            pace: Pace::WorkingDays,
            late_share: 0.02,
            duplicate_share: 0.005,
            story_start_offset: Duration::from_secs(120),
            story_length: Duration::from_secs(40 * 60),
            story_pause: Duration::ZERO,
            story_repeat: None,
        }
    }
}

impl GenerateOptions {
    /// Event time from the start until every first telling has ended, with room for late records.
    pub fn stories_end(&self) -> Duration {
        let last = self.scenarios.len().saturating_sub(1) as u32;
        self.story_start_offset + self.stagger() * last + (self.story_length + self.story_pause) * 11 / 10
    }

    /// Event time between the starts of different stories: they overlap, as attacks do.
    pub(crate) fn stagger(&self) -> Duration {
        self.story_length / 3
    }

    /// Mean records per second of event time for a company of `hosts`. `volume` tells how much of the mean is made
    /// within a time from the start: morning hours make more than their share.
    pub(crate) fn rate(&self, hosts: usize, volume: impl Fn(Duration) -> f64) -> f64 {
        let spread =
            |events: u64, over: Duration| events as f64 / (over.as_secs_f64().max(1.0) * volume(over));
        const PER_HOST: f64 = 0.1;
        let usual = hosts as f64 * PER_HOST;
        let chosen = match (self.rate_per_s, self.events, self.duration) {
            (Some(rate), _, _) => rate,
            (None, Some(events), Some(duration)) => spread(events, duration),
            (None, Some(events), None) if !self.scenarios.is_empty() => {
                usual.min(spread(events, self.stories_end()))
            }
            _ => usual,
        };
        chosen.max(1e-3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenario_names_read_back_and_others_are_refused() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse(), Ok(scenario));
            assert_eq!(serde_json::to_string(&scenario).unwrap(), format!("\"{scenario}\""));
        }
        assert_eq!(Scenario::set("benign"), Ok(Vec::new()));
        assert_eq!(Scenario::set("all").unwrap().len(), 3);
        assert!(Scenario::set("ransomware").unwrap_err().to_string().contains("password_spray"));
    }

    #[test]
    fn few_events_are_spread_until_the_stories_end() {
        let options = GenerateOptions { events: Some(10_000), ..GenerateOptions::default() };
        let span_s = 10_000.0 / options.rate(300, |_| 1.0);
        assert!(span_s >= options.stories_end().as_secs_f64() * 0.999, "{span_s}");
        let plenty = GenerateOptions { events: Some(10_000_000), ..GenerateOptions::default() };
        assert!((plenty.rate(300, |_| 1.0) - 30.0).abs() < 1e-9);
    }
}
