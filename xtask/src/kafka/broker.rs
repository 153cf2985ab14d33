//! One broker process: formatted, started, waited for, stopped by its process id.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::jars;
use super::secured::{self, Secured};
use crate::process;

/// A cold JVM on a busy machine needs most of a minute.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// Any 16 bytes in base64: one node needs no more than that it stays the same.
const CLUSTER_ID: &str = "QXN0ZXJpc21UZXN0Q2x1cw";

/// A running broker; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Broker {
    process: Option<Child>,
    address: SocketAddr,
    /// Of the listener with TLS and passwords.
    secured_address: SocketAddr,
    secured: Secured,
    /// Removed after the broker has stopped.
    temporary: Option<TempDir>,
}

/// What is known about the broker of a directory, in `broker.json`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct State {
    port: u16,
    secured_port: u16,
    controller_port: u16,
    pid: u32,
}

impl Broker {
    /// Starts a broker whose data goes with it.
    pub(crate) fn start_temporary() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("asterism-kafka-")
            .tempdir()
            .context("cannot create a directory")?;
        let mut broker = Self::start(dir.path())?;
        broker.temporary = Some(dir);
        Ok(broker)
    }

    /// Starts a broker in `dir`, on the ports it had before, and waits until it answers.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        if let Some(pid) = running(dir)? {
            bail!(
                "a broker runs in {} already (process {pid}); stop it: cargo xtask kafka stop",
                dir.display()
            );
        }
        let jars = jars::fetch()?;
        jars::require("java", &["-version"], "default-jdk-headless")?;
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let mut state = match read_state(dir)? {
            Some(state) => state,
            None => {
                let [port, secured_port, controller_port] = free_ports()?;
                State { port, secured_port, controller_port, pid: 0 }
            }
        };
        let secured = Secured::of(dir)?;
        let settings = dir.join("server.properties");
        secured::write_private(&settings, &(properties(dir, state) + &secured.properties()))?;
        prepare(&jars, &settings, &secured)?;
        let process = Some(spawn(dir, &jars, &settings)?);
        let [address, secured_address] =
            [state.port, state.secured_port].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let mut broker = Self { process, address, secured_address, secured, temporary: None };
        state.pid = broker.process.as_ref().map_or(0, Child::id);
        std::fs::write(state_file(dir), serde_json::to_vec(&state)?).context("cannot write broker.json")?;
        broker.wait_until_ready(dir)?;
        Ok(broker)
    }

    /// `host:port`.
    pub(crate) fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// What tests read from their environment: both listeners, and how to be let in by the secured one.
    pub(crate) fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("KAFKA_BOOTSTRAP", self.bootstrap()),
            ("KAFKA_BOOTSTRAP_SECURED", self.secured_address.to_string()),
            ("KAFKA_SECURED_CA", self.secured.ca().display().to_string()),
            ("KAFKA_SECURED_USER", secured::USER.to_owned()),
            ("KAFKA_SECURED_PASSWORD", self.secured.password().to_owned()),
        ]
    }

    /// Ends this handle, not the broker.
    pub(super) fn leave_running(mut self) {
        self.process = None;
    }

    fn wait_until_ready(&mut self, dir: &Path) -> Result<()> {
        let began = Instant::now();
        while !answers(self.address) {
            let ended = self.process.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || began.elapsed() > START_PATIENCE {
                bail!("Kafka does not start; its log, {}, ends:\n{}", log_file(dir).display(), log_tail(dir));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(mut child) = self.process.take() else { return };
        let stopped =
            process::stop(child.id()).and_then(|()| child.wait().context("cannot wait for the broker"));
        if let Err(error) = stopped {
            process::say(&format!("Kafka, process {}, may still run: {error:#}", child.id()));
        }
    }
}

/// The process id of the broker that runs in `dir`.
pub(super) fn running(dir: &Path) -> Result<Option<u32>> {
    let Some(state) = read_state(dir)? else { return Ok(None) };
    // The id may belong to another process by now: ours has the directory on its command line.
    let command_line = std::fs::read(format!("/proc/{}/cmdline", state.pid)).unwrap_or_default();
    let ours =
        String::from_utf8_lossy(&command_line).contains(&*dir.join("server.properties").to_string_lossy());
    Ok((ours && process::is_running(state.pid)).then_some(state.pid))
}

fn read_state(dir: &Path) -> Result<Option<State>> {
    match std::fs::read(state_file(dir)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| {
            format!("{} is damaged or old; remove {}", state_file(dir).display(), dir.display())
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", state_file(dir).display())),
    }
}

fn state_file(dir: &Path) -> PathBuf {
    dir.join("broker.json")
}

fn log_file(dir: &Path) -> PathBuf {
    dir.join("kafka.log")
}

fn log_tail(dir: &Path) -> String {
    let text = std::fs::read_to_string(log_file(dir)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Held together until all are known, so that no port is given twice.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free loopback port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn java(jars: &Path) -> Command {
    let mut command = Command::new("java");
    // Small and quick to start: the serial collector, the first compiler only.
    command.args(["-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    command.arg("-cp").arg(jars.join("*"));
    command.stdin(Stdio::null());
    command
}

/// Both are mostly the start of a JVM: side by side they take the time of the longer one.
fn prepare(jars: &Path, settings: &Path, secured: &Secured) -> Result<()> {
    std::thread::scope(|scope| {
        let certificate = scope.spawn(|| secured.ensure_certificate());
        format_storage(jars, settings, secured)?;
        certificate.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn format_storage(jars: &Path, settings: &Path, secured: &Secured) -> Result<()> {
    let mut command = java(jars);
    command
        .args(["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", CLUSTER_ID, "-c"])
        .arg(settings)
        .args(["--add-scram", &secured.scram()]);
    let output = command.output().context("cannot run java")?;
    if !output.status.success() {
        bail!("Kafka cannot format its storage:\n{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn spawn(dir: &Path, jars: &Path, settings: &Path) -> Result<Child> {
    let log =
        File::create(log_file(dir)).with_context(|| format!("cannot write {}", log_file(dir).display()))?;
    let mut command = java(jars);
    command.arg("kafka.Kafka").arg(settings);
    command.stdout(log.try_clone()?).stderr(log);
    // Ctrl-C on the terminal is for the tests; the broker is stopped after them.
    command.process_group(0);
    command.spawn().context("cannot run java")
}

/// An ApiVersions request (key 18, version 0) is answered as soon as the broker serves requests; the port alone
/// opens earlier.
fn answers(address: SocketAddr) -> bool {
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let ask = || -> std::io::Result<[u8; 8]> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(&REQUEST)?;
        let mut head = [0; 8];
        stream.read_exact(&mut head)?;
        Ok(head)
    };
    ask().is_ok_and(|head| head[4..] == [0, 0, 0, 1])
}

fn properties(dir: &Path, State { port, secured_port, controller_port, .. }: State) -> String {
    let data = dir.join("data");
    let data = data.display();
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secured_port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secured_port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={data}\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         log.cleaner.dedupe.buffer.size=16777216\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_nonsense_are_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        });
        assert!(!answers(address));
        server.join().unwrap();
        assert!(!answers(address), "nobody listens");
    }

    #[test]
    fn a_process_id_that_went_to_another_program_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(running(dir.path()).unwrap(), None);
        let state = State { port: 1, secured_port: 2, controller_port: 3, pid: std::process::id() };
        std::fs::write(state_file(dir.path()), serde_json::to_vec(&state).unwrap()).unwrap();
        assert_eq!(running(dir.path()).unwrap(), None);
        std::fs::write(state_file(dir.path()), "{").unwrap();
        assert!(running(dir.path()).unwrap_err().to_string().contains("old; remove"));
    }
}
