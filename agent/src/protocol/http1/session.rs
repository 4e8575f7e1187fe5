//! The two directions of one connection together: who is the client, which message a byte belongs to, what a hole means.
//! Heads and bodies themselves are in `message.rs`.

use std::collections::VecDeque;

use super::{
    body::Body,
    exchange::{Flags, RequestState, ResponseState},
    kept::Kept,
    line::Role,
    pairing::{Pairing, Surroundings},
    reader::{Lost, Reader, State, empty_lines},
};
use crate::{
    event::{ConnectionId, Direction, Feedback, Timestamp},
    protocol::{Limits, Ordinal, Outcome, Output},
    stream::{Cursor, Tally},
};

/// What every step may use.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub connection: ConnectionId,
    pub limits: &'a Limits,
    pub out: &'a mut Output,
    /// The call may be held until the other direction has moved on. Without this a reader always goes on.
    pub may_wait: bool,
    /// Time of the first call of the other direction that is held.
    pub other_held_at: Option<Timestamp>,
    /// Where the other direction stands.
    pub other_position: u64,
}

impl Context<'_> {
    /// Something of the other direction that moved before this call is still to be read, and may be waited for.
    pub(super) fn older_is_held(&self, cursor: &Cursor<'_>) -> bool {
        self.may_wait && self.other_held_at.is_some_and(|held_at| held_at <= cursor.at)
    }
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fed {
    Done,
    /// The call's rest must be offered again when the other direction has moved on.
    Wait,
    /// Nothing more will be read of this connection.
    Opaque,
}

/// What a step leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Next,
    Wait,
    Opaque,
}

/// Which exchange a response belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Exchange(Ordinal),
    Wait,
    /// Its request was not seen.
    Nothing,
}

/// The HTTP/1 reading of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// The direction of the requests, once one was seen.
    pub(super) client: Option<Direction>,
    /// That request was not only the first sight of a connection that is older than the agent.
    pub(super) client_proven: bool,
    pub(super) readers: [Reader; 2],
    pub(super) pairing: Pairing,
    pub(super) late_join: bool,
    /// Bytes of a direction had moved before first sight, and it may still turn out by which call.
    awaits_beginning: [bool; 2],
    /// The client has begun as one of HTTP/2.
    pub(super) http2: bool,
    /// Bytes were missing that may have begun a message.
    pub(super) lossy: bool,
    /// A message was read.
    pub(super) understood: bool,
    pub(super) unknown_starts: u32,
    pub(super) unknown_calls: u32,
    /// The direction and time of the last call.
    last_direction: Option<Direction>,
    pub(super) last_at: Timestamp,
    /// The call being read goes the other way than the one before.
    pub(super) turned: bool,
    /// The client will send nothing more.
    client_finished: bool,
    /// The connection became a tunnel by a head that was cut: the next call is no HTTP.
    pub(super) tunnel: bool,
    /// Requests that only an answer proves.
    pub(super) kept: VecDeque<Kept>,
}

impl Session {
    pub(crate) fn new(from_start: [bool; 2]) -> Self {
        let late_join = from_start != [true; 2];
        Self {
            client: None,
            client_proven: false,
            readers: from_start.map(Reader::new),
            pairing: Pairing::new(late_join),
            late_join,
            awaits_beginning: from_start.map(|from_start| !from_start),
            http2: false,
            lossy: false,
            understood: false,
            unknown_starts: 0,
            unknown_calls: 0,
            last_direction: None,
            last_at: Timestamp::default(),
            turned: false,
            client_finished: false,
            tunnel: false,
            kept: VecDeque::new(),
        }
    }

    /// Whether the first call of a direction must be told by [`Session::begins`] before it is read.
    pub(crate) const fn awaits_beginning(&self, direction: Direction) -> bool {
        self.awaits_beginning[direction.index()]
    }

    /// The first call of a direction is there; `from_start`: with it both directions are seen from their first bytes.
    pub(crate) fn begins(&mut self, direction: Direction, from_start: bool) {
        self.awaits_beginning[direction.index()] = false;
        if !from_start {
            return;
        }
        self.reader(direction).state = State::Start;
        if !self.lossy && self.client.is_none() {
            self.late_join = false;
            self.pairing = Pairing::new(false);
        }
    }

    pub(crate) const fn tally(&self, direction: Direction) -> Tally {
        self.readers[direction.index()].tally
    }

    /// Counts bytes that nobody reads.
    pub(crate) const fn count_skipped(&mut self, direction: Direction, bytes: u64) {
        self.readers[direction.index()].tally.skipped += bytes;
    }

