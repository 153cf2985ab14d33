//! Microsoft Defender XDR streaming records: an envelope around one row of an advanced hunting table.

use event::Time;
use serde::Serialize;

use crate::clock::Stamp;
use crate::company::{Host, Identity};
use crate::dice::Guid;
use crate::record::endpoint::{Connection, Direction, Integrity, logon_id};
use crate::record::process::{Hashes, Process};
use crate::record::security::{Logon, LogonType};
use crate::record::{Recorder, Source};

#[derive(Serialize)]
struct Envelope<'a, T> {
    records: [StreamRecord<'a, T>; 1],
}

#[derive(Serialize)]
struct StreamRecord<'a, T> {
    time: Stamp,
    #[serde(rename = "tenantId")]
    tenant_id: &'a str,
    #[serde(rename = "operationName")]
    operation_name: &'static str,
    category: &'a str,
    #[serde(rename = "_TimeReceivedBySvc")]
    received: Stamp,
    properties: T,
    #[serde(rename = "Tenant")]
    tenant: &'static str,
}

/// The process that did it, with the columns that every device table repeats.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Initiating<'a> {
    #[serde(rename = "InitiatingProcessSHA1")]
    sha1: String,
    #[serde(rename = "InitiatingProcessSHA256")]
    sha256: String,
    #[serde(rename = "InitiatingProcessMD5")]
    md5: String,
    initiating_process_file_name: &'a str,
    initiating_process_file_size: u32,
    initiating_process_version_info_company_name: &'a str,
    initiating_process_version_info_product_name: &'a str,
    initiating_process_version_info_product_version: &'a str,
    initiating_process_version_info_internal_file_name: &'a str,
    initiating_process_version_info_original_file_name: &'a str,
    initiating_process_version_info_file_description: &'a str,
    initiating_process_id: u32,
    initiating_process_command_line: &'a str,
    initiating_process_creation_time: Stamp,
    initiating_process_folder_path: String,
    initiating_process_parent_id: u32,
    initiating_process_parent_file_name: &'static str,
    initiating_process_parent_creation_time: Stamp,
    initiating_process_account_domain: String,
    initiating_process_account_name: &'a str,
    initiating_process_account_sid: &'a str,
    initiating_process_account_upn: &'a str,
    initiating_process_account_object_id: &'a str,
    initiating_process_logon_id: u32,
    initiating_process_integrity_level: &'static str,
    initiating_process_token_elevation: &'static str,
    report_id: u32,
    app_guard_container_id: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProcessRow<'a> {
    timestamp: Stamp,
    device_id: &'a str,
    device_name: String,
    action_type: &'static str,
    file_name: &'a str,
    folder_path: &'a str,
    #[serde(rename = "SHA1")]
    sha1: String,
    #[serde(rename = "SHA256")]
    sha256: String,
    #[serde(rename = "MD5")]
    md5: String,
    file_size: u32,
    process_version_info_company_name: &'a str,
    process_version_info_product_name: &'a str,
    process_version_info_product_version: &'a str,
    process_version_info_internal_file_name: &'a str,
    process_version_info_original_file_name: &'a str,
    process_version_info_file_description: &'a str,
    process_id: u32,
    process_command_line: &'a str,
    process_integrity_level: &'static str,
    process_token_elevation: &'static str,
    process_creation_time: Stamp,
    account_domain: String,
    account_name: &'a str,
    account_sid: &'a str,
    account_upn: &'a str,
    account_object_id: &'a str,
    logon_id: u32,
    #[serde(flatten)]
    initiating: Initiating<'a>,
    additional_fields: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkRow<'a> {
    timestamp: Stamp,
    device_id: &'a str,
    device_name: String,
    action_type: &'static str,
    #[serde(rename = "RemoteIP")]
    remote_ip: &'a str,
    remote_port: u16,
    remote_url: &'a str,
    #[serde(rename = "LocalIP")]
    local_ip: &'a str,
    local_port: i64,
    protocol: &'static str,
    #[serde(rename = "LocalIPType")]
    local_ip_type: &'static str,
    #[serde(rename = "RemoteIPType")]
    remote_ip_type: &'static str,
    #[serde(flatten)]
    initiating: Initiating<'a>,
    additional_fields: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FileRow<'a> {
    timestamp: Stamp,
    device_id: &'a str,
    device_name: String,
    action_type: &'static str,
    file_name: &'a str,
    folder_path: &'a str,
    #[serde(rename = "SHA1")]
    sha1: String,
    #[serde(rename = "SHA256")]
    sha256: String,
    #[serde(rename = "MD5")]
    md5: String,
    file_origin_url: Option<&'static str>,
    #[serde(rename = "FileOriginIP")]
    file_origin_ip: Option<&'static str>,
    previous_folder_path: &'static str,
    previous_file_name: &'static str,
    file_size: i64,
    #[serde(flatten)]
    initiating: Initiating<'a>,
    request_protocol: &'static str,
    share_name: &'static str,
    sensitivity_label: &'static str,
    additional_fields: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RegistryRow<'a> {
    timestamp: Stamp,
    device_id: &'a str,
    device_name: String,
    action_type: &'static str,
    registry_key: &'a str,
    registry_value_type: &'static str,
    registry_value_name: &'a str,
    registry_value_data: &'a str,
    previous_registry_key: &'static str,
    previous_registry_value_name: &'static str,
    previous_registry_value_data: Option<&'static str>,
    #[serde(flatten)]
    initiating: Initiating<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LogonRow<'a> {
    timestamp: Stamp,
    device_id: &'a str,
    device_name: String,
    action_type: &'static str,
    logon_type: &'static str,
    account_domain: String,
    account_name: &'a str,
    account_sid: &'a str,
    protocol: &'static str,
    failure_reason: &'static str,
    is_local_admin: bool,
    logon_id: u32,
    remote_device_name: &'a str,
    #[serde(rename = "RemoteIP")]
    remote_ip: &'a str,
    #[serde(rename = "RemoteIPType")]
    remote_ip_type: &'static str,
    remote_port: Option<u16>,
    #[serde(flatten)]
    initiating: Initiating<'a>,
    additional_fields: &'static str,
}

