//! All file formats in one type: which format a stream has, and its packets one by one.

use std::io::{BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

use super::{PcapError, classic::Classic, input::Input, ng::Ng};

/// No packet has more bytes (the largest of a loopback interface with BIG TCP have 512 KiB).
pub(super) const MAX_PACKET: u32 = 16 * 1024 * 1024;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const BUFFER: usize = 256 * 1024;

/// What the file says of a packet; its bytes are [`Packets::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// Nanoseconds since 1970.
    pub(super) at: u64,
    /// `LINKTYPE_` number; `None` when the interface is not described.
    pub(super) link: Option<u16>,
    /// Where the packet lies in the record.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Bytes on the wire, at least those captured.
    pub(super) original: u32,
}

/// A capture of any format.
pub(super) enum Packets<'a> {
    Classic(Classic<Box<dyn Read + 'a>>),
    Ng(Ng<Box<dyn Read + 'a>>),
}

impl<'a> Packets<'a> {
    /// Reads the first header.
    pub(super) fn open(input: impl Read + 'a) -> Result<Self, PcapError> {
        let mut reader = BufReader::with_capacity(BUFFER, input);
        let start = first_bytes::<2>(&mut reader)?;
        let compressed = start == GZIP;
        let reader = Cursor::new(start).chain(reader);
        let mut reader: Box<dyn Read + 'a> = match compressed {
            true => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(reader))),
            false => Box::new(reader),
        };
        let magic = first_bytes::<4>(&mut reader)?;
        let input = Input::new(Box::new(Cursor::new(magic).chain(reader)) as Box<dyn Read + 'a>);
        if Ng::<Box<dyn Read>>::is_magic(magic) {
            return Ok(Self::Ng(Ng::new(input)));
        }
        Classic::open(input, magic).map(Self::Classic)
    }

    /// The next packet; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Meta>, PcapError> {
        match self {
            Self::Classic(classic) => classic.next(),
            Self::Ng(ng) => ng.next(),
        }
    }

    /// Captured bytes of the packet that [`Packets::next`] returned last.
    pub(super) fn bytes(&self, meta: &Meta) -> &[u8] {
        let record = match self {
            Self::Classic(classic) => classic.record(),
            Self::Ng(ng) => ng.record(),
        };
        record.get(meta.start..meta.end).unwrap_or_default()
    }

    /// Blocks that hold no packet.
    pub(super) const fn other_blocks(&self) -> u64 {
        match self {
            Self::Classic(_) => 0,
            Self::Ng(ng) => ng.other_blocks(),
        }
    }
}

/// Whether a file that begins with these bytes is a capture; 32 bytes are enough, compressed ones
/// need some 200.
pub(super) fn is_capture(start: &[u8]) -> bool {
    let mut magic = [0; 4];
    if start.starts_with(&GZIP) {
        let inner = MultiGzDecoder::new(start).read_exact(&mut magic);
        return inner.is_ok() && is_magic(magic);
    }
    start.first_chunk().is_some_and(|magic| is_magic(*magic))
}

fn is_magic(magic: [u8; 4]) -> bool {
    Ng::<Box<dyn Read>>::is_magic(magic) || Classic::<Box<dyn Read>>::is_magic(magic)
}

fn first_bytes<const N: usize>(reader: &mut impl Read) -> Result<[u8; N], PcapError> {
    let mut bytes = [0; N];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(PcapError::NotACapture),
        Err(error) => Err(error.into()),
    }
}
