//! Aliases: values that one row gave to one thing, so that `CONTOSO\alice`, her SID and her UPN are one user.
//!
//! A fact is a pair of values and the earliest event time at which a row proved it. Resolution at time `t`
//! uses the facts up to `t`, so the order in which rows arrive is nothing to it. No fact is ever guessed:
//! that `alice` and `alice@contoso.com` look alike is no proof.

use std::sync::Arc;

use event::{EntityType, Time};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::evidence::Key;
use crate::parameters::AliasLimits;
use crate::snapshot::sorted;

/// The form of a value. Two values of one strong form on one side mean that the other side is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Form {
    /// Directory object id, agent id.
    Id,
    /// Windows security identifier.
    Sid,
    /// UPN or mail address.
    Mail,
    /// `DOMAIN\name`.
    Account,
    /// Fully qualified host name.
    Fqdn,
    /// Host name without a domain.
    Short,
    /// Anything else.
    Name,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Value {
    text: Arc<str>,
    entity_type: EntityType,
    form: Form,
    /// Partners with the earliest time of proof, by time, then key; the earliest [`PARTNERS_MAX`] of them.
    partners: SmallVec<[(Time, Key); 4]>,
}

/// More partners than this make any value shared, whatever their forms.
const PARTNERS_MAX: usize = 16;

/// The alias table of a tenant. Entries are never evicted: a full table refuses new values and counts them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Aliases {
    #[serde(with = "sorted")]
    values: HashMap<Key, Value>,
    /// Values refused because the table was full.
    pub(crate) refused: u64,
}

/// A value of one entity, as the table names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) key: Key,
    pub(crate) text: Arc<str>,
}

impl Aliases {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Learns that the values name one thing; calls `changed` for each value of which something new is known.
    pub(crate) fn learn(
        &mut self,
        entity_type: EntityType,
        names: &[(Key, &str)],
        time: Time,
        limit: usize,
        mut changed: impl FnMut(Key),
    ) {
        for (i, a) in names.iter().enumerate() {
            for b in &names[i + 1..] {
                if a.0 != b.0 && self.learn_pair(entity_type, *a, *b, time, limit) {
                    changed(a.0);
                    changed(b.0);
                }
            }
        }
    }

    fn learn_pair(
        &mut self,
        kind: EntityType,
        a: (Key, &str),
        b: (Key, &str),
        time: Time,
        limit: usize,
    ) -> bool {
        let known = |of: Key, partner: Key| {
            self.values.get(&of).is_some_and(|v| v.partners.iter().any(|(t, k)| *k == partner && *t <= time))
        };
        if known(a.0, b.0) && known(b.0, a.0) {
            return false;
        }
        let missing = [a.0, b.0].into_iter().filter(|k| !self.values.contains_key(k)).count();
        if self.values.len() + missing > limit {
            self.refused += 1;
            return false;
        }
        let one = self.insert(kind, a, b.0, time);
        let other = self.insert(kind, b, a.0, time);
        one || other
    }

    fn insert(
        &mut self,
        entity_type: EntityType,
        (key, text): (Key, &str),
        partner: Key,
        time: Time,
    ) -> bool {
        let value = self.values.entry(key).or_insert_with(|| Value {
            text: text.into(),
            entity_type,
            form: Form::of(entity_type, text),
            partners: SmallVec::new(),
        });
        match value.partners.iter_mut().find(|(_, k)| *k == partner) {
            Some((known, _)) if *known <= time => return false,
            Some((known, _)) => *known = time,
            None => value.partners.push((time, partner)),
        }
        value.partners.sort_unstable();
        value.partners.truncate(PARTNERS_MAX);
        true
    }

    /// Whether anything ever proved another name of this one.
    pub(crate) fn has(&self, key: Key) -> bool {
        self.values.contains_key(&key)
    }

    /// Whether anything proved another name of this one by time `t`.
    pub(crate) fn is_known(&self, key: Key, t: Time) -> bool {
        self.values.get(&key).is_some_and(|value| value.partners.iter().any(|(time, _)| *time <= t))
    }

    /// All values of the entity that `key` names at time `t`, by key, without `key` itself where it has none.
    pub(crate) fn cluster(&self, key: Key, t: Time, limits: &AliasLimits) -> SmallVec<[Alias; 4]> {
        self.cluster_without(key, t, limits, &[])
    }

