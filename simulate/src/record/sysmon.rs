//! Sysmon events, with the fields in Sysmon's own order.

use event::Time;

use crate::clock::Stamp;
use crate::company::{Host, Identity};
use crate::record::Recorder;
use crate::record::endpoint::{Access, Connection, Direction, Integrity, logon_id};
use crate::record::process::{Hashes, Process, Program};
use crate::record::windows::{Message, SYSMON};

impl Recorder<'_> {
    /// Event 1, process creation.
    pub(super) fn sysmon_create(
        &mut self,
        host: &Host,
        process: &Process,
        parent: &Process,
        who: &Identity,
        integrity: Integrity,
    ) {
        let (at, program) = (process.started, process.program);
        let hashes = Hashes::of(&process.image, program.version);
        let logon = logon_id(host, who);
        let parent_user = if parent.pid < 1_500 { &self.company.system } else { who };
        let session = if who.upn.is_empty() { 0 } else { 1 };
        let boot_s = host.boot.micros() / 1_000_000;
        self.fields()
            .put("RuleName", "-")
            .put("UtcTime", Stamp::Sysmon(at))
            .put("ProcessGuid", process.guid)
            .put("ProcessId", process.pid)
            .put("Image", &process.image)
            .put("FileVersion", program.version)
            .put("Description", program.description)
            .put("Product", program.product)
            .put("Company", program.company)
            .put("OriginalFileName", program.original)
            .put("CommandLine", &process.command)
            .put("CurrentDirectory", working_directory(process, who))
            .put("User", &who.account)
            .put(
                "LogonGuid",
                format_args!(
                    "{{{:08x}-{:04x}-{:04x}-{:04x}-{:04x}00000000}}",
                    host.machine,
                    boot_s & 0xffff,
                    boot_s >> 16 & 0xffff,
                    logon & 0xffff,
                    logon >> 16 & 0xffff
                ),
            )
            .put("LogonId", format_args!("{logon:#x}"))
            .put("TerminalSessionId", session)
            .put("IntegrityLevel", integrity.name())
            .put("Hashes", &hashes)
            .put("ParentProcessGuid", parent.guid)
            .put("ParentProcessId", parent.pid)
            .put("ParentImage", &parent.image)
            .put("ParentCommandLine", &parent.command)
            .put("ParentUser", &parent_user.account);
        self.windows(host, at, &SYSMON, 1, 1, &Message::Listed("Process Create:"));
    }

    /// Event 3, network connection.
    pub(super) fn sysmon_connect(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        connection: &Connection<'_>,
    ) {
        let near_port = self.dice.between(49_152, 65_000);
        let outbound = connection.direction == Direction::Outbound;
        let (source_ip, destination_ip) =
            if outbound { (host.ip.as_str(), connection.ip) } else { (connection.ip, host.ip.as_str()) };
        let far = if connection.name.is_empty() { "-" } else { connection.name };
        let (source_name, destination_name) =
            if outbound { (host.fqdn.as_str(), far) } else { (far, host.fqdn.as_str()) };
        self.fields()
            .put("RuleName", "-")
            .put("UtcTime", Stamp::Sysmon(at))
            .put("ProcessGuid", process.guid)
            .put("ProcessId", process.pid)
            .put("Image", &process.image)
            .put("User", &who.account)
            .put("Protocol", if connection.port == 53 { "udp" } else { "tcp" })
            .put("Initiated", outbound)
            .put("SourceIsIpv6", false)
            .put("SourceIp", source_ip)
            .put("SourceHostname", source_name)
            .put("SourcePort", near_port)
            .put("SourcePortName", "-")
            .put("DestinationIsIpv6", false)
            .put("DestinationIp", destination_ip)
            .put("DestinationHostname", destination_name)
            .put("DestinationPort", connection.port)
            .put("DestinationPortName", port_name(connection.port));
        self.windows(host, at, &SYSMON, 3, 3, &Message::Listed("Network connection detected:"));
    }

    /// Event 5, process end.
    pub(super) fn sysmon_exit(&mut self, host: &Host, at: Time, process: &Process, who: &Identity) {
        self.process_fields(at, process).put("User", &who.account);
        self.windows(host, at, &SYSMON, 5, 5, &Message::Listed("Process terminated:"));
    }

    /// Event 7, image load.
    pub(super) fn sysmon_load(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        module: &Program,
    ) {
        let hashes = Hashes::of(module.path, module.version);
        let signed = module.company != "-";
        self.process_fields(at, process)
            .put("ImageLoaded", module.path)
            .put("FileVersion", module.version)
            .put("Description", module.description)
            .put("Product", module.product)
            .put("Company", module.company)
            .put("OriginalFileName", module.original)
            .put("Hashes", &hashes)
            .put("Signed", signed)
            .put("Signature", if signed { "Microsoft Windows" } else { "-" })
            .put("SignatureStatus", if signed { "Valid" } else { "Unavailable" })
            .put("User", &who.account);
        self.windows(host, at, &SYSMON, 7, 7, &Message::Listed("Image loaded:"));
    }

    /// Event 10, access of one process to another.
    pub(super) fn sysmon_access(&mut self, host: &Host, at: Time, access: &Access<'_>) {
        let thread = self.dice.between(1_000, 12_000);
        let trace = call_trace(access.unbacked, &access.source.image);
        self.fields()
            .put("RuleName", "-")
            .put("UtcTime", Stamp::Sysmon(at))
            .put("SourceProcessGUID", access.source.guid)
            .put("SourceProcessId", access.source.pid)
            .put("SourceThreadId", thread)
            .put("SourceImage", &access.source.image)
            .put("TargetProcessGUID", access.target.guid)
            .put("TargetProcessId", access.target.pid)
            .put("TargetImage", &access.target.image)
            .put("GrantedAccess", access.granted)
            .put("CallTrace", trace)
            .put("SourceUser", &access.source_user.account)
            .put("TargetUser", &access.target_user.account);
        self.windows(host, at, &SYSMON, 10, 10, &Message::Listed("Process accessed:"));
    }

    /// Event 11, file creation.
    pub(super) fn sysmon_file(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        path: &str,
    ) {
        self.process_fields(at, process)
            .put("TargetFilename", path)
            .put("CreationUtcTime", Stamp::Sysmon(at))
            .put("User", &who.account);
        self.windows(host, at, &SYSMON, 11, 11, &Message::Listed("File created:"));
    }

    /// Event 13, registry value set.
    pub(super) fn sysmon_registry(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        key: &str,
        value: &str,
    ) {
        self.fields()
            .put("RuleName", "-")
            .put("EventType", "SetValue")
            .put("UtcTime", Stamp::Sysmon(at))
            .put("ProcessGuid", process.guid)
            .put("ProcessId", process.pid)
            .put("Image", &process.image)
            .put("TargetObject", key)
            .put("Details", value)
            .put("User", &who.account);
        self.windows(host, at, &SYSMON, 13, 13, &Message::Listed("Registry value set:"));
    }

    /// Event 12, registry key created.
    pub(super) fn sysmon_registry_key(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        key: &str,
    ) {
        self.fields()
            .put("RuleName", "-")
            .put("EventType", "CreateKey")
            .put("UtcTime", Stamp::Sysmon(at))
            .put("ProcessGuid", process.guid)
            .put("ProcessId", process.pid)
            .put("Image", &process.image)
            .put("TargetObject", key)
            .put("User", &who.account);
        self.windows(host, at, &SYSMON, 12, 12, &Message::Listed("Registry object added or deleted:"));
    }

    /// Event 22, DNS query.
    pub(super) fn sysmon_dns(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        query: &str,
        answer: &str,
    ) {
        self.fields()
            .put("RuleName", "-")
            .put("UtcTime", Stamp::Sysmon(at))
            .put("ProcessGuid", process.guid)
            .put("ProcessId", process.pid)
            .put("QueryName", query)
            .put("QueryStatus", 0)
            .put("QueryResults", format_args!("::ffff:{answer};"))
            .put("Image", &process.image)
            .put("User", &who.account);
        self.windows(host, at, &SYSMON, 22, 22, &Message::Listed("Dns query:"));
    }

    fn process_fields(&mut self, at: Time, process: &Process) -> &mut super::windows::Pairs {
        self.fields()
            .put("RuleName", "-")
            .put("UtcTime", Stamp::Sysmon(at))
            .put("ProcessGuid", process.guid)
            .put("ProcessId", process.pid)
            .put("Image", &process.image)
    }
}

