//! One traced connection: puts its calls into order, lets the protocol read them, bounds what waits, balances the ledger.

use super::{
    Limits, Output,
    http1::{Context, Fed, Session},
};
use crate::{
    event::{Closed, ConnectionId, Direction, Earlier, Feedback, LocalClosed, Opened, Timestamp, Transfer},
    stream::{Account, Admission, Blocked, Cursor, Ledger, Reassembler},
};

/// What was known of a connection when it was first seen.
#[derive(Debug)]
struct FirstSight {
    at: Timestamp,
    sequence: [u32; 2],
    position: u64,
    earlier: [Earlier; 2],
}

/// One traced connection. Calls may come in any order: positions decide, and what cannot be read yet is held for at most
/// [`Limits::hold_nanos`] of event time.
#[derive(Debug)]
pub struct Connection {
    id: ConnectionId,
    limits: Limits,
    first_sight: FirstSight,
    reassemblers: [Reassembler; 2],
    session: Session,
    /// Nothing is read any more.
    opaque: bool,
    /// Bytes of holes where the source was asked to make no event.
    suppressed: [u64; 2],
    /// Bytes of holes before the position up to which the source was asked to make no event, whatever was lost there, too.
    excused: [u64; 2],
    last_activity: Timestamp,
}

impl Connection {
    /// A connection of which nothing was read yet.
    #[must_use]
    pub fn new(opened: &Opened, limits: &Limits) -> Self {
        Self {
            id: opened.connection,
            limits: *limits,
            first_sight: FirstSight {
                at: opened.at,
                sequence: opened.first_sequence,
                position: opened.first_position,
                earlier: opened.earlier,
            },
            reassemblers: [(); 2].map(|()| Reassembler::new(opened.first_position)),
            session: Session::new(opened.earlier.map(|earlier| earlier == Earlier::Nothing)),
            opaque: false,
            suppressed: [0; 2],
            excused: [0; 2],
            last_activity: opened.at,
        }
    }

    /// Whether this is the first sight that was told before: two CPUs met the connection at once.
    #[must_use]
    pub fn began_with(&self, opened: &Opened) -> bool {
        self.first_sight.sequence == opened.first_sequence
    }

    /// One call moved bytes.
    #[inline(never)]
    pub fn transfer(&mut self, transfer: &Transfer<'_>, out: &mut Output) {
        let direction = transfer.direction;
        let reassembler = &mut self.reassemblers[direction.index()];
        reassembler.note_dropped(transfer.dropped);
        if transfer.length == 0 {
            return self.skip_known_loss(direction, transfer.position, transfer.at, out);
        }
        self.last_activity = self.last_activity.max(transfer.at);
        let mut cursor = Cursor::new(transfer);
        if self.opaque {
            let position = cursor.position.max(reassembler.next());
            let unread = cursor.end().saturating_sub(position);
            self.session.count_skipped(direction, unread);
            reassembler.consumed(cursor.end());
            return;
        }
        if self.session.awaits_beginning(direction) {
            self.begin(direction, &mut cursor, out);
        }
        self.pass_skippable_hole(direction, &cursor, out);
        match self.reassemblers[direction.index()].admit(&mut cursor) {
            Admission::Next => self.read_now(direction, &mut cursor, out),
            Admission::Later => self.hold(direction, &cursor, out),
            Admission::Late { filled } => {
                out.counters.transfers_late += 1;
                self.session.count_skipped(direction, filled);
                let suppressed = &mut self.suppressed[direction.index()];
                *suppressed = suppressed.saturating_sub(filled);
            }
        }
        if self.needs_tick() {
            self.settle(out);
        }
    }

    /// The source says where the stream stands after a loss that it has counted: nothing is waited for. A jump that it does not
    /// explain says nothing.
    fn skip_known_loss(&mut self, direction: Direction, position: u64, at: Timestamp, out: &mut Output) {
        let reassembler = &self.reassemblers[direction.index()];
        let hole = position.saturating_sub(reassembler.next());
        if self.opaque || hole == 0 || reassembler.held_calls() > 0 || !reassembler.dropped_explains(hole) {
            return;
        }
        if self.session.awaits_beginning(direction) {
            self.session.begins(direction, false);
        }
        self.give_up_hole(direction, hole, at, out);
        self.settle(out);
    }

    /// The first call of a direction in which bytes had moved before first sight. If it moved those, it was only logged after
    /// a call of the other direction that made the connection known, which may wait for it.
    fn begin(&mut self, direction: Direction, cursor: &mut Cursor<'_>, out: &mut Output) {
        let FirstSight { at, position, earlier, .. } = self.first_sight;
        if !self.reassemblers[direction.index()].begin_earlier(cursor.position) {
            self.session.begins(direction, false);
            return self.settle(out);
        }
        // It ended after first sight, and its first byte had moved before.
        cursor.at = cursor.at.min(Timestamp(at.0.saturating_sub(1)));
        let all = earlier[direction.index()] == Earlier::Bytes(position - cursor.position);
        let from_start = all && earlier[direction.reverse().index()] == Earlier::Nothing;
        self.session.begins(direction, from_start);
    }

