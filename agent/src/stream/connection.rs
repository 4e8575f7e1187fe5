//! One stream of a traced connection: puts its transfers into order, lets a parser read them, bounds what waits, asks the source to skip
//! what is not needed, balances the ledger.

use super::{
    Account, ContextOf, Cursor, Fed, Ledger, Limits, Parser, Sink as _, Tally,
    asked::Asked,
    reassembly::{Admission, Reassembler},
};
use crate::{
    careful,
    event::{
        CaptureMode, Closed, Direction, Earlier, Layer, LocalClosed, Opened, PlaintextOpened, StreamId,
        Timestamp, Transfer,
    },
};

/// What was known of a connection when it was first seen.
#[derive(Debug)]
struct Beginning {
    at: Timestamp,
    sequence: [u32; 2],
    position: u64,
    earlier: [Earlier; 2],
}

/// One stream of a traced connection, the wire or its plaintext. Transfers may come in any order: positions decide, and what
/// cannot be read yet is held for at most [`Limits::hold_nanos`] of event time.
#[derive(Debug)]
pub struct Connection<P: Parser> {
    pub(super) id: StreamId,
    pub(super) limits: P::Limits,
    beginning: Beginning,
    pub(super) reassemblers: [Reassembler; 2],
    pub(super) parser: P,
    /// Nothing is read any more.
    pub(super) opaque: bool,
    pub(super) asked: [Asked; 2],
    tallies: [Tally; 2],
    last_activity: Timestamp,
}

impl<P: Parser> Connection<P> {
    /// What the socket of a connection moves, of which nothing was read yet.
    #[must_use]
    pub fn new(opened: &Opened, limits: &P::Limits) -> Self {
        let beginning = Beginning {
            at: opened.at,
            sequence: opened.first_sequence,
            position: opened.first_position,
            earlier: opened.earlier,
        };
        Self::beginning(StreamId { connection: opened.connection, layer: Layer::Wire }, beginning, limits)
    }

    /// The plaintext of a connection, of which nothing was read yet.
    #[must_use]
    pub fn of_plaintext(opened: &PlaintextOpened, limits: &P::Limits) -> Self {
        let beginning = Beginning { at: opened.at, sequence: [0; 2], position: 0, earlier: opened.earlier };
        Self::beginning(
            StreamId { connection: opened.connection, layer: Layer::Plaintext },
            beginning,
            limits,
        )
    }

    fn beginning(id: StreamId, beginning: Beginning, limits: &P::Limits) -> Self {
        Self {
            id,
            limits: *limits,
            reassemblers: [(); 2].map(|()| Reassembler::new(beginning.position)),
            parser: P::new(beginning.earlier.map(|earlier| earlier == Earlier::Nothing)),
            opaque: false,
            asked: Default::default(),
            tallies: Default::default(),
            last_activity: beginning.at,
            beginning,
        }
    }

    /// Whether this is the first observation that was told before: two CPUs met the connection at once.
    #[must_use]
    pub fn began_with(&self, opened: &Opened) -> bool {
        self.beginning.sequence == opened.first_sequence
    }

    /// One system call moved bytes, or (with a length of 0) reports what was lost.
    #[inline(never)]
    pub fn transfer(&mut self, transfer: &Transfer<'_>, out: &mut P::Output) {
        let direction = transfer.direction;
        self.reassemblers[direction.index()].note_dropped(transfer.dropped);
        if transfer.length == 0 {
            return self.skip_known_loss(direction, transfer.position, transfer.at, out);
        }
        self.last_activity = self.last_activity.max(transfer.at);
        let mut cursor = Cursor::new(transfer);
        let is_next = self.is_next(direction, cursor.position);
        let other = if is_next {
            (None, self.reassemblers[direction.reverse().index()].next())
        } else if self.place(direction, &mut cursor, out) {
            self.other(direction)
        } else {
            return;
        };
        let fed = self.read_now(direction, &mut cursor, other, out);
        let nothing_waits = is_next && fed == Fed::Done;
        if !nothing_waits && self.needs_tick() {
            self.settle(out);
        }
    }

