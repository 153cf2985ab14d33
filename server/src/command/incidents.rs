//! `asterism incidents`: list, show, explain and work incidents.

use std::process::ExitCode;

use event::{Alert, AlertId, Explanation, Incident, IncidentId, IncidentStatus};
use reqwest::Method;

use super::client::{Client, segment};
use super::reader::{IncidentQuery, Reader};
use crate::api::{IncidentPatch, MergeRequest, SplitRequest};
use crate::cli::{EditArgs, IncidentsArgs, IncidentsCommand};
use crate::output::{Lines, note, shorten, table};

pub(crate) async fn run(args: IncidentsArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        IncidentsCommand::List { target, status, severity, domain, limit, json } => {
            let query = IncidentQuery { status, severity, domains: domain, limit };
            list(&Reader::open(&target)?.incidents(&query).await?, json)?;
        }
        IncidentsCommand::Show { target, id, json } => {
            let reader = Reader::open(&target)?;
            let incident = reader.incident(&id).await?;
            let alerts = reader.alerts_of(incident.id.as_str()).await?;
            show(&incident, &alerts, json)?;
        }
        IncidentsCommand::Graph { target, id } => {
            let graph = Reader::open(&target)?.graph(&id).await?;
            print_json(&graph)?;
        }
        IncidentsCommand::Explain { target, id, alerts, json } => {
            let pair = match alerts.as_slice() {
                [] => None,
                [a, b] => Some((a.as_str(), b.as_str())),
                _ => anyhow::bail!("give two alert ids, or none for every join"),
            };
            explain(&Reader::open(&target)?.explain(&id, pair).await?, json)?;
        }
        IncidentsCommand::Assign { edit, id, to } => {
            let by = Some(edit.by.clone());
            let patch = IncidentPatch { assignee: Some(to), by, ..IncidentPatch::default() };
            change(&edit, Method::PATCH, &id, "", &patch).await?;
        }
        IncidentsCommand::Close { edit, id, classification } => {
            let patch = IncidentPatch {
                status: Some(IncidentStatus::Closed),
                classification: Some(classification),
                by: Some(edit.by.clone()),
                ..IncidentPatch::default()
            };
            change(&edit, Method::PATCH, &id, "", &patch).await?;
        }
        IncidentsCommand::Merge { edit, from, into } => {
            let request = MergeRequest { into: IncidentId::new(into), by: Some(edit.by.clone()) };
            change(&edit, Method::POST, &from, "/merge", &request).await?;
        }
        IncidentsCommand::Split { edit, id, alerts } => {
            let alerts = alerts.into_iter().map(AlertId::new).collect();
            let request = SplitRequest { alerts, by: Some(edit.by.clone()) };
            change(&edit, Method::POST, &id, "/split", &request).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Changes go through the engine, which owns incidents: they need a running server.
async fn change(
    edit: &EditArgs,
    method: Method,
    id: &str,
    tail: &str,
    body: &impl serde::Serialize,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        edit.target.data_dir.is_none(),
        "changes need the running server: use --server instead of --data-dir"
    );
    let path = format!("/api/v1/incidents/{}{tail}", segment(id));
    let incident: Incident = Client::new(&edit.target)?.send_json(method, &path, body).await?;
    let assignee = incident.assignee.as_deref().unwrap_or("nobody");
    note(&format!("{} is {}, assigned to {assignee}", incident.id, incident.status.as_str()));
    Ok(())
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = Lines::stdout();
    out.json(value)?;
    out.flush()
}

fn list(incidents: &[Incident], json: bool) -> anyhow::Result<()> {
    let mut out = Lines::stdout();
    if json {
        for incident in incidents {
            out.json(incident)?;
        }
        return out.flush();
    }
    let row = |i: &Incident| {
        vec![
            i.id.to_string(),
            i.score.to_string(),
            i.severity.to_string(),
            i.status.as_str().to_owned(),
            i.alerts.len().to_string(),
            words(&i.domains),
            minute(i.first_time),
            minute(i.last_time),
            shorten(&i.title, 70),
        ]
    };
    let rows: Vec<Vec<String>> = incidents.iter().map(row).collect();
    out.text(&table(
        &["ID", "SCORE", "SEVERITY", "STATUS", "ALERTS", "DOMAINS", "FIRST", "LAST", "TITLE"],
        &rows,
    ))?;
    out.flush()
}

fn words(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// `2026-03-02 07:15`, which is as much as a list needs.
fn minute(time: event::Time) -> String {
    time.to_string().chars().take(16).collect::<String>().replace('T', " ")
}

fn show(incident: &Incident, alerts: &[Alert], json: bool) -> anyhow::Result<()> {
    let mut out = Lines::stdout();
    if json {
        out.json(&serde_json::json!({"incident": incident, "alerts": alerts}))?;
        return out.flush();
    }
    out.text(&format!("{}  {}", incident.id, incident.title))?;
    out.text(&incident.summary)?;
    out.text(&format!(
        "\nseverity {}  score {}  confidence {}  status {}{}  {} .. {}",
        incident.severity,
        incident.score,
        incident.confidence,
        incident.status.as_str(),
        if incident.sealed { "" } else { " (event time has not passed it yet)" },
        incident.first_time,
        incident.last_time
    ))?;
    out.text(&format!(
        "tactics   {}",
        incident.tactics.iter().map(|t| t.as_str()).collect::<Vec<_>>().join(" > ")
    ))?;
    out.text(&format!("techniques {}", incident.techniques.join(", ")))?;
    out.text("\nENTITIES")?;
    for (entity, count) in incident.entities.iter().take(ENTITIES_SHOWN) {
        out.text(&format!(
            "  {:<14} {:<60} in {count} alerts",
            entity.entity_type,
            shorten(&entity.value, 60)
        ))?;
    }
    if incident.entities.len() > ENTITIES_SHOWN {
        out.text(&format!("  ... and {} more (--json)", incident.entities.len() - ENTITIES_SHOWN))?;
    }
    out.text("\nALERTS")?;
    for alert in alerts {
        show_alert(&mut out, alert)?;
    }
    out.flush()
}

/// Entities listed without `--json`: a screen of them.
const ENTITIES_SHOWN: usize = 25;

fn show_alert(out: &mut Lines, alert: &Alert) -> anyhow::Result<()> {
    let record = alert.records.first().map(ToString::to_string).unwrap_or_default();
    out.text(&format!("  {}  {:<13} {:<9} {}", alert.time, alert.severity, alert.domain, alert.title))?;
    let author = alert.rule.author.as_deref().map(|a| format!(" by {a}")).unwrap_or_default();
    out.text(&format!("      {}  rule {}{author}  record {record}", alert.id, alert.rule.id))?;
    for (field, value) in alert.evidence.iter().take(3) {
        out.text(&format!("      {field}: {}", shorten(&value.replace(['\n', '\r'], " "), 140)))?;
    }
    Ok(())
}

fn explain(explanations: &[Explanation], json: bool) -> anyhow::Result<()> {
    let mut out = Lines::stdout();
    for explanation in explanations {
        if json {
            out.json(explanation)?;
            continue;
        }
        out.text(&explanation.text)?;
        for (i, join) in explanation.path.iter().enumerate() {
            let weakest = if explanation.weakest == Some(i) && explanation.path.len() > 1 {
                "  <- weakest"
            } else {
                ""
            };
            let (score, gap) = (f64::from(join.weight_ppm) / 1e6, join.gap_us as f64 / 1e6);
            out.text(&format!("  {} -> {}  score {score:.2}, {gap:.0} s apart{weakest}", join.a, join.b))?;
            for reason in &join.reasons {
                let (rarity, own) = (f64::from(reason.rarity_ppm) / 1e6, f64::from(reason.score_ppm) / 1e6);
                out.text(&format!(
                    "      {} {}: rarity {rarity:.2}, adds {own:.2}",
                    reason.kind,
                    shorten(&reason.value, 80)
                ))?;
            }
        }
    }
    out.flush()
}
