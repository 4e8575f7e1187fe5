//! The pieces that a protobuf message is put together from (Protocol Buffers, "Encoding"): keys, varints, and messages whose
//! length is written when they are complete.

use prost::encoding::{encode_varint, encoded_len_varint};

/// Wire types.
pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const LENGTH: u8 = 2;
pub(super) const FIXED32: u8 = 5;

/// Bytes of the longest varint.
const LONGEST_VARINT: usize = 10;

/// The key of a field up to 15, which has one byte.
pub(super) const fn tag(field: u8, wire_type: u8) -> u8 {
    assert!(field < 16);
    field << 3 | wire_type
}

/// Appends `bytes` and gives them back, to change what differs from case to case.
#[inline]
pub(super) fn append<'a, const N: usize>(bytes: &[u8; N], out: &'a mut Vec<u8>) -> &'a mut [u8; N] {
    out.extend_from_slice(bytes);
    out.last_chunk_mut().expect("so many bytes have just been appended")
}

/// Most numbers have up to three bytes, for which prost's loop is slow.
#[inline]
pub(super) fn write_varint(value: u64, out: &mut Vec<u8>) {
    match value {
        0..0x80 => out.push(value as u8),
        0x80..0x4000 => out.extend_from_slice(&two_bytes(value)),
        0x4000..0x20_0000 => out.extend_from_slice(&three_bytes(value)),
        _ => encode_varint(value, out),
    }
}

/// The varint of a number of 8 to 14 bits. Each cast takes the low byte; the highest bit says that more follow.
#[inline]
pub(super) const fn two_bytes(value: u64) -> [u8; 2] {
    [value as u8 | 0x80, (value >> 7) as u8]
}

/// The varint of a number of 15 to 21 bits.
#[inline]
pub(super) const fn three_bytes(value: u64) -> [u8; 3] {
    [value as u8 | 0x80, (value >> 7) as u8 | 0x80, (value >> 14) as u8]
}

#[inline]
pub(super) const fn varint_length(value: u64) -> usize {
    if value < 0x80 { 1 } else { encoded_len_varint(value) }
}

/// Begins a field of `length` bytes.
pub(super) fn start(field: u8, length: usize, out: &mut Vec<u8>) {
    out.push(tag(field, LENGTH));
    write_varint(length as u64, out);
}

/// A text, bytes or message field.
#[inline]
pub(super) fn bytes(field: u8, value: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(value.len()) {
        Ok(length @ 0..0x80) => out.extend_from_slice(&[tag(field, LENGTH), length]),
        _ => start(field, value.len(), out),
    }
    out.extend_from_slice(value);
}

/// A text that is empty is protobuf's default and left out.
#[inline]
pub(super) fn present(field: u8, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        bytes(field, value, out);
    }
}

/// Bytes of a field (numbers up to 15) with `length` bytes inside.
pub(super) const fn field_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

/// The room left for the length of a message, whose content follows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    at: usize,
    width: usize,
}

impl Room {
    /// Begins a message field with room for a length of the usual `width`.
    pub(super) fn leave(field: u8, width: usize, out: &mut Vec<u8>) -> Self {
        out.push(tag(field, LENGTH));
        let at = out.len();
        out.resize(at + width, 0);
        Self { at, width }
    }

    /// The room of `width` bytes that stands at `at` already.
    pub(super) const fn at(at: usize, width: usize) -> Self {
        Self { at, width }
    }

    /// Writes the length of the message, which is what has been appended since. A length never has more bytes than it needs:
    /// where the usual width is wrong, the message moves.
    #[inline]
    pub(super) fn fill(self, out: &mut Vec<u8>) {
        let length = out.len() - self.at - self.width;
        if self.width == 2
            && let 0x80..0x4000 = length
            && let Some(room) = out[self.at..].first_chunk_mut()
        {
            *room = two_bytes(length as u64);
        } else {
            self.fill_carefully(length as u64, out);
        }
    }

    #[cold]
    fn fill_carefully(self, length: u64, out: &mut Vec<u8>) {
        let mut varint = Vec::with_capacity(LONGEST_VARINT);
        write_varint(length, &mut varint);
        let room = self.at..self.at + self.width;
        if varint.len() == self.width {
            out[room].copy_from_slice(&varint);
        } else {
            out.splice(room, varint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_those_of_prost() {
        for bits in 0..64 {
            for value in [(1 << bits) - 1, 1 << bits, (1 << bits) + 1] {
                let (mut ours, mut theirs) = (vec![], vec![]);
                write_varint(value, &mut ours);
                encode_varint(value, &mut theirs);
                assert_eq!(ours, theirs, "{value}");
                assert_eq!(varint_length(value), ours.len(), "{value}");
            }
        }
    }

    #[test]
    fn a_message_moves_where_its_length_has_another_width() {
        for width in 1..=4 {
            for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
                let content = vec![b'x'; length];
                let mut out = b"before".to_vec();
                let room = Room::leave(3, width, &mut out);
                out.extend_from_slice(&content);
                room.fill(&mut out);
                let mut expected = b"before".to_vec();
                bytes(3, &content, &mut expected);
                assert!(out == expected, "{length} bytes after room of {width}");
            }
        }
    }
}