    /// As [`Aliases::cluster`], as if nothing had ever named both of any of these pairs.
    pub(crate) fn cluster_without(
        &self,
        key: Key,
        t: Time,
        limits: &AliasLimits,
        without: &[(Key, Key)],
    ) -> SmallVec<[Alias; 4]> {
        let mut found: SmallVec<[Alias; 4]> = SmallVec::new();
        let Some(start) = self.values.get(&key) else { return found };
        found.push(Alias { key, text: Arc::clone(&start.text) });
        if self.is_shared(start, t, limits) {
            return found;
        }
        let mut next = 0;
        while next < found.len() && found.len() < limits.cluster_max {
            let at = found[next].key;
            next += 1;
            let Some(value) = self.values.get(&at) else { continue };
            for (_, partner) in value.partners.iter().take_while(|(time, _)| *time <= t) {
                let Some(other) = self.values.get(partner) else { continue };
                if without.contains(&(at, *partner)) || without.contains(&(*partner, at)) {
                    continue;
                }
                let is_new = found.iter().all(|alias| alias.key != *partner);
                if is_new && found.len() < limits.cluster_max && !self.is_shared(other, t, limits) {
                    found.push(Alias { key: *partner, text: Arc::clone(&other.text) });
                }
            }
        }
        found.sort_unstable_by_key(|alias| alias.key);
        found
    }

    /// The value that people know the entity by: the first by form (FQDN, mail, account, ...), then by text.
    pub(crate) fn display(&self, key: Key, t: Time, limits: &AliasLimits) -> Option<Arc<str>> {
        let cluster = self.cluster(key, t, limits);
        let rank = |alias: &Alias| self.values.get(&alias.key).map_or(9, |v| v.form.rank());
        cluster
            .iter()
            .min_by_key(|alias| (rank(alias), Arc::clone(&alias.text)))
            .map(|alias| Arc::clone(&alias.text))
    }

    /// Whether a value stands for several things at time `t`, and therefore for none of them.
    fn is_shared(&self, value: &Value, t: Time, limits: &AliasLimits) -> bool {
        let mut counts = [0_usize; 7];
        let mut all = 0;
        for (_, partner) in value.partners.iter().take_while(|(time, _)| *time <= t) {
            if let Some(other) = self.values.get(partner) {
                counts[other.form as usize] += 1;
                all += 1;
            }
        }
        let names_max = match value.form {
            Form::Short => limits.names_of_short_host_max,
            _ => limits.partners_per_form_max,
        };
        let by_form = counts.iter().enumerate().any(|(form, count)| match form {
            f if f == Form::Fqdn as usize => *count > names_max,
            f if f == Form::Id as usize => *count > limits.ids_max,
            _ => *count > limits.partners_per_form_max,
        });
        by_form || all >= PARTNERS_MAX
    }
}

impl Form {
    fn of(entity_type: EntityType, text: &str) -> Self {
        if is_id(text) {
            return Form::Id;
        }
        match entity_type {
            EntityType::Device if text.contains('.') => Form::Fqdn,
            EntityType::Device => Form::Short,
            _ if text.starts_with("s-1-") => Form::Sid,
            _ if text.contains('@') => Form::Mail,
            _ if text.contains('\\') => Form::Account,
            _ => Form::Name,
        }
    }

    const fn rank(self) -> u8 {
        match self {
            Form::Fqdn | Form::Mail => 0,
            Form::Account | Form::Short => 1,
            Form::Name => 2,
            Form::Sid => 3,
            Form::Id => 4,
        }
    }
}

/// Number of ranks of [`form_rank`].
pub(crate) const FORMS: usize = 5;

/// The rank of a value's form: the lower, the better people know an entity by it.
pub(crate) fn form_rank(entity_type: EntityType, text: &str) -> usize {
    Form::of(entity_type, text).rank() as usize
}

/// Whether a user's name has neither domain nor address nor id.
pub(crate) fn is_bare(text: &str) -> bool {
    Form::of(EntityType::User, text) == Form::Name
}

