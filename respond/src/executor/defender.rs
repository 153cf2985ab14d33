//! The executor for machine actions as Microsoft Defender for Endpoint shapes them: isolation, restriction of what may run,
//! scans, collection of evidence, offboarding.
//!
//! The API takes no idempotency key, so the action's id goes first in the comment, and a probe looks for it in
//! the machine's actions: an answer that was lost is found again instead of the request being repeated. A
//! machine has no field for its isolation or restriction either; its state is that of its last finished action of
//! these kinds.

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

/// How the API calls a verb.
struct Kind {
    verb: Verb,
    /// Last part of the path.
    path: &'static str,
    /// Type of the machine action.
    name: &'static str,
    /// The types of which the last one that succeeded says what state a machine is in: begun, ended. None for what is
    /// done once.
    state: Option<(&'static str, &'static str)>,
    /// What a machine in that state is, for people.
    adjective: &'static str,
}

const ISOLATION: Option<(&str, &str)> = Some(("Isolate", "Unisolate"));
const RESTRICTION: Option<(&str, &str)> = Some(("RestrictCodeExecution", "UnrestrictCodeExecution"));

const fn kind(
    verb: Verb,
    path: &'static str,
    name: &'static str,
    state: Option<(&'static str, &'static str)>,
    adjective: &'static str,
) -> Kind {
    Kind { verb, path, name, state, adjective }
}

/// What this executor can do.
const KINDS: [Kind; 7] = [
    kind(Verb::HostIsolate, "isolate", "Isolate", ISOLATION, "isolated"),
    kind(Verb::HostRelease, "unisolate", "Unisolate", ISOLATION, "isolated"),
    kind(
        Verb::HostRestrictApps,
        "restrictCodeExecution",
        "RestrictCodeExecution",
        RESTRICTION,
        "restricted to code that Microsoft signed",
    ),
    kind(
        Verb::HostUnrestrictApps,
        "unrestrictCodeExecution",
        "UnrestrictCodeExecution",
        RESTRICTION,
        "restricted to code that Microsoft signed",
    ),
    kind(Verb::HostScan, "runAntiVirusScan", "RunAntiVirusScan", None, "scanned for this action"),
    kind(
        Verb::HostCollectPackage,
        "collectInvestigationPackage",
        "CollectInvestigationPackage",
        None,
        "examined for this action",
    ),
    kind(Verb::HostOffboard, "offboard", "Offboard", None, "offboarded by this action"),
];

impl Kind {
    fn of(verb: Verb) -> Result<&'static Self, ExecuteError> {
        let kind = KINDS.iter().find(|kind| kind.verb == verb);
        kind.ok_or_else(|| ExecuteError::Terminal(format!("the executor cannot {verb}")))
    }

    /// Whether a machine action is of this kind or its opposite.
    fn covers(&self, action: &MachineAction) -> bool {
        match self.state {
            Some((begun, ended)) => action.kind == begun || action.kind == ended,
            None => action.kind == self.name,
        }
    }

    fn body(&self, request: &Request) -> Value {
        let mut body = json!({"Comment": request.comment});
        let arg = |name: &str| request.args.get(name).map(String::as_str);
        match self.verb {
            Verb::HostIsolate => {
                let is_selective = arg("isolation_type") == Some("selective");
                body["IsolationType"] = json!(if is_selective { "Selective" } else { "Full" });
            }
            Verb::HostScan => {
                body["ScanType"] = json!(if arg("depth") == Some("full") { "Full" } else { "Quick" });
            }
            _ => {}
        }
        body
    }
}

/// Does machine actions over HTTP.
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

    async fn machine_actions(&self, machine: &str, kind: &Kind) -> Result<Vec<MachineAction>, ExecuteError> {
        let filter = format!("machineId eq '{machine}'");
        let page: Option<Page<MachineAction>> = self.get(&["machineactions"], Some(&filter)).await?;
        let mut actions = page.map(|p| p.value).unwrap_or_default();
        actions.retain(|action| kind.covers(action));
        actions.sort_by(|a, b| a.creation_date_time_utc.cmp(&b.creation_date_time_utc));
        Ok(actions)
    }
}

#[async_trait]
impl Executor for DefenderExecutor {
    fn capability(&self) -> Capability {
        let ability = |verb| (verb, Ability { cancellable: true, ..Ability::default() });
        Capability {
            provider: "defender".to_owned(),
            verbs: KINDS.iter().map(|kind| ability(kind.verb)).collect(),
        }
    }

    async fn probe(&self, request: &Request) -> Result<Probe, ExecuteError> {
        let kind = Kind::of(request.verb)?;
        let machine = self.machine(request).await?;
        let actions = self.machine_actions(&machine, kind).await?;
        Ok(observe(&machine, kind, &actions, request))
    }

    async fn execute(&self, request: &Request) -> Result<String, ExecuteError> {
        let kind = Kind::of(request.verb)?;
        // Resolved again: between probe and dispatch a name may have come to mean two machines.
        let machine = self.machine(request).await?;
        Ok(self.post(&["machines", &machine, kind.path], &kind.body(request)).await?.id)
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

/// What a machine's actions, oldest first, say about its state, or whether what is done once has been done.
fn observe(machine: &str, kind: &Kind, actions: &[MachineAction], request: &Request) -> Probe {
    let ours = marker(&request.action);
    let comment = |a: &MachineAction| a.requestor_comment.clone().unwrap_or_default();
    // The marker ends where the id ends: `c-1` is not `c-12`.
    let is_ours = |a: &MachineAction| comment(a).split_whitespace().next() == Some(&*ours);
    let open = actions.iter().rev().find(|a| matches!(a.status.as_str(), "Pending" | "InProgress"));
    let last = |counts: &dyn Fn(&MachineAction) -> bool| {
        actions.iter().rev().find(|a| a.status == "Succeeded" && counts(a))
    };
    let (last, begun) = match kind.state {
        Some((begun, _)) => (last(&|_| true), begun),
        None => (last(&is_ours), kind.name),
    };
    let holds = last.is_some_and(|a| a.kind == begun);
    let not = if holds { "" } else { "not " };
    let by = last.map_or_else(|| "no machine action".to_owned(), |a| format!("machine action {}", a.id));
    Probe {
        holds,
        by_us: Some(holds && last.is_some_and(|a| comment(a).starts_with(MARKER))),
        under_way: open.map(|a| UnderWay { provider_ref: a.id.clone(), ours: is_ours(a) }),
        evidence: bounded(&format!("machine {machine} is {not}{} ({by})", kind.adjective)),
        pre_image: None,
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
