//! Embeds the rule packs: every `packs/<pack>/<rule>.yml`, by path, so that adding a rule is adding a file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // Asked when it runs: a build folder may serve several checkouts, and this program may be another one's.
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").ok_or_else(|| io::Error::other("cargo sets CARGO_MANIFEST_DIR"))?;
    let packs = Path::new(&manifest).join("packs");
    println!("cargo:rerun-if-changed={}", packs.display());
    let mut table = String::from("&[\n");
    for pack in sorted(&packs)?.into_iter().filter(|path| path.is_dir()) {
        println!("cargo:rerun-if-changed={}", pack.display());
        for rule in sorted(&pack)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "yml")) {
            let name = rule.strip_prefix(&packs).map_err(io::Error::other)?;
            // Writing to a string cannot fail.
            let _infallible = writeln!(table, "    ({:?}, include_str!({:?})),", name, rule);
        }
    }
    table.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(PathBuf::from(out).join("packs.rs"), table)
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
