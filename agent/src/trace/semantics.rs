//! The stable HTTP semantic conventions: what the head of a request, the status of a response and
//! the end of an exchange mean for a span
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).

use std::{
    borrow::Cow,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
};

use compact_str::CompactString;

use super::{
    counters::Counters,
    errors,
    forwarded::{Claims, Client, Forwarded},
    http::{Http, Text, Texts},
    redaction::{self, Redaction},
    settings::TextLimits,
    span::{Span, SpanKind, Status},
    target::{Authority, Form, HTTP, LastHost, Target, range_in},
};
use crate::{
    address::with_address,
    event::{Endpoint, UnixAddress},
    protocol::{
        ExchangeEnd, MOST_FIELDS, Outcome,
        http::{RequestHead, Version},
    },
};

/// `http.request.method` of a method that is not a [`known_method`].
const OTHER_METHOD: &str = "_OTHER";
/// The span's name if the method is not known.
const UNKNOWN_NAME: &str = "HTTP";

/// Translates heads into the attributes of the conventions.
#[derive(Debug)]
pub(super) struct Semantics {
    pub(super) limits: TextLimits,
    pub(super) redaction: Redaction,
    pub(super) forwarded: Forwarded,
    /// Fields that become attributes, in lower case.
    pub(super) shown: Vec<String>,
    /// Of requests by the kind of their spans.
    pub(super) hosts: [LastHost; 2],
    pub(super) clients: LastClient,
}

/// The span's name before anything is known of the request.
pub(super) const fn unknown_name() -> Cow<'static, str> {
    Cow::Borrowed(UNKNOWN_NAME)
}

/// The HTTP part of a span whose head was not seen.
#[inline]
pub(super) const fn unknown_http() -> Http {
    Http::unknown(OTHER_METHOD, HTTP, Version::Http11.name())
}

impl Semantics {
    /// Fills a span from the head of its request.
    pub(super) fn request(&mut self, span: &mut Span, head: &RequestHead<'_>, counters: &mut Counters) {
        let known = known_method(&head.method);
        span.name = Cow::Borrowed(known.unwrap_or(UNKNOWN_NAME));
        let Span { kind, local, peer, http, .. } = span;

        let target = Target::parse(&head.method, &head.target);
        let claims = match kind {
            SpanKind::Server => self.claims(peer, head, counters),
            SpanKind::Client => Claims::default(),
        };
        let scheme = claims.scheme.unwrap_or(target.scheme);
        let authority = match claims.host.or(target.authority) {
            Some(authority) => Some(Authority::parse(authority)),
            None => head.host.as_deref().and_then(|host| self.hosts[*kind as usize].parse(host)),
        };
        let agent = head.user_agent.as_deref().map(|agent| limited(agent, self.limits.user_agent, counters));

        // The attributes are written where they lie.
        let http = http.get_or_insert_with(unknown_http);
        let texts = &mut http.texts;
        texts.reserve(USUAL_TEXTS + head.target.len() + agent.map_or(0, str::len));
        if known.is_none() && !head.method.is_empty() {
            texts.push(Text::MethodOriginal, limited(&head.method, self.limits.method, counters));
        }
        let own = match kind {
            SpanKind::Server => local.as_ref(),
            SpanKind::Client => Some(&*peer),
        };
        http.server_port = match authority {
            // A unix socket's path says more than the URI's host.
            Some(authority)
                if *kind == SpanKind::Client && !peer.is_unix() && self.is_in_url(&target, authority) =>
            {
                Some(authority.port(scheme))
            }
            _ => self.server(own, scheme, authority, texts, counters),
        };
        http.client_port = match kind {
            SpanKind::Server => self.clients.put(peer, claims.client, texts),
            SpanKind::Client => None,
        };
        let path = target.path.map(|path| self.path(path, target.plain, counters));
        let query = target.query.filter(|query| !query.is_empty()).map(|query| self.query(query, counters));
        let path_and_query = (path.as_deref(), query.as_deref());
        match kind {
            SpanKind::Client => self.full_url(&target, authority, peer, path_and_query, texts),
            SpanKind::Server => put_path(path_and_query, texts),
        }
        if let Some(agent) = agent {
            texts.push(Text::UserAgent, agent);
        }
        http.method = known.unwrap_or(OTHER_METHOD);
        http.scheme = scheme;
        http.version = head.version.name();
        if !head.fields.is_empty() {
            http.request_headers = self.headers(head, counters);
        }
    }

    /// The fields that become attributes.
    fn headers(
        &self,
        head: &RequestHead<'_>,
        counters: &mut Counters,
    ) -> Vec<(CompactString, CompactString)> {
        let shown =
            head.fields.iter().filter(|(name, _)| self.shown.iter().any(|shown| shown == name.as_str()));
        shown
            .map(|(name, value)| (name.clone(), limited(value, self.limits.header, counters).into()))
            .collect()
    }

