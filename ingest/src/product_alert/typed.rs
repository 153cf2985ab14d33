//! Typed entities of a Microsoft security alert: a list of objects with `Type`, in which an object is defined once
//! (`$id`) and referred to elsewhere (`$ref`). Only members that say what the entity is are followed: a host's last
//! logged-on users or last addresses are its surroundings, not part of the alert.

use std::collections::HashMap;

use event::{Entity, EntityType, Role};
use serde_json::Value;

use super::Draft;

/// Objects in one alert; a longer list is cut.
const OBJECTS_MAX: usize = 2_000;
/// Nesting that is followed: process, parent process, image file, hash.
const DEPTH_MAX: usize = 12;

/// Takes the entities of the list into the draft.
pub(super) fn read(list: &Value, draft: &mut Draft) {
    let mut resolver = Resolver { by_id: HashMap::new() };
    resolver.index(list, 0);
    let mut objects: Vec<&Value> = Vec::new();
    for member in list.as_array().into_iter().flatten().take(OBJECTS_MAX) {
        resolver.collect(member, 0, &mut objects);
    }
    let roles = Roles::of(&objects);
    let host = objects.iter().find(|o| kind(o) == "host").and_then(|host| host_key(host));
    for object in &objects {
        take(object, &roles, host.as_deref(), &resolver, draft);
    }
}

struct Resolver<'v> {
    by_id: HashMap<&'v str, &'v Value>,
}

impl<'v> Resolver<'v> {
    fn index(&mut self, value: &'v Value, depth: usize) {
        if depth > DEPTH_MAX || self.by_id.len() > OBJECTS_MAX {
            return;
        }
        if let Some(id) = value.get("$id").and_then(Value::as_str) {
            self.by_id.entry(id).or_insert(value);
        }
        match value {
            Value::Array(members) => members.iter().for_each(|member| self.index(member, depth + 1)),
            Value::Object(members) => members.values().for_each(|member| self.index(member, depth + 1)),
            _ => {}
        }
    }

    fn resolve(&self, value: &'v Value) -> &'v Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(id) => self.by_id.get(id).copied().unwrap_or(value),
            None => value,
        }
    }

    /// The object and those it consists of, each once.
    fn collect(&self, value: &'v Value, depth: usize, objects: &mut Vec<&'v Value>) {
        const PARTS: [&str; 10] = [
            "ImageFile",
            "ParentProcess",
            "Account",
            "Host",
            "FileHashes",
            "Files",
            "File",
            "IpAddress",
            "SourceAddress",
            "DestinationAddress",
        ];
        let value = self.resolve(value);
        if depth > DEPTH_MAX
            || objects.len() >= OBJECTS_MAX
            || objects.iter().any(|known| std::ptr::eq(*known, value))
        {
            return;
        }
        match value {
            Value::Array(members) => {
                members.iter().for_each(|member| self.collect(member, depth + 1, objects))
            }
            Value::Object(members) => {
                objects.push(value);
                let parts = PARTS.into_iter().filter_map(|part| members.get(part));
                parts.for_each(|part| self.collect(part, depth + 1, objects));
            }
            _ => {}
        }
    }
}

/// A role in which only one thing stands tells that all its names are aliases; several things are just related.
struct Roles {
    host: Role,
    account: Role,
    message: Role,
    mailbox: Role,
}

impl Roles {
    fn of(objects: &[&Value]) -> Self {
        let role = |wanted: &str, single: Role| {
            if objects.iter().filter(|o| kind(o) == wanted).count() == 1 { single } else { Role::Related }
        };
        Self {
            host: role("host", Role::Device),
            account: role("account", Role::Target),
            message: role("mailmessage", Role::Target),
            mailbox: role("mailbox", Role::Target),
        }
    }
}

fn kind(object: &Value) -> String {
    object.get("Type").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase()
}

