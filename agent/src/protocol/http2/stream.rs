//! The streams of a connection that are open, each with its exchange.

use crate::{
    event::Timestamp,
    protocol::{ExchangeEnd, Incomplete, Ordinal, Outcome},
};

/// A request and its response.
#[derive(Debug)]
pub(super) struct Stream {
    /// Number of the stream.
    pub(super) number: u32,
    pub(super) ordinal: Ordinal,
    /// It is a call of gRPC.
    pub(super) grpc: bool,
    /// The head of the request was reported.
    pub(super) described: bool,
    /// Payload of DATA frames, their padding included.
    pub(super) request_body: u64,
    pub(super) response_body: u64,
    /// The client sends nothing more.
    pub(super) request_end: Option<Timestamp>,
    /// The final response has begun.
    pub(super) answered: bool,
    /// The server sends nothing more.
    pub(super) response_end: Option<Timestamp>,
    /// Bytes that were needed and not had.
    pub(super) missing: u64,
    pub(super) incomplete: Incomplete,
}

impl Stream {
    pub(super) fn new(number: u32, ordinal: Ordinal) -> Self {
        Self {
            number,
            ordinal,
            grpc: false,
            described: false,
            request_body: 0,
            response_body: 0,
            request_end: None,
            answered: false,
            response_end: None,
            missing: 0,
            incomplete: Incomplete::default(),
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        self.request_end.is_some() && self.response_end.is_some()
    }

    pub(super) fn end(&self, outcome: Outcome) -> ExchangeEnd {
        // Bytes may have been missed of what has no end.
        let known = |end: Option<Timestamp>, body| end.map(|_| body);
        ExchangeEnd {
            outcome,
            request_body: known(self.request_end, self.request_body),
            response_body: known(self.response_end, self.response_body),
            request_end: self.request_end,
            missing: self.missing,
            incomplete: self.incomplete,
        }
    }
}

/// By number. Clients use ascending ones.
#[derive(Debug, Default)]
pub(super) struct Streams(Vec<Stream>);

impl Streams {
    pub(super) fn get(&mut self, number: u32) -> Option<&mut Stream> {
        let index = self.index(number)?;
        self.0.get_mut(index)
    }

    /// The exchange of a stream.
    pub(super) fn ordinal(&self, number: u32) -> Option<Ordinal> {
        Some(self.0.get(self.index(number)?)?.ordinal)
    }

    /// Adds a stream with a higher number than all before.
    pub(super) fn add(&mut self, stream: Stream) {
        self.0.push(stream);
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<Stream> {
        let index = self.index(number)?;
        Some(self.0.remove(index))
    }

    /// Takes those with a higher number.
    pub(super) fn above(&mut self, number: u32) -> Vec<Stream> {
        let first = self.0.partition_point(|stream| stream.number <= number);
        self.0.split_off(first)
    }

    pub(super) fn all(&mut self) -> Vec<Stream> {
        std::mem::take(&mut self.0)
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    fn index(&self, number: u32) -> Option<usize> {
        self.0.binary_search_by_key(&number, |stream| stream.number).ok()
    }
}
