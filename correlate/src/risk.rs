//! Risk of users, devices and apps: what sealed alerts say about them, fading with event time.
//!
//! Of each rule only the strongest alert counts for an entity, of the rules only the strongest few, and "strongest" does
//! not change with time, since everything fades alike. So what is held is a function of the *set* of alerts. Parts are
//! combined as independent witnesses: two of 40 points give 64.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use event::{
    Alert, AlertId, Domain, EntityRisk, EntityType, RiskChange, RiskLevel, RiskReason, Role, Severity,
    TenantId, Time, Watermark,
};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::board::Node;
use crate::delta::Ledger;
use crate::evidence::{Evidence, Key};
use crate::facts::Facts;
use crate::fixed::{ONE, decay, either, log2, rarity, times};
use crate::keyed::Keyed;
use crate::names::app_name;
use crate::parameters::{File, Risk};
use crate::snapshot::sorted;

/// Rules that count for one entity: sixteen strong ones saturate any score.
const RULES_MAX: usize = 16;

/// What an alert has faded to when it counts no more: a tenth of a point.
const FORGOTTEN: u32 = ONE / 1_000;

/// A falling score is told when it has fallen by this much, or its level falls.
const FALL_TOLD: u32 = 5;

/// Event time between two looks at what has faded.
const LOOK_US: i64 = 3_600_000_000;

/// What one rule says about one entity: its strongest alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    rule: Key,
    /// Share of one, in millionths, when it was fresh.
    weight: u32,
    time: Time,
    alert: AlertId,
    title: Arc<str>,
    severity: Severity,
}

impl Part {
    /// The order of parts at any time: the logarithm of what is left differs by a constant.
    fn strength(&self, half_life_us: i64) -> (i128, Reverse<&AlertId>) {
        let fresh = i128::from(log2(self.weight.max(1))) * i128::from(half_life_us);
        (fresh + (i128::from(self.time.0) << 16), Reverse(&self.alert))
    }

    /// What is left of it, in millionths.
    fn left(&self, at: Time, risk: &Risk) -> u32 {
        times(self.weight, decay(at.0.saturating_sub(self.time.0), risk.half_life.0))
    }
}

/// What is held of one value of an entity.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Held {
    entity_type: EntityType,
    value: Arc<str>,
    /// What alerts call an app; the smallest of several.
    #[serde(default)]
    label: Option<Arc<str>>,
    /// Strongest first.
    parts: Vec<Part>,
}

/// What was last told of an entity.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Told {
    entity_type: EntityType,
    name: Arc<str>,
    level: RiskLevel,
    score: u32,
}

/// The risks of a tenant.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Risks {
    /// By the value that alerts name.
    #[serde(with = "sorted")]
    held: HashMap<Key, Held>,
    /// By the value that people know it by.
    #[serde(with = "sorted")]
    told: HashMap<Key, Told>,
    /// Values with news.
    touched: BTreeSet<Key>,
    /// Event time of the last sealed alert.
    latest: Time,
    /// The last look at what has faded.
    looked: i64,
    /// Values dropped because the table was full.
    pub(crate) evicted: u64,
}

impl Risks {
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Counts a sealed alert.
    pub(crate) fn raise(&mut self, node: &Node, facts: &Facts, file: &File) {
        let alert = &node.alert;
        self.latest = self.latest.max(alert.time);
        for Named { entity_type, value, key, share } in named(alert, facts, file) {
            let mut weight = times(times(file.risk.of(alert.severity), node.sigma), share);
            if entity_type == EntityType::App {
                // An app that everybody uses is no more suspicious for it.
                let weighing = file.weighing(Evidence::App);
                let users = facts.rarity.crowd(key, alert.time, file).count();
                weight = times(weight, rarity(users, weighing.free, weighing.population));
            }
            if weight >= FORGOTTEN {
                let part = Part {
                    rule: alert.rule_key,
                    weight,
                    time: alert.time,
                    alert: alert.id.clone(),
                    title: Arc::clone(&alert.title),
                    severity: alert.severity,
                };
                self.add(key, entity_type, value, part, file);
                self.label(key, app_name(alert, entity_type, value));
            }
        }
    }

