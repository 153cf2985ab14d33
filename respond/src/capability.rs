//! What providers can do, as documents. A decision reads them: what nobody here can do as it is asked for is left to a
//! person before anything is sent.

use std::collections::{BTreeMap, BTreeSet};

use event::{Action, EntityType};
use serde::Serialize;

use crate::book::verb_of;
use crate::verb::Verb;

/// What one provider can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// Name of the provider.
    pub provider: String,
    /// Its verbs. A verb without its inverse here never runs by itself: only people could take it back.
    pub verbs: BTreeMap<Verb, Ability>,
}

/// How far a provider can do a verb. Whatever nothing is said of it does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ability {
    /// What it can do it to; to all that the verb can be done to where nothing is named.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub targets: BTreeSet<EntityType>,
    /// Values of arguments that it cannot do.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lacks: Arguments,
    /// The only values of arguments that it can do, such as the channels that are configured.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub only: Arguments,
    /// Whether a request can be cancelled before it takes effect.
    pub cancellable: bool,
}

/// Values of arguments, by the argument's name.
pub type Arguments = BTreeMap<String, BTreeSet<String>>;

impl Capability {
    /// All of these verbs, in every way.
    pub fn whole(provider: impl Into<String>, verbs: impl IntoIterator<Item = Verb>) -> Self {
        let verbs = verbs.into_iter().map(|verb| (verb, Ability::default())).collect();
        Capability { provider: provider.into(), verbs }
    }

    /// Why it cannot do a verb as it is asked for, in words that follow its name; nothing where it can.
    pub fn lacks(&self, verb: Verb, target: EntityType, args: &BTreeMap<String, String>) -> Option<String> {
        match self.verbs.get(&verb) {
            Some(ability) => ability.lacks(target, args).map(|what| format!("cannot {verb} {what}")),
            None => Some(format!("cannot {verb}")),
        }
    }
}

impl Ability {
    fn lacks(&self, target: EntityType, args: &BTreeMap<String, String>) -> Option<String> {
        if !self.targets.is_empty() && !self.targets.contains(&target) {
            return Some(format!("on {target}"));
        }
        let is_lacking = |(name, value): &(&String, &String)| {
            self.lacks.get(*name).is_some_and(|values| values.contains(*value))
                || self.only.get(*name).is_some_and(|values| !values.contains(*value))
        };
        args.iter().find(is_lacking).map(|(name, value)| format!("with {name} {value}"))
    }
}

/// The first of these providers that can do an action as it is asked for: it is the one that does it. Else why none can.
pub(crate) fn doer<'a>(providers: &'a [Capability], action: &Action) -> Result<&'a Capability, String> {
    let nobody = || format!("no configured provider can {}", action.verb);
    let verb = verb_of(action).ok_or_else(nobody)?;
    let target = action.target.entity.entity_type;
    let mut lacking = Vec::new();
    for provider in providers.iter().filter(|provider| provider.verbs.contains_key(&verb)) {
        match provider.lacks(verb, target, &action.args) {
            None => return Ok(provider),
            Some(what) => lacking.push(format!("{} {what}", provider.provider)),
        }
    }
    Err(if lacking.is_empty() { nobody() } else { lacking.join("; ") })
}

/// Why the provider that does an action could not take it back, if so.
pub(crate) fn undo_gap(providers: &[Capability], action: &Action) -> Option<String> {
    let inverse = verb_of(action).filter(|verb| verb.holds()).and_then(Verb::inverse)?;
    let provider = doer(providers, action).ok()?;
    let args = inverse.shared_args(&action.args);
    let gap = provider.lacks(inverse, action.target.entity.entity_type, &args)?;
    Some(format!("{} {gap}", provider.provider))
}
