//! The command line and its exit statuses: 0 it worked, 1 it failed (the message says what to do),
//! 2 wrong usage.

use std::{ffi::OsString, io::IsTerminal as _, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use super::{
    config, doctor,
    record::{self, RecordArgs},
    replay::{self, ReplayArgs},
    run::{self, RunArgs},
    stdout::report,
    trace::{self, TraceArgs},
};
use crate::{config::LogLevel, session::gate, source::kernel::AttachMode};

/// Traces programs that nobody instrumented: HTTP requests become OpenTelemetry spans, straight
/// from the kernel.
#[derive(Debug, Parser)]
#[command(name = "wirespan", version, about)]
pub struct Cli {
    /// Log every decision that the agent takes, and what the BPF programs log.
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check whether this machine can be traced, in which attach mode, and what is missing.
    Doctor(DoctorArgs),
    /// Run the agent with a configuration file, and export spans until it is stopped.
    Run(RunArgs),
    /// Check a configuration, or print the default one.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show the traces of processes on the terminal as they happen.
    Trace(TraceArgs),
    /// Record the socket and process events of processes into a file, for `replay`.
    Record(RecordArgs),
    /// Build spans from a recording or a packet capture, anywhere and without root.
    Replay(ReplayArgs),
    /// What `trace -- CMD` starts: waits until it is traced, then becomes the command.
    #[command(name = gate::NAME, hide = true)]
    ExecGate {
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say what a configuration would do, or what is wrong with it and where.
    Check { file: PathBuf },
    /// Print a configuration with every key, its default and its meaning.
    Default,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Check only this way of attaching BPF programs to the kernel. Default: both.
    #[arg(long, value_name = "raw_tp|fexit")]
    attach_mode: Option<AttachMode>,
    /// Ask the running agent about this process instead: whether the parents of its calls can be
    /// relied on, and what could not be read.
    #[arg(long)]
    pid: Option<u32>,
    /// Where the running agent listens (`metrics.listen` of its configuration).
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9464")]
    metrics: String,
}

/// Runs the command; the process exits with what it returns.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { verbose, command } = Cli::parse();
    execute(command, verbose).unwrap_or_else(|error| {
        report(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn execute(command: Command, verbose: bool) -> Result<ExitCode> {
    if let Command::Run(args) = command {
        let config = run::configuration(&args)?;
        log_to_stderr(verbose, config.log.map_or("warn", LogLevel::name));
        return run::run(&args, config, verbose).map(status);
    }
    log_to_stderr(verbose, "warn");
    match command {
        Command::Doctor(DoctorArgs { json, pid: Some(pid), metrics, .. }) => {
            doctor::doctor_of(json, pid, &metrics).map(exit)
        }
        Command::Doctor(args) => doctor::doctor(args.json, args.attach_mode, &args.metrics).map(exit),
        Command::Trace(args) => trace::trace(args, verbose).map(status),
        Command::Record(args) => record::record(args, verbose).map(status),
        Command::Replay(args) => replay::replay(&args, verbose).map(status),
        Command::ExecGate { command } => exec_gate(&command).map(status),
        Command::Config(ConfigCommand::Check { file }) => config::check(&file).map(|()| ExitCode::SUCCESS),
        Command::Config(ConfigCommand::Default) => config::default().map(|()| ExitCode::SUCCESS),
        Command::Run(_) => Ok(ExitCode::SUCCESS),
    }
}

/// Exit status when the command cannot be executed, as shells have it.
const NOT_FOUND: i32 = 127;

/// Returns only when the command could not be executed.
fn exec_gate(command: &[OsString]) -> Result<i32> {
    let error = gate::pass(command)?;
    let program = command.first().map(|program| program.display());
    report(format_args!(
        "cannot execute {}: {error}",
        program.map_or_else(String::new, |name| name.to_string())
    ));
    Ok(NOT_FOUND)
}

fn exit(works: bool) -> ExitCode {
    if works { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Passes on the exit status of a command as it is.
fn status(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The level is that of RUST_LOG, else with `--verbose` everything of the agent, else the
/// configuration's.
fn log_to_stderr(verbose: bool, level: &str) {
    let default = if verbose { "wirespan=debug".to_owned() } else { format!("wirespan={level}") };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A failed write would be reported by a panic.
        .log_internal_errors(false)
        .without_time()
        .init();
}
