//! Bounds of what a connection holds back, and what is counted when they are met.

/// Bounds of one connection, with their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Transfers of one direction that may wait for a hole to be filled or for the other direction (default 256).
    pub held_transfers: usize,
    /// Captured bytes of those transfers (default 256 KiB).
    pub held_bytes: usize,
    /// Nanoseconds of event time after which nothing is waited for any more (default 1 s). A CPU limit of its cgroup or a
    /// hypervisor may keep a thread from reporting its system transfer for several periods of 100 ms.
    pub hold_nanos: u64,
    /// The source is asked to skip bytes that need not be seen when more than this many are still to come (default 64 KiB).
    pub skip_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { held_transfers: 256, held_bytes: 256 * 1024, hold_nanos: 1_000_000_000, skip_bytes: 64 * 1024 }
    }
}

macro_rules! counters {
    ($about:literal; $($(#[$doc:meta])* $name:ident,)*) => {
        #[doc = $about]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Name and value of every counter, in a fixed order.
            #[must_use]
            pub const fn list(&self) -> [(&'static str, u64); [$(stringify!($name)),*].len()] {
                [$((stringify!($name), self.$name)),*]
            }
        }
    };
}

pub(crate) use counters;

counters! {
    "How often the bytes of connections came out of order, late or not at all.";
    /// Transfers that came before the bytes in front of them, or before the other direction's.
    transfers_held,
    /// Transfers whose positions had passed when they came.
    transfers_late,
    /// Transfers that claim positions of other transfers.
    overlaps,
    /// Times that a hold was given up because `held_transfers` or `held_bytes` was reached.
    held_overflow,
    /// Bytes of all holes, as far as the kernel says that it dropped them.
    gap_bytes_dropped,
    /// Bytes of all other holes.
    gap_bytes_unseen,
    /// Connections of which bytes had moved before they were first seen, and on which messages were found: older than the agent or
    /// the selection of their process, or another process had read from them and passed them on.
    joined_mid_stream,
    /// Connections that two CPUs reported as new at once: one counts.
    opened_again,
    /// Directions whose ledger did not balance.
    ledger_violations,
}
