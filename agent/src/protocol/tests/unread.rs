//! First lines that are not to the letter or not whole: told and marked where a boundary or an answer proves them, and counted
//! in any case.

use super::conversation::Conversation;
use crate::{event::Direction, protocol::Limits};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NEXT: &str = "GET /next HTTP/1.1\r\n\r\n";

#[test]
fn a_line_that_is_not_to_the_letter_is_told_and_marked() {
    for (line, target) in [
        ("GET  /two HTTP/1.1", "/two"),
        ("GET /x HTTP/1.1 ", "/x"),
        ("GET /x HTTP/1.2", "/x"),
        ("GET /x HTTP/1.0.8", "/x"),
        ("GET /a b HTTP/1.1", "/a b"),
        ("GET /t\u{1} HTTP/1.1", "/t\u{1}"),
    ] {
        let request = format!("{line}\r\nHost: a\r\n\r\n");
        for step in [1, 5, request.len()] {
            let mut it = Conversation::new();
            for part in request.as_bytes().chunks(step) {
                it.receive(part);
            }
            it.send(OK).receive(NEXT).send(OK);
            assert_eq!(
                it.exchanges(),
                [format!("GET {target} 200 Complete"), "GET /next 200 Complete".into()]
            );
            assert_eq!(it.ends(), ["=0 Complete 0/2 malformed", "=1 Complete 0/2"], "{line:?}");
            it.close(0);
        }
    }
}

#[test]
fn so_it_is_after_a_whole_message_and_with_a_body() {
    let mut it = Conversation::new();
    it.receive(NEXT).send(OK);
    it.receive("POST /a b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").send(OK).receive(NEXT).send(OK);
    assert_eq!(it.ends(), ["=0 Complete 0/2", "=1 Complete 3/2 malformed", "=2 Complete 0/2"]);
}

/// Where nothing proves that a message begins, only the letter counts.
#[test]
fn not_where_a_body_may_be() {
    let odd = "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut it = Conversation::with(Limits::default(), [false; 2]);
    it.receive(odd).send(OK);
    assert_eq!(it.told(), [""; 0]);
    let mut it = Conversation::new();
    it.receive("POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").drop(Direction::In, "5\r\nabc");
    it.receive(odd).send(OK);
    assert_eq!(it.exchanges(), ["POST /up 200 Complete"]);
    // In a body that is read nothing is looked for.
    let mut it = Conversation::new();
    it.receive(format!("POST /up HTTP/1.1\r\nContent-Length: {}\r\n\r\n", odd.len())).receive(odd).send(OK);
    assert_eq!(it.exchanges(), ["POST /up 200 Complete"]);
}

#[test]
fn an_answer_to_what_is_no_request_is_counted() {
    for request in
        ["get\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", "GET HTTP/1.1\r\n\r\n", "GET / FTP/1.1\r\n\r\n"]
    {
        let mut it = Conversation::new();
        it.receive(request).send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        it.close(0);
        assert_eq!((it.told().len(), it.out.counters.responses_without_request), (0, 1), "{request:?}");
        assert_eq!(it.out.counters.connections_not_http1, 0);
    }
}

#[test]
fn http_0_9_is_counted() {
    let mut it = Conversation::new();
    it.receive("GET /\r\n").send("<html>hi</html>");
    it.close(0);
    assert_eq!(it.told(), [""; 0]);
    assert_eq!((it.out.counters.requests_http09, it.out.counters.connections_not_http1), (1, 1));
}

#[test]
fn connections_of_other_protocols_are_counted() {
    let mut it = Conversation::new();
    it.receive("*1\r\n$4\r\nPING\r\n").send("+PONG\r\n");
    it.close(0);
    assert_eq!(it.out.counters.connections_not_http1, 1);
    let mut it = Conversation::new();
    it.close(0);
    assert_eq!(it.out.counters.connections_not_http1, 0, "nothing was said");
}

#[test]
fn a_status_line_is_told_although_its_head_is_not_whole() {
    for (answer, close) in [
        ("HTTP/1.1 500 Internal Server Error\r\nServer: x\r\n", true),
        ("HTTP/1.1 500 Internal Server Error\r\n", false),
        ("HTTP/1.1 500 Inter", true),
        ("HTTP/1.1 500 Inter", false),
    ] {
        let mut it = Conversation::new();
        it.receive(NEXT).send(answer);
        if close {
            it.fin(Direction::Out).close(0);
        } else {
            it.connection.finish(crate::event::Timestamp(it.now), &mut it.out);
        }
        let [.., response, end] = &it.told()[..] else { panic!("{:?}", it.told()) };
        assert_eq!(response, "<0 500 cut", "{answer:?}");
        assert!(end.ends_with("/? truncated"), "{end}");
    }
    let mut it = Conversation::new();
    it.receive(NEXT).send("HTTP/1.1 50");
    it.close(0);
    assert_eq!(it.ends(), ["=0 ConnectionClosed(None) 0/?"]);
}

