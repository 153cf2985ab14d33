//! IT staff: harmless work that looks like an attack to an engine that joins by tool names alone.

use event::Time;

use crate::clock::after;
use crate::company::{Host, Job, Person, Server};
use crate::record::Recorder;
use crate::record::endpoint::{Access, Connection, Spawn};
use crate::record::process::{self, Program, Standing};
use crate::record::security::{Logon, LogonType};

const SCRIPTS: [&str; 5] = [
    "Get-ADUser -Filter 'LockedOut -eq $true' -Properties LockedOut | Select-Object SamAccountName",
    "Get-Service | Where-Object Status -eq 'Stopped' | Format-Table Name, StartType",
    "Get-EventLog -LogName System -Newest 50 -EntryType Error",
    "Test-NetConnection -ComputerName SQL01 -Port 1433",
    "Get-MessageTrace -StartDate (Get-Date).AddHours(-4) -EndDate (Get-Date) | Group-Object Status",
];

/// An administrator works in PowerShell.
pub(super) fn shell(rec: &mut Recorder<'_>, at: Time) {
    let company = rec.company;
    let person = company.someone(&mut rec.dice, Job::ItAdmin);
    let (host, who) = (company.host_of(person), &person.identity);
    let explorer = Standing::Explorer.on(host, who);
    let command = "\"C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe\"";
    let process = rec.spawn(host, at, Spawn::new(&explorer, &process::POWERSHELL, command, who).elevated());
    let mut now = after(at, 3.0);
    for _ in 0..rec.dice.between(1, 4) {
        let script = *rec.dice.pick(&SCRIPTS);
        rec.script(host, now, script, "");
        let controller = company.server(Server::DomainController);
        rec.connect(
            host,
            after(now, 0.3),
            &process,
            who,
            &Connection::to(&controller.ip, 389, &controller.fqdn),
        );
        let seconds = rec.dice.exponential(40.0);
        now = after(now, seconds);
    }
    if rec.dice.chance(0.3) {
        rec.run(
            host,
            now,
            Spawn::new(&process, &process::GPUPDATE, "\"C:\\Windows\\system32\\gpupdate.exe\" /force", who),
        );
        rec.run(
            host,
            after(now, 6.0),
            Spawn::new(&process, &process::IPCONFIG, "\"C:\\Windows\\system32\\ipconfig.exe\" /all", who),
        );
    }
    rec.exit(host, after(now, 30.0), &process, who);
}

/// An administrator signs in to a server, by remote desktop or PowerShell remoting.
pub(super) fn remote_session(rec: &mut Recorder<'_>, at: Time) {
    let company = rec.company;
    let person = company.someone(&mut rec.dice, Job::ItAdmin);
    let (host, who) = (company.host_of(person), &person.identity);
    let server: &Host = rec.dice.pick(company.servers());
    let explorer = Standing::Explorer.on(host, who);
    let desktop = rec.dice.chance(0.6);
    let (program, kind, port) = if desktop {
        (&process::RDP, LogonType::RemoteInteractive, 3_389)
    } else {
        (&process::MMC, LogonType::Network, 5_985)
    };
    let client = rec.spawn(
        host,
        at,
        Spawn::new(&explorer, program, format!("\"{}\" /v:{}", program.path, server.name), who),
    );
    rec.connect(host, after(at, 1.0), &client, who, &Connection::to(&server.ip, port, &server.fqdn));
    rec.kerberos_service_ticket(
        company.server(Server::DomainController),
        after(at, 1.1),
        who,
        &host.ip,
        server,
    );
    rec.log_on(
        server,
        after(at, 1.5),
        &Logon { who, kind, from: (&host.name, &host.ip), package: "Kerberos", elevated: true },
    );
    let services = Standing::ServiceHost.on(server, &company.system);
    if desktop {
        let console = rec.spawn(
            server,
            after(at, 20.0),
            Spawn::new(
                &Standing::Explorer.on(server, who),
                &process::MMC,
                "\"C:\\Windows\\system32\\mmc.exe\" \"C:\\Windows\\system32\\services.msc\"",
                who,
            )
            .elevated(),
        );
        rec.exit(server, after(at, 180.0), &console, who);
    } else {
        let remote = rec.spawn(
            server,
            after(at, 2.0),
            Spawn::new(
                &services,
                &process::WSM_PROVIDER,
                "C:\\Windows\\system32\\wsmprovhost.exe -Embedding",
                who,
            )
            .elevated(),
        );
        rec.script(
            server,
            after(at, 2.5),
            "Get-Service -Name W3SVC, MSSQLSERVER | Restart-Service -WhatIf",
            "",
        );
        rec.exit(server, after(at, 60.0), &remote, who);
    }
    rec.security_logoff(server, after(at, 200.0), who, kind);
}

