//! The TCP header (RFC 9293, section 3.1), as much of it as was captured.

use std::net::SocketAddr;

use super::ip::Datagram;
use crate::event::Timestamp;

/// The fixed part of the header.
const HEADER: usize = 20;
/// Header bytes up to and with the flags; the later ones are not needed.
const NEEDED: usize = 14;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const URG: u8 = 32;

/// One TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) at: Timestamp,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) acknowledgment: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    /// Captured bytes of the payload.
    pub(super) bytes: &'a [u8],
    /// Its bytes on the wire.
    pub(super) length: u32,
    /// Offset of a byte sent out of band, which the receiver does not find among the others.
    pub(super) urgent: Option<u32>,
}

impl<'a> Segment<'a> {
    /// `None` when the header is cut or impossible.
    pub(super) fn parse(at: Timestamp, datagram: &Datagram<'a>) -> Option<Self> {
        let header = datagram.bytes.first_chunk::<NEEDED>()?;
        let be16 = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let be32 =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let data = usize::from(header[12] >> 4) * 4;
        let length = datagram.length.checked_sub(data).filter(|_| data >= HEADER)?;
        let flags = header[13];
        Some(Self {
            at,
            from: SocketAddr::new(datagram.from, be16(0)),
            to: SocketAddr::new(datagram.to, be16(2)),
            sequence: be32(4),
            acknowledgment: (flags & ACK != 0).then(|| be32(8)),
            syn: flags & SYN != 0,
            fin: flags & FIN != 0,
            rst: flags & RST != 0,
            bytes: datagram.bytes.get(data..).unwrap_or_default(),
            length: u32::try_from(length).ok()?,
            urgent: (flags & URG != 0).then(|| urgent(datagram.bytes)).filter(|at| (*at as usize) < length),
        })
    }

    /// The payload in parts, an urgent byte by itself.
    pub(super) fn parts(&self) -> impl Iterator<Item = Self> {
        let [start, end] = self.urgent.map_or([self.length; 2], |at| [at, at + 1]);
        let part = |from: u32, to: u32, urgent: Option<u32>| {
            let all = self.bytes.get(from as usize..).unwrap_or_default();
            let bytes = all.get(..(to - from) as usize).unwrap_or(all);
            Self { sequence: self.sequence.wrapping_add(from), bytes, length: to - from, urgent, ..*self }
        };
        let parts = [part(0, start, None), part(start, end, Some(0)), part(end, self.length, None)];
        parts.into_iter().filter(|part| part.length > 0)
    }

    /// Sequence number of the first byte of payload: a SYN has one of its own.
    pub(super) const fn first_byte(&self) -> u32 {
        self.sequence.wrapping_add(self.syn as u32)
    }
}

/// Offset of the urgent byte in the payload. The pointer names the byte behind it, as Linux
/// (`tcp_check_urg`, <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c>) and BSD
/// read it. A cut pointer means nothing.
fn urgent(header: &[u8]) -> u32 {
    const POINTER: usize = 18;
    let pointer = header.get(POINTER..).and_then(|rest| rest.first_chunk());
    pointer.map_or(u32::MAX, |pointer| u32::from(u16::from_be_bytes(*pointer)).saturating_sub(1))
}
