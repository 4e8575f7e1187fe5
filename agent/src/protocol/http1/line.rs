//! Recognises the first line of a message, byte by byte if need be: it alone proves that a message starts here. `ordinary.rs`
//! is tried first; here is the careful path, for every line, and however it is cut.

use std::ops::Range;

use memchr::memchr;

use super::ordinary;
use crate::careful;

/// A method longer than this is none (the longest registered one has 17 bytes).
const METHOD_BYTES: usize = 64;

/// How far a first line has been recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Done,
    Bad,
}

/// What the first bytes of a message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recognised {
    /// Not enough bytes to say.
    More,
    Request,
    Response,
    Neither,
}

/// Which first lines are possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Request,
    Response,
    Unknown,
}

/// Matches a request line, a status line, or whichever it turns out to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstLine {
    pub request: RequestLine,
    pub status: StatusLine,
}

impl FirstLine {
    pub(super) fn new(role: Role) -> Self {
        let mut line = Self { request: RequestLine::default(), status: StatusLine::default() };
        match role {
            Role::Request => line.status.state = StatusState::Bad,
            Role::Response => line.request.state = RequestState::Bad,
            Role::Unknown => {}
        }
        line
    }

    /// Which first lines it looks for, before it has advanced.
    pub(super) fn role(&self) -> Role {
        match (self.request.state, self.status.state) {
            (_, StatusState::Bad) => Role::Request,
            (RequestState::Bad, _) => Role::Response,
            _ => Role::Unknown,
        }
    }

    /// Goes on where the last transfer ended; `head` is the message from its first byte.
    pub(super) fn advance(&mut self, head: &[u8]) -> Recognised {
        self.ordinary(head).unwrap_or_else(|| self.careful(head))
    }

    /// A line as nearly every peer writes it, at once. `None`: it may be another one, or is not whole.
    fn ordinary(&mut self, head: &[u8]) -> Option<Recognised> {
        if careful::only() {
            return None;
        }
        let request_possible = self.request.state == RequestState::Method && self.request.at == 0;
        if request_possible && let Some(line) = ordinary::request(head) {
            self.request = line;
            self.status.state = StatusState::Bad;
            return Some(Recognised::Request);
        }
        if self.status.state == StatusState::Version
            && let Some(line) = ordinary::status(head)
        {
            self.status = line;
            self.request.state = RequestState::Bad;
            return Some(Recognised::Response);
        }
        None
    }

    /// Any line, byte by byte.
    pub(super) fn careful(&mut self, head: &[u8]) -> Recognised {
        match (self.request.advance(head), self.status.advance(head)) {
            (Progress::Done, _) => Recognised::Request,
            (_, Progress::Done) => Recognised::Response,
            (Progress::Bad, Progress::Bad) => Recognised::Neither,
            _ => Recognised::More,
        }
    }

    /// Length of the recognised line with its line end.
    pub(super) const fn length(&self) -> usize {
        match self.request.state {
            RequestState::Done => self.request.length(),
            _ => self.status.length(),
        }
    }
}

/// Whether a request line with a registered method stands here, and not perhaps the end of one.
pub(super) fn begins_with_known_method(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 10] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"CONNECT ",
        b"OPTIONS ",
        b"TRACE ",
        b"PATCH ",
        b"QUERY ",
    ];
    METHODS.iter().any(|method| line.starts_with(method))
}

/// `method SP request-target SP HTTP-version CRLF` (RFC 9112, section 3).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RequestLine {
    state: RequestState,
    at: usize,
    method_end: usize,
    target_start: usize,
    target_end: usize,
    pub minor: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum RequestState {
    #[default]
    Method,
    Target,
    Version,
    LineEnd,
    Done,
    Bad,
}

impl RequestLine {
    pub(super) fn advance(&mut self, head: &[u8]) -> Progress {
        loop {
            let rest = &head[self.at..];
            self.state = match self.state {
                RequestState::Method => match rest.iter().position(|byte| !is_token(*byte)) {
                    None if head.len() > METHOD_BYTES => RequestState::Bad,
                    None => {
                        self.at = head.len();
                        return Progress::More;
                    }
                    Some(count) => {
                        self.method_end = self.at + count;
                        self.at = self.method_end + 1;
                        self.target_start = self.at;
                        let length_fits = (1..=METHOD_BYTES).contains(&self.method_end);
                        if rest[count] == b' ' && length_fits {
                            RequestState::Target
                        } else {
                            RequestState::Bad
                        }
                    }
                },
                RequestState::Target => match rest.iter().position(|byte| !is_target(*byte)) {
                    None => {
                        self.at = head.len();
                        return Progress::More;
                    }
                    Some(count) => {
                        self.target_end = self.at + count;
                        self.at = self.target_end + 1;
                        let empty = self.target_end == self.method_end + 1;
                        if rest[count] == b' ' && !empty { RequestState::Version } else { RequestState::Bad }
                    }
                },
                RequestState::Version => match version(rest) {
                    Err(progress @ Progress::More) => return progress,
                    Err(_) => RequestState::Bad,
                    Ok(minor) => {
                        self.minor = minor;
                        self.at += VERSION_BYTES;
                        RequestState::LineEnd
                    }
                },
                RequestState::LineEnd => match rest {
                    [] | [b'\r'] => return Progress::More,
                    [b'\n', ..] => {
                        self.at += 1;
                        RequestState::Done
                    }
                    [b'\r', b'\n', ..] => {
                        self.at += 2;
                        RequestState::Done
                    }
                    _ => RequestState::Bad,
                },
                RequestState::Done => return Progress::Done,
                RequestState::Bad => return Progress::Bad,
            };
        }
    }

