//! What a protocol must do to be read here: the [`Protocol`] trait, and [`Parser`], which is one of all that are known. Adding a
//! protocol is a folder, its `mod` line, and a line in the list at the end of this file.

use super::{Context, http1};
use crate::{
    event::{Direction, Timestamp},
    stream::{Cursor, Need},
};

/// Reads one protocol from both directions of a connection. [`stream::Parser`](crate::stream::Parser) says what each method
/// must do.
pub(super) trait Protocol: Sized {
    /// Whether a direction of a connection of this protocol begins so, and then a parser that reads on from there. HTTP/1
    /// recognises nothing: it is looked for wherever no other protocol is recognised.
    fn recognise(first: &FirstBytes<'_>) -> Recognised<Self>;

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

/// The first bytes of a direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstBytes<'a> {
    pub(super) direction: Direction,
    pub(super) bytes: &'a [u8],
}

/// What the first bytes of a direction say about a protocol.
#[derive(Debug)]
pub(super) enum Recognised<P> {
    /// It is another one.
    No,
    /// It is this one.
    Yes(P),
}

impl<P> Recognised<P> {
    /// The same of whatever reads a connection.
    fn map<Q>(self, parser: impl FnOnce(P) -> Q) -> Recognised<Q> {
        match self {
            Self::No => Recognised::No,
            Self::Yes(found) => Recognised::Yes(parser(found)),
        }
    }
}

/// Makes [`Parser`] of a list of protocols, the macro `each!`, which does the same with whatever parser it is, and
/// [`Parser::recognise`].
macro_rules! parsers {
    ($d:tt $($(#[$attribute:meta])* $name:ident: $session:ty,)+) => {
        /// A connection's protocol.
        #[derive(Debug)]
        #[cfg_attr(test, expect(clippy::large_enum_variant, reason = "the small ones are made for the tests"))]
        pub(super) enum Parser { $($(#[$attribute])* $name($session),)+ }

        impl Parser {
            /// The first protocol of the list that recognises these bytes.
            pub(super) fn recognise(first: &FirstBytes<'_>) -> Recognised<Self> {
                $($(#[$attribute])* if let found @ Recognised::Yes(_) = <$session>::recognise(first) {
                    return found.map(Self::$name);
                })+
                Recognised::No
            }
        }

        macro_rules! each {
            ($d parser:expr, $d inner:ident => $d do:expr) => {
                match $d parser { $($(#[$attribute])* $crate::protocol::parser::Parser::$name($d inner) => $d do,)+ }
            };
        }
    };
}

parsers! { $
    Http1: http1::Session,
    #[cfg(test)]
    Mux: super::mux::Session,
    #[cfg(test)]
    Toy: super::toy::Session,
}

pub(super) use each;
