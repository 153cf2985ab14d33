//! What the stages hold, did and refused, as metrics. `/metrics` names each; totals start with the state that was
//! restored.

use correlate::{Completeness, Stats};
use event::Action;
use respond::Counts;
use rules::{SuppressionCounts, WindowCounts};

pub(super) fn windows(counts: WindowCounts, groups: usize) {
    metrics::gauge!("asterism_correlation_groups").set(groups as f64);
    totals(&[
        ("asterism_correlation_late_total", counts.late),
        ("asterism_correlation_expired_total", counts.expired),
        ("asterism_correlation_evicted_events_total", counts.evicted_events),
        ("asterism_correlation_evicted_groups_total", counts.evicted_groups),
        ("asterism_correlation_retracted_total", counts.retracted),
    ]);
}

pub(super) fn suppressions(counts: SuppressionCounts, keys: usize) {
    metrics::gauge!("asterism_suppression_keys").set(keys as f64);
    totals(&[
        ("asterism_suppressed_total", counts.suppressed),
        ("asterism_suppression_late_total", counts.late),
        ("asterism_suppression_retracted_total", counts.retracted),
        ("asterism_suppression_sealed_early_total", counts.sealed_early),
        ("asterism_suppression_evicted_keys_total", counts.evicted_keys),
    ]);
}

pub(super) fn completeness(ledger: &Completeness) {
    metrics::gauge!("asterism_completeness_counts").set(ledger.len() as f64);
    totals(&[("asterism_completeness_closed_early_total", ledger.closed_early())]);
}

pub(super) fn response(counts: Counts, open: usize) {
    metrics::gauge!("asterism_response_open").set(open as f64);
    totals(&[
        ("asterism_response_proposed_total", counts.proposed),
        ("asterism_response_executed_total", counts.executed),
        ("asterism_response_held_total", counts.held),
        ("asterism_response_suppressed_total", counts.suppressed),
        ("asterism_response_simulated_total", counts.simulated),
        ("asterism_response_paged_total", counts.paged),
        ("asterism_response_refused_total", counts.refused),
        ("asterism_response_drifted_total", counts.drifted),
        ("asterism_response_stale_reports_total", counts.stale_reports),
        ("asterism_response_rule_faults_total", counts.rule_faults),
        ("asterism_response_bugs_total", counts.bugs),
    ]);
}

pub(super) fn correlator(stats: &Stats) {
    totals(&[
        ("asterism_correlator_alerts_total", stats.alerts_total),
        ("asterism_correlator_alerts_duplicate_total", stats.alerts_duplicate_total),
        ("asterism_correlator_alerts_revised_total", stats.alerts_revised_total),
        ("asterism_correlator_alerts_late_total", stats.alerts_late_total),
        ("asterism_correlator_alerts_withdrawn_total", stats.alerts_withdrawn_total),
        ("asterism_correlator_alerts_folded_total", stats.alerts_folded_total),
        ("asterism_correlator_alerts_retired_early_total", stats.alerts_retired_early_total),
        ("asterism_correlator_alerts_sealed_early_total", stats.alerts_sealed_early_total),
        ("asterism_correlator_alerts_told_total", stats.alerts_told_total),
        ("asterism_correlator_inputs_evicted_total", stats.inputs_evicted_total),
        ("asterism_correlator_suggestions_refused_total", stats.suggestions_refused_total),
        ("asterism_correlator_artefacts_evicted_total", stats.artefacts_evicted_total),
        ("asterism_correlator_addresses_evicted_total", stats.addresses_evicted_total),
        ("asterism_correlator_entities_dropped_total", stats.entities_dropped_total),
        ("asterism_correlator_alias_values_refused_total", stats.alias_values_refused_total),
        ("asterism_correlator_processes_evicted_total", stats.processes_evicted_total),
        ("asterism_correlator_observations_too_old_total", stats.observations_too_old_total),
        ("asterism_correlator_join_rows_total", stats.join_rows_total),
        ("asterism_correlator_join_rows_late_total", stats.join_rows_late_total),
        ("asterism_correlator_join_rows_evicted_total", stats.join_rows_evicted_total),
        ("asterism_correlator_join_rows_skipped_total", stats.join_rows_skipped_total),
        ("asterism_correlator_join_pairs_total", stats.join_pairs_total),
        ("asterism_correlator_join_links_evicted_total", stats.join_links_evicted_total),
        ("asterism_correlator_risk_entities_evicted_total", stats.risk_entities_evicted_total),
        ("asterism_correlator_pairs_scored_total", stats.pairs_scored_total),
        ("asterism_correlator_placings_redone_total", stats.placings_redone_total),
    ]);
    let held = [
        ("asterism_correlator_alerts", stats.alerts),
        ("asterism_correlator_alerts_pending", stats.alerts_pending),
        ("asterism_correlator_alerts_waiting", stats.alerts_waiting),
        ("asterism_correlator_entities", stats.entities),
        ("asterism_correlator_alias_values", stats.alias_values),
        ("asterism_correlator_processes", stats.processes),
        ("asterism_correlator_join_rows", stats.join_rows),
        ("asterism_correlator_join_links", stats.join_links),
        ("asterism_correlator_risk_entities", stats.risk_entities),
        ("asterism_correlator_edges", stats.edges),
        ("asterism_correlator_incidents", stats.incidents),
        ("asterism_correlator_inputs", stats.inputs),
        ("asterism_correlator_suggestions", stats.suggestions),
        ("asterism_correlator_artefacts", stats.artefacts),
        ("asterism_correlator_campaigns", stats.campaigns),
        ("asterism_correlator_addresses", stats.addresses),
    ];
    held.into_iter().for_each(|(name, n)| metrics::gauge!(name).set(n as f64));
}

/// An action came to a state.
pub(super) fn action(action: &Action) {
    let (verb, state) = (action.verb.to_string(), action.state.as_str());
    metrics::counter!("asterism_action_changes_total", "verb" => verb, "state" => state).increment(1);
}

fn totals(totals: &[(&'static str, u64)]) {
    totals.iter().for_each(|(name, total)| metrics::counter!(*name).absolute(*total));
}
