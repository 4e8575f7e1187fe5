//! Span and trace ids: a keyed hash of a message's connection and stream offset. So kernel, user
//! space and a replay get the same ids without asking each other.
//!
//! The hash is SipHash-1-3 with 128 bits of output, keyed by the run key, over 18 bytes (little
//! endian): domain (1), connection or socket (8), direction (1), stream offset or time (8). The
//! domain separates span ids, trace ids and those of failed connects. The stream offset is an
//! absolute sequence number and not a position. A connection that was evicted may be observed a
//! second time, and then its positions start anew.

use siphasher::sip128::SipHasher13;

use super::span::{SpanId, TraceId};
use crate::event::{ConnectionId, Direction, SocketId, Timestamp};

const SPAN: u8 = 1;
const TRACE: u8 = 2;
const CONNECT_SPAN: u8 = 3;
const CONNECT_TRACE: u8 = 4;

/// Makes the ids of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identifiers {
    hasher: SipHasher13,
}

impl Identifiers {
    pub(super) fn new(run_key: &[u8; 16]) -> Self {
        Self { hasher: SipHasher13::new_with_key(run_key) }
    }

    /// The id of the span whose request begins at `stream_offset` of `direction`.
    pub(super) fn span(&self, connection: ConnectionId, direction: Direction, stream_offset: u64) -> SpanId {
        span_id(self.hash(SPAN, connection.0, direction as u8, stream_offset))
    }

    /// The id of the trace whose root is that span.
    pub(super) fn trace(
        &self,
        connection: ConnectionId,
        direction: Direction,
        stream_offset: u64,
    ) -> TraceId {
        trace_id(self.hash(TRACE, connection.0, direction as u8, stream_offset))
    }

    /// The ids of a failed connect, whose socket never had a cookie.
    pub(super) fn connect(&self, socket: SocketId, at: Timestamp) -> (TraceId, SpanId) {
        let out = Direction::Out as u8;
        (
            trace_id(self.hash(CONNECT_TRACE, socket.0, out, at.0)),
            span_id(self.hash(CONNECT_SPAN, socket.0, out, at.0)),
        )
    }

    fn hash(&self, domain: u8, connection: u64, direction: u8, offset: u64) -> [u8; 16] {
        let mut input = [0; 18];
        input[0] = domain;
        input[1..9].copy_from_slice(&connection.to_le_bytes());
        input[9] = direction;
        input[10..].copy_from_slice(&offset.to_le_bytes());
        self.hasher.hash(&input).as_bytes()
    }
}

/// W3C trace context forbids all zeros, so the last bit is set in that case.
fn trace_id(mut hash: [u8; 16]) -> TraceId {
    if hash == [0; 16] {
        hash[15] = 1;
    }
    TraceId(hash)
}

fn span_id(hash: [u8; 16]) -> SpanId {
    let [a, b, c, d, e, f, g, h, ..] = hash;
    let mut id = [a, b, c, d, e, f, g, h];
    if id == [0; 8] {
        id[7] = 1;
    }
    SpanId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    #[test]
    fn every_part_of_the_input_changes_the_id() {
        let ids = Identifiers::new(&KEY);
        let one = ids.span(ConnectionId(7), Direction::Out, 100);
        assert_eq!(one, Identifiers::new(&KEY).span(ConnectionId(7), Direction::Out, 100));
        assert_ne!(one, ids.span(ConnectionId(8), Direction::Out, 100));
        assert_ne!(one, ids.span(ConnectionId(7), Direction::In, 100));
        assert_ne!(one, ids.span(ConnectionId(7), Direction::Out, 101));
        assert_ne!(one, Identifiers::new(&[0; 16]).span(ConnectionId(7), Direction::Out, 100));
    }

    #[test]
    fn a_trace_id_does_not_begin_with_its_root_span() {
        let ids = Identifiers::new(&KEY);
        let span = ids.span(ConnectionId(7), Direction::In, 0);
        let trace = ids.trace(ConnectionId(7), Direction::In, 0);
        assert_ne!(trace.0[..8], span.0);
    }

    #[test]
    fn no_id_is_all_zeros() {
        assert_ne!(trace_id([0; 16]).0, [0; 16]);
        let mut second_half = [0; 16];
        second_half[12] = 9;
        assert_ne!(span_id(second_half).0, [0; 8]);
    }
}
