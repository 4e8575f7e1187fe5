//! The command line and its exit statuses: 0 it worked, 1 it failed (the message says what to do), 2 wrong usage.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::doctor;
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
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("wirespan: {error:#}");
        ExitCode::FAILURE
    })
}

fn exit(works: bool) -> ExitCode {
    if works { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// RUST_LOG decides; without it warnings, or everything of ours with `--verbose`.
fn log_to_stderr(verbose: bool) {
    let default = if verbose { "wirespan=debug" } else { "wirespan=warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
}
