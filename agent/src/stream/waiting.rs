//! What waits on a connection: transfers behind a hole, transfers whose reader must see the other direction first, and FINs. Time,
//! or too much of it, ends each wait.

use super::{
    Connection, Cursor, Parser, Sink as _,
    reassembly::{Blocked, Reassembler},
};
use crate::event::{Direction, Timestamp};

impl<P: Parser> Connection<P> {
    /// Keeps a transfer for later; when too much is kept, the first wait ends at once.
    pub(super) fn hold(&mut self, direction: Direction, cursor: &Cursor<'_>, out: &mut P::Output) {
        out.stream_counters().transfers_held += 1;
        self.reassemblers[direction.index()].hold(cursor);
        self.settle(out);
        while self.over_limit() {
            out.stream_counters().held_overflow += 1;
            let Some(direction) = self.first_blocked(None) else { break };
            self.force(direction, out);
            self.settle(out);
        }
    }

    fn over_limit(&self) -> bool {
        let transfers = self
            .reassemblers
            .iter()
            .any(|reassembler| reassembler.held_transfers() > self.bounds().held_transfers);
        let bytes = self.reassemblers.iter().map(Reassembler::held_bytes).sum::<usize>();
        transfers || bytes > self.bounds().held_bytes
    }

    /// Reads whatever can be read, in both directions, until nothing moves.
    pub(super) fn settle(&mut self, out: &mut P::Output) {
        while !self.opaque {
            let moved = self.by_time().into_iter().any(|direction| self.advance(direction, true, out));
            if !moved {
                return;
            }
        }
    }

    /// The direction first whose next held transfer is the older one: after a loss a response says what follows it.
    fn by_time(&self) -> [Direction; 2] {
        let held_at = |direction: Direction| self.reassemblers[direction.index()].held_at();
        match (held_at(Direction::Out), held_at(Direction::In)) {
            (Some(sent), Some(received)) if received < sent => [Direction::In, Direction::Out],
            (None, Some(_)) => [Direction::In, Direction::Out],
            _ => Direction::BOTH,
        }
    }

    /// Gives up the hole before the next held transfer at once when its bytes are not needed or known to be dropped.
    pub(super) fn advance_hole(&mut self, direction: Direction, out: &mut P::Output) -> bool {
        let reassembler = &self.reassemblers[direction.index()];
        let Some(Blocked::Hole { length, since }) = reassembler.blocked() else { return false };
        let known = self.parser.need(direction).skippable > length || reassembler.dropped_explains(length);
        if length == 0 || !known {
            return false;
        }
        self.give_up_hole(direction, length, since, out);
        true
    }

    pub(super) fn advance_fin(&mut self, direction: Direction, out: &mut P::Output) -> bool {
        let Some(at) = self.reassemblers[direction.index()].take_fin() else { return false };
        self.with_parser(direction, true, out, |parser, cx| parser.half_closed(direction, at, cx));
        true
    }

    /// Releases what has waited long enough at `now`; everything when `now` is `None`.
    pub(super) fn expire(&mut self, now: Option<Timestamp>, out: &mut P::Output) {
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
        now.is_none_or(|now| now.since(since) >= self.bounds().hold_nanos)
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
    fn force(&mut self, direction: Direction, out: &mut P::Output) {
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
}
