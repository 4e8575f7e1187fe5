//! Where a message's body ends: content length, chunked coding (RFC 9112, section 7.1), or the end of the connection.

use memchr::{memchr, memchr_iter};

/// The body that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Length { remaining: u64 },
    Chunked(Chunked),
    UntilClose,
}

impl Body {
    pub(super) const EMPTY: Self = Self::Length { remaining: 0 };

    /// How many bytes from here on need not be seen.
    pub(super) const fn skippable(&self) -> u64 {
        match self {
            Self::Length { remaining } => *remaining,
            Self::Chunked(chunked) => chunked.data_left(),
            Self::UntilClose => u64::MAX,
        }
    }

    /// Skips `count` payload bytes, at most [`Body::skippable`].
    pub(super) const fn skip(&mut self, count: u64) {
        match self {
            Self::Length { remaining } => *remaining = remaining.saturating_sub(count),
            Self::Chunked(chunked) => chunked.skip_data(count),
            Self::UntilClose => {}
        }
    }
}

/// The coding breaks RFC 9112, section 7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// A decoder that keeps no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunked {
    state: ChunkState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    Size { value: u64, digits: u8 },
    Extension { size: u64 },
    Data { remaining: u64 },
    DataEnd { cr: bool },
    Trailers(BlankLine),
    Done,
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self { state: ChunkState::Size { value: 0, digits: 0 } }
    }

    pub(super) const fn data_left(&self) -> u64 {
        match self.state {
            ChunkState::Data { remaining } => remaining,
            _ => 0,
        }
    }

    const fn skip_data(&mut self, count: u64) {
        if let ChunkState::Data { remaining } = self.state {
            self.state = match remaining.saturating_sub(count) {
                0 => ChunkState::DataEnd { cr: false },
                remaining => ChunkState::Data { remaining },
            };
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// Reads framing up to the next chunk's data or the end of the body; returns how many bytes that took.
    pub(super) fn framing(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            self.state = match self.state {
                ChunkState::Size { value, digits } => {
                    match char::from(byte).to_digit(16) {
                        Some(_) if digits == 16 => return Err(Malformed),
                        Some(digit) => {
                            at += 1;
                            ChunkState::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
                        }
                        None if digits == 0 || !matches!(byte, b';' | b' ' | b'\t' | b'\r' | b'\n') => {
                            return Err(Malformed);
                        }
                        // The byte stays: it may be the line's end.
                        None => ChunkState::Extension { size: value },
                    }
                }
                ChunkState::Extension { size } => {
                    let Some(count) = memchr(b'\n', &bytes[at..]) else { return Ok(bytes.len()) };
                    at += count + 1;
                    if size == 0 {
                        ChunkState::Trailers(BlankLine::new())
                    } else {
                        ChunkState::Data { remaining: size }
                    }
                }
                ChunkState::DataEnd { cr } => {
                    at += 1;
                    match byte {
                        b'\n' => ChunkState::Size { value: 0, digits: 0 },
                        b'\r' if !cr => ChunkState::DataEnd { cr: true },
                        _ => return Err(Malformed),
                    }
                }
                ChunkState::Trailers(mut blank) => {
                    let found = blank.find(&bytes[at..]);
                    at = found.map_or(bytes.len(), |count| at + count);
                    if found.is_some() { ChunkState::Done } else { ChunkState::Trailers(blank) }
                }
                ChunkState::Data { .. } | ChunkState::Done => return Ok(at),
            };
        }
        Ok(at)
    }
}

/// Finds the empty line that ends a head or a trailer section; looks at each byte once. Bare LF counts (RFC 9112, 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlankLine {
    line: Line,
}

/// What the line has so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Nothing,
    Cr,
    Text,
}

impl BlankLine {
    /// At the start of a line.
    pub(super) const fn new() -> Self {
        Self { line: Line::Nothing }
    }

    /// The offset after the empty line, if it ends in `bytes`.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        for end in memchr_iter(b'\n', bytes) {
            let blank =
                matches!((self.line, &bytes[at..end]), (Line::Nothing, [] | [b'\r']) | (Line::Cr, []));
            self.line = Line::Nothing;
            at = end + 1;
            if blank {
                return Some(at);
            }
        }
        self.line = match (self.line, &bytes[at..]) {
            (line, []) => line,
            (Line::Nothing, [b'\r']) => Line::Cr,
            _ => Line::Text,
        };
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payload length and bytes read until the body ended.
    fn decode(bytes: &[u8], step: usize) -> Result<(u64, usize, bool), Malformed> {
        let mut chunked = Chunked::new();
        let (mut payload, mut at) = (0, 0);
        while at < bytes.len() && !chunked.is_done() {
            let end = (at + step).min(bytes.len());
            let data = chunked.data_left().min((end - at) as u64);
            if data > 0 {
                chunked.skip_data(data);
                payload += data;
                at += usize::try_from(data).unwrap();
            } else {
                at += chunked.framing(&bytes[at..end])?;
            }
        }
        Ok((payload, at, chunked.is_done()))
    }

    #[test]
    fn chunked_bodies_in_any_steps() {
        let cases: &[(&[u8], u64, bool)] = &[
            (b"0\r\n\r\n", 0, true),
            (b"5\r\nhello\r\n0\r\n\r\n", 5, true),
            (b"5;ext=\"a;b\"\r\nhello\r\n0;x\r\n\r\n", 5, true),
            (b"A \r\n0123456789\r\n000\r\nTrailer: x\r\nB: y\r\n\r\n", 10, true),
            (b"1\nx\n0\n\n", 1, true),
            (b"ff\r\nnot all", 7, false),
        ];
        for (bytes, payload, done) in cases {
            for step in 1..=bytes.len() {
                assert_eq!(
                    decode(bytes, step),
                    Ok((*payload, bytes.len(), *done)),
                    "step {step} of {bytes:?}"
                );
            }
        }
    }

    #[test]
    fn broken_chunks_are_malformed() {
        for bytes in
            [&b"x\r\n"[..], b"\r\n", b"5\r\nhelloX", b"5x\r\n", b"11112222333344445\r\n", b"5\r\nhello\r\r\n"]
        {
            for step in 1..=bytes.len() {
                assert_eq!(decode(bytes, step), Err(Malformed), "step {step} of {bytes:?}");
            }
        }
    }

    #[test]
    fn the_blank_line_in_any_steps() {
        for (bytes, expected) in [
            (&b"\r\nrest"[..], Some(2)),
            (b"a: b\r\n\r\nrest", Some(8)),
            (b"a\n\nrest", Some(3)),
            (b"a\r\n\r\r\n", None),
            (b"a\r\n", None),
        ] {
            for step in 1..=bytes.len() {
                let mut blank = BlankLine::new();
                let mut at = 0;
                let found = bytes.chunks(step).find_map(|chunk| {
                    let found = blank.find(chunk).map(|count| at + count);
                    at += chunk.len();
                    found
                });
                assert_eq!(found, expected, "step {step} of {bytes:?}");
            }
        }
    }
}
