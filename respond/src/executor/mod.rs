//! The executor contract: one implementation per provider.
//!
//! Taking an effect back is a command of its own with the inverse verb ([`Verb::inverse`]), so that it is
//! probed, fenced, retried and audited like any other.

mod answer;
mod assertion;
mod authorization;
mod client;
mod connector;
mod defender;
mod smtp;

use async_trait::async_trait;

use crate::capability::Capability;
use crate::work::{ExecuteError, Probe, Progress, Request};

pub(crate) use authorization::is_scheme;
pub use authorization::{ClientCredentials, Credential, Proof, Secret};
pub use client::ApiConfig;
pub use connector::{Addresses, ConnectorExecutor};
pub use defender::DefenderExecutor;
pub use smtp::{SmtpConfig, SmtpExecutor, SmtpTls};

/// Does actions at one provider. Every call is bounded in time and in bytes, and sends at most one request that changes
/// anything, or one for each of the few things that an action is about.
#[async_trait]
pub trait Executor: Send + Sync {
    /// What it can do.
    fn capability(&self) -> Capability;

    /// Whether a request is one for this executor: of several that can do its verb, each may have some of them, by an
    /// argument.
    fn takes(&self, request: &Request) -> bool {
        let Request { verb, target, args, .. } = request;
        self.capability().lacks(*verb, target.entity.entity_type, args).is_none()
    }

    /// Asks for the present state of the target and for requests under way. Changes nothing.
    async fn probe(&self, request: &Request) -> Result<Probe, ExecuteError>;

    /// Asks whether the target has the wanted state, after the provider said that the request is done.
    async fn verify(&self, request: &Request) -> Result<Probe, ExecuteError> {
        self.probe(request).await
    }

    /// Sends the request once, and gives the provider's reference for it.
    async fn execute(&self, request: &Request) -> Result<String, ExecuteError>;

    /// Asks how the request is getting on.
    async fn poll(&self, request: &Request, provider_ref: &str) -> Result<Progress, ExecuteError>;

    /// Asks the provider to forget the request; false where it is too late.
    async fn cancel(&self, request: &Request, provider_ref: &str) -> Result<bool, ExecuteError>;
}
