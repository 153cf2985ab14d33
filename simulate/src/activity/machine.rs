//! Machines on their own: services, updates, backup, the scanner.

use event::Time;

use super::desktop::MODULES;
use crate::clock::{after, is_patch_day};
use crate::company::{Host, Server};
use crate::names::SITES;
use crate::record::Recorder;
use crate::record::endpoint::{Access, Connection, Spawn};
use crate::record::process::{self, Process, Program, Standing};
use crate::record::security::{Logon, LogonType};

/// What the service host starts again and again.
static HELPERS: [(&Program, &str); 5] = [
    (
        &process::BACKGROUND_TASK,
        "\"C:\\Windows\\system32\\backgroundTaskHost.exe\" -ServerName:CortanaUI.AppXa50dqqa5gqv4a428c9y1jjw7m3btvepj.mca",
    ),
    (&process::TASKHOST, "taskhostw.exe"),
    (
        &process::DLLHOST,
        "C:\\Windows\\system32\\DllHost.exe /Processid:{AB8902B4-09CA-4BB6-B78D-A8F59079A8D5}",
    ),
    (
        &process::SEARCH_PROTOCOL,
        "\"C:\\Windows\\system32\\SearchProtocolHost.exe\" Global\\UsGthrFltPipeMssGthrPipe",
    ),
    (&process::WMI_PROVIDER, "C:\\Windows\\system32\\wbem\\wmiprvse.exe -secured -Embedding"),
];

/// Processes that the service host looks at, with the access it asks for.
const LOOKS: [&str; 3] = ["0x1000", "0x1400", "0x101000"];

/// A service starts a helper, looks at it and writes its state to the registry.
pub(super) fn service_work(rec: &mut Recorder<'_>, at: Time) {
    let (host, system) = (rec.any_host(), &rec.company.system);
    let service = Standing::ServiceHost.on(host, system);
    let &(program, command) = rec.dice.pick(&HELPERS);
    let helper = rec.spawn(host, at, Spawn::new(&service, program, command, system));
    let module = rec.dice.pick(&MODULES);
    rec.load(host, after(at, 0.05), &helper, system, module);
    if rec.dice.chance(0.6) {
        let granted = *rec.dice.pick(&LOOKS);
        look(rec, host, after(at, 0.1), &service, &helper, granted);
    }
    rec.create_key(host, after(at, 0.2), &service, system, "HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\Schedule\\TaskCache\\Tree\\Microsoft\\Windows\\UpdateOrchestrator");
    rec.set_value(
        host,
        after(at, 0.3),
        &service,
        system,
        "HKLM\\System\\CurrentControlSet\\Services\\bam\\State\\UserSettings\\S-1-5-18\\SequenceNumber",
        "DWORD (0x0000002b)",
    );
    let seconds = rec.dice.log_normal(20.0, 1.0).min(300.0);
    rec.exit(host, after(at, seconds), &helper, system);
}

fn look(
    rec: &mut Recorder<'_>,
    host: &Host,
    at: Time,
    source: &Process,
    target: &Process,
    granted: &'static str,
) {
    let system = &rec.company.system;
    let access =
        Access { source, source_user: system, target, target_user: system, granted, unbacked: false };
    rec.access(host, at, &access);
}

/// Services talk to the domain controller and to the vendor.
pub(super) fn service_traffic(rec: &mut Recorder<'_>, at: Time) {
    let (host, who) = (rec.any_host(), &rec.company.network_service);
    let service = Standing::ServiceHost.on(host, who);
    let controller = rec.company.server(Server::DomainController);
    rec.connect(host, at, &service, who, &Connection::to(&controller.ip, 53, &controller.fqdn));
    if rec.dice.chance(0.5) {
        rec.resolve(host, after(at, 0.1), &service, who, &controller.fqdn, &controller.ip);
        rec.connect(
            host,
            after(at, 0.2),
            &service,
            who,
            &Connection::to(&controller.ip, 389, &controller.fqdn),
        );
    }
    let site = SITES[4 + rec.dice.below(2)];
    rec.visit(host, after(at, 1.0), &service, who, site);
}

