//! The binary, data, and processes that end with the test.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use event::Class;
use serde_json::{Value, json};

/// The binary under test.
pub fn asterism() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asterism"));
    command.stdin(Stdio::null()).env_remove("ASTERISM_SERVER").env_remove("ASTERISM_TOKEN");
    command
}

/// Runs to the end; standard error is part of the message where it fails.
pub fn ok(command: &mut Command) -> Output {
    let output = command.output().expect("the binary runs");
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, stderr(&output));
    output
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command said on stdout.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Lines of JSON on standard output.
pub fn json_lines(output: &Output) -> Vec<Value> {
    let lines = output.stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    lines.map(|l| serde_json::from_slice(l).expect("a line of JSON")).collect()
}

/// The public real-world data, or `None` with one line that says so; required where ASTERISM_DATA_REQUIRED is set.
pub fn data(test: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = std::env::var_os("ASTERISM_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    let required = std::env::var_os("ASTERISM_DATA_REQUIRED").is_some_and(|v| v == "1");
    assert!(!required, "{test}: no data at {}, and ASTERISM_DATA_REQUIRED is set", dir.display());
    println!("skipped: {test}: no data at {}", dir.display());
    None
}

/// The published Sigma rules, unpacked below `into`: the folder without what is deprecated or unsupported.
pub fn sigma_rules(data: &Path, into: &Path) -> PathBuf {
    let archive = std::fs::File::open(data.join("rules/sigmahq_rules.tar.zst")).expect("the rule archive");
    let tar = zstd::Decoder::new(archive).expect("zstd");
    tar::Archive::new(tar).unpack(into).expect("the archive unpacks");
    for retired in ["deprecated", "unsupported"] {
        std::fs::remove_dir_all(into.join(retired)).expect("the archive has its folders");
    }
    into.to_owned()
}

/// Unpacked lines of a .ndjson.zst file.
pub fn lines(path: &Path) -> Vec<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    zstd::Decoder::new(file).expect("zstd").read_to_string(&mut text).expect("text");
    text.lines().map(str::to_owned).collect()
}

/// A process that is killed when the test ends, however it ends.
pub struct Running {
    child: Child,
    pub log: PathBuf,
}

