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
    /// A text was left out, since there are too many bytes of them: an index of one octet may stand for any text that was
    /// inserted, as often as the peer likes.
    cut: bool,
}

/// Octets of texts for which memory is kept between header blocks.
const USUAL_TEXTS: usize = 1_024;

impl Head {
    pub(super) fn clear(&mut self) {
        let Self { mut texts, mut fields, .. } = std::mem::take(self);
        texts.clear();
        texts.shrink_to(USUAL_TEXTS);
        fields.clear();
        (self.texts, self.fields) = (texts, fields);
    }

    /// Takes one field of the block. `most`: octets of all texts together. Of a field that may stand there only once the first
    /// one counts.
    pub(super) fn field(&mut self, field: Field<'_>, interest: &Interest, most: usize) {
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
            b":method" if self.method.is_none() => self.method = self.keep(value, most),
            b":path" if self.path.is_none() => self.path = self.keep(value, most),
            b":authority" if self.authority.is_none() => self.authority = self.keep(value, most),
            b":status" => self.status = status(value),
            b"content-type" => self.grpc = is_grpc(value),
            b"grpc-status" => {
                self.grpc_status = std::str::from_utf8(value).ok().and_then(|code| code.parse().ok());
            }
            b"host" if self.host.is_none() => self.host = self.keep(value, most),
            b"user-agent" if self.user_agent.is_none() => self.user_agent = self.keep(value, most),
            b"traceparent" if self.traceparent.is_none() => self.traceparent = self.keep(value, most),
            b"traceparent" => self.repeated = true,
            b"tracestate" => self.tracestate(value, most),
            _ => {}
        }
        if name.first().is_some_and(|letter| interest.may_begin(*letter))
            && self.fields.len() < MOST_FIELDS
            && let Some(name) = interest.field(name)
        {
            let name = name.clone();
            if let Some(value) = self.keep(value, most) {
                self.fields.push((name, value));
            }
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

    /// A text is missing, since all together were too long.
    pub(super) const fn is_cut(&self) -> bool {
        self.cut
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
            incomplete: self.unknown || self.cut,
            fields: fields.collect::<Fields<'_>>(),
            content: None,
        }
    }

    fn keep(&mut self, value: &[u8], most: usize) -> Option<Range<usize>> {
        let from = self.texts.len();
        if from + value.len() > most {
            self.cut = true;
            return None;
        }
        self.texts.extend_from_slice(value);
        Some(from..self.texts.len())
    }

    /// All of them joined by a comma.
    fn tracestate(&mut self, value: &[u8], most: usize) {
        let earlier = self.tracestate.clone().unwrap_or_default();
        let from = self.texts.len();
        if from + earlier.len() + 1 + value.len() > most {
            self.cut = true;
            return;
        }
        if !earlier.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn take(head: &mut Head, name: &str, value: &str) {
        let (name, value) = (Text::Known(name.as_bytes()), Text::Known(value.as_bytes()));
        head.field(Field { name, value }, &Interest::default(), 1_000);
    }

    /// An index of one octet may stand for a text of any length.
    #[test]
    fn texts_have_a_ceiling_however_often_they_come() {
        for name in [":path", "user-agent", "tracestate", "traceparent", "host", ":authority", ":method"] {
            let mut head = Head::default();
            for _ in 0..10_000 {
                take(&mut head, name, &"x".repeat(90));
            }
            assert!(head.texts.len() <= 1_000, "{name}: {}", head.texts.len());
            assert_eq!(head.is_cut(), name == "tracestate", "{name}");
        }
        let mut head = Head::default();
        take(&mut head, ":path", &"x".repeat(1_001));
        assert!(head.is_cut() && head.request([0; 16]).incomplete);
    }

    #[test]
    fn the_first_of_a_repeated_field_counts_and_two_traceparents_are_none() {
        let mut head = Head::default();
        for value in ["/one", "/two"] {
            take(&mut head, ":path", value);
            take(&mut head, "traceparent", value);
            take(&mut head, "tracestate", value);
        }
        let request = head.request([0; 16]);
        assert_eq!((&*request.target, request.traceparent), ("/one", None));
        assert_eq!(request.tracestate.as_deref(), Some("/one,/two"));
    }
}
