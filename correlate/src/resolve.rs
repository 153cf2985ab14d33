//! Entity resolution of an alert: under which keys it can be found, and under which it looks for others.

use std::sync::Arc;

use event::{Alert, Domain, Entity, EntityType, Role, Time};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::alias::{Alias, FORMS, form_rank, is_bare};
use crate::evidence::{Evidence, Key};
use crate::facts::{Facts, Party, Stale};
use crate::fixed::{ONE, mix, times};
use crate::join::{End, Lead, Start, Walk};
use crate::keyed::{BRUTE_FORCE, Keyed, Name};
use crate::parameters::File;
use crate::rarity::Member;

/// A key under which an alert can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Post {
    pub(crate) key: Key,
    pub(crate) kind: Evidence,
    /// Steps up the process tree from a process of the alert; 0 for all other evidence.
    pub(crate) steps: u8,
    /// A mailbox that the alert only implies by its user's address: two such are no mailbox evidence.
    pub(crate) implied: bool,
}

/// A key under which an alert looks for others, with what its own side of the evidence is worth.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) post: Post,
    called: Called,
    /// Asks of one number name one entity.
    pub(crate) entity: u16,
    /// Rarity known from process lineage, or what a walk over plain events left; [`ONE`] for all other evidence.
    pub(crate) rarity: u32,
    /// The plain events over which it came here.
    pub(crate) lead: Option<Lead>,
    /// A user's name without domain, address or id: the same name elsewhere may be somebody else.
    pub(crate) is_bare: bool,
}

/// What people call that which an alert asks for. Most asks lead to nobody, and need no name of their own.
#[derive(Debug, Clone)]
enum Called {
    /// As the alert's entity of this number does.
    Entity(u16),
    /// As its rule does.
    Rule,
    Text(Arc<str>),
}

impl Ask {
    /// What people call it.
    pub(crate) fn value(&self, alert: &Alert) -> Arc<str> {
        match &self.called {
            Called::Entity(number) => {
                let entity = alert.entities.get(usize::from(*number).wrapping_sub(1));
                entity.map_or_else(Arc::default, |entity| Arc::clone(&entity.value))
            }
            Called::Rule => Arc::clone(&alert.rule.title),
            Called::Text(text) => Arc::clone(text),
        }
    }

    /// The entities whose rarity weighs it, beside its own.
    pub(crate) fn common(&self) -> &[(Key, Evidence)] {
        self.lead.as_ref().map_or(&[], |lead| &lead.via.common)
    }
}

/// Records of an alert by which joins of plain events find it. Alerts of many records are about more than events.
const RECORDS_MAX: usize = 16;

/// Posts of most alerts, and asks.
const NAMES: usize = 16;

/// An alert with its entities resolved as of its own time.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// By key; every key once.
    pub(crate) asks: Vec<Ask>,
    /// By key; every key once.
    pub(crate) posts: Vec<Post>,
    /// Entities as parties, aliases made one.
    pub(crate) parties: SmallVec<[Party; 8]>,
    /// Those of the parties that count as counterparties of others.
    pub(crate) members: SmallVec<[Party; 8]>,
    /// Those of the members that whoever acted only named.
    named: SmallVec<[Key; 4]>,
    /// Those that only wrote to the named ones.
    writing: SmallVec<[Key; 4]>,
    /// The device, else the user, else whatever the alert is about.
    pub(crate) principal: Key,
    /// Whom its rule fires on: the principal, but where passwords are guessed whoever guesses, if it is known.
    pub(crate) fired_on: Key,
    /// Device and user, within which a repeated rule is one episode.
    pub(crate) scene: Key,
    /// Whether process lineage knows where its processes come from.
    pub(crate) tree_known: bool,
    /// How many users, devices and outside addresses it names: of many, each says little.
    pub(crate) breadth: Breadth,
}

/// Numbers of entities that an alert names, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Breadth {
    users: u8,
    devices: u8,
    addresses: u8,
}

impl Breadth {
    fn of(members: &[Party]) -> Self {
        let count = |kind: EntityType| {
            let of_kind = members.iter().filter(|party| party.entity_type == kind).count();
            u8::try_from(of_kind).unwrap_or(u8::MAX)
        };
        Self {
            users: count(EntityType::User).max(count(EntityType::Mailbox)),
            devices: count(EntityType::Device),
            addresses: count(EntityType::Ip),
        }
    }

