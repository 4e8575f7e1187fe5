//! What is read by the shortcuts for ordinary messages and transfers is what the careful paths read, on any connection: whole and
//! cut, pipelined, lost, late, malformed.

use proptest::{prelude::*, sample::Index};

use super::conversation::{Conversation, MILLISECOND};
use crate::{
    careful,
    event::{Direction, Earlier, NotCaptured},
    protocol::{Interest, Limits},
};

const METHODS: [&str; 8] = ["GET", "GET", "POST", "POST", "PUT", "HEAD", "CONNECT", "get"];
const TARGETS: [&str; 5] = ["/", "/a?b=c", "/\u{e9}", "http://a.example/", "/a b"];
const STATUSES: [&str; 11] = [
    "200 OK",
    "200 OK",
    "201 Created",
    "404",
    "204 No Content",
    "304 Not Modified",
    "101 Switching",
    "100 Continue",
    "103 Early Hints",
    "99 x",
    "200",
];
const FIELDS: [&str; 8] = [
    "Host: a.example\r\n",
    "user-agent:  b\tc \r\n",
    "Accept : */*\r\nVia: d\r\n",
    "X-Request-ID: 7\r\n",
    "Cookie: e\r\n f\r\n",
    "traceparent: 00-1-2-01\ntracestate: g=h\r\n",
    "Upgrade: websocket\r\n",
    "Connection: close\r\nno field\r\n",
];
/// What says where a body ends, and the body.
const BODIES: [(&str, &str); 10] = [
    ("", ""),
    ("", ""),
    ("Content-Length: 0\r\n", ""),
    ("Content-Length: 5\r\n", "hello"),
    ("content-length:5\r\n", "hello"),
    ("Content-Length: 5\r\nExpect: 100-continue\r\n", "hello"),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("Content-Length: 5, 6\r\n", "hello!"),
    ("Content-Length: 70000\r\n", "a part"),
    ("", "as much as there is"),
];

fn fields() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&FIELDS[..]), 0..5).prop_map(|fields| fields.concat())
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = (prop::sample::select(&METHODS[..]), prop::sample::select(&TARGETS[..]));
    (line, fields(), prop::sample::select(&BODIES[..])).prop_map(|((method, target), fields, body)| {
        format!("{method} {target} HTTP/1.1\r\n{fields}{}\r\n{}", body.0, body.1).into_bytes()
    })
}

fn response() -> impl Strategy<Value = Vec<u8>> {
    let status = prop::sample::select(&STATUSES[..]);
    (status, fields(), prop::sample::select(&BODIES[..])).prop_map(|(status, fields, body)| {
        format!("HTTP/1.1 {status}\r\n{fields}{}\r\n{}", body.0, body.1).into_bytes()
    })
}

/// What becomes of a transfer.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Seen,
    Unseen,
    Dropped,
    NotCaptured,
    CutByCapture,
    AfterTheNextOne,
    Twice,
    AfterIdleness,
    BeforeTick,
    BeforeFin,
}

fn fate() -> impl Strategy<Value = Fate> {
    let odd = [
        Fate::Unseen,
        Fate::Dropped,
        Fate::NotCaptured,
        Fate::CutByCapture,
        Fate::AfterTheNextOne,
        Fate::Twice,
        Fate::AfterIdleness,
        Fate::BeforeTick,
        Fate::BeforeFin,
    ];
    prop_oneof![8 => Just(Fate::Seen), 1 => prop::sample::select(odd.to_vec())]
}

/// A direction, bytes, and what becomes of them.
type Step = (Direction, Vec<u8>, Fate);

