//! How exchanges end when the connection does not go on, and which connections are given up.

use super::conversation::Conversation;
use crate::{
    event::{Direction, Earlier, NotCaptured, Timestamp},
    protocol::{Limits, Message},
};

const GET: &str = "GET / HTTP/1.1\r\n\r\n";
const PART: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
const RESET: u16 = 104;

#[test]
fn cut_off_exchanges() {
    let server = Direction::In;
    let client = Direction::Out;
    for (direction, response, fin, errno, end) in [
        (server, PART, None, RESET, "=0 ClientAborted(Some(104)) 0/?"),
        (server, "", None, RESET, "=0 ClientAborted(Some(104)) 0/?"),
        (server, PART, Some(Direction::In), 0, "=0 ClientAborted(None) 0/?"),
        (server, PART, None, 0, "=0 ConnectionClosed(None) 0/?"),
        (server, "", None, 0, "=0 ConnectionClosed(None) 0/?"),
        (server, PART, Some(Direction::Out), 0, "=0 ConnectionClosed(None) 0/?"),
        (client, PART, None, RESET, "=0 ConnectionClosed(Some(104)) 0/?"),
        (client, "", None, RESET, "=0 ConnectionClosed(Some(104)) 0/?"),
        (client, "", Some(Direction::In), 0, "=0 ConnectionClosed(None) 0/?"),
        (client, PART, None, 0, "=0 ConnectionClosed(None) 0/?"),
        (client, "HTTP/1.1 20", None, 0, "=0 ConnectionClosed(None) 0/?"),
        (client, "HTTP/1.1 200 OK\r\n\r\nabc", None, RESET, "=0 ConnectionClosed(Some(104)) 0/?"),
    ] {
        let mut it = Conversation::new();
        it.cursor(direction, GET);
        if !response.is_empty() {
            it.cursor(direction.reverse(), response);
        }
        if let Some(fin) = fin {
            it.fin(fin);
        }
        it.close(errno);
        assert_eq!(it.ends(), [end], "{direction:?} {response:?} {fin:?} {errno}");
    }
}

/// What the program's own close says, before TCP is through with the connection, and that nothing is told later.
#[test]
fn a_call_ends_when_its_program_lets_go() {
    const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\nabc";
    const UPLOAD: &str = "POST / HTTP/1.1\r\nContent-Length: 900\r\n\r\nabc";
    const LATE: &str = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n";
    let (server, client) = (Direction::In, Direction::Out);
    for (direction, request, response, peer_finished, end) in [
        (client, GET, "", false, "=0 ClientAborted(None) 0/?"),
        (client, GET, PART, false, "=0 ClientAborted(None) 0/?"),
        (client, UPLOAD, "", false, "=0 ClientAborted(None) ?/?"),
        (client, GET, UNTIL_CLOSE, false, "=0 ClientAborted(None) 0/?"),
        (client, GET, "", true, "=0 ConnectionClosed(None) 0/?"),
        (client, GET, PART, true, "=0 ConnectionClosed(None) 0/?"),
        (client, GET, UNTIL_CLOSE, true, "=0 Complete 0/3"),
        (server, GET, "", false, "=0 ConnectionClosed(None) 0/?"),
        (server, GET, PART, false, "=0 ConnectionClosed(None) 0/?"),
        (server, LATE, "", false, "=0 ConnectionClosed(None) ?/?"),
        (server, GET, UNTIL_CLOSE, false, "=0 Complete 0/3"),
        (server, GET, "", true, "=0 ClientAborted(None) 0/?"),
        (server, GET, PART, true, "=0 ClientAborted(None) 0/?"),
        (server, UPLOAD, "", true, "=0 ClientAborted(None) ?/?"),
        (server, GET, UNTIL_CLOSE, true, "=0 Complete 0/3"),
    ] {
        let mut it = Conversation::new();
        it.cursor(direction, request);
        if !response.is_empty() {
            it.cursor(direction.reverse(), response);
        }
        it.let_go(peer_finished);
        let act = Timestamp(it.now);
        assert_eq!(it.ends(), [end], "{direction:?} {request:?} {response:?} {peer_finished}");
        let Some(Message::End { at, .. }) = it.out.report.messages.last() else { panic!("an end") };
        assert!(*at == act || end.contains("Complete"), "{at:?} {end}");
        // TCP gives up minutes later.
        it.now += 900_000 * super::conversation::MILLISECOND;
        it.close(110);
        assert_eq!(it.ends().len(), 1, "{end}");
    }
}

