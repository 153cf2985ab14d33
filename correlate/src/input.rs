//! What analysts say about incidents. Inputs are recorded with the alerts they spoke of, so that a replay gives
//! the same incidents whatever the ids were called at the time.

use event::{AlertId, IncidentId, IncidentStatus, TenantId, Time};
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
    /// The alerts it speaks of. [`Correlator::apply`](crate::Correlator::apply) fills this where it is empty and
    /// returns the input; storing and replaying that one is exact.
    #[serde(default)]
    pub alerts: Vec<AlertId>,
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
    /// Where it stands. A closed incident takes no more alerts; they begin a new one.
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
        /// Stays, or the one with the earlier first alert does.
        into: IncidentId,
        /// Becomes part of it.
        from: IncidentId,
    },
    /// Some alerts are another incident.
    Split {
        /// The incident.
        incident: IncidentId,
        /// The alerts that leave it.
        leaving: Vec<AlertId>,
    },
    /// Two alerts do not belong together.
    Veto {
        /// One alert.
        a: AlertId,
        /// The other.
        b: AlertId,
    },
}
