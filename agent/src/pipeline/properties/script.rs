//! What two programs say to each other on one connection, byte by byte, and what it means.

use std::ops::Range;

use super::plan::{BodyPlan, End, ExchangePlan, FAKES, Framing, Interim, Plan, Status};
use crate::event::Direction;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) bytes: Vec<u8>,
    /// By byte: a reader needs to see it (heads, chunk framing).
    pub(super) needed: Vec<bool>,
    /// Where a cut is worth trying: messages, bodies and what looks like messages in them.
    pub(super) marks: Vec<usize>,
}

/// What really passed.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) status: u16,
    pub(super) request: Range<usize>,
    /// With interim responses.
    pub(super) response: Range<usize>,
    pub(super) sizes: [u64; 2],
    /// An earlier request was not answered when this one was sent, or a later one was sent before this was answered.
    pub(super) pipelined: bool,
    pub(super) end: End,
}

/// Bytes that one side sends before the other says something.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) direction: Direction,
    pub(super) range: Range<usize>,
    /// Nothing moved for long before it.
    pub(super) idle: bool,
}

/// A whole conversation.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) client: Direction,
    pub(super) streams: [Stream; 2],
    pub(super) exchanges: Vec<Exchange>,
    pub(super) flights: Vec<Flight>,
    pub(super) end: End,
}

impl Stream {
    fn write(&mut self, text: &str, needed: bool) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.needed.resize(self.bytes.len(), needed);
    }

    fn mark(&mut self) {
        self.marks.push(self.bytes.len());
    }

    /// Writes a body in its framing; returns its payload's length.
    fn body(&mut self, plan: &BodyPlan) -> u64 {
        let mut length = 0;
        self.mark();
        for piece in &plan.pieces {
            let piece = FAKES[usize::from(*piece) % FAKES.len()];
            length += piece.len() as u64;
            if plan.framing == Framing::Chunked {
                self.write(&format!("{:x}\r\n", piece.len()), true);
            }
            self.mark();
            self.write(piece, false);
            self.mark();
            if plan.framing == Framing::Chunked {
                self.write("\r\n", true);
            }
        }
        if plan.framing == Framing::Chunked {
            self.mark();
            self.write("0\r\n", true);
            self.write(if plan.trailer { "T: x\r\n\r\n" } else { "\r\n" }, true);
        }
        length
    }
}

