//! Event loops that defer the work which follows from a receive to the end of their turn: Node's
//! `setImmediate`, or a queue of ready tasks. They read several messages, then send the calls that
//! follow from them, in the same order. The last receive says nothing about these calls, but the
//! order does.
//!
//! Whether a program does so is a guess that its own response sides confirm or refute. A receive
//! order is kept if it makes the two sides of calls agree ([`super::Confidence`]), just as the last
//! receive does in other programs. Responses are never deferred.

use std::collections::VecDeque;

use crate::event::ConnectionId;

/// Receives of a turn that are remembered. Beyond this number the oldest is dropped.
const REMEMBERED: usize = 64;

/// What a program defers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::trace) enum Deferral {
    /// Nothing: the cause of a call is its thread's last receive.
    #[default]
    Nothing,
    /// What follows from a response. What follows from a request is sent at once.
    Responses,
    /// What follows from any receive.
    Everything,
}

/// The last byte of a receive.
pub(super) type Receive = (ConnectionId, u64);

/// What one thread has received and not acted on yet.
#[derive(Debug, Default)]
pub(super) struct Turn {
    receives: VecDeque<Receive>,
    /// The latest receive, until something follows from it.
    last: Option<Receive>,
    /// Deferred calls are being sent, so the next receive begins another turn.
    over: bool,
    /// What was sent last and its cause. More of the same message may follow.
    sent: Option<(ConnectionId, Option<Receive>)>,
}

impl Turn {
    pub(super) fn received(&mut self, receive: Receive) {
        if std::mem::take(&mut self.over) {
            self.receives.clear();
        }
        self.sent = None;
        self.receives.retain(|(connection, _)| *connection != receive.0);
        if self.receives.len() >= REMEMBERED {
            self.receives.pop_front();
        }
        self.receives.push_back(receive);
        self.last = Some(receive);
    }

    /// The cause of a response: the latest receive, if nothing else followed from it.
    pub(super) fn responds(&mut self, connection: ConnectionId) -> Option<Receive> {
        self.sends(connection, |turn| turn.last)
    }

    /// The cause of a call. `is_request` says whether a receive is a request.
    pub(super) fn calls(
        &mut self,
        connection: ConnectionId,
        deferral: Deferral,
        is_request: impl Fn(Receive) -> bool,
    ) -> Option<Receive> {
        self.sends(connection, |turn| match deferral {
            Deferral::Nothing => turn.last,
            Deferral::Responses => turn
                .last
                .filter(|last| is_request(*last))
                .or_else(|| turn.receives.iter().copied().find(|receive| !is_request(*receive))),
            Deferral::Everything => turn.receives.front().copied(),
        })
    }

    fn sends(&mut self, connection: ConnectionId, of: impl Fn(&Self) -> Option<Receive>) -> Option<Receive> {
        if let Some((before, receive)) = self.sent
            && before == connection
        {
            return receive;
        }
        let receive = of(self);
        if let Some(receive) = receive {
            self.receives.retain(|other| *other != receive);
            self.over |= self.last != Some(receive);
            self.last = self.last.filter(|last| *last != receive);
        }
        self.sent = Some((connection, receive));
        receive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn receive(connection: u64) -> Receive {
        (ConnectionId(connection), 9)
    }

    /// Receives below 10 are requests.
    fn is_request((connection, _): Receive) -> bool {
        connection.0 < 10
    }

    fn call(turn: &mut Turn, deferral: Deferral, connection: u64) -> Option<u64> {
        turn.calls(ConnectionId(connection), deferral, is_request).map(|(connection, _)| connection.0)
    }

    #[test]
    fn calls_after_responses_are_deferred_in_order() {
        let mut turn = Turn::default();
        let deferral = Deferral::Responses;
        for read in [11, 12] {
            turn.received(receive(read));
        }
        turn.received(receive(1));
        assert_eq!(call(&mut turn, deferral, 21), Some(1), "at once");
        turn.received(receive(13));
        assert_eq!(turn.responds(ConnectionId(2)), Some(receive(13)), "at once");
        assert_eq!([22, 23].map(|to| call(&mut turn, deferral, to)), [Some(11), Some(12)]);
        assert_eq!(call(&mut turn, deferral, 24), None);
    }

    #[test]
    fn the_rest_of_a_turn_is_forgotten_with_the_next_receive() {
        let mut turn = Turn::default();
        for read in [11, 12, 13] {
            turn.received(receive(read));
        }
        assert_eq!(call(&mut turn, Deferral::Responses, 21), Some(11));
        turn.received(receive(14));
        assert_eq!(call(&mut turn, Deferral::Responses, 22), Some(14));
    }

    #[test]
    fn everything_may_be_deferred() {
        let mut turn = Turn::default();
        for read in [11, 1, 2] {
            turn.received(receive(read));
        }
        let calls = [21, 22, 23].map(|to| call(&mut turn, Deferral::Everything, to));
        assert_eq!(calls, [Some(11), Some(1), Some(2)]);
    }

    #[test]
    fn a_message_in_several_system_calls_has_one_cause() {
        let mut turn = Turn::default();
        turn.received(receive(11));
        turn.received(receive(12));
        assert_eq!(
            [21, 21, 22].map(|to| call(&mut turn, Deferral::Responses, to)),
            [Some(11), Some(11), Some(12)]
        );
    }

    #[test]
    fn a_turn_is_bounded() {
        let mut turn = Turn::default();
        (0..1_000).for_each(|read| turn.received(receive(read)));
        assert_eq!(turn.receives.len(), REMEMBERED);
    }
}
