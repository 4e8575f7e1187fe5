//! What sort of file a replay was given: told by its first bytes, never by its name.

use super::log;

/// Bytes that [`Kind::of`] needs to see.
pub const FIRST_BYTES: usize = 8;

/// The sorts of files that hold events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An event log of `wirespan record`.
    Log,
    /// A packet capture in libpcap's format, in either byte order, with microseconds or nanoseconds.
    Pcap,
    /// A packet capture in pcapng's format.
    PcapNg,
}

impl Kind {
    /// The sort of a file that begins with these bytes; `None`: none that is known.
    #[must_use]
    pub fn of(first: &[u8]) -> Option<Self> {
        if first.starts_with(&log::MAGIC) {
            return Some(Self::Log);
        }
        match first.get(..4)? {
            [0xa1, 0xb2, 0xc3, 0xd4] | [0xd4, 0xc3, 0xb2, 0xa1] => Some(Self::Pcap),
            [0xa1, 0xb2, 0x3c, 0x4d] | [0x4d, 0x3c, 0xb2, 0xa1] => Some(Self::Pcap),
            [0x0a, 0x0d, 0x0d, 0x0a] => Some(Self::PcapNg),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        for (first, kind) in [
            (&log::MAGIC[..], Some(Kind::Log)),
            (b"\xa1\xb2\xc3\xd4\0\x02\0\x04", Some(Kind::Pcap)),
            (b"\xd4\xc3\xb2\xa1\x02\0\x04\0", Some(Kind::Pcap)),
            (b"\xa1\xb2\x3c\x4d", Some(Kind::Pcap)),
            (b"\x4d\x3c\xb2\xa1", Some(Kind::Pcap)),
            (b"\x0a\x0d\x0d\x0a\0\0\0\x1c", Some(Kind::PcapNg)),
            (&log::MAGIC[..7], None),
            (b"{\"resour", None),
            (b"", None),
        ] {
            assert_eq!(Kind::of(first), kind, "{first:?}");
        }
    }
}
