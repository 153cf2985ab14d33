//! Conditions of response rules, in the Common Expression Language (CEL), and the facts they see.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, Program, Value};
use event::{
    Entity, EntityType, Incident, IncidentId, IncidentStatus, RiskClass, Role, Severity, Target, TenantId,
    Time,
};
use serde::Serialize;

use crate::select::Candidate;
use crate::verb::Verb;

/// A longer condition is no condition a person can review; the bound also bounds the parser's stack.
const CONDITION_BYTES_MAX: usize = 4_096;

/// `incident` as conditions see it. Numbers are CEL ints.
#[derive(Debug, Clone, Serialize)]
struct IncidentFacts {
    id: String,
    title: String,
    status: &'static str,
    /// 1 informational to 5 critical.
    severity: i64,
    severity_name: &'static str,
    score: i64,
    confidence: i64,
    domains: Vec<&'static str>,
    tactics: Vec<&'static str>,
    techniques: Vec<String>,
    /// Number of alerts.
    alerts: i64,
    duration_s: i64,
    sealed: bool,
}

/// A candidate as the `where` of a rule sees it, under the name of its type: `device`, `user`, `message`, `app`.
#[derive(Debug, Clone, Serialize)]
struct CandidateFacts {
    name: String,
    names: Vec<String>,
    severity: i64,
    tactics: Vec<&'static str>,
    techniques: Vec<String>,
    domains: Vec<&'static str>,
    alerts: i64,
}

/// The target of an action as the policy's conditions see it.
#[derive(Debug, Clone, Serialize)]
struct TargetFacts {
    #[serde(rename = "type")]
    entity_type: &'static str,
    name: String,
    names: Vec<String>,
}

/// An action as the policy's conditions see it.
#[derive(Debug, Clone, Serialize)]
struct ActionFacts {
    verb: &'static str,
    risk: i64,
}

/// What conditions are evaluated on; made once for an incident and all rules.
pub(crate) struct Facts {
    context: Context<'static, 'static>,
}

/// The functions of CEL. Building them costs more than evaluating a condition.
static FUNCTIONS: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled condition.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    program: Arc<Program>,
}

impl Facts {
    /// The facts of an incident; the error is a value that CEL cannot represent.
    pub(crate) fn of(incident: &Incident) -> Result<Self, String> {
        let values = |t: &EntityType| incident.entities_of(*t).map(|e| e.value.to_string()).collect();
        let entities: BTreeMap<&str, Vec<String>> =
            EntityType::ALL.iter().map(|t| (t.as_str(), values(t))).collect();
        let mut context = Context::with_env(Arc::clone(&FUNCTIONS));
        context.add_variable("incident", IncidentFacts::of(incident)).map_err(|e| e.to_string())?;
        context.add_variable("entities", entities).map_err(|e| e.to_string())?;
        Ok(Facts { context })
    }
}

impl IncidentFacts {
    fn of(incident: &Incident) -> Self {
        IncidentFacts {
            id: incident.id.to_string(),
            title: incident.title.clone(),
            status: incident.status.as_str(),
            severity: incident.severity as i64,
            severity_name: incident.severity.as_str(),
            score: i64::from(incident.score),
            confidence: i64::from(incident.confidence),
            domains: incident.domains.iter().map(|d| d.as_str()).collect(),
            tactics: incident.tactics.iter().map(|t| t.as_str()).collect(),
            techniques: incident.techniques.iter().map(|t| t.to_string()).collect(),
            alerts: i64::try_from(incident.alerts.len()).unwrap_or(i64::MAX),
            duration_s: incident.last_time.micros().saturating_sub(incident.first_time.micros()) / 1_000_000,
            sealed: incident.sealed,
        }
    }
}

impl CandidateFacts {
    fn of(candidate: &Candidate) -> Self {
        let TargetFacts { name, names, .. } = TargetFacts::of(&candidate.target);
        CandidateFacts {
            name,
            names,
            severity: candidate.severity as i64,
            tactics: candidate.tactics.iter().map(|t| t.as_str()).collect(),
            techniques: candidate.techniques.iter().map(|t| t.to_string()).collect(),
            domains: candidate.domains.iter().map(|d| d.as_str()).collect(),
            alerts: i64::from(candidate.alerts),
        }
    }
}

