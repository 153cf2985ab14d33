//! Machine actions. A machine has no field for its isolation or restriction: its state is that of its last finished
//! action of these kinds.

use serde_json::{Value, json};

use super::api::{Api, MachineAction, device_names};
use crate::command::bounded;
use crate::verb::Verb;
use crate::work::{ExecuteError, Probe, Request, UnderWay};

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

/// What machines can be asked to do.
pub(super) fn verbs() -> impl Iterator<Item = Verb> {
    KINDS.iter().map(|kind| kind.verb)
}

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

pub(super) async fn probe(api: &Api, request: &Request) -> Result<Probe, ExecuteError> {
    let kind = Kind::of(request.verb)?;
    let machine = machine(api, request).await?;
    let mut actions = api.machine_actions(&machine).await?;
    actions.retain(|action| kind.covers(action));
    Ok(observe(&machine, kind, &actions, request))
}

pub(super) async fn execute(api: &Api, request: &Request) -> Result<String, ExecuteError> {
    let kind = Kind::of(request.verb)?;
    // Resolved again: between probe and dispatch a name may have come to mean two machines.
    let machine = machine(api, request).await?;
    Ok(api.post_action(&["machines", &machine, kind.path], &kind.body(request)).await?.id)
}

/// The one machine that the target's identifiers name.
async fn machine(api: &Api, request: &Request) -> Result<String, ExecuteError> {
    for name in device_names(request) {
        if let Some(machine) = api.machine_called(name).await? {
            return Ok(machine);
        }
    }
    Err(ExecuteError::Terminal(format!("no machine is known as {}", request.target.entity.value)))
}

/// What a machine's actions, oldest first, say about its state, or whether what is done once has been done.
fn observe(machine: &str, kind: &Kind, actions: &[MachineAction], request: &Request) -> Probe {
    let open = actions.iter().rev().find(|a| a.is_open());
    let last = |counts: &dyn Fn(&MachineAction) -> bool| {
        actions.iter().rev().find(|a| a.status == "Succeeded" && counts(a))
    };
    let (last, begun) = match kind.state {
        Some((begun, _)) => (last(&|_| true), begun),
        None => (last(&|a| a.is_of(request)), kind.name),
    };
    let holds = last.is_some_and(|a| a.kind == begun);
    let not = if holds { "" } else { "not " };
    let by = last.map_or_else(|| "no machine action".to_owned(), |a| format!("machine action {}", a.id));
    Probe {
        holds,
        by_us: Some(holds && last.is_some_and(MachineAction::is_ours)),
        under_way: open.map(|a| UnderWay { provider_ref: a.id.clone(), ours: a.is_of(request) }),
        evidence: bounded(&format!("machine {machine} is {not}{} ({by})", kind.adjective)),
        pre_image: None,
    }
}
