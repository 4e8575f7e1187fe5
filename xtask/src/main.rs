//! Every chore of wirespan; `cargo xtask --help` lists them. CI runs the same commands as a person.

mod bench;
mod build;
mod ci;
mod demo;
mod docs;
mod ebpf;
mod fixtures;
mod fuzz;
mod setup;
mod sh;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The chores of wirespan", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Install what building and testing need; does nothing when all is there
    Setup,
    /// Set up, start three services that call each other, and print their traces live
    Demo(demo::Arguments),
    /// Set up, then run every test: those of the crates, end to end here, end to end under other
    /// kernels
    Test(test::Arguments),
    /// Measure what the agent costs
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Give the parsers and readers hostile input, by libFuzzer
    Fuzz(fuzz::Arguments),
    /// Record the event logs of tests/fixtures/log anew, from real servers
    Fixtures(fixtures::Arguments),
    /// Write the pages of docs/ that are made of the code: metrics, limits, configuration
    Docs(docs::Arguments),
    /// The gate: format, clippy, documentation, every test
    Ci,
    /// Run the end-to-end tests, or any command, under another kernel
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Chore::Demo(arguments) => demo::run(&arguments),
        Chore::Test(arguments) => test::run(&arguments),
        Chore::Bench(bench) => bench::run(&bench),
        Chore::Fuzz(arguments) => fuzz::run(&arguments),
        Chore::Fixtures(arguments) => fixtures::run(&arguments),
        Chore::Docs(arguments) => docs::run(&arguments),
        Chore::Ci => ci::run(),
        Chore::Vm(arguments) => vm::run(&arguments),
    };
    done.unwrap_or_else(|err| {
        eprintln!("error: {err:#}");
        ExitCode::FAILURE
    })
}
