//! Where messages go, and where they come from.

use async_trait::async_trait;

use crate::error::ForwardError;
use crate::message::{Message, OutboxRow};

/// A subscriber. It may get a message again after a failure, never out of order within a key.
#[async_trait]
pub trait Sink: Send {
    /// Name, unique among the sinks; its cursor is kept under it.
    fn name(&self) -> &str;

    /// Delivers messages in order and returns when the subscriber has all of them for certain.
    ///
    /// # Errors
    /// [`ForwardError::Unavailable`]: all of them are delivered again. [`ForwardError::Refused`]: this one is
    /// set aside, the others are delivered again.
    async fn deliver(&mut self, messages: &[Message]) -> Result<(), ForwardError>;
}

/// The stored outbox, as deliveries need it.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Up to `limit` rows after `after`, in order.
    async fn fetch(&self, after: i64, limit: usize) -> Result<Vec<OutboxRow>, ForwardError>;

    /// How far a sink has come; 0 for a new one.
    async fn cursor(&self, sink: &str) -> Result<i64, ForwardError>;

    /// Notes that a sink has everything up to and including `sequence`, but for what was set aside.
    async fn ack(&self, sink: &str, sequence: i64, aside: &[SetAside]) -> Result<(), ForwardError>;
}

/// A message that a sink will not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its place in the outbox.
    pub sequence: i64,
    /// Why.
    pub reason: String,
}
