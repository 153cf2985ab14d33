//! The device tables: processes, network, files, registry, sign-ins.

use event::Time;
use serde::Serialize;

use super::initiating::{Initiating, blank, initiating};
use crate::clock::Stamp;
use crate::company::{Host, Identity};
use crate::record::endpoint::{Connection, Direction, Integrity, logon_id};
use crate::record::process::{Hashes, Process, Standing};
use crate::record::security::{Logon, LogonType};
use crate::record::{Recorder, Source};

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

impl Recorder<'_> {
    fn device_row(&mut self, table: &str, host: &Host, at: Time, report: u32, row: impl Serialize) {
        let id = format!("{}/{report}", host.device_id);
        self.stream(Source::DefenderEndpoint, table, at, &host.name, &id, row);
    }

    fn report(&mut self) -> u32 {
        self.dice.below(4_000_000) as u32
    }

    pub(in crate::record) fn defender_create(
        &mut self,
        host: &Host,
        process: &Process,
        parent: &Process,
        who: &Identity,
        integrity: Integrity,
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

    pub(in crate::record) fn defender_connect(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        connection: &Connection<'_>,
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

    pub(in crate::record) fn defender_file(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        path: &str,
    ) {
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

    pub(in crate::record) fn defender_registry(
        &mut self,
        host: &Host,
        at: Time,
        process: &Process,
        who: &Identity,
        key: &str,
        value: &str,
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
        let lsass = Standing::Lsass.on(host, &self.company.system);
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
