//! What a daemon holds while its provider is dead: so many commands wait for an address where nobody listens, are tried now
//! and then, and outlive a kill. Real daemon, HTTP intake, journal, stores.
//!
//! Equal results first: as many commands wait as devices were attacked, before the kill and after; none has ended.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program that prints.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use reqwest::Client;
use serde_json::{Value, json};

/// Queues commands for a provider that is not there and prints what they cost.
#[derive(Parser)]
struct Args {
    /// The binary
    #[arg(long, default_value = "target/release/asterism")]
    asterism: PathBuf,
    /// Commands
    #[arg(long, default_value_t = 10_000)]
    commands: usize,
    /// Seconds for which they are tried in vain before the kill
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Devices whose records go out in one request.
const BATCH: usize = 500;

/// Asks for evidence of every device that was attacked, which breaks nothing and needs nobody's word.
const RULE: &str =
    "id: collect\ntitle: Collect\nwhen: 'true'\ntarget: attacked_devices\naction: host.collect_package\n";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let scratch = std::env::temp_dir().join("asterism-dead-connector");
    if scratch.exists() {
        // What an earlier run has left would be counted as well.
        std::fs::remove_dir_all(&scratch)?;
    }
    std::fs::create_dir_all(&scratch)?;
    println!("{}", benches::machine());
    let config = configure(&scratch)?;
    let mut site = Site::start(&args.asterism, &config).await?;
    let empty_mib = site.resident_mib()?;
    let begun = Instant::now();
    site.attack(args.commands).await?;
    site.comes_to(args.commands).await?;
    println!("{} commands wait after {:.0} s", args.commands, begun.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let full_mib = site.resident_mib()?;
    site.comes_to(args.commands).await?;
    println!("resident: {empty_mib} MiB before, {full_mib} MiB after {} s of trying", args.seconds);
    site.kill()?;
    let begun = Instant::now();
    let again = Site::start(&args.asterism, &config).await?;
    again.comes_to(args.commands).await?;
    println!(
        "after a kill all of them wait {:.1} s after the start; resident: {} MiB",
        begun.elapsed().as_secs_f64(),
        again.resident_mib()?
    );
    drop(again);
    std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
}

/// A daemon whose EDR is at an address where nobody listens.
fn configure(dir: &Path) -> anyhow::Result<PathBuf> {
    let free_port =
        || Ok::<_, std::io::Error>(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
    let (api, nobody) = (free_port()?, free_port()?);
    let (rules, token) = (dir.join("rules"), dir.join("edr.token"));
    std::fs::create_dir_all(&rules)?;
    std::fs::write(rules.join("collect.yml"), RULE)?;
    std::fs::write(&token, "nobody-asks")?;
    let config = format!(
        "data_dir = {:?}\n[api]\nlisten = \"127.0.0.1:{api}\"\n[respond]\nbuiltin = false\nrules = [{rules:?}]\n\
         [respond.edr]\nurl = \"http://127.0.0.1:{nobody}\"\ntoken_file = {token:?}\n\
         [respond.policy]\nautomation = \"full\"\n\
         caps = {{ rule_per_hour_max = 1000000, tenant_per_hour_max = 1000000, concurrent_max = 1000000 }}\n",
        dir.join("data")
    );
    let file = dir.join("asterism.toml");
    std::fs::write(&file, config)?;
    std::fs::write(dir.join("api"), format!("http://127.0.0.1:{api}"))?;
    Ok(file)
}

/// The daemon and how to ask it.
struct Site {
    daemon: Child,
    base: String,
    http: Client,
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

impl Site {
    async fn start(asterism: &Path, config: &Path) -> anyhow::Result<Self> {
        let dir = config.parent().context("the configuration is in no folder")?;
        let log = std::fs::File::create(dir.join("daemon.log"))?;
        let daemon = Command::new(asterism)
            .args(["run", "-c"])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", asterism.display()))?;
        let base = std::fs::read_to_string(dir.join("api"))?;
        let site = Self { daemon, base, http: Client::builder().no_proxy().build()? };
        let until = Instant::now() + Duration::from_secs(60);
        while site.http.get(format!("{}/readyz", site.base)).send().await.is_err() {
            ensure!(Instant::now() < until, "the daemon does not answer; see {}", dir.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(site)
    }

    /// On each of so many devices, somebody reads the memory of LSASS.
    async fn attack(&self, devices: usize) -> anyhow::Result<()> {
        let all: Vec<usize> = (0..devices).collect();
        for batch in all.chunks(BATCH) {
            let body: String = batch.iter().map(|n| access(*n).to_string() + "\n").collect();
            let url = format!("{}/api/v1/ingest/windows_event", self.base);
            self.http.post(url).body(body).send().await?.error_for_status()?;
        }
        Ok(())
    }

    /// Waits until so many commands wait, and no other.
    async fn comes_to(&self, commands: usize) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(170);
        loop {
            let (waiting, ended) = (
                self.count("queued,probing").await?,
                self.count("succeeded,failed,expired,no_op,timed_out").await?,
            );
            ensure!(ended == 0, "{ended} commands have ended at a provider that is not there");
            if waiting == commands {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{waiting} commands wait, {commands} should");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn count(&self, states: &str) -> anyhow::Result<usize> {
        let (mut count, mut cursor) = (0, String::new());
        loop {
            let url = format!("{}/api/v1/actions?state={states}&limit=1000{cursor}", self.base);
            let page: Value = self.http.get(url).send().await?.error_for_status()?.json().await?;
            count += page["items"].as_array().map_or(0, Vec::len);
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(count),
            }
        }
    }

    /// Memory of the daemon, as the system counts it.
    fn resident_mib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line.and_then(|l| l.split_whitespace().next()).context("no VmRSS")?.parse()?;
        Ok(kib / 1_024)
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        self.daemon.kill()?;
        self.daemon.wait()?;
        Ok(())
    }
}

/// What Sysmon writes when a program reads the memory of LSASS, on a device of its own.
fn access(n: usize) -> Value {
    // Two seconds apart, by programs of their own: as many incidents as devices.
    let at = format!("2026-03-02T{:02}:{:02}:{:02}.000Z", 6 + n / 1_800, n / 30 % 60, n % 30 * 2);
    json!({
        "SourceName": "Microsoft-Windows-Sysmon", "Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 10,
        "Hostname": format!("WS-{n:05}.contoso.example"), "TimeCreated": at, "@timestamp": at,
        "EventOriginId": format!("{n:08}-d21d-57e0-8f24-0017d675e41f"),
        "SourceProcessGUID": format!("{{{n:08}-9bf5-69a5-d3df-000000001100}}"), "SourceProcessId": "3948",
        "SourceImage": format!("C:\\Users\\Public\\collector-{n}.exe"),
        "TargetProcessGUID": format!("{{{n:08}-c050-69a5-e07b-000000001100}}"), "TargetProcessId": "684",
        "TargetImage": "C:\\Windows\\System32\\lsass.exe", "GrantedAccess": "0x1410",
        "CallTrace": "C:\\Windows\\SYSTEM32\\ntdll.dll+9d4c4|UNKNOWN(00000183D2F2A9E1)",
        "SourceUser": format!("CONTOSO\\user-{n:05}"), "TargetUser": "NT AUTHORITY\\SYSTEM",
    })
}
