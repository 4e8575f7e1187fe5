//! Gives each frame to its stream, and reports the exchanges.

use super::{
    PREFACE,
    frame::{self, Header, Kind},
    grpc,
    head::Head,
    hpack::Decoder,
    reader::{Reader, Step},
    stream::{Stream, Streams},
};
use crate::{
    event::{Direction, Timestamp},
    protocol::{
        Begin, Context, ExchangeId, Incomplete, Operation, Ordinal, Origin, Outcome, Part, Progress, Reply,
        Role, Shape, detect,
        http::{RequestHead, ResponseHead, UpgradeToken, Version},
        mask, otlp,
        parser::{FirstBytes, Protocol, Read, Recognised, Recognition},
    },
    stream::{Cursor, Need},
};

/// Bytes of what a peer has inserted that are remembered at most, of each direction.
const WINDOW: usize = 64 << 10;

/// A connection that speaks HTTP/2.
#[derive(Debug)]
pub(in crate::protocol) struct Session {
    /// It was counted.
    counted: bool,
    /// The direction of requests. `None`: the connection was upgraded, and the preface will say it.
    client: Option<Direction>,
    directions: Box<[Half; 2]>,
    streams: Streams,
    /// The highest number of a stream that the client has begun.
    last: u32,
    next: Ordinal,
    /// The client has sent its last byte.
    client_finished: bool,
    head: Box<Head>,
}

/// What is known of one direction.
#[derive(Debug)]
struct Half {
    reader: Reader,
    decoder: Decoder,
    /// The header block that is not whole yet.
    block: Option<Block>,
}

/// A header block in several frames.
#[derive(Debug)]
struct Block {
    frame: Header,
    origin: Origin,
    bytes: Vec<u8>,
    missed: u64,
    prefix: [u8; 16],
}

/// What is known of a header block at its end.
struct Whole<'a> {
    frame: Header,
    origin: Origin,
    /// `None`: bytes of it are missing, or it is malformed.
    bytes: Option<&'a [u8]>,
    missed: u64,
    prefix: [u8; 16],
}

impl Half {
    fn new(preface: usize) -> Self {
        Self { reader: Reader::new(preface), decoder: Decoder::new(true, WINDOW), block: None }
    }
}

