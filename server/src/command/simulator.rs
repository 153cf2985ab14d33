//! `asterism simulator`: a simulated provider as a process of its own. A test double, hidden from `--help`.

use std::path::Path;
use std::process::ExitCode;

use simulate::{
    EdrConfig, EdrSimulator, FalconConfig, FalconSimulator, GraphConfig, GraphSimulator, OktaConfig,
    OktaSimulator,
};

use crate::cli::{SimulatedProvider, SimulatorArgs};

pub(crate) async fn run(args: SimulatorArgs) -> anyhow::Result<ExitCode> {
    let SimulatorArgs { provider, listen, state, address_file } = args;
    let stopped = match provider {
        SimulatedProvider::Edr => {
            let config =
                EdrConfig { listen, state_file: state, onboard_unknown: true, ..EdrConfig::default() };
            let simulator = EdrSimulator::start(config).await?;
            tell(address_file.as_deref(), &simulator.url())?;
            tokio::spawn(simulator.wait())
        }
        SimulatedProvider::Graph => {
            let config =
                GraphConfig { listen, state_file: state, onboard_unknown: true, ..GraphConfig::default() };
            let simulator = GraphSimulator::start(config).await?;
            tell(address_file.as_deref(), &simulator.url())?;
            tokio::spawn(simulator.wait())
        }
        SimulatedProvider::Falcon => {
            let config =
                FalconConfig { listen, state_file: state, onboard_unknown: true, ..FalconConfig::default() };
            let simulator = FalconSimulator::start(config).await?;
            tell(address_file.as_deref(), &simulator.url())?;
            tokio::spawn(simulator.wait())
        }
        SimulatedProvider::Okta => {
            let config =
                OktaConfig { listen, state_file: state, onboard_unknown: true, ..OktaConfig::default() };
            let simulator = OktaSimulator::start(config).await?;
            tell(address_file.as_deref(), &simulator.url())?;
            tokio::spawn(simulator.wait())
        }
    };
    tokio::select! {
        stopped = stopped => stopped??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Written beside and renamed, so that a reader never sees half an address.
fn tell(path: Option<&Path>, url: &str) -> std::io::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let partial = path.with_extension("partial");
    std::fs::write(&partial, url)?;
    std::fs::rename(&partial, path)
}
