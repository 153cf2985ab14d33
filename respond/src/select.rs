//! Which entities of an incident a rule acts on.
//!
//! A selector takes entities of one type that its alerts name *in a part that the record's own source gives them*, and
//! only where at least one of these alerts shows an attacker at work on them. What is only named (as a source address,
//! in a list of related entities) is never selected: telemetry that an attacker writes must not choose whom we cut off.
//! An alert that gives a part to several entities selects none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{Alert, Asset, Class, Domain, Entity, EntityType, Incident, Role, Severity, Tactic, Target};
use serde::{Deserialize, Serialize};

/// The entities that a rule acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Selector {
    /// Devices that alerts happened on, with evidence of execution, credential access or lateral movement on them.
    AttackedDevices,
    /// Accounts in whose name something was done, with evidence that it was the attacker's doing: more than signing in.
    CompromisedUsers,
    /// Messages that alerts of the mail system are about.
    DeliveredMessages,
    /// Applications that were given rights.
    ConsentedApps,
    /// Processes that did something to files, to the registry or over the network that an alert is about.
    AttackingProcesses,
    /// Files that alerts of devices are about.
    MaliciousFiles,
    /// Public addresses that a device spoke with, with evidence of control from outside or of data going out.
    ContactedAddresses,
    /// Domains that a device spoke with, with the same evidence.
    ContactedDomains,
    /// Sessions in which something was done, with the evidence that makes an account compromised.
    AbusedSessions,
    /// Mailboxes whose rules or forwarding were changed.
    AbusedMailboxes,
}

/// What a selector takes.
struct Selection {
    entity_type: EntityType,
    /// In which parts, the first that an alert has.
    roles: &'static [Role],
    /// Which alerts name candidates.
    names: fn(&Alert) -> bool,
    /// Which of them show an attacker at work; one is enough.
    shows: fn(&Alert) -> bool,
    /// What else of an alert belongs to the entity: where its provider looks, and what an approver wants to know.
    beside: &'static [(EntityType, Role)],
}

/// More than signing in: what an attacker does in an account.
const HANDS_ON: &[Tactic] = &[
    Tactic::Execution,
    Tactic::Persistence,
    Tactic::PrivilegeEscalation,
    Tactic::CredentialAccess,
    Tactic::LateralMovement,
    Tactic::Collection,
    Tactic::Exfiltration,
    Tactic::Impact,
];

/// A device speaks with whoever controls it, or gives data away.
const OUTWARD: &[Tactic] = &[Tactic::CommandAndControl, Tactic::Exfiltration];

const ON_DEVICE: &[(EntityType, Role)] = &[(EntityType::Device, Role::Device)];

impl Selector {
    pub(crate) const ALL: [Selector; 10] = [
        Selector::AttackedDevices,
        Selector::CompromisedUsers,
        Selector::DeliveredMessages,
        Selector::ConsentedApps,
        Selector::AttackingProcesses,
        Selector::MaliciousFiles,
        Selector::ContactedAddresses,
        Selector::ContactedDomains,
        Selector::AbusedSessions,
        Selector::AbusedMailboxes,
    ];

