//! Messages as they nearly always come: at a boundary, the head whole in one transfer, on a connection of which it is known who the
//! client is and which exchange is open. They are read straight through, with one look at each state.
//!
//! `message.rs` is the careful path, for everything else. A shortcut decides before it changes or reports anything whether the
//! message is for it, and then does what the careful path would have done. Tests hold the two together.

use super::{
    body::Body,
    exchange::{Method, RequestState, ResponseState},
    head::{self, Reading},
    line::Role,
    ordinary,
    reader::{State, origin},
    session::Session,
};
use crate::{
    careful,
    event::Direction,
    protocol::{
        Context, ExchangeId, Operation, Progress, Reply,
        http::{ResponseHead, Version},
    },
    stream::Cursor,
};

impl Session {
    /// Reads the message at the front of the transfer as far as it is there, if it is an ordinary one. False: nothing was read.
    #[inline(always)]
    pub(super) fn read_whole(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> bool {
        let at_boundary = matches!(self.readers[direction.index()].state, State::Start);
        match self.line_role(direction) {
            _ if !at_boundary || self.tunnel || careful::only() => false,
            Role::Request => self.whole_request(direction, cursor, cx).is_some(),
            Role::Response => self.whole_response(direction, cursor, cx).is_some(),
            Role::Unknown => false,
        }
    }

    /// A request while no other one is open.
    fn whole_request(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Option<()> {
        if !self.pairing.is_free(cx.limits) || self.readers[direction.reverse().index()].unsure {
            return None;
        }
        let view = cursor.front();
        let line = ordinary::request(view)?;
        let mut reading = Reading::new(view, &line, &cx.out.interest);
        let end = reading.at_once(&line)?;
        let framing = reading.framing;
        let body = framing.request_body()?;
        let head = reading.finish(&line, Some(end as u64));

        self.recognised();
        let at = cursor.at;
        let exchange = self.pairing.open(direction, &origin(cursor), cx.other_position, cx);
        exchange.head_told(head.method.as_bytes(), &framing);
        let id = ExchangeId::new(cx.stream, exchange.ordinal);
        cx.out.report.described(id, Operation::Http(&head));
        let reader = &mut self.readers[direction.index()];
        match body {
            Body::Length { remaining } if remaining <= cursor.length - end as u64 => {
                cursor.parse_and_skip(end, remaining);
                reader.whole_message();
                exchange.request = RequestState::Over;
                exchange.request_end = Some(at);
                exchange.request_body = Some(remaining);
            }
            body => {
                cursor.parse(end);
                reader.begin_body(exchange.ordinal, body);
            }
        }
        Some(())
    }

    /// The final response to the only open request, of which nothing is in doubt.
    fn whole_response(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Option<()> {
        let (exchange, is_last) = self.pairing.only_open()?;
        let certain = exchange.response == ResponseState::Awaited && exchange.head_done && !exchange.unproven;
        if !certain || exchange.method == Method::Connect {
            return None;
        }
        let view = cursor.front();
        let line = ordinary::status(view)?;
        if line.status < 200 {
            return None;
        }
        let (framing, end) = head::response_at_once(view, line.length())?;
        let bodyless = exchange.method == Method::Head || matches!(line.status, 204 | 304);
        let body = if bodyless { Body::EMPTY } else { framing.response_body()? };

        let at = cursor.at;
        exchange.response_at = at;
        let id = ExchangeId::new(cx.stream, exchange.ordinal);
        let (status, version) = (line.status, Version::of_minor(line.minor));
        let head = ResponseHead { status, version, head_size: Some(end as u64), incomplete: false };
        cx.out.report.reply(id, &origin(cursor), Progress::Final, Reply::Http(&head));
        let reader = &mut self.readers[direction.index()];
        if is_last {
            reader.answered_at = reader.answered_at.max(Some(at));
        }
        match body {
            Body::Length { remaining } if remaining <= cursor.length - end as u64 => {
                cursor.parse_and_skip(end, remaining);
                reader.whole_message();
                exchange.response = ResponseState::Over;
                exchange.response_body = Some(remaining);
                if exchange.request != RequestState::Open {
                    self.pairing.end_only(cx);
                }
            }
            body => {
                cursor.parse(end);
                exchange.response = ResponseState::Begun;
                reader.begin_body(exchange.ordinal, body);
            }
        }
        self.recognised();
        Some(())
    }
}
