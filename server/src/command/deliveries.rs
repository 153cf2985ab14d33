//! `asterism deliveries`: how far subscribers have come, once more from somewhere, and on after they were gone.

use std::process::ExitCode;

use reqwest::Method;

use super::client::{Client, segment};
use crate::api::{DeliveryView, Paged, ReplayRequest, Resumed};
use crate::cli::{DeliveriesArgs, DeliveriesCommand, TargetArgs};
use crate::output::{Lines, note, table};

pub(crate) async fn run(args: DeliveriesArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        DeliveriesCommand::List { target, json } => list(&running(&target)?, json).await?,
        DeliveriesCommand::Replay { target, sink, after } => {
            let path = format!("/api/v1/deliveries/{}/replay", segment(&sink));
            let view: DeliveryView =
                running(&target)?.send_json(Method::POST, &path, &ReplayRequest { after }).await?;
            note(&format!("{sink} gets the changes after {} once more, up to {}", view.cursor, view.head));
        }
        DeliveriesCommand::Resume { target, sink } => {
            let path = format!("/api/v1/deliveries/{}/resume", segment(&sink));
            let resumed: Resumed =
                running(&target)?.send_json(Method::POST, &path, &serde_json::json!({})).await?;
            note(&match resumed.was_gone {
                true => format!("{sink} is tried again within half a minute, from where it stopped"),
                false => format!("{sink} was not gone: nothing has changed"),
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, json: bool) -> anyhow::Result<()> {
    let page: Paged<DeliveryView> = client.get_of_all("/api/v1/deliveries", &[]).await?;
    let mut out = Lines::stdout();
    if json {
        page.items.iter().try_for_each(|view| out.json(view))?;
        return out.flush();
    }
    let row = |view: &DeliveryView| {
        vec![
            view.sink.clone(),
            if view.gone { "gone" } else { "" }.to_owned(),
            view.cursor.to_string(),
            view.head.to_string(),
            view.skipped.to_string(),
            view.undelivered.len().to_string(),
        ]
    };
    let head = ["SUBSCRIBER", "STATE", "HAS", "OF", "MISSED", "REFUSED"];
    out.text(&table(&head, &page.items.iter().map(row).collect::<Vec<_>>()))?;
    out.flush()
}

fn running(target: &TargetArgs) -> anyhow::Result<Client> {
    anyhow::ensure!(
        target.data_dir.is_none(),
        "deliveries are the running server's: use --server instead of --data-dir"
    );
    Client::new(target)
}
