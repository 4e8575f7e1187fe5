//! A written log is read; cut or damaged bytes are found and never believed.

use proptest::prelude::*;

use super::{
    super::{encode, samples},
    *,
};
use crate::{
    event::{
        Asked, Capture, CaptureMode, ConnectionId, Direction, Earlier, Endpoint, LastReceive, Layer, Mark,
        NotCaptured, Opened, PlaintextOpened, StreamId, Task, Thread, Timestamp, Transfer, UnixAddress,
    },
    source::log::{
        Blocks,
        format::{MAX_RECORD, MINOR, OLD_MINOR, file_header},
        samples::Owned,
    },
};

/// Everything that can be read of a log: its events as text, and how it ended.
fn read(bytes: &[u8]) -> Result<(Vec<String>, End), OpenError> {
    let mut reader = LogReader::open(bytes)?;
    let mut events = vec![];
    while let Some(event) = reader.next_event().unwrap() {
        events.push(format!("{event:?}"));
    }
    Ok((events, reader.end().expect("a reader that gives nothing has ended")))
}

fn texts(events: &[Owned]) -> Vec<String> {
    events.iter().map(|event| format!("{:?}", event.event())).collect()
}

fn ticks(count: u64) -> Vec<Owned> {
    (1..=count).map(|at| Event::Tick { at: Timestamp(at) }.into()).collect()
}

/// Where each block of a log of whole blocks ends.
fn block_ends(log: &[u8]) -> Vec<usize> {
    let mut ends = vec![];
    let mut at = FILE_HEADER;
    while at < log.len() {
        let header = log[at..at + BLOCK_HEADER].try_into().unwrap();
        at += BLOCK_HEADER + BlockHeader::read(&header).length as usize;
        ends.push(at);
    }
    ends
}

/// A block with this payload, as number `sequence`.
fn block(sequence: u64, records: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let header = BlockHeader { length, records, sequence }.write(payload);
    [&header[..], payload].concat()
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&[kind], &length.to_le_bytes()[..], body].concat()
}

#[test]
fn a_log_is_whole_when_it_ends_with_the_shutdown() {
    let mut events = ticks(2);
    let log = samples::log("{}", &events, |_| false);
    assert_eq!(read(&log).unwrap(), (texts(&events), End::Early));
    events.push(Event::Shutdown { at: Timestamp(9) }.into());
    let log = samples::log("{}", &events, |_| true);
    assert_eq!(read(&log).unwrap(), (texts(&events), End::Whole));
}

#[test]
fn the_header_is_what_was_written() {
    let text = r#"{"agent":"1.2.3"}"#;
    let log = samples::log(text, &[], |_| false);
    assert_eq!(LogReader::open(&log[..]).unwrap().header(), text);
    assert!(Blocks::begin(&"x".repeat(MAX_RECORD)).is_err());
}

/// The format as bytes: a change of these is a change of the version.
#[test]
fn the_layout_is_fixed() {
    let mut transfer = Transfer {
        at: Timestamp(0x0102),
        connection: ConnectionId(3),
        layer: Layer::Wire,
        direction: Direction::In,
        position: 4,
        length: 9,
        thread: Thread { pid: 5, tid: 6 },
        head: &[],
        tail: &[],
        not_captured: None,
        last_receive: Some(LastReceive {
            connection: ConnectionId(7),
            layer: Layer::Wire,
            position: 8,
            mark: Mark::default(),
        }),
        task: Some(Task::Handoff(11)),
        dropped: 9,
        process_drops: 10,
    };
    let whole = Owned::transfer(transfer, b"GET");
    transfer.not_captured = Some(NotCaptured::Fault);
    transfer.last_receive = None;
    transfer.task = None;
    let events = [whole, Owned::transfer(transfer, b""), Event::Tick { at: Timestamp(1) }.into()];
    let log = samples::log("{}", &events, |_| false);
    let hex: String = log.iter().map(|byte| format!("{byte:02x}")).collect();
    let fixed = [
        "895753504e0d0a0a 0200 0000 d765adeb",
        "07000000 01000000 0000000000000000 b13b3bda 01 02000000 7b7d",
        "ae000000 03000000 0100000000000000 f0cfa414",
        "24 59000000 0201000000000000 0300000000000000 25 0400000000000000 09000000 05000000 06000000 00",
        "0900000000000000 0a00000000000000 0700000000000000 0800000000000000 0b00000000000000 03000000 474554 00000000",
        "24 3e000000 0201000000000000 0300000000000000 01 0400000000000000 09000000 05000000 06000000 07",
        "0900000000000000 0a00000000000000 00000000 00000000",
        "30 08000000 0100000000000000",
    ];
    assert_eq!(hex, fixed.concat().replace(' ', ""));
}

