//! The pipeline: from events to batches of spans in bounded queues.

mod connections;
mod engine;
pub mod queue;
#[cfg(test)]
pub(crate) mod samples;
mod tally;

pub use connections::Eviction;
pub use engine::{Engine, Settings};
pub use tally::{LedgerTotals, Tally, WithheldKey};
