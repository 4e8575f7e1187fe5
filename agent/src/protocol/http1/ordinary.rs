//! First lines as nearly every peer writes them, recognised at once: a registered method, or a status line, with all of the line
//! there. What is recognised here the careful path of `line.rs` recognises as the same; what is not is for that one.

use memchr::memchr;

use super::line::{RequestLine, StatusLine};
use crate::{
    blocks,
    words::{self, word},
};

const METHODS: [Start; 7] = [
    Start::of(b"GET "),
    Start::of(b"POST "),
    Start::of(b"PUT "),
    Start::of(b"DELETE "),
    Start::of(b"HEAD "),
    Start::of(b"PATCH "),
    Start::of(b"OPTIONS "),
];

/// A method and the space behind it, compared as one word.
struct Start {
    word: u64,
    mask: u64,
    length: usize,
}

impl Start {
    const fn of(text: &[u8]) -> Self {
        let (mut word, mut mask, mut index) = (0, 0, 0);
        while index < text.len() {
            word |= (text[index] as u64) << (8 * index);
            mask |= 0xff << (8 * index);
            index += 1;
        }
        Self { word, mask, length: text.len() }
    }
}

/// `method SP request-target SP HTTP-version CRLF` (RFC 9112, section 3).
pub(super) fn request(head: &[u8]) -> Option<RequestLine> {
    let first = word(head, 0)?;
    let method = METHODS.iter().find(|method| first & method.mask == method.word)?.length;
    let target_end = match blocks::first_invisible(head, method) {
        Ok(end) => end,
        Err(rest) => words::first(head, rest, usize::MAX, outside_target)?,
    };
    // The eighth byte is the minor version.
    if target_end == method || head[target_end] != b' ' {
        return None;
    }
    let minor = version(word(head, target_end + 1)?)?;
    let line_end = target_end + 9;
    let length = match head.get(line_end..)? {
        [b'\r', b'\n', ..] => line_end + 2,
        [b'\n', ..] => line_end + 1,
        _ => return None,
    };
    Some(RequestLine::whole(method - 1, method..target_end, minor, length))
}

/// `HTTP-version SP status-code [ SP reason-phrase ] CRLF` (RFC 9112, section 4).
pub(super) fn status(head: &[u8]) -> Option<StatusLine> {
    let minor = version(word(head, 0)?)?;
    let [b' ', hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] = &head[8..] else {
        return None;
    };
    if !matches!(rest.first()?, b' ' | b'\r' | b'\n') {
        return None;
    }
    let digit = |byte: &u8| u16::from(*byte - b'0');
    let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    let start = head.len() - rest.len();
    // A reason is a word or two.
    let feed = words::first(head, start, 3, |word| words::equal(word, b'\n'));
    let feed = feed.or_else(|| memchr(b'\n', rest).map(|count| start + count))?;
    Some(StatusLine::whole(minor, status, feed + 1))
}

fn version(word: u64) -> Option<u8> {
    const VERSIONS: [u64; 2] = [u64::from_le_bytes(*b"HTTP/1.0"), u64::from_le_bytes(*b"HTTP/1.1")];
    match word {
        _ if word == VERSIONS[1] => Some(1),
        _ if word == VERSIONS[0] => Some(0),
        _ => None,
    }
}

/// Marks what no target has: white space, control characters, DEL.
const fn outside_target(word: u64) -> u64 {
    words::below(word, b' ' + 1) | words::equal(word, 0x7f)
}
