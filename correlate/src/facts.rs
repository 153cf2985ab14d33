//! What telemetry and alerts teach: aliases, process lineage, rarity. Every fact is keyed by event time.

use arrow::array::{Array, AsArray, ListArray, StringViewArray};
use event::{Class, EntityType, EventBatch, Role, Shelf, TenantId, Time};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::alias::{Aliases, short_host};
use crate::evidence::Key;
use crate::join::{Joins, Links};
use crate::keyed::Keyed;
use crate::lease::Leases;
use crate::lineage::{Lineage, Mention};
use crate::parameters::File;
use crate::rarity::{Member, Rarity};

/// All that a tenant's telemetry has taught.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) aliases: Aliases,
    pub(crate) leases: Leases,
    pub(crate) lineage: Lineage,
    pub(crate) rarity: Rarity,
    pub(crate) joins: Joins,
    pub(crate) links: Links,
}

/// What new facts make stale: from a time on, whatever asked for the keys that they are about.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Stale {
    /// Whether provisional work has asked for anything: before that nothing new matters to it.
    is_consulted: bool,
    from: Option<Time>,
    /// What came of late, which a snapshot does not keep: after a restart all is found anew.
    #[serde(skip)]
    news: Learnt,
    /// Keys consulted since [`Stale::begin`].
    #[serde(skip)]
    asked: Vec<Key>,
}

/// New facts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Learnt {
    /// Keys that they are about, each with the earliest time from which they matter.
    keys: HashMap<Key, Time>,
    /// The time from which all work is stale, whatever it asked for.
    all: Option<Time>,
}

impl Learnt {
    /// Whether work at a time is stale that asked for these keys; of `None` nobody knows what it asked for.
    pub(crate) fn matters(&self, time: Time, asked: Option<&[Key]>) -> bool {
        let is_learnt = |key: &Key| self.keys.get(key).is_some_and(|from| *from <= time);
        self.all.is_some_and(|from| from <= time) || asked.is_none_or(|asked| asked.iter().any(is_learnt))
    }
}

impl Stale {
    /// A piece of work begins.
    pub(crate) fn begin(&mut self) {
        self.asked.clear();
    }

    pub(crate) fn consult(&mut self, key: Key) {
        self.is_consulted = true;
        self.asked.push(key);
    }

    /// What was consulted since the piece of work began.
    pub(crate) fn asked(&self) -> Vec<Key> {
        self.asked.clone()
    }

    pub(crate) fn learnt(&mut self, key: Key, time: Time) {
        if !self.is_consulted {
            return;
        }
        let from = self.news.keys.entry(key).or_insert(time);
        *from = time.min(*from);
        self.stale_from(time);
    }

    fn all_from(&mut self, time: Time) {
        self.news.all = Some(self.news.all.map_or(time, |from| from.min(time)));
        self.stale_from(time);
    }

    fn stale_from(&mut self, time: Time) {
        self.from = Some(self.from.map_or(time, |from| from.min(time)));
    }

    /// The time from which provisional work may have to be done again, and what was learnt, once.
    pub(crate) fn take(&mut self) -> Option<(Time, Learnt)> {
        let from = self.from.take()?;
        Some((from, std::mem::take(&mut self.news)))
    }

    /// What was learnt before a restart is not known any more.
    pub(crate) fn complete(&mut self) {
        self.news.all = self.from;
    }

    /// No provisional work is left.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// One entity value of a row.
#[derive(Debug, Clone, Copy)]
struct Name<'a> {
    entity_type: EntityType,
    role: Role,
    key: Key,
    text: &'a str,
}

/// A principal or thing of a row, for counting counterparties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) entity_type: EntityType,
    pub(crate) key: Key,
}

/// Of which types the counterparties of an entity are: the first that the row has.
const fn counterparty_types(entity_type: EntityType) -> &'static [EntityType] {
    match entity_type {
        EntityType::Device => &[EntityType::User, EntityType::Device],
        EntityType::User => &[EntityType::Device, EntityType::User, EntityType::Ip],
        EntityType::Process => &[],
        _ => &[EntityType::Device, EntityType::User, EntityType::Mailbox],
    }
}

