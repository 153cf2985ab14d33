//! What the responder knows: actions, effects, and how to find them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use event::{
    Action, ActionId, ActionState, Effect, EffectId, EffectState, Entity, IncidentId, Target, TenantId, Time,
};

use crate::command::in_doubt;
use crate::effect::{effect_id, is_wanted};
use crate::policy::Breaker;
use crate::verb::Verb;

/// The window of the hourly caps.
pub(crate) const HOUR_US: i64 = 3_600_000_000;

/// Ends of commands that are remembered for each verb.
const ENDS_MAX: usize = 100;

/// A command that a rule started.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) at: Time,
    pub(crate) tenant: TenantId,
    pub(crate) rule: Arc<str>,
    pub(crate) verb: Verb,
}

/// Actions and effects with their indices. Holds no policy: it answers questions.
#[derive(Debug, Default)]
pub(crate) struct Book {
    actions: BTreeMap<ActionId, Action>,
    effects: BTreeMap<EffectId, Effect>,
    /// How many effects are wanted, by tenant and deed.
    wanted: HashMap<TenantId, HashMap<String, u32>>,
    open: BTreeSet<ActionId>,
    by_incident: BTreeMap<IncidentId, BTreeSet<ActionId>>,
    by_effect: HashMap<EffectId, BTreeSet<ActionId>>,
    /// Every name of a known target, with its canonical entity.
    names: HashMap<(TenantId, Entity), Entity>,
    /// Commands started within the hour, oldest first.
    starts: VecDeque<Start>,
    /// Commands of each verb that ended, oldest first, and whether they failed; the last ones.
    ends: HashMap<Verb, VecDeque<(Time, bool)>>,
}

/// The rule of notices that a cap holds actions back.
pub(crate) const PAGE: &str = "page";

/// The rule of commands that close what others have opened.
pub(crate) const CLOSE: &str = "close";

/// The rule of commands that open again what others have closed.
pub(crate) const REOPEN: &str = "reopen";

/// Whether an action that was started counts against the caps. What tells people of them does not, nor what cleans up.
pub(crate) fn counts_as_start(action: &Action) -> bool {
    let is_ours = [PAGE, CLOSE, REOPEN].contains(&action.decision.rule.as_str());
    verb_of(action).is_some_and(Verb::applies) && !is_ours
}

/// The verb of an action; an action read back from a newer version may have one we do not know.
pub(crate) fn verb_of(action: &Action) -> Option<Verb> {
    Verb::from_name(&action.verb)
}

/// The effect that an action is about; where its verb leaves none, what is done, by the same means.
pub(crate) fn effect_of(action: &Action) -> EffectId {
    effect_id(&action.tenant, &action.target, &effect_kind(action))
}

/// The kind of that effect.
pub(crate) fn effect_kind(action: &Action) -> String {
    let Some(verb) = verb_of(action) else { return action.verb.clone() };
    verb.scope(&action.args).fold(verb.deed().to_owned(), |kind, part| kind + ":" + part)
}

/// What was done so that an effect holds, without what tells effects of one deed on one target apart.
fn deed_of(effect: &Effect) -> &str {
    effect.kind.split(':').next().unwrap_or_default()
}

/// The names of a target, without what stands beside them so that it is found: a message's mailbox names no message.
fn own_names(target: &Target) -> impl Iterator<Item = &Entity> {
    let of_type = |e: &&Entity| e.entity_type == target.entity.entity_type;
    std::iter::once(&target.entity).chain(target.identifiers.iter().filter(of_type))
}

impl Book {
    /// What bears on the actions of some incidents: others about the same effects, those effects and stronger ones, and
    /// what counts against caps.
    pub(crate) fn about(&self, incidents: &BTreeSet<IncidentId>) -> Self {
        let mut about = Self { starts: self.starts.clone(), ends: self.ends.clone(), ..Self::default() };
        for action in incidents.iter().flat_map(|incident| self.of_incident(incident)) {
            let stronger = verb_of(action).into_iter().flat_map(Verb::contained_in);
            let stronger = stronger.map(|verb| effect_id(&action.tenant, &action.target, verb.deed()));
            let effect = effect_of(action);
            self.of_effect(&effect).cloned().for_each(|action| about.put_action(action));
            let effects = stronger.chain([effect]).filter_map(|id| self.effect(&id).cloned());
            effects.for_each(|effect| about.put_effect(effect));
        }
        // Those that are left out count all the same.
        about.wanted = self.wanted.clone();
        about
    }

