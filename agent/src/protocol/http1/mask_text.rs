//! Masks of the parts of an HTTP/1 head. Each changes bytes in place and never their number.

use super::loose::{self, Loose};
use crate::protocol::mask::{HIDDEN, hide};

/// Methods that are recognised in a transfer that holds only the beginning of their line: those of
/// RFC 9110, and those that WebDAV and caches add.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"QUERY",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
    b"PURGE",
];
const CODINGS: &[&[u8]] = &[b"chunked", b"gzip", b"deflate", b"compress", b"identity", b"x-gzip"];
const CONNECTION: &[&[u8]] =
    &[b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings", b"websocket", b"h2c"];

/// What a first line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Request(Method),
    Response {
        status: u16,
    },
    /// It may become a first line.
    More,
    Neither,
}

/// What the method says about the response's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Connect,
    Other,
}

/// Masks everything but blanks and line ends.
pub(super) fn hide_words(bytes: &mut [u8]) {
    hide_unless(bytes, |byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
}

fn hide_unless(bytes: &mut [u8], keep: impl Fn(u8) -> bool) {
    for byte in bytes {
        if !keep(*byte) {
            *byte = HIDDEN;
        }
    }
}

/// Says what a line is, which ends with its line feed if it is complete, and masks it if it is a
/// first line.
pub(super) fn first_line(line: &mut [u8]) -> First {
    let complete = line.ends_with(b"\n");
    let (text, _) = split_end(line);
    let length = text.len();
    if let Some(status) = status(text, complete) {
        let kept = length.min(12);
        hide_words(&mut line[kept..]);
        return status;
    }
    let Some(space) = text.iter().position(|byte| *byte == b' ') else {
        let begins = METHODS.iter().any(|method| method.starts_with(text));
        return if begins && !complete { First::More } else { First::Neither };
    };
    let (method, rest) = (&text[..space], &text[space + 1..]);
    let target_length = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    let (target, version) = (&rest[..target_length], rest[target_length..].strip_prefix(b" "));
    if target.is_empty() && complete || !target.iter().all(|byte| *byte > b' ' && *byte != 0x7f) {
        return First::Neither;
    }
    let first = match version {
        Some(b"HTTP/1.0" | b"HTTP/1.1") if complete && is_token(method) => First::Request(match method {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }),
        None | Some(_) if complete => return First::Neither,
        Some(version) if !is_prefix(version, &[b"HTTP/1.0", b"HTTP/1.1"]) => return First::Neither,
        _ if METHODS.contains(&method) => First::More,
        _ => return First::Neither,
    };
    let exports = complete && &line[..space] == b"POST";
    hide_target(&mut line[space + 1..space + 1 + target_length], exports);
    first
}

/// The same of a whole line that is no first line to the letter, as the parser reads it where a message surely begins. Blanks and
/// control characters stay in its target, since by them it is known again.
pub(super) fn loose_line(line: &mut [u8]) -> First {
    let Loose::Request(found) = loose::read(line) else { return First::Neither };
    let (method, target) = (found.method_in(line), found.target_in(line));
    if line.get(target.start) != Some(&b'/') {
        return First::Neither;
    }
    let method = match &line[method] {
        b"HEAD" => Method::Head,
        b"CONNECT" => Method::Connect,
        _ => Method::Other,
    };
    let shape = |byte| matches!(byte, b'/' | b'?' | b'#' | b'&' | b'=' | 0..=b' ' | 0x7f);
    hide_unless(&mut line[target], shape);
    First::Request(method)
}

/// `HTTP/1.1 200 OK`, as far as it goes.
fn status(text: &[u8], complete: bool) -> Option<First> {
    const SHAPE: &[u8] = b"HTTP/1.# ### ";
    let fits = text.iter().zip(SHAPE).all(|(byte, shape)| match shape {
        b'#' => byte.is_ascii_digit(),
        _ => byte == shape,
    });
    if !fits || text.is_empty() {
        return None;
    }
    if complete && text.len() >= SHAPE.len() - 1 {
        let digits = &text[9..12];
        let status = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        return Some(First::Response { status });
    }
    Some(if complete { First::Neither } else { First::More })
}

/// The text of a line, and its line end.
fn split_end(line: &[u8]) -> (&[u8], &[u8]) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    line.split_at(text.len())
}

/// The end of the path of OTLP's traces: by it a program is recognised that exports its own.
const TRACES: &[u8] = b"/v1/traces";

/// A request target (RFC 9112, section 3.2). `exports`: it may be that of an export of traces.
fn hide_target(target: &mut [u8], exports: bool) {
    if target == b"*" {
        return;
    }
    let mut path = 0;
    if !target.starts_with(b"/") {
        let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| target.starts_with(scheme));
        let start = scheme.map_or(0, <[u8]>::len);
        let end = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        path = end.map_or(target.len(), |length| start + length);
        hide_authority(&mut target[start..path]);
    }
    let rest = &mut target[path..];
    let query = rest.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(rest.len());
    let (path, query) = rest.split_at_mut(query);
    let kept = if exports && path.ends_with(TRACES) { TRACES.len() } else { 0 };
    let hidden = path.len() - kept;
    hide_unless(&mut path[..hidden], |byte| byte == b'/');
    hide_query(query);
}

