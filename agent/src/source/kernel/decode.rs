//! Turns a record of the ring into an event. The bytes come from our own programs, but nothing here
//! trusts them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use agent_common::{
    By, Closed as RawClosed, Connecting as RawConnecting, EXEC_ARGUMENTS, EXEC_NAME, ExecRecord,
    FIRST_POSITION, HalfClosed, Header, LastReceive as RawLastReceive, LocalClosed as RawLocalClosed,
    Opened as RawOpened, PEER_FINISHED, ProcessRecord, Released as RawReleased, SocketRecord,
    Transfer as RawTransfer, TransferRest, UNKNOWN_EARLIER, UNKNOWN_USER, kind, not_captured, process_flags,
    transfer_flags,
};

use crate::event::{
    Actor, Closed, Connecting, ConnectionId, Direction, Earlier, Event, KernelFacts, LastReceive, Layer,
    LocalClosed, Mark, NotCaptured, Opened, SocketId, Task, Thread, Timestamp, Transfer, arguments_in,
};

/// Largest position, so that sums of positions do not overflow.
const MAX_POSITION: u64 = 1 << 62;

/// A decoded record.
#[derive(Debug)]
pub enum Notice<'a> {
    /// For the pipeline as it is.
    Event(Event<'a>),
    /// A transfer that also ended its direction.
    Last(Event<'a>, Event<'static>),
    /// A connection was first observed; with the user of its process.
    Opened { event: Event<'a>, user: Option<u32> },
    /// For the process table, which turns it into an event.
    Process { at: Timestamp, notice: ProcessNotice },
}

/// What happened to a process, with what the kernel knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessNotice {
    /// A selected process has a new child; the kernel has selected it too.
    Fork {
        parent: u32,
        child: u32,
        reported: KernelFacts,
    },
    /// Some process executed a file. The kernel traces it until the agent decides otherwise.
    Exec {
        pid: u32,
        reported: KernelFacts,
    },
    Exit {
        pid: u32,
        reported: KernelFacts,
    },
    /// A process listens on `port`. The kernel traces it until the agent decides otherwise.
    Listen {
        pid: u32,
        port: u16,
        reported: KernelFacts,
    },
    /// A process was moved to another cgroup.
    CgroupMoved {
        pid: u32,
        reported: KernelFacts,
    },
}

/// Decodes one record; `None` when it is not one, which the reader counts.
#[must_use]
pub fn decode(record: &[u8]) -> Option<Notice<'_>> {
    let header: Header = read(record)?;
    let at = Timestamp(header.at);
    let event = match header.kind {
        kind::TRANSFER => return transfer(record, at),
        kind::OPENED => {
            let raw: RawOpened = read(record)?;
            let user = Some(raw.user).filter(|user| *user != UNKNOWN_USER);
            return Some(Notice::Opened { event: Event::Opened(opened(&raw, at)?), user });
        }
        kind::HALF_CLOSED => {
            let raw: HalfClosed = read(record)?;
            let direction = direction(header.direction)?;
            Event::HalfClosed {
                at,
                connection: connection(raw.cookie)?,
                layer: Layer::Wire,
                direction,
                position: raw.position,
                actor: Some(actor(&header, raw.by)),
            }
        }
        kind::RELEASED => {
            let raw: RawReleased = read(record)?;
            Event::Released {
                at,
                connection: connection(raw.cookie),
                socket: SocketId(raw.socket),
                actor: actor(&header, raw.by),
            }
        }
        kind::REDIRECTED => {
            let raw: HalfClosed = read(record)?;
            Event::Redirected { at, connection: connection(raw.cookie)? }
        }
        kind::LOCAL_CLOSED => Event::LocalClosed(local_closed(&read(record)?, at)?),
        kind::CLOSED => {
            let raw: RawClosed = read(record)?;
            Event::Closed(Closed {
                at,
                connection: connection(raw.cookie)?,
                layer: Layer::Wire,
                errno: errno(&header),
                observed: raw.observed,
                dropped: raw.dropped,
                skipped: raw.skipped,
            })
        }
        kind::CONNECTING => Event::Connecting(connecting(&read(record)?, at)),
        kind::CONNECTED => {
            let raw: SocketRecord = read(record)?;
            Event::Connected { at, socket: SocketId(raw.socket), connection: connection(raw.cookie)? }
        }
        kind::CONNECT_FAILED => {
            let raw: SocketRecord = read(record)?;
            Event::ConnectFailed { at, socket: SocketId(raw.socket), errno: errno(&header) }
        }
        _ => return Some(Notice::Process { at, notice: process(&read(record)?, record)? }),
    };
    Some(Notice::Event(event))
}

