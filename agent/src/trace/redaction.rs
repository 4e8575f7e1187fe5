//! Redaction: secrets in URLs are replaced before a span holds them.
//!
//! There are two rules. Userinfo (`scheme://user:password@`) is always replaced, wherever such a
//! URL occurs in the text. The value of a query parameter is replaced if its name, percent-decoded
//! and without regard to case, is on the list.

use std::{borrow::Cow, ops::Range};

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use crate::words::{self, equal};

/// What replaces a secret.
pub const REDACTED: &str = "REDACTED";

/// Names of query parameters whose values are replaced by default: the list of the OpenTelemetry
/// semantic conventions for `url.query` (the first five), and names that commonly hold credentials.
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

/// The maximum length of a name on the list, in bytes.
const LONGEST_NAME: usize = 128;

/// The names of query parameters whose values are replaced. Event logs hold them as a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Redaction {
    names: FxHashSet<Box<[u8]>>,
    longest: usize,
    /// For each length of a name, one bit per first letter of the names with that length.
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
    /// In alphabetic order, so that equal lists give equal texts.
    fn from(redaction: Redaction) -> Self {
        let mut names: Self =
            redaction.names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        names.sort_unstable();
        names
    }
}

impl Redaction {
    /// Redacts the values of these query parameters, whatever the case of their names. A name has
    /// at most 128 bytes.
    pub fn new<Name: AsRef<str>>(names: impl IntoIterator<Item = Name>) -> Self {
        let names: FxHashSet<Box<[u8]>> =
            names.into_iter().map(|name| name.as_ref().to_ascii_lowercase().into_bytes().into()).collect();
        let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
        let mut shapes = [0; 64];
        names.iter().for_each(|name| shapes[name.len() % 64] |= letter(name));
        Self { names, longest, shapes }
    }

    /// `query` (without its question mark) with the values of sensitive parameters and any userinfo
    /// replaced. Borrowed if there were none.
    pub(super) fn query<'a>(&self, query: &'a str) -> Cow<'a, str> {
        let Some(first) = self.first_sensitive(query, 0) else { return userinfo(query) };
        let rewritten = self.rewritten(query, first);
        match userinfo(&rewritten) {
            Cow::Owned(redacted) => Cow::Owned(redacted),
            Cow::Borrowed(_) => Cow::Owned(rewritten),
        }
    }

    /// `query` with the values of sensitive parameters replaced. `first` is the first of them.
    fn rewritten(&self, query: &str, first: Range<usize>) -> String {
        let mut rewritten = String::with_capacity(query.len() + REDACTED.len());
        let (mut copied, mut next) = (0, Some(first));
        while let Some(value) = next {
            rewritten.push_str(&query[copied..value.start]);
            rewritten.push_str(REDACTED);
            copied = value.end;
            next = self.first_sensitive(query, copied);
        }
        rewritten.push_str(&query[copied..]);
        rewritten
    }

    /// The range of the first sensitive value among the parameters that begin at or after `start`.
    /// A fragment does not belong in a query, but text that looks like its parameters is treated
    /// alike.
    fn first_sensitive(&self, query: &str, mut start: usize) -> Option<Range<usize>> {
        let bytes = query.as_bytes();
        loop {
            let stop = words::position(bytes, start, |word| ends(word) | equal(word, b'='))?;
            let value = stop + 1;
            if bytes[stop] != b'=' {
                start = value;
                continue;
            }
            let end = words::position(bytes, value, ends).unwrap_or(bytes.len());
            if end > value && self.is_sensitive(&query[start..stop]) {
                return Some(value..end);
            }
            start = end + 1;
        }
    }

    fn is_sensitive(&self, name: &str) -> bool {
        // A percent-encoded byte takes three characters, so a longer name cannot be on the list.
        if name.is_empty() || name.len() > self.longest * 3 {
            return false;
        }
        if words::find(name.as_bytes(), b'%').is_some() {
            return self.is_encoded_sensitive(name);
        }
        // Nearly every name differs in length from the names on the list with the same first
        // letter.
        self.shapes[name.len() % 64] & letter(name.as_bytes()) != 0 && self.is_on_list(name)
    }

    fn is_on_list(&self, name: &str) -> bool {
        let mut lower = [0; LONGEST_NAME];
        let Some(lower) = lower.get_mut(..name.len()) else { return false };
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        self.names.contains(&*lower)
    }

    fn is_encoded_sensitive(&self, name: &str) -> bool {
        let mut decoded = [0; LONGEST_NAME];
        let mut length = 0;
        let mut bytes = name.bytes();
        while let Some(byte) = bytes.next() {
            let byte = if byte == b'%' { decode(&mut bytes).unwrap_or(byte) } else { byte };
            let Some(entry) = decoded.get_mut(length) else { return false };
            *entry = byte.to_ascii_lowercase();
            length += 1;
        }
        self.names.contains(&decoded[..length])
    }
}

/// Marks the bytes that end a parameter.
const fn ends(word: u64) -> u64 {
    equal(word, b'&') | equal(word, b';') | equal(word, b'#') | equal(word, b'?')
}

/// The bit of a name's first letter, the same for both cases.
fn letter(name: &[u8]) -> u32 {
    name.first().map_or(0, |first| 1 << (first & 31))
}

/// The byte that the next two hex digits encode. Advances only if both are digits.
fn decode(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let mut ahead = bytes.clone();
    let high = char::from(ahead.next()?).to_digit(16)?;
    let low = char::from(ahead.next()?).to_digit(16)?;
    *bytes = ahead;
    u8::try_from(high << 4 | low).ok()
}

/// `text` with the userinfo of every URL in it replaced (RFC 3986 section 3.2.1).
pub(super) fn userinfo(text: &str) -> Cow<'_, str> {
    if words::find(text.as_bytes(), b'@').is_none() {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::new();
    let mut copied = 0;
    let mut from = 0;
    while let Some(found) = text[from..].find("://") {
        let start = from + found + 3;
        let end = text[start..].find(['/', '?', '#', '&', ' ']).map_or(text.len(), |length| start + length);
        // The last @ ends the userinfo. A password may contain an @ that should have been encoded,
        // and no part of it may leak.
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

    fn redacted(redaction: &Redaction, query: &str) -> String {
        let redacted = redaction.query(query);
        assert!(matches!(redacted, Cow::Owned(_)) || redacted == query);
        redacted.into_owned()
    }

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
            assert_eq!(redacted(&redaction, query), expected, "{query}");
        }
        assert_eq!(redacted(&Redaction::new(["Own"]), "own=1&token=2"), "own=REDACTED&token=2");
        assert_eq!(redacted(&Redaction::new::<&str>([]), "token=2"), "token=2");
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
            let redaction = Redaction::default();
            let once = redacted(&redaction, &query);
            prop_assert!(!once.contains("s3cr3t"), "{}", once);
            prop_assert_eq!(redacted(&redaction, &once), once);
        }

        #[test]
        fn hostile_text_does_no_harm(text in ".{0,200}") {
            redacted(&Redaction::default(), &text);
            let _ = userinfo(&text);
        }
    }
}
