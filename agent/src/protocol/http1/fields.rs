//! The fields of a head, one after the other: where the name and the value of each lie. Lenient, and the same for whole and
//! for cut heads, so that the same bytes mean the same however they came.

use memchr::memchr;

use super::{lines::LineEnds, words};

/// Where a value lies in its head, without the white space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value {
    pub start: usize,
    pub end: usize,
    /// The field has several lines (RFC 9112, section 5.2).
    pub folded: bool,
}

impl Value {
    pub(super) fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start..self.end]
    }
}

/// Tells of the complete fields behind the first line of `head` whose lines are `wanted`. Line ends that `lines` does not have
/// are looked for. Names are not validated: one that equals a known name is valid.
#[inline]
pub(super) fn each<'a>(
    head: &'a [u8],
    first_line: usize,
    lines: &LineEnds,
    wanted: impl Fn(&[u8]) -> bool,
    mut tell: impl FnMut(&'a [u8], Value),
) {
    let mut ends = Ends { head, lines, number: 0 };
    let mut start = first_line;
    while let Some(first_end) = ends.next(start) {
        let mut end = first_end;
        while matches!(head.get(end), Some(b' ' | b'\t')) {
            let Some(next) = ends.next(end) else { return };
            end = next;
        }
        let line = start..end;
        start = end;
        if !wanted(&head[line.clone()]) {
            continue;
        }
        let Some(colon) = colon(head, line.start, end) else { continue };
        // Old peers put spaces before the colon.
        let name = &head[line.start..trim_end(head, line.start, colon)];
        let value_start = trim_start(head, colon + 1, end);
        let value_end = trim_end(head, value_start, end);
        tell(name, Value { start: value_start, end: value_end, folded: end != first_end });
    }
}

/// The ends of the lines, one after the other.
struct Ends<'a> {
    head: &'a [u8],
    lines: &'a LineEnds,
    /// Of the next line.
    number: usize,
}

impl Ends<'_> {
    /// The end of the line that begins at `start`.
    fn next(&mut self, start: usize) -> Option<usize> {
        let kept = self.lines.get(self.number);
        self.number += 1;
        if kept.is_some() || self.lines.is_all() {
            return kept;
        }
        memchr(b'\n', self.head.get(start..)?).map(|count| start + count + 1)
    }
}

/// The first colon of the line; nearly every name that matters has fewer than 16 bytes.
fn colon(head: &[u8], start: usize, end: usize) -> Option<usize> {
    match words::first(head, start, 2, |word| words::equal(word, b':')) {
        Some(colon) => (colon < end).then_some(colon),
        None => memchr(b':', &head[start..end]).map(|count| start + count),
    }
}

/// Where a part of the head begins without the white space before it.
fn trim_start(head: &[u8], mut start: usize, end: usize) -> usize {
    while start < end && is_space(head[start]) {
        start += 1;
    }
    start
}

/// Where a part of the head ends without the white space behind it.
fn trim_end(head: &[u8], start: usize, mut end: usize) -> usize {
    while start < end && is_space(head[end - 1]) {
        end -= 1;
    }
    end
}

/// One comparison says no of nearly every byte.
const fn is_space(byte: u8) -> bool {
    byte <= b' ' && byte.is_ascii_whitespace()
}
