//! What a connection may cost, and how often each ceiling or loss was met.

use serde::{Deserialize, Serialize};

/// Ceilings of one connection, with their defaults. Event logs hold them under these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of one message head that are buffered when it comes in several calls (default 64 KiB). What is beyond is
    /// not looked at; the head is marked incomplete.
    pub head_bytes: usize,
    /// Calls of one direction that may wait for a hole to be filled or for the other direction (default 256).
    pub held_calls: usize,
    /// Captured bytes of those calls (default 256 KiB).
    pub held_bytes: usize,
    /// Nanoseconds of event time after which nothing is waited for any more (default 1 s): a thread may be kept from telling of
    /// its call for several periods of 100 ms, by a CPU limit of its cgroup or by a hypervisor.
    pub hold_nanos: u64,
    /// Nanoseconds without a call after which a client that was seen to pipeline is believed to begin anew (default 100 ms).
    pub idle_nanos: u64,
    /// Requests without a response on one connection (default 256). At one more the pairing starts anew.
    pub pending_requests: usize,
    /// A body of which more than this is still to come is asked of the source to be skipped (default 64 KiB).
    pub skip_bytes: u64,
    /// Message starts that no parser knows, seen from the connection's start, after which it is given up (default 24): more
    /// than a database takes to log in, ask and leave, since while it is read it is known what it stands for
    /// (`trace::causality::inherited`).
    pub unknown_starts: u32,
    /// The same for a connection that was joined late or has carried HTTP before: it may be in the middle of a message
    /// (default 8). Only calls that turn the direction of the traffic count then.
    pub unknown_starts_late: u32,
    /// Calls without any message, from the connection's start, after which it is given up (default 64).
    pub unknown_calls: u32,
    /// The same for a connection that was joined late (default 1024).
    pub unknown_calls_late: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            held_calls: 256,
            held_bytes: 256 * 1024,
            hold_nanos: 1_000_000_000,
            idle_nanos: 100_000_000,
            pending_requests: 256,
            skip_bytes: 64 * 1024,
            unknown_starts: 24,
            unknown_starts_late: 8,
            unknown_calls: 64,
            unknown_calls_late: 1024,
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often something was lost, cut or given up; added to by every call that takes an [`Output`](super::Output).
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

counters! {
    /// Connections given up because nothing on them parses.
    connections_given_up,
    /// Connections that became tunnels (CONNECT, 101).
    connections_upgraded,
    /// Message starts that no parser knows, before any HTTP was seen on the connection.
    unknown_starts,
    /// The same after HTTP was seen: parse failures.
    parse_failures,
    /// Holes in a direction that were given up, where a parser needed the bytes.
    gaps,
    /// Holes inside bodies of known length, which cost nothing.
    gaps_in_bodies,
    /// Bytes of all holes, as far as the kernel says that it dropped them.
    gap_bytes_dropped,
    /// Bytes of all other holes.
    gap_bytes_unseen,
    /// Calls that came before the bytes in front of them, or before the other direction's.
    calls_held,
    /// Calls whose positions had passed when they came.
    calls_late,
    /// Calls that claim positions of other calls.
    overlaps,
    /// Times that a hold was given up because `held_calls` or `held_bytes` was reached.
    held_overflow,
    /// Heads that were used although not all of their bytes were there.
    heads_incomplete,
    /// Of those, heads longer than `head_bytes`.
    heads_too_large,
    /// Messages whose end is not known because of missing bytes or malformed framing.
    framing_lost,
    /// Responses whose request was not seen; they are ignored.
    responses_without_request,
    /// Connections of which bytes had moved before they were first seen, and on which messages were found: older than the agent or
    /// the selection of their process, or another process had read from them and passed them on.
    joined_late,
    /// Requests of HTTP/0.9, which are not read.
    requests_http09,
    /// What looked like a request and no answer proved: it may have been text in a body.
    requests_unproven,
    /// Connections on which bytes moved and no message of HTTP/1 was seen, given up or not.
    connections_not_http1,
    /// Connections given up although HTTP/1 had been seen on them.
    http1_given_up,
    /// Exchanges that ended without an exact end.
    exchanges_lost,
    /// Times that `pending_requests` was reached.
    pending_overflow,
    /// First sights that two CPUs told of at once: one counts.
    first_sights_again,
    /// Directions whose ledger did not balance.
    ledger_violations,
}