fn text(object: &Value, name: &str) -> Option<String> {
    let text = match object.get(name)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn take(object: &Value, roles: &Roles, host: Option<&str>, resolver: &Resolver<'_>, draft: &mut Draft) {
    match kind(object).as_str() {
        "host" => take_host(object, roles.host, draft),
        "account" => take_account(object, roles.account, draft),
        "ip" => add(draft, EntityType::Ip, Role::Related, text(object, "Address")),
        "url" => {
            let url = text(object, "Url");
            draft.add_evidence("url_url_string", url.as_deref().unwrap_or_default());
            add(draft, EntityType::Url, Role::Related, url);
        }
        "file" => take_file(object, draft),
        "filehash" => take_hash(object, draft),
        "process" => take_process(object, host, resolver, draft),
        "mailbox" => take_mailbox(object, roles.mailbox, draft),
        "mailmessage" | "submissionmail" => take_message(object, roles.message, draft),
        "mailcluster" => take_cluster(object, draft),
        "cloud-application" | "oauth-application" => {
            add(
                draft,
                EntityType::App,
                Role::Related,
                text(object, "OAuthAppId").or_else(|| text(object, "AppId")),
            );
        }
        "cloud-logon-session" => add(draft, EntityType::Session, Role::Related, text(object, "SessionId")),
        "cloud-logon-request" => add(draft, EntityType::Session, Role::Related, text(object, "RequestId")),
        "dns" => add(draft, EntityType::Domain, Role::Related, text(object, "DomainName")),
        "azure-resource" | "aws-resource" | "gcp-resource" => {
            let id = text(object, "ResourceId").or_else(|| text(object, "AmazonResourceId"));
            add(draft, EntityType::CloudResource, Role::Related, id);
        }
        _ => {}
    }
}

fn add(draft: &mut Draft, entity_type: EntityType, role: Role, value: Option<String>) {
    draft.entities.extend(value.and_then(|value| Entity::new(entity_type, role, &value)));
}

/// Short name and FQDN; agent and directory ids.
fn take_host(host: &Value, role: Role, draft: &mut Draft) {
    let name = text(host, "HostName").or_else(|| text(host, "NetBiosName"));
    if let Some(fqdn) = fqdn(host) {
        draft.add_evidence("device_hostname", &fqdn);
        add(draft, EntityType::Device, role, Some(fqdn));
    }
    add(draft, EntityType::Device, role, name);
    for id in ["MdatpDeviceId", "AadDeviceId", "AzureID"] {
        add(draft, EntityType::Device, role, text(host, id));
    }
}

fn fqdn(host: &Value) -> Option<String> {
    if let Some(fqdn) = text(host, "FQDN").filter(|f| f.contains('.')) {
        return Some(fqdn);
    }
    let name = text(host, "HostName")?;
    match text(host, "DnsDomain") {
        Some(domain) if !name.to_lowercase().ends_with(&format!(".{}", domain.to_lowercase())) => {
            Some(format!("{name}.{domain}"))
        }
        _ => Some(name),
    }
}

fn host_key(host: &Value) -> Option<String> {
    fqdn(host).or_else(|| text(host, "MdatpDeviceId")).map(|key| key.to_lowercase())
}

/// Directory id, SID, UPN and `DOMAIN\name`; a bare name only where nothing better is known.
fn take_account(account: &Value, role: Role, draft: &mut Draft) {
    let name = text(account, "Name").or_else(|| text(account, "AccountName"));
    let domain = text(account, "NTDomain").or_else(|| text(account, "DomainName"));
    let upn = text(account, "UserPrincipalName").or_else(|| match (&name, text(account, "UPNSuffix")) {
        (Some(name), Some(suffix)) => Some(format!("{name}@{suffix}")),
        (Some(name), None) if name.contains('@') => Some(name.clone()),
        _ => None,
    });
    let qualified = match (&name, &domain) {
        (Some(name), Some(domain)) if !name.contains(['\\', '@']) => Some(format!("{domain}\\{name}")),
        (Some(name), _) if name.contains('\\') => Some(name.clone()),
        _ => None,
    };
    let ids = [text(account, "AadUserId"), text(account, "Sid"), upn.clone(), qualified.clone()];
    let bare = if ids.iter().all(Option::is_none) { name } else { None };
    draft.add_evidence(
        "user_account",
        qualified.or(upn).or_else(|| bare.clone()).as_deref().unwrap_or_default(),
    );
    for id in ids.into_iter().chain([bare]) {
        add(draft, EntityType::User, role, id);
    }
}

/// A file is named by its SHA-256, where it has one.
fn take_file(file: &Value, draft: &mut Draft) {
    if let Some(name) = text(file, "Name") {
        draft.add_evidence("file_name", &name);
    }
}

fn take_hash(hash: &Value, draft: &mut Draft) {
    let algorithm = text(hash, "Algorithm").unwrap_or_default().to_ascii_uppercase();
    if algorithm == "SHA256" {
        add(draft, EntityType::File, Role::Related, text(hash, "Value"));
    }
}

/// A process is one in its tenant by host, pid and start time together, or not at all.
fn take_process(process: &Value, host: Option<&str>, resolver: &Resolver<'_>, draft: &mut Draft) {
    if let Some(command_line) = text(process, "CommandLine") {
        draft.add_evidence("process_cmd_line", &command_line);
    }
    let own_host = process.get("Host").map(|host| resolver.resolve_any(host)).and_then(host_key);
    let host = own_host.as_deref().or(host);
    let started = text(process, "CreationTimeUtc").or_else(|| text(process, "CreatedTimeUtc"));
    if let (Some(host), Some(pid), Some(started)) = (host, text(process, "ProcessId"), started) {
        add(draft, EntityType::Process, Role::Related, Some(format!("{host}/{pid}@{started}")));
    }
}

impl Resolver<'_> {
    fn resolve_any<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(id) => self.by_id.get(id).copied().unwrap_or(value),
            None => value,
        }
    }
}

fn take_mailbox(mailbox: &Value, role: Role, draft: &mut Draft) {
    add(draft, EntityType::Mailbox, role, text(mailbox, "MailboxPrimaryAddress"));
    // The owner has the mailbox's own role, so that one mailbox ties the names of one person together.
    for id in ["Upn", "AadId"] {
        add(draft, EntityType::User, role, text(mailbox, id));
    }
}

fn take_message(message: &Value, role: Role, draft: &mut Draft) {
    add(draft, EntityType::Message, role, text(message, "NetworkMessageId"));
    add(draft, EntityType::Message, role, text(message, "InternetMessageId"));
    add(draft, EntityType::Mailbox, Role::Recipient, text(message, "Recipient"));
    let sender = ["P2Sender", "P1Sender", "Sender"].into_iter().find_map(|name| text(message, name));
    add(draft, EntityType::Mailbox, Role::Related, sender);
    add(draft, EntityType::Ip, Role::Related, text(message, "SenderIP"));
    if let Some(subject) = text(message, "Subject") {
        draft.add_evidence("email_subject", &subject);
    }
    for url in message.get("Urls").and_then(Value::as_array).into_iter().flatten().take(50) {
        add(draft, EntityType::Url, Role::Related, url.as_str().map(str::to_owned));
    }
}

fn take_cluster(cluster: &Value, draft: &mut Draft) {
    for id in cluster.get("NetworkMessageIds").and_then(Value::as_array).into_iter().flatten().take(50) {
        add(draft, EntityType::Message, Role::Related, id.as_str().map(str::to_owned));
    }
}