impl Session {
    /// `rest`: octets of the client's preface that are still to come.
    fn new(client: Option<Direction>, rest: usize) -> Self {
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

    const fn half(&mut self, direction: Direction) -> &mut Half {
        &mut self.directions[direction.index()]
    }

    fn exchange(&self, frame: Header) -> Option<Ordinal> {
        match frame.kind {
            Kind::Data | Kind::Headers | Kind::Continuation => self.streams.ordinal(frame.stream),
            _ => None,
        }
    }

    /// A frame begins.
    fn frame_begins(
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
    fn payload(
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

    fn count_data(&mut self, direction: Direction, header: Header, length: u64) {
        let from_client = self.client == Some(direction);
        if header.kind != Kind::Data {
            return;
        }
        let Some(stream) = self.streams.get(header.stream) else { return };
        let body = if from_client { &mut stream.request_body } else { &mut stream.response_body };
        *body += length;
    }

    /// A frame is over. `payload` lies in the transfer, or was kept.
    fn frame_over(
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

    fn block_begins(
        &mut self,
        direction: Direction,
        (frame, origin): (Header, Origin),
        payload: Option<&[u8]>,
        missed: u64,
        at: Timestamp,
        cx: &mut Context<'_>,
    ) {
        if let (Some(payload), true) = (payload, frame.ends_headers()) {
            // The usual case: one frame, in one transfer.
            let bytes = frame.fragment(payload);
            let whole = Whole { frame, origin, bytes, missed, prefix: prefix(payload) };
            return self.block_over(direction, &whole, at, cx);
        }
        let half = self.half(direction);
        let payload = payload.unwrap_or(half.reader.kept());
        let bytes = if missed == 0 { frame.fragment(payload) } else { None };
        let prefix = prefix(payload);
        let block = Block {
            frame,
            origin,
            bytes: bytes.unwrap_or_default().to_vec(),
            // What is malformed is not read either.
            missed: missed.max(u64::from(bytes.is_none())),
            prefix,
        };
        half.block = Some(block);
        if frame.ends_headers() {
            self.end_block(direction, at, cx);
        }
    }

    fn block_goes_on(
        &mut self,
        direction: Direction,
        frame: Header,
        payload: Option<&[u8]>,
        missed: u64,
        at: Timestamp,
        cx: &mut Context<'_>,
    ) {
        let most = cx.limits.head_bytes;
        let Half { reader, decoder, block } = self.half(direction);
        let Some(block) = block.as_mut().filter(|block| block.frame.stream == frame.stream) else {
            // Its beginning was lost.
            decoder.lose();
            return;
        };
        let payload = payload.unwrap_or(reader.kept());
        block.missed += missed;
        if block.bytes.len() + payload.len() > most {
            cx.out.counters.heads_too_large += u64::from(block.missed == 0);
            block.missed += payload.len() as u64;
        }
        if block.missed == 0 {
            block.bytes.extend_from_slice(payload);
        }
        if frame.ends_headers() {
            self.end_block(direction, at, cx);
        }
    }

    fn end_block(&mut self, direction: Direction, at: Timestamp, cx: &mut Context<'_>) {
        let Some(block) = self.half(direction).block.take() else { return };
        let Block { frame, origin, bytes, missed, prefix } = block;
        let bytes = (missed == 0).then_some(&*bytes);
        self.block_over(direction, &Whole { frame, origin, bytes, missed, prefix }, at, cx);
    }

    /// A header block is over: its fields are read, whatever becomes of them, since later blocks refer to them.
    fn block_over(&mut self, direction: Direction, block: &Whole<'_>, at: Timestamp, cx: &mut Context<'_>) {
        let Self { directions, head, .. } = self;
        let decoder = &mut directions[direction.index()].decoder;
        head.clear();
        let interest = &cx.out.interest;
        let read = block
            .bytes
            .is_some_and(|bytes| decoder.block(bytes, |field| head.field(field, interest)).is_ok());
        if !read {
            decoder.lose();
            cx.out.counters.heads_incomplete += 1;
        }
        cx.out.counters.fields_forgotten += decoder.take_forgotten();
        let unknown = head.is_unknown();
        if block.frame.kind == Kind::PushPromise {
            return;
        }
        let number = block.frame.stream;
        if let Some(stream) = self.streams.get(number) {
            if !read {
                stream.incomplete.add(if block.missed > 0 {
                    Incomplete::TRUNCATED
                } else {
                    Incomplete::MALFORMED
                });
                stream.missing += block.missed;
            } else if unknown {
                stream.incomplete.add(Incomplete::JOINED_MID_STREAM);
            }
            if self.client == Some(direction) {
                self.request_fields(number, read, block, cx);
            } else {
                self.response_fields(number, read, block, cx);
            }
        }
        if block.frame.ends_stream() {
            self.half_ended(direction, number, at, cx);
        }
    }

    /// The head of a request, or its trailers.
    fn request_fields(&mut self, number: u32, read: bool, block: &Whole<'_>, cx: &mut Context<'_>) {
        let Some(stream) = self.streams.get(number) else { return };
        if std::mem::replace(&mut stream.described, true) {
            return;
        }
        let id = ExchangeId::new(cx.stream, stream.ordinal);
        if let Some(rpc) = self.head.rpc().filter(|_| read) {
            stream.grpc = true;
            if self.client == Some(Direction::Out) && rpc.method == otlp::GRPC_PATH.get(1..) {
                cx.out.report.exports_traces(block.origin.thread.pid);
            }
            cx.out.report.described(id, Operation::Rpc(rpc));
            return;
        }
        let head = if read {
            self.head.request(block.prefix)
        } else {
            let (version, prefix) = (Version::Http2, block.prefix);
            RequestHead { version, prefix, incomplete: true, ..RequestHead::default() }
        };
        if self.client == Some(Direction::Out) && head.target == otlp::GRPC_PATH {
            cx.out.report.exports_traces(block.origin.thread.pid);
        }
        cx.out.report.described(id, Operation::Http(&head));
    }

    /// The head of a response, an interim one included, or its trailers.
    fn response_fields(&mut self, number: u32, read: bool, block: &Whole<'_>, cx: &mut Context<'_>) {
        let status = self.head.status().unwrap_or_default();
        let grpc_status = self.head.grpc_status();
        let from_server = self.client == Some(Direction::In);
        let Some(stream) = self.streams.get(number) else { return };
        let id = ExchangeId::new(cx.stream, stream.ordinal);
        if stream.answered {
            if let Some(code) = grpc_status.filter(|_| stream.grpc) {
                cx.out.report.status(id, grpc::status(code, from_server));
            }
            return;
        }
        let interim = (100..200).contains(&status);
        stream.answered = !interim;
        let progress = if interim { Progress::Interim } else { Progress::Final };
        if stream.grpc {
            // Trailers-only has the status at once; otherwise the trailers will.
            let status = match grpc_status {
                Some(code) => grpc::status(code, from_server),
                None => grpc::without_status(status),
            };
            return cx.out.report.reply(id, &block.origin, progress, Reply::Status(status));
        }
        let head = ResponseHead { status, version: Version::Http2, head_size: None, incomplete: !read };
        cx.out.report.reply(id, &block.origin, progress, Reply::Http(&head));
    }

    /// One side has sent its last byte on a stream.
    fn half_ended(&mut self, direction: Direction, number: u32, at: Timestamp, cx: &mut Context<'_>) {
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

    fn end_all(&mut self, outcome: Outcome, at: Timestamp, cx: &mut Context<'_>) {
        for stream in self.streams.all() {
            Self::report_end(&stream, outcome, at, cx);
        }
    }

    /// Frames of this direction cannot be read any more.
    #[cold]
    fn lose(
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
    fn cut_off(&self, errno: Option<u16>) -> Outcome {
        let aborted = self.client == Some(Direction::In) && (errno.is_some() || self.client_finished);
        if aborted { Outcome::ClientAborted(errno) } else { Outcome::ConnectionClosed(errno) }
    }

    /// The direction of the preface, after an upgrade.
    fn look_for_preface(&mut self, direction: Direction, cursor: &Cursor<'_>) {
        if self.client.is_none() && cursor.front().starts_with(&PREFACE[..4]) {
            self.client = Some(direction);
            *self.half(direction) = Half::new(PREFACE.len());
        }
    }
}

/// An error code without a name.
const UNKNOWN_CODE: &str = "UNKNOWN_ERROR_CODE";

/// Whether a server has spoken first (section 3.4): a SETTINGS frame with at most 42 settings, of which there are 10 today.
fn begins_as_server(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, length, 4, 0, 0, 0, 0, 0, ..] if length % 6 == 0)
}

/// The first bytes of a block, the rest zeros.
fn prefix(block: &[u8]) -> [u8; 16] {
    let mut prefix = [0; 16];
    let length = block.len().min(prefix.len());
    prefix[..length].copy_from_slice(&block[..length]);
    prefix
}

impl Protocol for Session {
    fn recognise(first: &FirstBytes<'_>) -> Recognised<Self> {
        if first.from_start && first.passed == 0 && begins_as_server(first.bytes) {
            return Recognised::Yes(Self::new(Some(first.direction.reverse()), PREFACE.len()));
        }
        let rest = PREFACE.len().saturating_sub(first.passed);
        first.begin_with(PREFACE, || Self::new(Some(first.direction), rest))
    }

    fn mask(&self, next: [u64; 2]) -> mask::Mask {
        let Some(client) = self.client else { return mask::Mask::Whole };
        let rest = self.directions[client.index()].reader.preface_left();
        mask::Mask::Http2(super::Mask { client, preface_end: next[client.index()] + rest as u64 })
    }

    fn upgraded(to: UpgradeToken) -> Option<Self> {
        (to == UpgradeToken::H2c).then(|| Self::new(None, 0))
    }

    fn next_ordinal(&self) -> Ordinal {
        self.next
    }

    fn go_on_from(&mut self, next: Ordinal) {
        self.next = next;
    }

    fn feed(&mut self, direction: Direction, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Read {
        if !std::mem::replace(&mut self.counted, true) {
            cx.out.counters.connections_http2 += 1;
        }
        self.look_for_preface(direction, cursor);
        let (at, most) = (cursor.at, cx.limits.head_bytes);
        let sent = cursor.front();
        loop {
            match self.half(direction).reader.step(cursor, most) {
                Step::Done => {
                    // Frames that cannot be read may still have the path of OTLP, as those of a redacted log do.
                    if (self.client, direction) == (Some(Direction::Out), Direction::Out)
                        && self.half(direction).reader.is_lost()
                    {
                        detect::look_for_traces(cursor.thread.pid, sent, cx);
                    }
                    return Read::Done;
                }
                Step::Found => {}
                Step::Preface { from } => {
                    let part = Part { direction, range: from..cursor.position, exchange: None };
                    cx.out.report.part(cx.stream, &part);
                }
                Step::Header { header, origin } => {
                    self.frame_begins(direction, header, origin, cursor.position, cx);
                }
                Step::Payload { header, from, length } => {
                    self.payload(direction, header, (from, length), cx);
                }
                Step::Frame { header, origin, payload, missed } => {
                    if let Some(payload) = payload {
                        let length = payload.len() as u64;
                        let range = cursor.position - length..cursor.position;
                        let part = Part { direction, range, exchange: self.exchange(header) };
                        cx.out.report.part(cx.stream, &part);
                    }
                    self.frame_over(direction, (header, origin), payload, missed, at, cx);
                }
                Step::Lost { missed } => {
                    let why = if missed > 0 { Incomplete::TRUNCATED } else { Incomplete::MALFORMED };
                    self.lose(direction, missed, why, at, cx);
                }
            }
        }
    }

    fn gap(&mut self, direction: Direction, length: u64, at: Timestamp, cx: &mut Context<'_>) {
        let reader = &mut self.half(direction).reader;
        let current = reader.current();
        if !reader.gap(length) {
            cx.out.counters.gaps += 1;
            return self.lose(direction, length, Incomplete::GAP, at, cx);
        }
        cx.out.counters.gaps_in_bodies += 1;
        if let Some(header) = current {
            self.count_data(direction, header, length);
        }
    }

    fn half_closed(&mut self, direction: Direction, at: Timestamp, cx: &mut Context<'_>) {
        if self.client == Some(direction) {
            self.client_finished = true;
        } else {
            self.end_all(self.cut_off(None), at, cx);
        }
    }

    fn local_closed(&mut self, peer_finished: bool, at: Timestamp, cx: &mut Context<'_>) {
        let serves = self.client == Some(Direction::In);
        self.client_finished |= serves && peer_finished;
        let outcome = match serves || peer_finished {
            true => self.cut_off(None),
            false => Outcome::ClientAborted(None),
        };
        self.end_all(outcome, at, cx);
    }

    fn closed(&mut self, errno: u16, at: Timestamp, cx: &mut Context<'_>) {
        self.end_all(self.cut_off((errno != 0).then_some(errno)), at, cx);
    }

    fn finish(&mut self, at: Timestamp, cx: &mut Context<'_>) {
        self.end_all(Outcome::Unfinished, at, cx);
    }

    fn awaits_beginning(&self, _: Direction) -> bool {
        false
    }

    fn begins(&mut self, _: Direction, _: bool) {}

    fn need(&self, direction: Direction) -> Need {
        self.directions[direction.index()].reader.need()
    }

    fn buffered(&self) -> usize {
        let half = |half: &Half| {
            let block = half.block.as_ref().map_or(0, |block| block.bytes.len());
            half.reader.kept().len() + half.decoder.bytes() + block
        };
        self.directions.iter().map(half).sum()
    }

    fn recognition(&self) -> Recognition {
        Recognition { seen: true, mid_stream: false, understood: true }
    }

    fn take_recognised(&mut self) -> bool {
        false
    }

    fn give_up(&mut self, _: &mut Context<'_>) {}
}
