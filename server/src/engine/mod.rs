//! The stages wired together; each stage is one function of one file.
//!
//! ```text
//! detection.rs   records -> batches, alerts, dead letters            (decode, detect)
//! pipeline.rs    batches, alerts -> incidents, actions, stored rows  (correlate, respond, store)
//! analyst.rs     what the audit chain says of analysts' inputs
//! meters.rs      what the stages hold, did and refused, as metrics
//! live.rs        the daemon's loop: sources, ticks, commands of the API, orderly stop
//! executor.rs    lets decided commands out, one at a time, and reports back
//! delivery.rs    the outbox to Kafka
//! topics.rs      how the records of a topic are read
//! ```

mod analyst;
mod delivery;
mod detection;
mod executor;
mod live;
mod meters;
mod pipeline;
mod topics;

pub(crate) use analyst::in_words;
pub(crate) use delivery::{Webhooks, deliver_to_kafka};
pub(crate) use detection::{Detected, Detector};
pub(crate) use executor::Providers;
pub(crate) use live::{
    About, Decided, Decision, Engine, EngineHandle, EngineOptions, Input, InputError, OnlyAt,
    SourceWithDetector, Verdict, stop_on_signals,
};
pub(crate) use pipeline::{
    CheckpointLimits, PARAMETERS, PAUSED, PLAYBOOKS, Pipeline, PipelineOptions, Stores, explain, state_path,
};
pub(crate) use topics::Topics;
