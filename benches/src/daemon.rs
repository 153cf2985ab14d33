//! The shipped program as a daemon, asked as its users ask it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use reqwest::Client;
use serde_json::Value;

/// A daemon that runs as long as this: then it is killed.
pub struct Daemon {
    process: Child,
    base: String,
    http: Client,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A port of this machine at which nobody listens.
///
/// # Errors
/// Where the system has none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Daemon {
    /// Starts the program with a configuration whose API listens at `port`, and waits until it answers. What it says goes
    /// to `daemon.log` beside the configuration.
    ///
    /// # Errors
    /// Where it cannot be started, or does not answer within a minute.
    pub async fn start(asterism: &Path, config: &Path, port: u16) -> anyhow::Result<Self> {
        let log = config.with_file_name("daemon.log");
        let process = Command::new(asterism)
            .args(["run", "-c"])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot run {}", asterism.display()))?;
        let http = Client::builder().no_proxy().build()?;
        let daemon = Self { process, base: format!("http://127.0.0.1:{port}"), http };
        let until = Instant::now() + Duration::from_secs(60);
        while daemon.http.get(format!("{}/readyz", daemon.base)).send().await.is_err() {
            ensure!(Instant::now() < until, "the daemon does not answer; see {}", log.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(daemon)
    }

    /// Hands it records of one kind of source; its answer.
    ///
    /// # Errors
    /// Where it does not take them.
    pub async fn ingest(&self, kind: &str, records: String) -> anyhow::Result<Value> {
        let answer =
            self.http.post(format!("{}/api/v1/ingest/{kind}", self.base)).body(records).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// What its API has at a path.
    ///
    /// # Errors
    /// Where it has nothing there.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(format!("{}/api/v1/{path}", self.base)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// All pages of a list. `path` ends where a parameter may follow.
    ///
    /// # Errors
    /// Where there is no such list.
    pub async fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}limit=1000{cursor}")).await?;
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    /// Its metrics.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        Ok(self.http.get(format!("{}/metrics", self.base)).send().await?.text().await?)
    }

    /// Its memory in mebibytes, as the system counts it.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn resident_mib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line.and_then(|l| l.split_whitespace().next()).context("no VmRSS")?.parse()?;
        Ok(kib / 1_024)
    }
}
