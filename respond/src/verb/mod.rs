//! The verbs: what can be done, to what, how it is undone, which effect it holds.

mod argument;
mod catalogue;

use std::collections::BTreeMap;
use std::fmt;

use event::{EntityType, RiskClass};
use serde::{Deserialize, Serialize};

pub use argument::{Argument, Values};
pub use catalogue::{OpenC2, Part, VerbSpec};

macro_rules! verbs {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// Something that can be done to a target. What it does is told by [`Verb::spec`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Verb { $($(#[$doc])* #[serde(rename = $name)] $variant),+ }

        impl Verb {
            /// Every verb.
            pub const ALL: &'static [Verb] = &[$(Verb::$variant),+];

            /// The name used in rules, actions and the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Verb::$variant => $name),+ }
            }

            /// The verb of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Verb::$variant),)+ _ => None }
            }
        }
    };
}

verbs!(
    /// Cuts a device off the network; its EDR agent stays reachable.
    HostIsolate = "host.isolate",
    /// Gives an isolated device its network back.
    HostRelease = "host.release",
    /// Lets only signed programs of the system's maker run.
    HostRestrictApps = "host.restrict_apps",
    /// Lets all programs run again.
    HostUnrestrictApps = "host.unrestrict_apps",
    /// Scans a device for malware.
    HostScan = "host.scan",
    /// Collects forensic files of a device.
    HostCollectPackage = "host.collect_package",
    /// Puts a tag on a device.
    HostTag = "host.tag",
    /// Takes a tag off a device.
    HostUntag = "host.untag",
    /// Tells device management that a device does not comply, so that access policies turn it away.
    HostMarkNoncompliant = "host.mark_noncompliant",
    /// Tells device management that a device complies again.
    HostMarkCompliant = "host.mark_compliant",
    /// Runs a script on a device that the EDR holds ready.
    HostLiveResponse = "host.live_response",
    /// Removes a device from the EDR for good.
    HostOffboard = "host.offboard",
    /// Ends a process.
    ProcessKill = "process.kill",
    /// Stops a process where it is.
    ProcessSuspend = "process.suspend",
    /// Lets a suspended process go on.
    ProcessResume = "process.resume",
    /// Moves a file out of reach.
    FileQuarantine = "file.quarantine",
    /// Puts a quarantined file back.
    FileRestore = "file.restore",
    /// Deletes a file.
    FileDelete = "file.delete",
    /// Blocks a hash, address, domain or URL on all devices.
    IndicatorBlock = "indicator.block",
    /// Allows a blocked indicator again.
    IndicatorUnblock = "indicator.unblock",
    /// Blocks an address or domain in the network.
    NetworkBlock = "network.block",
    /// Allows it in the network again.
    NetworkUnblock = "network.unblock",
    /// Disables an account.
    UserDisable = "user.disable",
    /// Enables a disabled account.
    UserEnable = "user.enable",
    /// Ends all sessions of an account.
    UserRevokeSessions = "user.revoke_sessions",
    /// Makes an account sign in again where it is used next.
    UserRequireReauth = "user.require_reauth",
    /// Takes back all rights that an account gave to applications; only its owner can give them again.
    UserRevokeGrants = "user.revoke_grants",
    /// Makes an account choose a new password.
    UserForcePasswordReset = "user.force_password_reset",
    /// Tells the identity provider that an account is compromised: its risk becomes high.
    UserMarkCompromised = "user.mark_compromised",
    /// Tells the identity provider that an account is safe again.
    UserDismissRisk = "user.dismiss_risk",
    /// Keeps an account from signing in to devices that are not yet compromised.
    UserContain = "user.contain",
    /// Lets a contained account sign in to devices again.
    UserRelease = "user.release",
    /// Ends one session.
    SessionRevoke = "session.revoke",
    /// Moves a message out of the inbox.
    EmailMove = "email.move",
    /// Moves a message back to where it was.
    EmailMoveBack = "email.move_back",
    /// Deletes a message so that it can be recovered.
    EmailSoftDelete = "email.soft_delete",
    /// Recovers a deleted message.
    EmailRestore = "email.restore",
    /// Deletes a message for good.
    EmailHardDelete = "email.hard_delete",
    /// Blocks mail of a sender or domain.
    EmailBlockSender = "email.block_sender",
    /// Lets mail of a sender or domain through again.
    EmailUnblockSender = "email.unblock_sender",
    /// Switches off the rules by which a mailbox sends mail on.
    EmailDisableForwarding = "email.disable_forwarding",
    /// Puts these rules back.
    EmailRestoreForwarding = "email.restore_forwarding",
    /// Takes the rights that users gave an application back.
    AppRevokeGrant = "app.revoke_grant",
    /// Gives an application these rights again.
    AppRestoreGrant = "app.restore_grant",
    /// Disables an application in the tenant.
    AppDisable = "app.disable",
    /// Enables it again.
    AppEnable = "app.enable",
    /// Tells people.
    NotifySend = "notify.send",
    /// Opens a ticket.
    TicketCreate = "ticket.create",
    /// Closes a ticket that an action has opened.
    TicketClose = "ticket.close",
    /// Opens a ticket again that an action has closed.
    TicketReopen = "ticket.reopen",
    /// Starts a playbook.
    PlaybookRun = "playbook.run",
);

