//! What can go wrong, by what the operator must do.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum CorrelateError {
    /// The parameter file does not follow its format: correct the named place.
    #[error("parameters: {0}")]
    Parameters(String),
    /// The snapshot cannot be read: start without it and replay from the log.
    #[error("snapshot is damaged or of another version: {0}; start without it and replay the log")]
    Snapshot(String),
    /// The snapshot was made under other parameters, whose scores must not be mixed with the present ones.
    #[error(
        "snapshot was made with parameters {found}, this engine runs with {expected}; replay the log, or load the old parameters"
    )]
    ParametersChanged {
        /// Hash of the parameters in the snapshot.
        found: String,
        /// Hash of the parameters in use.
        expected: String,
    },
    /// An input names an incident that this engine does not hold.
    #[error("no incident {0}")]
    UnknownIncident(event::IncidentId),
    /// An input names an alert that this engine does not hold.
    #[error("no alert {0}")]
    UnknownAlert(event::AlertId),
    /// An undo names an input that this engine does not hold.
    #[error("no input {0} is held")]
    UnknownInput(event::InputId),
    /// A graph has no node of that id or name.
    #[error("no alert or entity {0:?} in this incident")]
    UnknownNode(String),
    /// A graph has several nodes of that name.
    #[error("{name:?} names several: {ids}")]
    AmbiguousNode {
        /// The name that was given.
        name: String,
        /// Ids of the nodes.
        ids: String,
    },
    /// An input contradicts what it names.
    #[error("{0}")]
    Input(String),
}
