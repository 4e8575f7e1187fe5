//! The commands: what a person types, and how the layers below are put together for it.

mod cli;
mod config;
mod cookies;
mod doctor;
mod exe_cache;
mod funnel;
mod gate;
mod judging;
mod listeners;
mod priority;
mod record;
mod recording;
mod refused;
mod replay;
mod run;
mod runtime;
mod session;
mod signals;
mod stdout;
mod summary;
mod target;
mod telemetry;
mod trace;

pub use cli::{Cli, main};
