//! A firing to an alert.

use std::sync::{Arc, LazyLock};

use event::{Alert, AlertId, Class, TenantId, Time};

use super::definition::{Definition, Kind, Member};
use super::timeline::{Place, Verdict, Window};
use super::windows::CorrelationChange;
use super::witness::Witness;

/// An alert leads back to at most this many events: the first and the last ones of its window.
const WITNESSES_MAX: usize = 100;

/// Entities of an alert; correlation reads no more either.
const ENTITIES_MAX: usize = 48;

/// What a verdict on a group means to the outside.
pub(super) fn change(
    definition: &Definition,
    tenant: &TenantId,
    keys: &[Arc<str>],
    verdict: &Verdict,
) -> CorrelationChange {
    match verdict {
        Verdict::Fired(window) => CorrelationChange::Fired(build(definition, tenant, keys, window)),
        Verdict::Retracted { at, stands } => {
            let id_at = |place: &Place| id(definition, tenant, keys, *place);
            let (alert, in_place) = (id_at(at), stands.as_ref().map(id_at));
            CorrelationChange::Retracted {
                tenant: tenant.clone(),
                rule: Arc::clone(&definition.info.reference.id),
                group: keys.into(),
                alert,
                time: Time(at.0),
                in_place,
            }
        }
    }
}

/// The id of an alert: the rule, the group, and the event that completed the window.
fn id(definition: &Definition, tenant: &TenantId, keys: &[Arc<str>], at: Place) -> AlertId {
    let (time, member, hash) = at;
    let place = [time.to_le_bytes().as_slice(), &member.to_le_bytes(), &hash.to_le_bytes()].concat();
    let mut parts = vec![tenant.as_str().as_bytes(), definition.info.reference.id.as_bytes(), &place];
    parts.extend(keys.iter().map(|key| key.as_bytes()));
    AlertId::derive(&parts)
}

fn build(definition: &Definition, tenant: &TenantId, keys: &[Arc<str>], window: &Window) -> Alert {
    let info = &definition.info;
    let mut alert = Alert {
        id: id(definition, tenant, keys, window.at),
        tenant: tenant.clone(),
        time: Time(window.time),
        end_time: Time(window.time),
        rule: info.reference.clone(),
        title: Arc::clone(&info.reference.title),
        severity: info.severity,
        domain: event::Domain::Endpoint,
        product: "".into(),
        source: "".into(),
        class: Class::BASE_EVENT,
        event_uid: "".into(),
        attack: info.attack.clone(),
        entities: Vec::new(),
        records: Vec::new(),
        evidence: evidence(definition, keys, window),
    };
    for witness in telling(&window.witnesses) {
        let account = witness.account();
        alert.entities.extend(account.entities.iter());
        for mut record in account.records {
            if alert.records.len() < WITNESSES_MAX && !alert.records.contains(&record) {
                // Mostly they are of one topic, whose name need not be there for each.
                if let Some(last) = alert.records.last().filter(|last| last.topic == record.topic) {
                    record.topic = Arc::clone(&last.topic);
                }
                alert.records.push(record);
            }
        }
    }
    alert.entities.sort_unstable();
    alert.entities.dedup();
    alert.entities.truncate(ENTITIES_MAX);
    if let Some(last) = window.witnesses.last() {
        let last = last.account();
        (alert.domain, alert.class, alert.event_uid) = (last.domain, last.class, last.uid.into());
        (alert.product, alert.source) = (last.product, last.source);
    }
    alert
}

/// The first and the last events of a window that has too many.
fn telling(witnesses: &[Witness]) -> impl Iterator<Item = &Witness> {
    let (first, last) = match witnesses.len() {
        0..=WITNESSES_MAX => (witnesses, &[] as &[Witness]),
        len => (&witnesses[..WITNESSES_MAX / 2], &witnesses[len - WITNESSES_MAX / 2..]),
    };
    first.iter().chain(last)
}

/// The names of what every alert tells.
static NAMES: LazyLock<[Arc<str>; 5]> =
    LazyLock::new(|| ["correlation", "rules", "events", "first_time", "timespan"].map(Arc::from));

/// What all alerts of a correlation tell alike.
#[derive(Debug)]
pub(crate) struct Told {
    kind: Arc<str>,
    rules: Arc<str>,
    timespan: Arc<str>,
}

impl Told {
    pub(crate) fn of(kind: &Kind, members: &[Member], span_us: i64) -> Self {
        let members: Vec<&str> = members.iter().map(|member| member.name.as_ref()).collect();
        Self {
            kind: kind.to_string().into(),
            rules: members.join(", ").into(),
            timespan: format!("{} s", span_us / 1_000_000).into(),
        }
    }
}

fn evidence(definition: &Definition, keys: &[Arc<str>], window: &Window) -> Vec<(Arc<str>, Arc<str>)> {
    let told = &definition.told;
    let values = [
        Arc::clone(&told.kind),
        Arc::clone(&told.rules),
        window.witnesses.len().to_string().into(),
        Time(window.first_time).to_string().into(),
        Arc::clone(&told.timespan),
    ];
    let mut evidence: Vec<(Arc<str>, Arc<str>)> = NAMES.iter().cloned().zip(values).collect();
    evidence.extend(definition.group_by.iter().cloned().zip(keys.iter().cloned()));
    evidence
}

/// The group-by values of an alert, which end the evidence that [`build`] gives it.
pub(crate) fn group_of(definition: &Definition, alert: &Alert) -> Vec<Arc<str>> {
    let begin = alert.evidence.len().saturating_sub(definition.group_by.len());
    alert.evidence[begin..].iter().map(|(_, value)| Arc::clone(value)).collect()
}
