//! Header blocks: puts their fragments together, reads each in the order of the direction, and reports what its fields say.

use super::{
    frame::{Header, Kind},
    grpc,
    session::{Half, Session},
};
use crate::{
    event::{Direction, Timestamp},
    protocol::{
        Context, ExchangeId, Incomplete, Operation, Origin, Progress, Reply,
        http::{RequestHead, ResponseHead, Version},
        otlp,
    },
};

/// A header block in several frames.
#[derive(Debug)]
pub(super) struct Block {
    frame: Header,
    origin: Origin,
    pub(super) bytes: Vec<u8>,
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

impl Session {
    pub(super) fn block_begins(
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

    pub(super) fn block_goes_on(
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
        let (interest, most) = (&cx.out.interest, cx.limits.head_bytes);
        let read = block
            .bytes
            .is_some_and(|bytes| decoder.block(bytes, |field| head.field(field, interest, most)).is_ok());
        if !read {
            decoder.lose();
            cx.out.counters.heads_incomplete += 1;
        }
        cx.out.counters.fields_forgotten += decoder.take_forgotten();
        let (unknown, cut) = (head.is_unknown(), head.is_cut());
        cx.out.counters.heads_too_large += u64::from(cut);
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
                // What inserted the field was lost.
                stream.incomplete.add(Incomplete::GAP);
            }
            if cut {
                stream.incomplete.add(Incomplete::TRUNCATED);
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
}

/// The first bytes of a block, the rest zeros.
fn prefix(block: &[u8]) -> [u8; 16] {
    let mut prefix = [0; 16];
    let length = block.len().min(prefix.len());
    prefix[..length].copy_from_slice(&block[..length]);
    prefix
}
