//! Processor time, memory, and the machine.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};

/// Processor time of this process so far, that of the system for it included.
pub(crate) fn processor_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
    Ok(Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time())))
}

/// The processor time of `work`, and what it returns.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let before = processor_time()?;
    let result = work()?;
    Ok((processor_time()? - before, result))
}

/// Resident memory of this process in KiB: now, and at its peak since [`forget_peak`].
pub(crate) struct Resident {
    pub(crate) now_kib: u64,
    pub(crate) peak_kib: u64,
}

pub(crate) fn resident() -> Result<Resident> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next()).context("/proc/self/status")?;
        number.parse::<u64>().with_context(|| format!("/proc/self/status: {name}"))
    };
    Ok(Resident { now_kib: kib("VmRSS:")?, peak_kib: kib("VmHWM:")? })
}

/// From now on the peak is that of what follows.
pub(crate) fn forget_peak() -> Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").context("/proc/self/clear_refs")
}

/// One line that says on what a number was measured.
pub(crate) fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let model = model.unwrap_or("unknown processor").trim_start_matches([' ', '\t', ':']);
    format!("{model} x {cores}, load {}", load.split(' ').next().unwrap_or("?"))
}
