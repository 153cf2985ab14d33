//! What `incidents`, `actions` and `audit` read: a data directory or a running server, with one answer.

use std::path::Path;

use anyhow::{Context, bail};
use correlate::{Correlator, Parameters};
use event::{
    Action, ActionId, Alert, AlertId, Campaign, EntityRisk, Explanation, Incident, IncidentGraph, IncidentId,
    Suggestion, TenantId,
};
use serde::de::DeserializeOwned;
use storage::{ActionFilter, CompletenessFilter, Cursor, IncidentFilter, IncidentSort, RiskFilter, StateDb};

use super::client::{Client, segment};
use crate::api::{CompletenessView, ExplanationResponse, InputView, Paged, parse_list};
use crate::cli::{RiskArgs, TargetArgs};
use crate::output::note;

/// A data directory or a running server.
pub(crate) enum Reader {
    Local { state: StateDb, tenant: TenantId },
    Remote(Client),
}

/// What `incidents list` asks for, in the words of the API.
#[derive(Default)]
pub(crate) struct IncidentQuery {
    pub(crate) status: Option<String>,
    pub(crate) severity: Option<String>,
    pub(crate) domains: Vec<String>,
    pub(crate) limit: usize,
}

impl Reader {
    pub(crate) fn open(target: &TargetArgs) -> anyhow::Result<Self> {
        match &target.data_dir {
            Some(dir) => {
                Ok(Reader::Local { state: open_state(dir)?, tenant: TenantId::new(target.tenant.as_str()) })
            }
            None => Ok(Reader::Remote(Client::new(target)?)),
        }
    }

    pub(crate) async fn incidents(&self, query: &IncidentQuery) -> anyhow::Result<Vec<Incident>> {
        let first = query.domains.first();
        let mut incidents = match self {
            Reader::Local { state, tenant } => {
                let filter = filter(query)?;
                state.incidents_page(tenant, &filter, None, query.limit.min(1_000))?.items
            }
            Reader::Remote(client) => {
                let mut params = vec![("limit", query.limit.min(1_000).to_string())];
                params.extend(query.status.clone().map(|v| ("status", v)));
                params.extend(query.severity.clone().map(|v| ("severity", v)));
                params.extend(first.cloned().map(|v| ("domain", v)));
                client.get::<Paged<Incident>>("/api/v1/incidents", &params).await?.items
            }
        };
        incidents.retain(|i| query.domains.iter().all(|d| i.domains.iter().any(|own| own.as_str() == d)));
        Ok(incidents)
    }

    pub(crate) async fn incident(&self, id: &str) -> anyhow::Result<Incident> {
        match self {
            Reader::Local { state, tenant } => {
                state.incident(tenant, &IncidentId::new(id))?.with_context(|| format!("no incident {id:?}"))
            }
            Reader::Remote(client) => client.get(&format!("/api/v1/incidents/{}", segment(id)), &[]).await,
        }
    }

    pub(crate) async fn alerts_of(&self, id: &str) -> anyhow::Result<Vec<Alert>> {
        match self {
            Reader::Local { state, tenant } => Ok(state.alerts_of(tenant, &IncidentId::new(id))?),
            Reader::Remote(client) => {
                let path = format!("/api/v1/incidents/{}/alerts", segment(id));
                Ok(client.get::<Paged<Alert>>(&path, &[]).await?.items)
            }
        }
    }

    pub(crate) async fn graph(
        &self,
        id: &str,
        between: Option<(&str, &str)>,
    ) -> anyhow::Result<IncidentGraph> {
        match self {
            Reader::Local { state, .. } => {
                let incident = self.incident(id).await?;
                Ok(correlator(state)?.graph(&incident.id, between)?)
            }
            Reader::Remote(client) => {
                let ends = between.into_iter().flat_map(|(a, b)| [("a", a.to_owned()), ("b", b.to_owned())]);
                let query: Vec<(&str, String)> = ends.collect();
                client.get(&format!("/api/v1/incidents/{}/graph", segment(id)), &query).await
            }
        }
    }