    fn add(&mut self, key: Key, entity_type: EntityType, value: &str, part: Part, file: &File) {
        let held = self.held.entry(key).or_insert_with(|| Held {
            entity_type,
            value: value.into(),
            label: None,
            parts: Vec::new(),
        });
        if unite(&mut held.parts, part, file.risk.half_life.0) {
            self.touched.insert(key);
        }
        // A quarter more than allowed, so that a full table is not sorted for every alert.
        if self.held.len() > file.limits.risk_entities + file.limits.risk_entities / 4 {
            self.evict(file);
        }
    }

    fn label(&mut self, key: Key, label: Option<&str>) {
        if let (Some(label), Some(held)) = (label, self.held.get_mut(&key))
            && held.label.as_deref().is_none_or(|known| label < known)
        {
            held.label = Some(label.into());
        }
    }

    /// Keeps the entities with the strongest parts.
    fn evict(&mut self, file: &File) {
        let half_life = file.risk.half_life.0;
        let strength = |held: &Held| held.parts.first().map(|part| part.strength(half_life).0);
        let mut ranked: Vec<(Option<i128>, Key)> =
            self.held.iter().map(|(key, held)| (strength(held), *key)).collect();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        for (_, key) in ranked.split_off(file.limits.risk_entities.min(ranked.len())) {
            self.held.remove(&key);
            self.touched.insert(key);
            self.evicted += 1;
        }
    }

    /// The event time that scores are of: where event time stands, or the last alert when the input has ended.
    fn now(&self, watermark: Watermark) -> Time {
        if watermark == Watermark::END { self.latest } else { watermark.0.max(self.latest) }
    }

    /// What rose or fell since the last call, by type and name.
    pub(crate) fn changes(&mut self, watermark: Watermark, see: &Sight<'_>) -> Vec<RiskChange> {
        let now = self.now(watermark);
        let mut due = std::mem::take(&mut self.touched);
        if now.0.div_euclid(LOOK_US) > self.looked {
            self.looked = now.0.div_euclid(LOOK_US);
            self.forget(now, see.file);
            due.extend(self.told.keys());
        }
        let mut done = BTreeSet::new();
        let mut changes = Vec::new();
        for key in due {
            if !done.contains(&key) {
                let group = self.group(key, now, see);
                done.extend(group.iter().copied());
                changes.extend(self.tell(&group, now, see));
            }
        }
        changes.sort_by(|a, b| {
            let order = |change: &RiskChange| (change.risk().entity_type, Arc::clone(&change.risk().name));
            order(a).cmp(&order(b))
        });
        changes
    }

    /// Drops what has faded to nothing.
    fn forget(&mut self, now: Time, file: &File) {
        self.held.retain(|_, held| {
            held.parts.retain(|part| part.left(now, &file.risk) >= FORGOTTEN);
            !held.parts.is_empty()
        });
    }

    /// All values of the entity that a value names, the one that people know it by first.
    fn group(&self, key: Key, now: Time, see: &Sight<'_>) -> SmallVec<[Key; 4]> {
        let mut keys: SmallVec<[Key; 4]> = SmallVec::from_slice(&[key]);
        let cluster = see.facts.aliases.cluster(key, now, &see.file.alias);
        keys.extend(cluster.iter().map(|alias| alias.key).filter(|other| *other != key));
        if let Some(display) = see.facts.aliases.display(key, now, &see.file.alias)
            && let Some(first) = cluster.iter().find(|alias| alias.text == display)
            && let Some(place) = keys.iter().position(|key| *key == first.key)
        {
            keys.swap(0, place);
        }
        keys
    }

