//! One number of the agent, as the metrics, the status page and the summary at the end read it.

/// System calls whose bytes were not captured.
pub(super) const NOT_CAPTURED: &str = "wirespan_uncaptured_syscalls_total";

/// One number, ready to be written.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: u64,
}
