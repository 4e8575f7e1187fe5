//! Where the lines of a head lie: one scan finds the empty line and keeps the lines that may matter, so that nobody looks for line
//! ends again, nor at other lines.
//!
//! [`BlankLine`](super::body::BlankLine) is the careful path: it goes on over transfers, and agrees with this scan on every head
//! that lies in one piece.

use std::ops::Range;

use super::name::first_letter;
use crate::words::{equal, lowest};

/// Lines that are kept. A head in which more of them may matter is read line by line.
const KEPT: usize = 24;
/// Bytes that are looked at at once. The compiler makes one comparison of them.
const BLOCK: usize = 16;
/// White space at the front of a line, as letters: it goes on with the line before.
const FOLDS: u32 = first_letter(b' ') | first_letter(b'\t');

/// The field lines of a head that may matter, if the scan has kept them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    /// Start and end.
    kept: [[u16; 2]; KEPT],
    count: usize,
    /// No other line matters, and none is folded.
    all: bool,
}

impl Lines {
    /// Nothing was scanned.
    pub(super) const fn none() -> Self {
        Self { kept: [[0; 2]; KEPT], count: 0, all: false }
    }

    /// Looks for the empty line in `bytes` from `start` on, where a line begins; returns the offset after it. Lines matter that
    /// begin with one of `letters`.
    pub(super) fn find(&mut self, bytes: &[u8], start: usize, letters: u32) -> Option<usize> {
        *self = Self::none();
        let (mut line, mut all) = (start, true);
        let blank = find_feed(bytes, start, |feed| {
            let first = bytes[line];
            if feed == line || feed == line + 1 && first == b'\r' {
                return true;
            }
            if first_letter(first) & (letters | FOLDS) != 0 {
                all = all && self.keep(first, line, feed + 1);
            }
            line = feed + 1;
            false
        })?;
        self.all = all;
        Some(blank + 1)
    }

    /// Whether there was room for it, and it is a line by itself.
    fn keep(&mut self, first: u8, start: usize, end: usize) -> bool {
        let (Some(place), Ok(start), Ok(end)) =
            (self.kept.get_mut(self.count), u16::try_from(start), u16::try_from(end))
        else {
            return false;
        };
        *place = [start, end];
        self.count += 1;
        !matches!(first, b' ' | b'\t')
    }

    /// The lines that may matter, in their order. `None`: they are not known.
    pub(super) fn all(&self) -> Option<impl Iterator<Item = Range<usize>>> {
        let kept = self.kept.get(..self.count).filter(|_| self.all)?;
        Some(kept.iter().map(|[start, end]| usize::from(*start)..usize::from(*end)))
    }
}

/// The first line feed at `from` or behind it that `is_wanted` takes.
#[inline(always)]
fn find_feed(bytes: &[u8], from: usize, mut is_wanted: impl FnMut(usize) -> bool) -> Option<usize> {
    let (blocks, rest) = bytes.get(from..)?.as_chunks::<BLOCK>();
    let mut at = from;
    for block in blocks {
        if let Some(feed) = find_in_block(block, at, &mut is_wanted) {
            return Some(feed);
        }
        at += BLOCK;
    }
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    find_in_block(&last, at, &mut is_wanted)
}

#[inline(always)]
fn find_in_block(
    block: &[u8; BLOCK],
    start: usize,
    is_wanted: &mut impl FnMut(usize) -> bool,
) -> Option<usize> {
    // Nearly all blocks have none, and this is a fraction of what a search takes.
    if !block.iter().fold(false, |found, byte| found | (*byte == b'\n')) {
        return None;
    }
    let mut at = start;
    for word in block.as_chunks::<8>().0 {
        let mut feeds = equal(u64::from_le_bytes(*word), b'\n');
        while feeds != 0 {
            let feed = at + lowest(feeds);
            if is_wanted(feed) {
                return Some(feed);
            }
            feeds &= feeds - 1;
        }
        at += 8;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: u32 = u32::MAX;

    /// The empty line's end and the lines before it, if they are kept.
    fn scan(bytes: &[u8], start: usize, letters: u32) -> (Option<usize>, Option<Vec<(usize, usize)>>) {
        let mut lines = Lines::none();
        let end = lines.find(bytes, start, letters);
        (end, lines.all().map(|lines| lines.map(|line| (line.start, line.end)).collect()))
    }

    #[test]
    fn the_empty_line_and_those_before_it() {
        assert_eq!(scan(b"\r\nrest\n", 0, ANY), (Some(2), Some(vec![])));
        assert_eq!(scan(b"x\na: b\r\n\r\nrest", 2, ANY), (Some(10), Some(vec![(2, 8)])));
        assert_eq!(scan(b"a\n\nrest", 0, ANY), (Some(3), Some(vec![(0, 2)])));
        assert_eq!(scan(b"a\r\n\r\r\nb", 0, ANY), (None, None));
        assert_eq!(scan(b"", 0, ANY), (None, None));
    }

    #[test]
    fn lines_with_other_letters_are_passed() {
        let letters = first_letter(b'h') | first_letter(b'C');
        let head = b"Host: a\r\nVia: b\r\nX-Header: 0123456789abcdef\r\ncookie: c\r\n\r\n";
        assert_eq!(scan(head, 0, letters), (Some(head.len()), Some(vec![(0, 9), (45, 56)])));
    }

    #[test]
    fn lines_are_not_kept_where_one_goes_on() {
        for head in [&b"via: b\n c\n\n"[..], b"a: b\r\n\tc\r\n\r\n", b" a\n\n"] {
            assert_eq!(scan(head, 0, first_letter(b'a')), (Some(head.len()), None), "{head:?}");
        }
    }

    #[test]
    fn a_head_of_many_or_far_lines_is_found_and_not_kept() {
        let most = [&b"a:b\r\n".repeat(KEPT)[..], b"\r\n"].concat();
        assert_eq!(scan(&most, 0, ANY).1.map_or(0, |lines| lines.len()), KEPT);
        let many = [b"a:b\r\n", &most[..]].concat();
        assert_eq!(scan(&many, 0, ANY), (Some(many.len()), None));
        let far = [&[b'x'; 70_000][..], b"\n\n"].concat();
        assert_eq!(scan(&far, 0, ANY), (Some(far.len()), None));
    }
}
