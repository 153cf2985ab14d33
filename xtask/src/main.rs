//! Developer tasks: `cargo xtask help` lists them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod demo;
mod fuzz;
mod histories;
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
    /// Runs every fuzz target, or one, for a while each.
    ///
    /// Example: cargo xtask fuzz --seconds 60 decode
    Fuzz {
        /// Seconds a target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only this target
        target: Option<String>,
    },
    /// Puts the response layer through random histories of incidents, people's words, faults and crashes.
    ///
    /// The seed is printed: the same one makes the same histories.
    ///
    /// Example: cargo xtask histories --cases 5000
    Histories {
        /// Histories of each property
        #[arg(long, default_value_t = 5_000)]
        cases: u32,
        /// Of the histories [default: another one each time]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Runs the demo and checks its truth.
    ///
    /// Example: cargo xtask demo --duration 60s
    Demo {
        /// How long
        #[arg(long, default_value = "60s")]
        duration: String,
    },
    /// Runs the benchmarks, or one: decode, detect, correlate, quality, alert_graph, correlation_rules, end_to_end,
    /// response_latency, dead_connector, peers.
    ///
    /// Example: cargo xtask bench end_to_end --events 100000,1000000
    Bench {
        /// Only this one
        part: Option<String>,
        /// Sizes of the end-to-end runs, in records
        #[arg(long, default_value = "100000,500000,2000000")]
        events: String,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if let Some(code) = fuzz::as_compiler_wrapper() {
        return code;
    }
    let outcome = match Arguments::parse().task {
        Task::Test(arguments) => test::run(&arguments).await,
        Task::Kafka(task) => kafka::run(task).await,
        Task::Fuzz { seconds, target } => fuzz::run(seconds, target.as_deref()).map(|()| ExitCode::SUCCESS),
        Task::Histories { cases, seed } => histories::run(cases, seed).map(|()| ExitCode::SUCCESS),
        Task::Demo { duration } => demo::run(&duration).map(|()| ExitCode::SUCCESS),
        Task::Bench { part, events } => bench::run(part.as_deref(), &events).map(|()| ExitCode::SUCCESS),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            process::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
