//! One request and its response, as far as they are known.

use super::framing::Framing;
use crate::{
    event::Timestamp,
    protocol::{ExchangeEnd, Incomplete, Ordinal, Outcome},
};

/// How far the request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestState {
    Open,
    Over,
    /// Its end cannot be told any more.
    Lost,
}

/// How far the final response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseState {
    Awaited,
    Begun,
    Over,
}

/// Methods that change how a response is framed (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Connect,
    Other,
}

impl Method {
    pub(super) fn new(method: &[u8]) -> Self {
        match method {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

#[derive(Debug)]
pub(super) struct Exchange {
    pub ordinal: Ordinal,
    pub method: Method,
    /// The `RequestHead` message was made.
    pub head_done: bool,
    /// The request has an `Upgrade` field.
    pub upgrade: bool,
    /// The request waits for 100 (Continue) and none came.
    pub expects_continue: bool,
    /// Only the first observation of the connection says that its request is one.
    pub unproven: bool,
    /// Nothing may be paired with it: it is not certain which response is its own.
    pub unpairable: bool,
    pub request: RequestState,
    pub request_at: Timestamp,
    pub request_end: Option<Timestamp>,
    pub request_body: Option<u64>,
    pub response: ResponseState,
    /// Time of the last transfer that moved bytes of it, once begun.
    pub response_at: Timestamp,
    pub response_body: Option<u64>,
    /// Bytes that were needed and not had.
    pub missing: u64,
    pub incomplete: Incomplete,
}

impl Exchange {
    pub(super) fn new(ordinal: Ordinal, request_at: Timestamp) -> Self {
        Self {
            ordinal,
            method: Method::Other,
            head_done: false,
            upgrade: false,
            expects_continue: false,
            unproven: false,
            unpairable: false,
            request: RequestState::Open,
            request_at,
            request_end: None,
            request_body: None,
            response: ResponseState::Awaited,
            response_at: request_at,
            response_body: None,
            missing: 0,
            incomplete: Incomplete::default(),
        }
    }

    /// Its request's head was told.
    pub(super) fn head_told(&mut self, method: &[u8], framing: &Framing) {
        self.head_done = true;
        self.method = Method::new(method);
        self.upgrade = framing.upgrade;
        self.expects_continue = framing.expects_continue;
    }

    /// The last time at which a byte of it was seen.
    pub(super) fn last_at(&self) -> Timestamp {
        match self.response {
            ResponseState::Awaited => self.request_end.unwrap_or(self.request_at),
            _ => self.response_at,
        }
    }

    /// The request may turn the connection into a tunnel: bytes after it may not be HTTP.
    pub(super) fn may_become_tunnel(&self) -> bool {
        (self.method == Method::Connect || self.upgrade) && self.response != ResponseState::Over
    }

    pub(super) fn end(&self, outcome: Outcome) -> ExchangeEnd {
        ExchangeEnd {
            outcome,
            request_body: self.request_body,
            response_body: self.response_body,
            request_end: self.request_end,
            missing: self.missing,
            incomplete: self.incomplete,
        }
    }
}
