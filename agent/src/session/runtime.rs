//! What surrounds a session: exporters on a tokio runtime, the session's thread, and the end of
//! both.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::{runtime::Runtime, sync::oneshot};

use super::{Options, Session, priority, telemetry::Telemetry};
use crate::export::{self, Exporters, HostResource};

/// How long the exporters may drain: with the session's own end this stays below the 5 s that `run`
/// promises.
const DRAIN: Duration = Duration::from_millis(3500);

/// What is known before anything runs.
pub(crate) struct Setup {
    pub(crate) host: HostResource,
    pub(crate) export: export::Settings,
}

/// Exporters that run and wait for spans.
pub(crate) struct Prepared {
    pub(crate) runtime: Runtime,
    pub(crate) exporters: Exporters,
    pub(crate) telemetry: Arc<Telemetry>,
}

impl Setup {
    /// Starts the exporters on a runtime of their own.
    pub(crate) fn start(&self) -> Result<Prepared> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the threads of the exporters")?;
        let exporters = Exporters::start(&self.export, &self.host, runtime.handle())?;
        Ok(Prepared { runtime, exporters, telemetry: Arc::new(Telemetry::default()) })
    }
}

/// A session in its thread, with its exporters.
pub(crate) struct Tracing {
    runtime: Runtime,
    exporters: Exporters,
    telemetry: Arc<Telemetry>,
    stop: Arc<AtomicBool>,
    /// Receives the outcome when the session's thread has ended.
    ended: oneshot::Receiver<Result<()>>,
}

/// A session that has ended: how, and what was seen, missed and exported.
pub(crate) struct Ended<T> {
    pub(crate) outcome: Result<T>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) exported: export::Summary,
}

/// Sets up the session before it runs: pins processes, prints `ready`.
pub(crate) type Prepare = Box<dyn FnOnce(&mut Session) -> Result<()> + Send>;

impl Tracing {
    /// Loads the programs and runs the session in a thread of its own. Returns when tracing has
    /// begun.
    pub(crate) fn start(prepared: Prepared, options: Options, prepare: Prepare) -> Result<Self> {
        let Prepared { runtime, exporters, telemetry } = prepared;
        let stop = Arc::new(AtomicBool::new(false));
        let (report_start, started) = std::sync::mpsc::channel();
        let (report_end, ended) = oneshot::channel();
        let (sender, stopped) = (exporters.sender(), Arc::clone(&stop));
        let numbers = Arc::clone(&telemetry);
        let nice = options.kernel.nice;
        let body = move || {
            let mut session = match Session::start(options, sender, numbers)
                .and_then(|mut session| prepare(&mut session).map(|()| session))
            {
                Ok(session) => session,
                Err(error) => return drop(report_start.send(Err(error))),
            };
            // Set only now, so that the threads that the session has started do not inherit the
            // priority.
            priority::set(nice);
            drop(report_start.send(Ok(())));
            let outcome = session.run(&stopped);
            // The process must not end before the kernel has removed the uprobes: see `Probes`.
            drop(session);
            // The receiver is gone only when the process is ending anyway.
            drop(report_end.send(outcome));
        };
        thread::Builder::new()
            .name("session".to_owned())
            .spawn(body)
            .context("cannot start the session's thread")?;
        started
            .recv()
            .map_err(|_| anyhow!("the session's thread ended before it began: this is a defect"))??;
        Ok(Self { runtime, exporters, telemetry, stop, ended })
    }

    /// The counters of the running session.
    pub(crate) fn telemetry(&self) -> Arc<Telemetry> {
        Arc::clone(&self.telemetry)
    }

    /// Waits for `end` (or for the session to fail), then stops and drains.
    pub(crate) fn until<T>(self, end: impl Future<Output = T>) -> Ended<T> {
        let Self { runtime, exporters, telemetry, stop, mut ended } = self;
        let outcome = runtime.block_on(async {
            tokio::select! {
                result = &mut ended => Err(failed(result)),
                value = end => Ok(value),
            }
        });
        stop.store(true, Ordering::Relaxed);
        let session = match outcome {
            Ok(_) => runtime.block_on(ended).unwrap_or_else(|_| Err(died())),
            Err(_) => Ok(()),
        };
        let exported = runtime.block_on(exporters.shutdown(DRAIN));
        telemetry.undelivered(&exported);
        // A name look-up that hangs must not hold up the end.
        runtime.shutdown_background();
        Ended { outcome: session.and(outcome), telemetry, exported }
    }
}

fn failed(result: Result<Result<()>, oneshot::error::RecvError>) -> anyhow::Error {
    match result {
        Ok(Err(error)) => error,
        _ => died(),
    }
}

fn died() -> anyhow::Error {
    anyhow!("the session's thread ended unexpectedly: this is a defect")
}