    pub(crate) async fn risks(&self, args: &RiskArgs) -> anyhow::Result<Vec<EntityRisk>> {
        match self {
            Reader::Local { state, tenant } => {
                let types = parse_list(args.types.as_deref().unwrap_or_default()).context("--type")?;
                let level = args.level.as_deref().map(one_of).transpose().context("--level")?;
                let filter = RiskFilter { types, level_min: level, q: args.query.clone() };
                Ok(state.risks_page(tenant, &filter, None, args.limit)?.items)
            }
            Reader::Remote(client) => {
                let mut query = vec![("limit", args.limit.to_string())];
                let given = [("type", &args.types), ("level", &args.level), ("q", &args.query)];
                query.extend(given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
                Ok(client.get::<Paged<EntityRisk>>("/api/v1/risk", &query).await?.items)
            }
        }
    }

    pub(crate) async fn explain(
        &self,
        id: &str,
        pair: Option<(&str, &str)>,
    ) -> anyhow::Result<Vec<Explanation>> {
        let explanations = match self {
            Reader::Local { state, tenant } => {
                let incident = self.incident(id).await?;
                for id in pair.iter().flat_map(|(a, b)| [*a, *b]) {
                    state.alert(tenant, &AlertId::new(id))?.with_context(|| format!("no alert {id:?}"))?;
                }
                let pair = pair.map(|(a, b)| (AlertId::new(a), AlertId::new(b)));
                crate::engine::explain(&correlator(state)?, &incident, pair.as_ref())
            }
            Reader::Remote(client) => {
                let mut params = Vec::new();
                if let Some((a, b)) = pair {
                    params.extend([("a", a.to_owned()), ("b", b.to_owned())]);
                }
                let path = format!("/api/v1/incidents/{}/explanation", segment(id));
                client.get::<ExplanationResponse>(&path, &params).await?.explanations
            }
        };
        if explanations.is_empty() {
            note(&nothing_to_explain(&self.incident(id).await?, pair));
        }
        Ok(explanations)
    }

    pub(crate) async fn inputs(&self, id: &str) -> anyhow::Result<Vec<InputView>> {
        match self {
            Reader::Local { state, .. } => {
                let inputs = correlator(state)?.inputs_about(&IncidentId::new(id));
                Ok(inputs.iter().map(InputView::of).collect())
            }
            Reader::Remote(client) => {
                let path = format!("/api/v1/incidents/{}/inputs", segment(id));
                Ok(client.get::<Paged<InputView>>(&path, &[]).await?.items)
            }
        }
    }

    pub(crate) async fn suggestions(
        &self,
        incident: Option<&str>,
        limit: usize,
    ) -> anyhow::Result<Vec<Suggestion>> {
        match self {
            Reader::Local { state, tenant } => {
                let incident = incident.map(IncidentId::new);
                Ok(state.suggestions_page(tenant, incident.as_ref(), None, limit)?.items)
            }
            Reader::Remote(client) => {
                let query = about(incident, limit);
                Ok(client.get::<Paged<Suggestion>>("/api/v1/suggestions", &query).await?.items)
            }
        }
    }

    pub(crate) async fn campaigns(
        &self,
        incident: Option<&str>,
        limit: usize,
    ) -> anyhow::Result<Vec<Campaign>> {
        match self {
            Reader::Local { state, tenant } => {
                let incident = incident.map(IncidentId::new);
                Ok(state.campaigns_page(tenant, incident.as_ref(), None, limit)?.items)
            }
            Reader::Remote(client) => {
                let query = about(incident, limit);
                Ok(client.get::<Paged<Campaign>>("/api/v1/campaigns", &query).await?.items)
            }
        }
    }

    pub(crate) async fn completeness(
        &self,
        rule: Option<&str>,
        faulty: bool,
        limit: usize,
    ) -> anyhow::Result<Vec<CompletenessView>> {
        match self {
            Reader::Local { state, tenant } => {
                let rule = rule.map(str::to_owned);
                let filter = CompletenessFilter { rule, is_faulty: faulty, ..CompletenessFilter::default() };
                let rows = state.completeness(tenant, &filter, limit)?;
                Ok(rows.into_iter().map(CompletenessView::from).collect())
            }
            Reader::Remote(client) => {
                let mut params = vec![("limit", limit.to_string()), ("faulty", faulty.to_string())];
                params.extend(rule.map(|rule| ("rule", rule.to_owned())));
                Ok(client.get::<Paged<CompletenessView>>("/api/v1/completeness", &params).await?.items)
            }
        }
    }

    pub(crate) async fn actions(
        &self,
        state_name: Option<&str>,
        limit: usize,
    ) -> anyhow::Result<Vec<Action>> {
        match self {
            Reader::Local { state, tenant } => {
                let states = parse_list(state_name.unwrap_or_default()).context("--state")?;
                let filter = ActionFilter { states, ..ActionFilter::default() };
                Ok(state.actions_page(tenant, &filter, None, limit.min(1_000))?.items)
            }
            Reader::Remote(client) => {
                let mut params = vec![("limit", limit.min(1_000).to_string())];
                params.extend(state_name.map(|v| ("state", v.to_owned())));
                Ok(client.get::<Paged<Action>>("/api/v1/actions", &params).await?.items)
            }
        }
    }

    /// Every action of a tenant, or of one incident of it.
    pub(crate) async fn every_action(
        &self,
        tenant: &TenantId,
        incident: Option<&str>,
    ) -> anyhow::Result<Vec<Action>> {
        const PAGE: usize = 1_000;
        let mut actions = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page: Paged<Action> = match self {
                Reader::Local { state, .. } => {
                    let filter =
                        ActionFilter { incident: incident.map(IncidentId::new), ..ActionFilter::default() };
                    let from = cursor.as_deref().map(Cursor::parse).transpose()?;
                    state.actions_page(tenant, &filter, from.as_ref(), PAGE)?.into()
                }
                Reader::Remote(client) => {
                    let mut params = vec![("tenant", tenant.to_string()), ("limit", PAGE.to_string())];
                    params.extend(incident.map(|id| ("incident", id.to_owned())));
                    params.extend(cursor.take().map(|cursor| ("cursor", cursor)));
                    client.get_of_all("/api/v1/actions", &params).await?
                }
            };
            actions.extend(page.items);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(actions),
            }
        }
    }

    pub(crate) async fn action(&self, id: &str) -> anyhow::Result<Action> {
        match self {
            Reader::Local { state, tenant } => {
                state.action(tenant, &ActionId::new(id))?.with_context(|| format!("no action {id:?}"))
            }
            Reader::Remote(client) => client.get(&format!("/api/v1/actions/{}", segment(id)), &[]).await,
        }
    }

    /// Every entry of the audit chain as JSON, in order.
    pub(crate) async fn audit(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        const PAGE: usize = 1_000;
        let mut entries = Vec::new();
        let mut from = 0;
        loop {
            let (page, next) = match self {
                Reader::Local { state, .. } => {
                    let rows = state.audit(None, from, PAGE)?;
                    let next = (rows.len() == PAGE).then(|| rows.last().map(|r| r.seq + 1)).flatten();
                    (rows.iter().map(|r| serde_json::from_str(&r.body)).collect::<Result<Vec<_>, _>>()?, next)
                }
                Reader::Remote(client) => {
                    let page: Paged<serde_json::Value> =
                        client.get_of_all("/api/v1/audit", &[("cursor", from.to_string())]).await?;
                    (page.items, page.next.and_then(|n| n.parse().ok()))
                }
            };
            entries.extend(page);
            match next {
                Some(next) => from = next,
                None => return Ok(entries),
            }
        }
    }
}

