//! `wirespan run --config FILE`: the daemon.

use std::{io::Write as _, path::PathBuf, sync::Arc};

use anyhow::Result;
use clap::Args;

use super::{ending, signals::Signals, stdout::report};
use crate::{
    config::Config,
    export::{
        Sender,
        console::ConsoleFormat,
        metrics::MetricsText,
        metrics_server::{MetricsServer, Pages},
    },
    pipeline, protocol,
    session::{
        Options, Session,
        recording::Recording,
        runtime::{Setup, Tracing},
        telemetry::Telemetry,
    },
    source::kernel::{self, AttachMode},
    trace,
};

/// Arguments of `wirespan run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The configuration; `wirespan config default` prints one with every key explained.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How BPF programs are attached to the kernel. Default: the first of the two that works;
    /// `wirespan doctor` says which.
    #[arg(long, value_name = "raw_tp|fexit")]
    attach_mode: Option<AttachMode>,
    /// Also write every event into a new file, for `wirespan replay`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Reads the configuration: before the log is set up, since it may name the log's level.
pub(super) fn configuration(args: &RunArgs) -> Result<Config> {
    let mut config = Config::from_file(&args.config)?;
    for variable in config.apply_environment(environment) {
        report(format_args!("warning: {variable}"));
    }
    for doubt in config.warnings() {
        report(format_args!("warning: {doubt}"));
    }
    Ok(config)
}

/// Traces until a signal that ends it (see [`super::signals`]), then drains.
pub(super) fn run(args: &RunArgs, config: Config, verbose: bool) -> Result<i32> {
    let setup = Setup { host: config.host_resource(environment), export: config.export.clone() };
    let metrics = config.metrics;
    let recording = args.record.clone().map(|path| Recording::beside(path, setup.host.clone()));
    let options = Options { recording: recording.clone(), ..options(args.attach_mode, config, verbose) };
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
        status: Arc::new(move || serde_json::to_string(&details.status()).unwrap_or_default()),
    };
    let server =
        metrics.map(|address| MetricsServer::start(address, pages, prepared.runtime.handle())).transpose()?;
    let tracing = Tracing::start(prepared, options, Box::new(ready))?;
    let numbers = tracing.telemetry();
    let ended = tracing.until(async move { until_ended(&mut signals, &reopened, &numbers, verbose).await });
    ending::conclude(ended, verbose)?;
    drop(server);
    if let Some(recording) = recording {
        ending::report_recording(&recording);
    }
    Ok(0)
}

/// Carries out what signals ask for, until one asks for the end.
async fn until_ended(signals: &mut Signals, sender: &Sender, telemetry: &Telemetry, verbose: bool) -> i32 {
    loop {
        match signals.any().await {
            // An event log is one piece: it stays open.
            libc::SIGHUP | libc::SIGUSR1 => sender.reopen(),
            libc::SIGUSR2 => report(format_args!("{}", telemetry.summary(verbose))),
            number => return number,
        }
    }
}

/// Reports that every hook is attached and that the processes that match are known.
fn ready(session: &mut Session) -> Result<()> {
    let attach_mode = session.attach_mode();
    let selected = session.selected();
    drop(writeln!(
        std::io::stderr(),
        "wirespan ready: attach mode {attach_mode}, {selected} processes selected"
    ));
    Ok(())
}

fn options(attach_mode: Option<AttachMode>, config: Config, verbose: bool) -> Options {
    // Only the tree on a console shows open requests.
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
        attach_mode,
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

#[cfg(test)]
mod tests {
    use serde_json::to_value;

    use super::*;
    use crate::export::console::ConsoleSettings;

    /// So `run` with it, `trace` and `replay` agree.
    #[test]
    fn the_default_configuration_is_the_defaults_of_the_layers() {
        let mut config = Config::parse("c.yaml", Config::example()).unwrap();
        config.export.console = Some(ConsoleSettings::default());
        let options = options(None, config, false);
        let (engine, kernel) = (pipeline::Settings::default(), kernel::Settings::default());
        assert_eq!(to_value(options.engine).unwrap(), to_value(engine).unwrap());
        assert_eq!(format!("{:?}", options.kernel), format!("{kernel:?}"));
    }
}