    /// What a proxy says about the client, if it is trusted.
    fn claims<'a>(&self, peer: &Endpoint, head: &'a RequestHead<'_>, counters: &mut Counters) -> Claims<'a> {
        let Some(claims) = self.forwarded.claims(proxy(peer), &head.fields) else {
            return Claims::default();
        };
        // If there are more fields than are kept, the last one is missing, and that is the one that
        // counts.
        let too_many = head.fields.len() >= MOST_FIELDS;
        counters.invalid_forwarded += u64::from(claims.malformed || too_many);
        if too_many { Claims::default() } else { claims }
    }

    /// `server.address` and `server.port`: from the URI, otherwise from `own`, the server's end of
    /// the connection. The end comes first if it is a unix socket, whose path says more than the
    /// URI's host; it has no port.
    fn server(
        &self,
        own: Option<&Endpoint>,
        scheme: &str,
        authority: Option<Authority<'_>>,
        texts: &mut Texts,
        counters: &mut Counters,
    ) -> Option<u16> {
        let named = authority.filter(|authority| !authority.host.is_empty());
        if let Some(Endpoint::Unix(address)) = own {
            self.unix_server(address, named.map(|authority| authority.host), texts, counters);
            return None;
        }
        if let Some(authority) = named {
            texts.push(Text::ServerAddress, limited(authority.host, self.limits.host, counters));
            return Some(authority.port(scheme));
        }
        let address = own?.inet()?;
        put_address(Text::ServerAddress, address.ip(), texts);
        Some(address.port())
    }

    /// `server.address` on a unix socket: its name, or if it has none the URI's host.
    #[cold]
    fn unix_server(
        &self,
        address: &UnixAddress,
        host: Option<&str>,
        texts: &mut Texts,
        counters: &mut Counters,
    ) {
        match (address.name(), host) {
            (Some(name), _) => texts.push(Text::ServerAddress, &name),
            (None, Some(host)) => texts.push(Text::ServerAddress, limited(host, self.limits.host, counters)),
            (None, None) => {}
        }
    }

    /// `plain`: there is no userinfo in it.
    fn path<'a>(&self, path: &'a str, plain: bool, counters: &mut Counters) -> Cow<'a, str> {
        let path = if plain { Cow::Borrowed(path) } else { redaction::userinfo(path) };
        redacted(path, self.limits.path, counters)
    }

    fn query<'a>(&self, query: &'a str, counters: &mut Counters) -> Cow<'a, str> {
        redacted(self.redaction.query(query), self.limits.query, counters)
    }

    /// Whether the URL of a call contains the server's address as it is, so that this needs no text
    /// of its own.
    fn is_in_url(&self, target: &Target<'_>, authority: Authority<'_>) -> bool {
        matches!(target.form, Form::Origin | Form::Absolute)
            && !authority.host.is_empty()
            && authority.text.len() <= self.limits.host
    }

    /// `url.full`, built from parts that are already redacted and limited. Path and query are part
    /// of it.
    fn full_url(
        &self,
        target: &Target<'_>,
        authority: Option<Authority<'_>>,
        peer: &Endpoint,
        (path, query): (Option<&str>, Option<&str>),
        texts: &mut Texts,
    ) {
        match target.form {
            // The target of CONNECT is a host to tunnel to, not a resource.
            Form::Authority => return put_path((path, query), texts),
            // The asterisk is no part of the URL.
            Form::Asterisk => put_path((path, None), texts),
            Form::Origin | Form::Absolute => {}
        }
        let start = texts.length();
        texts.add(target.written_scheme.unwrap_or(HTTP));
        texts.add("://");
        if target.authority.is_some_and(|authority| authority.contains('@')) {
            texts.add("REDACTED:REDACTED@");
        }
        let authority_start = texts.length();
        match authority {
            Some(authority) => texts.add(cut(authority.text, self.limits.host + ":65535".len())),
            None => match peer {
                // Writing to a string does not fail.
                Endpoint::Inet(address) => _ = write!(texts, "{address}"),
                // A URL needs a host, and both ends are on this one.
                Endpoint::Unix(_) => texts.add("localhost"),
            },
        }
        if target.form != Form::Asterisk {
            if path.is_some_and(|path| !path.is_empty() && !path.starts_with('/')) {
                // A target that has none of RFC 9112's forms must not run into the host.
                texts.add("/");
            }
            put_path((path, query), texts);
        }
        texts.name(Text::FullUrl, start..texts.length());
        let named = authority.filter(|authority| !peer.is_unix() && self.is_in_url(target, *authority));
        if let Some(authority) = named {
            let host = range_in(authority.text, authority.host);
            texts.name(Text::ServerAddress, authority_start + host.start..authority_start + host.end);
        }
    }
}

/// Bytes of the texts of a typical request, besides its target and user agent.
const USUAL_TEXTS: usize = 64;

