//! Tests of what a replayed capture reports at its end.

use crate::{
    pipeline::{EventSink, Settings},
    protocol,
    session::telemetry::capture_summary,
    source::pcap::{
        self,
        tests::talk::{Client, Server, Talk, file, request, response},
    },
};

fn summary_of(capture: &[u8]) -> String {
    let mut sink = EventSink::new(Settings::default(), drop);
    let options = pcap::Options::new(protocol::opening);
    let report = pcap::read(capture, &options, &mut |event| sink.feed(event)).unwrap();
    capture_summary(&sink.snapshot(0), &report.missed())
}

fn summary(talk: &Talk) -> String {
    summary_of(&talk.clone().bye().file())
}

fn talk() -> Talk {
    Talk::new().handshake().exchange("/a", 5).exchange("/b", 6)
}

#[test]
fn nothing_was_missed() {
    assert_eq!(summary(&talk()), "0 requests received, 2 made; nothing was missed");
    let redis = Talk::new().handshake().say(Client, b"*1\r\n$4\r\nPING\r\n").say(Server, b"+PONG\r\n");
    assert_eq!(
        summary(&redis),
        "0 requests received, 0 made, 1 connections not read as HTTP/1; nothing was missed"
    );
}

#[test]
fn what_was_missed_is_said() {
    let answers_only = {
        let mut talk = talk().bye();
        let client = talk.packets[0].source;
        talk.packets.retain(|packet| packet.source != client);
        talk
    };
    let error = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let unreadable = Talk::new().handshake().say(Client, b"hello\r\n\r\n").say(Server, error);
    let old = Talk::new().handshake().say(Client, b"GET /\r\n").say(Server, b"<html>hi</html>");
    let odd =
        Talk::new().handshake().say(Client, b"GET /a b HTTP/1.1\r\n\r\n").say(Server, &response(200, 2));
    let long = Talk::new()
        .handshake()
        .say_cut(Client, &request(&format!("/{}", "x".repeat(9_000))), 1_000)
        .say(Server, &response(200, 2));
    let mut lost = talk();
    lost.packets.remove(4);
    for (talk, expected) in [
        (&answers_only, "2 responses without a request that could be read"),
        (&unreadable, "1 responses without a request that could be read"),
        (&old, "1 connections not read as HTTP/1; missed:\n  1 requests of HTTP/0.9, which is not read"),
        (&odd, "1 made; missed:\n  1 spans made from incomplete data"),
        (&long, "1 texts of spans cut to their limit"),
        (&lost, "2 made; missed:\n  1 spans made from incomplete data"),
    ] {
        let said = summary(talk);
        assert!(said.contains(expected) && !said.contains("nothing was missed"), "{said}");
    }
}

#[test]
fn so_is_what_the_reader_of_packets_could_not_use() {
    // Geneve.
    let mut udp = talk().packets[3].ip();
    udp[9] = 17;
    udp[22..24].copy_from_slice(&6081_u16.to_be_bytes());
    let said = summary_of(&file(101, [(1, udp)].into_iter()));
    assert_eq!(said, "0 requests received, 0 made; missed:\n  1 packets in tunnels that are not read");
}
