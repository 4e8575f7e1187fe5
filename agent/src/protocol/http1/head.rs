//! Reads a head: the few fields that matter are kept as text, and say what the body is. One pass, the same for whole and for
//! cut heads.

use std::{borrow::Cow, ops::Range};

use super::{
    body::Body,
    content::Summary,
    fields::{self, Value},
    framing::Framing,
    line::{FirstLine, Recognised, Role, begins_with_known_method},
    lines::Lines,
    name::Name,
};
use crate::protocol::{
    Interest, MOST_FIELDS,
    http::{Fields, RequestHead, Version},
};

/// Reads a request's head; `head` begins with the request line, complete lines follow. `lines`: those that may matter, if known;
/// `size`: its length, if it is whole. What it says of the body goes into `framing`.
pub(super) fn request<'a>(
    head: &'a [u8],
    line: &FirstLine,
    lines: &Lines,
    size: Option<u64>,
    interest: &Interest,
    framing: &mut Framing,
) -> RequestHead<'a> {
    let (method, target) = (line.request.method_in(head), line.request.target_in(head));
    let mut kept = Kept::default();
    let mut fields = Fields::new();
    let mut summary = interest.content.then(|| Summary::new(&head[method.clone()], &head[target.clone()]));
    let wanted = |line: &[u8]| Name::may_begin(line, interest.content) || interest.may_begin(line[0]);
    fields::each(head, line.length(), lines, wanted, |name, value| {
        let bytes = value.of(head);
        if interest.may_begin(name.first().copied().unwrap_or_default())
            && let Some(name) = interest.field(name)
            && fields.len() < MOST_FIELDS
        {
            fields.push((name.clone(), unfolded(lossy(bytes))));
        }
        let Some(name) = Name::of(name) else { return };
        if let Some(summary) = &mut summary {
            summary.field(name, bytes);
        }
        framing.field(name, bytes);
        kept.field(name, value);
    });
    let texts = Texts::new(head, kept.end.max(target.end));
    RequestHead {
        method: texts.part(method),
        target: texts.part(target),
        version: Version::of_minor(line.request.minor),
        host: kept.host.map(|value| texts.value(value)),
        user_agent: kept.user_agent.map(|value| texts.value(value)),
        traceparent: kept.traceparent.only().map(|value| texts.value(value)),
        tracestate: texts.joined(&kept.tracestate),
        prefix: prefix(head),
        head_size: size,
        incomplete: size.is_none(),
        fields,
        content: summary.filter(|_| size.is_some()).map(|summary| summary.content()),
    }
}

/// The request that stands whole at the front of `bytes`, its method a registered one and without a body: its first line and
/// its size.
pub(super) fn whole_request(bytes: &[u8]) -> Option<(FirstLine, usize)> {
    let mut line = FirstLine::new(Role::Request);
    if !begins_with_known_method(bytes) || line.advance(bytes) != Recognised::Request {
        return None;
    }
    let mut lines = Lines::none();
    let size = lines.find(bytes, line.length(), Name::letters(false))?;
    let framing = response(&bytes[..size], &line, &lines);
    (framing.request_body() == Some(Body::EMPTY) && !framing.upgrade).then_some((line, size))
}

/// The first letters of the lines that matter in a head.
pub(super) const fn letters(role: Role, interest: &Interest) -> u32 {
    match role {
        Role::Request => Name::letters(interest.content) | interest.letters(),
        Role::Response | Role::Unknown => Name::letters(false),
    }
}

/// Reads the fields of a response's head that frame its body.
pub(super) fn response(head: &[u8], line: &FirstLine, lines: &Lines) -> Framing {
    let mut framing = Framing::default();
    let wanted = |line: &[u8]| Name::may_begin(line, false);
    fields::each(head, line.length(), lines, wanted, |name, value| {
        if let Some(name) = Name::of(name) {
            framing.field(name, value.of(head));
        }
    });
    framing
}

/// Where the values lie that are kept as text.
#[derive(Debug, Default)]
struct Kept {
    host: Option<Value>,
    user_agent: Option<Value>,
    traceparent: Repeated,
    tracestate: Repeated,
    /// The end of the last one.
    end: usize,
}

/// A field that may stand there more than once, and its further values.
#[derive(Debug, Default)]
struct Repeated {
    first: Option<Value>,
    more: Vec<Value>,
}

impl Kept {
    fn field(&mut self, name: Name, value: Value) {
        match name {
            Name::Host if self.host.is_none() => self.host = Some(value),
            Name::UserAgent if self.user_agent.is_none() => self.user_agent = Some(value),
            Name::Traceparent => self.traceparent.push(value),
            Name::Tracestate => self.tracestate.push(value),
            _ => return,
        }
        self.end = value.end;
    }
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

    fn part(self, part: Range<usize>) -> Cow<'a, str> {
        match self.checked.and_then(|text| text.get(part.clone())) {
            Some(text) => text.into(),
            None => lossy(&self.head[part]),
        }
    }

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
    head.first_chunk().copied().unwrap_or_else(|| {
        let mut prefix = [0; 16];
        prefix[..head.len()].copy_from_slice(head);
        prefix
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &[u8]) -> (RequestHead<'_>, Framing) {
        let mut line = FirstLine::new(Role::Request);
        line.advance(head);
        let mut framing = Framing::default();
        let size = Some(head.len() as u64);
        let request = request(head, &line, &Lines::none(), size, &Interest::default(), &mut framing);
        (request, framing)
    }

    fn read_with<'a>(head: &'a [u8], interest: &Interest) -> RequestHead<'a> {
        let mut line = FirstLine::new(Role::Request);
        line.advance(head);
        let size = Some(head.len() as u64);
        request(head, &line, &Lines::none(), size, interest, &mut Framing::default())
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
