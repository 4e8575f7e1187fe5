//! The lines of a head that lies in one piece: one scan finds the empty line and passes the lines that may matter on its way, so
//! that nobody looks for line ends again, nor at other lines.
//!
//! [`BlankLine`](super::body::BlankLine) and [`fields::each`](super::fields::each) are the careful path: it goes on over
//! transfers, reads folded fields, and agrees with this scan on every head that the scan reads.

use super::name::first_letter;
use crate::blocks::{self, BLOCK};

/// White space at the front of a line, as letters: it goes on with the line before.
const FOLDS: u32 = first_letter(b' ') | first_letter(b'\t');

/// Looks for the empty line in `head` from `start` on, where a line begins; returns the offset after it. Passes start and line feed
/// of the lines before it that begin with one of `letters`. `None`: there is no empty line, or a line is folded, and then
/// what was passed means nothing.
#[inline(always)]
pub(super) fn scan(
    head: &[u8],
    start: usize,
    letters: u32,
    mut pass: impl FnMut(usize, usize),
) -> Option<usize> {
    let (mut block, mut line) = (start, start);
    while block < head.len() {
        let mut feeds = blocks::equal(head, block, b'\n');
        while feeds != 0 {
            let feed = block + feeds.trailing_zeros() as usize;
            let first = head[line];
            if feed == line || feed == line + 1 && first == b'\r' {
                return Some(feed + 1);
            }
            if first_letter(first) & (letters | FOLDS) != 0 {
                if matches!(first, b' ' | b'\t') {
                    return None;
                }
                pass(line, feed);
            }
            line = feed + 1;
            feeds &= feeds - 1;
        }
        block += BLOCK;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: u32 = u32::MAX;

    /// The empty line's end and the lines before it.
    fn lines(bytes: &[u8], start: usize, letters: u32) -> (Option<usize>, Vec<(usize, usize)>) {
        let mut lines = vec![];
        let end = scan(bytes, start, letters, |start, feed| lines.push((start, feed + 1)));
        (end, lines)
    }

    #[test]
    fn the_empty_line_and_those_before_it() {
        assert_eq!(lines(b"\r\nrest\n", 0, ANY), (Some(2), vec![]));
        assert_eq!(lines(b"x\na: b\r\n\r\nrest", 2, ANY), (Some(10), vec![(2, 8)]));
        assert_eq!(lines(b"a\n\nrest", 0, ANY), (Some(3), vec![(0, 2)]));
        assert_eq!(lines(b"a\r\n\r\r\nb", 0, ANY).0, None);
        assert_eq!(lines(b"", 0, ANY), (None, vec![]));
    }

    #[test]
    fn lines_with_other_letters_are_not_passed() {
        let letters = first_letter(b'h') | first_letter(b'C');
        let head = b"Host: a\r\nVia: b\r\nX-Header: 0123456789abcdef\r\ncookie: c\r\n\r\n";
        assert_eq!(lines(head, 0, letters), (Some(head.len()), vec![(0, 9), (45, 56)]));
    }

    #[test]
    fn a_folded_line_is_for_the_careful_path() {
        for head in [&b"via: b\n c\n\n"[..], b"a: b\r\n\tc\r\n\r\n", b" a\n\n"] {
            assert_eq!(lines(head, 0, first_letter(b'a')).0, None, "{head:?}");
        }
    }

    #[test]
    fn many_and_far_lines() {
        let many = [&b"a:b\r\n".repeat(1_000)[..], b"\r\n"].concat();
        let (end, all) = lines(&many, 0, ANY);
        assert_eq!((end, all.len()), (Some(many.len()), 1_000));
        let far = [&[b'x'; 70_000][..], b"\n\n"].concat();
        assert_eq!(lines(&far, 0, ANY), (Some(far.len()), vec![(0, far.len() - 1)]));
    }
}
