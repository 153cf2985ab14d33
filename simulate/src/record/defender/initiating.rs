//! The initiating process, which every device table repeats.

use serde::Serialize;

use crate::clock::Stamp;
use crate::company::{Host, Identity};
use crate::record::endpoint::logon_id;
use crate::record::process::{Hashes, Process};

/// The process that did it, with the columns that every device table repeats.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Initiating<'a> {
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

/// `process` as the initiator, run by `who`.
pub(super) fn initiating<'a>(
    host: &Host,
    process: &'a Process,
    who: &'a Identity,
    report: u32,
) -> Initiating<'a> {
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
        initiating_process_token_elevation: if who.upn.is_empty() {
            "TokenElevationTypeDefault"
        } else {
            "TokenElevationTypeLimited"
        },
        report_id: report,
        app_guard_container_id: "",
    }
}

/// Defender leaves empty what Sysmon writes as a hyphen.
pub(super) fn blank(value: &'static str) -> &'static str {
    if value == "-" { "" } else { value }
}
