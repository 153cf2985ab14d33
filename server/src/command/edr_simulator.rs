//! `asterism edr-simulator`: the simulated EDR as a process of its own. A test double, hidden from `--help`.

use std::process::ExitCode;

use crate::cli::EdrSimulatorArgs;

pub(crate) async fn run(args: EdrSimulatorArgs) -> anyhow::Result<ExitCode> {
    let simulator = simulate::EdrSimulator::start(args.listen, args.state.as_deref()).await?;
    if let Some(path) = &args.address_file {
        // Written beside and renamed, so that a reader never sees half an address.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, simulator.address().to_string())?;
        std::fs::rename(&partial, path)?;
    }
    tokio::signal::ctrl_c().await?;
    simulator.stop().await;
    Ok(ExitCode::SUCCESS)
}
