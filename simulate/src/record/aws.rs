//! AWS CloudTrail records.

use event::Time;
use serde::Serialize;

use crate::clock::Stamp;
use crate::record::{Recorder, Source};

/// A call of the AWS API by someone with a federated role.
pub(crate) struct ApiCall<'a> {
    /// Who: the session name of the role, a UPN for people
    pub(crate) session: &'a str,
    pub(crate) role: &'a str,
    pub(crate) ip: &'a str,
    pub(crate) agent: &'static str,
    /// `iam.amazonaws.com`
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) read_only: bool,
    /// Name and value of the one request parameter worth telling, if any
    pub(crate) parameter: Option<(&'static str, &'a str)>,
    /// Why it was refused, if it was
    pub(crate) error: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    event_version: &'static str,
    user_identity: UserIdentity<'a>,
    event_time: Stamp,
    event_source: &'static str,
    event_name: &'static str,
    aws_region: &'static str,
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: &'a str,
    user_agent: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    request_parameters: Option<Parameters<'a>>,
    response_elements: Option<&'static str>,
    #[serde(rename = "requestID")]
    request_id: String,
    #[serde(rename = "eventID")]
    event_id: &'a str,
    read_only: bool,
    event_type: &'static str,
    management_event: bool,
    recipient_account_id: &'a str,
    event_category: &'static str,
    tls_details: Tls,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserIdentity<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    principal_id: String,
    arn: String,
    account_id: &'a str,
    access_key_id: String,
    session_context: SessionContext<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionContext<'a> {
    session_issuer: Issuer<'a>,
    attributes: Attributes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Issuer<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    principal_id: String,
    arn: String,
    account_id: &'a str,
    user_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    creation_date: Stamp,
    mfa_authenticated: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tls {
    tls_version: &'static str,
    cipher_suite: &'static str,
    client_provided_host_header: String,
}

struct Parameters<'a>(&'static str, &'a str);

impl Serialize for Parameters<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, self.1)])
    }
}

impl Recorder<'_> {
    /// The AWS API is called.
    pub(crate) fn aws_call(&mut self, at: Time, call: &ApiCall<'_>) {
        let id = self.dice.guid().to_string();
        let account = &self.company.aws_account;
        // A role and a session keep their ids from call to call.
        let key = |what: &str| self.company.guid_of(what).to_string().replace('-', "").to_uppercase();
        let role_id = format!("AROA{}", &key(call.role)[..17]);
        let row = Event {
            event_version: "1.09",
            user_identity: UserIdentity {
                kind: "AssumedRole",
                principal_id: format!("{role_id}:{}", call.session),
                arn: format!("arn:aws:sts::{account}:assumed-role/{}/{}", call.role, call.session),
                account_id: account,
                access_key_id: format!("ASIA{}", &key(&format!("{}/{}", call.session, call.ip))[..16]),
                session_context: SessionContext {
                    session_issuer: Issuer {
                        kind: "Role",
                        principal_id: role_id.clone(),
                        arn: format!("arn:aws:iam::{account}:role/{}", call.role),
                        account_id: account,
                        user_name: call.role,
                    },
                    attributes: Attributes {
                        creation_date: Stamp::Seconds(at.plus_micros(-900_000_000)),
                        mfa_authenticated: "false",
                    },
                },
            },
            event_time: Stamp::Seconds(at),
            event_source: call.service,
            event_name: call.name,
            aws_region: "eu-west-1",
            source_ip_address: call.ip,
            user_agent: call.agent,
            error_code: call.error,
            error_message: call.error.map(|_| format!("User is not authorized to perform {}", call.name)),
            request_parameters: call.parameter.map(|(name, value)| Parameters(name, value)),
            response_elements: None,
            request_id: self.dice.guid().to_string(),
            event_id: &id,
            read_only: call.read_only,
            event_type: "AwsApiCall",
            management_event: true,
            recipient_account_id: account,
            event_category: "Management",
            tls_details: Tls {
                tls_version: "TLSv1.3",
                cipher_suite: "TLS_AES_128_GCM_SHA256",
                client_provided_host_header: call.service.replace(".amazonaws", ".eu-west-1.amazonaws"),
            },
        };
        self.push_json(Source::Aws, at, call.session, id.clone(), &row);
    }
}
