//! What an incident means: its name, its story in plain words, how grave and how certain it is.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use event::{
    Alert, AlertId, BlastRadius, Domain, Entity, EntityType, Incident, IncidentId, IncidentStatus,
    PriorityPart, Severity, Tactic, TenantId,
};

use crate::assets::assets;
use crate::cast::{Cast, Toward};
use crate::fixed::ONE;
use crate::keyed::Keyed;
use crate::names::Names;
use crate::parameters::{Confidence, File, Priority};
use crate::timeline::timeline;
use crate::words::{
    affected, capitalised, clock_after, counted, headline, sentence_end_cut, span, tactic, tactic_list,
};

/// Entities listed in an incident; the graph and the alerts have them all.
const ENTITIES_MAX: usize = 200;

/// The id of an incident, from its root: its first alert by event time, then id.
pub(crate) fn incident_id(tenant: &TenantId, root: &AlertId) -> IncidentId {
    IncidentId::derive(&[tenant.as_str().as_bytes(), root.as_str().as_bytes()])
}

/// Everything that follows from the alerts of an incident, in order of event time.
pub(crate) struct Story<'a> {
    alerts: &'a [&'a Keyed],
    names: Names<'a>,
    /// The alerts without informational ones, which are context and no steps of an attack; all where there are no
    /// others. Never empty.
    steps: Vec<&'a Alert>,
    /// Each tactic of the steps with the first alert of it, by time, then along the kill chain.
    stages: Vec<(Tactic, &'a Alert)>,
    entities: Vec<(Entity, u32)>,
    cast: Cast,
    domains: Vec<Domain>,
    gravest: Severity,
}

/// Stages that a summary tells one by one; the others are named.
const STAGES_TOLD: usize = 6;

