//! Developer tasks: `cargo xtask help` lists them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod kafka;
mod process;
mod test;
mod workspace;

/// Developer tasks of Asterism.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs all tests with a real Kafka beside them (a running one if KAFKA_BOOTSTRAP is set).
    ///
    /// Example: cargo xtask test -- --test kafka
    Test(test::Arguments),
    /// Fetches, starts and stops a single-node Apache Kafka.
    #[command(subcommand)]
    Kafka(kafka::Task),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test(arguments) => test::run(&arguments).await,
        Task::Kafka(task) => kafka::run(task).await,
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            process::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
