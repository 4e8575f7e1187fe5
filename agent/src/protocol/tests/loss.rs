//! What was not captured, dropped, or passed unseen: exchanges say so, and the next ones are whole again.

use super::conversation::Conversation;
use crate::event::{Direction, NotCaptured};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NEXT: &str = "GET /next HTTP/1.1\r\n\r\n";
const WHOLE: &str = "GET /next 200 Complete";

/// A conversation of which each transfer captures its first `head` and last `tail` bytes.
fn capturing(head: usize, tail: usize) -> Conversation {
    let mut it = Conversation::new();
    it.capture = (head, tail);
    it
}

#[test]
fn a_request_head_larger_than_the_capture() {
    let mut it = capturing(64, 8);
    let cookie = "c".repeat(200);
    it.receive(format!("GET /a HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n")).send(OK);
    assert_eq!(it.told(), [">0 In", ">0 GET /a cut", "<0 200", "=0 Complete ?/2 truncated"]);
    it.receive(NEXT).send(OK);
    assert_eq!(it.exchanges()[1], WHOLE);
    assert!(it.close(0).directions[1].truncated > 100);
}

#[test]
fn a_request_head_larger_than_the_capture_with_known_length() {
    let mut it = capturing(64, 8);
    let cookie = "c".repeat(200);
    it.receive(format!("POST /a HTTP/1.1\r\nContent-Length: 5\r\nCookie: {cookie}\r\n\r\n"))
        .receive("GET /")
        .send(OK);
    assert_eq!(it.ends(), ["=0 Complete 5/2 truncated"]);
    it.receive(NEXT).send(OK);
    assert_eq!(it.exchanges()[1], WHOLE);
}

#[test]
fn a_request_line_larger_than_the_capture() {
    let mut it = capturing(64, 8);
    let path = "p".repeat(200);
    it.receive(format!("GET /{path} HTTP/1.1\r\n\r\n")).send(OK).receive(NEXT).send(OK);
    assert_eq!(it.exchanges(), [format!("GET /{} 200 Complete", "p".repeat(59)), WHOLE.to_owned()]);
}

#[test]
fn a_fin_after_an_unread_response_ends_nothing_that_it_may_have_answered() {
    let mut it = Conversation::new();
    it.receive("GET /a HTTP/1.1\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-");
    it.drop(Direction::Out, "Length: 2\r\n\r\n").send("ok");
    // The first line of the next response comes in two transfers, which a reader that lost its place does not put together.
    it.receive("GET /b HTTP/1.1\r\n\r\n").send("HTTP/1.1 2").send("00 OK\r\n\r\n");
    it.fin(Direction::Out);
    assert_eq!(it.ends(), ["=0 Lost 0/? gap", "=1 Lost 0/?"]);
}

#[test]
fn a_response_head_larger_than_the_capture() {
    let cookie = "c".repeat(200);
    for (fields, ends) in [
        ("Content-Length: 2\r\n", "=0 Complete 0/2 truncated"),
        // Its length may stand in what is missing: it is over when the next one starts.
        ("", "=0 Lost 0/? truncated"),
    ] {
        let mut it = capturing(64, 8);
        it.receive("GET /a HTTP/1.1\r\n\r\n");
        it.send(format!("HTTP/1.1 200 OK\r\n{fields}Set-Cookie: {cookie}\r\n\r\n")).send("ok");
        it.receive(NEXT).send(OK);
        assert_eq!(it.ends()[0], ends);
        assert_eq!(it.exchanges()[1], WHOLE);
    }
}

/// The body passed with the head, and ends like one: what is expected then is the next response.
#[test]
fn a_response_after_a_body_that_has_passed_with_its_cut_head() {
    let mut it = capturing(39, 4);
    let body = format!("{}\r\n\r\n", "b".repeat(152));
    it.receive("GET /a HTTP/1.1\r\n\r\n");
    it.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 156\r\nX: {}\r\n\r\n{body}", "x".repeat(20)));
    it.not_captured(Direction::In, 30, NotCaptured::Fault).send(OK).receive(NEXT).send(OK);
    assert_eq!(it.ends()[0], "=0 Lost 0/? truncated");
    assert_eq!(it.exchanges()[1], WHOLE);
}

