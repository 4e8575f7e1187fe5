//! The pcapng file: sections of blocks, each section with a byte order and interfaces of its own
//! (`draft-ietf-opsawg-pcapng`, section 4). Blocks that do not lead to packets are skipped.

use std::io::Read;

use super::{
    PcapError,
    file::{MAX_PACKET, Meta},
    input::{Input, Order},
};

/// The same in either byte order.
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
/// Obsolete, still written by some.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Bytes around a packet's own in its block, options included.
const AROUND_PACKET: u32 = 1024 * 1024;
/// More interfaces in a section are damage or an attack.
const MAX_INTERFACES: usize = 65_536;

const OPTION_END: u16 = 0;
const OPTION_RESOLUTION: u16 = 9;
const OPTION_OFFSET: u16 = 14;

#[derive(Debug)]
pub(super) struct Ng<R> {
    input: Input<R>,
    order: Order,
    interfaces: Vec<Interface>,
    /// Simple packets have no time; they get that of the packet before.
    last_at: u64,
    other_blocks: u64,
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    link: u16,
    /// Most bytes captured of a packet; 0: no limit.
    snaplen: u32,
    clock: Clock,
}

/// The times of an interface.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// `if_tsresol`: negative power of 10, or of 2 when the highest bit is set.
    resolution: u8,
    /// `if_tsoffset`: seconds.
    offset: i64,
}

impl Clock {
    /// Nanoseconds since 1970, as near as 64 bits have them.
    fn nanoseconds(self, ticks: u64) -> u64 {
        let exponent = u32::from(self.resolution & 0x7f);
        let nanos = match (self.resolution & 0x80 != 0, exponent) {
            (true, _) => (u128::from(ticks) * 1_000_000_000).checked_shr(exponent).unwrap_or(0),
            (false, 0..=9) => u128::from(ticks) * 10_u128.pow(9 - exponent),
            (false, _) => 10_u128.checked_pow(exponent - 9).map_or(0, |unit| u128::from(ticks) / unit),
        };
        let nanos = i128::try_from(nanos).unwrap_or(i128::MAX);
        let nanos = nanos.saturating_add(i128::from(self.offset) * 1_000_000_000);
        u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
    }
}

impl<R: Read> Ng<R> {
    pub(super) fn is_magic(magic: [u8; 4]) -> bool {
        Order::Little.u32(&magic, 0) == SECTION
    }

    /// A stream that begins with [`Ng::is_magic`].
    pub(super) const fn new(input: Input<R>) -> Self {
        Self { input, order: Order::Little, interfaces: Vec::new(), last_at: 0, other_blocks: 0 }
    }

    pub(super) const fn other_blocks(&self) -> u64 {
        self.other_blocks
    }

    pub(super) fn record(&self) -> &[u8] {
        self.input.bytes()
    }

    pub(super) fn next(&mut self) -> Result<Option<Meta>, PcapError> {
        while let Some(kind) = self.block()? {
            match kind {
                INTERFACE => self.interface()?,
                PACKET | SIMPLE_PACKET | ENHANCED_PACKET => return self.packet(kind).map(Some),
                SECTION => {}
                _ => self.other_blocks += 1,
            }
        }
        Ok(None)
    }

    /// Reads the next block and returns its type; the block's bytes only if they are needed.
    fn block(&mut self) -> Result<Option<u32>, PcapError> {
        let offset = self.input.offset();
        if !self.input.take(8)? {
            return Ok(None);
        }
        let kind = self.order.u32(self.input.bytes(), 0);
        if kind == SECTION {
            self.section(offset)?;
        }
        let length = self.order.u32(self.input.bytes(), 4);
        let taken = u32::try_from(self.input.bytes().len()).unwrap_or(u32::MAX);
        if length < taken + 4 || !length.is_multiple_of(4) {
            return Err(PcapError::Block { offset, what: "impossible length" });
        }
        let needed = matches!(kind, INTERFACE | PACKET | SIMPLE_PACKET | ENHANCED_PACKET);
        if needed && length > MAX_PACKET + AROUND_PACKET {
            return Err(PcapError::TooLong { offset, length });
        }
        if needed {
            self.input.append((length - taken) as usize)?;
        } else {
            self.input.skip(u64::from(length - taken - 4))?;
            self.input.append(4)?;
        }
        let bytes = self.input.bytes();
        if self.order.u32(bytes, bytes.len() - 4) != length {
            return Err(PcapError::Block { offset, what: "its two lengths differ" });
        }
        Ok(Some(kind))
    }

