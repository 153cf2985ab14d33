//! `asterism audit`: the hash chain of decisions holds, or its first broken record.

use std::process::ExitCode;

use anyhow::Context;
use respond::{AuditEntry, AuditHead};

use super::reader::Reader;
use crate::cli::{AuditArgs, AuditCommand};
use crate::output::{Lines, note};

pub(crate) async fn run(args: AuditArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        AuditCommand::Verify { target } => verify(&Reader::open(&target)?).await,
        AuditCommand::Export { target } => {
            let mut out = Lines::stdout();
            for entry in Reader::open(&target)?.audit().await? {
                out.json(&entry)?;
            }
            out.flush()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn verify(reader: &Reader) -> anyhow::Result<ExitCode> {
    let entries = reader.audit().await?;
    let parse = |v: serde_json::Value| serde_json::from_value::<AuditEntry>(v);
    let entries: Vec<AuditEntry> =
        entries.into_iter().map(parse).collect::<Result<_, _>>().context("an audit entry")?;
    match respond::audit::verify(&AuditHead::default(), &entries) {
        Ok(_) => {
            note(&format!("the chain holds: {} entries", entries.len()));
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            note(&format!("the chain is broken at entry {}: {}", broken.sequence, broken.reason));
            Ok(ExitCode::FAILURE)
        }
    }
}
