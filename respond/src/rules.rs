//! Response rules: what to do about which incidents. Format and example: `respond/packs/README.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Alert, Incident, Target};
use serde::{Deserialize, Serialize};

use crate::automation::Automation;
use crate::condition::{Condition, Facts, sample};
use crate::select::{Candidate, Selector, candidates};
use crate::span::Span;
use crate::verb::Verb;

/// More than this in one file is no rule file.
const FILE_BYTES_MAX: usize = 1 << 20;

/// A rule as written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleDocument {
    id: String,
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    author: Option<String>,
    when: String,
    target: Selector,
    #[serde(default, rename = "where")]
    target_where: Option<String>,
    action: String,
    #[serde(default)]
    args: BTreeMap<String, String>,
    #[serde(default)]
    ttl: Option<Span>,
    #[serde(default)]
    automation: Option<Automation>,
}

/// A compiled rule.
#[derive(Debug, Clone)]
pub struct ResponseRule {
    /// Id, unique among the loaded rules.
    pub id: Arc<str>,
    /// For people; becomes part of the comment at the provider.
    pub title: Arc<str>,
    /// Content hash.
    pub version: String,
    /// What it does.
    pub verb: Verb,
    /// With which arguments, defaults filled in.
    pub args: BTreeMap<String, String>,
    /// For how long, if it says.
    pub ttl: Option<Span>,
    /// The most automation that its author allows, if it says.
    pub automation: Option<Automation>,
    /// Who wrote it, if it says.
    pub author: Option<Arc<str>>,
    target: Selector,
    when: Condition,
    target_where: Option<Condition>,
}

/// A rule that did not load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRule {
    /// File.
    pub file: String,
    /// Line, from 1, where the YAML reader names one.
    pub line: Option<usize>,
    /// Rule id, if it could be read.
    pub rule: Option<String>,
    /// Why.
    pub reason: String,
}

/// What became of the documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Rules that loaded.
    pub loaded: usize,
    /// Rules that did not; the others are in force.
    pub rejected: Vec<RejectedRule>,
}

/// The loaded response rules, in order of id.
#[derive(Debug, Clone, Default)]
pub struct ResponseRules {
    rules: BTreeMap<Arc<str>, ResponseRule>,
}

/// What a rule asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) rule: &'a ResponseRule,
    pub(crate) target: Target,
}

/// A rule whose condition failed on an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFault {
    /// The rule.
    pub rule: Arc<str>,
    /// Why it could not be evaluated.
    pub reason: String,
}

impl ResponseRules {
    /// Loads rules from YAML texts (several documents a file are fine); a bad rule is reported and left out.
    pub fn load(documents: impl IntoIterator<Item = (String, String)>) -> (Self, LoadReport) {
        let mut rules = ResponseRules::default();
        let mut report = LoadReport::default();
        for (file, text) in documents {
            rules.load_file(&file, &text, &mut report);
        }
        report.loaded = rules.rules.len();
        (rules, report)
    }

    /// The rules that ship with the engine, as file names and texts.
    pub fn builtin_pack() -> Vec<(String, String)> {
        const FILES: [(&str, &str); 4] = [
            ("account_containment.yml", include_str!("../packs/account_containment.yml")),
            ("host_isolation.yml", include_str!("../packs/host_isolation.yml")),
            ("mail_and_apps.yml", include_str!("../packs/mail_and_apps.yml")),
            ("network_and_files.yml", include_str!("../packs/network_and_files.yml")),
        ];
        FILES.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
    }

    /// The loaded rules.
    pub fn rules(&self) -> impl Iterator<Item = &ResponseRule> {
        self.rules.values()
    }

    /// The rule of this id.
    pub(crate) fn get(&self, id: &str) -> Option<&ResponseRule> {
        self.rules.get(id)
    }

    fn load_file(&mut self, file: &str, text: &str, report: &mut LoadReport) {
        let mut reject = |line, rule, reason| {
            report.rejected.push(RejectedRule { file: file.to_owned(), line, rule, reason });
        };
        if text.len() > FILE_BYTES_MAX {
            return reject(None, None, format!("file has {} bytes, at most {FILE_BYTES_MAX}", text.len()));
        }
        for document in serde_yaml_ng::Deserializer::from_str(text) {
            let value = match serde_yaml_ng::Value::deserialize(document) {
                Ok(serde_yaml_ng::Value::Null) => continue,
                Ok(value) => value,
                // The reader cannot find the next document after a syntax error: the rest of the file is lost.
                Err(error) => return reject(error.location().map(|l| l.line()), None, error.to_string()),
            };
            let id = value.get("id").and_then(|id| id.as_str()).map(str::to_owned);
            let parsed = match serde_yaml_ng::from_value::<RuleDocument>(value) {
                Ok(parsed) => parsed,
                Err(error) => {
                    let line = id.as_deref().and_then(|id| line_of(text, id));
                    reject(line, id, error.to_string());
                    continue;
                }
            };
            let id = parsed.id.clone();
            if let Err(reason) = self.add(parsed) {
                reject(line_of(text, &id), Some(id), reason);
            }
        }
    }

