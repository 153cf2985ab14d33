//! The ledger: what was last said of every incident, and the deltas from there to the present state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{AlertId, Incident, IncidentDelta, IncidentId, IncidentStatus};
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use crate::snapshot::sorted;

/// What consumers have been told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    #[serde(with = "sorted")]
    incidents: HashMap<IncidentId, Told>,
    /// The incident that each alert was last said to be in.
    #[serde(with = "sorted")]
    home: HashMap<AlertId, IncidentId>,
    /// Merged incidents: their root alert, and the incident it is in now. Always one hop.
    redirects: BTreeMap<IncidentId, (AlertId, IncidentId)>,
    /// The incidents that lead on to where an alert is. Several may: an incident is not always called by one alert.
    #[serde(with = "sorted")]
    redirected_root: HashMap<AlertId, BTreeSet<IncidentId>>,
    /// Incidents that lost a withdrawn alert since the last telling, and the alert that stands in its place.
    #[serde(default)]
    withdrawn: BTreeMap<IncidentId, Option<AlertId>>,
}

/// An incident as it was told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) incident: Arc<Incident>,
    /// The digest of the names that it was told with; nothing is known of it after a restart.
    #[serde(skip)]
    pub(crate) names: Option<u64>,
}

/// The present state of an incident.
#[derive(Debug)]
pub(crate) enum Present {
    Anew(Told),
    /// As it was told, but sealed at this version.
    Sealed(Arc<Incident>, u64),
}

impl Present {
    pub(crate) fn incident(&self) -> &Incident {
        match self {
            Present::Anew(Told { incident, .. }) | Present::Sealed(incident, _) => incident,
        }
    }
}

impl Ledger {
    /// The incident of that id, or the one it was merged into.
    pub(crate) fn incident(&self, id: &IncidentId) -> Option<&Arc<Incident>> {
        self.told(id).map(|told| &told.incident)
    }

    /// The incident that an alert was last said to be in, as it was told.
    pub(crate) fn told_of(&self, alert: &AlertId) -> Option<&Told> {
        self.told(self.home.get(alert)?)
    }

    fn told(&self, id: &IncidentId) -> Option<&Told> {
        let survivor = self.redirects.get(id).map_or(id, |(_, survivor)| survivor);
        self.incidents.get(survivor)
    }

    pub(crate) fn home(&self, alert: &AlertId) -> Option<&IncidentId> {
        self.home.get(alert)
    }

    pub(crate) fn redirects(&self) -> impl Iterator<Item = (&IncidentId, &IncidentId)> {
        self.redirects.iter().map(|(from, (_, to))| (from, to))
    }

    pub(crate) fn len(&self) -> usize {
        self.incidents.len()
    }

    /// An alert is no longer; `in_place` stands instead.
    pub(crate) fn withdraw(&mut self, alert: &AlertId, in_place: Option<AlertId>) {
        if let Some(home) = self.home.remove(alert) {
            self.withdrawn.insert(home, in_place);
        }
    }

    /// Takes in the present state of some incidents, complete in the sense that every alert of an incident they
    /// changed is in one of them, and says what is new.
    pub(crate) fn tell(&mut self, present: Vec<Present>) -> Vec<IncidentDelta> {
        let withdrawn = std::mem::take(&mut self.withdrawn);
        let living: HashSet<IncidentId> =
            present.iter().map(|present| present.incident().id.clone()).collect();
        let mut gone: BTreeSet<IncidentId> = withdrawn.keys().cloned().collect();
        let mut news = Vec::with_capacity(present.len());
        for present in present {
            let newcomers = match &present {
                Present::Anew(told) => self.newcomers(&told.incident),
                Present::Sealed(..) => Vec::new(),
            };
            let homes = newcomers.iter().filter_map(|alert| self.home.get(alert));
            gone.extend(homes.filter(|home| !living.contains(*home)).cloned());
            news.push((present, newcomers));
        }
        gone.retain(|home| !living.contains(home));
        let mut deltas = Vec::new();
        let mut arrived = Vec::new();
        for (present, newcomers) in news {
            let incident = present.incident();
            if withdrawn.contains_key(&incident.id) {
                // What was withdrawn may have come again.
                let homes = incident.alerts.iter().map(|alert| (alert.clone(), incident.id.clone()));
                self.home.extend(homes);
            }
            let delta = match present {
                Present::Anew(told) => self.tell_one(told, &newcomers, &living),
                Present::Sealed(incident, version) => self.seal(incident, version),
            };
            if let Some(delta) = delta {
                arrived.push((Arc::clone(delta.incident()), newcomers));
                deltas.push(delta);
            }
        }
        for gone in gone {
            let in_place = withdrawn.get(&gone).and_then(Option::as_ref);
            deltas.extend(self.redirect(&gone, in_place).or_else(|| self.close_empty(&gone)));
        }
        deltas.extend(self.move_redirects(&arrived));
        deltas
    }

    /// The alerts of an incident that were not said to be in it.
    fn newcomers(&self, incident: &Incident) -> Vec<AlertId> {
        let Some(before) = self.incidents.get(&incident.id) else { return incident.alerts.clone() };
        // Both are in order of event time, and most often nothing left.
        let mut known = before.incident.alerts.iter().peekable();
        let is_new = |alert: &&AlertId| known.next_if(|before| before == alert).is_none();
        let newcomers = incident.alerts.iter().filter(is_new).cloned().collect();
        if known.next().is_none() {
            return newcomers;
        }
        let known: HashSet<&AlertId> = before.incident.alerts.iter().collect();
        incident.alerts.iter().filter(|alert| !known.contains(alert)).cloned().collect()
    }

