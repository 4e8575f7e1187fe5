//! Tables of request heads and the attributes that the conventions give them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::*;
use crate::{event::Thread, trace::settings::TextLimits};

fn semantics() -> Semantics {
    Semantics {
        limits: TextLimits::default(),
        redaction: Redaction::default(),
        forwarded: Forwarded::default(),
        shown: vec!["x-request-id".to_owned()],
        hosts: Default::default(),
        clients: LastClient::default(),
    }
}

fn span(kind: SpanKind) -> Span {
    let peer: SocketAddr = "203.0.113.9:4711".parse().unwrap();
    let ends = (Some(Endpoint::Inet("192.0.2.1:8080".parse().unwrap())), peer.into());
    Span::begin(kind, unknown_name(), None, ends, Thread { pid: 1, tid: 1 }, Arc::default())
}

fn head<'a>(method: &'a str, target: &'a str, host: Option<&'a str>) -> RequestHead<'a> {
    RequestHead {
        method: method.into(),
        target: target.into(),
        host: host.map(Into::into),
        ..RequestHead::default()
    }
}

fn http(kind: SpanKind, head: RequestHead<'_>) -> (String, Http) {
    let mut span = span(kind);
    semantics().request(&mut span, &head, &mut Counters::default());
    (span.name.into_owned(), span.http.unwrap())
}

#[test]
fn methods() {
    for (sent, name, method, original) in [
        ("GET", "GET", "GET", None),
        ("QUERY", "QUERY", "QUERY", None),
        ("PATCH", "PATCH", "PATCH", None),
        ("get", "HTTP", "_OTHER", Some("get")),
        ("PROPFIND", "HTTP", "_OTHER", Some("PROPFIND")),
        ("", "HTTP", "_OTHER", None),
    ] {
        let (found, http) = http(SpanKind::Server, head(sent, "/", None));
        assert_eq!(
            (found.as_str(), http.method, http.text(Text::MethodOriginal)),
            (name, method, original),
            "{sent}"
        );
    }
}

/// Target, Host; path, query, server address, port, client's full URL.
type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
    &'static str,
    u16,
    Option<&'static str>,
);

#[test]
fn targets() {
    let rows: [Row; 18] = [
        ("GET", "x", Some("a"), Some("x"), None, "a", 80, Some("http://a/x")),
        ("GET", "/", Some("a.example"), Some("/"), None, "a.example", 80, Some("http://a.example/")),
        (
            "GET",
            "/x/y?q=1",
            Some("a.example:81"),
            Some("/x/y"),
            Some("q=1"),
            "a.example",
            81,
            Some("http://a.example:81/x/y?q=1"),
        ),
        ("GET", "/?", Some("a.example"), Some("/"), None, "a.example", 80, Some("http://a.example/")),
        ("GET", "/a?b?c", Some("a"), Some("/a"), Some("b?c"), "a", 80, Some("http://a/a?b?c")),
        (
            "GET",
            "/",
            Some("[2001:db8::1]:81"),
            Some("/"),
            None,
            "2001:db8::1",
            81,
            Some("http://[2001:db8::1]:81/"),
        ),
        (
            "GET",
            "/",
            Some("[2001:db8::1]"),
            Some("/"),
            None,
            "2001:db8::1",
            80,
            Some("http://[2001:db8::1]/"),
        ),
        ("GET", "/", Some("2001:db8::1"), Some("/"), None, "2001:db8::1", 80, Some("http://2001:db8::1/")),
        ("GET", "/", Some("u:p@a"), Some("/"), None, "a", 80, Some("http://a/")),
        ("GET", "/", Some("a:99999"), Some("/"), None, "a", 80, Some("http://a:99999/")),
        (
            "GET",
            "/p?token=x&y=1",
            Some("a"),
            Some("/p"),
            Some("token=REDACTED&y=1"),
            "a",
            80,
            Some("http://a/p?token=REDACTED&y=1"),
        ),
        (
            "GET",
            "http://b.example:82/x?q=1",
            Some("a"),
            Some("/x"),
            Some("q=1"),
            "b.example",
            82,
            Some("http://b.example:82/x?q=1"),
        ),
        (
            "GET",
            "http://u:p@b/x?sig=1",
            Some("a"),
            Some("/x"),
            Some("sig=REDACTED"),
            "b",
            80,
            Some("http://REDACTED:REDACTED@b/x?sig=REDACTED"),
        ),
        ("GET", "HTTPS://b", None, Some("/"), None, "b", 443, Some("HTTPS://b/")),
        (
            "GET",
            "/to/http://u:p@b/",
            Some("a"),
            Some("/to/http://REDACTED:REDACTED@b/"),
            None,
            "a",
            80,
            Some("http://a/to/http://REDACTED:REDACTED@b/"),
        ),
        ("OPTIONS", "*", Some("a:81"), Some("*"), None, "a", 81, Some("http://a:81")),
        ("CONNECT", "b.example:443", Some("b.example:443"), None, None, "b.example", 443, None),
        ("GET", "http://b?q=1", None, Some("/"), Some("q=1"), "b", 80, Some("http://b/?q=1")),
    ];
    for (method, target, host, path, query, address, port, full) in rows {
        for kind in [SpanKind::Server, SpanKind::Client] {
            let (_, http) = http(kind, head(method, target, host));
            assert_eq!((http.path(), http.query()), (path, query), "{target}");
            assert_eq!(http.text(Text::ServerAddress), Some(address), "{target} {host:?}");
            assert_eq!(http.server_port, Some(port), "{target} {host:?}");
            let expected = if kind == SpanKind::Client { full } else { None };
            assert_eq!(http.text(Text::FullUrl), expected, "{target} {host:?}");
        }
    }
}

