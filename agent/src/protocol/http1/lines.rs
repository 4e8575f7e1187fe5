//! Where the lines of a head end: one scan finds the empty line and keeps what it passes, so that nobody looks for line ends
//! again.
//!
//! [`BlankLine`](super::body::BlankLine) is the careful path: it goes on over calls, and agrees with this scan on every head
//! that lies in one piece.

use memchr::memchr_iter;

/// Line ends that are kept. Those of a longer head are looked for again.
const KEPT: usize = 32;

/// The ends of a head's field lines, as far as they were kept, from the first field on.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineEnds {
    ends: [u16; KEPT],
    count: usize,
    /// No line follows but the empty one.
    all: bool,
}

impl LineEnds {
    /// Nothing was scanned.
    pub(super) const fn none() -> Self {
        Self { ends: [0; KEPT], count: 0, all: false }
    }

    /// Looks for the empty line in `bytes` from `start` on, where a line begins; returns the offset after it.
    pub(super) fn find(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        *self = Self::none();
        let mut line = start;
        let mut kept_all = true;
        for feed in memchr_iter(b'\n', bytes.get(start..)?) {
            let feed = start + feed;
            let blank = feed == line || feed == line + 1 && bytes[line] == b'\r';
            line = feed + 1;
            if blank {
                self.all = kept_all;
                return Some(line);
            }
            kept_all = kept_all && self.keep(line);
        }
        None
    }

    /// Whether there was room for it.
    fn keep(&mut self, end: usize) -> bool {
        let (Some(place), Ok(end)) = (self.ends.get_mut(self.count), u16::try_from(end)) else {
            return false;
        };
        *place = end;
        self.count += 1;
        true
    }

    /// The offset after the line with this number.
    pub(super) fn get(&self, number: usize) -> Option<usize> {
        self.ends[..self.count].get(number).map(|end| usize::from(*end))
    }

    /// Whether a line that [`LineEnds::get`] does not know is none.
    pub(super) const fn is_all(&self) -> bool {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The empty line's end and the line ends before it.
    fn scan(bytes: &[u8], start: usize) -> (Option<usize>, Vec<usize>) {
        let mut lines = LineEnds::none();
        let end = lines.find(bytes, start);
        (end, (0..).map_while(|number| lines.get(number)).collect())
    }

    #[test]
    fn the_empty_line_and_those_before_it() {
        assert_eq!(scan(b"\r\nrest\n", 0), (Some(2), vec![]));
        assert_eq!(scan(b"x\na: b\r\n\r\nrest", 2), (Some(10), vec![8]));
        assert_eq!(scan(b"a\n\nrest", 0), (Some(3), vec![2]));
        assert_eq!(scan(b"a\r\n\r\r\nb", 0), (None, vec![3, 6]));
        assert_eq!(scan(b"", 0), (None, vec![]));
    }

    #[test]
    fn a_head_of_many_or_far_lines_is_found_and_not_kept_whole() {
        let many = [&b"a:b\r\n".repeat(KEPT + 1)[..], b"\r\n"].concat();
        let mut lines = LineEnds::none();
        assert_eq!(lines.find(&many, 0), Some(many.len()));
        assert_eq!((lines.get(KEPT - 1), lines.get(KEPT), lines.is_all()), (Some(5 * KEPT), None, false));
        let far = [&[b'x'; 70_000][..], b"\n\n"].concat();
        assert_eq!(lines.find(&far, 0), Some(far.len()));
        assert_eq!((lines.get(0), lines.is_all()), (None, false));
        assert_eq!(lines.find(&many[5..], 0), Some(many.len() - 5));
        assert!(lines.is_all());
    }
}
