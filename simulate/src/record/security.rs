//! Events of the Security, System and PowerShell logs, with the text that Windows renders around the fields.

use event::Time;

use crate::company::{Host, Identity};
use crate::record::Recorder;
use crate::record::endpoint::{Integrity, logon_id};
use crate::record::process::Process;
use crate::record::windows::{Message, POWERSHELL, SECURITY, SECURITY_FAILURE, SYSTEM};

/// How an account signs in to a machine, by the numbers of event 4624.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogonType {
    Interactive = 2,
    Network = 3,
    Unlock = 7,
    RemoteInteractive = 10,
}

/// A sign-in to a machine.
pub(crate) struct Logon<'a> {
    pub(crate) who: &'a Identity,
    pub(crate) kind: LogonType,
    /// Short name and address of the machine it comes from
    pub(crate) from: (&'a str, &'a str),
    pub(crate) package: &'static str,
    pub(crate) elevated: bool,
}

const LOGON_NOTE: &str = "\r\n\r\nThis event is generated when a logon session is created. It is generated on the computer that was accessed.\r\n\r\n\
The subject fields indicate the account on the local system which requested the logon. This is most commonly a service such as the Server service, or a local process such as Winlogon.exe or Services.exe.\r\n\r\n\
The logon type field indicates the kind of logon that occurred. The most common types are 2 (interactive) and 3 (network).\r\n\r\n\
The New Logon fields indicate the account for whom the new logon was created, i.e. the account that was logged on.";

const CREATE_NOTE: &str = "\r\n\r\nToken Elevation Type indicates the type of token that was assigned to the new process in accordance with User Account Control policy.\r\n\r\n\
Type 1 is a full token with no privileges removed or groups disabled.  A full token is only used if User Account Control is disabled or if the user is the built-in Administrator account or a service account.\r\n\r\n\
Type 2 is an elevated token with no privileges removed or groups disabled.  An elevated token is used when User Account Control is enabled and the user chooses to start the program using Run as administrator.";

const PRIVILEGES: &str = "SeSecurityPrivilege\n\t\t\tSeTakeOwnershipPrivilege\n\t\t\tSeLoadDriverPrivilege\n\t\t\tSeBackupPrivilege\n\t\t\tSeRestorePrivilege\n\t\t\tSeDebugPrivilege\n\t\t\tSeSystemEnvironmentPrivilege\n\t\t\tSeImpersonatePrivilege";

