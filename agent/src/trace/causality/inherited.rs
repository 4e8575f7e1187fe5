//! Connections that are not HTTP, such as a database's: whatever is received from one was caused by what was written to it, so
//! that it stands for the receive that the writer had. The kernel side sees to that once it was told that a connection is opaque
//! (`agent-ebpf/src/connection.rs`, `propagate_cause`); until then, which is all of its life where each request has a connection of its
//! own, it is done here.

use std::collections::VecDeque;

use super::{Cause, lost};
use crate::{
    event::{Clarity, Direction, Transfer},
    trace::{
        exchanges::{Connection, Exchanges},
        process::Processes,
    },
};

/// What was received last, which some thread may still name.
const RECEIVED: usize = 4;

/// What a connection carries on which no message of HTTP was found yet.
#[derive(Debug, Default)]
pub(in crate::trace) struct InheritedCauses {
    /// The receive of what was written; that of the first thing is what the connect had.
    wrote: Option<Cause>,
    /// Something was received since.
    answered: bool,
    /// The last byte of what was received, and what had been written.
    received: VecDeque<(u64, Cause)>,
}

impl InheritedCauses {
    /// Two writes with different receives before an answer: nothing.
    fn write(&mut self, receive: Cause) {
        let same = self.wrote.is_none_or(|wrote| wrote.key() == receive.key());
        self.wrote = Some(if same || self.answered { receive } else { Cause::None });
        self.answered = false;
    }

    fn receive(&mut self, end: u64) {
        let Some(wrote) = self.wrote else { return };
        self.answered = true;
        if self.received.len() >= RECEIVED {
            self.received.pop_front();
        }
        self.received.push_back((end, wrote));
    }

    /// What the byte at this position was caused by, as it is worth now.
    fn cause(&self, exchanges: &Exchanges, processes: &Processes, position: u64) -> Cause {
        let found = self.received.iter().find(|(end, _)| *end == position);
        let Some(&(_, Cause::Message { key, for_call, for_answer })) = found else { return Cause::None };
        match exchanges.get(key) {
            Some(message) if !message.links.causes_nothing && !lost(processes, message) => {
                Cause::Message { key, for_call, for_answer }
            }
            Some(message) if !message.links.causes_nothing => Cause::Lost,
            _ => Cause::None,
        }
    }
}

/// Bytes moved on a connection on which no exchange was found yet.
pub(in crate::trace) fn propagate_cause(
    exchanges: &mut Exchanges,
    processes: &Processes,
    transfer: &Transfer<'_>,
) {
    let Some(Connection { connect_cause, inherited, .. }) = exchanges.connection(transfer.connection) else {
        return;
    };
    let receive = match (transfer.direction, connect_cause, inherited) {
        (Direction::In, _, None) => return,
        (Direction::In, ..) => Cause::None,
        (Direction::Out, Some(connect_cause), None) => *connect_cause,
        (Direction::Out, ..) => Cause::of(exchanges, processes, transfer.last_receive),
    };
    let end = transfer.position.saturating_add(u64::from(transfer.length)).saturating_sub(1);
    let Some(connection) = exchanges.connection_mut(transfer.connection) else { return };
    let inherited = connection.inherited.get_or_insert_default();
    match transfer.direction {
        Direction::Out => inherited.write(receive),
        Direction::In => inherited.receive(end),
    }
}

/// What the last byte that a thread took in was caused by, on a connection that is not HTTP.
pub(super) fn inherited_cause(
    exchanges: &Exchanges,
    processes: &Processes,
    connection: &Connection,
    position: u64,
    clarity: [Clarity; 2],
) -> Cause {
    let Some(inherited) = &connection.inherited else { return Cause::None };
    let [call, response] = clarity;
    match inherited.cause(exchanges, processes, position) {
        Cause::Message { key, for_call, for_answer } => {
            Cause::Message { key, for_call: for_call.and(call), for_answer: for_answer.and(response) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::ConnectionId,
        trace::{exchange::Key, slots::Slot},
    };

    fn receive(connection: u64) -> Cause {
        let key = Key { connection: ConnectionId(connection), ordinal: 0, slot: Slot::NONE };
        Cause::Message { key, for_call: Clarity::Clear, for_answer: Clarity::Clear }
    }

    /// What each byte received stands for.
    fn received(steps: &[Option<u64>]) -> Vec<Option<u64>> {
        let mut inherited = InheritedCauses::default();
        for (end, step) in steps.iter().enumerate() {
            match step {
                Some(connection) => inherited.write(receive(*connection)),
                None => inherited.receive(end as u64),
            }
        }
        inherited.received.iter().map(|(_, cause)| cause.key().map(|key| key.connection.0)).collect()
    }

    #[test]
    fn an_answer_stands_for_what_was_written_last() {
        assert_eq!(received(&[Some(1), None]), [Some(1)]);
        assert_eq!(received(&[Some(1), Some(1), None, None]), [Some(1), Some(1)]);
        assert_eq!(received(&[Some(1), None, Some(2), None]), [Some(1), Some(2)]);
        assert_eq!(received(&[None]), []);
    }

    #[test]
    fn two_inputs_before_an_answer_are_none() {
        assert_eq!(received(&[Some(1), Some(2), None]), [None]);
        assert_eq!(received(&[Some(1), Some(2), Some(2), None]), [None]);
        assert_eq!(received(&[Some(1), Some(2), None, Some(3), None]), [None, Some(3)]);
    }

    #[test]
    fn little_is_remembered() {
        let steps: Vec<_> = std::iter::once(Some(1)).chain((0..50).map(|_| None)).collect();
        assert_eq!(received(&steps).len(), RECEIVED);
    }
}
