//! People at their desks.

use event::Time;

use crate::clock::after;
use crate::company::{Host, Person, Server};
use crate::names::{DOCUMENTS, SITES};
use crate::record::Recorder;
use crate::record::endpoint::{Connection, Spawn};
use crate::record::process::{self, Process, Program, Standing};

/// Libraries that programs load.
pub(super) static MODULES: [Program; 6] = [
    module("C:\\Windows\\System32\\cryptsp.dll", "cryptsp.dll", "Cryptographic Service Provider API"),
    module("C:\\Windows\\System32\\winhttp.dll", "winhttp.dll", "Windows HTTP Services"),
    module("C:\\Windows\\System32\\dnsapi.dll", "dnsapi", "DNS Client API DLL"),
    module("C:\\Windows\\System32\\urlmon.dll", "UrlMon.dll", "OLE32 Extensions for Win32"),
    module("C:\\Windows\\System32\\propsys.dll", "propsys.dll", "Microsoft Property System"),
    module("C:\\Windows\\System32\\taskschd.dll", "taskschd.dll", "Task Scheduler COM API"),
];

const fn module(path: &'static str, original: &'static str, description: &'static str) -> Program {
    Program {
        path,
        version: "10.0.22621.3085 (WinBuild.160101.0800)",
        description,
        product: "Microsoft® Windows® Operating System",
        company: "Microsoft Corporation",
        original,
        bytes: 98_304,
    }
}

/// What people start, with the extension of what they open in it.
static DAILY: [(&Program, &str); 8] = [
    (&process::EDGE, "--profile-directory=Default"),
    (&process::CHROME, "--profile-directory=\"Profile 1\""),
    (&process::OUTLOOK, ""),
    (&process::TEAMS, "msteams:system-initiated"),
    (&process::EXCEL, "/dde"),
    (&process::WORD, "/n"),
    (&process::ACROBAT, ""),
    (&process::ERP, "--connect ledger"),
];

/// Someone at their machine, with their shell.
struct Desk<'c> {
    person: &'c Person,
    host: &'c Host,
    shell: Process,
}

fn desk<'c>(rec: &mut Recorder<'c>) -> Desk<'c> {
    let person = rec.anyone();
    let host = rec.company.host_of(person);
    Desk { person, host, shell: Standing::Explorer.on(host, &person.identity) }
}

/// Starts `program` from the shell, with what its start leaves behind.
fn start(
    rec: &mut Recorder<'_>,
    at: Time,
    desk: &Desk<'_>,
    program: &'static Program,
    arguments: &str,
) -> Process {
    let who = &desk.person.identity;
    let image = process::image_of(program, who);
    let command = format!("\"{image}\" {arguments}");
    let process = rec.spawn(desk.host, at, Spawn::new(&desk.shell, program, command, who));
    for i in 0..rec.dice.between(1, 3) {
        let module = rec.dice.pick(&MODULES);
        rec.load(desk.host, after(at, 0.03 * (i + 1) as f64), &process, who, module);
    }
    process
}

/// A program is opened, used for a while and closed.
pub(super) fn open_program(rec: &mut Recorder<'_>, at: Time) {
    let desk = desk(rec);
    let who = &desk.person.identity;
    let &(program, arguments) = rec.dice.pick(&DAILY);
    let process = start(rec, at, &desk, program, arguments);
    let key = format!(
        "HKU\\{}\\Software\\Microsoft\\Windows\\CurrentVersion\\Explorer\\UserAssist\\{{CEBFF5CD-ACE2-4F4F-9178-9926F41749EA}}\\Count\\{}",
        who.sid,
        process.file_name()
    );
    rec.set_value(desk.host, after(at, 0.2), &desk.shell, who, &key, "Binary Data");
    for _ in 0..rec.dice.between(1, 3) {
        let site = *rec.dice.pick(&SITES);
        let delay = rec.seconds(0.3, 60.0);
        rec.visit(desk.host, after(at, delay), &process, who, site);
    }
    if rec.dice.chance(0.5) {
        let helper = rec.run(
            desk.host,
            after(at, 1.2),
            Spawn::new(
                &desk.shell,
                &process::RUNTIME_BROKER,
                "C:\\Windows\\System32\\RuntimeBroker.exe -Embedding",
                who,
            ),
        );
        rec.load(desk.host, after(at, 1.3), &helper, who, &MODULES[4]);
    }
    let seconds = rec.dice.log_normal(150.0, 1.0).min(900.0);
    rec.exit(desk.host, after(at, seconds), &process, who);
}

