//! The API's resources that the executor reads, and how machines are found.

use event::EntityType;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::super::client::Client;
use crate::work::{ExecuteError, MARKER, Request, marker};

/// The API.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
}

/// A list of things.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) value: Vec<T>,
}

#[derive(Deserialize)]
struct Machine {
    id: String,
}

/// What a machine was asked to do.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MachineAction {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    #[serde(default)]
    requestor_comment: Option<String>,
    #[serde(default)]
    creation_date_time_utc: String,
    #[serde(default)]
    related_file_info: Option<RelatedFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RelatedFile {
    #[serde(default)]
    file_identifier: Option<String>,
}

impl MachineAction {
    fn comment(&self) -> &str {
        self.requestor_comment.as_deref().unwrap_or_default()
    }

    /// Whether a request of this command asked for it. The marker ends where the id ends: `c-1` is not `c-12`.
    pub(super) fn is_of(&self, request: &Request) -> bool {
        self.comment().split_whitespace().next() == Some(&*marker(&request.action))
    }

    /// Whether any request of this engine did.
    pub(super) fn is_ours(&self) -> bool {
        self.comment().starts_with(MARKER)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "Pending" | "InProgress")
    }

    pub(super) fn is_about_file(&self, sha1: &str) -> bool {
        let file = self.related_file_info.as_ref().and_then(|file| file.file_identifier.as_deref());
        file.is_some_and(|identifier| identifier.eq_ignore_ascii_case(sha1))
    }
}

impl Api {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) async fn get<T: for<'de> Deserialize<'de>>(
        &self,
        path: &[&str],
        filter: Option<&str>,
    ) -> Result<Option<T>, ExecuteError> {
        let path: Vec<&str> = ["api"].iter().chain(path).copied().collect();
        let filter: Vec<(&str, &str)> = filter.iter().map(|filter| ("$filter", *filter)).collect();
        self.client.read(self.client.url(&path, &filter)?).await
    }

    pub(super) async fn change(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<Value, ExecuteError> {
        let path: Vec<&str> = ["api"].iter().chain(path).copied().collect();
        self.client.change(method, self.client.url(&path, &[])?, body).await
    }

    /// A change that is answered with a machine action.
    pub(super) async fn post_action(
        &self,
        path: &[&str],
        body: &Value,
    ) -> Result<MachineAction, ExecuteError> {
        let answer = self.change(Method::POST, path, Some(body)).await?;
        MachineAction::deserialize(answer)
            .map_err(|e| ExecuteError::OutcomeUnknown(format!("unreadable answer: {e}")))
    }

    pub(super) async fn machine_action(&self, id: &str) -> Result<Option<MachineAction>, ExecuteError> {
        self.get(&["machineactions", id], None).await
    }

    /// What a machine was asked to do, the oldest first.
    pub(super) async fn machine_actions(&self, machine: &str) -> Result<Vec<MachineAction>, ExecuteError> {
        let filter = format!("machineId eq '{machine}'");
        let page: Option<Page<MachineAction>> = self.get(&["machineactions"], Some(&filter)).await?;
        let mut actions = page.map(|p| p.value).unwrap_or_default();
        actions.sort_by(|a, b| a.creation_date_time_utc.cmp(&b.creation_date_time_utc));
        Ok(actions)
    }

    /// The one machine that a name, or an id, names; none where nobody knows it.
    pub(super) async fn machine_called(&self, name: &str) -> Result<Option<String>, ExecuteError> {
        if is_machine_id(name) {
            let machine: Option<Machine> = self.get(&["machines", name], None).await?;
            return Ok(machine.map(|machine| machine.id));
        }
        let full = format!("computerDnsName eq '{name}'");
        let short = (!name.contains('.')).then(|| format!("startswith(computerDnsName,'{name}.')"));
        for filter in [Some(full), short].into_iter().flatten() {
            let page: Option<Page<Machine>> = self.get(&["machines"], Some(&filter)).await?;
            match page.map(|p| p.value).unwrap_or_default().as_slice() {
                [] => {}
                [machine] => return Ok(Some(machine.id.clone())),
                several => {
                    let text = format!("{} machines match {filter}: not acting on any", several.len());
                    return Err(ExecuteError::Terminal(text));
                }
            }
        }
        Ok(None)
    }
}

/// The names of devices that a target bears, the surest first: ids, full names, short ones.
pub(super) fn device_names(request: &Request) -> Vec<&str> {
    let devices = request.target.identifiers.iter().filter(|e| e.entity_type == EntityType::Device);
    let mut names: Vec<&str> = devices.map(|e| &*e.value).filter(|name| is_plain(name)).collect();
    names.sort_by_key(|name| (!is_machine_id(name), !name.contains('.')));
    names
}

/// Device ids of the API are 40 hexadecimal digits.
fn is_machine_id(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|c| c.is_ascii_hexdigit())
}

/// Names come from telemetry; only what a host name may hold goes into a filter.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))
}
