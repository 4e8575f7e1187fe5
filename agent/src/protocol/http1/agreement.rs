//! The quick way to read a head and the careful one agree on every input: heads made of known and odd parts, changed in any
//! place, and cut.

use proptest::{prelude::*, sample::Index};

use super::{
    body::BlankLine,
    content::Summary,
    framing::Framing,
    head::{self, Reading},
    line::{FirstLine, Recognised, Role},
    lines,
    name::{first_letter, tests::NAMES},
};
use crate::protocol::{
    Interest, MOST_FIELDS,
    http::{RequestHead, Version},
};

const METHODS: [&str; 12] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "M-SEARCH", "get", "GETT", ""];
const VERSIONS: [&str; 8] =
    ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 "];
const LINE_ENDS: [&str; 7] = ["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r\r\n", "\r"];
const ODD_NAMES: [&str; 8] = ["Connection", "Vary", "X-Other", "", "content\rlength", "via", "ETag", "x id"];

fn line_end() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&LINE_ENDS[..])
}

/// Mostly visible ASCII, at times UTF-8 or bytes that are none.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[!-~]{0,40}".prop_map(String::into_bytes),
        1 => "[ -~é€\t]{0,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(&["", "*", "/\u{7f}", "/a b", "/\u{e9}", "/\t", "a.example:443"][..]);
    prop_oneof![
        4 => text().prop_map(|text| [b"/", &text[..]].concat()),
        1 => odd.prop_map(|text| text.as_bytes().to_vec()),
    ]
}

fn first_line() -> impl Strategy<Value = Vec<u8>> {
    let (method, version) = (prop::sample::select(&METHODS[..]), prop::sample::select(&VERSIONS[..]));
    let request = (method, target(), version.clone(), line_end());
    let request = request.prop_map(|(method, target, version, end)| {
        [method.as_bytes(), b" ", &target, b" ", version.as_bytes(), end.as_bytes()].concat()
    });
    let status = (version, 0..1200_u16, prop_oneof![Just(vec![]), text()], line_end());
    let status = status.prop_map(|(version, status, reason, end)| {
        let space: &[u8] = if status % 3 == 0 { b"" } else { b" " };
        [format!("{version} {status:03}").as_bytes(), space, &reason, end.as_bytes()].concat()
    });
    prop_oneof![4 => request, 2 => status]
}

fn name() -> impl Strategy<Value = String> {
    let known = (prop::sample::select(&NAMES[..]), 0..3_u8).prop_map(|((name, _), case)| match case {
        0 => name.to_owned(),
        1 => name.to_ascii_uppercase(),
        // As most peers write it.
        _ => name
            .split('-')
            .map(|word| word[..1].to_ascii_uppercase() + &word[1..])
            .collect::<Vec<_>>()
            .join("-"),
    });
    prop_oneof![4 => known, 1 => prop::sample::select(&ODD_NAMES[..]).prop_map(str::to_owned)]
}

fn field() -> impl Strategy<Value = Vec<u8>> {
    let colon = prop::sample::select(&[": ", ":", " : ", ":\t ", ""][..]);
    let value = prop_oneof![
        5 => text(),
        1 => prop::sample::select(&["7", "7, 7", "chunked", "gzip, chunked", "100-continue", "-1", "x\r\n y", "\n\tz\n "][..])
            .prop_map(|value| value.as_bytes().to_vec()),
    ];
    (name(), colon, value, line_end()).prop_map(|(name, colon, value, end)| {
        [name.as_bytes(), colon.as_bytes(), &value, end.as_bytes()].concat()
    })
}

/// A head and perhaps what follows it, changed in some places, and cut.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let fields =
        prop_oneof![8 => prop::collection::vec(field(), 0..12), 1 => prop::collection::vec(field(), 30..45)];
    let rest = prop_oneof![Just(vec![]), text()];
    let changes = prop_oneof![
        3 => Just(vec![]),
        1 => prop::collection::vec((any::<Index>(), any::<u8>(), 0..3_u8), 1..4),
    ];
    let cut = prop_oneof![2 => Just(None), 1 => any::<Index>().prop_map(Some)];
    (first_line(), fields, line_end(), rest, changes, cut).prop_map(
        |(line, fields, end, rest, changes, cut)| {
            let mut head = [&line, &fields.concat(), end.as_bytes(), &rest].concat();
            for (at, byte, kind) in changes {
                let at = at.index(head.len());
                match kind {
                    0 => head[at] = byte,
                    1 => head.insert(at, byte),
                    _ if head.len() > 1 => drop(head.remove(at)),
                    _ => {}
                }
            }
            head.truncate(cut.map_or(head.len(), |cut| cut.index(head.len() + 1)));
            head
        },
    )
}

/// What can be seen of a first line.
fn seen(line: &FirstLine, recognised: Recognised, head: &[u8]) -> impl PartialEq + std::fmt::Debug + use<> {
    let (request, status) = (line.request, line.status);
    let request = (recognised != Recognised::Response)
        .then(|| (request.minor, request.method(head).to_vec(), request.target(head).to_vec()));
    let cut = [0, 8, 32].map(|bytes| line.request.cut_is_plausible(head, bytes));
    let status = (recognised != Recognised::Request).then_some((status.minor, status.status));
    (recognised, line.length(), request, cut, status, line.status.cut_is_known())
}

