//! One direction of a connection: segments in any order become the bytes as the receiver would read them.
//!
//! Positions count from the first byte known. Of bytes that come twice the first ones hold, as in most stacks; other
//! bytes for the same position flag what comes next.
//!
//! A segment waits for the bytes before it, and for those of the other direction that its sender had acknowledged: what
//! was captured late is then still read before what it caused. A hole is given up when the other side has acknowledged
//! its bytes and [`PASSED_WAIT`] has gone by (then it was the capture that lost them), or after [`HOLE_WAIT`], or when too
//! much waits.

use std::collections::BTreeMap;

use super::{
    Report,
    piece::{Held, Outlet, Piece, Room},
    tcp::Segment,
};
use crate::event::Timestamp;

/// The largest window (RFC 7323, section 2.3). What lies further off belongs to no stream we know.
const WINDOW: i64 = 1 << 30;
/// Nanoseconds for which an acknowledgment may be captured before what it acknowledges.
pub(super) const PASSED_WAIT: u64 = 50_000_000;
/// Nanoseconds for which a retransmission is waited for when no acknowledgment tells.
const HOLE_WAIT: u64 = 10_000_000_000;
/// An acknowledgment of more than this beyond what was read belongs to another connection.
const PLAUSIBLE: i64 = 64 * 1024 * 1024;
/// Bytes read last that are kept to compare retransmissions with.
const RECENT: usize = 512;

/// Why nothing can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// Nothing waits.
    Free,
    /// Bytes before `end` are missing; `acknowledged`: the other side has them.
    Hole { end: u64, acknowledged: bool },
    /// What is next waits for the other direction.
    Behind,
}

/// One direction. INVARIANT: held pieces are not empty, do not overlap, and end after `next`.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Sequence number of position 0.
    base: Option<u32>,
    /// Position 0 is the first byte of the connection.
    from_start: bool,
    /// Position of the next byte to read.
    next: u64,
    held: BTreeMap<u64, Held>,
    held_cost: usize,
    /// Position behind the last byte, and when that was captured.
    fin: Option<u64>,
    fin_at: Timestamp,
    /// The other side has everything before this position.
    acknowledged: u64,
    /// Since when there is a hole, and since when all of it is acknowledged.
    blocked: Option<Timestamp>,
    passed: Option<Timestamp>,
    /// When a retransmission filled the last hole: what had waited behind it could not be read before.
    filled: Timestamp,
    /// Bytes of holes that were given up, and how many of them were handed out with a piece.
    lost: u64,
    told: u64,
    /// The captured bytes before `next`, without a hole.
    recent: Vec<u8>,
    disputed: bool,
}

impl Half {
    pub(super) const fn base(&self) -> Option<u32> {
        self.base
    }

    pub(super) const fn starts_whole(&self) -> bool {
        self.from_start
    }

    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Bytes of holes with nothing behind them: no piece has told of them.
    pub(super) const fn untold(&self) -> bool {
        self.lost > self.told
    }

    /// Fixes position 0.
    pub(super) const fn begin(&mut self, base: u32, from_start: bool) {
        self.base = Some(base);
        self.from_start = from_start;
    }

    /// The position of a sequence number, relative to the next byte; `None` when it is in no window.
    pub(super) fn ahead(&self, sequence: u32) -> Option<i64> {
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers are 32 bits wide and wrap")]
        let expected = self.base?.wrapping_add(self.next as u32);
        let ahead = i64::from(sequence.wrapping_sub(expected).cast_signed());
        (-WINDOW..=WINDOW).contains(&ahead).then_some(ahead)
    }

    /// Takes a segment's payload, `ahead` of the next byte. It is handed out if it is next; `reach` says how far the other
    /// direction was read, `None` while nothing can be handed out.
    pub(super) fn insert(
        &mut self,
        ahead: i64,
        segment: &Segment<'_>,
        after: u64,
        reach: Option<u64>,
        to: &mut Outlet<'_>,
    ) {
        let passed = u64::try_from(-ahead).unwrap_or(0);
        if passed > 0 && self.compare_recent(passed, segment.bytes) {
            self.dispute(to.report);
        }
        if passed >= u64::from(segment.length) {
            let probe = passed == 1 && segment.length == 1;
            let count = if probe { &mut to.report.keep_alives } else { &mut to.report.retransmitted_bytes };
            *count += u64::from(segment.length);
            return;
        }
        to.report.retransmitted_bytes += passed;
        let offset = usize::try_from(passed).unwrap_or(usize::MAX);
        let mut piece = Piece {
            position: self.next + u64::try_from(ahead).unwrap_or(0),
            length: segment.length - u32::try_from(passed).unwrap_or(0),
            bytes: segment.bytes.get(offset..).unwrap_or_default(),
            at: segment.at,
            after,
        };
        if let Some(fin) = self.fin.filter(|fin| *fin < piece.end()) {
            to.report.out_of_window += 1;
            if fin <= piece.position {
                return;
            }
            piece = piece.part(piece.position, fin);
        }
        let next = piece.position == self.next;
        if next && matches!(self.block(), Block::Hole { acknowledged: false, .. }) {
            self.filled = segment.at;
        }
        if next && self.held.is_empty() && reach.is_some_and(|reach| after <= reach) {
            self.read(piece, to);
            return;
        }
        self.hold(piece, to);
        if let Some(reach) = reach {
            self.drain(reach, to);
        }
        self.keep_bounds(reach, to);
    }

