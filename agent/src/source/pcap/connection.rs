//! One connection of the capture: its handshake, its client, its two directions, its end (RFC 9293,
//! section 3.5 on).

use std::net::SocketAddr;

use super::{
    Options, Report,
    endpoint::{Endpoint, Flow},
    half::{Block, Half, PASSED_WAIT},
    piece::{Outlet, Piece, Room},
    reset::Reset,
    tcp::Segment,
};
use crate::event::{Event, Opening, Timestamp};

/// What every step needs.
pub(super) struct Context<'a> {
    pub(super) options: &'a Options,
    pub(super) room: &'a mut Room,
    pub(super) report: &'a mut Report,
    pub(super) sink: &'a mut dyn FnMut(&Event<'_>),
}

/// Before anything was read: how far, in bytes, a segment may lie before those of its direction
/// that were captured earlier.
const EARLIER: i64 = 1024 * 1024;
/// Nanoseconds after the first segment within which its SYN may be captured.
const LATE_HANDSHAKE: u64 = 1_000_000_000;
/// A direction whose beginning is unknown holds so many bytes back.
const ENOUGH: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The pipeline knows nothing of it yet.
    New,
    Open,
    /// Kept for a while to tell late segments from a new connection.
    Over,
}

/// A connection. `[T; 2]` is by side: side 0 is the end with the lower address.
#[derive(Debug)]
pub(super) struct Connection {
    ends: [SocketAddr; 2],
    pub(super) halves: [Half; 2],
    /// The side that is the client, once known.
    client: Option<usize>,
    /// Sides that sent a SYN without an ACK.
    sent_syn: [bool; 2],
    pub(super) phase: Phase,
    /// The ends that the pipeline knows, the client's first.
    endpoints: [Option<Endpoint>; 2],
    /// Sides whose FIN was reported.
    half_closed: [bool; 2],
    /// RSTs by their senders, until it is known whether they hold.
    pub(super) resets: [Option<Reset>; 2],
    /// When its first segment was captured, and its first data.
    begun: Option<Timestamp>,
    data_at: Option<Timestamp>,
    pub(super) last: Timestamp,
    /// It is on the list of connections that wait for something.
    pub(super) listed: bool,
}

impl Connection {
    /// A connection that begins with this SYN or SYN with ACK.
    pub(super) fn with_handshake(ends: [SocketAddr; 2]) -> Self {
        Self {
            ends,
            halves: Default::default(),
            client: None,
            sent_syn: [false; 2],
            phase: Phase::New,
            endpoints: [None; 2],
            half_closed: [false; 2],
            resets: [None; 2],
            begun: None,
            data_at: None,
            last: Timestamp::default(),
            listed: false,
        }
    }

    /// A connection without handshake in the capture. This segment of `side` begins with a message,
    /// which says who is the client; the connection is known from here on. Earlier segments count
    /// as from before the capture.
    pub(super) fn without_handshake(
        ends: [SocketAddr; 2],
        side: usize,
        segment: &Segment<'_>,
        opening: Opening,
    ) -> Self {
        let mut connection = Self::with_handshake(ends);
        connection.client = Some(client(side, opening));
        connection.halves[side] = Half::from(segment.first_byte());
        connection
    }

    /// Whether this segment of `side` belongs to a later connection between the same ends.
    pub(super) fn superseded(&self, side: usize, segment: &Segment<'_>, options: &Options) -> bool {
        let half = &self.halves[side];
        if segment.syn {
            let other_start = half.base().is_some_and(|base| base != segment.first_byte());
            if self.is_late_handshake(side, segment) {
                return false;
            }
            // Before any data a server may choose another number, as with SYN cookies.
            return other_start && (segment.acknowledgment.is_none() || self.phase != Phase::New);
        }
        let strange = match half.ahead(segment.first_byte()) {
            Some(ahead) => self.phase == Phase::Over && (ahead > 0 || !half.plausible(segment.first_byte())),
            None => half.base().is_some(),
        };
        strange && (options.opening)(segment.bytes).is_some()
    }

    /// Whether this SYN was captured after the segments that follow it: it lies where a direction
    /// may begin whose first byte was not certain.
    fn is_late_handshake(&self, side: usize, segment: &Segment<'_>) -> bool {
        let half = &self.halves[side];
        let before = half.position(segment.first_byte()).is_some_and(|at| (-EARLIER..=0).contains(&at));
        let soon = self.begun.is_some_and(|begun| segment.at.since(begun) <= LATE_HANDSHAKE);
        let other = &self.halves[1 - side];
        let fits = |ack| {
            other.base().is_none() || other.position(ack).is_some_and(|at| (-EARLIER..=0).contains(&at))
        };
        !half.starts_whole() && before && soon && segment.acknowledgment.is_none_or(fits)
    }

