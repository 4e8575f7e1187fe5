//! Export: finished spans leave the agent, over OTLP, into a file, onto a terminal; and the agent's own metrics.
//!
//! Every exporter has a bounded queue and a task or thread of its own, so none can hold up another or the pipeline.

mod attributes;
pub mod console;
mod feed;
pub mod file;
mod json;
pub mod metrics;
pub mod metrics_server;
pub mod otlp;
mod resource;
mod span_file;

use std::{fmt, io, sync::Arc, thread, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use self::{
    console::ConsoleSettings,
    feed::Feed,
    file::{FileError, FileSettings, LineExporter},
    metrics::MetricsText,
    otlp::{OtlpError, OtlpExporter, settings::OtlpSettings},
};
pub use self::{
    feed::{DropReason, ExporterSummary},
    json::LineWriter,
    resource::HostResource,
};
use crate::pipeline::queue::Batch;

/// Which exporters run, and how. The metrics endpoint is started apart: [`metrics_server::MetricsServer::start`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    pub otlp: Option<OtlpSettings>,
    pub file: Option<FileSettings>,
    pub console: Option<ConsoleSettings>,
}

/// Why the exporters cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot start the thread of the {exporter} exporter: {source}; raise the limit of threads")]
    Thread { exporter: &'static str, source: io::Error },
}

/// The running exporters.
#[derive(Debug)]
pub struct Exporters {
    running: Vec<Running>,
    output_closed: Arc<Notify>,
}

#[derive(Debug)]
struct Running {
    feed: Arc<Feed>,
    worker: Worker,
}

#[derive(Debug)]
enum Worker {
    Task {
        task: JoinHandle<()>,
        give_up: Arc<Notify>,
    },
    /// A thread, which cannot be stopped; it tells (by dropping the sender) when it is done.
    Thread(oneshot::Receiver<()>),
}

impl Exporters {
    /// Starts what `settings` ask for. OTLP runs on `runtime`, file and console have threads.
    ///
    /// # Errors
    /// When the span file cannot be opened or the OTLP settings cannot be used. A collector that is away is no error.
    pub fn start(settings: &Settings, host: &HostResource, runtime: &Handle) -> Result<Self, StartError> {
        let output_closed = Arc::new(Notify::new());
        let mut running = vec![];
        if let Some(file) = &settings.file {
            let feed = Arc::new(Feed::new("file", file.queue_entries));
            let exporter = LineExporter::open(file, host.clone(), Arc::clone(&feed))?;
            let worker = spawn_thread(&feed, move || exporter.run())?;
            running.push(Running { feed, worker });
        }
        if let Some(otlp) = &settings.otlp {
            let feed = Arc::new(Feed::new("otlp", otlp.queue_entries));
            let exporter = OtlpExporter::new(otlp, host.clone(), Arc::clone(&feed))?;
            let give_up = Arc::new(Notify::new());
            let task = runtime.spawn(exporter.run(Arc::clone(&give_up)));
            running.push(Running { feed, worker: Worker::Task { task, give_up } });
        }
        if let Some(console) = settings.console {
            let feed = Arc::new(Feed::new("console", console.queue_entries));
            let (host, of_thread, closed) = (host.clone(), Arc::clone(&feed), Arc::clone(&output_closed));
            let run = move || console::run(console, host, of_thread, closed);
            let worker = spawn_thread(&feed, run)?;
            running.push(Running { feed, worker });
        }
        Ok(Self { running, output_closed })
    }

    /// Gives a batch to every exporter. Never waits; an exporter whose queue is full drops and counts.
    pub fn send(&self, batch: &Batch) {
        for running in &self.running {
            running.feed.queue.push(batch.clone());
        }
    }

    /// A handle for the pipeline thread, to send while the exporters themselves stay with whoever shuts them down.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender { feeds: self.feeds() }
    }

    /// Notified when nobody reads standard output any more (`wirespan trace | head`): a reason to end.
    #[must_use]
    pub fn output_closed(&self) -> Arc<Notify> {
        Arc::clone(&self.output_closed)
    }

    /// Stops taking spans, drains within `deadline`, and counts what did not get out in time.
    pub async fn shutdown(self, deadline: Duration) -> Summary {
        let deadline = Instant::now() + deadline;
        for running in &self.running {
            running.feed.queue.close();
        }
        let mut exporters = vec![];
        for Running { feed, worker } in self.running {
            worker.finish(deadline).await;
            feed.settle();
            exporters.push(feed.summary());
        }
        Summary { exporters }
    }

    fn feeds(&self) -> Vec<Arc<Feed>> {
        self.running.iter().map(|running| Arc::clone(&running.feed)).collect()
    }
}

impl Worker {
    async fn finish(self, deadline: Instant) {
        match self {
            Self::Thread(mut done) => drop(timeout_at(deadline, &mut done).await),
            Self::Task { mut task, give_up } => {
                if timeout_at(deadline, &mut task).await.is_err() {
                    give_up.notify_one();
                    // It only waits for its aborted requests now. A panic in it has been reported by its hook.
                    drop(task.await);
                }
            }
        }
    }
}

fn spawn_thread(feed: &Arc<Feed>, run: impl FnOnce() + Send + 'static) -> Result<Worker, StartError> {
    let (sender, done) = oneshot::channel::<()>();
    let (exporter, closing) = (feed.name, Closing(Arc::clone(feed)));
    let body = move || {
        run();
        drop(closing);
        drop(sender);
    };
    thread::Builder::new()
        .name(format!("export-{exporter}"))
        .spawn(body)
        .map(|_| Worker::Thread(done))
        .map_err(|source| StartError::Thread { exporter, source })
}

/// Closes the queue of an exporter that has ended, however it did: nobody shall wait for room in it.
#[derive(Debug)]
struct Closing(Arc<Feed>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

/// Gives batches to the exporters and tells their metrics; cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender {
    feeds: Vec<Arc<Feed>>,
}

impl Sender {
    /// As [`Exporters::send`].
    pub fn send(&self, batch: &Batch) {
        for feed in &self.feeds {
            feed.queue.push(batch.clone());
        }
    }

    /// As [`Sender::send`], but waits for room in every queue: a source that can wait (a replay) loses nothing.
    pub fn send_waiting(&self, batch: &Batch) {
        for feed in &self.feeds {
            feed.queue.push_waiting(batch.clone());
        }
    }

    /// Asks the span file's exporter to open it anew, as log rotation wants it; done within half a second.
    pub fn reopen(&self) {
        for feed in &self.feeds {
            feed.ask_reopen();
        }
    }

    /// Writes the exporters' metrics.
    pub fn collect(&self, out: &mut MetricsText) {
        for feed in &self.feeds {
            feed.collect(out);
        }
    }
}

/// What became of all spans, exporter by exporter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    pub exporters: Vec<ExporterSummary>,
}

impl fmt::Display for Summary {
    /// One line for the log: `file: 12 spans exported; otlp: 9 spans exported, 3 dropped (shutdown 3)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, exporter) in self.exporters.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {} spans exported", exporter.name, exporter.exported)?;
            if exporter.dropped_total() > 0 {
                let reasons: Vec<_> = exporter
                    .dropped
                    .iter()
                    .map(|(reason, spans)| format!("{} {spans}", reason.name()))
                    .collect();
                write!(f, ", {} dropped ({})", exporter.dropped_total(), reasons.join(", "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
