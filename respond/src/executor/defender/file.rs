//! Quarantine of a file on the machines that have it: it is stopped and moved out of reach. The API has no way to put it
//! back; that is done on the machine itself (`MpCmdRun.exe -Restore`).

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;

use super::api::{Api, MachineAction, device_names};
use super::{cancel as cancel_one, progress};
use crate::command::bounded;
use crate::work::{ExecuteError, Probe, Progress, Request, UnderWay};

const KIND: &str = "StopAndQuarantineFile";

/// A file on more machines is blocked by an indicator, not chased from one to the next. The references of so many
/// machine actions fit where the reference of a request is kept.
const MACHINES_MAX: usize = 8;

/// Between the references of machine actions.
const SEPARATOR: char = ',';

#[derive(Deserialize)]
struct File {
    sha1: String,
}

/// What one machine was asked to do about the file, the oldest first.
struct Asked {
    machine: String,
    actions: Vec<MachineAction>,
}

impl Asked {
    /// The last one that was not in vain. What others, or we, did to the file before says nothing: it may be back.
    fn last(&self, request: &Request) -> Option<&MachineAction> {
        self.actions.iter().rev().find(|a| a.is_open() || a.status == "Succeeded" && a.is_of(request))
    }

    fn is_done(&self, request: &Request) -> bool {
        self.last(request).is_some_and(|action| action.status == "Succeeded")
    }
}

pub(super) async fn probe(api: &Api, request: &Request) -> Result<Probe, ExecuteError> {
    let sha1 = sha1(api, request).await?;
    let asked = asked(api, request, &sha1).await?;
    let done = asked.iter().filter(|asked| asked.is_done(request)).count();
    let last = || asked.iter().filter_map(|asked| asked.last(request));
    // As long as one machine was not asked, there is something to be sent.
    let is_asked_everywhere = last().count() == asked.len();
    let open: Vec<&MachineAction> = last().filter(|a| a.is_open() && is_asked_everywhere).collect();
    let under_way = (!open.is_empty()).then(|| UnderWay {
        provider_ref: joined(open.iter().map(|a| a.id.as_str())),
        ours: open.iter().all(|a| a.is_of(request)),
    });
    Ok(Probe {
        holds: done == asked.len(),
        by_us: Some(done == asked.len()),
        under_way,
        evidence: bounded(&format!("file {sha1} is quarantined on {done} of {} machines", asked.len())),
        pre_image: None,
    })
}

pub(super) async fn execute(api: &Api, request: &Request) -> Result<String, ExecuteError> {
    let sha1 = sha1(api, request).await?;
    let body = json!({"Comment": request.comment, "Sha1": sha1});
    let mut references = Vec::new();
    for asked in asked(api, request, &sha1).await?.iter().filter(|asked| asked.last(request).is_none()) {
        match api.post_action(&["machines", &asked.machine, KIND], &body).await {
            Ok(action) => references.push(action.id),
            // Some machines were asked: what is left is found by looking again.
            Err(error) if !references.is_empty() => {
                return Err(ExecuteError::OutcomeUnknown(error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(joined(references.iter().map(String::as_str)))
}

pub(super) async fn poll(api: &Api, provider_ref: &str) -> Result<Progress, ExecuteError> {
    let (mut ends, mut open) = (Vec::new(), None);
    for id in references(provider_ref) {
        match progress(api, id).await? {
            underway @ (Progress::Pending | Progress::Running) => open = Some(underway),
            end => ends.push(end),
        }
    }
    if let Some(underway) = open {
        return Ok(underway);
    }
    let all = ends.len();
    let done = ends.iter().filter(|end| **end == Progress::Done).count();
    let other = ends.into_iter().find(|end| *end != Progress::Done);
    Ok(match other {
        None => Progress::Done,
        Some(end) if done == 0 => end,
        Some(end) => Progress::Failed(bounded(&format!("done on {done} of {all} machines: {end:?}"))),
    })
}

/// In time only where no machine has done it.
pub(super) async fn cancel(api: &Api, request: &Request, provider_ref: &str) -> Result<bool, ExecuteError> {
    let mut in_time = true;
    for id in references(provider_ref) {
        in_time &= cancel_one(api, request, id).await?;
    }
    Ok(in_time)
}

fn joined<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    ids.collect::<Vec<_>>().join(&SEPARATOR.to_string())
}

fn references(provider_ref: &str) -> impl Iterator<Item = &str> {
    provider_ref.split(SEPARATOR).filter(|id| !id.is_empty())
}

/// The hash by which the API takes a file; incidents know it by its SHA-256.
async fn sha1(api: &Api, request: &Request) -> Result<String, ExecuteError> {
    let name = &*request.target.entity.value;
    let is_hash = |length: usize| name.len() == length && name.bytes().all(|c| c.is_ascii_hexdigit());
    if is_hash(40) {
        return Ok(name.to_owned());
    }
    let file: Option<File> = if is_hash(64) { api.get(&["files", name], None).await? } else { None };
    let sha1 = file.map(|file| file.sha1).filter(|sha1| sha1.len() == 40);
    sha1.ok_or_else(|| ExecuteError::Terminal(bounded(&format!("no file is known as {name}"))))
}

/// The machines that have the file, and what they were asked.
async fn asked(api: &Api, request: &Request, sha1: &str) -> Result<Vec<Asked>, ExecuteError> {
    let mut machines = BTreeSet::new();
    for name in device_names(request) {
        machines.extend(api.machine_called(name).await?);
    }
    let terminal = |text: String| Err(ExecuteError::Terminal(text));
    match machines.len() {
        0 => return terminal("no machine is known that has the file".to_owned()),
        1..=MACHINES_MAX => {}
        many => return terminal(format!("{many} machines have the file: block it by an indicator")),
    }
    let mut asked = Vec::new();
    for machine in machines {
        let mut actions = api.machine_actions(&machine).await?;
        actions.retain(|action| action.kind == KIND && action.is_about_file(sha1));
        asked.push(Asked { machine, actions });
    }
    Ok(asked)
}
