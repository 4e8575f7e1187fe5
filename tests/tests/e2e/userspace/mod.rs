//! What another kernel cannot change: the side of the parser, of the configuration and of
//! operators. `cargo xtask test` runs these tests on this machine alone and not under each kernel.

mod commands;
mod messages;
mod nat;
mod operators;
mod programs;
mod refusals;
