//! Request lines that are not to the letter (RFC 9112, section 3) although servers read and answer them: further blanks, a
//! blank or a control character in the target, a version like 1.2 or 1.0.8.
//!
//! They say less of themselves than a line of the grammar, so that the caller may only look for one where the message before
//! has surely ended, and marks what it makes of it.

use std::ops::Range;

use memchr::memchr;

use super::line::RequestLine;

/// A line longer than this is none.
const LINE_BYTES: usize = 16 * 1024;
/// The longest registered method has 17 bytes.
const METHOD_BYTES: Range<usize> = 3..18;

/// What stands at the start of a message whose first line is not to the letter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loose {
    /// Not enough bytes to say.
    More,
    Request(RequestLine),
    /// A request of HTTP/0.9 (RFC 1945, section 4.1, Simple-Request): its answer has no head.
    Simple,
    Neither,
}

/// Reads the first line of `head`, which is no request line by the grammar.
pub(super) fn read(head: &[u8]) -> Loose {
    let method = head.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    if method == head.len() && method < METHOD_BYTES.end {
        return Loose::More;
    }
    // PRI is the preface of HTTP/2 (RFC 9113, section 3.4).
    let named = METHOD_BYTES.contains(&method) && head[method..].first().is_some_and(is_blank);
    if !named || &head[..method] == b"PRI" {
        return Loose::Neither;
    }
    let Some(end) = memchr(b'\n', &head[..head.len().min(LINE_BYTES)]) else {
        return if head.len() < LINE_BYTES { Loose::More } else { Loose::Neither };
    };
    let line = head[..end].trim_ascii_end();
    let start = method + line[method..].iter().take_while(|byte| is_blank(byte)).count();
    let version = line.iter().rposition(is_blank).map_or(0, |blank| blank + 1);
    let minor = minor_version(&line[version..]);
    let target_end = if minor.is_some() { line[..version].trim_ascii_end().len() } else { line.len() };
    let target = line.get(start..target_end).unwrap_or_default();
    let is_target = target.starts_with(b"/")
        || target.starts_with(b"http")
        || target == b"*"
        || &line[..method] == b"CONNECT";
    match minor {
        _ if target.is_empty() || !is_target => Loose::Neither,
        Some(minor) => Loose::Request(RequestLine::whole(method, start..target_end, minor, end + 1)),
        None if &line[..method] == b"GET" && !target.iter().any(is_blank) => Loose::Simple,
        None => Loose::Neither,
    }
}

/// The minor version by which a message is to be read: 0 for those of 1.0, 1 for all others. `None`: it is no version.
fn minor_version(text: &[u8]) -> Option<u8> {
    let number = text.strip_prefix(b"HTTP/")?;
    let digits = number.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let is_version = digits && number.first().is_some_and(u8::is_ascii_digit);
    is_version.then(|| u8::from(!number.starts_with(b"1.0") && !number.starts_with(b"0")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        let told = match read(head.as_bytes()) {
            Loose::More => "more".to_owned(),
            Loose::Simple => "simple".to_owned(),
            Loose::Neither => "neither".to_owned(),
            Loose::Request(line) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                format!(
                    "{} [{}] 1.{}",
                    text(line.method(head.as_bytes())),
                    text(line.target(head.as_bytes())),
                    line.minor
                )
            }
        };
        // However many bytes are there, it never says anything else before.
        for end in 0..line.len() {
            assert!(
                matches!(read(&head.as_bytes()[..end]), Loose::More) || told == "neither",
                "{line:?} {end}"
            );
        }
        told
    }

    #[test]
    fn what_servers_read() {
        for (line, expected) in [
            ("GET  /two HTTP/1.1", "GET [/two] 1.1"),
            ("GET\t/two\tHTTP/1.1", "GET [/two] 1.1"),
            ("GET /x HTTP/1.1 ", "GET [/x] 1.1"),
            ("GET /x HTTP/1.2", "GET [/x] 1.1"),
            ("GET /x HTTP/1.0.8", "GET [/x] 1.0"),
            ("GET /x HTTP/2.0", "GET [/x] 1.1"),
            ("GET /a b HTTP/1.1", "GET [/a b] 1.1"),
            ("GET /t\t HTTP/1.1", "GET [/t] 1.1"),
            ("GET /t\u{1} HTTP/1.1", "GET [/t\u{1}] 1.1"),
            ("CONNECT mail.example:25 / HTTP/1.0", "CONNECT [mail.example:25 /] 1.0"),
            ("GET http://a.example/a b HTTP/1.1", "GET [http://a.example/a b] 1.1"),
            ("GET /", "simple"),
            ("GET /index.html ", "simple"),
        ] {
            assert_eq!(told(line), expected, "{line:?}");
        }
    }

    #[test]
    fn what_is_no_request() {
        for line in [
            "PRI * HTTP/2.0",
            "EHLO mail.example",
            "USER anonymous",
            "SET /key value",
            "GET key",
            "OPTIONS rtsp://a.example/ RTSP/1.0",
            "INVITE sip:b@example.com SIP/2.0",
            "GET / HTTP/x",
            "GET HTTP/1.1",
            "get /a b HTTP/1.1",
            "G / HTTP/1.1",
            "ABCDEFGHIJKLMNOPQRSTUVW / HTTP/1.2",
            "HTTP/1.1 200 OK",
            "\u{16}\u{3}\u{1}",
        ] {
            assert_eq!(told(line), "neither", "{line:?}");
        }
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let mut line = b"GET /a b".to_vec();
        line.resize(LINE_BYTES - 1, b'x');
        assert!(matches!(read(&line), Loose::More));
        line.push(b'x');
        assert!(matches!(read(&line), Loose::Neither));
    }
}
