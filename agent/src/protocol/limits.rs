//! What a connection may cost, and how often each ceiling or loss was met.

use serde::{Deserialize, Serialize};

use crate::{metric::counters, stream};

/// Ceilings of one connection, with their defaults. Event logs hold them under these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of one message head that are buffered when it comes in several transfers (default 64 KiB). What is beyond is
    /// not looked at; the head is marked incomplete.
    pub head_bytes: usize,
    /// [`stream::Limits::held_transfers`].
    #[serde(rename = "held_calls")]
    pub held_transfers: usize,
    /// [`stream::Limits::held_bytes`].
    pub held_bytes: usize,
    /// [`stream::Limits::hold_nanos`].
    pub hold_nanos: u64,
    /// [`stream::Limits::skip_bytes`].
    pub skip_bytes: u64,
    /// Nanoseconds without a transfer after which a client that was seen to pipeline is believed to begin anew (default 100 ms).
    pub idle_nanos: u64,
    /// Requests without a response on one connection (default 256). At one more the pairing starts anew.
    pub pending_requests: usize,
    /// Message starts that no parser knows, seen from the connection's start, after which it is given up (default 24): more
    /// than a database takes to log in, ask and leave, since while it is read it is known what it stands for
    /// (`trace::causality::inherited`).
    pub unknown_starts: u32,
    /// The same for a connection that was joined late or has carried HTTP before: it may be in the middle of a message
    /// (default 8). Only transfers that turn the direction of the traffic count then.
    pub unknown_starts_late: u32,
    /// Transfers without any message, from the connection's start, after which it is given up (default 64).
    #[serde(rename = "unknown_calls")]
    pub unknown_transfers: u32,
    /// The same for a connection that was joined late (default 1024).
    #[serde(rename = "unknown_calls_late")]
    pub unknown_transfers_late: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let order = stream::Limits::default();
        Self {
            held_transfers: order.held_transfers,
            held_bytes: order.held_bytes,
            hold_nanos: order.hold_nanos,
            skip_bytes: order.skip_bytes,
            head_bytes: 64 * 1024,
            idle_nanos: 100_000_000,
            pending_requests: 256,
            unknown_starts: 24,
            unknown_starts_late: 8,
            unknown_transfers: 64,
            unknown_transfers_late: 1024,
        }
    }
}

impl From<Limits> for stream::Limits {
    #[inline]
    fn from(limits: Limits) -> Self {
        let Limits { held_transfers, held_bytes, hold_nanos, skip_bytes, .. } = limits;
        Self { held_transfers, held_bytes, hold_nanos, skip_bytes }
    }
}

counters! {
    /// How often something was lost, cut or given up; added to by whatever takes an [`Output`](super::Output).
    {
        "wirespan_protocol_events_total" by "event": "What the parsers met: losses, limits, messages that they \
            could not read." {
            connections_given_up = "connections_given_up": "a connection is not parsed any more, because nothing \
                on it parses";
            connections_upgraded = "connections_upgraded": "a connection carries another protocol, after `101` or \
                a successful CONNECT";
            connections_http2 = "connections_http2": "a connection speaks HTTP/2, which is not read yet: it began with \
                HTTP/2's preface, or `101` led to it";
            connections_not_http1 = "connections_not_http1": "bytes moved on a connection and no message of \
                HTTP/1 was seen, given up or not; those known as HTTP/2 are not among them";
            http1_given_up = "http1_given_up": "a connection was given up although HTTP/1 had been seen on it";
            unknown_starts = "unknown_starts": "a message start that no parser knows, before any HTTP was seen on \
                the connection";
            parse_failures = "parse_failures": "a message start that no parser knows, after HTTP was seen";
            gaps = "gaps": "a hole in a direction was given up where a parser needed the bytes";
            gaps_in_bodies = "gaps_in_bodies": "a hole lies inside a body of known length, which costs nothing";
            heads_incomplete = "heads_incomplete": "a head was used although not all of its bytes were there";
            heads_too_large = "heads_too_large": "a head was longer than its limit";
            framing_lost = "framing_lost": "the end of a message is not known, because of missing bytes or \
                malformed framing";
            responses_without_request = "responses_without_request": "a response whose request was not seen; it \
                is ignored";
            requests_http09 = "requests_http09": "a request of HTTP/0.9, which is not read";
            requests_unconfirmed = "requests_unconfirmed": "what looked like a request and no response proved; it may \
                have been text in a body";
            exchanges_lost = "exchanges_lost": "an exchange ended without an exact end";
            pending_overflow = "pending_overflow": "a connection had too many requests without a response";
        }
    }
}
