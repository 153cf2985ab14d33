//! Mappings: YAML text, checked and compiled. The format is described in `ingest/mappings/README.md`.

mod builtin;

use std::path::Path;

use event::Logsource;

use crate::error::MappingError;

/// Every loaded source kind.
#[derive(Debug, Clone, Default)]
pub struct MappingSet {}

impl MappingSet {
    /// The mappings that are shipped with the program.
    ///
    /// # Errors
    /// A defect of a shipped mapping, which the tests of this crate find.
    pub fn builtin() -> Result<Self, MappingError> {
        let mut set = Self::default();
        for (file, text) in builtin::FILES {
            set.add(file, text)?;
        }
        Ok(set)
    }

    /// Adds one mapping document; a source kind that is known already is replaced.
    ///
    /// # Errors
    /// The first thing wrong in it, with its place.
    pub fn add(&mut self, _file: &str, _text: &str) -> Result<(), MappingError> {
        Ok(())
    }

    /// Adds every `*.yml` and `*.yaml` of a directory, in order of name.
    ///
    /// # Errors
    /// An unreadable directory or file, or the first thing wrong in one.
    pub fn load_dir(&mut self, _dir: &Path) -> Result<(), MappingError> {
        Ok(())
    }

    /// Name and title of every source kind, by name.
    pub fn source_kinds(&self) -> impl Iterator<Item = (&str, &str)> {
        std::iter::empty()
    }

    /// How late records of a source kind may be, in microseconds of event time; ten minutes where unknown.
    pub fn lateness_us(&self, _kind: &str) -> i64 {
        600_000_000
    }

    /// The logsources that each source kind feeds.
    pub fn logsources(&self) -> Vec<(&str, Vec<Logsource>)> {
        Vec::new()
    }
}