    /// The name used in rules.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Selector::AttackedDevices => "attacked_devices",
            Selector::CompromisedUsers => "compromised_users",
            Selector::DeliveredMessages => "delivered_messages",
            Selector::ConsentedApps => "consented_apps",
            Selector::AttackingProcesses => "attacking_processes",
            Selector::MaliciousFiles => "malicious_files",
            Selector::ContactedAddresses => "contacted_addresses",
            Selector::ContactedDomains => "contacted_domains",
            Selector::AbusedSessions => "abused_sessions",
            Selector::AbusedMailboxes => "abused_mailboxes",
        }
    }

    /// Of what type its entities are, which is also their name in conditions.
    pub(crate) const fn entity_type(self) -> EntityType {
        self.selection().entity_type
    }

    const fn selection(self) -> Selection {
        match self {
            Selector::AttackedDevices => Selection {
                entity_type: EntityType::Device,
                roles: &[Role::Device],
                names: |_| true,
                shows: |alert| {
                    has(alert, &[Tactic::Execution, Tactic::CredentialAccess, Tactic::LateralMovement])
                },
                beside: &[],
            },
            Selector::CompromisedUsers => Selection {
                entity_type: EntityType::User,
                roles: &[Role::Actor, Role::ProcessUser],
                names: |_| true,
                shows: |alert| has(alert, HANDS_ON),
                beside: &[],
            },
            Selector::DeliveredMessages => Selection {
                entity_type: EntityType::Message,
                roles: &[Role::Target],
                names: |alert| alert.domain == Domain::Email,
                shows: |_| true,
                beside: &[(EntityType::Mailbox, Role::Recipient)],
            },
            Selector::ConsentedApps => Selection {
                entity_type: EntityType::App,
                roles: &[Role::Target],
                names: |alert| alert.class == Class::USER_ACCESS_MANAGEMENT,
                shows: |_| true,
                beside: &[(EntityType::User, Role::Actor)],
            },
            Selector::AttackingProcesses => Selection {
                entity_type: EntityType::Process,
                roles: &[Role::Actor],
                // An alert on processes names two, and which of them is the attacker's is not known: one that reads
                // the memory of LSASS and LSASS, a program and the shell that starts it.
                names: |alert| alert.domain == Domain::Endpoint && alert.class != Class::PROCESS_ACTIVITY,
                shows: |alert| has(alert, HANDS_ON) || has(alert, OUTWARD),
                beside: ON_DEVICE,
            },
            Selector::MaliciousFiles => Selection {
                entity_type: EntityType::File,
                roles: &[Role::Target],
                names: |alert| alert.domain == Domain::Endpoint && alert.class != Class::PROCESS_ACTIVITY,
                shows: |alert| has(alert, HANDS_ON),
                beside: ON_DEVICE,
            },
            Selector::ContactedAddresses => Selection {
                entity_type: EntityType::Ip,
                roles: &[Role::Destination],
                names: |alert| alert.entities.iter().any(is_contacted_address),
                shows: |alert| has(alert, OUTWARD),
                beside: ON_DEVICE,
            },
            Selector::ContactedDomains => Selection {
                entity_type: EntityType::Domain,
                roles: &[Role::Destination],
                names: |alert| alert.domain == Domain::Endpoint,
                shows: |alert| has(alert, OUTWARD),
                beside: ON_DEVICE,
            },
            Selector::AbusedSessions => Selection {
                entity_type: EntityType::Session,
                roles: &[Role::Session, Role::Credential],
                names: |_| true,
                shows: |alert| has(alert, HANDS_ON),
                beside: &[(EntityType::User, Role::Actor)],
            },
            Selector::AbusedMailboxes => Selection {
                entity_type: EntityType::Mailbox,
                roles: &[Role::Target],
                names: |_| true,
                shows: |alert| has(alert, HANDS_ON),
                beside: &[(EntityType::User, Role::Actor)],
            },
        }
    }
}

/// An address outside: cutting off one's own would be the attacker's work.
fn is_contacted_address(entity: &Entity) -> bool {
    let is_destination = entity.entity_type == EntityType::Ip && entity.role == Role::Destination;
    is_destination && entity.value.parse().is_ok_and(|address| !event::is_local_address(address))
}

fn has(alert: &Alert, tactics: &[Tactic]) -> bool {
    alert.tactics().iter().any(|tactic| tactics.contains(tactic))
}

/// Identifiers of a target, with what stands beside it: a message may have gone to thousands.
pub(crate) const IDENTIFIERS_MAX: usize = 64;

/// An entity that may be acted on, and what the incident's alerts say of it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) target: Target,
    pub(crate) severity: Severity,
    pub(crate) tactics: BTreeSet<Tactic>,
    pub(crate) techniques: BTreeSet<Arc<str>>,
    pub(crate) domains: BTreeSet<Domain>,
    pub(crate) alerts: u32,
}

/// The candidates of a selector, by name.
pub(crate) fn candidates(selector: Selector, incident: &Incident, alerts: &[Alert]) -> Vec<Candidate> {
    let selection = selector.selection();
    let names = Names::of(incident, selection.entity_type);
    let mut found: BTreeMap<Arc<str>, (Candidate, bool)> = BTreeMap::new();
    for alert in alerts.iter().filter(|a| a.tenant == incident.tenant && (selection.names)(a)) {
        let Some(target) = the_one(&selection, alert, &names) else { continue };
        let known = found.entry(Arc::clone(&target.entity.value));
        let (candidate, is_shown) = known.or_insert_with(|| (Candidate::new(target), false));
        if candidate.target.label.is_none() {
            candidate.target.label = label(&candidate.target.entity, incident, alert);
        }
        candidate.add(alert, selection.beside);
        *is_shown |= (selection.shows)(alert);
    }
    found.into_values().filter_map(|(candidate, is_shown)| is_shown.then_some(candidate)).collect()
}

/// What people call an entity whose value is an id.
fn label(entity: &Entity, incident: &Incident, alert: &Alert) -> Option<String> {
    match entity.entity_type {
        EntityType::App => {
            let is_it =
                |asset: &&Asset| asset.entity_type == EntityType::App && asset.names.contains(&entity.value);
            incident.assets.iter().find(is_it).map(|asset| asset.name.to_string())
        }
        EntityType::Message => {
            let subject = alert.evidence.iter().find(|(name, _)| &**name == "email_subject");
            subject.map(|(_, subject)| format!("\"{subject}\""))
        }
        _ => None,
    }
}

