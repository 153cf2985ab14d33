//! What can go wrong, by what the operator must do.

/// Errors of the forward crate.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// A setting is wrong: correct it.
    #[error("{0}")]
    BadInput(String),
    /// The sink does not answer: it is tried again; mend it or wait.
    #[error("sink {sink} does not take deliveries: {reason}")]
    Unavailable {
        /// The sink.
        sink: String,
        /// Why.
        reason: String,
    },
    /// The sink will never take this one message, such as one that is too large: it is set aside and counted.
    #[error("sink {sink} refuses message {sequence}: {reason}")]
    Refused {
        /// The sink.
        sink: String,
        /// The message.
        sequence: i64,
        /// Why.
        reason: String,
    },
    /// The outbox cannot be read or acknowledged: mend the storage.
    #[error("outbox: {0}")]
    Outbox(String),
}
