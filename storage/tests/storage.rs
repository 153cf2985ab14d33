//! The lake and hunting, through the public surface. One binary: each one links the query engine.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used)]

mod fixture;
mod hunt;
mod lake;
