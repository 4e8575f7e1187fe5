//! The kind of file that a replay was given, known by its first bytes and never by its name.

use super::{log, pcap};

/// Bytes that [`Kind::of`] needs: a compressed capture is known only when some of it is unpacked.
pub const FIRST_BYTES: usize = 512;

/// The kinds of files that hold events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An event log of `wirespan record`.
    Log,
    /// A packet capture: pcap or pcapng, compressed or not.
    Capture,
}

impl Kind {
    /// The kind of a file that begins with these bytes; `None`: unknown.
    #[must_use]
    pub fn of(first: &[u8]) -> Option<Self> {
        if first.starts_with(&log::MAGIC) {
            return Some(Self::Log);
        }
        pcap::is_capture(first).then_some(Self::Capture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        for (first, kind) in [
            (&log::MAGIC[..], Some(Kind::Log)),
            (b"\xa1\xb2\xc3\xd4\0\x02\0\x04", Some(Kind::Capture)),
            (b"\xd4\xc3\xb2\xa1\x02\0\x04\0", Some(Kind::Capture)),
            (b"\xa1\xb2\x3c\x4d", Some(Kind::Capture)),
            (b"\x4d\x3c\xb2\xa1", Some(Kind::Capture)),
            (b"\x0a\x0d\x0d\x0a\0\0\0\x1c", Some(Kind::Capture)),
            (&log::MAGIC[..7], None),
            (b"{\"resour", None),
            (b"", None),
        ] {
            assert_eq!(Kind::of(first), kind, "{first:?}");
        }
    }
}
