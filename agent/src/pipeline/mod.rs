//! The pipeline: from events to batches of spans in bounded queues.

mod connections;
mod engine;
mod line;
#[cfg(test)]
mod properties;
pub mod queue;
#[cfg(test)]
pub(crate) mod samples;
mod services;
mod tally;

pub use connections::Eviction;
pub use engine::{Engine, ServiceStanding, Settings};
pub use line::Pipeline;
pub use tally::{LedgerTotals, NotCapturedKey, Tally};