#[test]
fn half_a_close_is_no_end() {
    let mut it = Conversation::new();
    it.send(GET).fin(Direction::Out);
    assert_eq!(it.ends(), [""; 0]);
    it.receive("HTTP/1.1 204 x\r\n\r\n").let_go(false);
    it.close(0);
    assert_eq!(it.exchanges(), ["GET / 204 Complete"]);
}

/// An answer of which nothing was seen is not said to be missing.
#[test]
fn bytes_unseen_before_the_close_are_no_error() {
    let mut it = Conversation::new();
    it.receive(GET).unseen(Direction::Out, 300).let_go(false);
    assert_eq!(it.ends(), ["=0 Lost 0/? gap"]);
    assert_eq!(it.close(0).directions[0].unseen, 300);
}

#[test]
fn a_request_that_is_cut_off_is_told_once() {
    let mut it = Conversation::new();
    it.receive("POST /up HTTP/1.1\r\nHost: h\r\nContent-Le");
    it.close(RESET);
    assert_eq!(it.told(), [">0 In", ">0 POST /up cut", "=0 ClientAborted(Some(104)) ?/? truncated"]);
    let mut it = Conversation::new();
    it.receive("GET /not/a/compl");
    it.close(RESET);
    assert_eq!(it.told(), [""; 0]);
}

#[test]
fn finish_leaves_open_exchanges_unfinished() {
    let mut it = Conversation::new();
    it.receive(GET).send(PART);
    it.connection.finish(Timestamp(99), &mut it.out);
    assert_eq!(it.ends(), ["=0 Unfinished 0/?"]);
    let Some(Message::End { at, .. }) = it.out.report.messages.last() else { panic!("an end") };
    assert_eq!(*at, Timestamp(99));
    it.close(0);
    assert_eq!(it.ends().len(), 1);
}

#[test]
fn other_protocols_are_given_up_soon() {
    let tls: [&[u8]; 2] = [b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x03\x00\x7a"];
    // The server speaks first.
    let mail: [&[u8]; 2] = [b"220 mail ESMTP\r\n", b"EHLO x\r\n"];
    for [sent, received] in [tls, mail] {
        let mut it = Conversation::new();
        for _ in 0..12 {
            assert!(!it.opaque());
            it.send(sent).receive(received);
        }
        assert!(it.opaque(), "{sent:?}");
    }
    let mut it = Conversation::new();
    for _ in 0..64 {
        assert!(!it.opaque());
        it.send("a stream of one direction");
    }
    assert!(it.opaque());
    it.send("GET / HTTP/1.1\r\n\r\n").send("more");
    assert_eq!((it.told().len(), it.out.feedback.len()), (0, 1));
    let ledger = it.close(0);
    assert_eq!(ledger.directions[0].skipped + ledger.directions[0].parsed, ledger.directions[0].observed);
    assert_eq!(it.out.counters.connections_given_up, 1);
}

#[test]
fn a_first_garbage_does_not_hide_http() {
    let mut it = Conversation::new();
    it.receive("\0\0garbage\r\n").receive(GET).send("HTTP/1.1 204 x\r\n\r\n");
    assert_eq!(it.exchanges(), ["GET / 204 Complete"]);
}

#[test]
fn a_late_join_takes_only_what_is_proven() {
    let mut it = Conversation::with(Limits::default(), [false; 2]);
    it.send("the rest of a body").receive("abc").send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!");
    it.receive(GET).send("HTTP/1.1 204 x\r\n\r\n");
    assert_eq!(it.told(), [">0 In", ">0 GET /", "<0 204", "=0 Complete 0/0"]);
    // The response to a request from before must not answer the first one that was seen.
    let mut it = Conversation::with(Limits::default(), [false; 2]);
    it.receive("HTTP/1.1 500 x\r\nContent-Length: 1\r\n\r\n!").send(GET).receive("HTTP/1.1 204 x\r\n\r\n");
    assert_eq!(it.exchanges(), ["GET / 204 Complete"]);
    let mut it = Conversation::with(Limits::default(), [false; 2]);
    it.receive(GET).not_captured(Direction::Out, 100, NotCaptured::IoUring);
    it.close(0);
    assert_eq!(it.ends(), ["=0 Lost 0/? joined_mid_stream not_captured"]);
}

/// Another process has read the request and passed the connection on: its answer is seen, and the loss is counted.
#[test]
fn what_was_read_before_first_sight_is_counted() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!";
    let mut it = Conversation::joined(Limits::default(), 1 << 32, [Earlier::Nothing, Earlier::Bytes(40)]);
    it.send(answer).close(0);
    assert_eq!((it.told().len(), it.out.stream.joined_mid_stream), (0, 1));
    let mut it = Conversation::with(Limits::default(), [false; 2]);
    it.receive(GET).send(answer);
    it.connection.finish(Timestamp(99), &mut it.out);
    assert_eq!(it.out.stream.joined_mid_stream, 1);
    // No other protocol's, and none that was seen from its start.
    let mut it = Conversation::with(Limits::default(), [false; 2]);
    it.receive("\x16\x03\x01").send("\x16\x03\x03").close(0);
    assert_eq!(it.out.stream.joined_mid_stream, 0);
    let mut it = Conversation::new();
    it.receive(GET).send(answer).close(0);
    assert_eq!(it.out.stream.joined_mid_stream, 0);
}

