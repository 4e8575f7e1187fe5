//! As much HTTP/1 as the bench's backend and driver need. They must be faster than the application
//! between them, and look to it like any server or client.

use std::io::{self, BufRead, Read as _};

/// The head of a request or a response whose body was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The first line without its end.
    pub(super) start: String,
    /// No other message follows on this connection.
    pub(super) closes: bool,
}

impl Message {
    /// The target of a request.
    pub(super) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// Whether it is a response of success.
    pub(super) fn succeeded(&self) -> bool {
        self.start.split(' ').nth(1) == Some("200")
    }
}

/// How the body ends.
enum Body {
    Sized(u64),
    Chunked,
    UntilClose,
}

/// Reads a message and its body; nothing where the connection ends before one begins.
pub(super) fn read(from: &mut impl BufRead, is_response: bool) -> io::Result<Option<Message>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let start = line.trim_end().to_owned();
    let mut closes = start.contains("HTTP/1.0");
    let mut body = if is_response { Body::UntilClose } else { Body::Sized(0) };
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => body = Body::Sized(value.parse().map_err(io::Error::other)?),
            "transfer-encoding" => body = Body::Chunked,
            "connection" => closes = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    match body {
        Body::Sized(length) => skip(from, length)?,
        Body::Chunked => skip_chunks(from)?,
        Body::UntilClose => {
            io::copy(from, &mut io::sink())?;
            closes = true;
        }
    }
    Ok(Some(Message { start, closes }))
}

fn skip(from: &mut impl BufRead, length: u64) -> io::Result<()> {
    let copied = io::copy(&mut from.by_ref().take(length), &mut io::sink())?;
    if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn skip_chunks(from: &mut impl BufRead) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
        // The line end after the data; after the last chunk the empty line that ends the trailers,
        // which nobody sends here.
        skip(from, size + 2)?;
        if size == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_follow_each_other() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 503 No\r\n\
                    Connection: close\r\n\r\nrest";
        let mut from = text.as_bytes();
        let mut next = || read(&mut from, true).unwrap();
        let first = next().unwrap();
        assert!(first.succeeded() && !first.closes);
        assert!(!next().unwrap().closes);
        let last = next().unwrap();
        assert!(!last.succeeded() && last.closes);
        assert_eq!(next(), None);
    }

    #[test]
    fn a_request_without_length_has_no_body() {
        let mut from = "GET /out/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /out/2 HTTP/1.0\r\n\r\n".as_bytes();
        let first = read(&mut from, false).unwrap().unwrap();
        assert_eq!((first.target(), first.closes), ("/out/1", false));
        let second = read(&mut from, false).unwrap().unwrap();
        assert_eq!((second.target(), second.closes), ("/out/2", true));
    }
}
