//! The commands: what a person types, and how the layers below are put together for it.

mod cli;
pub mod config;
mod doctor;
pub mod listeners;

pub use cli::{Cli, main};
