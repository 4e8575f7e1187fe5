//! The commands: what a person types, and how the layers below are put together for it.

mod cli;
mod doctor;

pub use cli::{Cli, main};