    /// The number for a kind of evidence; 1 where it does not matter, as for sessions and processes.
    pub(crate) const fn of_kind(self, kind: Evidence) -> u32 {
        match kind {
            Evidence::User | Evidence::Mailbox => self.users as u32,
            Evidence::Device => self.devices as u32,
            Evidence::IpExternal => self.addresses as u32,
            _ => 1,
        }
    }
}

impl Resolved {
    pub(crate) fn of(alert: &Keyed, facts: &Facts, file: &File, stale: &mut Stale) -> Self {
        let mut work = Work {
            facts,
            file,
            stale,
            t: alert.time,
            alert,
            asks: Vec::with_capacity(NAMES),
            posts: SmallVec::new(),
            entity: 0,
            tree_known: false,
        };
        let mut parties: SmallVec<[Party; 8]> = SmallVec::new();
        let mut members: SmallVec<[Party; 8]> = SmallVec::new();
        let mut standing = Standing::of(alert);
        let mut guesser = None;
        let mut devices: SmallVec<[(Role, Key); 4]> = SmallVec::new();
        let mut users: SmallVec<[(Role, Key); 4]> = SmallVec::new();
        for (entity, name) in alert.named().take(file.limits.entities_per_alert) {
            work.entity += 1;
            let canonical = work.entity(entity, name);
            let party = Party { entity_type: entity.entity_type, key: canonical };
            if !parties.contains(&party) {
                parties.push(party);
            }
            // By whichever of its names counts.
            if is_counted(entity, alert) && !members.contains(&party) {
                members.push(party);
            }
            standing.hear(entity, canonical);
            match entity.entity_type {
                EntityType::Device => devices.push((entity.role, canonical)),
                EntityType::User => users.push((entity.role, canonical)),
                EntityType::Ip if standing.is_guess && entity.role == Role::Source => {
                    guesser = guesser.or(Some(canonical));
                }
                _ => {}
            }
        }
        work.rule();
        work.records();
        work.events();
        let first = |of: &[(Role, Key)]| {
            of.iter().min_by_key(|(role, key)| (role_rank(*role), *key)).map(|(_, key)| *key)
        };
        let (device, user) = (first(&devices), first(&users));
        let other = parties.iter().map(|p| p.key).min();
        let principal = device.or(user).or(other).unwrap_or(alert.own_key);
        let scene = scene(alert.rule_key, device, user, principal);
        let Work { mut asks, mut posts, tree_known, .. } = work;
        asks.sort_by_key(|ask| rank(&ask.post));
        asks.dedup_by_key(|ask| ask.post.key);
        posts.sort_by_key(rank);
        posts.dedup_by_key(|post| post.key);
        let breadth = Breadth::of(&members);
        members.retain(|party| !standing.is_guessed(party.key));
        Self {
            asks,
            posts: posts.to_vec(),
            breadth,
            named: standing.named(),
            writing: standing.writing(),
            parties,
            members,
            principal,
            fired_on: guesser.unwrap_or(principal),
            scene,
            tree_known,
        }
    }
}

impl Resolved {
    /// Whether one party wrote a mail to another: that makes it no user of the other's mailbox.
    pub(crate) fn only_writes_to(&self, party: Key, other: Key) -> bool {
        self.writing.contains(&party) && self.named.contains(&other)
    }

    /// A counterparty, and on whose word it is one.
    pub(crate) fn member(&self, key: Key) -> Member {
        if self.named.contains(&key) { Member::Named(key) } else { Member::Seen(key) }
    }
}

/// The users and mailboxes of an alert that others named, and that did nothing themselves.
struct Standing {
    is_guess: bool,
    is_mail: bool,
    told: SmallVec<[Key; 4]>,
    acting: SmallVec<[Key; 4]>,
}

impl Standing {
    fn of(alert: &Keyed) -> Self {
        let is_guess = alert.guess_key.is_some();
        let is_mail = alert.domain == Domain::Email;
        Self { is_guess, is_mail, told: SmallVec::new(), acting: SmallVec::new() }
    }

