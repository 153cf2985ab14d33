//! Findings, incidents and actions out to subscribers: at least once, in order of the outbox, with ids and
//! sequence numbers.
//!
//! ```text
//! Outbox (stored rows) -> Message (OCSF JSON + CloudEvents attributes) -> Sink -> ack(sink, sequence)
//!                                                            Kafka, webhook |        refused: set aside
//! ```
//!
//! The state database writes a row of the outbox in the transaction of the change itself, so that no change is
//! lost and none is announced that did not happen. A [`Deliverer`] reads rows after its sink's cursor, delivers
//! a bounded batch and moves the cursor only when the [`Sink`] has it all. After a failure the batch comes
//! again: subscribers drop repetitions by the event's `id`, and see gaps by its `sequence`. A message that a sink refuses
//! for good is set aside with the reason; moving the cursor back delivers it, and what followed, again.

mod deliver;
mod error;
mod kafka;
mod message;
mod sink;
#[cfg(test)]
mod testing;
mod webhook;

pub use deliver::{Delivered, Deliverer};
pub use error::ForwardError;
pub use kafka::KafkaSink;
pub use message::{Message, OutboxRow, Stream};
pub use sink::{Outbox, SetAside, Sink};
pub use webhook::{Gone, WebhookConfig, WebhookSink};
