//! `asterism actions`: list, show and decide actions.

use std::process::ExitCode;

use event::Action;
use reqwest::Method;

use respond::Verb;

use super::client::Client;
use super::reader::Reader;
use crate::api::{BulkOutcome, BulkRequest, Paged, VerbDocument};
use crate::cli::{ActionsArgs, ActionsCommand, DecideArgs};
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
    anyhow::ensure!(
        args.target.data_dir.is_none(),
        "decisions need the running server: use --server instead of --data-dir"
    );
    let request = BulkRequest { ids: args.ids, verdict, by: args.by, comment: args.comment };
    let client = Client::new(&args.target)?;
    let answer: Paged<BulkOutcome> = client.send_json(Method::POST, "/api/v1/actions/bulk", &request).await?;
    let mut refused = 0;
    for BulkOutcome { id, action, problem } in answer.items {
        match action {
            Some(action) => {
                let (verb, name) = (&action.verb, action.target.name());
                note(&format!("{id} {verb} on {name} is {}", action.state.as_str()));
            }
            None => {
                refused += 1;
                note(&format!("{id}: {}", problem.unwrap_or_default()));
            }
        }
    }
    anyhow::ensure!(refused == 0, "{refused} were refused");
    Ok(())
}
