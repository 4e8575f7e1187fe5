//! What the versions of HTTP have in common: the heads of requests and responses (RFC 9110).

use std::borrow::Cow;

use compact_str::CompactString;

/// Names and values of fields.
pub type Fields<'a> = Vec<(CompactString, Cow<'a, str>)>;

/// What an HTTP/1 connection was upgraded to (RFC 9110, sections 7.8 and 9.3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeToken {
    /// HTTP/2 in plaintext (RFC 7540, section 3.2).
    H2c,
    /// Another protocol, or a tunnel.
    Other,
}

impl UpgradeToken {
    /// What the `Upgrade` field of the head of a 101 names.
    #[must_use]
    pub fn of_head(head: &[u8]) -> Self {
        let names_h2c = |line: &[u8]| {
            let Some((name, value)) = line.split_at_checked(b"upgrade:".len()) else { return false };
            name.eq_ignore_ascii_case(b"upgrade:") && value.trim_ascii().eq_ignore_ascii_case(b"h2c")
        };
        if head.split(|byte| *byte == b'\n').any(names_h2c) { Self::H2c } else { Self::Other }
    }
}

/// The head of a request. Text is lossy UTF-8 of what was on the wire, not yet redacted; it lies in the head's bytes where these
/// are valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHead<'a> {
    pub method: Cow<'a, str>,
    /// The request target as sent: origin-form, absolute-form, authority-form or `*`.
    pub target: Cow<'a, str>,
    /// Minor version of HTTP/1: 0 or 1.
    pub version_minor: u8,
    pub host: Option<Cow<'a, str>>,
    pub user_agent: Option<Cow<'a, str>>,
    /// The only `traceparent`; `None` also when the header stands there twice (W3C: then it is invalid).
    pub traceparent: Option<Cow<'a, str>>,
    /// All `tracestate` fields joined by a comma.
    pub tracestate: Option<Cow<'a, str>>,
    /// The first 16 bytes of the request (zero-filled), by which both ends of a connection recognise each other.
    pub prefix: [u8; 16],
    /// Bytes of the head on the wire, when its end was seen.
    pub head_size: Option<u64>,
    /// The head did not fit the capture limit or a gap fell into it; fields after that are missing.
    pub incomplete: bool,
    /// Fields that the owner is interested in, by name in lower case, in the order in which they came.
    pub fields: Fields<'a>,
    /// If the owner is interested and the head is complete.
    pub content: Option<Content>,
}

impl RequestHead<'_> {
    /// The same without the head's bytes.
    #[must_use]
    pub fn into_owned(self) -> RequestHead<'static> {
        let owned = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        RequestHead {
            method: Cow::Owned(self.method.into_owned()),
            target: Cow::Owned(self.target.into_owned()),
            version_minor: self.version_minor,
            host: owned(self.host),
            user_agent: owned(self.user_agent),
            traceparent: owned(self.traceparent),
            tracestate: owned(self.tracestate),
            prefix: self.prefix,
            head_size: self.head_size,
            incomplete: self.incomplete,
            fields: self
                .fields
                .into_iter()
                .map(|(name, value)| (name, Cow::Owned(value.into_owned())))
                .collect(),
            content: self.content,
        }
    }
}

/// By which a request that a proxy forwards is recognised: hashes of what proxies do not change. Another run of the agent has
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content {
    /// Of method, target and the fields about the sender and what is wanted.
    pub base: u64,
    /// Of the fields that name one request (`X-Request-ID`, `traceparent` …); 0: there are none.
    pub identity: u64,
}

/// The head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseHead {
    pub status: u16,
    pub version_minor: u8,
    pub head_size: Option<u64>,
    pub incomplete: bool,
}
