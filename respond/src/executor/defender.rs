//! The executor for machine actions as Microsoft Defender for Endpoint shapes them: isolate and release.
//!
//! The API takes no idempotency key, so the action's id goes first in the comment, and a probe looks for it in
//! the machine's actions: an answer that was lost is found again instead of the request being repeated. A
//! machine has no isolation field either; its state is that of its last finished isolate or unisolate.

use async_trait::async_trait;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Executor;
use super::client::{ApiConfig, Client};
use crate::capability::{Ability, Capability};
use crate::command::bounded;
use crate::error::RespondError;
use crate::verb::Verb;
use crate::work::{ExecuteError, MARKER, Probe, Progress, Request, UnderWay, marker};

/// What this executor can do.
const VERBS: [Verb; 2] = [Verb::HostIsolate, Verb::HostRelease];

/// Isolates and releases devices over HTTP.
#[derive(Debug)]
pub struct DefenderExecutor {
    client: Client,
}

#[derive(Deserialize)]
struct Page<T> {
    value: Vec<T>,
}

#[derive(Deserialize)]
struct Machine {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MachineAction {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    requestor_comment: Option<String>,
    #[serde(default)]
    creation_date_time_utc: String,
}

impl DefenderExecutor {
    /// An executor for one API.
    ///
    /// # Errors
    /// [`RespondError::BadInput`] for an address that is none, or a credential that cannot be used.
    pub fn new(config: ApiConfig) -> Result<Self, RespondError> {
        Ok(Self { client: Client::new(config)? })
    }

    async fn get<T: for<'de> Deserialize<'de>>(
        &self,
        path: &[&str],
        filter: Option<&str>,
    ) -> Result<Option<T>, ExecuteError> {
        let path: Vec<&str> = ["api"].iter().chain(path).copied().collect();
        let filter: Vec<(&str, &str)> = filter.iter().map(|filter| ("$filter", *filter)).collect();
        self.client.read(self.client.url(&path, &filter)?).await
    }

    async fn post(&self, path: &[&str], body: &Value) -> Result<MachineAction, ExecuteError> {
        let path: Vec<&str> = ["api"].iter().chain(path).copied().collect();
        let answer = self.client.change(Method::POST, self.client.url(&path, &[])?, Some(body)).await?;
        MachineAction::deserialize(answer)
            .map_err(|e| ExecuteError::OutcomeUnknown(format!("unreadable answer: {e}")))
    }

    /// The one machine that the target's identifiers name.
    async fn machine(&self, request: &Request) -> Result<String, ExecuteError> {
        let names = || request.target.identifiers.iter().map(|e| &*e.value).filter(|v| is_plain(v));
        for id in names().filter(|v| is_machine_id(v)) {
            if let Some(machine) = self.get::<Machine>(&["machines", id], None).await? {
                return Ok(machine.id);
            }
        }
        let named = names().filter(|v| !is_machine_id(v));
        let full = named.clone().map(|name| format!("computerDnsName eq '{name}'"));
        let short = named.filter(|n| !n.contains('.')).map(|n| format!("startswith(computerDnsName,'{n}.')"));
        for filter in full.chain(short) {
            let page: Option<Page<Machine>> = self.get(&["machines"], Some(&filter)).await?;
            match page.map(|p| p.value).unwrap_or_default().as_slice() {
                [] => {}
                [machine] => return Ok(machine.id.clone()),
                several => {
                    let text = format!("{} machines match {filter}: not acting on any", several.len());
                    return Err(ExecuteError::Terminal(text));
                }
            }
        }
        Err(ExecuteError::Terminal(format!("no machine is known as {}", request.target.entity.value)))
    }