#[test]
fn without_a_host_the_server_is_the_connections_address() {
    let (_, server) = http(SpanKind::Server, head("GET", "/x", None));
    assert_eq!((server.text(Text::ServerAddress), server.server_port), (Some("192.0.2.1"), Some(8_080)));
    assert_eq!((server.text(Text::ClientAddress), server.client_port), (Some("203.0.113.9"), Some(4_711)));
    let (_, client) = http(SpanKind::Client, head("GET", "/x", Some(" ")));
    assert_eq!((client.text(Text::ServerAddress), client.server_port), (Some("203.0.113.9"), Some(4_711)));
    assert_eq!((client.text(Text::ClientAddress), client.client_port), (None, None));
    assert_eq!(client.text(Text::FullUrl), Some("http://203.0.113.9:4711/x"));
}

#[test]
fn configured_headers_are_kept_within_their_limit() {
    let long = "x".repeat(300);
    let sent = RequestHead { fields: vec![("x-request-id".into(), long.into())], ..head("GET", "/", None) };
    let (_, http) = http(SpanKind::Server, sent);
    assert_eq!(http.request_headers, [("x-request-id".into(), "x".repeat(256).into())]);
}

#[test]
fn versions_scheme_and_user_agent() {
    let sent =
        RequestHead { version: Version::Http10, user_agent: Some("curl/8".into()), ..head("GET", "/", None) };
    let (_, http) = http(SpanKind::Server, sent);
    assert_eq!((http.version, http.scheme, http.text(Text::UserAgent)), ("1.0", "http", Some("curl/8")));
}

#[test]
fn texts_are_cut_at_a_character() {
    let mut counters = Counters::default();
    let mut span = span(SpanKind::Client);
    let long = "ä".repeat(5_000);
    let (target, host) = (format!("/{long}?{long}"), format!("{long}:80"));
    let sent = RequestHead { user_agent: Some(long.as_str().into()), ..head(&long, &target, Some(&host)) };
    semantics().request(&mut span, &sent, &mut counters);
    let http = span.http.unwrap();
    assert_eq!(http.path().map(str::len), Some(8_191), "a slash and whole characters of two bytes");
    assert_eq!(http.query().map(str::len), Some(8_192));
    assert_eq!(http.text(Text::UserAgent).map(str::len), Some(512));
    assert_eq!(http.text(Text::MethodOriginal).map(str::len), Some(64));
    assert_eq!(http.text(Text::ServerAddress).map(str::len), Some(254));
    assert!(http.text(Text::FullUrl).is_some_and(|url| url.len() < 17_000));
    assert_eq!(counters.truncated_attributes, 5);
}

