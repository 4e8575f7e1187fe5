//! `wirespan run --config FILE`: the daemon.

use std::{io::Write as _, path::PathBuf, sync::Arc};

use anyhow::Result;
use clap::Args;

use super::{
    recording::Recording,
    runtime::{Setup, Signals, Tracing},
    session::{Options, Session},
    stdout::tell,
    telemetry::Telemetry,
};
use crate::{
    config::Config,
    export::{
        Sender,
        console::ConsoleFormat,
        metrics::MetricsText,
        metrics_server::{MetricsServer, Pages},
    },
    pipeline, protocol,
    source::kernel::{self, AttachMode},
    trace,
};

/// Arguments of `wirespan run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The configuration; `wirespan config default` prints one with every key explained.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Use only this attach mode: raw_tp or fexit.
    #[arg(long, value_name = "R")]
    attach_mode: Option<AttachMode>,
    /// Also write every event into a new file, for `wirespan replay`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Reads the configuration: before the log is set up, since it may name the log's level.
pub(super) fn configuration(args: &RunArgs) -> Result<Config> {
    let mut config = Config::from_file(&args.config)?;
    for variable in config.apply_environment(environment) {
        tell(format_args!("warning: {variable}"));
    }
    for doubt in config.warnings() {
        tell(format_args!("warning: {doubt}"));
    }
    Ok(config)
}

/// Traces until a signal that ends it (see [`super::signals`]), then drains.
pub(super) fn run(args: &RunArgs, config: Config, verbose: bool) -> Result<i32> {
    let setup = Setup { host: config.host_resource(environment), export: config.export.clone() };
    let metrics = config.metrics;
    let recording = args.record.clone().map(|path| Recording::beside(path, setup.host.clone()));
    let options = Options { recording: recording.clone(), ..options(args, config, verbose) };
    let prepared = setup.start()?;
    let mut signals = Signals::catch(&prepared.runtime)?;
    // Before the programs are loaded: a port that is taken must not leave anything to clean up.
    let telemetry = Arc::clone(&prepared.telemetry);
    let sender = prepared.exporters.sender();
    let reopened = sender.clone();
    let details = Arc::clone(&telemetry);
    let collect = move |out: &mut MetricsText| {
        telemetry.collect(out);
        sender.collect(out);
    };
    let pages = Pages {
        metrics: Arc::new(collect),
        processes: Arc::new(move |out: &mut MetricsText| details.collect_processes(out)),
    };
    let server =
        metrics.map(|address| MetricsServer::start(address, pages, prepared.runtime.handle())).transpose()?;
    let tracing = Tracing::start(prepared, options, Box::new(ready))?;
    let numbers = tracing.telemetry();
    tracing.until(async move { until_ended(&mut signals, &reopened, &numbers).await })?;
    drop(server);
    if let Some(recording) = recording {
        recording.report();
    }
    Ok(0)
}

/// Does what signals ask for until one asks for the end.
async fn until_ended(signals: &mut Signals, sender: &Sender, telemetry: &Telemetry) -> i32 {
    loop {
        match signals.any().await {
            // An event log is one piece: it stays open.
            libc::SIGHUP | libc::SIGUSR1 => sender.reopen(),
            libc::SIGUSR2 => tell(format_args!("{}", telemetry.summary())),
            number => return number,
        }
    }
}

/// The line that says that every hook is attached and the processes that match are known.
fn ready(session: &mut Session) -> Result<()> {
    let attach_mode = session.attach_mode();
    let selected = session.selected();
    drop(writeln!(
        std::io::stderr(),
        "wirespan ready: attach mode {attach_mode}, {selected} processes selected"
    ));
    Ok(())
}

fn options(args: &RunArgs, config: Config, verbose: bool) -> Options {
    // Only the trees of a console show what is open.
    let shown = config.export.console.as_ref().is_some_and(|console| console.format == ConsoleFormat::Tree);
    let defaults = trace::Settings::default();
    let trace = trace::Settings {
        open_notice: defaults.open_notice.filter(|_| shown),
        parent_wait: config.limits.parent_wait,
        waiting_spans: config.limits.waiting_spans,
        connections: config.limits.connections as usize,
        causality: config.causality,
        redaction: config.redaction(),
        instrumented: config.instrumented,
        correlation_headers: config.correlation_headers,
        forwarded: config.forwarded,
        ..defaults
    };
    let engine = pipeline::Settings {
        trace,
        limits: protocol::Limits::default(),
        connections: config.limits.connections as usize,
        buffered_bytes: config.limits.buffered_bytes,
        idle: config.limits.idle,
    };
    let kernel = kernel::Settings {
        attach_mode: args.attach_mode,
        ring_bytes: config.capture.ring_bytes,
        nice: config.capture.nice,
        capture_bytes: config.capture.bytes,
        head_bytes: config.capture.head_bytes,
        connections: config.limits.connections,
        verbose,
        ..kernel::Settings::default()
    };
    Options { selection: config.selection, kernel, engine, recording: None }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