/// Names of parameters stay; a word without a value may itself be one.
fn hide_query(query: &mut [u8]) {
    for parameter in query.split_mut(|byte| matches!(byte, b'?' | b'&' | b';' | b'#')) {
        let value = parameter.iter().position(|byte| *byte == b'=').map_or(0, |name| name + 1);
        hide(&mut parameter[value..]);
    }
}

/// `user:password@host:port`: the port stays.
fn hide_authority(authority: &mut [u8]) {
    let host = authority.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
    let (user, host) = authority.split_at_mut(host);
    hide_unless(user, |byte| matches!(byte, b':' | b'@'));
    let port = host.iter().rposition(|byte| *byte == b':').unwrap_or(host.len());
    let is_port = host.len() - port <= 6 && host[port..].iter().skip(1).all(u8::is_ascii_digit);
    let end = if is_port { port } else { host.len() };
    hide_unless(&mut host[..end], |byte| matches!(byte, b'.' | b':' | b'[' | b']'));
}

/// A field of a head (RFC 9112, section 5): its name, in lower case, and its value as they were, if
/// it has both.
pub(super) fn field(line: &mut [u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let complete = line.ends_with(b"\n");
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        // The rest of a name may come with the next transfer; a complete line without a colon is no
        // field.
        if complete || !is_token(line) {
            hide_words(line);
        }
        return None;
    };
    let (name, value) = line.split_at_mut(colon + 1);
    let name = name[..colon].trim_ascii_end().to_ascii_lowercase();
    if !is_token(&name) {
        hide_words(line);
        return None;
    }
    let original = value.trim_ascii().to_vec();
    hide_value(&name, &original, complete, value);
    Some((name, original))
}

fn hide_value(name: &[u8], original: &[u8], complete: bool, value: &mut [u8]) {
    // Of a value that goes on in the next transfer only the beginning must fit.
    let known = |word: &[u8], words: &[&[u8]]| {
        let word = word.to_ascii_lowercase();
        words.contains(&&word[..]) || !complete && is_prefix(&word, words)
    };
    let list =
        |words: &[&[u8]]| original.split(|byte| *byte == b',').all(|word| known(word.trim_ascii(), words));
    let keep = match name {
        b"content-length" => original.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b' ')),
        b"transfer-encoding" => list(CODINGS),
        b"expect" => list(&[b"100-continue"]),
        b"upgrade" | b"connection" => list(CONNECTION),
        b"traceparent" => original.len() <= 64 && original.iter().all(|byte| is_trace_digit(*byte)),
        b"host" => {
            let start = value.len() - value.trim_ascii_start().len();
            return hide_authority(&mut value[start..start + original.len()]);
        }
        _ => false,
    };
    if !keep {
        hide_words(value);
    }
}

/// Digits of a chunk's size stay, with the byte that ends them; extensions do not. The size, if the
/// line is complete.
pub(super) fn chunk_size(line: &mut [u8]) -> Result<Option<u64>, ()> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits > 16 {
        return Err(());
    }
    let Some(end) = line.get(digits).copied() else { return Ok(None) };
    if digits == 0 || !matches!(end, b';' | b' ' | b'\t' | b'\r' | b'\n') {
        return Err(());
    }
    let size = std::str::from_utf8(&line[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    let complete = line.ends_with(b"\n");
    hide_words(&mut line[digits + 1..]);
    if complete { size.map(Some).ok_or(()) } else { Ok(None) }
}

fn is_prefix(text: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|word| word.starts_with(text))
}

const fn is_trace_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')
}

