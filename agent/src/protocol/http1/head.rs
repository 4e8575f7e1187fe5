//! The fields of a head: the few that matter, and what they say about the body. One lenient scan for whole and for cut
//! heads, of any number of fields, so that the same bytes mean the same however they came.

use compact_str::CompactString;
use memchr::{Memchr, memchr, memchr_iter};

use super::{
    body::{BlankLine, Body, Chunked},
    content::{self, Summary},
    line::{FirstLine, Recognised, Role, begins_with_known_method},
};
use crate::protocol::{Interest, MOST_FIELDS, RequestHead};

/// What a head says about its message's body and connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Framing {
    length: Option<u64>,
    length_invalid: bool,
    coding: Option<Coding>,
    /// The request asks to leave HTTP/1.
    pub upgrade: bool,
    /// The request waits for 100 (Continue) before its body.
    pub expects_continue: bool,
}

/// The last transfer coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    Other,
}

impl Framing {
    /// The body of a request (RFC 9112, section 6.3); `None` when that cannot be told.
    pub(super) const fn request_body(&self) -> Option<Body> {
        match self.coding {
            Some(Coding::Chunked) => Some(Body::Chunked(Chunked::new())),
            Some(Coding::Other) => None,
            None if self.length_invalid => None,
            None => Some(Body::Length { remaining: self.length_or_zero() }),
        }
    }

    /// The body of a response that may have one.
    pub(super) const fn response_body(&self) -> Option<Body> {
        match (self.coding, self.length) {
            (Some(Coding::Chunked), _) => Some(Body::Chunked(Chunked::new())),
            (Some(Coding::Other), _) => Some(Body::UntilClose),
            (None, _) if self.length_invalid => None,
            (None, Some(remaining)) => Some(Body::Length { remaining }),
            (None, None) => Some(Body::UntilClose),
        }
    }

    /// Whether a field of this (perhaps cut) head gives the body's length: without one nothing follows from a cut head.
    pub(super) const fn is_stated(&self) -> bool {
        self.length.is_some() || self.coding.is_some()
    }

    const fn length_or_zero(&self) -> u64 {
        match self.length {
            Some(length) => length,
            None => 0,
        }
    }

    /// `Content-Length`, repeated or as a list, must always say the same (RFC 9110, section 8.6).
    fn content_length(&mut self, value: &[u8]) {
        if self.length.is_none()
            && let Some(length) = parse_length(value)
        {
            self.length = Some(length);
            return;
        }
        for item in value.split(|byte| *byte == b',') {
            match parse_length(trim(item)) {
                Some(length) if self.length.is_none_or(|before| before == length) => {
                    self.length = Some(length);
                }
                _ => self.length_invalid = true,
            }
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) {
        // `identity` codes nothing (RFC 2616, section 3.6; RFC 9112, section 7 has dropped it).
        let codes = |item: &&[u8]| !item.is_empty() && !item.eq_ignore_ascii_case(b"identity");
        let last = value.rsplit(|byte| *byte == b',').map(trim).find(codes);
        if let Some(last) = last {
            let chunked = last.eq_ignore_ascii_case(b"chunked");
            self.coding = Some(if chunked { Coding::Chunked } else { Coding::Other });
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            _ => {}
        }
    }
}

/// Reads a request's head; `head` begins with the request line, complete lines follow.
pub(super) fn request(head: &[u8], line: &FirstLine, interest: &Interest) -> (RequestHead, Framing) {
    let mut framing = Framing::default();
    let mut request = RequestHead {
        method: text(line.request.method(head)),
        target: text(line.request.target(head)),
        version_minor: line.request.minor,
        ..RequestHead::default()
    };
    let prefix = head.len().min(request.prefix.len());
    request.prefix[..prefix].copy_from_slice(&head[..prefix]);
    let mut traceparents = 0_u32;
    let mut summary =
        interest.content.then(|| Summary::new(line.request.method(head), line.request.target(head)));
    let wanted = |line: &[u8]| {
        may_matter(line) || interest.may_begin(line[0]) || interest.content && content::may_matter(line)
    };
    for (name, value) in Fields::new(head, line.length(), wanted) {
        if let Some(summary) = &mut summary {
            summary.field(name, value);
        }
        if interest.may_begin(name.first().copied().unwrap_or_default())
            && let Some(name) = interest.field(name)
            && request.fields.len() < MOST_FIELDS
        {
            request.fields.push((name.clone(), unfolded(value)));
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => keep_first(&mut request.host, value),
            10 if name.eq_ignore_ascii_case(b"user-agent") => keep_first(&mut request.user_agent, value),
            10 if name.eq_ignore_ascii_case(b"tracestate") => append(&mut request.tracestate, value),
            11 if name.eq_ignore_ascii_case(b"traceparent") => {
                traceparents += 1;
                keep_first(&mut request.traceparent, value);
            }
            _ => framing.field(name, value),
        }
    }
    if traceparents > 1 {
        request.traceparent = None;
    }
    request.content = summary.map(|summary| summary.content());
    (request, framing)
}

/// The request that stands whole at the front of `bytes`, its method a registered one and without a body: its first line and
/// its size.
pub(super) fn whole_request(bytes: &[u8]) -> Option<(FirstLine, usize)> {
    let mut line = FirstLine::new(Role::Request);
    if !begins_with_known_method(bytes) || line.advance(bytes) != Recognised::Request {
        return None;
    }
    let size = line.length() + BlankLine::new().find(&bytes[line.length()..])?;
    let (_, framing) = request(&bytes[..size], &line, &Interest::default());
    (framing.request_body() == Some(Body::EMPTY) && !framing.upgrade).then_some((line, size))
}

/// Reads the fields of a response's head that frame its body.
pub(super) fn response(head: &[u8], line: &FirstLine) -> Framing {
    let mut framing = Framing::default();
    for (name, value) in Fields::new(head, line.length(), may_matter) {
        framing.field(name, value);
    }
    framing
}

/// The complete fields of a head that may matter; a folded one (RFC 9112, section 5.2) is one field. Names are not
/// validated: one that equals a known name is valid.
struct Fields<'a, W> {
    head: &'a [u8],
    line_ends: Memchr<'a>,
    at: usize,
    /// Whether a line may matter.
    wanted: W,
}

