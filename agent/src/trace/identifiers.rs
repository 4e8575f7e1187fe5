//! Span and trace ids: a keyed hash of a message's connection and stream offset. So kernel, user
//! space and a replay get the same ids without asking each other.
//!
//! The hash is SipHash-1-3 with 128 bits of output, keyed by the run key, over 18 bytes (little
//! endian): domain (1), connection or socket (8), direction (1), stream offset or time (8). The
//! domain separates span ids, trace ids and those of failed connects. The stream offset is an
//! absolute sequence number and not a position. A connection that was evicted may be observed a
//! second time, and then its positions start anew.

use super::span::{SpanId, TraceId};
use crate::event::{ConnectionId, Direction, SocketId, Timestamp};

const SPAN: u8 = 1;
const TRACE: u8 = 2;
const CONNECT_SPAN: u8 = 3;
const CONNECT_TRACE: u8 = 4;

/// Makes the ids of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identifiers {
    /// The state of the hash before any input.
    start: Sip,
}

impl Identifiers {
    pub(super) fn new(run_key: &[u8; 16]) -> Self {
        Self { start: Sip::new(run_key) }
    }

    /// The id of the span whose request begins at `stream_offset` of `direction`.
    pub(super) fn span(&self, connection: ConnectionId, direction: Direction, stream_offset: u64) -> SpanId {
        span_id(self.hashed(SPAN, connection.0, direction, stream_offset).first_half())
    }

    /// The id of the trace whose root is that span.
    pub(super) fn trace(
        &self,
        connection: ConnectionId,
        direction: Direction,
        stream_offset: u64,
    ) -> TraceId {
        trace_id(self.hashed(TRACE, connection.0, direction, stream_offset).whole())
    }

    /// The ids of a failed connect, whose socket never had a cookie.
    pub(super) fn connect(&self, socket: SocketId, at: Timestamp) -> (TraceId, SpanId) {
        (
            trace_id(self.hashed(CONNECT_TRACE, socket.0, Direction::Out, at.0).whole()),
            span_id(self.hashed(CONNECT_SPAN, socket.0, Direction::Out, at.0).first_half()),
        )
    }

    /// The state after all of the input.
    fn hashed(&self, domain: u8, connection: u64, direction: Direction, offset: u64) -> Sip {
        let mut state = self.start;
        state.add(u64::from(domain) | connection << 8);
        state.add(connection >> 56 | (direction as u64) << 8 | offset << 16);
        state.add(offset >> 48 | INPUT << 56);
        state
    }
}

/// Bytes of the input.
const INPUT: u64 = 18;

/// The state of SipHash-1-3-128. The input has a fixed length, so its words are made of numbers and
/// nothing needs a buffer. A span id takes only the first half of the output.
#[derive(Debug, Clone, Copy)]
struct Sip([u64; 4]);

impl Sip {
    fn new(key: &[u8; 16]) -> Self {
        let [first, second] = halves(key);
        Self([
            first ^ 0x736f_6d65_7073_6575,
            second ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            first ^ 0x6c79_6765_6e65_7261,
            second ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline]
    const fn add(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    #[inline]
    const fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32).wrapping_add(d);
        c = c.wrapping_add(b);
        d = d.rotate_left(21) ^ a;
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }

    #[inline]
    const fn output(&mut self) -> [u8; 8] {
        self.round();
        self.round();
        self.round();
        let [a, b, c, d] = self.0;
        (a ^ b ^ c ^ d).to_le_bytes()
    }

    #[inline]
    const fn first_half(mut self) -> [u8; 8] {
        self.0[2] ^= 0xee;
        self.output()
    }

    #[inline]
    fn whole(mut self) -> [u8; 16] {
        self.0[2] ^= 0xee;
        let first = self.output();
        self.0[1] ^= 0xdd;
        let second = self.output();
        let mut both = [0; 16];
        both[..8].copy_from_slice(&first);
        both[8..].copy_from_slice(&second);
        both
    }
}

fn halves(key: &[u8; 16]) -> [u64; 2] {
    let number = u128::from_le_bytes(*key);
    let low = u64::MAX as u128;
    [(number & low) as u64, (number >> 64) as u64]
}

/// W3C trace context forbids all zeros, so the last bit is set in that case.
fn trace_id(mut hash: [u8; 16]) -> TraceId {
    if hash == [0; 16] {
        hash[15] = 1;
    }
    TraceId(hash)
}

fn span_id(mut hash: [u8; 8]) -> SpanId {
    if hash == [0; 8] {
        hash[7] = 1;
    }
    SpanId(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use siphasher::sip128::SipHasher13;

    use super::*;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    proptest! {
        #[test]
        fn ids_are_those_of_siphash(
            key in any::<[u8; 16]>(),
            connection in any::<u64>(),
            offset in any::<u64>(),
            out in any::<bool>(),
        ) {
            let direction = if out { Direction::Out } else { Direction::In };
            let ids = Identifiers::new(&key);
            let hash = |domain: u8, direction: Direction| {
                let mut input = [0; 18];
                input[0] = domain;
                input[1..9].copy_from_slice(&connection.to_le_bytes());
                input[9] = direction as u8;
                input[10..].copy_from_slice(&offset.to_le_bytes());
                SipHasher13::new_with_key(&key).hash(&input).as_bytes()
            };
            let half = |hash: [u8; 16]| <[u8; 8]>::try_from(&hash[..8]).unwrap();
            let id = ConnectionId(connection);
            prop_assert_eq!(ids.span(id, direction, offset).0, half(hash(SPAN, direction)));
            prop_assert_eq!(ids.trace(id, direction, offset).0, hash(TRACE, direction));
            let (trace, span) = ids.connect(SocketId(connection), Timestamp(offset));
            prop_assert_eq!(trace.0, hash(CONNECT_TRACE, Direction::Out));
            prop_assert_eq!(span.0, half(hash(CONNECT_SPAN, Direction::Out)));
        }
    }

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
        assert_ne!(span_id([0; 8]).0, [0; 8]);
    }
}