impl TargetFacts {
    fn of(target: &Target) -> Self {
        let entity = &target.entity;
        let own = target.identifiers.iter().filter(|e| e.entity_type == entity.entity_type);
        TargetFacts {
            entity_type: entity.entity_type.as_str(),
            name: entity.value.to_string(),
            names: own.map(|e| e.value.to_string()).collect(),
        }
    }
}

impl Condition {
    /// Compiles a condition and tries it on `facts`, so that a misspelt name or a number where a truth value
    /// belongs is found when the rule is loaded.
    pub(crate) fn compile(
        source: &str,
        facts: &Facts,
        candidate: Option<&Candidate>,
    ) -> Result<Self, String> {
        let condition = Self::parse(source)?;
        condition.evaluate(facts, candidate)?;
        Ok(condition)
    }

    /// The same for a condition on an action that is proposed.
    pub(crate) fn compile_for_action(source: &str) -> Result<Self, String> {
        let condition = Self::parse(source)?;
        let (facts, candidate) = sample(EntityType::Device)?;
        condition.holds_for(&facts, &candidate.target, Verb::HostIsolate, Verb::HostIsolate.risk())?;
        Ok(condition)
    }

    fn parse(source: &str) -> Result<Self, String> {
        if source.len() > CONDITION_BYTES_MAX {
            return Err(format!("condition has {} bytes, at most {CONDITION_BYTES_MAX}", source.len()));
        }
        let program = Program::compile(source).map_err(|e| e.to_string())?;
        Ok(Condition { program: Arc::new(program) })
    }

    /// Whether the condition holds for an action that is proposed.
    pub(crate) fn holds_for(
        &self,
        facts: &Facts,
        target: &Target,
        verb: Verb,
        risk: RiskClass,
    ) -> Result<bool, String> {
        let mut context = facts.context.new_inner_scope();
        let action = ActionFacts { verb: verb.as_str(), risk: risk as i64 };
        context.add_variable("target", TargetFacts::of(target)).map_err(|e| e.to_string())?;
        context.add_variable("action", action).map_err(|e| e.to_string())?;
        self.execute(&context)
    }

    /// Whether the condition holds.
    pub(crate) fn evaluate(&self, facts: &Facts, candidate: Option<&Candidate>) -> Result<bool, String> {
        let Some(candidate) = candidate else { return self.execute(&facts.context) };
        let mut context = facts.context.new_inner_scope();
        let name = candidate.target.entity.entity_type.as_str();
        context.add_variable(name, CandidateFacts::of(candidate)).map_err(|e| e.to_string())?;
        self.execute(&context)
    }

    fn execute(&self, context: &Context<'_, '_>) -> Result<bool, String> {
        match self.program.execute(context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("gives {:?}, not true or false", other.type_of())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// An incident and a candidate to try conditions on: every name exists, the values are unremarkable.
pub(crate) fn sample(entity_type: EntityType) -> Result<(Facts, Candidate), String> {
    let incident = Incident {
        id: IncidentId::new("i-sample"),
        tenant: TenantId::default(),
        version: 1,
        status: IncidentStatus::New,
        redirect_to: None,
        title: String::new(),
        summary: String::new(),
        severity: Severity::Medium,
        score: 50,
        confidence: 50,
        domains: Vec::new(),
        tactics: Vec::new(),
        techniques: Vec::new(),
        first_time: Time(0),
        last_time: Time(0),
        alerts: Vec::new(),
        entities: Vec::new(),
        joins: Vec::new(),
        sealed: false,
        assignee: None,
        classification: None,
        priority: Vec::new(),
        assets: Vec::new(),
        blast_radius: Default::default(),
        timeline: Vec::new(),
        links: Vec::new(),
    };
    let entity = Entity { entity_type, role: Role::Target, value: "sample".into() };
    let target = Target { identifiers: vec![entity.clone()], entity, label: None };
    let candidate = Candidate { severity: Severity::Medium, alerts: 1, ..Candidate::new(target) };
    Ok((Facts::of(&incident)?, candidate))
}

#[cfg(test)]
impl Facts {
    /// Of an incident in which nothing is remarkable.
    pub(crate) fn sample() -> Self {
        sample(EntityType::Device).unwrap().0
    }
}
