//! The pipeline: from events to batches of spans in bounded queues.

pub mod queue;

#[cfg(test)]
pub(crate) mod samples;