/// The counterparties of one party among those of its row.
pub(crate) fn counterparties(of: Party, parties: &[Party]) -> impl Iterator<Item = Key> + '_ {
    let others =
        move |wanted: EntityType| parties.iter().filter(move |p| p.entity_type == wanted && p.key != of.key);
    let wanted = counterparty_types(of.entity_type).iter().copied().find(|t| others(*t).next().is_some());
    wanted.into_iter().flat_map(others).map(|p| p.key)
}

impl Facts {
    /// Learns from every row of a batch. Findings teach aliases, but are no telemetry to count.
    pub(crate) fn observe(&mut self, tenant: &TenantId, batch: &EventBatch, file: &File, stale: &mut Stale) {
        self.join(batch, file, stale);
        let Some(rows) = Rows::of(batch) else { return };
        let images = Images::of(batch);
        let signs_in = batch.class == Class::AUTHENTICATION;
        let is_mail = Class::from_name("email_activity") == Some(batch.class);
        let counts = batch.class.category_uid() != Class::DETECTION_FINDING.category_uid();
        let mut keys = HashMap::new();
        for row in 0..batch.len() {
            let time = batch.time(row);
            let names = rows.names(row, tenant, &mut keys);
            self.learn_names(tenant, &names, time, file, stale);
            self.learn_address(&names, signs_in, time, file, stale);
            self.learn_processes(&names, images.at(row), time, stale);
            // Whoever guesses the passwords of many accounts has none of them, and is not an address that many share.
            let failed = signs_in && batch.int("status_id", row) == Some(FAILURE);
            if counts && !failed {
                self.count(&names, Attempt { signs_in, is_mail }, time, file, stale);
            }
        }
    }

    /// After so many rows: what nobody asks for goes on a shelf, and what is too much goes.
    pub(crate) fn settle(&mut self, rows: usize, file: &File, shelf: &Shelf) {
        self.joins.cool(rows, shelf);
        self.lineage.cool(shelf);
        self.lineage.bound(file.limits.processes, shelf);
    }

    /// Joins the rows with those of other batches.
    fn join(&mut self, batch: &EventBatch, file: &File, stale: &mut Stale) {
        for pair in self.joins.observe(batch, file) {
            let links_max = file.joins.kinds[pair.join as usize].population as usize;
            self.links.insert(&pair, links_max, |key| stale.learnt(key, pair.time()));
        }
        self.links.bound(file.limits.join_links);
    }

