//! Real programs, a real kernel, the real agent: what was asked and answered must be what the spans say, no more and no
//! less. Needs root; a test that lacks something says `SKIPPED`.

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
mod operators;
mod peers;
mod processes;
mod replay;
mod sockmap;
mod syscalls;
mod tasks;
mod traces;
