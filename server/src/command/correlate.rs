//! `asterism correlate`: alerts or findings in, one line per alert with its incident out.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use correlate::{Correlator, Parameters};
use event::{Alert, AlertId, Incident, Join, TenantId, Watermark};
use ingest::{DecodeLimits, FileOptions, FileSource};
use rules::RuleSet;
use serde::Serialize;

use super::detect::{Tally, each_portion};
use super::{load_mappings, source_hint};
use crate::cli::CorrelateArgs;
use crate::engine::{Detector, Topics};
use crate::output::{self, Lines};

pub(crate) async fn run(args: CorrelateArgs) -> anyhow::Result<ExitCode> {
    let mappings = load_mappings(&args.input.mappings)?;
    let hint = source_hint(&args.input.source, &[], &mappings)?;
    let topics = Topics::all(hint, TenantId::default());
    let no_rules = Arc::new(RuleSet::load(Vec::new()).0);
    let mut detector = Detector::new(mappings, no_rules, topics, DecodeLimits::default());
    let mut source = FileSource::open(&args.input.files, FileOptions::default())?;
    let mut correlator = Correlator::new(Parameters::builtin()?);
    let mut tally = Tally::default();
    let mut order: Vec<AlertId> = Vec::new();
    let progress = output::progress("correlate");
    each_portion(&mut source, &mut detector, &mut tally, &progress, |detected| {
        for batch in &detected.batches {
            correlator.observe(batch);
        }
        order.extend(detected.alerts.iter().map(|a: &Alert| a.id.clone()));
        correlator.push(detected.alerts);
        Ok(())
    })
    .await?;
    correlator.advance(Watermark::END);
    progress.finish_and_clear();
    let incidents = correlator.incidents(&TenantId::default());
    write_alerts(&incidents, &order, args.explain)?;
    if let Some(path) = &args.incidents {
        write_incidents(path, &incidents)?;
    }
    output::note(&format!("{} alerts in {} incidents", order.len(), incidents.len()));
    if order.is_empty() && tally.rows() > 0 {
        output::note(
            "the records are events, and none is an alert: rules make alerts of events; asterism detect shows them, \
             asterism replay correlates them too",
        );
    }
    Ok(tally.report())
}

/// One line per alert; a contract of the command line.
#[derive(Serialize)]
struct Line<'a> {
    alert_id: &'a AlertId,
    incident: &'a event::IncidentId,
    time: event::Time,
    /// Score of the alert's strongest join, 0 where it stands alone.
    score: f64,
    /// Its joins, strongest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Vec<String>>,
}

fn write_alerts(incidents: &[Incident], order: &[AlertId], explain: bool) -> anyhow::Result<()> {
    let mut home: HashMap<&AlertId, &Incident> = HashMap::new();
    let mut joins: HashMap<&AlertId, Vec<&Join>> = HashMap::new();
    for incident in incidents {
        home.extend(incident.alerts.iter().map(|id| (id, incident)));
        for join in &incident.joins {
            joins.entry(&join.a).or_default().push(join);
            joins.entry(&join.b).or_default().push(join);
        }
    }
    let mut out = Lines::stdout();
    for id in order {
        // The same alert given twice is one alert: it is written once.
        let Some(incident) = home.remove(id) else { continue };
        let mut own = joins.remove(id).unwrap_or_default();
        own.sort_by_key(|j| std::cmp::Reverse(j.weight_ppm));
        out.json(&Line {
            alert_id: id,
            incident: &incident.id,
            time: incident.first_time,
            score: own.first().map_or(0.0, |j| f64::from(j.weight_ppm) / 1e6),
            why: explain.then(|| own.iter().map(|j| why(id, j)).collect()),
        })?;
    }
    out.flush()
}

/// `with <alert>, 0.82, 45 s apart: user alice@contoso.example (rarity 0.91)`.
fn why(id: &AlertId, join: &Join) -> String {
    let other = if join.a == *id { &join.b } else { &join.a };
    let reasons: Vec<String> = join
        .reasons
        .iter()
        .map(|r| format!("{} {} (rarity {:.2})", r.kind, r.value, f64::from(r.rarity_ppm) / 1e6))
        .collect();
    let (score, gap) = (f64::from(join.weight_ppm) / 1e6, join.gap_us / 1_000_000);
    format!("with {other}, {score:.2}, {gap} s apart: {}", reasons.join("; "))
}

fn write_incidents(path: &Path, incidents: &[Incident]) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut file = BufWriter::new(file);
    for incident in incidents {
        serde_json::to_writer(&mut file, incident)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}