/// The address that decides whether a peer is trusted as a proxy. One on a unix socket is on this
/// host.
const fn proxy(peer: &Endpoint) -> IpAddr {
    match peer {
        Endpoint::Inet(address) => address.ip(),
        Endpoint::Unix(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

/// The address of the last client as text.
#[derive(Debug, Default)]
pub(super) struct LastClient {
    address: Option<IpAddr>,
    text: String,
}

impl LastClient {
    /// Writes `client.address` and returns `client.port`, if known: what a trusted proxy says,
    /// otherwise the peer's.
    fn put(&mut self, peer: &Endpoint, claims: Option<Client>, texts: &mut Texts) -> Option<u16> {
        let (address, port) = match (claims, peer) {
            (Some(Client::Known(address, port)), _) => (address, port),
            (Some(Client::Hidden), _) => return None,
            (None, Endpoint::Inet(peer)) => (peer.ip(), Some(peer.port())),
            (None, Endpoint::Unix(peer)) => {
                if let Some(name) = peer.name() {
                    texts.push(Text::ClientAddress, &name);
                }
                return None;
            }
        };
        if self.address != Some(address) {
            self.address = Some(address);
            with_address(address, |text| text.clone_into(&mut self.text));
        }
        texts.push(Text::ClientAddress, &self.text);
        port
    }
}

fn put_address(which: Text, address: IpAddr, texts: &mut Texts) {
    with_address(address, |text| texts.push(which, text));
}

/// Writes path and query, with the question mark between them.
fn put_path((path, query): (Option<&str>, Option<&str>), texts: &mut Texts) {
    if let Some(path) = path {
        texts.push(Text::Path, path);
    }
    if let Some(query) = query {
        texts.add("?");
        texts.push(Text::Query, query);
    }
}

/// Writes the end of an exchange into its span: sizes, status, `error.type`, what was missing.
pub(super) fn conclude(span: &mut Span, status: Option<u16>, end: &ExchangeEnd) {
    // The reply of another protocol has said so already.
    let by_reply = span.error.take();
    let error = error_by_status(span.kind, status).or(by_reply);
    span.error = error.or_else(|| error_by_outcome(end.outcome));
    span.status = if span.error.is_some() { Status::Error } else { Status::Unset };
    span.missing_bytes = end.missing;
    if !end.incomplete.is_empty() {
        span.incomplete = end.incomplete.names().collect();
    }
    let reason = match end.outcome {
        Outcome::Unfinished => Some("unfinished"),
        Outcome::Lost if span.incomplete.is_empty() => Some("lost"),
        _ => None,
    };
    if let Some(reason) = reason
        && let Err(index) = span.incomplete.binary_search(&reason)
    {
        span.incomplete.insert(index, reason);
    }
    if span.operation.is_some() {
        // The event of it is one of HTTP.
        span.first_response_byte = None;
    }
    if let Some(http) = &mut span.http {
        http.status = status;
        http.request_body_size = end.request_body;
        http.response_body_size = end.response_body;
    }
}

/// 5xx is an error for a server; 4xx and 5xx are errors for a client.
fn error_by_status(kind: SpanKind, status: Option<u16>) -> Option<String> {
    let first_error = match kind {
        SpanKind::Server => 500,
        SpanKind::Client => 400,
    };
    status.filter(|status| *status >= first_error).map(|status| status.to_string())
}

fn error_by_outcome(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Complete | Outcome::Upgraded | Outcome::Lost | Outcome::Unfinished => None,
        Outcome::ConnectionClosed(None) => Some("connection_closed".to_owned()),
        Outcome::ConnectionClosed(Some(errno)) => Some(errors::error_type(errno).into_owned()),
        Outcome::ClientAborted(_) => Some("client_aborted".to_owned()),
        Outcome::Reset(reason) => Some(reason.to_owned()),
    }
}

/// The methods of RFC 9110, RFC 5789 (PATCH) and QUERY. Methods are case-sensitive.
fn known_method(method: &str) -> Option<&'static str> {
    Some(match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        "QUERY" => "QUERY",
        _ => return None,
    })
}

/// The longest prefix of `text` that has at most `limit` bytes and ends at a character boundary.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// At most `limit` bytes of a text. Something was redacted in it if it is not borrowed from the
/// head.
fn redacted<'a>(text: Cow<'a, str>, limit: usize, counters: &mut Counters) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(limited(text, limit, counters)),
        Cow::Owned(text) => {
            counters.redactions += 1;
            Cow::Owned(limited(&text, limit, counters).to_owned())
        }
    }
}

/// At most `limit` bytes of a text.
fn limited<'a>(text: &'a str, limit: usize, counters: &mut Counters) -> &'a str {
    if text.len() <= limit {
        return text;
    }
    counters.truncated_attributes += 1;
    cut(text, limit)
}

#[cfg(test)]
#[path = "semantics_tests.rs"]
mod tests;
