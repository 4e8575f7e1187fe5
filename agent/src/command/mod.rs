//! The commands: what a person types, and how the layers below are put together for it.

mod cli;
mod config;
mod doctor;
mod ending;
mod listeners;
mod record;
mod replay;
mod run;
mod signals;
mod stdout;
mod target;
mod trace;

pub use cli::{Cli, main};
