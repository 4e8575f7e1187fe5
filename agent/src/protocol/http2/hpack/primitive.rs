//! Integers and strings as HPACK writes them (RFC 7541, section 5).

use super::{Malformed, huffman};

/// Most octets of an integer after its prefix: enough for 2^28, which no header needs.
const OCTETS: usize = 4;

/// Reads the bytes of a block from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The octet with which the next representation begins. It stays in front, since its low bits
    /// are a part of the integer that follows.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    /// An integer whose first octet has `prefix` bits of it.
    pub(super) fn integer(&mut self, prefix: u32) -> Result<usize, Malformed> {
        let (first, rest) = self.bytes.split_first().ok_or(Malformed)?;
        self.bytes = rest;
        let most = (1_usize << prefix) - 1;
        let mut value = usize::from(*first) & most;
        if value < most {
            return Ok(value);
        }
        for octet in 0..OCTETS {
            let (next, rest) = self.bytes.split_first().ok_or(Malformed)?;
            self.bytes = rest;
            value += usize::from(next & 0x7f) << (7 * octet);
            if next & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A string. One in Huffman code is decoded into `scratch`.
    pub(super) fn string<'b>(&mut self, scratch: &'b mut Vec<u8>) -> Result<&'b [u8], Malformed>
    where
        'a: 'b,
    {
        let huffman = self.peek().ok_or(Malformed)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (string, rest) = self.bytes.split_at_checked(length).ok_or(Malformed)?;
        self.bytes = rest;
        if !huffman {
            return Ok(string);
        }
        scratch.clear();
        huffman::decode(string, scratch)?;
        Ok(scratch)
    }
}
