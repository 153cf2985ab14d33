//! What people call the entities of an incident.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use event::{Alert, Entity, EntityType, Role};
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use crate::alias::form_rank;
use crate::evidence::Key;
use crate::facts::Facts;
use crate::keyed::{Keyed, Name};
use crate::parameters::File;

/// The names of the entities of some alerts, as of the last of them.
///
/// A *known* name is proved by the alias table. A *said* name is for reading only: where nothing better is proved, it
/// takes what the alerts themselves tell (the one account an id stands beside, the image of a process, the subject of
/// a message).
#[derive(Debug)]
pub(crate) struct Names<'a> {
    /// Of values that have aliases.
    known: HashMap<(EntityType, &'a str), Arc<str>>,
    said: HashMap<(EntityType, Arc<str>), Arc<str>>,
}

impl<'a> Names<'a> {
    pub(crate) fn of(alerts: &[&'a Keyed], facts: &Facts, file: &File) -> Self {
        let at = alerts.iter().map(|a| a.time).max().unwrap_or_default();
        let mut names = Self { known: HashMap::new(), said: HashMap::new() };
        for alert in alerts {
            for (entity, Name { key, .. }) in alert.named().filter(|(entity, _)| has_aliases(entity)) {
                if facts.aliases.has(key)
                    && let Entry::Vacant(unknown) = names.known.entry((entity.entity_type, &*entity.value))
                    && let Some(display) = facts.aliases.display(key, at, &file.alias)
                {
                    unknown.insert(display);
                }
            }
        }
        names.said = names.told(alerts, facts, file);
        names
    }

    /// A hash of all names: as long as a process lives, the same alerts with the same digest read the same.
    pub(crate) fn digest(&self) -> u64 {
        let one = |part: (bool, EntityType, &str, &Arc<str>)| {
            let mut hasher = DefaultHasher::new();
            part.hash(&mut hasher);
            hasher.finish()
        };
        let known = self.known.iter().map(|((kind, value), name)| one((true, *kind, value, name)));
        let said = self.said.iter().map(|((kind, value), name)| one((false, *kind, value, name)));
        known.chain(said).fold(0, u64::wrapping_add)
    }

    /// The name that the alias table proves, else the value itself.
    pub(crate) fn known(&self, entity: &Entity) -> Arc<str> {
        let known = match self.known.is_empty() {
            true => None,
            false => self.known.get(&(entity.entity_type, &*entity.value)),
        };
        known.map_or_else(|| Arc::clone(&entity.value), Arc::clone)
    }

    /// The better name that was told, else the known one.
    pub(crate) fn named(&self, entity: &Entity) -> Arc<str> {
        let known = self.known(entity);
        self.told_of(entity.entity_type, &known).unwrap_or(known)
    }

    /// What a person would call it.
    pub(crate) fn said(&self, entity: &Entity) -> Arc<str> {
        self.said_of(entity.entity_type, &self.known(entity))
    }

    /// What a person would call what is known by a name.
    pub(crate) fn said_of(&self, entity_type: EntityType, known: &Arc<str>) -> Arc<str> {
        self.told_of(entity_type, known).unwrap_or_else(|| plain(entity_type, known))
    }

    fn told_of(&self, entity_type: EntityType, known: &Arc<str>) -> Option<Arc<str>> {
        if self.said.is_empty() {
            return None;
        }
        self.said.get(&(entity_type, Arc::clone(known))).cloned()
    }

    /// The better names that there are for known ones.
    fn told(
        &self,
        alerts: &[&Keyed],
        facts: &Facts,
        file: &File,
    ) -> HashMap<(EntityType, Arc<str>), Arc<str>> {
        let proved = self.proved_then(alerts, facts, file);
        let mut told = self.suggested(alerts, facts);
        told.extend(proved.iter().map(|(key, name)| (key.clone(), Arc::clone(name))));
        for ((entity_type, _), name) in &mut told {
            // The one name beside an id may have a better one itself.
            if let Some(better) = proved.get(&(*entity_type, Arc::clone(name))) {
                *name = Arc::clone(better);
            }
        }
        told
    }

    /// What was proved when an alert came, although later proofs made the value one of several: a person may still read
    /// it so.
    fn proved_then(
        &self,
        alerts: &[&Keyed],
        facts: &Facts,
        file: &File,
    ) -> HashMap<(EntityType, Arc<str>), Arc<str>> {
        let mut told = Told::default();
        for alert in alerts {
            for (entity, Name { key, .. }) in alert.named().filter(|(entity, _)| has_aliases(entity)) {
                let (kind, known) = (entity.entity_type, self.known(entity));
                if form_rank(kind, &known) == 0 || !facts.aliases.has(key) {
                    continue; // No name is better.
                }
                let then = facts.aliases.display(key, alert.time, &file.alias);
                if let Some(name) = then.filter(|name| form_rank(kind, name) < form_rank(kind, &known)) {
                    told.tell(kind, known, name);
                }
            }
        }
        told.agreed()
    }

    /// What the alerts tell of names that say nothing by themselves.
    fn suggested(&self, alerts: &[&Keyed], facts: &Facts) -> HashMap<(EntityType, Arc<str>), Arc<str>> {
        let mut told = Told::default();
        for alert in alerts {
            for entity_type in [EntityType::User, EntityType::Device] {
                if let Some((opaque, name)) = self.beside(alert, entity_type) {
                    told.tell(entity_type, opaque, name);
                }
            }
            for (entity, Name { key, .. }) in alert.named() {
                let named = match entity.entity_type {
                    EntityType::Process => image(alert, entity, key, facts),
                    EntityType::Message => the_only(alert, entity, "email_subject").map(|s| quoted(s).into()),
                    EntityType::App => the_only(alert, entity, "app_name").map(Into::into),
                    EntityType::File => the_only(alert, entity, "file_path").map(|p| base_name(p).into()),
                    EntityType::CloudResource => the_only(alert, entity, "resource_name").map(Into::into),
                    _ => None,
                };
                if let Some(name) = named {
                    told.tell(entity.entity_type, self.known(entity), name);
                }
            }
        }
        told.agreed()
    }

    /// The one id and the one name of a type in an alert: what lists both speaks of one thing.
    fn beside(&self, alert: &Alert, entity_type: EntityType) -> Option<(Arc<str>, Arc<str>)> {
        let of_type = alert.entities.iter().filter(|e| e.entity_type == entity_type);
        of_type.clone().nth(1)?;
        let all: HashSet<Arc<str>> = of_type.map(|e| self.known(e)).collect();
        let (ids, names): (Vec<_>, Vec<_>) = all.into_iter().partition(|name| is_opaque(entity_type, name));
        match (ids.as_slice(), names.as_slice()) {
            ([id], [name]) => Some((Arc::clone(id), Arc::clone(name))),
            _ => None,
        }
    }
}

/// What alerts say of names. Two that contradict each other say nothing.
#[derive(Default)]
struct Told(HashMap<(EntityType, Arc<str>), Option<Arc<str>>>);

impl Told {
    fn tell(&mut self, entity_type: EntityType, known: Arc<str>, name: Arc<str>) {
        match self.0.entry((entity_type, known)) {
            Entry::Vacant(vacant) => {
                vacant.insert(Some(name));
            }
            Entry::Occupied(mut told) if told.get().as_ref().is_some_and(|other| *other != name) => {
                told.insert(None);
            }
            Entry::Occupied(_) => {}
        }
    }

