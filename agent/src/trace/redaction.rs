//! Redaction: secrets that stand in URLs are replaced before a span holds them.
//!
//! Two rules. Userinfo (`scheme://user:password@`) is always replaced, wherever such a URL stands in the text. The value
//! of a query parameter is replaced when its name, percent-decoded and without regard to case, is on the list.

use std::borrow::Cow;

use memchr::memchr;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

/// What stands in place of a secret.
pub const REDACTED: &str = "REDACTED";

/// Names of query parameters whose values are replaced by default: the list of the OpenTelemetry semantic conventions
/// for `url.query` (the first five), and names that commonly hold credentials.
pub const SENSITIVE_QUERY_NAMES: &[&str] = &[
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "access_key",
    "access_token",
    "accesskey",
    "api-key",
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "auth_token",
    "authorization",
    "authtoken",
    "bearer",
    "client_assertion",
    "client_secret",
    "code_verifier",
    "credential",
    "credentials",
    "id_token",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "pwd",
    "refresh_token",
    "secret",
    "session",
    "session_id",
    "session_token",
    "sessionid",
    "sid",
    "token",
    "x-api-key",
];

/// The names of query parameters whose values are replaced. Event logs hold them as a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Redaction {
    names: FxHashSet<Box<[u8]>>,
    longest: usize,
    /// The first letters of names, a bit for each, by the length of the name.
    shapes: [u32; 64],
}

impl Default for Redaction {
    fn default() -> Self {
        Self::new(SENSITIVE_QUERY_NAMES)
    }
}

impl From<Vec<String>> for Redaction {
    fn from(names: Vec<String>) -> Self {
        Self::new(names)
    }
}

impl From<Redaction> for Vec<String> {
    /// In alphabetic order, so that the same names are the same text.
    fn from(redaction: Redaction) -> Self {
        let mut names: Self =
            redaction.names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        names.sort_unstable();
        names
    }
}

impl Redaction {
    /// Redacts the values of these query parameters, whatever the case of their names. A name has at most 128 bytes.
    pub fn new<Name: AsRef<str>>(names: impl IntoIterator<Item = Name>) -> Self {
        let names: FxHashSet<Box<[u8]>> =
            names.into_iter().map(|name| name.as_ref().to_ascii_lowercase().into_bytes().into()).collect();
        let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
        let mut shapes = [0; 64];
        names.iter().for_each(|name| shapes[name.len() % 64] |= letter(name));
        Self { names, longest, shapes }
    }

    /// `query` (without its question mark) with the values of sensitive parameters and any userinfo replaced.
    pub(super) fn query<'a>(&self, query: &'a str) -> Cow<'a, str> {
        let Some(first) = self.pairs(query).find(|pair| pair.sensitive) else {
            return userinfo(query);
        };
        let mut redacted = String::with_capacity(query.len() + REDACTED.len());
        redacted.push_str(&query[..first.start]);
        for pair in self.pairs(&query[first.start..]) {
            redacted.push_str(pair.name);
            match pair.value {
                Some(_) if pair.sensitive => {
                    redacted.push('=');
                    redacted.push_str(REDACTED);
                }
                Some(value) => {
                    redacted.push('=');
                    redacted.push_str(value);
                }
                None => {}
            }
            redacted.push_str(pair.separator);
        }
        Cow::Owned(userinfo(&redacted).into_owned())
    }

    /// The parameters of a query. A fragment does not belong there, but what looks like its parameters is treated alike.
    fn pairs<'a>(&self, query: &'a str) -> impl Iterator<Item = Pair<'a>> {
        let mut start = 0;
        std::iter::from_fn(move || {
            let rest = query.get(start..).filter(|rest| !rest.is_empty())?;
            let (equals, end) = delimiters(rest.as_bytes());
            let (text, next) = end.map_or((rest, rest.len()), |end| (&rest[..end], end + 1));
            let (name, value) = match equals {
                Some(equals) => (&text[..equals], Some(&text[equals + 1..])),
                None => (text, None),
            };
            let sensitive = value.is_some_and(|value| !value.is_empty()) && self.is_sensitive(name);
            let pair = Pair { start, name, value, separator: &rest[text.len()..next], sensitive };
            start += next;
            Some(pair)
        })
    }

    fn is_sensitive(&self, name: &str) -> bool {
        // A percent-encoded byte takes three characters, so a longer name cannot be on the list.
        if name.is_empty() || name.len() > self.longest * 3 {
            return false;
        }
        let mut decoded = [0; 128];
        if !name.bytes().any(|byte| byte == b'%') {
            // Nearly every name is shorter or longer than those on the list with its first letter.
            let known = self.shapes[name.len() % 64] & letter(name.as_bytes()) != 0;
            let Some(lower) = decoded.get_mut(..name.len()).filter(|_| known) else { return false };
            lower.copy_from_slice(name.as_bytes());
            lower.make_ascii_lowercase();
            return self.names.contains(&*lower);
        }
        let mut length = 0;
        let mut bytes = name.bytes();
        while let Some(byte) = bytes.next() {
            let byte = if byte == b'%' { decode(&mut bytes).unwrap_or(byte) } else { byte };
            let Some(place) = decoded.get_mut(length) else { return false };
            *place = byte.to_ascii_lowercase();
            length += 1;
        }
        self.names.contains(&decoded[..length])
    }
}

