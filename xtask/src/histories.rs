//! Random histories of the response layer, as many as wanted: the tests of `respond/src/properties.rs`.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::{process, workspace};

pub(crate) fn run(cases: u32, seed: Option<u64>) -> Result<()> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map(|t| t.as_secs());
    let seed = seed.map_or_else(now, Ok).context("the clock stands before 1970")?;
    process::say(&format!("{cases} histories of each property, seed {seed}"));
    let status = workspace::cargo()
        // As `test` builds it: `-p` would resolve other features and build everything once more.
        .args(["test", "--release", "--workspace", "--lib", "properties::"])
        .env("PROPTEST_CASES", cases.to_string())
        .env("PROPTEST_RNG_SEED", seed.to_string())
        .status()?;
    ensure!(
        status.success(),
        "a history went wrong: cargo xtask histories --cases {cases} --seed {seed} repeats it"
    );
    Ok(())
}
