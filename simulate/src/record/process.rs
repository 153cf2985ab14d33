//! Programs and the processes that run them.

use std::borrow::Cow;
use std::fmt;

use event::Time;

use crate::company::{Host, Identity};

/// An executable as its version resource describes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Where it is installed; `%USER%` stands for the name of the user who runs it
    pub(crate) path: &'static str,
    pub(crate) version: &'static str,
    pub(crate) description: &'static str,
    pub(crate) product: &'static str,
    pub(crate) company: &'static str,
    pub(crate) original: &'static str,
    pub(crate) bytes: u32,
}

const WINDOWS_VERSION: &str = "10.0.22621.3085 (WinBuild.160101.0800)";
const WINDOWS: &str = "Microsoft® Windows® Operating System";
const MICROSOFT: &str = "Microsoft Corporation";

/// A part of Windows.
const fn windows(path: &'static str, original: &'static str, description: &'static str) -> Program {
    Program {
        path,
        version: WINDOWS_VERSION,
        description,
        product: WINDOWS,
        company: MICROSOFT,
        original,
        bytes: 150_000 + 4_096 * description.len() as u32,
    }
}

/// Anything else that is installed.
const fn app(
    path: &'static str,
    original: &'static str,
    name: &'static str,
    company: &'static str,
) -> Program {
    Program {
        path,
        version: "121.0.2277.98",
        description: name,
        product: name,
        company,
        original,
        bytes: 4_153_400,
    }
}

/// Something without a version resource.
pub(crate) const fn unknown(path: &'static str) -> Program {
    Program { path, version: "-", description: "-", product: "-", company: "-", original: "-", bytes: 73_802 }
}

macro_rules! programs {
    ($($name:ident = $program:expr;)*) => { $(pub(crate) static $name: Program = $program;)* };
}

