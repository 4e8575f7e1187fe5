//! How a conversation is made up.

use proptest::prelude::*;

use crate::event::Direction;

/// What bodies are made of: text, whole messages of other conversations, and what frames them. No true path begins like
/// those here, and no true status is one of theirs.
pub(super) const FAKES: [&str; 10] = [
    "some text",
    "GET /fake/a HTTP/1.1\r\nHost: fake\r\n\r\n",
    "HTTP/1.1 299 Fake\r\nContent-Length: 0\r\n\r\n",
    "\r\n0\r\n\r\n",
    "\r\n\r\n",
    "POST /fake/b HTTP/1.1\r\nContent-Length: 30\r\n\r\nabc",
    "HTTP/1.1 298 Fake\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "................................................................................................",
    "5\r\nhello\r\n0\r\n\r\n",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length,
    Chunked,
}

#[derive(Debug, Clone)]
pub(super) struct BodyPlan {
    pub(super) framing: Framing,
    pub(super) pieces: Vec<u8>,
    pub(super) trailer: bool,
}

impl BodyPlan {
    pub(super) fn length(&self) -> usize {
        self.pieces.iter().map(|piece| FAKES[usize::from(*piece) % FAKES.len()].len()).sum()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interim {
    None,
    /// 103 right before the final response.
    Before,
    /// The client waits for 100 before it sends the body.
    Expected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ordinary,
    NoContent,
    NotModified,
}

/// How the conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// After complete exchanges.
    Clean,
    /// The last response has no length.
    UntilClose,
    /// The last response is 101, a tunnel follows.
    Upgrade,
}

#[derive(Debug, Clone)]
pub(super) struct ExchangePlan {
    pub(super) method: &'static str,
    pub(super) up: BodyPlan,
    pub(super) down: BodyPlan,
    pub(super) status: Status,
    pub(super) interim: Interim,
    /// Bytes of a field that says nothing.
    pub(super) filler: u16,
    /// It stands before the field that frames the body.
    pub(super) filler_first: bool,
    pub(super) idle: bool,
    /// The request is sent before the one before it is answered.
    pub(super) pipelined: bool,
    /// The oldest open request is answered before.
    pub(super) early: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) number: u64,
    pub(super) client: Direction,
    pub(super) exchanges: Vec<ExchangePlan>,
    pub(super) end: End,
}

impl Plan {
    pub(super) fn numbered(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// The client waits for each answer.
    pub(super) fn one_at_a_time(mut self) -> Self {
        for exchange in &mut self.exchanges {
            exchange.pipelined = false;
        }
        self
    }

    /// The client pipelines at once, so that everyone knows that it does, and says nothing that looks like a message.
    pub(super) fn pipelining(mut self) -> Self {
        for exchange in &mut self.exchanges {
            for body in [&mut exchange.up, &mut exchange.down] {
                body.pieces.iter_mut().for_each(|piece| *piece = 8 * (*piece & 1));
            }
        }
        let mut first = self.exchanges[0].clone();
        first.interim = Interim::None;
        self.exchanges.insert(0, ExchangePlan { pipelined: true, idle: false, ..first.clone() });
        self.exchanges.insert(0, ExchangePlan { pipelined: false, ..first });
        self
    }
}

pub(super) fn sides() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::In), Just(Direction::Out)]
}

fn body() -> impl Strategy<Value = BodyPlan> {
    let framing = prop_oneof![Just(Framing::Length), Just(Framing::Chunked)];
    (framing, prop::collection::vec(0..FAKES.len() as u8, 0..5), prop::bool::weighted(0.2))
        .prop_map(|(framing, pieces, trailer)| BodyPlan { framing, pieces, trailer })
}

fn exchange() -> impl Strategy<Value = ExchangePlan> {
    let methods = prop::sample::select(vec!["GET", "POST", "PUT", "HEAD", "DELETE"]);
    let status = prop_oneof![
        6 => Just(Status::Ordinary),
        1 => Just(Status::NoContent),
        1 => Just(Status::NotModified),
    ];
    let interim = prop_oneof![
        4 => Just(Interim::None),
        1 => Just(Interim::Before),
        2 => Just(Interim::Expected),
    ];
    let filler = prop_oneof![3 => Just(0_u16), 1 => 1..300_u16];
    let switches = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.3), any::<bool>());
    (methods, body(), body(), status, interim, filler, switches).prop_map(
        |(method, up, down, status, interim, filler, (filler_first, idle, pipelined, early))| ExchangePlan {
            method,
            up,
            down,
            status,
            interim,
            filler,
            filler_first,
            idle,
            pipelined,
            early,
        },
    )
}

/// Any conversation of up to `most` exchanges.
pub(super) fn plans(most: usize) -> impl Strategy<Value = Plan> {
    let end = prop_oneof![4 => Just(End::Clean), 1 => Just(End::UntilClose), 1 => Just(End::Upgrade)];
    (sides(), prop::collection::vec(exchange(), 1..=most), end).prop_map(|(client, exchanges, end)| Plan {
        number: 1,
        client,
        exchanges,
        end,
    })
}