impl Verb {
    /// All that is known of it.
    pub const fn spec(self) -> VerbSpec {
        catalogue::spec(self)
    }

    /// The verb that takes this one back; none where nothing can, or nothing must.
    pub fn inverse(self) -> Option<Verb> {
        let other = |verb: &Verb| *verb != self && verb.spec().part.effect() == self.spec().part.effect();
        self.spec().part.effect().and_then(|_| Verb::ALL.iter().copied().find(other))
    }

    /// The verb that closes what this one opens: it follows when the incident is over.
    pub const fn closed_by(self) -> Option<Verb> {
        match self {
            Verb::TicketCreate => Some(Verb::TicketClose),
            _ => None,
        }
    }

    /// The verb that opens again what this one closes: it follows when the incident goes on.
    pub const fn reopened_by(self) -> Option<Verb> {
        match self {
            Verb::TicketClose => Some(Verb::TicketReopen),
            _ => None,
        }
    }

    /// Whether it follows from what another one has done: nobody asks for it.
    pub fn is_consequence(self) -> bool {
        Verb::ALL.iter().any(|verb| [verb.closed_by(), verb.reopened_by()].contains(&Some(self)))
    }

    /// The verb by which people take back what it has done, if anything does.
    pub fn undone_by(self) -> Option<Verb> {
        self.inverse().filter(|_| self.holds()).or(self.closed_by())
    }

