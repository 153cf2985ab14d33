//! What the simulated EDR knows: machines, machine actions, faults. Time is passed in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::Path;

use event::Time;
use serde::{Deserialize, Serialize};

use crate::provider::{self, Faults};

/// Requests that change a machine, per minute, before the API answers 429: the vendor's limit.
pub(super) const CHANGES_PER_MINUTE: usize = 100;

/// A simulated machine, as `GET /simulator/machines` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdrMachine {
    /// Device id: 40 hexadecimal digits.
    pub id: String,
    /// Lower-case DNS name.
    pub computer_dns_name: String,
    /// Whether it is cut off the network now.
    pub isolated: bool,
    /// Whether only code that the vendor signed may run on it.
    #[serde(default)]
    pub restricted: bool,
    /// SHA-1 of the files that were quarantined on it.
    #[serde(default)]
    pub quarantined: BTreeSet<String>,
    /// Machine actions that succeeded, by type.
    #[serde(default)]
    pub done: BTreeMap<String, u32>,
    /// Whether it is online; an offline machine leaves its actions pending.
    pub online: bool,
    /// Isolate requests that were taken.
    pub isolate_requests: u32,
    /// Unisolate requests that were taken.
    pub unisolate_requests: u32,
    /// Times it was in fact isolated, having been free.
    pub isolations: u32,
}

/// A file that was seen, as `GET /api/files/{id}` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdrFile {
    /// Its SHA-1, in hexadecimal digits.
    pub sha1: String,
    /// Its SHA-256.
    pub sha256: String,
    /// Who signed it; what the vendor signed is never quarantined.
    pub signer: String,
}

/// An indicator, with the vendor's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdrIndicator {
    /// A number.
    pub id: String,
    /// What is blocked, or reported.
    pub indicator_value: String,
    /// `FileSha256`, `IpAddress`, ...
    pub indicator_type: String,
    /// `Block`, `Audit`, ...
    pub action: String,
    /// Title of the alerts.
    pub title: String,
    /// Why.
    pub description: String,
    /// When it ends by itself.
    #[serde(default)]
    pub expiration_time: Option<Time>,
    /// Whether it alerts.
    #[serde(default)]
    pub generate_alert: bool,
    /// What the submitter calls it.
    #[serde(default)]
    pub external_id: Option<String>,
    /// How often it was submitted.
    #[serde(default)]
    pub submissions: u32,
}

/// The file that a machine action is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RelatedFile {
    pub(super) file_identifier: String,
    pub(super) file_identifier_type: String,
}

/// A machine action, with the vendor's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MachineAction {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) scope: Option<String>,
    pub(super) requestor: String,
    pub(super) requestor_comment: String,
    pub(super) status: String,
    pub(super) machine_id: String,
    pub(super) computer_dns_name: String,
    pub(super) creation_date_time_utc: Time,
    pub(super) last_update_date_time_utc: Time,
    pub(super) cancellation_date_time_utc: Option<Time>,
    pub(super) cancellation_comment: Option<String>,
    #[serde(default)]
    pub(super) related_file_info: Option<RelatedFile>,
}

impl MachineAction {
    fn file(&self) -> Option<&str> {
        self.related_file_info.as_ref().map(|file| file.file_identifier.as_str())
    }
}

/// Everything that survives a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) machines: BTreeMap<String, EdrMachine>,
    pub(super) actions: Vec<MachineAction>,
    #[serde(default)]
    pub(super) files: Vec<EdrFile>,
    /// By value.
    #[serde(default)]
    pub(super) indicators: BTreeMap<String, EdrIndicator>,
    #[serde(skip)]
    pub(super) faults: Faults,
    #[serde(skip)]
    changes: VecDeque<Time>,
}

/// Who signs what is never quarantined.
const VENDOR: &str = "Microsoft";

/// How long an action takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Durations {
    pub(super) pending_us: i64,
    pub(super) running_us: i64,
}

impl State {
    /// Reads a state file, or begins anew where there is none.
    pub(super) fn load(path: Option<&Path>) -> io::Result<Self> {
        provider::load(path)
    }

    /// Replaces the state file as a whole, so that a kill leaves the old or the new one.
    pub(super) fn save(&self, path: Option<&Path>) -> io::Result<()> {
        provider::save(path, self)
    }

    /// Adds a machine; one that is known stays as it is.
    pub(super) fn onboard(&mut self, name: &str) -> EdrMachine {
        let name = name.trim().to_lowercase();
        let id = blake3::hash(name.as_bytes()).to_hex()[..40].to_owned();
        let machine = EdrMachine {
            id: id.clone(),
            computer_dns_name: name,
            isolated: false,
            restricted: false,
            quarantined: BTreeSet::new(),
            done: BTreeMap::new(),
            online: true,
            isolate_requests: 0,
            unisolate_requests: 0,
            isolations: 0,
        };
        self.machines.entry(id).or_insert(machine).clone()
    }

    /// Makes a file of this SHA-256 known; one that is known stays as it is.
    pub(super) fn see_file(&mut self, sha256: &str) {
        if !self.files.iter().any(|file| file.sha256 == sha256) {
            let sha1 = blake3::hash(sha256.as_bytes()).to_hex()[..40].to_owned();
            self.files.push(EdrFile { sha1, sha256: sha256.to_owned(), signer: String::new() });
        }
    }

