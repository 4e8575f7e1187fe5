//! Conversations of HTTP/2: interleaved streams, cut anywhere, with losses.

use proptest::prelude::*;

use super::conversation::Conversation;
use crate::{
    event::Direction::{self, In, Out},
    protocol::{Limits, http2::PREFACE},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const NONE: u8 = 0;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const BOTH: u8 = END_STREAM | END_HEADERS;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A block of literals, not inserted.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(0x00, name, value)).collect()
}

fn literal(kind: u8, name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [&[kind][..], &text(name), &text(value)].concat()
}

fn get(path: &str) -> Vec<u8> {
    fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)])
}

fn status(status: &str) -> Vec<u8> {
    fields(&[(":status", status)])
}

fn begun() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, NONE, 0, &[0, 3, 0, 0, 0, 100])].concat()
}

/// Feeds `bytes` in pieces of `size`.
fn feed(it: &mut Conversation, direction: Direction, bytes: &[u8], size: usize) {
    for piece in bytes.chunks(size) {
        it.cursor(direction, piece);
    }
}

/// A server under test whose client has said hello.
fn server() -> Conversation {
    let mut it = Conversation::new();
    it.receive(begun()).send(frame(SETTINGS, NONE, 0, &[])).send(frame(SETTINGS, 1, 0, &[]));
    it
}

/// Two requests, interleaved; the second is answered first.
fn interleaved() -> (Vec<u8>, Vec<u8>) {
    let requests = [
        begun(),
        frame(
            HEADERS,
            END_HEADERS,
            1,
            &fields(&[(":method", "POST"), (":path", "/one"), (":authority", "a")]),
        ),
        frame(DATA, NONE, 1, b"half"),
        frame(HEADERS, BOTH, 3, &get("/three")),
        frame(PING, NONE, 0, &[0; 8]),
        frame(DATA, END_STREAM, 1, b"rest of it"),
        frame(WINDOW_UPDATE, NONE, 0, &[0, 0, 1, 0]),
    ];
    let responses = [
        frame(SETTINGS, NONE, 0, &[]),
        frame(HEADERS, END_HEADERS, 3, &status("200")),
        frame(HEADERS, END_HEADERS, 1, &status("103")),
        frame(DATA, NONE, 3, b"abc"),
        frame(HEADERS, END_HEADERS, 1, &status("404")),
        frame(DATA, NONE, 1, b""),
        frame(DATA, END_STREAM, 3, b"defg"),
        frame(HEADERS, BOTH, 1, &fields(&[("grpc-status", "0")])),
        frame(GOAWAY, NONE, 0, &[0, 0, 0, 3, 0, 0, 0, 0]),
    ];
    (requests.concat(), responses.concat())
}

const INTERLEAVED: [&str; 2] = ["POST /one 103 404 Complete", "GET /three 200 Complete"];

#[test]
fn streams_are_exchanges() {
    let (requests, responses) = interleaved();
    for (to, from) in [(In, Out), (Out, In)] {
        let mut it = Conversation::new();
        it.cursor(to, &requests).cursor(from, &responses);
        assert_eq!(it.exchanges(), INTERLEAVED);
        let ends: Vec<_> = it.told().into_iter().filter(|line| line.starts_with('=')).collect();
        assert_eq!(ends, ["=1 Complete 0/7", "=0 Complete 14/0"]);
        assert_eq!(it.out.counters.connections_http2, 1);
    }
}

#[test]
fn frames_may_be_cut_anywhere() {
    let (requests, responses) = interleaved();
    for size in 1..60 {
        let mut it = Conversation::new();
        feed(&mut it, In, &requests, size);
        feed(&mut it, Out, &responses, size);
        assert_eq!(it.exchanges(), INTERLEAVED, "{size}");
    }
}