programs! {
    SYSTEM_IMAGE = windows("System", "-", "-");
    EXPLORER = windows("C:\\Windows\\explorer.exe", "EXPLORER.EXE", "Windows Explorer");
    SERVICES = windows("C:\\Windows\\System32\\services.exe", "services.exe", "Services and Controller app");
    SVCHOST = windows("C:\\Windows\\System32\\svchost.exe", "svchost.exe", "Host Process for Windows Services");
    LSASS = windows("C:\\Windows\\System32\\lsass.exe", "lsass.exe", "Local Security Authority Process");
    TASKHOST = windows("C:\\Windows\\System32\\taskhostw.exe", "taskhostw.exe", "Host Process for Windows Tasks");
    BACKGROUND_TASK = windows("C:\\Windows\\System32\\backgroundTaskHost.exe", "backgroundTaskHost.exe", "Background Task Host");
    RUNTIME_BROKER = windows("C:\\Windows\\System32\\RuntimeBroker.exe", "RuntimeBroker.exe", "Runtime Broker");
    DLLHOST = windows("C:\\Windows\\System32\\dllhost.exe", "dllhost.exe", "COM Surrogate");
    SEARCH_PROTOCOL = windows("C:\\Windows\\System32\\SearchProtocolHost.exe", "SearchProtocolHost.exe", "Microsoft Windows Search Protocol Host");
    COMPAT_RUNNER = windows("C:\\Windows\\System32\\CompatTelRunner.exe", "CompatTelRunner.exe", "Microsoft Compatibility Telemetry");
    MO_USO = windows("C:\\Windows\\UUS\\amd64\\MoUsoCoreWorker.exe", "MoUsoCoreWorker.exe", "MoUSO Core Worker Process");
    TRUSTED_INSTALLER = windows("C:\\Windows\\servicing\\TrustedInstaller.exe", "TrustedInstaller.exe", "Windows Modules Installer");
    TI_WORKER = windows("C:\\Windows\\WinSxS\\amd64_microsoft-windows-servicingstack_10.0.22621.3078\\TiWorker.exe", "TiWorker.exe", "Windows Modules Installer Worker");
    MSIEXEC = windows("C:\\Windows\\System32\\msiexec.exe", "msiexec.exe", "Windows installer");
    WMI_PROVIDER = windows("C:\\Windows\\System32\\wbem\\WmiPrvSE.exe", "Wmiprvse.exe", "WMI Provider Host");
    WSM_PROVIDER = windows("C:\\Windows\\System32\\wsmprovhost.exe", "wsmprovhost.exe", "Host process for WinRM plug-ins");
    CMD = windows("C:\\Windows\\System32\\cmd.exe", "Cmd.Exe", "Windows Command Processor");
    POWERSHELL = windows("C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe", "PowerShell.EXE", "Windows PowerShell");
    CSCRIPT = windows("C:\\Windows\\System32\\cscript.exe", "cscript.exe", "Microsoft ® Console Based Script Host");
    RUNDLL32 = windows("C:\\Windows\\System32\\rundll32.exe", "RUNDLL32.EXE", "Windows host process (Rundll32)");
    REG = windows("C:\\Windows\\System32\\reg.exe", "reg.exe", "Registry Console Tool");
    NETSH = windows("C:\\Windows\\System32\\netsh.exe", "netsh.exe", "Network Command Shell");
    NET = windows("C:\\Windows\\System32\\net.exe", "net.exe", "Net Command");
    NLTEST = windows("C:\\Windows\\System32\\nltest.exe", "nltestrk.exe", "Microsoft® Logon Server Test Utility");
    WHOAMI = windows("C:\\Windows\\System32\\whoami.exe", "whoami.exe", "whoami - displays logged on user information");
    SYSTEMINFO = windows("C:\\Windows\\System32\\systeminfo.exe", "sysinfo.exe", "Displays system information");
    IPCONFIG = windows("C:\\Windows\\System32\\ipconfig.exe", "ipconfig.exe", "IP Configuration Utility");
    TASKLIST = windows("C:\\Windows\\System32\\tasklist.exe", "tasklist.exe", "Lists the current running tasks");
    WEVTUTIL = windows("C:\\Windows\\System32\\wevtutil.exe", "wevtutil.exe", "Eventing Command Line Utility");
    CERTUTIL = windows("C:\\Windows\\System32\\certutil.exe", "CertUtil.exe", "CertUtil.exe");
    SCHTASKS = windows("C:\\Windows\\System32\\schtasks.exe", "schtasks.exe", "Task Scheduler Configuration Tool");
    GPUPDATE = windows("C:\\Windows\\System32\\gpupdate.exe", "GPUpdate.exe", "Microsoft® Group Policy Update Utility");
    MMC = windows("C:\\Windows\\System32\\mmc.exe", "mmc.exe", "Microsoft Management Console");
    RDP = windows("C:\\Windows\\System32\\mstsc.exe", "mstsc.exe", "Remote Desktop Connection");
    EDGE = app("C:\\Program Files (x86)\\Microsoft\\Edge\\Application\\msedge.exe", "msedge.exe", "Microsoft Edge", MICROSOFT);
    CHROME = app("C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe", "chrome.exe", "Google Chrome", "Google LLC");
    OUTLOOK = app("C:\\Program Files\\Microsoft Office\\root\\Office16\\OUTLOOK.EXE", "Outlook.exe", "Microsoft Outlook", MICROSOFT);
    WORD = app("C:\\Program Files\\Microsoft Office\\root\\Office16\\WINWORD.EXE", "WinWord.exe", "Microsoft Word", MICROSOFT);
    EXCEL = app("C:\\Program Files\\Microsoft Office\\root\\Office16\\EXCEL.EXE", "Excel.exe", "Microsoft Excel", MICROSOFT);
    ACROBAT = app("C:\\Program Files\\Adobe\\Acrobat DC\\Acrobat\\Acrobat.exe", "Acrobat.exe", "Adobe Acrobat", "Adobe Inc.");
    TEAMS = app("C:\\Program Files\\WindowsApps\\MSTeams_24004.1309.2689.2246_x64__8wekyb3d8bbwe\\ms-teams.exe", "ms-teams.exe", "Microsoft Teams", MICROSOFT);
    ERP = app("C:\\Program Files\\Orchard\\Ledger\\ledger.exe", "ledger.exe", "Orchard Ledger", "Orchard Software");
    DEFENDER = app("C:\\ProgramData\\Microsoft\\Windows Defender\\Platform\\4.18.23110.3-0\\MsMpEng.exe", "MsMpEng.exe", "Antimalware Service Executable", MICROSOFT);
    MANAGEMENT_AGENT = app("C:\\Program Files\\Orchard\\Fleet Agent\\fleetagent.exe", "fleetagent.exe", "Orchard Fleet Agent", "Orchard Software");
    BACKUP_AGENT = app("C:\\Program Files\\Coldstore\\Agent\\csagent.exe", "csagent.exe", "Coldstore Backup Agent", "Coldstore Ltd");
    UPDATER = app("C:\\Program Files (x86)\\Google\\GoogleUpdater\\123.0.6288.0\\updater.exe", "updater.exe", "GoogleUpdater", "Google LLC");
    SQLSERVER = app("C:\\Program Files\\Microsoft SQL Server\\MSSQL16.MSSQLSERVER\\MSSQL\\Binn\\sqlservr.exe", "SQLSERVR.EXE", "SQL Server Windows NT - 64 Bit", MICROSOFT);
    WEB_WORKER = windows("C:\\Windows\\System32\\inetsrv\\w3wp.exe", "w3wp.exe", "IIS Worker Process");
    PROCDUMP = app("C:\\Tools\\Sysinternals\\procdump64.exe", "procdump", "Sysinternals process dump utility", "Sysinternals - www.sysinternals.com");
    PSEXEC = app("C:\\Users\\Public\\PsExec64.exe", "psexec.c", "Execute processes remotely", "Sysinternals - www.sysinternals.com");
    PSEXEC_SERVICE = app("C:\\Windows\\PSEXESVC.exe", "psexesvc.exe", "PsExec Service", "Sysinternals");
    SEVEN_ZIP = app("C:\\Program Files\\7-Zip\\7z.exe", "7z.exe", "7-Zip Console", "Igor Pavlov");
    VSCODE = app("C:\\Users\\%USER%\\AppData\\Local\\Programs\\Microsoft VS Code\\Code.exe", "electron.exe", "Visual Studio Code", MICROSOFT);
    GIT = app("C:\\Program Files\\Git\\cmd\\git.exe", "git.exe", "Git for Windows", "The Git Development Community");
    CARGO = unknown("C:\\Users\\%USER%\\.cargo\\bin\\cargo.exe");
    RUSTC = unknown("C:\\Users\\%USER%\\.rustup\\toolchains\\stable-x86_64-pc-windows-msvc\\bin\\rustc.exe");
    MSBUILD = app("C:\\Program Files\\Microsoft Visual Studio\\2022\\Professional\\MSBuild\\Current\\Bin\\MSBuild.exe", "MSBuild.exe", "MSBuild.exe", MICROSOFT);
    CL = app("C:\\Program Files\\Microsoft Visual Studio\\2022\\Professional\\VC\\Tools\\MSVC\\14.38.33130\\bin\\Hostx64\\x64\\cl.exe", "CL.EXE", "Microsoft® C/C++ Compiler Driver", MICROSOFT);
}