impl Script {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut script = Self {
            client: plan.client,
            streams: Default::default(),
            exchanges: Vec::new(),
            flights: Vec::new(),
            end: plan.end,
        };
        let last = plan.exchanges.len() - 1;
        let mut unanswered = Vec::new();
        for (index, exchange) in plan.exchanges.iter().enumerate() {
            let pipelined = exchange.pipelined && index > 0 && (index < last || plan.end == End::Clean);
            if !pipelined {
                script.answer(plan, &mut unanswered);
            } else if exchange.early && unanswered.len() > 1 {
                let first = unanswered.remove(0);
                script.respond(plan, first);
            }
            for other in &unanswered {
                let other: &mut Exchange = &mut script.exchanges[*other];
                other.pipelined = true;
            }
            let next = plan.exchanges.get(index + 1).is_some_and(|next| next.pipelined);
            script.request(plan, index, pipelined, next);
            unanswered.push(index);
        }
        script.answer(plan, &mut unanswered);
        script
    }

    pub(super) fn of(&self, direction: Direction) -> &Stream {
        &self.streams[direction.index()]
    }

    fn stream(&mut self, direction: Direction) -> &mut Stream {
        &mut self.streams[direction.index()]
    }

    fn answer(&mut self, plan: &Plan, unanswered: &mut Vec<usize>) {
        for index in unanswered.drain(..) {
            self.respond(plan, index);
        }
    }

    /// What was written to `direction` from `start` on belongs to the flight that goes on, or is one.
    fn fly(&mut self, direction: Direction, start: usize, idle: bool) {
        let end = self.of(direction).bytes.len();
        if start == end {
            return;
        }
        match self.flights.last_mut() {
            Some(flight) if flight.direction == direction && !idle => flight.range.end = end,
            _ => self.flights.push(Flight { direction, range: start..end, idle }),
        }
    }

    fn request(&mut self, plan: &Plan, index: usize, pipelined: bool, next_pipelined: bool) {
        let (client, exchange) = (self.client, &plan.exchanges[index]);
        let path = format!("/{}/{index}/end", plan.number);
        let method = exchange.method;
        let up = &exchange.up;
        let expects =
            exchange.interim == Interim::Expected && !up.pieces.is_empty() && !pipelined && !next_pipelined;
        let stream = self.stream(client);
        let start = stream.bytes.len();
        stream.mark();
        let upgrade = index == plan.exchanges.len() - 1 && plan.end == End::Upgrade;
        let mut fields = filler(exchange);
        if expects {
            fields.push("Expect: 100-continue\r\n".to_owned());
        }
        if upgrade {
            fields.push("Connection: upgrade\r\nUpgrade: tunnel\r\n".to_owned());
        }
        fields.push("Host: h.example\r\n".to_owned());
        let field = match up.framing {
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::Length if up.pieces.is_empty() => String::new(),
            Framing::Length => format!("Content-Length: {}\r\n", up.length()),
        };
        fields.insert(usize::from(exchange.filler_first).min(fields.len()), field);
        stream.write(&format!("{method} {path} HTTP/1.1\r\n{}\r\n", fields.concat()), true);
        self.fly(client, start, exchange.idle && !pipelined);
        let mut response = self.of(client.reverse()).bytes.len();
        if expects {
            let stream = self.stream(client.reverse());
            response = stream.bytes.len();
            stream.mark();
            stream.write("HTTP/1.1 100 Continue\r\n\r\n", true);
            self.fly(client.reverse(), response, false);
        }
        let stream = self.stream(client);
        let body = stream.bytes.len();
        let size = if up.framing == Framing::Chunked || !up.pieces.is_empty() { stream.body(up) } else { 0 };
        let end = stream.bytes.len();
        self.fly(client, body, false);
        self.exchanges.push(Exchange {
            method,
            path,
            status: 0,
            request: start..end,
            response: response..if expects { usize::MAX } else { 0 },
            sizes: [size, 0],
            pipelined,
            end: End::Clean,
        });
    }

    fn respond(&mut self, plan: &Plan, index: usize) {
        let (server, exchange) = (self.client.reverse(), &plan.exchanges[index]);
        let end = if index == plan.exchanges.len() - 1 { plan.end } else { End::Clean };
        let status = match (end, exchange.status) {
            (End::Upgrade, _) => 101,
            (End::UntilClose, _) | (_, Status::Ordinary) => {
                210 + u16::try_from(index).expect("there are few")
            }
            (_, Status::NoContent) => 204,
            (_, Status::NotModified) => 304,
        };
        let bodyless = exchange.method == "HEAD" || matches!(status, 101 | 204 | 304);
        let down = &exchange.down;
        let expected = self.exchanges[index].response.end == usize::MAX;
        let stream = self.stream(server);
        let start = stream.bytes.len();
        if exchange.interim == Interim::Before && end != End::Upgrade {
            stream.mark();
            stream.write("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", true);
        }
        stream.mark();
        let field = match (end, down.framing) {
            (End::UntilClose, _) => "Connection: close\r\n".to_owned(),
            (End::Upgrade, _) => "Connection: upgrade\r\nUpgrade: tunnel\r\n".to_owned(),
            (_, _) if status == 204 => String::new(),
            (_, Framing::Chunked) => "Transfer-Encoding: chunked\r\n".to_owned(),
            (_, Framing::Length) => format!("Content-Length: {}\r\n", down.length()),
        };
        let mut fields = filler(exchange);
        fields.insert(usize::from(exchange.filler_first).min(fields.len()), field);
        stream.write(&format!("HTTP/1.1 {status} Fine\r\n{}\r\n", fields.concat()), true);
        let size = match end {
            _ if bodyless => 0,
            End::UntilClose => stream.body(&BodyPlan { framing: Framing::Length, ..down.clone() }),
            _ => stream.body(down),
        };
        let stop = stream.bytes.len();
        let truth = &mut self.exchanges[index];
        let begin = if expected { truth.response.start } else { start };
        truth.response = begin..stop;
        truth.status = status;
        truth.sizes[1] = size;
        truth.end = if bodyless && end == End::UntilClose { End::Clean } else { end };
        self.fly(server, start, false);
        if end == End::Upgrade {
            let stream = self.stream(server);
            stream.write("\u{1}tunnel GET /fake/tunnel HTTP/1.1\r\n\r\n", false);
            self.fly(server, stop, false);
        }
    }
}

fn filler(exchange: &ExchangePlan) -> Vec<String> {
    match exchange.filler {
        0 => Vec::new(),
        length => vec![format!("X-Filler: {}\r\n", "f".repeat(usize::from(length)))],
    }
}
