//! One direction of a connection: segments in any order become the bytes as the receiver read them.
//!
//! Positions count from the first known byte. Where bytes come twice the first ones hold, as in
//! most stacks. Different bytes for the same position flag the bytes that come next.
//!
//! A segment waits for the bytes before it, and for the bytes of the other direction that its
//! sender had acknowledged: so a message that was captured late is still read before its effects. A
//! hole is given up in three cases: the other side has acknowledged its bytes and [`PASSED_WAIT`]
//! has passed (the capture lost them), [`HOLE_WAIT`] has passed, or too much waits.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Report,
    piece::{Held, Outlet, Piece, Room},
    recent::Recent,
    tcp::Segment,
};
use crate::event::Timestamp;

/// The largest window (RFC 7323, section 2.3). A segment further away belongs to no known stream.
const WINDOW: i64 = 1 << 30;
/// How long, in nanoseconds, an acknowledgment may be captured before the bytes that it
/// acknowledges.
pub(super) const PASSED_WAIT: u64 = 50_000_000;
/// How long, in nanoseconds, a hole waits for a retransmission when no acknowledgment decides.
const HOLE_WAIT: u64 = 10_000_000_000;
/// An acknowledgment of more than this beyond what was read belongs to another connection.
const PLAUSIBLE: i64 = 64 * 1024 * 1024;
/// Most ends of pieces that are kept.
const READ_ENDS: usize = 32;

/// Why nothing can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// Nothing waits.
    Free,
    /// Bytes before `end` are missing; `acknowledged`: the other side has them.
    Hole { end: u64, acknowledged: bool },
    /// The next bytes wait for the other direction.
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
    /// Position behind the last byte, when that was captured, and whether after a RST.
    fin: Option<u64>,
    fin_at: Timestamp,
    fin_after_reset: bool,
    /// The other side has every byte before this position; since when.
    acknowledged: Option<u64>,
    acknowledged_at: Timestamp,
    /// Ends of the last pieces read, and when the receiver had them, for segments of the other
    /// direction that wait for them.
    read_ends: VecDeque<(u64, Timestamp)>,
    /// Since when there is a hole, and since when all of it is acknowledged.
    blocked: Option<Timestamp>,
    passed: Option<Timestamp>,
    /// When a retransmission filled the last hole: the bytes behind it could not be read before.
    filled: Timestamp,
    /// Urgent bytes read, which reported positions do not count.
    urgent: u64,
    /// Bytes of holes that were given up, and how many of them were reported with a piece.
    lost: u64,
    reported_lost: u64,
    recent: Recent,
    disputed: bool,
}

impl Half {
    /// Position 0 is at this sequence number, as far as can be said.
    pub(super) fn from(base: u32) -> Self {
        Self { base: Some(base), ..Self::default() }
    }

    pub(super) const fn base(&self) -> Option<u32> {
        self.base
    }

    pub(super) const fn starts_whole(&self) -> bool {
        self.from_start
    }

    /// Position of the next byte, as pieces report it.
    pub(super) const fn reported_next(&self) -> u64 {
        self.next - self.urgent
    }

    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether bytes of holes were given up that no piece has reported.
    pub(super) const fn has_unreported_loss(&self) -> bool {
        self.lost > self.reported_lost
    }

    /// Fixes position 0, or moves it while nothing was read, and all known positions with it.
    /// Returns by how much positions have grown; `None` when what was known belongs to another
    /// connection, and is forgotten.
    pub(super) fn begin(&mut self, base: u32, from_start: bool, room: &mut Room) -> Option<u64> {
        let moved = self.base.map_or(0, |before| i64::from(before.wrapping_sub(base).cast_signed()));
        self.base = Some(base);
        self.from_start = from_start;
        let moved = u64::try_from(moved).ok().filter(|moved| *moved <= PLAUSIBLE.unsigned_abs());
        let Some(moved) = moved else {
            self.release(room);
            (self.fin, self.acknowledged) = (None, None);
            return None;
        };
        if moved > 0 {
            self.held =
                std::mem::take(&mut self.held).into_iter().map(|(at, held)| (at + moved, held)).collect();
            self.fin = self.fin.map(|fin| fin + moved);
            self.acknowledged = self.acknowledged.map(|acknowledged| acknowledged + moved);
        }
        Some(moved)
    }

