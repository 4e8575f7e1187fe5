//! One direction's transfers in the order of their positions, whatever order they were logged in. Transfers that cannot be read
//! yet (a hole before them, or the reader waits for the other direction) are copied and held; the owner bounds them.

use std::{collections::VecDeque, ops::Range};

use super::Cursor;
use crate::event::Timestamp;

/// Holes that are remembered so that a transfer which comes too late for one is told from an overlap.
const REMEMBERED_GAPS: usize = 8;

/// What to do with a transfer that has just been logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is next: read it now, then call [`Reassembler::consumed`].
    Next,
    /// It begins later than the next byte or others wait before it: hold it.
    Later,
    /// Its positions have passed; `filled` of its bytes lie in a hole that was given up before.
    Late { filled: u64 },
}

/// Why nothing can be read although something is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// `length` bytes before the next held transfer (or before the FIN) were not seen yet.
    Hole { length: u64, since: Timestamp },
    /// The next held transfer is in order; its reader waits.
    Reader { since: Timestamp },
}

#[derive(Debug)]
struct Held {
    /// Positions and facts; its captured bytes are in `bytes`.
    cursor: Cursor<'static>,
    bytes: Box<[u8]>,
    /// Where the head ends and the tail begins in `bytes`.
    split: usize,
    /// Bytes of the transfer that were read before it was held again.
    read: u64,
}

impl Held {
    fn new(cursor: &Cursor<'_>) -> Self {
        let (head, tail) = cursor.captures();
        let bytes = [head, tail].concat().into_boxed_slice();
        Self { cursor: cursor.with_captures(&[], &[]), bytes, split: head.len(), read: 0 }
    }

    fn view(&self) -> Cursor<'_> {
        let (head, tail) = self.bytes.split_at(self.split);
        self.cursor.with_captures(head, tail)
    }
}

/// The order of one direction.
#[derive(Debug, Default)]
pub(crate) struct Reassembler {
    /// Position of the first byte that is looked for.
    first: u64,
    /// Position of the next byte to read.
    next: u64,
    held: VecDeque<Held>,
    held_bytes: usize,
    fin: Option<(u64, Timestamp)>,
    /// The kernel's running count of bytes whose event was dropped, and how many of them were found to be a hole.
    dropped: u64,
    attributed: u64,
    gaps: Vec<Range<u64>>,
}

impl Reassembler {
    /// Nothing was read, and this is looked for first.
    pub(crate) fn new(first: u64) -> Self {
        Self { first, next: first, ..Self::default() }
    }

    /// Bytes that were read or given up.
    pub(crate) const fn passed(&self) -> u64 {
        self.next - self.first
    }

    /// A transfer began before the first byte that is looked for: looks for that one first. False once anything was read.
    pub(crate) const fn begin_earlier(&mut self, first: u64) -> bool {
        if self.next > self.first || first >= self.first {
            return false;
        }
        (self.first, self.next) = (first, first);
        true
    }