/// A process GUID as Sysmon builds it: machine, start second, a running token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessGuid {
    machine: u32,
    start_s: u32,
    token: u32,
}

impl fmt::Display for ProcessGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (self.start_s & 0xffff, self.start_s >> 16);
        let (token_high, token_low) = (self.token >> 16, self.token & 0xffff);
        write!(f, "{{{:08x}-{low:04x}-{high:04x}-{token_low:04x}-{token_high:04x}00000800}}", self.machine)
    }
}

/// A running program.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) guid: ProcessGuid,
    pub(crate) pid: u32,
    pub(crate) started: Time,
    pub(crate) program: &'static Program,
    /// Full path
    pub(crate) image: Cow<'static, str>,
    pub(crate) command: Cow<'static, str>,
}

impl Process {
    /// A process of `host` that started at `started`; `token` tells processes of one second apart.
    pub(crate) fn new(
        host: &Host,
        started: Time,
        token: u64,
        program: &'static Program,
        who: &Identity,
        command: Cow<'static, str>,
    ) -> Self {
        let image = image_of(program, who);
        Self {
            guid: ProcessGuid {
                machine: host.machine,
                start_s: started.micros().div_euclid(1_000_000) as u32,
                token: token as u32,
            },
            pid: (token >> 32) as u32 % 16_000 * 4 + 1_000,
            started,
            program,
            image,
            command,
        }
    }

    /// File name of the image.
    pub(crate) fn file_name(&self) -> &str {
        self.image.rsplit('\\').next().unwrap_or(&self.image)
    }

    /// Folder of the image, with the last backslash.
    pub(crate) fn folder(&self) -> &str {
        self.image.strip_suffix(self.file_name()).unwrap_or("")
    }
}

/// Where `program` lies for `who`.
pub(crate) fn image_of(program: &'static Program, who: &Identity) -> Cow<'static, str> {
    if program.path.contains("%USER%") {
        Cow::Owned(program.path.replace("%USER%", &who.name))
    } else {
        Cow::Borrowed(program.path)
    }
}

/// Processes that run from boot or logon on; the same on every call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Standing {
    System,
    Services,
    ServiceHost,
    Lsass,
    Defender,
    Explorer,
    ManagementAgent,
    Sql,
    WebWorker,
}