proptest::proptest! {
    #[test]
    fn addresses_have_their_usual_text(
        four in proptest::prelude::any::<[u8; 4]>(),
        six in proptest::prelude::any::<[u8; 16]>(),
    ) {
        for address in [IpAddr::from(four), IpAddr::from(six)] {
            let mut text = String::new();
            with_address(address, |written| text.push_str(written));
            proptest::prop_assert_eq!(text, address.to_string());
        }
    }

    #[test]
    fn hostile_heads_do_no_harm(method in ".{0,12}", target in ".{0,80}", host in proptest::option::of(".{0,40}")) {
        for kind in [SpanKind::Server, SpanKind::Client] {
            let _ = http(kind, head(&method, &target, host.as_deref()));
        }
    }
}

/// Server address, port, scheme, client address and port.
fn forwarded(peer: &str, lines: &[(&str, &str)]) -> (String, Http) {
    let mut span = span(SpanKind::Server);
    span.peer = Endpoint::Inet(peer.parse().unwrap());
    let fields = lines.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let head = RequestHead { fields, ..head("GET", "/x", Some("inner:8080")) };
    let mut counters = Counters::default();
    semantics().request(&mut span, &head, &mut counters);
    let http = span.http.unwrap();
    let text = |which| http.text(which).unwrap_or("-").to_owned();
    let port = |port: Option<u16>| port.map_or("-".to_owned(), |port| port.to_string());
    let shown = format!(
        "{} {} {} {} {} {}",
        text(Text::ServerAddress),
        port(http.server_port),
        http.scheme,
        text(Text::ClientAddress),
        port(http.client_port),
        counters.invalid_forwarded,
    );
    (shown, http)
}

#[test]
fn clients_have_their_own_address_whoever_came_before() {
    let mut semantics = semantics();
    for client in ["203.0.113.9", "203.0.113.9", "198.51.100.7", "2001:db8::1", "203.0.113.9"] {
        let mut span = span(SpanKind::Server);
        span.peer = SocketAddr::new(client.parse().unwrap(), 4711).into();
        semantics.request(&mut span, &head("GET", "/", Some("a")), &mut Counters::default());
        assert_eq!(span.http.unwrap().text(Text::ClientAddress), Some(client));
    }
}

#[test]
fn client_attributes_come_from_trusted_proxies() {
    let shop = [
        ("x-forwarded-for", "203.0.113.7, 10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-request-id", "7"),
    ];
    let (shown, http) = forwarded("127.0.0.1:4711", &shop);
    assert_eq!(shown, "shop.example 443 https 203.0.113.7 - 0");
    assert_eq!(http.request_headers, [("x-request-id".into(), "7".into())], "the others are no attributes");
    assert_eq!(http.text(Text::FullUrl), None);
    let junk: Vec<_> = std::iter::repeat_n(("x-forwarded-for", "1.2.3.4"), 20).collect();
    for (peer, lines, expected) in [
        ("8.8.8.8:4711", &shop[..], "inner 8080 http 8.8.8.8 4711 0"),
        ("127.0.0.1:4711", &[], "inner 8080 http 127.0.0.1 4711 0"),
        ("10.0.0.1:4711", &[("x-forwarded-proto", "https")], "inner 8080 https 10.0.0.1 4711 0"),
        ("10.0.0.1:4711", &[("forwarded", "for=_a;host=\"b:81\"")], "b 81 http - - 0"),
        ("10.0.0.1:4711", &[("x-forwarded-for", "x")], "inner 8080 http 10.0.0.1 4711 1"),
        ("10.0.0.1:4711", &junk, "inner 8080 http 10.0.0.1 4711 1"),
        ("10.0.0.1:4711", &[("x-forwarded-for", "[2001:db8::1]:5")], "inner 8080 http 2001:db8::1 5 0"),
    ] {
        assert_eq!(forwarded(peer, lines).0, expected, "{peer} {lines:?}");
    }
    // A proxy's own call has the proxy's own client.
    let head =
        RequestHead { fields: vec![("x-forwarded-host".into(), "b".into())], ..head("GET", "/", Some("a")) };
    assert_eq!(self::http(SpanKind::Client, head).1.text(Text::ServerAddress), Some("a"));
}