    /// Seals what was told; where nobody else holds it any more, in place.
    fn seal(&mut self, told: Arc<Incident>, version: u64) -> Option<IncidentDelta> {
        let held = &mut self.incidents.get_mut(&told.id)?.incident;
        drop(told);
        if held.sealed {
            return None;
        }
        let incident = Arc::make_mut(held);
        incident.version = version.max(incident.version + 1);
        incident.sealed = true;
        Some(IncidentDelta::Sealed { incident: Arc::clone(held) })
    }

    fn tell_one(
        &mut self,
        mut told: Told,
        newcomers: &[AlertId],
        living: &HashSet<IncidentId>,
    ) -> Option<IncidentDelta> {
        let before = self.incidents.get(&told.incident.id).map(|before| &before.incident);
        if let Some(before) = before {
            let incident = Arc::make_mut(&mut told.incident);
            let version = std::mem::replace(&mut incident.version, before.version);
            if **before == *incident {
                return None;
            }
            incident.version = version.max(before.version + 1);
        }
        let incident = Arc::clone(&told.incident);
        let sealed_before = before.map(|before| before.sealed);
        let came_from = if before.is_none() { self.came_from(&incident, living) } else { None };
        for alert in newcomers {
            self.home.insert(alert.clone(), incident.id.clone());
        }
        if let Some((root, _)) = self.redirects.remove(&incident.id)
            && let Some(from) = self.redirected_root.get_mut(&root)
        {
            from.remove(&incident.id);
        }
        self.incidents.insert(incident.id.clone(), told);
        Some(match (sealed_before, came_from) {
            (Some(false), _) if incident.sealed && newcomers.is_empty() => IncidentDelta::Sealed { incident },
            (Some(_), _) => IncidentDelta::Updated { incident, added: newcomers.to_vec() },
            (None, Some(from)) => IncidentDelta::Split { from, incident },
            (None, None) => IncidentDelta::Created { incident },
        })
    }

    /// Where a new incident comes from: the one that it was merged into, if it comes out of there again, whatever
    /// became of that one; else the one living incident that all its alerts were in.
    fn came_from(&self, incident: &Incident, living: &HashSet<IncidentId>) -> Option<IncidentId> {
        if let Some((_, survivor)) = self.redirects.get(&incident.id) {
            return Some(survivor.clone());
        }
        let mut homes = incident.alerts.iter().map(|alert| self.home.get(alert));
        let first = homes.next()??;
        let is_split =
            living.contains(first) && *first != incident.id && homes.all(|home| home == Some(first));
        is_split.then(|| first.clone())
    }

    /// Leads from an incident that is no longer to the one that has its first alert that still is, or what stands in
    /// the place of those withdrawn.
    fn redirect(&mut self, gone: &IncidentId, in_place: Option<&AlertId>) -> Option<IncidentDelta> {
        let alerts = self.incidents.get(gone)?.incident.alerts.iter().chain(in_place);
        let moved = |alert: &&AlertId| self.home.get(*alert).is_some_and(|home| home != gone);
        let root = alerts.into_iter().find(moved)?.clone();
        let survivor = self.home.get(&root)?.clone();
        let incident = Arc::clone(&self.incidents.get(&survivor)?.incident);
        self.incidents.remove(gone);
        self.redirects.insert(gone.clone(), (root.clone(), survivor));
        self.redirected_root.entry(root).or_default().insert(gone.clone());
        Some(IncidentDelta::Merged { from: gone.clone(), incident })
    }

    /// An incident whose every alert was withdrawn, with nothing in their place: it stays, closed and empty.
    fn close_empty(&mut self, gone: &IncidentId) -> Option<IncidentDelta> {
        let before = self.incidents.remove(gone)?.incident;
        let incident = Incident {
            version: before.version + 1,
            status: IncidentStatus::Closed,
            summary: "Every alert of this incident was withdrawn: earlier events that came later changed what fired."
                .to_owned(),
            alerts: Vec::new(),
            joins: Vec::new(),
            sealed: true,
            ..Incident::clone(&before)
        };
        Some(IncidentDelta::Updated { incident: Arc::new(incident), added: Vec::new() })
    }

    /// Redirects stay one hop: when the survivor moved on, so do they.
    fn move_redirects(&mut self, arrived: &[(Arc<Incident>, Vec<AlertId>)]) -> Vec<IncidentDelta> {
        if self.redirected_root.is_empty() {
            return Vec::new();
        }
        let mut moved = Vec::new();
        for (incident, alerts) in arrived {
            for alert in alerts {
                for from in self.redirected_root.get(alert).into_iter().flatten() {
                    let Some((_, to)) = self.redirects.get_mut(from) else { continue };
                    if *to != incident.id {
                        *to = incident.id.clone();
                        moved.push((from.clone(), Arc::clone(incident)));
                    }
                }
            }
        }
        moved.sort_by(|a, b| a.0.cmp(&b.0));
        moved.into_iter().map(|(from, incident)| IncidentDelta::Merged { from, incident }).collect()
    }

    /// Forgets incidents whose alerts have left memory, and what led to them: whoever stored it knows.
    pub(crate) fn forget<'a>(&mut self, alerts: impl Iterator<Item = &'a AlertId>) {
        for alert in alerts {
            if let Some(incident) = self.home.remove(alert) {
                self.incidents.remove(&incident);
            }
            self.redirected_root.remove(alert);
        }
        let incidents = &self.incidents;
        self.redirects.retain(|_, (_, survivor)| incidents.contains_key(survivor));
        let redirects = &self.redirects;
        self.redirected_root.retain(|_, from| {
            from.retain(|from| redirects.contains_key(from));
            !from.is_empty()
        });
    }
}
