//! What makes a request the same request on both sides of a proxy: method, target and the fields that proxies hand on
//! (RFC 9110, section 7.6: end-to-end), as hashes.
//!
//! Host, Via, Forwarded, Accept-Encoding and all that is meant for one hop are left out, since proxies change them; so are
//! fields that hardly tell requests apart.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use crate::protocol::Content;

/// Whether a line with these first letters may be one of the fields.
pub(super) const fn may_matter(line: &[u8]) -> bool {
    matches!(line[0] | 0x20, b'a' | b'c' | b'u' | b'x' | b't' | b'i' | b'r')
}

/// Adds up what is read of a head, in any order of the fields: proxies may change it.
pub(super) struct Summary {
    base: u64,
    identity: u64,
}

impl Summary {
    pub(super) fn new(method: &[u8], target: &[u8]) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(method);
        hasher.write_u8(0);
        hasher.write(target);
        Self { base: hasher.finish(), identity: 0 }
    }

    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        let Some((tag, identifies)) = tag(name) else { return };
        let mut hasher = SipHasher13::new();
        hasher.write_u8(tag);
        hasher.write(value);
        let sum = if identifies { &mut self.identity } else { &mut self.base };
        *sum = sum.wrapping_add(hasher.finish());
    }

    pub(super) const fn content(&self) -> Content {
        Content { base: self.base, identity: self.identity }
    }
}

/// A number for each of the fields, and whether it names one request rather than its sender or kind.
fn tag(name: &[u8]) -> Option<(u8, bool)> {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    Some(match name.len() {
        5 if is("range") => (1, false),
        6 if is("cookie") => (2, false),
        6 if is("accept") => (3, false),
        7 if is("referer") => (4, false),
        10 if is("user-agent") => (5, false),
        10 if is("request-id") => (6, true),
        11 if is("traceparent") => (7, true),
        12 if is("content-type") => (8, false),
        12 if is("x-request-id") => (9, true),
        13 if is("authorization") => (10, false),
        13 if is("if-none-match") => (11, false),
        15 if is("x-amzn-trace-id") => (12, true),
        16 if is("x-correlation-id") => (13, true),
        _ => return None,
    })
}
