//! All tests, and what they need.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::kafka::Broker;
use crate::process::Signals;
use crate::{process, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Passed on to `cargo test --release --workspace`; without any, every test and documentation example runs.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo: Vec<String>,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut signals = Signals::catch()?;
    let mut command = Command::from(workspace::cargo());
    command
        // No `--bins`: it would run programs that are no tests, the fuzz targets among them, for ever.
        .args(["test", "--release", "--workspace"])
        .args(&arguments.cargo);
    // Tests that stop and start a broker of their own do it through this program.
    command.env("ASTERISM_XTASK", std::env::current_exe().context("cannot tell where this program lies")?);
    if let Some(bootstrap) = std::env::var("KAFKA_BOOTSTRAP").ok().filter(|brokers| !brokers.is_empty()) {
        process::say(&format!("using the Kafka broker at {bootstrap}"));
        return signals.run(command).await;
    }
    let broker = Broker::start_temporary()?;
    process::say(&format!("Kafka runs at {}", broker.bootstrap()));
    command.envs(broker.variables());
    signals.run(command).await
}