impl<'a, W: Fn(&[u8]) -> bool> Fields<'a, W> {
    fn new(head: &'a [u8], first_line: usize, wanted: W) -> Self {
        let head = head.get(first_line..).unwrap_or_default();
        Self { head, line_ends: memchr_iter(b'\n', head), at: 0, wanted }
    }
}

impl<'a, W: Fn(&[u8]) -> bool> Iterator for Fields<'a, W> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut end = self.line_ends.next()? + 1;
            while matches!(self.head.get(end), Some(b' ' | b'\t')) {
                end = self.line_ends.next()? + 1;
            }
            let line = &self.head[self.at..end];
            self.at = end;
            if !(self.wanted)(line) {
                continue;
            }
            let Some(colon) = memchr(b':', line) else { continue };
            // Old peers put spaces before the colon.
            return Some((line[..colon].trim_ascii_end(), trim(&line[colon + 1..])));
        }
    }
}

/// Most fields are not ours: their first letters say so, and of those with `c` (Connection, Content-Type, Cookie …) the
/// ninth, which is an `l` only in Content-Length.
fn may_matter(line: &[u8]) -> bool {
    match line[0] | 0x20 {
        b'c' => line.get(8).is_some_and(|letter| letter | 0x20 == b'l'),
        b'e' | b'h' | b't' | b'u' => true,
        _ => false,
    }
}

const fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

/// Digits alone: a sign, which Rust's parser would take, is no part of a length.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |length, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { length.checked_mul(10)?.checked_add(digit.into()) }
    })
}

fn text(bytes: &[u8]) -> CompactString {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes).into(),
    }
}

