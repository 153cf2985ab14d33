//! Logs and metrics of the engine itself.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Logs go to standard error; `ASTERISM_LOG` overrides the level given by `-v`.
pub(crate) fn init_logs(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "info,asterism=debug,ingest=debug,correlate=debug,respond=debug,storage=debug",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("ASTERISM_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    logs.with_ansi(colours).with_target(false).init();
}

/// A library that gives up in a task of its own (a write to a full disk cancelled twice, work cut off by a deadline)
/// gets a line in the log: whoever waited for it gets an error and tells that. A defect of ours is told in full.
pub(crate) fn init_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match panic.location().and_then(|at| library(at.file())) {
        Some(library) => {
            let message = panic.payload_as_str().unwrap_or("without a message");
            tracing::info!("{library} gave up: {}", message.lines().next().unwrap_or_default());
        }
        None => default(panic),
    }));
}

/// The package of a source file that is not ours: sources of packages are kept below `registry/src/<index>`.
fn library(file: &str) -> Option<&str> {
    let (_, below) = file.split_once("registry/src/")?;
    below.split('/').nth(1)
}

/// Installs the process-wide metrics recorder, which `/metrics` renders.
pub(crate) fn init_metrics() -> anyhow::Result<PrometheusHandle> {
    Ok(PrometheusBuilder::new().install_recorder()?)
}

#[cfg(test)]
mod tests {
    use super::library;

    #[test]
    fn a_library_is_told_from_ours() {
        assert_eq!(
            library("/x/.cargo/registry/src/index-1/object_store-0.13.2/src/buffered.rs"),
            Some("object_store-0.13.2")
        );
        assert_eq!(library("server/src/main.rs"), None);
    }
}
