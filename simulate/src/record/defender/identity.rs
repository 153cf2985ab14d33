//! Sign-ins through the directory, as the sensor on the domain controllers sees them.

use event::Time;
use serde::Serialize;

use crate::clock::Stamp;
use crate::company::{Host, Identity};
use crate::dice::Guid;
use crate::record::{Recorder, Source};

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
        self.stream(Source::DefenderIdentity, "IdentityLogonEvents", at, &key, &report, row);
    }
}
