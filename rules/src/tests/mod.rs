//! Tests of the whole crate: vectors, corpus, oracle, pack.

pub(crate) mod batch;
mod corpus;
mod families;
mod oracle;
mod pack;
mod pack_correlations;
pub(crate) mod small;
mod vectors;
