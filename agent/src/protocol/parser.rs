//! What a protocol must do to be read here: the [`Protocol`] trait, and [`Parser`], which is one of all that are known. Adding a
//! protocol is a folder, its `mod` line, and a line in the list at the end of this file.

use super::{Context, Ordinal, http::UpgradeToken, http1, http2, mask::Mask};
use crate::{
    event::{Direction, Timestamp},
    stream::{Cursor, Need},
};

/// Reads one protocol from both directions of a connection. [`stream::Parser`](crate::stream::Parser) says what each method
/// must do.
pub(super) trait Protocol: Sized {
    /// Whether a connection of this protocol begins so, and then a parser that reads on from the first byte that has not passed.
    /// HTTP/1 recognises nothing: it is looked for wherever no other protocol is recognised.
    fn recognise(first: &FirstBytes<'_>) -> Recognised<Self>;

    /// A parser of what follows the upgrade of an HTTP/1 connection, if it is to this protocol.
    fn upgraded(_to: UpgradeToken) -> Option<Self> {
        None
    }

    /// What `--redact` may keep of a connection that was just recognised; `next`: the positions from which on it is read. Without
    /// this nothing is kept.
    fn mask(&self, _next: [u64; 2]) -> Mask {
        Mask::Whole
    }

    /// The number of the next exchange on the connection.
    fn next_ordinal(&self) -> Ordinal;

    /// Another parser has numbered exchanges of the connection up to this one.
    fn go_on_from(&mut self, next: Ordinal);

    fn feed(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Read;
    fn gap(&mut self, direction: Direction, length: u64, at: Timestamp, cx: &mut Context<'_>);
    fn half_closed(&mut self, direction: Direction, at: Timestamp, cx: &mut Context<'_>);
    fn local_closed(&mut self, peer_finished: bool, at: Timestamp, cx: &mut Context<'_>);
    fn closed(&mut self, errno: u16, at: Timestamp, cx: &mut Context<'_>);
    fn finish(&mut self, at: Timestamp, cx: &mut Context<'_>);

    fn awaits_beginning(&self, _direction: Direction) -> bool {
        false
    }

    fn begins(&mut self, _direction: Direction, _from_start: bool) {}

    fn need(&self, direction: Direction) -> Need;
    fn buffered(&self) -> usize;

    /// How sure it is that the connection speaks this protocol.
    fn recognition(&self) -> Recognition;

    /// Whether a message has begun that parses, since this was last asked. Of use where a parser can meet what it does not know
    /// ([`Read::Unknown`]).
    fn take_recognised(&mut self) -> bool {
        false
    }

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
    /// From here on the connection carries another protocol: this one, if it is known here.
    Upgraded(UpgradeToken),
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

/// The first bytes of a direction, as far as they have come.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstBytes<'a> {
    pub(super) direction: Direction,
    pub(super) bytes: &'a [u8],
    /// So many of them have passed in earlier transfers, and nobody reads them again.
    pub(super) passed: usize,
    /// They are the first of their direction. Otherwise they are the first of a transfer of which the parser at hand knows
    /// nothing.
    pub(super) from_start: bool,
}

impl FirstBytes<'_> {
    /// Whether they begin with `preface`; `parser` is made when they do.
    pub(super) fn begin_with<P>(&self, preface: &[u8], parser: impl FnOnce() -> P) -> Recognised<P> {
        if self.bytes.starts_with(preface) {
            return Recognised::Yes(parser());
        }
        if self.from_start && preface.starts_with(self.bytes) { Recognised::NotYet } else { Recognised::No }
    }
}

/// What the first bytes of a direction say about a protocol.
#[derive(Debug)]
pub(super) enum Recognised<P> {
    /// It is another one.
    No,
    /// The bytes that follow decide.
    NotYet,
    /// It is this one.
    Yes(P),
}

/// Makes [`Parser`] of a list of protocols, the macro `each!`, which does the same with whatever parser it is, and
/// what asks each of
/// them whether a connection is its own.
macro_rules! parsers {
    ($d:tt $($(#[$attribute:meta])* $name:ident: $session:ty,)+) => {
        /// A connection's protocol.
        #[derive(Debug)]
        #[expect(clippy::large_enum_variant, reason = "nearly every connection speaks the largest, HTTP/1")]
        pub(super) enum Parser { $($(#[$attribute])* $name($session),)+ }

        impl Parser {
            /// The first protocol of the list that recognises these bytes.
            pub(super) fn recognise(first: &FirstBytes<'_>) -> Recognised<Self> {
                let mut open = false;
                $($(#[$attribute])* match <$session>::recognise(first) {
                    Recognised::Yes(found) => return Recognised::Yes(Self::$name(found)),
                    Recognised::NotYet => open = true,
                    Recognised::No => {}
                })+
                if open { Recognised::NotYet } else { Recognised::No }
            }

            /// The parser of what follows this upgrade.
            pub(super) fn upgraded(to: UpgradeToken) -> Option<Self> {
                $($(#[$attribute])* if let Some(found) = <$session>::upgraded(to) {
                    return Some(Self::$name(found));
                })+
                None
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
    Http2: http2::Session,
    #[cfg(test)]
    Mux: super::mux::Session,
    #[cfg(test)]
    Toy: super::toy::Session,
}

pub(super) use each;
