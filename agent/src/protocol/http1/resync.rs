//! Finding the way again: which bytes begin a message after some were missed, or on a connection that is older than the agent.
//! A body may hold what looks like a message, so that looks prove nothing.

use super::{
    line::{Role, begins_with_known_method},
    reader::{Lost, State, empty_lines, has_final_response, is_interim, opens, opens_cut, proven},
    session::{Session, Step},
};
use crate::{
    event::{Direction, Timestamp},
    protocol::{Context, Incomplete, Ordinal},
    stream::Cursor,
};

impl Session {
    /// In bytes of which nothing is known but where transfers begin and end.
    pub(super) fn lost(
        &mut self,
        direction: Direction,
        lost: Lost,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        let role = self.line_role(direction);
        let may_begin = self.request_may_begin(direction, cursor, cx);
        if !may_begin && self.keep_next(direction, cursor, cx) {
            return Step::Next;
        }
        let follows = self.follows(direction, cursor, cx);
        let looks_like = if follows { opens(cursor.front(), role) } else { proven(cursor, role) };
        let looks_like = looks_like.or_else(|| opens_cut(cursor, self.role(direction)));
        let begins = |found: &Role| *found == Role::Response || follows || may_begin;
        if let Some(found) = looks_like.filter(begins) {
            if found == Role::Response && self.pairing.end_begun(cx) {
                self.pairing.lose(cx);
            }
            let empty = if found == Role::Response { 0 } else { empty_lines(cursor.front()) };
            let unproven = self.first_sight() || !may_begin;
            cursor.parse(empty);
            let reader = self.reader(direction);
            reader.begin(role, cursor);
            reader.follows = follows;
            reader.unproven = unproven && found == Role::Request;
            reader.unsure = reader.unproven;
            return Step::Next;
        }
        if looks_like.is_some() && cx.older_is_held(cursor) {
            // What tells whether it is one may be among that.
            return Step::Wait;
        }
        match lost {
            // It is HTTP, whatever it belongs to, and no field of a head.
            Lost::Nothing | Lost::Head(_) if looks_like.is_some() => {
                self.reader(direction).state = State::Lost(Lost::Nothing);
                self.pass(direction, cursor, cx);
            }
            Lost::Nothing => return self.unknown(direction, false, cursor, cx),
            Lost::Chunked => {
                let alone = cursor.whole && cursor.length == 5 && cursor.ends_with(b"0\r\n\r\n");
                let over = alone || cursor.ends_with(b"\r\n0\r\n\r\n");
                let at = cursor.at;
                self.pass(direction, cursor, cx);
                if over {
                    self.reader(direction).unsure = true;
                    self.message_over(direction, at, None, cx);
                }
            }
            Lost::Head(body) => self.cut_head_goes_on(direction, body, cursor, cx),
        }
        Step::Next
    }

    /// Whether the request that this transfer seems to begin with is one, and not a part of another message's body. A client that
    /// waits for answers begins its next request after one: the first transfer after a final response does, if nothing of its
    /// direction was missed since then. A client that does not wait says nothing by that unless it was idle.
    fn request_may_begin(&self, direction: Direction, cursor: &Cursor<'_>, cx: &Context<'_>) -> bool {
        if self.first_sight() && !cx.older_is_held(cursor) {
            return begins_with_known_method(cursor.front());
        }
        if self.client.is_none() && !self.joined_mid_stream && !self.lossy {
            return true;
        }
        let own = &self.readers[direction.index()];
        let unknown_until = own.lost_at.max(Some(own.last_at));
        let answered_at = self.readers[direction.reverse().index()].answered_at;
        let after_answer = answered_at > unknown_until && answered_at <= Some(cursor.at);
        let idle = cursor.at.since(self.last_at) >= cx.limits.idle_nanos;
        after_answer && (idle || !self.pairing.is_pipelined())
    }

    /// What begins here follows at once on a message that is not proven to be one, and proves it: a request, as bytes of the
    /// other direction have passed since, seen or not; a response, as more than one request was kept.
    fn follows(&self, direction: Direction, cursor: &Cursor<'_>, cx: &Context<'_>) -> bool {
        let own = &self.readers[direction.index()];
        let role = self.role(direction);
        let ends_there = own.ended_at == Some(cursor.position) && !cx.older_is_held(cursor);
        if !ends_there || opens(cursor.front(), role).is_none() {
            return false;
        }
        match role {
            Role::Request => cursor.whole && cx.other_position > own.ended_other,
            Role::Response => !self.kept.is_empty(),
            Role::Unknown => false,
        }
    }