    fn tell(&mut self, group: &[Key], now: Time, see: &Sight<'_>) -> Vec<RiskChange> {
        let mut changes = Vec::new();
        for key in &group[1..] {
            // It is known by another name now.
            if let Some(told) = self.told.remove(key) {
                changes.push(RiskChange::Lowered(nothing(see.tenant, told, now)));
            }
        }
        let first = group[0];
        let before = self.told.get(&first).cloned();
        let Some(risk) = self.risk(group, now, see).filter(|risk| risk.level > RiskLevel::None) else {
            if let Some(told) = self.told.remove(&first) {
                changes.push(RiskChange::Lowered(nothing(see.tenant, told, now)));
            }
            return changes;
        };
        let told = Told {
            entity_type: risk.entity_type,
            name: Arc::clone(&risk.name),
            level: risk.level,
            score: risk.score,
        };
        let change = match &before {
            Some(b) if risk.score < b.score => (risk.level != b.level || b.score - risk.score >= FALL_TOLD)
                .then_some(RiskChange::Lowered(risk)),
            Some(b) if risk.score == b.score => None,
            _ => Some(RiskChange::Raised(risk)),
        };
        if change.is_some() {
            self.told.insert(first, told);
        }
        changes.extend(change);
        changes
    }

    /// The risk of the entity with these values.
    fn risk(&self, group: &[Key], now: Time, see: &Sight<'_>) -> Option<EntityRisk> {
        let held: Vec<&Held> = group.iter().filter_map(|key| self.held.get(key)).collect();
        let entity_type = held.first()?.entity_type;
        let risk = &see.file.risk;
        let mut parts: Vec<Part> = Vec::new();
        for part in held.iter().flat_map(|held| &held.parts) {
            unite(&mut parts, part.clone(), risk.half_life.0);
        }
        parts.retain(|part| part.left(now, risk) >= FORGOTTEN);
        let last_raised = parts.iter().map(|part| part.time).max()?;
        let share = parts.iter().fold(0, |all, part| either(all, part.left(now, risk)));
        let score = points(share);
        let (name, aliases) = see.names(group, now, &held);
        Some(EntityRisk {
            tenant: see.tenant.clone(),
            entity_type,
            name,
            aliases,
            level: risk.level(score),
            score,
            as_of: now,
            last_raised,
            raised_by: parts.iter().map(|part| see.reason(part, now)).collect(),
        })
    }

    /// Every risk that has a level, the highest score first.
    pub(crate) fn all(&self, watermark: Watermark, see: &Sight<'_>) -> Vec<EntityRisk> {
        let now = self.now(watermark);
        let mut done = BTreeSet::new();
        let mut all = Vec::new();
        let keys: BTreeSet<Key> = self.held.keys().copied().collect();
        for key in keys {
            if !done.contains(&key) {
                let group = self.group(key, now, see);
                done.extend(group.iter().copied());
                all.extend(self.risk(&group, now, see).filter(|risk| risk.level > RiskLevel::None));
            }
        }
        all.sort_by(|a, b| (b.score, a.entity_type, &a.name).cmp(&(a.score, b.entity_type, &b.name)));
        all
    }
}

/// What risks are told with.
pub(crate) struct Sight<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) facts: &'a Facts,
    pub(crate) ledger: &'a Ledger,
    pub(crate) file: &'a File,
}