    pub(crate) fn put_action(&mut self, action: Action) {
        self.learn_names(&action.tenant, &action.target);
        match action.state.is_final() {
            true => self.open.remove(&action.id),
            false => self.open.insert(action.id.clone()),
        };
        let before = self.actions.get(&action.id).map(|a| a.incident.clone());
        if let Some(before) = before.filter(|b| *b != action.incident) {
            self.by_incident.entry(before).or_default().remove(&action.id);
        }
        self.by_incident.entry(action.incident.clone()).or_default().insert(action.id.clone());
        self.by_effect.entry(effect_of(&action)).or_default().insert(action.id.clone());
        self.actions.insert(action.id.clone(), action);
    }

    pub(crate) fn put_effect(&mut self, effect: Effect) {
        if is_wanted(&effect) {
            *self.wanted_of(&effect) += 1;
        }
        if let Some(before) = self.effects.insert(effect.id.clone(), effect).filter(is_wanted) {
            let count = self.wanted_of(&before);
            *count = count.saturating_sub(1);
        }
    }

    fn wanted_of(&mut self, effect: &Effect) -> &mut u32 {
        let of_tenant = self.wanted.entry(effect.tenant.clone()).or_default();
        of_tenant.entry(deed_of(effect).to_owned()).or_default()
    }

    pub(crate) fn action(&self, id: &ActionId) -> Option<&Action> {
        self.actions.get(id)
    }

    pub(crate) fn effect(&self, id: &EffectId) -> Option<&Effect> {
        self.effects.get(id)
    }

    pub(crate) fn actions(&self) -> impl Iterator<Item = &Action> {
        self.actions.values()
    }

    pub(crate) fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.effects.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.actions.len()
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = &Action> {
        self.open.iter().filter_map(|id| self.actions.get(id))
    }

    pub(crate) fn of_incident(&self, incident: &IncidentId) -> impl Iterator<Item = &Action> {
        self.by_incident.get(incident).into_iter().flatten().filter_map(|id| self.actions.get(id))
    }

    /// The actions about one effect.
    pub(crate) fn of_effect(&self, effect: &EffectId) -> impl Iterator<Item = &Action> {
        self.by_effect.get(effect).into_iter().flatten().filter_map(|id| self.actions.get(id))
    }

    /// The open command, other than `but`, that brings this effect about, if there is one past approval.
    pub(crate) fn applying(&self, effect: &EffectId, but: Option<&ActionId>) -> Option<&Action> {
        self.of_effect(effect).find(|a| {
            Some(&a.id) != but
                && !a.state.is_final()
                && a.state != ActionState::AwaitingApproval
                && verb_of(a).is_some_and(Verb::applies)
        })
    }

    /// Whether an effect may hold because of commands other than `but`: the last one with a certain outcome decides,
    /// and one that was to bring it about and may have.
    pub(crate) fn may_hold(&self, effect: &EffectId, but: &ActionId) -> bool {
        let mut sent: Vec<&Action> =
            self.of_effect(effect).filter(|a| a.attempts > 0 && a.id != *but).collect();
        sent.sort_by_key(|a| std::cmp::Reverse((a.history.last().map_or(a.created_at, |t| t.at), &a.id)));
        let holds = |a: &&Action| {
            let applies = verb_of(a).is_some_and(Verb::applies);
            match a.state {
                ActionState::Succeeded | ActionState::NoOp => Some(applies),
                _ if applies && in_doubt(a) => Some(true),
                _ => None,
            }
        };
        sent.iter().find_map(holds).unwrap_or(false)
    }

    /// The target under the name by which it is already known, with all names together.
    pub(crate) fn known_target(&self, tenant: &TenantId, target: &Target) -> Target {
        let known = own_names(target).filter_map(|n| self.names.get(&(tenant.clone(), n.clone()))).min();
        let entity = known.unwrap_or(&target.entity).clone();
        let mut identifiers: BTreeSet<Entity> = target.identifiers.iter().cloned().collect();
        identifiers.insert(entity.clone());
        Target { entity, identifiers: identifiers.into_iter().collect(), label: target.label.clone() }
    }