/// A message in one transfer or two.
fn message(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<(Vec<u8>, Fate)>> {
    let cut = prop_oneof![2 => Just(None), 1 => any::<Index>().prop_map(Some)];
    (bytes, cut, fate(), fate()).prop_map(|(mut bytes, cut, fate, other)| match cut {
        None => vec![(bytes, fate)],
        Some(cut) => {
            let rest = bytes.split_off(cut.index(bytes.len()));
            vec![(bytes, fate), (rest, other)]
        }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // At times the client does not wait, or a message is missing.
    let exchange = (message(request()), message(response()), 0..12_u8);
    let exchanges = prop::collection::vec(exchange, 1..12);
    // Both ends may also talk at once.
    let swaps = prop::collection::vec(any::<Index>(), 0..3);
    (exchanges, any::<bool>(), swaps).prop_map(|(exchanges, client_is_traced, swaps)| {
        let client = if client_is_traced { Direction::Out } else { Direction::In };
        let mut steps = vec![];
        let mut late = vec![];
        for (request, response, kind) in exchanges {
            let of = |direction: Direction| move |(bytes, fate)| (direction, bytes, fate);
            if kind != 0 {
                steps.extend(request.into_iter().map(of(client)));
            }
            if kind > 2 {
                steps.append(&mut late);
            }
            if kind != 1 {
                late.extend(response.into_iter().map(of(client.reverse())));
            }
            if kind > 3 {
                steps.append(&mut late);
            }
        }
        steps.append(&mut late);
        steps.retain(|step| !step.1.is_empty());
        for swap in swaps {
            let first = swap.index(steps.len().max(1));
            // The order of a direction is that of its bytes.
            if let Some([one, other]) = steps.get_mut(first..first + 2)
                && one.0 != other.0
            {
                std::mem::swap(one, other);
            }
        }
        steps
    })
}

/// What can be seen of a conversation.
fn seen(it: &Conversation) -> impl PartialEq + std::fmt::Debug + use<> {
    let (connection, out) = (&it.connection, &it.out);
    let state =
        (connection.snapshot(), connection.buffered(), connection.needs_tick(), connection.is_opaque());
    let reported = (out.report.messages.clone(), out.report.exporters.clone(), out.feedback.clone());
    (state, reported, format!("{:?} {:?}", out.counters, out.stream))
}

fn step(
    it: &mut Conversation,
    (direction, bytes, fate): &Step,
    late: &mut Option<(Direction, u64, Vec<u8>)>,
) {
    let index = direction.index();
    it.now += if matches!(fate, Fate::AfterIdleness) { 200 } else { 1 } * MILLISECOND;
    let position = it.position[index];
    it.position[index] += bytes.len() as u64;
    match fate {
        Fate::Unseen => {}
        Fate::Dropped => it.dropped[index] += bytes.len() as u64,
        Fate::NotCaptured => it.at(*direction, position, bytes, Some(NotCaptured::Fault)),
        Fate::AfterTheNextOne if late.is_none() => {
            *late = Some((*direction, position, bytes.clone()));
            return;
        }
        Fate::CutByCapture => {
            it.capture = (40, 4);
            it.at(*direction, position, bytes, None);
            it.capture = (usize::MAX, 0);
        }
        _ => it.at(*direction, position, bytes, None),
    }
    if let Some((direction, position, bytes)) = late.take() {
        it.at(direction, position, &bytes, None);
    }
    match fate {
        Fate::Twice => it.at(*direction, position, bytes, None),
        Fate::BeforeTick => drop(it.tick(150)),
        Fate::BeforeFin => drop(it.fin(*direction)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_shortcut_and_the_careful_path_report_the_same(
        steps in steps(),
        from_start in prop_oneof![4 => Just([true; 2]), 1 => any::<[bool; 2]>()],
        pending_requests in prop_oneof![4 => Just(256_usize), 1 => 0..4_usize],
        content in any::<bool>(),
        ending in 0..4_u8,
    ) {
        let limits = Limits { pending_requests, ..Limits::default() };
        let conversation = || {
            let mut it = Conversation::joined(limits, 0, from_start.map(Earlier::unless));
            it.out.interest = Interest::in_fields(if content { &["via"][..] } else { &[] }.iter().copied());
            it.out.interest.content = content;
            it
        };
        let (mut quick, mut careful) = (conversation(), conversation());
        let (mut late, mut late_careful) = (None, None);
        for one in &steps {
            step(&mut quick, one, &mut late);
            careful::run(|| step(&mut careful, one, &mut late_careful));
            prop_assert_eq!(seen(&quick), seen(&careful), "after {:?}", one);
        }
        let end = |it: &mut Conversation| match ending {
            0 => drop(it.let_go(false)),
            1 => drop(it.close(104)),
            2 => drop(it.close(0)),
            _ => drop(it.tick(1_000)),
        };
        end(&mut quick);
        careful::run(|| end(&mut careful));
        prop_assert_eq!(seen(&quick), seen(&careful));
    }
}
