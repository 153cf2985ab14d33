//! Okta system log events.

use event::Time;
use serde::Serialize;

use crate::clock::Stamp;
use crate::company::Person;
use crate::names::Place;
use crate::record::{Recorder, Source};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogEvent<'a> {
    actor: Actor<'a>,
    client: Client<'a>,
    device: Option<&'static str>,
    authentication_context: AuthenticationContext<'a>,
    display_message: &'static str,
    event_type: &'static str,
    outcome: Outcome,
    published: Stamp,
    security_context: SecurityContext,
    severity: &'static str,
    debug_context: DebugContext<'a>,
    legacy_event_type: &'static str,
    transaction: Transaction<'a>,
    uuid: &'a str,
    version: &'static str,
    request: Request<'a>,
    target: [Target<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Actor<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    alternate_id: &'a str,
    display_name: &'a str,
    detail_entry: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Client<'a> {
    user_agent: UserAgent,
    zone: &'static str,
    device: &'static str,
    id: Option<&'static str>,
    ip_address: &'a str,
    geographical_context: Geography,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserAgent {
    raw_user_agent: &'static str,
    os: &'static str,
    browser: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Geography {
    city: &'static str,
    state: &'static str,
    country: &'static str,
    postal_code: &'static str,
    geolocation: Location,
}

#[derive(Serialize)]
struct Location {
    lat: f64,
    lon: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthenticationContext<'a> {
    authentication_provider: Option<&'static str>,
    credential_provider: Option<&'static str>,
    credential_type: Option<&'static str>,
    authentication_step: u8,
    external_session_id: &'a str,
}

#[derive(Serialize)]
struct Outcome {
    result: &'static str,
    reason: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    as_number: u32,
    as_org: &'static str,
    isp: &'static str,
    domain: &'static str,
    is_proxy: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DebugContext<'a> {
    debug_data: DebugData<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DebugData<'a> {
    request_id: &'a str,
    dt_hash: &'a str,
    request_uri: &'static str,
    threat_suspected: &'static str,
    url: &'static str,
}

#[derive(Serialize)]
struct Transaction<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    detail: Empty,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    ip_chain: [Hop<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hop<'a> {
    ip: &'a str,
    geographical_context: Geography,
    version: &'static str,
    source: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    alternate_id: &'a str,
    display_name: &'a str,
    detail_entry: Option<&'static str>,
}

fn geography(place: &'static Place) -> Geography {
    Geography {
        city: place.city,
        state: place.state,
        country: place.country_name,
        postal_code: "",
        geolocation: Location { lat: place.latitude, lon: place.longitude },
    }
}

fn client<'a>(ip: &'a str, place: &'static Place, agent: &'static str) -> Client<'a> {
    Client {
        user_agent: UserAgent { raw_user_agent: agent, os: "Windows 10", browser: "EDGE" },
        zone: "null",
        device: "Computer",
        id: None,
        ip_address: ip,
        geographical_context: geography(place),
    }
}

fn security_context(place: &'static Place) -> SecurityContext {
    SecurityContext {
        as_number: place.asn,
        as_org: place.isp,
        isp: place.isp,
        domain: "isp.example",
        is_proxy: false,
    }
}

impl Recorder<'_> {
    /// Someone starts an Okta session, or fails to.
    pub(crate) fn okta_session(
        &mut self,
        at: Time,
        who: &Person,
        ip: &str,
        place: &'static Place,
        agent: &'static str,
        success: bool,
    ) {
        let (uuid, session, request) = (self.dice.guid().to_string(), self.dice.hex(12), self.dice.hex(10));
        let hash = self.dice.hex(32);
        let row = LogEvent {
            actor: Actor {
                id: &who.okta_id,
                kind: "User",
                alternate_id: &who.identity.upn,
                display_name: &who.display_name,
                detail_entry: None,
            },
            client: client(ip, place, agent),
            device: None,
            authentication_context: AuthenticationContext {
                authentication_provider: None,
                credential_provider: None,
                credential_type: None,
                authentication_step: 0,
                external_session_id: &session,
            },
            display_message: "User login to Okta",
            event_type: "user.session.start",
            outcome: Outcome {
                result: if success { "SUCCESS" } else { "FAILURE" },
                reason: (!success).then_some("INVALID_CREDENTIALS"),
            },
            published: Stamp::Millis(at),
            security_context: security_context(place),
            severity: if success { "INFO" } else { "WARN" },
            debug_context: DebugContext {
                debug_data: DebugData {
                    request_id: &request,
                    dt_hash: &hash,
                    request_uri: "/idp/idx/identify",
                    threat_suspected: "false",
                    url: "/idp/idx/identify?",
                },
            },
            legacy_event_type: if success {
                "core.user_auth.login_success"
            } else {
                "core.user_auth.login_failed"
            },
            transaction: Transaction { kind: "WEB", id: &request, detail: Empty {} },
            uuid: &uuid,
            version: "0",
            request: Request {
                ip_chain: [Hop { ip, geographical_context: geography(place), version: "V4", source: None }],
            },
            target: [Target {
                id: &session,
                kind: "AppInstance",
                alternate_id: "Okta Dashboard",
                display_name: "Okta Dashboard",
                detail_entry: None,
            }],
        };
        self.push_json(Source::Okta, at, &who.identity.upn, uuid.clone(), &row);
    }
}
