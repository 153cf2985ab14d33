//! The rule packs that are part of the program; `build.rs` lists them.

/// Path below `packs/`, and text.
const PACKS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/packs.rs"));

/// File name and text of every rule of the packs.
pub(crate) fn documents() -> Vec<(String, String)> {
    PACKS.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
}
