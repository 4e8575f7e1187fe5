//! `--redact`: what programs sent and received is masked before it reaches the log, so that the log
//! can be given away. Every byte keeps its place; only what a reader of HTTP/1 needs to see the
//! same exchanges stays as it is:
//!
//! - the method, the version, the status; `/` of a path, names and separators of a query, scheme and port of an authority
//! - names of header fields; values of `content-length`, `transfer-encoding`, `expect`, `upgrade`, `connection` where they
//!   consist of known words, and of a well-formed `traceparent` (random numbers, without which parents would be missing)
//! - the framing of chunked bodies
//!
//! Everything else of the payload becomes `x`, and so does every byte of which it is not certain
//! what it is: after a loss, on a connection of another protocol, in a body. Of a process the
//! program's name, path, service and container stay; its arguments are masked. Addresses, ports,
//! sizes and times stay.

mod http1;
mod text;

use rustc_hash::FxHashMap;

use self::http1::Conversation;
use crate::event::{Closed, Event, Layer, ProcessFacts, StreamId, Transfer};

/// Most streams whose structure is followed at once; of further ones every byte is masked.
const MAX_CONNECTIONS: usize = 65_536;

/// Masks events in the order in which they come.
#[derive(Debug, Default)]
pub struct Masker {
    conversations: FxHashMap<StreamId, Conversation>,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Masker {
    /// The event without the bytes that must not be recorded.
    pub fn mask<'a>(&'a mut self, event: &Event<'a>) -> Event<'a> {
        match event {
            Event::Transfer(transfer) => return Event::Transfer(self.transfer(transfer)),
            Event::Process { at, facts } => {
                return Event::Process { at: *at, facts: Box::new(process(facts)) };
            }
            Event::Opened(opened) => {
                let stream = StreamId { connection: opened.connection, layer: Layer::Wire };
                let again = |it: &Conversation| it.first_sequence() == opened.first_sequence;
                if !self.conversations.get(&stream).is_some_and(again) {
                    self.follow(stream, || Conversation::new(opened));
                }
            }
            Event::PlaintextOpened(opened) => {
                let stream = StreamId { connection: opened.connection, layer: Layer::Plaintext };
                self.follow(stream, || Conversation::of_plaintext(opened));
            }
            Event::Closed(Closed { connection, layer, .. }) => {
                // A plaintext ends with its connection.
                for layer in [*layer, Layer::Plaintext] {
                    self.conversations.remove(&StreamId { connection: *connection, layer });
                }
            }
            _ => {}
        }
        event.clone()
    }

    fn follow(&mut self, stream: StreamId, conversation: impl FnOnce() -> Conversation) {
        if self.conversations.len() < MAX_CONNECTIONS {
            self.conversations.insert(stream, conversation());
        }
    }

    fn transfer<'a>(&'a mut self, transfer: &Transfer<'a>) -> Transfer<'a> {
        let Self { conversations, head, tail } = self;
        for (copy, original) in [(&mut *head, transfer.head), (&mut *tail, transfer.tail)] {
            copy.clear();
            copy.extend_from_slice(original);
        }
        match conversations.get_mut(&transfer.stream()) {
            Some(conversation) => conversation.transfer(transfer, head, tail),
            None => [head, tail].into_iter().for_each(|bytes| text::hide(bytes)),
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
