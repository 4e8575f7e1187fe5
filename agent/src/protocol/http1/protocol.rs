//! HTTP/1 as a [`Protocol`]: what a transfer, a hole, a FIN and a close mean to a [`Session`].

use super::{
    body::Body,
    exchange::{RequestState, ResponseState},
    line::Role,
    pairing::Pairing,
    reader::{Lost, State},
    session::Session,
};
use crate::{
    event::{Direction, Timestamp},
    protocol::{
        Context, Incomplete, Ordinal, Outcome,
        mask::Mask,
        parser::{FirstBytes, Protocol, Read, Recognised, Recognition},
    },
    stream::{Cursor, Need},
};

impl Protocol for Session {
    fn recognise(_: &FirstBytes<'_>) -> Recognised<Self> {
        Recognised::No
    }

    fn next_ordinal(&self) -> Ordinal {
        self.pairing.next_ordinal()
    }

    fn go_on_from(&mut self, next: Ordinal) {
        self.pairing.go_on_from(next);
    }

    fn mask(&self, next: [u64; 2]) -> Mask {
        let from_start = [0, 1].map(|index| self.readers[index].state == State::Start);
        Mask::Http1(Box::new(super::Mask::new(from_start, next)))
    }

    fn feed(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Read {
        self.turned = self.last_direction != Some(direction);
        self.last_direction = Some(direction);
        if cursor.overlap {
            self.blame(direction, Incomplete::OVERLAP, 0);
        }
        let start = cursor.position;
        let read = match self.read_whole(direction, cursor, cx) {
            true if cursor.length == 0 => Read::Done,
            _ => self.steps(direction, cursor, cx),
        };
        if cursor.position == start {
            return read;
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
        self.read = true;
        read
    }

    fn gap(&mut self, direction: Direction, length: u64, at: Timestamp, cx: &mut Context<'_>) {
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
                // The transfer that moved the last byte is not known.
                self.blame(direction, Incomplete::GAP, 0);
                let payload = self.reader(direction).payload;
                self.message_over(direction, last_at, Some(payload), cx);
                if inside == length {
                    cx.out.counters.gaps_in_bodies += 1;
                    return;
                }
            }
        }
        cx.out.counters.gaps += 1;
        self.blame(direction, Incomplete::GAP, needed);
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

    fn half_closed(&mut self, direction: Direction, at: Timestamp, cx: &mut Context<'_>) {
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

    fn local_closed(&mut self, peer_finished: bool, at: Timestamp, cx: &mut Context<'_>) {
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

    fn closed(&mut self, errno: u16, at: Timestamp, cx: &mut Context<'_>) {
        let errno = (errno != 0).then_some(errno);
        self.over(cx);
        // A client that closes before the server has may have left while more was to come.
        let whole = self.client == Some(Direction::In);
        self.end_all(self.cut_off(errno), errno.is_none(), whole, at, cx);
    }

    fn finish(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        if let Some(client) = self.client {
            self.give_up_request_head(client, cx);
            self.give_up_response_head(client.reverse(), cx);
        }
        self.over(cx);
        self.pairing.end_all(at, cx, |_| Some(Outcome::Unfinished));
    }

    fn awaits_beginning(&self, direction: Direction) -> bool {
        self.awaits_beginning[direction.index()]
    }

    fn begins(&mut self, direction: Direction, from_start: bool) {
        self.awaits_beginning[direction.index()] = false;
        if !from_start {
            return;
        }
        self.reader(direction).state = State::Start;
        if !self.lossy && self.client.is_none() {
            self.joined_mid_stream = false;
            self.pairing = Pairing::new(false);
        }
    }

    fn need(&self, direction: Direction) -> Need {
        let reader = &self.readers[direction.index()];
        let State::Body(body) = reader.state else { return Need::ALL };
        Need {
            skippable: if reader.unsure { 0 } else { body.skippable() },
            skipped: reader.payload,
            whole: matches!(body, Body::Chunked(_)),
        }
    }

    fn buffered(&self) -> usize {
        self.readers.iter().map(|reader| reader.buffer.len()).sum::<usize>() + self.kept_bytes()
    }

    fn recognition(&self) -> Recognition {
        Recognition {
            seen: self.client.is_some(),
            mid_stream: self.joined_mid_stream,
            understood: self.understood,
        }
    }

    fn take_recognised(&mut self) -> bool {
        std::mem::take(&mut self.recognised)
    }

    fn give_up(&mut self, cx: &mut Context<'_>) {
        self.abandon(cx);
    }
}
