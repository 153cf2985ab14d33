//! `asterism risk`: users, devices and apps at risk.

use std::process::ExitCode;

use event::EntityRisk;

use super::reader::Reader;
use crate::cli::RiskArgs;
use crate::output::{Lines, note, shorten, table};

pub(crate) async fn run(args: RiskArgs) -> anyhow::Result<ExitCode> {
    let risks = Reader::open(&args.target)?.risks(&args).await?;
    let mut out = Lines::stdout();
    if args.json {
        for risk in &risks {
            out.json(risk)?;
        }
    } else {
        let rows: Vec<Vec<String>> = risks.iter().map(row).collect();
        out.text(&table(&["TYPE", "NAME", "LEVEL", "SCORE", "AS OF", "RAISED BY"], &rows))?;
    }
    out.flush()?;
    if risks.is_empty() {
        note("nothing of that kind is at risk: alerts count once event time has passed them");
    }
    Ok(ExitCode::SUCCESS)
}

fn row(risk: &EntityRisk) -> Vec<String> {
    let raised = match risk.raised_by.as_slice() {
        [] => String::new(),
        [one] => format!("{} (+{})", one.title, one.points),
        [first, rest @ ..] => format!("{} (+{}) and {} more", first.title, first.points, rest.len()),
    };
    vec![
        risk.entity_type.to_string(),
        shorten(&risk.name, 50),
        risk.level.as_str().to_owned(),
        risk.score.to_string(),
        risk.as_of.to_string().chars().take(16).collect::<String>().replace('T', " "),
        shorten(&raised, 80),
    ]
}
