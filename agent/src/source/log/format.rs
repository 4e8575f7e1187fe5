//! The numbers of the event log's format, and its two fixed headers.
//!
//! **Versions.** A reader reads this major version and the one before, refuses others, and says
//! which one it is. Within a major version a newer minor may add kinds of records, which older readers skip by their length
//! and count, and may add fields at the end of a body, which older readers do not read. The header
//! of the file is the same in all versions.

/// The first bytes of every log. The high bit and the line ends show damage by a transfer that
/// takes the log for text.
pub const MAGIC: [u8; 8] = *b"\x89WSPN\r\n\n";
/// Changes when an older reader cannot read the file.
pub const MAJOR: u16 = 2;
/// Changes when something was added that an older reader may skip.
pub const MINOR: u16 = 0;
/// The major version before, and its last minor: still read.
pub const OLD_MAJOR: u16 = 1;
pub const OLD_MINOR: u16 = 3;

/// Bytes of the file's header.
pub const FILE_HEADER: usize = 16;
/// Bytes of a block's header.
pub const BLOCK_HEADER: usize = 20;
/// Most bytes of a block's payload.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// A block is complete when its payload has this many bytes.
pub const FULL_PAYLOAD: usize = 64 * 1024;
/// Bytes of a record before its body.
pub const RECORD_HEADER: usize = 5;
/// Most bytes of a record with its header: it fits into a block that is not complete yet.
pub const MAX_RECORD: usize = MAX_PAYLOAD - FULL_PAYLOAD;

/// Largest time, in nanoseconds, and largest offset of a clock: more than a century.
pub const MAX_TIME: u64 = 1 << 62;
/// Largest position, and largest number of bytes or events: 64 PiB. No kernel reports more.
pub const MAX_COUNT: u64 = 1 << 56;

/// Kinds of records.
pub(super) mod kind {
    pub(crate) const HEADER: u8 = 1;
    pub(crate) const CLOCK: u8 = 16;
    pub(crate) const RUN_KEY: u8 = 17;
    pub(crate) const PROCESS: u8 = 18;
    pub(crate) const FORK: u8 = 19;
    pub(crate) const EXIT: u8 = 20;
    pub(crate) const CONNECTING: u8 = 32;
    pub(crate) const CONNECTED: u8 = 33;
    pub(crate) const CONNECT_FAILED: u8 = 34;
    pub(crate) const OPENED: u8 = 35;
    pub(crate) const TRANSFER: u8 = 36;
    pub(crate) const HALF_CLOSED: u8 = 37;
    pub(crate) const CLOSED: u8 = 38;
    pub(crate) const LOCAL_CLOSED: u8 = 39;
    pub(crate) const RELEASED: u8 = 41;
    pub(crate) const REDIRECTED: u8 = 40;
    /// Since 2.0.
    pub(crate) const PLAINTEXT_OPENED: u8 = 42;
    pub(crate) const ASKED: u8 = 43;
    pub(crate) const TICK: u8 = 48;
    pub(crate) const SHUTDOWN: u8 = 49;
}

/// Bits of the bytes that say what a record is about and which fields it has.
pub(super) mod flags {
    /// Of transfers and half-closes: direction `In`, else `Out`.
    pub(crate) const IN: u8 = 1;
    /// Of the same: the plaintext's, else the wire's.
    pub(crate) const PLAINTEXT: u8 = 2;
    /// Of half-closes: an actor follows.
    pub(crate) const ACTOR: u8 = 4;
    /// Of transfers: the bits of a cause stand from this one on.
    pub(crate) const CAUSE: u8 = 2;

    /// Of a cause: a last receive follows …
    pub(crate) const LAST_RECEIVE: u8 = 1;
    /// … of the plaintext, else of the wire.
    pub(crate) const LAST_OF_PLAINTEXT: u8 = 2;
    /// The kind of a task stands from this bit on: 0 none, 1 goroutine, 2 goroutine that handed
    /// over, 3 CPython context.
    pub(crate) const TASK: u8 = 2;
}

/// Kinds of addresses.
pub(super) mod address {
    pub(crate) const PATH: u8 = 1;
    pub(crate) const ABSTRACT: u8 = 2;
    pub(crate) const UNNAMED: u8 = 3;
    pub(crate) const IPV4: u8 = 4;
    pub(crate) const IPV6: u8 = 6;
}

/// The version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) major: u16,
    pub(super) minor: u16,
}

impl Version {
    #[cfg(test)]
    pub(super) const CURRENT: Self = Self { major: MAJOR, minor: MINOR };

    /// Whether its records have the fields of the major version before.
    pub(super) const fn is_old(self) -> bool {
        self.major == OLD_MAJOR
    }

    /// Whether it may have what this reader does not know.
    pub(super) const fn is_newer(self) -> bool {
        self.minor > if self.is_old() { OLD_MINOR } else { MINOR }
    }

    /// Whether files of it have records of this kind.
    pub(super) const fn has(self, kind: u8) -> bool {
        let last = if self.is_old() { kind::RELEASED } else { kind::ASKED };
        let moved = kind >= kind::CONNECTING && kind <= last;
        let lived = kind >= kind::CLOCK && kind <= kind::EXIT;
        lived || moved || kind == kind::TICK || kind == kind::SHUTDOWN
    }
}

/// The header of a file that this version writes.
#[must_use]
pub fn file_header() -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&MAJOR.to_le_bytes());
    header[10..12].copy_from_slice(&MINOR.to_le_bytes());
    let checksum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The header of a block, which stands before its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) length: u32,
    pub(super) records: u32,
    pub(super) sequence: u64,
}

impl BlockHeader {
    pub(super) fn write(self, payload: &[u8]) -> [u8; BLOCK_HEADER] {
        let mut header = [0; BLOCK_HEADER];
        header[..4].copy_from_slice(&self.length.to_le_bytes());
        header[4..8].copy_from_slice(&self.records.to_le_bytes());
        header[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        let checksum = checksum(&header, payload);
        header[16..].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    pub(super) const fn read(header: &[u8; BLOCK_HEADER]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *header;
        Self {
            length: u32::from_le_bytes([a, b, c, d]),
            records: u32::from_le_bytes([e, f, g, h]),
            sequence: u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        }
    }
}

/// Whether header and payload of a block are as they were written.
pub(super) fn is_intact(header: &[u8; BLOCK_HEADER], payload: &[u8]) -> bool {
    header[16..] == checksum(header, payload).to_le_bytes()
}

fn checksum(header: &[u8; BLOCK_HEADER], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..16]);
    hasher.update(payload);
    hasher.finalize()
}
