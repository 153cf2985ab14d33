//! The policy: what may run by itself, what waits for a person, what never happens.
//!
//! [`Policy::decide`] is a pure function of the proposal, the policy and the usage so far; its reasons are in
//! the order of the checks, and the first check that holds an action back decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use event::{EntityType, RiskClass, Target, TenantId, Time};
use serde::{Deserialize, Serialize};

use crate::automation::{Automation, Group};
use crate::condition::Facts;
use crate::error::RespondError;
use crate::pattern::{Pattern, Patterns};
use crate::span::Span;
use crate::verb::Verb;

/// Entities that are left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// Their names, with `*` and `?`, by type.
    pub names: Patterns,
    /// What is not done to them; everything where nothing is named.
    #[serde(default)]
    pub verbs: BTreeSet<Verb>,
    /// When it ends. There is none without an end.
    pub until: Time,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
}

/// A time in which nothing runs by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Its beginning.
    pub from: Time,
    /// Its end.
    pub until: Time,
    /// On what, by type; on everything where nothing is named.
    #[serde(default)]
    pub names: Patterns,
    /// Why.
    pub reason: String,
}

/// Kill switches of parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stopped {
    /// Tenants.
    pub tenants: BTreeSet<String>,
    /// Response rules, by id.
    pub rules: BTreeSet<String>,
    /// Verbs.
    pub verbs: BTreeSet<Verb>,
    /// Connectors, by the name of their provider.
    pub connectors: BTreeSet<String>,
}

/// When a verb is given up for a while: its provider, or what it was told, is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// So many failures ...
    pub failures: usize,
    /// ... of the last so many commands of a verb ...
    pub of: usize,
    /// ... within this time leave the next ones to a person.
    pub within: Span,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker { failures: 3, of: 5, within: Span::from_secs(1_800) }
    }
}

/// What follows when an effect no longer holds, and we have not ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// People are told.
    Tell,
    /// People are told, and may approve that it is brought about again.
    #[default]
    Ask,
    /// It is brought about again, twice at most; then people are asked.
    Reapply,
}

/// Blast-radius caps. A person's approval does not lift them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caps {
    /// Actions that one rule may start in an hour, per tenant.
    pub rule_per_hour_max: u32,
    /// Actions that all rules may start in an hour, per tenant.
    pub tenant_per_hour_max: u32,
    /// Effects that may hold at one time, per tenant.
    pub concurrent_max: u32,
}

impl Caps {
    const OF_MESSAGES: Caps = Caps { rule_per_hour_max: 50, tenant_per_hour_max: 100, concurrent_max: 500 };
}

impl Default for Caps {
    fn default() -> Self {
        // A rule that wants more than five hosts an hour has more likely gone wrong than seen a worm.
        Caps { rule_per_hour_max: 5, tenant_per_hour_max: 20, concurrent_max: 50 }
    }
}

/// Ends the reason why a dry run says that nobody here could have done it.
pub const BY_HAND: &str = ": a person would have to";

/// Ends the reason why only people can take something back.
pub(crate) const BACK_BY_HAND: &str = "take it back by hand";

/// More people than this are never asked to approve one action.
const APPROVERS_MAX: u32 = 5;

