//! Keeps what parsers report, for tests and fuzzing.

use super::{
    http::{RequestHead, ResponseHead},
    operation::{Operation, Reply, Status},
    report::{Begin, ExchangeEnd, ExchangeId, Ordinal, Origin, Part, Progress, Report},
};
use crate::event::{StreamId, Timestamp};

/// One report, without the connection that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Begin {
        ordinal: Ordinal,
        begin: Begin,
    },
    Described {
        ordinal: Ordinal,
        head: RequestHead<'static>,
    },
    Reply {
        ordinal: Ordinal,
        origin: Origin,
        progress: Progress,
        head: ResponseHead,
    },
    /// What an exchange of another protocol than HTTP asks for, or the status of a reply, for people.
    Other {
        ordinal: Ordinal,
        text: String,
    },
    End {
        ordinal: Ordinal,
        at: Timestamp,
        end: ExchangeEnd,
    },
}

/// All reports, in their order.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    pub messages: Vec<Message>,
    /// Whose bytes are whose, on multiplexed connections.
    pub parts: Vec<Part>,
    /// Processes that export traces themselves.
    pub exporters: Vec<u32>,
}

impl Report for Recorder {
    fn begin(&mut self, exchange: ExchangeId, begin: &Begin) {
        self.messages.push(Message::Begin { ordinal: exchange.ordinal, begin: *begin });
    }

    fn part(&mut self, _: StreamId, part: &Part) {
        self.parts.push(part.clone());
    }

    fn described(&mut self, exchange: ExchangeId, operation: Operation<'_>) {
        let ordinal = exchange.ordinal;
        let Operation::Http(head) = operation else {
            return self.messages.push(Message::Other { ordinal, text: format!("{operation:?}") });
        };
        self.messages.push(Message::Described { ordinal: exchange.ordinal, head: head.clone().into_owned() });
    }

    fn reply(&mut self, exchange: ExchangeId, origin: &Origin, progress: Progress, reply: Reply<'_>) {
        let ordinal = exchange.ordinal;
        let Reply::Http(head) = reply else {
            return self.messages.push(Message::Other { ordinal, text: format!("{progress:?} {reply:?}") });
        };
        self.messages.push(Message::Reply {
            ordinal: exchange.ordinal,
            origin: *origin,
            progress,
            head: *head,
        });
    }

    fn status(&mut self, exchange: ExchangeId, status: Status<'_>) {
        let text = format!("{status:?}");
        self.messages.push(Message::Other { ordinal: exchange.ordinal, text });
    }

    fn end(&mut self, exchange: ExchangeId, at: Timestamp, end: &ExchangeEnd) {
        self.messages.push(Message::End { ordinal: exchange.ordinal, at, end: end.clone() });
    }

    fn exports_traces(&mut self, pid: u32) {
        self.exporters.push(pid);
    }
}
