//! `--redact`: which bytes of a connection may be recorded. The detector says which protocol it speaks, and that protocol's parser
//! what masks it ([`Protocol::mask`](super::parser::Protocol::mask)). Every byte keeps its place, and whatever is not surely structure becomes `x`: after a loss,
//! on a connection of a protocol without a mask, in a body.
//!
//! Transfers are masked in the order of events, before anything is held for another one. So a mask cannot ask a parser that
//! reads by position, which may still wait; it follows the connection by itself, with the parser's own grammar.

use super::{
    detect::Detector,
    http1, http2, otlp,
    parser::{FirstBytes, Parser, Protocol as _, each},
};
use crate::{
    event::{Direction, Earlier, Opened, PlaintextOpened, Transfer},
    stream::Cursor,
};

/// Stands for a masked byte.
pub(super) const HIDDEN: u8 = b'x';

/// Masks everything.
pub(super) fn hide(bytes: &mut [u8]) {
    bytes.fill(HIDDEN);
}

/// What masks the bytes of a protocol.
#[derive(Debug)]
pub(super) enum Mask {
    /// Nothing is kept.
    Whole,
    Http1(Box<http1::Mask>),
    Http2(http2::Mask),
}

/// Masks the transfers of one stream of a connection.
#[derive(Debug)]
pub struct ConnectionMask {
    /// Absolute sequence numbers of the connection's first observation, which two CPUs may report.
    first_sequence: [u32; 2],
    detector: Detector,
    mask: Mask,
    /// Position of the next byte of either direction.
    next: [u64; 2],
}

impl ConnectionMask {
    /// A connection of which nothing was recorded yet.
    #[must_use]
    pub fn new(opened: &Opened) -> Self {
        Self::beginning(opened.first_sequence, opened.first_position, opened.earlier)
    }

    /// The plaintext of a connection, of which nothing was recorded yet.
    #[must_use]
    pub fn of_plaintext(opened: &PlaintextOpened) -> Self {
        Self::beginning([0; 2], 0, opened.earlier)
    }

    fn beginning(first_sequence: [u32; 2], first_position: u64, earlier: [Earlier; 2]) -> Self {
        let from_start = earlier.map(|earlier| earlier == Earlier::Nothing);
        let next = [first_position; 2];
        Self {
            first_sequence,
            detector: Detector::new(from_start),
            mask: http1::Session::new(from_start).mask(next),
            next,
        }
    }

    /// Whether this is the first observation that was reported before.
    #[must_use]
    pub fn began_with(&self, opened: &Opened) -> bool {
        self.first_sequence == opened.first_sequence
    }

    /// Masks copies of what was captured of a transfer: its first bytes and its last.
    pub fn transfer(&mut self, transfer: &Transfer<'_>, head: &mut [u8], tail: &mut [u8]) {
        let direction = transfer.direction;
        self.detect(transfer);
        match &mut self.mask {
            Mask::Whole => [&mut *head, &mut *tail].into_iter().for_each(hide),
            Mask::Http1(mask) => mask.transfer(transfer, head, tail),
            Mask::Http2(mask) => mask.transfer(transfer, head, tail),
        }
        if self.detector.has_begun(direction) {
            // Until now they are the beginning of a constant text, by which a replay recognises the protocol.
            head.copy_from_slice(transfer.head);
        }
        if let Mask::Http1(mask) = &self.mask
            && direction == Direction::Out
            && !mask.seen()
        {
            otlp::show(transfer.head, head);
        }
    }

    /// Another protocol may begin with this transfer.
    fn detect(&mut self, transfer: &Transfer<'_>) {
        let (direction, cursor) = (transfer.direction, Cursor::new(transfer));
        let next = &mut self.next[direction.index()];
        if cursor.position != *next {
            self.detector.missed(direction);
        }
        *next = (*next).max(cursor.end());
        let found = match self.detector.looks(direction) {
            true => self.detector.look(direction, &cursor),
            false => self.look_again(direction, cursor.front()),
        };
        if let Some(parser) = found {
            self.detector.found();
            self.next[direction.index()] = transfer.position;
            self.mask = each!(&parser, parser => parser.mask(self.next));
            self.next[direction.index()] = cursor.end();
        }
    }

    /// A protocol may begin late, where HTTP/1 knows nothing of a transfer or expects a message.
    fn look_again(&self, direction: Direction, bytes: &[u8]) -> Option<Parser> {
        let Mask::Http1(mask) = &self.mask else { return None };
        let first = FirstBytes { direction, bytes, passed: 0, from_start: false };
        Detector::look_again(&first, mask.is_at_start(direction), mask.seen())
    }
}