/// A sign-in that the directory sensor saw on a domain controller.
pub(crate) struct DirectoryLogon<'a> {
    pub(crate) who: &'a Identity,
    pub(crate) display_name: &'a str,
    /// The machine it comes from
    pub(crate) from: &'a Host,
    /// The machine it goes to
    pub(crate) to: &'a Host,
    pub(crate) protocol: &'static str,
    /// `None` for a success
    pub(crate) failure: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct IdentityLogonRow<'a> {
    timestamp: Stamp,
    action_type: &'static str,
    application: &'static str,
    logon_type: &'static str,
    protocol: &'static str,
    failure_reason: &'a str,
    account_name: &'a str,
    account_domain: &'a str,
    account_upn: &'a str,
    account_sid: &'a str,
    account_object_id: &'a str,
    account_display_name: &'a str,
    device_name: String,
    device_type: &'static str,
    #[serde(rename = "OSPlatform")]
    os_platform: &'static str,
    #[serde(rename = "IPAddress")]
    ip_address: &'a str,
    port: i64,
    destination_device_name: String,
    #[serde(rename = "DestinationIPAddress")]
    destination_ip: &'a str,
    destination_port: u16,
    target_device_name: &'a str,
    target_account_display_name: &'static str,
    location: &'static str,
    isp: &'static str,
    report_id: &'a str,
    additional_fields: IdentityExtra<'a>,
}

#[derive(Serialize)]
struct IdentityExtra<'a> {
    #[serde(rename = "Count")]
    count: &'static str,
    #[serde(rename = "TO.DEVICE")]
    to: &'a str,
    #[serde(rename = "FROM.DEVICE")]
    from: &'a str,
    #[serde(rename = "ACTOR.ACCOUNT")]
    actor: &'a str,
    #[serde(rename = "SourceComputerOperatingSystemType")]
    os: &'static str,
}

