//! Lines to the letter and others, at once and byte by byte.

use super::*;

const LINES: &[(&[u8], Recognised)] = &[
    (b"GET / HTTP/1.1\r\n", Recognised::Request),
    (b"GET / HTTP/1.0\n", Recognised::Request),
    (b"OPTIONS * HTTP/1.1\r\n", Recognised::Request),
    (b"CONNECT a.example:443 HTTP/1.1\r\n", Recognised::Request),
    (b"GET http://a.example/?q=1 HTTP/1.1\r\n", Recognised::Request),
    (b"x-any.method! /\xc3\xa9 HTTP/1.1\r\n", Recognised::Request),
    (b"HTTP/1.1 200 OK\r\n", Recognised::Response),
    (b"HTTP/1.0 404\r\n", Recognised::Response),
    (b"HTTP/1.1 999 \n", Recognised::Response),
    (b"GET / HTTP/1.1\r", Recognised::More),
    (b"GET", Recognised::More),
    (b"HTT", Recognised::More),
    (b"HTTP/1.1 20", Recognised::More),
    (b"HTTP/1.1 200 O", Recognised::More),
    (b"PRI * HTTP/2.0\r\n", Recognised::Neither),
    (b"GET / HTTP/1.2\r\n", Recognised::Neither),
    (b"GET  / HTTP/1.1\r\n", Recognised::Neither),
    (b"GET / HTTP/1.1 \r\n", Recognised::Neither),
    (b"GET /a b HTTP/1.1\r\n", Recognised::Neither),
    (b"GET /\r\n", Recognised::Neither),
    (b" GET / HTTP/1.1\r\n", Recognised::Neither),
    (b"GET / HTTP/1.1\rX", Recognised::Neither),
    (b"HTTP/1.1 2000\r\n", Recognised::Neither),
    (b"HTTP/1.1 020 x\r\n", Recognised::Neither),
    (b"HTTP/2 200\r\n", Recognised::Neither),
    (b"\x16\x03\x01\x02\x00", Recognised::Neither),
    (b"220 mail.example ESMTP\r\n", Recognised::Neither),
    (b"SSH-2.0-OpenSSH_9.2\r\n", Recognised::Neither),
    (b"*1\r\n$4\r\nPING\r\n", Recognised::Neither),
];

#[test]
fn first_lines_at_once_and_byte_by_byte() {
    for (bytes, expected) in LINES {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(FirstLine::new(Role::Unknown).advance(bytes), *expected, "{text:?} at once");
        let mut line = FirstLine::new(Role::Unknown);
        let mut last = Recognised::More;
        for end in 1..=bytes.len() {
            last = line.advance(&bytes[..end]);
        }
        assert_eq!(last, *expected, "{text:?} byte by byte");
    }
}

#[test]
fn a_role_excludes_the_other_line() {
    assert_eq!(FirstLine::new(Role::Response).advance(b"GET / HTTP/1.1\r\n"), Recognised::Neither);
    assert_eq!(FirstLine::new(Role::Request).advance(b"HTTP/1.1 200 OK\r\n"), Recognised::Neither);
}

#[test]
fn an_endless_method_is_given_up() {
    assert_eq!(FirstLine::new(Role::Unknown).advance(&[b'A'; 65]), Recognised::Neither);
    assert_eq!(FirstLine::new(Role::Unknown).advance(&[b'A'; 64]), Recognised::More);
}

#[test]
fn parts_of_a_line() {
    let head = b"POST /a?b HTTP/1.0\r\nx";
    let mut line = FirstLine::new(Role::Unknown);
    assert_eq!(line.advance(head), Recognised::Request);
    assert_eq!((line.request.method(head), line.request.target(head)), (&b"POST"[..], &b"/a?b"[..]));
    assert_eq!((line.length(), line.request.minor), (20, 0));
    let mut line = FirstLine::new(Role::Unknown);
    let head = b"GET /a/long/tar";
    line.advance(head);
    assert_eq!(line.request.target(head), b"/a/long/tar");
    assert!(line.request.cut_is_plausible(head, 4) && !line.request.cut_is_plausible(head, 32));
    let plausible = |head: &[u8]| {
        let mut line = FirstLine::new(Role::Unknown);
        line.advance(head);
        line.request.cut_is_plausible(head, 32)
    };
    assert!(plausible(b"GET /a HTT") && plausible(b"GET / HTTP/1.1"));
    assert!(!plausible(b"GET /a ") && !plausible(b"GET /a R") && !plausible(b"GET a HTT"));
}
