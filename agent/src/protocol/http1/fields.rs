//! The fields of a head, one after the other: where the name and the value of each lie. Lenient, and the same for whole and
//! for cut heads, so that the same bytes mean the same however they came.

use memchr::memchr;

use super::name::Name;
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

/// Tells of the complete fields behind the first line of `head`. Names are not validated: one that equals a known name is valid.
#[inline(never)]
pub(super) fn each<'a>(head: &'a [u8], first_line: usize, tell: &mut dyn FnMut(&'a [u8], Value)) {
    let line_feed = |start| Some(start + memchr(b'\n', head.get(start..)?)?);
    let mut start = first_line;
    while let Some(first_feed) = line_feed(start) {
        let mut feed = first_feed;
        while matches!(head.get(feed + 1), Some(b' ' | b'\t')) {
            let Some(next) = line_feed(feed + 1) else { return };
            feed = next;
        }
        if let Some((name, value)) = field(head, start, feed, feed != first_feed) {
            tell(name, value);
        }
        start = feed + 1;
    }
}

/// The name and where the value lies of the field whose line begins at `start` and ends with `feed`. `None`: the line has no colon.
pub(super) fn field(head: &[u8], start: usize, feed: usize, folded: bool) -> Option<(&[u8], Value)> {
    let colon = colon(head, start, feed)?;
    // Old peers put spaces before the colon.
    let name = &head[start..trim_end(head, start, colon)];
    Some((name, value(head, colon + 1, feed, folded)))
}

/// The field of such a line that is whole by itself, if its name is a known one; see [`Name::begins`].
#[inline(always)]
pub(super) fn known(head: &[u8], start: usize, feed: usize, content: bool) -> Option<(Name, Value)> {
    let (name, length) = Name::begins(&head[start..feed], content)?;
    let end = start + length;
    match head[end] {
        b':' => Some((name, value(head, end + 1, feed, false))),
        byte if is_space(byte) => spaced(head, start, feed),
        _ => None,
    }
}

/// The same with spaces behind what is perhaps a known name.
#[cold]
fn spaced(head: &[u8], start: usize, feed: usize) -> Option<(Name, Value)> {
    let (name, value) = field(head, start, feed, false)?;
    Some((Name::of(name)?, value))
}

/// What stands from `start` to the line's end.
#[inline(always)]
fn value(head: &[u8], start: usize, feed: usize, folded: bool) -> Value {
    // One space and a carriage return are what nearly every line has.
    let start = start + usize::from(head[start] == b' ');
    let end = feed - usize::from(start < feed && head[feed - 1] == b'\r');
    let start = trim_start(head, start, end);
    Value { start, end: trim_end(head, start, end), folded }
}

/// The first colon of the line; nearly every name that matters has fewer than 16 bytes.
fn colon(head: &[u8], start: usize, feed: usize) -> Option<usize> {
    match words::first(head, start, 2, |word| words::equal(word, b':')) {
        Some(colon) => (colon < feed).then_some(colon),
        None => memchr(b':', &head[start..feed]).map(|count| start + count),
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
