//! Which response answers which request, and when an exchange is over.
//!
//! As long as nothing was lost the order says it, pipelining included. After a loss that may have hidden a message (and on
//! a connection that was joined late) order says nothing, so pairing goes by time, assuming that the client does not pipeline:
//! a response answers the only open request that is older than it. Two such requests prove loss or pipelining: then neither
//! gets the response; nor does one after which the response direction moved bytes that were not understood. A client that was seen to pipeline is not believed again until the connection was idle for a while.

use std::collections::VecDeque;

use super::exchange::{Exchange, RequestState, ResponseState};
use crate::{
    event::{Direction, Timestamp},
    protocol::{Begin, Context, ExchangeId, Incomplete, Limits, Ordinal, Origin, Outcome, Role, Shape},
};

/// What a request's start says about the exchanges before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    /// Nanoseconds for which no byte moved in either direction before it.
    pub idle: u64,
    /// The response that is being read has lost its framing.
    pub response_lost: bool,
    /// Last time at which bytes passed in the response direction that were not understood.
    pub lost_at: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Pairing {
    exchanges: VecDeque<Exchange>,
    next_ordinal: Ordinal,
    /// Every request and response so far is known: order is exact.
    exact: bool,
    /// The client sent a request before an earlier one was answered.
    pipelined: bool,
    /// Nothing is paired until the connection was idle.
    needs_idle: bool,
    joined_mid_stream: bool,
}

impl Pairing {
    pub(super) const fn new(joined_mid_stream: bool) -> Self {
        Self {
            exchanges: VecDeque::new(),
            next_ordinal: 0,
            exact: !joined_mid_stream,
            pipelined: false,
            needs_idle: false,
            joined_mid_stream,
        }
    }

    pub(super) const fn is_exact(&self) -> bool {
        self.exact
    }

    /// The client sends requests before earlier ones are answered.
    pub(super) const fn is_pipelined(&self) -> bool {
        self.pipelined
    }

    /// No request was seen after this one.
    pub(super) const fn next_ordinal(&self) -> Ordinal {
        self.next_ordinal
    }

    /// Another parser has numbered exchanges of the connection up to this one.
    pub(super) const fn go_on_from(&mut self, next: Ordinal) {
        self.next_ordinal = next;
    }

    pub(super) const fn is_last(&self, ordinal: Ordinal) -> bool {
        ordinal + 1 == self.next_ordinal
    }

    /// Nearly always that of the only one that is open.
    #[inline]
    fn index(&self, ordinal: Ordinal) -> Option<usize> {
        if self.exchanges.front()?.ordinal == ordinal { Some(0) } else { self.search(ordinal) }
    }

    #[inline(never)]
    fn search(&self, ordinal: Ordinal) -> Option<usize> {
        self.exchanges.binary_search_by_key(&ordinal, |exchange| exchange.ordinal).ok()
    }

    pub(super) fn get(&mut self, ordinal: Option<Ordinal>) -> Option<&mut Exchange> {
        let index = self.index(ordinal?)?;
        self.exchanges.get_mut(index)
    }

    /// The exchange whose response is or should be coming.
    pub(super) fn answering(&mut self) -> Option<&mut Exchange> {
        self.exchanges.iter_mut().find(|exchange| exchange.response != ResponseState::Over)
    }

    /// Whether the bytes after the last request may belong to a tunnel, which only its response can tell.
    pub(super) fn awaits_tunnel(&self) -> bool {
        self.exchanges.back().is_some_and(Exchange::may_become_tunnel)
    }

    /// The client was seen to send a request before an earlier one was answered.
    pub(super) const fn pipelines(&mut self) {
        self.pipelined = true;
    }

    /// A request starts; `other_position`: where the other direction stood.
    pub(super) fn start(
        &mut self,
        direction: Direction,
        origin: &Origin,
        around: Surroundings,
        other_position: u64,
        cx: &mut Context<'_>,
    ) -> Ordinal {
        if self.needs_idle && around.idle >= cx.limits.idle_nanos {
            self.needs_idle = false;
            self.end_all_lost(cx);
        }
        self.end_superseded(around, cx);
        if self.exchanges.len() >= cx.limits.pending_requests {
            cx.out.counters.pending_overflow += 1;
            self.pipelined = true;
            self.end_all_lost(cx);
            self.lose(cx);
        }
        self.open(direction, origin, other_position, cx).ordinal
    }

    /// An exchange begins: what is open stays so.
    #[inline(always)]
    pub(super) fn open(
        &mut self,
        direction: Direction,
        origin: &Origin,
        other_position: u64,
        cx: &mut Context<'_>,
    ) -> &mut Exchange {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let mut exchange = Exchange::new(ordinal, origin.at);
        exchange.unpairable = self.needs_idle;
        let role = Role::of_request(direction);
        let begin =
            Begin { role, shape: Shape::RequestReply, origin: *origin, multiplexed: false, other_position };
        cx.out.report.begin(ExchangeId::new(cx.stream, ordinal), &begin);
        self.exchanges.push_back_mut(exchange)
    }

