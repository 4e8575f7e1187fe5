//! Frames (RFC 9113, sections 4.1 and 6).

/// Octets in front of a frame's payload.
pub(super) const HEADER: usize = 9;

/// Largest payload that a frame may have unless its receiver has said otherwise (section 4.2).
const USUAL_SIZE: u32 = 16_384;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// To be ignored (section 4.1).
    Unknown,
}

/// ```text
/// +-----------------------------------------------+
/// |                 Length (24)                   |
/// +---------------+---------------+---------------+
/// |   Type (8)    |   Flags (8)   |
/// +-+-------------+---------------+-------------------------------+
/// |R|                 Stream Identifier (31)                      |
/// +=+=============================================================+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    /// 0: the connection itself.
    pub(super) stream: u32,
}

impl Kind {
    const fn of(octet: u8) -> Self {
        match octet {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

impl Header {
    const END_STREAM: u8 = 0x1;
    const ACK: u8 = 0x1;
    const END_HEADERS: u8 = 0x4;
    const PADDED: u8 = 0x8;
    const PRIORITY: u8 = 0x20;

    pub(super) const fn read(octets: [u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, s, t, u, v] = octets;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([s & 0x7f, t, u, v]),
        }
    }

    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The sender sends nothing more on the stream.
    pub(super) const fn ends_stream(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.has(Self::END_STREAM)
    }

    /// No CONTINUATION follows.
    pub(super) const fn ends_headers(self) -> bool {
        self.has(Self::END_HEADERS)
    }

    /// A fragment of a header block is in the payload.
    pub(super) const fn carries_headers(self) -> bool {
        matches!(self.kind, Kind::Headers | Kind::PushPromise | Kind::Continuation)
    }

    /// The fragment of a header block in this payload; `None` if the payload is malformed.
    pub(super) fn fragment(self, payload: &[u8]) -> Option<&[u8]> {
        if self.kind == Kind::Continuation {
            return Some(payload);
        }
        let (mut fragment, mut padding) = (payload, 0);
        if self.has(Self::PADDED) {
            let (length, rest) = fragment.split_first()?;
            (fragment, padding) = (rest, usize::from(*length));
        }
        let fields = match self.kind {
            // Exclusive bit, stream dependency and weight.
            Kind::Headers if self.has(Self::PRIORITY) => 5,
            // The promised stream's number.
            Kind::PushPromise => 4,
            _ => 0,
        };
        let fragment = fragment.get(fields..)?;
        fragment.get(..fragment.len().checked_sub(padding)?)
    }

    /// Whether a peer may send this frame, as far as its header says (section 6).
    pub(super) const fn is_valid(self) -> bool {
        let (on_connection, length) = (self.stream == 0, self.length);
        match self.kind {
            Kind::Data | Kind::Headers | Kind::Continuation => !on_connection,
            Kind::Priority => !on_connection && length == 5,
            Kind::RstStream => !on_connection && length == 4,
            Kind::PushPromise => !on_connection && length >= 4,
            Kind::Settings if self.has(Self::ACK) => on_connection && length == 0,
            Kind::Settings => on_connection && length.is_multiple_of(6),
            Kind::Ping => on_connection && length == 8,
            Kind::GoAway => on_connection && length >= 8,
            Kind::WindowUpdate => length == 4,
            // Extensions are small (RFC 7838, RFC 9218): a long one is no frame.
            Kind::Unknown => length <= USUAL_SIZE,
        }
    }
}

/// The name of an error code (section 7).
pub(super) const fn error_name(code: u32) -> Option<&'static str> {
    Some(match code {
        0x0 => "NO_ERROR",
        0x1 => "PROTOCOL_ERROR",
        0x2 => "INTERNAL_ERROR",
        0x3 => "FLOW_CONTROL_ERROR",
        0x4 => "SETTINGS_TIMEOUT",
        0x5 => "STREAM_CLOSED",
        0x6 => "FRAME_SIZE_ERROR",
        0x7 => "REFUSED_STREAM",
        0x8 => "CANCEL",
        0x9 => "COMPRESSION_ERROR",
        0xa => "CONNECT_ERROR",
        0xb => "ENHANCE_YOUR_CALM",
        0xc => "INADEQUATE_SECURITY",
        0xd => "HTTP_1_1_REQUIRED",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u32, kind: u8, flags: u8, stream: u32) -> Header {
        let [_, a, b, c] = length.to_be_bytes();
        let [s, t, u, v] = stream.to_be_bytes();
        Header::read([a, b, c, kind, flags, s, t, u, v])
    }

    #[test]
    fn the_reserved_bit_is_ignored() {
        let read = header(0x01_02_03, 1, 0x5, 0x8000_0007);
        assert_eq!((read.length, read.kind, read.stream), (0x01_02_03, Kind::Headers, 7));
        assert!(read.ends_stream() && read.ends_headers());
        assert!(!header(0, 4, 1, 0).ends_stream(), "ACK is no END_STREAM");
    }

    #[test]
    fn a_fragment_is_what_padding_and_priority_leave() {
        let fragment = |kind, flags, payload: &'static [u8]| {
            header(payload.len() as u32, kind, flags, 1).fragment(payload)
        };
        for (kind, flags, payload, expected) in [
            (1, 0x4, &b"block"[..], Some(&b"block"[..])),
            (1, 0xc, b"\x02block..", Some(b"block")),
            (1, 0xc, b"\x00block", Some(b"block")),
            (1, 0x24, b"12345block", Some(b"block")),
            (1, 0x2c, b"\x0112345block.", Some(b"block")),
            (5, 0x4, b"1234block", Some(b"block")),
            (9, 0xc, b"\x02block", Some(b"\x02block")),
            (1, 0xc, b"\x06block", None),
            (1, 0xc, b"", None),
            (1, 0x24, b"1234", None),
            (1, 0xc, b"\x05block", Some(b"")),
        ] {
            assert_eq!(fragment(kind, flags, payload), expected, "{kind} {flags:#x} {payload:?}");
        }
    }

    #[test]
    fn frames_that_no_peer_sends_are_invalid() {
        let valid = |length, kind, flags, stream| header(length, kind, flags, stream).is_valid();
        assert!(valid(12, 4, 0, 0) && valid(0, 4, 1, 0) && valid(4, 8, 0, 0) && valid(4, 8, 0, 9));
        assert!(valid(70_000, 0, 0, 1) && valid(3, 0xbe, 0xff, 0) && valid(8, 6, 0, 0));
        for (length, kind, flags, stream) in [
            (5, 4, 0, 0),
            (6, 4, 1, 0),
            (6, 4, 0, 1),
            (9, 0, 0, 0),
            (9, 1, 0, 0),
            (3, 3, 0, 1),
            (4, 2, 0, 1),
            (7, 6, 0, 0),
            (8, 6, 0, 3),
            (5, 8, 0, 0),
            (7, 7, 0, 0),
            (3, 5, 0, 1),
            (16_385, 0xbe, 0, 1),
        ] {
            assert!(!valid(length, kind, flags, stream), "{length} {kind} {flags} {stream}");
        }
    }
}
