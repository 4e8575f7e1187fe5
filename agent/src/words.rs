//! Eight bytes at a time, as one number: what is near by is found and compared in fewer steps than byte by byte, and than
//! `memchr` needs to begin.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// The eight bytes at `at`, the first one the lowest, if so many are there.
#[inline]
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The first byte at `from` or behind it that `marks` finds in a word. `None`: it is not in the whole words that are there, of
/// which at most `words` are looked at.
#[inline]
pub(crate) fn first(bytes: &[u8], from: usize, words: usize, marks: impl Fn(u64) -> u64) -> Option<usize> {
    let mut at = from;
    for _ in 0..words {
        let found = marks(word(bytes, at)?);
        if found != 0 {
            return Some(at + lowest(found));
        }
        at += 8;
    }
    None
}

/// Marks bytes of this value by their high bits.
#[inline]
pub(crate) const fn equal(word: u64, byte: u8) -> u64 {
    let other = word ^ (ONES * byte as u64);
    // The sum has a byte's high bit if any of its low seven bits is set, and carries nothing into the next byte.
    !(((other & !HIGH) + !HIGH) | other) & HIGH
}

/// Marks bytes below this value, which is at most 128. The lowest mark is right, those above it may be wrong ("Bit Twiddling
/// Hacks": determine if a word has a byte less than n).
#[inline]
pub(crate) const fn below(word: u64, byte: u8) -> u64 {
    word.wrapping_sub(ONES * byte as u64) & !word & HIGH
}

/// Where a mark's byte stands in its word.
#[inline]
pub(crate) const fn lowest(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_of_any_bytes() {
        // Neighbours and extremes of what is looked for.
        const BYTES: [u8; 8] = [0, 0x20, 0x21, 0x39, 0x3a, 0x3b, 0x7f, 0xff];
        for number in 0..8_usize.pow(5) {
            let mut bytes = [b'x'; 18];
            for (place, byte) in bytes[5..10].iter_mut().enumerate() {
                *byte = BYTES[number / 8_usize.pow(u32::try_from(place).unwrap()) % 8];
            }
            let mut marks = 0;
            for (place, byte) in bytes[3..11].iter().enumerate() {
                marks |= u64::from(*byte == b':') << (8 * place + 7);
            }
            assert_eq!(equal(word(&bytes, 3).unwrap(), b':'), marks, "{bytes:?}");
            let colon = bytes.iter().position(|byte| *byte == b':');
            assert_eq!(first(&bytes, 0, 2, |word| equal(word, b':')), colon, "{bytes:?}");
            let space = bytes.iter().position(|byte| *byte <= b' ');
            assert_eq!(first(&bytes, 0, 2, |word| below(word, b' ' + 1)), space, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_whole_word_is_not_looked_at() {
        let find = |bytes: &[u8], from, words| first(bytes, from, words, |word| equal(word, b':'));
        assert_eq!(find(b"0123456:", 0, 1), Some(7));
        assert_eq!(find(b"0123456:", 1, 1), None);
        assert_eq!(find(b"01234567:9abcdef", 0, 1), None);
        assert_eq!((find(b"", 0, 1), find(b"", 9, 1)), (None, None));
    }
}
