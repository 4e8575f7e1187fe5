//! HTTP/1: however a conversation is cut into transfers, it means the same. A head in one piece is
//! read the quick way and one in pieces the careful way, so that the two are compared here as well.
//!
//! Input: a line whose bytes are the sizes of the transfers, used in turn; then what the ends send
//! in turn, each turn ended by the byte 255. If the line begins with an upper-case letter, the
//! traced process is the client.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
};

use wirespan::{
    event::{Closed, ConnectionId, Direction, Earlier, Layer, Opened, Thread, Timestamp, Transfer},
    protocol::{Begin, Connection, Interest, Limits, Message, Outcome, Output, Recorder},
};

const ID: ConnectionId = ConnectionId(7);
const THREAD: Thread = Thread { pid: 1, tid: 1 };
const TURN: u8 = 255;

pub(crate) fn run(data: &[u8]) {
    let (sizes, rest) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (&[][..], data),
    };
    let first =
        if sizes.first().is_some_and(u8::is_ascii_uppercase) { Direction::Out } else { Direction::In };
    let whole = play(rest, first, &[]);
    let pieces = play(rest, first, sizes);
    // A parser looks for other protocols where transfers begin, so there the cut matters. For HTTP
    // it does not, unless more transfers are held for the other direction than the limit allows.
    if whole.is_clean() && pieces.out.stream.held_overflow == 0 {
        assert_eq!(timeless(&whole.out), timeless(&pieces.out), "cut into calls of {sizes:?}");
        assert!(pieces.is_clean());
    }
}

#[derive(Debug)]
struct Played {
    out: Output<Recorder>,
    opaque: bool,
}

impl Played {
    /// Everything was understood.
    fn is_clean(&self) -> bool {
        let counters = &self.out.counters;
        let odd = counters.unknown_starts
            + counters.parse_failures
            + counters.responses_without_request
            + counters.heads_incomplete
            + counters.framing_lost
            + counters.exchanges_lost
            + counters.connections_given_up;
        let complete = |message: &Message| match message {
            Message::End { end, .. } => end.outcome == Outcome::Complete && end.incomplete.is_empty(),
            _ => true,
        };
        odd == 0 && !self.opaque && self.out.report.messages.iter().all(complete)
    }
}

/// Transfers of these sizes, or one for each turn.
fn play(text: &[u8], first: Direction, sizes: &[u8]) -> Played {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
    let opened = Opened {
        at: Timestamp(0),
        connection: ID,
        thread: THREAD,
        local: address.into(),
        peer: address.into(),
        network_namespace: 1,
        first_sequence: [0; 2],
        first_position: 0,
        earlier: [Earlier::Nothing; 2],
    };
    let mut connection = Connection::new(&opened, &Limits::default());
    let mut out = Output::<Recorder> { interest: interest(), ..Output::default() };
    let mut sizes = sizes.iter().map(|size| usize::from(*size) + 1).cycle();
    let mut observed = [0_u64; 2];
    let mut now = 0;
    let mut direction = first;
    for turn in text.split(|byte| *byte == TURN) {
        let mut rest = turn;
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(rest.len()).min(rest.len());
            let (head, after) = rest.split_at(size);
            rest = after;
            now += 1_000;
            let position = &mut observed[direction.index()];
            let transfer = Transfer {
                at: Timestamp(now),
                connection: ID,
                layer: Layer::Wire,
                direction,
                position: *position,
                length: u32::try_from(size).expect("an input is small"),
                thread: THREAD,
                head,
                tail: &[],
                not_captured: None,
                last_receive: None,
                task: None,
                dropped: 0,
                process_drops: 0,
            };
            *position += size as u64;
            connection.transfer(&transfer, &mut out);
            assert!(!connection.snapshot().violation(), "{:?}", connection.snapshot());
        }
        direction = direction.reverse();
    }
    let opaque = connection.is_opaque();
    let at = Timestamp(now + 1);
    let closed = Closed {
        at,
        connection: ID,
        layer: Layer::Wire,
        errno: 0,
        observed,
        dropped: [0; 2],
        skipped: [0; 2],
    };
    let ledger = connection.closed(&closed, &mut out);
    for (account, observed) in ledger.directions.iter().zip(observed) {
        let sum = account.parsed + account.skipped + account.truncated + account.dropped + account.unseen;
        assert_eq!((account.observed, sum, account.violation), (observed, observed, false), "{account:?}");
        assert_eq!((account.truncated, account.unseen), (0, 0), "all was there to be read: {account:?}");
    }
    one_end_each(&out.report.messages);
    Played { out, opaque }
}

/// Everything that a head has.
fn interest() -> Interest {
    let mut interest = Interest::in_fields(["via", "x-request-id", "cookie"]);
    interest.content = true;
    interest
}

/// Everything but times, by exchange.
fn timeless(out: &Output<Recorder>) -> Vec<(u64, String)> {
    let line = |message: &Message| match message {
        Message::Begin { ordinal, begin: Begin { role, origin, .. } } => {
            (*ordinal, format!("0 {role:?} {}", origin.position))
        }
        Message::Described { ordinal, head } => (*ordinal, format!("1 {head:?}")),
        Message::Other { ordinal, text } => (*ordinal, format!("4 {text}")),
        Message::Reply { ordinal, origin, progress, head } => {
            (*ordinal, format!("2 {} {progress:?} {head:?}", origin.position))
        }
        Message::End { ordinal, end, .. } => {
            let mut end = end.clone();
            end.request_end = None;
            (*ordinal, format!("3 {end:?}"))
        }
    };
    let mut lines: Vec<_> = out.report.messages.iter().map(line).collect();
    lines.sort();
    lines
}

/// Each exchange begins and ends exactly once, in the order of the contract.
fn one_end_each(messages: &[Message]) {
    let [mut seen, mut open, mut heads] = [(); 3].map(|()| HashSet::new());
    for message in messages {
        let kept = match message {
            Message::Begin { ordinal, .. } => seen.insert(*ordinal) && open.insert(*ordinal),
            Message::Other { ordinal, .. } => open.contains(ordinal),
            Message::Described { ordinal, .. } => open.contains(ordinal) && heads.insert(*ordinal),
            Message::Reply { ordinal, .. } => open.contains(ordinal) && heads.contains(ordinal),
            Message::End { ordinal, .. } => open.remove(ordinal),
        };
        assert!(kept, "out of order: {message:?} in {messages:?}");
    }
    assert!(open.is_empty(), "never ended: {open:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The properties are not empty: what the seeds contain is understood.
    #[test]
    fn seeds_are_understood() {
        let seeds: [(&[u8], usize); 5] = [
            (include_bytes!("../corpus/http1/keep-alive"), 2),
            (include_bytes!("../corpus/http1/post"), 1),
            (include_bytes!("../corpus/http1/pipelined"), 3),
            (include_bytes!("../corpus/http1/until-close"), 1),
            (include_bytes!("../corpus/http1/fields-of-all-kinds"), 1),
        ];
        for (seed, exchanges) in seeds {
            let start = seed.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            let played = play(&seed[start..], Direction::In, &[]);
            let ends =
                played.out.report.messages.iter().filter(|message| matches!(message, Message::End { .. }));
            assert!(played.is_clean(), "{:?} {:?}", played.out.counters, played.out.report.messages);
            assert_eq!(ends.count(), exchanges, "{:?}", played.out.report.messages);
        }
    }
}
