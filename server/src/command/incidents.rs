//! `asterism incidents`: list, show, explain and work incidents.

use std::process::ExitCode;

use anyhow::Context;
use correlate::{affected, duration, share};
use event::{
    Alert, AlertId, Asset, Campaign, EntityType, Explanation, Incident, IncidentId, IncidentStatus, LinkKind,
    PriorityPart, RecordRef, Suggestion,
};
use reqwest::Method;

use super::client::{Client, segment};
use super::reader::{IncidentQuery, Reader};
use crate::api::{
    AcceptRequest, ByRequest, IncidentPatch, InputView, MergeRequest, MoveRequest, SplitRequest, VetoRequest,
};
use crate::cli::{EditArgs, GraphFormat, IncidentsArgs, IncidentsCommand, RelationArgs};
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
        IncidentsCommand::Graph { target, id, format, path } => {
            let between = match path.as_slice() {
                [a, b] => Some((a.as_str(), b.as_str())),
                _ => None,
            };
            graph(&Reader::open(&target)?, &id, format, between).await?;
        }
        IncidentsCommand::Playbook { target, id } => playbook(&Reader::open(&target)?, &id).await?,
        IncidentsCommand::Explain { target, id, alerts, json } => {
            explain_joins(&Reader::open(&target)?, &id, &alerts, json).await?;
        }
        IncidentsCommand::Inputs { target, id, json } => {
            let reader = Reader::open(&target)?;
            let incident = reader.incident(&id).await?;
            list_inputs(&reader.inputs(incident.id.as_str()).await?, json)?;
        }
        IncidentsCommand::Suggestions(RelationArgs { target, incident, limit, json }) => {
            list_suggestions(&Reader::open(&target)?.suggestions(incident.as_deref(), limit).await?, json)?;
        }
        IncidentsCommand::Campaigns(RelationArgs { target, incident, limit, json }) => {
            list_campaigns(&Reader::open(&target)?.campaigns(incident.as_deref(), limit).await?, json)?;
        }
        IncidentsCommand::Assign { edit, id, to } => assign(&edit, &id, to).await?,
        IncidentsCommand::Close { edit, id, classification } => close(&edit, &id, classification).await?,
        IncidentsCommand::Merge { edit, from, into } => merge(&edit, &from, &into).await?,
        IncidentsCommand::Split { edit, id, alerts } => split(&edit, &id, alerts).await?,
        IncidentsCommand::Move { edit, from, to, alerts } => move_alerts(&edit, &from, to, alerts).await?,
        IncidentsCommand::Veto { edit, id, a, b, r#type } => veto(&edit, &id, a, b, r#type).await?,
        IncidentsCommand::Undo { edit, input } => undo(&edit, &input).await?,
        IncidentsCommand::Accept { edit, id, into } => accept(&edit, &id, into).await?,
        IncidentsCommand::Dismiss { edit, id } => dismiss(&edit, &id).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn explain_joins(reader: &Reader, id: &str, alerts: &[String], json: bool) -> anyhow::Result<()> {
    let pair = match alerts {
        [] => None,
        [a, b] => Some((a.as_str(), b.as_str())),
        _ => anyhow::bail!("give two alert ids, or none for every join"),
    };
    let incident = reader.incident(id).await?;
    let explanations = reader.explain(incident.id.as_str(), pair).await?;
    if let (true, Some((a, b))) = (explanations.is_empty(), pair) {
        anyhow::bail!(
            "{a} or {b} is no alert that the engine holds; `asterism incidents show {id}` lists those of the incident"
        );
    }
    let alerts = reader.alerts_of(incident.id.as_str()).await?;
    explain(&incident, &alerts, &explanations, json)
}

async fn assign(edit: &EditArgs, id: &str, to: String) -> anyhow::Result<()> {
    let by = edit.by();
    let patch = IncidentPatch { assignee: Some(to), by, ..IncidentPatch::default() };
    let incident = change(edit, Method::PATCH, id, "", &patch).await?;
    let assignee = incident.assignee.as_deref().unwrap_or("nobody");
    note(&format!("{} is assigned to {assignee}", incident.id));
    Ok(())
}

async fn close(edit: &EditArgs, id: &str, classification: String) -> anyhow::Result<()> {
    let patch = IncidentPatch {
        status: Some(IncidentStatus::Closed),
        classification: Some(classification),
        by: edit.by(),
        ..IncidentPatch::default()
    };
    let incident = change(edit, Method::PATCH, id, "", &patch).await?;
    let classification = incident.classification.as_deref().unwrap_or("unclassified");
    note(&format!("{} is {} as {classification}", incident.id, incident.status.as_str()));
    Ok(())
}

async fn merge(edit: &EditArgs, from: &str, into: &str) -> anyhow::Result<()> {
    let request = MergeRequest { into: IncidentId::new(into), by: edit.by() };
    let incident = change(edit, Method::POST, from, "/merge", &request).await?;
    let survivor = incident.redirect_to.unwrap_or(incident.id);
    note(&format!("{from} and {into} are one incident now: {survivor}"));
    Ok(())
}

async fn split(edit: &EditArgs, id: &str, alerts: Vec<String>) -> anyhow::Result<()> {
    let leaving: Vec<AlertId> = alerts.into_iter().map(AlertId::new).collect();
    let request = SplitRequest { alerts: leaving.clone(), by: edit.by() };
    let incident = change(edit, Method::POST, id, "/split", &request).await?;
    note(&split_note(edit, &incident, &leaving).await?);
    Ok(())
}

async fn move_alerts(edit: &EditArgs, from: &str, to: String, alerts: Vec<String>) -> anyhow::Result<()> {
    let alerts: Vec<AlertId> = alerts.into_iter().map(AlertId::new).collect();
    let (to, moved) = (IncidentId::new(to), alerts.len());
    let request = MoveRequest { alerts, to: to.clone(), by: edit.by() };
    let incident = change(edit, Method::POST, from, "/move", &request).await?;
    note(&format!("{moved} alerts moved from {} to {to}; {} stay", incident.id, incident.alerts.len()));
    Ok(())
}

async fn veto(edit: &EditArgs, id: &str, a: String, b: String, names: Option<String>) -> anyhow::Result<()> {
    let entity_type = names.as_deref().map(entity_type).transpose()?;
    let request = VetoRequest { a, b, entity_type, by: edit.by() };
    let incident = change(edit, Method::POST, id, "/veto", &request).await?;
    let (a, b, alerts) = (&request.a, &request.b, incident.alerts.len());
    note(&format!("{a} and {b} are kept apart; {} has {alerts} alerts", incident.id));
    Ok(())
}

async fn undo(edit: &EditArgs, input: &str) -> anyhow::Result<()> {
    let request = ByRequest { by: edit.by() };
    let path = format!("/api/v1/inputs/{}/undo", segment(input));
    let undone: InputView = send(edit, Method::POST, &path, &request).await?;
    note(&format!("undone: {} {} ({})", undone.kind, undone.text, undone.by));
    Ok(())
}

async fn accept(edit: &EditArgs, id: &str, into: Option<String>) -> anyhow::Result<()> {
    let request = AcceptRequest { into: into.map(IncidentId::new), by: edit.by() };
    let path = format!("/api/v1/suggestions/{}/accept", segment(id));
    let incident: Incident = send(edit, Method::POST, &path, &request).await?;
    note(&format!("one incident now: {} with {} alerts", incident.id, incident.alerts.len()));
    Ok(())
}

async fn dismiss(edit: &EditArgs, id: &str) -> anyhow::Result<()> {
    let request = ByRequest { by: edit.by() };
    let path = format!("/api/v1/suggestions/{}/dismiss", segment(id));
    let dismissed: Suggestion = send(edit, Method::POST, &path, &request).await?;
    note(&format!("{} and {} are kept apart", dismissed.a, dismissed.b));
    Ok(())
}

/// Changes go through the engine, which owns incidents: they need a running server.
async fn change(
    edit: &EditArgs,
    method: Method,
    id: &str,
    tail: &str,
    body: &impl serde::Serialize,
) -> anyhow::Result<Incident> {
    send(edit, method, &format!("/api/v1/incidents/{}{tail}", segment(id)), body).await
}

async fn send<T: serde::de::DeserializeOwned>(
    edit: &EditArgs,
    method: Method,
    path: &str,
    body: &impl serde::Serialize,
) -> anyhow::Result<T> {
    anyhow::ensure!(
        edit.target.data_dir.is_none(),
        "changes need the running server: use --server instead of --data-dir"
    );
    Client::new(&edit.target)?.send_json(method, path, body).await
}

fn entity_type(name: &str) -> anyhow::Result<EntityType> {
    let known = || EntityType::ALL.iter().map(|t| t.as_str()).collect::<Vec<_>>().join(", ");
    EntityType::from_name(name).with_context(|| format!("--type {name:?} is not known; known: {}", known()))
}

fn list_inputs(inputs: &[InputView], json: bool) -> anyhow::Result<()> {
    let row = |i: &InputView| {
        let undone = if i.is_undone { "undone" } else { "" };
        vec![
            i.id.to_string(),
            minute(i.at),
            i.by.clone(),
            i.kind.clone(),
            shorten(&i.text, 70),
            undone.to_owned(),
        ]
    };
    list_of(inputs, json, &["ID", "AT", "BY", "KIND", "TEXT", ""], row)
}

fn list_suggestions(suggestions: &[Suggestion], json: bool) -> anyhow::Result<()> {
    let row = |s: &Suggestion| {
        let reasons: Vec<String> = s.join.reasons.iter().map(|r| format!("{} {}", r.kind, r.value)).collect();
        let weight = share(s.join.weight_ppm).to_string();
        vec![
            s.id.to_string(),
            s.a.to_string(),
            s.b.to_string(),
            weight,
            s.because.clone(),
            shorten(&reasons.join(", "), 60),
        ]
    };
    list_of(suggestions, json, &["ID", "INCIDENT", "AND", "SCORE", "NOT MERGED AS", "THEY SHARE"], row)
}

fn list_campaigns(campaigns: &[Campaign], json: bool) -> anyhow::Result<()> {
    let row = |c: &Campaign| {
        let artefacts: Vec<String> =
            c.artefacts.iter().map(|a| format!("{} {}", a.entity_type, shorten(&a.value, 60))).collect();
        let incidents: Vec<&str> = c.incidents.iter().map(|id| id.as_str()).collect();
        vec![
            c.id.to_string(),
            minute(c.first_time),
            minute(c.last_time),
            artefacts.join(", "),
            incidents.join(" "),
        ]
    };
    list_of(campaigns, json, &["ID", "FIRST", "LAST", "ARTEFACTS", "INCIDENTS"], row)
}

/// One JSON object a line, or a table.
fn list_of<T: serde::Serialize>(
    items: &[T],
    json: bool,
    titles: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    let mut out = Lines::stdout();
    if json {
        items.iter().try_for_each(|item| out.json(item))?;
        return out.flush();
    }
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    out.text(&table(titles, &rows))?;
    out.flush()
}

/// Where the alerts of a split went: into one incident, or several where nothing but the others joined them.
async fn split_note(edit: &EditArgs, old: &Incident, leaving: &[AlertId]) -> anyhow::Result<String> {
    let query = IncidentQuery { limit: 1_000, ..IncidentQuery::default() };
    let mut homes = Reader::open(&edit.target)?.incidents(&query).await?;
    homes.retain(|incident| incident.alerts.iter().any(|alert| leaving.contains(alert)));
    let homes: Vec<&str> = homes.iter().map(|incident| incident.id.as_str()).collect();
    let split = format!("{} is split: {} of its alerts", old.id, leaving.len());
    Ok(match homes.as_slice() {
        [] => format!("{split} left; `asterism incidents list` has their incident"),
        homes if homes.contains(&old.id.as_str()) => {
            format!("{split}, its first among them, keep the id; the others are a new incident")
        }
        homes => format!("{split} are in {} now", homes.join(", ")),
    })
}

async fn graph(
    reader: &Reader,
    id: &str,
    format: GraphFormat,
    between: Option<(&str, &str)>,
) -> anyhow::Result<()> {
    let graph = reader.graph(id, between).await?;
    let mut out = Lines::stdout();
    match format {
        GraphFormat::Json => out.json(&graph)?,
        GraphFormat::Graphml => out.bytes(correlate::graphml(&graph).as_bytes())?,
        GraphFormat::Stix => {
            let incident = reader.incident(id).await?;
            let alerts = reader.alerts_of(incident.id.as_str()).await?;
            out.json(&correlate::stix(&incident, &alerts, &graph))?;
        }
    }
    out.flush()
}

async fn playbook(reader: &Reader, id: &str) -> anyhow::Result<()> {
    let incident = reader.incident(id).await?;
    let actions = reader.every_action(&incident.tenant, Some(incident.id.as_str())).await?;
    let playbook = respond::cacao(&incident, &actions)
        .with_context(|| format!("nothing is planned for {id}, so there is no playbook"))?;
    let mut out = Lines::stdout();
    out.text(&serde_json::to_string_pretty(&playbook)?)?;
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
    out.text("")?;
    for (name, value) in facts(incident) {
        out.text(&format!("{name:<14}  {value}"))?;
    }
    show_story(&mut out, incident)?;
    out.text(&format!("\n{}", table(&["ENTITY", "NAME", "ALERTS"], &entities(incident))))?;
    out.text("\nALERTS")?;
    for alert in alerts {
        show_alert(&mut out, alert)?;
    }
    out.flush()
}

/// What is affected, and what happened, line by line.
fn show_story(out: &mut Lines, incident: &Incident) -> anyhow::Result<()> {
    let asset = |a: &Asset| {
        vec![
            a.entity_type.to_string(),
            shorten(&a.name, 60),
            a.part.as_str().to_owned(),
            a.severity.to_string(),
            a.alerts.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = incident.assets.iter().map(asset).collect();
    if !rows.is_empty() {
        out.text(&format!("\n{}", table(&["AFFECTED", "NAME", "PART", "SEVERITY", "ALERTS"], &rows)))?;
    }
    if incident.timeline.len() > 1 {
        out.text("\nTIMELINE")?;
    }
    for moment in incident.timeline.iter().filter(|_| incident.timeline.len() > 1) {
        let times = if moment.alerts > 1 { format!(" (x{})", moment.alerts) } else { String::new() };
        let (at, severity) = (clock(moment.time), moment.severity.as_str());
        out.text(&format!("  {at}  {severity:<13}  {}{times}", moment.text))?;
    }
    Ok(())
}

/// `2026-03-02 07:15:09`.
fn clock(time: event::Time) -> String {
    time.to_string().chars().take(19).collect::<String>().replace('T', " ")
}

/// `90: 65 (the gravest alert is critical), 15 (5 stages)`.
fn priority(incident: &Incident) -> String {
    let part = |part: &PriorityPart| format!("{} ({})", part.points, part.because);
    let parts: Vec<String> = incident.priority.iter().map(part).collect();
    format!("{}: {}", incident.score, parts.join(", "))
}

/// What stands about an incident, by name; what it has not is left out.
fn facts(incident: &Incident) -> Vec<(&'static str, String)> {
    let open = if incident.sealed { "" } else { " (event time has not passed it yet)" };
    let tactics: Vec<&str> = incident.tactics.iter().map(|t| t.as_str()).collect();
    let links: Vec<String> = incident
        .links
        .iter()
        .map(|link| match link.kind {
            LinkKind::Sibling => format!("part of one with {}", link.incident),
            LinkKind::Continues => format!("goes on from {}", link.incident),
            LinkKind::Related => format!("perhaps one with {} (incidents suggestions)", link.incident),
        })
        .collect();
    let facts = [
        ("severity", incident.severity.to_string()),
        ("score", priority(incident)),
        ("confidence", incident.confidence.to_string()),
        ("status", format!("{}{open}", incident.status.as_str())),
        ("assignee", incident.assignee.clone().unwrap_or_default()),
        ("classification", incident.classification.clone().unwrap_or_default()),
        ("time", format!("{} .. {}", incident.first_time, incident.last_time)),
        ("tactics", tactics.join(" > ")),
        ("techniques", incident.techniques.join(", ")),
        ("blast radius", affected(&incident.blast_radius)),
        ("related", links.join(", ")),
    ];
    facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Entities of each type, those of most alerts first.
fn entities(incident: &Incident) -> Vec<Vec<String>> {
    /// Of one type: what a screen has room for.
    const SHOWN: usize = 4;
    let mut rows = Vec::new();
    for entity_type in EntityType::ALL {
        let own: Vec<_> = incident.entities.iter().filter(|(e, _)| e.entity_type == *entity_type).collect();
        let shown = if is_opaque(*entity_type) { 0 } else { own.len().min(SHOWN) };
        for (entity, alerts) in &own[..shown] {
            rows.push(vec![entity_type.to_string(), shorten(&entity.value, 80), alerts.to_string()]);
        }
        if own.len() > shown {
            let more = if shown == 0 { "" } else { " more" };
            rows.push(vec![entity_type.to_string(), format!("{}{more} (--json)", own.len() - shown)]);
        }
    }
    rows
}

/// Whether the values of a type are made by machines for machines: a person reads how many there are.
const fn is_opaque(entity_type: EntityType) -> bool {
    matches!(entity_type, EntityType::Process | EntityType::Session | EntityType::Message)
}

fn show_alert(out: &mut Lines, alert: &Alert) -> anyhow::Result<()> {
    let (severity, domain) = (alert.severity.as_str(), alert.domain.as_str());
    out.text(&format!("  {}  {severity:<13}  {domain:<8}  {}", alert.time, alert.title))?;
    let author = alert.rule.author.as_deref().map(|a| format!(" by {a}")).unwrap_or_default();
    out.text(&format!("      {}  rule {}{author}", alert.id, alert.rule.id))?;
    out.text(&format!("      {}", places(&alert.records)))?;
    for (field, value) in alert.evidence.iter().take(3) {
        out.text(&format!("      {field}: {}", shorten(&value.replace(['\n', '\r'], " "), 140)))?;
    }
    Ok(())
}

/// Where the records of an alert lie: `mail.ndjson line 37319`, `edr partition 3 offset 1042 and 4 more records`.
fn places(records: &[RecordRef]) -> String {
    /// No log has as many partitions. The partition of a file is 31 bits of its content's hash.
    const PARTITIONS_MAX: i32 = 1_000_000;
    let Some(first) = records.first() else { return String::new() };
    let place = if first.partition >= PARTITIONS_MAX {
        format!("{} line {}", first.topic, first.offset + 1)
    } else {
        format!("{} partition {} offset {}", first.topic, first.partition, first.offset)
    };
    match records.len() - 1 {
        0 => place,
        1 => format!("{place} and 1 more record"),
        more => format!("{place} and {more} more records"),
    }
}

fn explain(
    incident: &Incident,
    alerts: &[Alert],
    explanations: &[Explanation],
    json: bool,
) -> anyhow::Result<()> {
    let mut out = Lines::stdout();
    if json {
        for explanation in explanations {
            out.json(explanation)?;
        }
        return out.flush();
    }
    if let Some(weakest) = weakest(explanations) {
        out.text(&format!("The weakest link of {}: {}\n", incident.id, weakest.text))?;
    }
    if explanations.is_empty() {
        out.text(&format!("{} is one alert: there is no join to explain", incident.id))?;
    }
    for explanation in explanations {
        explain_pair(&mut out, alerts, explanation)?;
    }
    if explanations.iter().any(|e| e.path.iter().any(|join| join.reasons.len() > 1)) {
        out.text(COMBINED)?;
    }
    out.flush()
}

/// Of several joins that are explained, the one that would give way first.
fn weakest(explanations: &[Explanation]) -> Option<&Explanation> {
    let weight = |e: &&Explanation| e.path.first().map_or(u32::MAX, |join| join.weight_ppm);
    explanations.iter().filter(|e| explanations.len() > 1 && e.path.len() == 1).min_by_key(weight)
}

/// Why the parts of a score do not add up to it.
const COMBINED: &str = "\nWhat two alerts share counts as independent witnesses do, not as a sum: 0.50 and 0.50 give 0.75. \
    The whole is then scaled by how telling both rules are and by the order of their tactics.";

fn explain_pair(out: &mut Lines, alerts: &[Alert], explanation: &Explanation) -> anyhow::Result<()> {
    out.text(&explanation.text)?;
    for (i, join) in explanation.path.iter().enumerate() {
        if explanation.path.len() > 1 {
            let weakest = if explanation.weakest == Some(i) { "  <- weakest" } else { "" };
            out.text(&format!(
                "  {} -> {}  score {}, {} apart{weakest}",
                named(alerts, &join.a),
                named(alerts, &join.b),
                share(join.weight_ppm),
                duration(join.gap_us)
            ))?;
        }
        for reason in &join.reasons {
            // The sentence above calls these by their names.
            let value = match EntityType::from_name(&reason.kind) {
                Some(kind) if is_opaque(kind) => String::new(),
                None if reason.kind == "process_tree" => String::new(),
                _ => format!(" {}", shorten(&reason.value, 80)),
            };
            let kind = reason.kind.replace('_', " ");
            let (rarity, alone) = (share(reason.rarity_ppm), share(reason.score_ppm));
            out.text(&format!("      {kind}{value}: rarity {rarity}, alone {alone}"))?;
        }
    }
    Ok(())
}

/// `"Script from browser" (a-56)`.
fn named(alerts: &[Alert], id: &AlertId) -> String {
    let alert = alerts.iter().find(|alert| alert.id == *id);
    alert.map_or_else(|| id.to_string(), |alert| format!("\"{}\" ({id})", alert.title))
}
