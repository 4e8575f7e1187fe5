//! Event loops that put off what follows from an input to the end of their turn: Node's `setImmediate`, or a queue of what is ready.
//! Several inputs are read, then the calls that follow from them are sent, in the same order. The last input says nothing of these;
//! the order does.
//!
//! Whether a program does so is a guess that its own end links prove or refute: an order that is believed has made the two links of
//! its calls agree ([`super::Belief`]), just as the last input does elsewhere. What is written as an answer follows at once.

use std::collections::VecDeque;

use crate::event::ConnectionId;

/// Inputs of a turn that are remembered; the oldest makes room.
const REMEMBERED: usize = 64;

/// What a program puts off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::trace) enum Deferral {
    /// Nothing: a call follows from its thread's last input.
    #[default]
    Nothing,
    /// What follows from a response; what follows from a request is sent at once.
    Responses,
    /// What follows from any input.
    Everything,
}

/// The last byte of what was taken in.
pub(super) type Input = (ConnectionId, u64);

/// What one thread has taken in and not acted on.
#[derive(Debug, Default)]
pub(super) struct Turn {
    inputs: VecDeque<Input>,
    /// The last of them, until something follows from it.
    last: Option<Input>,
    /// Calls that were put off are being sent: the next input begins another turn.
    over: bool,
    /// What was sent last, and what it followed from: more of the same message may come.
    sent: Option<(ConnectionId, Option<Input>)>,
}

impl Turn {
    pub(super) fn received(&mut self, input: Input) {
        if std::mem::take(&mut self.over) {
            self.inputs.clear();
        }
        self.sent = None;
        self.inputs.retain(|(connection, _)| *connection != input.0);
        if self.inputs.len() >= REMEMBERED {
            self.inputs.pop_front();
        }
        self.inputs.push_back(input);
        self.last = Some(input);
    }

    /// What an answer follows from: the last input, if nothing else did.
    pub(super) fn answers(&mut self, connection: ConnectionId) -> Option<Input> {
        self.sends(connection, |turn| turn.last)
    }

    /// What a call follows from; `is_request` says whether an input is one.
    pub(super) fn calls(
        &mut self,
        connection: ConnectionId,
        deferral: Deferral,
        is_request: impl Fn(Input) -> bool,
    ) -> Option<Input> {
        self.sends(connection, |turn| match deferral {
            Deferral::Nothing => turn.last,
            Deferral::Responses => turn
                .last
                .filter(|last| is_request(*last))
                .or_else(|| turn.inputs.iter().copied().find(|input| !is_request(*input))),
            Deferral::Everything => turn.inputs.front().copied(),
        })
    }

    fn sends(&mut self, connection: ConnectionId, of: impl Fn(&Self) -> Option<Input>) -> Option<Input> {
        if let Some((before, input)) = self.sent
            && before == connection
        {
            return input;
        }
        let input = of(self);
        if let Some(input) = input {
            self.inputs.retain(|other| *other != input);
            self.over |= self.last != Some(input);
            self.last = self.last.filter(|last| *last != input);
        }
        self.sent = Some((connection, input));
        input
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn input(connection: u64) -> Input {
        (ConnectionId(connection), 9)
    }

    /// Inputs below 10 are requests.
    fn is_request((connection, _): Input) -> bool {
        connection.0 < 10
    }

    fn call(turn: &mut Turn, deferral: Deferral, connection: u64) -> Option<u64> {
        turn.calls(ConnectionId(connection), deferral, is_request).map(|(connection, _)| connection.0)
    }

    #[test]
    fn calls_after_responses_are_put_off_in_their_order() {
        let mut turn = Turn::default();
        let deferral = Deferral::Responses;
        for read in [11, 12] {
            turn.received(input(read));
        }
        turn.received(input(1));
        assert_eq!(call(&mut turn, deferral, 21), Some(1), "at once");
        turn.received(input(13));
        assert_eq!(turn.answers(ConnectionId(2)), Some(input(13)), "at once");
        assert_eq!([22, 23].map(|to| call(&mut turn, deferral, to)), [Some(11), Some(12)]);
        assert_eq!(call(&mut turn, deferral, 24), None);
    }

    #[test]
    fn what_is_left_of_a_turn_is_forgotten_with_the_next_input() {
        let mut turn = Turn::default();
        for read in [11, 12, 13] {
            turn.received(input(read));
        }
        assert_eq!(call(&mut turn, Deferral::Responses, 21), Some(11));
        turn.received(input(14));
        assert_eq!(call(&mut turn, Deferral::Responses, 22), Some(14));
    }

    #[test]
    fn everything_may_be_put_off() {
        let mut turn = Turn::default();
        for read in [11, 1, 2] {
            turn.received(input(read));
        }
        let calls = [21, 22, 23].map(|to| call(&mut turn, Deferral::Everything, to));
        assert_eq!(calls, [Some(11), Some(1), Some(2)]);
    }

    #[test]
    fn a_message_in_several_calls_follows_from_one_input() {
        let mut turn = Turn::default();
        turn.received(input(11));
        turn.received(input(12));
        assert_eq!(
            [21, 21, 22].map(|to| call(&mut turn, Deferral::Responses, to)),
            [Some(11), Some(11), Some(12)]
        );
    }

    #[test]
    fn a_turn_is_bounded() {
        let mut turn = Turn::default();
        (0..1_000).for_each(|read| turn.received(input(read)));
        assert_eq!(turn.inputs.len(), REMEMBERED);
    }
}
