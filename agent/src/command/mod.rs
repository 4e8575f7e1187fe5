//! The commands: what a person types, and how the layers below are put together for it.

mod cli;
mod cookies;
mod doctor;
mod exe_cache;
mod gate;
mod listeners;
mod runtime;
mod session;
mod telemetry;
mod trace;

pub use cli::{Cli, main};