impl Standing {
    const fn program(self) -> &'static Program {
        match self {
            Standing::System => &SYSTEM_IMAGE,
            Standing::Services => &SERVICES,
            Standing::ServiceHost => &SVCHOST,
            Standing::Lsass => &LSASS,
            Standing::Defender => &DEFENDER,
            Standing::Explorer => &EXPLORER,
            Standing::ManagementAgent => &MANAGEMENT_AGENT,
            Standing::Sql => &SQLSERVER,
            Standing::WebWorker => &WEB_WORKER,
        }
    }

    const fn command(self) -> &'static str {
        match self {
            Standing::System => "-",
            Standing::Services => "C:\\Windows\\system32\\services.exe",
            Standing::ServiceHost => "C:\\Windows\\system32\\svchost.exe -k netsvcs -p",
            Standing::Lsass => "C:\\Windows\\system32\\lsass.exe",
            Standing::Defender => {
                "\"C:\\ProgramData\\Microsoft\\Windows Defender\\Platform\\4.18.23110.3-0\\MsMpEng.exe\""
            }
            Standing::Explorer => "C:\\Windows\\Explorer.EXE",
            Standing::ManagementAgent => {
                "\"C:\\Program Files\\Orchard\\Fleet Agent\\fleetagent.exe\" --service"
            }
            Standing::Sql => {
                "\"C:\\Program Files\\Microsoft SQL Server\\MSSQL16.MSSQLSERVER\\MSSQL\\Binn\\sqlservr.exe\" -sMSSQLSERVER"
            }
            Standing::WebWorker => {
                "c:\\windows\\system32\\inetsrv\\w3wp.exe -ap \"DefaultAppPool\" -v \"v4.0\""
            }
        }
    }

    /// This process on `host`, run by `who`.
    pub(crate) fn on(self, host: &Host, who: &Identity) -> Process {
        let token = 0x10 + self as u64;
        let pid = (40 + 97 * self as u64) << 32;
        // The shell starts when its user signs in, everything else at boot.
        let started =
            if matches!(self, Standing::Explorer) { host.boot.plus_micros(95_000_000) } else { host.boot };
        let mut process =
            Process::new(host, started, pid | token, self.program(), who, Cow::Borrowed(self.command()));
        if matches!(self, Standing::System) {
            process.pid = 4;
        }
        process
    }
}

/// Hashes of a file, upper-case hex. Invented: they follow from the path and the version alone.
pub(crate) struct Hashes(String);

impl Hashes {
    /// The hashes of the file at `path`.
    pub(crate) fn of(path: &str, version: &str) -> Self {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let mut bytes = [0u8; 84];
        let mut hasher = blake3::Hasher::new();
        hasher.update(path.rsplit('\\').next().unwrap_or(path).as_bytes()).update(version.as_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        let mut text = String::with_capacity(168);
        for byte in bytes {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 0xf)]));
        }
        Self(text)
    }

    pub(crate) fn sha1(&self) -> &str {
        &self.0[..40]
    }

    pub(crate) fn md5(&self) -> &str {
        &self.0[40..72]
    }

    pub(crate) fn sha256(&self) -> &str {
        &self.0[72..136]
    }
}

impl fmt::Display for Hashes {
    /// The list form of Sysmon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA1={},MD5={},SHA256={},IMPHASH=", self.sha1(), self.md5(), self.sha256())?;
        f.write_str(&self.0[136..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::company::{Company, CompanyOptions};

    #[test]
    fn standing_processes_are_the_same_on_every_call_and_differ_by_host() {
        let company = Company::new(CompanyOptions::default());
        let on = |i: usize| Standing::Lsass.on(&company.hosts()[i], &company.system);
        assert_eq!(on(1).guid, on(1).guid);
        assert_ne!(on(1).guid, on(2).guid);
        assert_eq!(on(1).file_name(), "lsass.exe");
        assert_eq!(on(1).folder(), "C:\\Windows\\System32\\");
    }

    #[test]
    fn process_guids_have_the_form_of_sysmon() {
        let guid = ProcessGuid { machine: 0x8105_6205, start_s: 0x64dc_565c, token: 0x2304 };
        assert_eq!(guid.to_string(), "{81056205-565c-64dc-2304-000000000800}");
    }

    #[test]
    fn hashes_have_their_lengths() {
        let hashes = Hashes::of("C:\\a\\b.exe", "1.0");
        assert_eq!((hashes.sha1().len(), hashes.md5().len(), hashes.sha256().len()), (40, 32, 64));
        assert_eq!(hashes.to_string(), Hashes::of("D:\\other\\b.exe", "1.0").to_string());
    }
}