#[test]
fn the_layout_of_ends_and_captures_is_fixed() {
    let written = |event: &Event<'_>| {
        let mut out = vec![];
        encode::event(event, &mut out);
        out.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let (at, connection, thread) = (Timestamp(1), ConnectionId(3), Thread { pid: 5, tid: 6 });
    let opened = Opened {
        at,
        connection,
        thread,
        local: Endpoint::Unix(UnixAddress::Path((*b"/a").into())),
        peer: Endpoint::Unix(UnixAddress::Unnamed),
        network_namespace: 7,
        first_sequence: [8, 9],
        first_position: 0,
        earlier: [Earlier::Nothing, Earlier::Unknown],
    };
    let expected = "23 41000000 0100000000000000 0300000000000000 05000000 06000000 01 02 2f61 03 07000000 \
         08000000 09000000 0000000000000000 0000000000000000 ffffffffffffffff";
    assert_eq!(written(&Event::Opened(opened)), expected.replace(' ', ""));
    let plaintext =
        PlaintextOpened { at, connection, thread, earlier: [Earlier::Bytes(2), Earlier::Nothing] };
    let expected = "2a 28000000 0100000000000000 0300000000000000 05000000 06000000 0200000000000000 \
         0000000000000000";
    assert_eq!(written(&Event::PlaintextOpened(plaintext)), expected.replace(' ', ""));
    let asked = Asked {
        at,
        stream: StreamId { connection, layer: Layer::Plaintext },
        directions: [
            Capture { mode: CaptureMode::Whole, skip_until: 9 },
            Capture { mode: CaptureMode::Nothing, skip_until: 0 },
        ],
    };
    let expected = "2b 23000000 0100000000000000 0300000000000000 01 01 0900000000000000 02 0000000000000000";
    assert_eq!(written(&Event::Asked(asked)), expected.replace(' ', ""));
}

/// The first bytes of a file of this version.
fn file_of(major: u16, minor: u16) -> Vec<u8> {
    let mut header = file_header();
    header[8..10].copy_from_slice(&major.to_le_bytes());
    header[10..12].copy_from_slice(&minor.to_le_bytes());
    let checksum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    [&header[..], &block(0, 1, &record(kind::HEADER, b"{}"))].concat()
}

/// What the reader makes of one record of a file of format 1.
fn old(minor: u16, kind: u8, body: &str) -> Result<String, End> {
    let mut log = file_of(OLD_MAJOR, minor);
    log.extend(block(1, 1, &record(kind, &bytes(body))));
    let (events, end) = read(&log).unwrap();
    events.into_iter().next().ok_or(end)
}

