//! Sign-in rows, as Log Analytics exports them.

use event::Time;
use serde::Serialize;

use super::{Device, Mfa, Outcome, PHONE_AGENT, Risk, Signin};
use crate::clock::Stamp;
use crate::names::Place;
use crate::record::{Recorder, Source};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SigninRow<'a> {
    tenant_id: &'a str,
    #[serde(flatten)]
    fixed: Fixed,
    time_generated: Stamp,
    resource_id: &'a str,
    category: &'static str,
    result_type: String,
    result_description: &'static str,
    correlation_id: &'a str,
    identity: &'a str,
    location: &'static str,
    alternate_sign_in_name: &'a str,
    app_display_name: &'static str,
    app_id: &'static str,
    authentication_details: String,
    authentication_requirement: &'static str,
    conditional_access_policies: [Policy; 2],
    conditional_access_status: &'static str,
    created_date_time: Stamp,
    device_detail: DeviceDetail<'a>,
    is_interactive: bool,
    id: &'a str,
    #[serde(rename = "IPAddress")]
    ip_address: &'a str,
    location_details: LocationDetails,
    mfa_detail: MfaDetail,
    original_request_id: &'a str,
    processing_time_in_milliseconds: String,
    risk_event_types: &'static str,
    #[serde(rename = "RiskEventTypes_V2")]
    risk_event_types_v2: &'static str,
    risk_level_aggregated: &'static str,
    risk_level_during_sign_in: &'static str,
    risk_state: &'static str,
    resource_display_name: &'static str,
    resource_identity: &'static str,
    status: Status,
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

/// Columns that say the same in every row here.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Fixed {
    source_system: &'static str,
    operation_name: &'static str,
    operation_version: &'static str,
    result_signature: &'static str,
    duration_ms: u32,
    resource: &'static str,
    resource_group: &'static str,
    resource_provider: &'static str,
    level: &'static str,
    authentication_methods_used: &'static str,
    authentication_processing_details: &'static str,
    authentication_requirement_policies: &'static str,
    client_app_used: &'static str,
    is_risky: Option<bool>,
    network_location_details: &'static str,
    risk_detail: &'static str,
    service_principal_id: &'static str,
    service_principal_name: &'static str,
    token_issuer_name: &'static str,
    token_issuer_type: &'static str,
}

const FIXED: Fixed = Fixed {
    source_system: "Azure AD",
    operation_name: "Sign-in activity",
    operation_version: "1.0",
    result_signature: "None",
    duration_ms: 0,
    resource: "Microsoft.aadiam",
    resource_group: "Microsoft.aadiam",
    resource_provider: "",
    level: "4",
    authentication_methods_used: "",
    authentication_processing_details: "[]",
    authentication_requirement_policies: "[]",
    client_app_used: "Browser",
    is_risky: None,
    network_location_details: "[]",
    risk_detail: "none",
    service_principal_id: "",
    service_principal_name: "",
    token_issuer_name: "",
    token_issuer_type: "AzureAD",
};

impl LocationDetails {
    fn of(place: &'static Place) -> Self {
        Self {
            country_or_region: place.country,
            geo_coordinates: Coordinates { longitude: place.longitude, latitude: place.latitude },
            state: place.state,
            city: place.city,
        }
    }
}

impl Status {
    fn of(signin: &Signin<'_>) -> Self {
        Self {
            error_code: signin.outcome.code(),
            failure_reason: signin.outcome.reason(),
            additional_details: match signin.mfa {
                Mfa::ClaimInToken => "MFA requirement satisfied by claim in the token",
                Mfa::Approved => "MFA completed in Azure AD",
                Mfa::NotRequired => "",
            },
        }
    }
}

impl Recorder<'_> {
    /// Someone signs in to the cloud, or fails to.
    pub(crate) fn sign_in(&mut self, at: Time, signin: &Signin<'_>) {
        let (id, correlation) = (self.dice.guid().to_string(), self.dice.guid().to_string());
        let company = self.company;
        let provider = format!("/tenants/{}/providers/Microsoft.aadiam", company.entra_tenant);
        let success = signin.outcome == Outcome::Success;
        let who = &signin.person.identity;
        let row = SigninRow {
            tenant_id: &company.entra_tenant,
            fixed: FIXED,
            time_generated: Stamp::Bare(at),
            resource_id: &provider,
            category: if signin.interactive { "SignInLogs" } else { "NonInteractiveUserSignInLogs" },
            result_type: signin.outcome.code().to_string(),
            result_description: signin.outcome.reason(),
            correlation_id: &correlation,
            identity: &signin.person.display_name,
            location: signin.place.country,
            alternate_sign_in_name: &who.upn,
            app_display_name: signin.app.name,
            app_id: signin.app.id,
            authentication_details: authentication_details(at, signin),
            authentication_requirement: match signin.mfa {
                Mfa::NotRequired => "singleFactorAuthentication",
                Mfa::Approved | Mfa::ClaimInToken => "multiFactorAuthentication",
            },
            conditional_access_policies: self.policies(signin),
            conditional_access_status: if success { "success" } else { "notApplied" },
            created_date_time: Stamp::Bare(at),
            device_detail: DeviceDetail::of(signin.device),
            is_interactive: signin.interactive,
            id: &id,
            ip_address: signin.ip,
            location_details: LocationDetails::of(signin.place),
            mfa_detail: MfaDetail {
                auth_method: if signin.mfa == Mfa::Approved { "Mobile app notification" } else { "" },
            },
            original_request_id: &id,
            processing_time_in_milliseconds: self.dice.between(60, 400).to_string(),
            risk_event_types: signin.risk.events(),
            risk_event_types_v2: signin.risk.events(),
            risk_level_aggregated: signin.risk.level(),
            risk_level_during_sign_in: signin.risk.level(),
            risk_state: if signin.risk == Risk::None { "none" } else { "atRisk" },
            resource_display_name: signin.app.resource,
            resource_identity: signin.app.resource_id,
            status: Status::of(signin),
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