impl Recorder<'_> {
    /// Wraps a row of `table` in the stream's envelope.
    pub(super) fn stream(&mut self, source: Source, table: &str, at: Time, key: &str, uid: String, row: impl Serialize) {
        let category = format!("AdvancedHunting-{table}");
        let seconds = self.dice.log_normal(3.0, 0.5);
        let record = StreamRecord {
            time: Stamp::Ticks(crate::clock::after(at, seconds)),
            tenant_id: &self.company.entra_tenant,
            operation_name: "Publish",
            category: &category,
            received: Stamp::Ticks(crate::clock::after(at, seconds * 0.5)),
            properties: row,
            tenant: "DefaultTenant",
        };
        self.push_json(source, at, key, uid, &Envelope { records: [record] });
    }

    fn device_row(&mut self, table: &str, host: &Host, at: Time, report: u32, row: impl Serialize) {
        self.stream(Source::DefenderEndpoint, table, at, &host.name, device_uid(host, at, report), row);
    }

    fn report(&mut self) -> u32 {
        self.dice.below(4_000_000) as u32
    }

    pub(super) fn defender_create(
        &mut self, host: &Host, process: &Process, parent: &Process, who: &Identity, integrity: Integrity,
    ) {
        let (report, program) = (self.report(), process.program);
        let hashes = Hashes::of(&process.image, program.version);
        let row = ProcessRow {
            timestamp: Stamp::Ticks(process.started),
            device_id: &host.device_id,
            device_name: host.fqdn.to_lowercase(),
            action_type: "ProcessCreated",
            file_name: process.file_name(),
            folder_path: &process.image,
            sha1: hashes.sha1().to_lowercase(),
            sha256: hashes.sha256().to_lowercase(),
            md5: hashes.md5().to_lowercase(),
            file_size: program.bytes,
            process_version_info_company_name: blank(program.company),
            process_version_info_product_name: blank(program.product),
            process_version_info_product_version: blank(program.version),
            process_version_info_internal_file_name: blank(program.original),
            process_version_info_original_file_name: blank(program.original),
            process_version_info_file_description: blank(program.description),
            process_id: process.pid,
            process_command_line: &process.command,
            process_integrity_level: integrity.name(),
            process_token_elevation: elevation(integrity),
            process_creation_time: Stamp::Ticks(process.started),
            account_domain: who.domain.to_lowercase(),
            account_name: &who.name,
            account_sid: &who.sid,
            account_upn: &who.upn,
            account_object_id: &who.object_id,
            logon_id: logon_id(host, who),
            initiating: initiating(host, parent, who, report),
            additional_fields: "{}",
        };
        self.device_row("DeviceProcessEvents", host, process.started, report, row);
    }

    pub(super) fn defender_connect(
        &mut self, host: &Host, at: Time, process: &Process, who: &Identity, connection: &Connection<'_>,
    ) {
        let report = self.report();
        let near_port = self.dice.between(49_152, 65_000);
        let outbound = connection.direction == Direction::Outbound;
        let row = NetworkRow {
            timestamp: Stamp::Ticks(at),
            device_id: &host.device_id,
            device_name: host.fqdn.to_lowercase(),
            action_type: if outbound { "ConnectionSuccess" } else { "InboundConnectionAccepted" },
            remote_ip: connection.ip,
            remote_port: connection.port,
            remote_url: connection.name,
            local_ip: &host.ip,
            local_port: near_port,
            protocol: "Tcp",
            local_ip_type: "Private",
            remote_ip_type: if connection.ip.starts_with("10.") { "Private" } else { "Public" },
            initiating: initiating(host, process, who, report),
            additional_fields: None,
        };
        self.device_row("DeviceNetworkEvents", host, at, report, row);
    }

    pub(super) fn defender_file(&mut self, host: &Host, at: Time, process: &Process, who: &Identity, path: &str) {
        let report = self.report();
        let hashes = Hashes::of(path, "");
        let (folder, name) = path.rsplit_once('\\').unwrap_or(("", path));
        let folder = folder.to_owned();
        let row = FileRow {
            timestamp: Stamp::Ticks(at),
            device_id: &host.device_id,
            device_name: host.fqdn.to_lowercase(),
            action_type: "FileCreated",
            file_name: name,
            folder_path: if folder.is_empty() { name } else { path },
            sha1: hashes.sha1().to_lowercase(),
            sha256: hashes.sha256().to_lowercase(),
            md5: hashes.md5().to_lowercase(),
            file_origin_url: None,
            file_origin_ip: None,
            previous_folder_path: "",
            previous_file_name: "",
            file_size: self.dice.log_normal(40_000.0, 1.5) as i64,
            initiating: initiating(host, process, who, report),
            request_protocol: "Local",
            share_name: "",
            sensitivity_label: "",
            additional_fields: None,
        };
        self.device_row("DeviceFileEvents", host, at, report, row);
    }

    pub(super) fn defender_registry(
        &mut self, host: &Host, at: Time, process: &Process, who: &Identity, key: &str, value: &str,
    ) {
        let report = self.report();
        let (key, name) = key.rsplit_once('\\').unwrap_or((key, ""));
        let row = RegistryRow {
            timestamp: Stamp::Ticks(at),
            device_id: &host.device_id,
            device_name: host.fqdn.to_lowercase(),
            action_type: "RegistryValueSet",
            registry_key: key,
            registry_value_type: "String",
            registry_value_name: name,
            registry_value_data: value,
            previous_registry_key: "",
            previous_registry_value_name: "",
            previous_registry_value_data: None,
            initiating: initiating(host, process, who, report),
        };
        self.device_row("DeviceRegistryEvents", host, at, report, row);
    }

    pub(crate) fn defender_logon(&mut self, host: &Host, at: Time, logon: &Logon<'_>, success: bool) {
        let report = self.report();
        let lsass = crate::record::process::Standing::Lsass.on(host, &self.company.system);
        let row = LogonRow {
            timestamp: Stamp::Ticks(at),
            device_id: &host.device_id,
            device_name: host.fqdn.to_lowercase(),
            action_type: if success { "LogonSuccess" } else { "LogonFailed" },
            logon_type: logon_type(logon.kind),
            account_domain: logon.who.domain.to_lowercase(),
            account_name: &logon.who.name,
            account_sid: &logon.who.sid,
            protocol: logon.package,
            failure_reason: if success { "" } else { "InvalidUserNameOrPassword" },
            is_local_admin: logon.elevated,
            logon_id: logon_id(host, logon.who),
            remote_device_name: logon.from.0,
            remote_ip: logon.from.1,
            remote_ip_type: "Private",
            remote_port: None,
            initiating: initiating(host, &lsass, &self.company.system, report),
            additional_fields: "{\"IsLocalLogon\":true}",
        };
        self.device_row("DeviceLogonEvents", host, at, report, row);
    }

    /// A sign-in through the directory, seen by the sensor on the domain controller.
    pub(crate) fn directory_logon(&mut self, at: Time, logon: &DirectoryLogon<'_>) {
        let guid: Guid = self.dice.guid();
        let report = format!("{guid}_{}_{}", self.dice.below(1_000_000_000), at.micros() / 1_000);
        let forest = &self.company.forest;
        let row = IdentityLogonRow {
            timestamp: Stamp::Ticks(at),
            action_type: if logon.failure.is_none() { "LogonSuccess" } else { "LogonFailed" },
            application: "Active Directory",
            logon_type: if logon.protocol == "Kerberos" { "Interactive" } else { "Credentials validation" },
            protocol: logon.protocol,
            failure_reason: logon.failure.unwrap_or(""),
            account_name: &logon.who.name,
            account_domain: forest,
            account_upn: &logon.who.upn,
            account_sid: &logon.who.sid,
            account_object_id: &logon.who.object_id,
            account_display_name: logon.display_name,
            device_name: logon.from.fqdn.to_lowercase(),
            device_type: "Workstation",
            os_platform: "Windows11",
            ip_address: &logon.from.ip,
            port: self.dice.between(49_152, 65_000),
            destination_device_name: logon.to.fqdn.to_lowercase(),
            destination_ip: &logon.to.ip,
            destination_port: if logon.protocol == "Kerberos" { 88 } else { 445 },
            target_device_name: &logon.to.name,
            target_account_display_name: "",
            location: "",
            isp: "INTERNAL_NETWORK",
            report_id: &report,
            additional_fields: IdentityExtra {
                count: "1",
                to: &logon.to.name,
                from: &logon.from.name,
                actor: logon.display_name,
                os: "windows",
            },
        };
        let key = logon.who.name.clone();
        self.stream(Source::DefenderIdentity, "IdentityLogonEvents", at, &key, report.clone(), row);
    }
}

