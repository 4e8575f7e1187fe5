//! Who talks, and the calls of one exchange of theirs.

use wirespan::event::{Direction, Thread};

use super::heads::Bytes;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mix {
    /// A server, and requests with the shortest of heads
    Plain,
    /// A server, and requests and responses as browsers and sites write them: chunked, long, short, without a body
    Browser,
    /// A client, seen from its side
    Client,
    /// A server that makes a call for each request
    Gateway,
    /// All of them in turn
    Mixed,
}

impl Mix {
    /// What the slot of this index does.
    pub(super) const fn kind(self, index: usize) -> Kind {
        match self {
            Self::Plain => Kind::Plain,
            Self::Browser => Kind::Browser,
            Self::Client => Kind::Client,
            Self::Gateway => Kind::Gateway,
            Self::Mixed => KINDS[index % KINDS.len()],
        }
    }
}

/// What a slot, that is one connection or a gateway's two, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Browser,
    Client,
    Gateway,
}

pub(super) const KINDS: [Kind; 4] = [Kind::Plain, Kind::Browser, Kind::Client, Kind::Gateway];

impl Kind {
    pub(super) const fn pid(self) -> u32 {
        1_000 * (self as u32 + 1)
    }

    pub(super) const fn thread(self, worker: usize) -> Thread {
        Thread { pid: self.pid(), tid: self.pid() + 1 + worker as u32 }
    }
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) connection: usize,
    pub(super) direction: Direction,
    pub(super) bytes: Bytes,
    pub(super) lost: bool,
}

/// The calls of one exchange, in order; `below` draws a number below another.
pub(super) fn exchange(kind: Kind, mut below: impl FnMut(usize) -> usize) -> Vec<Call> {
    use Bytes::*;
    use Direction::{In, Out};
    let calls: &[(usize, Direction, Bytes)] = match kind {
        Kind::Plain if below(50) == 0 => {
            &[(0, In, TwoPlainRequests), (0, Out, PlainResponse), (0, Out, PlainResponse)]
        }
        Kind::Plain => &[(0, In, PlainRequest), (0, Out, PlainResponse)],
        Kind::Browser => match below(4) {
            0 => &[
                (0, In, BrowserRequest),
                (0, Out, BrowserHead("200 OK", "Transfer-Encoding: chunked\r\n")),
                (0, Out, Chunk),
                (0, Out, Chunk),
                (0, Out, LastChunk),
            ],
            1 => &[
                (0, In, BrowserRequest),
                (0, Out, BrowserHead("200 OK", "Content-Length: 20000\r\n")),
                (0, Out, Body(20_000)),
            ],
            2 => &[(0, In, BrowserRequest), (0, Out, BrowserHead("304 Not Modified", ""))],
            _ => &[(0, In, BrowserRequest), (0, Out, BrowserPage)],
        },
        Kind::Client => &[(0, Out, CallRequest), (0, In, CallResponse)],
        Kind::Gateway => {
            &[(0, In, PlainRequest), (1, Out, CallRequest), (1, In, CallResponse), (0, Out, PlainResponse)]
        }
    };
    let call = |&(connection, direction, bytes)| Call { connection, direction, bytes, lost: false };
    calls.iter().map(call).collect()
}