/// The one entity that has the part in an alert, under all its names.
fn the_one(selection: &Selection, alert: &Alert, names: &Names) -> Option<Target> {
    let of_type = || alert.entities.iter().filter(|e| e.entity_type == selection.entity_type);
    let role = selection.roles.iter().find(|role| of_type().any(|e| e.role == **role))?;
    let mut targets = of_type().filter(|e| e.role == *role).map(|e| names.target(selection, &e.value));
    let target = targets.next()?;
    targets.all(|other| other.entity == target.entity).then_some(target)
}

impl Candidate {
    pub(crate) fn new(target: Target) -> Self {
        Candidate {
            target,
            severity: Severity::Informational,
            tactics: BTreeSet::new(),
            techniques: BTreeSet::new(),
            domains: BTreeSet::new(),
            alerts: 0,
        }
    }

    fn add(&mut self, alert: &Alert, beside: &[(EntityType, Role)]) {
        self.severity = self.severity.max(alert.severity);
        self.tactics.extend(alert.tactics());
        self.techniques.extend(alert.techniques().cloned());
        self.domains.insert(alert.domain);
        self.alerts += 1;
        let needed = alert.entities.iter().filter(|e| beside.contains(&(e.entity_type, e.role)));
        let mut identifiers: BTreeSet<Entity> = self.target.identifiers.iter().cloned().collect();
        let room = IDENTIFIERS_MAX.saturating_sub(identifiers.len());
        identifiers.extend(needed.take(room).cloned());
        self.target.identifiers = identifiers.into_iter().collect();
    }
}

/// Which names mean one entity: what correlation found out, as the incident's assets tell it.
struct Names(BTreeMap<Arc<str>, Arc<[Arc<str>]>>);

impl Names {
    fn of(incident: &Incident, entity_type: EntityType) -> Self {
        let mut names = BTreeMap::new();
        for asset in incident.assets.iter().filter(|asset| asset.entity_type == entity_type) {
            let mut all = asset.names.clone();
            // What people call a device or user is one of its names; what they call an app is not.
            if matches!(entity_type, EntityType::Device | EntityType::User) {
                all.retain(|name| *name != asset.name);
                all.insert(0, Arc::clone(&asset.name));
            }
            let all: Arc<[Arc<str>]> = all.into();
            all.iter().for_each(|name| drop(names.insert(Arc::clone(name), Arc::clone(&all))));
        }
        Names(names)
    }

