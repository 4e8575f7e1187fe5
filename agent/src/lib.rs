//! wirespan: traces programs nobody instrumented.
//!
//! The modules stand in the order in which data flows, and each imports only what stands above it.
//! An event goes from [`source`] through [`protocol`] and [`trace`] in the [`pipeline`] to the
//! exporters of [`export`]. `session` is the running agent, which puts these together; [`command`]
//! is what a person types and reads.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!(
    "wirespan reads system call registers of x86-64 Linux; other architectures are not supported yet"
);

mod address;

mod careful;

mod causes;

mod elf;

pub mod metric;

mod words;

mod blocks;

#[cfg(test)]
mod skipped;

pub mod event;

pub mod source;

pub mod process;

pub mod stream;

pub mod protocol;

pub mod trace;

pub mod pipeline;

pub mod metrics;

pub mod export;

pub mod config;

mod session;

pub mod command;
