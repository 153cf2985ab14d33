//! Entra ID sign-in and audit rows, as Log Analytics exports them.

use event::Time;
use serde::Serialize;

use crate::clock::Stamp;
use crate::company::{Host, Identity, Person};
use crate::names::Place;
use crate::record::{Recorder, Source};

/// An application with its resource.
pub(crate) struct App {
    name: &'static str,
    id: &'static str,
    resource: &'static str,
    resource_id: &'static str,
}

const GRAPH: &str = "00000003-0000-0000-c000-000000000000";
const EXCHANGE: &str = "00000002-0000-0ff1-ce00-000000000000";

const fn app(name: &'static str, id: &'static str, resource: &'static str, resource_id: &'static str) -> App {
    App { name, id, resource, resource_id }
}

/// What people sign in to, most used first.
pub(crate) static EVERYDAY_APPS: [App; 6] = [
    app("Microsoft Office", "d3590ed6-52b3-4102-aeff-aad2292ab01c", "Microsoft Graph", GRAPH),
    app("One Outlook Web", "9199bf20-a13f-4107-85dc-02114787ef48", "Office 365 Exchange Online", EXCHANGE),
    app("Microsoft Teams", "1fec8e78-bce4-4aaf-ab1b-5451cc387264", "Microsoft Graph", GRAPH),
    app(
        "Office365 Shell WCSS-Client",
        "89bee1f7-5e6e-4d8a-9f3d-ecd601259da7",
        "Windows Azure Active Directory",
        "00000002-0000-0000-c000-000000000000",
    ),
    app("SharePoint Online Web Client Extensibility", "08e18876-6177-487e-b8b5-cf950c1e598c", "Office 365 SharePoint Online", "00000003-0000-0ff1-ce00-000000000000"),
    app("Azure Portal", "c44b4083-3bb0-49c1-b47d-974e53cbdf3c", "Windows Azure Service Management API", "797f4846-ba00-4fd7-ba43-dac1f8f63013"),
];

/// The mail portal.
pub(crate) static OUTLOOK_WEB: App =
    app("One Outlook Web", "9199bf20-a13f-4107-85dc-02114787ef48", "Office 365 Exchange Online", EXCHANGE);
/// The command line module that password sprays like.
pub(crate) static AZURE_POWERSHELL: App = app(
    "Microsoft Azure PowerShell",
    "1950a258-227b-4e31-a9cf-717495945fc2",
    "Windows Azure Service Management API",
    "797f4846-ba00-4fd7-ba43-dac1f8f63013",
);
/// The portal home.
pub(crate) static OFFICE_HOME: App =
    app("OfficeHome", "4765445b-32c6-49b0-83e6-1d93765276ca", "OfficeHome", "4765445b-32c6-49b0-83e6-1d93765276ca");

/// How a sign-in ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    WrongPassword,
    Locked,
    MfaRequired,
    MfaDenied,
}

impl Outcome {
    const fn code(self) -> u32 {
        match self {
            Outcome::Success => 0,
            Outcome::WrongPassword => 50_126,
            Outcome::Locked => 50_053,
            Outcome::MfaRequired => 50_074,
            Outcome::MfaDenied => 500_121,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Outcome::Success => "",
            Outcome::WrongPassword => "Error validating credentials due to invalid username or password.",
            Outcome::Locked => "The account is locked, you've tried to sign in too many times with an incorrect user ID or password.",
            Outcome::MfaRequired => "Strong Authentication is required.",
            Outcome::MfaDenied => "Authentication failed during strong authentication request.",
        }
    }
}

/// How the second factor was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mfa {
    NotRequired,
    Approved,
    /// The token says so: a session that goes on, or one that was stolen
    ClaimInToken,
}

/// What the risk engine thought of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Risk {
    None,
    Medium(&'static str),
    High(&'static str),
}

impl Risk {
    const fn level(self) -> &'static str {
        match self {
            Risk::None => "none",
            Risk::Medium(_) => "medium",
            Risk::High(_) => "high",
        }
    }

    const fn events(self) -> &'static str {
        match self {
            Risk::None => "[]",
            Risk::Medium(events) | Risk::High(events) => events,
        }
    }
}

/// The device that a sign-in comes from.
#[derive(Clone, Copy)]
pub(crate) enum Device<'a> {
    Managed(&'a Host),
    Phone,
    /// Operating system and browser of something the directory does not know
    Unknown(&'static str, &'static str),
}

/// A sign-in.
#[derive(Clone, Copy)]
pub(crate) struct Signin<'a> {
    pub(crate) person: &'a Person,
    pub(crate) ip: &'a str,
    pub(crate) place: &'static Place,
    pub(crate) app: &'static App,
    pub(crate) device: Device<'a>,
    pub(crate) outcome: Outcome,
    pub(crate) mfa: Mfa,
    pub(crate) risk: Risk,
    pub(crate) interactive: bool,
    pub(crate) user_agent: &'static str,
}

