//! Conversations as whole texts, in transfers of any size: what is kept, what is masked, and that
//! nothing else changes.

use proptest::prelude::*;

use super::*;
use crate::event::{
    ConnectionId, Direction, Earlier, Endpoint, Layer, Opened, PlaintextOpened, Thread, Timestamp,
};

const THREAD: Thread = Thread { pid: 1, tid: 1 };

/// Masks `transfers` of one connection, captured whole.
fn mask(transfers: &[(Direction, &[u8])]) -> Vec<String> {
    mask_captured(transfers, usize::MAX)
}

/// Masks transfers of which `most` bytes are captured at the start and 16 at the end.
fn mask_captured(transfers: &[(Direction, &[u8])], most: usize) -> Vec<String> {
    let mut masker = Masker::default();
    masker.mask(&Event::Opened(opened([true; 2])));
    let mut positions = [0, 0];
    let mut texts = vec![];
    for (direction, bytes) in transfers {
        let head = &bytes[..bytes.len().min(most)];
        let tail = &bytes[head.len().max(bytes.len().saturating_sub(16))..];
        let position = &mut positions[direction.index()];
        let transfer = transfer(*direction, *position, bytes.len(), head, tail);
        *position += bytes.len() as u64;
        let masked = masker.transfer(&transfer);
        assert_eq!((masked.head.len(), masked.tail.len()), (head.len(), tail.len()));
        texts.push(
            [masked.head, masked.tail].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat(),
        );
    }
    texts
}

fn opened(from_start: [bool; 2]) -> Opened {
    Opened {
        at: Timestamp(0),
        connection: ConnectionId(1),
        thread: THREAD,
        local: Endpoint::Inet("127.0.0.1:1".parse().unwrap()),
        peer: Endpoint::Inet("127.0.0.1:2".parse().unwrap()),
        network_namespace: 1,
        first_sequence: [0; 2],
        first_position: 0,
        earlier: from_start.map(Earlier::unless),
    }
}

fn transfer<'a>(
    direction: Direction,
    position: u64,
    length: usize,
    head: &'a [u8],
    tail: &'a [u8],
) -> Transfer<'a> {
    Transfer {
        at: Timestamp(0),
        connection: ConnectionId(1),
        layer: Layer::Wire,
        direction,
        position,
        length: u32::try_from(length).unwrap(),
        thread: THREAD,
        head,
        tail,
        not_captured: None,
        last_receive: None,
        task: None,
        dropped: 0,
        process_drops: 0,
    }
}

const IN: Direction = Direction::In;
const OUT: Direction = Direction::Out;

const POST: &str =
    "POST /a/b?token=s3cret HTTP/1.1\r\nHost: shop:80\r\nX-Key: s3cret\r\nContent-Length: 6\r\n\r\ns3cret";
const POST_MASKED: &str =
    "POST /x/x?token=xxxxxx HTTP/1.1\r\nHost: xxxx:80\r\nX-Key: xxxxxx\r\nContent-Length: 6\r\n\r\nxxxxxx";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ns3cret\r\n7;x=s3cret\r\nGET / x\r\n0\r\nT: s3cret\r\n\r\n";
const CHUNKED_MASKED: &str = "HTTP/1.1 200 xx\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nxxxxxx\r\n7;xxxxxxxx\r\nxxxxxxx\r\n0\r\nT: xxxxxx\r\n\r\n";

fn without_query(text: &str) -> String {
    let rest = |part: &str| part.split_once('=').map(|(_, rest)| rest.to_owned()).unwrap();
    let mut parts = text.split('?');
    parts.next().into_iter().map(str::to_owned).chain(parts.map(rest)).collect()
}

#[test]
fn requests_and_responses_keep_their_structure() {
    let masked = mask(&[(IN, POST.as_bytes()), (OUT, CHUNKED.as_bytes()), (IN, POST.as_bytes())]);
    assert_eq!(masked, [POST_MASKED, CHUNKED_MASKED, POST_MASKED]);
}

#[test]
fn responses_without_a_body_are_followed_by_the_next() {
    let head = "HEAD / HTTP/1.1\r\n\r\n";
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    let not_modified = "HTTP/1.1 304 No\r\nContent-Length: 7\r\n\r\n";
    let transfers = [
        (OUT, head.as_bytes()),
        (OUT, POST.as_bytes()),
        (IN, response.as_bytes()),
        (IN, interim.as_bytes()),
        (IN, not_modified.as_bytes()),
        (OUT, head.as_bytes()),
        (IN, response.as_bytes()),
    ];
    let masked = mask(&transfers);
    assert_eq!(masked[1], POST_MASKED);
    for (text, status) in [(&masked[2], "200"), (&masked[3], "100"), (&masked[4], "304"), (&masked[6], "200")]
    {
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    }
}