    /// Finds the place of a transfer. False: it is not to be read now, or ever.
    #[inline(never)]
    fn place(&mut self, direction: Direction, cursor: &mut Cursor<'_>, out: &mut P::Output) -> bool {
        if self.opaque {
            let reassembler = &mut self.reassemblers[direction.index()];
            let position = cursor.position.max(reassembler.next());
            let unread = cursor.end().saturating_sub(position);
            reassembler.consumed(cursor.end());
            self.count_skipped(direction, unread);
            return false;
        }
        if self.parser.awaits_beginning(direction) {
            self.begin(direction, cursor, out);
        }
        self.pass_skippable_hole(direction, cursor, out);
        match self.reassemblers[direction.index()].admit(cursor) {
            Admission::Next => return true,
            Admission::Later => self.hold(direction, cursor, out),
            Admission::Late { filled } => {
                out.stream_counters().transfers_late += 1;
                self.count_skipped(direction, filled);
                let asked = &mut self.asked[direction.index()];
                asked.suppressed = asked.suppressed.saturating_sub(filled);
            }
        }
        if self.needs_tick() {
            self.settle(out);
        }
        false
    }

    /// Whether nothing is in doubt about a transfer of this position: it is read, nothing waits, and it comes next.
    #[inline(always)]
    fn is_next(&self, direction: Direction, position: u64) -> bool {
        !self.opaque
            && !self.needs_tick()
            && self.reassemblers[direction.index()].next() == position
            && !self.parser.awaits_beginning(direction)
            && !careful::only()
    }

    /// The source names the next position after a loss that it has counted: nothing is waited for. A jump that its count of dropped
    /// bytes does not explain is ignored.
    fn skip_known_loss(&mut self, direction: Direction, position: u64, at: Timestamp, out: &mut P::Output) {
        let reassembler = &self.reassemblers[direction.index()];
        let hole = position.saturating_sub(reassembler.next());
        if self.opaque || hole == 0 || reassembler.held_transfers() > 0 || !reassembler.dropped_explains(hole)
        {
            return;
        }
        if self.parser.awaits_beginning(direction) {
            self.parser.begins(direction, false);
        }
        self.give_up_hole(direction, hole, at, out);
        self.settle(out);
    }

    /// The first transfer of a direction in which bytes had moved before the connection was first observed. This transfer may have
    /// moved them: it was then logged after the transfer of the other direction that made the connection known.
    fn begin(&mut self, direction: Direction, cursor: &mut Cursor<'_>, out: &mut P::Output) {
        let Beginning { at, position, earlier, .. } = self.beginning;
        if !self.reassemblers[direction.index()].begin_earlier(cursor.position) {
            self.parser.begins(direction, false);
            return self.settle(out);
        }
        // It ended after first observation, and its first byte had moved before.
        cursor.at = cursor.at.min(Timestamp(at.0.saturating_sub(1)));
        let all = earlier[direction.index()] == Earlier::Bytes(position - cursor.position);
        let from_start = all && earlier[direction.reverse().index()] == Earlier::Nothing;
        self.parser.begins(direction, from_start);
    }

    /// A FIN passed in `direction`, after `position`.
    #[inline(never)]
    pub fn half_closed(&mut self, at: Timestamp, direction: Direction, position: u64, out: &mut P::Output) {
        self.last_activity = self.last_activity.max(at);
        if self.opaque {
            return;
        }
        self.reassemblers[direction.index()].finish(position, at);
        self.settle(out);
    }

