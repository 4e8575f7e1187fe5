//! Requests that only an answer proves: kept until it begins, and told then or never.
//!
//! A request line that was cut early may be the start of anything. So may what follows a request that was the first observation of
//! its connection: both may be text in the body of an older one. But a client that was no client would get no answer, and
//! only one that pipelines gets two in a row.

use super::{
    exchange::RequestState,
    head,
    line::{FirstLine, Role},
    reader::{empty_lines, origin},
    session::Session,
};
use crate::{
    event::Direction,
    protocol::{Context, ExchangeId, Incomplete, Operation, Ordinal, Origin},
    stream::Cursor,
};

/// Most of them on a connection.
const KEPT: usize = 32;
/// Bytes of their heads.
const KEPT_BYTES: usize = 16 * 1024;

/// A request that is not told yet.
#[derive(Debug)]
pub(super) struct Kept {
    pub direction: Direction,
    pub origin: Origin,
    pub line: FirstLine,
    pub head: Vec<u8>,
    /// Where the other direction stood: the answer to a cut request begins there.
    pub other_position: u64,
    /// Position behind it. The client has said nothing more when it gets the answer to a whole one.
    pub end: u64,
    /// The head is whole, and nothing follows.
    pub whole: bool,
    pub flag: Incomplete,
}

impl Session {
    /// Bytes kept of heads that are not told yet.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.iter().map(|kept| kept.head.len()).sum()
    }

    pub(super) fn keep(&mut self, kept: Kept, cx: &mut Context<'_>) {
        if self.kept.len() < KEPT && self.kept_bytes() + kept.head.len() <= KEPT_BYTES {
            self.kept.push_back(kept);
        } else {
            cx.out.counters.requests_unconfirmed += 1;
        }
    }

    /// Nothing will prove what is kept.
    pub(super) fn drop_kept(&mut self, cx: &mut Context<'_>) {
        cx.out.counters.requests_unconfirmed += self.kept.len() as u64;
        self.kept.clear();
    }

    /// At the end of a request that is not proven: keeps the request that follows at once, if it is there and has no body.
    pub(super) fn keep_next(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> bool {
        let is_request = self.role(direction) == Role::Request && !cx.older_is_held(cursor);
        let reader = self.reader(direction);
        if !is_request || reader.ended_at != Some(cursor.position) || reader.ended_other != cx.other_position
        {
            return false;
        }
        let empty = empty_lines(cursor.front());
        let front = &cursor.front()[empty..];
        let Some((line, size)) = head::whole_request(front) else { return false };
        let reader = self.reader(direction);
        cursor.parse(empty);
        let origin = origin(cursor);
        cursor.parse(size);
        reader.ended_at = Some(cursor.position);
        reader.last_at = reader.last_at.max(cursor.at);
        let kept = Kept {
            direction,
            origin,
            line,
            head: front[..size].to_vec(),
            other_position: cx.other_position,
            end: cursor.position,
            whole: true,
            flag: Incomplete::JOINED_MID_STREAM,
        };
        self.keep(kept, cx);
        true
    }

    /// A final response begins in `direction` that answers nothing known: the oldest request that was kept of the other side is
    /// proven by it, and told now.
    pub(super) fn prove_kept(&mut self, direction: Direction, cx: &mut Context<'_>) -> Option<Ordinal> {
        let client = direction.reverse();
        let reader = self.reader(direction);
        let (position, follows) = (reader.origin.position, reader.follows);
        let said = self.kept.back().map(|kept| kept.end);
        let proven = |kept: &mut Kept| {
            let answered = if kept.whole {
                follows && said == Some(cx.other_position)
            } else {
                position == kept.other_position
            };
            kept.direction == client && answered
        };
        let Some(kept) = self.kept.pop_front_if(proven) else {
            self.drop_kept(cx);
            return None;
        };
        self.client = Some(client);
        self.recognised();
        let around = self.surroundings(client);
        let ordinal = self.pairing.start(client, &kept.origin, around, kept.other_position, cx);
        let Kept { head, line, .. } = &kept;
        let size = kept.whole.then_some(head.len() as u64);
        let (request, framing) = head::request(head, line, size, &cx.out.interest);
        cx.out.counters.heads_incomplete += u64::from(!kept.whole);
        let exchange = self.pairing.get(Some(ordinal))?;
        exchange.head_told(&head[line.request.method_in(head)], &framing);
        exchange.incomplete.add(kept.flag);
        exchange.unproven = kept.whole;
        let id = ExchangeId::new(cx.stream, ordinal);
        cx.out.report.described(id, Operation::Http(&request));
        if kept.whole {
            // Another one was sent before it was answered.
            self.pairing.pipelines();
            let end = Some((kept.origin.at, Some(0)));
            self.pairing.request_done(Some(ordinal), RequestState::Over, end, cx);
        } else {
            self.pairing.request_done(Some(ordinal), RequestState::Lost, None, cx);
        }
        Some(ordinal)
    }
}
