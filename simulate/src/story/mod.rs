//! Attack stories. A story is told into drafts: every record of the attacker carries the step it belongs to; harmless
//! records around it (the victim's morning, the look-alikes) carry none.

mod business_email_compromise;
mod password_spray;
mod phishing_to_cloud;

use std::sync::Arc;
use std::time::Duration;

use event::Time;

use crate::clock::after;
use crate::company::{Company, Host, Job, Person, Sensor};
use crate::dice::Dice;
use crate::names::{HOSTILE, Place};
use crate::options::Scenario;
use crate::record::{Draft, Recorder};

/// When a telling starts and how long it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) start: Time,
    pub(crate) length: Duration,
    pub(crate) pause: Duration,
}

/// One telling of a story.
pub(crate) struct Telling {
    pub(crate) scenario: Scenario,
    /// Scenario and running number, the incident that should come out
    pub(crate) name: Arc<str>,
    pub(crate) drafts: Vec<Draft>,
}

/// Tells `scenario` for the `number`th time.
pub(crate) fn tell(company: &Company, scenario: Scenario, number: u64, timing: Timing) -> Telling {
    let name: Arc<str> = format!("{scenario}-{number:03}").into();
    let mut script = Script::new(company, &name, number, timing);
    match scenario {
        Scenario::PhishingToCloud => phishing_to_cloud::play(&mut script),
        Scenario::BusinessEmailCompromise => business_email_compromise::play(&mut script),
        Scenario::PasswordSpray => password_spray::play(&mut script),
    }
    Telling { scenario, name, drafts: script.rec.take().collect() }
}

/// The stage of a telling: a recorder, a clock that runs from 0 to 1, and the attacker's infrastructure.
struct Script<'c> {
    rec: Recorder<'c>,
    timing: Timing,
    number: u64,
    /// Addresses of the attacker: payload and mail server, cloud sign-ins
    server_ip: String,
    cloud_ip: String,
    place: &'static Place,
    /// A domain that looks like the company's
    lure_domain: String,
}

/// The silence of a story falls at this point of its length.
const PAUSE_AT: f64 = 0.5;

impl<'c> Script<'c> {
    fn new(company: &'c Company, name: &str, number: u64, timing: Timing) -> Self {
        let mut dice: Dice = company.dice(&format!("story/{name}"));
        let label = company.domain.split('.').next().unwrap_or("company");
        let lure = *dice.pick(&["docs", "sharing", "portal", "secure"]);
        Self {
            server_ip: format!("203.0.113.{}", dice.between(2, 120)),
            cloud_ip: format!("203.0.113.{}", dice.between(130, 250)),
            place: dice.pick(&HOSTILE),
            lure_domain: format!("{label}-{lure}{}.example", dice.between(10, 99)),
            rec: Recorder::new(company, dice),
            timing,
            number,
        }
    }

    fn company(&self) -> &'c Company {
        self.rec.company
    }

    /// The time at `part` (0 to 1) of the story; the pause lies between its halves.
    fn at(&self, part: f64) -> Time {
        let pause = if part >= PAUSE_AT { self.timing.pause.as_secs_f64() } else { 0.0 };
        after(self.timing.start, self.timing.length.as_secs_f64() * part + pause)
    }

    /// Records from now on belong to `step`.
    fn step(&mut self, step: &'static str) {
        self.rec.step = Some(step);
    }

    /// Records from now on are harmless.
    fn meanwhile(&mut self) {
        self.rec.step = None;
    }

    /// The person that this telling happens to: another one each time.
    fn victim(&mut self, fits: impl Fn(&Person, &Host) -> bool) -> &'c Person {
        let company = self.company();
        let fitting: Vec<&Person> = company.people().iter().filter(|p| fits(p, company.host_of(p))).collect();
        match fitting.len() {
            0 => &company.people()[0],
            // Consecutive tellings walk through the people, so that two of them do not share a victim.
            n => fitting[(self.number as usize * 7 + company.options.seed as usize) % n],
        }
    }
}

/// Someone in an ordinary office job whose machine carries Sysmon.
fn is_desk_worker(person: &Person, host: &Host) -> bool {
    matches!(person.job, Job::Office | Job::Sales) && host.sensor == Sensor::Sysmon
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::company::CompanyOptions;

    fn timing() -> Timing {
        Timing {
            start: CompanyOptions::START,
            length: Duration::from_secs(2_400),
            pause: Duration::from_secs(21_600),
        }
    }

    #[test]
    fn stories_stay_within_their_time() {
        let company = Company::new(CompanyOptions::default());
        for scenario in Scenario::ALL {
            let telling = tell(&company, scenario, 1, timing());
            let last = after(timing().start, 2_400.0 * 1.1 + 21_600.0);
            let attack = || telling.drafts.iter().filter(|d| d.step.is_some());
            assert!(attack().all(|d| d.event_time >= timing().start && d.event_time <= last), "{scenario}");
            let steps: std::collections::BTreeSet<_> = attack().filter_map(|d| d.step).collect();
            assert!(steps.len() >= 5, "{scenario}: {steps:?}");
        }
    }

    #[test]
    fn tellings_differ_in_people_and_infrastructure() {
        let company = Company::new(CompanyOptions::default());
        let mut first = Script::new(&company, "a", 1, timing());
        let mut second = Script::new(&company, "b", 2, timing());
        assert_ne!(first.victim(is_desk_worker).upn(), second.victim(is_desk_worker).upn());
        assert_ne!(first.lure_domain, second.lure_domain);
    }

    #[test]
    fn the_first_story_spans_all_domains() {
        let company = Company::new(CompanyOptions::default());
        let telling = tell(&company, Scenario::PhishingToCloud, 1, timing());
        let topics: std::collections::BTreeSet<_> =
            telling.drafts.iter().filter(|d| d.step.is_some()).map(|d| d.source.topic()).collect();
        for topic in ["email.defender", "endpoint.windows", "identity.entra", "app.m365"] {
            assert!(topics.contains(topic), "{topic} in {topics:?}");
        }
    }
}
