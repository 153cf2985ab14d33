//! Asterism's Sigma engine beside `rsigma-eval`: the same rules, the same events, the same routing.
//!
//! ```text
//! record --ingest--> batch, set of logsources --rules-------------------> (rule, record) --+
//!                      +--> flat event (the fields as rules see them) --> (rule, record) --+--> differences.yml
//!                                             rsigma-eval, ours                                 explains the rest
//! ```
//!
//! `peers diff` compares what fires; `peers speed` compares again, then measures. A difference that `differences.yml`
//! does not explain is a failure of both.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program that prints.

mod asterism;
mod data;
mod diff;
mod differences;
mod events;
mod load;
mod measure;
mod rsigma;
mod speed;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compares Sigma engines.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compares what fires on all real Windows events and on the published regression events.
    ///
    /// Example: peers diff
    Diff,
    /// Compares what fires on a sample of the real Windows events, then measures both engines on it.
    ///
    /// Example: peers speed --records 100000 --rounds 7
    Speed(speed::Arguments),
    /// Loads the rules into one engine and prints time and memory as JSON: a part of `speed`, in a process of its own.
    #[command(hide = true)]
    Load { engine: load::Engine },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Diff => diff::run(),
        Task::Speed(arguments) => speed::run(&arguments),
        Task::Load { engine } => load::run(engine),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
