//! The stable HTTP semantic conventions: what the head of a request, the status of a response and
//! the end of an exchange mean for a span
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>). Request targets follow RFC
//! 9112 section 3.2.

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
};
use crate::{
    address::with_address,
    event::{Endpoint, UnixAddress},
    protocol::{ExchangeEnd, MOST_FIELDS, Outcome, http::RequestHead},
    words,
};

/// `http.request.method` of a method that is not a [`known_method`].
const OTHER_METHOD: &str = "_OTHER";
/// The span's name if the method is not known.
const UNKNOWN_NAME: &str = "HTTP";
const HTTP: &str = "http";
const HTTPS: &str = "https";

/// Translates heads into the attributes of the conventions.
#[derive(Debug)]
pub(super) struct Semantics {
    pub(super) limits: TextLimits,
    pub(super) redaction: Redaction,
    pub(super) forwarded: Forwarded,
    /// Fields that become attributes, in lower case.
    pub(super) shown: Vec<String>,
}

/// The span's name before anything is known of the request.
pub(super) const fn unknown_name() -> Cow<'static, str> {
    Cow::Borrowed(UNKNOWN_NAME)
}

/// The HTTP part of a span whose head was not seen.
pub(super) fn unknown_http() -> Http {
    Http { method: OTHER_METHOD, scheme: HTTP, version: version(1), ..Http::default() }
}

impl Semantics {
    /// Fills a span from the head of its request.
    pub(super) fn request(&mut self, span: &mut Span, head: &RequestHead<'_>, counters: &mut Counters) {
        let known = known_method(&head.method);
        span.name = Cow::Borrowed(known.unwrap_or(UNKNOWN_NAME));

        let host = head.host.as_deref().map(trimmed).filter(|host| !host.is_empty());
        let target = Target::parse(&head.method, &head.target);
        let claims = self.claims(span, head, counters);
        let scheme = claims.scheme.unwrap_or(target.scheme);
        let authority = claims.host.or(target.authority).or(host).map(without_userinfo);
        let agent = head.user_agent.as_deref().map(|agent| limited(agent, self.limits.user_agent, counters));

        let room = USUAL_TEXTS + head.target.len() + agent.map_or(0, str::len);
        let mut texts = Texts::with_capacity(room);
        if known.is_none() && !head.method.is_empty() {
            texts.push(Text::MethodOriginal, limited(&head.method, self.limits.method, counters));
        }
        let server_port = self.server(span, scheme, authority, &mut texts, counters);
        let client_port = match span.kind {
            SpanKind::Server => client(&span.peer, claims.client, &mut texts),
            SpanKind::Client => None,
        };
        let path = target.path.map(|path| self.path(path, counters));
        let query = target.query.filter(|query| !query.is_empty()).map(|query| self.query(query, counters));
        match span.kind {
            SpanKind::Client => {
                self.full_url(
                    &target,
                    authority,
                    &span.peer,
                    (path.as_deref(), query.as_deref()),
                    &mut texts,
                );
            }
            SpanKind::Server => put_path(path.as_deref(), query.as_deref(), &mut texts),
        }
        if let Some(agent) = agent {
            texts.push(Text::UserAgent, agent);
        }
        span.http = Some(Http {
            method: known.unwrap_or(OTHER_METHOD),
            scheme,
            status: None,
            version: version(head.version_minor),
            server_port,
            client_port,
            request_headers: self.headers(head, counters),
            request_body_size: None,
            response_body_size: None,
            texts,
        });
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
    fn claims<'a>(&self, span: &Span, head: &'a RequestHead<'_>, counters: &mut Counters) -> Claims<'a> {
        if span.kind == SpanKind::Client {
            return Claims::default();
        }
        let Some(claims) = self.forwarded.claims(proxy(&span.peer), &head.fields) else {
            return Claims::default();
        };
        // If there are more fields than are kept, the last one is missing, and that is the one that
        // counts.
        let too_many = head.fields.len() >= MOST_FIELDS;
        counters.invalid_forwarded += u64::from(claims.malformed || too_many);
        if too_many { Claims::default() } else { claims }
    }

    /// `server.address` and `server.port`: from the URI, otherwise from the server's end of the
    /// connection. The end comes first if it is a unix socket, whose path says more than the URI's
    /// host; it has no port.
    fn server(
        &self,
        span: &Span,
        scheme: &str,
        authority: Option<&str>,
        texts: &mut Texts,
        counters: &mut Counters,
    ) -> Option<u16> {
        let end = match span.kind {
            SpanKind::Server => span.local.as_ref(),
            SpanKind::Client => Some(&span.peer),
        };
        let named = authority.map(host_and_port).filter(|(host, _)| !host.is_empty());
        if let Some(Endpoint::Unix(address)) = end {
            self.unix_server(address, named.map(|(host, _)| host), texts, counters);
            return None;
        }
        if let Some((host, port)) = named {
            let default = if scheme == HTTPS { 443 } else { 80 };
            texts.push(Text::ServerAddress, limited(host, self.limits.host, counters));
            return Some(port.unwrap_or(default));
        }
        let address = end?.inet()?;
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

    fn path<'a>(&self, path: &'a str, counters: &mut Counters) -> Cow<'a, str> {
        redacted(redaction::userinfo(path), self.limits.path, counters)
    }

