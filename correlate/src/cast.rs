//! Who plays which part in a story: where it happened, who acted, against whom.

use std::borrow::Cow;
use std::cmp::Reverse;
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
        let mut say = |word: &str, names: Option<Cow<'_, str>>| {
            names.iter().for_each(|names| place.extend([" ", word, " ", names]));
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
    let is_one = |e: &Entity| matches!(e.entity_type, EntityType::User | EntityType::Mailbox);
    let mut parts: Vec<(Arc<str>, usize, bool, Part)> = Vec::new();
    for (i, alert) in alerts.iter().enumerate() {
        let named = alert.entities.iter().filter(|e| is_one(e));
        parts.extend(named.map(|e| (names.said(e), i, e.entity_type == EntityType::User, Part::of(e.role))));
    }
    parts.sort_unstable();
    let of_one = parts.chunk_by(|a, b| a.0 == b.0);
    let mut principals: Vec<Principal> = of_one
        .map(|parts| {
            let part = parts.iter().map(|(.., part)| *part).max().unwrap_or(Part::Involved);
            let by_alert = parts.chunk_by(|a, b| a.1 == b.1);
            let plays = |parts: &&[(Arc<str>, usize, bool, Part)]| parts.iter().any(|p| p.3 == part);
            Principal {
                name: Arc::clone(&parts[0].0),
                is_user: parts.iter().any(|(_, _, is_user, _)| *is_user),
                part,
                alerts: by_alert.filter(plays).count() as u32,
            }
        })
        .collect();
    principals.sort_by_key(|p| Reverse(p.alerts));
    principals
}

/// Names, those of most alerts first.
fn ranked(alerts: &[&Alert], name: impl Fn(&Entity) -> Option<Arc<str>>) -> Vec<Arc<str>> {
    let mut named: Vec<(Arc<str>, usize)> = Vec::new();
    for (i, alert) in alerts.iter().enumerate() {
        named.extend(alert.entities.iter().filter_map(|entity| Some((name(entity)?, i))));
    }
    named.sort_unstable();
    named.dedup();
    let of_one = named.chunk_by(|a, b| a.0 == b.0);
    let mut ranked: Vec<(Arc<str>, usize)> =
        of_one.map(|named| (Arc::clone(&named[0].0), named.len())).collect();
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