    fn target(&self, selection: &Selection, name: &Arc<str>) -> Target {
        let entity =
            |value: Arc<str>| Entity { entity_type: selection.entity_type, role: selection.roles[0], value };
        let Some(names) = self.0.get(name) else {
            let entity = entity(Arc::clone(name));
            return Target { identifiers: vec![entity.clone()], entity, label: None };
        };
        let mut identifiers: Vec<Entity> = names.iter().cloned().map(entity).collect();
        let canonical = identifiers[0].clone();
        identifiers.sort_unstable();
        Target { entity: canonical, identifiers, label: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{alert, incident};

    fn selected(alerts: &[Alert]) -> Vec<(String, Vec<String>)> {
        let text = |e: &Entity| e.value.to_string();
        candidates(Selector::AttackedDevices, &incident(alerts), alerts)
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
    fn names_of_one_device_are_one_target_and_an_alert_on_two_selects_none() {
        let names = ["0a1b2c", "ws-01", "ws-01.corp.example"];
        let alerts = [
            alert("a1", "attack.execution", &[(Role::Device, names[2]), (Role::Device, names[0])]),
            alert("a2", "attack.credential-access", &[(Role::Device, names[1])]),
        ];
        assert_eq!(selected(&alerts), [("ws-01".to_owned(), vec!["ws-01".to_owned()])]);
        let mut resolved = incident(&alerts);
        let asset = resolved.assets[0].clone();
        resolved.assets =
            vec![Asset { name: names[2].into(), names: names.map(Arc::from).to_vec(), ..asset }];
        let found = candidates(Selector::AttackedDevices, &resolved, &alerts);
        let [device] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((&*device.target.entity.value, device.alerts), (names[2], 2));
        assert_eq!(device.target.identifiers.iter().map(|e| &*e.value).collect::<Vec<_>>(), names);
    }

    #[test]
    fn alerts_of_another_tenant_select_nothing() {
        let mut foreign = alert("a1", "attack.execution", &[(Role::Device, "ws-01")]);
        let incident = incident(std::slice::from_ref(&foreign));
        foreign.tenant = event::TenantId::new("other");
        assert!(candidates(Selector::AttackedDevices, &incident, &[foreign]).is_empty());
    }

    fn naming(id: &str, tag: &str, entities: &[(EntityType, Role, &str)]) -> Alert {
        let entity = |(t, role, value): &(EntityType, Role, &str)| Entity::new(*t, *role, value).unwrap();
        Alert { entities: entities.iter().map(entity).collect(), ..alert(id, tag, &[]) }
    }

    fn names_of(selector: Selector, alerts: &[Alert]) -> Vec<String> {
        let found = candidates(selector, &incident(alerts), alerts);
        let names = |c: &Candidate| {
            c.target.identifiers.iter().map(|e| e.value.to_string()).collect::<Vec<_>>().join(" ")
        };
        found.iter().map(names).collect()
    }

    #[test]
    fn who_is_attacked_is_not_who_is_compromised() {
        let alerts = [
            naming("a1", "attack.credential-access", &[(EntityType::User, Role::Target, "bob@x.example")]),
            naming("a2", "attack.initial-access", &[(EntityType::User, Role::Actor, "eve@x.example")]),
            naming("a3", "attack.collection", &[(EntityType::User, Role::Actor, "ann@x.example")]),
            naming("a4", "attack.execution", &[(EntityType::User, Role::ProcessUser, "x\\kim")]),
        ];
        assert_eq!(names_of(Selector::CompromisedUsers, &alerts), ["ann@x.example", "x\\kim"]);
    }

    #[test]
    fn a_message_comes_with_its_mailbox_and_an_app_with_who_gave_it_rights() {
        let message = (EntityType::Message, Role::Target, "m-1");
        let mailbox = (EntityType::Mailbox, Role::Recipient, "ann@x.example");
        let mut mail = naming("a1", "attack.initial-access", &[message, mailbox]);
        assert_eq!(names_of(Selector::DeliveredMessages, std::slice::from_ref(&mail)), Vec::<String>::new());
        mail.domain = Domain::Email;
        assert_eq!(names_of(Selector::DeliveredMessages, &[mail]), ["ann@x.example m-1"]);
        let app = (EntityType::App, Role::Target, "app-1");
        let mut consent =
            naming("a2", "attack.persistence", &[app, (EntityType::User, Role::Actor, "ann@x.example")]);
        assert!(names_of(Selector::ConsentedApps, std::slice::from_ref(&consent)).is_empty());
        consent.class = Class::USER_ACCESS_MANAGEMENT;
        assert_eq!(names_of(Selector::ConsentedApps, &[consent]), ["ann@x.example app-1"]);
    }

    #[test]
    fn processes_and_files_come_with_their_device_and_never_from_alerts_on_processes() {
        let device = (EntityType::Device, Role::Device, "ws-01");
        let entities = [
            device,
            (EntityType::Process, Role::Actor, "ws-01/4711"),
            (EntityType::File, Role::Target, "c:\\users\\public\\a.exe"),
        ];
        let mut alert = naming("a1", "attack.impact", &entities);
        (alert.domain, alert.class) = (Domain::Endpoint, Class::PROCESS_ACTIVITY);
        for selector in [Selector::AttackingProcesses, Selector::MaliciousFiles] {
            assert!(names_of(selector, std::slice::from_ref(&alert)).is_empty(), "{selector:?}");
        }
        alert.class = Class::from_name("file_activity").unwrap();
        let alerts = [alert];
        assert_eq!(names_of(Selector::AttackingProcesses, &alerts), ["ws-01 ws-01/4711"]);
        assert_eq!(names_of(Selector::MaliciousFiles, &alerts), ["ws-01 c:\\users\\public\\a.exe"]);
    }

    #[test]
    fn only_addresses_outside_are_contacted() {
        let with = |role: Role, address: &str| {
            let alert = naming("a1", "attack.command-and-control", &[(EntityType::Ip, role, address)]);
            names_of(Selector::ContactedAddresses, &[alert]).len()
        };
        assert_eq!(with(Role::Destination, "203.0.113.7"), 1);
        assert_eq!((with(Role::Destination, "10.1.2.3"), with(Role::Source, "203.0.113.7")), (0, 0));
    }

    #[test]
    fn sessions_and_mailboxes_need_more_than_a_sign_in() {
        let entities = [
            (EntityType::Session, Role::Session, "s-1"),
            (EntityType::Mailbox, Role::Target, "ann@x.example"),
            (EntityType::User, Role::Actor, "eve@x.example"),
        ];
        for (tag, expected) in [("attack.initial-access", 0), ("attack.persistence", 1)] {
            let alerts = [naming("a1", tag, &entities)];
            assert_eq!(names_of(Selector::AbusedSessions, &alerts).len(), expected, "{tag}");
            assert_eq!(names_of(Selector::AbusedMailboxes, &alerts).len(), expected, "{tag}");
        }
    }
}
