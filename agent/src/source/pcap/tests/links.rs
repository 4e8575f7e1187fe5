//! Link layers and IP: the same conversation in every wrapping.

use etherparse::{IpFragOffset, Ipv4Header, ip_number};

use super::{
    Outcome, View, options, run,
    talk::{Client, Packet, Server, Talk, file, request, response},
};

const SPANS: [&str; 2] = ["client GET /a 200 0/5", "client GET /b 200 0/6"];

fn talk() -> Talk {
    Talk::new().handshake().exchange("/a", 5).exchange("/b", 6).bye()
}

fn talk_v6() -> Talk {
    let ends = ["[2001:db8::9]:80", "[2001:db8::1]:54321"].map(|end| end.parse().unwrap());
    Talk::between(ends[0], ends[1], [1, 2]).handshake().exchange("/a", 5).exchange("/b", 6).bye()
}

fn framed(link: u32, talk: &Talk, frame: impl Fn(&Packet) -> Vec<u8>) -> Outcome {
    let outcome = run(
        &file(link, talk.packets.iter().map(|packet| (packet.at, frame(packet)))),
        &options(View::Client),
    );
    assert_eq!(outcome.lines(), SPANS, "link type {link}: {}", outcome.report);
    assert_eq!(outcome.losses(), []);
    outcome
}

fn before(front: &[u8]) -> impl Fn(&Packet) -> Vec<u8> {
    move |packet| [front, &packet.ip()].concat()
}

#[test]
fn every_link_type() {
    let mac = [2; 12];
    let tag = |kind: u16| [&kind.to_be_bytes()[..], &[0, 7]].concat();
    for (talk, kind, family) in [(talk(), [8, 0], 2_u32), (talk_v6(), [0x86, 0xdd], 30)] {
        let ethernet = |tags: &[Vec<u8>]| [&mac[..], &tags.concat(), &kind].concat();
        framed(1, &talk, before(&ethernet(&[])));
        framed(1, &talk, before(&ethernet(&[tag(0x8100)])));
        framed(1, &talk, before(&ethernet(&[tag(0x88a8), tag(0x8100)])));
        framed(1, &talk, before(&ethernet(&[tag(0x9100), tag(0x9200), tag(0x8100), tag(0x8100)])));
        let point = if family == 2 { [0, 0x21] } else { [0, 0x57] };
        framed(1, &talk, before(&[&mac[..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 0], &point].concat()));
        framed(113, &talk, before(&[&[0, 4, 3, 4, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0], &kind[..]].concat()));
        framed(113, &talk, before(&[&[0; 14][..], &tag(0x8100), &kind].concat()));
        framed(276, &talk, before(&[&kind[..], &[0; 18]].concat()));
        for raw in [12, 14, 101, if family == 2 { 228 } else { 229 }] {
            framed(raw, &talk, before(&[]));
        }
        framed(0, &talk, before(&family.to_le_bytes()));
        framed(0, &talk, before(&family.to_be_bytes()));
        framed(108, &talk, before(&family.to_be_bytes()));
    }
}

#[test]
fn point_to_point_links() {
    for (talk, protocol, ethertype) in [(talk(), 0x21, [8, 0]), (talk_v6(), 0x57, [0x86, 0xdd])] {
        framed(9, &talk, before(&[0xff, 3, 0, protocol]));
        framed(9, &talk, before(&[0, protocol]));
        framed(50, &talk, before(&[0xff, 3, 0, protocol]));
        framed(9, &talk, before(&[protocol]));
        framed(51, &talk, before(&[0x11, 0, 0, 1, 0, 0, 0, protocol]));
        framed(104, &talk, before(&[&[0x0f, 0][..], &ethertype].concat()));
    }
}

