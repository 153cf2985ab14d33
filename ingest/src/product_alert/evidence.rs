//! A Defender AlertEvidence row: one entity of an alert, its kind in `EntityType`.

use event::{Entity, EntityType, Role};

use super::{Draft, Fields};

pub(super) fn read(fields: &Fields<'_, '_>, draft: &mut Draft) {
    let kind = fields.text("EntityType").unwrap_or_default().to_ascii_lowercase();
    let mut add = |entity_type, role, name: &str| {
        let value = fields.text(name);
        draft.entities.extend(value.and_then(|value| Entity::new(entity_type, role, &value)));
    };
    // A row speaks of one device and one account, so their names are aliases.
    for name in ["DeviceId", "DeviceName"] {
        add(EntityType::Device, Role::Device, name);
    }
    match kind.as_str() {
        "user" | "account" | "mailbox" | "process" | "cloudlogonsession" => {
            take_user(fields, &mut add, draft_role(&kind))
        }
        "ip" => add(EntityType::Ip, Role::Related, "RemoteIP"),
        "url" => add(EntityType::Url, Role::Related, "RemoteUrl"),
        "file" => add(EntityType::File, Role::Related, "SHA256"),
        "mailmessage" => add(EntityType::Message, Role::Target, "NetworkMessageId"),
        "cloudapplication" => add(EntityType::App, Role::Related, "ApplicationId"),
        "oauthapplication" => add(EntityType::App, Role::Related, "OAuthApplicationId"),
        "cloudresource" => add(EntityType::CloudResource, Role::Related, "CloudResource"),
        _ => {}
    }
    if kind == "process" {
        add(EntityType::File, Role::Related, "SHA256");
    }
    if kind == "mailbox" {
        add(EntityType::Mailbox, Role::Target, "AccountUpn");
    }
    let names = [
        ("process_cmd_line", "ProcessCommandLine"),
        ("file_name", "FileName"),
        ("url_url_string", "RemoteUrl"),
        ("email_subject", "EmailSubject"),
        ("device_hostname", "DeviceName"),
        ("user_email", "AccountUpn"),
    ];
    for (column, name) in names {
        draft.add_evidence(column, &fields.text(name).unwrap_or_default());
    }
}

fn draft_role(kind: &str) -> Role {
    if kind == "process" { Role::ProcessUser } else { Role::Target }
}

fn take_user(fields: &Fields<'_, '_>, add: &mut impl FnMut(EntityType, Role, &str), role: Role) {
    for name in ["AccountObjectId", "AccountSid", "AccountUpn"] {
        if fields.text(name).is_some() {
            add(EntityType::User, role, name);
        }
    }
}
