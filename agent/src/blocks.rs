//! Many bytes at a time, each of them one bit of a number: where bytes of some kind are, without a search.
//!
//! On x86-64 comparisons of 16 bytes make the number. Any other machine goes eight bytes at a time, and the tests hold
//! both ways together.

/// Bytes that are looked at at once.
pub(crate) const BLOCK: usize = 64;

const HALF: usize = BLOCK / 2;

/// Bytes that one comparison takes.
const PART: usize = 16;

/// Marks the bytes of this value, which is not 0, among the 64 bytes from `at` on. The lowest bit is that of the byte at `at`.
/// There is at least one byte; those beyond the end are not marked.
#[inline(always)]
pub(crate) fn equal(bytes: &[u8], at: usize, byte: u8) -> u64 {
    let rest = &bytes[at..];
    let equal = |part: &[u8; PART]| machine::equal(part, byte);
    if let Some(block) = rest.first_chunk::<BLOCK>() {
        return marks(block, equal);
    }
    // Halves overlap one another or begin before `at`, which takes less than a copy.
    match (rest.first_chunk::<HALF>(), bytes.last_chunk::<HALF>()) {
        (Some(first), Some(last)) => marks(first, equal) | marks(last, equal) << (rest.len() - HALF),
        (None, Some(last)) => marks(last, equal) >> (HALF - rest.len()),
        (_, None) => {
            let mut padded = [0; HALF];
            padded[..rest.len()].copy_from_slice(rest);
            marks(&padded, equal)
        }
    }
}

/// The first byte from `at` on that is no visible character of ASCII and no part of a longer one: a space, a control character or
/// DEL. Looks at whole
/// blocks of 32 bytes only; the error is where these end.
#[inline(always)]
pub(crate) fn first_invisible(bytes: &[u8], mut at: usize) -> Result<usize, usize> {
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<HALF>) {
        let found = marks(block, machine::invisible);
        if found != 0 {
            return Ok(at + found.trailing_zeros() as usize);
        }
        at += HALF;
    }
    Err(at)
}

/// Puts together what was found in each part.
#[inline(always)]
fn marks<const BYTES: usize>(block: &[u8; BYTES], find: impl Fn(&[u8; PART]) -> u64) -> u64 {
    let (parts, _) = block.as_chunks();
    parts.iter().rev().fold(0, |marks, part| marks << PART | find(part))
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use safe_arch::{
        cmp_eq_mask_i8_m128i, load_unaligned_m128i, m128i, min_u8_m128i, move_mask_i8_m128i,
        set_splat_i8_m128i,
    };

    use super::PART;

    #[inline(always)]
    pub(super) fn equal(part: &[u8; PART], byte: u8) -> u64 {
        mask(cmp_eq_mask_i8_m128i(load_unaligned_m128i(part), splat(byte)))
    }

    #[inline(always)]
    pub(super) fn invisible(part: &[u8; PART]) -> u64 {
        let part = load_unaligned_m128i(part);
        let low = cmp_eq_mask_i8_m128i(min_u8_m128i(part, splat(b' ')), part);
        mask(low | cmp_eq_mask_i8_m128i(part, splat(0x7f)))
    }

    #[inline(always)]
    fn splat(byte: u8) -> m128i {
        set_splat_i8_m128i(byte.cast_signed())
    }

    /// The highest bits of 16 bytes.
    #[inline(always)]
    fn mask(bytes: m128i) -> u64 {
        u64::from(move_mask_i8_m128i(bytes).cast_unsigned())
    }
}

#[cfg(not(target_arch = "x86_64"))]
use portable as machine;

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::PART;
    use crate::words;

    pub(super) fn equal(part: &[u8; PART], byte: u8) -> u64 {
        marks(part, |word| words::equal(word, byte))
    }

    pub(super) fn invisible(part: &[u8; PART]) -> u64 {
        // The marks above the lowest one may be wrong, so that each byte needs a word of its own.
        let is_invisible = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
        part.iter().rev().fold(0, |marks, byte| marks << 1 | u64::from(is_invisible(byte)))
    }

    fn marks(part: &[u8; PART], find: impl Fn(u64) -> u64) -> u64 {
        /// Moves the lowest bit of each byte into the highest byte, the first byte's to the lowest place.
        const GATHER: u64 = 0x0102_0408_1020_4080;

        part.as_chunks().0.iter().rev().fold(0, |marks, word| {
            let found = find(u64::from_le_bytes(*word)) >> 7;
            marks << 8 | found.wrapping_mul(GATHER) >> 56
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Neighbours and extremes of what is looked for.
    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![
            prop::sample::select(&[0, b'\n', 0x1f, b' ', b'!', 0x7e, 0x7f, 0x80, 0xff][..]),
            any::<u8>()
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn both_ways_mark_the_same(part in prop::array::uniform16(byte()), byte in byte()) {
            let marks = |is: &dyn Fn(u8) -> bool| (0..PART).fold(0, |marks, at| marks | u64::from(is(part[at])) << at);
            let expected = marks(&|other| other == byte);
            prop_assert_eq!((machine::equal(&part, byte), portable::equal(&part, byte)), (expected, expected));
            let expected = marks(&|byte| byte <= b' ' || byte == 0x7f);
            prop_assert_eq!((machine::invisible(&part), portable::invisible(&part)), (expected, expected));
        }

        #[test]
        fn bytes_beyond_the_end_are_not_marked(
            bytes in prop::collection::vec(byte(), 1..200),
            at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(bytes.len());
            let rest = bytes[at..].iter().take(BLOCK).enumerate();
            let expected = rest.fold(0, |marks, (at, byte)| marks | u64::from(*byte == b'\n') << at);
            prop_assert_eq!(equal(&bytes, at, b'\n'), expected);
        }

        #[test]
        fn the_first_invisible_byte(text in "[!-~é]{0,100}", end in byte(), rest in "[ -~]{0,70}", from in 0..5_usize) {
            let bytes = [text.as_bytes(), &[end], rest.as_bytes()].concat();
            let is_invisible = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
            let expected = bytes.iter().skip(from).position(is_invisible).map(|count| from + count);
            match first_invisible(&bytes, from) {
                Ok(found) => prop_assert_eq!(Some(found), expected),
                Err(at) => {
                    prop_assert!(at + HALF > bytes.len() && expected.is_none_or(|expected| expected >= at));
                }
            }
        }
    }
}