    /// The program has closed the connection: its exchanges end. TCP may still be at work, and [`Connection::closed`] follows with
    /// the kernel's counts.
    #[inline(never)]
    pub fn local_closed(&mut self, closed: &LocalClosed, out: &mut P::Output) {
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
            self.with_parser(Direction::Out, false, out, |parser, cx| {
                parser.local_closed(closed.peer_finished, closed.at, cx);
            });
        }
    }

    /// The connection is gone: ends its exchanges and balances its ledger.
    #[inline(never)]
    pub fn closed(&mut self, closed: &Closed, out: &mut P::Output) -> Ledger {
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
            self.with_parser(Direction::Out, false, out, |parser, cx| {
                parser.closed(closed.errno, closed.at, cx);
            });
        }
        out.stream_counters().joined_mid_stream += u64::from(self.parser.joined_mid_stream());
        let account = |direction: Direction| {
            let index = direction.index();
            Account::balance(
                self.tallies[direction.index()],
                self.observed(direction, closed),
                closed.dropped[index],
                self.skipped_as_asked(direction, closed.skipped[index]),
            )
        };
        Ledger { directions: Direction::BOTH.map(account) }
    }

    /// The kernel counts from first observation on.
    const fn observed(&self, direction: Direction, closed: &Closed) -> u64 {
        let before = self.beginning.position - self.reassemblers[direction.index()].first();
        closed.observed[direction.index()].saturating_add(before)
    }

    /// Event time has reached `at`. Needed only while [`Connection::needs_tick`].
    #[inline(never)]
    pub fn tick(&mut self, at: Timestamp, out: &mut P::Output) {
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
    pub fn finish(&mut self, at: Timestamp, out: &mut P::Output) {
        self.expire(None, out);
        out.stream_counters().joined_mid_stream += u64::from(self.parser.joined_mid_stream());
        if !self.opaque {
            self.with_parser(Direction::Out, false, out, |parser, cx| parser.finish(at, cx));
        }
    }

    /// Time of the last transfer.
    #[must_use]
    pub const fn last_activity(&self) -> Timestamp {
        self.last_activity
    }

    /// Captured bytes kept: of incomplete heads and of held transfers.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.parser.buffered() + self.reassemblers.iter().map(Reassembler::held_bytes).sum::<usize>()
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
            let tally = self.tallies[direction.index()];
            let suppressed = self.asked[direction.index()].suppressed;
            let known = tally.parsed + tally.skipped + tally.truncated + suppressed;
            let dropped = reassembler.dropped().min(reassembler.passed().saturating_sub(known));
            Account::balance(tally, reassembler.passed(), dropped, suppressed)
        };
        Ledger { directions: Direction::BOTH.map(account) }
    }

    /// A jump inside a body costs nothing, and nothing is waited for. A jump to the body's end is waited for: its last transfer says
    /// when the message was over.
    fn pass_skippable_hole(&mut self, direction: Direction, cursor: &Cursor<'_>, out: &mut P::Output) {
        let reassembler = &self.reassemblers[direction.index()];
        let hole = cursor.position.saturating_sub(reassembler.next());
        if hole > 0 && reassembler.held_transfers() == 0 && self.parser.need(direction).skippable > hole {
            self.give_up_hole(direction, hole, cursor.at, out);
        }
    }

    /// Of the other direction: the time of the first transfer that is held, and the position of the next byte that the
    /// application has not moved.
    fn other(&self, direction: Direction) -> (Option<Timestamp>, u64) {
        let other = &self.reassemblers[direction.reverse().index()];
        (other.held_at(), other.delivered_position())
    }

    /// Reads a transfer without a copy; holds what is left of it if the reader must wait. `other` is what [`Connection::other`]
    /// says.
    #[inline(always)]
    fn read_now(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        (other_held_at, other_position): (Option<Timestamp>, u64),
        out: &mut P::Output,
    ) -> Fed {
        out.stream_counters().overlaps += u64::from(cursor.overlap);
        let start = cursor.position;
        let mut cx = ContextOf::<P> {
            stream: self.id,
            limits: &self.limits,
            out,
            may_wait: true,
            other_held_at,
            other_position,
        };
        let fed = self.parser.feed(direction, cursor, &mut cx);
        self.tallies[direction.index()].add(cursor.take_tally());
        self.reassemblers[direction.index()].consumed(cursor.position);
        if fed == Fed::Done && cursor.position > start {
            self.ask(direction, cursor.position, out);
        }
        match fed {
            Fed::Done => {}
            Fed::Wait => self.hold(direction, cursor, out),
            Fed::Opaque => {
                let rest = cursor.length;
                self.count_skipped(direction, rest);
                self.reassemblers[direction.index()].consumed(cursor.end());
                self.give_up(out);
            }
        }
        fed
    }

    /// Reads the next held thing of a direction; false when there is none that can be read.
    pub(super) fn advance(&mut self, direction: Direction, may_wait: bool, out: &mut P::Output) -> bool {
        let index = direction.index();
        if self.opaque {
            return false;
        }
        let Some(mut cursor) = self.reassemblers[index].front() else {
            return self.advance_hole(direction, out) || self.advance_fin(direction, out);
        };
        if cursor.length == 0 {
            // Its positions have passed while it was held.
            out.stream_counters().transfers_late += 1;
            self.reassemblers[index].front_consumed(0);
            return true;
        }
        let start = cursor.position;
        out.stream_counters().overlaps += u64::from(cursor.overlap);
        let (other_held_at, other_position) = self.other(direction);
        let mut cx = ContextOf::<P> {
            stream: self.id,
            limits: &self.limits,
            out,
            may_wait,
            other_held_at,
            other_position,
        };
        let fed = self.parser.feed(direction, &mut cursor, &mut cx);
        let (position, rest) = (cursor.position, cursor.length);
        self.tallies[index].add(cursor.take_tally());
        self.reassemblers[index].front_consumed(position);
        if fed == Fed::Done && position > start {
            self.ask(direction, position, out);
        }
        match fed {
            Fed::Done => true,
            Fed::Wait => position > start,
            Fed::Opaque => {
                self.count_skipped(direction, rest);
                self.reassemblers[index].front_consumed(position + rest);
                self.give_up(out);
                false
            }
        }
    }

    pub(super) fn give_up_hole(
        &mut self,
        direction: Direction,
        length: u64,
        at: Timestamp,
        out: &mut P::Output,
    ) {
        if length == 0 {
            return;
        }
        let index = direction.index();
        let skipped = self.parser.need(direction).skippable.min(length);
        let asked = self.asked[index].skipped_before().saturating_sub(self.reassemblers[index].next());
        self.asked[index].excused += asked.min(length);
        let dropped = self.reassemblers[index].skip_hole(length);
        self.asked[index].suppressed += skipped.min(length - dropped);
        out.stream_counters().gap_bytes_dropped += dropped;
        out.stream_counters().gap_bytes_unseen += length - dropped;
        self.with_parser(direction, true, out, |parser, cx| parser.gap(direction, length, at, cx));
    }

    /// Counts bytes that nobody reads.
    const fn count_skipped(&mut self, direction: Direction, bytes: u64) {
        self.tallies[direction.index()].skipped += bytes;
    }

    #[inline]
    pub(super) fn bounds(&self) -> Limits {
        self.limits.into()
    }

    /// Nothing is read any more: the source is told once, and what was held is dropped.
    fn give_up(&mut self, out: &mut P::Output) {
        if self.opaque {
            return;
        }
        self.opaque = true;
        for asked in &mut self.asked {
            asked.capture.mode = CaptureMode::Nothing;
        }
        self.ask_source(out);
        for direction in Direction::BOTH {
            let unread = self.reassemblers[direction.index()].abandon();
            self.count_skipped(direction, unread);
        }
    }

    pub(super) fn with_parser<T>(
        &mut self,
        direction: Direction,
        may_wait: bool,
        out: &mut P::Output,
        run: impl FnOnce(&mut P, &mut ContextOf<'_, P>) -> T,
    ) -> T {
        let (other_held_at, other_position) = self.other(direction);
        let mut cx = ContextOf::<P> {
            stream: self.id,
            limits: &self.limits,
            out,
            may_wait,
            other_held_at,
            other_position,
        };
        run(&mut self.parser, &mut cx)
    }
}
