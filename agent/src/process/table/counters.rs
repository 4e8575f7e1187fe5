//! What the table of processes counts, for the metrics.

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Processes that became selected.
    pub selected: u64,
    /// Processes that stopped being selected, by exit too.
    pub deselected: u64,
    /// Processes that matched and were gone before their facts were read.
    pub vanished: u64,
    /// Processes that matched and found [`Limits::selected`](super::Limits::selected) reached: not traced.
    pub over_limit: u64,
    /// Decisions that were not remembered because of [`Limits::known`](super::Limits::known): made again by each scan.
    pub forgotten: u64,
    /// Processes about which the rules could not decide because /proc refused.
    pub unreadable: u64,
    /// Searches for listening sockets that a limit cut: a `port` rule may have missed a process.
    pub cut: u64,
}