/// The fields of a head, read by the words of RFC 9112 and nothing else: line by line, name by name.
fn plain_fields(head: &[u8], line: &FirstLine) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in head[line.length()..].split_inclusive(|byte| *byte == b'\n') {
        match lines.last_mut() {
            Some(before) if matches!(line[0], b' ' | b'\t') => before.extend_from_slice(line),
            _ => lines.push(line.to_vec()),
        }
    }
    let whole = lines.iter().filter(|line| line.ends_with(b"\n"));
    let field = |line: &Vec<u8>| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((line[..colon].trim_ascii_end().to_vec(), line[colon + 1..].trim_ascii().to_vec()))
    };
    whole.filter_map(field).collect()
}

fn plain_text(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let parts = text.split(['\r', '\n']).map(str::trim).filter(|part| !part.is_empty());
    if value.contains(&b'\n') { parts.collect::<Vec<_>>().join(" ") } else { text.into_owned() }
}

/// What the careful path says of a head.
fn read<'a>(head: &'a [u8], line: &FirstLine, interest: &Interest) -> (RequestHead<'a>, Framing) {
    let (request, framing) = head::request(head, line, Some(head.len() as u64), interest);
    (request.into_owned(), framing)
}

/// What the head says, by its fields one after the other.
fn plain<'a>(head: &'a [u8], line: &FirstLine, interest: &Interest) -> (RequestHead<'a>, Framing) {
    let (method, target) = (line.request.method(head), line.request.target(head));
    let mut framing = Framing::default();
    let mut summary = Summary::new(method, target);
    let fields = plain_fields(head, line);
    for (name, value) in &fields {
        let known = NAMES.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        if let Some((_, known)) = known {
            framing.field(*known, value);
            summary.field(*known, value);
        }
    }
    let values = |name: &str| {
        let named = fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|field| plain_text(&field.1)).collect::<Vec<_>>()
    };
    let (hosts, agents) = (values("host"), values("user-agent"));
    let (traceparents, tracestates) = (values("traceparent"), values("tracestate"));
    let joined = tracestates.iter().filter(|value| !value.is_empty()).cloned().collect::<Vec<_>>().join(",");
    let of_interest = fields.iter().filter_map(|(name, value)| {
        interest.field(name).map(|name| (name.clone(), plain_text(value).into()))
    });
    let mut prefix = [0; 16];
    let first = head.len().min(prefix.len());
    prefix[..first].copy_from_slice(&head[..first]);
    let request = RequestHead {
        method: String::from_utf8_lossy(method),
        target: String::from_utf8_lossy(target),
        version: Version::of_minor(line.request.minor),
        host: hosts.first().map(Into::into),
        user_agent: agents.first().map(Into::into),
        traceparent: traceparents.first().filter(|_| traceparents.len() == 1).map(Into::into),
        tracestate: (!tracestates.is_empty()).then(|| joined.into()),
        prefix,
        fields: of_interest.take(MOST_FIELDS).collect(),
        head_size: Some(head.len() as u64),
        content: interest.content.then(|| summary.content()),
        ..RequestHead::default()
    };
    (request.into_owned(), framing)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn first_lines(head in head(), before in any::<Index>()) {
        let before = &head[..before.index(head.len() + 1)];
        for role in [Role::Unknown, Role::Request, Role::Response] {
            let (mut quick, mut careful) = (FirstLine::new(role), FirstLine::new(role));
            for head in [before, &head] {
                let (recognised, expected) = (quick.advance(head), careful.careful(head));
                prop_assert_eq!(seen(&quick, recognised, head), seen(&careful, expected, head), "{:?}", role);
            }
        }
    }

    #[test]
    fn lines(head in head(), start in any::<Index>(), letters in any::<u32>()) {
        let start = start.index(head.len() + 1);
        let mut passed = vec![];
        let scanned = lines::scan(&head, start, letters, |start, feed| passed.push(start..feed));
        let end = BlankLine::new().find(&head[start..]).map(|count| start + count);
        let (mut expected, mut line, mut folded) = (vec![], start, false);
        for feed in (start..end.unwrap_or_default()).filter(|at| head[*at] == b'\n') {
            folded |= matches!(head[line], b' ' | b'\t');
            // Those as well whose first letters look like white space.
            let letters = letters | first_letter(b' ') | first_letter(b'\t');
            expected.extend((letters & first_letter(head[line]) != 0).then_some(line..feed));
            line = feed + 1;
        }
        prop_assert_eq!(scanned, end.filter(|_| !folded));
        if scanned.is_some() {
            // The empty line is none that matters.
            expected.retain(|line| Some(line.end + 1) != end);
            prop_assert_eq!(passed, expected);
        }
    }

    #[test]
    fn heads(head in head(), content in any::<bool>(), named in any::<bool>()) {
        let names: &[&str] = if named { &["via", "x-request-id", "ACCEPT", "tracestate"] } else { &[] };
        let mut interest = Interest::in_fields(names.iter().copied());
        interest.content = content;
        let mut line = FirstLine::new(Role::Unknown);
        line.advance(&head);
        let end = BlankLine::new().find(&head[line.length()..]).map(|count| line.length() + count);
        let whole = &head[..end.unwrap_or(head.len())];
        let expected = plain(whole, &line, &interest);
        let mut reading = Reading::new(&head, &line.request, &interest);
        // A status line ends elsewhere.
        if line.request.length() == line.length()
            && let Some(size) = reading.at_once(&line.request)
        {
            let framing = reading.framing;
            let request = reading.finish(&line.request, Some(size as u64)).into_owned();
            prop_assert_eq!((request, framing, Some(size)), (expected.0.clone(), expected.1, end));
        }
        if let Some(response) = head::response_at_once(&head, line.length()) {
            prop_assert_eq!(response, (expected.1, whole.len()));
        }
        prop_assert_eq!(&read(whole, &line, &interest), &expected);
        prop_assert_eq!(head::response(whole, &line), expected.1);
    }
}
