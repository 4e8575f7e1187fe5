//! Positions decide, not the order in which calls were logged.

use super::conversation::{Conversation, MILLISECOND};
use crate::{
    event::{Direction, Thread},
    protocol::Limits,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_response_logged_before_its_request() {
    let mut it = Conversation::new();
    it.receive(OK).send("GET /a HTTP/1.1\r\n").receive("HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n");
    it.send("\r\nGET /b HTTP/1.1\r\n\r\n");
    assert_eq!(it.exchanges(), ["GET /a 200 Complete", "GET /b 404 Complete"]);
    assert!(!it.connection.needs_tick());
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
    assert_eq!(it.out.counters.calls_held, 4);
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
    it.tick(99);
    assert_eq!(it.told(), [""; 0]);
    it.tick(2).send(OK);
    assert_eq!(it.told(), [""; 0], "it may lie in the body of what was not seen");
    it.receive("GET /b HTTP/1.1\r\n\r\n").send(OK);
    assert_eq!(it.exchanges(), ["GET /b 200 Complete"]);
    assert_eq!((it.out.counters.gaps, it.out.counters.gap_bytes_unseen), (1, 10));
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
    let mut it = Conversation::with(Limits { held_calls: 4, ..Limits::default() }, [true; 2]);
    it.unseen(Direction::In, 1);
    for _ in 0..5 {
        it.receive("GET /a HTTP/1.1\r\n\r\n");
    }
    assert_eq!(it.out.counters.held_overflow, 1);
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
    assert_eq!(it.out.counters.overlaps, 1);
    it.close(0);
}