    /// By device id or computer name, as the vendor's `machines/{id}` takes both.
    pub(super) fn machine(&self, id: &str) -> Option<&EdrMachine> {
        let by_name = || self.machines.values().find(|m| m.computer_dns_name.eq_ignore_ascii_case(id));
        self.machines.get(id).or_else(by_name)
    }

    /// Takes one more change within the limit of a minute.
    pub(super) fn within_rate(&mut self, now: Time) -> bool {
        while self.changes.front().is_some_and(|t| now.micros() - t.micros() > 60_000_000) {
            self.changes.pop_front();
        }
        self.changes.push_back(now);
        self.changes.len() <= CHANGES_PER_MINUTE
    }

    /// Whether a machine has an action of that type under way, about the same file if about any, or of its opposite.
    pub(super) fn is_busy(&self, machine: &str, kind: &str, file: Option<&str>) -> bool {
        let mut open =
            self.actions.iter().filter(|a| a.machine_id == machine && is_open(a) && a.file() == file);
        open.any(|a| subject(&a.kind) == subject(kind))
    }

    /// Takes a request for a known machine.
    pub(super) fn request(
        &mut self,
        machine: &str,
        kind: &str,
        scope: Option<&str>,
        file: Option<&str>,
        comment: &str,
        now: Time,
    ) -> MachineAction {
        let serial = format!("{machine} {}", self.actions.len());
        let id = uuid_shaped(&blake3::hash(serial.as_bytes()).to_hex());
        let mut name = String::new();
        if let Some(machine) = self.machines.get_mut(machine) {
            name.clone_from(&machine.computer_dns_name);
            machine.isolate_requests += u32::from(kind == "Isolate");
            machine.unisolate_requests += u32::from(kind == "Unisolate");
        }
        let action = MachineAction {
            id,
            kind: kind.to_owned(),
            scope: scope.map(str::to_owned),
            requestor: "asterism".to_owned(),
            requestor_comment: comment.to_owned(),
            status: "Pending".to_owned(),
            machine_id: machine.to_owned(),
            computer_dns_name: name,
            creation_date_time_utc: now,
            last_update_date_time_utc: now,
            cancellation_date_time_utc: None,
            cancellation_comment: None,
            related_file_info: file.map(|sha1| RelatedFile {
                file_identifier: sha1.to_owned(),
                file_identifier_type: "Sha1".to_owned(),
            }),
        };
        self.actions.push(action.clone());
        action
    }

    /// Cancels an action; nothing where it has ended already.
    pub(super) fn cancel(&mut self, id: &str, comment: &str, now: Time) -> Option<MachineAction> {
        let action = self.actions.iter_mut().find(|a| a.id == id && is_open(a))?;
        action.status = "Cancelled".to_owned();
        action.cancellation_comment = Some(comment.to_owned());
        action.cancellation_date_time_utc = Some(now);
        action.last_update_date_time_utc = now;
        Some(action.clone())
    }

    /// Lets the machines work until `now`; true where anything changed.
    pub(super) fn advance(&mut self, durations: Durations, now: Time) -> bool {
        let mut changed = false;
        for action in self.actions.iter_mut().filter(|a| is_open(a)) {
            let Some(machine) = self.machines.get_mut(&action.machine_id).filter(|m| m.online) else {
                continue;
            };
            let age_us = now.micros() - action.creation_date_time_utc.micros();
            let status = match age_us {
                age if age < durations.pending_us => "Pending",
                age if age < durations.pending_us + durations.running_us => "InProgress",
                _ if self.faults.failing_actions > 0 => "Failed",
                _ if self
                    .files
                    .iter()
                    .any(|f| action.file() == Some(&f.sha1) && f.signer.contains(VENDOR)) =>
                {
                    "Failed"
                }
                _ => "Succeeded",
            };
            if status == action.status {
                continue;
            }
            changed = true;
            action.status = status.to_owned();
            action.last_update_date_time_utc = now;
            match status {
                "Failed" => self.faults.failing_actions = self.faults.failing_actions.saturating_sub(1),
                "Succeeded" => machine.finish(&action.kind, action.file()),
                _ => {}
            }
        }
        changed
    }
}

impl EdrMachine {
    fn finish(&mut self, kind: &str, file: Option<&str>) {
        *self.done.entry(kind.to_owned()).or_default() += 1;
        self.quarantined.extend(file.map(str::to_owned));
        match kind {
            "Isolate" | "Unisolate" => {
                let isolated = kind == "Isolate";
                self.isolations += u32::from(isolated && !self.isolated);
                self.isolated = isolated;
            }
            "RestrictCodeExecution" | "UnrestrictCodeExecution" => {
                self.restricted = kind == "RestrictCodeExecution";
            }
            _ => {}
        }
    }
}

/// What a type of machine action is about: begun or ended.
fn subject(kind: &str) -> String {
    kind.trim_start_matches("Un").to_lowercase()
}

fn is_open(action: &MachineAction) -> bool {
    matches!(action.status.as_str(), "Pending" | "InProgress")
}

fn uuid_shaped(hex: &str) -> String {
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}