/// Pages are read; some of the traffic goes through the proxy.
pub(super) fn browse(rec: &mut Recorder<'_>, at: Time) {
    let desk = desk(rec);
    let who = &desk.person.identity;
    let program = if rec.dice.chance(0.6) { &process::EDGE } else { &process::CHROME };
    // The browser runs since the morning: the same process each time.
    let mut browser = Standing::Explorer.on(desk.host, who);
    browser = Process::new(
        desk.host,
        after(browser.started, 300.0),
        0x0bad_0000_0042 ^ u64::from(browser.pid),
        program,
        who,
        browser.command,
    );
    let proxy = rec.company.server(Server::Proxy);
    let mut now = at;
    for _ in 0..rec.dice.between(2, 6) {
        let site = *rec.dice.pick(&SITES);
        if rec.dice.chance(0.4) {
            rec.connect(desk.host, now, &browser, who, &Connection::to(&proxy.ip, 8080, &proxy.fqdn));
        } else {
            rec.visit(desk.host, now, &browser, who, site);
        }
        let seconds = rec.dice.exponential(12.0);
        now = after(now, seconds);
    }
    let cache = format!(
        "C:\\Users\\{}\\AppData\\Local\\Microsoft\\Edge\\User Data\\Default\\Cache\\Cache_Data\\f_{:06x}",
        who.name,
        rec.dice.below(0x00ff_ffff)
    );
    rec.write_file(desk.host, now, &browser, who, &cache);
}

/// A document is opened, changed and saved, with the temporary files of the editor.
pub(super) fn edit_document(rec: &mut Recorder<'_>, at: Time) {
    let desk = desk(rec);
    let who = &desk.person.identity;
    let document = *rec.dice.pick(&DOCUMENTS);
    let path = format!("C:\\Users\\{}\\Documents\\{document}", who.name);
    let program = if document.ends_with("xlsx") { &process::EXCEL } else { &process::WORD };
    let process = start(rec, at, &desk, program, &format!("/n \"{path}\""));
    let recent =
        format!("C:\\Users\\{}\\AppData\\Roaming\\Microsoft\\Windows\\Recent\\{document}.lnk", who.name);
    rec.write_file(desk.host, after(at, 0.8), &desk.shell, who, &recent);
    let temporary = format!("C:\\Users\\{}\\Documents\\~${document}", who.name);
    rec.write_file(desk.host, after(at, 1.1), &process, who, &temporary);
    let key =
        format!("HKU\\{}\\Software\\Microsoft\\Office\\16.0\\Common\\Roaming\\Identities\\Settings", who.sid);
    rec.set_value(desk.host, after(at, 1.5), &process, who, &key, "Binary Data");
    if rec.dice.chance(0.3) {
        let files = rec.company.server(Server::Files);
        rec.connect(
            desk.host,
            after(at, 2.0),
            &Standing::System.on(desk.host, who),
            &rec.company.system,
            &Connection::to(&files.ip, 445, &files.fqdn),
        );
    }
    let seconds = rec.dice.log_normal(200.0, 0.8).min(900.0);
    rec.write_file(desk.host, after(at, seconds), &process, who, &path);
    rec.exit(desk.host, after(at, seconds + 2.0), &process, who);
}

/// Something harmless is downloaded, and sometimes installed: the everyday twin of the attack's first step.
pub(super) fn download(rec: &mut Recorder<'_>, at: Time) {
    const FILES: [&str; 6] =
        ["agenda.pdf", "pricelist.xlsx", "photos.zip", "MeetingSetup.msi", "form.docx", "DriverPack.msi"];
    let desk = desk(rec);
    let who = &desk.person.identity;
    let file = *rec.dice.pick(&FILES);
    let browser = start(rec, at, &desk, &process::EDGE, "--single-argument");
    rec.visit(desk.host, after(at, 2.0), &browser, who, SITES[8]);
    let path = format!("C:\\Users\\{}\\Downloads\\{file}", who.name);
    rec.write_file(desk.host, after(at, 6.0), &browser, who, &path);
    if file.ends_with(".msi") {
        let command = format!("\"C:\\Windows\\System32\\msiexec.exe\" /i \"{path}\"");
        let installer =
            rec.spawn(desk.host, after(at, 20.0), Spawn::new(&desk.shell, &process::MSIEXEC, command, who));
        rec.load(desk.host, after(at, 20.5), &installer, who, &MODULES[0]);
        rec.exit(desk.host, after(at, 45.0), &installer, who);
    }
}
