//! Who is the client, and where a connection begins, when the handshake is odd or missing.

use super::{
    Outcome, View, options, run,
    talk::{Client, Server, Talk, request, response},
};
use crate::event::Endpoint;

fn end(text: &str) -> Endpoint {
    Endpoint::Inet(text.parse().unwrap())
}

fn client(talk: &Talk) -> Outcome {
    let outcome = run(&talk.file(), &options(View::Client));
    assert_eq!(outcome.violations, 0, "the ledger balances");
    outcome
}

#[test]
fn without_a_handshake_whoever_sends_the_request_is_the_client() {
    let talk = Talk::new().exchange("/a", 5).exchange("/b", 6).bye();
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), ["client GET /a 200 0/5 [joined_mid_stream]", "client GET /b 200 0/6"]);
    assert_eq!(outcome.losses(), [("of them without a handshake", 1)]);
    assert_eq!(outcome.spans[0].local, Some(end("10.0.0.9:80")));
    let server = run(&talk.file(), &options(View::Server));
    assert_eq!(server.lines(), ["server GET /a 200 0/5 [joined_mid_stream]", "server GET /b 200 0/6"]);
    assert_eq!(server.spans[0].local, Some(end("10.0.0.1:54321")));
}

#[test]
fn the_capture_starts_in_the_middle_of_a_response() {
    let mut talk = Talk::new()
        .say(Client, &request("/a"))
        .say_cut(Server, &response(200, 5_000), 1_000)
        .exchange("/b", 6);
    talk.packets.drain(..3);
    let outcome = client(&talk.bye());
    assert_eq!(outcome.lines(), ["client GET /b 200 0/6 [joined_mid_stream]"]);
    assert_eq!(
        outcome.losses(),
        [("of them without a handshake", 1), ("bytes before a known message on those", 3_040)]
    );
}

#[test]
fn the_capture_starts_between_request_and_response() {
    let mut talk = Talk::new().exchange("/a", 5).exchange("/b", 6);
    talk.packets.remove(0);
    let outcome = client(&talk.bye());
    assert_eq!(outcome.lines(), ["client GET /b 200 0/6"]);
    assert_eq!(outcome.losses(), [("of them without a handshake", 1)]);
}

#[test]
fn a_part_of_the_handshake_is_enough() {
    let whole = Talk::new().handshake().exchange("/a", 5).bye();
    for (missing, from_start) in [(0, "[true, true]"), (1, "[true, false]"), (2, "[true, true]")] {
        let mut talk = whole.clone();
        talk.packets.remove(missing);
        let outcome = client(&talk);
        assert_eq!(outcome.lines(), ["client GET /a 200 0/5"], "without {missing}");
        assert_eq!(outcome.events[0], format!("opened {from_start}"));
    }
}

#[test]
fn data_in_the_syn_is_data() {
    let mut talk = Talk::new().handshake().say(Client, &request("/a")).say(Server, &response(200, 5));
    // RFC 7413: the request comes with the SYN, and again when the server did not take it.
    talk.packets[0].payload = request("/a");
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), ["client GET /a 200 0/5"]);
    assert_eq!(outcome.losses(), [("bytes retransmitted", 39)]);
    talk.packets.remove(3);
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), ["client GET /a 200 0/5"]);
    assert_eq!(outcome.losses(), []);
}

#[test]
fn a_lone_syn_with_a_request_is_a_request() {
    let mut talk = Talk::new().syn(Client, false);
    talk.packets[0].payload = request("/a");
    assert_eq!(client(&talk).lines(), ["client GET /a - 0/- [unfinished]"]);
}

#[test]
fn both_connect_at_once() {
    let talk = Talk::new()
        .syn(Client, false)
        .syn(Server, false)
        .ack(Client)
        .ack(Server)
        .exchange("/a", 5)
        .exchange("/b", 7)
        .bye();
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), ["client GET /a 200 0/5", "client GET /b 200 0/7"]);
    assert_eq!(outcome.events[0], "opened [true, true]");
}

#[test]
fn the_one_that_connects_may_be_the_server() {
    let talk = Talk::new().handshake().say(Server, &request("/a")).say(Client, &response(200, 5)).bye();
    assert_eq!(client(&talk).lines(), ["server GET /a 200 0/5"]);
}

#[test]
fn what_is_no_known_protocol_gives_nothing() {
    let talk = Talk::new().handshake().say(Client, b"\x16\x03\x01\x02\x00").say(Server, &[7; 900]).bye();
    let outcome = client(&talk);
    assert_eq!((outcome.lines(), outcome.losses()), (vec![], vec![]));
    let mut late = talk;
    late.packets.drain(..3);
    let outcome = client(&late);
    assert_eq!(outcome.losses(), [("bytes before a known message on those", 905)]);
    assert_eq!(outcome.events, Vec::<String>::new());
}
