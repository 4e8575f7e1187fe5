//! Bounds of what a connection holds back, and what is counted when they are met.

use crate::metric::counters;

/// Bounds of one connection, with their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Transfers of one direction that may wait for a hole to be filled or for the other direction (default 256).
    pub held_transfers: usize,
    /// Captured bytes of those transfers (default 256 KiB).
    pub held_bytes: usize,
    /// Nanoseconds of event time after which nothing is waited for any more (default 1 s). A CPU limit of its cgroup or a
    /// hypervisor may keep a thread from reporting its system call for several periods of 100 ms.
    pub hold_nanos: u64,
    /// The source is asked to skip bytes that need not be seen when more than this many are still to come (default 64 KiB).
    pub skip_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { held_transfers: 256, held_bytes: 256 * 1024, hold_nanos: 1_000_000_000, skip_bytes: 64 * 1024 }
    }
}

counters! {
    /// How often the bytes of connections came out of order, late or not at all.
    {
        "wirespan_stream_events_total" by "event": "What happened to the order of the bytes of connections." {
            transfers_held = "transfers_held": "a transfer came before the bytes in front of it, or before those \
                of the other direction";
            transfers_late = "transfers_late": "a transfer came when its positions had passed";
            overlaps = "overlaps": "a transfer claims positions of another one";
            held_overflow = "held_overflow": "transfers were held no longer, because their limit was reached";
            joined_mid_stream = "joined_mid_stream": "bytes had moved on a connection before it was first \
                observed, and messages were found: \
                it is older than the agent or the selection of its process, or another process had read from it and passed it on";
            opened_again = "opened_again": "two CPUs reported a connection as new at once; one report counts";
        }
        "wirespan_stream_gap_bytes_total" by "reason": "Bytes of the holes between transfers." {
            gap_bytes_dropped = "dropped": "the kernel says that it dropped them";
            gap_bytes_unseen = "unseen": "all others";
        }
    }
}