/// Likewise the next request, which is lost: its answer belongs to no other one.
#[test]
fn what_is_dropped_where_a_body_may_be_hides_a_message() {
    let mut it = capturing(42, 4);
    let body = format!("{}\r\n\r\n", "b".repeat(96));
    it.receive(format!("POST /a HTTP/1.1\r\nContent-Length: 100\r\nX: {}\r\n\r\n{body}", "x".repeat(20)));
    it.send(OK)
        .drop(Direction::In, "GET /lost HTTP/1.1\r\n\r\n")
        .send("HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n");
    it.receive("GET /b HTTP/1.1\r\n\r\n").send(OK).receive(NEXT).send(OK);
    assert_eq!(it.exchanges(), ["POST /a 200 Complete", WHOLE]);
}

#[test]
fn a_chunk_header_that_was_not_captured() {
    let mut it = capturing(64, 8);
    let chunk = "x".repeat(100);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    it.receive("GET /a HTTP/1.1\r\n\r\n");
    it.send(head)
        .send(format!("64\r\n{chunk}\r\n64\r\n{chunk}\r\n"))
        .send(format!("64\r\n{chunk}\r\n0\r\n\r\n"));
    assert_eq!(it.ends(), ["=0 Complete 0/? truncated"]);
    it.receive(NEXT).send(OK);
    assert_eq!(it.exchanges()[1], WHOLE);
    // The same with the last chunk in a transfer of its own.
    it.receive("GET /a HTTP/1.1\r\n\r\n");
    it.send(head).send(format!("64\r\n{chunk}\r\n64\r\n{chunk}\r\n")).send("0\r\n\r\n");
    assert_eq!(it.ends()[2], "=2 Complete 0/? truncated");
    // One large chunk needs nothing of the middle.
    it.receive("GET /a HTTP/1.1\r\n\r\n");
    it.send(format!("{head}64\r\n{chunk}\r\n0\r\n\r\n"));
    assert_eq!(it.ends()[3], "=3 Complete 0/100");
}

