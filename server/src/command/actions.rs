//! `asterism actions`: list, show and decide actions.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use event::{Action, Time};
use reqwest::Method;
use respond::Verb;
use serde::Serialize;

use super::client::{Client, segment};
use super::reader::Reader;
use crate::api::{
    BulkOutcome, BulkRequest, ConnectorView, DecisionRequest, Paged, ResponseState, RollBack, VerbDocument,
};
use crate::cli::{ActionsArgs, ActionsCommand, DecideArgs, PauseArgs, SaidArgs, TargetArgs};
use crate::engine::Verdict;
use crate::output::{Lines, note, table};

pub(crate) async fn run(args: ActionsArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ActionsCommand::List { target, state, limit, json } => {
            list(&Reader::open(&target)?.actions(state.as_deref(), limit).await?, json)?;
        }
        ActionsCommand::Show { target, id } => {
            let action = Reader::open(&target)?.action(&id).await?;
            let mut out = Lines::stdout();
            out.text(&serde_json::to_string_pretty(&action)?)?;
            out.flush()?;
        }
        ActionsCommand::Approve(args) => decide(args, Verdict::Approve).await?,
        ActionsCommand::Reject(args) => decide(args, Verdict::Reject).await?,
        ActionsCommand::Cancel(args) => decide(args, Verdict::Cancel).await?,
        ActionsCommand::Undo(args) => decide(args, Verdict::Undo).await?,
        ActionsCommand::Rollback { target, incident, said } => roll_back(&target, &incident, said).await?,
        ActionsCommand::Pause(args) => pause(args, "pause").await?,
        ActionsCommand::Resume(args) => pause(args, "resume").await?,
        ActionsCommand::Report { target, limit, json } => {
            report(&Reader::open(&target)?.actions(Some("simulated"), limit).await?, json)?;
        }
        ActionsCommand::Connectors { target, json } => connectors(&running(&target)?, json).await?,
        ActionsCommand::Verbs { json } => verbs(json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(actions: &[Action], json: bool) -> anyhow::Result<()> {
    let mut out = Lines::stdout();
    if json {
        for action in actions {
            out.json(action)?;
        }
        return out.flush();
    }
    let row = |a: &Action| {
        vec![
            a.id.to_string(),
            a.verb.clone(),
            a.target.name().to_owned(),
            a.state.as_str().to_owned(),
            format!("{:?}", a.risk),
            a.incident.to_string(),
            a.created_at.to_string(),
            a.decision.reasons.last().cloned().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = actions.iter().map(row).collect();
    out.text(&table(&["ID", "VERB", "TARGET", "STATE", "RISK", "INCIDENT", "CREATED", "WHY"], &rows))?;
    out.flush()
}

/// What a rule would have done.
#[derive(Debug, Serialize)]
struct WouldHave<'a> {
    rule: &'a str,
    verb: &'a str,
    actions: usize,
    incidents: usize,
    targets: Vec<&'a str>,
    /// Of these: what no connector can do as it is asked for, by the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    by_hand: BTreeMap<&'a str, usize>,
    first: Time,
    last: Time,
}

/// Targets that a line of the table names.
const TARGETS_SHOWN: usize = 3;

/// Dry runs by rule and verb: what would have been done, and to what.
fn would_have(actions: &[Action]) -> Vec<WouldHave<'_>> {
    let mut by_rule: BTreeMap<(&str, &str), Vec<&Action>> = BTreeMap::new();
    for action in actions {
        by_rule.entry((&action.decision.rule, &action.verb)).or_default().push(action);
    }
    by_rule.into_iter().map(|((rule, verb), actions)| WouldHave::of(rule, verb, &actions)).collect()
}

impl<'a> WouldHave<'a> {
    fn of(rule: &'a str, verb: &'a str, actions: &[&'a Action]) -> Self {
        let incidents: BTreeSet<&str> = actions.iter().map(|a| a.incident.as_str()).collect();
        let targets: BTreeSet<&str> = actions.iter().map(|a| a.target.name()).collect();
        let times = || actions.iter().map(|a| a.created_at);
        let mut by_hand: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in actions.iter().flat_map(|a| &a.decision.reasons) {
            if let Some(reason) = reason.strip_suffix(respond::BY_HAND) {
                *by_hand.entry(reason).or_default() += 1;
            }
        }
        WouldHave {
            rule,
            verb,
            actions: actions.len(),
            incidents: incidents.len(),
            targets: targets.into_iter().collect(),
            by_hand,
            first: times().min().unwrap_or_default(),
            last: times().max().unwrap_or_default(),
        }
    }
}

fn report(actions: &[Action], json: bool) -> anyhow::Result<()> {
    let mut out = Lines::stdout();
    let lines = would_have(actions);
    if json {
        lines.iter().try_for_each(|line| out.json(line))?;
        return out.flush();
    }
    let row = |line: &WouldHave<'_>| {
        let more = match line.targets.len().saturating_sub(TARGETS_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let shown: Vec<&str> = line.targets.iter().take(TARGETS_SHOWN).copied().collect();
        vec![
            line.rule.to_owned(),
            line.verb.to_owned(),
            line.actions.to_string(),
            line.incidents.to_string(),
            line.first.to_string(),
            line.last.to_string(),
            format!("{}{more}", shown.join(", ")),
            line.by_hand
                .iter()
                .map(|(reason, times)| format!("{times}: {reason}"))
                .collect::<Vec<_>>()
                .join("; "),
        ]
    };
    let head = ["RULE", "WOULD HAVE", "ACTIONS", "INCIDENTS", "FIRST", "LAST", "TARGETS", "NOT ABLE TO"];
    out.text(&table(&head, &lines.iter().map(row).collect::<Vec<_>>()))?;
    out.flush()
}

fn verbs(json: bool) -> anyhow::Result<()> {
    let mut out = Lines::stdout();
    let specs = || Verb::ALL.iter().map(|verb| VerbDocument::of(*verb));
    if json {
        specs().try_for_each(|document| out.json(&document))?;
        return out.flush();
    }
    let row = |v: VerbDocument| {
        let arguments =
            v.arguments["properties"].as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
        vec![
            v.verb,
            v.targets.join(" "),
            format!("{:?}", v.risk),
            v.undo.unwrap_or_else(|| "-".to_owned()),
            arguments.unwrap_or_default().join(" "),
        ]
    };
    out.text(&table(
        &["VERB", "TARGET", "RISK", "UNDO", "ARGUMENTS"],
        &specs().map(row).collect::<Vec<_>>(),
    ))?;
    out.flush()
}

async fn decide(args: DecideArgs, verdict: Verdict) -> anyhow::Result<()> {
    let client = deciding(&args.target)?;
    let SaidArgs { comment, by, dry_run } = args.said;
    let by = args.target.speaker(by.as_deref());
    let is_undo = matches!(verdict, Verdict::Undo);
    let request = BulkRequest { ids: args.ids, verdict, by, comment };
    let path = path_of("/api/v1/actions/bulk", dry_run);
    let answer: Paged<BulkOutcome> = client.send_json(Method::POST, &path, &request).await?;
    let mut refused = 0;
    for BulkOutcome { id, action, would, problem } in answer.items {
        match (action, would) {
            (Some(action), _) if is_undo => note(&format!(
                "{} {} on {} is let go, and taken back unless others hold it",
                action.id,
                action.verb,
                action.target.name()
            )),
            (Some(action), _) => note(&state_of(&action, "is")),
            (None, Some(would)) => would.would_change.iter().for_each(|a| note(&state_of(a, "would be"))),
            (None, None) => {
                refused += 1;
                note(&format!("{id}: {}", problem.unwrap_or_default()));
            }
        }
    }
    anyhow::ensure!(refused == 0, "{refused} were refused");
    Ok(())
}

async fn roll_back(target: &TargetArgs, incident: &str, said: SaidArgs) -> anyhow::Result<()> {
    let client = deciding(target)?;
    let SaidArgs { comment, by, dry_run } = said;
    let request = DecisionRequest { by: target.speaker(by.as_deref()), comment };
    let path = path_of(&format!("/api/v1/incidents/{}/rollback", segment(incident)), dry_run);
    let RollBack { actions, left } = client.send_json(Method::POST, &path, &request).await?;
    let becomes = if dry_run { "would be" } else { "is" };
    actions.iter().for_each(|action| note(&state_of(action, becomes)));
    left.iter().for_each(|left| note(left));
    if actions.is_empty() && left.is_empty() {
        note("nothing was done about it that could be taken back");
    }
    anyhow::ensure!(left.is_empty(), "{} stay as they are", left.len());
    Ok(())
}

async fn pause(args: PauseArgs, what: &str) -> anyhow::Result<()> {
    let client = deciding(&args.target)?;
    let request = DecisionRequest { by: args.target.speaker(args.by.as_deref()), comment: args.comment };
    let (who, paused) = match &args.connector {
        Some(name) => {
            let path = format!("/api/v1/connectors/{}/{what}", segment(name));
            let view: ConnectorView = client.send_json(Method::POST, &path, &request).await?;
            (format!("the connector {name}"), view.paused)
        }
        None => {
            let path = format!("/api/v1/response/{what}");
            let state: ResponseState = client.send_json(Method::POST, &path, &request).await?;
            ("the response".to_owned(), state.paused)
        }
    };
    note(&match paused {
        true => format!("{who} is paused: nothing new is brought about, what holds can be taken back"),
        false => format!("{who} runs"),
    });
    Ok(())
}

async fn connectors(client: &Client, json: bool) -> anyhow::Result<()> {
    let page: Paged<ConnectorView> = client.get_of_all("/api/v1/connectors", &[]).await?;
    let mut out = Lines::stdout();
    if json {
        page.items.iter().try_for_each(|view| out.json(view))?;
        return out.flush();
    }
    let values = |lacks: &BTreeMap<String, BTreeSet<String>>, word: &str| {
        let value = |(name, values): (&String, &BTreeSet<String>)| {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            format!("{word} {name} {}", values.join(", "))
        };
        lacks.iter().map(value).collect::<Vec<_>>()
    };
    let rows = page.items.iter().flat_map(|view| {
        view.verbs.iter().map(|verb| {
            let targets: Vec<&str> = verb.targets.iter().map(|target| target.as_str()).collect();
            vec![
                view.connector.clone(),
                if view.paused { "paused" } else { "runs" }.to_owned(),
                verb.verb.clone(),
                targets.join(" "),
                [values(&verb.lacks, "not"), values(&verb.only, "only")].concat().join("; "),
            ]
        })
    });
    let head = ["CONNECTOR", "STATE", "VERB", "TARGET", "ARGUMENTS"];
    out.text(&table(&head, &rows.collect::<Vec<_>>()))?;
    out.flush()
}

fn running(target: &TargetArgs) -> anyhow::Result<Client> {
    anyhow::ensure!(
        target.data_dir.is_none(),
        "which connectors there are the running server knows: use --server instead of --data-dir"
    );
    Client::new(target)
}

fn deciding(target: &TargetArgs) -> anyhow::Result<Client> {
    anyhow::ensure!(
        target.data_dir.is_none(),
        "decisions need the running server: use --server instead of --data-dir"
    );
    Client::new(target)
}

fn path_of(path: &str, dry_run: bool) -> String {
    if dry_run { format!("{path}?dry_run=true") } else { path.to_owned() }
}

fn state_of(action: &Action, is: &str) -> String {
    format!("{} {} on {} {is} {}", action.id, action.verb, action.target.name(), action.state.as_str())
}
