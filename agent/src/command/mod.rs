//! The commands: what a person types and reads. The running agent that they start is `session`.

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
