//! What holds for any conversation, however it is cut, shuffled, thinned or made up.

use std::collections::HashSet;

use proptest::prelude::*;

use super::conversation::{Conversation, MILLISECOND, summarise};
use crate::{
    event::{Direction, NotCaptured},
    protocol::{Begin, Limits, Message, Progress},
};

/// One exchange as bytes; every path and status occurs once, so that a wrong pairing shows.
#[derive(Clone)]
struct Sample {
    request: Vec<u8>,
    response: Vec<u8>,
    path: String,
    status: u16,
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy;
        write!(f, "{:?} -> {:?}", text(&self.request), text(&self.response))
    }
}

fn body(length: usize, chunked: bool) -> (String, String) {
    let text = "b".repeat(length);
    match chunked {
        true if length == 0 => ("Transfer-Encoding: chunked\r\n".into(), "0\r\n\r\n".into()),
        true => {
            ("Transfer-Encoding: chunked\r\n".into(), format!("{length:x}\r\n{text}\r\n0\r\nT: x\r\n\r\n"))
        }
        false => (format!("Content-Length: {length}\r\n"), text),
    }
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let one = (0..60_usize, any::<bool>(), 0..60_usize, any::<bool>(), 0..3_u8, any::<bool>());
    prop::collection::vec(one, 1..8).prop_map(|exchanges| {
        let make = |(index, (up, up_chunked, down, down_chunked, kind, interim)): (usize, _)| {
            let status = 200 + u16::try_from(index).unwrap() + 5;
            let path = format!("/path/{index}");
            let method = ["GET", "POST", "HEAD"][usize::from(kind)];
            let (up_field, up_body) = body(up, up_chunked);
            let (down_field, mut down_body) = body(down, down_chunked);
            if kind == 2 {
                down_body.clear();
            }
            let before = if interim { "HTTP/1.1 100 Continue\r\n\r\n" } else { "" };
            Sample {
                request: format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{up_field}\r\n{up_body}")
                    .into_bytes(),
                response: format!("{before}HTTP/1.1 {status} x\r\n{down_field}\r\n{down_body}").into_bytes(),
                path,
                status,
            }
        };
        exchanges.into_iter().enumerate().map(make).collect()
    })
}

/// The conversation as transfers `(direction, position, bytes)` in the order in which they happen.
type Calls = Vec<(Direction, u64, Vec<u8>)>;

fn cut(client: Direction, samples: &[Sample], sizes: &[usize], pipelined: bool) -> Calls {
    let mut calls = Calls::new();
    let mut position = [0; 2];
    let mut sizes = sizes.iter().cycle();
    let mut add = |direction: Direction, mut bytes: &[u8]| {
        while !bytes.is_empty() {
            let (cursor, rest) = bytes.split_at((*sizes.next().unwrap()).min(bytes.len()));
            calls.push((direction, position[direction.index()], cursor.to_vec()));
            position[direction.index()] += cursor.len() as u64;
            bytes = rest;
        }
    };
    if pipelined {
        let requests: Vec<_> = samples.iter().flat_map(|sample| sample.request.clone()).collect();
        let responses: Vec<_> = samples.iter().flat_map(|sample| sample.response.clone()).collect();
        add(client, &requests);
        add(client.reverse(), &responses);
    } else {
        for sample in samples {
            add(client, &sample.request);
            add(client.reverse(), &sample.response);
        }
    }
    calls
}

fn ends(calls: &Calls) -> [u64; 2] {
    let mut ends = [0; 2];
    for (direction, position, bytes) in calls {
        let end = &mut ends[direction.index()];
        *end = (position + bytes.len() as u64).max(*end);
    }
    ends
}

fn play(it: &mut Conversation, calls: &Calls) {
    for (direction, position, bytes) in calls {
        it.now += MILLISECOND;
        it.at(*direction, *position, bytes, None);
    }
}

/// Everything but times, by exchange.
fn timeless(messages: &[Message]) -> Vec<String> {
    let mut lines: Vec<_> = messages
        .iter()
        .map(|message| match message {
            Message::Begin { ordinal, begin: Begin { role, origin, .. } } => {
                format!("{ordinal} 0 {role:?} {}", origin.position)
            }
            Message::Described { ordinal, head } => format!("{ordinal} 1 {head:?}"),
            Message::Other { ordinal, text } => format!("{ordinal} 4 {text}"),
            Message::Reply { ordinal, origin, progress, head } => {
                format!("{ordinal} 2 {} {progress:?} {head:?}", origin.position)
            }
            Message::End { ordinal, end, .. } => {
                let mut end = end.clone();
                end.request_end = None;
                format!("{ordinal} 3 {end:?}")
            }
        })
        .collect();
    lines.sort();
    lines
}

