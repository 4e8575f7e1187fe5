//! The cause of what a thread sends, found from its last receive.

use super::{ambiguity::InputAmbiguity, inherited, lost};
use crate::{
    event::{LastReceive, Layer},
    trace::{exchange::Key, exchanges::Exchanges, process::Processes},
};

/// The message to which the last byte belongs that a thread received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) enum Cause {
    None,
    /// Events were lost since, so the receive cannot be attributed to this message.
    Lost,
    Message {
        key: Key,
        for_call: InputAmbiguity,
        for_response: InputAmbiguity,
    },
}

impl Cause {
    pub(in crate::trace) fn of(
        exchanges: &Exchanges,
        processes: &Processes,
        receive: Option<LastReceive>,
    ) -> Self {
        // Nothing here follows a plaintext yet, so what was received there is not known.
        let Some(receive) = receive.filter(|receive| receive.layer == Layer::Wire) else { return Self::None };
        let Some(connection) = exchanges.connection(receive.connection) else { return Self::None };
        let Some(exchange) = exchanges.by_received(connection, receive.position) else {
            let ambiguity = [InputAmbiguity::for_call(receive), InputAmbiguity::for_response(receive)];
            return inherited::inherited_cause(exchanges, processes, connection, receive.position, ambiguity);
        };
        if exchange.links.causes_nothing {
            Self::None
        } else if lost(processes, exchange) {
            Self::Lost
        } else {
            Self::Message {
                key: exchange.key,
                for_call: InputAmbiguity::for_call(receive),
                for_response: InputAmbiguity::for_response(receive),
            }
        }
    }

    /// The message, if there is one.
    pub(super) const fn key(self) -> Option<Key> {
        match self {
            Self::Message { key, .. } => Some(key),
            Self::None | Self::Lost => None,
        }
    }

    /// Whether the thread had received nothing else, and has sent nothing since.
    pub(in crate::trace) fn is_unambiguous(self) -> bool {
        matches!(self, Self::Message { for_call: InputAmbiguity::Single, .. })
    }

    /// The same cause, marked as ambiguous.
    pub(in crate::trace) const fn doubted(self) -> Self {
        match self {
            Self::Message { key, for_response, .. } => {
                Self::Message { key, for_call: InputAmbiguity::Several, for_response }
            }
            Self::None | Self::Lost => self,
        }
    }

    /// The cause of a connect when it began, as far as it is still valid.
    pub(in crate::trace) fn revalidated(self, exchanges: &Exchanges, processes: &Processes) -> Self {
        let Self::Message { key, .. } = self else { return self };
        match exchanges.get(key) {
            None => Self::None,
            Some(exchange) if lost(processes, exchange) => Self::Lost,
            Some(_) => self,
        }
    }
}
