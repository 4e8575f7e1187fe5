//! Events for tests: any that can be, as strategies of proptest.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use proptest::prelude::*;

use super::{
    Blocks, decode, encode,
    format::{MAX_COUNT, MAX_TIME, RECORD_HEADER, Version},
};
use crate::event::{
    Actor, Asked, Capture, CaptureMode, Closed, Connecting, ConnectionId, Direction, Earlier, Endpoint,
    Event, LastReceive, Layer, LocalClosed, Mark, NotCaptured, Opened, PlaintextOpened, ProcessFacts,
    SocketId, StreamId, Task, Thread, Timestamp, Transfer, UnixAddress,
};

/// An event that owns its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Owned {
    event: Event<'static>,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Owned {
    /// A transfer with these bytes at its start.
    pub(crate) fn transfer(transfer: Transfer<'static>, head: &[u8]) -> Self {
        Self { event: Event::Transfer(transfer), head: head.to_vec(), tail: vec![] }
    }

    /// A copy of an event that borrows its bytes.
    pub(crate) fn copy(event: &Event<'_>) -> Self {
        let mut bytes = vec![];
        encode::event(event, &mut bytes);
        let copy = decode::event(bytes[0], &bytes[RECORD_HEADER..], Version::CURRENT).unwrap();
        match copy {
            Event::Transfer(transfer) => Self {
                head: transfer.head.to_vec(),
                tail: transfer.tail.to_vec(),
                event: Event::Transfer(Transfer { head: &[], tail: &[], ..transfer }),
            },
            Event::Clock { at, unix_offset } => Event::Clock { at, unix_offset }.into(),
            Event::RunKey(key) => Event::RunKey(key).into(),
            Event::Process { at, facts } => Event::Process { at, facts }.into(),
            Event::Opened(opened) => Event::Opened(opened).into(),
            Event::Closed(closed) => Event::Closed(closed).into(),
            Event::Tick { at } => Event::Tick { at }.into(),
            Event::Shutdown { at } => Event::Shutdown { at }.into(),
            other => panic!("{other:?} is not copied yet"),
        }
    }

    pub(crate) fn event(&self) -> Event<'_> {
        match &self.event {
            Event::Transfer(transfer) => {
                Event::Transfer(Transfer { head: &self.head, tail: &self.tail, ..*transfer })
            }
            other => other.clone(),
        }
    }
}

impl From<Event<'static>> for Owned {
    fn from(event: Event<'static>) -> Self {
        Self { event, head: vec![], tail: vec![] }
    }
}

/// What events are made of. A number is drawn from a few, so that events meet: the same pid,
/// connection, position.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    at: u64,
    big: [u64; 4],
    pid: u32,
    bit: [bool; 2],
    address: Endpoint,
    layer: Layer,
    last: Option<(u64, u64)>,
    text: String,
    head: Vec<u8>,
    tail: Vec<u8>,
}

fn number(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..400_u64, 2 => 0..=most, 1 => Just(most)]
}

fn address() -> impl Strategy<Value = Endpoint> {
    prop_oneof![4 => inet().prop_map(Endpoint::Inet), 2 => unix().prop_map(Endpoint::Unix)]
}

fn unix() -> impl Strategy<Value = UnixAddress> {
    prop_oneof![
        prop::collection::vec(1..=u8::MAX, 1..=UnixAddress::LONGEST)
            .prop_map(|path| UnixAddress::Path(path.into())),
        prop::collection::vec(any::<u8>(), 0..UnixAddress::LONGEST)
            .prop_map(|name| UnixAddress::Abstract(name.into())),
        Just(UnixAddress::Unnamed),
    ]
}

fn layer() -> impl Strategy<Value = Layer> {
    prop_oneof![3 => Just(Layer::Wire), 1 => Just(Layer::Plaintext)]
}

fn inet() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| (Ipv4Addr::from(ip), port).into()),
        (any::<[u8; 16]>(), any::<u16>(), any::<u32>(), any::<u32>()).prop_map(|(ip, port, flow, scope)| {
            SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into()
        }),
    ]
}

/// Payload: pieces of HTTP more often than noise, so that the parsers have something to do.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n".to_vec()),
        Just(b"POST /x HTTP/1.1\r\nContent-Length: 7\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n".to_vec()),
        Just(b"HTTP/1.1 204 No\r\n\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"5\r\nhello\r\n0\r\n\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        (number(MAX_TIME), prop::array::uniform4(number(MAX_COUNT)), 0..4_u32, any::<[bool; 2]>()),
        (
            address(),
            prop::option::of((1..4_u64, number(MAX_COUNT))),
            ".{0,12}",
            payload(),
            payload(),
            layer(),
        ),
    )
        .prop_map(|((at, big, pid, bit), (address, last, text, head, tail, layer))| Parts {
            at,
            big,
            pid,
            bit,
            address,
            layer,
            last,
            text,
            head,
            tail,
        })
}

