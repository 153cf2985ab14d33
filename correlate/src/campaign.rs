//! Campaigns: incidents that share something so rare (a file, an attacker's domain, an OAuth app) that over weeks it
//! links them, without making them one. Slow attacks are found so without half-lives long enough to join strangers.
//!
//! Only sealed alerts count, in order of event time. Of each artefact the first alert for each device or user and day
//! is kept, so a flood of alerts is nothing to it, and neither is how incidents are cut or merged later: which
//! incidents the alerts are in is asked when campaigns are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{
    AlertId, Artefact, Campaign, CampaignId, EntityType, IncidentId, RelationChange, TenantId, Time,
};
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::board::Node;
use crate::evidence::Key;
use crate::keyed::Name;
use crate::parameters::File;
use crate::snapshot::sorted;

/// The artefacts of a tenant, and the campaigns that were told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Campaigns {
    #[serde(with = "sorted")]
    artefacts: HashMap<Key, Box<Sighted>>,
    /// Artefacts with several sightings.
    several: BTreeSet<Key>,
    /// Event time of the latest sealed alert with an artefact, in microseconds.
    latest: i64,
    told: BTreeMap<CampaignId, Campaign>,
    /// Campaigns that are not told yet as they are.
    changed: BTreeSet<CampaignId>,
    /// Whether what is told may be out of date.
    is_stale: bool,
    /// Minute of event time of the last reading.
    read_at: i64,
    /// Artefacts forgotten because the table was full.
    pub(crate) evicted: u64,
}

/// An artefact and who named it when.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sighted {
    entity_type: EntityType,
    value: Arc<str>,
    /// Devices and users; one more than `principals_max` at most.
    principals: SmallVec<[Key; 2]>,
    /// It was named where it was anything but rare.
    is_common: bool,
    /// Microseconds.
    last: i64,
    /// By time, then alert.
    sightings: SmallVec<[Sighting; 1]>,
}

/// The first alert of one device or user and day that names an artefact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Sighting {
    time: Time,
    alert: AlertId,
    principal: Key,
    /// Its incident, once the alert has left memory.
    incident: Option<IncidentId>,
}

const DAY_US: i64 = 86_400_000_000;

/// Campaigns are read anew once a minute of event time: they span weeks.
const READ_US: i64 = 60_000_000;

/// Reading costs the number of artefacts: for each so many of them campaigns wait another minute of event time.
const ARTEFACTS_A_MINUTE: usize = 2_000;

/// Alerts listed for an artefact of a campaign; the incidents have them all.
const ALERTS_MAX: usize = 64;

impl Campaigns {
    /// Takes a sealed alert in.
    pub(crate) fn sight(&mut self, node: &Node, file: &File) {
        if node.rare == 0 && node.common == 0 {
            return;
        }
        for (entity, Name { key, kind, .. }) in node.alert.named().take(file.limits.entities_per_alert) {
            if !file.campaign.kinds.contains(&kind) {
                continue;
            }
            let bit = node.bit(key);
            if (node.rare | node.common) & bit != 0 {
                let sighted = Sighted::new(entity.entity_type, Arc::clone(&entity.value));
                self.sight_one(key, sighted, node.common & bit != 0, node, file);
            }
        }
    }

    fn sight_one(&mut self, key: Key, new: Sighted, is_common: bool, node: &Node, file: &File) {
        let time = node.alert.time;
        self.latest = self.latest.max(time.0);
        if !self.artefacts.contains_key(&key) && self.artefacts.len() >= file.limits.artefacts {
            self.make_room(file.limits.artefacts);
        }
        let window = file.campaign.window.0;
        let is_over = |known: &Sighted| time.0.saturating_sub(known.last) > window;
        let sighted = match self.artefacts.entry(key) {
            Entry::Vacant(unknown) => unknown.insert(Box::new(new)),
            Entry::Occupied(known) => {
                let known = known.into_mut();
                if is_over(known) {
                    **known = new;
                }
                known
            }
        };
        sighted.last = sighted.last.max(time.0);
        sighted.is_common |= is_common;
        let changed = !sighted.is_common && sighted.add(node, file.campaign.principals_max);
        if sighted.is_common {
            sighted.principals.clear();
            sighted.sightings.clear();
        }
        let is_several = sighted.sightings.len() > 1;
        if is_several {
            self.several.insert(key);
            self.is_stale |= changed;
        } else {
            self.is_stale |= self.several.remove(&key);
        }
    }

