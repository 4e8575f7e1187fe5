//! One end of a connection, as the pipeline knows it: bytes on the wire become the transfers of
//! that end.

use std::{
    hash::Hasher,
    net::{IpAddr, SocketAddr},
};

use siphasher::sip::SipHasher13;

use super::{View, piece::Piece};
use crate::event::{
    Closed, ConnectionId, Direction, Earlier, Event, FIRST_VIRTUAL_PID, Layer, Opened, ProcessFacts, Thread,
    Timestamp, Transfer,
};

/// No secret: the ids of the same capture are the same wherever it is read.
const ID_KEY: &[u8; 16] = b"wirespan.capture";

/// The two processes of all ends: all clients, and all servers. Neither exists.
const CLIENTS: u32 = FIRST_VIRTUAL_PID;
const SERVERS: u32 = FIRST_VIRTUAL_PID + 1;

/// What both ends of a connection have in common, the client's first in every pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    pub(super) ends: [SocketAddr; 2],
    /// Sequence numbers of position 0.
    pub(super) bases: [u32; 2],
    pub(super) from_start: [bool; 2],
}

/// One end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoint {
    id: ConnectionId,
    server: bool,
}

impl Endpoint {
    /// The ends that `view` is of, the client's first.
    pub(super) fn of(view: View, flow: &Flow) -> impl Iterator<Item = Self> {
        let endpoint = |server| Self { id: id(flow, server), server };
        [(view != View::Server).then(|| endpoint(false)), (view != View::Client).then(|| endpoint(true))]
            .into_iter()
            .flatten()
    }

    pub(super) fn opened(&self, at: Timestamp, flow: &Flow) -> Event<'static> {
        let own = usize::from(self.server);
        let pair = |client_first: [_; 2]| [client_first[own], client_first[1 - own]];
        let [local, peer] = flow.ends;
        let [local, peer] = if self.server { [peer, local] } else { [local, peer] };
        Event::Opened(Opened {
            at,
            connection: self.id,
            thread: self.thread(),
            local: local.into(),
            peer: peer.into(),
            network_namespace: 0,
            first_sequence: pair(flow.bases),
            first_position: 0,
            earlier: [own, 1 - own].map(|end| Earlier::unless(flow.from_start[end])),
        })
    }

    /// `lost`: bytes of holes before the piece, summed over the whole direction. The pipeline need
    /// not wait for them.
    pub(super) fn transfer<'a>(&self, from_client: bool, piece: Piece<'a>, lost: u64) -> Event<'a> {
        Event::Transfer(Transfer {
            at: piece.at,
            connection: self.id,
            layer: Layer::Wire,
            direction: self.direction(from_client),
            position: piece.position,
            length: piece.length,
            thread: self.thread(),
            head: piece.bytes,
            tail: &[],
            not_captured: None,
            last_receive: None,
            task: None,
            dropped: lost,
            process_drops: 0,
        })
    }

    pub(super) fn half_closed(&self, at: Timestamp, from_client: bool, position: u64) -> Event<'static> {
        Event::HalfClosed {
            at,
            connection: self.id,
            layer: Layer::Wire,
            direction: self.direction(from_client),
            position,
            actor: None,
        }
    }

    /// `observed` and `lost` are those of the client's bytes, then of the server's.
    /// `reset_by_client`: who sent the RST; the sender's own socket has no error.
    pub(super) fn closed(
        &self,
        at: Timestamp,
        observed: [u64; 2],
        lost: [u64; 2],
        reset_by_client: Option<bool>,
    ) -> Event<'static> {
        let by_direction =
            |[client, server]: [u64; 2]| if self.server { [server, client] } else { [client, server] };
        let reset = reset_by_client.is_some_and(|by_client| by_client == self.server);
        Event::Closed(Closed {
            at,
            connection: self.id,
            layer: Layer::Wire,
            errno: if reset { ECONNRESET } else { 0 },
            observed: by_direction(observed),
            dropped: by_direction(lost),
            skipped: [0; 2],
        })
    }

    fn direction(&self, from_client: bool) -> Direction {
        if from_client == self.server { Direction::In } else { Direction::Out }
    }

    const fn thread(&self) -> Thread {
        let pid = if self.server { SERVERS } else { CLIENTS };
        Thread { pid, tid: pid }
    }
}

const ECONNRESET: u16 = 104;

/// Clients and servers are two processes of which only the service name is known.
pub(super) fn processes(at: Timestamp, service_name: &str) -> [Event<'static>; 2] {
    [CLIENTS, SERVERS].map(|pid| Event::Process {
        at,
        facts: Box::new(ProcessFacts { pid, service_name: service_name.into(), ..ProcessFacts::default() }),
    })
}

/// Takes the place of the socket cookie: addresses, ports, first sequence numbers, and which end it
/// is.
fn id(flow: &Flow, server: bool) -> ConnectionId {
    let mut hasher = SipHasher13::new_with_key(ID_KEY);
    for (end, base) in flow.ends.iter().zip(flow.bases) {
        let address = match end.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        hasher.write(&address.octets());
        hasher.write(&end.port().to_le_bytes());
        hasher.write(&base.to_le_bytes());
    }
    hasher.write(&[u8::from(server)]);
    ConnectionId(hasher.finish().max(1))
}
