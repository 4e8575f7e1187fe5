//! `cargo xtask bench overhead`: what the agent costs the traced program, the machine, and a
//! program it does not trace. `cargo xtask bench pipeline`: what a span costs in user space,
//! whatever the kernel. `cargo xtask bench links`: how many calls of real applications get their
//! parent, and that no other gets one.

mod against;
mod guest;
mod kernel;
mod links;
mod load;
mod losses;
mod native;
pub(crate) mod pipeline;
mod runtimes;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, ensure};
use clap::Subcommand;
use wirespan_tests::{agent::Agent, stage::Stage};

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// nginx and wrk with the agent off and on
    Overhead(Arguments),
    /// Parsers, tracer and encoder alone, on generated events: instructions, allocations and copies
    /// per span and stage; or time and memory
    Pipeline(pipeline::Arguments),
    /// Real applications that call each other: linked, unlinked and wrong calls, by application
    /// and concurrency
    Links(links::Arguments),
    /// Records that are lost while other processes want all the CPU, against another binary in turn
    Losses(losses::Arguments),
    /// What `overhead --vm` runs inside the guest
    #[command(hide = true)]
    InGuest(Arguments),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// In the VM that counts instructions, for nginx, Go, Python and Node
    #[arg(long)]
    vm: bool,
    /// In the VM: only this server
    #[arg(long, requires = "vm", value_parser = guest::servers())]
    only: Option<String>,
    /// In the VM: this binary of the agent instead of the workspace's
    #[arg(long, requires = "vm")]
    agent: Option<PathBuf>,
    /// The kernel of the VM
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Pairs of runs, off and on
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Seconds of load per run
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Where the agent's spans go
    #[arg(long, value_enum, default_value_t = Export::Otlp)]
    export: Export,
    /// Only this agent against another binary of it, in turn
    #[arg(long, conflicts_with = "vm")]
    against: Option<PathBuf>,
}

/// Where the agent's spans go while it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Export {
    /// OTLP/HTTP to a collector on loopback that takes everything
    Otlp,
    /// The same, compressed
    OtlpGzip,
    /// OTLP JSON lines in a file
    File,
}

impl Export {
    /// Starts an agent with this exporter; `collector` is a port of loopback. Without a binary it
    /// is the one of this workspace.
    fn agent(self, stage: &Stage, collector: u16, binary: Option<&Path>) -> Result<Agent> {
        match self {
            Self::Otlp => Agent::exporting(stage, collector, "none", binary),
            Self::OtlpGzip => Agent::exporting(stage, collector, "gzip", binary),
            Self::File => match binary {
                Some(binary) => Agent::of(binary, stage.dir(), &stage.select(), None),
                None => Agent::start(stage),
            },
        }
    }
}

/// Ends an agent that was measured. All its spans must have been exported; nobody reads them.
fn finish(agent: Agent) -> Result<()> {
    let metrics = agent.metrics()?;
    let lost = metrics.sum("wirespan_export_dropped_spans_total", &[]);
    ensure!(lost == 0.0, "{lost} spans were not exported: {}", agent.log());
    std::fs::remove_file(agent.finish()?).ok();
    Ok(())
}

pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::Overhead(arguments) if arguments.vm => guest::host(arguments),
        Bench::Overhead(arguments) => native::run(arguments),
        Bench::Pipeline(arguments) => pipeline::run(arguments),
        Bench::Links(arguments) => links::run(arguments),
        Bench::Losses(arguments) => losses::run(arguments).map(|()| ExitCode::SUCCESS),
        Bench::InGuest(arguments) => guest::run(arguments),
    }
}

/// Runs both, one after the other. Which of them comes first alternates with the number, so that
/// both see the same drift of the machine.
fn in_turn<T>(
    number: usize,
    one: impl FnOnce() -> Result<T>,
    other: impl FnOnce() -> Result<T>,
) -> Result<(T, T)> {
    if number % 2 == 1 {
        let first = one()?;
        return Ok((first, other()?));
    }
    let first = other()?;
    Ok((one()?, first))
}

/// The middle value; 0 of nothing.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::{in_turn, median};

    #[test]
    fn the_order_alternates_and_the_result_does_not() {
        let order = std::cell::RefCell::new(String::new());
        let run = |name: char| {
            order.borrow_mut().push(name);
            Ok(name)
        };
        for number in [1, 2] {
            assert_eq!(in_turn(number, || run('a'), || run('b')).unwrap(), ('a', 'b'));
        }
        assert_eq!(order.into_inner(), "abba");
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the numbers are exact")]
    fn the_median_is_in_the_middle() {
        assert_eq!([median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0]), median(&[])], [2.0, 2.5, 0.0]);
    }
}