    fn learn_names(&mut self, tenant: &TenantId, target: &Target) {
        for name in own_names(target) {
            self.names.entry((tenant.clone(), name.clone())).or_insert_with(|| target.entity.clone());
        }
    }

    /// Notes that a rule started a command.
    pub(crate) fn note_start(&mut self, start: Start) {
        while self.starts.front().is_some_and(|first| start.at.micros() - first.at.micros() >= HOUR_US) {
            self.starts.pop_front();
        }
        self.starts.push_back(start);
    }

    /// Notes that a command ended.
    pub(crate) fn note_end(&mut self, verb: Verb, at: Time, failed: bool) {
        let ends = self.ends.entry(verb).or_default();
        ends.push_back((at, failed));
        if ends.len() > ENDS_MAX {
            ends.pop_front();
        }
    }

    /// How many of the last commands of a verb failed, where these are as many as open the breaker.
    pub(crate) fn failing(&self, verb: Verb, breaker: &Breaker, now: Time) -> Option<usize> {
        let lately = |at: &Time| now.micros() - at.micros() < breaker.within.micros();
        let last = self.ends.get(&verb).into_iter().flatten().rev().take(breaker.of);
        let failed = last.filter(|(at, failed)| *failed && lately(at)).count();
        (failed >= breaker.failures).then_some(failed)
    }

    /// Commands that were started within the hour with verbs that count: by this rule, and by all, in this tenant.
    pub(crate) fn starts(
        &self,
        now: Time,
        tenant: &TenantId,
        rule: &str,
        counts: impl Fn(Verb) -> bool,
    ) -> (u32, u32) {
        let is_recent = |s: &&Start| now.micros() - s.at.micros() < HOUR_US && s.tenant == *tenant;
        let recent = self.starts.iter().filter(is_recent).filter(|s| counts(s.verb));
        recent.fold((0, 0), |(by_rule, all), s| (by_rule + u32::from(&*s.rule == rule), all + 1))
    }

    /// Effects of verbs that count which hold, or are about to, in this tenant.
    pub(crate) fn concurrent(&self, tenant: &TenantId, counts: impl Fn(Verb) -> bool) -> u32 {
        let Some(wanted) = self.wanted.get(tenant) else { return 0 };
        let counted = Verb::ALL.iter().filter(|verb| verb.holds() && counts(**verb));
        counted.filter_map(|verb| wanted.get(verb.deed())).sum()
    }

    /// Forgets what ended before `time` and holds nothing: storage still has it.
    pub(crate) fn forget_before(&mut self, time: Time) {
        let ended = |e: &Effect| {
            matches!(e.state, EffectState::Absent | EffectState::Reverted) && e.updated_at < time
        };
        self.effects.retain(|_, e| !ended(e));
        let held: BTreeSet<&ActionId> =
            self.effects.values().flat_map(|e| &e.holders).map(|h| &h.action).collect();
        let old = |a: &Action| a.state.is_final() && a.history.last().is_none_or(|t| t.at < time);
        let gone: Vec<ActionId> =
            self.actions.values().filter(|a| old(a) && !held.contains(&a.id)).map(|a| a.id.clone()).collect();
        for id in gone {
            let Some(action) = self.actions.remove(&id) else { continue };
            if let Some(others) = self.by_incident.get_mut(&action.incident) {
                others.remove(&id);
            }
            if let Some(others) = self.by_effect.get_mut(&effect_of(&action)) {
                others.remove(&id);
            }
        }
        self.by_incident.retain(|_, ids| !ids.is_empty());
        self.by_effect.retain(|_, ids| !ids.is_empty());
        self.forget_names();
    }

    fn forget_names(&mut self) {
        let known: BTreeSet<(&TenantId, &Entity)> =
            self.actions.values().map(|a| (&a.tenant, &a.target.entity)).collect();
        self.names.retain(|(tenant, _), canonical| known.contains(&(tenant, canonical)));
    }
}

