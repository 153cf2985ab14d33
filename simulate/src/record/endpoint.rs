//! What happens on a machine, written by whichever sensor the machine carries.

use std::borrow::Cow;

use event::Time;

use crate::clock::after;
use crate::company::{Host, Identity, Sensor};
use crate::record::Recorder;
use crate::record::process::{Process, Program};
use crate::record::security::Logon;

/// Integrity level of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integrity {
    Medium,
    High,
    System,
}

impl Integrity {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Integrity::Medium => "Medium",
            Integrity::High => "High",
            Integrity::System => "System",
        }
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Integrity::Medium => "S-1-16-8192",
            Integrity::High => "S-1-16-12288",
            Integrity::System => "S-1-16-16384",
        }
    }
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Outbound,
    Inbound,
}

/// The far end of a connection.
pub(crate) struct Connection<'a> {
    pub(crate) direction: Direction,
    pub(crate) ip: &'a str,
    pub(crate) port: u16,
    /// Name of the far end, empty where the sensor does not know it
    pub(crate) name: &'a str,
}

impl<'a> Connection<'a> {
    pub(crate) const fn to(ip: &'a str, port: u16, name: &'a str) -> Self {
        Self { direction: Direction::Outbound, ip, port, name }
    }

    pub(crate) const fn from(ip: &'a str, port: u16, name: &'a str) -> Self {
        Self { direction: Direction::Inbound, ip, port, name }
    }
}

/// One process opens another.
pub(crate) struct Access<'a> {
    pub(crate) source: &'a Process,
    pub(crate) source_user: &'a Identity,
    pub(crate) target: &'a Process,
    pub(crate) target_user: &'a Identity,
    /// Access mask as Sysmon writes it, `0x1410`
    pub(crate) granted: &'static str,
    /// Whether the call came from memory that no module backs
    pub(crate) unbacked: bool,
}

/// The id of `who`'s logon session on `host`.
pub(crate) fn logon_id(host: &Host, who: &Identity) -> u32 {
    match who.sid.as_str() {
        "S-1-5-18" => 0x3e7,
        "S-1-5-20" => 0x3e4,
        sid => {
            let rid =
                sid.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
            (host.machine ^ rid) & 0x0fff_ffff | 0x1_0000
        }
    }
}

/// A process about to start.
pub(crate) struct Spawn<'a> {
    pub(crate) parent: &'a Process,
    pub(crate) program: &'static Program,
    pub(crate) command: Cow<'static, str>,
    pub(crate) who: &'a Identity,
    pub(crate) integrity: Integrity,
}

impl<'a> Spawn<'a> {
    pub(crate) fn new(
        parent: &'a Process,
        program: &'static Program,
        command: impl Into<Cow<'static, str>>,
        who: &'a Identity,
    ) -> Self {
        let integrity = if who.upn.is_empty() { Integrity::System } else { Integrity::Medium };
        Self { parent, program, command: command.into(), who, integrity }
    }

    pub(crate) fn elevated(self) -> Self {
        Self { integrity: Integrity::High, ..self }
    }
}

impl Recorder<'_> {
    /// A process starts.
    pub(crate) fn spawn(&mut self, host: &Host, at: Time, spawn: Spawn<'_>) -> Process {
        let Spawn { parent, program, command, who, integrity } = spawn;
        let token = self.dice.bits();
        let process = Process::new(host, at, token, program, who, command);
        match host.sensor {
            Sensor::Sysmon => self.sysmon_create(host, &process, parent, who, integrity),
            Sensor::Defender => self.defender_create(host, &process, parent, who, integrity),
        }
        if host.audits_processes {
            self.security_create(host, &process, parent, who, integrity);
        }
        process
    }

    /// A process ends. Defender does not report it.
    pub(crate) fn exit(&mut self, host: &Host, at: Time, process: &Process, who: &Identity) {
        if host.sensor == Sensor::Sysmon {
            self.sysmon_exit(host, at, process, who);
        }
    }

    /// A short-lived process: starts and ends.
    pub(crate) fn run(&mut self, host: &Host, at: Time, spawn: Spawn<'_>) -> Process {
        let who = spawn.who;
        let process = self.spawn(host, at, spawn);
        let seconds = self.dice.log_normal(0.4, 0.8).min(20.0);
        self.exit(host, after(at, seconds), &process, who);
        process
    }

    /// A name is looked up; Defender reports only the connection that follows.
    pub(crate) fn resolve(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        name: &str,
        answer: &str,
    ) {
        if host.sensor == Sensor::Sysmon {
            self.sysmon_dns(host, at, process, who, name, answer);
        }
    }

    /// A connection opens.
    pub(crate) fn connect(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        connection: &Connection<'_>,
    ) {
        match host.sensor {
            Sensor::Sysmon => self.sysmon_connect(host, at, process, who, connection),
            Sensor::Defender => self.defender_connect(host, at, process, who, connection),
        }
    }

    /// A name is looked up and its address connected to on port 443.
    pub(crate) fn visit(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        site: (&str, &str),
    ) {
        self.resolve(host, at, process, who, site.0, site.1);
        let delay = self.dice.exponential(0.05);
        self.connect(host, after(at, delay), process, who, &Connection::to(site.1, 443, site.0));
    }

    /// A file is created.
    pub(crate) fn write_file(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        path: &str,
    ) {
        match host.sensor {
            Sensor::Sysmon => self.sysmon_file(host, at, process, who, path),
            Sensor::Defender => self.defender_file(host, at, process, who, path),
        }
    }

    /// A registry value is set.
    pub(crate) fn set_value(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        key: &str,
        value: &str,
    ) {
        match host.sensor {
            Sensor::Sysmon => self.sysmon_registry(host, at, process, who, key, value),
            Sensor::Defender => self.defender_registry(host, at, process, who, key, value),
        }
    }

    /// A registry key is created; Sysmon alone reports it here.
    pub(crate) fn create_key(&mut self, host: &Host, at: Time, process: &Process, who: &Identity, key: &str) {
        if host.sensor == Sensor::Sysmon {
            self.sysmon_registry_key(host, at, process, who, key);
        }
    }

    /// A module is loaded; Sysmon alone reports it here.
    pub(crate) fn load(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        module: &'static Program,
    ) {
        if host.sensor == Sensor::Sysmon {
            self.sysmon_load(host, at, process, who, module);
        }
    }

    /// A process is opened by another; Sysmon alone reports it.
    pub(crate) fn access(&mut self, host: &Host, at: Time, access: &Access<'_>) {
        if host.sensor == Sensor::Sysmon {
            self.sysmon_access(host, at, access);
        }
    }

    /// A PowerShell script block runs; event forwarding alone reports it.
    pub(crate) fn script(&mut self, host: &Host, at: Time, text: &str, path: &str) {
        if host.sensor == Sensor::Sysmon {
            self.script_block(host, at, text, path);
        }
    }

    /// Someone signs in to a machine.
    pub(crate) fn log_on(&mut self, host: &Host, at: Time, logon: &Logon<'_>) {
        match host.sensor {
            Sensor::Sysmon => self.security_logon(host, at, logon),
            Sensor::Defender => self.defender_logon(host, at, logon, true),
        }
    }

    /// Someone fails to.
    pub(crate) fn log_on_failed(&mut self, host: &Host, at: Time, logon: &Logon<'_>) {
        match host.sensor {
            Sensor::Sysmon => self.security_logon_failed(host, at, logon),
            Sensor::Defender => self.defender_logon(host, at, logon, false),
        }
    }
}
