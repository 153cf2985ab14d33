//! What the simulated Falcon knows: hosts, indicators, tokens, faults. Time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use event::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::provider::{self, Faults};

/// A simulated host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FalconHost {
    /// Agent id: 32 hexadecimal digits.
    pub device_id: String,
    /// Name without its domain, in upper case.
    pub hostname: String,
    /// Domain, where it is in one.
    pub machine_domain: Option<String>,
    /// `normal`, `containment_pending`, `contained` or `lift_containment_pending`.
    pub status: String,
    /// Grouping tags.
    pub tags: BTreeSet<String>,
    /// Whether it is online; an offline host stays as it is.
    pub online: bool,
    /// Requests to contain it that were taken.
    pub contain_requests: u32,
    /// Requests to lift its containment that were taken.
    pub lift_requests: u32,
    /// Times it was in fact contained, having been free.
    pub containments: u32,
    asked_at: Time,
}

impl FalconHost {
    fn new(device_id: String, name: &str) -> Self {
        let (hostname, domain) =
            name.split_once('.').map_or((name, None), |(host, domain)| (host, Some(domain)));
        FalconHost {
            device_id,
            hostname: hostname.to_uppercase(),
            machine_domain: domain.map(str::to_owned),
            status: "normal".to_owned(),
            tags: BTreeSet::new(),
            online: true,
            contain_requests: 0,
            lift_requests: 0,
            containments: 0,
            asked_at: Time(0),
        }
    }

    /// The host as the API shows it.
    pub(super) fn resource(&self) -> Value {
        let mut host = json!({
            "device_id": self.device_id, "hostname": self.hostname, "status": self.status, "tags": self.tags,
            "platform_name": "Windows", "product_type_desc": "Workstation",
        });
        if let Some(domain) = &self.machine_domain {
            host["machine_domain"] = json!(domain);
        }
        host
    }

    /// Takes a request: the last one wins, and one for what is so already changes nothing.
    pub(super) fn ask(&mut self, contain: bool, at: Time) {
        let (requests, from, to) = match contain {
            true => {
                (&mut self.contain_requests, ["normal", "lift_containment_pending"], "containment_pending")
            }
            false => {
                (&mut self.lift_requests, ["contained", "containment_pending"], "lift_containment_pending")
            }
        };
        *requests += 1;
        if from.contains(&self.status.as_str()) {
            self.status = to.to_owned();
            self.asked_at = at;
        }
    }

    /// Does what it was asked for, when it has had the time.
    fn advance(&mut self, pending_us: i64, now: Time) {
        if !self.online || now.micros() - self.asked_at.micros() < pending_us {
            return;
        }
        match self.status.as_str() {
            "containment_pending" => {
                self.status = "contained".to_owned();
                self.containments += 1;
            }
            "lift_containment_pending" => self.status = "normal".to_owned(),
            _ => {}
        }
    }
}

/// An on-demand scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FalconScan {
    /// 32 hexadecimal digits.
    pub id: String,
    /// What whoever asked for it calls it.
    pub description: String,
    /// Agent ids.
    pub hosts: Vec<String>,
    /// What is scanned.
    pub file_paths: Vec<String>,
    /// `pending`, `running`, `completed` or `canceled`.
    pub status: String,
    asked_at: Time,
}

impl FalconScan {
    /// The scan as the API shows it, and as its filters read it.
    pub(super) fn resource(&self) -> Value {
        json!({
            "id": self.id, "description": self.description, "description.keyword": self.description,
            "hosts": self.hosts, "file_paths": self.file_paths, "status": self.status,
        })
    }

    /// Asks it to stop; false where it is over.
    pub(super) fn cancel(&mut self) -> bool {
        let is_open = matches!(self.status.as_str(), "pending" | "running");
        if is_open {
            self.status = "canceled".to_owned();
        }
        is_open
    }

    fn advance(&mut self, pending_us: i64, is_online: bool, now: Time) {
        let age_us = now.micros() - self.asked_at.micros();
        match self.status.as_str() {
            "pending" if is_online && age_us >= pending_us => self.status = "running".to_owned(),
            "running" if age_us >= 2 * pending_us => self.status = "completed".to_owned(),
            _ => {}
        }
    }
}

/// Everything that the simulated Falcon holds, by the resources' ids.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FalconTruth {
    /// Hosts.
    pub hosts: BTreeMap<String, FalconHost>,
    /// Indicators, as the API shows them.
    pub indicators: BTreeMap<String, Value>,
    /// Scans.
    #[serde(default)]
    pub scans: BTreeMap<String, FalconScan>,
    /// Changes that were carried out, by what they were; `token` counts tokens that were given.
    pub changes: BTreeMap<String, u32>,
}