    fn agreed(self) -> HashMap<(EntityType, Arc<str>), Arc<str>> {
        self.0.into_iter().filter_map(|(key, name)| Some((key, name?))).collect()
    }
}

/// Whether the alias table may know other names of an entity.
fn has_aliases(entity: &Entity) -> bool {
    matches!(entity.entity_type, EntityType::User | EntityType::Device)
}

/// Whether a name is an id that says nothing to a person.
pub(crate) fn is_opaque(entity_type: EntityType, name: &str) -> bool {
    form_rank(entity_type, name) >= 3
}

/// The lower-case image of a process, from lineage, else from what the alert says of the process of that role.
fn image(alert: &Alert, process: &Entity, key: Key, facts: &Facts) -> Option<Arc<str>> {
    if let Some(image) = facts.lineage.image(key) {
        return Some(Arc::clone(image));
    }
    let field = match process.role {
        Role::Target => "process_file_path",
        Role::Actor => "actor_process_file_path",
        Role::Parent => "process_parent_path",
        _ => return None,
    };
    let mut same = alert.entities.iter().filter(|e| {
        e.entity_type == EntityType::Process && e.role == process.role && e.value != process.value
    });
    let path = evidence(alert, field).filter(|_| same.next().is_none())?;
    Some(base_name(path).to_ascii_lowercase().into())
}

/// What an alert calls the one app that it names.
pub(crate) fn app_name<'a>(alert: &'a Alert, entity_type: EntityType, value: &str) -> Option<&'a str> {
    let app = alert.entities.iter().find(|e| e.entity_type == EntityType::App && &*e.value == value);
    app.filter(|_| entity_type == EntityType::App).and_then(|app| the_only(alert, app, "app_name"))
}