/// The `T` at the start of the record, which the ring aligns to 8 bytes.
fn read<T: bytemuck::Pod>(record: &[u8]) -> Option<T> {
    Some(bytemuck::pod_read_unaligned(record.get(..size_of::<T>())?))
}

fn errno(header: &Header) -> u16 {
    u16::try_from(header.length).unwrap_or(u16::MAX)
}

fn connection(cookie: u64) -> Option<ConnectionId> {
    (cookie != 0).then_some(ConnectionId(cookie))
}

fn direction(raw: u8) -> Option<Direction> {
    Direction::BOTH.into_iter().find(|direction| direction.index() == usize::from(raw))
}

fn last_receive(cookie: u64, position: u64) -> Option<LastReceive> {
    Some(LastReceive { connection: connection(cookie)?, layer: Layer::Wire, position, mark: Mark::default() })
}

/// A part of a transfer that not every record has; behind it the rest of the record.
fn part<T: bytemuck::Pod>(present: bool, record: &[u8]) -> Option<(T, &[u8])> {
    if present { Some((read(record)?, &record[size_of::<T>()..])) } else { Some((T::zeroed(), record)) }
}

fn transfer(record: &[u8], at: Timestamp) -> Option<Notice<'_>> {
    let (raw, parts): (RawTransfer, _) = part(true, record)?;
    let has = |flag: u8| raw.header.flags & flag != 0;
    let (last, parts): (RawLastReceive, _) = part(has(transfer_flags::LAST_RECEIVE), parts)?;
    let (rest, payload): (TransferRest, _) = part(has(transfer_flags::REST), parts)?;
    let head = payload.get(..raw.head as usize)?;
    let tail = payload.get(raw.head as usize..)?.get(..raw.tail as usize)?;
    if head.len() + tail.len() > raw.header.length as usize || raw.position > MAX_POSITION {
        return None;
    }
    let direction = direction(raw.header.direction)?;
    let connection = connection(raw.cookie)?;
    let event = Event::Transfer(Transfer {
        at,
        connection,
        layer: Layer::Wire,
        direction,
        position: raw.position,
        length: raw.header.length,
        thread: Thread { pid: raw.pid, tid: raw.tid },
        head,
        tail,
        not_captured: reason(raw.header.not_captured)?,
        last_receive: last_receive(last.cookie, last.position),
        task: task(raw.header.flags, rest.task),
        dropped: rest.dropped,
        process_drops: rest.process_drops,
    });
    if raw.header.flags & transfer_flags::FIN == 0 {
        return Some(Notice::Event(event));
    }
    let position = raw.position.saturating_add(u64::from(raw.header.length));
    Some(Notice::Last(
        event,
        Event::HalfClosed { at, connection, layer: Layer::Wire, direction, position, actor: None },
    ))
}

fn task(flags: u8, id: u64) -> Option<Task> {
    if flags & transfer_flags::HANDOFF != 0 {
        Some(Task::Handoff(id))
    } else if flags & transfer_flags::GOROUTINE != 0 {
        Some(Task::Goroutine(id))
    } else if flags & transfer_flags::CONTEXT != 0 {
        Some(Task::Context(id))
    } else {
        None
    }
}

/// `Some(None)`: bytes were captured. `None`: there is no such reason.
fn reason(raw: u8) -> Option<Option<NotCaptured>> {
    if raw == not_captured::NONE {
        return Some(None);
    }
    NotCaptured::ALL.into_iter().find(|w| *w as u8 == raw).map(Some)
}

fn actor(header: &Header, by: By) -> Actor {
    Actor {
        thread: Thread { pid: by.pid, tid: by.tid },
        task: task(header.flags, by.task),
        last_receive: last_receive(by.last_cookie, by.last_position),
    }
}