/// `token` of RFC 9110, section 5.6.2; names of fields and methods are no longer than this in
/// practice.
fn is_token(bytes: &[u8]) -> bool {
    let mark = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    (1..=64).contains(&bytes.len()) && bytes.iter().all(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        for (line, expected, first) in [
            (
                "GET /a/bc?d=ef&g#h=i HTTP/1.1\r\n",
                "GET /x/xx?d=xx&x#h=x HTTP/1.1\r\n",
                First::Request(Method::Other),
            ),
            ("HEAD * HTTP/1.0\n", "HEAD * HTTP/1.0\n", First::Request(Method::Head)),
            ("CONNECT db.eu:443 HTTP/1.1\n", "CONNECT xx.xx:443 HTTP/1.1\n", First::Request(Method::Connect)),
            (
                "GET https://me:pw@h.de:8/a?b=c HTTP/1.1\n",
                "GET https://xx:xx@x.xx:8/x?b=x HTTP/1.1\n",
                First::Request(Method::Other),
            ),
            ("x-odd /é HTTP/1.1\n", "x-odd /xx HTTP/1.1\n", First::Request(Method::Other)),
            (
                "POST /se/v1/traces?a=b HTTP/1.1\r\n",
                "POST /xx/v1/traces?a=x HTTP/1.1\r\n",
                First::Request(Method::Other),
            ),
            ("GET /v1/traces HTTP/1.1\n", "GET /xx/xxxxxx HTTP/1.1\n", First::Request(Method::Other)),
            ("POST /v1/tr", "POST /xx/xx", First::More),
            ("HTTP/1.1 404 not here\r\n", "HTTP/1.1 404 xxx xxxx\r\n", First::Response { status: 404 }),
            ("HTTP/1.0 200\n", "HTTP/1.0 200\n", First::Response { status: 200 }),
            ("GE", "GE", First::More),
            ("POST /se", "POST /xx", First::More),
            ("POST /se HTTP/1", "POST /xx HTTP/1", First::More),
            ("HTTP/1.1 2", "HTTP/1.1 2", First::More),
        ] {
            let mut bytes = line.as_bytes().to_vec();
            assert_eq!(first_line(&mut bytes), first, "{line}");
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        }
        for line in [
            "secret",
            "SECRET",
            "USER joe\r\n",
            "AUTH secret",
            "GET /\r\n",
            "GET / HTTP/2.0\r\n",
            "GET  HTTP/1.1\r\n",
            "\r\n",
            "HTTP/1.1 secret\n",
            "HTTP/1.1 20\n",
            "GET / secret",
            "GETS",
        ] {
            assert_eq!(first_line(&mut line.as_bytes().to_vec()), First::Neither, "{line}");
        }
    }

    #[test]
    fn lines_that_are_not_to_the_letter() {
        for (line, expected) in [
            ("GET  /two?a=b HTTP/1.1\r\n", "GET  /xxx?x=x HTTP/1.1\r\n"),
            ("GET /se cret\t HTTP/1.1\r\n", "GET /xx xxxx\t HTTP/1.1\r\n"),
            ("PUT /x HTTP/1.0.8\n", "PUT /x HTTP/1.0.8\n"),
        ] {
            let mut bytes = line.as_bytes().to_vec();
            assert_eq!(loose_line(&mut bytes), First::Request(Method::Other), "{line:?}");
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        }
        for line in ["EHLO se cret\r\n", "GET /secret\r\n", "GET http://a.b/a b HTTP/1.1\r\n", "secret\n"] {
            assert_eq!(loose_line(&mut line.as_bytes().to_vec()), First::Neither, "{line:?}");
        }
    }

    #[test]
    fn fields() {
        for (line, expected) in [
            ("Content-Length:  12\r\n", "Content-Length:  12\r\n"),
            ("Content-Length: s3cret\r\n", "Content-Length: xxxxxx\r\n"),
            ("Transfer-Encoding: gzip, Chunked\r\n", "Transfer-Encoding: gzip, Chunked\r\n"),
            ("Transfer-Encoding: secret\r\n", "Transfer-Encoding: xxxxxx\r\n"),
            ("Transfer-Encoding: chu", "Transfer-Encoding: chu"),
            ("Expect: 100-continue\r\n", "Expect: 100-continue\r\n"),
            ("Connection: keep-alive\r\n", "Connection: keep-alive\r\n"),
            ("Host: shop.example:8080 \r\n", "Host: xxxx.xxxxxxx:8080 \r\n"),
            ("Host: [::1]:80\r\n", "Host: [::x]:80\r\n"),
            ("traceparent: 00-ab-cd-01\r\n", "traceparent: 00-ab-cd-01\r\n"),
            ("traceparent: secret\r\n", "traceparent: xxxxxx\r\n"),
            ("Authorization: Basic abc\r\n", "Authorization: xxxxx xxx\r\n"),
            ("Cookie : a=b; c=d\n", "Cookie : xxxx xxx\n"),
            (" folded: secret\r\n", " xxxxxxx xxxxxx\r\n"),
            ("secret\r\n", "xxxxxx\r\n"),
            ("se cret: x\r\n", "xx xxxxx x\r\n"),
            ("X-Na", "X-Na"),
            ("se cr", "xx xx"),
        ] {
            let mut bytes = line.as_bytes().to_vec();
            field(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), expected, "{line:?}");
        }
    }

    #[test]
    fn sizes_of_chunks() {
        for (line, expected, size) in [
            ("1a\r\n", "1a\r\n", Ok(Some(26))),
            ("5;key=\"val\"\r\n", "5;xxxxxxxxx\r\n", Ok(Some(5))),
            ("5 \n", "5 \n", Ok(Some(5))),
            ("ff", "ff", Ok(None)),
            ("5;se", "5;xx", Ok(None)),
            ("secret\r\n", "", Err(())),
            ("\r\n", "", Err(())),
        ] {
            let mut bytes = line.as_bytes().to_vec();
            assert_eq!(chunk_size(&mut bytes), size, "{line:?}");
            if size.is_ok() {
                assert_eq!(String::from_utf8(bytes).unwrap(), expected);
            }
        }
    }
}