#[test]
fn what_is_not_http_is_masked_whole() {
    for bytes in
        [&b"\x16\x03\x01s3cret"[..], b"USER s3cret\r\nPASS s3cret\r\n", b"s3cret\nGET / HTTP/1.1\r\n\r\n"]
    {
        let masked = mask(&[(IN, bytes), (OUT, bytes)]).concat();
        assert!(!masked.contains("s3c") && !masked.contains("PASS"), "{masked}");
    }
    let upgrade = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
    let response = "HTTP/1.1 101 Yes\r\n\r\ns3cret";
    let masked =
        mask(&[(IN, upgrade.as_bytes()), (OUT, response.as_bytes()), (IN, POST.as_bytes())]).concat();
    assert!(!masked.contains("s3cret") && !masked.contains("POST"), "{masked}");
}

/// The preface is a constant, and so is the path by which a program is known to export traces.
#[test]
fn of_http2_the_preface_and_the_path_of_exports_stay() {
    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let request = format!("s3cret{path}s3cret");
    for size in 1..=PREFACE.len() {
        let mut transfers: Vec<(Direction, &[u8])> =
            PREFACE.as_bytes().chunks(size).map(|piece| (OUT, piece)).collect();
        transfers.extend([(IN, &b"s3cret"[..]), (OUT, request.as_bytes())]);
        let masked = mask(&transfers).concat();
        assert_eq!(masked, format!("{PREFACE}xxxxxx{}{path}{}", "x".repeat(6), "x".repeat(6)), "{size}");
    }
    let late = mask(&[(OUT, PREFACE.as_bytes()), (OUT, b"s3cret"), (OUT, PREFACE.as_bytes())]);
    assert_eq!(late[2], "x".repeat(PREFACE.len()), "only where the connection begins");
    let late = mask(&[(IN, b"PROXY s3cret\r\n"), (IN, PREFACE.as_bytes()), (IN, b"s3cret")]).concat();
    assert_eq!(late, format!("{}{PREFACE}xxxxxx", "x".repeat(14)));
    let after = [(IN, POST.as_bytes()), (IN, PREFACE.as_bytes()), (IN, POST.as_bytes())];
    assert_eq!(mask(&after)[1..], [PREFACE.to_owned(), "x".repeat(POST.len())]);
    // What is no preface after all.
    let masked = mask(&[(OUT, b"PRI * HTTP"), (OUT, b"s3cret")]).concat();
    assert_eq!(masked, "PRI * HTTPxxxxxx");
}

/// A hole ends what is compared, and a connection that is older than the agent has no first bytes.
#[test]
fn the_rest_of_a_preface_is_masked_after_a_hole_and_mid_stream() {
    let mut masker = Masker::default();
    masker.mask(&Event::Opened(opened([true; 2])));
    let mut text = |position, bytes: &'static str| {
        let masked = masker.transfer(&transfer(IN, position, bytes.len(), bytes.as_bytes(), b""));
        String::from_utf8(masked.head.to_vec()).unwrap()
    };
    assert_eq!(text(0, "PRI * "), "PRI * ");
    assert_eq!(text(7, "HTTP/2.0\r\n"), "x".repeat(10));
    let mut masker = Masker::default();
    masker.mask(&Event::Opened(opened([false; 2])));
    let piece = transfer(IN, 0, 6, b"PRI * ", b"");
    assert_eq!(masker.transfer(&piece).head, b"xxxxxx");
}

/// Where the masker took `identity` for a coding, all that came after it was masked.
#[test]
fn what_codes_nothing_does_not_hide_what_follows() {
    let upload = "PUT /s3cret HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: 6\r\n\r\ns3cret";
    let masked = mask(&[(IN, upload.as_bytes()), (IN, POST.as_bytes())]);
    assert!(masked[0].ends_with("Content-Length: 6\r\n\r\nxxxxxx") && masked[1] == POST_MASKED, "{masked:?}");
}

#[test]
fn a_connection_that_nobody_opened_is_masked_whole() {
    let mut masker = Masker::default();
    let masked = masker.transfer(&transfer(IN, 0, POST.len(), POST.as_bytes(), b""));
    assert_eq!(masked.head, "x".repeat(POST.len()).as_bytes());
}

