//! The two directions of one connection together: who is the client, which message a byte belongs to, what a hole means.
//! Heads and bodies themselves are in `message.rs`.

use std::collections::VecDeque;

use super::{
    exchange::RequestState,
    kept::Kept,
    line::Role,
    pairing::{Pairing, Surroundings},
    reader::{Lost, Reader, State, empty_lines},
};
use crate::{
    event::{Direction, Timestamp},
    protocol::{
        Context, Incomplete, Ordinal,
        http::UpgradeToken,
        parser::{Protocol as _, Read},
    },
    stream::Cursor,
};

/// What a step leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Next,
    Wait,
    Opaque,
    /// The connection carries another protocol from here on.
    Upgraded(UpgradeToken),
    /// The rest of the transfer is unknown, and was passed over; `begins`: a message should have begun there.
    Unknown {
        begins: bool,
    },
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
    /// That request was not only the first observation of a connection that is older than the agent.
    pub(super) client_proven: bool,
    pub(super) readers: [Reader; 2],
    pub(super) pairing: Pairing,
    pub(super) joined_mid_stream: bool,
    /// Bytes of a direction had moved before first observation, and it may still turn out by which transfer.
    pub(super) awaits_beginning: [bool; 2],
    /// Bytes were missing that may have begun a message.
    pub(super) lossy: bool,
    /// A message was read.
    pub(super) understood: bool,
    /// A message that parses has begun since this was last asked.
    pub(super) recognised: bool,
    /// Bytes were read.
    pub(super) read: bool,
    /// The direction and time of the last transfer.
    pub(super) last_direction: Option<Direction>,
    pub(super) last_at: Timestamp,
    /// The transfer being read goes the other way than the one before.
    pub(super) turned: bool,
    /// The client will send nothing more.
    pub(super) client_finished: bool,
    /// The connection became a tunnel by a head that was cut: the next transfer is no HTTP.
    pub(super) tunnel: bool,
    /// Requests that only an answer proves.
    pub(super) kept: VecDeque<Kept>,
}

impl Session {
    pub(crate) fn new(from_start: [bool; 2]) -> Self {
        let joined_mid_stream = from_start != [true; 2];
        Self {
            client: None,
            client_proven: false,
            readers: from_start.map(Reader::new),
            pairing: Pairing::new(joined_mid_stream),
            joined_mid_stream,
            awaits_beginning: from_start.map(|from_start| !from_start),
            lossy: false,
            understood: false,
            recognised: false,
            read: false,
            last_direction: None,
            last_at: Timestamp::default(),
            turned: false,
            client_finished: false,
            tunnel: false,
            kept: VecDeque::new(),
        }
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

    /// Reads the transfer to its end, or until nothing more can be read of it.
    #[inline(never)]
    pub(super) fn steps(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Read {
        while cursor.length > 0 {
            match self.step(direction, cursor, cx) {
                Step::Next => {}
                Step::Wait => return Read::Wait,
                Step::Opaque => return Read::Opaque,
                Step::Upgraded(to) => return Read::Upgraded(to),
                Step::Unknown { begins } => return Read::Unknown { begins },
            }
        }
        Read::Done
    }

    /// Part of the loop in [`Session::steps`]: a message takes two or three of them.
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
        cursor.parse(empty);
        if cursor.length > 0 && empty < front.len() {
            reader.begin(role, cursor);
            reader.boundary = true;
        }
        Step::Next
    }

    /// A message starts that parses: the connection is worth reading.
    pub(super) const fn recognised(&mut self) {
        self.understood = true;
        self.recognised = true;
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
    pub(super) fn blame(&mut self, direction: Direction, flag: Incomplete, missing: u64) {
        let message = self.readers[direction.index()].message;
        let answering = self.role(direction) == Role::Response && self.pairing.get(message).is_none();
        let exchange = if answering { self.pairing.answering() } else { self.pairing.get(message) };
        if let Some(exchange) = exchange {
            exchange.incomplete.add(flag);
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
}