/// The policy, as configured under `[respond.policy]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Level of actions that are in no group.
    pub automation: Automation,
    /// Actions with a level of their own; the first group that an action is in decides.
    pub groups: Vec<Group>,
    /// What is never acted on: names with `*` and `?`, by type of entity.
    pub protected: Patterns,
    /// What is so critical, or privileged, that actions on it count one risk class higher.
    pub critical: Patterns,
    /// Caps.
    pub caps: Caps,
    /// The channel of `notify.send` by which people are told that a cap holds actions back; empty for none.
    pub page: String,
    /// Caps of single verbs, which then count for themselves.
    pub caps_of: BTreeMap<Verb, Caps>,
    /// After an effect has ended on a target, for how long only a person may bring it back.
    pub cool_down: Span,
    /// Stops every new effect; what holds can still be taken back.
    pub kill_switch: bool,
    /// The same for single tenants, rules, verbs and connectors.
    pub stopped: Stopped,
    /// Entities that are left alone for a while.
    pub exclusions: Vec<Exclusion>,
    /// Times in which everything waits for a person.
    pub maintenance: Vec<Maintenance>,
    /// When a verb that fails is left to people.
    pub breaker: Breaker,
    /// How long an approval may wait.
    pub approval_within: Span,
    /// How long the approval of an action of a class may wait, where that differs.
    pub approval_within_of: BTreeMap<RiskClass, Span>,
    /// How many people must approve an action of a class, where that is not one.
    pub approvers: BTreeMap<RiskClass, u32>,
    /// How long a command may take, offline devices included.
    pub execute_within: Span,
    /// How long an effect holds where the rule does not say.
    pub ttl: Span,
    /// How long an effect may hold at most.
    pub ttl_max: Span,
    /// How often what holds is looked at, whether it still does.
    pub look_every: Span,
    /// What follows when it does not.
    pub on_drift: OnDrift,
    /// Confidence (0 to 100) that an incident needs for anything above R1 to run by itself.
    pub auto_confidence_min: u32,
    /// Telemetry domains that must agree for anything above R1 to run by itself.
    pub auto_domains_min: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            automation: Automation::default(),
            groups: Vec::new(),
            protected: Patterns::new(&[
                (
                    EntityType::Device,
                    &["dc", "dc?", "dc??", "dc-*", "*-dc", "*-dc?", "*-dc??", "*-dc-*", "adfs*", "*-pki*"],
                ),
                (EntityType::User, &["breakglass*", "break-glass*", "emergency*", "krbtgt", "msol_*"]),
            ]),
            critical: Patterns::new(&[
                (EntityType::Device, &["srv*", "*-srv*", "sql*", "*-sql*"]),
                (EntityType::User, &["admin*", "adm-*", "*-adm", "*admin", "svc-*", "svc_*"]),
            ]),
            caps: Caps::default(),
            page: String::new(),
            // One campaign is many messages.
            caps_of: [Verb::EmailMove, Verb::EmailSoftDelete].map(|verb| (verb, Caps::OF_MESSAGES)).into(),
            cool_down: Span::from_secs(1_800),
            kill_switch: false,
            stopped: Stopped::default(),
            exclusions: Vec::new(),
            maintenance: Vec::new(),
            breaker: Breaker::default(),
            approval_within: Span::from_hours(7 * 24),
            approval_within_of: BTreeMap::new(),
            approvers: BTreeMap::from([(RiskClass::R4, 2)]),
            execute_within: Span::from_hours(24),
            ttl: Span::from_hours(24),
            ttl_max: Span::from_hours(7 * 24),
            look_every: Span::from_secs(900),
            on_drift: OnDrift::default(),
            auto_confidence_min: 80,
            auto_domains_min: 2,
        }
    }
}

/// What is asked for.
pub(crate) struct Proposal<'a> {
    pub(crate) now: Time,
    pub(crate) tenant: &'a TenantId,
    /// Of the incident.
    pub(crate) facts: &'a Facts,
    pub(crate) verb: Verb,
    pub(crate) target: &'a Target,
    pub(crate) risk: RiskClass,
    /// The most that the rule's author allows.
    pub(crate) automation_max: Option<Automation>,
    /// Why nobody here can do it, if so.
    pub(crate) lacks: Option<String>,
    /// Why whoever can do it could not take it back, if so.
    pub(crate) undo_gap: Option<String>,
    pub(crate) confidence: u32,
    pub(crate) domains: usize,
}

/// What is already going on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    pub(crate) rule_hour: u32,
    pub(crate) tenant_hour: u32,
    pub(crate) concurrent: u32,
    /// The caps that they are held against.
    pub(crate) caps: Caps,
    /// The cap that all would exceed that are asked for at once: none of them runs.
    pub(crate) rush: Option<Cap>,
    /// Who or what already brings the effect about.
    pub(crate) held: Option<String>,
    /// Whether the effect ended on this target within the cool-down.
    pub(crate) cooling: bool,
    /// What is stopped of it, if anything is.
    pub(crate) stopped: Option<String>,
    /// How many of the last commands of the verb failed, where these are too many.
    pub(crate) failing: Option<usize>,
}

