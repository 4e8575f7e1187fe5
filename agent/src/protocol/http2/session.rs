//! Gives each frame to its stream, and reports the exchanges.

use super::{
    PREFACE,
    blocks::Block,
    frame::{self, Header, Kind},
    head::Head,
    hpack::Decoder,
    reader::Reader,
    stream::{Stream, Streams},
};
use crate::{
    event::{Direction, Timestamp},
    protocol::{Begin, Context, ExchangeId, Incomplete, Ordinal, Origin, Outcome, Part, Role, Shape},
    stream::Cursor,
};

/// Bytes of what a peer has inserted that are remembered at most, of each direction.
const WINDOW: usize = 64 << 10;

/// A connection that speaks HTTP/2.
#[derive(Debug)]
pub(in crate::protocol) struct Session {
    /// It was counted.
    pub(super) counted: bool,
    /// The direction of requests. `None`: the connection was upgraded, and the preface will say it.
    pub(super) client: Option<Direction>,
    pub(super) directions: Box<[Half; 2]>,
    pub(super) streams: Streams,
    /// The highest number of a stream that the client has begun.
    last: u32,
    pub(super) next: Ordinal,
    /// The client has sent its last byte.
    pub(super) client_finished: bool,
    pub(super) head: Box<Head>,
}

/// What is known of one direction.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) reader: Reader,
    pub(super) decoder: Decoder,
    /// The header block that is not whole yet.
    pub(super) block: Option<Block>,
}

impl Half {
    fn new(preface: usize) -> Self {
        Self { reader: Reader::new(preface), decoder: Decoder::new(true, WINDOW), block: None }
    }
}

impl Session {
    /// `rest`: octets of the client's preface that are still to come.
    pub(super) fn new(client: Option<Direction>, rest: usize) -> Self {
        let half = |direction| Half::new(if client == Some(direction) { rest } else { 0 });
        Self {
            counted: false,
            client,
            directions: Box::new(Direction::BOTH.map(half)),
            streams: Streams::default(),
            last: 0,
            next: 0,
            client_finished: false,
            head: Box::default(),
        }
    }

    pub(super) const fn half(&mut self, direction: Direction) -> &mut Half {
        &mut self.directions[direction.index()]
    }

    pub(super) fn exchange(&self, frame: Header) -> Option<Ordinal> {
        match frame.kind {
            Kind::Data | Kind::Headers | Kind::Continuation => self.streams.ordinal(frame.stream),
            _ => None,
        }
    }

    /// A frame begins.
    pub(super) fn frame_begins(
        &mut self,
        direction: Direction,
        header: Header,
        origin: Origin,
        next: u64,
        cx: &mut Context<'_>,
    ) {
        if header.kind == Kind::Headers && self.client == Some(direction) && header.stream > self.last {
            self.request_begins(direction, header.stream, origin, cx);
        }
        let part = Part { direction, range: origin.position..next, exchange: self.exchange(header) };
        cx.out.report.part(cx.stream, &part);
    }

    fn request_begins(&mut self, direction: Direction, number: u32, origin: Origin, cx: &mut Context<'_>) {
        self.last = number;
        if self.streams.len() >= cx.limits.open_streams {
            cx.out.counters.streams_not_followed += 1;
            return;
        }
        let ordinal = self.next;
        self.next += 1;
        self.streams.add(Stream::new(number, ordinal));
        let begin = Begin {
            role: Role::of_request(direction),
            shape: Shape::RequestReply,
            origin,
            multiplexed: true,
            other_position: cx.other_position,
        };
        cx.out.report.begin(ExchangeId::new(cx.stream, ordinal), &begin);
    }

    /// A part of a payload has passed.
    pub(super) fn payload(
        &mut self,
        direction: Direction,
        header: Header,
        (from, length): (u64, u32),
        cx: &mut Context<'_>,
    ) {
        let range = from..from + u64::from(length);
        let part = Part { direction, range, exchange: self.exchange(header) };
        cx.out.report.part(cx.stream, &part);
        self.count_data(direction, header, u64::from(length));
    }

    pub(super) fn count_data(&mut self, direction: Direction, header: Header, length: u64) {
        let from_client = self.client == Some(direction);
        if header.kind != Kind::Data {
            return;
        }
        let Some(stream) = self.streams.get(header.stream) else { return };
        let body = if from_client { &mut stream.request_body } else { &mut stream.response_body };
        *body += length;
    }