    /// A FIN passed in `direction`, after `position`.
    #[inline(never)]
    pub fn half_closed(&mut self, at: Timestamp, direction: Direction, position: u64, out: &mut Output) {
        self.last_activity = self.last_activity.max(at);
        if self.opaque {
            return;
        }
        self.reassemblers[direction.index()].finish(position, at);
        self.settle(out);
    }

    /// The program has let go: ends its exchanges. What moved before is told; TCP may still be at work, and [`Connection::closed`]
    /// follows with its counts.
    #[inline(never)]
    pub fn local_closed(&mut self, closed: &LocalClosed, out: &mut Output) {
        self.last_activity = self.last_activity.max(closed.at);
        self.expire(None, out);
        for direction in Direction::BOTH {
            let index = direction.index();
            let rest = closed.position[index].saturating_sub(self.reassemblers[index].next());
            if !self.opaque {
                self.give_up_hole(direction, rest, closed.at, out);
            }
        }
        if !self.opaque {
            self.with_session(Direction::Out, false, out, |session, cx| {
                session.local_closed(closed.peer_finished, closed.at, cx);
            });
        }
    }

    /// The connection is gone: ends its exchanges and balances its ledger.
    #[inline(never)]
    pub fn closed(&mut self, closed: &Closed, out: &mut Output) -> Ledger {
        for direction in Direction::BOTH {
            self.reassemblers[direction.index()].note_dropped(closed.dropped[direction.index()]);
        }
        self.expire(None, out);
        if !self.opaque {
            for direction in Direction::BOTH {
                let passed = self.reassemblers[direction.index()].passed();
                let rest = self.observed(direction, closed).saturating_sub(passed);
                if rest > 0 {
                    self.give_up_hole(direction, rest, closed.at, out);
                }
            }
        }
        if !self.opaque {
            self.with_session(Direction::Out, false, out, |session, cx| {
                session.closed(closed.errno, closed.at, cx);
            });
        }
        out.counters.joined_mid_stream += u64::from(self.session.joined_late());
        let account = |direction: Direction| {
            let index = direction.index();
            Account::balance(
                self.session.tally(direction),
                self.observed(direction, closed),
                closed.dropped[index],
                self.skipped_as_asked(direction, closed.skipped[index]),
            )
        };
        let ledger = Ledger { directions: Direction::BOTH.map(account) };
        let violations = ledger.directions.iter().filter(|account| account.violation).count();
        out.counters.ledger_violations += violations as u64;
        ledger
    }

    /// Of the bytes that the kernel skipped, those for which it was asked to make no event: the others were needed, and are
    /// unseen.
    fn skipped_as_asked(&self, direction: Direction, skipped: u64) -> u64 {
        if self.opaque { skipped } else { skipped.min(self.excused[direction.index()]) }
    }

    /// The kernel counts from first sight on.
    const fn observed(&self, direction: Direction, closed: &Closed) -> u64 {
        let before = self.first_sight.position - self.reassemblers[direction.index()].first();
        closed.observed[direction.index()].saturating_add(before)
    }

    /// Event time has reached `at`. Needed only while [`Connection::needs_tick`].
    #[inline(never)]
    pub fn tick(&mut self, at: Timestamp, out: &mut Output) {
        if self.needs_tick() {
            self.expire(Some(at), out);
        }
    }

    /// Whether something is held that time may release.
    #[must_use]
    pub fn needs_tick(&self) -> bool {
        self.reassemblers.iter().any(Reassembler::waits)
    }

    /// The agent stops or needs the memory: open exchanges end as unfinished.
    #[inline(never)]
    pub fn finish(&mut self, at: Timestamp, out: &mut Output) {
        self.expire(None, out);
        out.counters.joined_mid_stream += u64::from(self.session.joined_late());
        if !self.opaque {
            self.with_session(Direction::Out, false, out, |session, cx| session.finish(at, cx));
        }
    }

    /// Time of the last call.
    #[must_use]
    pub const fn last_activity(&self) -> Timestamp {
        self.last_activity
    }

