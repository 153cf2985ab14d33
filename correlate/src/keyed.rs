//! An alert with the keys of all that it names. A key is a hash of its text, and every stage asks for the same ones
//! again: they are made once, when the alert comes.

use std::ops::Deref;

use event::{Alert, Entity, EntityType};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::evidence::{Evidence, Key};

/// An alert as the correlator holds it. Written, it is the alert alone.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    alert: Alert,
    /// Of its entities, in their order.
    names: Box<[Name]>,
    /// Its rule.
    pub(crate) rule_key: Key,
    /// Whatever has the title of its rule.
    pub(crate) title_key: Key,
    /// Itself.
    pub(crate) own_key: Key,
    /// Where it tells of guessed passwords, whatever rule tells of them.
    pub(crate) guess_key: Option<Key>,
}

/// The keys of one entity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name {
    pub(crate) key: Key,
    /// Of a user's address the mailbox, of a mailbox the user; of anything else `key` again.
    pub(crate) twin: Key,
    pub(crate) kind: Evidence,
}

impl Name {
    fn of(alert: &Alert, entity: &Entity) -> Self {
        let key = |entity_type| Key::of(&alert.tenant, entity_type, &entity.value);
        let own = key(entity.entity_type);
        let twin = match entity.entity_type {
            EntityType::User if entity.value.contains('@') => key(EntityType::Mailbox),
            EntityType::Mailbox => key(EntityType::User),
            _ => own,
        };
        Self { key: own, twin, kind: Evidence::of(entity.entity_type, &entity.value) }
    }
}

impl Keyed {
    /// Its entities with their keys.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&Entity, Name)> + Clone {
        self.alert.entities.iter().zip(self.names.iter().copied())
    }
}

impl From<Alert> for Keyed {
    fn from(alert: Alert) -> Self {
        Self {
            names: alert.entities.iter().map(|entity| Name::of(&alert, entity)).collect(),
            rule_key: Key::of_text("rule", &alert.rule.id),
            title_key: Key::of_text("title", &alert.rule.title),
            own_key: Key::of_text("alert", alert.id.as_str()),
            guess_key: is_guess(&alert).then(|| Key::of_text("technique", BRUTE_FORCE)),
            alert,
        }
    }
}

/// ATT&CK: passwords are guessed, whichever way.
pub(crate) const BRUTE_FORCE: &str = "T1110";

fn is_guess(alert: &Alert) -> bool {
    alert.techniques().any(|technique| technique.starts_with(BRUTE_FORCE))
}

impl Deref for Keyed {
    type Target = Alert;

    fn deref(&self) -> &Alert {
        &self.alert
    }
}

impl Serialize for Keyed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.alert.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Keyed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Alert::deserialize(deserializer).map(Self::from)
    }
}
