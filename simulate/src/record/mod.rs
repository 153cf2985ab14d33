//! Records in the shapes of their sources. A [`Recorder`] turns what happens on a host, in a mailbox or in a
//! directory into the bytes that the sensor there would have written.

pub(crate) mod aws;
pub(crate) mod cloud_app;
pub(crate) mod defender;
pub(crate) mod email;
pub(crate) mod endpoint;
pub(crate) mod entra;
pub(crate) mod google;
mod json;
pub(crate) mod office;
pub(crate) mod okta;
pub(crate) mod process;
pub(crate) mod security;
pub(crate) mod sysmon;
mod windows;

use event::Time;

use crate::company::Company;
use crate::dice::Dice;
use crate::record::windows::Pairs;

/// Where a record comes from: its topic and its source kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    WindowsEvent,
    DefenderEndpoint,
    DefenderEmail,
    DefenderIdentity,
    DefenderApp,
    EntraSignin,
    EntraAudit,
    Office,
    Google,
    Okta,
    Aws,
}

impl Source {
    /// The topic of the log that its records go to.
    pub(crate) const fn topic(self) -> &'static str {
        match self {
            Source::WindowsEvent => "endpoint.windows",
            Source::DefenderEndpoint => "endpoint.defender",
            Source::DefenderEmail => "email.defender",
            Source::DefenderIdentity => "identity.defender",
            Source::DefenderApp => "app.defender",
            Source::EntraSignin | Source::EntraAudit => "identity.entra",
            Source::Office => "app.m365",
            Source::Google => "app.google",
            Source::Okta => "identity.okta",
            Source::Aws => "app.aws",
        }
    }

    /// The name of the mapping that reads it.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Source::WindowsEvent => "windows_event",
            Source::DefenderEndpoint
            | Source::DefenderEmail
            | Source::DefenderIdentity
            | Source::DefenderApp => "defender_xdr",
            Source::EntraSignin => "entra_signin",
            Source::EntraAudit => "entra_audit",
            Source::Office => "m365_audit",
            Source::Google => "google_workspace",
            Source::Okta => "okta_system_log",
            Source::Aws => "aws_cloudtrail",
        }
    }

    /// Median delay from event to delivery, seconds: sensors push at once, cloud logs are exported in batches.
    pub(crate) const fn delay_s(self) -> f64 {
        match self {
            Source::WindowsEvent => 1.5,
            Source::DefenderEndpoint | Source::DefenderEmail => 4.0,
            Source::DefenderIdentity | Source::Okta => 5.0,
            Source::EntraSignin | Source::EntraAudit => 8.0,
            Source::DefenderApp | Source::Office | Source::Google | Source::Aws => 10.0,
        }
    }
}

/// A record that has happened but is not delivered yet.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) source: Source,
    pub(crate) event_time: Time,
    /// Partition key: host, mailbox or account
    pub(crate) key: String,
    /// The record's own id
    pub(crate) uid: String,
    pub(crate) payload: String,
    /// The step of the story it belongs to
    pub(crate) step: Option<&'static str>,
}

/// Writes down what happens in a company.
pub(crate) struct Recorder<'c> {
    pub(crate) company: &'c Company,
    pub(crate) dice: Dice,
    /// The story step that records belong to from now on; `None` for everyday records
    pub(crate) step: Option<&'static str>,
    drafts: Vec<Draft>,
    pairs: Pairs,
}

impl<'c> Recorder<'c> {
    pub(crate) fn new(company: &'c Company, dice: Dice) -> Self {
        Self { company, dice, step: None, drafts: Vec::new(), pairs: Pairs::default() }
    }

    /// All records since the last call.
    pub(crate) fn take(&mut self) -> std::vec::Drain<'_, Draft> {
        self.drafts.drain(..)
    }

    pub(crate) fn count(&self) -> usize {
        self.drafts.len()
    }

    /// Notes a finished record.
    fn push(&mut self, source: Source, event_time: Time, key: &str, uid: String, payload: String) {
        self.drafts.push(Draft { source, event_time, key: key.to_owned(), uid, payload, step: self.step });
    }

    /// Notes a record that serde writes.
    fn push_json(
        &mut self,
        source: Source,
        event_time: Time,
        key: &str,
        uid: String,
        row: &impl serde::Serialize,
    ) {
        // Plain structs of text and numbers: serialising into memory cannot fail.
        if let Ok(payload) = serde_json::to_string(row) {
            self.push(source, event_time, key, uid, payload);
        }
    }
}
