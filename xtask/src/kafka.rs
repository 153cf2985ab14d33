//! A real Apache Kafka for tests: single node (KRaft), from Maven, on free loopback ports.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use tokio::process::Command;

mod broker;
mod jars;
mod secured;

pub(crate) use broker::Broker;

use crate::{process, workspace};

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Fetches Kafka through Maven into the target folder.
    Fetch,
    /// Starts a broker that stays, and prints KAFKA_BOOTSTRAP=host:port and, a line each, what its secured listener
    /// asks for. Started again in the same directory, it has its records, its ports and its password.
    Start(Place),
    /// Stops the broker that `start` left.
    Stop(Place),
    /// Runs a command with a broker beside it; KAFKA_BOOTSTRAP and the variables of its secured listener are set for the
    /// command.
    ///
    /// Example: cargo xtask kafka run -- cargo test --package ingest --test kafka
    Run {
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Directory of the broker's data; default: target/kafka/broker.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Place {
    fn dir(self) -> PathBuf {
        self.dir.unwrap_or_else(|| workspace::target_dir().join("kafka/broker"))
    }
}

pub(crate) async fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Fetch => {
            let jars = jars::fetch()?;
            process::say(&format!("Kafka {} is in {}", jars::VERSION, jars.display()));
        }
        Task::Start(place) => start(place)?,
        Task::Stop(place) => stop(place)?,
        Task::Run { command } => return run_beside(command).await,
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "the result, for scripts to read")]
fn start(place: Place) -> Result<()> {
    let broker = Broker::start(&place.dir())?;
    for (name, value) in broker.variables() {
        println!("{name}={value}");
    }
    broker.leave_running();
    Ok(())
}

fn stop(place: Place) -> Result<()> {
    let dir = place.dir();
    match broker::running(&dir)? {
        Some(pid) => process::stop(pid),
        None => bail!("no broker runs in {}", dir.display()),
    }
}

async fn run_beside(command: Vec<String>) -> Result<ExitCode> {
    let [program, arguments @ ..] = command.as_slice() else { bail!("name a command to run") };
    let mut signals = process::Signals::catch()?;
    let broker = Broker::start_temporary()?;
    let mut child = Command::new(program);
    child.args(arguments).envs(broker.variables());
    signals.run(child).await
}
