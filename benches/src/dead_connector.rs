//! What a daemon holds while its provider is dead: so many commands wait for an address where nobody listens, are tried now
//! and then, and outlive a kill. Real daemon, HTTP intake, journal, stores.
//!
//! Equal results first: as many commands wait as devices were attacked, before the kill and after; none has ended.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program that prints.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use benches::daemon::{Daemon, free_port};
use clap::Parser;
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
    let port = free_port()?;
    let config = configure(&scratch, port)?;
    let site = Site(Daemon::start(&args.asterism, &config, port).await?);
    let empty_mib = site.0.resident_mib()?;
    let begun = Instant::now();
    site.attack(args.commands).await?;
    site.comes_to(args.commands).await?;
    println!("{} commands wait after {:.0} s", args.commands, begun.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let full_mib = site.0.resident_mib()?;
    site.comes_to(args.commands).await?;
    println!("resident: {empty_mib} MiB before, {full_mib} MiB after {} s of trying", args.seconds);
    drop(site);
    let begun = Instant::now();
    let again = Site(Daemon::start(&args.asterism, &config, port).await?);
    again.comes_to(args.commands).await?;
    println!(
        "after a kill all of them wait {:.1} s after the start; resident: {} MiB",
        begun.elapsed().as_secs_f64(),
        again.0.resident_mib()?
    );
    drop(again);
    std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
}

/// A daemon whose EDR is at an address where nobody listens.
fn configure(dir: &Path, api: u16) -> anyhow::Result<PathBuf> {
    let nobody = free_port()?;
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
    Ok(file)
}

/// The daemon under attack.
struct Site(Daemon);

impl Site {
    /// On each of so many devices, somebody reads the memory of LSASS.
    async fn attack(&self, devices: usize) -> anyhow::Result<()> {
        let all: Vec<usize> = (0..devices).collect();
        for batch in all.chunks(BATCH) {
            let body: String = batch.iter().map(|n| access(*n).to_string() + "\n").collect();
            self.0.ingest("windows_event", body).await?;
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
        Ok(self.0.all(&format!("actions?state={states}&")).await?.len())
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