#[test]
fn bytes_belong_to_the_exchange_of_their_stream() {
    let (requests, _) = interleaved();
    for size in [7, 1_000] {
        let mut it = Conversation::new();
        feed(&mut it, In, &requests, size);
        let parts = &it.out.report.parts;
        // Of a preface in pieces the first ones have passed when the last one says what it is.
        let mut next = parts[0].range.start;
        assert!(next < PREFACE.len() as u64);
        let passed = next;
        for part in parts {
            assert_eq!((part.direction, part.range.start), (In, next), "no byte is left out");
            next = part.range.end;
        }
        assert_eq!(next, requests.len() as u64);
        let of = |exchange: Option<u64>| -> u64 {
            parts
                .iter()
                .filter(|part| part.exchange == exchange)
                .map(|part| part.range.end - part.range.start)
                .sum()
        };
        let heads = |path: usize| (9 + get("/three").len() - "/three".len() + path) as u64;
        assert_eq!(of(Some(1)), heads(6));
        assert_eq!(of(None), (PREFACE.len() + 15 + 17 + 13) as u64 - passed);
    }
}

#[test]
fn padding_priority_and_continuation_are_no_fields() {
    let block = get("/x");
    let padded = [&[3][..], &block, &[0; 3]].concat();
    let both = [&[2, 0x80, 0, 0, 0, 16][..], &block, &[0; 2]].concat();
    let begins = [&[1, 0, 0, 0, 0, 16][..], &block[..5], &[0]].concat();
    let frames = [
        frame(HEADERS, BOTH | PADDED, 1, &padded),
        frame(HEADERS, BOTH | PADDED | PRIORITY, 3, &both),
        frame(HEADERS, END_STREAM | PADDED | PRIORITY, 5, &begins),
        frame(CONTINUATION, NONE, 5, &block[5..9]),
        frame(CONTINUATION, NONE, 5, b""),
        frame(CONTINUATION, END_HEADERS, 5, &block[9..]),
        frame(0xbe, 0xff, 7, b"unknown"),
    ]
    .concat();
    for size in [1, 13, 1_000] {
        let mut it = server();
        feed(&mut it, In, &frames, size);
        assert_eq!(it.exchanges(), ["GET /x"; 3], "{size}");
    }
}

#[test]
fn what_was_inserted_is_known_later() {
    let mut it = server();
    let first = [literal(0x40, ":path", "/inserted"), fields(&[(":method", "GET")])].concat();
    // 62 is the newest entry.
    let second = [&[0xbe][..], &fields(&[(":method", "PUT")])].concat();
    it.receive(frame(HEADERS, BOTH, 1, &first)).receive(frame(HEADERS, BOTH, 3, &second));
    assert_eq!(it.exchanges(), ["GET /inserted", "PUT /inserted"]);
}

#[test]
fn resets_end_the_exchange() {
    let mut it = server();
    let request = |number, path| frame(HEADERS, BOTH, number, &get(path));
    for (number, path) in [(1, "/refused"), (3, "/left"), (5, "/enough"), (7, "/odd"), (9, "/away")] {
        it.receive(request(number, path));
    }
    it.send(frame(RST_STREAM, NONE, 1, &7_u32.to_be_bytes()));
    it.receive(frame(RST_STREAM, NONE, 3, &8_u32.to_be_bytes()));
    // A whole response, and then no more of the request is wanted.
    it.receive(frame(HEADERS, END_HEADERS, 11, &get("/upload")));
    it.send(frame(HEADERS, BOTH, 11, &status("413"))).send(frame(RST_STREAM, NONE, 11, &[0; 4]));
    it.send(frame(HEADERS, END_HEADERS, 5, &status("200"))).send(frame(RST_STREAM, NONE, 5, &[0, 0, 0, 11]));
    it.send(frame(RST_STREAM, NONE, 7, &99_u32.to_be_bytes()));
    it.send(frame(GOAWAY, NONE, 0, &[0, 0, 0, 7, 0, 0, 0, 0]));
    assert_eq!(
        it.exchanges(),
        [
            "GET /refused Reset(\"REFUSED_STREAM\")",
            "GET /left ClientAborted(None)",
            "GET /enough 200 Reset(\"ENHANCE_YOUR_CALM\")",
            "GET /odd Reset(\"UNKNOWN_ERROR_CODE\")",
            "GET /away Reset(\"REFUSED_STREAM\")",
            "GET /upload 413 Complete",
        ]
    );
}

#[test]
fn the_end_of_the_connection_ends_its_streams() {
    let mut it = server();
    it.receive(frame(HEADERS, BOTH, 1, &get("/x")));
    it.close(0);
    assert_eq!(it.exchanges(), ["GET /x ConnectionClosed(None)"]);
    let mut it = server();
    it.receive(frame(HEADERS, BOTH, 1, &get("/x")));
    it.close(104);
    assert_eq!(it.exchanges(), ["GET /x ClientAborted(Some(104))"]);
}

