//! The catalogue: a line for each verb.

use std::fmt;

use event::{Countermeasure, EntityType, RiskClass};

use super::Verb;
use super::argument::Argument;

/// All that is known of a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerbSpec {
    /// The verb.
    pub verb: Verb,
    /// What it can be done to.
    pub targets: &'static [EntityType],
    /// What it does to an effect.
    pub part: Part,
    /// How much it can break, before the target raises it.
    pub risk: RiskClass,
    /// Its arguments.
    pub arguments: &'static [Argument],
    /// Its form in OpenC2.
    pub openc2: OpenC2,
    /// Its D3FEND tactic, which is the `activity_id` of OCSF's remediation activities.
    pub countermeasure: Countermeasure,
    /// The remediation class of OCSF that fits it best: 7001, 7002 of a file, 7003 of a process, 7004 of the network.
    /// Records go out as 7001, with the target in their observables.
    pub ocsf_class: u16,
    /// Weaker verbs that have nothing left to do on a target while the effect of this one holds.
    pub contains: &'static [Verb],
}

/// What a verb does to an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Brings an effect of this kind about; it holds until it is taken back.
    Begins(&'static str),
    /// Ends an effect of this kind.
    Ends(&'static str),
    /// Is done, and leaves nothing that could be taken back.
    Once,
}

impl Part {
    /// The kind of the effect, if there is one.
    pub const fn effect(self) -> Option<&'static str> {
        match self {
            Begins(effect) | Ends(effect) => Some(effect),
            Once => None,
        }
    }
}

/// The form of a verb in the OpenC2 language 1.0: its action and the kind of its target. What the language and its
/// profile for endpoint response have no word for is an extension of ours (`x-asterism:...`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenC2 {
    /// Action.
    pub action: &'static str,
    /// Target.
    pub target: &'static str,
}

use Countermeasure::{Detect, Evict, Harden, Isolate, Restore};
use EntityType::{
    App, CloudResource, Device, Domain, File, Ip, Mailbox, Message, Process, Session, Url, User,
};
use Part::{Begins, Ends, Once};
use RiskClass::{R0, R1, R2, R3, R4};

const ANY: &[EntityType] =
    &[User, Device, Process, File, Ip, Domain, Url, Mailbox, Message, App, Session, CloudResource];
const INDICATORS: &[EntityType] = &[File, Ip, Domain, Url];

const ISOLATION: &[Argument] =
    &[Argument::choice("isolation_type", "selective leaves mail and chat working", &["full", "selective"])];
const DEPTH: &[Argument] = &[Argument::choice("depth", "how much is looked at", &["quick", "full"])];
const TAG: &[Argument] = &[Argument::text("tag", "the tag").scope()];
const BLOCK: &[Argument] =
    &[Argument::choice("mode", "what happens where it is met", &["block", "warn", "audit"])];
const FOLDER: &[Argument] =
    &[Argument::choice("folder", "where it goes", &["junk", "deleted_items", "quarantine"])];
const CHANNEL: &[Argument] =
    &[Argument::text("channel", "who is told: the name of a configured channel").scope()];
const QUEUE: &[Argument] = &[Argument::text("queue", "where the ticket is opened").scope()];
const TICKET: &[Argument] =
    &[Argument::text("ticket", "which ticket: the id of the action that opened it").scope()];
const SCRIPT: &[Argument] =
    &[Argument::text("script", "which script: its name in the library of the EDR").scope()];
const PLAYBOOK: &[Argument] = &[Argument::text("playbook", "the playbook's name").scope()];

/// A verb that brings an effect about or ends it, or is done once; nothing weaker is in it.
const fn line(
    verb: Verb,
    targets: &'static [EntityType],
    part: Part,
    risk: RiskClass,
    arguments: &'static [Argument],
    openc2: (&'static str, &'static str),
    countermeasure: Countermeasure,
) -> VerbSpec {
    let openc2 = OpenC2 { action: openc2.0, target: openc2.1 };
    VerbSpec { verb, targets, part, risk, arguments, openc2, countermeasure, ocsf_class: 7001, contains: &[] }
}

const fn of_class(spec: VerbSpec, ocsf_class: u16) -> VerbSpec {
    VerbSpec { ocsf_class, ..spec }
}

const fn containing(spec: VerbSpec, contains: &'static [Verb]) -> VerbSpec {
    VerbSpec { contains, ..spec }
}

