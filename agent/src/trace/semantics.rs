//! The stable HTTP semantic conventions: what the head of a request, the status of a response and
//! the end of an exchange mean for a span
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>). Request targets follow RFC
//! 9112 section 3.2.

use std::{borrow::Cow, net::SocketAddr};

use compact_str::CompactString;

use super::{
    counters::Counters,
    errors,
    forwarded::{Claims, Client, Forwarded},
    redaction::{self, Redaction},
    settings::TextLimits,
    span::{Http, Span, SpanKind, Status},
};
use crate::{
    address::AddressTexts,
    protocol::{ExchangeEnd, MOST_FIELDS, Outcome, RequestHead},
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
    pub(super) addresses: AddressTexts,
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
    pub(super) fn request(&mut self, span: &mut Span, head: &mut RequestHead, counters: &mut Counters) {
        let known = known_method(&head.method);
        let method = known.unwrap_or(OTHER_METHOD);
        span.name = Cow::Borrowed(known.unwrap_or(UNKNOWN_NAME));

        let host = head.host.as_deref().map(trimmed).filter(|host| !host.is_empty());
        let target = Target::parse(&head.method, &head.target);
        let claims = self.claims(span, head, counters);
        let scheme = claims.scheme.unwrap_or(target.scheme);
        let authority = claims.host.or(target.authority).or(host).map(without_userinfo);
        let (server_address, server_port) = self.server(span, scheme, authority, counters);
        let path = target.path.map(|path| self.path(path, counters));
        let query_length = target.query.map_or(0, str::len);
        let mut full_url = match span.kind {
            SpanKind::Client => self.full_url(&target, authority, span.peer, path.as_deref()),
            SpanKind::Server => None,
        };
        let (client_address, client_port) = self.client(span, claims.client);
        // A target that is only a path, with nothing to redact, need not be copied.
        let is_target = matches!(&path, Some(Cow::Borrowed(path)) if path.len() == head.target.len());
        let path = if is_target {
            drop(path);
            Some(std::mem::take(&mut head.target))
        } else {
            path.map(CompactString::from)
        };
        let query =
            (query_length > 0).then(|| self.query(std::mem::take(&mut head.target), query_length, counters));
        if let (Some(url), Some(query)) = (&mut full_url, &query) {
            url.push('?');
            url.push_str(query);
        }
        span.http = Some(Http {
            method,
            method_original: known
                .is_none()
                .then(|| limited(std::mem::take(&mut head.method), self.limits.method, counters))
                .filter(|method| !method.is_empty()),
            path,
            query,
            full_url: full_url.map(CompactString::from),
            scheme,
            status: None,
            version: version(head.version_minor),
            server_address,
            server_port,
            client_address,
            client_port,
            user_agent: head.user_agent.take().map(|agent| limited(agent, self.limits.user_agent, counters)),
            request_headers: std::mem::take(&mut head.fields)
                .into_iter()
                .filter(|(name, _)| self.shown.iter().any(|shown| shown == name.as_str()))
                .map(|(name, value)| (name, limited(value, self.limits.header, counters)))
                .collect(),
            request_body_size: None,
            response_body_size: None,
        });
    }

    /// What a proxy says about the client, if it is trusted.
    fn claims<'a>(&self, span: &Span, head: &'a RequestHead, counters: &mut Counters) -> Claims<'a> {
        if span.kind == SpanKind::Client {
            return Claims::default();
        }
        let Some(claims) = self.forwarded.claims(span.peer.ip(), &head.fields) else {
            return Claims::default();
        };
        // If there are more fields than are kept, the last one is missing, and that is the one that
        // counts.
        let too_many = head.fields.len() >= MOST_FIELDS;
        counters.invalid_forwarded += u64::from(claims.malformed || too_many);
        if too_many { Claims::default() } else { claims }
    }

    /// `client.address` and `client.port` of a server span: what a trusted proxy says, otherwise the
    /// peer.
    fn client(&mut self, span: &Span, client: Option<Client>) -> (Option<CompactString>, Option<u16>) {
        if span.kind == SpanKind::Client {
            return (None, None);
        }
        match client {
            Some(Client::Known(address, port)) => (Some(self.addresses.text(address)), port),
            Some(Client::Hidden) => (None, None),
            None => (Some(self.addresses.text(span.peer.ip())), Some(span.peer.port())),
        }
    }

    /// `server.address` and `server.port`: from the URI, otherwise from the server's end of the
    /// connection.
    fn server(
        &mut self,
        span: &Span,
        scheme: &str,
        authority: Option<&str>,
        counters: &mut Counters,
    ) -> (Option<CompactString>, Option<u16>) {
        if let Some(authority) = authority {
            let (host, port) = host_and_port(authority);
            if !host.is_empty() {
                let default = if scheme == HTTPS { 443 } else { 80 };
                let host = limited(host.into(), self.limits.host, counters);
                return (Some(host), Some(port.unwrap_or(default)));
            }
        }
        let address = match span.kind {
            SpanKind::Server => span.local,
            SpanKind::Client => Some(span.peer),
        };
        (address.map(|address| self.addresses.text(address.ip())), address.map(|address| address.port()))
    }

    fn path<'a>(&self, path: &'a str, counters: &mut Counters) -> Cow<'a, str> {
        match redaction::userinfo(path) {
            Cow::Borrowed(path) if path.len() <= self.limits.path => Cow::Borrowed(path),
            text => Cow::Owned(redacted(text, self.limits.path, counters).into()),
        }
    }

    /// The query of a target. It is the last part of the target and reuses its memory.
    fn query(&self, mut target: CompactString, length: usize, counters: &mut Counters) -> CompactString {
        target.replace_range(..target.len() - length, "");
        counters.redactions += u64::from(self.redaction.query(&mut target));
        limited(target, self.limits.query, counters)
    }

    /// `url.full` without the query, built from parts that are already redacted and limited.
    fn full_url(
        &self,
        target: &Target<'_>,
        authority: Option<&str>,
        peer: SocketAddr,
        path: Option<&str>,
    ) -> Option<String> {
        if target.form == Form::Authority {
            // The target of CONNECT is a host to tunnel to, not a resource.
            return None;
        }
        let userinfo = target.authority.is_some_and(|authority| authority.contains('@'));
        let authority = match authority {
            Some(authority) => Cow::Borrowed(cut(authority, self.limits.host + ":65535".len())),
            None => Cow::Owned(peer.to_string()),
        };
        let path = if target.form == Form::Asterisk { "" } else { path.unwrap_or_default() };
        let mut url = String::with_capacity(64 + path.len() + target.query.map_or(0, str::len));
        url.push_str(target.written_scheme.unwrap_or(HTTP));
        url.push_str("://");
        if userinfo {
            url.push_str("REDACTED:REDACTED@");
        }
        url.push_str(&authority);
        if !path.is_empty() && !path.starts_with('/') {
            // A target that has none of RFC 9112's forms must not run into the host.
            url.push('/');
        }
        url.push_str(path);
        Some(url)
    }
}

/// Writes the end of an exchange into its span: sizes, status, `error.type`, what was missing.
pub(super) fn conclude(span: &mut Span, status: Option<u16>, end: &mut ExchangeEnd) {
    span.error = error_by_status(span.kind, status).or_else(|| error_by_outcome(end.outcome));
    span.status = if span.error.is_some() { Status::Error } else { Status::Unset };
    span.missing_bytes = end.missing;
    span.incomplete = std::mem::take(&mut end.incomplete);
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

fn redacted(text: Cow<'_, str>, limit: usize, counters: &mut Counters) -> CompactString {
    counters.redactions += u64::from(matches!(text, Cow::Owned(_)));
    limited(text.into(), limit, counters)
}

fn limited(mut text: CompactString, limit: usize, counters: &mut Counters) -> CompactString {
    if text.len() > limit {
        counters.texts_cut += 1;
        text.truncate(text.floor_char_boundary(limit));
    }
    text
}

#[cfg(test)]
#[path = "semantics_tests.rs"]
mod tests;