    /// Nothing was ever seen of this connection, which is older than the agent.
    fn first_sight(&self) -> bool {
        self.joined_mid_stream && !self.lossy && !self.understood && self.last_at == Timestamp::default()
    }

    /// A response begins: unless another is still to come, what the client says next begins a request.
    pub(super) fn note_answer(
        &mut self,
        direction: Direction,
        answered: Option<Ordinal>,
        cursor: &Cursor<'_>,
    ) {
        let others_open = answered.is_some_and(|ordinal| !self.pairing.is_last(ordinal));
        let reader = self.reader(direction);
        let is_final = !is_interim(reader.line.status.status) || has_final_response(cursor.front());
        if is_final && !others_open {
            reader.answered_at = reader.answered_at.max(Some(reader.origin.at));
        }
    }

    /// What seemed to be the rest of a body begins another message. Of a request's: the next request, or a response, and then it
    /// was no client's. Of a response's, after which the client has said something: the next response.
    pub(super) fn body_was_none(
        &mut self,
        direction: Direction,
        cursor: &Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Option<Step> {
        let own = self.reader(direction);
        if !own.unsure {
            return None;
        }
        let last_at = own.last_at;
        let none = if self.role(direction) == Role::Response {
            let asked = self.readers[direction.reverse().index()].last_at > last_at;
            asked && proven(cursor, Role::Response).is_some()
        } else {
            match proven(cursor, Role::Unknown)? {
                Role::Request if self.request_may_begin(direction, cursor, cx) => true,
                Role::Request if cx.older_is_held(cursor) => return Some(Step::Wait),
                Role::Request => false,
                _ => !self.client_proven,
            }
        };
        if none {
            self.lose_framing(direction, Lost::Nothing, cx);
        }
        none.then_some(Step::Next)
    }

    /// Who was taken for the client by the first observation is not: that was no request.
    pub(super) fn forget_client(&mut self, cx: &mut Context<'_>) {
        if let Some(client) = self.client {
            self.give_up_request_head(client, cx);
            self.client = None;
            self.reader(client).message = None;
            self.pairing.lose(cx);
            self.pairing.end_all_lost(cx);
        }
    }

    /// Nothing is known of these bytes and no message starts here.
    pub(super) fn unknown(
        &mut self,
        direction: Direction,
        at_start: bool,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        self.reader(direction).state = State::Lost(Lost::Nothing);
        self.pass(direction, cursor, cx);
        let begins = at_start || self.turned;
        self.turned &= !begins;
        Step::Unknown { begins }
    }

    /// Too much was no HTTP/1: what is open ends.
    pub(super) fn abandon(&mut self, cx: &mut Context<'_>) {
        if let Some(client) = self.client {
            self.give_up_request_head(client, cx);
            cx.out.counters.http1_given_up += 1;
        }
        self.over(cx);
        self.pairing.end_all_lost(cx);
    }

    /// Reads past the rest of a transfer of which nothing can be said; a message may start in it.
    pub(super) fn pass(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) {
        self.pairing.lose(cx);
        let reader = self.reader(direction);
        reader.lost_at = reader.lost_at.max(Some(cursor.at));
        if cursor.not_captured.is_some() {
            self.miss_needed(direction, cursor);
        }
        cursor.skip(u64::MAX);
    }

    /// Reads past a hole that had something needed in it.
    pub(super) fn miss_needed(&mut self, direction: Direction, cursor: &mut Cursor<'_>) {
        let flag =
            if cursor.not_captured.is_some() { Incomplete::NOT_CAPTURED } else { Incomplete::TRUNCATED };
        self.lossy = true;
        let reader = self.reader(direction);
        reader.lost_at = reader.lost_at.max(Some(cursor.at));
        let missed = cursor.miss();
        self.blame(direction, flag, missed);
    }

    /// The framing of a chunk lies in bytes that were not captured.
    pub(super) fn hole_in_chunks(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        self.miss_needed(direction, cursor);
        self.lose_framing(direction, Lost::Chunked, cx);
        self.pairing.lose(cx);
        Step::Next
    }
}