impl<'a> Story<'a> {
    pub(crate) fn of(alerts: &'a [&'a Keyed], names: Names<'a>) -> Self {
        let mut domains: Vec<Domain> = alerts.iter().map(|a| a.domain).collect();
        domains.sort_unstable();
        domains.dedup();
        let steps = steps(alerts);
        Self {
            alerts,
            stages: stages(&steps),
            entities: entities(alerts, &names),
            cast: Cast::of(&steps, &names),
            names,
            steps,
            domains,
            gravest: alerts.iter().map(|a| a.severity).max().unwrap_or(Severity::Informational),
        }
    }

    /// Fills everything but identity, version, joins and standing.
    pub(crate) fn tell(self, incident: &mut Incident, file: &File) {
        let place = self.place();
        incident.title = self.title() + &place;
        (incident.assets, incident.blast_radius) = assets(self.alerts, &self.names);
        incident.summary = self.summary(&place, &incident.blast_radius);
        incident.severity = self.severity();
        incident.priority = self.priority(&file.priority);
        incident.score = incident.priority.iter().map(|part| part.points).sum::<u32>().min(100);
        incident.confidence = self.confidence(&file.confidence, incident);
        incident.techniques = self.techniques();
        incident.tactics = self.tactics();
        incident.timeline = timeline(self.alerts, &self.cast, &self.names);
        incident.domains = self.domains;
        incident.entities = self.entities;
    }

    fn count(&self, entity_type: EntityType) -> usize {
        self.entities.iter().filter(|(e, _)| e.entity_type == entity_type).count()
    }

    fn tactics(&self) -> Vec<Tactic> {
        self.stages.iter().map(|(tactic, _)| *tactic).collect()
    }

    /// What happened. A story of one rule keeps that rule's title.
    fn title(&self) -> String {
        match (self.only_rule(), self.steps.len()) {
            (Some(rule), 1) => rule.to_owned(),
            (Some(rule), times) => format!("{rule} (x{times})"),
            (None, steps) if self.stages.is_empty() => {
                format!("{} and {}", self.gravest_title(), counted(steps - 1, "more alert", "more alerts"))
            }
            (None, _) => capitalised(&stage_range(&self.tactics())),
        }
    }

    /// Where, who and against whom.
    fn place(&self) -> String {
        let is_attack = self.only_rule().is_none() && !self.stages.is_empty();
        self.cast.place(if is_attack { Toward::Attack } else { Toward::Rule })
    }

    /// The title where all steps are of one rule: their own where they share it, else the rule's.
    fn only_rule(&self) -> Option<&str> {
        let (first, others) = self.steps.split_first()?;
        let is_one = others.iter().all(|a| a.rule.id == first.rule.id);
        let share_title = others.iter().all(|a| a.title == first.title);
        is_one.then(|| sentence_end_cut(if share_title { &first.title } else { &first.rule.title }))
    }

    fn gravest_title(&self) -> &str {
        self.steps.iter().find(|a| a.severity == self.gravest).map_or("", |a| headline(a))
    }

    fn summary(&self, place: &str, radius: &BlastRadius) -> String {
        let (Some(first), Some(last), Some(start)) = (self.alerts.first(), self.alerts.last(), self.start())
        else {
            return String::new();
        };
        if self.alerts.len() == 1 {
            return format!(
                "One {} alert of {} {}: {}{place}.",
                first.severity,
                first.product,
                span(first.time, first.time),
                headline(first),
            );
        }
        format!(
            "{} alerts{}{place} {}, in {}. It began with \"{}\"{}.{}{}",
            self.alerts.len(),
            self.context(),
            span(first.time, last.time),
            self.domains.iter().map(|d| d.as_str()).collect::<Vec<_>>().join(", "),
            headline(start),
            self.opening(start),
            self.course(start),
            match affected(radius) {
                none if none.is_empty() => none,
                some => format!(" Affected: {some}."),
            },
        )
    }

    /// The first step; of those at one time, the one of the first stage.
    fn start(&self) -> Option<&'a Alert> {
        let first = *self.steps.first()?;
        let of_stage = self.stages.first().map(|(_, alert)| *alert);
        Some(of_stage.filter(|alert| alert.time == first.time).unwrap_or(first))
    }

    /// ` (3 of them informational)`.
    fn context(&self) -> String {
        match self.alerts.len() - self.steps.len() {
            0 => String::new(),
            n => format!(" ({n} of them informational)"),
        }
    }

    /// The stages that the first step stands for: ` (initial access and execution)`.
    fn opening(&self, start: &Alert) -> String {
        let own = self.stages.iter().filter(|(_, alert)| alert.id == start.id);
        match own.map(|(tactic, _)| *tactic).collect::<Vec<_>>().as_slice() {
            [] => String::new(),
            tactics => format!(" ({})", tactic_list(tactics)),
        }
    }

    /// The stages after the first step, each alert once: ` Persistence and discovery at 09:08:20: "...".`
    fn course(&self, start: &Alert) -> String {
        let mut chapters: Vec<(&Alert, Vec<Tactic>)> = Vec::new();
        for (tactic, alert) in self.stages.iter().filter(|(_, alert)| alert.id != start.id) {
            match chapters.iter_mut().find(|(known, _)| known.id == alert.id) {
                Some((_, tactics)) => tactics.push(*tactic),
                None => chapters.push((alert, vec![*tactic])),
            }
        }
        let rest = chapters.split_off(chapters.len().min(STAGES_TOLD));
        let mut text = String::new();
        for (alert, tactics) in &chapters {
            let (stage, at) =
                (capitalised(&tactic_list(tactics)), clock_after(self.alerts[0].time, alert.time));
            text.push_str(&format!(" {stage} at {at}: \"{}\".", headline(alert)));
        }
        let rest: Vec<Tactic> = rest.into_iter().flat_map(|(_, tactics)| tactics).collect();
        if !rest.is_empty() {
            let stages = counted(rest.len(), "more stage", "more stages");
            text.push_str(&format!(" Then {stages}: {}.", tactic_list(&rest)));
        }
        text
    }

    /// The gravest alert; one step more where the story is broad: three domains, or five stages.
    fn severity(&self) -> Severity {
        let is_broad = self.domains.len() >= 3 || self.stages.len() >= 5;
        match self.gravest {
            Severity::Low if is_broad => Severity::Medium,
            Severity::Medium if is_broad => Severity::High,
            Severity::High if is_broad => Severity::Critical,
            other => other,
        }
    }

    /// The parts that `parameters.yml` documents under `priority`.
    fn priority(&self, priority: &Priority) -> Vec<PriorityPart> {
        let assets = self.count(EntityType::Device) + self.count(EntityType::User);
        let (stages, domains, alerts) = (self.stages.len(), self.domains.len(), self.alerts.len());
        let capped = |points: u32, n: usize, max: u32| points.saturating_mul(n.min(100) as u32).min(max);
        let severity = priority.severity.of(self.gravest);
        let doublings = alerts.max(1).ilog2() as usize;
        // What gives no points is not put into words.
        let parts: [(&str, u32, &dyn Fn() -> String); 5] = [
            ("severity", severity, &|| format!("the gravest alert is {}", self.gravest)),
            ("tactics", capped(priority.tactic, stages, priority.tactic_max), &|| {
                counted(stages, "stage", "stages")
            }),
            ("domains", capped(priority.domain, domains.saturating_sub(1), priority.domain_max), &|| {
                counted(domains, "domain", "domains")
            }),
            ("assets", capped(priority.asset, assets, priority.asset_max), &|| {
                counted(assets, "device or user", "devices and users")
            }),
            ("alerts", capped(priority.alert_doubling, doublings, priority.alert_doubling_max), &|| {
                counted(alerts, "alert", "alerts")
            }),
        ];
        let given = parts.into_iter().filter(|(_, points, _)| *points > 0);
        given
            .map(|(part, points, because)| PriorityPart { part: part.to_owned(), points, because: because() })
            .collect()
    }

    /// As `parameters.yml` documents under `confidence`.
    fn confidence(&self, weights: &Confidence, incident: &Incident) -> u32 {
        let rules: BTreeSet<&str> = self.alerts.iter().map(|a| &*a.rule.id).collect();
        let agreeing = (weights.rule * (rules.len() as u32 - 1)).min(weights.rule_max);
        let domains = (weights.domain * self.domains.len().saturating_sub(1) as u32).min(weights.domain_max);
        let certain = (weights.severity.of(self.gravest) + agreeing + domains).min(99);
        let mut weights: Vec<u32> = incident.joins.iter().map(|j| j.weight_ppm).collect();
        weights.sort_unstable();
        // The middle join: one doubtful leaf does not make the core of a broad incident doubtful.
        let middle = weights.get(weights.len() / 2).copied().unwrap_or(ONE).min(ONE);
        certain * (ONE / 2 + middle / 2) / ONE
    }

    fn techniques(&self) -> Vec<Arc<str>> {
        let all: BTreeSet<&Arc<str>> = self.alerts.iter().flat_map(|a| a.techniques()).collect();
        all.into_iter().cloned().collect()
    }
}

