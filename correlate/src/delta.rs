//! The ledger: what was last said of every incident, and the deltas from there to the present state.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use event::{AlertId, Incident, IncidentDelta, IncidentId};
use serde::{Deserialize, Serialize};

use crate::snapshot::sorted;

/// What consumers have been told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    incidents: BTreeMap<IncidentId, Arc<Incident>>,
    /// The incident that each alert was last said to be in.
    #[serde(with = "sorted")]
    home: HashMap<AlertId, IncidentId>,
    /// Merged incidents: their root alert, and the incident it is in now. Always one hop.
    redirects: BTreeMap<IncidentId, (AlertId, IncidentId)>,
    #[serde(with = "sorted")]
    redirected_root: HashMap<AlertId, IncidentId>,
}

impl Ledger {
    /// The incident of that id, or the one it was merged into.
    pub(crate) fn incident(&self, id: &IncidentId) -> Option<&Arc<Incident>> {
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

    /// Takes in the present state of some incidents, complete in the sense that every alert of an incident they
    /// changed is in one of them, and says what is new.
    pub(crate) fn tell(&mut self, present: Vec<Incident>) -> Vec<IncidentDelta> {
        let former: BTreeSet<IncidentId> =
            present.iter().flat_map(|i| i.alerts.iter().filter_map(|a| self.home.get(a).cloned())).collect();
        let living: BTreeSet<IncidentId> = present.iter().map(|i| i.id.clone()).collect();
        let mut deltas = Vec::new();
        let mut told: HashMap<IncidentId, Arc<Incident>> = HashMap::new();
        for incident in present {
            let id = incident.id.clone();
            if let Some(delta) = self.tell_one(incident, &living) {
                told.insert(id, Arc::clone(delta.incident()));
                deltas.push(delta);
            }
        }
        for gone in former.difference(&living) {
            deltas.extend(self.redirect(gone));
        }
        deltas.extend(self.move_redirects(&told));
        deltas
    }

    fn tell_one(&mut self, mut incident: Incident, living: &BTreeSet<IncidentId>) -> Option<IncidentDelta> {
        let before = self.incidents.get(&incident.id).cloned();
        if let Some(before) = &before {
            let version = std::mem::replace(&mut incident.version, before.version);
            if **before == incident {
                return None;
            }
            incident.version = version.max(before.version + 1);
        }
        let came_from = self.came_from(&incident, living);
        let was = |alert: &&AlertId| before.as_ref().is_none_or(|b| !b.alerts.contains(alert));
        let added: Vec<AlertId> =
            if before.is_some() { incident.alerts.iter().filter(was).cloned().collect() } else { Vec::new() };
        for alert in &incident.alerts {
            self.home.insert(alert.clone(), incident.id.clone());
        }
        if let Some((root, _)) = self.redirects.remove(&incident.id) {
            self.redirected_root.remove(&root);
        }
        let incident = Arc::new(incident);
        self.incidents.insert(incident.id.clone(), Arc::clone(&incident));
        Some(match (before, came_from) {
            (Some(before), _) if incident.sealed && !before.sealed && added.is_empty() => {
                IncidentDelta::Sealed { incident }
            }
            (Some(_), _) => IncidentDelta::Updated { incident, added },
            (None, Some(from)) => IncidentDelta::Split { from, incident },
            (None, None) => IncidentDelta::Created { incident },
        })
    }

    /// The one living incident that all alerts of a new one were in.
    fn came_from(&self, incident: &Incident, living: &BTreeSet<IncidentId>) -> Option<IncidentId> {
        let mut homes = incident.alerts.iter().map(|alert| self.home.get(alert));
        let first = homes.next()??;
        let is_split =
            living.contains(first) && *first != incident.id && homes.all(|home| home == Some(first));
        is_split.then(|| first.clone())
    }

    fn redirect(&mut self, gone: &IncidentId) -> Option<IncidentDelta> {
        let before = self.incidents.remove(gone)?;
        let root = before.alerts.first()?.clone();
        let survivor = self.home.get(&root)?.clone();
        let incident = Arc::clone(self.incidents.get(&survivor)?);
        self.redirects.insert(gone.clone(), (root.clone(), survivor));
        self.redirected_root.insert(root, gone.clone());
        Some(IncidentDelta::Merged { from: gone.clone(), incident })
    }

    /// Redirects stay one hop: when the survivor moved on, so do they.
    fn move_redirects(&mut self, told: &HashMap<IncidentId, Arc<Incident>>) -> Vec<IncidentDelta> {
        let mut moved = Vec::new();
        for incident in told.values() {
            for alert in &incident.alerts {
                let Some(from) = self.redirected_root.get(alert) else { continue };
                let Some((_, to)) = self.redirects.get_mut(from) else { continue };
                if *to != incident.id {
                    *to = incident.id.clone();
                    moved.push((from.clone(), Arc::clone(incident)));
                }
            }
        }
        moved.sort_by(|a, b| a.0.cmp(&b.0));
        moved.into_iter().map(|(from, incident)| IncidentDelta::Merged { from, incident }).collect()
    }

    /// Forgets incidents whose alerts have left memory; their redirects stay.
    pub(crate) fn forget<'a>(&mut self, alerts: impl Iterator<Item = &'a AlertId>) {
        for alert in alerts {
            if let Some(incident) = self.home.remove(alert) {
                self.incidents.remove(&incident);
            }
            self.redirected_root.remove(alert);
        }
    }
}