    pub(super) fn method<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.method_in(head)]
    }

    /// The target, or what there is of it when the line was cut in it.
    pub(super) fn target<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.target_in(head)]
    }

    /// Where the method lies in the head.
    pub(super) fn method_in(&self, head: &[u8]) -> Range<usize> {
        0..if self.method_end <= head.len() { self.method_end } else { 0 }
    }

    /// Where the target lies in the head.
    pub(super) fn target_in(&self, head: &[u8]) -> Range<usize> {
        let end = if self.state == RequestState::Target { head.len() } else { self.target_end };
        if self.target_start <= end && end <= head.len() { self.target_start..end } else { 0..0 }
    }

    /// Length of the line with its line end, once it is whole.
    pub(super) const fn length(&self) -> usize {
        self.at
    }

    /// A line that is known to be whole: where its parts lie.
    pub(super) fn whole(method_end: usize, target: Range<usize>, minor: u8, length: usize) -> Self {
        let (target_start, target_end) = (target.start, target.end);
        Self { state: RequestState::Done, at: length, method_end, target_start, target_end, minor }
    }

    /// Whether a line that was cut by missing bytes is still surely a request line: an upper-case method and the start of a
    /// target that looks like a path or URL, of at least `bytes` bytes unless the version begins behind it.
    pub(super) fn cut_is_plausible(&self, head: &[u8], bytes: usize) -> bool {
        let known_shape =
            matches!(self.state, RequestState::Target | RequestState::Version | RequestState::LineEnd);
        let method = self.method(head);
        let target = self.target(head);
        let version_begins = self.state == RequestState::LineEnd
            || self.state == RequestState::Version && head.len() > self.at;
        let bytes = if version_begins { 1 } else { bytes.max(1) };
        known_shape
            && method.len() >= 3
            && method.iter().all(u8::is_ascii_uppercase)
            && target.len() >= bytes
            && (target.starts_with(b"/") || target.starts_with(b"http"))
    }
}

/// `HTTP-version SP status-code [ SP reason-phrase ] CRLF` (RFC 9112, section 4).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StatusLine {
    state: StatusState,
    at: usize,
    pub minor: u8,
    pub status: u16,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum StatusState {
    #[default]
    Version,
    Reason,
    Done,
    Bad,
}

impl StatusLine {
    /// "HTTP/1.1 200" and the byte after it.
    const FIXED: usize = VERSION_BYTES + 5;

    pub(super) fn advance(&mut self, head: &[u8]) -> Progress {
        loop {
            self.state = match self.state {
                StatusState::Version => match self.fixed(head) {
                    Progress::More => return Progress::More,
                    Progress::Done => StatusState::Reason,
                    Progress::Bad => StatusState::Bad,
                },
                StatusState::Reason => match memchr(b'\n', &head[self.at..]) {
                    Some(count) => {
                        self.at += count + 1;
                        StatusState::Done
                    }
                    None => {
                        self.at = head.len();
                        return Progress::More;
                    }
                },
                StatusState::Done => return Progress::Done,
                StatusState::Bad => return Progress::Bad,
            };
        }
    }

    fn fixed(&mut self, head: &[u8]) -> Progress {
        match version(head) {
            Err(progress) => return progress,
            Ok(minor) => self.minor = minor,
        }
        let mut status = 0;
        for (index, byte) in head.iter().enumerate().take(Self::FIXED).skip(VERSION_BYTES) {
            let fits = match index - VERSION_BYTES {
                0 => *byte == b' ',
                1 => (b'1'..=b'9').contains(byte),
                2 | 3 => byte.is_ascii_digit(),
                _ => matches!(byte, b' ' | b'\r' | b'\n'),
            };
            if !fits {
                return Progress::Bad;
            }
            if byte.is_ascii_digit() {
                status = status * 10 + u16::from(*byte - b'0');
            }
        }
        if head.len() < Self::FIXED {
            return Progress::More;
        }
        self.status = status;
        self.at = Self::FIXED - 1;
        Progress::Done
    }

    /// Length of the line with its line end, once it is whole.
    pub(super) const fn length(&self) -> usize {
        self.at
    }

    /// A line that is known to be whole.
    pub(super) const fn whole(minor: u8, status: u16, length: usize) -> Self {
        Self { state: StatusState::Done, at: length, minor, status }
    }

    /// Whether version and status are known although the line was cut after them.
    pub(super) fn cut_is_known(&self) -> bool {
        self.state == StatusState::Reason
    }
}

const VERSION_BYTES: usize = 8;

/// The minor version of `HTTP/1.0` or `HTTP/1.1` at the start of `bytes`.
fn version(bytes: &[u8]) -> Result<u8, Progress> {
    const NAME: &[u8] = b"HTTP/1.";
    let count = bytes.len().min(NAME.len());
    if bytes[..count] != NAME[..count] {
        return Err(Progress::Bad);
    }
    match bytes.get(NAME.len()) {
        None => Err(Progress::More),
        Some(b'0') => Ok(0),
        Some(b'1') => Ok(1),
        Some(_) => Err(Progress::Bad),
    }
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let mark = matches!(
            byte as u8,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        table[byte] = mark || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// `tchar` of RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Visible ASCII, and the raw UTF-8 that some clients send.
const fn is_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
