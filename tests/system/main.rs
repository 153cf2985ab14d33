//! Whole-system tests: the binary as users run it, on real files and a real broker.

mod bad_input;
mod harness;
mod house;
mod kafka;
mod real_data;
