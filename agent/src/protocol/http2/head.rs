//! What the fields of a header block say, as far as a span needs it.

use std::{borrow::Cow, ops::Range};

use compact_str::CompactString;

use super::hpack::{Field, Text};
use crate::protocol::{
    Interest, MOST_FIELDS, Rpc,
    http::{Fields, RequestHead, Version},
};

/// A header block, read. It is used again for the next one, so that none needs memory of its own.
#[derive(Debug, Default)]
pub(super) struct Head {
    texts: Vec<u8>,
    method: Option<Range<usize>>,
    path: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    host: Option<Range<usize>>,
    user_agent: Option<Range<usize>>,
    traceparent: Option<Range<usize>>,
    /// `traceparent` stands there more than once.
    repeated: bool,
    tracestate: Option<Range<usize>>,
    fields: Vec<(CompactString, Range<usize>)>,
    status: Option<u16>,
    /// The content is gRPC's.
    grpc: bool,
    grpc_status: Option<u32>,
    /// A pseudo-header field has a name or a value that is not known.
    unknown: bool,
}

impl Head {
    pub(super) fn clear(&mut self) {
        let Self { mut texts, mut fields, .. } = std::mem::take(self);
        texts.clear();
        fields.clear();
        (self.texts, self.fields) = (texts, fields);
    }

    /// Takes one field of the block.
    pub(super) fn field(&mut self, field: Field<'_>, interest: &Interest) {
        let (name, value) = match (field.name, field.value) {
            (Text::Known(name), Text::Known(value)) => (name, value),
            (Text::Known(name), Text::Unknown(_)) => {
                self.unknown |= name.starts_with(b":");
                return;
            }
            // It may have been any field.
            (Text::Unknown(_), _) => {
                self.unknown = true;
                return;
            }
        };
        match name {
            b":method" => self.method = Some(self.keep(value)),
            b":path" => self.path = Some(self.keep(value)),
            b":authority" => self.authority = Some(self.keep(value)),
            b":status" => self.status = status(value),
            b"content-type" => self.grpc = is_grpc(value),
            b"grpc-status" => {
                self.grpc_status = std::str::from_utf8(value).ok().and_then(|code| code.parse().ok());
            }
            b"host" => self.host = Some(self.keep(value)),
            b"user-agent" => self.user_agent = Some(self.keep(value)),
            b"traceparent" => {
                self.repeated |= self.traceparent.is_some();
                self.traceparent = Some(self.keep(value));
            }
            b"tracestate" => self.tracestate(value),
            _ => {}
        }
        if name.first().is_some_and(|letter| interest.may_begin(*letter))
            && self.fields.len() < MOST_FIELDS
            && let Some(name) = interest.field(name)
        {
            let value = self.keep(value);
            self.fields.push((name.clone(), value));
        }
    }

    pub(super) const fn status(&self) -> Option<u16> {
        self.status
    }

    /// The code of a status of gRPC.
    pub(super) const fn grpc_status(&self) -> Option<u32> {
        self.grpc_status
    }

    /// The remote procedure call that the request is, if it is one of gRPC.
    pub(super) fn rpc(&self) -> Option<Rpc<'_>> {
        let text = |range: Option<&Range<usize>>| std::str::from_utf8(self.texts.get(range?.clone())?).ok();
        self.grpc.then(|| Rpc {
            system: "grpc",
            method: text(self.path.as_ref()).map(|path| path.strip_prefix('/').unwrap_or(path)),
            traceparent: text(self.traceparent.as_ref()).filter(|_| !self.repeated),
            tracestate: text(self.tracestate.as_ref()),
        })
    }

    /// A field that spans need is not known.
    pub(super) const fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// `prefix`: the first bytes of the message, by which both ends recognise each other.
    pub(super) fn request(&self, prefix: [u8; 16]) -> RequestHead<'_> {
        let method = self.text(self.method.as_ref()).unwrap_or_default();
        let authority = self.text(self.authority.as_ref());
        // CONNECT has no path (section 8.5).
        let target =
            self.text(self.path.as_ref()).or_else(|| authority.clone().filter(|_| method == "CONNECT"));
        let fields = self
            .fields
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), lossy(self.texts.get(value.clone())?))));
        RequestHead {
            method,
            target: target.unwrap_or_default(),
            version: Version::Http2,
            host: authority.or_else(|| self.text(self.host.as_ref())),
            user_agent: self.text(self.user_agent.as_ref()),
            traceparent: self.text(self.traceparent.as_ref()).filter(|_| !self.repeated),
            tracestate: self.text(self.tracestate.as_ref()),
            prefix,
            head_size: None,
            incomplete: self.unknown,
            fields: fields.collect::<Fields<'_>>(),
            content: None,
        }
    }

    fn keep(&mut self, value: &[u8]) -> Range<usize> {
        let from = self.texts.len();
        self.texts.extend_from_slice(value);
        from..self.texts.len()
    }

    /// All of them joined by a comma.
    fn tracestate(&mut self, value: &[u8]) {
        let from = self.texts.len();
        if let Some(earlier) = self.tracestate.take() {
            self.texts.extend_from_within(earlier);
            self.texts.push(b',');
        }
        self.texts.extend_from_slice(value);
        self.tracestate = Some(from..self.texts.len());
    }

    fn text(&self, range: Option<&Range<usize>>) -> Option<Cow<'_, str>> {
        self.texts.get(range?.clone()).map(lossy)
    }
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// `application/grpc`, perhaps with a format of messages (gRPC over HTTP/2, "Requests").
fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Three digits (RFC 9110, section 15).
fn status(value: &[u8]) -> Option<u16> {
    let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = *value else { return None };
    Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
}