#[test]
fn bodies_need_no_bytes() {
    let mut it = Conversation::new();
    it.receive("GET /file HTTP/1.1\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    it.not_captured(Direction::Out, 5000, NotCaptured::Splice);
    assert_eq!(it.ends(), ["=0 Complete 0/5000"]);
    it.receive("GET /file HTTP/1.1\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    it.drop(Direction::Out, [0; 4000]).not_captured(Direction::Out, 1000, NotCaptured::Splice);
    assert_eq!(it.ends()[1], "=1 Complete 0/5000");
    // A body that passed without any event: its end has no time.
    it.receive("GET /file HTTP/1.1\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    it.unseen(Direction::Out, 5000).receive(NEXT).send(OK).tick(1_100);
    assert_eq!(it.ends()[2], "=2 Complete 0/5000 gap");
    assert_eq!(it.exchanges()[3], WHOLE);
    let account = it.close(0).directions[0];
    assert_eq!((account.dropped, account.unseen, account.truncated), (4000, 5000, 0));
}

#[test]
fn withheld_messages_are_lost_and_say_why() {
    let mut it = Conversation::new();
    it.receive("GET /a HTTP/1.1\r\n\r\n")
        .not_captured(Direction::Out, 100, NotCaptured::IoUring)
        .receive(NEXT)
        .send(OK);
    assert_eq!(it.ends(), ["=0 Lost 0/? not_captured", "=1 Complete 0/2"]);
    assert_eq!(it.close(0).directions[0].truncated, 100);
}

#[test]
fn a_dropped_request() {
    let mut it = Conversation::new();
    it.receive("GET /a HTTP/1.1\r\n\r\n").send(OK);
    it.drop(Direction::In, "GET /lost HTTP/1.1\r\n\r\n").send("HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n");
    // What was dropped may have begun a request after that response, of whose body this is a part.
    it.receive("GET /unsure HTTP/1.1\r\n\r\n").send(OK);
    it.receive(NEXT).send(OK);
    assert_eq!(it.exchanges(), ["GET /a 200 Complete", WHOLE]);
    assert_eq!(it.out.counters.responses_without_request, 2);
}

#[test]
fn a_dropped_response() {
    let mut it = Conversation::new();
    it.receive("GET /a HTTP/1.1\r\n\r\n").drop(Direction::Out, "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n");
    it.receive("GET /b HTTP/1.1\r\n\r\n").send(OK);
    it.receive(NEXT).send(OK);
    // Which of the two the response answers cannot be known.
    assert_eq!(it.exchanges(), ["GET /a Lost", "GET /b Lost", WHOLE]);
}

#[test]
fn a_hole_in_a_head() {
    let mut it = Conversation::new();
    it.receive("GET /a HTTP/1.1\r\nHost: h\r\n")
        .drop(Direction::In, "Cookie: x\r\n")
        .receive("More: y\r\n\r\n");
    it.send(OK).receive(NEXT).send(OK);
    assert_eq!(it.ends(), ["=0 Complete ?/2 gap", "=1 Complete 0/2"]);
    assert_eq!(it.exchanges(), ["GET /a 200 Complete", WHOLE]);
}

#[test]
fn after_loss_a_pipelining_client_is_believed_only_when_idle() {
    let mut it = Conversation::new();
    it.receive("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n").send(OK).send(OK);
    it.drop(Direction::In, "GET /3 HTTP/1.1\r\n\r\nGET /4 HTTP/1.1\r\n\r\n");
    it.receive("GET /5 HTTP/1.1\r\n\r\n").send(OK).send(OK).send(OK);
    it.tick(200).receive(NEXT).send(OK);
    assert_eq!(it.exchanges(), ["GET /1 200 Complete", "GET /2 200 Complete", WHOLE]);
}

#[test]
fn malformed_framing_is_no_loss_of_bytes() {
    let mut it = Conversation::new();
    it.receive("POST /a HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde");
    it.send("HTTP/1.1 400 x\r\nContent-Length: 0\r\n\r\n").receive(NEXT).send(OK);
    assert_eq!(it.ends()[0], "=0 Complete ?/0 malformed");
    assert_eq!(it.exchanges()[1], WHOLE);
}

#[test]
fn a_tunnel_by_a_cut_head() {
    for carried in ["\x16\x03\x01", FAKE] {
        let mut it = capturing(64, 8);
        it.send("CONNECT a:443 HTTP/1.1\r\n\r\n");
        it.receive(format!("HTTP/1.1 200 Connection established\r\nVia: {}\r\n\r\n", "v".repeat(100)));
        it.send(carried);
        assert_eq!(it.ends(), ["=0 Upgraded 0/0 truncated"]);
        assert_eq!(it.exchanges().len(), 1);
        assert!(it.opaque());
        it.close(0);
    }
}

/// Text of a body that looks like a whole request.
const FAKE: &str = "GET /fake HTTP/1.1\r\n\r\n";

#[test]
fn a_request_in_a_body_whose_head_was_lost_is_none() {
    let head = "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 22\r\n\r\n";
    let mut it = Conversation::new();
    it.drop(Direction::In, head).receive(FAKE).send(OK);
    // An answer that is none: the body is still to come.
    it.drop(Direction::In, head).send("HTTP/1.1 100 Continue\r\n\r\n").receive(FAKE).send(OK);
    it.not_captured(Direction::In, head.len(), NotCaptured::Fault).receive(FAKE).send(OK);
    // Without a loss that is known yet: the response shows it.
    assert_eq!(it.told(), [""; 0]);
    it.receive(NEXT).send(OK);
    assert_eq!(it.exchanges(), [WHOLE]);
}

#[test]
fn a_request_in_a_body_whose_framing_was_lost_is_none() {
    let mut it = capturing(70, 16);
    it.receive("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("40\r\n{}\r\n", "x".repeat(64));
    it.receive(format!("{chunk}{chunk}5c\r\n{}\r\n0\r\n\r\n", "x".repeat(32)));
    // The end of that transfer was a chunk's data, not the last chunk.
    it.receive(FAKE).receive("\r\n0\r\n\r\n").send(OK).receive(NEXT).send(OK);
    assert_eq!(it.exchanges(), ["POST /a 200 Complete", WHOLE]);
}

#[test]
fn a_response_in_a_body_whose_framing_was_lost_answers_nothing() {
    let mut it = capturing(70, 16);
    it.receive("GET /a HTTP/1.1\r\n\r\n").send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("40\r\n{}\r\n", "x".repeat(64));
    it.send(format!("{chunk}{chunk}5c\r\n{}\r\n0\r\n\r\n", "x".repeat(32)));
    it.send("HTTP/1.1 299 Fake\r\n\r\n").send("\r\n0\r\n\r\n").receive(NEXT).send(OK);
    assert_eq!(it.exchanges(), ["GET /a 200 Complete", WHOLE]);
    assert_eq!(it.ends()[0], "=0 Complete 0/? truncated");
}

#[test]
fn a_request_whose_end_was_lost_says_so() {
    let mut it = Conversation::new();
    it.receive("POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\n12345678").send(OK);
    it.drop(Direction::In, "9").fin(Direction::Out).close(0);
    assert_eq!(it.ends(), ["=0 Complete 9/2 gap"]);
    let mut it = Conversation::new();
    it.receive("POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\n12345678").send(OK);
    it.connection.finish(crate::event::Timestamp(it.now), &mut it.out);
    assert_eq!(it.ends(), ["=0 Unfinished ?/2"]);
}

#[test]
fn a_request_that_cannot_be_followed_still_says_what_it_is() {
    let mut it = Conversation::new();
    it.receive("GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n").send(OK).send(OK);
    it.receive("GET /c HTTP/1.1\r\nHost: h\r\n").not_captured(Direction::Out, 30, NotCaptured::Fault);
    it.receive("\r\n").close(0);
    assert_eq!(it.exchanges()[2], "GET /c Lost");
}

#[test]
fn bytes_of_a_body_are_not_missed_with_what_follows() {
    let mut it = Conversation::new();
    it.receive("GET /a HTTP/1.1\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    it.unseen(Direction::Out, 5000).receive("GET /b HTTP/1.1\r\n\r\n").drop(Direction::Out, OK);
    it.receive(NEXT).send(OK).tick(1_100);
    let missing: Vec<_> = it
        .out
        .report
        .messages
        .iter()
        .filter_map(|message| match message {
            crate::protocol::Message::End { end, .. } => Some(end.missing),
            _ => None,
        })
        .collect();
    assert_eq!(missing, [0, OK.len() as u64, 0]);
}

#[test]
fn what_the_kernel_skips_is_unseen_where_it_was_needed() {
    let mut it = Conversation::new();
    it.receive("GET /a HTTP/1.1\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-Length: 300001\r\n\r\n");
    // A body but for its last byte, as it was asked to.
    it.unseen(Direction::Out, 300_000).skipped[Direction::Out.index()] = 300_000;
    it.send("x").receive(NEXT).send(OK);
    // And a request, which nobody asked it to.
    let request = "GET /b HTTP/1.1\r\n\r\n".len() as u64;
    it.unseen(Direction::In, request).skipped[Direction::In.index()] = request;
    it.send(OK).receive(NEXT).send(OK);
    let ledger = it.close(0);
    let [sent, received] = ledger.directions;
    assert!(sent.skipped >= 300_001, "{sent:?}");
    assert_eq!((sent.unseen, received.unseen), (0, request));
}
