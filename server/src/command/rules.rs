//! `asterism rules`: check, list and explain rules.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::bail;
use event::{Logsource, TenantId};
use ingest::{DecodeLimits, Decoded, Decoder, FileOptions, FileSource, MappingSet, Record, Source};
use rules::{CorrelationExplainer, LoadReport, RuleIndex, RuleInfo, RuleSet, WorstCase};

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
    let unfed = check_feeds(&mut out, set, mappings)?;
    out.flush()?;
    let rejected = report.rejected.len();
    note(&format!("{} rules loaded, {rejected} rejected, {unfed} that no source kind feeds", report.loaded));
    Ok(if rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says per logsource which source kinds feed it, and which rules nothing feeds; how many these are.
fn check_feeds(out: &mut Lines, set: &RuleSet, mappings: &MappingSet) -> anyhow::Result<usize> {
    let mut by_logsource: BTreeMap<&Logsource, Vec<&RuleInfo>> = BTreeMap::new();
    for (_, rule) in set.rules() {
        by_logsource.entry(&rule.logsource).or_default().push(rule);
    }
    let sources = mappings.logsources();
    let mut unfed: BTreeSet<&str> = BTreeSet::new();
    for (logsource, rules) in by_logsource {
        let feeds = |own: &[Logsource]| own.iter().any(|o| logsource.covers(o));
        let kinds: Vec<&str> = sources.iter().filter(|(_, own)| feeds(own)).map(|(kind, _)| *kind).collect();
        if kinds.is_empty() {
            unfed.extend(rules.iter().map(|rule| &*rule.reference.id));
        }
        let by = if kinds.is_empty() { "nothing feeds it".to_owned() } else { kinds.join(", ") };
        out.text(&format!("{:>6} rules  {:<60} {by}", rules.len(), describe(logsource)))?;
    }
    for (_, rule) in set.rules().filter(|(_, rule)| unfed.contains(&*rule.reference.id)) {
        let place = format!("{}: {}", rule.file, rule.reference.title);
        out.text(&format!("unfed     {place}: no source kind has {}", describe(&rule.logsource)))?;
    }
    // What a correlation watches comes before it, so that it is known whether that starves.
    for (rule, watched) in set.watched() {
        let starving = watched.iter().filter(|info| unfed.contains(&*info.reference.id));
        let starving: Vec<&str> = starving.map(|info| &*info.reference.title).collect();
        if starving.is_empty() {
            continue;
        }
        let place = format!("{}: {}", rule.file, rule.reference.title);
        out.text(&format!("unfed     {place}: it watches {}", starving.join(", ")))?;
        if starving.len() == watched.len() {
            unfed.insert(&rule.reference.id);
        }
    }
    Ok(unfed.len())
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

/// A rule of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named<'a> {
    Detection(RuleIndex),
    /// By id.
    Correlation(&'a str),
}

/// The rule with this id, or the one whose id begins so.
fn find<'a>(set: &'a RuleSet, wanted: &str) -> anyhow::Result<Named<'a>> {
    let begins = |id: &str| id.get(..wanted.len()).is_some_and(|head| head.eq_ignore_ascii_case(wanted));
    let detections = set.rules().map(|(index, info)| (&*info.reference.id, Named::Detection(index)));
    let correlations =
        set.correlations().map(|info| &*info.reference.id).map(|id| (id, Named::Correlation(id)));
    let begun: Vec<(&str, Named<'_>)> = detections.chain(correlations).filter(|(id, _)| begins(id)).collect();
    if let Some((_, whole)) = begun.iter().find(|(id, _)| id.len() == wanted.len()) {
        return Ok(*whole);
    }
    match begun.as_slice() {
        [(_, named)] if wanted.len() >= ID_PREFIX_MIN => Ok(*named),
        several @ [_, _, ..] if wanted.len() >= ID_PREFIX_MIN => {
            let ids: Vec<&str> = several.iter().map(|(id, _)| *id).collect();
            bail!("{wanted:?} begins the ids of {} rules: {}", ids.len(), ids.join(", "))
        }
        _ => bail!(
            "no loaded rule has the id {wanted:?}: give an id, or its first {ID_PREFIX_MIN} characters and more; \
             asterism rules list names them"
        ),
    }
}

async fn explain(sources: &RuleSources, wanted: &str, input: &InputArgs) -> anyhow::Result<ExitCode> {
    let mappings = load_mappings(&input.mappings)?;
    let hint = source_hint(&input.source, &[], &mappings)?;
    let (set, report) = sources.load(now())?;
    note_rules(&report);
    let named = find(&set, wanted)?;
    let mut correlation = match named {
        Named::Detection(_) => None,
        Named::Correlation(id) => CorrelationExplainer::new(&set, id),
    };
    // Of rules that an event is not routed to, too: that is one of the answers.
    let mut decoder = Decoder::new(mappings, &set.native_fields().into(), DecodeLimits::default());
    let mut source = FileSource::open(&input.files, FileOptions::default())?;
    let mut out = Lines::stdout();
    loop {
        let polled = source.poll(FILE_BUDGET).await?;
        for fault in &polled.faults {
            note(&format!("error: {fault}"));
        }
        for record in &polled.records {
            let decoded = decoder.decode(std::slice::from_ref(record), &hint, &TenantId::default(), now());
            note_undecoded(&mut out, record, &decoded)?;
            match (named, &mut correlation) {
                (Named::Detection(rule), _) => explain_record(&mut out, &set, rule, record, &decoded)?,
                (_, Some(correlation)) => decoded.batches.iter().for_each(|batch| correlation.observe(batch)),
                (_, None) => {}
            }
        }
        if polled.ended {
            if let Some(correlation) = correlation {
                out.text(correlation.explain().to_string().trim_end())?;
            }
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn note_undecoded(out: &mut Lines, record: &Record, decoded: &Decoded) -> anyhow::Result<()> {
    for letter in &decoded.dead {
        out.text(&format!("{} line {}: not decoded: {}", record.topic, record.offset + 1, letter.reason))?;
    }
    Ok(())
}

fn explain_record(
    out: &mut Lines,
    set: &RuleSet,
    rule: RuleIndex,
    record: &Record,
    decoded: &Decoded,
) -> anyhow::Result<()> {
    let place = format!("{} line {}", record.topic, record.offset + 1);
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

    fn id_of(set: &RuleSet, wanted: &str) -> anyhow::Result<String> {
        Ok(match find(set, wanted)? {
            Named::Detection(index) => set.rule(index).reference.id.to_string(),
            Named::Correlation(id) => format!("correlation {id}"),
        })
    }

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
        let many = "title: many\nid: 99999999-0000-4000-8000-000000000004\n\
                    correlation: {type: event_count, rules: [77777777-0000-4000-8000-000000000003], timespan: 1m, \
                    condition: {gte: 2}}\n";
        let many = ("many.yml".to_owned(), many.to_owned());
        let (set, report) = RuleSet::load([one, twin, other].map(rule).into_iter().chain([many]));
        assert_eq!(report.loaded, 4);
        assert_eq!(id_of(&set, "99999999").unwrap(), "correlation 99999999-0000-4000-8000-000000000004");
        let id = |wanted: &str| id_of(&set, wanted);
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
