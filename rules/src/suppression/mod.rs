//! Alert suppression: of the alerts of one rule that are the same in some fields, one passes and the others are counted.
//!
//! ```text
//! alert, key --timeline per (rule, tenant, key)--> passed | suppressed by another | passed, and taken back
//!            --------------------------------------> the running windows of the key, as Suppression rows
//!            --watermark--> sealed: only the open window is kept --end of the window--> its row, for the last time
//! ```
//!
//! Declared in an overlay, so that packs stay as they came, or by a rule's author. The overlay wins.
//!
//! ```yaml
//! overlays:                                    # a rule of one's own:
//!   - rule: 0f06a3a5-...                       #   custom_attributes:
//!     action: suppress                         #     asterism.suppress:
//!     fields: [Computer, User]                 #       fields: [Computer, User]
//!     window: 1h                               #       window: 1h
//!     kind: fixed                              #       kind: fixed
//! ```
//!
//! - **fields**: Sigma fields, as in detections; the alerts of a key have the same values in all of them, without case.
//!   A list is one value, in no order. An alert without a value in one of them always passes. For a correlation they are
//!   among its `group-by`; left out, they are all of it. A detection rule must name at least one.
//! - **window**: `fixed` (the default) reaches from the alert that passed to `window` later; `sliding` is prolonged by
//!   each alert that it suppresses, so that a key must be quiet for `window` before an alert passes again. Both ends
//!   are included. Sigma's units; at most 90 days.
//! - **Severity**: an alert of higher severity than the one that passed passes too, and begins a window of its own.
//! - **Time** is event time. What passes is a function of the alerts sorted by time, then severity (highest first), then
//!   id; an alert that comes out of order has those after it judged again ([`SuppressionChange::Retracted`]).
//! - **Late**: an alert at or before the watermark is suppressed where a window that is still kept holds it, else it
//!   passes. It never changes what was sealed.
//! - **Bounds** err towards passing: beyond [`SUPPRESSION_KEYS_MAX`] keys of a rule and tenant the window that would end first is
//!   given up; beyond [`SUPPRESSION_HELD_MAX`] alerts of a key that the watermark has not passed, the oldest are sealed early. Both
//!   are counted ([`SuppressionCounts`]).
//! - Suppression hides alerts from people. Correlation rules see every match.

mod rule;
mod spec;
mod state;
mod timeline;

#[cfg(test)]
mod tests;

pub use rule::SuppressionKey;
pub(crate) use rule::{KeyReader, SuppressionRule, compile};
pub(crate) use spec::{SuppressionSpec, declared};
pub use state::{SUPPRESSION_KEYS_MAX, SuppressionChange, Suppressions};
pub use timeline::{SUPPRESSION_HELD_MAX, Suppression, SuppressionCounts};
