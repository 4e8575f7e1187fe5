//! The bytes of one transfer as a cursor: captured bytes at the front, perhaps a hole, captured bytes at the end.

use super::Tally;
use crate::event::{LastReceive, NotCaptured, Task, Thread, Timestamp, Transfer};

/// The part of a transfer that is still to be read. Each byte that is read is counted once, by what it was good for.
/// INVARIANT: `head.len() + tail.len() <= length`.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    pub at: Timestamp,
    pub thread: Thread,
    pub last_receive: Option<LastReceive>,
    pub task: Option<Task>,
    pub not_captured: Option<NotCaptured>,
    /// Position of the next byte.
    pub position: u64,
    /// Bytes left.
    pub length: u64,
    head: &'a [u8],
    tail: &'a [u8],
    /// Nothing was read or cut from the front: `position` is where the transfer began.
    pub whole: bool,
    /// Other transfers claim some of the same positions: two threads were on the socket.
    pub overlap: bool,
    /// What was read since it was last taken.
    tally: Tally,
}

impl<'a> Cursor<'a> {
    /// The whole transfer. Captured bytes beyond its length are ignored.
    pub(crate) fn new(transfer: &Transfer<'a>) -> Self {
        let length = transfer.length as usize;
        let head = transfer.head.get(..length).unwrap_or(transfer.head);
        let room = length - head.len();
        let tail = &transfer.tail[transfer.tail.len().saturating_sub(room)..];
        Self {
            at: transfer.at,
            thread: transfer.thread,
            last_receive: transfer.last_receive,
            task: transfer.task,
            not_captured: transfer.not_captured,
            position: transfer.position,
            length: u64::from(transfer.length),
            head,
            tail,
            whole: true,
            overlap: false,
            tally: Tally::default(),
        }
    }

    /// Position after the last byte.
    pub(crate) const fn end(&self) -> u64 {
        self.position.saturating_add(self.length)
    }

