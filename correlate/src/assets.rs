//! What an incident affects: devices, users, mailboxes, apps and cloud resources, and the parts they play.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use event::{Alert, Asset, AssetPart, BlastRadius, Domain, Entity, EntityType, Role};

use crate::keyed::Keyed;
use crate::names::Names;

/// Assets listed; [`BlastRadius`] counts them all.
const ASSETS_MAX: usize = 50;

/// Names listed of an asset.
const NAMES_MAX: usize = 16;

/// An entity that is an asset, as one alert names it.
struct Named<'a> {
    name: Arc<str>,
    part: AssetPart,
    entity: &'a Entity,
    alert: &'a Keyed,
}

/// The affected assets, and how many of each kind there are.
pub(crate) fn assets(alerts: &[&Keyed], names: &Names<'_>) -> (Vec<Asset>, BlastRadius) {
    let mut named: Vec<Named<'_>> = Vec::new();
    for &alert in alerts {
        named.extend(alert.entities.iter().filter_map(|entity| {
            Some(Named { part: part(alert, entity)?, name: names.named(entity), entity, alert })
        }));
    }
    named.sort_by(|a, b| (a.entity.entity_type, &a.name).cmp(&(b.entity.entity_type, &b.name)));
    let is_one =
        |a: &Named<'_>, b: &Named<'_>| a.entity.entity_type == b.entity.entity_type && a.name == b.name;
    let mut all: Vec<Asset> = named.chunk_by(is_one).map(asset).collect();
    let of_users = |asset: &&Asset| asset.entity_type == EntityType::User;
    let users: BTreeSet<Arc<str>> = all.iter().filter(of_users).map(|a| Arc::clone(&a.name)).collect();
    // The mailbox of a user that is listed is no second asset.
    all.retain(|asset| asset.entity_type != EntityType::Mailbox || !users.contains(&asset.name));
    let radius = radius(all.iter().map(|asset| asset.entity_type));
    for asset in &mut all {
        if matches!(asset.entity_type, EntityType::App | EntityType::CloudResource) {
            asset.name = names.said_of(asset.entity_type, &asset.name);
        }
    }
    all.sort_by_key(|asset| (asset.part, Reverse(asset.alerts)));
    all.truncate(ASSETS_MAX);
    (all, radius)
}

/// What all alerts together say of one asset, in order of event time.
fn asset(named: &[Named<'_>]) -> Asset {
    let first = &named[0];
    let mut values: Vec<Arc<str>> = named.iter().map(|n| Arc::clone(&n.entity.value)).collect();
    values.sort_unstable();
    values.dedup();
    values.truncate(NAMES_MAX);
    let times = || named.iter().map(|n| n.alert.time);
    Asset {
        entity_type: first.entity.entity_type,
        name: Arc::clone(&first.name),
        names: values,
        part: named.iter().map(|n| n.part).min().unwrap_or(first.part),
        alerts: named.chunk_by(|a, b| std::ptr::eq(a.alert, b.alert)).count() as u32,
        severity: named.iter().map(|n| n.alert.severity).max().unwrap_or(first.alert.severity),
        first_time: times().min().unwrap_or(first.alert.time),
        last_time: times().max().unwrap_or(first.alert.time),
    }
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
