//! Which protocol a connection speaks: from its first bytes, in pieces, in either direction, mid-stream and late.

use super::conversation::Conversation;
use crate::{
    event::Direction::{self, In, Out},
    protocol::{Limits, http2::PREFACE, mux},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// The head of a request of OTLP, in a HEADERS frame.
const TRACES: &[u8] =
    b"\0\0\x3f\x01\x04\0\0\0\x01\x83\x86\x45\x3b/opentelemetry.proto.collector.trace.v1.TraceService/Export";

impl Conversation {
    /// Connections of HTTP/2, and those that are no HTTP/1 for want of a better word.
    fn counted(&self) -> (u64, u64) {
        (self.out.counters.connections_http2, self.out.counters.connections_not_http1)
    }
}

/// Feeds `bytes` in pieces of `size`.
fn feed(it: &mut Conversation, direction: Direction, bytes: &[u8], size: usize) {
    for piece in bytes.chunks(size) {
        it.cursor(direction, piece);
    }
}

#[test]
fn the_preface_is_recognised_in_any_pieces_and_directions() {
    for direction in [In, Out] {
        for size in 1..=PREFACE.len() + 1 {
            let mut it = Conversation::new();
            feed(&mut it, direction, &[PREFACE, SETTINGS].concat(), size);
            assert_eq!(it.counted(), (1, 0), "{direction:?} {size}");
            it.close(0);
            assert_eq!(it.counted(), (1, 0), "{direction:?} {size}");
            assert_eq!((it.told().len(), it.out.counters.unknown_starts <= 1), (0, true));
        }
    }
}

#[test]
fn a_server_may_speak_first() {
    let mut it = Conversation::new();
    it.receive(SETTINGS).send(&PREFACE[..9]).send(&PREFACE[9..]);
    assert_eq!(it.counted(), (1, 0));
}

#[test]
fn what_only_begins_alike_is_no_http2() {
    for (begin, rest) in
        [("P", "OST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), ("PR", "OPFIND / HTTP/1.1\r\n\r\n")]
    {
        let mut it = Conversation::new();
        it.receive(begin).receive(rest).send(OK);
        assert_eq!((it.counted(), it.exchanges().len()), ((0, 0), 1), "{begin}{rest}");
        assert!(it.exchanges()[0].ends_with("200 Complete"));
    }
    let mut it = Conversation::new();
    it.send("PRI * HTTP/2.0\r\n\r\nSM").send("\r\n\r").send("x");
    it.close(0);
    assert_eq!(it.counted(), (0, 1));
}

/// A hole or bytes that were not captured leave nothing to compare.
#[test]
fn a_preface_with_a_hole_is_unknown() {
    let mut it = Conversation::new();
    it.send(&PREFACE[..4]).drop(Out, &PREFACE[4..8]).send(&PREFACE[8..]).send(SETTINGS);
    it.tick(2_000);
    it.close(0);
    assert_eq!(it.counted(), (0, 1));
}

/// A proxy writes a line of its own before the preface; and a connection may be older than the agent.
#[test]
fn a_late_preface_is_recognised_where_a_transfer_begins_with_it() {
    let mut it = Conversation::new();
    it.receive("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n").receive(PREFACE).send(SETTINGS);
    assert_eq!(it.counted(), (1, 0));
    let mut it = Conversation::with(Limits::default(), [false; 2]);
    it.send(PREFACE).receive(SETTINGS).send(TRACES);
    assert_eq!((it.counted(), &it.out.report.exporters[..]), ((1, 0), &[1][..]));
}

/// What was taken for HTTP/1 is ended, and HTTP/2 is what follows.
#[test]
fn a_preface_after_http1_leads_to_http2() {
    let mut it = Conversation::new();
    it.receive(GET).send(OK).receive(GET).receive(PREFACE);
    assert_eq!(it.counted().0, 1);
    assert_eq!(it.exchanges(), ["GET / 200 Complete", "GET / Lost"]);
    it.send(SETTINGS).receive(GET).send(OK);
    assert_eq!(it.exchanges().len(), 2, "nothing is read as HTTP/1 any more");
}

/// A body may hold anything.
#[test]
fn a_preface_in_a_body_is_a_body() {
    let mut it = Conversation::new();
    it.receive(format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", PREFACE.len())).receive(PREFACE);
    it.send(OK).receive(GET).send(OK);
    assert_eq!((it.counted().0, it.exchanges().len()), (0, 2));
    // Also where the framing is lost.
    let mut it = Conversation::new();
    it.receive("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").drop(In, "5\r\nabc").receive(PREFACE);
    it.tick(2_000);
    assert_eq!(it.counted().0, 0);
}

#[test]
fn an_upgrade_leads_to_http2_if_it_names_it() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n";
    for (field, expected) in
        [("Upgrade: h2c", 1), ("upgrade:H2C ", 1), ("Upgrade: websocket", 0), ("X-Upgrade: h2c", 0)]
    {
        for size in [7, 1_000] {
            let mut it = Conversation::new();
            let response =
                format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{field}\r\n\r\n");
            it.send(upgrade);
            feed(&mut it, In, &[response.as_bytes(), SETTINGS].concat(), size);
            it.send(PREFACE);
            assert_eq!((it.counted().0, it.opaque()), (expected, expected == 0), "{field}");
            assert_eq!(it.ends(), ["=0 Upgraded 0/0"]);
            assert_eq!(it.out.counters.connections_upgraded, 1);
        }
    }
    // A tunnel is none, whatever its head says.
    let mut it = Conversation::new();
    it.send("CONNECT a:1 HTTP/1.1\r\n\r\n").receive("HTTP/1.1 200 OK\r\nUpgrade: h2c\r\n\r\n").send(PREFACE);
    assert_eq!((it.counted().0, it.opaque()), (0, true));
}

/// Protocols other than HTTP/1 begin in pieces as well.
#[test]
fn other_protocols_are_recognised_in_pieces() {
    let request = mux::frame(mux::Kind::Request, 7, b"/a");
    for size in 1..8 {
        let mut it = Conversation::new();
        feed(&mut it, In, &[mux::PREFACE, &request].concat(), size);
        it.send(mux::frame(mux::Kind::Reply, 7, b"")).send(mux::frame(mux::Kind::End, 7, b""));
        assert!(it.told().iter().any(|told| told.contains("\"/a\"")), "{size} {:?}", it.told());
        assert_eq!(it.ends(), ["=0 Complete ?/?"], "{size}");
    }
}
