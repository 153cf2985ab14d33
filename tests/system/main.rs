//! Whole-system tests: the binary as users run it, on real files and a real broker.

mod house;
