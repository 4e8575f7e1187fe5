//! A TCP conversation as packets that a test may shuffle, cut and drop before they become a file.

use std::net::SocketAddr;

use etherparse::PacketBuilder;

/// By whom a packet was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}
pub(crate) use End::{Client, Server};

#[derive(Debug, Clone)]
pub(crate) struct Packet {
    /// Microseconds.
    pub(crate) at: u64,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) sequence: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    /// The IP packet.
    pub(crate) fn ip(&self) -> Vec<u8> {
        let builder = match (self.source, self.destination) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64)
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                PacketBuilder::ipv6(from.ip().octets(), to.ip().octets(), 64)
            }
            _ => panic!("one family"),
        };
        let mut tcp = builder.tcp(self.source.port(), self.destination.port(), self.sequence, 65_000);
        if let Some(ack) = self.ack {
            tcp = tcp.ack(ack);
        }
        if self.syn {
            tcp = tcp.syn();
        }
        if self.fin {
            tcp = tcp.fin();
        }
        if self.rst {
            tcp = tcp.rst();
        }
        // Timestamps, as nearly all real segments have.
        let tcp = tcp.options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
        let mut bytes = Vec::new();
        tcp.write(&mut bytes, &self.payload).unwrap();
        bytes
    }

    pub(crate) fn ethernet(&self) -> Vec<u8> {
        let kind = if self.source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
        [&[2; 12][..], &kind, &self.ip()].concat()
    }
}

/// Both ends of a connection and what they have sent so far.
#[derive(Clone)]
pub(crate) struct Talk {
    pub(crate) packets: Vec<Packet>,
    ends: [SocketAddr; 2],
    /// Next sequence numbers.
    next: [u32; 2],
    at: u64,
    /// Microseconds between packets.
    pub(crate) step: u64,
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for packet in &self.packets {
            let who = if packet.source == self.ends[0] { "client" } else { "server" };
            let text = String::from_utf8_lossy(&packet.payload);
            writeln!(f, "{who} {} ack {:?} {text:?} {}", packet.sequence, packet.ack, packet.fin)?;
        }
        Ok(())
    }
}

impl Talk {
    /// Nothing was sent yet; the ports do not show the roles.
    pub(crate) fn new() -> Self {
        Self::between("10.0.0.9:80".parse().unwrap(), "10.0.0.1:54321".parse().unwrap(), [1_000, 900_000])
    }

    pub(crate) fn between(client: SocketAddr, server: SocketAddr, first: [u32; 2]) -> Self {
        Self {
            packets: Vec::new(),
            ends: [client, server],
            next: first,
            at: 1_700_000_000_000_000,
            step: 100,
        }
    }

    /// The same connection after a while.
    pub(crate) fn later(mut self, microseconds: u64) -> Self {
        self.at += microseconds;
        self
    }

    /// The same ends with other sequence numbers.
    pub(crate) fn again(&self, first: [u32; 2]) -> Self {
        Self { packets: Vec::new(), next: first, ..self.clone() }
    }

    fn packet(&mut self, from: End, payload: &[u8]) -> &mut Packet {
        let (own, other) = (from as usize, 1 - from as usize);
        self.at += self.step;
        let packet = Packet {
            at: self.at,
            source: self.ends[own],
            destination: self.ends[other],
            sequence: self.next[own],
            ack: Some(self.next[other]),
            syn: false,
            fin: false,
            rst: false,
            payload: payload.to_vec(),
        };
        self.next[own] = self.next[own].wrapping_add(u32::try_from(payload.len()).unwrap());
        self.packets.push(packet);
        self.packets.last_mut().unwrap()
    }

    fn counted(&mut self, from: End) -> &mut Packet {
        self.packet(from, b"");
        let next = &mut self.next[from as usize];
        *next = next.wrapping_add(1);
        self.packets.last_mut().unwrap()
    }

    pub(crate) fn handshake(mut self) -> Self {
        let syn = self.counted(Client);
        (syn.syn, syn.ack) = (true, None);
        self.counted(Server).syn = true;
        self.ack(Client)
    }

    pub(crate) fn syn(mut self, from: End, ack: bool) -> Self {
        let syn = self.counted(from);
        syn.syn = true;
        if !ack {
            syn.ack = None;
        }
        self
    }

    pub(crate) fn ack(mut self, from: End) -> Self {
        self.packet(from, b"");
        self
    }

    /// Sends one segment.
    pub(crate) fn say(mut self, from: End, payload: &[u8]) -> Self {
        self.packet(from, payload);
        self
    }

    /// Sends in segments of `size` bytes, acknowledged after the last one.
    pub(crate) fn say_cut(mut self, from: End, payload: &[u8], size: usize) -> Self {
        for part in payload.chunks(size) {
            self.packet(from, part);
        }
        let other = if from == Client { Server } else { Client };
        self.ack(other)
    }

    pub(crate) fn fin(mut self, from: End) -> Self {
        self.counted(from).fin = true;
        self
    }

    pub(crate) fn rst(mut self, from: End) -> Self {
        self.packet(from, b"").rst = true;
        self
    }

    /// Both ends close.
    pub(crate) fn bye(self) -> Self {
        self.fin(Client).fin(Server).ack(Client)
    }

    /// One request with its response.
    pub(crate) fn exchange(self, path: &str, body: usize) -> Self {
        self.say(Client, &request(path)).say(Server, &response(200, body))
    }

    pub(crate) fn then(mut self, other: Self) -> Self {
        self.packets.extend(other.packets);
        self
    }

    /// A classic file of Ethernet frames.
    pub(crate) fn file(&self) -> Vec<u8> {
        file(1, self.packets.iter().map(|packet| (packet.at, packet.ethernet())))
    }

    /// The same with at most `snaplen` bytes of each frame.
    pub(crate) fn cut_file(&self, snaplen: usize) -> Vec<u8> {
        let mut bytes = header(1);
        for packet in &self.packets {
            let frame = packet.ethernet();
            record(&mut bytes, packet.at, &frame[..frame.len().min(snaplen)], frame.len());
        }
        bytes
    }
}

pub(crate) fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n").into_bytes()
}

pub(crate) fn response(status: u16, body: usize) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    bytes.extend((0..body).map(|index| b'a' + u8::try_from(index % 26).unwrap()));
    bytes
}

/// A classic file with frames of link type `link` at their times in microseconds.
pub(crate) fn file(link: u32, frames: impl Iterator<Item = (u64, Vec<u8>)>) -> Vec<u8> {
    let mut bytes = header(link);
    for (at, frame) in frames {
        record(&mut bytes, at, &frame, frame.len());
    }
    bytes
}

fn header(link: u32) -> Vec<u8> {
    let mut bytes = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144].map(u32::to_le_bytes).concat();
    bytes.extend(link.to_le_bytes());
    bytes
}

fn record(bytes: &mut Vec<u8>, at: u64, captured: &[u8], original: usize) {
    let fields = [at / 1_000_000, at % 1_000_000, captured.len() as u64, original as u64];
    bytes.extend(fields.map(|field| u32::try_from(field).unwrap().to_le_bytes()).concat());
    bytes.extend(captured);
}
