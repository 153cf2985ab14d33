//! Which entities of an incident a rule acts on.
//!
//! `attacked_devices`: the devices that the incident's alerts happened *on* (entities in the role `device`)
//! where at least one of these alerts shows execution, credential access or lateral movement. A device that
//! is only named (as a source address, in a list of related entities) is never selected: telemetry that an
//! attacker writes must not choose whom we cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{Alert, Entity, EntityType, Incident, Role, Severity, Tactic, Target};

/// Tactics that show an attacker at work on the device itself.
const HANDS_ON: [Tactic; 3] = [Tactic::Execution, Tactic::CredentialAccess, Tactic::LateralMovement];

/// A device that the attack works on.
#[derive(Debug, Clone)]
pub(crate) struct AttackedDevice {
    pub(crate) target: Target,
    pub(crate) severity: Severity,
    pub(crate) tactics: BTreeSet<Tactic>,
    pub(crate) techniques: BTreeSet<Arc<str>>,
    pub(crate) alerts: u32,
}

/// The devices that the attack works on, by name.
pub(crate) fn attacked_devices(incident: &Incident, alerts: &[Alert]) -> Vec<AttackedDevice> {
    let alerts: Vec<&Alert> = alerts.iter().filter(|a| a.tenant == incident.tenant).collect();
    let names = DeviceNames::learn(incident, &alerts);
    let mut devices: BTreeMap<Arc<str>, AttackedDevice> = BTreeMap::new();
    for alert in alerts {
        let Some(name) = own_devices(alert).next() else { continue };
        let target = names.target(&name.value);
        devices.entry(target.entity.value.clone()).or_insert_with(|| AttackedDevice::new(target)).add(alert);
    }
    devices.into_values().filter(|d| HANDS_ON.iter().any(|t| d.tactics.contains(t))).collect()
}

/// The names of the one device that an alert happened on.
fn own_devices(alert: &Alert) -> impl Iterator<Item = &Entity> {
    alert.entities.iter().filter(|e| e.entity_type == EntityType::Device && e.role == Role::Device)
}

impl AttackedDevice {
    fn new(target: Target) -> Self {
        AttackedDevice {
            target,
            severity: Severity::Informational,
            tactics: BTreeSet::new(),
            techniques: BTreeSet::new(),
            alerts: 0,
        }
    }

    fn add(&mut self, alert: &Alert) {
        self.severity = self.severity.max(alert.severity);
        self.tactics.extend(alert.tactics());
        self.techniques.extend(alert.techniques().cloned());
        self.alerts += 1;
    }
}

/// Names that mean one device: those that stand together on an alert, and a host name with its one FQDN.
struct DeviceNames {
    /// Names in the incident after alias resolution, most named first: these are preferred as canonical.
    preferred: Vec<Arc<str>>,
    /// Disjoint sets of names.
    groups: Vec<BTreeSet<Arc<str>>>,
}

impl DeviceNames {
    fn learn(incident: &Incident, alerts: &[&Alert]) -> Self {
        let preferred: Vec<Arc<str>> =
            incident.entities_of(EntityType::Device).map(|e| e.value.clone()).collect();
        let mut names = DeviceNames { preferred, groups: Vec::new() };
        for alert in alerts {
            names.join(own_devices(alert).map(|e| e.value.clone()).collect());
        }
        for name in names.preferred.clone() {
            names.join(BTreeSet::from([name]));
        }
        names.join_short_names();
        names
    }

    fn join(&mut self, mut set: BTreeSet<Arc<str>>) {
        if set.is_empty() {
            return;
        }
        self.groups.retain(|group| {
            let apart = group.is_disjoint(&set);
            if !apart {
                set.extend(group.iter().cloned());
            }
            apart
        });
        self.groups.push(set);
    }

    /// `ws-01` is `ws-01.corp.example` where no other FQDN begins so; else they stay apart.
    fn join_short_names(&mut self) {
        let all: BTreeSet<Arc<str>> = self.groups.iter().flatten().cloned().collect();
        for short in all.iter().filter(|name| !name.contains('.')) {
            let full: Vec<_> =
                all.iter().filter(|n| n.split_once('.').is_some_and(|(h, _)| h == &**short)).collect();
            if let [only] = full[..] {
                self.join(BTreeSet::from([short.clone(), only.clone()]));
            }
        }
    }

    fn target(&self, name: &Arc<str>) -> Target {
        let alone = BTreeSet::from([name.clone()]);
        let group = self.groups.iter().find(|g| g.contains(name)).unwrap_or(&alone);
        let known = self.preferred.iter().find(|p| group.contains(*p));
        let canonical = known.or_else(|| group.iter().find(|n| n.contains('.'))).unwrap_or(name);
        Target { entity: device(canonical.clone()), identifiers: group.iter().cloned().map(device).collect() }
    }
}

fn device(value: Arc<str>) -> Entity {
    Entity { entity_type: EntityType::Device, role: Role::Device, value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{alert, incident};

    fn selected(alerts: &[Alert]) -> Vec<(String, Vec<String>)> {
        let text = |e: &Entity| e.value.to_string();
        attacked_devices(&incident(alerts), alerts)
            .iter()
            .map(|d| (text(&d.target.entity), d.target.identifiers.iter().map(text).collect()))
            .collect()
    }

    #[test]
    fn selects_devices_with_hands_on_evidence_only() {
        let alerts = [
            alert("a1", "attack.credential-access", &[(Role::Device, "ws-01")]),
            alert("a2", "attack.initial-access", &[(Role::Device, "mail-gw")]),
            alert("a3", "attack.execution", &[(Role::Related, "named-only"), (Role::Source, "from")]),
        ];
        assert_eq!(selected(&alerts), [("ws-01".into(), vec!["ws-01".into()])]);
    }

    #[test]
    fn names_of_one_device_are_one_target() {
        let alerts = [
            alert(
                "a1",
                "attack.execution",
                &[(Role::Device, "ws-01.corp.example"), (Role::Device, "0a1b2c")],
            ),
            alert("a2", "attack.credential-access", &[(Role::Device, "ws-01")]),
        ];
        let names = ["0a1b2c", "ws-01", "ws-01.corp.example"];
        let targets = selected(&alerts);
        assert_eq!(targets.len(), 1);
        assert_eq!(targets[0].1, names);
    }

    #[test]
    fn a_short_name_of_two_hosts_joins_neither() {
        let alerts = [
            alert("a1", "attack.execution", &[(Role::Device, "web.a.example")]),
            alert("a2", "attack.execution", &[(Role::Device, "web.b.example")]),
            alert("a3", "attack.execution", &[(Role::Device, "web")]),
        ];
        assert_eq!(selected(&alerts).len(), 3);
    }

    #[test]
    fn alerts_of_another_tenant_select_nothing() {
        let mut foreign = alert("a1", "attack.execution", &[(Role::Device, "ws-01")]);
        let incident = incident(std::slice::from_ref(&foreign));
        foreign.tenant = event::TenantId::new("other");
        assert!(attacked_devices(&incident, &[foreign]).is_empty());
    }
}