/// A GUID, a long hexadecimal number as agents use, or a cloud resource path.
fn is_id(text: &str) -> bool {
    text.contains('/') || (text.len() >= 32 && text.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-'))
}

/// The short name of a fully qualified host name: `ws-01` of `ws-01.contoso.com`.
pub(crate) fn short_host(text: &str) -> Option<&str> {
    let (short, rest) = text.split_once('.')?;
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    (!short.is_empty() && !rest.is_empty() && !is_address && !is_id(text)).then_some(short)
}

#[cfg(test)]
mod tests {
    use event::TenantId;

    use super::*;
    use crate::parameters::Parameters;

    struct Table(Aliases, AliasLimits);

    impl Table {
        fn new() -> Self {
            Table(Aliases::default(), Parameters::builtin().unwrap().file.alias.clone())
        }

        fn learn(&mut self, kind: EntityType, names: &[&str], time: i64) {
            let keyed: Vec<(Key, &str)> = names.iter().map(|n| (key(kind, n), *n)).collect();
            self.0.learn(kind, &keyed, Time(time), 1_000, |_| {});
        }

        fn of(&self, kind: EntityType, name: &str, t: i64) -> Vec<String> {
            let mut texts: Vec<String> = self
                .0
                .cluster(key(kind, name), Time(t), &self.1)
                .iter()
                .map(|a| a.text.to_string())
                .collect();
            texts.sort();
            texts
        }
    }

    fn key(kind: EntityType, name: &str) -> Key {
        Key::of(&TenantId::default(), kind, name)
    }

    #[test]
    fn what_one_row_names_is_one_user_from_then_on() {
        let mut table = Table::new();
        table.learn(EntityType::User, &["contoso\\alice", "s-1-5-21-1-2-3-1104"], 10);
        table.learn(EntityType::User, &["s-1-5-21-1-2-3-1104", "alice@contoso.com"], 20);
        assert_eq!(
            table.of(EntityType::User, "contoso\\alice", 15),
            ["contoso\\alice", "s-1-5-21-1-2-3-1104"]
        );
        assert_eq!(table.of(EntityType::User, "contoso\\alice", 20).len(), 3);
        assert!(table.of(EntityType::User, "alice", 20).is_empty(), "looking alike is no proof");
    }

    #[test]
    fn a_value_of_many_is_nobodys() {
        let mut table = Table::new();
        for (time, sid) in
            ["s-1-5-21-1-1-1-500", "s-1-5-21-2-2-2-500", "s-1-5-21-3-3-3-500"].iter().enumerate()
        {
            table.learn(EntityType::User, &["administrator@local", sid], time as i64);
        }
        assert_eq!(
            table.of(EntityType::User, "administrator@local", 1).len(),
            3,
            "not yet known to be shared"
        );
        assert_eq!(table.of(EntityType::User, "administrator@local", 2), ["administrator@local"]);
        assert_eq!(table.of(EntityType::User, "s-1-5-21-1-1-1-500", 2), ["s-1-5-21-1-1-1-500"]);
    }

    #[test]
    fn a_short_host_name_must_be_unique() {
        let mut table = Table::new();
        table.learn(EntityType::Device, &["ws-01", "ws-01.a.example"], 1);
        assert_eq!(table.of(EntityType::Device, "ws-01", 1).len(), 2);
        table.learn(EntityType::Device, &["ws-01", "ws-01.b.example"], 2);
        assert_eq!(table.of(EntityType::Device, "ws-01", 2), ["ws-01"]);
        assert_eq!(table.of(EntityType::Device, "ws-01", 1).len(), 2, "the past stays as it was");
    }

    #[test]
    fn the_order_of_learning_does_not_matter() {
        let facts = [
            (["a@x", "s-1-5-1"], 5),
            (["s-1-5-1", "x\\a"], 3),
            (["a@x", "x\\a"], 9),
            (["a@x", "s-1-5-1"], 1),
        ];
        let mut forward = Table::new();
        let mut backward = Table::new();
        facts.iter().for_each(|(names, t)| forward.learn(EntityType::User, names, *t));
        facts.iter().rev().for_each(|(names, t)| backward.learn(EntityType::User, names, *t));
        for t in 0..10 {
            assert_eq!(
                forward.of(EntityType::User, "x\\a", t),
                backward.of(EntityType::User, "x\\a", t),
                "at {t}"
            );
        }
    }

    #[test]
    fn a_full_table_refuses_and_counts() {
        let mut table = Table::new();
        let names = [(key(EntityType::User, "a@x"), "a@x"), (key(EntityType::User, "b"), "b")];
        table.0.learn(EntityType::User, &names, Time(0), 1, |_| {});
        assert_eq!((table.0.len(), table.0.refused), (0, 1));
    }
}
