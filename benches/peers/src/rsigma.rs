//! The other side: `rsigma-eval`, with the routing of ours.
//!
//! Its own routing knows one category an event, so a registry record would lack the rules of `registry_event` or those
//! of `registry_set`. Here each set of logsources has an engine of its own that holds the rules we route to it: both
//! sides ask the same rules, and this side asks none in vain.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use event::Logsource;
use rsigma_eval::Engine;
use rsigma_eval::event::JsonEvent;
use rsigma_eval::fields::RuleFieldSet;
use rsigma_parser::{SigmaCollection, SigmaRule, parse_sigma_yaml};
use rules::RuleSet;
use serde_json::Value;

/// The rules that our set holds, as the other engine parses them.
pub(crate) struct Rsigma {
    /// By id.
    rules: BTreeMap<String, SigmaRule>,
    routes: HashMap<Arc<[Logsource]>, Route>,
}

/// What events with one set of logsources are asked.
pub(crate) struct Route {
    pub(crate) engine: Engine,
    /// The fields that the rules name.
    pub(crate) fields: BTreeSet<String>,
}

impl Rsigma {
    pub(crate) fn load(documents: &[(String, String)]) -> Result<Self> {
        let mut rules = BTreeMap::new();
        for (file, text) in documents {
            let parsed = parse_sigma_yaml(text).map_err(|error| anyhow!("rsigma-parser: {file}: {error}"))?;
            for rule in parsed.rules {
                let id = rule.id.as_deref().unwrap_or(&rule.title).to_ascii_lowercase();
                rules.entry(id).or_insert(rule);
            }
        }
        Ok(Self { rules, routes: HashMap::new() })
    }

    /// One engine with every rule, as an installation has it. The second value is the number of rules it refuses.
    pub(crate) fn engine_of_all(&self) -> (Engine, usize) {
        let mut engine = Engine::new();
        let refused = engine.add_rules(self.rules.values()).len();
        (engine, refused)
    }

    /// The engine for events with these logsources, with the rules that `ours` routes to them.
    pub(crate) fn route(&mut self, ours: &RuleSet, logsources: &Arc<[Logsource]>) -> Result<&Route> {
        if !self.routes.contains_key(logsources) {
            let route = self.make(ours, logsources)?;
            self.routes.insert(Arc::clone(logsources), route);
        }
        self.routes.get(logsources).ok_or_else(|| anyhow!("bug: a route that was just made is gone"))
    }

    fn make(&self, ours: &RuleSet, logsources: &[Logsource]) -> Result<Route> {
        let applies =
            |rule: &Logsource| logsources.is_empty() || logsources.iter().any(|event| rule.covers(event));
        let mut routed = Vec::new();
        for (_, info) in ours.rules().filter(|(_, info)| applies(&info.logsource)) {
            let id = info.reference.id.as_ref();
            routed.push(self.rules.get(id).ok_or_else(|| anyhow!("{id} is not among the rules of rsigma"))?);
        }
        let mut engine = Engine::new();
        if let Some((at, error)) = engine.add_rules(routed.iter().copied()).first() {
            bail!("rsigma-eval refuses the rule {:?}: {error}", routed[*at].title);
        }
        Ok(Route { engine, fields: fields(routed) })
    }
}

fn fields(rules: Vec<&SigmaRule>) -> BTreeSet<String> {
    let mut collection = SigmaCollection::new();
    collection.rules = rules.into_iter().cloned().collect();
    RuleFieldSet::collect(&collection, &[], false).names().map(str::to_owned).collect()
}

/// The ids of the rules that fire on an event.
pub(crate) fn fired(engine: &Engine, event: &Value) -> Vec<String> {
    let results = engine.evaluate(&JsonEvent::borrow(event));
    let id =
        |header: rsigma_eval::RuleHeader| header.rule_id.unwrap_or(header.rule_title).to_ascii_lowercase();
    results.into_iter().map(|result| id(result.header)).collect()
}
