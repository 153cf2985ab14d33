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

/// Installs the process-wide metrics recorder, which `/metrics` renders.
pub(crate) fn init_metrics() -> anyhow::Result<PrometheusHandle> {
    Ok(PrometheusBuilder::new().install_recorder()?)
}
