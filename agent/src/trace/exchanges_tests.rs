//! Which exchanges are forgotten, and which are kept.

use std::num::NonZeroU32;

use super::*;
use crate::{
    event::{Earlier, Thread},
    pipeline::samples,
    protocol::Origin,
    trace::{causality::CausalLinks, connection_join::Partner, span::SpanId},
};

const REMEMBERED: Remembered = Remembered { in_all: 6, of_connection: 4 };

fn exchanges(connections: u64) -> Exchanges {
    let mut exchanges = Exchanges::new(REMEMBERED);
    let address = Endpoint::Inet(([127, 0, 0, 1], 80).into());
    for id in (0..connections).map(ConnectionId) {
        let opened = Opened {
            at: Timestamp(1),
            connection: id,
            thread: Thread { pid: 1, tid: 1 },
            local: address.clone(),
            peer: address.clone(),
            network_namespace: 1,
            first_sequence: [0; 2],
            first_position: 0,
            earlier: [Earlier::Nothing; 2],
        };
        exchanges.insert(id, Connection::new(&opened));
    }
    exchanges
}

fn push(exchanges: &mut Exchanges, connection: u64, ordinal: Ordinal) -> Key {
    let mut live = exchanges.spare();
    live.begin(Box::new(samples::client_span()), 0, Partner::Absent);
    let thread = Thread { pid: 1, tid: 1 };
    let origin = Origin { at: Timestamp(1), thread, position: ordinal, last_receive: None, task: None };
    let make = |key| Exchange {
        key,
        connection: ConnectionId(connection),
        ordinal,
        kind: SpanKind::Client,
        id: SpanId([1; 8]),
        at: Timestamp(1),
        position: ordinal,
        stream_offset: ordinal,
        receives_from: ordinal,
        pid: 1,
        context: None,
        fixed_early: false,
        passed_on: false,
        links: CausalLinks::of_call(0, &origin),
        live: Some(live),
    };
    exchanges.push(ConnectionId(connection), ordinal, make).unwrap()
}

fn push_exported(exchanges: &mut Exchanges, connection: u64, ordinal: Ordinal) -> Key {
    let key = push(exchanges, connection, ordinal);
    exchanges.take_live(key);
    key
}

fn known(exchanges: &Exchanges, connection: u64) -> Vec<Ordinal> {
    let connection = exchanges.connection(ConnectionId(connection)).unwrap();
    exchanges.of(connection).map(|exchange| exchange.ordinal).collect()
}

#[test]
fn a_connection_forgets_its_oldest_exported_exchange_even_behind_a_waiting_one() {
    let mut exchanges = exchanges(1);
    push(&mut exchanges, 0, 0);
    let keys: Vec<_> = (1..100).map(|ordinal| push_exported(&mut exchanges, 0, ordinal)).collect();
    assert_eq!(known(&exchanges, 0), [0, 97, 98, 99]);
    assert!(exchanges.connection(ConnectionId(0)).unwrap().exchanges.capacity() <= 4);
    for (ordinal, key) in (1..).zip(&keys) {
        let found = exchanges.get(*key).map(|found| found.ordinal);
        assert_eq!(found, (ordinal >= 97).then_some(ordinal), "slots are used again");
        assert_eq!(exchanges.key(ConnectionId(0), ordinal), found.map(|_| *key));
    }
    assert_eq!(exchanges.live, 1);
}

#[test]
fn numbers_begin_anew() {
    let mut exchanges = exchanges(1);
    exchanges.slots.count_from(NonZeroU32::MAX);
    let keys: Vec<_> = (0..3).map(|ordinal| push(&mut exchanges, 0, ordinal)).collect();
    let ordinals: Vec<_> =
        keys.iter().map(|key| exchanges.get(*key).map(|exchange| exchange.ordinal)).collect();
    assert_eq!(ordinals, [Some(0), Some(1), Some(2)]);
}

#[test]
fn a_key_does_not_name_the_next_exchange_of_its_slot() {
    let mut exchanges = exchanges(2);
    let old = push_exported(&mut exchanges, 0, 0);
    exchanges.remove(ConnectionId(0));
    let new = push(&mut exchanges, 1, 0);
    assert_eq!(old.slot(), new.slot());
    assert!(exchanges.get(old).is_none() && exchanges.get_mut(old).is_none());
    assert!(exchanges.get(new).is_some());
    exchanges.remove(ConnectionId(1));
    assert!(exchanges.get(new).is_none() && exchanges.slots.iter().next().is_none());
}

#[test]
fn open_exchanges_are_never_forgotten() {
    let mut exchanges = exchanges(1);
    for ordinal in 0..10 {
        push(&mut exchanges, 0, ordinal);
    }
    assert_eq!(known(&exchanges, 0).len(), 10);
}

#[test]
fn all_connections_together_forget_the_exchange_exported_first() {
    let mut exchanges = exchanges(10);
    for connection in 0..10 {
        push_exported(&mut exchanges, connection, 0);
    }
    let left: Vec<_> = (0..10).map(|connection| known(&exchanges, connection).len()).collect();
    assert_eq!(left, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    exchanges.remove(ConnectionId(4));
    push_exported(&mut exchanges, 5, 1);
    assert_eq!((known(&exchanges, 5), known(&exchanges, 6)), (vec![0, 1], vec![0]));
}