/// A cap that leaves no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cap {
    /// Its setting.
    pub(crate) name: &'static str,
    pub(crate) used: u32,
    /// How many more are asked for at once.
    pub(crate) asked: u32,
    pub(crate) max: u32,
}

const RULE_PER_HOUR: &str = "rule_per_hour_max";

impl Cap {
    pub(crate) fn is_of_rule(&self) -> bool {
        self.name == RULE_PER_HOUR
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cap { name, used, asked, max } = self;
        match asked {
            0 | 1 => write!(f, "cap {name} is reached ({used} of {max})"),
            asked => {
                write!(f, "cap {name} is {max}, {used} are used and {asked} are asked for at once: all wait")
            }
        }
    }
}

/// What forbids an action, for people as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Limit {
    /// It is stopped, or a part that it belongs to.
    Stopped(String),
    Cap(Cap),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Stopped(what) => f.write_str(what),
            Limit::Cap(cap) => cap.fmt(f),
        }
    }
}

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Execute,
    Approve,
    Suppress,
    Simulate,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Outcome::Execute => "execute",
            Outcome::Approve => "approve",
            Outcome::Suppress => "suppress",
            Outcome::Simulate => "simulate",
        }
    }
}

/// The decision on a proposal.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) automation: Automation,
    pub(crate) reasons: Vec<String>,
    /// The cap that holds it back, if one does.
    pub(crate) cap: Option<Cap>,
}

impl Policy {
    /// Content hash: two equal policies have one version.
    pub fn version(&self) -> String {
        // A struct of plain fields always serialises; Debug has them all, too.
        blake3::hash(format!("{self:?}").as_bytes()).to_hex()[..16].to_owned()
    }

    /// Refuses settings that contradict each other, with the remedy.
    ///
    /// # Errors
    /// [`RespondError::BadInput`] naming the setting.
    pub fn check(&self) -> Result<(), RespondError> {
        let bad = |text: &str| Err(RespondError::BadInput(text.to_owned()));
        if self.ttl > self.ttl_max {
            return bad(
                "respond.policy.ttl is longer than respond.policy.ttl_max: lower the one or raise the other",
            );
        }
        if let Some(exclusion) =
            self.exclusions.iter().find(|e| e.owner.trim().is_empty() || e.reason.trim().is_empty())
        {
            let text = format!(
                "respond.policy.exclusions: the one until {} needs an owner and a reason",
                exclusion.until
            );
            return Err(RespondError::BadInput(text));
        }
        if let Some(window) = self.maintenance.iter().find(|m| m.from >= m.until) {
            let text =
                format!("respond.policy.maintenance: the one from {} ends before it begins", window.from);
            return Err(RespondError::BadInput(text));
        }
        if self.breaker.failures == 0 || self.breaker.of < self.breaker.failures {
            return bad("respond.policy.breaker: failures must be at least 1 and at most of");
        }
        if self.look_every < Span::from_secs(60) {
            return bad("respond.policy.look_every is under 1m: providers would be asked without end");
        }
        if self.auto_confidence_min > 100 {
            return bad("respond.policy.auto_confidence_min is over 100: confidence goes from 0 to 100");
        }
        if let Some(group) = self.groups.iter().find(|group| group.is_open()) {
            let text = format!(
                "respond.policy.groups: {:?} takes every action: set respond.policy.automation, or say of which tenants, \
                 names, verbs, risk or when",
                group.name
            );
            return Err(RespondError::BadInput(text));
        }
        let groups = self.groups.iter().flat_map(|group| group.names.iter());
        let mut patterns = self.protected.iter().chain(self.critical.iter()).chain(groups);
        if patterns.any(|p| p.as_str().trim().is_empty()) {
            return bad("respond.policy has an empty pattern of names: it would name nothing; remove it");
        }
        if self.approvers.values().any(|n| !(1..=APPROVERS_MAX).contains(n)) {
            return bad("respond.policy.approvers must be from 1 to 5 people for each risk class");
        }
        Ok(())
    }