    /// No request is open, and the next one may be paired.
    pub(super) fn is_free(&self, limits: &Limits) -> bool {
        self.exchanges.is_empty() && !self.needs_idle && limits.pending_requests > 0
    }

    /// The only exchange that is open while order is exact, and whether no request was seen after its own.
    pub(super) fn only_open(&mut self) -> Option<(&mut Exchange, bool)> {
        let next_ordinal = self.next_ordinal;
        match self.exchanges.len() {
            1 if self.exact => self.exchanges.front_mut().map(|exchange| {
                let is_last = exchange.ordinal + 1 == next_ordinal;
                (exchange, is_last)
            }),
            _ => None,
        }
    }

    /// Both messages of the only exchange were read to their ends.
    pub(super) fn end_only(&mut self, cx: &mut Context<'_>) {
        if let Some(exchange) = self.exchanges.front() {
            self.end(0, Outcome::Complete, exchange.response_at, cx);
        }
    }

    /// Ends the exchanges that must be over because another one starts.
    fn end_superseded(&mut self, around: Surroundings, cx: &mut Context<'_>) {
        let mut index = 0;
        while let Some(exchange) = self.exchanges.get(index) {
            let passed_unread = around.lost_at.filter(|lost_at| *lost_at > exchange.request_at);
            match exchange.response {
                ResponseState::Over => self.end(index, Outcome::Complete, exchange.response_at, cx),
                ResponseState::Begun if around.response_lost => {
                    self.end(index, Outcome::Lost, exchange.response_at, cx);
                }
                ResponseState::Awaited if exchange.unpairable => {
                    self.end(index, Outcome::Lost, exchange.last_at(), cx);
                }
                ResponseState::Awaited if !self.exact || around.response_lost => match passed_unread {
                    Some(lost_at) => self.end(index, Outcome::Lost, lost_at, cx),
                    None => index += 1,
                },
                _ => index += 1,
            }
        }
    }

    /// The exchange that a response answers whose first byte moved at `at`; ends what can have no response any more.
    /// `unread` is the last time at which its direction moved bytes that were not understood: a request from before then may
    /// have had its response already.
    pub(super) fn answered_at(
        &mut self,
        at: Timestamp,
        unread: Option<Timestamp>,
        cx: &mut Context<'_>,
    ) -> Option<Ordinal> {
        let awaited = |exchange: &Exchange| exchange.response == ResponseState::Awaited;
        if self.exact {
            return self.exchanges.iter().find(|exchange| awaited(exchange)).map(|exchange| exchange.ordinal);
        }
        let candidate =
            |exchange: &Exchange| awaited(exchange) && !exchange.unpairable && exchange.request_at <= at;
        let mut candidates = self.exchanges.iter().filter(|exchange| candidate(exchange));
        let first = candidates.next()?;
        let alone = candidates.next().is_none() && unread.is_none_or(|unread| unread <= first.request_at);
        if alone {
            return Some(first.ordinal);
        }
        let mut index = 0;
        while let Some(exchange) = self.exchanges.get(index) {
            if candidate(exchange) {
                index += self.let_go(index, cx);
            } else {
                index += 1;
            }
        }
        None
    }

    /// Bytes were lost that may have held a message.
    pub(super) fn lose(&mut self, cx: &mut Context<'_>) {
        self.exact = false;
        if !self.pipelined {
            return;
        }
        self.needs_idle = true;
        let mut index = 0;
        while let Some(exchange) = self.exchanges.get(index) {
            if exchange.response == ResponseState::Awaited {
                index += self.let_go(index, cx);
            } else {
                index += 1;
            }
        }
    }

    /// Its response cannot be told any more: ends it, or, while its head is being read, has it end with the next request.
    /// Returns how many exchanges stay.
    fn let_go(&mut self, index: usize, cx: &mut Context<'_>) -> usize {
        let exchange = &mut self.exchanges[index];
        exchange.unpairable = true;
        if !exchange.head_done {
            return 1;
        }
        let at = exchange.last_at();
        self.end(index, Outcome::Lost, at, cx);
        0
    }

    /// Another response starts: one that was begun and lost its framing is over. False when there is none.
    pub(super) fn end_begun(&mut self, cx: &mut Context<'_>) -> bool {
        let begun = |exchange: &Exchange| exchange.response == ResponseState::Begun;
        let Some(index) = self.exchanges.iter().position(begun) else { return false };
        let at = self.exchanges[index].response_at;
        self.end(index, Outcome::Lost, at, cx);
        true
    }

    /// The request was read to its end (`Over`) or cannot be (`Lost`).
    pub(super) fn request_done(
        &mut self,
        ordinal: Option<Ordinal>,
        state: RequestState,
        end: Option<(Timestamp, Option<u64>)>,
        cx: &mut Context<'_>,
    ) {
        if let Some(exchange) = self.get(ordinal) {
            exchange.request = state;
            exchange.request_end = end.map(|(at, _)| at);
            exchange.request_body = end.and_then(|(_, body)| body);
            self.settle(ordinal, cx);
        }
    }