impl Sight<'_> {
    /// The name that people know an entity by, and the others.
    fn names(&self, group: &[Key], now: Time, held: &[&Held]) -> (Arc<str>, Vec<Arc<str>>) {
        let cluster = self.facts.aliases.cluster(group[0], now, &self.file.alias);
        let mut all: BTreeSet<Arc<str>> = cluster.iter().map(|alias| Arc::clone(&alias.text)).collect();
        all.extend(held.iter().map(|held| Arc::clone(&held.value)));
        all.extend(held.iter().filter_map(|held| held.label.clone()));
        let display = self.facts.aliases.display(group[0], now, &self.file.alias);
        let name = display.unwrap_or_else(|| Arc::clone(&held[0].value));
        all.remove(&name);
        (name, all.into_iter().collect())
    }

    fn reason(&self, part: &Part, now: Time) -> RiskReason {
        RiskReason {
            alert: part.alert.clone(),
            incident: self.ledger.home(&part.alert).cloned(),
            title: Arc::clone(&part.title),
            severity: part.severity,
            time: part.time,
            points: points(part.left(now, &self.file.risk)),
        }
    }
}

/// Millionths as points of a hundred, rounded half up.
const fn points(share: u32) -> u32 {
    (share + ONE / 200) / (ONE / 100)
}

/// Puts a part among others: of one rule the stronger one stays, of all the strongest few. Says whether that changed
/// anything.
fn unite(parts: &mut Vec<Part>, part: Part, half_life_us: i64) -> bool {
    let strength = part.strength(half_life_us);
    let known = parts.iter().position(|known| known.rule == part.rule);
    let rival = known.or_else(|| parts.len().checked_sub(1).filter(|_| parts.len() >= RULES_MAX));
    if let Some(rival) = rival {
        if parts[rival].strength(half_life_us) >= strength {
            return false;
        }
        parts.remove(rival);
    }
    let place = parts.partition_point(|other| other.strength(half_life_us) > strength);
    parts.insert(place, part);
    true
}

/// Nothing is left of a risk, or of the name it was told under.
fn nothing(tenant: &TenantId, told: Told, now: Time) -> EntityRisk {
    EntityRisk {
        tenant: tenant.clone(),
        entity_type: told.entity_type,
        name: told.name,
        aliases: Vec::new(),
        level: RiskLevel::None,
        score: 0,
        as_of: now,
        last_raised: now,
        raised_by: Vec::new(),
    }
}

/// A user, device or app of an alert.
struct Named<'a> {
    entity_type: EntityType,
    value: &'a str,
    key: Key,
    /// The share of the alert that counts for it.
    share: u32,
}

/// The users, devices and apps of an alert, each once.
fn named<'a>(alert: &'a Keyed, facts: &Facts, file: &File) -> SmallVec<[Named<'a>; 4]> {
    let mut all: SmallVec<[Named<'_>; 4]> = SmallVec::new();
    for (entity, name) in alert.named().take(file.limits.entities_per_alert) {
        let (entity_type, key) = match entity.entity_type {
            EntityType::User | EntityType::Device | EntityType::App => (entity.entity_type, name.key),
            EntityType::Mailbox if is_users(alert, entity.role, name.twin, facts) => {
                (EntityType::User, name.twin)
            }
            _ => continue,
        };
        let share = share(entity_type, entity.role, file);
        match all.iter_mut().find(|known| known.key == key) {
            Some(known) => known.share = known.share.max(share),
            None => all.push(Named { entity_type, value: &entity.value, key, share }),
        }
    }
    all
}

/// Whether a mailbox is that of a user: telemetry has shown an account of that address.
fn is_users(alert: &Alert, role: Role, owner: Key, facts: &Facts) -> bool {
    let is_own = match role {
        Role::Sender => false,
        Role::Recipient => alert.domain == Domain::Email,
        _ => true,
    };
    is_own && facts.aliases.is_known(owner, alert.time)
}

/// How much of an alert counts: all of it for who acted, was acted upon, or where it happened.
fn share(entity_type: EntityType, role: Role, file: &File) -> u32 {
    let has_part = match role {
        Role::Actor | Role::ProcessUser | Role::Target | Role::Device | Role::Credential | Role::Owner => {
            true
        }
        // Whoever got a mail has done nothing yet.
        Role::Recipient => false,
        _ => entity_type == EntityType::Device && role == Role::Destination,
    };
    if has_part { ONE } else { file.risk.involved.0 }
}