    /// The caps of a verb.
    pub(crate) fn caps(&self, verb: Verb) -> &Caps {
        self.caps_of.get(&verb).unwrap_or(&self.caps)
    }

    /// Whether what one verb does counts against the caps of another.
    pub(crate) fn shares_caps(&self, verb: Verb, other: Verb) -> bool {
        let own = |verb: Verb| self.caps_of.contains_key(&verb);
        verb == other || (!own(verb) && !own(other))
    }

    /// What is stopped of a command: everything, its tenant, its rule or its verb.
    pub(crate) fn stops(&self, tenant: &TenantId, rule: &str, verb: Verb) -> Option<String> {
        let Stopped { tenants, rules, verbs, .. } = &self.stopped;
        if self.kill_switch {
            return Some("the kill switch is on".to_owned());
        }
        let of_rule = || rules.contains(rule).then(|| format!("rule {rule} is stopped"));
        let of_verb = || verbs.contains(&verb).then(|| format!("{verb} is stopped"));
        let of_tenant = tenants.contains(tenant.as_str()).then(|| format!("tenant {tenant} is stopped"));
        of_tenant.or_else(of_rule).or_else(of_verb)
    }

    /// Whether the target must never be acted on, and by which pattern.
    pub(crate) fn protects(&self, target: &Target) -> Option<&Pattern> {
        self.protected.find(target)
    }

    /// The risk class of an action on this target.
    pub(crate) fn risk(&self, base: RiskClass, target: &Target) -> RiskClass {
        if self.critical.find(target).is_some() { base.raised() } else { base }
    }

    /// How long an action of that class may wait for approval.
    pub(crate) fn approval_within(&self, risk: RiskClass) -> Span {
        self.approval_within_of.get(&risk).copied().unwrap_or(self.approval_within)
    }

    /// How many people must approve an action of that class.
    pub(crate) fn approvers(&self, risk: RiskClass) -> u32 {
        self.approvers.get(&risk).map_or(1, |n| *n)
    }

    /// The time to live of an effect: what the rule says, within the bounds of the policy.
    pub(crate) fn ttl(&self, wanted: Option<Span>) -> Span {
        wanted.unwrap_or(self.ttl).min(self.ttl_max)
    }

    fn level(&self, proposal: &Proposal<'_>, reasons: &mut Vec<String>) -> Automation {
        let mut takes = self.groups.iter().map(|group| (group, group.takes(proposal)));
        let (level, of) = match takes.find(|(_, takes)| *takes != Ok(false)) {
            Some((group, Ok(_))) => (group.automation, format!("group {}", group.name)),
            // It might have been a group in which nothing runs.
            Some((group, Err(fault))) => {
                reasons.push(format!("group {} cannot be judged: {fault}", group.name));
                (group.automation.min(Automation::ApproveAll), format!("group {}", group.name))
            }
            None => (self.automation, "default".to_owned()),
        };
        reasons.push(format!("automation is {} ({of})", level.as_str()));
        match proposal.automation_max {
            Some(max) if max < level => {
                reasons.push(format!("the rule allows at most {}", max.as_str()));
                max
            }
            _ => level,
        }
    }

    /// Decides on a proposal.
    pub(crate) fn decide(&self, proposal: &Proposal<'_>, usage: &Usage) -> Verdict {
        let mut reasons = Vec::new();
        let automation = self.level(proposal, &mut reasons);
        if let Some(outcome) = self.stop(proposal, usage, automation, &mut reasons) {
            return Verdict { outcome, automation, reasons, cap: None };
        }
        if let Err(limit) = Self::within_limits(usage) {
            reasons.push(limit.to_string());
            let cap = if let Limit::Cap(cap) = limit { Some(cap) } else { None };
            return Verdict { outcome: Outcome::Approve, automation, reasons, cap };
        }
        reasons.push("within caps".to_owned());
        if let Some(gap) = &proposal.undo_gap {
            reasons.push(format!("{gap}: {BACK_BY_HAND}"));
        }
        let held = self.hold(proposal, usage, automation, &mut reasons);
        Verdict { outcome: held.unwrap_or(Outcome::Execute), automation, reasons, cap: None }
    }