/// An IP packet of `protocol` around `payload`.
fn around(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header::new(0, 64, protocol.into(), [192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
    header.set_payload_len(payload.len()).unwrap();
    let mut bytes = Vec::new();
    header.write(&mut bytes).unwrap();
    bytes.extend(payload);
    bytes
}

fn inside(protocol: u8, front: &[u8]) -> impl Fn(&Packet) -> Vec<u8> {
    move |packet| around(protocol, &[front, &packet.ip()].concat())
}

#[test]
fn tunnels() {
    let frame = |kind: [u8; 2]| [&[2; 12][..], &kind].concat();
    for (talk, protocol, kind) in [(talk(), 4, [8, 0]), (talk_v6(), 41, [0x86, 0xdd])] {
        framed(101, &talk, inside(protocol, &[]));
        framed(101, &talk, |packet| around(4, &around(protocol, &packet.ip())));
        framed(101, &talk, inside(47, &[&[0, 0][..], &kind].concat()));
        framed(101, &talk, inside(47, &[&[0xb0, 0][..], &kind, &[1; 12]].concat()));
        framed(101, &talk, inside(47, &[&[0, 0, 0x65, 0x58][..], &frame(kind)].concat()));
        framed(101, &talk, inside(47, &[&[0, 0, 0x88, 0xbe][..], &frame(kind)].concat()));
        framed(101, &talk, inside(47, &[&[0x10, 0, 0x88, 0xbe][..], &[1; 12], &frame(kind)].concat()));
        let point = if protocol == 4 { 0x21 } else { 0x57 };
        framed(
            101,
            &talk,
            inside(47, &[0x30, 0x81, 0x88, 0x0b, 9, 9, 9, 9, 8, 8, 8, 8, 7, 7, 7, 7, 0, point]),
        );
        for port in [[0x12, 0xb5], [0x21, 0x18]] {
            // With flags of extensions, and with reserved ones.
            for flags in [[8, 0], [0x88, 8], [0xff, 1]] {
                let header = [&[0, 90, 0, 0][..], &flags, &[2, 2, 0, 0, 7, 1]].concat();
                let front = [&[9, 9][..], &port, &header, &frame(kind)].concat();
                framed(101, &talk, inside(17, &front));
            }
        }
        framed(1, &talk, before(&[&[2; 12][..], &[0x88, 0x47, 0, 1, 0, 9, 0, 2, 1, 9]].concat()));
        framed(1, &talk, before(&[&[2; 12][..], &[0, 90, 0xaa, 0xaa, 3, 0, 0, 0], &kind].concat()));
    }
}

#[test]
fn a_tunnel_in_fragments() {
    let parts = talk().packets.into_iter().zip(1..).flat_map(|(packet, number)| {
        let parts = fragments(&around(4, &packet.ip()), 24, number);
        parts.into_iter().map(move |part| (packet.at, part))
    });
    let outcome = run(&file(101, parts), &options(View::Client));
    assert_eq!(outcome.lines(), SPANS);
}

#[test]
fn what_is_not_read_in_tunnels_is_counted() {
    let mut deep = talk().packets[0].ip();
    for _ in 0..9 {
        deep = around(4, &deep);
    }
    let tunnels = [
        around(50, &[1; 40]),
        around(47, &[0, 0, 0x99, 0x99, 0, 0]),
        around(47, &[0x40, 0, 8, 0, 0, 0, 0, 0]),
        around(17, &[9, 9, 8, 0x68, 0, 20, 0, 0, 1, 1, 1, 1]),
        deep,
        // Cut; nobody's; something else on the port of VXLAN.
        around(47, &[0]),
        around(17, &[9, 9, 0, 53, 0, 20, 0, 0, 1, 1, 1, 1]),
        around(17, &[9, 9, 0x12, 0xb5, 0, 20, 0, 0, 1, 1, 1, 1]),
    ];
    let outcome = run(&file(101, tunnels.into_iter().map(|ip| (1, ip))), &options(View::Client));
    assert_eq!(outcome.losses(), [("not TCP", 1), ("in tunnels that are not read", 6), ("undecodable", 1)]);
}

#[test]
fn short_frames_are_padded_and_padding_is_no_data() {
    framed(1, &talk(), |packet| {
        let mut frame = packet.ethernet();
        frame.resize(frame.len().max(100), 0);
        frame
    });
}

#[test]
fn a_length_of_zero_means_that_the_card_segments() {
    framed(1, &talk(), |packet| {
        let mut frame = packet.ethernet();
        frame[16..18].fill(0);
        frame
    });
    framed(1, &talk_v6(), |packet| {
        let mut frame = packet.ethernet();
        frame[18..20].fill(0);
        frame
    });
}

#[test]
fn extension_headers_are_passed_over() {
    framed(101, &talk_v6(), |packet| {
        let ip = packet.ip();
        let hop_by_hop = [60, 0, 5, 2, 0, 0, 1, 0];
        let destination = [43, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let routing = [44, 0, 4, 0, 0, 0, 0, 0];
        let atomic_fragment = [51, 0, 0, 0, 0, 0, 0, 1];
        let authentication = [6, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        let extensions =
            [&hop_by_hop[..], &destination, &routing, &atomic_fragment, &authentication].concat();
        let mut whole = [&ip[..40], &extensions, &ip[40..]].concat();
        whole[6] = 0;
        let length = u16::try_from(whole.len() - 40).unwrap();
        whole[4..6].copy_from_slice(&length.to_be_bytes());
        whole
    });
}

/// The IP packet in fragments whose first ones carry `size` bytes.
fn fragments(ip: &[u8], size: usize, identification: u16) -> Vec<Vec<u8>> {
    let (header, payload) = Ipv4Header::from_slice(ip).unwrap();
    let count = payload.len().div_ceil(size);
    let part = |(index, part): (usize, &[u8])| {
        let mut header = header.clone();
        header.identification = identification;
        header.more_fragments = index + 1 < count;
        header.fragment_offset = IpFragOffset::try_new(u16::try_from(index * size / 8).unwrap()).unwrap();
        header.set_payload_len(part.len()).unwrap();
        let mut bytes = Vec::new();
        header.write(&mut bytes).unwrap();
        bytes.extend(part);
        bytes
    };
    payload.chunks(size).enumerate().map(part).collect()
}

fn fragmented(talk: &Talk, keep: impl Fn(usize) -> bool) -> Vec<u8> {
    let parts = talk.packets.iter().enumerate().flat_map(|(number, packet)| {
        let parts = fragments(&packet.ip(), 24, u16::try_from(number).unwrap());
        parts.into_iter().rev().map(|part| (packet.at, part))
    });
    let kept: Vec<_> = parts.enumerate().filter(|(index, _)| keep(*index)).map(|(_, part)| part).collect();
    file(101, kept.into_iter())
}

#[test]
fn fragments_are_put_together_in_any_order() {
    let outcome = run(&fragmented(&talk(), |_| true), &options(View::Client));
    assert_eq!(outcome.lines(), SPANS);
    assert_eq!(outcome.losses(), [("IP fragments", 26)]);
}

#[test]
fn a_missing_fragment_is_a_missing_packet() {
    let talk = Talk::new().handshake().exchange("/a", 5).exchange("/b", 6).exchange("/c", 7).bye();
    let outcome = run(&fragmented(&talk, |index| index != 7), &options(View::Client));
    // Only the response to /b shows that /b is no part of what is missing.
    assert_eq!(outcome.lines(), ["client GET /c 200 0/7"]);
    assert_eq!(outcome.report.fragments_lost, 1);
    assert_eq!(outcome.report.gaps, 1);
}

#[test]
fn fragments_over_ipv6() {
    let talk = talk_v6();
    let parts = talk.packets.iter().zip(1_u8..).flat_map(|(packet, number)| {
        let ip = packet.ip();
        let count = ip[40..].len().div_ceil(24);
        let parts: Vec<_> = ip[40..]
            .chunks(24)
            .enumerate()
            .map(|(index, part)| {
                let offset = u16::try_from(index * 24).unwrap() | u16::from(index + 1 < count);
                let fragment = [&[6, 0], &offset.to_be_bytes()[..], &[0, 0, 0, number]].concat();
                let destination = [44, 0, 1, 4, 0, 0, 0, 0];
                let mut whole = [&ip[..40], &destination, &fragment, part].concat();
                whole[6] = 60;
                let length = u16::try_from(whole.len() - 40).unwrap();
                whole[4..6].copy_from_slice(&length.to_be_bytes());
                (packet.at, whole)
            })
            .collect();
        parts
    });
    let outcome = run(&file(101, parts), &options(View::Client));
    assert_eq!(outcome.lines(), SPANS, "{}", outcome.report);
}

#[test]
fn the_rest_is_counted() {
    let frame = |kind: [u8; 2], rest: &[u8]| [&[2; 12][..], &kind, rest].concat();
    let mut udp = Talk::new().say(Client, b"x").packets[0].ip();
    udp[9] = ip_number::UDP.0;
    let frames = [
        frame([8, 6], &[0; 28]),
        frame([8, 0], &udp),
        frame([0, 38], &[0x42, 0x42, 3, 0]),
        frame([8, 0], &[0x45]),
        frame([8, 0], &[0x41; 40]),
        frame([0x81, 0], &[]),
    ];
    let outcome = run(&file(1, frames.into_iter().map(|frame| (1, frame))), &options(View::Client));
    assert_eq!(outcome.losses(), [("not TCP", 3), ("undecodable", 3)]);
    let outcome = run(&file(147, [(1, vec![0; 60])].into_iter()), &options(View::Client));
    assert_eq!(outcome.losses(), [("of an unsupported link type", 1)]);
    let _ = (Server, request("/"), response(200, 0));
}
