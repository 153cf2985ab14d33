//! The lake and hunting, through the public surface. One binary: each one links the query engine.

mod fixture;
mod hunt;
mod lake;
