//! A simulated company under attack, and simulated providers that act on it: telemetry with known truth for the demo, tests and
//! benchmarks. No clock, no IO: the start time is an argument, and the same seed and options give the same bytes.
//!
//! ```text
//! CompanyOptions -> Company            people, hosts, hubs, each by all the names that sources use for them
//!                     |
//! GenerateOptions -> Generator         everyday scenes (activity/) and attack stories (story/) ...
//!                     |                ... are written in the shapes of their sources (record/) ...
//!                     v                ... and wait in a heap until they are delivered
//!                GeneratedRecord       topic, source kind, key, delivery and event time, JSON, truth
//! ```
//!
//! - Topics: `endpoint.windows` (Sysmon, Security, PowerShell, System), `endpoint.defender`, `email.defender`,
//!   `identity.defender`, `identity.entra`, `identity.okta`, `app.m365`, `app.google`, `app.aws`.
//! - [`Truth`] marks the records of attacks; harmless look-alikes beside them carry none.
//! - The caller paces: a demo maps [`GeneratedRecord::delivery_time`] to the wall clock with a factor, a load test
//!   does not wait at all.
//!
//! ```
//! use simulate::{Company, CompanyOptions, GenerateOptions, Generator, Scenario};
//!
//! let company = Company::new(CompanyOptions { seed: 7, ..CompanyOptions::default() });
//! let options = GenerateOptions { events: Some(500), scenarios: Scenario::set("benign").unwrap(), ..Default::default() };
//! let records: Vec<_> = Generator::new(company, options).collect();
//! assert_eq!(records.len(), 500);
//! assert!(records.iter().all(|r| r.truth.is_none()));
//! ```

mod activity;
mod chat;
mod clock;
mod company;
mod dice;
mod edr;
mod falcon;
mod generator;
mod graph;
mod mail;
mod names;
mod okta;
mod options;
mod provider;
mod record;
mod score;
mod story;
mod ticketing;
mod truth;

pub use chat::{ChatNotice, ChatSimulator};
pub use company::{Company, CompanyOptions, Host, Person};
pub use edr::{EdrConfig, EdrFile, EdrIndicator, EdrMachine, EdrSimulator};
pub use falcon::{FalconConfig, FalconHost, FalconScan, FalconSimulator, FalconTruth};
pub use generator::{GeneratedRecord, Generator};
pub use graph::{GraphConfig, GraphSimulator, GraphTruth};
pub use mail::{MailFault, MailMessage, MailSimulator, MailStage};
pub use okta::{OktaConfig, OktaSimulator, OktaTruth, OktaUser};
pub use options::{GenerateOptions, Pace, Scenario, UnknownScenario};
pub use provider::Faults;
pub use score::{NOISE, Score};
pub use ticketing::{Ticket, TicketSimulator};
pub use truth::Truth;
