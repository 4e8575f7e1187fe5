//! `--redact`: what programs sent and received is masked before it reaches the log, so that the log
//! can be given away. What may be kept of a connection says the protocol that it speaks
//! ([`ConnectionMask`]); a protocol that says nothing is masked whole. Of a process the program's
//! name, path, service and container stay; its arguments are masked. Addresses, ports, sizes and
//! times stay.

use rustc_hash::FxHashMap;

use crate::{
    event::{Closed, Event, Layer, ProcessFacts, StreamId, Transfer},
    protocol::ConnectionMask,
};

/// Most streams whose structure is followed at once; of further ones every byte is masked.
const MAX_STREAMS: usize = 65_536;

/// Masks events in the order in which they come.
#[derive(Debug, Default)]
pub(crate) struct Masker {
    streams: FxHashMap<StreamId, ConnectionMask>,
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
            Event::Opened(opened) => {
                let stream = StreamId { connection: opened.connection, layer: Layer::Wire };
                if !self.streams.get(&stream).is_some_and(|mask| mask.began_with(opened)) {
                    self.follow(stream, || ConnectionMask::new(opened));
                }
            }
            Event::PlaintextOpened(opened) => {
                let stream = StreamId { connection: opened.connection, layer: Layer::Plaintext };
                self.follow(stream, || ConnectionMask::of_plaintext(opened));
            }
            Event::Closed(Closed { connection, layer, .. }) => {
                // A plaintext ends with its connection.
                for layer in [*layer, Layer::Plaintext] {
                    self.streams.remove(&StreamId { connection: *connection, layer });
                }
            }
            _ => {}
        }
        event.clone()
    }

    fn follow(&mut self, stream: StreamId, mask: impl FnOnce() -> ConnectionMask) {
        if self.streams.len() < MAX_STREAMS {
            self.streams.insert(stream, mask());
        }
    }

    fn transfer<'a>(&'a mut self, transfer: &Transfer<'a>) -> Transfer<'a> {
        let Self { streams, head, tail } = self;
        for (copy, original) in [(&mut *head, transfer.head), (&mut *tail, transfer.tail)] {
            copy.clear();
            copy.extend_from_slice(original);
        }
        match streams.get_mut(&transfer.stream()) {
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
