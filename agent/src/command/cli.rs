//! The command line and its exit statuses: 0 it worked, 1 it failed (the message says what to do), 2 wrong usage.

use std::{ffi::OsString, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use super::{
    doctor, gate,
    trace::{self, TraceArgs},
};
use crate::source::kernel::Rung;

/// Traces programs that nobody instrumented: HTTP requests become OpenTelemetry spans, straight from the kernel.
#[derive(Debug, Parser)]
#[command(name = "wirespan", version, about)]
pub struct Cli {
    /// Print what the BPF programs log and every decision at start.
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether this machine can be traced, by which hooks, and what stands in the way.
    Doctor(DoctorArgs),
    /// Show the traces of processes on the terminal as they happen.
    Trace(TraceArgs),
    /// What `trace -- CMD` starts: waits until it is traced, then becomes the command.
    #[command(name = gate::NAME, hide = true)]
    ExecGate {
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// For programs instead of people.
    #[arg(long)]
    json: bool,
    /// Try only this rung: raw_tp or fexit.
    #[arg(long)]
    rung: Option<Rung>,
    /// Where a running agent serves its metrics.
    #[arg(long, default_value = "127.0.0.1:9464")]
    metrics: String,
}

/// Runs the command; the process exits with what it returns.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    let outcome = match cli.command {
        Command::Doctor(args) => doctor::doctor(args.json, args.rung, &args.metrics).map(exit),
        Command::Trace(args) => trace::trace(args, cli.verbose).map(status),
        Command::ExecGate { command } => gate::pass(&command).map(status),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("wirespan: {error:#}");
        ExitCode::FAILURE
    })
}

fn exit(works: bool) -> ExitCode {
    if works { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A status that is not one of ours (a command's) as it is.
fn status(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// RUST_LOG decides; without it warnings, or everything of ours with `--verbose`.
fn log_to_stderr(verbose: bool) {
    let default = if verbose { "wirespan=debug" } else { "wirespan=warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
}
