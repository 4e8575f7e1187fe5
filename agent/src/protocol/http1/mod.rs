//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112), read passively: heads are parsed, bodies are measured and skipped, lost
//! bytes are survived. A request and its response are paired by order.
//!
//! The readers are lenient where a peer may be (bare LF, folded fields, empty lines before a request line, any number of
//! fields) and strict where leniency would invent messages: the first line must match its grammar to the letter, except where the message
//! before has surely ended (`loose.rs`), and then the exchange is marked.

#[cfg(test)]
mod agreement;
mod body;
mod content;
mod cut;
mod ending;
mod exchange;
mod fields;
mod framing;
mod head;
mod kept;
mod line;
mod lines;
mod loose;
mod mask;
mod mask_text;
mod message;
mod name;
mod ordinary;
mod pairing;
mod protocol;
mod reader;
mod resync;
mod session;
mod whole;

pub(super) use mask::Mask;
pub(super) use name::first_letter;
pub(super) use reader::opening;
pub(super) use session::Session;
