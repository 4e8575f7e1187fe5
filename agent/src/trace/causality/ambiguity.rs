//! How sure it is that the last receive of a thread is the cause of what the thread sends. The tracer
//! notes it on an event before the event's bytes may be held back, as a [`Mark`].

use crate::event::{LastReceive, Mark};

/// What else a thread received since it last sent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(in crate::trace) enum InputAmbiguity {
    /// Messages of several requests, or it is not known.
    Several = 0,
    /// Several messages, all of which belong to one request by what caused them.
    SameRequest = 1,
    /// Nothing new: something was sent after this receive, which was the only one then.
    Reused = 2,
    /// Nothing: the last receive is the only one.
    Single = 3,
}

/// Bits of an ambiguity in a mark.
const BITS: u8 = 2;
const MASK: u8 = (1 << BITS) - 1;

impl InputAmbiguity {
    /// The ambiguity of a receive that stands for another one: no less than either.
    pub(super) const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Single, ambiguity) | (ambiguity, Self::Single) => ambiguity,
            (Self::Several, _) | (_, Self::Several) => Self::Several,
            _ => self,
        }
    }

    /// As the cause of a call.
    pub(super) const fn for_call(receive: LastReceive) -> Self {
        Self::of(receive.mark.0 & MASK)
    }

    /// As the cause of a response.
    pub(super) const fn for_response(receive: LastReceive) -> Self {
        Self::of(receive.mark.0 >> BITS)
    }

    const fn of(bits: u8) -> Self {
        match bits {
            1 => Self::SameRequest,
            2 => Self::Reused,
            3 => Self::Single,
            _ => Self::Several,
        }
    }
}

/// The mark of a receive with these ambiguities.
pub(super) const fn mark(for_call: InputAmbiguity, for_response: InputAmbiguity) -> Mark {
    Mark(for_call as u8 | (for_response as u8) << BITS)
}

#[cfg(test)]
mod tests {
    use super::{InputAmbiguity::*, *};
    use crate::event::{ConnectionId, Layer};

    #[test]
    fn a_mark_holds_both_ambiguities() {
        let receive =
            |mark| LastReceive { connection: ConnectionId(1), layer: Layer::Wire, position: 0, mark };
        for for_call in [Several, SameRequest, Reused, Single] {
            for for_response in [Several, SameRequest, Reused, Single] {
                let marked = receive(mark(for_call, for_response));
                assert_eq!(InputAmbiguity::for_call(marked), for_call);
                assert_eq!(InputAmbiguity::for_response(marked), for_response);
            }
        }
        assert_eq!(InputAmbiguity::for_call(receive(Mark::default())), Several);
    }
}
