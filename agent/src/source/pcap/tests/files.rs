//! File formats: every variant of pcap and pcapng, damage, compression, pipes.

use std::io::{Read, Write};

use flate2::{Compression, write::GzEncoder};

use super::{
    Outcome, View, options, run,
    talk::{Packet, Talk},
};
use crate::source::pcap::{PcapError, is_capture, read};

fn talk() -> Talk {
    Talk::new().handshake().exchange("/a", 5).exchange("/b", 6).bye()
}

#[derive(Clone, Copy)]
pub(super) struct Order(pub(super) bool);

impl Order {
    fn u16(self, number: u16) -> [u8; 2] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u32(self, number: u32) -> [u8; 4] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u64(self, number: u64) -> [u8; 8] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn classic(self, magic: u32, link: u32, talk: &Talk) -> Vec<u8> {
        let mut bytes = [self.u32(magic), [0; 4], [0; 4], [0; 4], self.u32(65_535), self.u32(link)].concat();
        for packet in &talk.packets {
            let frame = packet.ethernet();
            let length = u32::try_from(frame.len()).unwrap();
            let fraction = packet.at % 1_000_000 * if magic == 0xa1b2_3c4d { 1_000 } else { 1 };
            let seconds = u32::try_from(packet.at / 1_000_000).unwrap();
            for field in [seconds, u32::try_from(fraction).unwrap(), length, length] {
                bytes.extend(self.u32(field));
            }
            if magic == 0xa1b2_cd34 {
                bytes.extend([0; 8]);
            }
            bytes.extend(frame);
        }
        bytes
    }

    pub(super) fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let length = self.u32(u32::try_from(padded + 12).unwrap());
        let padding = vec![0; padded - body.len()];
        [&self.u32(kind)[..], &length, body, &padding, &length].concat()
    }

    pub(super) fn section(self) -> Vec<u8> {
        self.block(
            0x0a0d_0d0a,
            &[&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &[0xff; 8]].concat(),
        )
    }

    fn interface(self, link: u16, snaplen: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = [&self.u16(link)[..], &[0; 2], &self.u32(snaplen)].concat();
        for (code, value) in options {
            body.extend(self.u16(*code));
            body.extend(self.u16(u16::try_from(value.len()).unwrap()));
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        self.block(1, &body)
    }

    fn enhanced(self, interface: u32, ticks: u64, frame: &[u8]) -> Vec<u8> {
        let length = self.u32(u32::try_from(frame.len()).unwrap());
        let high = self.u32(u32::try_from(ticks >> 32).unwrap());
        let low = self.u32(u32::try_from(ticks & 0xffff_ffff).unwrap());
        self.block(6, &[&self.u32(interface)[..], &high, &low, &length, &length, frame].concat())
    }

    fn simple(self, frame: &[u8]) -> Vec<u8> {
        self.block(3, &[&self.u32(u32::try_from(frame.len()).unwrap())[..], frame].concat())
    }

    fn obsolete(self, interface: u16, ticks: u64, frame: &[u8]) -> Vec<u8> {
        let length = self.u32(u32::try_from(frame.len()).unwrap());
        let high = self.u32(u32::try_from(ticks >> 32).unwrap());
        let low = self.u32(u32::try_from(ticks & 0xffff_ffff).unwrap());
        self.block(2, &[&self.u16(interface)[..], &[0; 2], &high, &low, &length, &length, frame].concat())
    }

    fn enhanced_file(self, options: &[(u16, &[u8])], ticks: impl Fn(&Packet) -> u64) -> Vec<u8> {
        let mut bytes = [self.section(), self.interface(1, 0, options)].concat();
        for packet in &talk().packets {
            bytes.extend(self.enhanced(0, ticks(packet), &packet.ethernet()));
        }
        bytes
    }
}

const ORDERS: [Order; 2] = [Order(false), Order(true)];
const START: u64 = 1_700_000_000_000_400_000;

fn good(bytes: &[u8]) -> Outcome {
    assert!(is_capture(&bytes[..bytes.len().min(512)]));
    let outcome = run(bytes, &options(View::Client));
    assert_eq!(outcome.lines(), ["client GET /a 200 0/5", "client GET /b 200 0/6"], "{:?}", outcome.report);
    assert!(outcome.report.damage.is_none());
    assert_eq!(outcome.violations, 0);
    outcome
}