/// The query for what is about an incident, or about all.
fn about(incident: Option<&str>, limit: usize) -> Vec<(&'static str, String)> {
    let mut params = vec![("limit", limit.to_string())];
    params.extend(incident.map(|id| ("incident", id.to_owned())));
    params
}

/// The state database of a data directory, beside whoever writes it.
pub(crate) fn open_state(dir: &Path) -> anyhow::Result<StateDb> {
    require_data_dir(dir)?;
    Ok(StateDb::open_read_only(crate::engine::state_path(dir))?)
}

/// Refuses a directory without a state database, before an error names a file that the user never heard of.
pub(crate) fn require_data_dir(dir: &Path) -> anyhow::Result<()> {
    if crate::engine::state_path(dir).is_file() {
        return Ok(());
    }
    bail!("{} is no data directory of asterism: name that of a run, replay or demo", dir.display())
}

/// Why there is no join that could be explained.
fn nothing_to_explain(incident: &Incident, pair: Option<(&str, &str)>) -> String {
    match (pair, incident.alerts.len()) {
        (Some((a, b)), _) => format!("the correlation state does not hold {a} and {b}"),
        (None, 1) => format!("{} has one alert: there is no join to explain", incident.id),
        (None, alerts) => format!("{} has {alerts} alerts, and no join of them is held", incident.id),
    }
}

/// The correlator as of the last snapshot.
fn correlator(state: &StateDb) -> anyhow::Result<Correlator> {
    let snapshot =
        state.load_snapshot()?.context("no snapshot yet: wait for one, or ask the running server")?;
    let parameters = match state.meta(crate::engine::PARAMETERS)? {
        Some(text) => Parameters::parse(&text)?,
        None => Parameters::builtin()?,
    };
    Ok(Correlator::restore(parameters, &snapshot.correlator)?)
}

fn filter(query: &IncidentQuery) -> anyhow::Result<IncidentFilter> {
    let status = parse_list(query.status.as_deref().unwrap_or_default()).context("--status")?;
    let severity = query.severity.as_deref().map(one_of).transpose().context("--severity")?;
    let domain = query.domains.first().map(|domain| one_of(domain)).transpose().context("--domain")?;
    Ok(IncidentFilter {
        status,
        severity_min: severity,
        domain,
        sort: IncidentSort::Score,
        ..IncidentFilter::default()
    })
}

/// A value by its name in JSON; the error lists those that there are.
fn one_of<T: DeserializeOwned>(name: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::Value::String(name.to_owned()))
}
