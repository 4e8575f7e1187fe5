//! Where messages begin and end: RFC 9112 from both sides.

use super::conversation::{Conversation, ID};
use crate::{
    event::{Capture, CaptureMode, Direction, Feedback, LastReceive, Layer, Mark, StreamId, Timestamp},
    protocol::{Begin, Limits, Message},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Name, requests, responses, ends.
type Row = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

/// Requests as the server receives them, responses as it sends them, and the exchanges that must come of it.
const CONVERSATIONS: &[Row] = &[
    ("content length", &["POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"], &[OK], &["=0 Complete 3/2"]),
    ("no body", &["GET / HTTP/1.0\r\n\r\n"], &["HTTP/1.1 204 No Content\r\n\r\n"], &["=0 Complete 0/0"]),
    (
        "HEAD has no body",
        &["HEAD / HTTP/1.1\r\n\r\n", "GET /b HTTP/1.1\r\n\r\n"],
        &["HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", OK],
        &["=0 Complete 0/0", "=1 Complete 0/2"],
    ),
    (
        "304 has no body",
        &["GET / HTTP/1.1\r\n\r\n", "GET /b HTTP/1.1\r\n\r\n"],
        &["HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", OK],
        &["=0 Complete 0/0", "=1 Complete 0/2"],
    ),
    (
        "chunked both ways, extension and trailer",
        &["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\n\r\n"],
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n"],
        &["=0 Complete 2/6"],
    ),
    (
        "transfer encoding wins over content length",
        &["POST / HTTP/1.1\r\nContent-Length: 999\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"],
        &[OK],
        &["=0 Complete 1/2"],
    ),
    (
        "empty lines before requests, bare LF",
        &["\r\n\r\nGET /a HTTP/1.1\nHost: x\n\n", "\nGET /b HTTP/1.1\r\n\r\n"],
        &["HTTP/1.1 200 OK\nContent-Length: 1\n\nx", OK],
        &["=0 Complete 0/1", "=1 Complete 0/2"],
    ),
    (
        "reuse after an error",
        &["GET /bad HTTP/1.1\r\n\r\n", "GET /good HTTP/1.1\r\n\r\n"],
        &["HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\noops", OK],
        &["=0 Complete 0/4", "=1 Complete 0/2"],
    ),
];

#[test]
fn conversations_in_calls_of_any_size() {
    for (name, requests, responses, ends) in CONVERSATIONS {
        for client in Direction::BOTH {
            for size in [1, 2, 3, 7, 1000] {
                let mut it = Conversation::new();
                for (request, response) in requests.iter().zip(*responses) {
                    for chunk in request.as_bytes().chunks(size) {
                        it.cursor(client, chunk);
                    }
                    for chunk in response.as_bytes().chunks(size) {
                        it.cursor(client.reverse(), chunk);
                    }
                }
                assert_eq!(it.ends(), *ends, "{name}, calls of {size}");
                let ledger = it.close(0);
                for account in ledger.directions {
                    assert_eq!((account.truncated, account.unseen), (0, 0), "{name}, calls of {size}");
                }
                let whole = |feedback: &&Feedback| match feedback {
                    Feedback::Capture { directions, .. } => {
                        directions.iter().any(|capture| capture.mode == CaptureMode::Whole)
                    }
                    Feedback::Forget { .. } => false,
                };
                let asked = it.out.feedback.iter().filter(whole).count();
                let chunked =
                    requests.iter().chain(*responses).filter(|text| text.contains("chunked")).count();
                // A message that one transfer holds is over before anything could be asked.
                let expected = if size < 1000 { chunked } else { 0 };
                assert_eq!((asked, it.out.feedback.len()), (expected, asked), "{name}, calls of {size}");
            }
        }
    }
}

#[test]
fn pipelined_requests_in_one_call() {
    let mut it = Conversation::new();
    it.receive("GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n");
    it.send(format!("{OK}HTTP/1.1 404 x\r\nContent-Length: 9\r\n\r\n{OK}"));
    assert_eq!(it.exchanges(), ["GET /1 200 Complete", "HEAD /2 404 Complete", "GET /3 200 Complete"]);
}

#[test]
fn every_message_in_its_order_with_times_and_origins() {
    let mut it = Conversation::new();
    it.send("GE").send("T /x HTTP/1.1\r\n").send("Host: h\r\n\r\n");
    it.receive("HTTP/1.1 100 Continue\r\n\r\n")
        .receive("HTTP/1.1 200")
        .receive(" OK\r\nContent-Length: 4\r\n\r\nab");
    it.receive("cd");
    assert_eq!(it.told(), [">0 Out", ">0 GET /x", "<0 100", "<0 200", "=0 Complete 0/4"]);
    let ms = |count: u64| Timestamp(count * super::conversation::MILLISECOND);
    let times: Vec<_> = it
        .out
        .report
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::Begin { begin: Begin { origin, .. }, .. } | Message::Reply { origin, .. } => {
                Some((origin.at, origin.position))
            }
            Message::End { at, end, .. } => {
                assert_eq!(end.request_end, Some(ms(3)));
                Some((*at, 0))
            }
            Message::Described { .. } | Message::Other { .. } => None,
        })
        .collect();
    assert_eq!(times, [(ms(1), 0), (ms(4), 0), (ms(5), 25), (ms(7), 0)]);
}

#[test]
fn the_last_input_is_that_of_the_first_byte() {
    let mut it = Conversation::new();
    it.receive("GET / HTTP/1.1\r\n\r\n");
    let last_receive =
        Some(LastReceive { connection: ID, layer: Layer::Wire, position: 17, mark: Mark::default() });
    it.last_receive = last_receive;
    it.send("HTTP/1.1 ");
    it.last_receive = None;
    it.send("204 x\r\n\r\n");
    let origin = it.out.report.messages.iter().find_map(|message| match message {
        Message::Reply { origin, .. } => Some(*origin),
        _ => None,
    });
    assert_eq!(origin.unwrap().last_receive, last_receive);
}

