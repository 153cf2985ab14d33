//! Guarded response: from incidents to changes in the world that are decided, recorded and reversible.
//!
//! ```text
//! Incident -> ResponseRules -> Policy -> Action (command) -> lease -> Executor -> provider
//!              who asks         may it?    | state machine            probe, execute, poll, verify
//!                                          v
//!                                        Effect ("host H is isolated": holders, time to live)
//! ```
//!
//! - [`Responder`] is pure: incidents, people's words, time and reports go in, [`ActionChange`]s come out. The
//!   caller stores each change *before* anything is sent. It reads no clock and opens no socket.
//! - [`Capability`] says what a provider can do, and what it lacks: the decision knows before anything is sent.
//! - [`ResponseRules`] say what should be done ([CEL](https://cel.dev) conditions, `packs/README.md`), the
//!   [`Policy`] what may be done: automation level, protected devices, caps, cool-down, kill switch.
//! - `command.rs` and `effect.rs` are the two state machines; an effect ends when its last holder lets go or
//!   its time is over, whichever comes first.
//! - [`Executor`] is the edge to a provider: [`DefenderExecutor`] for Defender-shaped machine actions,
//!   [`ConnectorExecutor`] for any HTTP API that a [`Connector`] file describes, [`SmtpExecutor`] for notices by mail.
//!   [`Worker`] carries steps to them.
//! - [`audit`] is the hash chain of all of it; [`audit_activity`] tells an entry of it in OCSF, and [`cacao`] an
//!   incident's actions as a playbook for other tools.
//!
//! ```
//! use respond::{Policy, Responder, ResponseRules};
//! let (rules, report) = ResponseRules::load(ResponseRules::builtin_pack());
//! assert!(report.rejected.is_empty());
//! let responder = Responder::new(rules, Policy::default())?;
//! assert_eq!(responder.actions().count(), 0);
//! # Ok::<(), respond::RespondError>(())
//! ```

pub mod audit;
mod automation;
mod book;
mod callback;
mod capability;
mod command;
mod condition;
mod connector;
mod effect;
mod error;
mod executor;
mod export;
mod pattern;
mod policy;
mod responder;
mod rules;
mod select;
mod span;
mod verb;
mod work;
mod worker;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;

pub use audit::{AuditChain, AuditEntry, AuditHead, AuditRecord};
pub use automation::{Automation, Group, When};
pub use callback::{CallbackFault, Seal};
pub use capability::{Ability, Arguments, Capability};
pub use connector::{Connector, ConnectorError};
pub use error::RespondError;
pub use executor::{
    Addresses, ApiConfig, ClientCredentials, ConnectorExecutor, Credential, DefenderExecutor, Executor,
    Proof, Secret, SmtpConfig, SmtpExecutor, SmtpTls,
};
pub use export::{audit_activity, cacao};
pub use pattern::{Pattern, Patterns};
pub use policy::{BY_HAND, Breaker, Caps, Exclusion, Maintenance, OnDrift, Policy, Stopped};
pub use responder::{ActionChange, Counts, Leased, Responder};
pub use rules::{LoadReport, RejectedRule, ResponseRule, ResponseRules, RuleFault};
pub use span::Span;
pub use verb::{Argument, OpenC2, Part, Values, Verb, VerbSpec};
pub use work::{ExecuteError, Probe, Progress, Reply, Report, Request, Step, UnderWay, Work};
pub use worker::{Worker, drive};