#[test]
fn pushes_are_read_and_have_no_span() {
    let mut it = server();
    it.receive(frame(HEADERS, BOTH, 1, &get("/x")));
    let promise = [&[0, 0, 0, 2][..], &literal(0x40, ":path", "/pushed")].concat();
    it.send(frame(PUSH_PROMISE, END_HEADERS, 1, &promise));
    it.send(frame(HEADERS, END_HEADERS, 2, &status("200"))).send(frame(DATA, END_STREAM, 2, b"pushed"));
    let response = [&status("200")[..], &[0xbe]].concat();
    it.send(frame(HEADERS, BOTH, 1, &response));
    assert_eq!(it.exchanges(), ["GET /x 200 Complete"]);
    assert_eq!(it.out.counters.heads_incomplete, 0, "what the promise inserted is known");
}

#[test]
fn a_hole_in_data_costs_nothing() {
    let mut it = server();
    it.receive(frame(HEADERS, BOTH, 1, &get("/x")));
    let response =
        [frame(HEADERS, END_HEADERS, 1, &status("200")), frame(DATA, END_STREAM, 1, &[0; 5_000])].concat();
    it.send(&response[..500]).drop(Out, &response[500..4_000]).send(&response[4_000..]);
    it.tick(2_000);
    assert_eq!(it.exchanges(), ["GET /x 200 Complete"]);
    let end = it.told().pop().unwrap();
    assert_eq!(end, "=0 Complete 0/5000");
}

/// A header block that was cut costs its own fields, and what others refer to of it.
#[test]
fn a_header_block_that_is_not_captured_begins_a_new_epoch() {
    let mut it = server();
    let inserts = [literal(0x40, ":path", "/lost"), fields(&[(":method", "GET")])].concat();
    it.capture = (20, 0);
    it.receive(frame(HEADERS, BOTH, 1, &inserts));
    it.capture = (usize::MAX, 0);
    let refers = [&[0xbe][..], &fields(&[(":method", "PUT")])].concat();
    it.receive(frame(HEADERS, BOTH, 3, &refers)).receive(frame(HEADERS, BOTH, 5, &get("/known")));
    for number in [1, 3, 5] {
        it.send(frame(HEADERS, BOTH, number, &status("200")));
    }
    assert_eq!(
        it.exchanges(),
        [" / 200 Complete", "PUT  200 Complete", "GET /known 200 Complete"]
            .map(|line| line.replace(" / ", "  "))
    );
    let ends: Vec<_> = it.told().into_iter().filter(|line| line.starts_with('=')).collect();
    assert!(ends[0].ends_with("truncated"), "{ends:?}");
    assert!(ends[1].ends_with("gap"), "{ends:?}");
    assert_eq!(ends[2], "=2 Complete 0/0");
}

/// Where the next frame begins is not known; the next transfer of whole frames says it.
#[test]
fn after_a_lost_frame_header_reading_goes_on() {
    let mut it = server();
    it.receive(frame(HEADERS, BOTH, 1, &get("/open")));
    let lost = frame(HEADERS, BOTH, 3, &get("/lost"));
    it.drop(In, &lost).receive(&lost[5..]);
    it.tick(2_000);
    it.receive(frame(HEADERS, BOTH, 5, &get("/again")));
    it.send(frame(HEADERS, BOTH, 5, &status("200")));
    assert_eq!(it.exchanges(), ["GET /open Lost", "GET /again 200 Complete"]);
    assert_eq!(it.out.counters.framing_lost, 1);
}

/// What only begins like a frame is none: a frame's header, and not all of its payload.
#[test]
fn after_a_loss_only_whole_frames_are_believed() {
    let mut it = server();
    it.receive(frame(HEADERS, BOTH, 1, &get("/open")));
    it.drop(In, frame(HEADERS, BOTH, 3, &get("/lost")));
    it.tick(2_000);
    it.receive(&frame(DATA, NONE, 1, &[0; 200])[..60]).receive(frame(HEADERS, BOTH, 5, &get("/again")));
    assert_eq!(it.exchanges(), ["GET /open Lost", "GET /again"]);
}

