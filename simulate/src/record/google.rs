//! Google Workspace activity reports.

use event::Time;
use serde::Serialize;

use crate::clock::Stamp;
use crate::company::Person;
use crate::record::{Recorder, Source};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Activity<'a> {
    kind: &'static str,
    id: Id<'a>,
    etag: String,
    actor: Actor<'a>,
    ip_address: &'a str,
    events: [Event<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Id<'a> {
    time: Stamp,
    unique_qualifier: &'a str,
    application_name: &'static str,
    customer_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Actor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_type: Option<&'static str>,
    email: &'a str,
    profile_id: &'a str,
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    parameters: Vec<Parameter<'a>>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Parameter<'a> {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bool_value: Option<bool>,
}

const fn text<'a>(name: &'static str, value: &'a str) -> Parameter<'a> {
    Parameter { name, value: Some(value), multi_value: None, bool_value: None }
}

const fn flag<'a>(name: &'static str, value: bool) -> Parameter<'a> {
    Parameter { name, value: None, multi_value: None, bool_value: Some(value) }
}

impl Recorder<'_> {
    /// Someone signs in to Google, or fails to.
    pub(crate) fn google_login(&mut self, at: Time, who: &Person, ip: &str, success: bool) {
        let mut parameters = vec![
            text("login_type", "saml"),
            Parameter {
                multi_value: Some(["password"]),
                name: "login_challenge_method",
                ..Parameter::default()
            },
        ];
        parameters.push(if success {
            flag("is_suspicious", false)
        } else {
            text("login_failure_type", "login_failure_invalid_password")
        });
        let name = if success { "login_success" } else { "login_failure" };
        self.google_activity(at, "login", who, ip, Event { kind: "login", name, parameters });
    }

    /// A document of Drive is viewed, edited or downloaded.
    pub(crate) fn drive(&mut self, at: Time, who: &Person, ip: &str, action: &'static str, document: &str) {
        let id = self.company.guid_of(document).to_string().replace('-', "");
        let parameters = vec![
            flag("primary_event", true),
            flag("billable", true),
            text("doc_id", &id),
            text("doc_type", "document"),
            flag("is_encrypted", false),
            text("doc_title", document),
            text("visibility", "people_within_domain_with_link"),
            text("originating_app_id", "691301496089"),
            flag("actor_is_collaborator_account", false),
            text("owner", &who.identity.upn),
            flag("owner_is_shared_drive", false),
            flag("owner_is_team_drive", false),
        ];
        self.google_activity(at, "drive", who, ip, Event { kind: "access", name: action, parameters });
    }

    fn google_activity(
        &mut self,
        at: Time,
        application: &'static str,
        who: &Person,
        ip: &str,
        event: Event<'_>,
    ) {
        let qualifier = (self.dice.bits() as i64).to_string();
        let etag = format!("\"{}/{}\"", &self.company.google_customer, self.dice.hex(14));
        let row = Activity {
            kind: "admin#reports#activity",
            id: Id {
                time: Stamp::Millis(at),
                unique_qualifier: &qualifier,
                application_name: application,
                customer_id: &self.company.google_customer,
            },
            etag,
            actor: Actor {
                caller_type: (application != "login").then_some("USER"),
                email: &who.identity.upn,
                profile_id: &who.google_profile,
            },
            ip_address: ip,
            events: [event],
        };
        // The activity, and the place of the event in it.
        let uid = format!("{application}/{}/{qualifier}/0", Stamp::Millis(at));
        self.push_json(Source::Google, at, &who.identity.upn, uid, &row);
    }
}
