//! What a protocol must do to be read here: the [`Protocol`] trait, and [`Parser`], which is one of all that are known. Adding a
//! protocol is a folder, a variant of `Parser`, and a line in `detect.rs`.

use super::{Context, http1};
use crate::{
    event::{Direction, Timestamp},
    stream::{Cursor, Need},
};

/// Reads one protocol from both directions of a connection. [`stream::Parser`](crate::stream::Parser) says what each method
/// must do.
pub(super) trait Protocol {
    fn feed(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Read;
    fn gap(&mut self, direction: Direction, length: u64, at: Timestamp, cx: &mut Context<'_>);
    fn half_closed(&mut self, direction: Direction, at: Timestamp, cx: &mut Context<'_>);
    fn local_closed(&mut self, peer_finished: bool, at: Timestamp, cx: &mut Context<'_>);
    fn closed(&mut self, errno: u16, at: Timestamp, cx: &mut Context<'_>);
    fn finish(&mut self, at: Timestamp, cx: &mut Context<'_>);
    fn awaits_beginning(&self, direction: Direction) -> bool;
    fn begins(&mut self, direction: Direction, from_start: bool);
    fn need(&self, direction: Direction) -> Need;
    fn buffered(&self) -> usize;

    /// How sure it is that the connection speaks this protocol.
    fn recognition(&self) -> Recognition;

    /// Whether a message has begun that parses, since this was last asked.
    fn take_recognised(&mut self) -> bool;

    /// Nothing more will be read, since too much was not of this protocol: what is open ends.
    fn give_up(&mut self, cx: &mut Context<'_>);
}

/// What became of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// It was read to its end.
    Done,
    /// Its rest must be offered again when the other direction has moved on.
    Wait,
    /// From here on the connection carries what nobody reads (a tunnel).
    Opaque,
    /// It was read to its end, and its last bytes are no part of any known message. `begins`: a message should have begun there.
    Unknown { begins: bool },
}

/// What a protocol has seen of itself on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recognition {
    /// A message of it was seen, and it is known which end is the client.
    pub(super) seen: bool,
    /// Bytes had moved before the first ones that were read.
    pub(super) mid_stream: bool,
    /// Messages were read.
    pub(super) understood: bool,
}

/// A connection's protocol.
#[derive(Debug)]
#[cfg_attr(test, expect(clippy::large_enum_variant, reason = "the small one is made for the tests"))]
pub(super) enum Parser {
    Http1(http1::Session),
    #[cfg(test)]
    Mux(super::mux::Session),
}

/// Does the same with whatever parser it is.
macro_rules! each {
    ($parser:expr, $inner:ident => $do:expr) => {
        match $parser {
            Parser::Http1($inner) => $do,
            #[cfg(test)]
            Parser::Mux($inner) => $do,
        }
    };
}

pub(super) use each;