#[cfg(test)]
mod tests {
    use event::Holder;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::device_target;

    /// What [`Book::concurrent`] must say, by looking at every effect.
    fn scanned(book: &Book, tenant: &TenantId, counts: impl Fn(Verb) -> bool) -> u32 {
        let counted: BTreeSet<&str> =
            Verb::ALL.iter().filter(|v| v.holds() && counts(**v)).map(|v| v.deed()).collect();
        let is_counted = |e: &&Effect| counted.contains(deed_of(e)) && e.tenant == *tenant && is_wanted(e);
        u32::try_from(book.effects().filter(is_counted).count()).unwrap()
    }

    const STATES: [EffectState; 7] = [
        EffectState::Absent,
        EffectState::Applying,
        EffectState::Active,
        EffectState::Drifted,
        EffectState::Reverting,
        EffectState::Reverted,
        EffectState::RevertFailed,
    ];
    const KINDS: [&str; 4] = ["host.isolated", "host.tagged:a", "host.tagged:b", "email.moved"];
    const TENANTS: [&str; 2] = ["default", "other"];

    fn effect(tenant: usize, host: u8, kind: usize, state: usize, holders: u8, at_s: i64) -> Effect {
        let (tenant, target) = (TenantId::new(TENANTS[tenant]), device_target(&format!("ws-{host}")));
        let holder = |n: u8| Holder { by: format!("i-{n}"), action: ActionId::new(format!("c-{n}")) };
        let at = Time::from_secs(1_700_000_000 + at_s);
        Effect {
            state: STATES[state],
            holders: (0..holders).map(holder).collect(),
            ..crate::effect::absent(&tenant, &target, KINDS[kind], at)
        }
    }

    /// `cargo test --release --workspace --lib -- --ignored --nocapture the_count_of_ten_thousand`
    #[test]
    #[ignore = "a measurement, of which benches/RESULTS.md tells"]
    #[allow(clippy::print_stdout, reason = "it prints what it measured")]
    fn the_count_of_ten_thousand_effects_is_measured() {
        const TIMES: u32 = 1_000;
        for effects in [100_u32, 10_000] {
            let mut book = Book::default();
            for n in 0..effects {
                let target = device_target(&format!("ws-{n}"));
                let at = Time::from_secs(1_700_000_000);
                let absent = crate::effect::absent(&TenantId::default(), &target, "host.isolated", at);
                let holder = Holder { by: "i-1".into(), action: ActionId::new(format!("c-{n}")) };
                book.put_effect(Effect { state: EffectState::Active, holders: vec![holder], ..absent });
            }
            let tenant = TenantId::default();
            let took = |count: &dyn Fn() -> u32| {
                let begun = std::time::Instant::now();
                (0..TIMES).for_each(|_| assert_eq!(std::hint::black_box(count()), effects));
                begun.elapsed() / TIMES
            };
            let scan = took(&|| scanned(&book, &tenant, |_| true));
            let index = took(&|| book.concurrent(&tenant, |_| true));
            println!("{effects} effects: {scan:?} by looking at each, {index:?} by the index");
        }
    }

    proptest! {
        #[test]
        fn what_holds_at_one_time_is_counted_as_by_looking_at_every_effect(
            changes in prop::collection::vec(
                (0..2usize, 0..4u8, 0..4usize, 0..7usize, 0..3u8, 0..100i64, prop::option::weighted(0.1, 0..100i64)), 1..60
            )
        ) {
            let mut book = Book::default();
            for (tenant, host, kind, state, holders, at, forget) in changes {
                book.put_effect(effect(tenant, host, kind, state, holders, at));
                if let Some(before) = forget {
                    book.forget_before(Time::from_secs(1_700_000_000 + before));
                }
                for tenant in TENANTS.map(TenantId::new) {
                    let of = |counts: fn(Verb) -> bool| {
                        (book.concurrent(&tenant, counts), scanned(&book, &tenant, counts))
                    };
                    for (counted, expected) in
                        [of(|_| true), of(|v| v == Verb::HostTag), of(|v| v != Verb::HostTag), of(|_| false)]
                    {
                        prop_assert_eq!(counted, expected);
                    }
                }
            }
        }
    }
}