    fn add(&mut self, document: RuleDocument) -> Result<(), String> {
        if self.rules.contains_key(&*document.id) {
            return Err("another rule has this id".to_owned());
        }
        let rule = document.compile()?;
        self.rules.insert(rule.id.clone(), rule);
        Ok(())
    }

    /// What the rules want done about an incident, and the rules that could not be evaluated on it. The alerts are
    /// asked for where a rule applies to the incident.
    pub(crate) fn evaluate<E>(
        &self,
        incident: &Incident,
        facts: &Facts,
        alerts: impl FnOnce() -> Result<Vec<Alert>, E>,
    ) -> Result<(Vec<Wanted<'_>>, Vec<RuleFault>), E> {
        let (mut wanted, mut faults) = (Vec::new(), Vec::new());
        let mut applying = Vec::new();
        for rule in self.rules.values() {
            match rule.when.evaluate(facts, None) {
                Ok(true) => applying.push(rule),
                Ok(false) => {}
                Err(reason) => faults.push(RuleFault { rule: rule.id.clone(), reason }),
            }
        }
        if !applying.is_empty() {
            let alerts = alerts()?;
            for selector in Selector::ALL {
                let rules: Vec<&ResponseRule> =
                    applying.iter().copied().filter(|rule| rule.target == selector).collect();
                if !rules.is_empty() {
                    let candidates = candidates(selector, incident, &alerts);
                    rules.iter().for_each(|rule| rule.select(facts, &candidates, &mut wanted, &mut faults));
                }
            }
        }
        Ok((wanted, faults))
    }
}

impl ResponseRule {
    fn select<'a>(
        &'a self,
        facts: &Facts,
        candidates: &[Candidate],
        wanted: &mut Vec<Wanted<'a>>,
        faults: &mut Vec<RuleFault>,
    ) {
        for candidate in candidates {
            match self.target_where.as_ref().map_or(Ok(true), |c| c.evaluate(facts, Some(candidate))) {
                Ok(true) => wanted.push(Wanted { rule: self, target: candidate.target.clone() }),
                Ok(false) => {}
                Err(reason) => faults.push(RuleFault { rule: self.id.clone(), reason }),
            }
        }
    }
}

impl RuleDocument {
    fn compile(self) -> Result<ResponseRule, String> {
        if self.id.trim().is_empty() || self.title.trim().is_empty() {
            return Err("id and title must not be empty".to_owned());
        }
        let can = |v: &Verb| v.applies() && !v.is_consequence() && v.takes(self.target.entity_type());
        let verb = Verb::from_name(&self.action).filter(can).ok_or_else(|| {
            let names: Vec<_> = Verb::ALL.iter().filter(|v| can(v)).map(|v| v.as_str()).collect();
            let (action, target) = (&self.action, self.target.as_str());
            format!("action {action:?} cannot be done to {target}, a rule may ask for: {}", names.join(", "))
        })?;
        if self.ttl.is_some() && !verb.holds() {
            return Err(format!("ttl: {verb} is done once and leaves no effect that could end"));
        }
        let args = verb.complete_args(&self.args)?;
        let version = self.version();
        let (facts, candidate) = sample(self.target.entity_type())?;
        let in_field = |field: &'static str| move |e: String| format!("{field}: {e}");
        let when = Condition::compile(&self.when, &facts, None).map_err(in_field("when"))?;
        let target_where = self.target_where.as_deref();
        let target_where = target_where.map(|source| Condition::compile(source, &facts, Some(&candidate)));
        Ok(ResponseRule {
            id: self.id.into(),
            title: self.title.into(),
            version,
            verb,
            args,
            ttl: self.ttl,
            automation: self.automation,
            author: self.author.map(Into::into),
            target: self.target,
            when,
            target_where: target_where.transpose().map_err(in_field("where"))?,
        })
    }