    /// Learns what an alert's own entities prove. One of several records names the entities of all of them, and whose
    /// names are whose is told by the records.
    pub(crate) fn learn_alert(&mut self, alert: &Keyed, file: &File, stale: &mut Stale) {
        if alert.records.len() > 1 {
            return;
        }
        let names: SmallVec<[Name<'_>; 16]> = alert
            .named()
            .take(file.limits.entities_per_alert)
            .map(|(e, name)| Name { entity_type: e.entity_type, role: e.role, key: name.key, text: &e.value })
            .collect();
        self.learn_names(&alert.tenant, &names, alert.time, file, stale);
        self.learn_address(&names, false, alert.time, file, stale);
        self.learn_processes(&names, RowImages::default(), alert.time, stale);
    }

    fn learn_names(
        &mut self,
        tenant: &TenantId,
        names: &[Name<'_>],
        time: Time,
        file: &File,
        stale: &mut Stale,
    ) {
        let limit = file.limits.alias_values;
        for (i, name) in names.iter().enumerate() {
            if !matches!(name.entity_type, EntityType::User | EntityType::Device) {
                continue;
            }
            let same = |other: &&Name<'_>| other.entity_type == name.entity_type && other.role == name.role;
            let is_first = !names[..i].iter().any(|other| same(&other));
            if name.role.is_single() && is_first {
                let values: SmallVec<[(Key, &str); 8]> =
                    names[i..].iter().filter(same).map(|other| (other.key, other.text)).collect();
                if values.len() > 1 {
                    self.aliases.learn(name.entity_type, &values, time, limit, |key| stale.learnt(key, time));
                }
            }
            if name.entity_type == EntityType::Device {
                self.learn_short_host(tenant, name, time, limit, stale);
            }
        }
    }

    /// A device that names its own address has it, and so does one that signs in to an app from an address.
    fn learn_address(
        &mut self,
        names: &[Name<'_>],
        signs_in: bool,
        time: Time,
        file: &File,
        stale: &mut Stale,
    ) {
        let the_first = |entity_type: EntityType, role: Role| {
            names.iter().find(|n| n.entity_type == entity_type && n.role == role)
        };
        let is_app = |n: &Name<'_>| n.entity_type == EntityType::App;
        let Some(device) = the_first(EntityType::Device, Role::Device) else { return };
        let own = the_first(EntityType::Ip, Role::Device);
        let from = the_first(EntityType::Ip, Role::Source).filter(|_| signs_in && names.iter().any(is_app));
        let Some(address) = own.or(from) else { return };
        if self.leases.learn((address.key, address.text), device.key, time, file.limits.addresses) {
            stale.learnt(address.key, time);
            stale.learnt(device.key, time);
        }
    }

    /// The device that had an address at a time.
    pub(crate) fn holder(&self, address: Key, t: Time, file: &File) -> Option<Key> {
        let is_same = |a: Key, b: Key| {
            a == b || self.aliases.cluster(a, t, &file.alias).iter().any(|alias| alias.key == b)
        };
        self.leases.holder(address, t, &file.address, is_same)
    }

    /// `ws-01` names `ws-01.contoso.com` as long as no other domain name begins with it.
    fn learn_short_host(
        &mut self,
        tenant: &TenantId,
        name: &Name<'_>,
        time: Time,
        limit: usize,
        stale: &mut Stale,
    ) {
        let Some(short) = short_host(name.text) else { return };
        let key = Key::of(tenant, EntityType::Device, short);
        let pair = [(key, short), (name.key, name.text)];
        self.aliases.learn(EntityType::Device, &pair, time, limit, |key| stale.learnt(key, time));
    }

    fn learn_processes(&mut self, names: &[Name<'_>], images: RowImages<'_>, time: Time, stale: &mut Stale) {
        let the_only = |role: Role, path: Option<&str>| {
            let mut found = names.iter().filter(|n| n.entity_type == EntityType::Process && n.role == role);
            let name = found.next().filter(|_| found.next().is_none())?;
            let image = path.map(|path| base_name(path).to_ascii_lowercase());
            Some(Mention { key: name.key, name: name.text, image })
        };
        let target = the_only(Role::Target, images.target);
        let actor = the_only(Role::Actor, images.actor);
        let started_by = actor.clone().filter(|_| images.is_launch);
        let parent = the_only(Role::Parent, images.parent).or(started_by);
        let actor_parent = the_only(Role::ActorParent, images.actor_parent);
        for (process, parent) in [(target, parent), (actor, actor_parent)] {
            let Some(process) = process else { continue };
            if self.lineage.learn(&process, parent.as_ref(), time) {
                stale.learnt(process.key, time);
                parent.iter().for_each(|p| stale.learnt(p.key, time));
            }
        }
    }

    fn count(&mut self, names: &[Name<'_>], attempt: Attempt, time: Time, file: &File, stale: &mut Stale) {
        // Several values of one role are aliases of one party: its first value stands for it.
        let mut parties: SmallVec<[Party; 8]> = SmallVec::new();
        let (mut seen, mut writing): (SmallVec<[Key; 8]>, SmallVec<[Key; 4]>) = Default::default();
        for (i, name) in names.iter().enumerate() {
            let is_alias = name.role.is_single()
                && names[..i].iter().any(|n| n.entity_type == name.entity_type && n.role == name.role);
            if !is_alias {
                parties.push(Party { entity_type: name.entity_type, key: name.key });
                seen.extend(attempt.shows(name.role).then_some(name.key));
                writing.extend(attempt.writes(name.role).then_some(name.key));
            }
        }
        for name in names {
            let stands_for = names.iter().find(|n| n.entity_type == name.entity_type && n.role == name.role);
            let of = Party { entity_type: name.entity_type, key: stands_for.map_or(name.key, |n| n.key) };
            // Whoever writes to a mailbox does not use it.
            let is_told = attempt.is_mail && matches!(name.role, Role::Recipient | Role::Target);
            let others: SmallVec<[Party; 8]> =
                parties.iter().filter(|p| !is_told || !writing.contains(&p.key)).copied().collect();
            for key in counterparties(of, &others) {
                let member = if seen.contains(&key) { Member::Seen(key) } else { Member::Named(key) };
                if let Some(epoch) = self.rarity.observe(name.key, member, time, file) {
                    stale.all_from(Time(epoch.saturating_add(1).saturating_mul(file.rarity_epoch.0)));
                }
            }
        }
    }
}

/// OCSF: the event reports a failure.
const FAILURE: i64 = 2;

/// What a row tells about whether those that it names took part.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    signs_in: bool,
    is_mail: bool,
}

impl Attempt {
    /// Whether who has this role in the row took part in what happened, and is not just named by others.
    fn shows(self, role: Role) -> bool {
        match role {
            Role::Device | Role::Actor | Role::ActorParent | Role::ProcessUser => true,
            Role::Target => self.signs_in,
            _ => false,
        }
    }

    /// Whether who has this role wrote the mail that the row is about.
    fn writes(self, role: Role) -> bool {
        self.is_mail && matches!(role, Role::Sender | Role::Actor)
    }
}

/// The last part of a Windows or Unix path.
fn base_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

/// The entity column of a batch, read in place.
struct Rows<'a> {
    list: &'a ListArray,
    types: &'a StringViewArray,
    roles: &'a StringViewArray,
    values: &'a StringViewArray,
}

impl<'a> Rows<'a> {
    fn of(batch: &'a EventBatch) -> Option<Self> {
        let list = batch.column("entities")?.as_list_opt::<i32>()?;
        let members = list.values().as_struct_opt()?;
        let text = |i: usize| members.column(i).as_string_view_opt();
        Some(Self { list, types: text(0)?, roles: text(1)?, values: text(2)? })
    }

    fn names(
        &self,
        row: usize,
        tenant: &TenantId,
        keys: &mut HashMap<(EntityType, &'a str), Key>,
    ) -> SmallVec<[Name<'a>; 16]> {
        let offsets = self.list.value_offsets();
        (offsets[row] as usize..offsets[row + 1] as usize)
            .filter_map(|i| {
                let entity_type = EntityType::from_name(self.types.value(i))?;
                let role = Role::from_name(self.roles.value(i))?;
                let text: &'a str = self.values.value(i);
                let key =
                    *keys.entry((entity_type, text)).or_insert_with(|| Key::of(tenant, entity_type, text));
                Some(Name { entity_type, role, key, text })
            })
            .collect()
    }
}

/// The image columns of a batch, found once.
struct Images<'a> {
    target: [Option<&'a StringViewArray>; 2],
    actor: [Option<&'a StringViewArray>; 2],
    parent: [Option<&'a StringViewArray>; 2],
    actor_parent: [Option<&'a StringViewArray>; 2],
    batch: &'a EventBatch,
}

#[derive(Debug, Clone, Copy, Default)]
struct RowImages<'a> {
    target: Option<&'a str>,
    actor: Option<&'a str>,
    parent: Option<&'a str>,
    actor_parent: Option<&'a str>,
    /// The row tells of a process start: without a parent column, the actor is the parent.
    is_launch: bool,
}

/// OCSF Process Activity: Launch.
const LAUNCH: i64 = 1;

impl<'a> Images<'a> {
    fn of(batch: &'a EventBatch) -> Self {
        let column = |name: &str| batch.column(name).and_then(|c| c.as_string_view_opt());
        Self {
            target: [column("process_file_path"), column("process_name")],
            actor: [column("actor_process_file_path"), column("actor_process_name")],
            parent: [column("process_parent_path"), column("process_parent_name")],
            actor_parent: [column("actor_process_parent_path"), None],
            batch,
        }
    }

    fn at(&self, row: usize) -> RowImages<'a> {
        let text = |columns: &[Option<&'a StringViewArray>; 2]| {
            columns.iter().flatten().find(|c| c.is_valid(row)).map(|c| c.value(row))
        };
        let is_process = self.batch.class == Class::PROCESS_ACTIVITY;
        RowImages {
            target: text(&self.target),
            actor: text(&self.actor),
            parent: text(&self.parent),
            actor_parent: text(&self.actor_parent),
            is_launch: is_process && self.batch.int("activity_id", row) == Some(LAUNCH),
        }
    }
}