    /// The other direction's positions have grown by this; `None`: nothing of it is known any more.
    pub(super) fn other_began(&mut self, moved: Option<u64>) {
        for held in self.held.values_mut() {
            held.after = moved.map_or(0, |moved| held.after + moved);
        }
    }

    /// Bytes and bookkeeping of what waits.
    pub(super) const fn held_cost(&self) -> usize {
        self.held_cost
    }

    /// Position behind the last byte captured, a FIN counted as one.
    pub(super) fn captured_end(&self) -> u64 {
        let held = self.held.last_key_value().map_or(0, |(start, held)| held.piece(*start).end());
        self.next.max(held).max(self.fin.map_or(0, |fin| fin + 1))
    }

    /// The RST holds: nobody read what came after it.
    pub(super) fn drop_after_reset(&mut self, to: &mut Outlet<'_>) {
        let mut freed = 0;
        self.held.retain(|_, held| {
            if held.after_reset {
                freed += held.cost();
                to.report.after_reset_bytes += u64::from(held.length);
            }
            !held.after_reset
        });
        self.held_cost -= freed;
        to.room.used -= freed;
        self.fin = self.fin.filter(|_| !self.fin_after_reset);
    }

    /// When the receiver had all bytes before `position`, if that was not long ago.
    fn had_at(&self, position: u64) -> Timestamp {
        let index = self.read_ends.partition_point(|(end, _)| *end < position);
        self.read_ends.get(index).filter(|_| position > 0).map_or(Timestamp::default(), |(_, at)| *at)
    }

    /// The position of a sequence number, relative to the next byte; `None` when it is in no
    /// window.
    pub(super) fn ahead(&self, sequence: u32) -> Option<i64> {
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers are 32 bits wide and wrap")]
        let expected = self.base?.wrapping_add(self.next as u32);
        let ahead = i64::from(sequence.wrapping_sub(expected).cast_signed());
        (-WINDOW..=WINDOW).contains(&ahead).then_some(ahead)
    }

    /// The position of a sequence number, which may lie before position 0.
    pub(super) fn position(&self, sequence: u32) -> Option<i64> {
        Some(self.ahead(sequence)?.saturating_add_unsigned(self.next))
    }

    /// Takes a segment's payload, `ahead` of the next byte, and emits it if it is next. `reach` is
    /// how far the other direction was read; `None` while nothing can be emitted.
    pub(super) fn insert(
        &mut self,
        ahead: i64,
        segment: &Segment<'_>,
        after: u64,
        reach: Option<u64>,
        other: &Self,
        to: &mut Outlet<'_>,
    ) {
        let passed = u64::try_from(-ahead).unwrap_or(0);
        if passed > 0 && self.recent.differs(self.next, passed, segment.bytes) {
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
            urgent: segment.urgent.is_some(),
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
            self.read(piece, other, to);
            return;
        }
        self.hold(piece, to);
        if let Some(reach) = reach {
            self.drain(reach, other, to);
        }
        self.keep_bounds(reach, other, to);
    }

    /// The FIN lies `ahead` of the next byte. The first FIN holds.
    pub(super) fn finish(&mut self, ahead: i64, at: Timestamp, after_reset: bool, report: &mut Report) {
        let Some(position) = self.next.checked_add_signed(ahead).filter(|_| ahead >= 0) else {
            report.out_of_window += u64::from(self.fin.is_none());
            return;
        };
        let last = self.held.last_key_value().map_or(0, |(start, held)| held.piece(*start).end());
        if self.fin.is_none() && position >= last {
            self.fin = Some(position);
            self.fin_at = at;
            self.fin_after_reset = after_reset;
        } else {
            report.out_of_window += u64::from(self.fin != Some(position));
        }
    }

