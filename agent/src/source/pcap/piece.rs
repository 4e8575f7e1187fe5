//! Bytes of one direction on their way: a part of the stream, its destination, and the room for
//! those that wait.

use super::Report;
use crate::event::Timestamp;

/// Cost of a waiting segment besides its bytes.
const OVERHEAD: usize = 96;

/// Room for segments that wait behind holes.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) used: usize,
    /// Bytes of all connections together.
    pub(super) all: usize,
    /// Of one direction.
    pub(super) each: usize,
    pub(super) segments: usize,
}

/// Destination of a direction's bytes, with the counts and bounds on the way.
pub(super) struct Outlet<'a> {
    pub(super) room: &'a mut Room,
    pub(super) report: &'a mut Report,
    /// A RST came before: the bytes from here on are read only if it turns out that the RST was
    /// ignored.
    pub(super) after_reset: bool,
    /// Takes a piece and the bytes of all holes given up so far.
    pub(super) out: &'a mut dyn FnMut(Piece<'_>, u64),
}

/// Bytes of one direction, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) position: u64,
    /// Bytes on the wire, of which `bytes` are the first.
    pub(super) length: u32,
    pub(super) bytes: &'a [u8],
    /// When it was captured; once emitted: when the receiver could read it.
    pub(super) at: Timestamp,
    /// The sender had all bytes of the other direction before this position.
    pub(super) after: u64,
    /// One byte sent out of band: it has a sequence number, and the receiver does not find it among
    /// the others.
    pub(super) urgent: bool,
}

impl<'a> Piece<'a> {
    pub(super) const fn end(&self) -> u64 {
        self.position.saturating_add(self.length as u64)
    }

    /// The part from `start` on and before `end`, which lie inside.
    pub(super) fn part(&self, start: u64, end: u64) -> Piece<'a> {
        let offset = usize::try_from(start - self.position).unwrap_or(usize::MAX);
        let length = u32::try_from(end - start).unwrap_or(u32::MAX);
        let bytes = self.bytes.get(offset..).unwrap_or_default();
        Piece { position: start, length, bytes: bytes.get(..length as usize).unwrap_or(bytes), ..*self }
    }

    /// Whether both have captured bytes for a position that differ.
    pub(super) fn contradicts(&self, other: &Piece<'_>) -> bool {
        let start = self.position.max(other.position);
        let end = self.end().min(other.end());
        if start >= end {
            return false;
        }
        let (own, others) = (self.part(start, end).bytes, other.part(start, end).bytes);
        own.iter().zip(others).any(|(own, other)| own != other)
    }
}

/// A piece that waits.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) length: u32,
    pub(super) bytes: Box<[u8]>,
    pub(super) at: Timestamp,
    pub(super) after: u64,
    pub(super) urgent: bool,
    /// It came after a RST, of which it is not known whether it holds.
    pub(super) after_reset: bool,
}

impl Held {
    pub(super) const fn piece(&self, position: u64) -> Piece<'_> {
        let (length, at, after) = (self.length, self.at, self.after);
        Piece { position, length, bytes: &self.bytes, at, after, urgent: self.urgent }
    }

    pub(super) const fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}