    fn hear(&mut self, entity: &Entity, key: Key) {
        if matches!(entity.entity_type, EntityType::User | EntityType::Mailbox) {
            let is_told = matches!(entity.role, Role::Target | Role::Recipient);
            if is_told { self.told.push(key) } else { self.acting.push(key) }
        }
    }

    fn is_told(&self, key: Key) -> bool {
        self.told.contains(&key) && !self.acting.contains(&key)
    }

    /// Whoever guesses the passwords of many accounts has none of them, and they have nothing to do with each other: as
    /// failed sign-ins in telemetry do not.
    fn is_guessed(&self, key: Key) -> bool {
        self.is_guess && self.is_told(key)
    }

    /// Whom a mail is sent to says little about who writes from its mailbox.
    fn named(&self) -> SmallVec<[Key; 4]> {
        self.told.iter().copied().filter(|key| self.is_mail && !self.acting.contains(key)).collect()
    }

    /// Those that write, and are not written to.
    fn writing(&self) -> SmallVec<[Key; 4]> {
        self.acting.iter().copied().filter(|key| self.is_mail && !self.told.contains(key)).collect()
    }
}

/// The address of whoever holds the session of a role that was assumed in AWS: what signs people in there calls the
/// session by it (`arn:aws:sts::1234:assumed-role/developer/kate@contoso.com`). It says nothing of other sessions of the
/// role, so it is read here and teaches no alias.
fn session_address(user: &str) -> Option<&str> {
    let (_, session) = user.strip_prefix("arn:")?.split_once(":assumed-role/")?.1.rsplit_once('/')?;
    session.contains('@').then_some(session)
}

/// Whether an entity counts as a counterparty of its own. An alert that lists several accounts, or has several records,
/// lists all the names of each, without saying whose they are: where several are of one form, those of the most
/// frequent form stand for the accounts.
fn is_counted(entity: &Entity, alert: &Alert) -> bool {
    let is_single = entity.role.is_single() && alert.records.len() <= 1;
    if is_single || !matches!(entity.entity_type, EntityType::User | EntityType::Device) {
        return true;
    }
    let mut counts = [0_usize; FORMS];
    let alike =
        alert.entities.iter().filter(|e| e.entity_type == entity.entity_type && e.role == entity.role);
    alike.for_each(|e| counts[form_rank(e.entity_type, &e.value)] += 1);
    let most = counts.iter().max().copied().unwrap_or_default();
    let standing_in = counts.iter().position(|count| *count == most);
    most < 2 || standing_in == Some(form_rank(entity.entity_type, &entity.value))
}

/// The key of an episode: rule, device and user, or whatever else the alert is about.
fn scene(rule: Key, device: Option<Key>, user: Option<Key>, principal: Key) -> Key {
    let (a, b) =
        if device.is_none() && user.is_none() { (principal, None) } else { (device.unwrap_or(Key(0)), user) };
    Key(mix(rule.0 ^ mix(a.0 ^ mix(b.unwrap_or(Key(0)).0))))
}

/// The key that stands for all aliases.
fn canonical(key: Key, cluster: &[Alias]) -> Key {
    cluster.first().map_or(key, |alias| alias.key.min(key))
}

/// The device an event happened on says more about it than the one it came from.
const fn role_rank(role: Role) -> u8 {
    match role {
        Role::Device => 0,
        Role::Target => 1,
        Role::Actor => 2,
        Role::ProcessUser => 3,
        Role::Related => 5,
        _ => 4,
    }
}

/// The order in which the best of each key comes first: what the alert itself names before what events lead to, stated
/// before implied, fewest steps.
fn rank(post: &Post) -> (Key, bool, bool, u8, Evidence) {
    let Post { key, kind, steps, implied } = *post;
    (key, matches!(kind, Evidence::Join(_)), implied, steps, kind)
}

struct Work<'a> {
    facts: &'a Facts,
    file: &'a File,
    stale: &'a mut Stale,
    alert: &'a Keyed,
    t: Time,
    asks: Vec<Ask>,
    posts: SmallVec<[Post; NAMES]>,
    entity: u16,
    tree_known: bool,
}

