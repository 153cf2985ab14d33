//! `asterism correlate`: alerts or findings in, one line per alert with its incident out.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use correlate::{Correlator, Parameters};
use event::{Alert, AlertId, Incident, TenantId, Watermark};
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
    write_alerts(&correlator, &incidents, &order, args.explain)?;
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
    /// Its joins in words, strongest first; of an alert that stands alone, what it lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Vec<String>>,
}

fn write_alerts(
    correlator: &Correlator,
    incidents: &[Incident],
    order: &[AlertId],
    explain: bool,
) -> anyhow::Result<()> {
    let mut home: HashMap<&AlertId, &Incident> = HashMap::new();
    let mut strongest: HashMap<&AlertId, u32> = HashMap::new();
    let mut whys: HashMap<AlertId, Vec<String>> = HashMap::new();
    for incident in incidents {
        home.extend(incident.alerts.iter().map(|id| (id, incident)));
        for join in &incident.joins {
            for end in [&join.a, &join.b] {
                let known = strongest.entry(end).or_default();
                *known = join.weight_ppm.max(*known);
            }
        }
        if explain {
            whys.extend(correlator.why(incident));
        }
    }
    let mut out = Lines::stdout();
    for id in order {
        // The same alert given twice is one alert: it is written once.
        let Some(incident) = home.remove(id) else { continue };
        out.json(&Line {
            alert_id: id,
            incident: &incident.id,
            time: incident.first_time,
            score: strongest.get(id).map_or(0.0, |ppm| f64::from(*ppm) / 1e6),
            why: explain.then(|| whys.remove(id).unwrap_or_default()),
        })?;
    }
    out.flush()
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