    /// Forgets the quarter of the artefacts that nobody named for longest.
    fn make_room(&mut self, limit: usize) {
        let mut by_age: Vec<(i64, Key)> = self.artefacts.iter().map(|(key, s)| (s.last, *key)).collect();
        by_age.sort_unstable();
        for (_, key) in by_age.into_iter().take(limit / 4 + 1) {
            self.artefacts.remove(&key);
            self.several.remove(&key);
            self.evicted += 1;
        }
    }

    /// Forgets artefacts that nobody named for the window.
    pub(crate) fn forget_old(&mut self, file: &File) {
        let from = self.latest.saturating_sub(file.campaign.window.0);
        self.artefacts.retain(|_, sighted| sighted.last >= from);
        let (artefacts, before) = (&self.artefacts, self.several.len());
        self.several.retain(|key| artefacts.contains_key(key));
        self.is_stale |= self.several.len() < before;
    }

    /// Alerts leave memory: what their incidents are called is kept.
    pub(crate) fn freeze(
        &mut self,
        dropped: &HashSet<&AlertId>,
        home: impl Fn(&AlertId) -> Option<IncidentId>,
    ) {
        let sightings = self.artefacts.values_mut().flat_map(|sighted| &mut sighted.sightings);
        for sighting in sightings.filter(|sighting| dropped.contains(&sighting.alert)) {
            sighting.incident = home(&sighting.alert);
        }
    }

    /// Incidents were merged, split or first told: campaigns may be others now.
    pub(crate) fn incidents_changed(&mut self) {
        self.is_stale |= !self.several.is_empty();
    }

    /// Reads campaigns anew where they may have changed, but not more often than once a minute of event time.
    pub(crate) fn update(
        &mut self,
        tenant: &TenantId,
        file: &File,
        is_due: bool,
        home: impl Fn(&AlertId) -> Option<IncidentId>,
    ) {
        let minute = self.latest.div_euclid(READ_US);
        let wait = (self.artefacts.len() / ARTEFACTS_A_MINUTE) as i64;
        if !self.is_stale || (minute <= self.read_at.saturating_add(wait) && !is_due) {
            return;
        }
        self.read_at = minute;
        self.is_stale = false;
        let present = self.read(tenant, file, home);
        let before = std::mem::take(&mut self.told);
        for (id, campaign) in &present {
            if before.get(id) != Some(campaign) {
                self.changed.insert(id.clone());
            }
        }
        // One that nobody adds to any more is over, and stays as it was told.
        let over_before = self.latest.saturating_sub(file.campaign.window.0);
        for (id, campaign) in before {
            if !present.contains_key(&id) && campaign.last_time.0 >= over_before {
                self.changed.insert(id);
            }
        }
        self.told = present;
    }

    /// The campaigns of the present state, by id.
    pub(crate) fn read(
        &self,
        tenant: &TenantId,
        file: &File,
        home: impl Fn(&AlertId) -> Option<IncidentId>,
    ) -> BTreeMap<CampaignId, Campaign> {
        let from = self.latest.saturating_sub(file.campaign.window.0);
        let mut links: Vec<Link<'_>> = Vec::new();
        for key in &self.several {
            let Some(sighted) = self.artefacts.get(key).filter(|s| s.last >= from) else { continue };
            let link = Link::of(sighted, &home);
            if link.incidents.len() > 1 {
                links.push(link);
            }
        }
        let mut campaigns: BTreeMap<CampaignId, Campaign> = BTreeMap::new();
        for links in connected(links) {
            let campaign = campaign(tenant, &links);
            campaigns.insert(campaign.id.clone(), campaign);
        }
        campaigns
    }

    /// Campaigns as last read.
    pub(crate) fn told(&self) -> impl Iterator<Item = &Campaign> {
        self.told.values()
    }

    /// What changed since the last call.
    pub(crate) fn take_changes(&mut self, tenant: &TenantId) -> Vec<RelationChange> {
        let changed = std::mem::take(&mut self.changed);
        let change = |id: CampaignId| match self.told.get(&id) {
            Some(campaign) => RelationChange::Campaign { campaign: campaign.clone() },
            None => RelationChange::CampaignGone { tenant: tenant.clone(), id },
        };
        changed.into_iter().map(change).collect()
    }