fn build(kind: usize, parts: Parts) -> Owned {
    let Parts { at, big, pid, bit, address, layer, last, text, head, tail } = parts;
    let at = Timestamp(at);
    let thread = Thread { pid, tid: pid + 1 };
    let connection = ConnectionId(big[0] % 4 + 1);
    let socket = SocketId(big[0] % 4);
    let direction = if bit[0] { Direction::In } else { Direction::Out };
    let last_receive = last.map(|(id, position)| LastReceive {
        connection: ConnectionId(id),
        layer,
        position,
        mark: Mark::default(),
    });
    let errno = u16::from(bit[1]) * 104;
    let event = match kind {
        0 => Event::Clock { at, unix_offset: big[1] },
        1 => Event::RunKey(u128::from(big[1]).to_be_bytes()),
        2 => Event::Process {
            at,
            facts: Box::new(ProcessFacts {
                pid,
                start_time: big[1],
                parent_pid: (pid / 2 != 0).then_some(pid / 2),
                executable: text.as_str().into(),
                command_args: vec![text.clone(); usize::from(bit[0]) * 2],
                service_name: text.as_str().into(),
                resource_attributes: vec![(text.clone(), text.clone()); usize::from(bit[1])],
                container_id: bit[0].then(|| text.as_str().into()),
                user_id: (pid != u32::MAX && bit[0]).then_some(pid),
            }),
        },
        3 => Event::Fork { at, parent: pid, child: pid + 1 },
        4 => Event::Exit { at, pid },
        5 => Event::Connecting(Connecting { at, socket, thread, peer: address, last_receive, task: None }),
        6 => Event::Connected { at, socket, connection },
        7 => Event::ConnectFailed { at, socket, errno },
        8 => Event::Opened(Opened {
            at,
            connection,
            thread,
            local: address.clone(),
            peer: address,
            network_namespace: pid,
            first_sequence: [pid, u32::MAX - pid],
            first_position: u64::from(bit[0]) << 32,
            earlier: [
                [Earlier::Nothing, Earlier::Bytes(big[1].max(1))],
                [Earlier::Unknown, Earlier::Nothing],
            ][usize::from(bit[1])],
        }),
        9 => Event::HalfClosed {
            at,
            connection,
            layer,
            direction,
            position: big[1],
            actor: bit[1].then_some(Actor { thread, task: None, last_receive }),
        },
        10 => Event::Closed(Closed {
            at,
            connection,
            layer,
            errno,
            observed: [big[1], big[2]],
            dropped: [big[2], big[3]],
            skipped: [big[3], big[1]],
        }),
        11 => Event::Tick { at },
        12 => Event::Shutdown { at },
        15 => Event::Redirected { at, connection },
        16 => Event::PlaintextOpened(PlaintextOpened {
            at,
            connection,
            thread,
            earlier: [Earlier::Unknown, Earlier::Bytes(big[1].max(1))],
        }),
        17 => Event::Asked(Asked {
            at,
            stream: StreamId { connection, layer },
            directions: [
                Capture { mode: CaptureMode::ALL[pid as usize % 3], skip_until: big[1] },
                Capture { mode: CaptureMode::Ends, skip_until: u64::MAX },
            ],
        }),
        13 => Event::LocalClosed(LocalClosed {
            at,
            connection,
            position: [big[1], big[2]],
            peer_finished: bit[0],
            actor: Actor { thread, task: Some(Task::Context(big[3])), last_receive },
        }),
        14 => Event::Released {
            at,
            connection: bit[0].then_some(connection),
            socket,
            actor: Actor { thread, task: bit[1].then_some(Task::Goroutine(big[2])), last_receive },
        },
        _ => {
            let not_captured = (bit[0] && bit[1]).then(|| NotCaptured::ALL[pid as usize]);
            let (head, tail) = if not_captured.is_some() { (vec![], vec![]) } else { (head, tail) };
            let more = if bit[1] { 0 } else { u32::try_from(big[2] % 5_000).unwrap() };
            let length = u32::try_from(head.len() + tail.len()).unwrap() + more;
            let transfer = Transfer {
                at,
                connection,
                layer,
                direction,
                position: big[1],
                length,
                thread,
                head: &[],
                tail: &[],
                not_captured,
                last_receive,
                task: [
                    None,
                    Some(Task::Goroutine(big[1])),
                    Some(Task::Handoff(big[2])),
                    Some(Task::Context(big[3])),
                ][usize::from(bit[0]) + 2 * usize::from(bit[1])],
                dropped: big[3],
                process_drops: big[0],
            };
            return Owned { event: Event::Transfer(transfer), head, tail };
        }
    };
    event.into()
}

/// Any event; transfers are half of them.
pub(crate) fn event() -> impl Strategy<Value = Owned> {
    (0..34_usize, parts()).prop_map(|(kind, parts)| build(kind, parts))
}

/// A log with these events; a block ends behind each event for which `seal` says so.
pub(crate) fn log(header: &str, events: &[Owned], seal: impl Fn(usize) -> bool) -> Vec<u8> {
    let (mut blocks, mut log) = Blocks::begin(header).unwrap();
    for (index, event) in events.iter().enumerate() {
        log.extend(blocks.add(&event.event()).unwrap().unwrap_or_default());
        if seal(index) {
            log.extend(blocks.seal().unwrap_or_default());
        }
    }
    log.extend(blocks.seal().unwrap_or_default());
    log
}