fn local_closed(raw: &RawLocalClosed, at: Timestamp) -> Option<LocalClosed> {
    Some(LocalClosed {
        at,
        connection: connection(raw.cookie)?,
        actor: actor(&raw.header, raw.by),
        position: raw.position,
        peer_finished: raw.header.flags & PEER_FINISHED != 0,
    })
}

fn opened(raw: &RawOpened, at: Timestamp) -> Option<Opened> {
    Some(Opened {
        at,
        connection: connection(raw.cookie)?,
        thread: Thread { pid: raw.pid, tid: raw.tid },
        local: address(raw.local, raw.local_port).into(),
        peer: address(raw.peer, raw.peer_port).into(),
        network_namespace: raw.network_namespace,
        first_sequence: raw.first_sequence,
        first_position: FIRST_POSITION,
        earlier: raw.earlier.map(earlier),
    })
}

const fn earlier(bytes: u32) -> Earlier {
    match bytes {
        0 => Earlier::Nothing,
        UNKNOWN_EARLIER => Earlier::Unknown,
        bytes => Earlier::Bytes(bytes as u64),
    }
}

fn connecting(raw: &RawConnecting, at: Timestamp) -> Connecting {
    Connecting {
        at,
        socket: SocketId(raw.socket),
        thread: Thread { pid: raw.pid, tid: raw.tid },
        peer: address(raw.peer, raw.peer_port).into(),
        last_receive: last_receive(raw.last_cookie, raw.last_position),
        task: task(raw.header.flags, raw.task),
    }
}

/// The programs report every address as IPv6, IPv4 in mapped form.
fn address(octets: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical(), port)
}

fn process(raw: &ProcessRecord, record: &[u8]) -> Option<ProcessNotice> {
    let (pid, reported) = (raw.pid, kernel_facts(raw));
    Some(match raw.header.kind {
        kind::FORK => ProcessNotice::Fork { parent: pid, child: raw.other, reported },
        kind::EXEC => ProcessNotice::Exec { pid, reported: executed(&read(record)?, reported) },
        kind::EXIT => ProcessNotice::Exit { pid, reported },
        kind::LISTEN => ProcessNotice::Listen { pid, port: u16::try_from(raw.other).ok()?, reported },
        kind::CGROUP => ProcessNotice::CgroupMoved { pid, reported },
        _ => return None,
    })
}

/// `USER_HZ`: /proc counts time in these units (`nsec_to_clock_t`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/time/time.c>).
const CLOCK_TICK: u64 = 1_000_000_000 / 100;

fn kernel_facts(raw: &ProcessRecord) -> KernelFacts {
    let facts = &raw.facts;
    let [code, stack] = facts.image;
    KernelFacts {
        trial: raw.header.length,
        decided: raw.header.flags & process_flags::DECIDED != 0,
        start_time: (facts.start_time != 0).then_some(facts.start_time / CLOCK_TICK),
        image: (code != 0 && stack != 0).then_some((code, stack)),
        parent: (facts.parent != 0).then_some(facts.parent),
        user: (facts.user != UNKNOWN_USER).then_some(facts.user),
        file: (facts.exe.inode != 0).then_some(facts.exe),
        ..KernelFacts::default()
    }
}

fn executed(raw: &ExecRecord, reported: KernelFacts) -> KernelFacts {
    let whole =
        |length: u32, most: usize| usize::try_from(length).ok().filter(|length| (1..=most).contains(length));
    let name = whole(raw.name_length, EXEC_NAME - 1).and_then(|length| raw.name.get(..length - 1));
    let arguments =
        whole(raw.arguments_length, EXEC_ARGUMENTS).and_then(|length| raw.arguments.get(..length));
    KernelFacts {
        name: name.and_then(|name| str::from_utf8(name).ok()).map(str::to_owned),
        arguments: arguments.map(|area| arguments_in(area.strip_suffix(&[0]).unwrap_or(area))),
        ..reported
    }
}

#[cfg(test)]
mod tests {
    use agent_common::IN;
    use proptest::prelude::*;

    use super::*;

