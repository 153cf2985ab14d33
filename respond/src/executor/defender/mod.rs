//! The executor for Microsoft Defender for Endpoint: machine actions (isolation, restriction of what may run, scans,
//! collection of evidence, offboarding), quarantine of files, and indicators.
//!
//! Machine actions take no idempotency key, so the action's id goes first in the comment, and a probe looks for it in
//! the machine's actions: an answer that was lost is found again instead of the request being repeated. Indicators are
//! there once for a value, and bear the action's id as well.

mod api;
mod file;
mod indicator;
mod machine;

use async_trait::async_trait;
use serde_json::json;

use super::Executor;
use super::client::{ApiConfig, Client};
use crate::capability::{Ability, Capability};
use crate::command::bounded;
use crate::error::RespondError;
use crate::verb::Verb;
use crate::work::{ExecuteError, Probe, Progress, Request, marker};
use api::Api;

/// Does actions at Defender for Endpoint over HTTP.
#[derive(Debug)]
pub struct DefenderExecutor {
    api: Api,
}

impl DefenderExecutor {
    /// An executor for one API.
    ///
    /// # Errors
    /// [`RespondError::BadInput`] for an address that is none, or a credential that cannot be used.
    pub fn new(config: ApiConfig) -> Result<Self, RespondError> {
        Ok(Self { api: Api::new(Client::new(config)?) })
    }
}

#[async_trait]
impl Executor for DefenderExecutor {
    fn capability(&self) -> Capability {
        // A machine action waits for its machine; an indicator is there when it is answered.
        let waiting = machine::verbs().chain([Verb::FileQuarantine]);
        let cancellable = waiting.map(|verb| (verb, Ability { cancellable: true, ..Ability::default() }));
        let indicators = indicator::VERBS.map(|verb| (verb, Ability::default()));
        Capability { provider: "defender".to_owned(), verbs: cancellable.chain(indicators).collect() }
    }

    async fn probe(&self, request: &Request) -> Result<Probe, ExecuteError> {
        match request.verb {
            Verb::FileQuarantine => file::probe(&self.api, request).await,
            Verb::IndicatorBlock | Verb::IndicatorUnblock => indicator::probe(&self.api, request).await,
            _ => machine::probe(&self.api, request).await,
        }
    }

    async fn execute(&self, request: &Request) -> Result<String, ExecuteError> {
        match request.verb {
            Verb::FileQuarantine => file::execute(&self.api, request).await,
            Verb::IndicatorBlock => indicator::block(&self.api, request).await,
            Verb::IndicatorUnblock => indicator::unblock(&self.api, request).await,
            _ => machine::execute(&self.api, request).await,
        }
    }

    async fn poll(&self, request: &Request, provider_ref: &str) -> Result<Progress, ExecuteError> {
        match request.verb {
            Verb::IndicatorBlock | Verb::IndicatorUnblock => Ok(Progress::Done),
            Verb::FileQuarantine => file::poll(&self.api, provider_ref).await,
            _ => progress(&self.api, provider_ref).await,
        }
    }

    async fn cancel(&self, request: &Request, provider_ref: &str) -> Result<bool, ExecuteError> {
        match request.verb {
            Verb::IndicatorBlock | Verb::IndicatorUnblock => Ok(false),
            Verb::FileQuarantine => file::cancel(&self.api, request, provider_ref).await,
            _ => cancel(&self.api, request, provider_ref).await,
        }
    }
}

/// How far a machine action has come.
async fn progress(api: &Api, id: &str) -> Result<Progress, ExecuteError> {
    let action = api.machine_action(id).await?;
    let action = action.ok_or_else(|| ExecuteError::Terminal(format!("no machine action {id}")))?;
    Ok(match action.status.as_str() {
        "Pending" => Progress::Pending,
        "InProgress" => Progress::Running,
        "Succeeded" => Progress::Done,
        "Cancelled" | "Canceled" => Progress::Cancelled,
        other => Progress::Failed(format!("machine action ended as {}", bounded(other))),
    })
}

/// Whether a machine action was cancelled before it was done.
async fn cancel(api: &Api, request: &Request, id: &str) -> Result<bool, ExecuteError> {
    let body = json!({"Comment": format!("{} cancelled", marker(&request.action))});
    match api.post_action(&["machineactions", id, "cancel"], &body).await {
        Ok(action) => Ok(action.status.starts_with("Cancel")),
        // Refused, so it has ended: the next poll says how.
        Err(ExecuteError::Terminal(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
