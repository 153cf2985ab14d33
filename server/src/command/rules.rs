//! `asterism rules`: check, list and explain rules.

use std::process::ExitCode;

use event::{Logsource, TenantId};
use rules::{LoadReport, RuleSet};

use super::{load_mappings, note_rules, now, source_hint};
use crate::cli::{InputArgs, RulesArgs, RulesCommand};
use crate::output::{Lines, note};
use crate::rule_loading;

pub(crate) fn run(args: RulesArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        RulesCommand::Check { rules, mappings, all } => {
            let mappings = load_mappings(&mappings)?;
            let (set, report) = rule_loading::load(&rules)?;
            check(&set, &report, &mappings, all)
        }
        RulesCommand::List { rules } => {
            let (set, _) = rule_loading::load(&rules)?;
            let mut out = Lines::stdout();
            for rule in set.rules() {
                out.json(rule)?;
            }
            out.flush()?;
            Ok(ExitCode::SUCCESS)
        }
        RulesCommand::Explain { rules, rule, input } => explain(&rules, &rule, &input),
    }
}

fn check(set: &RuleSet, report: &LoadReport, mappings: &ingest::MappingSet, all: bool) -> anyhow::Result<ExitCode> {
    let mut out = Lines::stdout();
    for rejection in report.rejected() {
        out.text(&format!("rejected  {rejection}"))?;
    }
    if all {
        for rule in set.rules() {
            out.text(&format!("ok        {}  {} ({})", rule.file, rule.title, rule.id))?;
        }
    }
    let fed = mappings.logsources();
    let mut unfed = 0;
    for (logsource, count) in set.logsources() {
        let mut kinds: Vec<&str> = fed.iter().filter(|(_, own)| own.iter().any(|o| logsource.covers(o))).map(|(k, _)| k.as_ref()).collect();
        kinds.dedup();
        if kinds.is_empty() {
            unfed += count;
        }
        let fed_by = if kinds.is_empty() { "nothing feeds it".to_owned() } else { kinds.join(", ") };
        out.text(&format!("{count:>6} rules  {:<60} {fed_by}", describe(&logsource)))?;
    }
    out.flush()?;
    note(&format!("{} rules loaded, {} rejected, {unfed} that no source kind feeds", report.loaded(), report.rejected().len()));
    Ok(if report.rejected().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(logsource: &Logsource) -> String {
    let part = |name: &str, value: &Option<std::sync::Arc<str>>| value.as_ref().map(|v| format!("{name}={v}"));
    let parts = [part("product", &logsource.product), part("category", &logsource.category), part("service", &logsource.service)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(",")
}

fn explain(paths: &[std::path::PathBuf], wanted: &str, input: &InputArgs) -> anyhow::Result<ExitCode> {
    let mappings = load_mappings(&input.mappings)?;
    let hint = source_hint(&input.source, &[], &mappings)?;
    let (set, report) = rule_loading::load(paths)?;
    note_rules(&report);
    let Some(index) = set.find(wanted) else { anyhow::bail!("no loaded rule has the id or title {wanted:?}") };
    let mut decoder = ingest::Decoder::new(mappings, &set.native_fields(), ingest::DecodeLimits::default());
    let mut out = Lines::stdout();
    for record in super::read_all(&input.files)? {
        let decoded = decoder.decode(std::slice::from_ref(&record), &hint, &TenantId::default(), now());
        for letter in &decoded.dead {
            out.text(&format!("{} line {}: {}", record.topic, record.offset + 1, letter.reason))?;
        }
        for batch in &decoded.batches {
            for row in 0..batch.len() {
                out.text(&format!("{} line {}: {}", record.topic, record.offset + 1, set.explain(batch, row, index)))?;
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
