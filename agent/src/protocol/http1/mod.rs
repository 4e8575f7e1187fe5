//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112), read passively: heads are parsed, bodies are measured and skipped, lost
//! bytes are survived. A request and its response are paired by order.
//!
//! The readers are lenient where a peer may be (bare LF, folded fields, empty lines before a request line, any number of
//! fields) and strict where leniency would invent messages: the first line must match its grammar to the letter.

mod body;
mod content;
mod cut;
mod exchange;
mod head;
mod line;
mod message;
mod pairing;
mod reader;
mod resync;
mod session;

pub(super) use reader::opening;
pub(crate) use session::{Context, Fed, Session};