    fn raw_transfer(length: u32, head: u32, tail: u32) -> RawTransfer {
        RawTransfer {
            header: Header {
                kind: kind::TRANSFER,
                direction: IN as u8,
                not_captured: not_captured::NONE,
                flags: 0,
                length,
                at: 7,
            },
            cookie: 3,
            position: 10,
            pid: 1,
            tid: 2,
            head,
            tail,
        }
    }

    #[test]
    fn a_transfer_keeps_its_bytes() {
        let mut record = bytemuck::bytes_of(&raw_transfer(100, 3, 2)).to_vec();
        record.extend(b"abcyz\0\0\0");
        let Some(Notice::Event(Event::Transfer(t))) = decode(&record) else { panic!("not decoded") };
        assert_eq!((t.head, t.tail, t.length, t.direction), (&b"abc"[..], &b"yz"[..], 100, Direction::In));
        assert_eq!(t.last_receive, None);
    }

    /// Last receive, task, and drop counts of the transfer of a record that has the parts of `flags`.
    fn decoded(flags: u8, parts: &[u8]) -> Option<(Option<u64>, Option<Task>, [u64; 2])> {
        let mut raw = raw_transfer(3, 3, 0);
        raw.header.flags = flags;
        let record = [bytemuck::bytes_of(&raw), parts, b"abc"].concat();
        let Notice::Event(Event::Transfer(t)) = decode(&record)? else { panic!("no transfer") };
        assert_eq!(t.head, b"abc");
        let last = t.last_receive.map(|last| last.connection.0 + last.position);
        Some((last, t.task, [t.dropped, t.process_drops]))
    }

    #[test]
    fn a_record_has_the_parts_that_its_flags_name() {
        let last = RawLastReceive { cookie: 500, position: 6 };
        let last = bytemuck::bytes_of(&last);
        let rest = TransferRest { dropped: 7, process_drops: 8, task: 9 };
        let rest = bytemuck::bytes_of(&rest);
        let has_last = transfer_flags::LAST_RECEIVE;
        let has_rest = transfer_flags::REST | transfer_flags::GOROUTINE;
        let task = Some(Task::Goroutine(9));
        assert_eq!(decoded(0, &[]), Some((None, None, [0, 0])));
        assert_eq!(decoded(has_last, last), Some((Some(506), None, [0, 0])));
        assert_eq!(decoded(has_rest, rest), Some((None, task, [7, 8])));
        assert_eq!(decoded(has_last | has_rest, &[last, rest].concat()), Some((Some(506), task, [7, 8])));
        // What the flags name is not there.
        assert_eq!(decoded(has_last | has_rest, &[]), None);
        assert_eq!(decoded(has_last | has_rest, last), None);
    }

    #[test]
    fn a_position_whose_sums_overflow_is_none() {
        let at = |position| bytemuck::bytes_of(&RawTransfer { position, ..raw_transfer(5, 0, 0) }).to_vec();
        assert!(decode(&at(MAX_POSITION)).is_some());
        assert!(decode(&at(MAX_POSITION + 1)).is_none() && decode(&at(u64::MAX - 4)).is_none());
    }

    #[test]
    fn a_transfer_with_a_fin_also_ends_its_direction() {
        let mut raw = raw_transfer(5, 5, 0);
        raw.header.flags = transfer_flags::FIN;
        let mut record = bytemuck::bytes_of(&raw).to_vec();
        record.extend(b"hello");
        let Some(Notice::Last(_, Event::HalfClosed { position, .. })) = decode(&record) else {
            panic!("no end")
        };
        assert_eq!(position, 15);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for (length, head, tail) in [(2, 3, 0), (100, 200, 0), (100, 4, 4)] {
            let mut record = bytemuck::bytes_of(&raw_transfer(length, head, tail)).to_vec();
            record.extend(b"abcd");
            assert!(decode(&record).is_none(), "{length} {head} {tail}");
        }
    }

    #[test]
    fn ipv4_addresses_are_shown_as_such() {
        let mut octets = [0; 16];
        octets[10] = 0xff;
        octets[11] = 0xff;
        octets[12..].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(address(octets, 80).to_string(), "127.0.0.1:80");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_decoded(record in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(&record));
        }
    }
}