    /// Bytes kept of heads that are not complete.
    pub(crate) fn buffered(&self) -> usize {
        self.readers.iter().map(|reader| reader.buffer.len()).sum::<usize>() + self.kept_bytes()
    }

    /// How many bytes from the next one on need not be seen.
    pub(crate) const fn skippable(&self, direction: Direction) -> u64 {
        let reader = &self.readers[direction.index()];
        match &reader.state {
            State::Body(body) if !reader.unsure => body.skippable(),
            _ => 0,
        }
    }

    /// The end of the body for which the source was last asked to make no events.
    pub(crate) const fn asked_to_skip(&self, direction: Direction) -> u64 {
        self.readers[direction.index()].skip_until
    }

    pub(super) const fn reader(&mut self, direction: Direction) -> &mut Reader {
        &mut self.readers[direction.index()]
    }

    pub(super) fn role(&self, direction: Direction) -> Role {
        match self.client {
            None => Role::Unknown,
            Some(client) if client == direction => Role::Request,
            Some(_) => Role::Response,
        }
    }

    /// Which first lines are looked for: both while it is not proven who is the client.
    pub(super) fn line_role(&self, direction: Direction) -> Role {
        if self.client_proven { self.role(direction) } else { Role::Unknown }
    }

    /// Reads a call, in the order of positions; after [`Fed::Wait`] `call` is what is left of it.
    pub(crate) fn feed(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Fed {
        self.turned = self.last_direction != Some(direction);
        self.last_direction = Some(direction);
        if cursor.overlap {
            self.blame(direction, Flags::OVERLAP, 0);
        }
        let start = cursor.position;
        let fed = loop {
            if cursor.length == 0 {
                break Fed::Done;
            }
            match self.step(direction, cursor, cx) {
                Step::Next => {}
                Step::Wait => break Fed::Wait,
                Step::Opaque => break Fed::Opaque,
            }
        };
        if cursor.position == start {
            return fed;
        }
        self.last_at = self.last_at.max(cursor.at);
        let reader = self.reader(direction);
        reader.last_at = reader.last_at.max(cursor.at);
        let message = reader.message;
        if self.role(direction) == Role::Response
            && let Some(exchange) = self.pairing.get(message)
        {
            exchange.response_at = exchange.response_at.max(cursor.at);
        }
        if fed == Fed::Done {
            self.ask_to_skip(direction, cursor.position, cx);
        }
        fed
    }

    /// Part of the loop in [`Session::feed`]: a message takes two or three of them.
    #[inline(always)]
    fn step(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Step {
        if self.tunnel {
            return Step::Opaque;
        }
        match self.reader(direction).state {
            State::Start => self.start(direction, cursor, cx),
            State::Head => self.head(direction, cursor, cx),
            State::HeadRest(body) => self.head_rest(direction, body, cursor, cx),
            State::Body(body) => self.body(direction, body, cursor, cx),
            State::Lost(lost) => self.lost(direction, lost, cursor, cx),
        }
    }

    /// At the first byte of a message.
    fn start(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Step {
        let role = self.role(direction);
        if role == Role::Request && cx.may_wait && self.pairing.awaits_tunnel() {
            return Step::Wait;
        }
        let front = cursor.front();
        if front.is_empty() {
            self.miss_needed(direction, cursor);
            return self.unknown(direction, true, cursor, cx);
        }
        let empty = if role == Role::Response { 0 } else { empty_lines(front) };
        let role = self.line_role(direction);
        let reader = self.reader(direction);
        reader.parse(cursor, empty);
        if cursor.length > 0 && empty < front.len() {
            reader.begin(role, cursor);
            reader.boundary = true;
        }
        Step::Next
    }

    /// Messages may have passed before the first ones that were found.
    pub(crate) const fn joined_late(&self) -> bool {
        self.late_join && self.understood
    }

    /// A message starts that parses: the connection is worth reading.
    pub(super) const fn recognised(&mut self) {
        self.understood = true;
        self.unknown_starts = 0;
        self.unknown_calls = 0;
    }

    /// What a request that begins in `direction` must know of its surroundings.
    pub(super) fn surroundings(&self, direction: Direction) -> Surroundings {
        let response = &self.readers[direction.reverse().index()];
        Surroundings {
            idle: self.readers[direction.index()].origin.at.since(self.last_at),
            response_lost: response.is_lost(),
            lost_at: response.lost_at,
        }
    }

    /// Which exchange the response in `direction` belongs to, whose first byte moved at `at`.
    pub(super) fn answered(&mut self, direction: Direction, at: Timestamp, cx: &mut Context<'_>) -> Answered {
        let unread = self.reader(direction).lost_at;
        let Some(ordinal) = self.pairing.answered_at(at, unread, cx) else {
            let may_come = self.pairing.is_exact()
                || self.awaits_beginning(direction.reverse())
                || cx.other_held_at.is_some_and(|held_at| held_at <= at);
            return if may_come && cx.may_wait { Answered::Wait } else { Answered::Nothing };
        };
        let head_done = self.pairing.get(Some(ordinal)).is_some_and(|exchange| exchange.head_done);
        if !head_done {
            if cx.may_wait {
                return Answered::Wait;
            }
            self.give_up_request_head(direction.reverse(), cx);
        }
        Answered::Exchange(ordinal)
    }

    /// Marks the exchange that bytes of this direction belong to.
    pub(super) fn blame(&mut self, direction: Direction, flag: Flags, missing: u64) {
        let message = self.readers[direction.index()].message;
        let answering = self.role(direction) == Role::Response && self.pairing.get(message).is_none();
        let exchange = if answering { self.pairing.answering() } else { self.pairing.get(message) };
        if let Some(exchange) = exchange {
            exchange.flags.add(flag);
            exchange.missing += missing;
        }
    }

    /// The end of the message cannot be told from its bytes any more.
    pub(super) fn lose_framing(&mut self, direction: Direction, lost: Lost, cx: &mut Context<'_>) {
        cx.out.counters.framing_lost += 1;
        let reader = self.reader(direction);
        reader.state = State::Lost(lost);
        let message = reader.message;
        if self.role(direction) == Role::Request {
            self.pairing.request_done(message, RequestState::Lost, None, cx);
        }
    }

    /// `length` bytes at the next position will never come; `at` is when that was seen.
    pub(crate) fn gap(&mut self, direction: Direction, length: u64, at: Timestamp, cx: &mut Context<'_>) {
        let reader = self.reader(direction);
        let mut needed = length;
        if let State::Body(mut body) = reader.state
            && !reader.unsure
        {
            let inside = length.min(body.skippable());
            needed -= inside;
            body.skip(inside);
            reader.payload += inside;
            reader.state = State::Body(body);
            let last_at = reader.last_at;
            let over = body == Body::EMPTY;
            if inside == length && !over {
                cx.out.counters.gaps_in_bodies += 1;
                return;
            }
            if over {
                // The call that moved the last byte is not known.
                self.blame(direction, Flags::GAP, 0);
                let payload = self.reader(direction).payload;
                self.message_over(direction, last_at, Some(payload), cx);
                if inside == length {
                    cx.out.counters.gaps_in_bodies += 1;
                    return;
                }
            }
        }
        cx.out.counters.gaps += 1;
        self.blame(direction, Flags::GAP, needed);
        match self.reader(direction).state {
            State::Head => self.cut_head(direction, Lost::Nothing, cx),
            State::Body(Body::Chunked(_)) => self.lose_framing(direction, Lost::Chunked, cx),
            State::HeadRest(_) | State::Lost(Lost::Head(_)) => {
                self.lose_framing(direction, Lost::Nothing, cx);
            }
            State::Lost(Lost::Chunked) => {}
            _ => self.reader(direction).state = State::Lost(Lost::Nothing),
        }
        self.lossy = true;
        let reader = self.reader(direction);
        reader.lost_at = reader.lost_at.max(Some(at));
        self.pairing.lose(cx);
    }

    /// No bytes follow in `direction`.
    pub(crate) fn half_closed(&mut self, direction: Direction, at: Timestamp, cx: &mut Context<'_>) {
        match self.role(direction) {
            Role::Unknown => {}
            Role::Request => {
                self.client_finished = true;
                self.give_up_request_head(direction, cx);
                let message = self.reader(direction).message;
                if self.reader(direction).state != State::Start {
                    self.pairing.request_done(message, RequestState::Lost, None, cx);
                }
            }
            Role::Response => {
                self.give_up_response_head(direction, cx);
                self.finish_until_close(direction, true, at, cx);
                let reader = self.reader(direction);
                let (message, lost_at) = (reader.message, reader.lost_at);
                let lost = reader.is_lost();
                let outcome = self.cut_off(None);
                self.pairing.end_unanswered(at, cx, |exchange| {
                    // Its response may have passed after one that lost its framing.
                    let passed_unread = lost_at.is_some_and(|lost_at| lost_at > exchange.request_at);
                    let begun = exchange.response == ResponseState::Begun;
                    let unread = lost && (begun || message.is_none() || passed_unread);
                    (!unread && !exchange.unpairable).then_some(outcome)
                });
            }
        }
    }

    /// The program has let go of the connection; `peer_finished`: the peer had sent its last byte before.
    pub(crate) fn local_closed(&mut self, peer_finished: bool, at: Timestamp, cx: &mut Context<'_>) {
        let serves = self.client == Some(Direction::In);
        self.client_finished |= serves && peer_finished;
        let outcome = match serves || peer_finished {
            true => self.cut_off(None),
            false => Outcome::ClientAborted(None),
        };
        // A response without length is whole where its sender has ended it.
        let ends = serves || peer_finished;
        self.end_all(outcome, ends, ends, at, cx);
    }

    /// The connection is closed, with `errno` when by an error.
    pub(crate) fn closed(&mut self, errno: u16, at: Timestamp, cx: &mut Context<'_>) {
        let errno = (errno != 0).then_some(errno);
        self.over(cx);
        // A client that closes before the server has may have left while more was to come.
        let whole = self.client == Some(Direction::In);
        self.end_all(self.cut_off(errno), errno.is_none(), whole, at, cx);
    }

    /// Nothing more will be read: ends every exchange, those whose response is not over as `outcome`. `ends`: so does a response
    /// without length, which is all there was if it is `whole`.
    fn end_all(&mut self, outcome: Outcome, ends: bool, whole: bool, at: Timestamp, cx: &mut Context<'_>) {
        let Some(client) = self.client else { return };
        self.give_up_request_head(client, cx);
        let response = client.reverse();
        self.give_up_response_head(response, cx);
        if ends {
            self.finish_until_close(response, whole, at, cx);
        }
        let reader = self.reader(response);
        let lost = reader.is_lost();
        let lost_at = reader.lost_at;
        self.pairing.end_all(at, cx, |exchange| {
            if exchange.response == ResponseState::Over {
                // The rest of the request was never sent.
                return Some(Outcome::Complete);
            }
            let passed_unread = lost_at.is_some_and(|lost_at| lost_at > exchange.request_at);
            let unread = lost && (exchange.response == ResponseState::Begun || passed_unread);
            (!unread && !exchange.unpairable).then_some(outcome)
        });
    }

    /// How an exchange ends whose response was not complete when the peer or an error ended the connection. Seen from the server
    /// an error or an earlier FIN says that the client went away.
    fn cut_off(&self, errno: Option<u16>) -> Outcome {
        let aborted = self.client == Some(Direction::In) && (errno.is_some() || self.client_finished);
        if aborted { Outcome::ClientAborted(errno) } else { Outcome::ConnectionClosed(errno) }
    }

    /// The agent stops to look: what is open stays unfinished.
    pub(crate) fn finish(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        if let Some(client) = self.client {
            self.give_up_request_head(client, cx);
            self.give_up_response_head(client.reverse(), cx);
        }
        self.over(cx);
        self.pairing.end_all(at, cx, |_| Some(Outcome::Unfinished));
    }

    /// Nothing more will be read: counts what was not understood.
    pub(super) fn over(&mut self, cx: &mut Context<'_>) {
        self.drop_kept(cx);
        let read = |reader: &Reader| reader.tally != Tally::default();
        if !self.understood && self.readers.iter().any(read) {
            cx.out.counters.connections_not_http1 += 1;
        }
    }

    /// A response without length ends with its direction; `whole`: by its sender.
    fn finish_until_close(&mut self, direction: Direction, whole: bool, at: Timestamp, cx: &mut Context<'_>) {
        let reader = self.reader(direction);
        if reader.state == State::Body(Body::UntilClose) {
            let payload = (whole && !reader.unsure).then_some(reader.payload);
            if !whole {
                self.blame(direction, Flags::GAP, 0);
            }
            self.message_over(direction, at, payload, cx);
        }
    }

    /// Asks the source for no events while a long body passes.
    fn ask_to_skip(&mut self, direction: Direction, position: u64, cx: &mut Context<'_>) {
        let reader = &mut self.readers[direction.index()];
        let State::Body(body) = reader.state else { return };
        if matches!(body, Body::Chunked(_)) && !reader.whole {
            reader.whole = true;
            cx.out.feedback.push(Feedback::CaptureWhole { connection: cx.connection, direction });
        }
        let (left, long) = match body {
            Body::UntilClose => (u64::MAX, reader.payload > cx.limits.skip_bytes),
            _ => (body.skippable(), body.skippable() > cx.limits.skip_bytes),
        };
        let end = position.saturating_add(left);
        if !long || reader.unsure || reader.skip_until == end {
            return;
        }
        reader.skip_until = end;
        // One less, so that the call with the body's last byte makes an event: its time ends the span.
        let until = if end == u64::MAX { end } else { end - 1 };
        cx.out.feedback.push(Feedback::SkipUntil { connection: cx.connection, direction, until });
    }
}