    /// Artefacts held.
    pub(crate) fn len(&self) -> usize {
        self.artefacts.len()
    }
}

impl Sighted {
    fn new(entity_type: EntityType, value: Arc<str>) -> Self {
        Self {
            entity_type,
            value,
            principals: SmallVec::new(),
            is_common: false,
            last: i64::MIN,
            sightings: SmallVec::new(),
        }
    }

    /// Takes a sighting in; `true` where it is the first of its device or user and day. Too many of these make the
    /// artefact common.
    fn add(&mut self, node: &Node, principals_max: usize) -> bool {
        let (time, principal) = (node.alert.time, node.principal);
        if !self.principals.contains(&principal) {
            self.principals.push(principal);
            self.is_common = self.principals.len() > principals_max;
        }
        let day = |time: Time| time.0.div_euclid(DAY_US);
        let sighting = Sighting { time, alert: node.id().clone(), principal, incident: None };
        let known = self.sightings.iter_mut().find(|s| s.principal == principal && day(s.time) == day(time));
        match known {
            Some(known) if (known.time, &known.alert) <= (time, &sighting.alert) => return false,
            Some(known) => *known = sighting,
            None => self.sightings.push(sighting),
        }
        self.sightings.sort();
        true
    }
}

/// An artefact and the incidents it links.
struct Link<'a> {
    sighted: &'a Sighted,
    /// By the first alert that names it.
    incidents: Vec<(&'a Sighting, IncidentId)>,
}

impl<'a> Link<'a> {
    fn of(sighted: &'a Sighted, home: impl Fn(&AlertId) -> Option<IncidentId>) -> Self {
        let mut incidents: Vec<(&Sighting, IncidentId)> = Vec::new();
        for sighting in &sighted.sightings {
            let incident = sighting.incident.clone().or_else(|| home(&sighting.alert));
            if let Some(incident) = incident.filter(|i| incidents.iter().all(|(_, known)| known != i)) {
                incidents.push((sighting, incident));
            }
        }
        Self { sighted, incidents }
    }
}

/// Links with an incident in common belong together.
fn connected(links: Vec<Link<'_>>) -> Vec<Vec<Link<'_>>> {
    let mut parent: Vec<usize> = (0..links.len()).collect();
    let find = |parent: &mut Vec<usize>, mut i: usize| {
        while parent[i] != i {
            parent[i] = parent[parent[i]];
            i = parent[i];
        }
        i
    };
    let mut first: HashMap<IncidentId, usize> = HashMap::new();
    for (i, link) in links.iter().enumerate() {
        for (_, incident) in &link.incidents {
            let known = *first.entry(incident.clone()).or_insert(i);
            let (a, b) = (find(&mut parent, known), find(&mut parent, i));
            parent[a.max(b)] = a.min(b);
        }
    }
    let mut groups: BTreeMap<usize, Vec<Link<'_>>> = BTreeMap::new();
    for (i, link) in links.into_iter().enumerate() {
        groups.entry(find(&mut parent, i)).or_default().push(link);
    }
    groups.into_values().collect()
}

fn campaign(tenant: &TenantId, links: &[Link<'_>]) -> Campaign {
    let mut incidents: Vec<&(&Sighting, IncidentId)> =
        links.iter().flat_map(|link| &link.incidents).collect();
    incidents.sort();
    let mut seen = HashSet::new();
    incidents.retain(|linked| seen.insert(linked.1.clone()));
    let first = incidents.first().map(|(sighting, _)| *sighting);
    let mut artefacts: Vec<Artefact> = links
        .iter()
        .map(|link| Artefact {
            entity_type: link.sighted.entity_type,
            value: Arc::clone(&link.sighted.value),
            alerts: link.sighted.sightings.iter().take(ALERTS_MAX).map(|s| s.alert.clone()).collect(),
        })
        .collect();
    artefacts.sort();
    let root = first.map_or("", |sighting| sighting.alert.as_str());
    Campaign {
        id: CampaignId::derive(&[tenant.as_str().as_bytes(), root.as_bytes()]),
        tenant: tenant.clone(),
        first_time: first.map_or(Time(0), |sighting| sighting.time),
        last_time: Time(links.iter().map(|link| link.sighted.last).max().unwrap_or_default()),
        artefacts,
        incidents: incidents.iter().map(|(_, incident)| incident.clone()).collect(),
    }
}