#[test]
fn until_close_ends_with_the_fin_or_the_close() {
    for by_fin in [true, false] {
        let mut it = Conversation::new();
        it.send("GET / HTTP/1.0\r\n\r\n").receive("HTTP/1.0 200 OK\r\n\r\nabc").receive("de");
        assert_eq!(it.ends(), [""; 0]);
        if by_fin {
            it.fin(Direction::In);
        }
        it.close(0);
        // Whoever reads and closes first may have left before the end.
        assert_eq!(it.ends(), [if by_fin { "=0 Complete 0/5" } else { "=0 Complete 0/? gap" }]);
        let mut it = Conversation::new();
        it.receive("GET / HTTP/1.0\r\n\r\n").send("HTTP/1.0 200 OK\r\n\r\nabc").send("de");
        if by_fin {
            it.fin(Direction::Out);
        }
        it.close(0);
        assert_eq!(it.ends(), ["=0 Complete 0/5"]);
    }
}

#[test]
fn upgrades_end_with_the_response_head() {
    for (request, response) in [
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "HTTP/1.1 200 Connection established\r\n\r\n"),
        ("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ] {
        let mut it = Conversation::new();
        // The tunnel's first bytes may be logged before the response that allows them.
        it.send(request).send("\x16\x03\x01 GET / HTTP/1.1\r\n\r\n").receive(response).receive("anything");
        assert_eq!(it.ends(), ["=0 Upgraded 0/0"]);
        assert!(it.opaque());
        let ledger = it.close(0);
        assert_eq!(ledger.directions[1].skipped, 8);
        assert_eq!(it.out.feedback.len(), 1);
        assert_eq!(it.out.counters.connections_upgraded, 1);
    }
}

#[test]
fn refused_upgrades_stay_http() {
    let mut it = Conversation::new();
    it.send("CONNECT a:443 HTTP/1.1\r\n\r\n").receive("HTTP/1.1 403 no\r\nContent-Length: 2\r\n\r\nno");
    it.send("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n").receive(OK).send("GET /b HTTP/1.1\r\n\r\n").receive(OK);
    assert_eq!(it.exchanges(), ["CONNECT a:443 403 Complete", "GET / 200 Complete", "GET /b 200 Complete"]);
}

#[test]
fn early_response() {
    let mut it = Conversation::new();
    it.receive("POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nab")
        .send("HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(it.ends(), [""; 0], "the request is not over");
    let answered = Timestamp(it.now);
    it.receive("cdef");
    assert_eq!(it.ends(), ["=0 Complete 6/0"]);
    let Some(Message::End { at, .. }) = it.out.report.messages.last() else { panic!("an end") };
    assert_eq!(*at, answered, "the last byte of the response");
    it.receive("GET /next HTTP/1.1\r\n\r\n").send(OK);
    assert_eq!(it.exchanges()[1], "GET /next 200 Complete");
}

#[test]
fn a_body_that_was_not_sent_after_expect_continue() {
    let mut it = Conversation::new();
    it.receive("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 60\r\n\r\n");
    it.send("HTTP/1.1 417 no\r\nContent-Length: 0\r\n\r\n").receive("GET /next HTTP/1.1\r\n\r\n").send(OK);
    assert_eq!(it.exchanges(), ["POST / 417 Complete", "GET /next 200 Complete"]);
}

#[test]
fn long_bodies_are_asked_to_be_skipped() {
    let mut it = Conversation::new();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    it.receive("GET / HTTP/1.1\r\n\r\n").send(head);
    let end = (head.len() + 100_000) as u64;
    let out = Capture { skip_until: end - 1, ..Capture::default() };
    let stream = StreamId { connection: ID, layer: Layer::Wire };
    let skip = Feedback::Capture { stream, directions: [out, Capture::default()] };
    assert_eq!(it.out.feedback, [skip]);
    // The kernel skips all but the transfer with the last byte.
    it.unseen(Direction::Out, 99_000);
    it.skipped[0] += 99_000;
    it.send(vec![b'x'; 1000]);
    assert_eq!(it.ends(), ["=0 Complete 0/100000"]);
    assert_eq!(it.out.feedback.len(), 1);
    assert!(!it.connection.needs_tick());
    let ledger = it.close(0);
    assert_eq!((ledger.directions[0].skipped, ledger.directions[0].unseen), (100_000, 0));
}

#[test]
fn many_headers_and_large_heads() {
    let fields = "X-Field: some value\r\n".repeat(300);
    let mut it = Conversation::new();
    it.receive(format!("GET / HTTP/1.1\r\n{fields}Host: last\r\n\r\n")).send(OK);
    let Message::Described { head, .. } = &it.out.report.messages[1] else { panic!("a head") };
    assert_eq!((head.host.as_deref(), head.incomplete), (Some("last"), false));
    // Beyond the limit the fields are lost, the message is not.
    let mut it = Conversation::with(Limits { head_bytes: 100, ..Limits::default() }, [true; 2]);
    for chunk in
        format!("GET /a HTTP/1.1\r\nHost: h\r\n{fields}\r\nGET /b HTTP/1.1\r\n\r\n").as_bytes().chunks(40)
    {
        it.receive(chunk);
        assert!(it.connection.buffered() <= 140);
    }
    it.send(OK);
    assert_eq!(it.told()[..2], [">0 In", ">0 GET /a cut"]);
    assert_eq!(it.ends(), ["=0 Complete ?/2 truncated"]);
    assert_eq!(it.out.counters.heads_too_large, 1);
}