/// An incident without its meaning.
pub(crate) fn blank(id: IncidentId, tenant: &TenantId, alerts: &[&Keyed]) -> Incident {
    let root = alerts[0];
    Incident {
        id,
        tenant: tenant.clone(),
        version: 0,
        status: IncidentStatus::New,
        redirect_to: None,
        title: String::new(),
        summary: String::new(),
        severity: Severity::Informational,
        score: 0,
        priority: Vec::new(),
        confidence: 0,
        domains: Vec::new(),
        tactics: Vec::new(),
        techniques: Vec::new(),
        first_time: root.time,
        last_time: alerts.iter().map(|a| a.time).max().unwrap_or(root.time),
        alerts: alerts.iter().map(|a| a.id.clone()).collect(),
        entities: Vec::new(),
        assets: Vec::new(),
        blast_radius: BlastRadius::default(),
        timeline: Vec::new(),
        joins: Vec::new(),
        sealed: false,
        assignee: None,
        classification: None,
        links: Vec::new(),
    }
}

/// Entities by the name people know them by, with the number of alerts that name them; most first.
fn entities(alerts: &[&Keyed], names: &Names<'_>) -> Vec<(Entity, u32)> {
    let named = alerts.iter().enumerate().flat_map(|(i, alert)| alert.entities.iter().map(move |e| (i, e)));
    let mut named: Vec<(Arc<str>, &Entity, usize)> = named.map(|(i, e)| (names.known(e), e, i)).collect();
    named.sort_by(|(a, e, _), (b, f, _)| (e.entity_type, a).cmp(&(f.entity_type, b)));
    let of_one = named.chunk_by(|(a, e, _), (b, f, _)| e.entity_type == f.entity_type && a == b);
    let mut entities: Vec<(Entity, u32)> = of_one
        .map(|named| {
            let (value, first, _) = &named[0];
            let alerts = named.chunk_by(|a, b| a.2 == b.2).count() as u32;
            (Entity { value: Arc::clone(value), ..(*first).clone() }, alerts)
        })
        .collect();
    entities.sort_by_key(|(_, alerts)| Reverse(*alerts));
    entities.truncate(ENTITIES_MAX);
    entities
}

fn steps<'a>(alerts: &[&'a Keyed]) -> Vec<&'a Alert> {
    let all = || alerts.iter().map(|alert| &***alert);
    let telling: Vec<&Alert> = all().filter(|a| a.severity > Severity::Informational).collect();
    if telling.is_empty() { all().collect() } else { telling }
}

fn stages<'a>(steps: &[&'a Alert]) -> Vec<(Tactic, &'a Alert)> {
    let mut stages: Vec<(Tactic, &Alert)> = Vec::new();
    for alert in steps {
        for tactic in alert.tactics() {
            if !stages.iter().any(|(known, _)| *known == tactic) {
                stages.push((tactic, alert));
            }
        }
    }
    stages.sort_by_key(|(tactic, alert)| (alert.time, *tactic));
    stages
}

/// `execution and discovery`, `execution, discovery and impact`, `initial access to impact in 6 stages`.
fn stage_range(stages: &[Tactic]) -> String {
    match stages {
        [first, .., last] if stages.len() > 3 => {
            format!("{} to {} in {} stages", tactic(*first), tactic(*last), stages.len())
        }
        few => tactic_list(few),
    }
}
