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
use crate::event::{ConnectionId, Event, Opened, ProcessFacts, Transfer};

/// Most connections whose structure is followed at once; of further ones every byte is masked.
const MAX_CONNECTIONS: usize = 65_536;

/// Masks events in the order in which they come.
#[derive(Debug, Default)]
pub struct Masker {
    conversations: FxHashMap<ConnectionId, Conversation>,
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
            Event::Opened(opened) => self.opened(opened),
            Event::Closed(closed) => drop(self.conversations.remove(&closed.connection)),
            _ => {}
        }
        event.clone()
    }

    fn opened(&mut self, opened: &Opened) {
        let again = |it: &Conversation| it.first_sequence() == opened.first_sequence;
        if self.conversations.get(&opened.connection).is_some_and(again) {
            return;
        }
        if self.conversations.len() < MAX_CONNECTIONS {
            self.conversations.insert(opened.connection, Conversation::new(opened));
        }
    }

    fn transfer<'a>(&'a mut self, transfer: &Transfer<'a>) -> Transfer<'a> {
        let Self { conversations, head, tail } = self;
        for (copy, original) in [(&mut *head, transfer.head), (&mut *tail, transfer.tail)] {
            copy.clear();
            copy.extend_from_slice(original);
        }
        match conversations.get_mut(&transfer.connection) {
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