    /// Position of the first byte that is looked for.
    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// The kernel's running count of dropped bytes, as last heard.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn note_dropped(&mut self, dropped: u64) {
        self.dropped = self.dropped.max(dropped);
    }

    /// Captured bytes held.
    pub(crate) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(crate) fn held_transfers(&self) -> usize {
        self.held.len()
    }

    /// Position of the next byte that the application has not moved yet. What is held behind a hole was moved, too; what waits for
    /// the other direction does not count.
    pub(crate) fn delivered_position(&self) -> u64 {
        match (self.blocked(), self.held.back()) {
            (Some(Blocked::Hole { .. }), Some(last)) => last.cursor.end(),
            _ => self.next,
        }
    }

    /// Time of the first held transfer.
    pub(crate) fn held_at(&self) -> Option<Timestamp> {
        self.held.front().map(|held| held.cursor.at)
    }

    /// Whether a transfer or a FIN waits.
    pub(crate) fn waits(&self) -> bool {
        !self.held.is_empty() || self.fin.is_some()
    }

    /// Places a transfer that was just logged; what was read of it already is cut.
    pub(crate) fn admit(&mut self, cursor: &mut Cursor<'_>) -> Admission {
        if cursor.end() <= self.next {
            return Admission::Late { filled: self.fill(cursor.position..cursor.end()) };
        }
        if !self.held.is_empty() || cursor.position > self.next {
            return Admission::Later;
        }
        self.cut(cursor, 0);
        Admission::Next
    }

    /// Cuts what was read already from the front of a transfer; more than `read` bytes means that transfers overlap.
    fn cut(&self, cursor: &mut Cursor<'_>, read: u64) {
        let passed = self.next.saturating_sub(cursor.position);
        cursor.overlap = passed > read;
        cursor.advance(passed);
    }

    /// Everything before `position` is read or given up.
    pub(crate) fn consumed(&mut self, position: u64) {
        self.next = self.next.max(position);
    }

    /// Keeps a copy of the transfer, in the order of positions; transfers come almost sorted.
    pub(crate) fn hold(&mut self, cursor: &Cursor<'_>) {
        let held = Held::new(cursor);
        self.held_bytes += held.bytes.len();
        let mut index = self.held.len();
        while index > 0 && self.held[index - 1].cursor.position > cursor.position {
            index -= 1;
        }
        self.held.insert(index, held);
    }

    /// The next held transfer if it is in order; what was read of it before is cut.
    pub(crate) fn front(&self) -> Option<Cursor<'_>> {
        let held = self.held.front()?;
        let mut cursor = held.view();
        if cursor.position > self.next {
            return None;
        }
        self.cut(&mut cursor, held.read);
        Some(cursor)
    }

    /// The next held transfer was read up to `position`; it goes when nothing of it is left.
    pub(crate) fn front_consumed(&mut self, position: u64) {
        self.consumed(position);
        let Some(held) = self.held.front_mut() else { return };
        held.read = self.next.saturating_sub(held.cursor.position);
        if held.cursor.end() <= self.next {
            self.held_bytes -= held.bytes.len();
            self.held.pop_front();
        }
        if self.held.is_empty() {
            self.held.shrink_to(16);
        }
    }

    /// The FIN of this direction was logged: nothing follows after `position`.
    pub(crate) const fn finish(&mut self, position: u64, at: Timestamp) {
        self.fin = Some((position, at));
    }

    /// Takes the FIN when everything before it is read.
    pub(crate) fn take_fin(&mut self) -> Option<Timestamp> {
        let (position, at) = self.fin?;
        if !self.held.is_empty() || position > self.next {
            return None;
        }
        self.fin = None;
        Some(at)
    }

    /// Why the next held thing cannot be read; `None` when nothing is held.
    pub(crate) fn blocked(&self) -> Option<Blocked> {
        if let Some(held) = self.held.front() {
            let since = held.cursor.at;
            return Some(match held.cursor.position.checked_sub(self.next) {
                Some(length) if length > 0 => Blocked::Hole { length, since },
                _ => Blocked::Reader { since },
            });
        }
        let (position, since) = self.fin?;
        Some(Blocked::Hole { length: position.saturating_sub(self.next), since })
    }

    /// Whether the kernel's drop counter alone explains a hole of `length` bytes.
    pub(crate) const fn dropped_explains(&self, length: u64) -> bool {
        self.dropped.saturating_sub(self.attributed) >= length
    }

    /// Gives up `length` bytes at the next position; returns how many of them the kernel says it dropped.
    pub(crate) fn skip_hole(&mut self, length: u64) -> u64 {
        let dropped = length.min(self.dropped.saturating_sub(self.attributed));
        self.attributed += dropped;
        if self.gaps.len() == REMEMBERED_GAPS {
            self.gaps.remove(0);
        }
        let end = self.next.saturating_add(length);
        self.gaps.push(self.next..end);
        self.next = end;
        dropped
    }

    /// Takes `range` out of the remembered gaps; returns its bytes, 0 when it is not inside one.
    fn fill(&mut self, range: Range<u64>) -> u64 {
        let inside = |gap: &Range<u64>| gap.start <= range.start && range.end <= gap.end;
        let Some(index) = self.gaps.iter().position(inside) else { return 0 };
        let gap = self.gaps.swap_remove(index);
        for rest in [gap.start..range.start, range.end..gap.end] {
            if !rest.is_empty() && self.gaps.len() < REMEMBERED_GAPS {
                self.gaps.push(rest);
            }
        }
        range.end - range.start
    }

    /// Drops everything held; returns the bytes of transfers that no one had read, each position counted once.
    pub(crate) fn abandon(&mut self) -> u64 {
        let mut bytes = 0;
        for held in std::mem::take(&mut self.held) {
            let start = held.cursor.position.max(self.next);
            bytes += held.cursor.end().saturating_sub(start);
            self.next = self.next.max(held.cursor.end());
        }
        self.held_bytes = 0;
        self.fin = None;
        self.gaps = Vec::new();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ConnectionId, Direction, Layer, Thread, Transfer};

    fn cursor(position: u64, bytes: &[u8]) -> Cursor<'_> {
        Cursor::new(&Transfer {
            at: Timestamp(position),
            connection: ConnectionId(1),
            layer: Layer::Wire,
            direction: Direction::In,
            position,
            length: u32::try_from(bytes.len()).unwrap(),
            thread: Thread { pid: 1, tid: 1 },
            head: bytes,
            tail: &[],
            not_captured: None,
            last_receive: None,
            task: None,
            dropped: 0,
            process_drops: 0,
        })
    }

    fn read(reassembler: &mut Reassembler) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(cursor) = reassembler.front() {
            bytes.extend_from_slice(cursor.front());
            let end = cursor.end();
            reassembler.front_consumed(end);
        }
        bytes
    }

    #[test]
    fn order_is_by_position() {
        let mut reassembler = Reassembler::default();
        for (position, bytes) in [(4, &b"ef"[..]), (2, b"cd"), (6, b"g")] {
            let mut cursor = cursor(position, bytes);
            assert_eq!(reassembler.admit(&mut cursor), Admission::Later, "a jump");
            reassembler.hold(&cursor);
        }
        assert_eq!(reassembler.blocked(), Some(Blocked::Hole { length: 2, since: Timestamp(2) }));
        assert_eq!(read(&mut reassembler), b"");
        let mut first = cursor(0, b"ab");
        assert_eq!(reassembler.admit(&mut first), Admission::Later, "others wait");
        reassembler.hold(&first);
        assert_eq!(read(&mut reassembler), b"abcdefg");
        assert_eq!((reassembler.next(), reassembler.held_bytes(), reassembler.waits()), (7, 0, false));
    }

    #[test]
    fn an_overlap_is_flagged_and_read_once() {
        let mut reassembler = Reassembler::default();
        reassembler.consumed(3);
        let mut cut = cursor(1, b"bcde");
        assert_eq!(reassembler.admit(&mut cut), Admission::Next, "in order");
        assert_eq!((cut.front(), cut.position, cut.overlap, cut.whole), (&b"de"[..], 3, true, false));
        assert_eq!(reassembler.admit(&mut cursor(0, b"abc")), Admission::Late { filled: 0 });
    }

    #[test]
    fn a_call_that_is_read_in_two_steps_is_no_overlap() {
        let mut reassembler = Reassembler::default();
        reassembler.hold(&cursor(0, b"abcd"));
        reassembler.front_consumed(2);
        let rest = reassembler.front().unwrap();
        assert_eq!((rest.front(), rest.overlap, rest.whole), (&b"cd"[..], false, false));
    }

    #[test]
    fn a_late_call_fills_its_gap_once() {
        let mut reassembler = Reassembler::default();
        reassembler.note_dropped(3);
        assert!(reassembler.dropped_explains(3) && !reassembler.dropped_explains(4));
        assert_eq!(reassembler.skip_hole(5), 3);
        assert_eq!(reassembler.admit(&mut cursor(1, b"bc")), Admission::Late { filled: 2 });
        assert_eq!(reassembler.admit(&mut cursor(1, b"bc")), Admission::Late { filled: 0 });
        assert_eq!(reassembler.admit(&mut cursor(0, b"a")), Admission::Late { filled: 1 });
    }

    #[test]
    fn a_fin_waits_for_the_bytes_before_it() {
        let mut reassembler = Reassembler::default();
        reassembler.finish(2, Timestamp(9));
        assert_eq!(reassembler.take_fin(), None);
        assert_eq!(reassembler.blocked(), Some(Blocked::Hole { length: 2, since: Timestamp(9) }));
        reassembler.consumed(2);
        assert_eq!(reassembler.take_fin(), Some(Timestamp(9)));
        assert!(!reassembler.waits());
    }
}