/// The truth, the tokens that are good with their ends, and the faults of the moment.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) truth: FalconTruth,
    pub(super) tokens: BTreeMap<String, Time>,
    pub(super) faults: Faults,
}

impl State {
    pub(super) fn load(path: Option<&Path>) -> io::Result<Self> {
        Ok(State { truth: provider::load(path)?, ..State::default() })
    }

    pub(super) fn save(&self, path: Option<&Path>) -> io::Result<()> {
        provider::save(path, &self.truth)
    }

    /// Adds a host; where there is one of that name, in whatever domain, it stays alone.
    pub(super) fn onboard(&mut self, name: &str) {
        let short = name.split('.').next().unwrap_or(name);
        if !self.truth.hosts.values().any(|host| host.hostname.eq_ignore_ascii_case(short)) {
            self.install(name);
        }
    }

    /// Adds a host, and gives its agent id.
    pub(super) fn install(&mut self, name: &str) -> String {
        let name = name.trim().to_lowercase();
        let serial = format!("{name} {}", self.truth.hosts.len());
        let id = blake3::hash(serial.as_bytes()).to_hex()[..32].to_owned();
        self.truth.hosts.insert(id.clone(), FalconHost::new(id.clone(), &name));
        id
    }

    /// Lets the hosts work until `now`.
    pub(super) fn advance(&mut self, pending_us: i64, now: Time) {
        self.truth.hosts.values_mut().for_each(|host| host.advance(pending_us, now));
        let FalconTruth { hosts, scans, .. } = &mut self.truth;
        for scan in scans.values_mut() {
            let is_online = scan.hosts.iter().all(|id| hosts.get(id).is_some_and(|host| host.online));
            scan.advance(pending_us, is_online, now);
        }
    }

    /// Begins a scan.
    pub(super) fn add_scan(
        &mut self,
        description: &str,
        hosts: Vec<String>,
        file_paths: Vec<String>,
        now: Time,
    ) -> Value {
        let serial = format!("scan {}", self.truth.scans.len());
        let id = blake3::hash(serial.as_bytes()).to_hex()[..32].to_owned();
        let (description, status) = (description.to_owned(), "pending".to_owned());
        let scan = FalconScan { id: id.clone(), description, hosts, file_paths, status, asked_at: now };
        let shown = scan.resource();
        self.truth.scans.insert(id, scan);
        shown
    }

    pub(super) fn give_token(&mut self, life_us: i64, now: Time) -> String {
        let given = self.truth.changes.entry("token".to_owned()).or_default();
        *given += 1;
        let token = blake3::hash(format!("token {given}").as_bytes()).to_hex().to_string();
        self.tokens.insert(token.clone(), now.plus_micros(life_us));
        token
    }

    /// Adds an indicator; nothing where there is one of its type and value.
    pub(super) fn add_indicator(&mut self, mut indicator: Value) -> Option<Value> {
        let key = format!("{} {}", indicator["type"], indicator["value"]);
        let id = blake3::hash(key.as_bytes()).to_hex().to_string();
        if self.truth.indicators.contains_key(&id) {
            return None;
        }
        indicator["id"] = json!(id);
        indicator["expired"] = json!(false);
        indicator["deleted"] = json!(false);
        self.truth.indicators.insert(id, indicator.clone());
        Some(indicator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_contained_after_its_time_and_only_online() {
        let mut host = FalconHost::new("ab".to_owned(), "ws-01.corp.example");
        assert_eq!((host.hostname.as_str(), host.machine_domain.as_deref()), ("WS-01", Some("corp.example")));
        host.ask(true, Time(100));
        host.advance(10, Time(105));
        assert_eq!(host.status, "containment_pending");
        host.online = false;
        host.advance(10, Time(1_000));
        assert_eq!(host.status, "containment_pending");
        host.online = true;
        host.advance(10, Time(1_000));
        host.ask(true, Time(1_001));
        host.advance(10, Time(2_000));
        assert_eq!((host.status.as_str(), host.contain_requests, host.containments), ("contained", 2, 1));
        host.ask(false, Time(2_001));
        host.advance(10, Time(3_000));
        assert_eq!((host.status.as_str(), host.lift_requests), ("normal", 1));
    }

    #[test]
    fn an_indicator_is_there_once() {
        let mut state = State::default();
        let indicator = json!({"type": "md5", "value": "x"});
        assert!(state.add_indicator(indicator.clone()).is_some());
        assert_eq!(state.add_indicator(indicator), None);
    }
}