/// A server process hangs, and an administrator dumps it for the vendor. The target is not lsass.
pub(crate) fn dump_hung_service(rec: &mut Recorder<'_>, at: Time) {
    let company = rec.company;
    let person = company.someone(&mut rec.dice, Job::ItAdmin);
    let (server, who) = (company.server(Server::Web), &person.identity);
    let hung =
        if rec.dice.chance(0.5) { Standing::WebWorker } else { Standing::Sql }.on(server, &company.system);
    let shell = rec.spawn(
        server,
        at,
        Spawn::new(
            &Standing::Explorer.on(server, who),
            &process::CMD,
            "\"C:\\Windows\\system32\\cmd.exe\"",
            who,
        )
        .elevated(),
    );
    let command = format!("procdump64.exe -accepteula -ma {} D:\\Dumps\\{}.dmp", hung.pid, hung.file_name());
    let dump =
        rec.spawn(server, after(at, 15.0), Spawn::new(&shell, &process::PROCDUMP, command, who).elevated());
    let access = Access {
        source: &dump,
        source_user: who,
        target: &hung,
        target_user: &company.system,
        granted: "0x1fffff",
        unbacked: false,
    };
    rec.access(server, after(at, 15.2), &access);
    rec.write_file(server, after(at, 18.0), &dump, who, &format!("D:\\Dumps\\{}.dmp", hung.file_name()));
    rec.exit(server, after(at, 20.0), &dump, who);
    rec.exit(server, after(at, 60.0), &shell, who);
}

/// Someone runs the network troubleshooter.
pub(super) fn diagnostics_of_someone(rec: &mut Recorder<'_>, at: Time) {
    let person = rec.anyone();
    diagnostics(rec, at, person);
}

/// The network troubleshooter: a script host that starts dozens of system tools within a minute.
pub(crate) fn diagnostics(rec: &mut Recorder<'_>, at: Time, person: &Person) {
    static TOOLS: [(&Program, &str); 8] = [
        (&process::NETSH, "netsh.exe interface ipv4 show config"),
        (&process::NETSH, "netsh.exe wlan show all"),
        (&process::NETSH, "netsh.exe trace show status"),
        (&process::IPCONFIG, "ipconfig.exe /displaydns"),
        (&process::REG, "reg.exe query HKLM\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters /s"),
        (&process::WEVTUTIL, "wevtutil.exe epl Microsoft-Windows-WLAN-AutoConfig/Operational wlan.evtx"),
        (&process::CERTUTIL, "certutil.exe -v -store -silent My"),
        (&process::TASKLIST, "tasklist.exe /svc"),
    ];
    let (host, who) = (rec.company.host_of(person), &person.identity);
    let script = rec.spawn(
        host,
        at,
        Spawn::new(
            &Standing::Explorer.on(host, who),
            &process::CSCRIPT,
            "\"C:\\Windows\\system32\\cscript.exe\" //nologo C:\\Windows\\system32\\gatherNetworkInfo.vbs",
            who,
        ),
    );
    let mut now = after(at, 0.5);
    for (i, (program, command)) in TOOLS.iter().cycle().take(20).enumerate() {
        let shell = rec.run(
            host,
            now,
            Spawn::new(&script, &process::CMD, format!("cmd /c {command} > config\\part{i}.txt"), who),
        );
        rec.run(host, after(now, 0.1), Spawn::new(&shell, program, *command, who));
        let seconds = rec.dice.exponential(0.8);
        now = after(now, seconds);
    }
    rec.exit(host, after(now, 1.0), &script, who);
}
