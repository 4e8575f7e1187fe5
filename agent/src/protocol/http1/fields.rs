//! The fields of a head, one after the other: where the name and the value of each lie. Lenient, and the same for whole and
//! for cut heads, so that the same bytes mean the same however they came.

use std::ops::Range;

use memchr::memchr;

use super::lines::Lines;
use crate::words;

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

/// Tells of the complete fields behind the first line of `head` whose lines are `wanted`. Lines that `lines` does not have are
/// looked for. Names are not validated: one that equals a known name is valid.
#[inline]
pub(super) fn each<'a>(
    head: &'a [u8],
    first_line: usize,
    lines: &Lines,
    wanted: impl Fn(&[u8]) -> bool,
    mut tell: impl FnMut(&'a [u8], Value),
) {
    let mut tell = |line: Range<usize>, folded| {
        if wanted(&head[line.clone()])
            && let Some((name, value)) = field(head, line, folded)
        {
            tell(name, value);
        }
    };
    match lines.all() {
        Some(lines) => lines.for_each(|line| tell(line, false)),
        None => each_line(head, first_line, &mut tell),
    }
}

/// Every line, with those that go on with it, one after the other.
#[inline(never)]
fn each_line(head: &[u8], first_line: usize, tell: &mut dyn FnMut(Range<usize>, bool)) {
    let line_end = |start| Some(start + memchr(b'\n', head.get(start..)?)? + 1);
    let mut start = first_line;
    while let Some(first_end) = line_end(start) {
        let mut end = first_end;
        while matches!(head.get(end), Some(b' ' | b'\t')) {
            let Some(next) = line_end(end) else { return };
            end = next;
        }
        tell(start..end, end != first_end);
        start = end;
    }
}

/// The name and where the value lies. `None`: the line has no colon.
#[inline(always)]
fn field(head: &[u8], line: Range<usize>, folded: bool) -> Option<(&[u8], Value)> {
    let Range { start, end } = line;
    let colon = colon(head, start, end)?;
    // Old peers put spaces before the colon.
    let name = &head[start..trim_end(head, start, colon)];
    let end = if head[..end].ends_with(b"\r\n") { end - 2 } else { end - 1 };
    let value_start = trim_start(head, colon + 1, end);
    let value_end = trim_end(head, value_start, end);
    Some((name, Value { start: value_start, end: value_end, folded }))
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