    /// The connection has ended: a new handshake between the same ends proves it.
    pub(super) fn end(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        self.take_stand(at, cx);
        self.close(at, None, cx);
    }

    /// Nothing more comes that could show where it begins, or whether a RST holds.
    fn take_stand(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        self.reset_holds(at, cx);
        self.open(at, None, cx);
        self.open_without_peer(at, cx);
        self.settle(at, None, cx);
    }

    /// The capture ends, or nothing more is read of it. Everything that waits is reported; the
    /// connection stays open for the pipeline.
    pub(super) fn forget(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        self.take_stand(at, cx);
        self.finish(cx);
        self.release(cx.room);
    }

    /// Takes a segment of `side`; true while something waits. `now` is the latest time of the
    /// capture so far. Packets need not be sorted, and time that goes forth and back is no waiting.
    pub(super) fn segment(
        &mut self,
        side: usize,
        segment: &Segment<'_>,
        now: Timestamp,
        cx: &mut Context<'_>,
    ) -> bool {
        self.last = self.last.max(segment.at);
        self.begun.get_or_insert(now);
        self.ignore_reset(side, segment, cx.report);
        if segment.syn {
            self.handshake(side, segment, cx.room);
        }
        let after = self.acknowledgment(side, segment, cx.room);
        self.payload(side, segment, after, cx);
        if segment.rst {
            self.reset(side, segment, cx);
        }
        self.wait(now, cx)
    }

    /// Gives up what has waited long enough; true while something waits.
    pub(super) fn wait(&mut self, now: Timestamp, cx: &mut Context<'_>) -> bool {
        if self.reset_is_due(now) {
            self.reset_holds(now, cx);
        }
        self.open(now, Some(now), cx);
        let waits = self.settle(now, Some(now), cx);
        self.finish(cx);
        match self.phase {
            Phase::New => self.is_frozen() || self.halves.iter().any(Half::readable),
            Phase::Open => waits,
            Phase::Over => false,
        }
    }

    /// Abandons what waits.
    pub(super) fn release(&mut self, room: &mut Room) {
        for half in &mut self.halves {
            half.release(room);
        }
    }

    /// A SYN: where its side begins, and who connects. When both sides have sent one (RFC 9293,
    /// figure 7), the first message decides who is the client.
    fn handshake(&mut self, side: usize, segment: &Segment<'_>, room: &mut Room) {
        if self.phase != Phase::New {
            return;
        }
        self.begin(side, segment.first_byte(), true, room);
        let Some(acknowledged) = segment.acknowledgment else {
            self.sent_syn[side] = true;
            self.client = if self.sent_syn == [true; 2] { None } else { Some(side) };
            return;
        };
        let other = 1 - side;
        if !self.halves[other].starts_whole() {
            self.begin(other, acknowledged, true, room);
        }
        if self.sent_syn != [true; 2] && !self.sent_syn[side] {
            self.client = Some(other);
        }
    }

    /// Fixes where a side begins, or moves it.
    fn begin(&mut self, side: usize, base: u32, from_start: bool, room: &mut Room) {
        let half = &mut self.halves[side];
        if half.base() == Some(base) && (half.starts_whole() || !from_start) {
            return;
        }
        let moved = half.begin(base, from_start, room);
        self.halves[1 - side].other_began(moved);
    }

    /// Notes how far the sender had the other direction; 0 when that is not known.
    fn acknowledgment(&mut self, side: usize, segment: &Segment<'_>, room: &mut Room) -> u64 {
        // The acknowledgment number of a RST may be anything.
        let Some(acknowledged) = segment.acknowledgment.filter(|_| !segment.rst) else { return 0 };
        if self.halves[side].base().is_some() && !self.halves[side].plausible(segment.first_byte()) {
            return 0;
        }
        if self.halves[1 - side].base().is_none() {
            self.begin(1 - side, acknowledged, false, room);
        }
        self.halves[1 - side].acknowledge(acknowledged, segment.at)
    }

    /// Nothing was read yet, and this segment lies before the assumed beginning. The direction
    /// begins with it, unless it is a retransmission from before the capture.
    fn begins_earlier(&self, side: usize, segment: &Segment<'_>, options: &Options) -> bool {
        let half = &self.halves[side];
        let earlier = half.position(segment.first_byte()).is_some_and(|at| (-EARLIER..0).contains(&at));
        let known = self.halves.iter().any(Half::starts_whole);
        let open = self.phase != Phase::New || half.starts_whole();
        !open && earlier && (known || (options.opening)(segment.bytes).is_some())
    }

