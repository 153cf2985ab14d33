//! `asterism audit`: the hash chain of decisions holds, or its first broken record.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::Context;
use event::{Action, TenantId};
use respond::{AuditEntry, AuditHead};

use super::reader::Reader;
use crate::cli::{AuditArgs, AuditCommand, AuditFormat};
use crate::output::{Lines, note};

pub(crate) async fn run(args: AuditArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        AuditCommand::Verify { target } => verify(&Reader::open(&target)?).await,
        AuditCommand::Export { target, format } => {
            let reader = Reader::open(&target)?;
            match format {
                AuditFormat::Json => export(&reader).await?,
                AuditFormat::Ocsf => export_ocsf(&reader).await?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn export(reader: &Reader) -> anyhow::Result<()> {
    let mut out = Lines::stdout();
    for entry in reader.audit().await? {
        out.json(&entry)?;
    }
    out.flush()
}

async fn export_ocsf(reader: &Reader) -> anyhow::Result<()> {
    let entries = entries(reader).await?;
    let tenants: BTreeSet<&TenantId> = entries.iter().map(|entry| &entry.record.tenant).collect();
    let mut actions: BTreeMap<(TenantId, String), Action> = BTreeMap::new();
    for tenant in tenants {
        let of_tenant = reader.every_action(tenant, None).await?;
        actions.extend(of_tenant.into_iter().map(|a| ((a.tenant.clone(), a.id.to_string()), a)));
    }
    let mut out = Lines::stdout();
    for entry in &entries {
        let action = actions.get(&(entry.record.tenant.clone(), entry.record.subject.clone()));
        out.json(&respond::audit_activity(entry, action))?;
    }
    out.flush()
}

async fn entries(reader: &Reader) -> anyhow::Result<Vec<AuditEntry>> {
    let entries = reader.audit().await?.into_iter().map(serde_json::from_value::<AuditEntry>);
    entries.collect::<Result<_, _>>().context("an audit entry")
}

async fn verify(reader: &Reader) -> anyhow::Result<ExitCode> {
    let entries = entries(reader).await?;
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
