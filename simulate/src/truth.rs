//! What really happened: which records belong to which attack story.

use std::sync::Arc;

use event::{TenantId, Time};
use serde::Serialize;

use crate::options::Scenario;

/// Says that a record belongs to an attack. Normal days have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// The record's own id, as the shipped mappings yield it in the column `event_uid`.
    pub event_uid: String,
    /// The story: scenario and running number. All rows of one story are one incident.
    pub story: Arc<str>,
    /// The step of the story, such as `lsass_read`.
    pub step: &'static str,
    /// The kind of story.
    pub scenario: Scenario,
    /// The tenant.
    pub tenant: TenantId,
    /// The topic that the record went to.
    pub topic: &'static str,
    /// Event time.
    pub time: Time,
}

impl Truth {
    /// One line of a truth file, without the line end.
    ///
    /// # Errors
    /// None in practice: every field is plain text.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}
