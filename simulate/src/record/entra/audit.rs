//! Audit rows of the directory, as Log Analytics exports them.

use event::Time;
use serde::Serialize;

use crate::clock::Stamp;
use crate::company::Identity;
use crate::record::{Recorder, Source};

/// A change in the directory.
pub(crate) struct DirectoryChange<'a> {
    pub(crate) operation: &'static str,
    /// `ApplicationManagement`, `UserManagement`, `GroupManagement`
    pub(crate) category: &'static str,
    /// `Add`, `Update`, `Assign`
    pub(crate) verb: &'static str,
    pub(crate) by: &'a Identity,
    pub(crate) ip: &'a str,
    pub(crate) user_agent: &'static str,
    /// Id, display name (or UPN) and type of what was changed
    pub(crate) target: (&'a str, &'a str, &'static str),
    /// Name and new value
    pub(crate) properties: &'a [(&'static str, &'a str)],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AuditRow<'a> {
    tenant_id: &'a str,
    source_system: &'static str,
    time_generated: Stamp,
    resource_id: &'a str,
    operation_name: &'static str,
    operation_version: &'static str,
    category: &'static str,
    result_signature: &'static str,
    correlation_id: &'a str,
    resource: &'static str,
    resource_group: &'static str,
    level: &'static str,
    additional_details: String,
    id: &'a str,
    initiated_by: String,
    logged_by_service: &'static str,
    result: &'static str,
    target_resources: String,
    #[serde(rename = "AADTenantId")]
    aad_tenant_id: &'a str,
    activity_display_name: &'static str,
    activity_date_time: Stamp,
    #[serde(rename = "AADOperationType")]
    aad_operation_type: &'static str,
    #[serde(rename = "Type")]
    table: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target<'a> {
    id: &'a str,
    display_name: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_principal_name: Option<&'a str>,
    modified_properties: Vec<Property<'a>>,
    administrative_units: [&'static str; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Property<'a> {
    display_name: &'static str,
    old_value: Option<&'static str>,
    new_value: &'a str,
}

#[derive(Serialize)]
struct Initiator<'a> {
    user: InitiatorUser<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitiatorUser<'a> {
    id: &'a str,
    display_name: Option<&'a str>,
    user_principal_name: &'a str,
    ip_address: &'a str,
    roles: [&'static str; 0],
}

impl Recorder<'_> {
    /// Someone changes the directory.
    pub(crate) fn directory_change(&mut self, at: Time, change: &DirectoryChange<'_>) {
        let company = self.company;
        let correlation = self.dice.guid().to_string();
        let id = format!(
            "Directory_{correlation}_{}_{}",
            self.dice.hex(3).to_uppercase(),
            self.dice.below(99_999_999)
        );
        let provider = format!("/tenants/{}/providers/Microsoft.aadiam", company.entra_tenant);
        let (target_id, target_name, kind) = change.target;
        let is_user = kind == "User";
        let targets = [Target {
            id: target_id,
            display_name: (!is_user).then_some(target_name),
            kind,
            user_principal_name: is_user.then_some(target_name),
            modified_properties: change
                .properties
                .iter()
                .map(|(name, value)| Property { display_name: name, old_value: None, new_value: value })
                .collect(),
            administrative_units: [],
        }];
        let user = InitiatorUser {
            id: &change.by.object_id,
            display_name: None,
            user_principal_name: &change.by.upn,
            ip_address: change.ip,
            roles: [],
        };
        let row = AuditRow {
            tenant_id: &company.entra_tenant,
            source_system: "Azure AD",
            time_generated: Stamp::Millis(at),
            resource_id: &provider,
            operation_name: change.operation,
            operation_version: "1.0",
            category: change.category,
            result_signature: "None",
            correlation_id: &correlation,
            resource: "Microsoft.aadiam",
            resource_group: "Microsoft.aadiam",
            level: "4",
            additional_details: format!("[{{\"key\":\"User-Agent\",\"value\":\"{}\"}}]", change.user_agent),
            id: &id,
            initiated_by: text_of(&Initiator { user }),
            logged_by_service: "Core Directory",
            result: "success",
            target_resources: text_of(&targets),
            aad_tenant_id: &company.entra_tenant,
            activity_display_name: change.operation,
            activity_date_time: Stamp::Millis(at),
            aad_operation_type: change.verb,
            table: "AuditLogs",
        };
        self.push_json(Source::EntraAudit, at, &change.by.upn, id.clone(), &row);
    }
}

/// JSON inside JSON, as the export has it.
fn text_of(value: &impl Serialize) -> String {
    // Plain structs of text: serialising into memory cannot fail.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}
