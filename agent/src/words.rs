//! Eight bytes at a time, as one number: what is near by is found and compared in fewer steps than byte by byte, and than
//! `memchr` needs to begin.

use memchr::memchr;

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

/// The first byte at `from` or behind it that `marks` finds in a word, which finds no zeros.
#[inline]
pub(crate) fn position(bytes: &[u8], from: usize, marks: impl Fn(u64) -> u64) -> Option<usize> {
    let mut at = from;
    while let Some(word) = word(bytes, at) {
        let found = marks(word);
        if found != 0 {
            return Some(at + lowest(found));
        }
        at += 8;
    }
    let found = marks(rest(bytes, at));
    (found != 0).then(|| at + lowest(found))
}

/// The bytes from `at` on, of which there are fewer than eight, and zeros.
#[inline]
fn rest(bytes: &[u8], at: usize) -> u64 {
    let left = bytes.len().saturating_sub(at);
    match bytes.last_chunk() {
        Some(_) if left == 0 => 0,
        Some(last) => u64::from_le_bytes(*last) >> (8 * (8 - left)),
        None => bytes.iter().skip(at).rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Where the first byte of this value is, which is not 0. Takes less than `memchr` where that needs longest: in short texts.
#[inline]
pub(crate) fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    const SHORT: usize = 32;
    if bytes.len() > SHORT {
        return memchr(byte, bytes);
    }
    position(bytes, 0, |word| equal(word, byte))
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
            for from in 0..=bytes.len() {
                let colon = bytes[from..].iter().position(|byte| *byte == b':').map(|count| from + count);
                assert_eq!(position(&bytes, from, |word| equal(word, b':')), colon, "{bytes:?} {from}");
            }
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

    #[test]
    fn found_in_texts_of_any_length() {
        for length in 0..70 {
            for place in 0..=length {
                let mut bytes = vec![b'x'; length];
                bytes.iter_mut().skip(place).for_each(|byte| *byte = b'@');
                assert_eq!(find(&bytes, b'@'), (place < length).then_some(place), "{length} {place}");
            }
        }
    }
}