impl Recorder<'_> {
    /// Event 4624.
    pub(crate) fn security_logon(&mut self, host: &Host, at: Time, logon: &Logon<'_>) {
        let (who, kind, id) = (logon.who, logon.kind as u32, logon_id(host, logon.who));
        let (workstation, ip) = logon.from;
        let guid = self.dice.guid();
        let port = self.dice.between(49_152, 65_000);
        let process = match logon.kind {
            LogonType::Network => "-",
            _ => "C:\\Windows\\System32\\svchost.exe",
        };
        let (logon_process, lm) =
            if logon.package == "NTLM" { ("NtLmSsp ", "NTLM V2") } else { ("Kerberos", "-") };
        let elevated = if logon.elevated { "Yes" } else { "No" };
        let text = format!(
            "An account was successfully logged on.\r\n\r\nSubject:\r\n\tSecurity ID:\t\tS-1-0-0\r\n\tAccount Name:\t\t-\r\n\tAccount Domain:\t\t-\r\n\tLogon ID:\t\t0x0\r\n\r\n\
             Logon Information:\r\n\tLogon Type:\t\t{kind}\r\n\tRestricted Admin Mode:\t-\r\n\tVirtual Account:\t\tNo\r\n\tElevated Token:\t\t{elevated}\r\n\r\nImpersonation Level:\t\tImpersonation\r\n\r\n\
             New Logon:\r\n\tSecurity ID:\t\t{}\r\n\tAccount Name:\t\t{}\r\n\tAccount Domain:\t\t{}\r\n\tLogon ID:\t\t{id:#X}\r\n\tLinked Logon ID:\t\t0x0\r\n\tLogon GUID:\t\t{{{guid}}}\r\n\r\n\
             Process Information:\r\n\tProcess Name:\t\t{process}\r\n\r\nNetwork Information:\r\n\tWorkstation Name:\t{workstation}\r\n\tSource Network Address:\t{ip}\r\n\tSource Port:\t\t{port}\r\n\r\n\
             Detailed Authentication Information:\r\n\tLogon Process:\t\t{logon_process}\r\n\tAuthentication Package:\t{}\r\n\tPackage Name (NTLM only):\t{lm}{LOGON_NOTE}",
            who.sid, who.name, who.domain, logon.package
        );
        self.fields()
            .put("SubjectUserSid", "S-1-0-0")
            .put("SubjectUserName", "-")
            .put("SubjectDomainName", "-")
            .put("SubjectLogonId", "0x0")
            .put("TargetUserSid", &who.sid)
            .put("TargetUserName", &who.name)
            .put("TargetDomainName", &who.domain)
            .put("TargetLogonId", format_args!("{id:#x}"))
            .put("LogonType", kind)
            .put("LogonProcessName", logon_process)
            .put("AuthenticationPackageName", logon.package)
            .put("WorkstationName", workstation)
            .put("LogonGuid", format_args!("{{{guid}}}"))
            .put("TransmittedServices", "-")
            .put("LmPackageName", lm)
            .put("KeyLength", 0)
            .put("ProcessId", "0x0")
            .put("ProcessName", process)
            .put("IpAddress", ip)
            .put("IpPort", port)
            .put("ImpersonationLevel", "%%1833")
            .put("RestrictedAdminMode", "-")
            .put("TargetOutboundUserName", "-")
            .put("TargetOutboundDomainName", "-")
            .put("VirtualAccount", "%%1843")
            .put("TargetLinkedLogonId", "0x0")
            .put("ElevatedToken", if logon.elevated { "%%1842" } else { "%%1843" });
        self.windows(host, at, &SECURITY, 4624, 12_544, &Message::Text(&text));
        if logon.elevated {
            self.security_privileges(host, at, who);
        }
    }

    /// Event 4625: a wrong password.
    pub(crate) fn security_logon_failed(&mut self, host: &Host, at: Time, logon: &Logon<'_>) {
        let (who, kind, (workstation, ip)) = (logon.who, logon.kind as u32, logon.from);
        let text = format!(
            "An account failed to log on.\r\n\r\nSubject:\r\n\tSecurity ID:\t\tS-1-0-0\r\n\tAccount Name:\t\t-\r\n\tLogon ID:\t\t0x0\r\n\r\nLogon Type:\t\t\t{kind}\r\n\r\n\
             Account For Which Logon Failed:\r\n\tSecurity ID:\t\tS-1-0-0\r\n\tAccount Name:\t\t{}\r\n\tAccount Domain:\t\t{}\r\n\r\n\
             Failure Information:\r\n\tFailure Reason:\t\tUnknown user name or bad password.\r\n\tStatus:\t\t\t0xC000006D\r\n\tSub Status:\t\t0xC000006A\r\n\r\n\
             Network Information:\r\n\tWorkstation Name:\t{workstation}\r\n\tSource Network Address:\t{ip}\r\n\r\nThis event is generated when a logon request fails. It is generated on the computer where access was attempted.",
            who.name, who.domain
        );
        self.fields()
            .put("SubjectUserSid", "S-1-0-0")
            .put("SubjectUserName", "-")
            .put("SubjectDomainName", "-")
            .put("SubjectLogonId", "0x0")
            .put("TargetUserSid", "S-1-0-0")
            .put("TargetUserName", &who.name)
            .put("TargetDomainName", &who.domain)
            .put("Status", "0xc000006d")
            .put("FailureReason", "%%2313")
            .put("SubStatus", "0xc000006a")
            .put("LogonType", kind)
            .put("LogonProcessName", "NtLmSsp ")
            .put("AuthenticationPackageName", "NTLM")
            .put("WorkstationName", workstation)
            .put("TransmittedServices", "-")
            .put("LmPackageName", "-")
            .put("KeyLength", 0)
            .put("ProcessId", "0x0")
            .put("ProcessName", "-")
            .put("IpAddress", ip)
            .put("IpPort", 0);
        self.windows(host, at, &SECURITY_FAILURE, 4625, 12_544, &Message::Text(&text));
    }

    /// Event 4634.
    pub(crate) fn security_logoff(&mut self, host: &Host, at: Time, who: &Identity, kind: LogonType) {
        let (id, kind) = (logon_id(host, who), kind as u32);
        let text = format!(
            "An account was logged off.\r\n\r\nSubject:\r\n\tSecurity ID:\t\t{}\r\n\tAccount Name:\t\t{}\r\n\tAccount Domain:\t\t{}\r\n\tLogon ID:\t\t{id:#X}\r\n\r\nLogon Type:\t\t\t{kind}\r\n\r\n\
             This event is generated when a logon session is destroyed. It may be positively correlated with a logon event using the Logon ID value. Logon IDs are only unique between reboots on the same computer.",
            who.sid, who.name, who.domain
        );
        self.fields()
            .put("TargetUserSid", &who.sid)
            .put("TargetUserName", &who.name)
            .put("TargetDomainName", &who.domain)
            .put("TargetLogonId", format_args!("{id:#x}"))
            .put("LogonType", kind);
        self.windows(host, at, &SECURITY, 4634, 12_545, &Message::Text(&text));
    }

    /// Event 4672.
    fn security_privileges(&mut self, host: &Host, at: Time, who: &Identity) {
        let id = logon_id(host, who);
        let text = format!(
            "Special privileges assigned to new logon.\r\n\r\nSubject:\r\n\tSecurity ID:\t\t{}\r\n\tAccount Name:\t\t{}\r\n\tAccount Domain:\t\t{}\r\n\tLogon ID:\t\t{id:#X}\r\n\r\nPrivileges:\t\t{PRIVILEGES}",
            who.sid, who.name, who.domain
        );
        self.fields()
            .put("SubjectUserSid", &who.sid)
            .put("SubjectUserName", &who.name)
            .put("SubjectDomainName", &who.domain)
            .put("SubjectLogonId", format_args!("{id:#x}"))
            .put("PrivilegeList", PRIVILEGES);
        self.windows(host, at, &SECURITY, 4672, 12_548, &Message::Text(&text));
    }

    /// Event 4688.
    pub(super) fn security_create(
        &mut self,
        host: &Host,
        process: &Process,
        parent: &Process,
        who: &Identity,
        integrity: Integrity,
    ) {
        let (id, label) = (logon_id(host, who), integrity.label());
        let text = format!(
            "A new process has been created.\r\n\r\nCreator Subject:\r\n\tSecurity ID:\t\t{}\r\n\tAccount Name:\t\t{}\r\n\tAccount Domain:\t\t{}\r\n\tLogon ID:\t\t{id:#X}\r\n\r\n\
             Target Subject:\r\n\tSecurity ID:\t\tS-1-0-0\r\n\tAccount Name:\t\t-\r\n\tAccount Domain:\t\t-\r\n\tLogon ID:\t\t0x0\r\n\r\n\
             Process Information:\r\n\tNew Process ID:\t\t{:#x}\r\n\tNew Process Name:\t{}\r\n\tToken Elevation Type:\t%%1936\r\n\tMandatory Label:\t\t{label}\r\n\tCreator Process ID:\t{:#x}\r\n\tCreator Process Name:\t{}\r\n\tProcess Command Line:\t{}{CREATE_NOTE}",
            who.sid,
            who.name,
            who.domain,
            process.pid,
            process.image,
            parent.pid,
            parent.image,
            process.command
        );
        self.fields()
            .put("SubjectUserSid", &who.sid)
            .put("SubjectUserName", &who.name)
            .put("SubjectDomainName", &who.domain)
            .put("SubjectLogonId", format_args!("{id:#x}"))
            .put("NewProcessId", format_args!("{:#x}", process.pid))
            .put("NewProcessName", &process.image)
            .put("TokenElevationType", "%%1936")
            .put("ProcessId", format_args!("{:#x}", parent.pid))
            .put("CommandLine", &process.command)
            .put("TargetUserSid", "S-1-0-0")
            .put("TargetUserName", "-")
            .put("TargetDomainName", "-")
            .put("TargetLogonId", "0x0")
            .put("ParentProcessName", &parent.image)
            .put("MandatoryLabel", label);
        self.windows(host, process.started, &SECURITY, 4688, 13_312, &Message::Text(&text));
    }

    /// Event 4768: a ticket-granting ticket, on the domain controller.
    pub(crate) fn kerberos_ticket(&mut self, controller: &Host, at: Time, who: &Identity, from_ip: &str) {
        let realm = self.company.forest.to_uppercase();
        let text = format!(
            "A Kerberos authentication ticket (TGT) was requested.\r\n\r\nAccount Information:\r\n\tAccount Name:\t\t{}\r\n\tSupplied Realm Name:\t{realm}\r\n\tUser ID:\t\t\t{}\r\n\r\n\
             Service Information:\r\n\tService Name:\t\tkrbtgt\r\n\r\nNetwork Information:\r\n\tClient Address:\t\t::ffff:{from_ip}\r\n\r\nAdditional Information:\r\n\tTicket Options:\t\t0x40810010\r\n\tResult Code:\t\t0x0\r\n\tTicket Encryption Type:\t0x12\r\n\tPre-Authentication Type:\t2",
            who.name, who.sid
        );
        let port = self.dice.between(49_152, 65_000);
        self.fields()
            .put("TargetUserName", &who.name)
            .put("TargetDomainName", &who.domain)
            .put("TargetSid", &who.sid)
            .put("ServiceName", "krbtgt")
            .put("ServiceSid", "S-1-5-21-0-0-0-502")
            .put("TicketOptions", "0x40810010")
            .put("Status", "0x0")
            .put("TicketEncryptionType", "0x12")
            .put("PreAuthType", 2)
            .put("IpAddress", format_args!("::ffff:{from_ip}"))
            .put("IpPort", port);
        self.windows(controller, at, &SECURITY, 4768, 14_339, &Message::Text(&text));
    }

    /// Event 4769: a service ticket for `service`, on the domain controller.
    pub(crate) fn kerberos_service_ticket(
        &mut self,
        controller: &Host,
        at: Time,
        who: &Identity,
        from_ip: &str,
        service: &Host,
    ) {
        let realm = self.company.forest.to_uppercase();
        let (guid, port) = (self.dice.guid(), self.dice.between(49_152, 65_000));
        let text = format!(
            "A Kerberos service ticket was requested.\r\n\r\nAccount Information:\r\n\tAccount Name:\t\t{0}@{realm}\r\n\tAccount Domain:\t\t{realm}\r\n\tLogon GUID:\t\t{{{guid}}}\r\n\r\n\
             Service Information:\r\n\tService Name:\t\t{1}$\r\n\tService ID:\t\t{2}\r\n\r\nNetwork Information:\r\n\tClient Address:\t\t::ffff:{from_ip}\r\n\tClient Port:\t\t{port}\r\n\r\n\
             Additional Information:\r\n\tTicket Options:\t\t0x40810000\r\n\tTicket Encryption Type:\t0x12\r\n\tFailure Code:\t\t0x0\r\n\tTransited Services:\t-",
            who.name, service.name, service.machine_account.sid
        );
        self.fields()
            .put("TargetUserName", format_args!("{}@{realm}", who.name))
            .put("TargetDomainName", &realm)
            .put("ServiceName", format_args!("{}$", service.name))
            .put("ServiceSid", &service.machine_account.sid)
            .put("TicketOptions", "0x40810000")
            .put("TicketEncryptionType", "0x12")
            .put("IpAddress", format_args!("::ffff:{from_ip}"))
            .put("IpPort", port)
            .put("Status", "0x0")
            .put("LogonGuid", format_args!("{{{guid}}}"))
            .put("TransmittedServices", "-");
        self.windows(controller, at, &SECURITY, 4769, 14_337, &Message::Text(&text));
    }

    /// Event 7045 of the System log: a service was installed.
    pub(crate) fn service_installed(&mut self, host: &Host, at: Time, name: &str, image_path: &str) {
        let text = format!(
            "A service was installed in the system.\r\n\r\nService Name:  {name}\r\nService File Name:  {image_path}\r\nService Type:  user mode service\r\nService Start Type:  demand start\r\nService Account:  LocalSystem"
        );
        self.fields()
            .put("ServiceName", name)
            .put("ImagePath", image_path)
            .put("ServiceType", "user mode service")
            .put("StartType", "demand start")
            .put("AccountName", "LocalSystem");
        self.windows(host, at, &SYSTEM, 7045, 0, &Message::Text(&text));
    }

    /// Event 4104: a script block.
    pub(crate) fn script_block(&mut self, host: &Host, at: Time, script: &str, path: &str) {
        let id = self.dice.guid();
        let text = format!(
            "Creating Scriptblock text (1 of 1):\r\n{script}\r\n\r\nScriptBlock ID: {id}\r\nPath: {path}"
        );
        self.fields()
            .put("MessageNumber", 1)
            .put("MessageTotal", 1)
            .put("ScriptBlockText", script)
            .put("ScriptBlockId", id)
            .put("Path", path);
        self.windows(host, at, &POWERSHELL, 4104, 2, &Message::Text(&text));
    }
}