    /// A frame is over. `payload` lies in the transfer, or was kept.
    pub(super) fn frame_over(
        &mut self,
        direction: Direction,
        (header, origin): (Header, Origin),
        payload: Option<&[u8]>,
        missed: u64,
        at: Timestamp,
        cx: &mut Context<'_>,
    ) {
        match header.kind {
            Kind::Data if header.ends_stream() => self.half_ended(direction, header.stream, at, cx),
            Kind::Headers | Kind::PushPromise => {
                self.block_begins(direction, (header, origin), payload, missed, at, cx);
            }
            Kind::Continuation => self.block_goes_on(direction, header, payload, missed, at, cx),
            Kind::RstStream => {
                let code = self.octets(direction, payload, 0);
                self.reset(direction, header.stream, code, at, cx);
            }
            Kind::GoAway => {
                let last = self.octets(direction, payload, 0).map(|last| last & 0x7fff_ffff);
                self.going_away(direction, last, at, cx);
            }
            _ => {}
        }
    }

    /// A number of four octets in a payload.
    fn octets(&self, direction: Direction, payload: Option<&[u8]>, from: usize) -> Option<u32> {
        let payload = payload.unwrap_or(self.directions[direction.index()].reader.kept());
        payload.get(from..)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
    }

    /// One side has sent its last byte on a stream.
    pub(super) fn half_ended(
        &mut self,
        direction: Direction,
        number: u32,
        at: Timestamp,
        cx: &mut Context<'_>,
    ) {
        let from_client = self.client == Some(direction);
        let Some(stream) = self.streams.get(number) else { return };
        let end = if from_client { &mut stream.request_end } else { &mut stream.response_end };
        end.get_or_insert(at);
        if stream.is_over() {
            self.end(number, Outcome::Complete, at, cx);
        }
    }

    fn end(&mut self, number: u32, outcome: Outcome, at: Timestamp, cx: &mut Context<'_>) {
        let Some(stream) = self.streams.remove(number) else { return };
        Self::report_end(&stream, outcome, at, cx);
    }

    fn report_end(stream: &Stream, outcome: Outcome, at: Timestamp, cx: &mut Context<'_>) {
        let id = ExchangeId::new(cx.stream, stream.ordinal);
        // A server need not read the request to its end.
        let outcome = if stream.response_end.is_some() { Outcome::Complete } else { outcome };
        cx.out.counters.exchanges_lost += u64::from(outcome == Outcome::Lost);
        cx.out.report.end(id, at, &stream.end(outcome));
    }

    /// RST_STREAM (section 6.4).
    fn reset(
        &mut self,
        direction: Direction,
        number: u32,
        code: Option<u32>,
        at: Timestamp,
        cx: &mut Context<'_>,
    ) {
        let outcome = if self.client == Some(direction) {
            Outcome::ClientAborted(None)
        } else {
            Outcome::Reset(code.and_then(frame::error_name).unwrap_or(UNKNOWN_CODE))
        };
        self.end(number, outcome, at, cx);
    }

    /// GOAWAY (section 6.8): a server will not process streams with a higher number.
    fn going_away(&mut self, direction: Direction, last: Option<u32>, at: Timestamp, cx: &mut Context<'_>) {
        if self.client == Some(direction) {
            return;
        }
        let Some(last) = last else { return };
        for stream in self.streams.above(last) {
            Self::report_end(&stream, Outcome::Reset("REFUSED_STREAM"), at, cx);
        }
    }

    pub(super) fn end_all(&mut self, outcome: Outcome, at: Timestamp, cx: &mut Context<'_>) {
        for stream in self.streams.all() {
            Self::report_end(&stream, outcome, at, cx);
        }
    }

    /// Frames of this direction cannot be read any more.
    #[cold]
    pub(super) fn lose(
        &mut self,
        direction: Direction,
        missed: u64,
        why: Incomplete,
        at: Timestamp,
        cx: &mut Context<'_>,
    ) {
        let half = self.half(direction);
        half.reader.lose();
        half.decoder.lose();
        half.block = None;
        cx.out.counters.framing_lost += 1;
        for mut stream in self.streams.all() {
            stream.missing += missed;
            stream.incomplete.add(why);
            Self::report_end(&stream, Outcome::Lost, at, cx);
        }
    }

    /// How an exchange ends whose response was not complete when the peer or an error ended the connection. Seen from the server
    /// an error or an earlier FIN says that the client went away.
    pub(super) fn cut_off(&self, errno: Option<u16>) -> Outcome {
        let aborted = self.client == Some(Direction::In) && (errno.is_some() || self.client_finished);
        if aborted { Outcome::ClientAborted(errno) } else { Outcome::ConnectionClosed(errno) }
    }

    /// The direction of the preface, after an upgrade.
    pub(super) fn look_for_preface(&mut self, direction: Direction, cursor: &Cursor<'_>) {
        if self.client.is_none() && cursor.front().starts_with(&PREFACE[..4]) {
            self.client = Some(direction);
            *self.half(direction) = Half::new(PREFACE.len());
        }
    }
}

/// An error code without a name.
const UNKNOWN_CODE: &str = "UNKNOWN_ERROR_CODE";
