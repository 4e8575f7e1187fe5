//! The host that is watched: what happens on its connections becomes events as the kernel makes them, feedback obeyed.

use std::{net::SocketAddr, sync::Arc};

use super::{
    script::Script,
    timeline::{Fate, Happening, What},
};
use crate::{
    event::{
        Actor, CaptureMode, Closed, ConnectionId, Direction, Earlier, Event, Feedback, Layer, LocalClosed,
        NotCaptured, Opened, ProcessFacts, Thread, Timestamp, Transfer,
    },
    pipeline::{Engine, Eviction, LedgerTotals, Settings},
    trace::span::{Span, SpanEvent},
};

pub(super) const UNIX_OFFSET: u64 = 1_700_000_000_000_000_000;

/// What the kernel keeps of a connection.
#[derive(Debug, Clone)]
struct Entry {
    /// Bytes that had passed at first sight.
    base: [usize; 2],
    dropped: [u64; 2],
    skipped: [u64; 2],
    skip_until: [u64; 2],
    opaque: bool,
    /// Positions that events told of.
    told: [u64; 2],
    /// Bytes that had moved at first sight and were told of later.
    before: [u64; 2],
}

/// One connection and what passes on it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) id: ConnectionId,
    pub(super) script: Arc<Script>,
    entry: Option<Entry>,
    /// The record of its first sight is lost.
    pub(super) opened_lost: bool,
    /// Bytes that have passed.
    position: [usize; 2],
    /// Bytes that passed without an event since first sight, unless skipped on purpose.
    lost: [u64; 2],
    /// Times that the engine wanted to hear no more of it.
    pub(super) forgotten: u64,
    /// When it was first seen since it was last forgotten, and from which positions on.
    pub(super) sights: Vec<(u64, [usize; 2])>,
    /// Sequence numbers of the first bytes.
    pub(super) sequences: [u32; 2],
    /// Its first sight.
    opened: Option<Opened>,
}

impl Socket {
    pub(super) fn new(id: u64, script: Arc<Script>) -> Self {
        Self {
            id: ConnectionId(id),
            script,
            entry: None,
            opened_lost: false,
            position: [0; 2],
            lost: [0; 2],
            forgotten: 0,
            sights: Vec::new(),
            sequences: [7 * u32::try_from(id).expect("there are few"), u32::MAX - 20],
            opened: None,
        }
    }

    fn thread(&self) -> Thread {
        let pid = u32::try_from(self.id.0).expect("there are few");
        Thread { pid, tid: pid * 10 }
    }
}

#[derive(Debug)]
pub(super) struct Host {
    engine: Engine,
    pub(super) sockets: Vec<Socket>,
    pub(super) spans: Vec<Span>,
    now: u64,
    /// A host that is not told what to leave out.
    pub(super) deaf: bool,
}

impl Host {
    pub(super) fn new(settings: Settings, scripts: impl IntoIterator<Item = Arc<Script>>) -> Self {
        let sockets: Vec<_> = (1..).zip(scripts).map(|(id, script)| Socket::new(id, script)).collect();
        let mut host =
            Self { engine: Engine::new(settings), sockets, spans: Vec::new(), now: 0, deaf: false };
        host.feed(&Event::Clock { at: Timestamp(0), unix_offset: UNIX_OFFSET });
        host.feed(&Event::RunKey(*b"a key for a test"));
        for index in 0..host.sockets.len() {
            let pid = host.sockets[index].thread().pid;
            let facts = ProcessFacts { pid, service_name: "s".into(), ..ProcessFacts::default() };
            host.feed(&Event::Process { at: Timestamp(0), facts: Box::new(facts) });
        }
        host
    }