/// The id that device rows get: their report number is unique per device and time only.
fn device_uid(host: &Host, at: Time, report: u32) -> String {
    format!("{}/{report}/{}", host.device_id, Stamp::Ticks(at))
}

fn initiating<'a>(host: &Host, process: &'a Process, who: &'a Identity, report: u32) -> Initiating<'a> {
    let program = process.program;
    let hashes = Hashes::of(&process.image, program.version);
    let system = process.started == host.boot;
    Initiating {
        sha1: hashes.sha1().to_lowercase(),
        sha256: hashes.sha256().to_lowercase(),
        md5: hashes.md5().to_lowercase(),
        initiating_process_file_name: process.file_name(),
        initiating_process_file_size: program.bytes,
        initiating_process_version_info_company_name: blank(program.company),
        initiating_process_version_info_product_name: blank(program.product),
        initiating_process_version_info_product_version: blank(program.version),
        initiating_process_version_info_internal_file_name: blank(program.original),
        initiating_process_version_info_original_file_name: blank(program.original),
        initiating_process_version_info_file_description: blank(program.description),
        initiating_process_id: process.pid,
        initiating_process_command_line: &process.command,
        initiating_process_creation_time: Stamp::Ticks(process.started),
        initiating_process_folder_path: process.image.to_lowercase(),
        initiating_process_parent_id: if system { 4 } else { 548 },
        initiating_process_parent_file_name: if system { "services.exe" } else { "explorer.exe" },
        initiating_process_parent_creation_time: Stamp::Ticks(host.boot),
        initiating_process_account_domain: who.domain.to_lowercase(),
        initiating_process_account_name: &who.name,
        initiating_process_account_sid: &who.sid,
        initiating_process_account_upn: &who.upn,
        initiating_process_account_object_id: &who.object_id,
        initiating_process_logon_id: logon_id(host, who),
        initiating_process_integrity_level: if who.upn.is_empty() { "System" } else { "Medium" },
        initiating_process_token_elevation: if who.upn.is_empty() { "TokenElevationTypeDefault" } else { "TokenElevationTypeLimited" },
        report_id: report,
        app_guard_container_id: "",
    }
}

/// Defender leaves empty what Sysmon writes as a hyphen.
fn blank(value: &'static str) -> &'static str {
    if value == "-" { "" } else { value }
}

const fn elevation(integrity: Integrity) -> &'static str {
    match integrity {
        Integrity::Medium => "TokenElevationTypeLimited",
        Integrity::High => "TokenElevationTypeFull",
        Integrity::System => "TokenElevationTypeDefault",
    }
}

const fn logon_type(kind: LogonType) -> &'static str {
    match kind {
        LogonType::Network => "Network",
        LogonType::Unlock => "Unlock",
        LogonType::RemoteInteractive => "RemoteInteractive",
        LogonType::Interactive => "Interactive",
    }
}
