//! Tells what happens while it happens, and at the end how well the incidents match the stories.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use event::{Action, ActionState, Domain, Incident, IncidentStatus, TenantId};
use simulate::{NOISE, Score};
use storage::{ActionFilter, AlertFilter, IncidentFilter, IncidentSort, OutboxRow, StateDb};
use tokio_util::sync::CancellationToken;

use super::feed::TruthRow;
use super::{seconds, truth_path};
use crate::output::{note, shorten};

/// The outbox is looked at this often.
const INTERVAL: Duration = Duration::from_millis(250);
/// Rows of the outbox read at once.
const ROWS: usize = 500;
/// An incident is told once it has this many alerts: single alerts are for the list.
const ALERTS_TOLD: usize = 3;

/// Follows the outbox and speaks to the terminal.
pub(super) struct Narrator {
    state: StateDb,
    begun: Instant,
    after: i64,
    /// Domains of the incidents that were told.
    told: HashMap<String, BTreeSet<Domain>>,
}

impl Narrator {
    pub(super) fn new(state: StateDb, begun: Instant) -> anyhow::Result<Self> {
        let after = state.outbox_head()?;
        Ok(Self { state, begun, after, told: HashMap::new() })
    }

    pub(super) async fn run(mut self, stopping: CancellationToken) -> anyhow::Result<()> {
        loop {
            let rows = self.state.outbox(None, self.after, ROWS)?;
            for row in &rows {
                self.after = row.seq;
                self.tell(row)?;
            }
            if rows.is_empty() {
                tokio::select! {
                    () = stopping.cancelled() => return Ok(()),
                    () = tokio::time::sleep(INTERVAL) => {}
                }
            }
        }
    }

    fn tell(&mut self, row: &OutboxRow) -> anyhow::Result<()> {
        match row.kind.as_str() {
            "incident" => {
                let incident: Incident =
                    serde_json::from_str(&row.body).context("an incident of the outbox")?;
                self.incident(&incident);
            }
            "action" => {
                let action: Action = serde_json::from_str(&row.body).context("an action of the outbox")?;
                self.action(&action);
            }
            _ => {}
        }
        Ok(())
    }

    fn incident(&mut self, incident: &Incident) {
        if incident.alerts.len() < ALERTS_TOLD || incident.status == IncidentStatus::Redirected {
            return;
        }
        let told = self.told.entry(incident.id.to_string()).or_default();
        let domains: BTreeSet<Domain> = incident.domains.iter().copied().collect();
        if domains.is_subset(told) {
            return;
        }
        told.extend(&domains);
        let domains: Vec<&str> = domains.iter().map(|d| d.as_str()).collect();
        let title = shorten(&incident.title, 90);
        let line = format!("{} incident {} [{}] {title}", self.clock(), incident.id, domains.join("+"));
        note(&format!("{line} ({}, {} alerts)", incident.severity, incident.alerts.len()));
    }

    fn action(&self, action: &Action) {
        let told = matches!(
            action.state,
            ActionState::AwaitingApproval
                | ActionState::Dispatching
                | ActionState::Succeeded
                | ActionState::Failed
        );
        if told {
            let (verb, on) = (&action.verb, &action.target.entity.value);
            note(&format!(
                "{} action   {} {verb} on {on}: {}",
                self.clock(),
                action.id,
                action.state.as_str()
            ));
        }
    }

    fn clock(&self) -> String {
        seconds(self.begun.elapsed())
    }
}

/// Alerts of the attack stories against the incidents they are in.
pub(super) fn summary(state: &StateDb, dir: &Path, records: u64) -> anyhow::Result<()> {
    let tenant = TenantId::default();
    let stories = stories(dir)?;
    let (mut truth, mut predicted) = (BTreeMap::new(), BTreeMap::new());
    let mut cursor = None;
    loop {
        let page = state.alerts_page(&tenant, &AlertFilter::default(), cursor.as_ref(), 1_000)?;
        for alert in &page.items {
            let story = alert.records.iter().find_map(|r| stories.get(&(r.topic.to_string(), r.offset)));
            truth.insert(alert.id.to_string(), story.cloned().unwrap_or_else(|| NOISE.to_owned()));
            if let Some(incident) = state.incident_of(&tenant, &alert.id)? {
                predicted.insert(alert.id.to_string(), incident.to_string());
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let counts = state.incident_counts(&tenant)?;
    let incidents: u64 = counts.by_status.values().sum();
    note(&format!("\n{records} records, {} alerts, {incidents} incidents", truth.len()));
    tell_stories(state, &tenant, &truth, &predicted)?;
    let score = Score::of(&truth, &predicted);
    note(&format!(
        "score over the attack alerts: B-cubed F1 {:.3} (precision {:.3}, recall {:.3}), over-merged {:.3}",
        score.b3_f1(),
        score.b3_precision,
        score.b3_recall,
        score.over_merge
    ));
    tell_actions(state, &tenant, dir)
}

/// Story by place of the record in the journal.
fn stories(dir: &Path) -> anyhow::Result<HashMap<(String, i64), String>> {
    let path = truth_path(dir);
    // No file: the demo was stopped before the first attack record.
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(HashMap::new()) };
    let row = |line: &str| serde_json::from_str::<TruthRow>(line).map(|r| ((r.topic, r.offset), r.story));
    text.lines().map(row).collect::<Result<_, _>>().with_context(|| format!("in {}", path.display()))
}

fn tell_stories(
    state: &StateDb,
    tenant: &TenantId,
    truth: &BTreeMap<String, String>,
    predicted: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let mut homes: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (alert, story) in truth.iter().filter(|(_, s)| *s != NOISE) {
        let home = predicted.get(alert).map_or("none", String::as_str);
        *homes.entry(story).or_default().entry(home).or_default() += 1;
    }
    for (story, homes) in homes {
        let total: usize = homes.values().sum();
        let Some((main, held)) = homes.iter().max_by_key(|(_, n)| **n) else { continue };
        let incident = state.incident(tenant, &event::IncidentId::new(*main))?;
        let domains = incident.map(|i| i.domains.iter().map(|d| d.as_str()).collect::<Vec<_>>().join("+"));
        let domains = domains.unwrap_or_default();
        note(&format!(
            "  story {story}: {held} of its {total} alerts in {main} [{domains}], {} incidents in all",
            homes.len()
        ));
    }
    Ok(())
}

fn tell_actions(state: &StateDb, tenant: &TenantId, dir: &Path) -> anyhow::Result<()> {
    for action in state.actions_page(tenant, &ActionFilter::default(), None, 20)?.items {
        let (verb, on) = (&action.verb, &action.target.entity.value);
        note(&format!("  {verb} on {on}: {}", action.state.as_str()));
    }
    let urgent = IncidentFilter { sort: IncidentSort::Score, ..IncidentFilter::default() };
    if let Some(first) = state.incidents_page(tenant, &urgent, None, 1)?.items.first() {
        note(&format!("look closer: asterism incidents show {} --data-dir {}", first.id, dir.display()));
    }
    Ok(())
}
