//! A match to an alert.

use std::sync::Arc;

use event::{Alert, AlertId, Entity, EntityType, EventBatch};

use crate::atom::Field;
use crate::field::Cell;
use crate::reference;
use crate::set::{RuleIndex, RuleSet};

/// Columns that tell people what happened, the most telling first.
const TELLING: [&str; 38] = [
    "process_cmd_line",
    "process_file_path",
    "process_parent_path",
    "actor_process_cmd_line",
    "actor_process_file_path",
    "access_mask",
    "file_path",
    "module_path",
    "driver_path",
    "reg_key_path",
    "reg_value_data",
    "script_content",
    "service_name",
    "service_cmd_line",
    "job_name",
    "job_cmd_line",
    "email_subject",
    "email_from",
    "email_delivered_to",
    "url_url_string",
    "threat_types",
    "delivery_location",
    "api_operation",
    "app_name",
    "target_recipient",
    "mailbox",
    "resource_name",
    "query_hostname",
    "dst_endpoint_hostname",
    "dst_endpoint_ip",
    "src_endpoint_ip",
    "src_endpoint_location_country",
    "user_email",
    "user_account",
    "actor_user_email",
    "actor_user_account",
    "process_user_account",
    "device_hostname",
];

/// More fields than this are a record, which the alert leads back to anyway.
const EVIDENCE_FIELDS_MAX: usize = 10;

/// Script blocks and encoded commands run to megabytes; their beginning tells enough.
const EVIDENCE_CHARS_MAX: usize = 512;

/// The alert of a rule that matched a row.
pub(crate) fn build(set: &RuleSet, index: RuleIndex, batch: &EventBatch, row: usize) -> Alert {
    let rule = set.rule(index);
    let meta = &batch.meta;
    let event_uid = batch.text("event_uid", row).unwrap_or_default();
    let parts = [meta.tenant.as_str(), &rule.reference.id, event_uid];
    let time = batch.time(row);
    Alert {
        id: AlertId::derive(&parts.map(str::as_bytes)),
        tenant: meta.tenant.clone(),
        time,
        end_time: time,
        rule: rule.reference.clone(),
        title: Arc::clone(&rule.reference.title),
        severity: rule.severity,
        domain: meta.domain,
        product: Arc::clone(&meta.product),
        source: Arc::clone(&meta.source),
        class: batch.class,
        event_uid: event_uid.into(),
        attack: rule.attack.clone(),
        entities: entities(batch, row),
        records: vec![batch.record(row)],
        evidence: evidence(set, index, batch, row),
    }
}

/// Hashes of programs and libraries, and where each lies.
const IMAGES: [(&str, &str); 4] = [
    ("process_hash_sha256", "process_file_path"),
    ("actor_process_hash_sha256", "actor_process_file_path"),
    ("module_hash_sha256", "module_path"),
    ("driver_hash_sha256", "driver_path"),
];

/// What an alert on a row is about: its entities, each once, without programs that came with the operating system.
/// Every session runs those: that two alerts ran the same `cmd.exe` says nothing, however few machines are watched.
pub(crate) fn entities(batch: &EventBatch, row: usize) -> Vec<Entity> {
    let shipped: Vec<&str> = IMAGES
        .iter()
        .filter(|(_, path)| batch.text(path, row).is_some_and(is_system_image))
        .filter_map(|(hash, _)| batch.text(hash, row))
        .collect();
    let mut entities = batch.entities(row);
    entities.retain(|entity| {
        entity.entity_type != EntityType::File
            || !shipped.iter().any(|hash| hash.eq_ignore_ascii_case(&entity.value))
    });
    entities.sort_unstable();
    entities.dedup();
    entities
}

/// Folders below the Windows folder whose direct files the system ships and only it writes to.
const WINDOWS_FOLDERS: [&str; 5] =
    ["", "system32", "syswow64", "system32\\wbem", "system32\\windowspowershell\\v1.0"];

/// The same elsewhere.
const UNIX_FOLDERS: [&str; 6] =
    ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/libexec", "/System/Library/CoreServices"];

fn is_system_image(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let Some((folder, _)) = lower.rsplit_once(['\\', '/']) else { return false };
    let windows = folder.strip_prefix("\\??\\").unwrap_or(folder);
    let below = windows.strip_prefix("\\systemroot").or_else(|| windows.get(1..)?.strip_prefix(":\\windows"));
    match below {
        Some(below) => WINDOWS_FOLDERS.contains(&below.trim_start_matches('\\')),
        None => UNIX_FOLDERS.iter().any(|known| known.eq_ignore_ascii_case(folder)),
    }
}

/// The telling columns of a row; where it has too few, the fields that the rule names.
fn evidence(set: &RuleSet, index: RuleIndex, batch: &EventBatch, row: usize) -> Vec<(Arc<str>, Arc<str>)> {
    let column =
        |name: &&str| batch.text(name, row).filter(|t| !t.is_empty()).map(|t| ((*name).into(), shortened(t)));
    let mut evidence: Vec<(Arc<str>, Arc<str>)> =
        TELLING.iter().filter_map(column).take(EVIDENCE_FIELDS_MAX).collect();
    if evidence.len() < EVIDENCE_FIELDS_FEW {
        evidence.extend(named_fields(set, index, batch, row));
        evidence.truncate(EVIDENCE_FIELDS_MAX);
    }
    evidence
}

/// Fewer columns than this do not tell what happened (records read as plain JSON have none).
const EVIDENCE_FIELDS_FEW: usize = 4;

/// The fields that a rule names, with their values in a row, each once, in the order of the rule.
fn named_fields(
    set: &RuleSet,
    index: RuleIndex,
    batch: &EventBatch,
    row: usize,
) -> Vec<(Arc<str>, Arc<str>)> {
    let mut ids = Vec::new();
    set.rules[index.0 as usize].tree.for_each_atom(&mut |atom| {
        let field = set.atoms.get(atom).field;
        if !ids.contains(&field) {
            ids.push(field);
        }
    });
    let value = |id: &u32| match &set.atoms.fields()[*id as usize] {
        Field::Keywords => None,
        Field::Named(name) => match reference::cell(*id, &set.atoms, batch, row) {
            Cell::One(value) if !value.is_empty() => Some((Arc::clone(name), shortened(&value))),
            _ => None,
        },
    };
    ids.iter().filter_map(value).collect()
}

fn shortened(text: &str) -> Arc<str> {
    match text.char_indices().nth(EVIDENCE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_the_system_lie_where_only_it_writes() {
        for path in [
            r"C:\Windows\System32\cmd.exe",
            r"c:\windows\explorer.exe",
            r"\??\C:\Windows\system32\conhost.exe",
            r"\SystemRoot\System32\smss.exe",
            r"D:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
            "/usr/bin/bash",
        ] {
            assert!(is_system_image(path), "{path}");
        }
        for path in [
            r"C:\Windows\Temp\cmd.exe",
            r"C:\Windows\System32\Tasks\x.exe",
            r"C:\Users\a\cmd.exe",
            r"C:\WindowsX\cmd.exe",
            "/usr/local/bin/x",
            "cmd.exe",
            "",
        ] {
            assert!(!is_system_image(path), "{path}");
        }
    }
}