/// Edge on Windows.
pub(crate) const EDGE_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0.0.0 Safari/537.36 Edg/121.0.2277.98";
/// Firefox on Linux, as no employee uses it.
pub(crate) const LINUX_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0";
/// A script.
pub(crate) const SCRIPT_AGENT: &str = "python-requests/2.31.0";
const PHONE_AGENT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SigninRow<'a> {
    tenant_id: &'a str,
    source_system: &'static str,
    time_generated: Stamp,
    resource_id: &'a str,
    operation_name: &'static str,
    operation_version: &'static str,
    category: &'static str,
    result_type: String,
    result_signature: &'static str,
    result_description: &'static str,
    duration_ms: u32,
    correlation_id: &'a str,
    resource: &'static str,
    resource_group: &'static str,
    resource_provider: &'static str,
    identity: &'a str,
    level: &'static str,
    location: &'static str,
    alternate_sign_in_name: &'a str,
    app_display_name: &'static str,
    app_id: &'static str,
    authentication_details: String,
    authentication_methods_used: &'static str,
    authentication_processing_details: &'static str,
    authentication_requirement: &'static str,
    authentication_requirement_policies: &'static str,
    client_app_used: &'static str,
    conditional_access_policies: [Policy; 2],
    conditional_access_status: &'static str,
    created_date_time: Stamp,
    device_detail: DeviceDetail<'a>,
    is_interactive: bool,
    id: &'a str,
    #[serde(rename = "IPAddress")]
    ip_address: &'a str,
    is_risky: Option<bool>,
    location_details: LocationDetails,
    mfa_detail: MfaDetail,
    network_location_details: &'static str,
    original_request_id: &'a str,
    processing_time_in_milliseconds: String,
    risk_detail: &'static str,
    risk_event_types: &'static str,
    #[serde(rename = "RiskEventTypes_V2")]
    risk_event_types_v2: &'static str,
    risk_level_aggregated: &'static str,
    risk_level_during_sign_in: &'static str,
    risk_state: &'static str,
    resource_display_name: &'static str,
    resource_identity: &'static str,
    service_principal_id: &'static str,
    service_principal_name: &'static str,
    status: Status,
    token_issuer_name: &'static str,
    token_issuer_type: &'static str,
    user_agent: &'static str,
    user_display_name: &'a str,
    user_id: &'a str,
    user_principal_name: &'a str,
    #[serde(rename = "AADTenantId")]
    aad_tenant_id: &'a str,
    #[serde(rename = "Type")]
    table: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    enforced_session_controls: [&'static str; 0],
    conditions_not_satisfied: u8,
    enforced_grant_controls: [&'static str; 1],
    conditions_satisfied: u8,
    display_name: &'static str,
    result: &'static str,
    id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceDetail<'a> {
    operating_system: &'static str,
    device_id: &'a str,
    browser: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    display_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_compliant: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_managed: Option<bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trust_type: &'static str,
}

impl<'a> DeviceDetail<'a> {
    fn of(device: Device<'a>) -> Self {
        let plain = Self {
            operating_system: "",
            device_id: "",
            browser: "",
            display_name: "",
            is_compliant: None,
            is_managed: None,
            trust_type: "",
        };
        match device {
            Device::Managed(host) => Self {
                operating_system: "Windows 10",
                device_id: &host.entra_device_id,
                browser: "Edge 121.0.2277",
                display_name: &host.name,
                is_compliant: Some(true),
                is_managed: Some(true),
                trust_type: "Hybrid Azure AD joined",
            },
            Device::Phone => Self { operating_system: "Ios 17.3", browser: "Mobile Safari 17.3", ..plain },
            Device::Unknown(operating_system, browser) => Self { operating_system, browser, ..plain },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LocationDetails {
    country_or_region: &'static str,
    geo_coordinates: Coordinates,
    state: &'static str,
    city: &'static str,
}

#[derive(Serialize)]
struct Coordinates {
    longitude: f64,
    latitude: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MfaDetail {
    #[serde(skip_serializing_if = "str::is_empty")]
    auth_method: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    error_code: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    failure_reason: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    additional_details: &'static str,
}

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
    /// Someone signs in to the cloud, or fails to.
    pub(crate) fn sign_in(&mut self, at: Time, signin: &Signin<'_>) {
        let (id, correlation) = (self.dice.guid().to_string(), self.dice.guid().to_string());
        let company = self.company;
        let provider = format!("/tenants/{}/providers/Microsoft.aadiam", company.entra_tenant);
        let (code, success) = (signin.outcome.code(), signin.outcome == Outcome::Success);
        let who = &signin.person.identity;
        let row = SigninRow {
            tenant_id: &company.entra_tenant,
            source_system: "Azure AD",
            time_generated: Stamp::Bare(at),
            resource_id: &provider,
            operation_name: "Sign-in activity",
            operation_version: "1.0",
            category: if signin.interactive { "SignInLogs" } else { "NonInteractiveUserSignInLogs" },
            result_type: code.to_string(),
            result_signature: "None",
            result_description: signin.outcome.reason(),
            duration_ms: 0,
            correlation_id: &correlation,
            resource: "Microsoft.aadiam",
            resource_group: "Microsoft.aadiam",
            resource_provider: "",
            identity: &signin.person.display_name,
            level: "4",
            location: signin.place.country,
            alternate_sign_in_name: &who.upn,
            app_display_name: signin.app.name,
            app_id: signin.app.id,
            authentication_details: authentication_details(at, signin),
            authentication_methods_used: "",
            authentication_processing_details: "[]",
            authentication_requirement: match signin.mfa {
                Mfa::NotRequired => "singleFactorAuthentication",
                Mfa::Approved | Mfa::ClaimInToken => "multiFactorAuthentication",
            },
            authentication_requirement_policies: "[]",
            client_app_used: "Browser",
            conditional_access_policies: self.policies(signin),
            conditional_access_status: if success { "success" } else { "notApplied" },
            created_date_time: Stamp::Bare(at),
            device_detail: DeviceDetail::of(signin.device),
            is_interactive: signin.interactive,
            id: &id,
            ip_address: signin.ip,
            is_risky: None,
            location_details: LocationDetails {
                country_or_region: signin.place.country,
                geo_coordinates: Coordinates {
                    longitude: signin.place.longitude,
                    latitude: signin.place.latitude,
                },
                state: signin.place.state,
                city: signin.place.city,
            },
            mfa_detail: MfaDetail {
                auth_method: if signin.mfa == Mfa::Approved { "Mobile app notification" } else { "" },
            },
            network_location_details: "[]",
            original_request_id: &id,
            processing_time_in_milliseconds: self.dice.between(60, 400).to_string(),
            risk_detail: "none",
            risk_event_types: signin.risk.events(),
            risk_event_types_v2: signin.risk.events(),
            risk_level_aggregated: signin.risk.level(),
            risk_level_during_sign_in: signin.risk.level(),
            risk_state: if signin.risk == Risk::None { "none" } else { "atRisk" },
            resource_display_name: signin.app.resource,
            resource_identity: signin.app.resource_id,
            service_principal_id: "",
            service_principal_name: "",
            status: Status {
                error_code: code,
                failure_reason: signin.outcome.reason(),
                additional_details: match signin.mfa {
                    Mfa::ClaimInToken => "MFA requirement satisfied by claim in the token",
                    Mfa::Approved => "MFA completed in Azure AD",
                    Mfa::NotRequired => "",
                },
            },
            token_issuer_name: "",
            token_issuer_type: "AzureAD",
            user_agent: if matches!(signin.device, Device::Phone) { PHONE_AGENT } else { signin.user_agent },
            user_display_name: &signin.person.display_name,
            user_id: &who.object_id,
            user_principal_name: &who.upn,
            aad_tenant_id: &company.entra_tenant,
            table: if signin.interactive { "SigninLogs" } else { "AADNonInteractiveUserSignInLogs" },
        };
        self.push_json(Source::EntraSignin, at, &who.upn, id.clone(), &row);
    }

    fn policies(&self, signin: &Signin<'_>) -> [Policy; 2] {
        let policy = |display_name: &'static str, control: &'static str, applied: bool| Policy {
            enforced_session_controls: [],
            conditions_not_satisfied: u8::from(!applied),
            enforced_grant_controls: [control],
            conditions_satisfied: u8::from(applied),
            display_name,
            result: if applied { "success" } else { "notApplied" },
            id: self.company.guid_of(display_name).to_string(),
        };
        [
            policy("Require MFA outside the office", "Mfa", signin.mfa != Mfa::NotRequired),
            policy("Block legacy authentication", "Block", false),
        ]
    }

    /// Someone changes the directory.
    pub(crate) fn directory_change(&mut self, at: Time, change: &DirectoryChange<'_>) {
        let company = self.company;
        let correlation = self.dice.guid().to_string();
        let id = format!("Directory_{correlation}_{}_{}", self.dice.hex(3).to_uppercase(), self.dice.below(99_999_999));
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

fn authentication_details(at: Time, signin: &Signin<'_>) -> String {
    if signin.mfa == Mfa::ClaimInToken {
        return "[]".to_owned();
    }
    let succeeded = signin.outcome == Outcome::Success;
    format!(
        "[\r\n  {{\r\n    \"authenticationStepDateTime\": \"{}\",\r\n    \"authenticationMethod\": \"Password\",\r\n    \"succeeded\": {succeeded}\r\n  }}\r\n]",
        Stamp::Ticks(at)
    )
}