impl Work<'_> {
    /// Posts and asks for one entity; the key that stands for all its aliases.
    fn entity(&mut self, entity: &Entity, name: Name) -> Key {
        let (Name { key, kind, .. }, Entity { entity_type, role, value, .. }) = (name, entity);
        self.stale.consult(key);
        match entity_type {
            EntityType::User => self.user(name, value, Evidence::User),
            EntityType::Mailbox => self.mailbox(name),
            EntityType::Device => self.device(key, value),
            EntityType::Process => self.process(key, *role),
            _ => {
                let post = Post { key, kind, steps: 0, implied: false };
                self.add(post, Called::Entity(self.entity), true);
                if *entity_type == EntityType::Ip {
                    self.holder(key);
                }
                key
            }
        }
    }

    fn add(&mut self, post: Post, called: Called, is_named: bool) {
        if is_named {
            self.posts.push(post);
        }
        let entity = self.entity;
        self.asks.push(Ask { post, called, entity, rarity: ONE, is_bare: false, lead: None });
    }

    /// The same for a user's name.
    fn add_name(&mut self, post: Post, called: Called, is_named: bool, name: &str) {
        self.add(post, called, is_named);
        if let Some(ask) = self.asks.last_mut() {
            ask.is_bare = post.kind == Evidence::User && is_bare(name);
        }
    }

    /// Posts and asks for all its aliases, which are returned.
    fn aliased(&mut self, key: Key, value: &str, called: Called, kind: Evidence) -> SmallVec<[Alias; 4]> {
        self.add_name(Post { key, kind, steps: 0, implied: false }, called.clone(), true, value);
        let cluster = self.facts.aliases.cluster(key, self.t, &self.file.alias);
        for alias in &cluster {
            self.stale.consult(alias.key);
            if alias.key != key {
                let post = Post { key: alias.key, kind, steps: 0, implied: false };
                self.add_name(post, called.clone(), false, &alias.text);
            }
        }
        cluster
    }

    /// A device, and the addresses that it had and no other.
    fn device(&mut self, key: Key, value: &str) -> Key {
        let cluster = self.aliased(key, value, Called::Entity(self.entity), Evidence::Device);
        let canonical = canonical(key, &cluster);
        let mut own: SmallVec<[Key; 4]> = SmallVec::from_slice(&[key]);
        own.extend(cluster.iter().map(|alias| alias.key));
        let facts = self.facts;
        for (address, text) in facts.leases.claimed_by(&own, self.t) {
            self.stale.consult(address);
            facts.leases.claimants(address).for_each(|device| self.stale.consult(device));
            if facts.holder(address, self.t, self.file).is_some_and(|holder| own.contains(&holder)) {
                let post = Post { key: address, kind: Evidence::Device, steps: 0, implied: false };
                self.add(post, Called::Text(Arc::clone(text)), false);
            }
        }
        canonical
    }

    /// The device that an address was at the time.
    fn holder(&mut self, address: Key) {
        let facts = self.facts;
        facts.leases.claimants(address).for_each(|device| self.stale.consult(device));
        let Some(holder) = facts.holder(address, self.t, self.file) else { return };
        let post = |key| Post { key, kind: Evidence::Device, steps: 0, implied: false };
        self.stale.consult(holder);
        let called = Called::Entity(self.entity);
        self.add(post(holder), called.clone(), false);
        for alias in facts.aliases.cluster(holder, self.t, &self.file.alias) {
            self.stale.consult(alias.key);
            if alias.key != holder {
                self.add(post(alias.key), called.clone(), false);
            }
        }
    }

    /// A user, and by its addresses the mailboxes of the same principal.
    fn user(&mut self, Name { key, twin, .. }: Name, value: &Arc<str>, kind: Evidence) -> Key {
        let called = Called::Entity(self.entity);
        let cluster = self.aliased(key, value, called.clone(), kind);
        let canonical = canonical(key, &cluster);
        if let Some(address) = session_address(value) {
            let address: Arc<str> = address.into();
            let owner = Key::of(&self.alert.tenant, EntityType::User, &address);
            self.stale.consult(owner);
            self.aliased(owner, &address, Called::Text(Arc::clone(&address)), kind);
        }
        let named = (value.contains('@') && cluster.is_empty()).then(|| Arc::clone(value));
        for address in
            cluster.iter().map(|a| Arc::clone(&a.text)).chain(named).filter(|text| text.contains('@'))
        {
            let is_named = address == *value;
            let of_alias = || Key::of(&self.alert.tenant, EntityType::Mailbox, &address);
            let mailbox = if is_named { twin } else { of_alias() };
            let post = Post { key: mailbox, kind: Evidence::Mailbox, steps: 0, implied: true };
            self.add(post, called.clone(), is_named);
        }
        canonical
    }

    /// A mailbox, and the user whose address it is.
    fn mailbox(&mut self, Name { key, twin: owner, .. }: Name) -> Key {
        let called = Called::Entity(self.entity);
        self.add(Post { key, kind: Evidence::Mailbox, steps: 0, implied: false }, called.clone(), true);
        self.stale.consult(owner);
        for alias in self.facts.aliases.cluster(owner, self.t, &self.file.alias) {
            self.stale.consult(alias.key);
            let post = Post { key: alias.key, kind: Evidence::Mailbox, steps: 0, implied: false };
            self.add(post, called.clone(), false);
        }
        key
    }

    fn process(&mut self, key: Key, role: Role) -> Key {
        let weighing = self.file.weighing(Evidence::Process);
        let lineage = &self.facts.lineage;
        // A parent that an alert names is a step away from what the alert is about.
        let base = u8::from(matches!(role, Role::Parent | Role::ActorParent));
        if lineage.is_session_root(key, self.t, self.file, weighing) {
            return key;
        }
        self.tree_known |= base == 0 && lineage.is_known(key, self.t);
        let mut ancestry = lineage.ancestry(key, self.t, self.file, weighing);
        if ancestry.is_empty() {
            let post = Post { key, kind: Evidence::Process, steps: base, implied: false };
            self.add(post, Called::Entity(self.entity), true);
        }
        for ancestor in ancestry.drain(..).filter(|a| a.steps + base <= self.file.tree.steps) {
            self.stale.consult(ancestor.key);
            let post = Post {
                key: ancestor.key,
                kind: Evidence::Process,
                steps: ancestor.steps + base,
                implied: false,
            };
            self.posts.push(post);
            let (called, rarity) = (Called::Text(ancestor.name), ancestor.rarity);
            self.asks.push(Ask { post, called, entity: self.entity, rarity, is_bare: false, lead: None });
        }
        key
    }

    fn rule(&mut self) {
        self.entity += 1;
        let (alert, key) = (self.alert, self.alert.rule_key);
        self.add(Post { key, kind: Evidence::Rule, steps: 0, implied: false }, Called::Rule, true);
        // One attacker who guesses sets off several rules: these are one rule, elsewhere.
        if let Some(key) = alert.guess_key {
            self.entity += 1;
            let called = Called::Text(Arc::from(BRUTE_FORCE));
            self.add(Post { key, kind: Evidence::Rule, steps: 0, implied: false }, called, true);
        }
    }

    /// The records that it was made of: where joins of plain events find it.
    fn records(&mut self) {
        let keys = self.alert.records.iter().take(RECORDS_MAX).map(End::key_of);
        self.posts.extend(keys.map(|key| Post { key, kind: Evidence::Record, steps: 0, implied: false }));
    }

    /// What joins of plain events lead to, from its records, processes, messages, sessions and files.
    fn events(&mut self) {
        let leads = |post: &&Post| {
            let leads = matches!(
                post.kind,
                Evidence::Record | Evidence::Process | Evidence::Message | Evidence::Session | Evidence::File
            );
            leads && !post.implied
        };
        let step = self.file.tree.step.0;
        let strength = |post: &Post| (0..post.steps).fold(ONE, |strength, _| times(strength, step));
        let start = |post: &Post| Start { key: post.key, kind: post.kind, strength: strength(post) };
        let start = self.posts.iter().filter(leads).map(start).collect();
        let walk = Walk { facts: self.facts, file: self.file, stale: &mut *self.stale, t: self.t };
        for reached in walk.reach(start) {
            self.entity += 1;
            let post =
                Post { key: reached.key, kind: Evidence::Join(reached.join), steps: 0, implied: false };
            let (called, rarity) = (Called::Text(Arc::clone(&reached.lead.via.text)), reached.strength);
            self.asks.push(Ask {
                post,
                called,
                entity: self.entity,
                rarity,
                is_bare: false,
                lead: Some(reached.lead),
            });
        }
    }
}
