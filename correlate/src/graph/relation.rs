//! How the entities of one alert relate: a table from the class of its record and the parts that entities play.

use event::{Alert, Domain, Entity, EntityType, Role};

use EntityType::{App, CloudResource, Device, File, Ip, Mailbox, Message, Process, Session, Url, User};

/// When a row of the table applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// A process was launched.
    Launch,
    /// A process was opened, read or injected into.
    Memory,
    /// Something else on a host.
    Host,
    /// A sign-in or logon.
    SignIn,
    /// An account, a group or a directory object was changed.
    Account,
    /// Rights were given: access management, consent, application tokens.
    Grant,
    /// A connection, a request, a share.
    Connection,
    /// A name was looked up.
    Lookup,
    /// A mail, its links and attachments.
    Mail,
    /// A link was clicked.
    Click,
    /// An application or a cloud service was used.
    Service,
    /// A product's finding that names things without parts, on hosts and networks.
    HostFinding,
    /// The same of identities and services.
    IdentityFinding,
}

/// An end of a relation: the entities of the first role that the alert has, of any role where none is listed.
type End = (EntityType, &'static [Role]);

/// OCSF classes.
mod class {
    pub(super) const MEMORY: u32 = 1004;
    pub(super) const PROCESS: u32 = 1007;
    pub(super) const FINDING: u32 = 2004;
    pub(super) const ACCOUNT_CHANGE: u32 = 3001;
    pub(super) const AUTHENTICATION: u32 = 3002;
    pub(super) const AUTHORIZE_SESSION: u32 = 3003;
    pub(super) const ENTITY_MANAGEMENT: u32 = 3004;
    pub(super) const ACCESS_MANAGEMENT: u32 = 3005;
    pub(super) const GROUP_MANAGEMENT: u32 = 3006;
    pub(super) const DNS: u32 = 4003;
    pub(super) const EMAIL: u32 = 4009;
    pub(super) const EMAIL_FILE: u32 = 4011;
    pub(super) const EMAIL_URL: u32 = 4012;
}

const RAN_BY: &[Role] = &[Role::ProcessUser, Role::Actor];
const OWN_PROCESS: &[Role] = &[Role::Actor, Role::Target];
const WHO: &[Role] = &[Role::Target, Role::Actor];

/// Each row: when, from, to, relation.
const TABLE: &[(When, End, End, &str)] = &[
    (When::Always, (Process, &[Role::Parent]), (Process, &[Role::Target]), "parent_of"),
    (When::Always, (Process, &[Role::ActorParent]), (Process, &[Role::Actor]), "parent_of"),
    (When::Always, (Session, &[]), (User, &[Role::Actor, Role::Target]), "session_of"),
    (When::Launch, (User, RAN_BY), (Process, &[Role::Target]), "ran"),
    (When::Launch, (Process, &[Role::Target]), (Device, &[Role::Device]), "ran_on"),
    (When::Launch, (Process, &[Role::Target]), (File, &[Role::Target]), "ran_image"),
    (When::Memory, (Process, &[Role::Actor]), (Process, &[Role::Target]), "accessed"),
    (When::Memory, (User, RAN_BY), (Process, OWN_PROCESS), "ran"),
    (When::Memory, (Process, OWN_PROCESS), (Device, &[Role::Device]), "ran_on"),
    (When::Host, (User, RAN_BY), (Process, OWN_PROCESS), "ran"),
    (When::Host, (Process, OWN_PROCESS), (Device, &[Role::Device]), "ran_on"),
    (When::Host, (Process, OWN_PROCESS), (File, &[Role::Target]), "touched"),
    (When::Host, (User, RAN_BY), (Device, &[Role::Device]), "active_on"),
    (When::Host, (Process, OWN_PROCESS), (Ip, &[Role::Destination]), "connected_to"),
    (When::SignIn, (User, WHO), (Device, &[Role::Device, Role::Destination, Role::Target]), "signed_in_to"),
    (When::SignIn, (User, WHO), (App, &[Role::Target, Role::Service]), "signed_in_to"),
    (When::SignIn, (User, WHO), (Ip, &[Role::Source]), "signed_in_from"),
    (When::SignIn, (Ip, &[Role::Source]), (Device, &[Role::Device]), "connected_to"),
    (When::Account, (User, &[Role::Actor]), (User, &[Role::Target]), "changed"),
    (When::Account, (User, &[Role::Actor]), (App, &[Role::Target]), "changed"),
    (When::Account, (User, &[Role::Actor]), (Ip, &[Role::Source]), "came_from"),
    (When::Account, (User, &[Role::Actor]), (Device, &[Role::Device]), "active_on"),
    (When::Grant, (User, &[Role::Actor]), (User, &[Role::Target]), "granted"),
    (When::Grant, (User, &[Role::Actor]), (App, &[Role::Target, Role::Related]), "granted"),
    (When::Grant, (User, &[Role::Actor]), (Ip, &[Role::Source]), "came_from"),
    (When::Connection, (User, RAN_BY), (Process, &[Role::Actor]), "ran"),
    (When::Connection, (Process, &[Role::Actor]), (Device, &[Role::Device]), "ran_on"),
    (When::Connection, (Process, &[Role::Actor]), (Ip, &[Role::Destination]), "connected_to"),
    (When::Connection, (Process, &[Role::Actor]), (Url, &[Role::Target]), "connected_to"),
    (When::Connection, (Device, &[Role::Device]), (Ip, &[Role::Destination]), "connected_to"),
    (When::Connection, (Device, &[Role::Device]), (Url, &[Role::Target]), "connected_to"),
    (When::Connection, (Device, &[Role::Device]), (EntityType::Domain, &[Role::Target]), "connected_to"),
    (When::Connection, (Ip, &[Role::Source]), (Ip, &[Role::Destination]), "connected_to"),
    (When::Connection, (Ip, &[Role::Source]), (Device, &[Role::Destination]), "connected_to"),
    (When::Lookup, (Process, &[Role::Actor]), (EntityType::Domain, &[Role::Target]), "looked_up"),
    (When::Lookup, (Process, &[Role::Actor]), (Device, &[Role::Device]), "ran_on"),
    (When::Lookup, (Device, &[Role::Device]), (EntityType::Domain, &[Role::Target]), "looked_up"),
    (When::Mail, (Mailbox, &[Role::Sender]), (Message, &[Role::Target]), "sent"),
    (When::Mail, (Message, &[Role::Target]), (Mailbox, &[Role::Recipient, Role::Target]), "delivered_to"),
    (When::Mail, (Message, &[Role::Target]), (User, &[Role::Target, Role::Recipient]), "delivered_to"),
    (When::Mail, (Message, &[Role::Target]), (Url, &[]), "contained"),
    (When::Mail, (Message, &[Role::Target]), (File, &[]), "contained"),
    (When::Click, (User, &[Role::Actor]), (Url, &[Role::Target]), "clicked"),
    (When::Click, (Message, &[Role::Target]), (Url, &[Role::Target]), "contained"),
    (
        When::Service,
        (User, &[Role::Actor, Role::Target]),
        (Mailbox, &[Role::Target, Role::Owner]),
        "accessed",
    ),
    (When::Service, (User, &[Role::Actor]), (Mailbox, &[Role::Recipient]), "forwarded_to"),
    (When::Service, (User, &[Role::Actor]), (App, &[Role::Target, Role::Service]), "used"),
    (When::Service, (User, &[Role::Actor]), (CloudResource, &[]), "accessed"),
    (When::Service, (User, &[Role::Actor]), (File, &[Role::Target]), "touched"),
    (When::Service, (User, &[Role::Actor]), (User, &[Role::Target]), "changed"),
    (When::Service, (User, &[Role::Actor]), (Ip, &[Role::Source]), "came_from"),
    (When::Service, (App, &[Role::Actor, Role::Target]), (Mailbox, &[Role::Target, Role::Owner]), "accessed"),
    (When::HostFinding, (User, RAN_BY), (Process, &[]), "ran"),
    (When::HostFinding, (Process, &[]), (Device, &[Role::Device]), "ran_on"),
    (When::HostFinding, (User, &[]), (Device, &[Role::Device]), "active_on"),
    (When::HostFinding, (File, &[]), (Device, &[Role::Device]), "found_on"),
    (When::HostFinding, (Device, &[Role::Device]), (Ip, &[Role::Related, Role::Destination]), "connected_to"),
    (When::HostFinding, (Device, &[Role::Device]), (Url, &[]), "connected_to"),
    (When::HostFinding, (Device, &[Role::Device]), (EntityType::Domain, &[]), "connected_to"),
    (When::IdentityFinding, (User, &[]), (Ip, &[]), "came_from"),
    (When::IdentityFinding, (User, &[]), (App, &[]), "used"),
    (When::IdentityFinding, (User, &[]), (Mailbox, &[Role::Target, Role::Owner]), "accessed"),
    (When::IdentityFinding, (User, &[]), (CloudResource, &[]), "accessed"),
    (When::IdentityFinding, (User, &[]), (Device, &[Role::Device]), "active_on"),
];

/// Most ends of one relation in one alert: a finding with a hundred files says no more by a thousand pairs.
const ENDS_MAX: usize = 8;

/// The relations between the entities of an alert: from, to, and what the first did to the second.
pub(super) fn relations(alert: &Alert) -> Vec<(&Entity, &Entity, &'static str)> {
    let mut found = Vec::new();
    for (when, from, to, relation) in TABLE {
        if !when.applies(alert) {
            continue;
        }
        for a in end(alert, *from) {
            found.extend(end(alert, *to).filter(|b| *b != a).map(|b| (a, b, *relation)));
        }
    }
    found
}

fn end(alert: &Alert, (entity_type, roles): End) -> impl Iterator<Item = &Entity> {
    let has = |role: &Role| alert.entities.iter().any(|e| e.entity_type == entity_type && e.role == *role);
    let role = roles.iter().copied().find(|role| has(role));
    let is_end =
        move |e: &&Entity| e.entity_type == entity_type && (roles.is_empty() || Some(e.role) == role);
    alert.entities.iter().filter(is_end).take(ENDS_MAX)
}

impl When {
    fn applies(self, alert: &Alert) -> bool {
        let uid = alert.class.uid();
        let is_finding = uid == class::FINDING;
        let is_mail = matches!(uid, class::EMAIL | class::EMAIL_FILE | class::EMAIL_URL)
            || (is_finding && alert.domain == Domain::Email);
        match self {
            When::Always => true,
            When::Launch => uid == class::PROCESS,
            When::Memory => uid == class::MEMORY,
            When::Host => is_host(uid) && !matches!(uid, class::PROCESS | class::MEMORY),
            When::SignIn => matches!(uid, class::AUTHENTICATION | class::AUTHORIZE_SESSION),
            When::Account => {
                matches!(uid, class::ACCOUNT_CHANGE | class::GROUP_MANAGEMENT | class::ENTITY_MANAGEMENT)
                    && !is_grant(alert)
            }
            When::Grant => uid == class::ACCESS_MANAGEMENT || is_grant(alert),
            When::Connection => uid / 1_000 == 4 && uid != class::DNS && !is_mail,
            When::Lookup => uid == class::DNS,
            When::Mail => is_mail,
            When::Click => uid == class::EMAIL_URL,
            When::Service => uid / 1_000 == 6,
            When::HostFinding => is_finding && matches!(alert.domain, Domain::Endpoint | Domain::Network),
            When::IdentityFinding => is_finding && matches!(alert.domain, Domain::Identity | Domain::App),
        }
    }
}

fn is_host(uid: u32) -> bool {
    matches!(uid, 1_000..2_000 | 201_000..202_000)
}

/// ATT&CK: an application token was stolen by consent, or roles and credentials were added to an account.
fn is_grant(alert: &Alert) -> bool {
    alert.techniques().any(|t| matches!(&**t, "T1528" | "T1098.003" | "T1098.001"))
        && alert.class.category_uid() != 1
}

/// A relation in words: `signed in to`.
pub(super) fn words(relation: &str) -> String {
    match relation {
        "joined" => "is joined to".to_owned(),
        "parent_of" => "started".to_owned(),
        "session_of" => "is a session of".to_owned(),
        "ran_image" => "ran from".to_owned(),
        "found_on" => "was found on".to_owned(),
        "active_on" => "was active on".to_owned(),
        "delivered_to" => "was delivered to".to_owned(),
        other => other.replace('_', " "),
    }
}
