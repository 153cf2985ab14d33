//! `asterism rules`: check, list and explain rules.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use event::{Logsource, TenantId};
use ingest::{DecodeLimits, Decoded, Decoder, FileOptions, FileSource, MappingSet, Record, Source};
use rules::{LoadReport, RuleIndex, RuleInfo, RuleSet, WorstCase};

use super::detect::FILE_BUDGET;
use super::reader::Reader;
use super::{load_mappings, note_rules, now, source_hint};
use crate::api::CompletenessView;
use crate::cli::{InputArgs, RulesArgs, RulesCommand};
use crate::output::{Lines, note, table};
use crate::rule_loading::RuleSources;

pub(crate) async fn run(args: RulesArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        RulesCommand::Check { rules, rewrite, mappings, all } => {
            let mappings = load_mappings(&mappings)?;
            let (set, report) = RuleSources::named(&rules, &rewrite).load(now())?;
            check(&set, &report, &mappings, all)
        }
        RulesCommand::List { rules, rewrite } => {
            let (set, _) = RuleSources::named(&rules, &rewrite).load(now())?;
            let mut out = Lines::stdout();
            let detections = set.rules().map(|(_, rule)| described(rule, "detection"));
            let correlations = set.correlations().map(|rule| described(rule, "correlation"));
            detections.chain(correlations).try_for_each(|rule| out.json(&rule))?;
            out.flush()?;
            Ok(ExitCode::SUCCESS)
        }
        RulesCommand::Completeness { target, rule, faulty, limit, json } => {
            let rows = Reader::open(&target)?.completeness(rule.as_deref(), faulty, limit).await?;
            completeness(&rows, json)
        }
        RulesCommand::Explain { rules, rewrite, rule, input } => {
            explain(&RuleSources::named(&rules, &rewrite), &rule, &input).await
        }
    }
}