impl Running {
    /// Starts with standard error in a file of `dir`.
    pub fn start(command: &mut Command, dir: &Path, name: &str) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = std::fs::File::options().create(true).append(true).open(&log).expect("a log file");
        let child = command.stdout(Stdio::null()).stderr(file).spawn().expect("the binary starts");
        Self { child, log }
    }

    /// SIGKILL: no chance to clean up.
    pub fn kill_hard(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// SIGTERM, then waits for an orderly end.
    pub fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("SIGTERM");
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "{status}: {}", self.text());
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// Waits until `check` gives something; what the process said is part of the message where it does not, or where
    /// the process ends.
    pub fn until<T>(&mut self, what: &str, within: Duration, check: impl FnMut() -> Option<T>) -> T {
        let found = poll(what, within, check, || self.child.try_wait().expect("wait"));
        found.unwrap_or_else(|why| panic!("{why}\n{}", self.text()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until `check` gives something.
pub fn eventually<T>(what: &str, within: Duration, check: impl FnMut() -> Option<T>) -> T {
    poll(what, within, check, || None).unwrap_or_else(|why| panic!("{why}"))
}

/// What `check` gives, or why it gave nothing: time was over, or what it waits for has ended.
fn poll<T>(
    what: &str,
    within: Duration,
    mut check: impl FnMut() -> Option<T>,
    mut ended: impl FnMut() -> Option<ExitStatus>,
) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        if let Some(found) = check() {
            return Ok(found);
        }
        if let Some(status) = ended() {
            return Err(format!("it ended before {what}: {status}"));
        }
        if begun.elapsed() >= within {
            return Err(format!("not within {within:?}: {what}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A port for a daemon that is started more than once: free now, given to no other test, and below those that the
/// system hands out by itself, so that nobody takes it between two starts.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run at once begin at different places.
    let first = std::process::id().wrapping_mul(61);
    loop {
        let place = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % 16_000;
        let port = 15_000 + u16::try_from(place).expect("a small number");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// `hunt --format ndjson` on a data directory.
pub fn hunt(data_dir: &Path, sql: &str) -> Vec<Value> {
    json_lines(&ok(asterism()
        .args(["hunt", "--format", "ndjson", "--limit", "0", "--data-dir"])
        .arg(data_dir)
        .arg(sql)))
}

/// The incidents of a data directory, most urgent first.
pub fn incidents(data_dir: &Path) -> Vec<Value> {
    json_lines(&ok(asterism()
        .args(["incidents", "list", "--json", "--limit", "1000", "--data-dir"])
        .arg(data_dir)))
}

/// The alerts of an incident, by time.
pub fn alerts_of(data_dir: &Path, incident: &Value) -> Vec<Value> {
    let id = incident["id"].as_str().expect("an id");
    let shown =
        json_lines(&ok(asterism().args(["incidents", "show", "--json", "--data-dir"]).arg(data_dir).arg(id)));
    shown[0]["alerts"].as_array().expect("alerts").clone()
}

/// A simulated provider as a process of its own, with its state and token in a folder.
pub struct Simulated {
    dir: PathBuf,
    name: &'static str,
    url: String,
    /// Runs as long as this.
    _process: Running,
}

impl Simulated {
    /// `edr`, `graph`, `falcon` or `okta`.
    pub fn start(name: &'static str, dir: &Path) -> Self {
        let address = dir.join(format!("{name}.address"));
        let token = format!("simulated-{name}\n");
        std::fs::write(dir.join(format!("{name}.token")), token).expect("the token is written");
        let mut command = asterism();
        command.args(["simulator", name, "--address-file"]).arg(&address);
        command.arg("--state").arg(dir.join(format!("{name}.json")));
        let process = Running::start(&mut command, dir, name);
        let url = eventually("the provider listens", Duration::from_secs(20), || {
            std::fs::read_to_string(&address).ok()
        });
        Self { dir: dir.to_owned(), name, url: url.trim().to_owned(), _process: process }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn token_file(&self) -> PathBuf {
        self.dir.join(format!("{}.token", self.name))
    }

    /// What it holds, as its state file has it.
    pub fn state(&self) -> Value {
        let state = std::fs::read_to_string(self.dir.join(format!("{}.json", self.name))).unwrap_or_default();
        serde_json::from_str(&state).unwrap_or_default()
    }

    /// Of a Graph: how often a change of this kind was carried out.
    pub fn changes(&self, kind: &str) -> usize {
        self.state()["changes"][kind].as_u64().unwrap_or(0) as usize
    }

    /// Of an EDR: the machines that it was asked to isolate, one entry a request it accepted, sorted.
    pub fn isolations(&self) -> Vec<String> {
        let mut machines = Vec::new();
        isolated(&self.state(), &mut machines);
        machines.sort();
        machines
    }
}

fn isolated(value: &Value, machines: &mut Vec<String>) {
    match value {
        Value::Object(map) if map.get("type").is_some_and(|t| t == "Isolate") => {
            machines.push(map.get("machineId").unwrap_or(value).to_string());
        }
        Value::Object(map) => map.values().for_each(|v| isolated(v, machines)),
        Value::Array(items) => items.iter().for_each(|v| isolated(v, machines)),
        _ => {}
    }
}

/// What a running daemon answers; `None` while it does not.
pub fn http(method: reqwest::Method, url: &str, body: Option<String>) -> Option<(u16, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let mut request = client.request(method, url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    })
}

/// Rows of every class, as a question.
pub fn total_rows() -> String {
    let tables: Vec<String> = Class::all().map(|c| format!("(SELECT count(*) FROM {})", c.name())).collect();
    format!("SELECT {} AS n", tables.join(" + "))
}

/// Rows of the default tenant in the lake of a running daemon; `None` while it does not answer.
pub fn lake_rows(api: u16) -> Option<i64> {
    lake_rows_of(api, "default")
}

/// Rows of a tenant in the lake of a running daemon; `None` while it does not answer.
pub fn lake_rows_of(api: u16, tenant: &str) -> Option<i64> {
    let url = format!("http://127.0.0.1:{api}/api/v1/hunt?tenant={tenant}");
    let (_, answer) = http(reqwest::Method::POST, &url, Some(json!({"sql": total_rows()}).to_string()))?;
    serde_json::from_str::<Value>(&answer).ok()?["rows"][0]["n"].as_i64()
}

/// A metric of a running daemon; `None` while it does not answer or has not counted yet.
pub fn metric(api: u16, name: &str) -> Option<i64> {
    let (_, text) = http(reqwest::Method::GET, &format!("http://127.0.0.1:{api}/metrics"), None)?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}
