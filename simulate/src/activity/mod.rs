//! Normal days: what people and machines do when nobody attacks. Each activity is a short scene (a program is opened,
//! a mail goes round, a backup runs) that leaves records on all the sources that would see it.

pub(crate) mod admin;
mod cloud;
mod desktop;
mod developer;
mod email;
pub(crate) mod identity;
mod machine;

use event::Time;

use crate::company::{Company, Host, Person};
use crate::record::Recorder;

/// Domains by their share of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Domain {
    Endpoint,
    Identity,
    App,
    Email,
}

/// Shares of records per domain of their scene, in the order of [`Domain`]. Streams of a real company are mostly
/// endpoint; the more so as most records of a sign-in to the domain are Windows events.
pub(crate) const SHARES: [f64; 4] = [0.64, 0.19, 0.10, 0.07];

/// Who is behind an activity, hence when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Actor {
    /// Follows the working-hours curve
    People,
    /// Runs day and night
    Machines,
}

/// A scene with its weight among those of its domain.
pub(crate) struct Activity {
    pub(crate) domain: Domain,
    pub(crate) actor: Actor,
    pub(crate) weight: f64,
    pub(crate) play: fn(&mut Recorder<'_>, Time),
}

const fn people(domain: Domain, weight: f64, play: fn(&mut Recorder<'_>, Time)) -> Activity {
    Activity { domain, actor: Actor::People, weight, play }
}

const fn machines(domain: Domain, weight: f64, play: fn(&mut Recorder<'_>, Time)) -> Activity {
    Activity { domain, actor: Actor::Machines, weight, play }
}

/// Every activity. Weights count scenes, not records.
pub(crate) static ACTIVITIES: [Activity; 33] = [
    people(Domain::Endpoint, 14.0, desktop::open_program),
    people(Domain::Endpoint, 22.0, desktop::browse),
    people(Domain::Endpoint, 8.0, desktop::edit_document),
    people(Domain::Endpoint, 2.0, desktop::download),
    people(Domain::Endpoint, 3.0, developer::build),
    people(Domain::Endpoint, 1.2, admin::shell),
    people(Domain::Endpoint, 0.5, admin::remote_session),
    people(Domain::Endpoint, 0.08, admin::dump_hung_service),
    people(Domain::Endpoint, 0.15, admin::diagnostics_of_someone),
    machines(Domain::Endpoint, 20.0, machine::service_work),
    machines(Domain::Endpoint, 12.0, machine::service_traffic),
    machines(Domain::Endpoint, 7.0, machine::antivirus_scan),
    machines(Domain::Endpoint, 3.0, machine::scheduled_task),
    machines(Domain::Endpoint, 1.5, machine::management_script),
    machines(Domain::Endpoint, 0.5, machine::software_update),
    machines(Domain::Endpoint, 1.5, machine::backup),
    machines(Domain::Endpoint, 1.5, machine::vulnerability_scan),
    machines(Domain::Endpoint, 1.0, machine::patch),
    people(Domain::Identity, 9.0, identity::domain_logon),
    people(Domain::Identity, 10.0, identity::cloud_sign_in),
    machines(Domain::Identity, 6.0, identity::token_refresh),
    people(Domain::Identity, 0.5, identity::mistyped_password),
    people(Domain::Identity, 0.15, identity::traveller),
    people(Domain::Identity, 3.0, identity::okta_session),
    people(Domain::Identity, 0.6, identity::directory_upkeep),
    people(Domain::App, 8.0, cloud::read_mail),
    people(Domain::App, 10.0, cloud::work_on_files),
    people(Domain::App, 3.0, cloud::drive_documents),
    people(Domain::App, 0.12, cloud::tidy_inbox),
    machines(Domain::App, 4.0, cloud::aws_operations),
    people(Domain::Email, 9.0, email::correspondence),
    machines(Domain::Email, 1.0, email::newsletter),
    machines(Domain::Email, 1.5, email::unwanted),
];

impl<'c> Recorder<'c> {
    /// Anyone.
    pub(crate) fn anyone(&mut self) -> &'c Person {
        let company: &'c Company = self.company;
        self.dice.pick(company.people())
    }

    /// Any machine, servers included.
    pub(crate) fn any_host(&mut self) -> &'c Host {
        let company: &'c Company = self.company;
        self.dice.pick(company.hosts())
    }

    /// Seconds from `low` to `high`, drawn evenly.
    pub(crate) fn seconds(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.dice.unit()
    }
}

/// Replaces `{n}` of an invented subject or file name by a number.
pub(crate) fn numbered(template: &str, number: usize) -> String {
    template.replace("{n}", &number.to_string())
}