    /// The captured bytes at `position`; empty when the byte there was not captured.
    pub(crate) const fn front(&self) -> &'a [u8] {
        if !self.head.is_empty() {
            self.head
        } else if self.tail.len() as u64 == self.length {
            self.tail
        } else {
            &[]
        }
    }

    /// How many bytes at `position` were not captured.
    pub(crate) const fn hole(&self) -> u64 {
        if self.head.is_empty() { self.length - self.tail.len() as u64 } else { 0 }
    }

    /// Bytes left that were captured.
    pub(crate) const fn captured(&self) -> u64 {
        (self.head.len() + self.tail.len()) as u64
    }

    /// Reads past captured bytes that were understood.
    pub(crate) fn parse(&mut self, count: usize) {
        self.tally.parsed += count as u64;
        self.advance(count as u64);
    }

    /// Reads past bytes that are not needed, at most to the transfer's end.
    pub(crate) fn skip(&mut self, count: u64) {
        let count = count.min(self.length);
        self.tally.skipped += count;
        self.advance(count);
    }

    /// [`Cursor::parse`] and [`Cursor::skip`] in one: so many bytes there are.
    pub(crate) fn parse_and_skip(&mut self, parsed: usize, skipped: u64) {
        self.tally.parsed += parsed as u64;
        self.tally.skipped += skipped;
        self.advance(parsed as u64 + skipped);
    }

    /// Reads past bytes that are needed and were not captured; returns how many.
    pub(crate) fn miss(&mut self) -> u64 {
        let hole = self.hole();
        self.tally.truncated += hole;
        self.advance(hole);
        hole
    }

    /// The same, at most so many.
    pub(crate) fn miss_most(&mut self, count: u64) {
        let count = self.hole().min(count);
        self.tally.truncated += count;
        self.advance(count);
    }

    /// What was read since this was last asked.
    pub(super) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Moves past `count` bytes that are counted elsewhere, at most to the transfer's end.
    pub(super) fn advance(&mut self, count: u64) {
        let count = count.min(self.length);
        if count == 0 {
            return;
        }
        let of_head = usize::try_from(count).map_or(self.head.len(), |count| count.min(self.head.len()));
        self.head = &self.head[of_head..];
        self.length -= count;
        self.position += count;
        self.whole = false;
        if let Ok(length) = usize::try_from(self.length) {
            self.tail = &self.tail[self.tail.len().saturating_sub(length)..];
        }
    }

    /// Whether the last bytes of the transfer were captured and are `pattern`.
    pub(crate) fn ends_with(&self, pattern: &[u8]) -> bool {
        if self.tail.len() >= pattern.len() {
            return self.tail.ends_with(pattern);
        }
        let contiguous = self.captured() == self.length;
        contiguous
            && pattern.ends_with(self.tail)
            && self.head.ends_with(&pattern[..pattern.len() - self.tail.len()])
    }

    /// The captured bytes in front of the hole and behind it, for whoever must keep them.
    pub(crate) const fn captures(&self) -> (&'a [u8], &'a [u8]) {
        (self.head, self.tail)
    }

    /// A cursor over captured bytes that were kept. `head` and `tail` are those of [`Cursor::captures`].
    pub(crate) const fn with_captures<'b>(self, head: &'b [u8], tail: &'b [u8]) -> Cursor<'b> {
        Cursor {
            at: self.at,
            thread: self.thread,
            last_receive: self.last_receive,
            task: self.task,
            not_captured: self.not_captured,
            position: self.position,
            length: self.length,
            head,
            tail,
            whole: self.whole,
            overlap: self.overlap,
            tally: self.tally,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ConnectionId, Direction, Layer};

    fn transfer<'a>(length: u32, head: &'a [u8], tail: &'a [u8]) -> Transfer<'a> {
        Transfer {
            at: Timestamp(1),
            connection: ConnectionId(1),
            layer: Layer::Wire,
            direction: Direction::In,
            position: 100,
            length,
            thread: Thread { pid: 1, tid: 1 },
            head,
            tail,
            not_captured: None,
            last_receive: None,
            task: None,
            dropped: 0,
            process_drops: 0,
        }
    }

    #[test]
    fn reads_head_then_hole_then_tail() {
        let mut cursor = Cursor::new(&transfer(10, b"abc", b"yz"));
        assert_eq!((cursor.front(), cursor.hole(), cursor.whole), (&b"abc"[..], 0, true));
        cursor.advance(3);
        assert_eq!((cursor.front(), cursor.hole(), cursor.whole), (&b""[..], 5, false));
        cursor.advance(4);
        assert_eq!((cursor.front(), cursor.hole(), cursor.position), (&b""[..], 1, 107));
        cursor.advance(1);
        assert_eq!(cursor.front(), b"yz");
        cursor.advance(1);
        assert_eq!(cursor.front(), b"z");
        cursor.advance(7);
        assert_eq!((cursor.length, cursor.position, cursor.front()), (0, 110, &b""[..]));
    }

    #[test]
    fn the_end_of_a_call_is_known_only_where_captured() {
        assert!(Cursor::new(&transfer(10, b"abc", b"\r\n")).ends_with(b"\r\n"));
        assert!(!Cursor::new(&transfer(10, b"a\r\n", b"")).ends_with(b"\r\n"));
        assert!(Cursor::new(&transfer(3, b"a\r\n", b"")).ends_with(b"\r\n"));
        assert!(
            Cursor::new(&transfer(4, b"a\r", b"\n\r")).ends_with(b"\r\n\r"),
            "contiguous across head and tail"
        );
        assert!(!Cursor::new(&transfer(5, b"a\r", b"\n\r")).ends_with(b"\r\n\r"), "a hole between them");
    }

    #[test]
    fn more_captured_than_moved_is_cut() {
        let cursor = Cursor::new(&transfer(4, b"abcdef", b"xyz"));
        assert_eq!((cursor.front(), cursor.captured()), (&b"abcd"[..], 4));
        let cursor = Cursor::new(&transfer(4, b"abc", b"xyz"));
        assert_eq!(cursor.captured(), 4);
        assert!(cursor.ends_with(b"cz"));
    }
}
