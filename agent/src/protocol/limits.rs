//! What a connection may cost, and how often each ceiling or loss was met.

use serde::{Deserialize, Serialize};

use crate::metric::counters;

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
    /// (`trace::causality::carried`).
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

counters! {
    /// How often something was lost, cut or given up; added to by every call that takes an [`Output`](super::Output).
    {
        "wirespan_protocol_events_total" by "event": "What the parsers met on connections: losses, limits, messages that they could not read." {
            connections_given_up = "connections_given_up": "a connection is not parsed any more, because nothing on it parses";
            connections_upgraded = "connections_upgraded": "a connection carries another protocol, after `101` or a successful CONNECT";
            connections_not_http1 = "connections_not_http1": "bytes moved on a connection and no message of HTTP/1 was seen, given up or not";
            http1_given_up = "http1_given_up": "a connection was given up although HTTP/1 had been seen on it";
            joined_mid_stream = "joined_mid_stream": "bytes had moved on a connection before it was first observed, and messages were found: it is older than the agent or the selection of its process, or another process had read from it and passed it on";
            opened_again = "opened_again": "two CPUs reported the first observation of a connection at once; one report counts";
            unknown_starts = "unknown_starts": "a message start that no parser knows, before any HTTP was seen on the connection";
            parse_failures = "parse_failures": "a message start that no parser knows, after HTTP was seen";
            transfers_held = "transfers_held": "a transfer came before the bytes in front of it, or before those of the other direction";
            transfers_late = "transfers_late": "a transfer came when its positions had passed";
            overlaps = "overlaps": "a transfer claims positions of another one";
            held_overflow = "held_overflow": "transfers were held no longer, because their limit was reached";
            gaps = "gaps": "a hole in a direction was given up where a parser needed the bytes";
            gaps_in_bodies = "gaps_in_bodies": "a hole lies inside a body of known length, which costs nothing";
            heads_incomplete = "heads_incomplete": "a head was used although not all of its bytes were there";
            heads_too_large = "heads_too_large": "a head was longer than its limit";
            framing_lost = "framing_lost": "the end of a message is not known, because of missing bytes or malformed framing";
            responses_without_request = "responses_without_request": "a response whose request was not seen; it is ignored";
            requests_http09 = "requests_http09": "a request of HTTP/0.9, which is not read";
            requests_unproven = "requests_unproven": "what looked like a request and no response proved; it may have been text in a body";
            exchanges_lost = "exchanges_lost": "an exchange ended without an exact end";
            pending_overflow = "pending_overflow": "a connection had too many requests without a response";
            ledger_violations = "ledger_violations": "the ledger of a direction did not balance; must stay 0";
        }
        "wirespan_protocol_gap_bytes_total" by "reason": "Bytes of the holes between transfers." {
            gap_bytes_dropped = "dropped": "the kernel says that it dropped them";
            gap_bytes_unseen = "unseen": "all others";
        }
    }
}
