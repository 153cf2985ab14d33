//! Counters: what a correlator holds, did, and refused.

use serde::{Deserialize, Serialize};

/// Counters of a correlator over all tenants. Totals survive a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Alerts taken in.
    pub alerts_total: u64,
    /// Alerts ignored because their id was known.
    pub alerts_duplicate_total: u64,
    /// Duplicates with other content that replaced the first before it was sealed.
    pub alerts_revised_total: u64,
    /// Alerts older than the watermark when they came: correlated, but outside the promise of one result.
    pub alerts_late_total: u64,
    /// Alerts taken back by their source before they were sealed.
    #[serde(default)]
    pub alerts_withdrawn_total: u64,
    /// Alerts that repeat a rule on the same device and user within the episode gap.
    pub alerts_folded_total: u64,
    /// Alerts that left memory before their horizon because of the limit.
    pub alerts_retired_early_total: u64,
    /// Alerts sealed before event time passed them, because too many waited: outside the promise of one result too.
    #[serde(default)]
    pub alerts_sealed_early_total: u64,
    /// Entities of alerts beyond the limit of one alert.
    pub entities_dropped_total: u64,
    /// Alias values refused because the table was full.
    pub alias_values_refused_total: u64,
    /// Addresses forgotten because the table was full.
    #[serde(default)]
    pub addresses_evicted_total: u64,
    /// Processes forgotten because the table was full.
    pub processes_evicted_total: u64,
    /// Telemetry of epochs that were already forgotten.
    pub observations_too_old_total: u64,
    /// Entities whose risk was forgotten because the table was full: those of least risk.
    #[serde(default)]
    pub risk_entities_evicted_total: u64,
    /// Pairs scored.
    pub pairs_scored_total: u64,
    /// Alerts of incidents that were told, once each time: what telling costs.
    #[serde(default)]
    pub alerts_told_total: u64,
    /// Analysts' inputs forgotten because the table was full: what they said no longer holds.
    #[serde(default)]
    pub inputs_evicted_total: u64,
    /// Suggested merges that were not listed because the list was full.
    #[serde(default)]
    pub suggestions_refused_total: u64,
    /// Artefacts of campaigns forgotten because the table was full.
    #[serde(default)]
    pub artefacts_evicted_total: u64,
    /// Provisional placings taken back and done again.
    pub placings_redone_total: u64,
    /// Tenants held.
    pub tenants: u64,
    /// Alerts held.
    pub alerts: u64,
    /// Alerts held that event time has not passed.
    pub alerts_pending: u64,
    /// Pending alerts beyond the limit of provisional work: they join when event time passes them.
    pub alerts_waiting: u64,
    /// Entity values with postings.
    pub entities: u64,
    /// Values in the alias table.
    pub alias_values: u64,
    /// Addresses of devices.
    #[serde(default)]
    pub addresses: u64,
    /// Processes in the lineage table.
    pub processes: u64,
    /// Values of users, devices and apps with a risk.
    #[serde(default)]
    pub risk_entities: u64,
    /// Forest edges held, with those displaced since the last clean-up.
    pub edges: u64,
    /// Incidents held.
    pub incidents: u64,
    /// Analysts' inputs held.
    #[serde(default)]
    pub inputs: u64,
    /// Suggested merges listed.
    #[serde(default)]
    pub suggestions: u64,
    /// Artefacts that may link incidents to campaigns.
    #[serde(default)]
    pub artefacts: u64,
    /// Campaigns that go on.
    #[serde(default)]
    pub campaigns: u64,
}
