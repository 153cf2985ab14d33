//! `cargo xtask fuzz`: every fuzz target for a while, on the stable toolchain.
//!
//! Only the packages of the workspace are instrumented (through `RUSTC_WORKSPACE_WRAPPER`, which is this program
//! again), so that the optimised dependencies are shared with every other build.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use crate::workspace;

const TARGETS: [&str; 8] = ["decode", "rule", "overlay", "event", "pipeline", "mapping", "response", "time"];

/// Set for the compiler wrapper, so that this program knows which part it plays.
const WRAPPER_MARK: &str = "ASTERISM_FUZZ_WRAPPER";

/// Coverage as libFuzzer wants it: inline counters, a table of blocks, and traced comparisons.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
];

/// Memory that a target may use before it counts as a failure, in MiB.
const RSS_LIMIT_MB: u32 = 2_048;

/// Runs every target, or the one named, for `seconds` each.
pub(crate) fn run(seconds: u32, only: Option<&str>) -> anyhow::Result<()> {
    if let Some(name) = only.filter(|name| !TARGETS.contains(name)) {
        bail!("no fuzz target {name:?}; there are: {}", TARGETS.join(", "));
    }
    build()?;
    for target in TARGETS.into_iter().filter(|t| only.is_none_or(|o| o == *t)) {
        fuzz(target, seconds)?;
    }
    Ok(())
}

fn build() -> anyhow::Result<()> {
    let status = workspace::cargo()
        .args(["build", "--release"])
        .args(TARGETS.iter().flat_map(|t| ["--bin".to_owned(), format!("fuzz_{t}")]))
        .env("RUSTC_WORKSPACE_WRAPPER", std::env::current_exe()?)
        .env(WRAPPER_MARK, "1")
        .status()?;
    if !status.success() {
        bail!("the fuzz targets do not build");
    }
    Ok(())
}

fn fuzz(target: &str, seconds: u32) -> anyhow::Result<()> {
    let corpus = workspace::target_dir().join("fuzz").join(target);
    std::fs::create_dir_all(&corpus)?;
    let mut command = Command::new(workspace::target_dir().join("release").join(format!("fuzz_{target}")));
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={RSS_LIMIT_MB}"))
        .args(["-timeout=10", "-max_len=65536", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", corpus.display()))
        .arg(&corpus);
    let seeds = workspace::root().join("fuzz/seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    let status = command.status().with_context(|| format!("fuzz target {target}"))?;
    if !status.success() {
        bail!("fuzz target {target} failed: the input is in {}", corpus.display());
    }
    Ok(())
}

/// When cargo calls this program in place of the compiler: the compiler, with coverage.
pub(crate) fn as_compiler_wrapper() -> Option<ExitCode> {
    std::env::var_os(WRAPPER_MARK)?;
    let mut args = std::env::args_os().skip(1);
    let compiler = args.next().filter(is_rustc)?;
    let args: Vec<OsString> = args.collect();
    // A build script runs without libFuzzer, which the coverage calls into.
    let is_build_script = args.iter().any(|arg| arg == "build_script_build");
    let coverage: &[&str] = if is_build_script { &[] } else { &COVERAGE };
    let status = Command::new(compiler).args(args).args(coverage).status();
    let code = status.ok().and_then(|s| s.code()).and_then(|c| u8::try_from(c).ok());
    Some(ExitCode::from(code.unwrap_or(1)))
}

fn is_rustc(program: &OsString) -> bool {
    Path::new(program).file_stem().is_some_and(|stem| stem == "rustc" || stem == "clippy-driver")
}