fn working_directory(process: &Process, who: &Identity) -> String {
    if who.upn.is_empty() || process.folder().is_empty() {
        "C:\\Windows\\system32\\".to_owned()
    } else if process.folder().starts_with("C:\\Windows") {
        format!("C:\\Users\\{}\\", who.name)
    } else {
        process.folder().to_owned()
    }
}

const fn port_name(port: u16) -> &'static str {
    match port {
        53 => "domain",
        80 => "http",
        88 => "kerberos",
        389 => "ldap",
        443 => "https",
        445 => "microsoft-ds",
        _ => "-",
    }
}

/// Frames of the opening thread; code outside any module shows as UNKNOWN.
fn call_trace(unbacked: bool, image: &str) -> String {
    const SYSTEM: &str = "C:\\Windows\\SYSTEM32\\ntdll.dll+9d4c4|C:\\Windows\\System32\\KERNELBASE.dll+2c13e";
    if unbacked {
        format!("{SYSTEM}|UNKNOWN(00000183D2F2A9E1)|UNKNOWN(00000183D2F2B1C4)|{image}+1a2f")
    } else {
        format!(
            "{SYSTEM}|{image}+13bad|{image}+14d25|C:\\Windows\\System32\\sechost.dll+da2c|\
             C:\\Windows\\System32\\KERNEL32.DLL+17034|C:\\Windows\\SYSTEM32\\ntdll.dll+526a1"
        )
    }
}
