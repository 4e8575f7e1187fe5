//! Real programs, a real kernel, the real agent: what was asked and answered must be what the spans say, no more and no
//! less. Needs root; a test that lacks something says `SKIPPED`.
//!
//! Modules choose where a test runs: those in `userspace` are not run under each kernel, those in `native` in no guest.

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
mod native;
mod peers;
mod processes;
mod replay;
mod sockmap;
mod syscalls;
mod tasks;
mod traces;
mod userspace;