    /// The FIN stands `ahead` of the next byte. The first one holds.
    pub(super) fn finish(&mut self, ahead: i64, at: Timestamp, report: &mut Report) {
        let Some(position) = self.next.checked_add_signed(ahead).filter(|_| ahead >= 0) else {
            report.out_of_window += u64::from(self.fin.is_none());
            return;
        };
        let last = self.held.last_key_value().map_or(0, |(start, held)| held.piece(*start).end());
        if self.fin.is_none() && position >= last {
            self.fin = Some(position);
            self.fin_at = at;
        } else {
            report.out_of_window += u64::from(self.fin != Some(position));
        }
    }

    /// The other side has everything before this sequence number; its position, 0 when it is not believed.
    pub(super) fn acknowledge(&mut self, sequence: u32) -> u64 {
        let Some(ahead) = self.ahead(sequence).filter(|ahead| *ahead <= PLAUSIBLE) else { return 0 };
        let position = self.next.saturating_add_signed(ahead);
        self.acknowledged = self.acknowledged.max(position);
        position
    }

    /// Whether a segment with this sequence number may be of this connection and not of one before.
    pub(super) fn plausible(&self, sequence: u32) -> bool {
        self.ahead(sequence).is_some_and(|ahead| ahead.abs() <= PLAUSIBLE)
    }

    /// Up to where the other direction need not wait for this one.
    pub(super) fn reach(&self) -> u64 {
        // A FIN has a sequence number that no byte has.
        if self.finished() { u64::MAX } else { self.next }
    }

    /// When the FIN could be read.
    pub(super) fn finished_at(&self) -> Timestamp {
        self.fin_at.max(self.filled)
    }

    /// Whether every byte up to the FIN was read or given up.
    pub(super) fn finished(&self) -> bool {
        self.fin.is_some_and(|fin| self.next >= fin)
    }

    /// Whether something can be read now, a FIN included.
    pub(super) fn readable(&self) -> bool {
        self.held.first_key_value().is_some_and(|(start, _)| *start <= self.next) || self.finished()
    }

    /// Reads what is next and need not wait for the other direction, which was read up to `reach`; true if there was any.
    pub(super) fn drain(&mut self, reach: u64, to: &mut Outlet<'_>) -> bool {
        let mut moved = false;
        while self.front().is_some_and(|(position, after)| position <= self.next && after <= reach) {
            self.read_front(to);
            moved = true;
        }
        moved
    }

    /// Why nothing can be read, after [`Half::drain`].
    pub(super) fn block(&self) -> Block {
        let hole = |end| Block::Hole { end, acknowledged: self.acknowledged >= end };
        match (self.front(), self.fin) {
            (Some((position, _)), _) if position > self.next => hole(position),
            (Some(_), _) => Block::Behind,
            (None, Some(fin)) if fin > self.next => hole(fin),
            (None, None) if self.acknowledged > self.next => hole(self.acknowledged),
            (None, _) => Block::Free,
        }
    }

    /// Whether the hole at the next byte is waited for any longer.
    pub(super) fn due(&mut self, acknowledged: bool, now: Timestamp) -> bool {
        let blocked = *self.blocked.get_or_insert(now);
        self.passed = if acknowledged { self.passed.or(Some(now)) } else { None };
        self.passed.is_some_and(|passed| now.since(passed) >= PASSED_WAIT) || now.since(blocked) >= HOLE_WAIT
    }

    /// Gives up the hole that ends at `end`.
    pub(super) fn give_up(&mut self, end: u64, to: &mut Outlet<'_>) {
        let length = end.saturating_sub(self.next);
        to.report.gaps += 1;
        to.report.gap_bytes += length;
        self.lost += length;
        self.next += length;
        self.moved();
        self.recent.clear();
    }

    /// Reads what is next whatever it waits for.
    pub(super) fn force(&mut self, to: &mut Outlet<'_>) {
        if self.front().is_some_and(|(position, _)| position <= self.next) {
            self.read_front(to);
        }
    }