    fn query<'a>(&self, query: &'a str, counters: &mut Counters) -> Cow<'a, str> {
        redacted(self.redaction.query(query), self.limits.query, counters)
    }

    /// `url.full`, built from parts that are already redacted and limited. Path and query are part
    /// of it.
    fn full_url(
        &self,
        target: &Target<'_>,
        authority: Option<&str>,
        peer: &Endpoint,
        (path, query): (Option<&str>, Option<&str>),
        texts: &mut Texts,
    ) {
        match target.form {
            // The target of CONNECT is a host to tunnel to, not a resource.
            Form::Authority => return put_path(path, query, texts),
            // The asterisk is no part of the URL.
            Form::Asterisk => put_path(path, None, texts),
            Form::Origin | Form::Absolute => {}
        }
        let start = texts.length();
        texts.add(target.written_scheme.unwrap_or(HTTP));
        texts.add("://");
        if target.authority.is_some_and(|authority| authority.contains('@')) {
            texts.add("REDACTED:REDACTED@");
        }
        match authority {
            Some(authority) => texts.add(cut(authority, self.limits.host + ":65535".len())),
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
            put_path(path, query, texts);
        }
        texts.name(Text::FullUrl, start..texts.length());
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

/// Writes `client.address` and returns `client.port`, if known: what a trusted proxy says,
/// otherwise the peer's.
fn client(peer: &Endpoint, claims: Option<Client>, texts: &mut Texts) -> Option<u16> {
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
    put_address(Text::ClientAddress, address, texts);
    port
}

fn put_address(which: Text, address: IpAddr, texts: &mut Texts) {
    with_address(address, |text| texts.push(which, text));
}

/// Writes path and query, with the question mark between them.
fn put_path(path: Option<&str>, query: Option<&str>, texts: &mut Texts) {
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
    span.error = error_by_status(span.kind, status).or_else(|| error_by_outcome(end.outcome));
    span.status = if span.error.is_some() { Status::Error } else { Status::Unset };
    span.missing_bytes = end.missing;
    span.incomplete = end.incomplete.names().collect();
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
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `/path?query`, or a target that has none of these forms.
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `host:port`, of CONNECT.
    Authority,
    /// `*`, of OPTIONS.
    Asterisk,
}

/// The parts of a request target.
#[derive(Debug, Clone, Copy)]
struct Target<'a> {
    form: Form,
    scheme: &'static str,
    /// The scheme as the client wrote it.
    written_scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: Option<&'a str>,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn parse(method: &str, target: &'a str) -> Self {
        let none = Self {
            form: Form::Origin,
            scheme: HTTP,
            written_scheme: None,
            authority: None,
            path: None,
            query: None,
        };
        if method == "CONNECT" && !target.starts_with('/') {
            return Self {
                form: Form::Authority,
                authority: Some(target).filter(|target| !target.is_empty()),
                ..none
            };
        }
        if target == "*" {
            return Self { form: Form::Asterisk, path: Some(target), ..none };
        }
        let Some((scheme, rest)) = absolute(target) else {
            let (path, query) = path_and_query(target);
            return Self { path: Some(path).filter(|path| !path.is_empty()), query, ..none };
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (path, query) = path_and_query(&rest[end..]);
        Self {
            form: Form::Absolute,
            scheme: if scheme.eq_ignore_ascii_case(HTTPS) { HTTPS } else { HTTP },
            written_scheme: Some(scheme),
            authority: Some(&rest[..end]).filter(|authority| !authority.is_empty()),
            // An empty path means the root (RFC 9110 section 4.2.3).
            path: Some(if path.is_empty() { "/" } else { path }),
            query,
        }
    }
}

/// Splits `scheme://rest` (RFC 3986 section 3.1).
fn absolute(target: &str) -> Option<(&str, &str)> {
    if target.starts_with('/') {
        return None;
    }
    let (scheme, rest) = target.split_once("://")?;
    let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    valid.then_some((scheme, rest))
}

fn path_and_query(text: &str) -> (&str, Option<&str>) {
    match words::find(text.as_bytes(), b'?') {
        Some(mark) => (&text[..mark], Some(&text[mark + 1..])),
        None => (text, None),
    }
}

/// The text without surrounding white space. Most field values have none.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

fn without_userinfo(authority: &str) -> &str {
    match words::find(authority.as_bytes(), b'@') {
        Some(_) => authority.rsplit('@').next().unwrap_or_default(),
        None => authority,
    }
}

/// Splits an authority into host and port. The brackets of an IPv6 address are dropped.
fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    let colon = words::find(authority.as_bytes(), b':');
    match colon.map(|colon| (&authority[..colon], &authority[colon + 1..])) {
        Some((host, port)) if words::find(port.as_bytes(), b':').is_none() => (host, port.parse().ok()),
        _ => (authority, None),
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

const fn version(minor: u8) -> &'static str {
    if minor == 0 { "1.0" } else { "1.1" }
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
