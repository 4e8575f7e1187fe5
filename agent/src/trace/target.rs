//! What the target of a request and its field `Host` say of the server and the resource: their
//! parts. Request targets follow RFC 9112 section 3.2.

use std::ops::Range;

use memchr::memchr2;

use crate::words::{self, equal};

pub(super) const HTTP: &str = "http";
pub(super) const HTTPS: &str = "https";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
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
pub(super) struct Target<'a> {
    pub(super) form: Form,
    pub(super) scheme: &'static str,
    /// The scheme as the client wrote it.
    pub(super) written_scheme: Option<&'a str>,
    pub(super) authority: Option<&'a str>,
    pub(super) path: Option<&'a str>,
    pub(super) query: Option<&'a str>,
    /// There is no userinfo in the path.
    pub(super) plain: bool,
}

impl<'a> Target<'a> {
    pub(super) fn parse(method: &str, target: &'a str) -> Self {
        let none = Self {
            form: Form::Origin,
            scheme: HTTP,
            written_scheme: None,
            authority: None,
            path: None,
            query: None,
            plain: false,
        };
        if method == "CONNECT" && !target.starts_with('/') {
            return Self {
                form: Form::Authority,
                authority: Some(target).filter(|target| !target.is_empty()),
                ..none
            };
        }
        if target.starts_with('/')
            && let Some((path, query)) = plain_path_and_query(target)
        {
            return Self { path: Some(path), query, plain: true, ..none };
        }
        if target == "*" {
            return Self { form: Form::Asterisk, path: Some(target), ..none };
        }
        let Some((scheme, rest)) = absolute(target) else {
            let (path, query) = path_and_query(target);
            let plain = words::find(path.as_bytes(), b'@').is_none();
            return Self { path: Some(path).filter(|path| !path.is_empty()), query, plain, ..none };
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
            plain: false,
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

/// The same in one go, unless there may be userinfo in the path.
fn plain_path_and_query(text: &str) -> Option<(&str, Option<&str>)> {
    const SHORT: usize = 64;
    let bytes = text.as_bytes();
    let mark = match bytes.len() {
        ..=SHORT => words::position(bytes, 0, |word| equal(word, b'?') | equal(word, b'@')),
        _ => memchr2(b'?', b'@', bytes),
    };
    let Some(mark) = mark else { return Some((text, None)) };
    (bytes[mark] == b'?').then(|| (&text[..mark], Some(&text[mark + 1..])))
}

/// Host and port of a URI or of the field `Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    /// Without userinfo.
    pub(super) text: &'a str,
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
}

impl<'a> Authority<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let text = without_userinfo(text);
        let (host, port) = host_and_port(text);
        Self { text, host, port }
    }

    pub(super) fn port(&self, scheme: &str) -> u16 {
        self.port.unwrap_or(if scheme == HTTPS { 443 } else { 80 })
    }
}

/// The last `Host` of requests and what it means. Most requests have the same one as the request
/// before.
#[derive(Debug, Default)]
pub(super) struct LastHost {
    field: String,
    /// Where the text of the [`Authority`] and its host are in it. `None` if the field is empty.
    parts: Option<(Range<usize>, Range<usize>)>,
    port: Option<u16>,
}

impl LastHost {
    /// Reads the field. `None` if it is empty.
    #[inline]
    pub(super) fn parse<'a>(&mut self, field: &'a str) -> Option<Authority<'a>> {
        if self.field != field {
            self.read(field);
        }
        let (text, host) = self.parts.clone()?;
        Some(Authority { text: field.get(text)?, host: field.get(host)?, port: self.port })
    }

    fn read(&mut self, field: &str) {
        field.clone_into(&mut self.field);
        let trimmed = trimmed(field);
        let found = Authority::parse(trimmed);
        self.parts =
            (!trimmed.is_empty()).then(|| (range_in(field, found.text), range_in(field, found.host)));
        self.port = found.port;
    }
}

/// Where a part of a text is in it.
pub(super) fn range_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_means_the_same_whatever_came_before() {
        let fields = [
            "",
            " ",
            "a",
            "a:80",
            " a:80\t",
            "user@a:80",
            "user@",
            "@",
            "a@b@c:1",
            "[::1]:8080",
            "[::1]",
            "::1",
            ":80",
            "a:x",
            "é:80",
        ];
        for first in fields {
            for second in fields {
                let mut last = LastHost::default();
                for field in [first, second, second, first] {
                    let text = trimmed(field);
                    let expected = (!text.is_empty()).then(|| Authority::parse(text));
                    assert_eq!(last.parse(field), expected, "{first:?} {second:?}");
                }
            }
        }
    }

    #[test]
    fn a_plain_path_has_no_userinfo() {
        for (target, path, query, plain) in [
            ("/", "/", None, true),
            ("/a?b@c", "/a", Some("b@c"), true),
            ("/a@b", "/a@b", None, false),
            ("/a@b?c", "/a@b", Some("c"), false),
            ("/a?", "/a", Some(""), true),
            ("a?b", "a", Some("b"), true),
        ] {
            for more in [0, 100] {
                let long = format!("{}{}", "/x".repeat(more), target);
                let path = format!("{}{path}", "/x".repeat(more));
                let found = Target::parse("GET", &long);
                assert_eq!(
                    (found.path, found.query, found.plain),
                    (Some(path.as_str()), query, plain),
                    "{long}"
                );
            }
        }
    }
}