#[test]
fn classic_files_in_both_byte_orders_and_units() {
    for order in ORDERS {
        for magic in [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34] {
            let outcome = good(&order.classic(magic, 1, &talk()));
            assert_eq!(outcome.spans[0].start, START, "{magic:x}");
        }
        // Four bytes of frame check sequence.
        good(&order.classic(0xa1b2_c3d4, 0x4400_0001, &talk()));
    }
}

#[test]
fn enhanced_packets_with_every_resolution() {
    let none: &[(u16, &[u8])] = &[];
    for order in ORDERS {
        assert_eq!(good(&order.enhanced_file(none, |packet| packet.at)).spans[0].start, START);
        for (resolution, unit) in [(6, 1), (9, 1_000), (8, 100)] {
            let options: &[(u16, &[u8])] = &[(2, b"eth0"), (9, &[resolution]), (0, &[])];
            let outcome = good(&order.enhanced_file(options, |packet| packet.at * unit));
            assert_eq!(outcome.spans[0].start, START, "{resolution}");
        }
        // 2^-30 seconds, and seconds added.
        let seconds = order.u64(1_000_000_000);
        let options: &[(u16, &[u8])] = &[(9, &[0x80 | 30]), (14, &seconds)];
        let ticks = |packet: &Packet| {
            (((packet.at - 1_000_000_000_000_000) as u128) << 30).div_ceil(1_000_000) as u64
        };
        assert!(good(&order.enhanced_file(options, ticks)).spans[0].start.abs_diff(START) <= 1);
        // More digits than nanoseconds have.
        let options: &[(u16, &[u8])] = &[(9, &[10])];
        assert_eq!(good(&order.enhanced_file(options, |packet| packet.at * 10_000)).spans[0].start, START);
    }
}

#[test]
fn impossible_resolutions_do_no_harm() {
    for resolution in [0, 19, 38, 39, 49, 127, 128, 192, 255] {
        let options: &[(u16, &[u8])] = &[(9, &[resolution]), (14, &[0xff; 8])];
        good(&Order(false).enhanced_file(options, |packet| packet.at));
    }
}

#[test]
fn sections_interfaces_and_blocks_of_every_kind() {
    let [little, big] = ORDERS;
    let mut bytes = Vec::new();
    for (index, packet) in talk().packets.iter().enumerate() {
        let order = if index % 2 == 0 { little } else { big };
        let (ip, frame) = (packet.ip(), packet.ethernet());
        bytes.extend(order.section());
        bytes.extend(order.block(5, &[0; 40]));
        bytes.extend(order.interface(101, 0, &[]));
        bytes.extend(order.interface(1, 0, &[(9, &[9])]));
        for kind in [4, 5, 9, 10, 0xbad, 0x4000_0bad, 0x8000_0001, 77] {
            bytes.extend(order.block(kind, &vec![0xaa; index * 5]));
        }
        bytes.extend(match index % 3 {
            0 => order.enhanced(1, packet.at * 1_000, &frame),
            1 => order.obsolete(1, packet.at * 1_000, &frame),
            _ => order.simple(&ip),
        });
    }
    let outcome = good(&bytes);
    assert_eq!(outcome.report.other_blocks, 9 * 10);
}

#[test]
fn simple_packets_are_cut_at_the_interfaces_snaplen() {
    let order = Order(false);
    let mut bytes = [order.section(), order.interface(101, 94, &[])].concat();
    for packet in &talk().packets {
        let ip = packet.ip();
        let original = order.u32(u32::try_from(ip.len()).unwrap());
        bytes.extend(order.block(3, &[&original, &ip[..ip.len().min(94)]].concat()));
    }
    good(&bytes);
}

#[test]
fn an_interface_that_is_not_described() {
    let order = Order(false);
    let bytes = [order.section(), order.enhanced(3, 5, &[0; 60])].concat();
    let outcome = run(&bytes, &options(View::Client));
    assert_eq!(outcome.losses(), [("of an unsupported link type", 1)]);
}