/// Where the name of the first parameter ends, if it has a value, and where the parameter does. Byte by byte: they are short.
fn delimiters(query: &[u8]) -> (Option<usize>, Option<usize>) {
    let mut equals = None;
    for (index, byte) in query.iter().enumerate() {
        match byte {
            b'&' | b';' | b'#' | b'?' => return (equals, Some(index)),
            b'=' if equals.is_none() => equals = Some(index),
            _ => {}
        }
    }
    (equals, None)
}

/// The bit of a name's first letter, the same for both cases.
fn letter(name: &[u8]) -> u32 {
    name.first().map_or(0, |first| 1 << (first & 31))
}

/// One `name=value` of a query.
struct Pair<'a> {
    /// Where it begins.
    start: usize,
    name: &'a str,
    value: Option<&'a str>,
    /// What ends it: `&`, `;`, `#` or nothing.
    separator: &'a str,
    sensitive: bool,
}

/// The byte of the two hex digits that come next; takes them only when they are digits.
fn decode(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let mut ahead = bytes.clone();
    let high = char::from(ahead.next()?).to_digit(16)?;
    let low = char::from(ahead.next()?).to_digit(16)?;
    *bytes = ahead;
    u8::try_from(high << 4 | low).ok()
}

/// `text` with the userinfo of every URL in it replaced (RFC 3986 section 3.2.1).
pub(super) fn userinfo(text: &str) -> Cow<'_, str> {
    if memchr(b'@', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::new();
    let mut copied = 0;
    let mut from = 0;
    while let Some(found) = text[from..].find("://") {
        let start = from + found + 3;
        let end = text[start..].find(['/', '?', '#', '&', ' ']).map_or(text.len(), |length| start + length);
        // The last @ ends the userinfo: a password with an @ that should have been encoded must not leak in part.
        if let Some(length) = text[start..end].rfind('@') {
            redacted.push_str(&text[copied..start]);
            redacted.push_str("REDACTED:REDACTED");
            copied = start + length;
        }
        from = end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    redacted.push_str(&text[copied..]);
    Cow::Owned(redacted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_of_sensitive_parameters() {
        let redaction = Redaction::default();
        for (query, expected) in [
            ("", ""),
            ("a=1&b=2", "a=1&b=2"),
            ("token=abc", "token=REDACTED"),
            ("TOKEN=abc", "TOKEN=REDACTED"),
            ("a=1&Access_Token=abc&b=2", "a=1&Access_Token=REDACTED&b=2"),
            ("t%6fken=abc", "t%6fken=REDACTED"),
            ("%74%6F%6B%65%6E=abc", "%74%6F%6B%65%6E=REDACTED"),
            ("token=a=b=c", "token=REDACTED"),
            ("token=", "token="),
            ("token", "token"),
            ("=abc", "=abc"),
            ("&&token=a&&", "&&token=REDACTED&&"),
            ("x=1;pwd=abc;y=2", "x=1;pwd=REDACTED;y=2"),
            ("a=1#access_token=abc", "a=1#access_token=REDACTED"),
            ("tokens=3&mytoken=4", "tokens=3&mytoken=4"),
            (
                "AWSAccessKeyId=A&Signature=B&Expires=1",
                "AWSAccessKeyId=REDACTED&Signature=REDACTED&Expires=1",
            ),
            ("sig=a&X-Goog-Signature=b", "sig=REDACTED&X-Goog-Signature=REDACTED"),
            ("t%ken=a&%=b&%f=c", "t%ken=a&%=b&%f=c"),
            ("next=http://me:pw@host/x&token=é", "next=http://REDACTED:REDACTED@host/x&token=REDACTED"),
            ("next=http://me:pw@host&a=b@c", "next=http://REDACTED:REDACTED@host&a=b@c"),
        ] {
            assert_eq!(redaction.query(query), expected, "{query}");
        }
        assert_eq!(Redaction::new(["Own"]).query("own=1&token=2"), "own=REDACTED&token=2");
        assert_eq!(Redaction::new::<&str>([]).query("token=2"), "token=2");
    }

    #[test]
    fn userinfo_of_urls() {
        for (text, expected) in [
            ("http://host/", "http://host/"),
            ("http://user:pw@host/", "http://REDACTED:REDACTED@host/"),
            ("http://user@host:80/a@b", "http://REDACTED:REDACTED@host:80/a@b"),
            ("http://u:p@ss@host", "http://REDACTED:REDACTED@host"),
            ("http://host/?q=a@b", "http://host/?q=a@b"),
            ("/to/ftp://u:p@h/x", "/to/ftp://REDACTED:REDACTED@h/x"),
            ("a://b@c/d://e@f", "a://REDACTED:REDACTED@c/d://REDACTED:REDACTED@f"),
            ("://", "://"),
            ("é://é@é", "é://REDACTED:REDACTED@é"),
        ] {
            assert_eq!(userinfo(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_secret_never_survives(before in "[a-z=&;%]{0,12}", after in "[a-z=&;%é]{0,12}") {
            let query = format!("{before}&pass%77ord=s3cr3t-0123&{after}");
            let redacted = Redaction::default().query(&query).into_owned();
            prop_assert!(!redacted.contains("s3cr3t"), "{}", redacted);
            prop_assert_eq!(Redaction::default().query(&redacted).into_owned(), redacted.clone());
        }

        #[test]
        fn hostile_text_does_no_harm(text in ".{0,200}") {
            let _ = Redaction::default().query(&text);
            let _ = userinfo(&text);
        }
    }
}
