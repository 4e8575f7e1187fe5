//! What holds for any conversation, however it is cut, shuffled, doubled, thinned or made up.

use std::collections::HashSet;

use proptest::prelude::*;

use super::{
    View, line, options, run,
    talk::{Client, Packet, Server, Talk, request, response},
};

/// Some requests with their responses, each in segments of its own sizes, starting close to where
/// numbers wrap.
fn talks() -> impl Strategy<Value = Talk> {
    let exchange = (0..400_usize, 1..120_usize, 1..120_usize);
    (
        prop::collection::vec(exchange, 1..6),
        any::<[u16; 2]>(),
        any::<bool>(),
        prop::sample::select(vec![100, 7_000, 60_000]),
    )
        .prop_map(|(exchanges, before, bye, step)| {
            let ends = ["10.0.0.9:80", "10.0.0.1:54321"].map(|end| end.parse().unwrap());
            let first = before.map(|before| 0_u32.wrapping_sub(u32::from(before) % 3_000));
            let mut talk = Talk::between(ends[0], ends[1], first);
            talk.step = step;
            talk = talk.handshake();
            for (index, (body, up, down)) in exchanges.into_iter().enumerate() {
                let path = format!("/path/{index}");
                let status = 200 + u16::try_from(index).unwrap();
                talk =
                    talk.say_cut(Client, &request(&path), up).say_cut(Server, &response(status, body), down);
            }
            if bye { talk.bye() } else { talk }
        })
}

fn spans(talk: &Talk, view: View) -> Vec<String> {
    let outcome = run(&talk.file(), &options(view));
    assert_eq!(outcome.violations, 0);
    outcome.lines()
}

/// Moves packets by at most `distance` places, sends some twice, leaves the times ascending.
fn shuffled(talk: &Talk, moves: &[(usize, usize)], doubled: &[usize]) -> Talk {
    let mut talk = talk.clone();
    let times: Vec<u64> = talk.packets.iter().map(|packet| packet.at).collect();
    for index in doubled {
        let index = index % talk.packets.len();
        let packet = talk.packets[index].clone();
        talk.packets.insert((index + 3).min(talk.packets.len()), packet);
    }
    // The handshake stays in front: what comes before it is before the connection.
    let room = talk.packets.len() - 3;
    for (from, distance) in moves {
        let from = 3 + from % room;
        let to = (from + distance).min(talk.packets.len() - 1);
        let packet = talk.packets.remove(from);
        talk.packets.insert(to, packet);
    }
    // Within the wait for what was acknowledged.
    let step = 40_000 / talk.packets.len() as u64;
    for (index, packet) in talk.packets.iter_mut().enumerate() {
        packet.at = times[0] + index as u64 * step;
    }
    talk
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn order_and_repetition_change_nothing(
        talk in talks(),
        moves in prop::collection::vec((any::<usize>(), 1..6_usize), 0..12),
        doubled in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let other = shuffled(&talk, &moves, &doubled);
        for view in [View::Client, View::Server] {
            prop_assert_eq!(spans(&talk, view), spans(&other, view));
        }
    }

    #[test]
    fn a_missing_packet_invents_nothing(talk in talks(), at in any::<usize>(), more in any::<bool>()) {
        let known: HashSet<String> = spans(&talk, View::Client).into_iter().collect();
        let mut thinned = talk.clone();
        thinned.packets.remove(at % talk.packets.len());
        if more {
            thinned.packets.remove(at / 7 % thinned.packets.len());
        }
        let outcome = run(&thinned.file(), &options(View::Client));
        prop_assert_eq!(outcome.violations, 0);
        for span in outcome.spans {
            prop_assert!(!span.incomplete.is_empty() || known.contains(&line(&span)), "{}", line(&span));
        }
    }

    #[test]
    fn any_start_gives_spans_of_the_whole(talk in talks(), at in any::<usize>()) {
        let known: HashSet<String> = spans(&talk, View::Client).into_iter().collect();
        let mut late = talk.clone();
        late.packets.drain(..at % talk.packets.len());
        for span in run(&late.file(), &options(View::Client)).spans {
            prop_assert!(!span.incomplete.is_empty() || known.contains(&line(&span)), "{}", line(&span));
        }
    }

    /// Each direction by a tap of its own, whose clocks differ; from any packet on.
    #[test]
    fn two_clocks_invent_nothing(
        talk in talks(),
        ahead in any::<bool>(),
        by in prop::sample::select(vec![50_u64, 250, 8_000, 30_000]),
        first in any::<usize>(),
        late in any::<bool>(),
    ) {
        let known: HashSet<String> = spans(&talk, View::Client).into_iter().collect();
        let mut other = talk.clone();
        let side = talk.packets[usize::from(ahead)].source;
        for packet in other.packets.iter_mut().filter(|packet| packet.source == side) {
            packet.at -= by;
        }
        other.packets.sort_by_key(|packet| packet.at);
        if late {
            other.packets.drain(..first % talk.packets.len());
        }
        let outcome = run(&other.file(), &options(View::Client));
        prop_assert_eq!(outcome.violations, 0);
        prop_assert!(late || outcome.spans.len() == known.len(), "{:?}", outcome.lines());
        for span in outcome.spans {
            prop_assert!(!span.incomplete.is_empty() || known.contains(&line(&span)), "{}", line(&span));
        }
    }

    #[test]
    fn headers_of_any_kind_do_no_harm(
        talk in talks(),
        changes in prop::collection::vec((any::<usize>(), any::<[u32; 2]>(), any::<[bool; 4]>()), 1..10),
    ) {
        let mut talk = talk;
        let count = talk.packets.len();
        for (index, [sequence, ack], [syn, fin, rst, acks]) in changes {
            let old = talk.packets[index % count].clone();
            let ack = acks.then_some(ack);
            talk.packets[index % count] = Packet { sequence, ack, syn, fin, rst, ..old };
        }
        for view in [View::Client, View::Both] {
            prop_assert_eq!(run(&talk.file(), &options(view)).violations, 0);
        }
    }

    #[test]
    fn damaged_files_do_no_harm(
        talk in talks(),
        snaplen in 40..200_usize,
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..40),
    ) {
        let mut bytes = talk.cut_file(snaplen);
        let length = bytes.len();
        for (index, value) in changes {
            bytes[24 + index % (length - 24)] = value;
        }
        prop_assert_eq!(run(&bytes, &options(View::Both)).violations, 0);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0..5_usize) {
        let order = super::files::Order(kind == 4);
        let front = match kind {
            0 => vec![],
            1 => [0xa1b2_c3d4_u32, 0, 0, 0, 0, 1].map(u32::to_be_bytes).concat(),
            2 => vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0],
            _ => [order.section(), order.block(1, &[0, 1, 0, 0, 0, 0, 0, 0])].concat(),
        };
        let bytes = [front, bytes].concat();
        let _ = super::read(&bytes[..], &options(View::Both), &mut |_| {});
    }
}
