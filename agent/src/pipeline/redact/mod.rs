//! `--redact`: what programs sent and received is masked before it reaches the log, so that the log
//! can be given away. What may be kept of a connection says the protocol that it speaks
//! ([`ConnectionMask`]); a protocol that says nothing is masked whole. Of a process the program's
//! name, path, service and container stay; its arguments are masked. Addresses, ports, sizes and
//! times stay.

use rustc_hash::FxHashMap;

use crate::{
    event::{ConnectionId, Event, Opened, ProcessFacts, Transfer},
    protocol::ConnectionMask,
};

/// Most connections whose structure is followed at once; of further ones every byte is masked.
const MAX_CONNECTIONS: usize = 65_536;

/// Masks events in the order in which they come.
#[derive(Debug, Default)]
pub(crate) struct Masker {
    connections: FxHashMap<ConnectionId, ConnectionMask>,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Masker {
    /// The event without the bytes that must not be recorded.
    pub(crate) fn mask<'a>(&'a mut self, event: &Event<'a>) -> Event<'a> {
        match event {
            Event::Transfer(transfer) => return Event::Transfer(self.transfer(transfer)),
            Event::Process { at, facts } => {
                return Event::Process { at: *at, facts: Box::new(process(facts)) };
            }
            Event::Opened(opened) => self.opened(opened),
            Event::Closed(closed) => drop(self.connections.remove(&closed.connection)),
            _ => {}
        }
        event.clone()
    }

    fn opened(&mut self, opened: &Opened) {
        if self.connections.get(&opened.connection).is_some_and(|mask| mask.began_with(opened)) {
            return;
        }
        if self.connections.len() < MAX_CONNECTIONS {
            self.connections.insert(opened.connection, ConnectionMask::new(opened));
        }
    }

    fn transfer<'a>(&'a mut self, transfer: &Transfer<'a>) -> Transfer<'a> {
        let Self { connections, head, tail } = self;
        for (copy, original) in [(&mut *head, transfer.head), (&mut *tail, transfer.tail)] {
            copy.clear();
            copy.extend_from_slice(original);
        }
        match connections.get_mut(&transfer.connection) {
            Some(mask) => mask.transfer(transfer, head, tail),
            None => [head, tail].into_iter().for_each(|bytes| bytes.fill(b'x')),
        }
        Transfer { head: &self.head, tail: &self.tail, ..*transfer }
    }
}

/// Any argument may be a secret; the first is the program's name, and some programs put more behind
/// it.
fn process(facts: &ProcessFacts) -> ProcessFacts {
    let mut masked = facts.clone();
    for (index, argument) in masked.command_args.iter_mut().enumerate() {
        let kept = if index > 0 { 0 } else { argument.find(' ').unwrap_or(argument.len()) };
        let hidden = "x".repeat(argument.len() - kept);
        argument.replace_range(kept.., &hidden);
    }
    masked
}

#[cfg(test)]
mod tests;
