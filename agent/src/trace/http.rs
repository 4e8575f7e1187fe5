//! The HTTP part of a span, as the attributes of the semantic conventions. Its texts are in one
//! buffer, which is allocated once per span. A text is a range of the buffer, and two texts may
//! share bytes: path and query are part of `url.full`.

use std::{
    fmt::{self, Write as _},
    ops::Range,
};

use arrayvec::ArrayString;
use compact_str::CompactString;

/// What is known of a request and its response as attributes; every text is already redacted.
#[derive(Debug, Clone, Default)]
pub struct Http {
    /// `http.request.method`: a known method, or `_OTHER`.
    pub method: &'static str,
    pub scheme: &'static str,
    pub status: Option<u16>,
    /// "1.0" or "1.1".
    pub version: &'static str,
    pub server_port: Option<u16>,
    pub client_port: Option<u16>,
    /// `http.request.header.<name>` of the configured fields, by name in lower case, one entry per
    /// line of the head.
    pub request_headers: Vec<(CompactString, CompactString)>,
    pub request_body_size: Option<u64>,
    pub response_body_size: Option<u64>,
    pub(crate) texts: Texts,
}

/// The attributes whose values are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Text {
    /// `http.request.method_original`, only with `_OTHER`.
    MethodOriginal,
    /// `url.full`, on client spans.
    FullUrl,
    Path,
    Query,
    ServerAddress,
    ClientAddress,
    UserAgent,
}

impl Text {
    pub(crate) const ALL: [Self; 7] = [
        Self::MethodOriginal,
        Self::FullUrl,
        Self::Path,
        Self::Query,
        Self::ServerAddress,
        Self::ClientAddress,
        Self::UserAgent,
    ];
}

impl Http {
    /// A request of which nothing else is known. All of it is written at once.
    pub(super) const fn unknown(method: &'static str, scheme: &'static str, version: &'static str) -> Self {
        Self {
            method,
            scheme,
            status: None,
            version,
            server_port: None,
            client_port: None,
            request_headers: Vec::new(),
            request_body_size: None,
            response_body_size: None,
            texts: Texts {
                buffer: Buffer::Short(ArrayString::new_const()),
                ranges: [Texts::ABSENT; Text::ALL.len()],
            },
        }
    }

    /// The value of an attribute, if it is known.
    #[must_use]
    pub fn text(&self, which: Text) -> Option<&str> {
        self.texts.get(which)
    }

    /// `url.path`.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.text(Text::Path)
    }

    /// `url.query`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.text(Text::Query)
    }
}

#[cfg(test)]
impl Http {
    /// The same with another value of an attribute.
    pub(crate) fn with(mut self, which: Text, value: impl Into<Option<&'static str>>) -> Self {
        self.set(which, value.into());
        self
    }

    pub(crate) fn set(&mut self, which: Text, value: Option<&str>) {
        match value {
            Some(value) => self.texts.push(which, value),
            None => self.texts.ranges[which as usize] = Texts::ABSENT,
        }
    }
}

/// Compares the values of the attributes, wherever their texts are in the buffer.
impl PartialEq for Http {
    fn eq(&self, other: &Self) -> bool {
        let but_texts = |http: &Self| {
            (
                http.method,
                http.scheme,
                http.status,
                http.version,
                http.server_port,
                http.client_port,
                http.request_body_size,
                http.response_body_size,
            )
        };
        but_texts(self) == but_texts(other)
            && self.request_headers == other.request_headers
            && Text::ALL.iter().all(|which| self.text(*which) == other.text(*which))
    }
}

impl Eq for Http {}

/// Texts in one buffer.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    buffer: Buffer,
    /// Start and end, by [`Text`].
    ranges: [[u32; 2]; Text::ALL.len()],
}

impl Default for Texts {
    fn default() -> Self {
        Self { buffer: Buffer::Short(ArrayString::new_const()), ranges: [Self::ABSENT; Text::ALL.len()] }
    }
}

impl Texts {
    const ABSENT: [u32; 2] = [u32::MAX; 2];

    /// Makes room for texts that have about so many bytes. There are none yet.
    #[inline]
    pub(super) fn reserve(&mut self, capacity: usize) {
        if capacity > SHORT {
            // Room for another host and port beside, so that the memory is made once.
            self.buffer = Buffer::Long(String::with_capacity(capacity + SHORT / 2));
        }
    }

    fn get(&self, which: Text) -> Option<&str> {
        let [start, end] = self.ranges[which as usize];
        self.buffer.as_str().get(start as usize..end as usize)
    }

    /// Appends a text.
    pub(super) fn push(&mut self, which: Text, value: &str) {
        let start = self.length();
        self.add(value);
        self.name(which, start..self.length());
    }

    /// Appends what is only a part of texts; [`Texts::name`] says of which.
    pub(super) fn add(&mut self, text: &str) {
        // Writing to a buffer that grows does not fail.
        let _ = self.buffer.write_str(text);
    }

    /// Bytes of the texts so far.
    pub(super) const fn length(&self) -> usize {
        match &self.buffer {
            Buffer::Short(text) => text.len(),
            Buffer::Long(text) => text.len(),
        }
    }

    /// A part of the buffer is this text. Heads are bounded, so that all positions fit.
    pub(super) fn name(&mut self, which: Text, range: Range<usize>) {
        let position = |position| u32::try_from(position).unwrap_or(u32::MAX);
        self.ranges[which as usize] = [position(range.start), position(range.end)];
    }
}

/// Bytes of the texts of most requests: they need no memory of their own.
const SHORT: usize = 160;

#[derive(Debug, Clone)]
enum Buffer {
    Short(ArrayString<SHORT>),
    Long(String),
}

impl Buffer {
    fn as_str(&self) -> &str {
        match self {
            Self::Short(text) => text,
            Self::Long(text) => text,
        }
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, added: &str) -> fmt::Result {
        match self {
            Self::Short(text) => {
                if text.try_push_str(added).is_err() {
                    let mut long = String::with_capacity(2 * SHORT + added.len());
                    long.push_str(text);
                    long.push_str(added);
                    *self = Self::Long(long);
                }
            }
            Self::Long(text) => text.push_str(added),
        }
        Ok(())
    }
}

impl fmt::Write for Texts {
    fn write_str(&mut self, added: &str) -> fmt::Result {
        self.buffer.write_str(added)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_outgrow_the_short_buffer() {
        for length in [0, 1, SHORT - 3, SHORT - 2, SHORT, 10 * SHORT] {
            let long = "x".repeat(length);
            for capacity in [0, 10 * SHORT] {
                let mut texts = Texts::default();
                texts.reserve(capacity);
                texts.push(Text::Path, "/a");
                texts.push(Text::Query, &long);
                texts.push(Text::UserAgent, "é");
                let found = [Text::Path, Text::Query, Text::UserAgent, Text::FullUrl].map(|it| texts.get(it));
                assert_eq!(found, [Some("/a"), Some(long.as_str()), Some("é"), None]);
            }
        }
    }
}