#[test]
fn a_request_line_that_was_cut_early_is_proven_by_its_answer() {
    let cut = || {
        let mut it = Conversation::new();
        it.capture = (20, 0);
        it.receive("GET /api/v1/customers/1234567/orders HTTP/1.1\r\nHost: a\r\n\r\n");
        it
    };
    let mut it = cut();
    it.send("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
    it.fin(Direction::Out).close(0);
    assert_eq!(it.told(), [">0 In", ">0 GET /api/v1/customer cut", "<0 404 cut", "=0 Lost ?/? truncated"]);
    // The next ones are told as such, since each comes after an answer.
    let mut it = cut();
    for status in [200, 404] {
        it.send(format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n\r\n"));
        it.receive(format!("GET /api/v1/customers/{status} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    it.send("HTTP/1.1 500 Status\r\nContent-Length: 0\r\n\r\n");
    it.close(0);
    let statuses: Vec<_> = it.told().into_iter().filter(|line| line.starts_with('<')).collect();
    assert_eq!(statuses, ["<0 200 cut", "<1 404 cut", "<2 500 cut"]);
    // Anything else than an answer proves nothing.
    let mut it = cut();
    it.send("+OK\r\n");
    it.close(0);
    assert_eq!((it.told().len(), it.out.counters.requests_unconfirmed), (0, 1));
}

fn late() -> Conversation {
    Conversation::with(Limits::default(), [false; 2])
}

const TWO: &str = "GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n";
const NO: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";

#[test]
fn requests_in_a_row_at_first_sight_are_proven_by_answers_in_a_row() {
    for together in [true, false] {
        let mut it = late();
        it.receive(TWO);
        if together {
            it.send(format!("{OK}{NO}"));
        } else {
            it.send(OK).send(NO);
        }
        it.close(0);
        assert_eq!(it.exchanges(), ["GET /one 200 Complete", "GET /two 404 Complete"]);
        assert_eq!(it.ends(), ["=0 Complete 0/2 joined_mid_stream", "=1 Complete 0/2 joined_mid_stream"]);
    }
    // It may be text in a body: then there is one answer, perhaps with an interim one before it.
    let mut it = late();
    it.receive("GET /one HTTP/1.1\r\n\r\n").receive("GET /two HTTP/1.1\r\n\r\n");
    it.send("HTTP/1.1 103 Early Hints\r\n\r\n").send(OK);
    it.close(0);
    assert_eq!(it.exchanges(), ["GET /one 103 Lost"]);
    let mut it = late();
    it.receive(TWO).send(OK);
    it.close(0);
    assert_eq!(it.exchanges(), ["GET /one 200 Complete"]);
    assert_eq!(it.out.counters.requests_unconfirmed, 1);
}

#[test]
fn a_request_that_follows_at_once_proves_both_when_an_answer_has_passed_unseen() {
    let mut it = late();
    for path in ["/0", "/1", "/2"] {
        it.receive(format!("GET {path} HTTP/1.1\r\n\r\n")).drop(Direction::Out, OK);
        let position = it.position[Direction::Out.index()];
        it.at(Direction::Out, position, b"", None);
    }
    it.close(0);
    assert_eq!(it.exchanges(), ["GET /0 Lost", "GET /1 Lost", "GET /2 Lost"]);
    assert!(it.ends().iter().all(|end| end.contains("joined_mid_stream")), "{:?}", it.ends());
    // Text in a body has no answers between its parts.
    let mut it = late();
    it.receive("GET /0 HTTP/1.1\r\n\r\n").receive("GET /1 HTTP/1.1\r\n\r\n").receive("some text");
    it.close(0);
    assert_eq!(it.exchanges(), ["GET /0 ConnectionClosed(None)"]);
}

#[test]
fn a_loss_that_is_told_before_the_next_request_takes_the_answer_before_it() {
    let mut it = Conversation::new();
    it.receive("GET /1 HTTP/1.1\r\n\r\n").drop(Direction::Out, OK);
    let position = it.position[Direction::Out.index()];
    it.at(Direction::Out, position, b"", None);
    it.receive("GET /2 HTTP/1.1\r\n\r\n").send(NO);
    it.close(0);
    assert_eq!(it.exchanges(), ["GET /1 Lost", "GET /2 404 Complete"]);
}
