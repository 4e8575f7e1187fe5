//! The classic pcap file: one header, one link type, then packets.
//! (`draft-ietf-opsawg-pcap`, sections 4 and 5; `savefile.c` of libpcap for the modified format.)

use std::io::Read;

use super::{
    PcapError,
    file::{MAX_PACKET, Meta},
    input::{Input, Order},
};

const FILE_HEADER: usize = 24;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// The format of Alexey Kuznetsov's libpcap: eight bytes more for each packet.
const MODIFIED: u32 = 0xa1b2_cd34;

#[derive(Debug)]
pub(super) struct Classic<R> {
    input: Input<R>,
    order: Order,
    /// Nanoseconds of one unit of the fraction.
    unit: u64,
    packet_header: usize,
    link: u16,
}

impl<R: Read> Classic<R> {
    pub(super) fn is_magic(magic: [u8; 4]) -> bool {
        variant(magic).is_some()
    }

    /// Reads the file's header, which begins with `magic`.
    pub(super) fn open(mut input: Input<R>, magic: [u8; 4]) -> Result<Self, PcapError> {
        let Some((order, kind)) = variant(magic) else { return Err(PcapError::NotACapture) };
        input.take(FILE_HEADER)?;
        // The upper half describes the frame check sequence, which the IP length leaves out anyway.
        let link = order.u32(input.bytes(), 20) & 0xffff;
        Ok(Self {
            input,
            order,
            unit: if kind == NANOSECONDS { 1 } else { 1_000 },
            packet_header: if kind == MODIFIED { 24 } else { 16 },
            link: u16::try_from(link).unwrap_or(u16::MAX),
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<Meta>, PcapError> {
        if !self.input.take(self.packet_header)? {
            return Ok(None);
        }
        let field = |at| self.order.u32(self.input.bytes(), at);
        let (seconds, fraction, captured, original) = (field(0), field(4), field(8), field(12));
        if captured > MAX_PACKET {
            return Err(PcapError::TooLong { offset: self.input.offset(), length: captured });
        }
        let start = self.packet_header;
        let end = start + captured as usize;
        self.input.append(captured as usize)?;
        let at = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.unit;
        Ok(Some(Meta { at, link: Some(self.link), start, end, original: original.max(captured) }))
    }

    pub(super) fn record(&self) -> &[u8] {
        self.input.bytes()
    }
}

fn variant(magic: [u8; 4]) -> Option<(Order, u32)> {
    [Order::Little, Order::Big].into_iter().find_map(|order| {
        let number = order.u32(&magic, 0);
        [MICROSECONDS, NANOSECONDS, MODIFIED].contains(&number).then_some((order, number))
    })
}