/// The antivirus looks into processes, lsass among them, with rights that cannot read its memory.
pub(super) fn antivirus_scan(rec: &mut Recorder<'_>, at: Time) {
    let (host, system) = (rec.any_host(), &rec.company.system);
    let antivirus = Standing::Defender.on(host, system);
    let lsass = Standing::Lsass.on(host, system);
    look(rec, host, at, &antivirus, &lsass, "0x1000");
    let service = Standing::ServiceHost.on(host, system);
    look(rec, host, after(at, 0.4), &antivirus, &service, "0x1400");
    rec.set_value(
        host,
        after(at, 0.5),
        &antivirus,
        system,
        "HKLM\\SOFTWARE\\Microsoft\\Windows Defender\\Diagnostics\\LastKnownGoodEngineCandidate",
        "QWORD (0x01da5c9b-0x7f0b9c00)",
    );
    let scan = format!(
        "C:\\ProgramData\\Microsoft\\Windows Defender\\Scans\\mpcache-{}.bin",
        rec.dice.hex(20).to_uppercase()
    );
    rec.write_file(host, after(at, 2.0), &antivirus, system, &scan);
}

/// Telemetry and housekeeping by the task scheduler.
pub(super) fn scheduled_task(rec: &mut Recorder<'_>, at: Time) {
    let (host, system) = (rec.any_host(), &rec.company.system);
    let service = Standing::ServiceHost.on(host, system);
    let runner = rec.spawn(
        host,
        at,
        Spawn::new(
            &service,
            &process::COMPAT_RUNNER,
            "C:\\Windows\\system32\\CompatTelRunner.exe -m:appraiser.dll -f:DoScheduledTelemetryRun",
            system,
        ),
    );
    for i in 0..rec.dice.between(2, 5) {
        let key = format!(
            "\\REGISTRY\\A\\{{{}}}\\Root\\InventoryApplication\\{}",
            rec.dice.guid(),
            rec.dice.hex(16)
        );
        rec.create_key(host, after(at, 0.5 + i as f64), &runner, system, &key);
    }
    rec.visit(host, after(at, 4.0), &runner, system, SITES[4]);
    rec.exit(host, after(at, 12.0), &runner, system);
}

/// The management agent runs a script, encoded as such agents do: a twin of what attackers run.
pub(super) fn management_script(rec: &mut Recorder<'_>, at: Time) {
    let (host, system) = (rec.any_host(), &rec.company.system);
    let agent = Standing::ManagementAgent.on(host, system);
    let management = rec.company.server(Server::Management);
    rec.connect(host, at, &agent, system, &Connection::to(&management.ip, 8443, &management.fqdn));
    let command = "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File \"C:\\ProgramData\\Orchard\\Fleet\\inventory.ps1\"";
    let shell = rec.spawn(host, after(at, 0.5), Spawn::new(&agent, &process::POWERSHELL, command, system));
    rec.script(host, after(at, 1.0), "Get-CimInstance Win32_QuickFixEngineering | Select-Object HotFixID, InstalledOn | ConvertTo-Json -Compress", "C:\\ProgramData\\Orchard\\Fleet\\inventory.ps1");
    rec.write_file(host, after(at, 3.0), &shell, system, "C:\\ProgramData\\Orchard\\Fleet\\inventory.json");
    rec.exit(host, after(at, 4.0), &shell, system);
}

/// A vendor's updater installs its service anew.
pub(super) fn software_update(rec: &mut Recorder<'_>, at: Time) {
    let (host, system) = (rec.any_host(), &rec.company.system);
    let service = Standing::ServiceHost.on(host, system);
    let updater = rec.spawn(host, at, Spawn::new(&service, &process::UPDATER, "\"C:\\Program Files (x86)\\Google\\GoogleUpdater\\123.0.6288.0\\updater.exe\" --server --service=update --system", system));
    rec.visit(host, after(at, 1.0), &updater, system, SITES[12]);
    if host.sensor == crate::company::Sensor::Sysmon {
        rec.service_installed(host, after(at, 5.0), "GoogleUpdaterService123.0.6288.0", "\"C:\\Program Files (x86)\\Google\\GoogleUpdater\\123.0.6288.0\\updater.exe\" --system --windows-service --service=update");
    }
    rec.exit(host, after(at, 30.0), &updater, system);
}