    /// The final response was read to its end, surely or not. `unread` is the last time at which the request direction moved bytes that
    /// were not understood.
    pub(super) fn response_done(
        &mut self,
        ordinal: Option<Ordinal>,
        at: Timestamp,
        body: Option<u64>,
        sure: bool,
        unread: Option<Timestamp>,
        cx: &mut Context<'_>,
    ) {
        let Some(exchange) = self.get(ordinal) else { return };
        exchange.response = ResponseState::Over;
        exchange.response_at = at;
        exchange.response_body = body;
        let request_at = exchange.request_at;
        if self.exact {
            let open = |other: &Exchange| Some(other.ordinal) != ordinal && other.request_at < at;
            self.pipelined |= self.exchanges.iter().any(open);
        } else {
            // Alone, and since its start no other request can have passed: from here order says it again.
            let nothing_hidden = unread.is_none_or(|unread| unread <= request_at);
            self.exact = sure && !self.needs_idle && self.exchanges.len() == 1 && nothing_hidden;
        }
        self.settle(ordinal, cx);
    }

    /// Ends the exchange if both of its messages are over.
    fn settle(&mut self, ordinal: Option<Ordinal>, cx: &mut Context<'_>) {
        let Some(index) = ordinal.and_then(|ordinal| self.index(ordinal)) else { return };
        let exchange = &self.exchanges[index];
        if exchange.response == ResponseState::Over && exchange.request != RequestState::Open {
            self.end(index, Outcome::Complete, exchange.response_at, cx);
        }
    }

    /// The connection is a tunnel from here: `ordinal` made it one, no other exchange can go on.
    pub(super) fn upgrade(&mut self, ordinal: Option<Ordinal>, at: Timestamp, cx: &mut Context<'_>) {
        if let Some(exchange) = self.get(ordinal) {
            exchange.response_at = at;
            exchange.response_body = Some(0);
        }
        if let Some(index) = ordinal.and_then(|ordinal| self.index(ordinal)) {
            self.end(index, Outcome::Upgraded, at, cx);
        }
        self.end_all_lost(cx);
    }

    /// Ends every exchange, each by what `outcome` says of it: `None` when its end is not known.
    pub(super) fn end_all(
        &mut self,
        at: Timestamp,
        cx: &mut Context<'_>,
        outcome: impl Fn(&Exchange) -> Option<Outcome>,
    ) {
        while let Some(exchange) = self.exchanges.front() {
            self.end_as(0, at, outcome(exchange), cx);
        }
    }

    /// Like [`Pairing::end_all`], but an exchange goes on while its head is being read, or, if it was answered,
    /// its request.
    pub(super) fn end_unanswered(
        &mut self,
        at: Timestamp,
        cx: &mut Context<'_>,
        outcome: impl Fn(&Exchange) -> Option<Outcome>,
    ) {
        let mut index = 0;
        while let Some(exchange) = self.exchanges.get(index) {
            let answered = exchange.response == ResponseState::Over;
            if !exchange.head_done || (answered && exchange.request == RequestState::Open) {
                index += 1;
            } else {
                self.end_as(index, at, outcome(exchange), cx);
            }
        }
    }

    /// Ends an exchange as complete if it is, else as `outcome`, `None` when its end is not known.
    fn end_as(&mut self, index: usize, at: Timestamp, outcome: Option<Outcome>, cx: &mut Context<'_>) {
        let exchange = &self.exchanges[index];
        let answered = exchange.response == ResponseState::Over;
        let complete = answered && exchange.request != RequestState::Open;
        match outcome {
            _ if complete => self.end(index, Outcome::Complete, exchange.response_at, cx),
            Some(outcome) if answered => self.end(index, outcome, exchange.response_at, cx),
            Some(outcome) => self.end(index, outcome, at, cx),
            None => self.end(index, Outcome::Lost, exchange.last_at(), cx),
        }
    }

    /// Ends every exchange: none of them can be followed any more.
    pub(super) fn end_all_lost(&mut self, cx: &mut Context<'_>) {
        self.end_all(Timestamp::default(), cx, |_| None);
    }

    fn end(&mut self, index: usize, outcome: Outcome, at: Timestamp, cx: &mut Context<'_>) {
        let Some(exchange) = self.exchanges.get_mut(index) else { return };
        let lost = outcome == Outcome::Lost;
        cx.out.counters.exchanges_lost += u64::from(lost);
        if self.joined_mid_stream && exchange.ordinal == 0 && (lost || !exchange.incomplete.is_empty()) {
            exchange.incomplete.add(Incomplete::JOINED_MID_STREAM);
        }
        let id = ExchangeId::new(cx.stream, exchange.ordinal);
        cx.out.report.end(id, at, &exchange.end(outcome));
        if index == 0 {
            self.exchanges.pop_front();
        } else {
            self.exchanges.remove(index);
        }
    }
}