    /// The other side has everything before this sequence number. Returns the position, 0 when the
    /// number is not credible.
    pub(super) fn acknowledge(&mut self, sequence: u32, at: Timestamp) -> u64 {
        let Some(ahead) = self.ahead(sequence).filter(|ahead| *ahead <= PLAUSIBLE) else { return 0 };
        let position = self.next.saturating_add_signed(ahead);
        if self.acknowledged < Some(position) {
            self.acknowledged = Some(position);
            self.acknowledged_at = at;
        }
        position
    }

    /// Whether a segment with this sequence number may be of this connection and not of one before.
    pub(super) fn plausible(&self, sequence: u32) -> bool {
        self.ahead(sequence).is_some_and(|ahead| ahead.abs() <= PLAUSIBLE)
    }

    /// The other direction need not wait for this one up to here.
    pub(super) fn reach(&self) -> u64 {
        // A FIN has a sequence number without a byte.
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

    /// Reads what is next and need not wait for the other direction, which was read up to `reach`.
    /// True if there was any.
    pub(super) fn drain(&mut self, reach: u64, other: &Self, to: &mut Outlet<'_>) -> bool {
        let mut moved = false;
        while self.front().is_some_and(|(position, after)| position <= self.next && after <= reach) {
            self.read_front(other, to);
            moved = true;
        }
        moved
    }

    /// Why nothing can be read, after [`Half::drain`].
    pub(super) fn block(&self) -> Block {
        let hole = |end| Block::Hole { end, acknowledged: self.acknowledged >= Some(end) };
        match (self.front(), self.fin) {
            (Some((position, _)), _) if position > self.next => hole(position),
            (Some(_), _) => Block::Behind,
            (None, Some(fin)) if fin > self.next => hole(fin),
            (None, None) => match self.acknowledged {
                Some(end) if end > self.next => hole(end),
                _ => Block::Free,
            },
            (None, Some(_)) => Block::Free,
        }
    }

    /// Whether the hole at the next byte is still waited for.
    pub(super) fn due(&mut self, acknowledged: bool, now: Timestamp) -> bool {
        let blocked = *self.blocked.get_or_insert(now);
        self.passed = if acknowledged { self.passed.or(Some(now)) } else { None };
        self.passed.is_some_and(|passed| now.since(passed) >= PASSED_WAIT) || now.since(blocked) >= HOLE_WAIT
    }

    /// Gives up the hole that ends at `end`, or the part of it for which the other direction waits.
    /// The loss must be reported before what waits there.
    pub(super) fn give_up_for(&mut self, end: u64, other: &Self, to: &mut Outlet<'_>) {
        let waiting = other.held.first_key_value().filter(|(position, _)| **position <= other.next);
        let waiting =
            waiting.filter(|(_, held)| held.after > self.next).map(|(_, held)| (held.after, held.at));
        let end = waiting.map_or(end, |(after, _)| end.min(after));
        self.give_up(end, to);
        let silent = self.front().is_none_or(|(position, _)| position > self.next) && !self.finished();
        if silent || waiting.is_some() {
            let at = waiting.map_or(self.acknowledged_at, |(_, at)| at.min(self.acknowledged_at));
            let loss =
                Piece { position: self.reported_next(), length: 0, bytes: &[], at, after: 0, urgent: false };
            (to.out)(loss, self.lost);
            self.reported_lost = self.lost;
        }
    }

    /// Gives up the hole that ends at `end`.
    fn give_up(&mut self, end: u64, to: &mut Outlet<'_>) {
        let length = end.saturating_sub(self.next);
        to.report.gaps += 1;
        to.report.gap_bytes += length;
        self.lost += length;
        self.next += length;
        self.moved();
        self.recent.clear();
    }

    /// Reads what is next, whatever it waits for.
    pub(super) fn force(&mut self, other: &Self, to: &mut Outlet<'_>) {
        if self.front().is_some_and(|(position, _)| position <= self.next) {
            self.read_front(other, to);
        }
    }

    /// Releases everything but the numbers.
    pub(super) fn release(&mut self, room: &mut Room) {
        room.used -= self.held_cost;
        self.held_cost = 0;
        self.held = BTreeMap::new();
        self.recent = Recent::default();
        self.read_ends = VecDeque::new();
    }

    /// Position of the first waiting piece, and what it waits for besides the bytes before it.
    fn front(&self) -> Option<(u64, u64)> {
        self.held.first_key_value().map(|(position, held)| (*position, held.after))
    }

    fn read_front(&mut self, other: &Self, to: &mut Outlet<'_>) {
        let Some((position, held)) = self.held.pop_first() else { return };
        self.held_cost -= held.cost();
        to.room.used -= held.cost();
        let piece = held.piece(position);
        self.read(Piece { at: piece.at.max(self.filled), ..piece }, other, to);
    }

    /// Emits a piece that is next. What lies before `next` of it was cut before.
    fn read(&mut self, piece: Piece<'_>, other: &Self, to: &mut Outlet<'_>) {
        // The sender had everything that it acknowledges, whatever the capturing clock says.
        let piece = Piece { at: piece.at.max(other.had_at(piece.after)), ..piece };
        if piece.urgent {
            self.next = piece.end();
            self.urgent += 1;
            self.moved();
            self.recent.clear();
            return;
        }
        to.report.truncated_bytes += u64::from(piece.length) - piece.bytes.len() as u64;
        let counted = Piece { position: piece.position - self.urgent, ..piece };
        match self.recent.last() {
            // The stream layer flags bytes that claim a position again.
            Some(last) if self.disputed && piece.length < u32::MAX => {
                let bytes = [&[*last], piece.bytes].concat();
                let (position, length) = (counted.position - 1, counted.length + 1);
                (to.out)(Piece { position, length, bytes: &bytes, ..piece }, self.lost);
                self.disputed = false;
            }
            _ => (to.out)(counted, self.lost),
        }
        self.reported_lost = self.lost;
        self.next = piece.end();
        if self.read_ends.len() == READ_ENDS {
            self.read_ends.pop_front();
        }
        self.read_ends.push_back((self.next, piece.at));
        self.moved();
        self.recent.remember(&piece);
    }

    const fn moved(&mut self) {
        self.blocked = None;
        self.passed = None;
    }

    const fn dispute(&mut self, report: &mut Report) {
        self.disputed = true;
        report.disputed += 1;
    }

    /// Keeps those parts of the piece that are not there yet.
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
            let (length, urgent, after_reset) = (part.length, part.urgent, to.after_reset);
            let held = Held {
                length,
                bytes: part.bytes.into(),
                at: part.at,
                after: part.after,
                urgent,
                after_reset,
            };
            self.held_cost += held.cost();
            to.room.used += held.cost();
            self.held.insert(start, held);
            start = end;
        }
        if disputed {
            self.dispute(to.report);
        }
    }

    fn keep_bounds(&mut self, reach: Option<u64>, other: &Self, to: &mut Outlet<'_>) {
        while self.held_cost > to.room.each
            || self.held.len() > to.room.segments
            || to.room.used > to.room.all
        {
            to.report.overflows += 1;
            let Some(reach) = reach else {
                // Nobody can read it yet. The last bytes go, and become a hole if they do not come
                // again.
                let Some((_, held)) = self.held.pop_last() else { return };
                self.held_cost -= held.cost();
                to.room.used -= held.cost();
                continue;
            };
            match self.block() {
                Block::Hole { end, .. } if !self.held.is_empty() => self.give_up(end, to),
                Block::Behind => self.force(other, to),
                Block::Hole { .. } | Block::Free => return,
            }
            self.drain(reach, other, to);
        }
    }
}
