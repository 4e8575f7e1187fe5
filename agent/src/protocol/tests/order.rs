//! Positions decide, not the order in which transfers were logged.

use super::conversation::{Conversation, MILLISECOND};
use crate::{
    event::{Direction, Earlier, Thread, Timestamp},
    protocol::{Begin, Limits, Message},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_response_logged_before_its_request() {
    let mut it = Conversation::new();
    it.receive(OK).send("GET /a HTTP/1.1\r\n").receive("HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n");
    it.send("\r\nGET /b HTTP/1.1\r\n\r\n");
    assert_eq!(it.exchanges(), ["GET /a 200 Complete", "GET /b 404 Complete"]);
    assert!(!it.connection.needs_tick());
    let other = |message: &Message| match message {
        Message::Begin { begin: Begin { other_position, .. }, .. } => Some(*other_position),
        _ => None,
    };
    let others: Vec<_> = it.out.report.messages.iter().filter_map(other).collect();
    assert_eq!(others, [0, 0], "no response was read when the requests were sent");
}

#[test]
fn calls_of_two_threads_in_any_order() {
    let mut it = Conversation::new();
    let request = b"GET /abc HTTP/1.1\r\nHost: h\r\n\r\n";
    for (start, end) in [(20, 30), (5, 9), (9, 20), (0, 5)] {
        it.now += MILLISECOND;
        it.thread = Thread { pid: 1, tid: u32::try_from(start).unwrap() };
        let end = end.min(request.len());
        it.at(Direction::Out, start as u64, &request[start..end], None);
    }
    it.position[0] = request.len() as u64;
    it.receive(OK);
    assert_eq!(it.exchanges(), ["GET /abc 200 Complete"]);
    assert_eq!(it.out.stream.transfers_held, 4);
    assert_eq!(it.close(0).directions[0].unseen, 0);
}

#[test]
fn a_fin_logged_before_the_last_bytes() {
    let mut it = Conversation::new();
    it.send("GET / HTTP/1.0\r\n\r\n").receive("HTTP/1.0 200 OK\r\n\r\n");
    it.position[1] += 3;
    it.fin(Direction::In);
    assert_eq!(it.ends(), ["=0 Complete 0/3"], "bytes of a body are not waited for");
}

#[test]
fn a_hole_is_waited_for_and_then_given_up() {
    let mut it = Conversation::new();
    it.unseen(Direction::In, 10).receive("GET /a HTTP/1.1\r\n\r\n");
    assert!(it.connection.needs_tick());
    it.tick(999);
    assert_eq!(it.told(), [""; 0]);
    it.tick(2).send(OK);
    assert_eq!(it.told(), [""; 0], "it may lie in the body of what was not seen");
    it.receive("GET /b HTTP/1.1\r\n\r\n").send(OK);
    assert_eq!(it.exchanges(), ["GET /b 200 Complete"]);
    assert_eq!((it.out.counters.gaps, it.out.stream.gap_bytes_unseen), (1, 10));
    // What comes too late is neither read nor counted twice.
    it.at(Direction::In, 0, b"0123456789", None);
    assert_eq!(it.close(0).directions[1].unseen, 0);
}

#[test]
fn known_drops_are_not_waited_for() {
    let mut it = Conversation::new();
    it.drop(Direction::In, [0; 10]).receive("the rest").send(OK).receive("GET /b HTTP/1.1\r\n\r\n").send(OK);
    assert_eq!(it.exchanges(), ["GET /b 200 Complete"]);
    assert_eq!(it.out.counters.gaps, 1);
    let account = it.close(0).directions[1];
    assert_eq!((account.dropped, account.unseen), (10, 0));
}

#[test]
fn a_full_hold_gives_up_early() {
    let mut it = Conversation::with(Limits { held_transfers: 4, ..Limits::default() }, [true; 2]);
    it.unseen(Direction::In, 1);
    for _ in 0..5 {
        it.receive("GET /a HTTP/1.1\r\n\r\n");
    }
    assert_eq!(it.out.stream.held_overflow, 1);
    assert!(!it.connection.needs_tick());
    assert_eq!(it.connection.buffered(), 0);
}

#[test]
fn overlapping_calls_are_flagged_and_counted_once() {
    let mut it = Conversation::new();
    it.receive("POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n0123456789");
    let end = it.position[1];
    it.now += MILLISECOND;
    it.at(Direction::In, end - 5, &[b'x'; 95], None);
    it.position[1] = end + 90;
    it.send(OK);
    assert_eq!(it.ends(), ["=0 Complete 100/2 overlap"]);
    assert_eq!(it.out.stream.overlaps, 1);
    it.close(0);
}

/// Where a connection that was first seen in the middle begins.
const FIRST: u64 = 1 << 32;
const GET: &str = "GET /a HTTP/1.1\r\n\r\n";

/// First seen by a response; the transfer that moved its request is still on its way out of the kernel.
fn before_its_request(sent: Earlier) -> Conversation {
    let mut it = Conversation::joined(Limits::default(), FIRST, [sent, Earlier::Nothing]);
    it.receive(OK);
    assert_eq!(it.told(), [""; 0]);
    it.now += MILLISECOND;
    it.at(Direction::Out, FIRST - GET.len() as u64, GET.as_bytes(), None);
    it
}

#[test]
fn a_response_that_is_the_first_sight_waits_for_the_request_before_it() {
    let sent = Earlier::Bytes(GET.len() as u64);
    let mut it = before_its_request(sent);
    assert_eq!(it.exchanges(), ["GET /a 200 Complete"]);
    assert_eq!(it.ends(), ["=0 Complete 0/2"], "the stream begins with it: nothing is in doubt");
    it.send("GET /b HTTP/1.1\r\n\r\n").receive("HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(it.exchanges(), ["GET /a 200 Complete", "GET /b 404 Complete"]);
    let ledger = it.close(0);
    assert_eq!(ledger.directions[0].observed, 2 * GET.len() as u64);
    assert_eq!((ledger.directions[0].unseen, ledger.violation()), (0, false));
}

#[test]
fn so_it_does_on_a_connection_that_is_older() {
    for sent in [Earlier::Bytes(1_000), Earlier::Unknown] {
        let mut it = before_its_request(sent);
        assert_eq!(it.ends(), ["=0 Complete 0/2 joined_mid_stream"], "{sent:?}");
        it.send("GET /b HTTP/1.1\r\n\r\n").receive(OK);
        assert_eq!(it.ends()[1], "=1 Complete 0/2", "{sent:?}");
        assert!(!it.close(0).violation(), "{sent:?}");
    }
}

#[test]
fn its_request_is_no_younger_than_the_first_sight() {
    let it = before_its_request(Earlier::Bytes(GET.len() as u64));
    let origin = it.out.report.messages.iter().find_map(|message| match message {
        Message::Begin { begin: Begin { origin, other_position, .. }, .. } => {
            Some((origin.at, origin.position, *other_position))
        }
        _ => None,
    });
    assert_eq!(origin, Some((Timestamp(0), FIRST - GET.len() as u64, FIRST)));
}

#[test]
fn a_response_whose_request_passed_before_the_first_sight_waits_in_vain() {
    let mut it = Conversation::joined(Limits::default(), FIRST, [Earlier::Bytes(500), Earlier::Bytes(9)]);
    it.receive(OK);
    assert!(it.connection.needs_tick());
    it.tick(1_001);
    assert!(!it.connection.needs_tick());
    assert_eq!(it.out.counters.responses_without_request, 1);
    it.send(GET).receive(OK);
    assert_eq!(it.exchanges(), ["GET /a 200 Complete"]);
    assert!(!it.close(0).violation());
}

/// A transfer that sends a large body may end long after its answer was read.
fn too_late_for_its_response(sent: Earlier) -> Conversation {
    let mut it = Conversation::joined(Limits::default(), FIRST, [sent, Earlier::Nothing]);
    it.receive(OK).tick(1_001);
    assert_eq!(it.out.counters.responses_without_request, 1);
    it.at(Direction::Out, FIRST - GET.len() as u64, GET.as_bytes(), None);
    it.send("GET /b HTTP/1.1\r\n\r\n").receive(OK);
    assert!(!it.close(0).violation(), "{sent:?}");
    it
}

#[test]
fn a_request_that_comes_after_its_response_was_given_up_is_told_as_one_without() {
    let it = too_late_for_its_response(Earlier::Bytes(GET.len() as u64));
    assert_eq!(it.exchanges(), ["GET /a Lost", "GET /b 200 Complete"]);
    assert_eq!(it.ends(), ["=0 Lost 0/? joined_mid_stream", "=1 Complete 0/2"]);
}

#[test]
fn one_that_may_be_a_part_of_a_body_is_not() {
    for sent in [Earlier::Bytes(1_000), Earlier::Unknown] {
        assert_eq!(too_late_for_its_response(sent).exchanges(), ["GET /b 200 Complete"], "{sent:?}");
    }
}

/// Which of the two the next response answers cannot be told then: neither gets it.
#[test]
fn so_it_is_on_a_connection_that_is_known_from_its_start() {
    let mut it = Conversation::new();
    it.receive(OK).tick(1_001).send(GET).send("GET /b HTTP/1.1\r\n\r\n").receive(OK);
    it.send("GET /c HTTP/1.1\r\n\r\n").receive(OK);
    assert_eq!(it.exchanges(), ["GET /a Lost", "GET /b Lost", "GET /c 200 Complete"]);
}

#[test]
fn a_call_after_the_first_sight_ends_the_wait_for_one_before_it() {
    let mut it = Conversation::joined(Limits::default(), FIRST, [Earlier::Bytes(500), Earlier::Bytes(9)]);
    it.receive(OK).send(GET).receive(OK);
    assert_eq!(it.exchanges(), ["GET /a 200 Complete"], "the first response answers what was not seen");
    // What moved earlier and comes now is of no use, and nothing is counted for it.
    it.at(Direction::Out, FIRST - 500, &[b'x'; 500], None);
    assert_eq!(it.out.stream.transfers_late, 1);
    it.send("GET /b HTTP/1.1\r\n\r\n").receive(OK);
    assert_eq!(it.exchanges().len(), 2);
    let ledger = it.close(0);
    assert_eq!((ledger.directions[0].observed, ledger.violation()), (2 * GET.len() as u64, false));
}

/// A part of a body that looks like a request is the first that can be read, but not the first that was seen.
#[test]
fn what_waits_for_a_hole_is_older_than_the_first_request() {
    let mut it = Conversation::joined(Limits::default(), FIRST, [Earlier::Bytes(9), Earlier::Bytes(80)]);
    it.unseen(Direction::Out, 3).send("P/1.1 100 Continue\r\n\r\n").receive("GET /fake HTTP/1.1\r\n\r\n");
    it.tick(1_001).send(OK).receive(GET).send(OK);
    assert_eq!(it.exchanges(), ["GET /a 200 Complete"]);
}

#[test]
fn a_server_that_answers_in_another_thread_than_reads() {
    let mut it = Conversation::joined(Limits::default(), FIRST, [Earlier::Nothing, Earlier::Bytes(19)]);
    it.send(OK);
    it.now += MILLISECOND;
    it.at(Direction::In, FIRST - GET.len() as u64, GET.as_bytes(), None);
    assert_eq!(it.exchanges(), ["GET /a 200 Complete"]);
}

/// The answer comes before the request is whole: its transfer began before first observation and ends after it.
#[test]
fn a_first_call_that_began_before_the_first_sight_and_ends_after_it() {
    let body = "x".repeat(1_000);
    let request = format!("POST /a HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{body}");
    let before = 500;
    let mut it = Conversation::joined(Limits::default(), FIRST, [Earlier::Bytes(before), Earlier::Nothing]);
    it.receive(OK);
    it.now += MILLISECOND;
    it.at(Direction::Out, FIRST - before, request.as_bytes(), None);
    it.position[0] = FIRST - before + request.len() as u64;
    assert_eq!(it.exchanges(), ["POST /a 200 Complete"]);
    let ledger = it.close(0);
    assert_eq!((ledger.directions[0].observed, ledger.violation()), (request.len() as u64, false));
}