#[rustfmt::skip]
pub(super) const fn spec(verb: Verb) -> VerbSpec {
    const NONE: &[Argument] = &[];
    match verb {
        Verb::HostIsolate => line(verb, &[Device], Begins("host.isolated"), R2, ISOLATION, ("contain", "device"), Isolate),
        Verb::HostRelease => line(verb, &[Device], Ends("host.isolated"), R2, NONE, ("allow", "device"), Restore),
        Verb::HostRestrictApps => line(verb, &[Device], Begins("host.apps_restricted"), R2, NONE, ("contain", "device"), Isolate),
        Verb::HostUnrestrictApps => line(verb, &[Device], Ends("host.apps_restricted"), R2, NONE, ("allow", "device"), Restore),
        Verb::HostScan => line(verb, &[Device], Once, R1, DEPTH, ("scan", "device"), Detect),
        Verb::HostCollectPackage => line(verb, &[Device], Once, R0, NONE, ("investigate", "device"), Detect),
        Verb::HostTag => line(verb, &[Device], Begins("host.tagged"), R1, TAG, ("set", "x-asterism:device_tag"), Harden),
        Verb::HostUntag => line(verb, &[Device], Ends("host.tagged"), R1, TAG, ("delete", "x-asterism:device_tag"), Restore),
        Verb::HostMarkNoncompliant => line(verb, &[Device], Begins("host.noncompliant"), R1, NONE, ("set", "x-asterism:device_compliance"), Harden),
        Verb::HostMarkCompliant => line(verb, &[Device], Ends("host.noncompliant"), R1, NONE, ("set", "x-asterism:device_compliance"), Restore),
        Verb::HostLiveResponse => line(verb, &[Device], Once, R4, SCRIPT, ("start", "x-asterism:device_script"), Detect),
        Verb::HostOffboard => line(verb, &[Device], Once, R4, NONE, ("delete", "device"), Evict),
        Verb::ProcessKill => of_class(line(verb, &[Process], Once, R2, NONE, ("stop", "process"), Evict), 7003),
        Verb::ProcessSuspend => of_class(line(verb, &[Process], Begins("process.suspended"), R1, NONE, ("contain", "process"), Isolate), 7003),
        Verb::ProcessResume => of_class(line(verb, &[Process], Ends("process.suspended"), R1, NONE, ("start", "process"), Restore), 7003),
        Verb::FileQuarantine => of_class(line(verb, &[File], Begins("file.quarantined"), R2, NONE, ("contain", "file"), Isolate), 7002),
        Verb::FileRestore => of_class(line(verb, &[File], Ends("file.quarantined"), R2, NONE, ("restore", "file"), Restore), 7002),
        Verb::FileDelete => of_class(line(verb, &[File], Once, R4, NONE, ("delete", "file"), Evict), 7002),
        Verb::IndicatorBlock => of_class(line(verb, INDICATORS, Begins("indicator.blocked"), R3, BLOCK, ("deny", "x-asterism:indicator"), Isolate), 7004),
        Verb::IndicatorUnblock => of_class(line(verb, INDICATORS, Ends("indicator.blocked"), R3, NONE, ("allow", "x-asterism:indicator"), Restore), 7004),
        Verb::NetworkBlock => of_class(line(verb, &[Ip, Domain], Begins("network.blocked"), R3, NONE, ("deny", "ipv4_net"), Isolate), 7004),
        Verb::NetworkUnblock => of_class(line(verb, &[Ip, Domain], Ends("network.blocked"), R3, NONE, ("allow", "ipv4_net"), Restore), 7004),
        Verb::UserDisable => containing(line(verb, &[User], Begins("user.disabled"), R2, NONE, ("set", "er:account"), Isolate), &[Verb::UserContain]),
        Verb::UserEnable => line(verb, &[User], Ends("user.disabled"), R2, NONE, ("set", "er:account"), Restore),
        Verb::UserRevokeSessions => line(verb, &[User], Once, R1, NONE, ("stop", "x-asterism:user_sessions"), Evict),
        Verb::UserRequireReauth => line(verb, &[User], Once, R1, NONE, ("set", "x-asterism:user_sessions"), Evict),
        Verb::UserRevokeGrants => line(verb, &[User], Once, R2, NONE, ("delete", "x-asterism:user_grants"), Evict),
        Verb::UserForcePasswordReset => line(verb, &[User], Once, R2, NONE, ("set", "x-asterism:user_password"), Harden),
        Verb::UserMarkCompromised => line(verb, &[User], Begins("user.compromised"), R1, NONE, ("set", "x-asterism:user_risk"), Detect),
        Verb::UserDismissRisk => line(verb, &[User], Ends("user.compromised"), R1, NONE, ("set", "x-asterism:user_risk"), Restore),
        Verb::UserContain => line(verb, &[User], Begins("user.contained"), R2, NONE, ("contain", "er:account"), Isolate),
        Verb::UserRelease => line(verb, &[User], Ends("user.contained"), R2, NONE, ("allow", "er:account"), Restore),
        Verb::SessionRevoke => line(verb, &[Session], Once, R1, NONE, ("stop", "x-asterism:session"), Evict),
        Verb::EmailMove => line(verb, &[Message], Begins("email.moved"), R1, FOLDER, ("set", "x-asterism:message_folder"), Evict),
        Verb::EmailMoveBack => line(verb, &[Message], Ends("email.moved"), R1, NONE, ("restore", "x-asterism:message_folder"), Restore),
        Verb::EmailSoftDelete => containing(line(verb, &[Message], Begins("email.deleted"), R2, NONE, ("delete", "x-asterism:message"), Evict), &[Verb::EmailMove]),
        Verb::EmailRestore => line(verb, &[Message], Ends("email.deleted"), R2, NONE, ("restore", "x-asterism:message"), Restore),
        Verb::EmailHardDelete => line(verb, &[Message], Once, R4, NONE, ("delete", "x-asterism:message"), Evict),
        Verb::EmailBlockSender => line(verb, &[Mailbox, Domain], Begins("email.sender_blocked"), R3, NONE, ("deny", "email_addr"), Isolate),
        Verb::EmailUnblockSender => line(verb, &[Mailbox, Domain], Ends("email.sender_blocked"), R3, NONE, ("allow", "email_addr"), Restore),
        Verb::EmailDisableForwarding => line(verb, &[Mailbox], Begins("email.forwarding_disabled"), R2, NONE, ("delete", "x-asterism:forwarding"), Evict),
        Verb::EmailRestoreForwarding => line(verb, &[Mailbox], Ends("email.forwarding_disabled"), R2, NONE, ("restore", "x-asterism:forwarding"), Restore),
        Verb::AppRevokeGrant => line(verb, &[App], Begins("app.grant_revoked"), R2, NONE, ("delete", "x-asterism:app_grant"), Evict),
        Verb::AppRestoreGrant => line(verb, &[App], Ends("app.grant_revoked"), R2, NONE, ("restore", "x-asterism:app_grant"), Restore),
        Verb::AppDisable => containing(line(verb, &[App], Begins("app.disabled"), R3, NONE, ("set", "x-asterism:app"), Isolate), &[Verb::AppRevokeGrant]),
        Verb::AppEnable => line(verb, &[App], Ends("app.disabled"), R3, NONE, ("set", "x-asterism:app"), Restore),
        Verb::NotifySend => line(verb, ANY, Once, R0, CHANNEL, ("create", "x-asterism:notice"), Detect),
        Verb::TicketCreate => line(verb, ANY, Once, R0, QUEUE, ("create", "x-asterism:ticket"), Detect),
        Verb::TicketClose => line(verb, ANY, Once, R0, TICKET, ("set", "x-asterism:ticket"), Restore),
        Verb::TicketReopen => line(verb, ANY, Once, R0, TICKET, ("set", "x-asterism:ticket"), Detect),
        Verb::PlaybookRun => line(verb, ANY, Once, R2, PLAYBOOK, ("start", "x-asterism:playbook"), Detect),
    }
}

/// A line for people.
impl fmt::Display for VerbSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<&str> = self.targets.iter().map(|t| t.as_str()).collect();
        let arguments: Vec<&str> = self.arguments.iter().map(|a| a.name).collect();
        let part = match self.part {
            Begins(effect) => format!("begins {effect}"),
            Ends(effect) => format!("ends {effect}"),
            Once => "once".to_owned(),
        };
        write!(
            f,
            "{:<24} {:<28} {:?} on {} with [{}]; {:?}, OCSF {}, OpenC2 {} {}",
            self.verb.as_str(),
            part,
            self.risk,
            targets.join(" "),
            arguments.join(" "),
            self.countermeasure,
            self.ocsf_class,
            self.openc2.action,
            self.openc2.target,
        )
    }
}