#[test]
fn an_upgrade_leads_here() {
    let mut it = Conversation::new();
    it.receive("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n");
    it.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    it.send(frame(SETTINGS, NONE, 0, &[])).send(frame(HEADERS, BOTH, 1, &status("200")));
    it.receive(begun()).receive(frame(HEADERS, BOTH, 3, &get("/next")));
    it.send(frame(HEADERS, BOTH, 3, &status("204")));
    assert_eq!(it.exchanges(), ["GET / 101 Upgraded", "GET /next 204 Complete"]);
}

#[test]
fn a_client_that_exports_traces_is_known() {
    let mut it = Conversation::new();
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    it.send(begun()).send(frame(HEADERS, END_HEADERS, 1, &get(path)));
    assert_eq!(it.out.report.exporters, [1]);
}

#[test]
fn streams_beyond_the_limit_have_no_span() {
    let limits = Limits { open_streams: 2, ..Limits::default() };
    let mut it = Conversation::with(limits, [true; 2]);
    it.receive(begun());
    for number in [1, 3, 5] {
        it.receive(frame(HEADERS, BOTH, number, &get("/x")));
    }
    it.send(frame(HEADERS, BOTH, 1, &status("200"))).receive(frame(HEADERS, BOTH, 7, &get("/y")));
    assert_eq!(it.exchanges(), ["GET /x 200 Complete", "GET /x", "GET /y"]);
    assert_eq!(it.out.counters.streams_not_followed, 1);
}

proptest! {
    /// Whatever is lost or not captured: what is said of a request was sent.
    #[test]
    fn nothing_wrong_is_said_after_losses(
        sizes in prop::collection::vec(1_usize..80, 1..80),
        fates in prop::collection::vec(0_u8..12, 1..80),
        captured in 1_usize..80,
    ) {
        let (mut requests, mut responses) = (begun(), Vec::new());
        for number in 0..20_u32 {
            let path = format!("/{}", number * 7);
            let block = [literal(0x40, ":path", &path), fields(&[(":method", "GET")]), literal(0x40, "x-a", "b")].concat();
            requests.extend(frame(HEADERS, END_HEADERS, number * 2 + 1, &block));
            requests.extend(frame(DATA, END_STREAM, number * 2 + 1, &[0; 30]));
            responses.extend(frame(HEADERS, END_HEADERS, number * 2 + 1, &status(&format!("{}", 200 + number))));
            responses.extend(frame(DATA, END_STREAM, number * 2 + 1, &[0; 30]));
        }
        let mut it = Conversation::new();
        let (mut sizes, mut fates) = (sizes.into_iter().cycle(), fates.into_iter().cycle());
        let mut lossy = |it: &mut Conversation, direction: Direction, mut bytes: &[u8], clean: usize| {
            let mut first = clean;
            while !bytes.is_empty() {
                let size = if first > 0 { std::mem::take(&mut first) } else { sizes.next().unwrap() };
                let (piece, rest) = bytes.split_at(size.min(bytes.len()));
                match fates.next().unwrap() {
                    0 if clean == 0 || piece.len() != clean => {
                        it.drop(direction, piece);
                    }
                    1 if clean == 0 || piece.len() != clean => {
                        it.capture = (captured, 0);
                        it.cursor(direction, piece);
                        it.capture = (usize::MAX, 0);
                    }
                    _ => {
                        it.cursor(direction, piece);
                    }
                }
                bytes = rest;
            }
            it.tick(2_000);
        };
        lossy(&mut it, In, &requests, begun().len());
        lossy(&mut it, Out, &responses, 0);
        it.close(0);
        let mut next = 0;
        for line in it.exchanges() {
            let mut words = line.split(' ');
            let (_method, path, status) = (words.next(), words.next().unwrap_or_default(), words.next());
            let Some(number) = path.strip_prefix('/').and_then(|path| path.parse::<u32>().ok()) else { continue };
            prop_assert!(number % 7 == 0 && number / 7 >= next, "{line}");
            next = number / 7;
            if let Some(status) = status.and_then(|status| status.parse::<u32>().ok()).filter(|status| *status > 0) {
                prop_assert_eq!(status, 200 + next, "{}", line);
            }
        }
    }
}
