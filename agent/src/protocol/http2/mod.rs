//! HTTP/2 (RFC 9113) is recognised and not read yet. For a while what the program sends is searched for the traces of OTLP/gRPC;
//! then the connection is opaque.

use super::{
    Context, detect,
    http::UpgradeToken,
    mask, otlp,
    parser::{FirstBytes, Protocol, Read, Recognised, Recognition},
};
use crate::{
    event::{Direction, Timestamp, Transfer},
    stream::{Cursor, Need},
};

/// How every client begins (section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that speaks HTTP/2.
#[derive(Debug)]
pub(super) struct Session {
    /// It was counted.
    counted: bool,
    /// The direction of the preface. `None`: the connection was upgraded, which no client of gRPC does.
    client: Option<Direction>,
    /// Bytes of the preface that are still to come.
    preface: usize,
    last_direction: Option<Direction>,
    /// Transfers so far, and those of them that turned the direction of the traffic.
    transfers: u32,
    turns: u32,
}

impl Session {
    const fn new(client: Option<Direction>, preface: usize) -> Self {
        Self { counted: false, client, preface, last_direction: None, transfers: 0, turns: 0 }
    }
}

impl Protocol for Session {
    fn recognise(first: &FirstBytes<'_>) -> Recognised<Self> {
        let rest = PREFACE.len().saturating_sub(first.passed);
        first.begin_with(PREFACE, || Self::new(Some(first.direction), rest))
    }

    fn mask(&self, next: [u64; 2]) -> mask::Mask {
        match self.client {
            Some(client) => {
                let end = next[client.index()] + self.preface as u64;
                mask::Mask::Http2(Mask { client, preface_end: end })
            }
            None => mask::Mask::Whole,
        }
    }

    fn upgraded(to: UpgradeToken) -> Option<Self> {
        (to == UpgradeToken::H2c).then(|| Self::new(None, 0))
    }

    fn feed(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Read {
        if !std::mem::replace(&mut self.counted, true) {
            cx.out.counters.connections_http2 += 1;
        }
        let Some(client) = self.client else { return Read::Opaque };
        if client == direction {
            cursor.parse(std::mem::take(&mut self.preface).min(cursor.front().len()));
        }
        if (client, direction) == (Direction::Out, Direction::Out) {
            detect::look_for_traces(cursor.thread.pid, cursor.front(), cx);
        }
        self.transfers += 1;
        self.turns += u32::from(self.last_direction != Some(direction));
        self.last_direction = Some(direction);
        // Its requests come after its settings; of what they are only one is of interest.
        if self.turns >= cx.limits.unknown_starts_late || self.transfers >= cx.limits.unknown_transfers {
            return Read::Opaque;
        }
        cursor.skip(u64::MAX);
        Read::Done
    }

    fn gap(&mut self, _: Direction, _: u64, _: Timestamp, _: &mut Context<'_>) {}

    fn half_closed(&mut self, _: Direction, _: Timestamp, _: &mut Context<'_>) {}

    fn local_closed(&mut self, _: bool, _: Timestamp, _: &mut Context<'_>) {}

    fn closed(&mut self, _: u16, _: Timestamp, _: &mut Context<'_>) {}

    fn finish(&mut self, _: Timestamp, _: &mut Context<'_>) {}

    fn awaits_beginning(&self, _: Direction) -> bool {
        false
    }

    fn begins(&mut self, _: Direction, _: bool) {}

    fn need(&self, _: Direction) -> Need {
        Need::ALL
    }

    fn buffered(&self) -> usize {
        0
    }

    fn recognition(&self) -> Recognition {
        Recognition { seen: true, mid_stream: false, understood: false }
    }

    fn take_recognised(&mut self) -> bool {
        false
    }

    fn give_up(&mut self, _: &mut Context<'_>) {}
}

/// Keeps the preface, and the path by which a program is recognised that exports traces.
#[derive(Debug)]
pub(super) struct Mask {
    client: Direction,
    /// Position after the preface.
    preface_end: u64,
}

impl Mask {
    /// Masks what was captured of a transfer: its first bytes and its last.
    pub(super) fn transfer(&self, transfer: &Transfer<'_>, head: &mut [u8], tail: &mut [u8]) {
        mask::hide(head);
        mask::hide(tail);
        if transfer.direction != self.client {
            return;
        }
        let preface = self.preface_end.saturating_sub(transfer.position);
        let preface = usize::try_from(preface).map_or(0, |length| length.min(head.len()));
        if PREFACE.ends_with(&transfer.head[..preface]) {
            head[..preface].copy_from_slice(&transfer.head[..preface]);
        }
        if self.client == Direction::Out {
            otlp::show(transfer.head, head);
        }
    }
}
