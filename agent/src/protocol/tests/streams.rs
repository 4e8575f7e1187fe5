//! The streams of one connection, and what their source was asked: each has positions, exchanges and a
//! ledger of its own.

use super::conversation::{Conversation, ID};
use crate::{
    event::{
        Capture, CaptureMode, Closed, Direction, Earlier, Endpoint, Feedback, Layer, Opened, PlaintextOpened,
        StreamId, Thread, Timestamp, Transfer,
    },
    protocol::{Connection, ExchangeId, Limits, Message, Output, Recorder},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const THREAD: Thread = Thread { pid: 1, tid: 1 };

fn transfer(layer: Layer, direction: Direction, at: u64, bytes: &[u8]) -> Transfer<'_> {
    Transfer {
        at: Timestamp(at),
        connection: ID,
        layer,
        direction,
        position: 0,
        length: u32::try_from(bytes.len()).unwrap(),
        thread: THREAD,
        head: bytes,
        tail: &[],
        not_captured: None,
        last_receive: None,
        task: None,
        dropped: 0,
        process_drops: 0,
    }
}

fn closed(layer: Layer, observed: [u64; 2]) -> Closed {
    Closed { at: Timestamp(99), connection: ID, layer, errno: 0, observed, dropped: [0; 2], skipped: [0; 2] }
}

/// On the wire a client asks a proxy for a tunnel; what it then sends through TLS is the plaintext.
#[test]
fn wire_and_plaintext_of_a_connection_are_read_side_by_side() {
    let end = Endpoint::Inet(([127, 0, 0, 1], 443).into());
    let opened = Opened {
        at: Timestamp(0),
        connection: ID,
        thread: THREAD,
        local: end.clone(),
        peer: end,
        network_namespace: 1,
        first_sequence: [0; 2],
        first_position: 0,
        earlier: [Earlier::Nothing; 2],
    };
    let secured =
        PlaintextOpened { at: Timestamp(3), connection: ID, thread: THREAD, earlier: [Earlier::Nothing; 2] };
    let mut out = Output::<Recorder>::default();
    let mut wire = Connection::new(&opened, &Limits::default());
    let mut plaintext = Connection::of_plaintext(&secured, &Limits::default());
    let (connect, accepted) = ("CONNECT h:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n");
    let request = "GET /a HTTP/1.1\r\n\r\n";
    let (wired, plain) = (Layer::Wire, Layer::Plaintext);
    wire.transfer(&transfer(wired, Direction::Out, 1, connect.as_bytes()), &mut out);
    wire.transfer(&transfer(wired, Direction::In, 2, accepted.as_bytes()), &mut out);
    plaintext.transfer(&transfer(plain, Direction::Out, 4, request.as_bytes()), &mut out);
    plaintext.transfer(&transfer(plain, Direction::In, 5, OK.as_bytes()), &mut out);

    let begun: Vec<u64> = out
        .report
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::Begin { ordinal, .. } => Some(*ordinal),
            _ => None,
        })
        .collect();
    assert_eq!(begun, [0, ExchangeId::OF_PLAINTEXT]);
    for (ordinal, layer) in begun.into_iter().zip([wired, plain]) {
        let stream = StreamId { connection: ID, layer };
        assert_eq!(ExchangeId { connection: ID, ordinal }.stream(), stream);
    }
    let ledger = plaintext.closed(&closed(plain, [request.len() as u64, OK.len() as u64]), &mut out);
    assert_eq!(ledger.directions.map(|account| account.parsed), [request.len() as u64, OK.len() as u64]);
    // 40 bytes of ciphertext passed in the tunnel.
    let ledger = wire.closed(&closed(wired, [connect.len() as u64 + 40, accepted.len() as u64]), &mut out);
    assert_eq!(ledger.directions[0].parsed, connect.len() as u64);
    assert!(!ledger.violation());
    let asked = out.feedback.iter().all(|feedback| match feedback {
        Feedback::Capture { stream, .. } => stream.layer == wired,
        Feedback::Forget { .. } => false,
    });
    assert!(asked, "{:?}", out.feedback);
}

/// A log of an agent that skipped what this one would read: the log says so, and the ledger agrees.
#[test]
fn what_another_agent_had_asked_for_is_no_loss() {
    let unseen_of = |taken: Option<Capture>| {
        let mut it = Conversation::with(Limits { skip_bytes: u64::MAX, ..Limits::default() }, [true; 2]);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
        it.receive("GET / HTTP/1.1\r\n\r\n").send(head);
        if let Some(out) = taken {
            it.connection.taken([out, Capture::default()]);
        }
        it.unseen(Direction::Out, 99_000);
        it.skipped[0] += 99_000;
        it.send(vec![b'x'; 1000]);
        assert!(it.out.feedback.is_empty());
        assert_eq!(it.ends(), ["=0 Complete 0/100000"]);
        let account = it.close(0).directions[0];
        (account.skipped, account.unseen)
    };
    assert_eq!(unseen_of(None), (1_000, 99_000));
    let until = Capture { skip_until: 100_000, ..Capture::default() };
    assert_eq!(unseen_of(Some(until)), (100_000, 0));
    let nothing = Capture { mode: CaptureMode::Nothing, skip_until: 0 };
    assert_eq!(unseen_of(Some(nothing)), (100_000, 0));
}
