//! Whole-system tests: the binary as users run it, on real files and a real broker.
#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub)] // A test says what it skips, and panics.

mod api;
mod bad_input;
mod harness;
mod house;
mod kafka;
mod real_data;
mod response;
mod rule_overlay;
mod rule_reload;
mod rule_report;
mod scenario;
mod schema;