    /// Plays one connection from its first happening on, then ends.
    pub(super) fn play<'a>(mut self, happenings: impl IntoIterator<Item = &'a Happening>) -> Self {
        for happening in happenings {
            self.happen(0, happening);
        }
        self.shutdown();
        self
    }

    pub(super) fn happen(&mut self, number: usize, happening: &Happening) {
        self.now = self.now.max(happening.at);
        match &happening.what {
            What::Call { direction, range, fate } => {
                self.call(number, happening.at, *direction, range.clone(), *fate);
            }
            What::Fin { direction, lost } => self.fin(number, happening.at, *direction, *lost),
            What::Tick => self.feed(&Event::Tick { at: Timestamp(happening.at) }),
            What::Close { lost } => self.close(number, happening.at, *lost),
        }
    }

    /// Bytes that pass while nobody looks: the connection is older than the agent.
    pub(super) fn pass(&mut self, number: usize, happening: &Happening) {
        if let What::Call { direction, range, .. } = &happening.what {
            self.sockets[number].position[direction.index()] = range.end;
        }
    }

    pub(super) fn shutdown(&mut self) {
        self.feed(&Event::Shutdown { at: Timestamp(self.now + MARGIN) });
        assert_eq!((self.engine.connections(), self.engine.buffered()), (0, 0), "something is left");
    }

    pub(super) fn evicted(&self) -> Vec<(Eviction, u64)> {
        self.engine.tally().evicted().collect()
    }

    pub(super) fn ledger(&self) -> LedgerTotals {
        self.engine.tally().ledger
    }

    fn first_sight(&mut self, number: usize, at: u64) {
        let socket = &mut self.sockets[number];
        let base = socket.position;
        let sequence = |index: usize| {
            socket.sequences[index].wrapping_add(u32::try_from(base[index]).expect("it is short"))
        };
        let first_sequence = [sequence(0), sequence(1)];
        let port = 1000 + u16::try_from(number).expect("there are few");
        socket.sights.push((at, base));
        socket.lost = [0; 2];
        socket.entry = Some(Entry {
            base,
            dropped: [0; 2],
            skipped: [0; 2],
            skip_until: [0; 2],
            opaque: false,
            told: [0; 2],
            before: [0; 2],
        });
        let opened = Opened {
            at: Timestamp(at),
            connection: socket.id,
            thread: socket.thread(),
            local: SocketAddr::from(([10, 0, 0, 1], port)).into(),
            peer: SocketAddr::from(([10, 0, 0, 2], 80)).into(),
            network_namespace: 1,
            first_sequence,
            first_position: FIRST_POSITION,
            earlier: base.map(|base| if base == 0 { Earlier::Nothing } else { Earlier::Bytes(base as u64) }),
        };
        socket.opened = Some(opened.clone());
        if !socket.opened_lost {
            self.feed(&Event::Opened(opened));
        }
    }

    /// Another CPU met the connection at the same time.
    pub(super) fn meet_again(&mut self, number: usize) {
        let opened = self.sockets[number].opened.clone().expect("it was met");
        self.feed(&Event::Opened(opened));
    }

    fn call(
        &mut self,
        number: usize,
        at: u64,
        direction: Direction,
        range: std::ops::Range<usize>,
        fate: Fate,
    ) {
        if self.sockets[number].entry.is_none() {
            self.first_sight(number, at);
        }
        let index = direction.index();
        let socket = &mut self.sockets[number];
        socket.position[index] = socket.position[index].max(range.end);
        let Some(entry) = socket.entry.as_mut() else { return };
        let position = FIRST_POSITION + range.start as u64 - entry.base[index] as u64;
        entry.before[index] += FIRST_POSITION.saturating_sub(position);
        let length = range.len() as u64;
        if entry.opaque || position + length <= entry.skip_until[index] {
            entry.skipped[index] += length;
            return;
        }
        match fate {
            Fate::Dropped => entry.dropped[index] += length,
            Fate::Unseen => socket.lost[index] += length,
            _ => {}
        }
        if matches!(fate, Fate::Dropped | Fate::Unseen) {
            return;
        }
        entry.told[index] = position + length;
        let dropped = entry.dropped[index];
        let script = Arc::clone(&socket.script);
        let bytes = &script.of(direction).bytes[range];
        let (head, tail) = match fate {
            Fate::Captured(head, tail) if head + tail < bytes.len() => {
                (&bytes[..head], &bytes[bytes.len() - tail..])
            }
            Fate::NotCaptured => (&[][..], &[][..]),
            _ => (bytes, &[][..]),
        };
        let transfer = Transfer {
            at: Timestamp(at),
            connection: socket.id,
            layer: Layer::Wire,
            direction,
            position,
            length: u32::try_from(bytes.len()).expect("a call is small"),
            thread: socket.thread(),
            head,
            tail,
            not_captured: (fate == Fate::NotCaptured).then_some(NotCaptured::Fault),
            last_receive: None,
            task: None,
            dropped,
            process_drops: dropped,
        };
        self.feed(&Event::Transfer(transfer));
    }

    fn fin(&mut self, number: usize, at: u64, direction: Direction, lost: bool) {
        let socket = &self.sockets[number];
        let Some(entry) = &socket.entry else { return };
        if lost || entry.opaque {
            return;
        }
        let passed = (socket.position[direction.index()] - entry.base[direction.index()]) as u64;
        let position = FIRST_POSITION + passed;
        self.feed(&Event::HalfClosed {
            at: Timestamp(at),
            connection: socket.id,
            layer: Layer::Wire,
            direction,
            position,
            actor: None,
        });
    }

    /// The end; what is told of it must balance to the byte.
    fn close(&mut self, number: usize, at: u64, lost: bool) {
        let socket = &mut self.sockets[number];
        let Some(entry) = socket.entry.take() else { return };
        if lost {
            return;
        }
        let observed = [0, 1].map(|index| (socket.position[index] - entry.base[index]) as u64);
        let (connection, unseen, told) = (socket.id, socket.lost, !socket.opened_lost);
        let thread = socket.thread();
        // Servers close first here, whether or not their FIN was told.
        let peer_finished = socket.script.client == Direction::Out;
        let before = self.ledger();
        self.feed(&Event::LocalClosed(LocalClosed {
            at: Timestamp(at),
            connection,
            actor: Actor { thread, task: None, last_receive: None },
            position: observed.map(|observed| FIRST_POSITION + observed),
            peer_finished,
        }));
        self.feed(&Event::Closed(Closed {
            at: Timestamp(at),
            connection,
            layer: Layer::Wire,
            errno: 0,
            observed,
            dropped: entry.dropped,
            skipped: entry.skipped,
        }));
        if !told {
            return;
        }
        let after = self.ledger();
        let moved = |field: fn(&LedgerTotals) -> u64| field(&after) - field(&before);
        let all = observed.iter().chain(&entry.before).sum::<u64>();
        assert_eq!(moved(|ledger| ledger.observed), all);
        assert_eq!(moved(|ledger| ledger.dropped), entry.dropped.iter().sum::<u64>());
        assert_eq!(moved(|ledger| ledger.unseen), unseen.iter().sum::<u64>());
        let read =
            moved(|ledger| ledger.parsed) + moved(|ledger| ledger.skipped) + moved(|ledger| ledger.truncated);
        let missing = moved(|ledger| ledger.dropped) + moved(|ledger| ledger.unseen);
        assert_eq!(read + missing, all);
    }

    fn feed(&mut self, event: &Event<'_>) {
        self.engine.feed(event);
        assert_eq!(self.engine.tally().ledger.violations, 0, "after {event:?}");
        let orders: Vec<_> = self.engine.drain_feedback().collect();
        for order in orders {
            self.obey(order);
        }
        self.spans.extend(self.engine.drain().filter_map(|traced| match traced {
            SpanEvent::Span(span) => Some(*span),
            SpanEvent::Open(_) => None,
        }));
    }

    fn obey(&mut self, order: Feedback) {
        let id = order.connection();
        let Some(socket) = self.sockets.iter_mut().find(|socket| socket.id == id) else { return };
        if matches!(order, Feedback::Forget { .. }) {
            socket.forgotten += 1;
            socket.entry = None;
            return;
        }
        let Some(entry) = socket.entry.as_mut().filter(|_| !self.deaf) else { return };
        match order {
            Feedback::Capture { directions, .. } => {
                entry.skip_until = directions.map(|capture| capture.skip_until);
                entry.opaque = directions.iter().all(|capture| capture.mode == CaptureMode::Nothing);
            }
            Feedback::Forget { .. } => {}
        }
    }
}

/// Where both directions of a connection stand at first sight.
const FIRST_POSITION: u64 = 1 << 32;

/// After the last event.
const MARGIN: u64 = 1_000;