/// The ciphertext of the wire is no HTTP, and its positions are others.
#[test]
fn a_plaintext_is_followed_apart_from_its_wire() {
    let mut masker = Masker::default();
    let plain = |position, text: &'static str| Transfer {
        layer: Layer::Plaintext,
        ..transfer(IN, position, text.len(), text.as_bytes(), b"")
    };
    masker.mask(&Event::Opened(opened([true; 2])));
    // Nobody has opened it yet.
    assert_eq!(masker.transfer(&plain(0, POST)).head, "x".repeat(POST.len()).as_bytes());
    masker.mask(&Event::PlaintextOpened(PlaintextOpened {
        at: Timestamp(1),
        connection: ConnectionId(1),
        thread: THREAD,
        earlier: [Earlier::Nothing; 2],
    }));
    let wire = transfer(IN, 0, 9, b"\x16\x03\x01 s3cret", b"");
    assert_eq!(masker.transfer(&Transfer { length: 10, ..wire }).head, b"xxxxxxxxxx");
    assert_eq!(masker.transfer(&plain(0, POST)).head, POST_MASKED.as_bytes());
    let closed = |layer| Closed {
        at: Timestamp(2),
        connection: ConnectionId(1),
        layer,
        errno: 0,
        observed: [0; 2],
        dropped: [0; 2],
        skipped: [0; 2],
    };
    masker.mask(&Event::Closed(closed(Layer::Wire)));
    assert!(masker.streams.is_empty());
}

#[test]
fn after_a_loss_a_transfer_with_a_first_line_is_read_again() {
    let mut masker = Masker::default();
    masker.mask(&Event::Opened(opened([true; 2])));
    let mut text = |position, bytes: &'static str| {
        let masked = masker.transfer(&transfer(IN, position, bytes.len(), bytes.as_bytes(), b""));
        String::from_utf8(masked.head.to_vec()).unwrap()
    };
    assert_eq!(text(1_000, "X-Key: s3cret\r\n\r\n"), "x".repeat(17));
    assert_eq!(text(2_000, POST), POST_MASKED);
    // A transfer that claims positions that were read.
    assert_eq!(text(2_000, POST), "x".repeat(POST.len()));
    // The end of a chunked body whose middle was lost.
    assert_eq!(text(9_000, "s3cret\r\n0\r\n\r\n"), "xxxxxx\r\n0\r\n\r\n");
}

#[test]
fn a_long_body_that_was_captured_in_part_is_passed() {
    let body = "s3cret".repeat(100);
    let request = format!("PUT /k HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let masked = mask_captured(&[(IN, request.as_bytes()), (IN, POST.as_bytes())], 60);
    assert!(masked[0].starts_with("PUT /x HTTP/1.1\r\nContent-Length: 600\r\n\r\nxxxx"), "{}", masked[0]);
    assert!(!masked.concat().contains("s3c"));
    assert!(masked[1].starts_with(&POST_MASKED[..60]), "{}", masked[1]);
}

#[test]
fn arguments_are_masked() {
    let facts = ProcessFacts {
        command_args: vec!["postgres: writer s3cret".into(), "-ps3cret".into(), "é".into()],
        ..ProcessFacts::default()
    };
    assert_eq!(process(&facts).command_args, ["postgres:xxxxxxxxxxxxxx", "xxxxxxxx", "xx"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However the bytes are cut into transfers, no secret is left, and the framing is the same at
    /// once or in pieces.
    #[test]
    fn no_secret_survives_any_cut(
        cuts in prop::collection::vec(1..60_usize, 0..12),
        most in prop_oneof![Just(usize::MAX), 20..100_usize],
    ) {
        let pieces = |text: &'static str| {
            let mut rest = text.as_bytes();
            let mut pieces: Vec<&'static [u8]> = vec![];
            for cut in &cuts {
                let (piece, left) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = left;
            }
            pieces.push(rest);
            pieces
        };
        let mut transfers = vec![];
        for _ in 0..2 {
            transfers.extend(pieces(POST).into_iter().map(|piece| (IN, piece)));
            transfers.extend(pieces(CHUNKED).into_iter().map(|piece| (OUT, piece)));
        }
        let masked = mask_captured(&transfers, most).concat();
        prop_assert!(!masked.contains("s3c") && !masked.contains("cret"), "{}", masked);
        if most == usize::MAX {
            // A name that is cut may be a word without a value: its beginning is masked.
            let whole = [POST_MASKED, CHUNKED_MASKED].concat().repeat(2);
            prop_assert_eq!(without_query(&masked), without_query(&whole));
        }
    }

    #[test]
    fn any_events_are_masked_without_harm(events in prop::collection::vec(crate::source::log::samples::event(), 0..60)) {
        let mut masker = Masker::default();
        for event in &events {
            drop(masker.mask(&event.event()));
        }
    }
}
