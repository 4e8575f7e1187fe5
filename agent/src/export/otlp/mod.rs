//! The OTLP exporter: batches from the queue to a collector, retried as OTLP allows, every span accounted for.
//!
//! One task takes spans from the queue and makes requests; a bounded number of requests is under way at once, each with its
//! own backoff. While the collector is away the queue fills up, then drops and counts. Delivery is at least once: a request
//! whose answer is lost is sent again.

mod answer;
#[cfg(test)]
pub(crate) mod convert;
mod encode;
mod grpc;
mod http;
pub(crate) mod key_value;
pub mod retry;
pub mod settings;
mod transport;
mod wire;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::body::Bytes;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Instant,
};

/// For the benchmark of the pipeline, which measures the encoder without a collector.
#[doc(hidden)]
pub use self::encode::Encoder;
pub use self::transport::OtlpError;
use self::{
    retry::RetrySettings,
    settings::OtlpSettings,
    transport::{Accepted, Client, SendError},
};
use super::{
    feed::{DropReason, Feed},
    resource::HostResource,
};
use crate::pipeline::queue::Piece;

/// Refusals and rejections are told of at most this often; the counters have them all.
const QUIET: Duration = Duration::from_secs(60);

/// The exporter, ready to run.
#[derive(Debug)]
pub(crate) struct OtlpExporter {
    feed: Arc<Feed>,
    encoder: Encoder,
    delivery: Arc<Delivery>,
    batch_spans: usize,
    batch_delay: Duration,
    permits: Arc<Semaphore>,
}

impl OtlpExporter {
    /// Checks the settings and reads certificates; connects only when there is something to send.
    pub(crate) fn new(
        settings: &OtlpSettings,
        host: HostResource,
        feed: Arc<Feed>,
    ) -> Result<Self, OtlpError> {
        let delivery = Delivery {
            feed: Arc::clone(&feed),
            client: Client::new(settings)?,
            endpoint: settings.target()?.to_string(),
            retry: settings.retry,
            health: Health::default(),
        };
        Ok(Self {
            feed,
            encoder: Encoder::new(host),
            delivery: Arc::new(delivery),
            batch_spans: settings.batch_spans.max(1),
            batch_delay: settings.batch_delay,
            permits: Arc::new(Semaphore::new(settings.concurrent_requests.max(1))),
        })
    }

    /// Runs until the queue is closed and all is sent or dropped, or until `give_up`.
    pub(crate) async fn run(mut self, give_up: Arc<Notify>) {
        let mut requests = JoinSet::new();
        tokio::select! {
            biased;
            () = give_up.notified() => {}
            () = self.pump(&mut requests) => {}
        }
        // Aborts what is still under way and waits for it, so that no counter moves after this.
        requests.shutdown().await;
    }

    async fn pump(&mut self, requests: &mut JoinSet<()>) {
        loop {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            while requests.try_join_next().is_some() {}
            let Some(batch) = self.gather().await else { break };
            let (request, spans) = self.encoder.request(batch.iter().flat_map(Piece::entries));
            if spans == 0 {
                continue;
            }
            let body = self.delivery.client.body(request);
            let delivery = Arc::clone(&self.delivery);
            requests.spawn(async move { delivery.deliver(body, spans, permit).await });
        }
        while requests.join_next().await.is_some() {}
    }

    /// Waits for spans until there are enough for a request or the first has waited long enough.
    async fn gather(&self) -> Option<Vec<Piece>> {
        let first = self.feed.queue.next(self.batch_spans).await?;
        let deadline = Instant::now() + self.batch_delay;
        let mut entries = first.entries().len();
        let mut batch = vec![first];
        while entries < self.batch_spans {
            let next = self.feed.queue.next(self.batch_spans - entries);
            let Ok(Some(piece)) = tokio::time::timeout_at(deadline, next).await else { break };
            entries += piece.entries().len();
            batch.push(piece);
        }
        Some(batch)
    }
}

/// What all requests under way share.
#[derive(Debug)]
struct Delivery {
    feed: Arc<Feed>,
    client: Client,
    /// For the log.
    endpoint: String,
    retry: RetrySettings,
    health: Health,
}

impl Delivery {
    /// Sends `body` with `spans` spans until it is taken, refused, or not worth retrying any more.
    async fn deliver(&self, body: Bytes, spans: u64, _permit: OwnedSemaphorePermit) {
        let started = Instant::now();
        let mut failures = 0;
        loop {
            let (asked, reason) = match self.client.send(body.clone()).await {
                Ok(accepted) => return self.accepted(spans, &accepted),
                Err(SendError::Refused { reason }) => return self.refused(spans, &reason),
                Err(SendError::Retryable { asked, reason }) => (asked, reason),
            };
            failures += 1;
            self.feed.add_failed_attempt();
            if self.health.failed() {
                tracing::warn!(
                    endpoint = self.endpoint,
                    reason,
                    "collector takes no spans: they wait in a bounded queue and are sent again; \
                     check the endpoint and that the collector runs"
                );
            }
            let wait = self.retry.wait(failures, asked, fastrand::f64());
            if started.elapsed() + wait > self.retry.max_elapsed {
                self.feed.add_dropped(DropReason::RetriesExhausted, spans);
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn accepted(&self, spans: u64, accepted: &Accepted) {
        self.answered();
        let rejected = accepted.rejected.min(spans);
        self.feed.add_exported(spans - rejected);
        self.feed.add_dropped(DropReason::Rejected, rejected);
        if let Some(unreadable) = &accepted.unreadable {
            self.feed.add_unreadable_answer();
            if self.health.may_complain() {
                tracing::warn!(
                    endpoint = self.endpoint,
                    unreadable,
                    "collector took the spans, but its answer cannot be read: whether it rejected some is not known"
                );
            }
        }
        if (rejected > 0 || !accepted.message.is_empty()) && self.health.may_complain() {
            let said = transport::for_log(&accepted.message);
            tracing::warn!(
                endpoint = self.endpoint,
                rejected,
                said,
                "collector took the spans with reservations; see wirespan_export_dropped_spans_total"
            );
        }
    }

    fn refused(&self, spans: u64, reason: &str) {
        self.answered();
        self.feed.add_failed_attempt();
        self.feed.add_dropped(DropReason::Refused, spans);
        if self.health.may_complain() {
            tracing::warn!(
                endpoint = self.endpoint,
                reason,
                spans,
                "collector refused spans for good: they are dropped and counted; check endpoint, protocol and headers"
            );
        }
    }

    fn answered(&self) {
        if self.health.succeeded() {
            tracing::info!(endpoint = self.endpoint, "collector answers again");
        }
    }
}

/// What has been said of the collector's state already, so that it is said once and not per request.
#[derive(Debug, Default)]
struct Health {
    state: Mutex<HealthState>,
}

#[derive(Debug, Default)]
struct HealthState {
    failing: bool,
    complained: Option<Instant>,
}

impl Health {
    /// A request failed. Whether that is news.
    fn failed(&self) -> bool {
        !std::mem::replace(&mut self.lock().failing, true)
    }

    /// A request was answered. Whether that is news.
    fn succeeded(&self) -> bool {
        std::mem::replace(&mut self.lock().failing, false)
    }

    /// Whether a refusal may be told of now.
    fn may_complain(&self) -> bool {
        let mut state = self.lock();
        let quiet = state.complained.is_some_and(|last| last.elapsed() < QUIET);
        if !quiet {
            state.complained = Some(Instant::now());
        }
        !quiet
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HealthState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod collector;
#[cfg(test)]
mod encode_tests;
#[cfg(test)]
mod raw_tests;
#[cfg(test)]
mod tests;
