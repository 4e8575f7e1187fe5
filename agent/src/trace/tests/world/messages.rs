//! The heads and ends of messages on the fake host.

use crate::protocol::{
    ExchangeEnd, Incomplete, Outcome,
    http::{RequestHead, ResponseHead},
};

pub(in crate::trace::tests) fn get(target: &str) -> RequestHead<'static> {
    let mut prefix = [0; 16];
    let line = format!("GET {target} HTTP/1.1\r\n");
    for (to, from) in prefix.iter_mut().zip(line.bytes()) {
        *to = from;
    }
    RequestHead { method: "GET".into(), target: target.to_owned().into(), prefix, ..RequestHead::default() }
}

pub(in crate::trace::tests) fn ok() -> ResponseHead {
    status(200)
}

pub(in crate::trace::tests) fn status(status: u16) -> ResponseHead {
    ResponseHead { status, ..ResponseHead::default() }
}

pub(in crate::trace::tests) fn complete() -> ExchangeEnd {
    ended(Outcome::Complete)
}

pub(in crate::trace::tests) fn ended(outcome: Outcome) -> ExchangeEnd {
    ExchangeEnd {
        outcome,
        request_body: Some(0),
        response_body: Some(2),
        request_end: None,
        missing: 0,
        incomplete: Incomplete::default(),
    }
}
