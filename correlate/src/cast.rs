//! Who plays which part in a story: where it happened, who acted, against whom.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{Alert, Entity, EntityType, Role};

use crate::names::Names;
use crate::words::listed;

/// The part of a user or mailbox. The larger one counts where it plays several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Named, without a word on its part.
    Involved,
    /// Acted upon.
    Target,
    /// Acted, or something acted in its name.
    Doer,
}

impl Part {
    const fn of(role: Role) -> Self {
        match role {
            Role::Actor | Role::ProcessUser | Role::Sender | Role::Credential => Part::Doer,
            Role::Target | Role::Recipient | Role::Owner | Role::Destination => Part::Target,
            _ => Part::Involved,
        }
    }
}

/// A user or mailbox by the name people know it by. A mailbox and the user of its address are one.
#[derive(Debug)]
struct Principal {
    name: Arc<str>,
    is_user: bool,
    part: Part,
    /// Alerts in which it plays this part.
    alerts: u32,
}

/// The parts of a story, those that play them in most alerts first.
#[derive(Debug)]
pub(crate) struct Cast {
    devices: Vec<Arc<str>>,
    sources: Vec<Arc<str>>,
    principals: Vec<Principal>,
}

/// What a title says of targets without a doer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toward {
    /// The title tells of an attack: `against alice`.
    Attack,
    /// The title is a rule's own, which may be anything: `for alice`.
    Rule,
}

impl Cast {
    pub(crate) fn of(alerts: &[&Alert], names: &Names<'_>) -> Self {
        Self {
            devices: ranked(alerts, |entity| {
                (entity.entity_type == EntityType::Device).then(|| names.said(entity))
            }),
            sources: ranked(alerts, |entity| {
                let is_source = entity.entity_type == EntityType::Ip && entity.role == Role::Source;
                is_source.then(|| Arc::clone(&entity.value))
            }),
            principals: principals(alerts, names),
        }
    }

    /// Where, who and against whom: ` on ws-01 by alice against bob and carol`; with the source address where no
    /// device stands for the place, or nobody for the doer.
    pub(crate) fn place(&self, toward: Toward) -> String {
        let devices: Vec<&str> = self.devices.iter().map(|d| short_device(d)).collect();
        let (doers, targets) = (self.names(Part::Doer), self.names(Part::Target));
        let mut place = String::new();
        let mut say = |word: &str, names: Option<String>| {
            names.iter().for_each(|names| place.push_str(&format!(" {word} {names}")));
        };
        say("on", listed(&devices, "devices"));
        say("by", listed(&doers, "accounts"));
        let is_plain = toward == Toward::Rule && doers.is_empty();
        say(if is_plain { "for" } else { "against" }, listed(&targets, "accounts"));
        if doers.is_empty() && targets.is_empty() {
            say("involving", listed(&self.names(Part::Involved), "accounts"));
        }
        if doers.is_empty() || devices.is_empty() {
            let sources: Vec<&str> = self.sources.iter().map(|s| &**s).collect();
            say("from", listed(&sources, "addresses"));
        }
        place
    }

    /// Users of a part. Mailboxes stand in where no user does: an outside sender has no account, and a mailbox that
    /// mail is forwarded to is nobody's victim.
    fn names(&self, part: Part) -> Vec<&str> {
        let users = self.principals.iter().filter(|p| p.is_user);
        let stand_in = match part {
            Part::Doer => !users.clone().any(|p| p.part == Part::Doer),
            Part::Target | Part::Involved => users.clone().next().is_none(),
        };
        let playing = self.principals.iter().filter(|p| p.part == part && (p.is_user || stand_in));
        playing.map(|p| short_user(&p.name)).collect()
    }
}

fn principals(alerts: &[&Alert], names: &Names<'_>) -> Vec<Principal> {
    let mut all: BTreeMap<Arc<str>, Principal> = BTreeMap::new();
    for alert in alerts {
        for (name, (is_user, part)) in parts(alert, names) {
            let start = Principal { name: Arc::clone(&name), is_user, part, alerts: 0 };
            let known = all.entry(name).or_insert(start);
            if part > known.part {
                (known.part, known.alerts) = (part, 0);
            }
            known.alerts += u32::from(part == known.part);
            known.is_user |= is_user;
        }
    }
    let mut principals: Vec<Principal> = all.into_values().collect();
    principals.sort_by_key(|p| Reverse(p.alerts));
    principals
}

/// The parts in one alert: whether a name is a user's, and what it does.
fn parts(alert: &Alert, names: &Names<'_>) -> BTreeMap<Arc<str>, (bool, Part)> {
    let mut parts: BTreeMap<Arc<str>, (bool, Part)> = BTreeMap::new();
    for entity in &alert.entities {
        let is_user = entity.entity_type == EntityType::User;
        if is_user || entity.entity_type == EntityType::Mailbox {
            let known = parts.entry(names.said(entity)).or_insert((is_user, Part::Involved));
            *known = (known.0 || is_user, known.1.max(Part::of(entity.role)));
        }
    }
    parts
}

/// Names, those of most alerts first.
fn ranked(alerts: &[&Alert], name: impl Fn(&Entity) -> Option<Arc<str>>) -> Vec<Arc<str>> {
    let mut counts: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    for alert in alerts {
        let names: BTreeSet<Arc<str>> = alert.entities.iter().filter_map(&name).collect();
        names.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
    }
    let mut ranked: Vec<(Arc<str>, u32)> = counts.into_iter().collect();
    ranked.sort_by_key(|(_, alerts)| Reverse(*alerts));
    ranked.into_iter().map(|(name, _)| name).collect()
}

/// A device without its domain.
fn short_device(name: &str) -> &str {
    crate::alias::short_host(name).unwrap_or(name)
}

/// A user without the Windows domain.
fn short_user(name: &str) -> &str {
    name.rsplit('\\').next().unwrap_or(name)
}
