//! What an incident affects: devices, users, mailboxes, apps and cloud resources, and the parts they play.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{Alert, Asset, AssetPart, BlastRadius, Domain, Entity, EntityType, Role};

use crate::names::Names;

/// Assets listed; [`BlastRadius`] counts them all.
const ASSETS_MAX: usize = 50;

/// Names listed of an asset.
const NAMES_MAX: usize = 16;

/// The affected assets, and how many of each kind there are.
pub(crate) fn assets(alerts: &[&Alert], names: &Names<'_>) -> (Vec<Asset>, BlastRadius) {
    let mut all: BTreeMap<(EntityType, Arc<str>), Asset> = BTreeMap::new();
    for alert in alerts {
        let mut seen: BTreeSet<(EntityType, Arc<str>)> = BTreeSet::new();
        for entity in &alert.entities {
            let Some(part) = part(alert, entity) else { continue };
            let key = (entity.entity_type, names.named(entity));
            let counts = seen.insert(key.clone());
            let name = Arc::clone(&key.1);
            let asset = all.entry(key).or_insert_with(|| Asset {
                entity_type: entity.entity_type,
                name,
                names: Vec::new(),
                part,
                alerts: 0,
                severity: alert.severity,
                first_time: alert.time,
                last_time: alert.time,
            });
            if let Err(place) = asset.names.binary_search(&entity.value) {
                asset.names.insert(place, Arc::clone(&entity.value));
            }
            asset.part = asset.part.min(part);
            asset.alerts += u32::from(counts);
            asset.severity = asset.severity.max(alert.severity);
            asset.first_time = asset.first_time.min(alert.time);
            asset.last_time = asset.last_time.max(alert.time);
        }
    }
    let users: BTreeSet<Arc<str>> =
        all.keys().filter(|(kind, _)| *kind == EntityType::User).map(|(_, name)| Arc::clone(name)).collect();
    // The mailbox of a user that is listed is no second asset.
    all.retain(|(kind, name), _| *kind != EntityType::Mailbox || !users.contains(name));
    let radius = radius(all.keys().map(|(kind, _)| *kind));
    let mut assets: Vec<Asset> = all.into_values().collect();
    for asset in &mut assets {
        asset.names.truncate(NAMES_MAX);
        asset.name = match asset.entity_type {
            EntityType::App | EntityType::CloudResource => names.said_of(asset.entity_type, &asset.name),
            _ => Arc::clone(&asset.name),
        };
    }
    assets.sort_by_key(|asset| (asset.part, Reverse(asset.alerts)));
    assets.truncate(ASSETS_MAX);
    (assets, radius)
}

fn radius(kinds: impl Iterator<Item = EntityType>) -> BlastRadius {
    let mut radius = BlastRadius::default();
    for kind in kinds {
        match kind {
            EntityType::Device => radius.devices += 1,
            EntityType::User => radius.users += 1,
            EntityType::Mailbox => radius.mailboxes += 1,
            EntityType::App => radius.apps += 1,
            EntityType::CloudResource => radius.cloud_resources += 1,
            _ => {}
        }
    }
    radius
}

/// The part of an entity in an alert; `None` where it is no asset of ours: who wrote a mail, and whom an inbox rule
/// forwards to, may be anybody.
fn part(alert: &Alert, entity: &Entity) -> Option<AssetPart> {
    let by_role = match entity.role {
        Role::Target | Role::Recipient | Role::Owner | Role::Destination => AssetPart::Target,
        Role::Device => AssetPart::Place,
        Role::Actor | Role::ProcessUser | Role::Sender | Role::Credential | Role::Source => AssetPart::Doer,
        _ => AssetPart::Involved,
    };
    match entity.entity_type {
        EntityType::Device | EntityType::User | EntityType::App | EntityType::CloudResource => Some(by_role),
        EntityType::Mailbox => match entity.role {
            Role::Sender => None,
            Role::Recipient if alert.domain != Domain::Email => None,
            _ => Some(by_role),
        },
        _ => None,
    }
}
