//! Reads a head: the few fields that matter are kept as text, and say what the body is. One pass, the same for whole and for
//! cut heads.

use std::{borrow::Cow, ops::Range};

use super::{
    body::{BlankLine, Body},
    content::Summary,
    fields::{self, Value},
    framing::Framing,
    line::{FirstLine, Recognised, RequestLine, Role, begins_with_known_method},
    lines,
    name::Name,
};
use crate::protocol::{
    Interest, MOST_FIELDS,
    http::{Fields, RequestHead, Version},
};

/// Reads a request's head; `head` begins with the request line, complete lines follow. `size`: its length, if it is whole. Says
/// also what it says of the body.
pub(super) fn request<'a>(
    head: &'a [u8],
    line: &FirstLine,
    size: Option<u64>,
    interest: &Interest,
) -> (RequestHead<'a>, Framing) {
    let mut reading = Reading::new(head, &line.request, interest);
    fields::each(head, line.length(), &mut |name, value| reading.field(name, value));
    let framing = reading.framing;
    (reading.finish(&line.request, size), framing)
}

/// The request that stands whole at the front of `bytes`, its method a registered one and without a body: its first line and
/// its size.
pub(super) fn whole_request(bytes: &[u8]) -> Option<(FirstLine, usize)> {
    let mut line = FirstLine::new(Role::Request);
    if !begins_with_known_method(bytes) || line.advance(bytes) != Recognised::Request {
        return None;
    }
    let size = line.length() + BlankLine::new().find(&bytes[line.length()..])?;
    let framing = response(&bytes[..size], &line);
    (framing.request_body() == Some(Body::EMPTY) && !framing.upgrade).then_some((line, size))
}

/// Reads the fields of a response's head that frame its body.
pub(super) fn response(head: &[u8], line: &FirstLine) -> Framing {
    let mut framing = Framing::default();
    fields::each(head, line.length(), &mut |name, value| {
        if let Some(name) = Name::of(name) {
            framing.field(name, value.of(head));
        }
    });
    framing
}

/// The same, and the head's length, of one that lies whole at the front of `view`, in one pass; its first line has `first_line`
/// bytes. `None`: it is not whole, or is for the careful path.
pub(super) fn response_at_once(view: &[u8], first_line: usize) -> Option<(Framing, usize)> {
    let mut framing = Framing::default();
    let end = lines::scan(view, first_line, Name::FRAMING, |start, feed| {
        if let Some((name, value)) = fields::known(view, start, feed, false) {
            framing.field(name, value.of(view));
        }
    })?;
    Some((framing, end))
}

/// What was read of a request's head so far.
pub(super) struct Reading<'a, 'i> {
    head: &'a [u8],
    interest: &'i Interest,
    /// What it says of the body.
    pub framing: Framing,
    host: Option<Value>,
    user_agent: Option<Value>,
    traceparent: Repeated,
    tracestate: Repeated,
    /// The end of the last of these values, which are kept as text.
    kept_end: usize,
    fields: Fields<'a>,
    summary: Option<Summary>,
}

impl<'a, 'i> Reading<'a, 'i> {
    /// Of a head that begins with this line.
    #[inline(always)]
    pub(super) fn new(head: &'a [u8], line: &RequestLine, interest: &'i Interest) -> Self {
        Self {
            head,
            interest,
            framing: Framing::default(),
            host: None,
            user_agent: None,
            traceparent: Repeated::default(),
            tracestate: Repeated::default(),
            kept_end: 0,
            fields: Fields::new(),
            summary: interest.content.then(|| Summary::new(line.method(head), line.target(head))),
        }
    }

    /// Reads the fields of a head that lies whole at the front of what is there, in one pass; returns its length. `None`: it is not
    /// whole, or is for the careful path, and what was read means nothing.
    pub(super) fn at_once(&mut self, line: &RequestLine) -> Option<usize> {
        let view = self.head;
        let letters = Name::letters(self.interest.content) | self.interest.letters();
        let end = lines::scan(view, line.length(), letters, |start, feed| self.line(view, start, feed))?;
        self.head = &view[..end];
        Some(end)
    }

    /// A field in one line, by its start and its line feed.
    #[inline(always)]
    fn line(&mut self, view: &[u8], start: usize, feed: usize) {
        if self.interest.may_begin(view[start]) {
            self.line_of_interest(start, feed);
        } else if let Some((name, value)) = fields::known(view, start, feed, self.interest.content) {
            self.known(name, value, value.of(view));
        }
    }

    /// The same of one that may be among those that the owner wants.
    #[inline(never)]
    fn line_of_interest(&mut self, start: usize, feed: usize) {
        if let Some((name, value)) = fields::field(self.head, start, feed, false) {
            self.field(name, value);
        }
    }

    fn field(&mut self, name: &[u8], value: Value) {
        if let Some(name) = self.interest.field(name)
            && self.fields.len() < MOST_FIELDS
        {
            self.fields.push((name.clone(), unfolded(lossy(value.of(self.head)))));
        }
        if let Some(name) = Name::of(name) {
            self.known(name, value, value.of(self.head));
        }
    }