    /// Captured bytes kept: of incomplete heads and of held calls.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.session.buffered() + self.reassemblers.iter().map(Reassembler::held_bytes).sum::<usize>()
    }

    /// Whether nothing is read of this connection any more.
    #[must_use]
    pub const fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// The ledger up to the last byte read; what the kernel skipped on request is estimated until the close.
    #[must_use]
    pub fn snapshot(&self) -> Ledger {
        let account = |direction: Direction| {
            let reassembler = &self.reassemblers[direction.index()];
            let tally = self.session.tally(direction);
            let suppressed = self.suppressed[direction.index()];
            let known = tally.parsed + tally.skipped + tally.truncated + suppressed;
            let dropped = reassembler.dropped().min(reassembler.passed().saturating_sub(known));
            Account::balance(tally, reassembler.passed(), dropped, suppressed)
        };
        Ledger { directions: Direction::BOTH.map(account) }
    }

    /// A jump inside a body costs nothing: no need to wait for what may fill it. One to the body's end does: its last call
    /// tells when the message was over.
    fn pass_skippable_hole(&mut self, direction: Direction, cursor: &Cursor<'_>, out: &mut Output) {
        let reassembler = &self.reassemblers[direction.index()];
        let hole = cursor.position.saturating_sub(reassembler.next());
        if hole > 0 && reassembler.held_calls() == 0 && self.session.skippable(direction) > hole {
            self.give_up_hole(direction, hole, cursor.at, out);
        }
    }

    /// Reads a call without a copy; holds what is left of it if the reader must wait.
    fn read_now(&mut self, direction: Direction, cursor: &mut Cursor<'_>, out: &mut Output) {
        out.counters.overlaps += u64::from(cursor.overlap);
        let fed = self.with_session(direction, true, out, |session, cx| session.feed(direction, cursor, cx));
        let reassembler = &mut self.reassemblers[direction.index()];
        reassembler.consumed(cursor.position);
        match fed {
            Fed::Done => {}
            Fed::Wait => self.hold(direction, cursor, out),
            Fed::Opaque => {
                let rest = cursor.length;
                self.session.count_skipped(direction, rest);
                self.reassemblers[direction.index()].consumed(cursor.end());
                self.give_up(out);
            }
        }
    }

    fn hold(&mut self, direction: Direction, cursor: &Cursor<'_>, out: &mut Output) {
        out.counters.transfers_held += 1;
        self.reassemblers[direction.index()].hold(cursor);
        self.settle(out);
        while self.over_limit() {
            out.counters.held_overflow += 1;
            let Some(direction) = self.first_blocked(None) else { break };
            self.force(direction, out);
            self.settle(out);
        }
    }

    fn over_limit(&self) -> bool {
        let calls =
            self.reassemblers.iter().any(|reassembler| reassembler.held_calls() > self.limits.held_calls);
        let bytes = self.reassemblers.iter().map(Reassembler::held_bytes).sum::<usize>();
        calls || bytes > self.limits.held_bytes
    }

    /// Reads whatever can be read, in both directions, until nothing moves.
    fn settle(&mut self, out: &mut Output) {
        while !self.opaque {
            let moved = self.by_time().into_iter().any(|direction| self.advance(direction, true, out));
            if !moved {
                return;
            }
        }
    }

    /// The direction first whose next held call is the older one: after a loss a response tells what follows it.
    fn by_time(&self) -> [Direction; 2] {
        let held_at = |direction: Direction| self.reassemblers[direction.index()].held_at();
        match (held_at(Direction::Out), held_at(Direction::In)) {
            (Some(sent), Some(received)) if received < sent => [Direction::In, Direction::Out],
            (None, Some(_)) => [Direction::In, Direction::Out],
            _ => Direction::BOTH,
        }
    }

    /// Reads the next held thing of a direction; false when there is none that can be read.
    fn advance(&mut self, direction: Direction, may_wait: bool, out: &mut Output) -> bool {
        let index = direction.index();
        if self.opaque {
            return false;
        }
        let Some(mut cursor) = self.reassemblers[index].front() else {
            return self.advance_hole(direction, out) || self.advance_fin(direction, out);
        };
        if cursor.length == 0 {
            // Its positions have passed while it was held.
            out.counters.transfers_late += 1;
            self.reassemblers[index].front_consumed(0);
            return true;
        }
        let start = cursor.position;
        out.counters.overlaps += u64::from(cursor.overlap);
        let mut cx = Context {
            connection: self.id,
            limits: &self.limits,
            out,
            may_wait,
            other_held_at: self.reassemblers[direction.reverse().index()].held_at(),
            other_position: self.reassemblers[direction.reverse().index()].delivered_position(),
        };
        let fed = self.session.feed(direction, &mut cursor, &mut cx);
        let (position, rest) = (cursor.position, cursor.length);
        self.reassemblers[index].front_consumed(position);
        match fed {
            Fed::Done => true,
            Fed::Wait => position > start,
            Fed::Opaque => {
                self.session.count_skipped(direction, rest);
                self.reassemblers[index].front_consumed(position + rest);
                self.give_up(out);
                false
            }
        }
    }

    /// Gives up the hole before the next held call at once when its bytes are not needed or known to be dropped.
    fn advance_hole(&mut self, direction: Direction, out: &mut Output) -> bool {
        let reassembler = &self.reassemblers[direction.index()];
        let Some(Blocked::Hole { length, since }) = reassembler.blocked() else { return false };
        let known = self.session.skippable(direction) > length || reassembler.dropped_explains(length);
        if length == 0 || !known {
            return false;
        }
        self.give_up_hole(direction, length, since, out);
        true
    }

    fn advance_fin(&mut self, direction: Direction, out: &mut Output) -> bool {
        let Some(at) = self.reassemblers[direction.index()].take_fin() else { return false };
        self.with_session(direction, true, out, |session, cx| session.half_closed(direction, at, cx));
        true
    }

    /// Releases what has waited long enough at `now`; everything when `now` is `None`.
    fn expire(&mut self, now: Option<Timestamp>, out: &mut Output) {
        self.settle(out);
        while let Some(direction) = self.first_blocked(now) {
            self.force(direction, out);
            let other = direction.reverse();
            if self.hole_is_due(other, now) {
                // Both at once, so that what follows is read in the order of time.
                self.force(other, out);
            }
            self.settle(out);
        }
    }

    fn hole_is_due(&self, direction: Direction, now: Option<Timestamp>) -> bool {
        let blocked = self.reassemblers[direction.index()].blocked();
        !self.opaque && matches!(blocked, Some(Blocked::Hole { since, .. }) if self.is_due(since, now))
    }

    fn is_due(&self, since: Timestamp, now: Option<Timestamp>) -> bool {
        now.is_none_or(|now| now.since(since) >= self.limits.hold_nanos)
    }

    /// The direction to be released first: a hole before a reader, since filling it may be what the reader waits for.
    fn first_blocked(&self, now: Option<Timestamp>) -> Option<Direction> {
        if self.opaque {
            return None;
        }
        let due = |since| self.is_due(since, now);
        let blocked = |hole: bool| {
            Direction::BOTH.into_iter().find(|direction| {
                match self.reassemblers[direction.index()].blocked() {
                    Some(Blocked::Hole { since, .. }) => hole && due(since),
                    Some(Blocked::Reader { since }) => !hole && due(since),
                    None => false,
                }
            })
        };
        blocked(true).or_else(|| blocked(false))
    }

    /// Releases the first held thing of a direction; always reads or gives up at least one byte or a FIN.
    fn force(&mut self, direction: Direction, out: &mut Output) {
        match self.reassemblers[direction.index()].blocked() {
            Some(Blocked::Hole { length, since }) => {
                self.give_up_hole(direction, length, since, out);
                self.advance_fin(direction, out);
            }
            Some(Blocked::Reader { .. }) => {
                self.advance(direction, false, out);
            }
            None => {}
        }
    }

    fn give_up_hole(&mut self, direction: Direction, length: u64, at: Timestamp, out: &mut Output) {
        if length == 0 {
            return;
        }
        let index = direction.index();
        let skipped = self.session.skippable(direction).min(length);
        let asked = self.session.asked_to_skip(direction).saturating_sub(self.reassemblers[index].next());
        self.excused[index] += asked.min(length);
        let dropped = self.reassemblers[index].skip_hole(length);
        self.suppressed[index] += skipped.min(length - dropped);
        out.counters.gap_bytes_dropped += dropped;
        out.counters.gap_bytes_unseen += length - dropped;
        self.with_session(direction, true, out, |session, cx| session.gap(direction, length, at, cx));
    }

    /// Nothing is read any more: tells the source once, lets go of everything.
    fn give_up(&mut self, out: &mut Output) {
        if self.opaque {
            return;
        }
        self.opaque = true;
        out.feedback.push(Feedback::Opaque { connection: self.id });
        for direction in Direction::BOTH {
            let unread = self.reassemblers[direction.index()].abandon();
            self.session.count_skipped(direction, unread);
        }
    }

    fn with_session<T>(
        &mut self,
        direction: Direction,
        may_wait: bool,
        out: &mut Output,
        run: impl FnOnce(&mut Session, &mut Context<'_>) -> T,
    ) -> T {
        let mut cx = Context {
            connection: self.id,
            limits: &self.limits,
            out,
            may_wait,
            other_held_at: self.reassemblers[direction.reverse().index()].held_at(),
            other_position: self.reassemblers[direction.reverse().index()].delivered_position(),
        };
        run(&mut self.session, &mut cx)
    }
}

#[cfg(test)]
mod tests;