    fn payload(&mut self, side: usize, segment: &Segment<'_>, after: u64, cx: &mut Context<'_>) {
        if self.phase == Phase::Over {
            cx.report.retransmitted_bytes += u64::from(segment.length);
            return;
        }
        // The payload of a RST is a diagnostic text (RFC 9293, section 3.10.7.3, RFC 1122, section
        // 4.2.2.12).
        if segment.rst || (segment.length == 0 && !segment.fin) {
            return;
        }
        if self.halves[side].base().is_none() || self.begins_earlier(side, segment, cx.options) {
            self.begin(side, segment.first_byte(), false, cx.room);
        }
        let Some(ahead) = self.halves[side].ahead(segment.first_byte()) else {
            cx.report.out_of_window += 1;
            return;
        };
        self.data_at = Some(self.data_at.map_or(segment.at, |at| at.min(segment.at)));
        if self.client.is_none() {
            self.client = (cx.options.opening)(segment.bytes).map(|opening| client(side, opening));
        }
        if segment.fin {
            let position = ahead + i64::from(segment.length);
            let after_reset = self.is_frozen();
            self.halves[side].finish(position, segment.at, after_reset, cx.report);
        }
        if self.phase == Phase::New && self.halves[side].held_cost() > ENOUGH {
            self.open(segment.at, None, cx);
        }
        cx.report.urgent_bytes += u64::from(segment.urgent.is_some());
        for part in segment.parts() {
            let reach = self.is_read().then(|| self.halves[1 - side].reach());
            let Some(ahead) = self.halves[side].ahead(part.first_byte()) else { return };
            self.on_half(side, cx, |half, other, to| half.insert(ahead, &part, after, reach, other, to));
        }
    }

    /// Whether the next bytes can be read now.
    fn is_read(&self) -> bool {
        self.phase == Phase::Open && !self.is_frozen()
    }

    /// Whether both sides' beginnings are known: by a SYN, or because no earlier segment has come
    /// for a while.
    fn is_settled(&self, now: Timestamp) -> bool {
        let waited = self.begun.is_none_or(|begun| now.since(begun) >= PASSED_WAIT);
        waited || self.halves.iter().all(Half::starts_whole)
    }

    /// Opens the connection for the pipeline once there is something to read and the client and
    /// both beginnings are known. `now` is the latest time; `None`: nothing more is waited for.
    pub(super) fn open(&mut self, at: Timestamp, now: Option<Timestamp>, cx: &mut Context<'_>) {
        let Some(client) = self.client.filter(|_| self.phase == Phase::New) else { return };
        if now.is_some_and(|now| self.is_frozen() || !self.is_settled(now)) {
            return;
        }
        let sides = [client, 1 - client];
        let [Some(first), Some(second)] = sides.map(|side| self.halves[side].base()) else { return };
        if !self.halves.iter().any(Half::readable) {
            return;
        }
        let flow = Flow {
            ends: sides.map(|side| self.ends[side]),
            bases: [first, second],
            from_start: sides.map(|side| self.halves[side].starts_whole()),
        };
        self.phase = Phase::Open;
        cx.report.connections += 1;
        cx.report.without_handshake += u64::from(flow.from_start != [true; 2]);
        for (place, endpoint) in self.endpoints.iter_mut().zip(Endpoint::of(cx.options.view, &flow)) {
            (cx.sink)(&endpoint.opened(self.data_at.unwrap_or(at), &flow));
            *place = Some(endpoint);
        }
    }

    /// A SYN with a request that got neither a response nor an acknowledgment: where the other side
    /// would have begun does not matter.
    fn open_without_peer(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        let Some(client) = self.client.filter(|_| self.phase == Phase::New) else { return };
        if self.halves[client].readable() && self.halves[1 - client].base().is_none() {
            self.begin(1 - client, 0, true, cx.room);
            self.open(at, None, cx);
        }
    }

