//! What the fields of a head say about the message's body and the connection (RFC 9112, section 6).

use super::{
    body::{Body, Chunked},
    name::Name,
};

/// What a head says about its message's body and connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Framing {
    length: Option<u64>,
    length_invalid: bool,
    coding: Option<Coding>,
    /// The request asks to leave HTTP/1.
    pub upgrade: bool,
    /// The request waits for 100 (Continue) before its body.
    pub expects_continue: bool,
}

/// The last transfer coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    Other,
}

impl Framing {
    /// The body of a request (RFC 9112, section 6.3); `None` when that cannot be told.
    pub(super) const fn request_body(&self) -> Option<Body> {
        match self.coding {
            Some(Coding::Chunked) => Some(Body::Chunked(Chunked::new())),
            Some(Coding::Other) => None,
            None if self.length_invalid => None,
            None => Some(Body::Length { remaining: self.length_or_zero() }),
        }
    }

    /// The body of a response that may have one.
    pub(super) const fn response_body(&self) -> Option<Body> {
        match (self.coding, self.length) {
            (Some(Coding::Chunked), _) => Some(Body::Chunked(Chunked::new())),
            (Some(Coding::Other), _) => Some(Body::UntilClose),
            (None, _) if self.length_invalid => None,
            (None, Some(remaining)) => Some(Body::Length { remaining }),
            (None, None) => Some(Body::UntilClose),
        }
    }

    /// Whether a field of this (perhaps cut) head gives the body's length: without one nothing follows from a cut head.
    pub(super) const fn is_stated(&self) -> bool {
        self.length.is_some() || self.coding.is_some()
    }

    const fn length_or_zero(&self) -> u64 {
        match self.length {
            Some(length) => length,
            None => 0,
        }
    }

    /// `Content-Length`, repeated or as a list, must always say the same (RFC 9110, section 8.6).
    fn content_length(&mut self, value: &[u8]) {
        if self.length.is_none()
            && let Some(length) = parse_length(value)
        {
            self.length = Some(length);
            return;
        }
        for item in value.split(|byte| *byte == b',') {
            match parse_length(item.trim_ascii()) {
                Some(length) if self.length.is_none_or(|before| before == length) => {
                    self.length = Some(length);
                }
                _ => self.length_invalid = true,
            }
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) {
        // `identity` codes nothing (RFC 2616, section 3.6; RFC 9112, section 7 has dropped it).
        let codes = |item: &&[u8]| !item.is_empty() && !item.eq_ignore_ascii_case(b"identity");
        let last = value.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii).find(codes);
        if let Some(last) = last {
            let chunked = last.eq_ignore_ascii_case(b"chunked");
            self.coding = Some(if chunked { Coding::Chunked } else { Coding::Other });
        }
    }

    /// Takes note of a field; only four of them matter here.
    pub(super) fn field(&mut self, name: Name, value: &[u8]) {
        match name {
            Name::Expect => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            Name::Upgrade => self.upgrade = true,
            Name::ContentLength => self.content_length(value),
            Name::TransferEncoding => self.transfer_encoding(value),
            _ => {}
        }
    }
}

/// Digits alone: a sign, which Rust's parser would take, is no part of a length.
fn parse_length(digits: &[u8]) -> Option<u64> {
    /// No number of so many digits is too large.
    const FIT: usize = 19;

    if digits.is_empty() {
        return None;
    }
    let (fitting, rest) = digits.split_at(digits.len().min(FIT));
    let mut length = 0_u64;
    for byte in fitting {
        length = length * 10 + u64::from(digit(*byte)?);
    }
    rest.iter().try_fold(length, |length, byte| length.checked_mul(10)?.checked_add(digit(*byte)?.into()))
}

fn digit(byte: u8) -> Option<u8> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            head,
            line::{FirstLine, Role},
        },
        *,
    };

    fn read(head: &[u8]) -> Framing {
        let mut line = FirstLine::new(Role::Request);
        line.advance(head);
        head::response(head, &line)
    }

    #[test]
    fn framing_of_requests_and_responses() {
        let length = |remaining| Some(Body::Length { remaining });
        let chunked = Some(Body::Chunked(Chunked::new()));
        let until_close = Some(Body::UntilClose);
        for (fields, request, response) in [
            ("", length(0), until_close),
            ("Content-Length: 5\r\n", length(5), length(5)),
            ("Content-Length: 5, 5\r\nContent-Length:5\r\n", length(5), length(5)),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", None, None),
            ("Content-Length: -5\r\n", None, None),
            ("Content-Length: 99999999999999999999\r\n", None, None),
            ("Content-Length:\r\n", None, None),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunked, chunked),
            ("Transfer-Encoding: gzip, Chunked\r\n", chunked, chunked),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", chunked, chunked),
            ("Transfer-Encoding: gzip\r\n", None, until_close),
            ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", length(5), length(5)),
            ("Transfer-Encoding: chunked, Identity\r\n", chunked, chunked),
            ("Transfer-Encoding: identity\r\n", length(0), until_close),
        ] {
            let framing = read(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes());
            assert_eq!((framing.request_body(), framing.response_body()), (request, response), "{fields:?}");
        }
    }
}
