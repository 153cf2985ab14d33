//! Child processes: run to the end, whatever signal comes, and stopped by their id.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::FutureExt as _;
use nix::sys::signal as kill;
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A broker that ends in order closes its log segments; one that hangs is killed after this time.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Tells the developer something; standard output stays free for results.
#[allow(clippy::print_stderr, reason = "this is the tool's voice")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// Interrupts and requests to end, caught from the moment this exists: what was started before is still cleaned up.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupts: Signal,
    ends: Signal,
}

impl Signals {
    pub(crate) fn catch() -> Result<Self> {
        let interrupts = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        let ends = signal(SignalKind::terminate()).context("cannot listen for a request to end")?;
        Ok(Self { interrupts, ends })
    }

    /// One came already.
    fn came(&mut self) -> bool {
        self.interrupts.recv().now_or_never().is_some() || self.ends.recv().now_or_never().is_some()
    }

    /// Runs a command to its end. A request to end is passed on, so that the caller cleans up after the child.
    pub(crate) async fn run(&mut self, mut command: Command) -> Result<ExitCode> {
        if self.came() {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        loop {
            tokio::select! {
                status = child.wait() => {
                    return Ok(exit_code(status.with_context(|| format!("cannot wait for {name}"))?));
                }
                // A terminal sends Ctrl-C to the child as well: only wait for it.
                _ = self.interrupts.recv() => say("interrupted: cleaning up"),
                _ = self.ends.recv() => {
                    if let Some(pid) = child.id() {
                        send(pid, kill::Signal::SIGTERM)?;
                    }
                }
            }
        }
    }
}

fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    }
}

/// Asks a process to end, waits, and kills it if it will not.
pub(crate) fn stop(pid: u32) -> Result<()> {
    if !is_running(pid) {
        return Ok(());
    }
    send(pid, kill::Signal::SIGTERM)?;
    let asked = Instant::now();
    while is_running(pid) {
        if asked.elapsed() > STOP_PATIENCE {
            send(pid, kill::Signal::SIGKILL)?;
        }
        if asked.elapsed() > 2 * STOP_PATIENCE {
            bail!("process {pid} does not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn send(pid: u32, signal: kill::Signal) -> Result<()> {
    match kill::kill(id(pid)?, signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot send {signal} to process {pid}")),
    }
}

/// Runs, and is no zombie that waits for its parent.
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

fn id(pid: u32) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(pid).with_context(|| format!("{pid} is no process id"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_ends_a_process_and_is_content_with_one_that_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        assert!(is_running(child.id()));
        stop(child.id()).unwrap();
        assert!(!child.wait().unwrap().success());
        stop(child.id()).unwrap();
    }

    #[tokio::test]
    async fn exit_code_of_the_child_is_passed_on() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 7"]);
        assert_eq!(Signals::catch().unwrap().run(command).await.unwrap(), ExitCode::from(7));
    }
}