    /// Lets go of everything but the numbers.
    pub(super) fn release(&mut self, room: &mut Room) {
        room.used -= self.held_cost;
        self.held_cost = 0;
        self.held = BTreeMap::new();
        self.recent = Vec::new();
    }

    /// Position of the first waiting piece, and what it waits for besides the bytes before it.
    fn front(&self) -> Option<(u64, u64)> {
        self.held.first_key_value().map(|(position, held)| (*position, held.after))
    }

    fn read_front(&mut self, to: &mut Outlet<'_>) {
        let Some((position, held)) = self.held.pop_first() else { return };
        self.held_cost -= held.cost();
        to.room.used -= held.cost();
        let piece = held.piece(position);
        self.read(Piece { at: piece.at.max(self.filled), ..piece }, to);
    }

    /// Hands out a piece that is next. What lies before `next` of it was cut before.
    fn read(&mut self, piece: Piece<'_>, to: &mut Outlet<'_>) {
        to.report.truncated_bytes += u64::from(piece.length) - piece.bytes.len() as u64;
        match self.recent.last() {
            // The stream layer flags what claims a position again.
            Some(last) if self.disputed && piece.length < u32::MAX => {
                let bytes = [&[*last], piece.bytes].concat();
                let (position, length) = (piece.position - 1, piece.length + 1);
                (to.out)(Piece { position, length, bytes: &bytes, ..piece }, self.lost);
                self.disputed = false;
            }
            _ => (to.out)(piece, self.lost),
        }
        self.told = self.lost;
        self.next = piece.end();
        self.moved();
        self.remember(piece);
    }

    const fn moved(&mut self) {
        self.blocked = None;
        self.passed = None;
    }

    fn remember(&mut self, piece: Piece<'_>) {
        if piece.bytes.len() < piece.length as usize {
            self.recent.clear();
            return;
        }
        let kept = &piece.bytes[piece.bytes.len().saturating_sub(RECENT)..];
        let surplus = (self.recent.len() + kept.len()).saturating_sub(RECENT);
        self.recent.drain(..surplus);
        self.recent.extend_from_slice(kept);
    }

    /// Whether `bytes`, which begin `passed` bytes before the next one, differ from what was read there.
    fn compare_recent(&self, passed: u64, bytes: &[u8]) -> bool {
        let known = Piece {
            position: self.next - (self.recent.len() as u64).min(self.next),
            length: u32::try_from(self.recent.len()).unwrap_or(0),
            bytes: &self.recent,
            at: Timestamp::default(),
            after: 0,
        };
        // A keep-alive's byte is any byte.
        if bytes.len() == 1 && passed == 1 {
            return false;
        }
        let before = self.next.saturating_sub(passed);
        // What lies before position 0 was never read.
        let bytes = bytes.get(usize::try_from(passed.saturating_sub(self.next)).unwrap_or(usize::MAX)..);
        let bytes = bytes.unwrap_or_default();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        known.contradicts(&Piece { position: before, length, bytes, ..known })
    }

    const fn dispute(&mut self, report: &mut Report) {
        self.disputed = true;
        report.disputed += 1;
    }

    /// Keeps what of the piece is not there yet.
    fn hold(&mut self, piece: Piece<'_>, to: &mut Outlet<'_>) {
        let mut start = piece.position;
        let mut disputed = false;
        while start < piece.end() {
            let before = self.held.range(..=start).next_back().map(|(at, held)| held.piece(*at));
            if let Some(first) = before.filter(|first| first.end() > start) {
                disputed |= first.contradicts(&piece);
                let end = first.end().min(piece.end());
                to.report.retransmitted_bytes += end - start;
                start = end;
                continue;
            }
            let end = self.held.range(start..piece.end()).next().map_or(piece.end(), |(at, _)| *at);
            let part = piece.part(start, end);
            let held = Held { length: part.length, bytes: part.bytes.into(), at: part.at, after: part.after };
            self.held_cost += held.cost();
            to.room.used += held.cost();
            self.held.insert(start, held);
            start = end;
        }
        if disputed {
            self.dispute(to.report);
        }
    }

    fn keep_bounds(&mut self, reach: Option<u64>, to: &mut Outlet<'_>) {
        while self.held_cost > to.room.each
            || self.held.len() > to.room.segments
            || to.room.used > to.room.all
        {
            to.report.overflows += 1;
            let Some(reach) = reach else {
                // Nobody can read it yet: the last bytes go, and become a hole if they do not come again.
                let Some((_, held)) = self.held.pop_last() else { return };
                self.held_cost -= held.cost();
                to.room.used -= held.cost();
                continue;
            };
            match self.block() {
                Block::Hole { end, .. } if !self.held.is_empty() => self.give_up(end, to),
                Block::Behind => self.force(to),
                Block::Hole { .. } | Block::Free => return,
            }
            self.drain(reach, to);
        }
    }
}