    /// A new section: forgets the interfaces, finds the byte order.
    fn section(&mut self, offset: u64) -> Result<(), PcapError> {
        self.input.append(4)?;
        let bytes = self.input.bytes();
        let order = [Order::Little, Order::Big].into_iter().find(|order| order.u32(bytes, 8) == BYTE_ORDER);
        let Some(order) = order else {
            return Err(PcapError::Block { offset, what: "no byte order" });
        };
        self.order = order;
        self.interfaces.clear();
        Ok(())
    }

    fn interface(&mut self) -> Result<(), PcapError> {
        if self.interfaces.len() >= MAX_INTERFACES {
            let offset = self.input.offset();
            return Err(PcapError::Block { offset, what: "more than 65,536 interfaces" });
        }
        let (order, bytes) = (self.order, self.input.bytes());
        let clock = clock(order, bytes.get(16..bytes.len() - 4).unwrap_or_default());
        let interface = Interface { link: order.u16(bytes, 8), snaplen: order.u32(bytes, 12), clock };
        self.interfaces.push(interface);
        Ok(())
    }

    /// Any of the three blocks that hold a packet. Lengths beyond the block's are cut to it.
    fn packet(&mut self, kind: u32) -> Result<Meta, PcapError> {
        let (order, bytes) = (self.order, self.input.bytes());
        let number = match kind {
            PACKET => u32::from(order.u16(bytes, 8)),
            ENHANCED_PACKET => order.u32(bytes, 8),
            _ => 0,
        };
        let interface = self.interfaces.get(number as usize).copied();
        let start = if kind == SIMPLE_PACKET { 12 } else { 28 };
        let Some(room) = (bytes.len() - 4).checked_sub(start) else {
            return Err(PcapError::Block { offset: self.input.offset(), what: "no room for a packet" });
        };
        let (captured, original) = match kind {
            SIMPLE_PACKET => {
                let original = order.u32(bytes, 8);
                let snaplen = interface.map_or(0, |interface| interface.snaplen);
                (if snaplen > 0 { original.min(snaplen) } else { original }, original)
            }
            _ => (order.u32(bytes, 20), order.u32(bytes, 24)),
        };
        let captured = (captured as usize).min(room);
        if kind != SIMPLE_PACKET {
            let ticks = u64::from(order.u32(bytes, 12)) << 32 | u64::from(order.u32(bytes, 16));
            let clock = interface.map_or(Clock { resolution: 6, offset: 0 }, |interface| interface.clock);
            self.last_at = clock.nanoseconds(ticks);
        }
        Ok(Meta {
            at: self.last_at,
            link: interface.map(|interface| interface.link),
            start,
            end: start + captured,
            original: original.max(u32::try_from(captured).unwrap_or(u32::MAX)),
        })
    }
}

/// The options that say what the interface's times mean.
fn clock(order: Order, mut options: &[u8]) -> Clock {
    let mut clock = Clock { resolution: 6, offset: 0 };
    while options.len() >= 4 {
        let (code, length) = (order.u16(options, 0), usize::from(order.u16(options, 2)));
        let Some(value) = options.get(4..4 + length) else { break };
        match code {
            OPTION_END => break,
            OPTION_RESOLUTION => clock.resolution = value.first().copied().unwrap_or(6),
            OPTION_OFFSET => clock.offset = order.u64(value, 0).cast_signed(),
            _ => {}
        }
        options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
    clock
}