/// How 1.1 and 1.2 write the first observation of a connection.
#[test]
fn a_first_sight_of_an_older_version_is_read() {
    let address = "04 0a000001 5000";
    let before = format!(
        "0500000000000000 0300000000000000 05000000 06000000 {address} {address} 07000000 08000000 09000000 01 00"
    );
    let since = format!("{before} 0000000001000000 0000000000000000 0c00000000000000");
    let read = |text: &str| {
        let mut log = file_of(OLD_MAJOR, OLD_MINOR);
        log.extend(block(1, 1, &record(kind::OPENED, &bytes(text))));
        match LogReader::open(&log[..]).unwrap().next_event().unwrap() {
            Some(Event::Opened(opened)) => (opened.first_sequence, opened.first_position, opened.earlier),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(&before), ([8, 9], 0, [Earlier::Nothing, Earlier::Unknown]));
    assert_eq!(read(&since), ([8, 9], 1 << 32, [Earlier::Nothing, Earlier::Bytes(12)]));
}

/// How 1.0 and 1.3 write what has another body since.
#[test]
fn records_of_format_1_are_read() {
    let transfer = "0500000000000000 0300000000000000 01 0400000000000000 09000000 05000000 06000000 00 \
         01 0700000000000000 0800000000000000 0900000000000000 0a00000000000000 03000000 474554 00000000";
    let without_task = old(0, kind::TRANSFER, transfer).unwrap();
    let with_task = old(1, kind::TRANSFER, &format!("{transfer} 02 0b00000000000000")).unwrap();
    for (text, task) in [(without_task, "None"), (with_task, "Some(Handoff(11))")] {
        assert!(text.contains("layer: Wire, direction: In, position: 4, length: 9"), "{text}");
        assert!(text.contains(&format!("task: {task}")), "{text}");
        assert!(
            text.contains("LastReceive { connection: ConnectionId(7), layer: Wire, position: 8"),
            "{text}"
        );
    }
    let actor = "05000000 06000000 00 03 0b00000000000000";
    let half_closed = "0500000000000000 0300000000000000 01 0400000000000000";
    assert!(old(2, kind::HALF_CLOSED, half_closed).unwrap().contains("actor: None"));
    let by = old(3, kind::HALF_CLOSED, &format!("{half_closed} {actor}")).unwrap();
    assert!(by.contains("task: Some(Context(11))"), "{by}");
    let connecting = "0500000000000000 0300000000000000 05000000 06000000 04 0a000001 5000 00";
    assert!(old(0, kind::CONNECTING, connecting).unwrap().contains("Inet(10.0.0.1:80)"));
}

/// What format 2 has brought means nothing in a file of format 1.
#[test]
fn format_1_has_no_unix_sockets_and_no_plaintext() {
    let damaged = |kind, body: &str| match old(3, kind, body) {
        Err(End::Damaged { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let connecting = "0500000000000000 0300000000000000 05000000 06000000 03 00";
    assert_eq!(damaged(kind::CONNECTING, connecting), "an address is of no kind that exists");
    let half_closed = "0500000000000000 0300000000000000 03 0400000000000000";
    assert_eq!(damaged(kind::HALF_CLOSED, half_closed), "a flag is neither 0 nor 1");
    // Kinds that it does not have are passed over.
    assert_eq!(old(3, kind::ASKED, "00"), Err(End::Early));
}

#[test]
fn ends_that_cannot_be_are_refused() {
    let head = "0500000000000000 0300000000000000 05000000 06000000";
    let rest = "07000000 08000000 09000000 0000000001000000 0000000000000000 0c00000000000000";
    let path = |bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("01 {:02x} {hex}", bytes.len())
    };
    let read_ends = |local: &str, peer: &str| {
        let mut log = samples::log("{}", &[], |_| false);
        log.extend(block(1, 1, &record(kind::OPENED, &bytes(&format!("{head} {local} {peer} {rest}")))));
        let (events, end) = read(&log).unwrap();
        events.into_iter().next().ok_or(end)
    };
    for good in [path(b"/a"), path(&[b'x'; 108]), "02 00".to_owned(), "02 01 00".to_owned()] {
        assert!(read_ends(&good, "03").is_ok(), "{good}");
    }
    for (bad, expected) in [
        (path(b""), "no socket can have"),
        (path(b"/a\0b"), "no socket can have"),
        (path(&[b'x'; 109]), "no socket can have"),
        (format!("02 6c {}", "78".repeat(108)), "no socket can have"),
        ("05".to_owned(), "no kind that exists"),
        ("04 0a000001 5000".to_owned(), "only one end"),
    ] {
        let Err(End::Damaged { what, .. }) = read_ends(&bad, "03") else { panic!("{bad} was read") };
        assert!(what.contains(expected), "{bad}: {what}");
    }
}

/// A mode that a newer agent has is as if nothing had been asked; in this version it is damage.
#[test]
fn an_unknown_mode_of_capture_is_none_in_a_newer_log() {
    let body = "0500000000000000 0300000000000000 00 09 0100000000000000 02 0200000000000000";
    let read_of = |minor| {
        let mut log = file_of(MAJOR, minor);
        log.extend(block(1, 1, &record(kind::ASKED, &bytes(body))));
        let (events, end) = read(&log).unwrap();
        events.into_iter().next().ok_or(end)
    };
    let text = read_of(MINOR + 1).unwrap();
    assert!(
        text.contains("mode: Ends, skip_until: 1") && text.contains("mode: Nothing, skip_until: 2"),
        "{text}"
    );
    assert!(matches!(read_of(MINOR), Err(End::Damaged { .. })));
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn unknown_kinds_are_passed_over_and_counted() {
    let mut log = samples::log("{}", &[], |_| false);
    let tick = record(kind::TICK, &7_u64.to_le_bytes());
    let payload = [record(200, b"something new"), tick, record(0, b"")].concat();
    log.extend(block(1, 3, &payload));
    let mut reader = LogReader::open(&log[..]).unwrap();
    assert!(matches!(reader.next_event().unwrap(), Some(Event::Tick { at: Timestamp(7) })));
    assert!(reader.next_event().unwrap().is_none());
    assert_eq!((reader.unknown_records(), reader.end()), (2, Some(End::Early)));
}

#[test]
fn a_newer_minor_may_add_fields_and_a_newer_major_is_refused() {
    let version = |major: u16, minor: u16| {
        let tick = record(kind::TICK, &[7; 12]);
        [file_of(major, minor), block(1, 1, &tick)].concat()
    };
    let (events, end) = read(&version(MAJOR, MINOR + 1)).unwrap();
    assert_eq!((events.len(), end), (1, End::Early));
    let log = version(MAJOR, MINOR + 1);
    assert_eq!(LogReader::open(&log[..]).unwrap().newer_version(), Some((MAJOR, MINOR + 1)));
    let (events, end) = read(&version(MAJOR, MINOR)).unwrap();
    assert!(events.is_empty() && matches!(end, End::Damaged { what, .. } if what.contains("longer")));
    let error = read(&version(MAJOR + 1, 0)).unwrap_err();
    assert!(matches!(error, OpenError::OtherVersion { found: 3 }), "{error}");
    assert!(error.to_string().contains("reads formats 1 and 2"), "{error}");
    assert!(matches!(read(&version(0, 9)), Err(OpenError::OtherVersion { found: 0 })));
    // Format 1 has its own last minor version.
    let (events, _) = read(&version(OLD_MAJOR, OLD_MINOR)).unwrap();
    assert!(events.is_empty());
    assert_eq!(read(&version(OLD_MAJOR, OLD_MINOR + 1)).unwrap().0.len(), 1);
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b""[..], b"\x89WSPN\r\n", b"select: []\n and much more text", &[0; 100]] {
        assert!(matches!(read(bytes), Err(OpenError::NotALog)), "{bytes:?}");
    }
    assert!(matches!(read(&file_header()), Err(OpenError::TooShort)));
    let first_is_no_header = [&file_header()[..], &block(0, 1, &record(kind::TICK, &[0; 8]))].concat();
    assert!(matches!(read(&first_is_no_header), Err(OpenError::Damaged(_))));
}

#[test]
fn lengths_are_checked_before_memory_is_taken() {
    let mut log = samples::log("{}", &[], |_| false);
    let good = log.len();
    let header = BlockHeader { length: u32::MAX, records: 1, sequence: 1 };
    log.extend(header.write(&[]));
    let (_, end) = read(&log).unwrap();
    assert_eq!(end, End::Damaged { at: good as u64, what: "its length is more than a block may have" });
    log.truncate(good);
    // A list that claims four billion elements.
    let mut facts = vec![0; 8 + 20 + 4 + 4 + 1];
    facts.extend([0xff; 4]);
    log.extend(block(1, 1, &record(kind::PROCESS, &facts)));
    let (_, end) = read(&log).unwrap();
    assert!(matches!(end, End::Damaged { what: "a record is shorter than its fields", .. }), "{end:?}");
}

#[test]
fn numbers_that_no_kernel_counts_are_refused() {
    for (kind, body) in [
        (kind::TICK, vec![0xff; 8]),
        (kind::HALF_CLOSED, [[0; 8], [1; 8]].concat().into_iter().chain([0]).chain([0xff; 8]).collect()),
    ] {
        let mut log = samples::log("{}", &[], |_| false);
        log.extend(block(1, 1, &record(kind, &body)));
        let (_, end) = read(&log).unwrap();
        assert!(matches!(end, End::Damaged { what, .. } if what.contains("out of range")), "{end:?}");
    }
}

#[test]
fn blocks_that_miss_or_repeat_are_found() {
    let log = samples::log("{}", &ticks(3), |_| true);
    let ends = block_ends(&log);
    let missing = [&log[..ends[0]], &log[ends[1]..]].concat();
    let repeated = [&log[..ends[1]], &log[ends[0]..ends[1]]].concat();
    for (bytes, events) in [(missing, 0), (repeated, 1)] {
        let (read, end) = read(&bytes).unwrap();
        assert_eq!(read.len(), events);
        assert!(matches!(end, End::Damaged { what: "it is not the one that follows", .. }), "{end:?}");
    }
}

/// Found by fuzzing: the header's record was taken from a block that has none.
#[test]
fn a_first_block_that_counts_no_records_is_damaged() {
    let mut log = file_header().to_vec();
    log.extend(block(0, 0, &record(kind::HEADER, b"{}")));
    assert!(matches!(read(&log), Err(OpenError::Damaged(_))));
}

#[test]
fn large_blocks_are_complete_by_themselves() {
    let events = ticks(20_000);
    let log = samples::log("{}", &events, |_| false);
    assert!(block_ends(&log).len() > 3);
    assert_eq!(read(&log).unwrap(), (texts(&events), End::Early));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_events_are_read_as_they_were_written(
        events in prop::collection::vec(samples::event(), 0..60),
        every in 1..20_usize,
    ) {
        let log = samples::log("{}", &events, |index| index % every == 0);
        let whole = matches!(events.last().map(Owned::event), Some(Event::Shutdown { .. }));
        let end = if whole { End::Whole } else { End::Early };
        prop_assert_eq!(read(&log).unwrap(), (texts(&events), end));
    }

    /// Cut anywhere, a log gives the whole blocks before the cut, and says that it was cut.
    #[test]
    fn a_cut_log_gives_its_whole_blocks(
        events in prop::collection::vec(samples::event(), 1..30),
        every in 1..6_usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut events = events;
        events.push(Event::Shutdown { at: Timestamp(1) }.into());
        let log = samples::log("{}", &events, |index| index % every == 0);
        let ends = block_ends(&log);
        let cut = cut.index(log.len());
        if cut < ends[0] {
            prop_assert!(read(&log[..cut]).is_err());
            return Ok(());
        }
        let blocks = ends.iter().filter(|end| **end <= cut).count() - 1;
        let kept = (0..events.len()).filter(|index| index.div_ceil(every) < blocks).count();
        let (read, end) = read(&log[..cut]).unwrap();
        prop_assert_eq!(read, texts(&events[..kept]));
        let torn = !ends.contains(&cut);
        prop_assert_eq!(matches!(end, End::Torn { .. }), torn, "{:?}", end);
        prop_assert!(end != End::Whole || !torn);
    }

    /// One wrong byte: the events read are a beginning of the written ones, and the damage is
    /// reported.
    #[test]
    fn a_damaged_byte_is_found(
        events in prop::collection::vec(samples::event(), 1..30),
        every in 1..6_usize,
        place in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let mut log = samples::log("{}", &events, |index| index % every == 0);
        let place = place.index(log.len());
        log[place] ^= flip;
        if let Ok((read, end)) = read(&log) {
            prop_assert!(texts(&events).starts_with(&read));
            prop_assert!(matches!(end, End::Damaged { .. } | End::Torn { .. }), "{:?}", end);
        }
    }

    /// Blocks with a right checksum and any content, as an attacker would make them.
    #[test]
    fn any_payload_does_no_harm(
        kind in prop_oneof![16..50_u8, any::<u8>()],
        body in prop::collection::vec(any::<u8>(), 0..200),
        records in 0..4_u32,
    ) {
        let mut log = samples::log("{}", &[], |_| false);
        log.extend(block(1, records, &record(kind, &body)));
        drop(read(&log));
    }
}

#[test]
fn the_causality_rules_of_an_older_log_have_their_old_names() {
    let old = r#"{"two_sided":false,"start":false,"end":false}"#;
    let rules: crate::trace::CausalityRules = serde_json::from_str(old).unwrap();
    assert!(!rules.both_sides && !rules.request_side && !rules.response_side && rules.task);
    assert_eq!(
        serde_json::from_str::<crate::trace::CausalityRules>(&serde_json::to_string(&rules).unwrap())
            .unwrap(),
        rules
    );
}
