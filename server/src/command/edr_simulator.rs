//! `asterism edr-simulator`: the simulated EDR as a process of its own. A test double, hidden from `--help`.

use std::process::ExitCode;

use simulate::{EdrConfig, EdrSimulator};

use crate::cli::EdrSimulatorArgs;

pub(crate) async fn run(args: EdrSimulatorArgs) -> anyhow::Result<ExitCode> {
    let config = EdrConfig {
        listen: args.listen,
        state_file: args.state,
        onboard_unknown: true,
        ..EdrConfig::default()
    };
    let simulator = EdrSimulator::start(config).await?;
    if let Some(path) = &args.address_file {
        // Written beside and renamed, so that a reader never sees half an address.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, simulator.url())?;
        std::fs::rename(&partial, path)?;
    }
    tokio::select! {
        stopped = simulator.wait() => stopped?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(ExitCode::SUCCESS)
}