fn completeness(rows: &[CompletenessView], json: bool) -> anyhow::Result<ExitCode> {
    let mut out = Lines::stdout();
    if json {
        rows.iter().try_for_each(|row| out.json(row))?;
    } else {
        let row = |row: &CompletenessView| {
            let counts = [row.evaluated, row.late, row.recomputed, row.dropped].map(|n| n.to_string());
            let complete = if row.is_complete { "complete" } else { "open" };
            let hour = row.start.to_string().chars().take(16).collect::<String>().replace('T', " ");
            [hour, row.rule.clone()].into_iter().chain(counts).chain([complete.to_owned()]).collect()
        };
        let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
        let titles = ["HOUR", "RULE", "EVALUATED", "LATE", "RECOMPUTED", "DROPPED", ""];
        out.text(&table(&titles, &rows))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn described(rule: &RuleInfo, kind: &str) -> serde_json::Value {
    serde_json::json!({
        "kind": kind, "id": rule.reference.id, "title": rule.reference.title, "author": rule.reference.author, "file": rule.file,
        "level": rule.severity, "logsource": rule.logsource, "attack": rule.attack, "status": rule.status,
        "description": rule.description, "references": rule.references, "falsepositives": rule.falsepositives,
    })
}

fn check(set: &RuleSet, report: &LoadReport, mappings: &MappingSet, all: bool) -> anyhow::Result<ExitCode> {
    let mut out = Lines::stdout();
    for rejection in &report.rejected {
        out.text(&format!("rejected  {rejection}"))?;
    }
    for disabled in &report.disabled {
        out.text(&format!("disabled  {disabled}"))?;
    }
    let overlaid =
        [("patched", &report.patched), ("excepted", &report.excepted), ("suppressed", &report.suppressed)];
    for (what, overlaid) in overlaid.iter().flat_map(|(what, all)| all.iter().map(move |one| (what, one))) {
        out.text(&format!("{what:<9} {overlaid}"))?;
    }
    for entry in &report.expired {
        out.text(&format!("expired   {entry}"))?;
    }
    for (file, rule, odd) in &report.warnings {
        out.text(&format!("odd       {file}: {rule}: {odd}"))?;
    }
    if all {
        for rule in set.rules().map(|(_, rule)| rule).chain(set.correlations()) {
            out.text(&format!("ok        {}: {} ({})", rule.file, rule.reference.title, rule.reference.id))?;
        }
    }
    for (rule, most) in set.worst_cases() {
        out.text(&format!("state     {}: {}", rule.reference.title, describe_state(&most)))?;
    }
    let mut by_logsource: BTreeMap<&Logsource, usize> = BTreeMap::new();
    for (_, rule) in set.rules() {
        *by_logsource.entry(&rule.logsource).or_default() += 1;
    }
    let fed = mappings.logsources();
    let mut unfed = 0;
    for (logsource, count) in by_logsource {
        let feeds = |own: &[Logsource]| own.iter().any(|o| logsource.covers(o));
        let kinds: Vec<&str> = fed.iter().filter(|(_, own)| feeds(own)).map(|(kind, _)| *kind).collect();
        unfed += if kinds.is_empty() { count } else { 0 };
        let by = if kinds.is_empty() { "nothing feeds it".to_owned() } else { kinds.join(", ") };
        out.text(&format!("{count:>6} rules  {:<60} {by}", describe(logsource)))?;
    }
    out.flush()?;
    let rejected = report.rejected.len();
    note(&format!("{} rules loaded, {rejected} rejected, {unfed} that no source kind feeds", report.loaded));
    Ok(if rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The most that a correlation holds for a tenant.
fn describe_state(most: &WorstCase) -> String {
    let WorstCase { groups, events, bytes } = most;
    format!(
        "at most {groups} groups, {events} events, {} MiB and their texts; beyond it the group that has rested longest is given up, and counted",
        bytes.div_ceil(1 << 20)
    )
}

fn describe(logsource: &Logsource) -> String {
    let part =
        |name: &str, value: &Option<std::sync::Arc<str>>| value.as_ref().map(|v| format!("{name}={v}"));
    let parts = [
        part("product", &logsource.product),
        part("category", &logsource.category),
        part("service", &logsource.service),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(",")
}

/// Characters of an id that name a rule: fewer would be a guess.
const ID_PREFIX_MIN: usize = 8;

/// The rule with this id, or the one whose id begins so.
fn find(set: &RuleSet, wanted: &str) -> anyhow::Result<RuleIndex> {
    if let Some(index) = set.find(wanted) {
        return Ok(index);
    }
    let begun: Vec<RuleIndex> =
        if wanted.len() >= ID_PREFIX_MIN { set.find_by_prefix(wanted).collect() } else { Vec::new() };
    match begun.as_slice() {
        [index] => Ok(*index),
        [] => bail!(
            "no loaded detection rule has the id {wanted:?}: give an id, or its first {ID_PREFIX_MIN} characters and \
             more; asterism rules list names them"
        ),
        several => {
            let ids: Vec<&str> = several.iter().map(|index| &*set.rule(*index).reference.id).collect();
            bail!("{wanted:?} begins the ids of {} rules: {}", ids.len(), ids.join(", "))
        }
    }
}

async fn explain(sources: &RuleSources, wanted: &str, input: &InputArgs) -> anyhow::Result<ExitCode> {
    let mappings = load_mappings(&input.mappings)?;
    let hint = source_hint(&input.source, &[], &mappings)?;
    let (set, report) = sources.load(now())?;
    note_rules(&report);
    let index = find(&set, wanted)?;
    let mut decoder = Decoder::new(mappings, &set.native_fields(), DecodeLimits::default());
    let mut source = FileSource::open(&input.files, FileOptions::default())?;
    let mut out = Lines::stdout();
    loop {
        let polled = source.poll(FILE_BUDGET).await?;
        for fault in &polled.faults {
            note(&format!("error: {fault}"));
        }
        for record in &polled.records {
            let decoded = decoder.decode(std::slice::from_ref(record), &hint, &TenantId::default(), now());
            explain_record(&mut out, &set, index, record, &decoded)?;
        }
        if polled.ended {
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn explain_record(
    out: &mut Lines,
    set: &RuleSet,
    rule: RuleIndex,
    record: &Record,
    decoded: &Decoded,
) -> anyhow::Result<()> {
    let place = format!("{} line {}", record.topic, record.offset + 1);
    for letter in &decoded.dead {
        out.text(&format!("{place}: not decoded: {}", letter.reason))?;
    }
    for batch in &decoded.batches {
        for row in 0..batch.len() {
            out.text(&format!("{place}: {}", rules::explain(set, batch, row, rule)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_by_the_beginning_of_its_id() {
        let rule = |id: &str| {
            let text = format!(
                "title: {id}\nid: {id}\nlogsource: {{product: test}}\ndetection: {{s: {{a: b}}, condition: s}}\n"
            );
            (format!("{id}.yml"), text)
        };
        let [one, twin, other] = [
            "3d304fda-0000-4000-8000-000000000001",
            "3d304fda-0000-4000-8000-000000000002",
            "77777777-0000-4000-8000-000000000003",
        ];
        let (set, report) = RuleSet::load([one, twin, other].map(rule));
        assert_eq!(report.loaded, 3);
        let id = |wanted: &str| find(&set, wanted).map(|index| set.rule(index).reference.id.to_string());
        assert_eq!(id(one).unwrap(), one);
        assert_eq!(id("77777777").unwrap(), other);
        assert_eq!(id(&other[..12].to_uppercase()).unwrap(), other);
        let ambiguous = id("3d304fda").unwrap_err().to_string();
        assert!(ambiguous.contains(one) && ambiguous.contains(twin), "{ambiguous}");
        for unknown in ["7777777", "88888888"] {
            assert!(id(unknown).unwrap_err().to_string().contains("first 8 characters"), "{unknown}");
        }
    }
}