#[test]
fn what_stands_before_the_damage_is_used() {
    let whole = Order(false).classic(0xa1b2_c3d4, 1, &talk());
    let outcome = run(&whole[..whole.len() - 3], &options(View::Client));
    assert_eq!(outcome.spans.len(), 2);
    assert!(
        matches!(outcome.report.damage, Some(PcapError::Cut { offset }) if offset == whole.len() as u64 - 3)
    );

    let mut forged = whole.clone();
    forged.extend([0xff; 16]);
    let outcome = run(&forged, &options(View::Client));
    assert_eq!(outcome.spans.len(), 2);
    assert!(matches!(outcome.report.damage, Some(PcapError::TooLong { length: u32::MAX, .. })));

    let order = Order(true);
    let ng = order.enhanced_file(&[], |packet| packet.at);
    for (tail, what) in [
        (order.block(6, &[0; 8]), "no room"),
        ([order.u32(6), order.u32(13)].concat(), "impossible length"),
        ([order.u32(77), order.u32(8)].concat(), "impossible length"),
        ([order.u32(9), order.u32(12), order.u32(16)].concat(), "two lengths"),
        ([order.u32(0x0a0d_0d0a), order.u32(28), order.u32(7)].concat(), "no byte order"),
        ([order.u32(77), order.u32(4_000_000_000)].concat(), "ends within"),
        ([order.u32(6), order.u32(4_000_000_000)].concat(), "claims"),
    ] {
        let outcome = run(&[&ng[..], &tail].concat(), &options(View::Client));
        assert_eq!(outcome.spans.len(), 2, "{what}");
        let damage = outcome.report.damage.unwrap().to_string();
        assert!(damage.contains(what), "{damage}");
    }
}

#[test]
fn what_is_no_capture_is_refused() {
    for bytes in [&b""[..], b"x", b"\x1f\x8b", b"not a capture at all", b"\xd4\xc3\xb2"] {
        assert!(!is_capture(bytes));
        assert!(read(bytes, &options(View::Client), &mut |_| panic!("an event")).is_err());
    }
    let error = read(&b"not a capture"[..], &options(View::Client), &mut |_| {}).unwrap_err();
    assert!(matches!(error, PcapError::NotACapture));
}

#[test]
fn an_empty_capture_is_one() {
    for bytes in [Talk::new().file(), Order(true).section()] {
        let outcome = run(&bytes, &options(View::Client));
        assert_eq!((outcome.report.packets, outcome.spans.len()), (0, 0));
    }
}

#[test]
fn compressed_by_gzip() {
    let compress = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let whole = talk().file();
    good(&compress(&whole));
    // Members one after the other, as pigz and log rotation write them.
    good(&[compress(&whole[..100]), compress(&whole[100..])].concat());
    let cut = compress(&whole);
    let outcome = run(&cut[..cut.len() - 20], &options(View::Client));
    assert!(matches!(outcome.report.damage, Some(PcapError::Read(_) | PcapError::Cut { .. })));
    assert!(!is_capture(&compress(b"{}{}{}{}")));
}

/// A pipe that gives one byte at a time.
struct Drops<'a>(&'a [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(1);
        self.0.read(&mut buffer[..count])
    }
}

#[test]
fn from_a_pipe_in_any_pieces() {
    for bytes in [talk().file(), Order(true).enhanced_file(&[], |packet| packet.at)] {
        let mut transfers = 0;
        let count = &mut |event: &crate::event::Event<'_>| {
            transfers += u32::from(matches!(event, crate::event::Event::Transfer(_)));
        };
        let report = read(Drops(&bytes), &options(View::Client), count).unwrap();
        assert_eq!((report.packets, transfers), (10, 4));
    }
}

#[test]
fn times_that_jump_cost_nothing() {
    let mut talk = talk();
    for (packet, at) in talk.packets.iter_mut().zip([0, 5, u64::from(u32::MAX) * 1_000_000, 3, 2, 1]) {
        packet.at = at;
    }
    let mut ticks = 0;
    let mut last = 0;
    read(&talk.file()[..], &options(View::Client), &mut |event| {
        if let crate::event::Event::Tick { at } = event {
            ticks += 1;
            assert!(at.0 > last);
            last = at.0;
        }
    })
    .unwrap();
    assert!(ticks < 100, "{ticks}");
    let order = Order(false);
    let far: &[(u16, &[u8])] = &[(9, &[0]), (14, &[0x7f; 8])];
    good(&order.enhanced_file(far, |_| u64::MAX));
}