    /// Reads everything that can be read, in both directions, and gives up what is due at `now`, or
    /// everything when that is `None`. True while something waits.
    pub(super) fn settle(&mut self, at: Timestamp, now: Option<Timestamp>, cx: &mut Context<'_>) -> bool {
        if !self.is_read() {
            return self.phase == Phase::Open;
        }
        loop {
            let mut moved = true;
            while moved {
                moved = false;
                for side in 0..2 {
                    let reach = self.halves[1 - side].reach();
                    moved |= self.on_half(side, cx, |half, other, to| half.drain(reach, other, to));
                }
            }
            let blocks = [0, 1].map(|side| self.halves[side].block());
            if blocks == [Block::Free; 2] {
                return false;
            }
            let Some(side) = self.next_to_release(blocks, at, now) else { return true };
            self.on_half(side, cx, |half, other, to| match blocks[side] {
                Block::Hole { end, .. } => half.give_up_for(end, other, to),
                Block::Behind | Block::Free => half.force(other, to),
            });
        }
    }

    /// The direction that need not wait any more: one with a hole that is due, an acknowledged hole
    /// first. When each direction only waits for the other, which real traffic never does, any of
    /// them.
    fn next_to_release(
        &mut self,
        blocks: [Block; 2],
        at: Timestamp,
        now: Option<Timestamp>,
    ) -> Option<usize> {
        let mut holes = 0;
        for wanted in [true, false] {
            for (side, block) in blocks.into_iter().enumerate() {
                let Block::Hole { acknowledged, .. } = block else { continue };
                holes += 1;
                if acknowledged == wanted
                    && (self.halves[side].due(acknowledged, now.unwrap_or(at)) || now.is_none())
                {
                    return Some(side);
                }
            }
        }
        if holes > 0 { None } else { blocks.iter().position(|block| *block == Block::Behind) }
    }

    /// Reports the FINs up to which everything was read, the earlier one first, and the end after
    /// both.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>) {
        if !self.is_read() {
            return;
        }
        let [first, second] = [0, 1].map(|side| self.halves[side].finished_at());
        for side in if first <= second { [0, 1] } else { [1, 0] } {
            if self.halves[side].finished() && !self.half_closed[side] {
                self.report_half_closed(side, cx);
            }
        }
        if self.half_closed == [true; 2] {
            self.close(first.max(second), None, cx);
        }
    }

    fn report_half_closed(&mut self, side: usize, cx: &mut Context<'_>) {
        self.half_closed[side] = true;
        let from_client = self.client == Some(side);
        let half = &self.halves[side];
        let (at, position) = (half.finished_at(), half.reported_next());
        let loss = Piece { position, length: 0, bytes: &[], at, after: 0, urgent: false };
        for endpoint in in_order(&self.endpoints, from_client) {
            if half.has_unreported_loss() {
                (cx.sink)(&endpoint.transfer(from_client, loss, half.lost()));
            }
            (cx.sink)(&endpoint.half_closed(at, from_client, position));
        }
    }

    /// The end, perhaps by a RST of the side `reset`.
    pub(super) fn close(&mut self, at: Timestamp, reset: Option<usize>, cx: &mut Context<'_>) {
        if self.phase != Phase::Open {
            return;
        }
        self.phase = Phase::Over;
        let client = self.client.unwrap_or_default();
        let sides = [client, 1 - client];
        let observed = sides.map(|side| self.halves[side].reported_next());
        let lost = sides.map(|side| self.halves[side].lost());
        for endpoint in self.endpoints.iter().flatten() {
            (cx.sink)(&endpoint.closed(at, observed, lost, reset.map(|side| side == client)));
        }
        self.release(cx.room);
    }

    /// Lets `act` work on one direction. Every end gets what it reads, the sender first.
    pub(super) fn on_half<T>(
        &mut self,
        side: usize,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut Half, &Half, &mut Outlet<'_>) -> T,
    ) -> T {
        let from_client = self.client == Some(side);
        let after_reset = self.is_frozen();
        let (endpoints, sink) = (&self.endpoints, &mut *cx.sink);
        let mut out = |piece: Piece<'_>, lost: u64| {
            for endpoint in in_order(endpoints, from_client) {
                sink(&endpoint.transfer(from_client, piece, lost));
            }
        };
        let mut to = Outlet { room: cx.room, report: cx.report, after_reset, out: &mut out };
        let [first, second] = &mut self.halves;
        let (own, other) = if side == 0 { (first, second) } else { (second, first) };
        act(own, other, &mut to)
    }
}

/// The sender's end first: it sends before the other receives.
fn in_order(endpoints: &[Option<Endpoint>; 2], from_client: bool) -> impl Iterator<Item = &Endpoint> {
    let order = if from_client { [0, 1] } else { [1, 0] };
    order.into_iter().filter_map(|index| endpoints[index].as_ref())
}

/// The side that sends the request is the client.
const fn client(side: usize, opening: Opening) -> usize {
    match opening {
        Opening::Request => side,
        Opening::Response => 1 - side,
    }
}
