//! Packets captured in another order than they were sent: a handshake after the data, responses
//! before their requests; and RSTs that are ignored.

use super::{
    Outcome, View, options, run,
    talk::{Client, Packet, Server, Talk, request, response},
};

fn view(view: View, talk: &Talk) -> Outcome {
    let outcome = run(&talk.file(), &options(view));
    assert_eq!(outcome.violations, 0, "the ledger balances");
    outcome
}

fn client(talk: &Talk) -> Vec<String> {
    view(View::Client, talk).lines()
}

/// Two exchanges and the end; packets 3 to 6 are the messages.
fn talk() -> Talk {
    Talk::new().handshake().exchange("/a", 5).say(Client, &request("/b")).say(Server, &response(404, 6)).bye()
}

const BOTH: [&str; 2] = ["client GET /a 200 0/5", "client GET /b 404 0/6 404"];

/// The packets in another order, their times ascending by 1 ms.
fn reordered(talk: &Talk, order: &[usize]) -> Talk {
    let mut other = talk.clone();
    let at = talk.packets[0].at;
    let packet =
        |(number, index): (u64, &usize)| Packet { at: at + number * 1_000, ..talk.packets[*index].clone() };
    other.packets = (0..).zip(order).map(packet).collect();
    other
}

#[test]
fn responses_before_their_requests() {
    for order in [
        &[0, 1, 2, 4, 3, 6, 5, 7, 8, 9][..],
        &[0, 4, 3, 6, 5, 7, 8, 9],
        &[0, 2, 4, 3, 6, 5, 7, 8, 9],
        &[1, 4, 3, 6, 5, 7, 8, 9],
    ] {
        let talk = reordered(&talk(), order);
        for (view_of, name) in [(View::Client, "client"), (View::Server, "server")] {
            let outcome = view(view_of, &talk);
            let expected = BOTH.map(|line| line.replace("client", name));
            // For a server 404 is no error.
            let expected = expected
                .map(|line| if name == "server" { line.replace(" 404 0/6 404", " 404 0/6") } else { line });
            assert_eq!(outcome.lines(), expected, "{order:?}");
            assert!(
                outcome.spans.iter().all(|span| span.start <= span.end),
                "a response comes after its request"
            );
        }
    }
    // Without a handshake the first one says that it joined mid-stream.
    let lines = client(&reordered(&talk(), &[4, 3, 6, 5, 7, 8, 9]));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with(BOTH[0]) && lines[1].starts_with("client GET /b 404 0/6"), "{lines:?}");
}

/// Each direction by a tap of its own, whose clocks differ.
#[test]
fn two_taps_without_a_handshake() {
    let mut talk = Talk::new();
    for number in 0..6 {
        talk = talk.exchange(&format!("/{number}"), 10 + number).later(400);
    }
    let mut talk = talk.bye();
    let ahead = talk.packets[1].source;
    for packet in talk.packets.iter_mut().filter(|packet| packet.source == ahead) {
        packet.at -= 150;
    }
    talk.packets.sort_by_key(|packet| packet.at);
    for first in 0..3 {
        let mut talk = talk.clone();
        talk.packets.drain(..first);
        for line in client(&talk) {
            let number: usize = line[12..13].parse().unwrap();
            let answered = line.contains(&format!(" 200 0/{}", 10 + number));
            assert!(answered || line.contains(" - "), "{line} of {:?}", client(&talk));
        }
        assert!(client(&talk).len() >= 5, "{:?}", client(&talk));
    }
}

#[test]
fn a_handshake_after_the_data() {
    for order in [
        &[3, 0, 1, 2, 4, 5, 6, 7, 8, 9][..],
        &[0, 2, 3, 1, 4, 5, 6, 7, 8, 9],
        &[1, 3, 0, 4, 5, 6, 7, 8, 9],
        &[2, 1, 0, 3, 4, 5, 6, 7, 8, 9],
        &[2, 3, 4, 1, 0, 5, 6, 7, 8, 9],
    ] {
        assert_eq!(client(&reordered(&talk(), order)), BOTH, "{order:?}");
    }
    // 50 ms later it is too late to move the beginning, but it begins no other connection.
    let mut late = talk();
    let syn = late.packets.remove(0);
    late.packets[0].at = late.packets[3].at;
    late.packets.swap(0, 3);
    let at = late.packets.last().unwrap().at + 60_000;
    late.packets.push(Packet { at, ..syn });
    let outcome = view(View::Client, &late);
    assert_eq!(outcome.lines().len(), 2, "{:?}", outcome.lines());
    assert_eq!(outcome.report.connections, 1);
}

/// An acknowledgement and the FIN come first: both lie behind bytes that the SYN-ACK moves.
#[test]
fn a_fin_before_the_syn_ack() {
    let talk = Talk::new()
        .handshake()
        .say(Client, &request("/a"))
        .say(Server, b"HTTP/1.1 200 OK\r\n\r\n")
        .say(Server, &[b'x'; 3_000])
        .ack(Client)
        .say(Server, &[b'x'; 2_000])
        .fin(Server);
    for order in [[0, 6, 8, 1, 4, 3, 5, 7], [0, 6, 8, 7, 5, 4, 3, 1]] {
        assert_eq!(client(&reordered(&talk, &order)), ["client GET /a 200 0/5000"], "{order:?}");
    }
}

#[test]
fn a_lost_response_is_not_that_of_the_next_request() {
    let mut talk = talk();
    talk.packets.remove(4);
    let lines = client(&talk);
    assert!(lines[0].starts_with("client GET /a - 0/- [gap"), "{lines:?}");
    assert_eq!(lines[1], BOTH[1]);
}

