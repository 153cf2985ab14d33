//! Groups alerts into incidents, says why, and says so again the same way: pure, without clock, IO or threads.
//!
//! ```text
//! rows ---- observe --> facts: aliases, process lineage, rarity, joins of plain events (each keyed by event time)
//!                         |
//! alerts -- push ------> waiting, by event time
//!                         | advance(watermark): resolve, fold into episodes, score against the nearest
//!                         v    earlier alerts of every entity
//!                       board --> maximum-spanning forest --> components, subject to analysts' inputs
//!                                                               |
//!                       incidents with meaning <----------------+--> deltas, explanations, graphs
//! ```
//!
//! - [`Correlator`] is all of it; [`Parameters`] are the numbers that decide, one documented file.
//! - An incident is a component of the maximum-spanning forest over scored pairs of alerts (`forest.rs`). The
//!   forest of a set of edges is unique, so incidents do not depend on the order of arrival; it is the
//!   explanation (the weakest join on the path) and the splitter too.
//! - A pair is scored by what it shares (`score.rs`): each kind of evidence has a weight, a half-life, and a
//!   rarity that falls with the number of different counterparties, so hubs need no list.
//! - What is at or before the watermark is sealed: a function of the *set* of alerts, rows and inputs. Alerts
//!   after it count at once, provisionally, with undo (`shard.rs`).
//! - Analysts' inputs ([`AnalystInput`]) constrain the components (`claims.rs`, `merge.rs`); what they hold back becomes
//!   a [`Suggestion`](event::Suggestion). Each can be undone.
//! - An incident lasts so long and gets so large (`bounds.rs`); over weeks, rare artefacts link incidents to a
//!   [`Campaign`](event::Campaign) (`campaign.rs`).
//! - An incident's meaning (`meaning.rs`: title, summary, priority, assets, timeline) comes from templates over its
//!   alerts and the names that the alias table proves (`names.rs`); its graph (`graph.rs`) is made when asked for, and
//!   leaves as JSON, [`graphml`] or [`stix`].
//! - Sealed alerts raise the risk of users, devices and apps, which fades with event time (`risk.rs`).
//! - [`WatermarkTracker`] turns the progress of partitions into the watermark; [`Completeness`] keeps account of what
//!   every rule made of every hour.
//!
//! It does not read records, keep history beyond its horizon, or act on what it finds.
//!
//! ```
//! use correlate::{Correlator, Parameters};
//! use event::{TenantId, Watermark};
//!
//! let mut correlator = Correlator::new(Parameters::builtin()?);
//! correlator.push([]); // alerts, in any order
//! for delta in correlator.advance(Watermark::START) {
//!     println!("{} {}", delta.kind(), delta.incident().title);
//! }
//! assert!(correlator.incidents(&TenantId::default()).is_empty());
//! # Ok::<(), correlate::CorrelateError>(())
//! ```

mod alias;
mod assets;
mod board;
mod bounds;
mod campaign;
mod cast;
mod claims;
mod completeness;
mod correlator;
mod delta;
mod episode;
mod error;
mod evidence;
mod explain;
mod export;
mod facts;
mod fixed;
mod forest;
mod graph;
mod input;
mod join;
mod keyed;
mod lease;
mod lineage;
mod mark;
mod meaning;
mod merge;
mod names;
mod parameters;
mod places;
mod rarity;
mod resolve;
mod risk;
mod score;
mod shard;
mod snapshot;
mod stats;
mod suggest;
mod timeline;
mod watermark;
mod words;

pub use completeness::{Completeness, RuleCounts, RuleInterval};
pub use correlator::Correlator;
pub use error::CorrelateError;
pub use export::{graphml, stix};
pub use input::{AnalystInput, Kept, Said};
pub use join::{EventJoins, EventPair};
pub use parameters::Parameters;
pub use stats::Stats;
pub use watermark::WatermarkTracker;
pub use words::{affected, duration, share};