    /// Checks that no approval lifts.
    fn stop(
        &self,
        p: &Proposal<'_>,
        usage: &Usage,
        level: Automation,
        reasons: &mut Vec<String>,
    ) -> Option<Outcome> {
        if level == Automation::Off {
            reasons.push("automation is off".to_owned());
            return Some(Outcome::Suppress);
        }
        if let Some(pattern) = self.protects(p.target) {
            reasons.push(format!("{} is protected ({})", p.target.entity.value, pattern.as_str()));
            return Some(Outcome::Suppress);
        }
        let excluded = self.exclusions.iter().find(|e| {
            e.until > p.now
                && (e.verbs.is_empty() || e.verbs.contains(&p.verb))
                && e.names.find(p.target).is_some()
        });
        if let Some(Exclusion { until, owner, reason, .. }) = excluded {
            reasons.push(format!("{} is excluded until {until} by {owner}: {reason}", p.target.entity.value));
            return Some(Outcome::Suppress);
        }
        reasons.push(format!("{} is not protected", p.target.entity.value));
        if level == Automation::AuditOnly {
            if let Some(lacks) = &p.lacks {
                reasons.push(format!("{lacks}{BY_HAND}"));
            }
            reasons.push("dry run: recorded, not done".to_owned());
            return Some(Outcome::Simulate);
        }
        if let Some(held) = &usage.held {
            reasons.push(format!("duplicate: {held}"));
            return Some(Outcome::Suppress);
        }
        None
    }

    /// Checks that leave the matter to a person.
    fn hold(
        &self,
        p: &Proposal<'_>,
        usage: &Usage,
        level: Automation,
        reasons: &mut Vec<String>,
    ) -> Option<Outcome> {
        let held_back = self.needs_person(p, usage, level);
        let may_run =
            || format!("risk {:?}, confidence {}, {} domains: may run", p.risk, p.confidence, p.domains);
        reasons.push(held_back.clone().unwrap_or_else(may_run));
        held_back.map(|_| Outcome::Approve)
    }

    fn needs_person(&self, p: &Proposal<'_>, usage: &Usage, level: Automation) -> Option<String> {
        if let Some(lacks) = &p.lacks {
            return Some(format!("{lacks}: a person must"));
        }
        if p.undo_gap.is_some() {
            return Some("what nobody here can take back needs a person".to_owned());
        }
        let in_maintenance = |m: &&Maintenance| {
            let is_meant = m.names.is_empty() || m.names.find(p.target).is_some();
            (m.from..m.until).contains(&p.now) && is_meant
        };
        if let Some(Maintenance { until, reason, .. }) = self.maintenance.iter().find(in_maintenance) {
            return Some(format!("maintenance until {until}: {reason}"));
        }
        if let Some(failed) = usage.failing {
            return Some(format!("{failed} of the last {} commands of {} failed", self.breaker.of, p.verb));
        }
        if usage.cooling {
            return Some(format!("the effect ended on this target less than {} ago", self.cool_down));
        }
        if level.risk_max().is_none_or(|max| p.risk > max) {
            return Some(format!("risk {:?} needs a person at level {}", p.risk, level.as_str()));
        }
        if p.risk > RiskClass::R1 && p.confidence < self.auto_confidence_min {
            return Some(format!("confidence {} is under {}", p.confidence, self.auto_confidence_min));
        }
        if p.risk > RiskClass::R1 && p.domains < self.auto_domains_min {
            return Some(format!(
                "{} telemetry domains agree, {} are needed",
                p.domains, self.auto_domains_min
            ));
        }
        None
    }

    /// Caps and kill switches: they bind people as well.
    pub(crate) fn within_limits(usage: &Usage) -> Result<(), Limit> {
        if let Some(stopped) = &usage.stopped {
            return Err(Limit::Stopped(stopped.clone()));
        }
        let reached = usage.rush.clone().or_else(|| usage.over([1, 1, 1]));
        reached.map_or(Ok(()), |cap| Err(Limit::Cap(cap)))
    }
}

