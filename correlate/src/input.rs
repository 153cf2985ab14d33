//! What analysts say about incidents. Inputs are recorded with the alerts they spoke of, so that a replay gives
//! the same incidents whatever the ids were called at the time.

use event::{AlertId, EntityType, IncidentId, IncidentStatus, InputId, TenantId, Time};
use serde::{Deserialize, Serialize};

/// One input of an analyst.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnalystInput {
    /// Tenant of the incident.
    pub tenant: TenantId,
    /// When it was said.
    pub at: Time,
    /// Who said it.
    pub by: String,
    /// What was said.
    pub said: Said,
    /// The alerts it speaks of, as its incidents had them. [`Correlator::apply`](crate::Correlator::apply) fills this
    /// and what follows where `alerts` is empty, and returns the input; storing and replaying that one is exact.
    #[serde(default)]
    pub alerts: Vec<AlertId>,
    /// Of a merge those of the incident that becomes part of the other, of a move those that it moves to; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<AlertId>,
    /// Of a merge what stood of the survivor, and stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// What an analyst can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Said {
    /// Who works on an incident. Incidents of different assignees no longer merge by themselves.
    Assign {
        /// The incident.
        incident: IncidentId,
        /// Nobody, to take the assignment back.
        assignee: Option<String>,
    },
    /// Where it stands. What a closed incident does with more alerts is the parameter `reopen`.
    SetStatus {
        /// The incident.
        incident: IncidentId,
        /// New, in progress or closed; [`IncidentStatus::Redirected`] is refused.
        status: IncidentStatus,
    },
    /// What it turned out to be. Incidents of different classifications no longer merge by themselves.
    Classify {
        /// The incident.
        incident: IncidentId,
        /// Nothing, to take the classification back.
        classification: Option<String>,
    },
    /// Two incidents are one, whatever the scores say.
    Merge {
        /// Stays, with its id, assignee and classification.
        into: IncidentId,
        /// Becomes part of it.
        from: IncidentId,
    },
    /// Some alerts are another incident. The part with the first alert keeps the id.
    Split {
        /// The incident.
        incident: IncidentId,
        /// The alerts that leave it.
        leaving: Vec<AlertId>,
    },
    /// Some alerts belong to another incident. Both incidents keep their ids.
    Move {
        /// The incident they are in.
        from: IncidentId,
        /// The alerts that leave it.
        moving: Vec<AlertId>,
        /// The incident they belong to.
        to: IncidentId,
    },
    /// Two alerts do not belong together.
    Veto {
        /// One alert.
        a: AlertId,
        /// The other.
        b: AlertId,
    },
    /// Two names are not those of one user, device, ...: what joined alerts for that reason no longer does.
    Distinct {
        /// What they name.
        entity_type: EntityType,
        /// One name, in its canonical spelling.
        a: String,
        /// The other.
        b: String,
    },
    /// An earlier input was never said. Undoing an undo says it again.
    Undo {
        /// The earlier input.
        input: InputId,
    },
}

/// Assignee, classification and status of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Analyst in charge.
    pub assignee: Option<String>,
    /// What it turned out to be.
    pub classification: Option<String>,
    /// Where it stands.
    pub status: IncidentStatus,
}

impl AnalystInput {
    /// An input that is still to be recorded.
    pub fn new(tenant: TenantId, at: Time, by: impl Into<String>, said: Said) -> Self {
        Self { tenant, at, by: by.into(), said, alerts: Vec::new(), other: Vec::new(), kept: None }
    }

    /// The same input, its lists in the order in which they are searched.
    pub(crate) fn sorted(mut self) -> Self {
        self.other.sort();
        match &mut self.said {
            Said::Split { leaving: alerts, .. } | Said::Move { moving: alerts, .. } => alerts.sort(),
            _ => {}
        }
        self
    }

    /// The id of a recorded input: what [`Said::Undo`] names. Two inputs of one content are one.
    pub fn id(&self) -> InputId {
        match serde_json::to_vec(self) {
            Ok(json) => InputId::derive(&[&json]),
            // Only maps whose keys are no text, and types that refuse, cannot be written.
            Err(error) => unreachable!("an input is writable: {error}"),
        }
    }
}