fn sides() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::In), Just(Direction::Out)]
}

/// No exchange says anything that the samples do not.
fn is_true(it: &Conversation, samples: &[Sample]) -> Result<(), TestCaseError> {
    for line in it.exchanges() {
        if line.starts_with(' ') {
            continue; // its head was never complete
        }
        let mut words = line.split(' ');
        let (Some(_method), Some(path)) = (words.next(), words.next()) else { continue };
        let sample = samples.iter().find(|sample| sample.path == path);
        prop_assert!(sample.is_some(), "invented: {}", line);
        let status = sample.unwrap().status.to_string();
        for word in words.filter(|word| word.parse::<u16>().is_ok()) {
            prop_assert!(word == "100" || word == status, "a response of another request: {}", line);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_messages(
        samples in samples(),
        sizes in prop::collection::vec(1..90_usize, 1..12),
        client in sides(),
        pipelined in any::<bool>(),
    ) {
        let mut whole = Conversation::new();
        play(&mut whole, &cut(client, &samples, &[usize::MAX], false));
        let complete: Vec<_> = summarise(&whole.out.report.messages);
        prop_assert_eq!(complete.len(), samples.len());
        prop_assert!(complete.iter().all(|line| line.ends_with("Complete")));
        is_true(&whole, &samples)?;
        let mut pieces = Conversation::new();
        let calls = cut(client, &samples, &sizes, pipelined);
        play(&mut pieces, &calls);
        prop_assert_eq!(timeless(&whole.out.report.messages), timeless(&pieces.out.report.messages));
        pieces.position = ends(&calls);
        let ledger = pieces.close(0);
        for account in ledger.directions {
            prop_assert_eq!((account.truncated, account.unseen), (0, 0));
        }
    }

    #[test]
    fn any_order_of_arrival_gives_the_same_messages(
        samples in samples(),
        sizes in prop::collection::vec(1..90_usize, 1..12),
        client in sides(),
        swaps in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize), 0..40),
    ) {
        let calls = cut(client, &samples, &sizes, false);
        let mut whole = Conversation::new();
        play(&mut whole, &calls);
        let mut shuffled: Vec<_> = calls.iter().enumerate().collect();
        for (index, distance) in swaps {
            let index = index.index(shuffled.len());
            let other = (index + distance).min(shuffled.len() - 1);
            shuffled.swap(index, other);
        }
        let mut it = Conversation::new();
        for (order, (direction, position, bytes)) in shuffled {
            it.now = (order as u64 + 1) * MILLISECOND / 100;
            it.at(*direction, *position, bytes, None);
        }
        prop_assert_eq!(timeless(&whole.out.report.messages), timeless(&it.out.report.messages));
        prop_assert!(!it.connection.needs_tick());
    }

    #[test]
    fn lost_bytes_never_make_a_wrong_exchange(
        samples in samples(),
        sizes in prop::collection::vec(1..90_usize, 1..12),
        client in sides(),
        lost in prop::collection::vec((sides(), 0..1200_u64, 1..200_u64), 1..4),
        counted in any::<bool>(),
    ) {
        let calls = cut(client, &samples, &sizes, false);
        let mut it = Conversation::new();
        let mut dropped = [0; 2];
        for (direction, position, bytes) in &calls {
            it.now += MILLISECOND;
            let range = *position..position + bytes.len() as u64;
            let hit = |loss: &(Direction, u64, u64)| {
                loss.0 == *direction && loss.1 < range.end && range.start < loss.1 + loss.2
            };
            if lost.iter().any(hit) {
                dropped[direction.index()] += bytes.len() as u64;
                continue;
            }
            if counted {
                it.dropped = dropped;
            }
            it.at(*direction, *position, bytes, None);
        }
        it.dropped = if counted { dropped } else { [0; 2] };
        it.position = ends(&calls);
        it.tick(200);
        let ledger = it.close(0);
        let unseen = ledger.directions.map(|account| account.unseen);
        prop_assert_eq!(unseen, if counted { [0; 2] } else { dropped });
        is_true(&it, &samples)?;
        one_end_each(&it)?;
    }

    #[test]
    fn uncaptured_bytes_never_make_a_wrong_exchange(
        samples in samples(),
        sizes in prop::collection::vec(1..300_usize, 1..12),
        client in sides(),
        capture in (20..100_usize, 0..16_usize),
        not_captured in prop::collection::vec(0..9_u8, 1..20),
    ) {
        let calls = cut(client, &samples, &sizes, false);
        let mut it = Conversation::new();
        it.capture = capture;
        let mut not_captured = not_captured.iter().cycle();
        for (direction, position, bytes) in &calls {
            it.now += MILLISECOND;
            let reason = (*not_captured.next().unwrap() == 0).then_some(NotCaptured::Fault);
            it.at(*direction, *position, bytes, reason);
        }
        it.position = ends(&calls);
        let ledger = it.close(0);
        prop_assert_eq!(ledger.directions.map(|account| account.unseen), [0; 2]);
        is_cut_of(&it, &samples)?;
        one_end_each(&it)?;
    }

    #[test]
    fn any_bytes_at_any_place_are_survived(
        calls in prop::collection::vec(
            (sides(), 0..5000_u64, hostile(), 0..40_usize, 0..8_usize, 0..12_u8),
            0..120,
        ),
        from_start in any::<[bool; 2]>(),
        errno in 0..2_u16,
    ) {
        let limits = Limits { head_bytes: 512, held_transfers: 8, held_bytes: 2048, pending_requests: 4, ..Limits::default() };
        let mut it = Conversation::with(limits, from_start);
        for (direction, jump, bytes, head, tail, kind) in calls {
            it.now += MILLISECOND;
            it.capture = if kind > 5 { (usize::MAX, 0) } else { (head, tail) };
            let next = it.position[direction.index()];
            let position = match kind {
                0 => next.saturating_sub(jump % 50),
                1 => next + jump,
                _ => next,
            };
            let not_captured = (kind == 2).then_some(NotCaptured::UpperLayer);
            it.at(direction, position, &bytes, not_captured);
            it.position[direction.index()] = next.max(position + bytes.len() as u64);
            if kind == 3 {
                it.tick(jump % 300);
            }
            prop_assert!(it.connection.buffered() <= 2048 + 2 * 600, "{} bytes", it.connection.buffered());
            prop_assert!(!it.connection.snapshot().violation());
        }
        it.close(errno);
        one_end_each(&it)?;
    }
}