#[test]
fn requests_alone_without_a_handshake() {
    let mut talk =
        Talk::new().exchange("/a", 500).ack(Client).exchange("/b", 600).ack(Client).exchange("/c", 7);
    let client_end = talk.packets[0].source;
    talk.packets.retain(|packet| packet.source == client_end);
    let lines = client(&talk);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().all(|line| line.contains(" - 0/- [")), "{lines:?}");
}

fn exchange_after(talk: Talk) -> Talk {
    talk.say(Client, &request("/a")).ack(Server).say(Server, &response(200, 5)).bye()
}

#[test]
fn a_reset_that_the_other_end_ignores() {
    for by in [Client, Server] {
        let talk = exchange_after(Talk::new().handshake().rst(by));
        let outcome = view(View::Client, &talk);
        assert_eq!(outcome.lines(), ["client GET /a 200 0/5"]);
        assert_eq!(outcome.report.resets_ignored, 1);
        assert!(outcome.events.last().unwrap().starts_with("closed 0"), "{:?}", outcome.events);
    }
    // Only its sender was captured.
    let mut talk = exchange_after(Talk::new().handshake().rst(Client));
    let server = talk.packets[1].source;
    talk.packets.retain(|packet| packet.source != server);
    let lines = client(&talk);
    assert!(lines[0].starts_with("client GET /a - 0/- ["), "{lines:?}");
    // The connection seems to be refused, and is accepted.
    let mut talk = Talk::new().handshake();
    let refused = Packet { sequence: 0, rst: true, syn: false, ..talk.packets[1].clone() };
    let fin = Packet { fin: true, rst: false, ..refused.clone() };
    talk.packets.insert(1, refused);
    talk.packets.insert(2, fin);
    assert_eq!(client(&exchange_after(talk)), ["client GET /a 200 0/5"]);
}

#[test]
fn what_comes_after_a_reset_that_holds_is_not_read() {
    let reply = response(200, 100);
    let begun = Talk::new().handshake().say(Client, &request("/a")).say(Server, &reply[..60]).rst(Client);
    // It was on its way.
    let talk = begun.say(Server, &reply[60..]).fin(Server);
    for later in [0, 5_000_000] {
        let mut talk = talk.clone();
        if later > 0 {
            let other = Talk::between("10.0.0.8:1".parse().unwrap(), "10.0.0.7:2".parse().unwrap(), [1, 2]);
            talk = talk.then(other.later(later).handshake());
        }
        let outcome = view(View::Client, &talk);
        assert_eq!(outcome.lines(), ["client GET /a 200 0/- connection_closed"]);
        assert_eq!(outcome.report.after_reset_bytes, reply.len() as u64 - 60);
    }
}

#[test]
fn a_body_until_close_that_the_client_resets_is_not_whole() {
    let talk = Talk::new()
        .handshake()
        .say(Client, &request("/a"))
        .say(Server, b"HTTP/1.0 404 Not Found\r\n\r\nzzzz")
        .rst(Client);
    assert_eq!(client(&talk), ["client GET /a 404 0/- [gap] 404"]);
}

#[test]
fn an_urgent_byte_is_none_of_the_others() {
    let talk = Talk::new()
        .handshake()
        .say(Client, b"GET /mali")
        .say(Client, b"Xcious HTTP/1.1\r\n\r\n")
        .say(Server, &response(200, 2));
    let mut frames: Vec<_> = talk.packets.iter().map(|packet| (packet.at, packet.ip())).collect();
    let tcp = &mut frames[4].1[20..];
    tcp[13] |= 32;
    tcp[18..20].copy_from_slice(&[0, 1]);
    let outcome = run(&super::talk::file(101, frames.into_iter()), &options(View::Client));
    assert_eq!(outcome.lines(), ["client GET /malicious 200 0/2"]);
    assert_eq!(outcome.report.urgent_bytes, 1);
    assert_eq!(outcome.violations, 0);
}

/// More connections than there is room for, one after the other, each used again and again.
#[test]
fn somewhat_too_many_connections_cost_some_of_them() {
    const ROOM: usize = 256;
    const OPEN: u16 = 273;
    let limits = super::super::Limits { connections: ROOM, ..super::super::Limits::default() };
    let server = "10.0.0.1:80".parse().unwrap();
    let mut talks: Vec<Talk> = (1..=OPEN)
        .map(|port| Talk::between(([10, 0, 0, 2], port).into(), server, [7, 9]).handshake())
        .collect();
    let mut all = Talk::new();
    for round in 0..4_u64 {
        for (number, talk) in talks.iter_mut().enumerate() {
            let mut next = std::mem::replace(talk, Talk::new());
            next = next.exchange("/a", 5);
            for (packet, index) in next.packets.iter_mut().zip(0..) {
                packet.at = 1_700_000_000_000_000 + round * 1_000_000 + number as u64 * 1_000 + index * 100;
            }
            all.packets.append(&mut next.packets);
            *talk = next;
        }
    }
    let outcome = run(&all.file(), &super::super::Options { limits, ..options(View::Client) });
    let whole = outcome.spans.iter().filter(|span| span.incomplete.is_empty()).count();
    assert_eq!(outcome.spans.len(), usize::from(OPEN) * 4);
    assert!(
        whole * 4 >= outcome.spans.len() * 3,
        "{whole} of {} spans are whole: {}",
        outcome.spans.len(),
        outcome.report
    );
    assert!(outcome.report.evicted_connections > 0);
}
