//! Rows of Defender for Cloud Apps: what the broker sees of SaaS use, with the service's own record inside.

use event::Time;
use serde::Serialize;

use crate::clock::Stamp;
use crate::company::Person;
use crate::names::Place;
use crate::record::{Recorder, Source};

/// Something done in a SaaS application.
pub(crate) struct CloudActivity<'a> {
    pub(crate) person: &'a Person,
    pub(crate) action: &'static str,
    /// Name and id of the application in the broker's catalogue
    pub(crate) application: (&'static str, u32),
    pub(crate) ip: &'a str,
    pub(crate) place: &'static Place,
    pub(crate) user_agent: &'static str,
    pub(crate) object: &'a str,
}

/// SharePoint in the broker's catalogue.
pub(crate) const SHAREPOINT: (&str, u32) = ("Microsoft SharePoint Online", 20_892);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CloudAppRow<'a> {
    timestamp: Stamp,
    action_type: &'static str,
    application: &'static str,
    application_id: u32,
    app_instance_id: u32,
    account_object_id: &'a str,
    account_id: &'a str,
    account_display_name: &'a str,
    is_admin_operation: bool,
    device_type: &'static str,
    #[serde(rename = "OSPlatform")]
    os_platform: &'static str,
    #[serde(rename = "IPAddress")]
    ip_address: &'a str,
    is_anonymous_proxy: Option<bool>,
    country_code: &'static str,
    city: &'static str,
    isp: &'static str,
    user_agent: &'static str,
    activity_type: &'static str,
    activity_objects: [ActivityObject<'a>; 2],
    object_name: &'a str,
    object_type: &'static str,
    object_id: &'a str,
    report_id: &'a str,
    account_type: &'static str,
    is_external_user: bool,
    is_impersonated: bool,
    #[serde(rename = "IPTags")]
    ip_tags: [&'static str; 0],
    #[serde(rename = "IPCategory")]
    ip_category: &'static str,
    user_agent_tags: [&'static str; 0],
    raw_event_data: RawEvent<'a>,
    additional_fields: Additional,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ActivityObject<'a> {
    #[serde(rename = "Type")]
    kind: &'static str,
    role: &'static str,
    name: &'a str,
    id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RawEvent<'a> {
    creation_time: Stamp,
    id: &'a str,
    operation: &'static str,
    organization_id: &'a str,
    record_type: u8,
    user_type: u8,
    version: u8,
    workload: &'static str,
    user_id: &'a str,
    #[serde(rename = "ClientIP")]
    client_ip: &'a str,
    object_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Additional {
    is_satellite_provider: bool,
}

impl Recorder<'_> {
    /// The broker reports what someone does in a SaaS application.
    pub(crate) fn cloud_activity(&mut self, at: Time, activity: &CloudActivity<'_>) {
        let id = self.dice.guid().to_string();
        let report = format!("106830890_{}_{id}", activity.application.1);
        let (who, company) = (&activity.person.identity, self.company);
        let row = CloudAppRow {
            timestamp: Stamp::Ticks(at),
            action_type: activity.action,
            application: activity.application.0,
            application_id: activity.application.1,
            app_instance_id: 0,
            account_object_id: &who.object_id,
            account_id: &who.object_id,
            account_display_name: &activity.person.display_name,
            is_admin_operation: false,
            device_type: "Desktop",
            os_platform: "Windows 10",
            ip_address: activity.ip,
            is_anonymous_proxy: None,
            country_code: activity.place.country,
            city: activity.place.city,
            isp: activity.place.isp,
            user_agent: activity.user_agent,
            activity_type: "Basic",
            activity_objects: [
                ActivityObject { kind: "File", role: "Target object", name: activity.object, id: &id },
                ActivityObject {
                    kind: "User",
                    role: "Actor",
                    name: &activity.person.display_name,
                    id: &who.object_id,
                },
            ],
            object_name: activity.object,
            object_type: "File",
            object_id: &id,
            report_id: &report,
            account_type: "Regular",
            is_external_user: false,
            is_impersonated: false,
            ip_tags: [],
            ip_category: if activity.ip == company.nat_ip { "Corporate" } else { "Other" },
            user_agent_tags: [],
            raw_event_data: RawEvent {
                creation_time: Stamp::Seconds(at),
                id: &id,
                operation: activity.action,
                organization_id: &company.entra_tenant,
                record_type: 6,
                user_type: 0,
                version: 1,
                workload: "SharePoint",
                user_id: &who.upn,
                client_ip: activity.ip,
                object_id: activity.object,
            },
            additional_fields: Additional { is_satellite_provider: false },
        };
        self.stream(Source::DefenderApp, "CloudAppEvents", at, &who.upn, &report, row);
    }
}