    fn version(&self) -> String {
        let fields = [&self.when, &self.action, self.target_where.as_deref().unwrap_or_default()];
        let settings = format!("{:?} {:?} {:?} {:?}", self.target, self.args, self.ttl, self.automation);
        let mut hasher = blake3::Hasher::new();
        for field in fields.into_iter().map(str::as_bytes).chain([settings.as_bytes()]) {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// The line on which a document names its id; of two with one id, the later, which is the one refused.
fn line_of(text: &str, id: &str) -> Option<usize> {
    let names_it = |line: &str| {
        let value = line.trim_start_matches("---").trim().strip_prefix("id:").map(str::trim);
        value.is_some_and(|v| v.trim_matches(['"', '\'']) == id)
    };
    text.lines().enumerate().filter(|(_, line)| names_it(line)).last().map(|(i, _)| i + 1)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::testing::{alert, incident};
    use event::Role;

    const GOOD: &str =
        "id: r1\ntitle: T\nwhen: incident.confidence >= 80\ntarget: attacked_devices\naction: host.isolate\n";

    fn load(text: &str) -> (ResponseRules, LoadReport) {
        ResponseRules::load([("pack.yml".to_owned(), text.to_owned())])
    }

    #[test]
    fn the_builtin_pack_loads_whole() {
        let (rules, report) = ResponseRules::load(ResponseRules::builtin_pack());
        assert_eq!(report.rejected, []);
        assert!(rules.rules().count() >= 3);
    }

    #[test]
    fn bad_rules_are_named_and_the_others_load() {
        let bad = [
            GOOD.replace("r1", "syntax").replace(">= 80", ">= (80"),
            GOOD.replace("r1", "unknown_name").replace("incident.confidence", "incident.confidenc"),
            GOOD.replace("r1", "no_variable").replace("incident.confidence", "device.alerts"),
            GOOD.replace("r1", "not_bool").replace(" >= 80", " + 80"),
            GOOD.replace("r1", "bad_verb").replace("host.isolate", "host.explode"),
            GOOD.replace("r1", "release").replace("host.isolate", "host.release"),
            GOOD.replace("r1", "bad_field") + "colour: red\n",
            GOOD.replace("r1", "bad_ttl") + "ttl: soon\n",
            GOOD.replace("r1", "bad_arg") + "args: {isolation_type: total}\n",
            GOOD.replace("r1", "bad_where") + "where: device.nme == 'x'\n",
            GOOD.to_owned(),
        ];
        let text = format!("{GOOD}---\n{}", bad.join("---\n"));
        let (rules, report) = load(&text);
        assert_eq!(rules.rules().count(), 1);
        insta::assert_debug_snapshot!(report.rejected);
    }

    #[test]
    fn broken_yaml_names_file_and_line() {
        let (_, report) = load("id: r1\ntitle: [\n");
        assert_eq!(report.rejected.len(), 1);
        assert!(report.rejected[0].line.is_some(), "{report:?}");
        let long = format!("{GOOD}# {}", "x".repeat(FILE_BYTES_MAX));
        assert_eq!(load(&long).1.rejected[0].file, "pack.yml");
    }

    #[test]
    fn conditions_see_the_incident_its_entities_and_the_device() {
        let alerts = [
            alert("a1", "attack.credential-access", &[(Role::Device, "ws-01")]),
            alert("a2", "attack.execution", &[(Role::Device, "ws-02")]),
        ];
        let incident = incident(&alerts);
        let wanted = |when: &str, target_where: &str| {
            let rule = GOOD.replace("incident.confidence >= 80", &format!("'{when}'"));
            let (rules, report) = load(&format!("{rule}where: '{target_where}'\n"));
            assert_eq!(report.rejected, [], "{when} {target_where}");
            let given = || Ok::<_, Infallible>(alerts.to_vec());
            let Ok((wanted, faults)) = rules.evaluate(&incident, &Facts::of(&incident).unwrap(), given);
            assert_eq!(faults, []);
            wanted.iter().map(|w| w.target.entity.value.to_string()).collect::<Vec<_>>()
        };
        let severe = r#"incident.severity >= 4 && incident.alerts == 2 && "endpoint" in incident.domains"#;
        assert_eq!(wanted(severe, "true"), ["ws-01", "ws-02"]);
        assert_eq!(wanted(severe, r#""credential_access" in device.tactics"#), ["ws-01"]);
        assert_eq!(
            wanted(r#"size(entities.device) == 2 && size(entities.mailbox) == 0"#, "device.alerts >= 1")
                .len(),
            2
        );
        assert_eq!(wanted(r#"incident.techniques.exists(t, t.startsWith("T1003"))"#, "true").len(), 0);
        assert_eq!(wanted("size(incident.domains) > 7", "true").len(), 0);
    }

    #[test]
    fn a_condition_that_fails_on_an_incident_is_a_fault_not_a_match() {
        let alerts = [alert("a1", "attack.execution", &[(Role::Device, "ws-01")])];
        let text =
            GOOD.replace("incident.confidence >= 80", "incident.alerts < 1 || 1 / (incident.alerts - 1) > 0");
        let (rules, _) = load(&text);
        let never = || -> Result<Vec<Alert>, Infallible> { panic!("no rule applies") };
        let incident = incident(&alerts);
        let Ok((wanted, faults)) = rules.evaluate(&incident, &Facts::of(&incident).unwrap(), never);
        assert!(wanted.is_empty());
        assert_eq!(&*faults[0].rule, "r1");
    }
}