    /// `bytes` are those of the value.
    #[inline(always)]
    fn known(&mut self, name: Name, value: Value, bytes: &[u8]) {
        if let Some(summary) = &mut self.summary {
            summary.field(name, bytes);
        }
        match name {
            Name::Host if self.host.is_none() => self.host = Some(value),
            Name::UserAgent if self.user_agent.is_none() => self.user_agent = Some(value),
            Name::Traceparent => self.traceparent.push(value),
            Name::Tracestate => self.tracestate.push(value),
            Name::ContentLength | Name::TransferEncoding | Name::Upgrade | Name::Expect => {
                return self.framing.field(name, bytes);
            }
            _ => return,
        }
        self.kept_end = value.end;
    }

    /// All fields were read; `size` is the head's, if it is whole.
    #[inline(always)]
    pub(super) fn finish(&mut self, line: &RequestLine, size: Option<u64>) -> RequestHead<'a> {
        let (head, target) = (self.head, line.target_in(self.head));
        let texts = Texts::new(head, self.kept_end.max(target.end));
        RequestHead {
            method: texts.part(line.method_in(head)),
            target: texts.part(target),
            version: Version::of_minor(line.minor),
            host: self.host.map(|value| texts.value(value)),
            user_agent: self.user_agent.map(|value| texts.value(value)),
            traceparent: self.traceparent.only().map(|value| texts.value(value)),
            tracestate: texts.joined(&self.tracestate),
            prefix: prefix(head),
            head_size: size,
            incomplete: size.is_none(),
            fields: std::mem::take(&mut self.fields),
            content: self.summary.as_ref().filter(|_| size.is_some()).map(Summary::content),
        }
    }
}

/// A field that may stand there more than once, and its further values.
#[derive(Debug, Default)]
struct Repeated {
    first: Option<Value>,
    more: Vec<Value>,
}

impl Repeated {
    fn push(&mut self, value: Value) {
        if self.first.is_none() {
            self.first = Some(value);
        } else {
            self.more.push(value);
        }
    }

    fn only(&self) -> Option<Value> {
        self.first.filter(|_| self.more.is_empty())
    }
}

/// Makes texts of a head's parts. Whether the bytes are UTF-8 is checked once, up to the last part; where they are not, for
/// each part.
#[derive(Clone, Copy)]
struct Texts<'a> {
    head: &'a [u8],
    checked: Option<&'a str>,
}

impl<'a> Texts<'a> {
    fn new(head: &'a [u8], end: usize) -> Self {
        Self { head, checked: head.get(..end).and_then(|bytes| str::from_utf8(bytes).ok()) }
    }

    #[inline(always)]
    fn part(self, part: Range<usize>) -> Cow<'a, str> {
        match self.checked.and_then(|text| text.get(part.clone())) {
            Some(text) => text.into(),
            None => self.lossy(part),
        }
    }

    #[cold]
    fn lossy(self, part: Range<usize>) -> Cow<'a, str> {
        lossy(&self.head[part])
    }

    #[inline(always)]
    fn value(self, value: Value) -> Cow<'a, str> {
        let text = self.part(value.start..value.end);
        if value.folded { unfolded(text) } else { text }
    }

    /// The values as one list (RFC 9110, section 5.3).
    fn joined(self, values: &Repeated) -> Option<Cow<'a, str>> {
        let mut list = self.value(values.first?);
        for value in values.more.iter().filter(|value| value.start < value.end) {
            let list = list.to_mut();
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(&self.value(*value));
        }
        Some(list)
    }
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Text of a field's value; its line ends become spaces.
fn unfolded(value: Cow<'_, str>) -> Cow<'_, str> {
    if !value.contains('\n') {
        return value;
    }
    value
        .split(['\r', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .into()
}

/// The first bytes, filled up with zeros.
fn prefix(head: &[u8]) -> [u8; 16] {
    match head.first_chunk() {
        Some(prefix) => *prefix,
        None => short_prefix(head),
    }
}

#[cold]
#[inline(never)]
fn short_prefix(head: &[u8]) -> [u8; 16] {
    let mut prefix = [0; 16];
    prefix[..head.len()].copy_from_slice(head);
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &[u8]) -> (RequestHead<'_>, Framing) {
        let mut line = FirstLine::new(Role::Request);
        line.advance(head);
        request(head, &line, Some(head.len() as u64), &Interest::default())
    }

    fn read_with<'a>(head: &'a [u8], interest: &Interest) -> RequestHead<'a> {
        let mut line = FirstLine::new(Role::Request);
        line.advance(head);
        request(head, &line, Some(head.len() as u64), interest).0
    }

    #[test]
    fn the_fields_that_matter() {
        let (head, framing) = read(
            b"POST /x HTTP/1.1\r\nHost: a\r\nUSER-agent :  u a \r\ntracestate: a=1\r\nTraceparent: 00-t\r\n\
              tracestate:b=2,c=3\r\nContent-Length: 7\r\nnonsense\r\nbad name: x\r\nHost: b\r\n\r\n",
        );
        assert_eq!((&*head.method, &*head.target, head.version), ("POST", "/x", Version::Http11));
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
    fn fields_of_interest_are_given_as_they_are() {
        let interest = Interest::in_fields(["X-Request-ID", "via"]);
        let head =
            read_with(b"GET / HTTP/1.1\r\nx-request-id: a b\r\nX-Other: 1\r\nVIA:  p\r\n\r\n", &interest);
        let fields: Vec<_> = head.fields.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
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
