//! End-to-end tests with real programs, a real kernel and the real agent: the spans must show the
//! requests and responses that took place, no more and no less. They need root; a test that lacks
//! something reports `SKIPPED`.
//!
//! Modules choose where a test runs: those in `userspace` are not run under each kernel, those in
//! `native` in no guest.

mod chain;
mod check;
mod commands;
mod connections;
mod ends;
mod flows;
mod goroutines;
mod harm;
mod heads;
mod matrix;
mod messages;
mod metrics;
mod native;
mod peers;
mod processes;
mod replay;
mod sockmap;
mod syscalls;
mod tasks;
mod traces;
mod userspace;
