//! `asterism actions`: list, show and decide actions.

use std::process::ExitCode;

use event::Action;
use reqwest::Method;

use super::client::{Client, segment};
use super::reader::Reader;
use crate::api::DecisionRequest;
use crate::cli::{ActionsArgs, ActionsCommand, DecideArgs};
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
        ActionsCommand::Approve(args) => decide(args, "approve").await?,
        ActionsCommand::Reject(args) => decide(args, "reject").await?,
        ActionsCommand::Cancel(args) => decide(args, "cancel").await?,
        ActionsCommand::Undo(args) => decide(args, "undo").await?,
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
            a.target.entity.value.to_string(),
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

async fn decide(args: DecideArgs, verdict: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.target.data_dir.is_none(),
        "decisions need the running server: use --server instead of --data-dir"
    );
    let path = format!("/api/v1/actions/{}/{verdict}", segment(&args.id));
    let request = DecisionRequest { by: args.by, comment: args.comment };
    let action: Action = Client::new(&args.target)?.send_json(Method::POST, &path, &request).await?;
    note(&format!(
        "{} {} on {} is {}",
        action.id,
        action.verb,
        action.target.entity.value,
        action.state.as_str()
    ));
    Ok(())
}