    /// The kind of effect that it brings about or ends, or, where it is done once and leaves none, its own name.
    pub const fn deed(self) -> &'static str {
        match self.spec().part.effect() {
            Some(effect) => effect,
            None => self.as_str(),
        }
    }

    /// Whether it does something to its target; else it ends the effect of a verb that did.
    pub const fn applies(self) -> bool {
        !matches!(self.spec().part, Part::Ends(_))
    }

    /// Whether it brings about an effect that holds until it is taken back.
    pub const fn holds(self) -> bool {
        matches!(self.spec().part, Part::Begins(_))
    }

    /// Risk class before the target raises it.
    pub const fn risk(self) -> RiskClass {
        self.spec().risk
    }

    /// Whether it can be done to an entity of this type.
    pub fn takes(self, entity_type: EntityType) -> bool {
        self.spec().targets.contains(&entity_type)
    }

    /// The verbs whose effect, where it holds on a target, leaves this one nothing to do.
    pub fn contained_in(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.iter().copied().filter(move |verb| verb.spec().contains.contains(&self))
    }

    /// Checks arguments and fills in defaults; the error names the argument and its values.
    pub fn complete_args(self, args: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
        argument::complete(self.as_str(), self.spec().arguments, args)
    }

    /// The arguments as a JSON Schema (2020-12).
    pub fn schema(self) -> serde_json::Value {
        argument::schema(self.spec().arguments)
    }

    /// What tells effects of one kind on one target apart: two tags on one device are two effects.
    pub fn scope(self, args: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
        let scoped = self.spec().arguments.iter().filter(|argument| argument.is_scope);
        scoped.filter_map(|argument| args.get(argument.name)).map(String::as_str)
    }

    /// Those of another verb's arguments that this one has as well: what takes an action back needs them.
    pub fn shared_args(self, args: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let known = |name: &String| self.spec().arguments.iter().any(|argument| argument.name == name);
        args.iter().filter(|(name, _)| known(name)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverses_share_their_effect_and_go_both_ways() {
        for verb in Verb::ALL.iter().copied() {
            assert_eq!(Verb::from_name(verb.as_str()), Some(verb));
            let Some(inverse) = verb.inverse() else {
                assert!(matches!(verb.spec().part, Part::Once), "{verb}: an effect that nothing ends");
                continue;
            };
            assert_eq!((inverse.inverse(), inverse.deed()), (Some(verb), verb.deed()), "{verb}");
            assert_ne!(inverse.applies(), verb.applies(), "{verb}");
            assert_eq!(inverse.spec().targets, verb.spec().targets, "{verb}");
            let scope = |verb: Verb| verb.spec().arguments.iter().filter(|a| a.is_scope).map(|a| a.name);
            assert!(scope(verb).eq(scope(inverse)), "{verb}");
        }
    }

    #[test]
    fn what_cannot_be_undone_and_breaks_things_is_of_the_highest_class() {
        let gentle = |verb: Verb| verb.risk() <= RiskClass::R2;
        for verb in Verb::ALL.iter().copied().filter(|verb| matches!(verb.spec().part, Part::Once)) {
            assert!(gentle(verb) || verb.risk() == RiskClass::R4, "{verb}");
        }
        for name in ["host.live_response", "host.offboard", "file.delete", "email.hard_delete"] {
            assert_eq!(Verb::from_name(name).unwrap().risk(), RiskClass::R4);
        }
    }

    #[test]
    fn arguments_are_checked() {
        let args = |k: &str, v: &str| BTreeMap::from([(k.to_owned(), v.to_owned())]);
        let full = Verb::HostIsolate.complete_args(&BTreeMap::new()).unwrap();
        assert_eq!(full, args("isolation_type", "full"));
        let error = Verb::HostIsolate.complete_args(&args("isolation_type", "total")).unwrap_err();
        assert_eq!(error, "isolation_type is \"total\", expected one of full, selective");
        assert_eq!(
            Verb::HostRelease.complete_args(&args("force", "1")).unwrap_err(),
            "host.release has no argument \"force\""
        );
        assert_eq!(
            Verb::HostTag.complete_args(&BTreeMap::new()).unwrap_err(),
            "host.tag needs the argument tag: the tag"
        );
        assert!(Verb::HostTag.complete_args(&args("tag", &"x".repeat(500))).is_err());
        assert!(Verb::HostTag.complete_args(&args("tag", "a\nb")).is_err());
    }

    #[test]
    fn a_stronger_verb_contains_the_weaker_one() {
        assert!(Verb::EmailMove.contained_in().eq([Verb::EmailSoftDelete]));
        for verb in Verb::ALL.iter().copied() {
            for weaker in verb.spec().contains {
                assert!(verb.holds() && weaker.risk() <= verb.risk(), "{verb} contains {weaker}");
            }
        }
    }

    #[test]
    fn the_catalogue_is_as_it_was() {
        let lines: Vec<String> = Verb::ALL.iter().map(|verb| verb.spec().to_string()).collect();
        insta::assert_snapshot!(lines.join("\n"));
        let schemas: BTreeMap<&str, serde_json::Value> =
            Verb::ALL.iter().map(|verb| (verb.as_str(), verb.schema())).collect();
        insta::assert_json_snapshot!(schemas);
    }
}