/// A field of the evidence, where the alert has one entity of the type only.
fn the_only<'a>(alert: &'a Alert, entity: &Entity, field: &str) -> Option<&'a str> {
    let others =
        alert.entities.iter().any(|e| e.entity_type == entity.entity_type && e.value != entity.value);
    evidence(alert, field).filter(|_| !others)
}

/// The fields of an alert's evidence that give names.
const NAMING: [&str; 7] = [
    "process_file_path",
    "actor_process_file_path",
    "process_parent_path",
    "email_subject",
    "app_name",
    "file_path",
    "resource_name",
];

/// Drops the evidence that nothing here reads: alerts are held for weeks, and whoever stored them has all of it.
pub(crate) fn drop_untold(alert: &mut Alert) {
    alert.evidence.retain(|(name, _)| NAMING.contains(&&**name));
    alert.evidence.shrink_to_fit();
}

fn evidence<'a>(alert: &'a Alert, field: &str) -> Option<&'a str> {
    debug_assert!(NAMING.contains(&field), "{field} is not kept");
    let value = alert.evidence.iter().find(|(name, _)| &**name == field).map(|(_, value)| value.trim());
    value.filter(|value| !value.is_empty())
}

fn quoted(subject: &str) -> String {
    /// A subject that goes on for longer tells no more.
    const CHARS_MAX: usize = 60;
    let short: String = subject.chars().take(CHARS_MAX).collect();
    let dots = if short.len() < subject.len() { "…" } else { "" };
    format!("\"{short}{dots}\"")
}

/// The last part of a path, whichever slashes it has.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

/// A name that nobody told anything about. Ids are cut: a person compares their beginning or end at most.
fn plain(entity_type: EntityType, name: &Arc<str>) -> Arc<str> {
    let cut = |what: &str| format!("{what} {}…", name.chars().take(8).collect::<String>()).into();
    match entity_type {
        EntityType::User if name.starts_with("s-1-") => {
            format!("account …{}", &name[name.rfind('-').unwrap_or(0)..]).into()
        }
        EntityType::User if name.contains('/') => base_name(name).into(),
        EntityType::User if is_opaque(entity_type, name) => cut("account"),
        EntityType::Device if is_opaque(entity_type, name) => match name.contains('/') {
            true => base_name(name).into(),
            false => cut("device"),
        },
        EntityType::File if name.len() >= 32 && name.bytes().all(|c| c.is_ascii_hexdigit()) => cut("file"),
        EntityType::File => base_name(name).into(),
        EntityType::App if is_opaque(EntityType::User, name) => cut("app"),
        EntityType::App if name.bytes().all(|c| c.is_ascii_digit()) => format!("app {name}").into(),
        EntityType::Message if name.len() > 24 => cut("message"),
        EntityType::Session if name.len() > 12 => cut("session"),
        EntityType::Process => process(name),
        EntityType::CloudResource => base_name(name).into(),
        _ => Arc::clone(name),
    }
}

/// A process without an image: agents build the id from the host and the process id.
fn process(name: &str) -> Arc<str> {
    match name.rsplit_once('/') {
        Some((host, pid)) => {
            let pid = pid.split('@').next().unwrap_or(pid);
            format!("process {pid} on {}", crate::alias::short_host(host).unwrap_or(host)).into()
        }
        None => format!("process {}…", name.chars().take(8).collect::<String>()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_nobody_named_are_cut() {
        let said = |entity_type, name: &str| plain(entity_type, &name.into()).to_string();
        assert_eq!(said(EntityType::User, "s-1-5-21-1-2-3-1104"), "account …-1104");
        assert_eq!(said(EntityType::User, "5f2b1a60-8f5e-4a57-9f0c-3d1e1a2b3c4d"), "account 5f2b1a60…");
        assert_eq!(said(EntityType::User, "alice@contoso.com"), "alice@contoso.com");
        assert_eq!(said(EntityType::User, "arn:aws:iam::1:user/alice"), "alice");
        assert_eq!(said(EntityType::Process, "ws-01.contoso.com/4711@17"), "process 4711 on ws-01");
        assert_eq!(said(EntityType::File, &"ab".repeat(32)), "file abababab…");
        assert_eq!(said(EntityType::File, "c:\\temp\\x.exe"), "x.exe");
        assert_eq!(said(EntityType::CloudResource, "arn:aws:s3:::b/keys"), "keys");
    }
}
