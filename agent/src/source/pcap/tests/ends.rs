//! How connections end, and what begins anew between the same ends.

use super::{
    Outcome, View, options, run,
    talk::{Client, Packet, Server, Talk, request, response},
};

fn view(view: View, talk: &Talk) -> Outcome {
    let outcome = run(&talk.file(), &options(view));
    assert_eq!(outcome.violations, 0, "the ledger balances");
    outcome
}

#[test]
fn a_reset_is_an_error_of_the_end_that_receives_it() {
    let half = &response(200, 100)[..80];
    let begun = Talk::new().handshake().say(Client, &request("/a")).say(Server, half);
    for (by, client, server) in [
        (Server, "client GET /a 200 0/- connection_reset", "server GET /a 200 0/- connection_closed"),
        (Client, "client GET /a 200 0/- connection_closed", "server GET /a 200 0/- client_aborted"),
    ] {
        let talk = begun.clone().rst(by);
        assert_eq!(view(View::Client, &talk).lines(), [client]);
        assert_eq!(view(View::Server, &talk).lines(), [server]);
    }
    // One from elsewhere changes nothing.
    let mut talk = begun.say(Server, &response(200, 100)[80..]);
    let stray = Packet { sequence: 77_000_000, rst: true, payload: vec![], ..talk.packets[4].clone() };
    talk.packets.insert(5, stray);
    let outcome = view(View::Client, &talk);
    assert_eq!(outcome.lines(), ["client GET /a 200 0/100"]);
    assert_eq!(outcome.losses(), [("segments out of window", 1)]);
}

#[test]
fn a_body_that_ends_with_the_connection() {
    let talk = Talk::new()
        .handshake()
        .say(Client, &request("/a"))
        .say(Server, b"HTTP/1.0 200 OK\r\n\r\n")
        .say(Server, &[b'x'; 1_000])
        .fin(Server)
        .ack(Client)
        .fin(Client);
    assert_eq!(view(View::Client, &talk).lines(), ["client GET /a 200 0/1000"]);
}

#[test]
fn a_port_is_used_again() {
    let first = Talk::new().handshake().exchange("/a", 5);
    let second = first.again([70_000, 80_000]).later(1_000).handshake().exchange("/b", 6);
    let third = second.again([1_000_000, 5]).later(1_000).handshake().exchange("/c", 7);
    // The first one is not seen to end, the second one is.
    let talk = first.clone().then(second.clone().bye()).then(third.bye());
    let outcome = view(View::Client, &talk);
    assert_eq!(outcome.lines(), ["client GET /a 200 0/5", "client GET /b 200 0/6", "client GET /c 200 0/7"]);
    assert_eq!(outcome.losses(), []);
    let mut traces: Vec<_> = outcome.spans.iter().map(|span| span.trace).collect();
    traces.dedup();
    assert_eq!(traces.len(), 3);
    // Without the handshake of the second one, whose numbers may lie anywhere.
    for start in [70_000, 1 << 29, 1 << 31, 0_u32.wrapping_sub(1 << 29)] {
        let mut late = first.clone().bye();
        let second = first.again([start, start]).later(1_000).handshake().exchange("/b", 6);
        late.packets.extend(second.packets.into_iter().skip(3));
        let outcome = view(View::Client, &late);
        assert_eq!(
            outcome.lines(),
            ["client GET /a 200 0/5", "client GET /b 200 0/6 [joined_mid_stream]"],
            "{start}"
        );
    }
}

#[test]
fn the_same_packets_twice_give_the_same_spans_once() {
    let talk = Talk::new().handshake().exchange("/a", 5).bye();
    let doubled = talk.clone().then(talk.clone());
    assert_eq!(view(View::Client, &doubled).lines(), ["client GET /a 200 0/5"]);
    let mut each = talk.clone();
    each.packets = talk.packets.iter().flat_map(|packet| [packet.clone(), packet.clone()]).collect();
    assert_eq!(view(View::Client, &each).lines(), ["client GET /a 200 0/5"]);
}

#[test]
fn an_open_request_stays_open_at_the_end() {
    let talk = Talk::new().handshake().exchange("/a", 5).say(Client, &request("/b"));
    assert_eq!(
        view(View::Client, &talk).lines(),
        ["client GET /a 200 0/5", "client GET /b - 0/- [unfinished]"]
    );
}

#[test]
fn the_longest_silent_make_room() {
    let limits = super::super::Limits { connections: 4, ..super::super::Limits::default() };
    let server = "10.0.0.1:80".parse().unwrap();
    let mut talk = Talk::new();
    for port in 1..=8_u16 {
        let client = std::net::SocketAddr::from(([10, 0, 0, 2], port));
        let later = u64::from(port) * 1_000;
        talk = talk.then(Talk::between(client, server, [7, 9]).later(later).handshake().exchange("/a", 5));
    }
    let outcome = run(&talk.file(), &super::super::Options { limits, ..options(View::Client) });
    assert_eq!(outcome.lines().len(), 8);
    assert_eq!(outcome.losses(), [("connections evicted", 4)]);
}

#[test]
fn what_waits_is_reported_before_its_connection_is_forgotten() {
    let limits = super::super::Limits { connections: 1, ..super::super::Limits::default() };
    let reply = response(200, 100);
    let mut talk = Talk::new()
        .handshake()
        .say(Client, &request("/a"))
        .say(Server, &reply[..60])
        .say(Server, &reply[60..80])
        .say(Server, &reply[80..]);
    talk.packets.remove(5);
    let other = Talk::between("10.0.0.8:1".parse().unwrap(), "10.0.0.7:2".parse().unwrap(), [1, 2]);
    let talk = talk.then(other.later(1_000).handshake().exchange("/b", 1));
    let outcome = run(&talk.file(), &super::super::Options { limits, ..options(View::Client) });
    assert_eq!(outcome.lines(), ["client GET /a 200 0/100", "client GET /b 200 0/1"]);
    assert_eq!(
        outcome.report.to_string(),
        "11 packets, 2 connections with data, 1 gaps, 20 bytes in gaps, 1 connections evicted"
    );
}