/// Text of a field's value; the line ends of a folded one become spaces.
fn unfolded(value: &[u8]) -> CompactString {
    if !value.contains(&b'\n') {
        return text(value);
    }
    let value = text(value);
    value
        .split(['\r', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .into()
}

fn keep_first(field: &mut Option<CompactString>, value: &[u8]) {
    if field.is_none() {
        *field = Some(unfolded(value));
    }
}

fn append(field: &mut Option<CompactString>, value: &[u8]) {
    match field {
        None => *field = Some(unfolded(value)),
        Some(before) if !value.is_empty() => {
            if !before.is_empty() {
                before.push(',');
            }
            before.push_str(&unfolded(value));
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &[u8]) -> (RequestHead, Framing) {
        let mut line = FirstLine::new(Role::Request);
        line.advance(head);
        request(head, &line, &Interest::default())
    }

    fn read_with(head: &[u8], interest: &Interest) -> RequestHead {
        let mut line = FirstLine::new(Role::Request);
        line.advance(head);
        request(head, &line, interest).0
    }

    #[test]
    fn the_fields_that_matter() {
        let (head, framing) = read(
            b"POST /x HTTP/1.1\r\nHost: a\r\nUSER-agent :  u a \r\ntracestate: a=1\r\nTraceparent: 00-t\r\n\
              tracestate:b=2,c=3\r\nContent-Length: 7\r\nnonsense\r\nbad name: x\r\nHost: b\r\n\r\n",
        );
        assert_eq!((head.method.as_str(), head.target.as_str(), head.version_minor), ("POST", "/x", 1));
        assert_eq!(head.host.as_deref(), Some("a"));
        assert_eq!(head.user_agent.as_deref(), Some("u a"));
        assert_eq!(head.traceparent.as_deref(), Some("00-t"));
        assert_eq!(head.tracestate.as_deref(), Some("a=1,b=2,c=3"));
        assert_eq!(&head.prefix, b"POST /x HTTP/1.1");
        assert_eq!(framing.request_body(), Some(Body::Length { remaining: 7 }));
    }

    #[test]
    fn a_repeated_traceparent_is_none_and_a_folded_value_is_one() {
        let (head, _) = read(
            b"GET / HTTP/1.1\r\ntraceparent: a\r\ntraceparent: a\r\nUser-Agent: x\r\n  y\r\n\tz\r\n\r\n",
        );
        assert_eq!((head.traceparent, head.user_agent.as_deref()), (None, Some("x y z")));
    }

    #[test]
    fn framing_of_requests_and_responses() {
        let length = |remaining| Some(Body::Length { remaining });
        let chunked = Some(Body::Chunked(Chunked::new()));
        let until_close = Some(Body::UntilClose);
        for (fields, request, response) in [
            ("", length(0), until_close),
            ("Content-Length: 5\r\n", length(5), length(5)),
            ("Content-Length: 5, 5\r\nContent-Length:5\r\n", length(5), length(5)),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", None, None),
            ("Content-Length: -5\r\n", None, None),
            ("Content-Length: 99999999999999999999\r\n", None, None),
            ("Content-Length:\r\n", None, None),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunked, chunked),
            ("Transfer-Encoding: gzip, Chunked\r\n", chunked, chunked),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", chunked, chunked),
            ("Transfer-Encoding: gzip\r\n", None, until_close),
            ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", length(5), length(5)),
            ("Transfer-Encoding: chunked, Identity\r\n", chunked, chunked),
            ("Transfer-Encoding: identity\r\n", length(0), until_close),
        ] {
            let (_, framing) = read(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes());
            assert_eq!((framing.request_body(), framing.response_body()), (request, response), "{fields:?}");
        }
    }

    #[test]
    fn fields_of_interest_are_given_as_they_are() {
        let interest = Interest::in_fields(["X-Request-ID", "via"]);
        let head =
            read_with(b"GET / HTTP/1.1\r\nx-request-id: a b\r\nX-Other: 1\r\nVIA:  p\r\n\r\n", &interest);
        let fields: Vec<_> =
            head.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("x-request-id", "a b"), ("via", "p")]);
        assert_eq!(head.content, None);
    }

    #[test]
    fn a_forwarded_request_has_the_content_of_the_received_one() {
        let interest = Interest::in_content();
        let content = |head: &str| read_with(head.as_bytes(), &interest).content.unwrap();
        let received = content(
            "GET /a?b HTTP/1.1\r\nHost: a\r\nCookie: c=1\r\nUser-Agent: u\r\nConnection: close\r\n\r\n",
        );
        let forwarded = "GET /a?b HTTP/1.1\r\nuser-agent: u\r\ncookie: c=1\r\nHost: b\r\nX-Forwarded-For: x\r\nVia: p\r\n";
        assert_eq!(content(&format!("{forwarded}\r\n")), received);
        let identified = content(&format!("{forwarded}X-Request-Id: 7\r\n\r\n"));
        assert_eq!((identified.base, received.identity), (received.base, 0));
        assert_ne!(identified.identity, 0);
        for (same, other) in [("GET", "PUT"), ("/a?b", "/a"), ("c=1", "c=2"), (": u", ": v")] {
            assert_ne!(
                content(&format!("{}\r\n", forwarded.replacen(same, other, 1))).base,
                received.base,
                "{other}"
            );
        }
    }

    #[test]
    fn a_cut_head_gives_its_complete_lines() {
        let (head, framing) = read(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: cu");
        assert_eq!((head.host.as_deref(), head.user_agent), (Some("a"), None));
        assert!(!framing.is_stated());
    }
}
