//! The pipeline: from events to batches of spans in bounded queues.

mod connections;
mod engine;
#[cfg(test)]
mod properties;
pub mod queue;
pub(crate) mod redact;
#[cfg(test)]
pub(crate) mod samples;
mod services;
mod sink;
mod snapshot;
mod tally;

pub use connections::Eviction;
pub use engine::{Engine, ServiceConfidence, Settings};
pub(crate) use sink::EventSink;
pub(crate) use snapshot::Snapshot;
pub use tally::{LedgerTotals, NotCapturedKey, Tally};
