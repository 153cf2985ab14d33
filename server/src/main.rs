//! The `asterism` binary: command line, configuration, wiring, HTTP API.
//!
//! ```text
//! cli.rs        the contract of the command line
//! config.rs     asterism.toml, with every default in default.toml
//! engine/       the stages wired together: poll -> decode -> detect -> correlate -> respond -> store
//! command/      one file a command
//! api/          the HTTP API, OpenAPI, problems
//! ```

mod api;
mod cli;
mod command;
mod config;
mod engine;
mod output;
mod rule_loading;
mod rule_watch;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

// The engine allocates from several threads at once; glibc's allocator returns little and fragments. It serves the C
// libraries too. Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init_logs(cli.verbose);
    telemetry::init_panics();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&anyhow::Error::new(e).context("cannot start the async runtime")),
    };
    let outcome = runtime.block_on(Box::pin(dispatch(cli.command)));
    // A blocked reader of standard input must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(args) => command::demo::run(args).await,
        Command::Run(args) => command::run::run(args).await,
        Command::Detect(args) => command::detect::run(args).await,
        Command::Correlate(args) => command::correlate::run(args).await,
        Command::Replay(args) => Box::pin(command::replay::run(args)).await,
        Command::Hunt(args) => command::hunt::run(args).await,
        Command::Incidents(args) => command::incidents::run(args).await,
        Command::Deliveries(args) => command::deliveries::run(args).await,
        Command::Risk(args) => command::risk::run(args).await,
        Command::Actions(args) => command::actions::run(args).await,
        Command::Audit(args) => command::audit::run(args).await,
        Command::Rules(args) => command::rules::run(args).await,
        Command::Generate(args) => command::generate::run(args).await,
        Command::Simulator(args) => command::simulator::run(args).await,
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    output::error(error);
    ExitCode::FAILURE
}