    async fn machine_actions(&self, machine: &str) -> Result<Vec<MachineAction>, ExecuteError> {
        let filter = format!("machineId eq '{machine}'");
        let page: Option<Page<MachineAction>> = self.get(&["machineactions"], Some(&filter)).await?;
        let mut actions = page.map(|p| p.value).unwrap_or_default();
        actions.retain(|a| a.kind == "Isolate" || a.kind == "Unisolate");
        actions.sort_by(|a, b| a.creation_date_time_utc.cmp(&b.creation_date_time_utc));
        Ok(actions)
    }
}

#[async_trait]
impl Executor for DefenderExecutor {
    fn capability(&self) -> Capability {
        let ability = |verb| (verb, Ability { cancellable: true, ..Ability::default() });
        Capability { provider: "defender".to_owned(), verbs: VERBS.into_iter().map(ability).collect() }
    }

    async fn probe(&self, request: &Request) -> Result<Probe, ExecuteError> {
        let machine = self.machine(request).await?;
        let actions = self.machine_actions(&machine).await?;
        Ok(observe(&machine, &actions, request))
    }

    async fn execute(&self, request: &Request) -> Result<String, ExecuteError> {
        // Resolved again: between probe and dispatch a name may have come to mean two machines.
        let machine = self.machine(request).await?;
        let (path, body) = match request.verb {
            Verb::HostIsolate => {
                ("isolate", json!({"Comment": request.comment, "IsolationType": isolation(request)}))
            }
            Verb::HostRelease => ("unisolate", json!({"Comment": request.comment})),
            other => return Err(ExecuteError::Terminal(format!("the executor cannot {other}"))),
        };
        Ok(self.post(&["machines", &machine, path], &body).await?.id)
    }

    async fn poll(&self, _request: &Request, provider_ref: &str) -> Result<Progress, ExecuteError> {
        let action: Option<MachineAction> = self.get(&["machineactions", provider_ref], None).await?;
        let action =
            action.ok_or_else(|| ExecuteError::Terminal(format!("no machine action {provider_ref}")))?;
        Ok(match action.status.as_str() {
            "Pending" => Progress::Pending,
            "InProgress" => Progress::Running,
            "Succeeded" => Progress::Done,
            "Cancelled" | "Canceled" => Progress::Cancelled,
            other => Progress::Failed(format!("machine action ended as {}", bounded(other))),
        })
    }

    async fn cancel(&self, request: &Request, provider_ref: &str) -> Result<bool, ExecuteError> {
        let body = json!({"Comment": format!("{} cancelled", marker(&request.action))});
        match self.post(&["machineactions", provider_ref, "cancel"], &body).await {
            Ok(action) => Ok(action.status.starts_with("Cancel")),
            // Refused, so it has ended: the next poll says how.
            Err(ExecuteError::Terminal(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What a machine's actions, oldest first, say about its isolation.
fn observe(machine: &str, actions: &[MachineAction], request: &Request) -> Probe {
    let ours = marker(&request.action);
    let comment = |a: &MachineAction| a.requestor_comment.clone().unwrap_or_default();
    // The marker ends where the id ends: `c-1` is not `c-12`.
    let is_ours = |a: &MachineAction| comment(a).split_whitespace().next() == Some(&*ours);
    let open = actions.iter().rev().find(|a| matches!(a.status.as_str(), "Pending" | "InProgress"));
    let last = actions.iter().rev().find(|a| a.status == "Succeeded");
    let holds = last.is_some_and(|a| a.kind == "Isolate");
    let state = if holds { "isolated" } else { "not isolated" };
    let by = last.map_or_else(|| "no machine action".to_owned(), |a| format!("machine action {}", a.id));
    Probe {
        holds,
        by_us: Some(holds && last.is_some_and(|a| comment(a).starts_with(MARKER))),
        under_way: open.map(|a| UnderWay { provider_ref: a.id.clone(), ours: is_ours(a) }),
        evidence: bounded(&format!("machine {machine} is {state} ({by})")),
        pre_image: None,
    }
}

fn isolation(request: &Request) -> &'static str {
    match request.args.get("isolation_type").map(String::as_str) {
        Some("selective") => "Selective",
        _ => "Full",
    }
}

/// Device ids of the API are 40 hexadecimal digits.
fn is_machine_id(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|c| c.is_ascii_hexdigit())
}

/// Names come from telemetry; only what a host name may hold goes into a filter.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))
}