#[test]
fn a_first_sight_is_no_proof() {
    let late = || Conversation::with(Limits::default(), [false; 2]);
    // It may be a part of a body, and says so; what comes after its answer is no question.
    let mut it = late();
    it.receive("GET /a HTTP/1.1\r\n\r\n").send("HTTP/1.1 204 x\r\n\r\n");
    it.receive("GET /b HTTP/1.1\r\n\r\n").send("HTTP/1.1 205 x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(it.ends(), ["=0 Complete 0/0 joined_mid_stream", "=1 Complete 0/0"]);
    // The rest of a method is none.
    let mut it = late();
    it.receive("ET /a HTTP/1.1\r\n\r\n").send("HTTP/1.1 204 x\r\n\r\n");
    assert_eq!(it.told(), [""; 0]);
    // Nor does it say for good who is the client.
    let mut it = late();
    it.send("GET /in-a-page HTTP/1.1\r\n\r\n").receive("GET /a HTTP/1.1\r\n\r\n");
    it.send("HTTP/1.1 204 x\r\n\r\n").receive(GET).send("HTTP/1.1 204 x\r\n\r\n");
    assert_eq!(it.exchanges(), ["GET /in-a-page Lost", "GET / 204 Complete"]);
}

#[test]
fn a_response_without_a_request_is_ignored() {
    let mut it = Conversation::new();
    it.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    assert!(it.connection.needs_tick());
    it.close(0);
    assert_eq!(it.told(), [""; 0]);
    assert_eq!(it.out.counters.responses_without_request, 1);
}

#[test]
fn too_many_pending_requests_start_the_pairing_anew() {
    let mut it = Conversation::with(Limits { pending_requests: 4, ..Limits::default() }, [true; 2]);
    for _ in 0..6 {
        it.receive(GET);
    }
    for _ in 0..6 {
        it.send("HTTP/1.1 204 x\r\n\r\n");
    }
    assert!(it.out.counters.pending_overflow > 0);
    it.tick(200);
    it.receive(GET).send("HTTP/1.1 205 x\r\nContent-Length: 0\r\n\r\n");
    let exchanges = it.exchanges();
    assert!(exchanges[..6].iter().all(|exchange| exchange == "GET / Lost"), "{exchanges:?}");
    assert_eq!(exchanges[6], "GET / 205 Complete");
}

#[test]
fn a_client_that_sends_traces_over_grpc_is_noted() {
    let path = b"\x83\x86\x45\x3b/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let mut it = Conversation::new();
    it.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").send(b"\0\0\0\x04\0\0\0\0\0");
    it.receive(b"\0\0\0\x04\0\0\0\0\0").send(b"\0\0\0\x04\x01\0\0\0\0").send(path);
    assert_eq!(it.out.report.exporters, [1]);
    let mut it = Conversation::new();
    it.receive("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").receive(path);
    assert!(it.out.report.exporters.is_empty(), "a collector receives them");
}
