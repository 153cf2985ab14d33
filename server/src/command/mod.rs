//! One file a command; what they share stands here.

pub(crate) mod actions;
pub(crate) mod audit;
pub(crate) mod client;
pub(crate) mod correlate;
pub(crate) mod deliveries;
pub(crate) mod demo;
pub(crate) mod detect;
pub(crate) mod generate;
pub(crate) mod hunt;
pub(crate) mod incidents;
pub(crate) mod reader;
pub(crate) mod replay;
pub(crate) mod risk;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod simulator;

use std::path::PathBuf;
use std::sync::Arc;

use ::rules::LoadReport;
use anyhow::{Context, bail};
use event::Time;
use ingest::{MappingSet, SourceKindHint};

use crate::output;

/// The shipped mappings and those of the given directories.
pub(crate) fn load_mappings(dirs: &[PathBuf]) -> anyhow::Result<Arc<MappingSet>> {
    let mut mappings = MappingSet::builtin().context("the shipped mappings")?;
    for dir in dirs {
        mappings.load_dir(dir)?;
    }
    Ok(Arc::new(mappings))
}

/// `auto`, `json`, or a known source kind.
pub(crate) fn source_hint(
    source: &str,
    logsources: &[event::Logsource],
    mappings: &MappingSet,
) -> anyhow::Result<SourceKindHint> {
    match source {
        "json" => return Ok(SourceKindHint::Json { logsources: logsources.into() }),
        _ if !logsources.is_empty() => bail!("--logsource goes with --source json"),
        "auto" => return Ok(SourceKindHint::Auto),
        _ => {}
    }
    let known: Vec<&str> = mappings.source_kinds().map(|(name, _)| name).collect();
    if !known.contains(&source) {
        bail!("unknown source kind {source:?}; known: auto, json, {}", known.join(", "));
    }
    Ok(SourceKindHint::Kind(source.into()))
}

/// Says how many rules loaded, and names up to ten that did not.
pub(crate) fn note_rules(report: &LoadReport) {
    const NAMED_MAX: usize = 10;
    let (rejected, odd) = (report.rejected.len(), report.warnings.len());
    let odd = if odd > 0 { format!(", {odd} oddities (asterism rules check)") } else { String::new() };
    output::note(&format!("{} rules loaded, {rejected} rejected{odd}", report.loaded));
    for rejection in report.rejected.iter().take(NAMED_MAX) {
        output::note(&format!("  {rejection}"));
    }
    if rejected > NAMED_MAX {
        output::note(&format!("  ... and {} more: asterism rules check", rejected - NAMED_MAX));
    }
}

/// The wall clock, read at the edge and passed in.
pub(crate) fn now() -> Time {
    Time(jiff::Timestamp::now().as_microsecond())
}