/// Each exchange begins and ends exactly once, in the order of the contract.
fn one_end_each(it: &Conversation) -> Result<(), TestCaseError> {
    let mut open = HashSet::new();
    let mut heads = HashSet::new();
    let mut seen = HashSet::new();
    for message in &it.out.report.messages {
        match message {
            Message::Begin { ordinal, .. } => {
                prop_assert!(seen.insert(*ordinal) && open.insert(*ordinal));
            }
            Message::Other { ordinal, .. } => prop_assert!(open.contains(ordinal)),
            Message::Described { ordinal, .. } => {
                prop_assert!(open.contains(ordinal) && heads.insert(*ordinal));
            }
            Message::Reply { ordinal, .. } => {
                prop_assert!(open.contains(ordinal) && heads.contains(ordinal));
            }
            Message::End { ordinal, .. } => prop_assert!(open.remove(ordinal)),
        }
    }
    prop_assert!(open.is_empty(), "never ended: {:?}", open);
    Ok(())
}

/// Like [`is_true`], but a path may be cut.
fn is_cut_of(it: &Conversation, samples: &[Sample]) -> Result<(), TestCaseError> {
    let mut paths = Vec::new();
    for message in &it.out.report.messages {
        match message {
            Message::Described { ordinal, head } => {
                let known = samples.iter().find(|sample| {
                    sample.path == head.target || (head.incomplete && sample.path.starts_with(&*head.target))
                });
                prop_assert!(known.is_some(), "invented: {}", head.target);
                if !head.incomplete {
                    paths.push((*ordinal, known.unwrap().status));
                }
            }
            Message::Reply { ordinal, progress: Progress::Final, head, .. } => {
                let expected = paths.iter().find(|path| path.0 == *ordinal);
                prop_assert!(
                    expected.is_none_or(|path| path.1 == head.status),
                    "a response of another request"
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// Bytes that look like HTTP just enough to get deep.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop_oneof![
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        Just(b"PUT /b HTTP/1.0\r\nContent-Length: 700\r\n\r\n".to_vec()),
        Just(b"CONNECT a:1 HTTP/1.1\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n".to_vec()),
        Just(b"HTTP/1.0 204 x\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 100 x\r\n\r\n".to_vec()),
        Just(b"Content-Length: 3\r\n".to_vec()),
        Just(b"ffffffffffffffff\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 1..80),
    ];
    prop::collection::vec(pieces, 1..4).prop_map(|pieces| pieces.concat())
}