impl Usage {
    /// The first cap that so many more of the rule, in the tenant, and at one time would exceed.
    pub(crate) fn over(&self, [of_rule, in_tenant, at_once]: [u32; 3]) -> Option<Cap> {
        let Usage { rule_hour, tenant_hour, concurrent, caps, .. } = self;
        let caps = [
            (RULE_PER_HOUR, *rule_hour, of_rule, caps.rule_per_hour_max),
            ("tenant_per_hour_max", *tenant_hour, in_tenant, caps.tenant_per_hour_max),
            ("concurrent_max", *concurrent, at_once, caps.concurrent_max),
        ];
        let over = |(_, used, asked, max): &(_, u32, u32, u32)| used.saturating_add(*asked) > *max;
        let (name, used, asked, max) = caps.into_iter().find(over)?;
        Some(Cap { name, used, asked, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automation::When;
    use crate::testing::device_target;

    fn decide(policy: &Policy, host: &str, usage: &Usage) -> (Outcome, String) {
        let target = device_target(host);
        let risk = policy.risk(RiskClass::R2, &target);
        let proposal = Proposal {
            now: Time::from_secs(1_000),
            tenant: &TenantId::default(),
            facts: &Facts::sample(),
            verb: Verb::HostIsolate,
            target: &target,
            risk,
            automation_max: None,
            lacks: None,
            undo_gap: None,
            confidence: 90,
            domains: 3,
        };
        let stopped = policy.stops(&TenantId::default(), "r", Verb::HostIsolate);
        let usage = Usage { stopped: usage.stopped.clone().or(stopped), ..usage.clone() };
        let verdict = policy.decide(&proposal, &usage);
        (verdict.outcome, verdict.reasons.last().unwrap().clone())
    }

    fn full() -> Policy {
        Policy { automation: Automation::Full, ..Policy::default() }
    }

    #[test]
    fn the_default_recommends() {
        let (outcome, reason) = decide(&Policy::default(), "ws-01", &Usage::default());
        assert_eq!(outcome, Outcome::Approve);
        assert_eq!(reason, "risk R2 needs a person at level approve_all");
    }

    #[test]
    fn each_check_holds_back_with_its_reason() {
        let some = Usage::default();
        let cases = [
            (full(), "ws-01", some.clone(), Outcome::Execute, "may run"),
            (full(), "DC01.corp.example", some.clone(), Outcome::Suppress, "is protected (dc??)"),
            (full(), "srv-files", some.clone(), Outcome::Approve, "risk R3 needs a person"),
            (
                Policy { automation: Automation::Semi, ..full() },
                "ws-01",
                some.clone(),
                Outcome::Approve,
                "risk R2",
            ),
            (
                Policy { automation: Automation::Off, ..full() },
                "ws-01",
                some.clone(),
                Outcome::Suppress,
                "off",
            ),
            (
                Policy { automation: Automation::AuditOnly, ..full() },
                "ws-01",
                some.clone(),
                Outcome::Simulate,
                "dry run",
            ),
            (Policy { kill_switch: true, ..full() }, "ws-01", some.clone(), Outcome::Approve, "kill switch"),
            (
                Policy { auto_confidence_min: 95, ..full() },
                "ws-01",
                some.clone(),
                Outcome::Approve,
                "confidence 90",
            ),
            (
                Policy { auto_domains_min: 4, ..full() },
                "ws-01",
                some.clone(),
                Outcome::Approve,
                "3 telemetry domains",
            ),
            (full(), "ws-01", Usage { rule_hour: 5, ..some.clone() }, Outcome::Approve, "rule_per_hour_max"),
            (
                full(),
                "ws-01",
                Usage { tenant_hour: 20, ..some.clone() },
                Outcome::Approve,
                "tenant_per_hour_max",
            ),
            (full(), "ws-01", Usage { concurrent: 50, ..some.clone() }, Outcome::Approve, "concurrent_max"),
            (
                full(),
                "ws-01",
                Usage { failing: Some(3), ..some.clone() },
                Outcome::Approve,
                "3 of the last 5",
            ),
            (
                full(),
                "ws-01",
                Usage { stopped: Some("rule r is stopped".into()), ..some.clone() },
                Outcome::Approve,
                "rule r is stopped",
            ),
            (full(), "ws-01", Usage { cooling: true, ..some.clone() }, Outcome::Approve, "less than 30m ago"),
            (
                full(),
                "ws-01",
                Usage { held: Some("e-1".into()), ..some },
                Outcome::Suppress,
                "duplicate: e-1",
            ),
        ];
        for (policy, host, usage, outcome, reason) in cases {
            let (got, why) = decide(&policy, host, &usage);
            assert_eq!(got, outcome, "{why}");
            assert!(why.contains(reason), "{why:?} has no {reason:?}");
        }
    }

    #[test]
    fn the_first_group_that_names_the_device_decides() {
        let group = |name: &str, pattern: &str, automation| Group {
            names: Patterns::new(&[(EntityType::Device, &[pattern])]),
            ..group_of(name, automation)
        };
        let groups =
            vec![group("lab", "ws-9*", Automation::Off), group("workstations", "ws-*", Automation::Full)];
        let policy = Policy { groups, ..Policy::default() };
        assert_eq!(decide(&policy, "ws-01.corp.example", &Usage::default()).0, Outcome::Execute);
        assert_eq!(decide(&policy, "ws-91", &Usage::default()).0, Outcome::Suppress);
        assert_eq!(decide(&policy, "kiosk-1", &Usage::default()).0, Outcome::Approve);
    }

    fn group_of(name: &str, automation: Automation) -> Group {
        Group {
            name: name.into(),
            tenants: BTreeSet::new(),
            names: Patterns::default(),
            verbs: BTreeSet::new(),
            risk: BTreeSet::new(),
            when: None,
            automation,
        }
    }

    #[test]
    fn a_group_takes_what_is_all_that_it_says() {
        let when = |source: &str| When::try_from(source.to_owned()).unwrap();
        let by = |group: Group| {
            let policy = Policy { groups: vec![group], ..Policy::default() };
            policy.check().unwrap();
            decide(&policy, "ws-01", &Usage::default()).0
        };
        let full = || group_of("g", Automation::Full);
        for (group, expected) in [
            (Group { tenants: ["default".to_owned()].into(), ..full() }, Outcome::Execute),
            (Group { tenants: ["acme".to_owned()].into(), ..full() }, Outcome::Approve),
            (Group { verbs: [Verb::HostIsolate].into(), ..full() }, Outcome::Execute),
            (Group { verbs: [Verb::HostScan].into(), ..full() }, Outcome::Approve),
            (Group { risk: [RiskClass::R2].into(), ..full() }, Outcome::Execute),
            (Group { risk: [RiskClass::R0, RiskClass::R1].into(), ..full() }, Outcome::Approve),
            (Group { when: Some(when("incident.confidence >= 50")), ..full() }, Outcome::Execute),
            (Group { when: Some(when("incident.confidence >= 51")), ..full() }, Outcome::Approve),
            (
                Group {
                    when: Some(when("target.type == 'device' && target.name == 'ws-01' && action.risk == 2")),
                    ..full()
                },
                Outcome::Execute,
            ),
            (
                Group {
                    when: Some(when("action.verb == 'host.isolate' && !('ws-02' in target.names)")),
                    ..full()
                },
                Outcome::Execute,
            ),
        ] {
            assert_eq!(by(group.clone()), expected, "{group:?}");
        }
        let faulty = Group {
            when: Some(when("target.name == 'sample' || 1 / (size(target.names) - 1) > 0")),
            ..full()
        };
        assert_eq!(by(faulty), Outcome::Approve, "what cannot be judged does not run");
    }

    #[test]
    fn conditions_of_groups_are_checked_when_they_are_read() {
        let read = |when: &str| {
            let text = format!("name: g\nautomation: full\nwhen: {when}\n");
            serde_yaml_ng::from_str::<Group>(&text).map(|g| String::from(g.when.unwrap()))
        };
        assert_eq!(read("incident.score > 5").unwrap(), "incident.score > 5");
        for wrong in ["incident.scor > 5", "incident.score", "(", "device.name == 'x'"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("when {wrong:?}: ")), "{error}");
        }
        let open = Policy { groups: vec![group_of("all", Automation::Full)], ..Policy::default() };
        assert!(open.check().unwrap_err().to_string().contains("\"all\" takes every action"));
    }

    #[test]
    fn exclusions_and_maintenance_hold_for_their_time() {
        let names = || Patterns::new(&[(EntityType::Device, &["ws-0*"])]);
        let excluded = |until, verbs: &[Verb]| Policy {
            exclusions: vec![Exclusion {
                names: names(),
                verbs: verbs.iter().copied().collect(),
                until: Time::from_secs(until),
                owner: "kim".into(),
                reason: "red team".into(),
            }],
            ..full()
        };
        let maintained = |from, until, names| Policy {
            maintenance: vec![Maintenance {
                from: Time::from_secs(from),
                until: Time::from_secs(until),
                names,
                reason: "patch day".into(),
            }],
            ..full()
        };
        for (policy, expected) in [
            (excluded(2_000, &[]), Outcome::Suppress),
            (excluded(2_000, &[Verb::HostIsolate]), Outcome::Suppress),
            (excluded(2_000, &[Verb::HostScan]), Outcome::Execute),
            (excluded(1_000, &[]), Outcome::Execute),
            (maintained(500, 2_000, Patterns::default()), Outcome::Approve),
            (maintained(500, 2_000, names()), Outcome::Approve),
            (maintained(500, 2_000, Patterns::new(&[(EntityType::Device, &["x*"])])), Outcome::Execute),
            (maintained(500, 1_000, Patterns::default()), Outcome::Execute),
        ] {
            policy.check().unwrap();
            assert_eq!(decide(&policy, "ws-01", &Usage::default()).0, expected, "{policy:?}");
        }
        let (_, why) = decide(&excluded(2_000, &[]), "ws-01", &Usage::default());
        assert_eq!(why, "ws-01 is excluded until 1970-01-01T00:33:20.000000Z by kim: red team");
        let mut nameless = excluded(2_000, &[]);
        nameless.exclusions[0].owner.clear();
        assert!(nameless.check().is_err() && maintained(2, 1, Patterns::default()).check().is_err());
    }

    #[test]
    fn tenants_rules_and_verbs_are_stopped_apart() {
        let stopped = Stopped {
            tenants: ["acme".to_owned()].into(),
            rules: ["r1".to_owned()].into(),
            verbs: [Verb::UserDisable].into(),
            ..Stopped::default()
        };
        let policy = Policy { stopped, ..full() };
        let stops = |tenant, rule, verb| policy.stops(&TenantId::new(tenant), rule, verb);
        assert_eq!(stops("t", "r", Verb::HostIsolate), None);
        assert_eq!(stops("acme", "r", Verb::HostIsolate).as_deref(), Some("tenant acme is stopped"));
        assert_eq!(stops("t", "r1", Verb::HostIsolate).as_deref(), Some("rule r1 is stopped"));
        assert_eq!(stops("t", "r", Verb::UserDisable).as_deref(), Some("user.disable is stopped"));
    }

    #[test]
    fn settings_that_contradict_are_refused() {
        let policy = Policy { ttl_max: Span::from_hours(1), ..Policy::default() };
        assert!(policy.check().unwrap_err().to_string().contains("respond.policy.ttl_max"));
        let empty = Patterns::new(&[(EntityType::Device, &[" "])]);
        assert!(Policy { protected: empty, ..Policy::default() }.check().is_err());
        let nobody = BTreeMap::from([(RiskClass::R3, 0)]);
        assert!(Policy { approvers: nobody, ..Policy::default() }.check().is_err());
        assert!(Policy::default().check().is_ok());
        assert_ne!(policy.version(), Policy::default().version());
    }
}
