//! Connections that do not carry HTTP, such as a database's. What a thread receives from one was
//! caused by what was written to it, so the receive inherits the cause that the writer had.
//!
//! The kernel side does the same once it knows that a connection is opaque
//! (`agent-ebpf/src/connection.rs`, `carry`). Until then this file does it. Where each request has
//! a connection of its own, that is the connection's whole life.

use std::collections::VecDeque;

use super::{Cause, ambiguity::InputAmbiguity, lost};
use crate::{
    event::{Direction, Transfer},
    trace::{
        exchanges::{Connection, Exchanges},
        process::Processes,
    },
};

/// Receives that are remembered because a thread may still name one of them as its last receive.
const RECEIVED: usize = 4;

/// The causes on a connection on which no HTTP message was found yet.
#[derive(Debug, Default)]
pub(in crate::trace) struct InheritedCauses {
    /// The cause of the last write. For the first write it is the cause of the connect.
    wrote: Option<Cause>,
    /// Something was received since the last write.
    answered: bool,
    /// For each receive, the position of its last byte and the cause of the write before it.
    received: VecDeque<(u64, Cause)>,
}

impl InheritedCauses {
    /// Notes a write. Two writes with different causes and no receive between them leave no cause.
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

    /// The cause that the byte at this position inherits, as far as it is still valid.
    fn cause(&self, exchanges: &Exchanges, processes: &Processes, position: u64) -> Cause {
        let found = self.received.iter().find(|(end, _)| *end == position);
        let Some(&(_, Cause::Message { key, for_call, for_response })) = found else { return Cause::None };
        match exchanges.get(key) {
            Some(message) if !message.links.causes_nothing && !lost(processes, message) => {
                Cause::Message { key, for_call, for_response }
            }
            Some(message) if !message.links.causes_nothing => Cause::Lost,
            _ => Cause::None,
        }
    }
}

/// Notes bytes that moved on a connection on which no exchange was found yet.
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

/// The cause of a last receive from a connection that does not carry HTTP.
pub(super) fn inherited_cause(
    exchanges: &Exchanges,
    processes: &Processes,
    connection: &Connection,
    position: u64,
    ambiguity: [InputAmbiguity; 2],
) -> Cause {
    let Some(inherited) = &connection.inherited else { return Cause::None };
    let [call, response] = ambiguity;
    match inherited.cause(exchanges, processes, position) {
        Cause::Message { key, for_call, for_response } => {
            Cause::Message { key, for_call: for_call.and(call), for_response: for_response.and(response) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::exchange::Key;

    fn receive(number: u32) -> Cause {
        let key = Key::of_none(number);
        Cause::Message { key, for_call: InputAmbiguity::Single, for_response: InputAmbiguity::Single }
    }

    /// The number of the cause that each receive inherits. `None` in `steps` is a receive.
    fn received(steps: &[Option<u32>]) -> Vec<Option<u32>> {
        let number = |key| (0..100).find(|number| Key::of_none(*number) == key);
        let mut inherited = InheritedCauses::default();
        for (end, step) in steps.iter().enumerate() {
            match step {
                Some(number) => inherited.write(receive(*number)),
                None => inherited.receive(end as u64),
            }
        }
        inherited.received.iter().map(|(_, cause)| cause.key().and_then(number)).collect()
    }

    #[test]
    fn a_receive_inherits_the_cause_of_the_last_write() {
        assert_eq!(received(&[Some(1), None]), [Some(1)]);
        assert_eq!(received(&[Some(1), Some(1), None, None]), [Some(1), Some(1)]);
        assert_eq!(received(&[Some(1), None, Some(2), None]), [Some(1), Some(2)]);
        assert_eq!(received(&[None]), []);
    }

    #[test]
    fn two_causes_before_a_receive_leave_none() {
        assert_eq!(received(&[Some(1), Some(2), None]), [None]);
        assert_eq!(received(&[Some(1), Some(2), Some(2), None]), [None]);
        assert_eq!(received(&[Some(1), Some(2), None, Some(3), None]), [None, Some(3)]);
    }

    #[test]
    fn few_receives_are_remembered() {
        let steps: Vec<_> = std::iter::once(Some(1)).chain((0..50).map(|_| None)).collect();
        assert_eq!(received(&steps).len(), RECEIVED);
    }
}