/// The backup account signs in to a machine and reads its disks.
pub(super) fn backup(rec: &mut Recorder<'_>, at: Time) {
    let company = rec.company;
    let (host, who) = (rec.dice.pick(company.servers()), &company.backup_account);
    let server = company.server(Server::Backup);
    let logon = Logon {
        who,
        kind: LogonType::Network,
        from: (&server.name, &server.ip),
        package: "Kerberos",
        elevated: true,
    };
    rec.log_on(host, at, &logon);
    let agent = rec.spawn(
        host,
        after(at, 1.0),
        Spawn::new(
            &Standing::Services.on(host, &company.system),
            &process::BACKUP_AGENT,
            "\"C:\\Program Files\\Coldstore\\Agent\\csagent.exe\" --job nightly --vss",
            who,
        ),
    );
    rec.connect(host, after(at, 2.0), &agent, who, &Connection::to(&server.ip, 9_392, &server.fqdn));
    for part in 0..rec.dice.between(1, 4) {
        rec.write_file(
            host,
            after(at, 4.0 + part as f64),
            &agent,
            who,
            &format!("C:\\ProgramData\\Coldstore\\Spool\\part-{part:04}.csb"),
        );
    }
    rec.exit(host, after(at, 60.0), &agent, who);
    rec.security_logoff(host, after(at, 61.0), who, LogonType::Network);
}

/// The vulnerability scanner knocks at a row of machines, with and without its account.
pub(super) fn vulnerability_scan(rec: &mut Recorder<'_>, at: Time) {
    let company = rec.company;
    let (scanner, who) = (company.server(Server::Scanner), &company.scan_account);
    for i in 0..rec.dice.between(2, 5) {
        let (host, now) = (rec.any_host(), after(at, 3.0 * i as f64));
        let system = Standing::System.on(host, &company.system);
        for port in [445, 3_389] {
            rec.connect(
                host,
                now,
                &system,
                &company.system,
                &Connection::from(&scanner.ip, port, &scanner.fqdn),
            );
        }
        let logon = Logon {
            who,
            kind: LogonType::Network,
            from: (&scanner.name, &scanner.ip),
            package: "NTLM",
            elevated: true,
        };
        if rec.dice.chance(0.7) {
            rec.log_on(host, after(now, 0.5), &logon);
        } else {
            rec.log_on_failed(host, after(now, 0.5), &logon);
        }
    }
}

/// Updates install, mostly on patch day.
pub(super) fn patch(rec: &mut Recorder<'_>, at: Time) {
    let (host, system) = (rec.any_host(), &rec.company.system);
    let services = Standing::Services.on(host, system);
    let usual = rec.spawn(
        host,
        at,
        Spawn::new(
            &Standing::ServiceHost.on(host, system),
            &process::MO_USO,
            "C:\\Windows\\uus\\AMD64\\MoUsoCoreWorker.exe -Embedding",
            system,
        ),
    );
    rec.visit(host, after(at, 1.0), &usual, system, SITES[5]);
    rec.exit(host, after(at, 40.0), &usual, system);
    if !is_patch_day(at) && rec.dice.chance(0.9) {
        return;
    }
    let installer = rec.spawn(
        host,
        after(at, 2.0),
        Spawn::new(
            &services,
            &process::TRUSTED_INSTALLER,
            "C:\\Windows\\servicing\\TrustedInstaller.exe",
            system,
        ),
    );
    let worker = rec.spawn(
        host,
        after(at, 3.0),
        Spawn::new(
            &installer,
            &process::TI_WORKER,
            "C:\\Windows\\winsxs\\amd64_microsoft-windows-servicingstack\\TiWorker.exe -Embedding",
            system,
        ),
    );
    for i in 0..rec.dice.between(5, 15) {
        let name = format!("C:\\Windows\\WinSxS\\Temp\\InFlight\\{}\\mspatch{i}.dll", rec.dice.hex(8));
        rec.write_file(host, after(at, 5.0 + 2.0 * i as f64), &worker, system, &name);
    }
    rec.set_value(host, after(at, 40.0), &worker, system, "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\Packages\\Package_for_RollupFix\\CurrentState", "DWORD (0x00000070)");
    rec.exit(host, after(at, 90.0), &worker, system);
}
